"""Cases: expiry by the injected clock."""

from __future__ import annotations

from typing import Final

import pytest

from storage_providers.errors import (
    ItemNotFoundError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    Clear,
    CollectionSpec,
    Delete,
    IfVersion,
    Index,
    JsonObject,
    Patch,
    Put,
)
from storage_providers.testing._harness import THINGS, Scene, case, cases

SOON: Final = "2026-01-31T12:00:10.000Z"
"""Ten seconds after the clock's start."""

FORMS: Final[dict[str, str]] = {
    "canonical": SOON,
    "no milliseconds": "2026-01-31T12:00:10Z",
    "offset": "2026-01-31T14:30:10.000+02:30",
    "microseconds": "2026-01-31T12:00:10.000999Z",
    "no zone is UTC": "2026-01-31T12:00:10",
    "space": "2026-01-31 12:00:10.000Z",
    "compact": "20260131T120010Z",
}


class ExpiryCases:
    """Expired documents are never read, queried or in the way."""

    @case()
    async def test_expired_documents_are_gone(self, scene: Scene) -> None:
        """From reads, queries, totals and counts; others stay."""
        await scene.fill({"id": "a", "expiresAt": SOON}, {"id": "b"})
        scene.clock.advance(9.999)
        assert await scene.ids() == ["a", "b"]
        scene.clock.advance(0.001)
        assert await scene.document("a") is None
        read = await scene.provider.read_items(THINGS, ["a", "b"])
        assert [item and item.id for item in read] == [None, "b"]
        page = await scene.provider.list_items(THINGS, total=True, order_by="-id")
        assert ([item.id for item in page.items], page.total) == (["b"], 1)
        assert await scene.provider.count_items(THINGS, where={"id": {"$in": ["a", "b"]}}) == 1

    @cases(FORMS)
    async def test_forms_of_time(self, scene: Scene, value: str) -> None:
        """Every ISO 8601 form counts to the millisecond, and is stored as it was given."""
        (item,) = await scene.fill({"id": "a", "expiresAt": value})
        assert item.document["expiresAt"] == value
        await scene.fill({"id": "b"})
        await scene.write(Patch(THINGS, "b", {"expiresAt": value}))
        scene.clock.advance(9.999)
        assert await scene.ids() == ["a", "b"]
        scene.clock.advance(0.001)
        assert await scene.ids() == []

    @case()
    async def test_expired_is_absent_to_conditions(self, scene: Scene) -> None:
        """It is not in the way of a create, and its old fields don't come back."""
        (old,) = await scene.fill({"id": "a", "old": 1, "expiresAt": SOON})
        scene.clock.advance(10)
        with pytest.raises(ItemNotFoundError):
            await scene.provider.update_item(THINGS, "a", {"n": 1, "expiresAt": None})
        if scene.capabilities.conditional_write:
            with pytest.raises(VersionMismatchError) as caught:
                await scene.write(Put(THINGS, {"id": "a"}, IfVersion(old.version)))
            assert caught.value.actual_version is None
            with pytest.raises(ItemNotFoundError):
                await scene.provider.modify_item(THINGS, "a", lambda document: document)
        if scene.capabilities.conditional_delete:
            with pytest.raises(VersionMismatchError):
                await scene.write(Delete(THINGS, "a", IfVersion(old.version)))
        await scene.provider.delete_item(THINGS, "a")
        created = await scene.provider.create_item(THINGS, {"id": "a"})
        assert created.document.keys() == {"id", "createdAt", "updatedAt"}
        assert await scene.ids() == ["a"]

    @case()
    async def test_a_create_takes_the_place_at_once(self, scene: Scene) -> None:
        """`IF_ABSENT` replaces an expired document without any delete before it."""
        await scene.fill({"id": "a", "old": 1, "expiresAt": SOON})
        scene.clock.advance(10)
        (item,) = await scene.write(Put(THINGS, {"id": "a", "new": 1}, IF_ABSENT))
        assert item.document == {"id": "a", "new": 1}
        scene.clock.advance(-5)
        assert await scene.document("a") == {"id": "a", "new": 1}

    @case()
    async def test_an_expiry_can_be_moved_and_removed(self, scene: Scene) -> None:
        """By patch and by put."""
        await scene.fill(*({"id": name, "expiresAt": SOON} for name in "abcd"))
        await scene.write(
            Patch(THINGS, "a", {"expiresAt": "2026-01-31T12:00:20.000Z"}),
            Patch(THINGS, "b", {"expiresAt": None}),
            Put(THINGS, {"id": "c"}),
            Patch(THINGS, "d", {"n": 1}),
        )
        scene.clock.advance(10)
        assert await scene.ids() == ["a", "b", "c"]
        assert "expiresAt" not in (await scene.document("b") or {})
        scene.clock.advance(10)
        assert await scene.ids() == ["b", "c"]

    @case()
    async def test_far_and_past_expiries(self, scene: Scene) -> None:
        """The ends of the calendar: what is past is gone at once, what is far stays."""
        await scene.fill(
            {"id": "first", "expiresAt": "0001-01-01T00:00:00.000Z"},
            {"id": "epoch", "expiresAt": "1970-01-01T00:00:00.000Z"},
            {"id": "past", "expiresAt": "2026-01-31T11:59:59.999Z"},
            {"id": "far", "expiresAt": "9999-12-31T23:59:59.999Z"},
            {"id": "null", "expiresAt": None},
        )
        assert await scene.ids() == ["far", "null"]
        scene.clock.advance(1e9)
        assert await scene.ids() == ["far", "null"]

    @case()
    async def test_expired_documents_can_be_cleared(self, scene: Scene) -> None:
        """Clear and put leave nothing of them, whatever the clock says later."""
        await scene.fill({"id": "a", "expiresAt": SOON}, {"id": "b", "expiresAt": SOON})
        scene.clock.advance(10)
        await scene.write(Clear(THINGS))
        scene.clock.advance(-10)
        assert await scene.ids() == []
        assert (await scene.provider.versions(THINGS)).entries == []

    @case("reopen")
    async def test_expiry_survives_reopening(self, scene: Scene) -> None:
        """It is kept with the document."""
        await scene.fill({"id": "a", "expiresAt": SOON}, {"id": "b"})
        scene.clock.advance(10)
        await scene.reopen()
        assert await scene.ids() == ["b"]
        assert await scene.document("a") is None

    @case()
    async def test_expiry_with_indexes(self, scene: Scene) -> None:
        """Indexed and array queries leave expired documents out as well."""
        await scene.provider.declare(
            CollectionSpec(collection=THINGS, indexes=(Index.of("v"), Index.of("tags", each=True)))
        )
        document: JsonObject = {"v": 1, "tags": ["x"]}
        await scene.fill({"id": "a", "expiresAt": SOON, **document}, {"id": "b", **document})
        scene.clock.advance(10)
        assert await scene.ids({"v": 1}, "v") == ["b"]
        assert await scene.ids({"tags": {"$contains": "x"}}) == ["b"]
