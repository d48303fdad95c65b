"""Cases: conditions of the waist, and what versions promise."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from storage_providers.errors import (
    InvalidArgumentError,
    ItemExistsError,
    ItemNotFoundError,
    StorageError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    IF_PRESENT,
    Condition,
    Delete,
    IfVersion,
    Patch,
    Put,
    Write,
)
from storage_providers.testing._harness import THINGS, Scene, case, cases

PRESENT: Final = "present"
ABSENT: Final = "absent"
EXPIRED: Final = "expired"
STATES: Final = (PRESENT, ABSENT, EXPIRED)


class Expected(msgspec.Struct, frozen=True):
    """One line of the table: a verb with a condition meets a document in some state."""

    verb: str
    condition: str
    state: str
    error: type[StorageError] | None


def _table(
    verb: str, outcomes: dict[str, tuple[type[StorageError] | None, ...]]
) -> dict[str, Expected]:
    """Lines for present, absent and expired documents; expired ones are as absent ones."""
    return {
        f"{verb} {condition} {state}": Expected(verb, condition, state, error)
        for condition, (present, absent) in outcomes.items()
        for state, error in ((PRESENT, present), (ABSENT, absent), (EXPIRED, absent))
    }


PUTS: Final = _table(
    "put",
    {
        "any": (None, None),
        "if_absent": (ItemExistsError, None),
        "if_present": (None, ItemNotFoundError),
    },
)
PATCHES: Final = _table("patch", {"if_present": (None, ItemNotFoundError)})
VERSIONED: Final = _table(
    "put",
    {
        "right": (None, VersionMismatchError),
        "stale": (VersionMismatchError, VersionMismatchError),
        "nonsense": (VersionMismatchError, VersionMismatchError),
    },
) | _table(
    "patch",
    {
        "right": (None, VersionMismatchError),
        "stale": (VersionMismatchError, VersionMismatchError),
        "nonsense": (VersionMismatchError, VersionMismatchError),
    },
)
DELETES: Final = _table("delete", {"any": (None, None)})
CONDITIONAL_DELETES: Final = _table(
    "delete",
    {
        "if_present": (None, ItemNotFoundError),
        "right": (None, VersionMismatchError),
        "stale": (VersionMismatchError, VersionMismatchError),
        "nonsense": (VersionMismatchError, VersionMismatchError),
    },
)
NONSENSE: Final = "'; nonsense \u2028 \"%"


class ConditionCases:
    """Every verb with every condition."""

    @cases(PUTS)
    async def test_put_conditions(self, scene: Scene, value: Expected) -> None:
        """What `ANY`, `IF_ABSENT` and `IF_PRESENT` let through."""
        await _play(scene, value)

    @cases(PATCHES)
    async def test_patch_conditions(self, scene: Scene, value: Expected) -> None:
        """A patch changes what is there and never creates."""
        await _play(scene, value)

    @cases(VERSIONED, "conditional_write")
    async def test_version_conditions(self, scene: Scene, value: Expected) -> None:
        """`IfVersion` lets puts and patches through on that very version only."""
        await _play(scene, value)

    @cases(DELETES)
    async def test_delete_conditions(self, scene: Scene, value: Expected) -> None:
        """An unconditional delete always succeeds."""
        await _play(scene, value)

    @cases(CONDITIONAL_DELETES, "conditional_delete")
    async def test_conditional_deletes(self, scene: Scene, value: Expected) -> None:
        """`IF_PRESENT` and `IfVersion` on deletes."""
        await _play(scene, value)

    @cases(
        {
            "put": Put(THINGS, {"id": "a"}, IfVersion("1")),
            "patch": Patch(THINGS, "a", {"n": 2}, IfVersion("1")),
        },
        lacks=["conditional_write"],
    )
    async def test_undeclared_conditional_writes(self, scene: Scene, value: Write) -> None:
        """Without `conditional_write`, `IfVersion` is refused before anything happens."""
        await scene.fill({"id": "a", "n": 1})
        with pytest.raises(UnsupportedOperationError) as caught:
            await scene.provider.write([Put(THINGS, {"id": "b"}), value])
        assert (caught.value.index, caught.value.item_id) == (1, "a")
        assert caught.value.collection == THINGS
        assert await scene.everything() == {"a": {"id": "a", "n": 1}}

    @case(lacks=["conditional_write"])
    async def test_undeclared_modify(self, scene: Scene) -> None:
        """Without `conditional_write`, `modify_item` is refused, whether or not the id exists."""
        await scene.fill({"id": "a"})
        for item_id in ("a", "b"):
            with pytest.raises(UnsupportedOperationError) as caught:
                await scene.provider.modify_item(THINGS, item_id, lambda _: pytest.fail("called"))
            assert caught.value.item_id == item_id

    @cases({"if_present": IF_PRESENT, "if_version": IfVersion("1")}, lacks=["conditional_delete"])
    async def test_undeclared_conditional_deletes(self, scene: Scene, value: Condition) -> None:
        """Without `conditional_delete`, a delete with a condition is refused."""
        await scene.fill({"id": "a"})
        with pytest.raises(UnsupportedOperationError) as caught:
            await scene.provider.write([Delete(THINGS, "a", value)])
        assert caught.value.item_id == "a"
        assert await scene.ids() == ["a"]

    @cases(
        {
            "patch any": Patch(THINGS, "a", {"n": 2}, ANY),
            "patch if_absent": Patch(THINGS, "a", {"n": 2}, IF_ABSENT),
            "delete if_absent": Delete(THINGS, "a", IF_ABSENT),
        }
    )
    async def test_conditions_that_make_no_sense(self, scene: Scene, value: Write) -> None:
        """They are refused by position, and nothing of the batch happens."""
        await scene.fill({"id": "a", "n": 1})
        with pytest.raises(InvalidArgumentError) as caught:
            await scene.provider.write([Put(THINGS, {"id": "b"}), value])
        assert (caught.value.index, caught.value.item_id) == (1, "a")
        assert caught.value.collection == THINGS
        assert caught.value.operation == "write"
        assert await scene.everything() == {"a": {"id": "a", "n": 1}}

    # --- versions ------------------------------------------------------------------------------

    @case()
    async def test_the_version_changes_with_the_document(self, scene: Scene) -> None:
        """Each different state of a document has a version of its own."""
        seen: list[str] = []
        for n in range(3):
            (item,) = await scene.fill({"id": "a", "n": n})
            seen.append(item.version)
            (item,) = await scene.write(Patch(THINGS, "a", {"m": n}))
            seen.append(item.version)
        assert len(set(seen)) == len(seen)
        item_now = await scene.provider.read_item(THINGS, "a")
        assert item_now is not None
        assert item_now.version == seen[-1]

    @case()
    async def test_a_version_stays_while_the_document_does(self, scene: Scene) -> None:
        """Reading, listing, declaring or writing other documents moves no version."""
        (item,) = await scene.fill({"id": "a", "n": 1})
        await scene.fill({"id": "b"})
        await scene.provider.update_item(THINGS, "b", {"n": 2})
        await scene.provider.delete_item(THINGS, "b")
        for _ in range(2):
            read = await scene.provider.read_item(THINGS, "a")
            listed = (await scene.provider.list_items(THINGS)).items
            assert read is not None
            assert read.version == item.version
            assert [each.version for each in listed] == [item.version]
            versions = (await scene.provider.versions(THINGS)).entries
            assert [(each.id, each.version) for each in versions] == [("a", item.version)]

    @case("conditional_write")
    async def test_a_returned_version_is_usable_at_once(self, scene: Scene) -> None:
        """Versions from every verb serve as `if_version` of the next."""
        item = await scene.provider.create_item(THINGS, {"id": "a", "n": 0})
        item = await scene.provider.put_item(THINGS, {"id": "a", "n": 1}, if_version=item.version)
        item = await scene.provider.update_item(THINGS, "a", {"n": 2}, if_version=item.version)
        (listed,) = (await scene.provider.list_items(THINGS)).items
        item = await scene.provider.update_item(THINGS, "a", {"n": 3}, if_version=listed.version)
        (entry,) = (await scene.provider.versions(THINGS)).entries
        item = await scene.provider.update_item(THINGS, "a", {"n": 4}, if_version=entry.version)
        assert item.document["n"] == 4


async def _play(scene: Scene, line: Expected) -> None:
    """Bring a document into the state, write, and see what became of it."""
    stale, right = await _prepare(scene, line.state)
    condition = _condition(line.condition, stale, right)
    write: Write
    if line.verb == "put":
        write = Put(THINGS, {"id": "a", "n": 2}, condition)
    elif line.verb == "patch":
        write = Patch(THINGS, "a", {"n": 2}, condition)
    else:
        write = Delete(THINGS, "a", condition)
    before = await scene.document("a")
    if line.error is None:
        results: list[Any] = await scene.provider.write([write])
        after = await scene.provider.read_item(THINGS, "a")
        if line.verb == "delete":
            assert (results, after) == ([None], None)
        else:
            assert results == [after]
            assert after is not None
            assert after.document["n"] == 2
        return
    error = await scene.refused(line.error, write)
    assert type(error) is line.error
    assert (error.collection, error.item_id, error.operation) == (THINGS, "a", "write")
    if isinstance(error, VersionMismatchError) and isinstance(condition, IfVersion):
        assert error.expected_version == condition.version
        assert error.actual_version == (right if line.state == PRESENT else None)
    assert await scene.document("a") == before


async def _prepare(scene: Scene, state: str) -> tuple[str, str]:
    """A stale version and the right one of the document `a`, which is in this state then."""
    (stale,) = await scene.fill({"id": "a", "n": 0})
    (right,) = await scene.fill({"id": "a", "n": 1, "expiresAt": "2026-01-31T13:00:00.000Z"})
    if state == ABSENT:
        await scene.provider.delete_item(THINGS, "a")
    elif state == EXPIRED:
        scene.clock.advance(3601)
    return stale.version, right.version


def _condition(name: str, stale: str, right: str) -> Condition:
    simple: dict[str, Condition] = {
        "any": ANY,
        "if_absent": IF_ABSENT,
        "if_present": IF_PRESENT,
        "stale": IfVersion(stale),
        "right": IfVersion(right),
        "nonsense": IfVersion(NONSENSE),
    }
    return simple[name]
