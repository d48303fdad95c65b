"""Cases: conditions of the waist, batches over several collections, and what versions promise."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from storage_providers.errors import (
    BatchError,
    InvalidArgumentError,
    InvalidDocumentError,
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
    Clear,
    Condition,
    Delete,
    IfVersion,
    JsonObject,
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
    """Every verb with every condition, alone and in batches."""

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

    # --- batches -------------------------------------------------------------------------------

    @case()
    async def test_a_batch_of_everything(self, scene: Scene) -> None:
        """One batch puts, patches, deletes and clears in several collections and scopes."""
        await scene.fill({"id": "patched", "n": 1, "m": 1}, {"id": "deleted"})
        await scene.fill({"id": "x"}, {"id": "y"}, collection="cleared")
        await scene.fill({"id": "patched", "n": 5}, collection="u/things")
        results = await scene.provider.write(
            [
                Delete(THINGS, "deleted"),
                Put("u/things", {"id": "new"}),
                Patch(THINGS, "patched", {"n": 2, "m": None}),
                Clear("cleared"),
                Put(THINGS, {"id": "new", "n": 0}, IF_ABSENT),
                Patch("u/things", "patched", {"n": 6}),
                Delete("never_seen", "a"),
            ]
        )
        assert [item and (item.collection, item.id) for item in results] == [
            None,
            ("u/things", "new"),
            (THINGS, "patched"),
            None,
            (THINGS, "new"),
            ("u/things", "patched"),
            None,
        ]
        assert await scene.everything() == {
            "new": {"id": "new", "n": 0},
            "patched": {"id": "patched", "n": 2},
        }
        assert await scene.everything("u/things") == {
            "new": {"id": "new"},
            "patched": {"id": "patched", "n": 6},
        }
        assert await scene.ids(collection="cleared") == []
        for item in results:
            if item is not None:
                assert await scene.provider.read_item(item.collection, item.id) == item

    @case()
    async def test_empty_batches(self, scene: Scene) -> None:
        """Batches of nothing give nothing."""
        assert await scene.provider.write([]) == []
        assert await scene.provider.read([]) == []
        assert await scene.provider.query([]) == []
        assert await scene.provider.collections() == []

    @case()
    async def test_writes_are_verbatim(self, scene: Scene) -> None:
        """`write` adds and changes nothing: no stamps, no fields, the same order of fields."""
        document: JsonObject = {
            "z": 1,
            "id": "a",
            "b": {"d": 1, "c": 2},
            "updatedAt": "old",
            "a": 1,
        }
        (item,) = await scene.fill(document)
        assert list(item.document.items()) == list(document.items())
        stored = await scene.document("a")
        assert stored is not None
        assert list(stored.items()) == list(document.items())
        assert list(stored["b"]) == ["d", "c"]
        await scene.provider.write([Patch(THINGS, "a", {"a": 2})])
        assert await scene.document("a") == {**document, "a": 2}

    @cases(
        {
            "put": Put(THINGS, {"id": "taken"}, IF_ABSENT),
            "put absent": Put(THINGS, {"id": "no"}, IF_PRESENT),
            "patch": Patch(THINGS, "no", {"n": 1}),
        },
        "atomic_batch",
    )
    async def test_atomic_batches(self, scene: Scene, value: Put | Patch) -> None:
        """One refused write refuses the batch, over collections; the error names the write."""
        await scene.fill({"id": "taken"}, {"id": "old", "n": 1})
        await scene.fill({"id": "x"}, collection="others")
        before = await _state(scene)
        batch: list[Write] = [
            Put(THINGS, {"id": "new"}),
            Patch(THINGS, "old", {"n": 2}),
            Clear("others"),
            value,
            Delete("more", "a"),
            Put("more", {"id": "new"}),
        ]
        with pytest.raises(StorageError) as caught:
            await scene.provider.write(batch)
        error = caught.value
        assert (error.index, error.collection, error.item_id) == (3, THINGS, value.id)
        assert (error.operation, bool(error.provider)) == ("write", True)
        assert await _state(scene) == before
        assert "more" not in await scene.provider.collections()

    @case("atomic_batch", "conditional_write", "conditional_delete")
    async def test_atomic_batches_name_versions(self, scene: Scene) -> None:
        """A refused `IfVersion` deep in a batch carries both versions."""
        first, other = await scene.fill({"id": "a", "n": 1}, {"id": "b"})
        (second,) = await scene.fill({"id": "a", "n": 2})
        fillers = [Put("others", {"id": f"{n}"}) for n in range(50)]
        for write in (
            Put(THINGS, {"id": "a", "n": 3}, IfVersion(first.version)),
            Patch(THINGS, "a", {"n": 3}, IfVersion(first.version)),
            Delete(THINGS, "a", IfVersion(first.version)),
        ):
            removal = Delete(THINGS, "b", IfVersion(other.version))
            with pytest.raises(VersionMismatchError) as caught:
                await scene.write(*fillers, removal, write)
            error = caught.value
            assert (error.index, error.collection, error.item_id) == (51, THINGS, "a")
            assert (error.expected_version, error.actual_version) == (first.version, second.version)
        assert await scene.ids() == ["a", "b"]
        assert await scene.provider.count_items("others") == 0

    @case("atomic_batch")
    async def test_several_conflicts_name_one(self, scene: Scene) -> None:
        """Of several refused writes the error names one that truly is, with its own kind."""
        await scene.fill({"id": "taken"})
        with pytest.raises((ItemExistsError, ItemNotFoundError)) as caught:
            await scene.provider.write(
                [
                    Put(THINGS, {"id": "fine"}),
                    Put(THINGS, {"id": "taken"}, IF_ABSENT),
                    Patch(THINGS, "no", {"n": 1}),
                ]
            )
        facts = {1: (ItemExistsError, "taken"), 2: (ItemNotFoundError, "no")}
        index = caught.value.index
        assert index in facts
        assert (type(caught.value), caught.value.item_id) == facts[index]
        assert await scene.ids() == ["taken"]

    @case(lacks=["atomic_batch"])
    async def test_batches_that_are_not_atomic(self, scene: Scene) -> None:
        """`BatchError` tells write by write what landed."""
        await scene.fill({"id": "taken"}, {"id": "old", "n": 1})
        batch: list[Write] = [
            Put(THINGS, {"id": "new"}),
            Put(THINGS, {"id": "taken"}, IF_ABSENT),
            Patch(THINGS, "old", {"n": 2}),
            Patch(THINGS, "no", {"n": 1}),
        ]
        with pytest.raises(BatchError) as caught:
            await scene.provider.write(batch)
        new, taken, old, no = caught.value.results
        assert isinstance(taken, ItemExistsError)
        assert isinstance(no, ItemNotFoundError)
        assert not isinstance(new, StorageError)
        assert not isinstance(old, StorageError)
        assert await scene.provider.read_items(THINGS, ["new", "old"]) == [new, old]
        assert caught.value.errors == (taken, no)

    @cases(
        {
            "put put": [Put(THINGS, {"id": "a"}), Put(THINGS, {"id": "a"})],
            "put delete": [Put(THINGS, {"id": "a"}), Delete(THINGS, "a")],
            "patch patch": [Patch(THINGS, "a", {"n": 2}), Patch(THINGS, "a", {"m": 2})],
            "clear clear": [Clear(THINGS), Clear(THINGS)],
            "put clear": [Put(THINGS, {"id": "b"}), Clear(THINGS)],
            "clear put": [Clear(THINGS), Put(THINGS, {"id": "b"})],
            "clear delete": [Clear(THINGS), Delete(THINGS, "a")],
        }
    )
    async def test_a_batch_names_a_document_once(self, scene: Scene, value: list[Write]) -> None:
        """Writing a document twice in a batch is refused, whatever the verbs; nothing happens."""
        await scene.fill({"id": "a", "n": 1})
        with pytest.raises(InvalidArgumentError) as caught:
            await scene.provider.write([Put("others", {"id": "x"}), *value])
        assert caught.value.collection == THINGS
        assert await scene.everything() == {"a": {"id": "a", "n": 1}}
        assert await scene.provider.count_items("others") == 0

    @case()
    async def test_the_same_id_elsewhere_is_another_document(self, scene: Scene) -> None:
        """A batch may write one id in several collections and scopes."""
        names = ["one", "two", "u/one", "v/one"]
        await scene.provider.write([Put(name, {"id": "a", "in": name}) for name in names])
        for name in names:
            assert await scene.document("a", name) == {"id": "a", "in": name}

    @case()
    async def test_a_large_batch(self, scene: Scene) -> None:
        """1,200 documents are written, read, patched and removed in one batch each."""
        ids = [f"id-{n:05}" for n in range(1200)]
        items = await scene.write(
            *(Put(f"c{n % 3}", {"id": item_id, "n": n}) for n, item_id in enumerate(ids))
        )
        assert [item.id for item in items] == ids
        wanted = ids[::-1]
        read = await scene.provider.read_items("c0", wanted)
        assert [item.id for item in read if item is not None] == wanted[2::3]
        await scene.write(*(Patch("c0", item_id, {"n": -1}) for item_id in ids[::3]))
        assert await scene.provider.count_items("c0", where={"n": -1}) == 400
        await scene.provider.delete_items("c1", ids)
        assert await scene.provider.count_items("c1") == 0
        assert await scene.provider.count_items("c2") == 400

    @case()
    async def test_names_are_checked_before_anything(self, scene: Scene) -> None:
        """A malformed name in a batch refuses it whole, by position."""
        with pytest.raises(InvalidArgumentError):
            await scene.provider.write([Put(THINGS, {"id": "a"}), Put("Wrong Name", {"id": "b"})])
        with pytest.raises(InvalidArgumentError) as caught:
            await scene.provider.write([Put(THINGS, {"id": "a"}), Delete(THINGS, "")])
        assert caught.value.index == 1
        with pytest.raises(InvalidDocumentError):
            Put(THINGS, {"id": ""})
        assert await scene.ids() == []

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


async def _state(scene: Scene) -> dict[str, dict[str, JsonObject]]:
    """Everything stored, by collection and id."""
    return {name: await scene.everything(name) for name in await scene.provider.collections()}


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
