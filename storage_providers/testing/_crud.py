"""Cases: creating, reading, changing and removing documents through the friendly face."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import pytest

from storage_providers.errors import (
    BatchError,
    InvalidDocumentError,
    ItemExistsError,
    ItemNotFoundError,
    StorageError,
    VersionMismatchError,
)
from storage_providers.protocol import Address, JsonObject
from storage_providers.testing._harness import THINGS, Scene, case, cases, exactly

UUID_V7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

MERGES: Final[dict[str, tuple[JsonObject, JsonObject, JsonObject]]] = {
    # The examples of RFC 7396, appendix A, whose target and patch are objects.
    "replace": ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    "add": ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    "remove": ({"a": "b"}, {"a": None}, {}),
    "remove one": ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    "array by text": ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    "text by array": ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    "nested": (
        {"a": {"b": "c", "d": "e"}},
        {"a": {"b": "d", "d": None}},
        {"a": {"b": "d"}},
    ),
    "array of objects": ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    "null beside": ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    "nulls vanish": ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    # And what they leave out.
    "object over text": ({"a": "text"}, {"a": {"b": 1, "c": None}}, {"a": {"b": 1}}),
    "text over object": ({"a": {"b": 1}}, {"a": "text"}, {"a": "text"}),
    "null inside an array stays": ({}, {"a": [None, {"b": None}]}, {"a": [None, {"b": None}]}),
    "remove what is absent": ({"a": 1}, {"zz": None}, {"a": 1}),
    "empty object merges": ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
    "empty object creates": ({}, {"a": {}}, {"a": {}}),
    "falsy values are values": (
        {"a": 1},
        {"a": 0, "b": "", "c": False},
        {"a": 0, "b": "", "c": False},
    ),
    "awkward names": (
        {"a.b": 1, "$x": {'q"': 1}},
        {"a.b": 2, "$x": {'q"': None, "'": 1}, "\\": 3, "": 4},
        {"a.b": 2, "$x": {"'": 1}, "\\": 3, "": 4},
    ),
    "numbers keep their kind": ({"a": 1}, {"a": 1.0, "b": 2**80}, {"a": 1.0, "b": 2**80}),
}


class CrudCases:
    """One document at a time, and the plural forms."""

    # --- create --------------------------------------------------------------------------------

    @case()
    async def test_create_gives_id_and_stamps(self, scene: Scene) -> None:
        """A document without an id gets a UUIDv7, and both stamps from the clock."""
        item = await scene.provider.create_item(THINGS, {"title": "x"})
        assert UUID_V7.fullmatch(item.id)
        assert item.collection == THINGS
        assert item.version
        assert item.document == {
            "id": item.id,
            "title": "x",
            "createdAt": "2026-01-31T12:00:00.000Z",
            "updatedAt": "2026-01-31T12:00:00.000Z",
        }
        assert await scene.provider.read_item(THINGS, item.id) == item

    @case()
    async def test_create_with_a_null_id_gives_one(self, scene: Scene) -> None:
        """An `id` of None counts as absent."""
        item = await scene.provider.create_item(THINGS, {"id": None})
        assert UUID_V7.fullmatch(item.id)
        assert item.document["id"] == item.id

    @case()
    async def test_create_leaves_the_callers_document_alone(self, scene: Scene) -> None:
        """What the caller passed is not changed, and changing it later changes nothing stored."""
        document: JsonObject = {"id": "a", "list": [1]}
        await scene.provider.create_item(THINGS, document)
        assert document == {"id": "a", "list": [1]}
        document["list"].append(2)
        stored = await scene.document("a")
        assert stored is not None
        assert stored["list"] == [1]

    @case()
    async def test_create_refuses_a_taken_id(self, scene: Scene) -> None:
        """The second create says which document exists, and changes nothing."""
        first = await scene.provider.create_item(THINGS, {"id": "a", "n": 1})
        with pytest.raises(ItemExistsError) as caught:
            await scene.provider.create_item(THINGS, {"id": "a", "n": 2})
        error = caught.value
        assert (error.collection, error.item_id) == (THINGS, "a")
        assert (error.operation, bool(error.provider)) == ("write", True)
        assert not error.retryable
        assert await scene.provider.read_item(THINGS, "a") == first

    @case()
    async def test_create_keeps_a_given_creation_time(self, scene: Scene) -> None:
        """`createdAt` is kept, other ISO 8601 forms of it are brought into ours."""
        kept = await scene.provider.create_item(
            THINGS, {"createdAt": "2020-01-01T00:00:00.000Z", "updatedAt": "2020-01-01"}
        )
        assert kept.document["createdAt"] == "2020-01-01T00:00:00.000Z"
        assert kept.document["updatedAt"] == "2026-01-31T12:00:00.000Z"
        other = await scene.provider.create_item(THINGS, {"createdAt": "2020-01-01T02:00:00+02:00"})
        assert other.document["createdAt"] == "2020-01-01T00:00:00.000Z"

    @cases({"text": "yesterday", "number": 1_700_000_000, "empty": ""})
    async def test_create_refuses_a_wrong_creation_time(self, scene: Scene, value: Any) -> None:
        """A `createdAt` that is no time is refused, naming the field."""
        with pytest.raises(InvalidDocumentError) as caught:
            await scene.provider.create_item(THINGS, {"id": "a", "createdAt": value})
        assert caught.value.field == "createdAt"
        assert caught.value.collection == THINGS
        assert await scene.document("a") is None

    @cases({"list": [], "text": "x", "number": 7, "none": None})
    async def test_only_objects_are_documents(self, scene: Scene, value: Any) -> None:
        """Anything but a mapping is refused as a document."""
        with pytest.raises(InvalidDocumentError):
            await scene.provider.create_item(THINGS, value)
        with pytest.raises(InvalidDocumentError):
            await scene.provider.put_item(THINGS, value)
        assert await scene.provider.count_items(THINGS) == 0

    @case()
    async def test_create_items_in_order(self, scene: Scene) -> None:
        """Several documents are created at once from any iterable; results stand in order."""
        items = await scene.provider.create_items(THINGS, ({"id": f"{n}"} for n in (3, 1, 2)))
        assert [item.id for item in items] == ["3", "1", "2"]
        assert await scene.ids() == ["1", "2", "3"]

    @case("atomic_batch")
    async def test_create_items_is_atomic(self, scene: Scene) -> None:
        """One taken id refuses the whole batch and names the write."""
        await scene.fill({"id": "b", "n": 0})
        with pytest.raises(ItemExistsError) as caught:
            await scene.provider.create_items(THINGS, [{"id": "a"}, {"id": "b"}, {"id": "c"}])
        assert (caught.value.index, caught.value.item_id) == (1, "b")
        assert await scene.everything() == {"b": {"id": "b", "n": 0}}

    @case(lacks=["atomic_batch"])
    async def test_create_items_says_what_landed(self, scene: Scene) -> None:
        """One taken id leaves the others, and the error says so write by write."""
        await scene.fill({"id": "b", "n": 0})
        with pytest.raises(BatchError) as caught:
            await scene.provider.create_items(THINGS, [{"id": "a"}, {"id": "b"}, {"id": "c"}])
        first, second, third = caught.value.results
        assert isinstance(second, ItemExistsError)
        assert not isinstance(first, StorageError)
        assert not isinstance(third, StorageError)
        assert await scene.ids() == ["a", "b", "c"]

    @case()
    async def test_a_wrong_document_refuses_the_whole_batch(self, scene: Scene) -> None:
        """A document that is no JSON is found before anything is written, and named by position."""
        with pytest.raises(InvalidDocumentError) as caught:
            await scene.provider.create_items(THINGS, [{"id": "a"}, {"id": "b", "x": {1, 2}}])
        assert (caught.value.index, caught.value.item_id) == (1, "b")
        assert caught.value.field == "x"
        assert await scene.provider.count_items(THINGS) == 0

    # --- read ----------------------------------------------------------------------------------

    @case()
    async def test_reading_what_is_absent(self, scene: Scene) -> None:
        """An absent document is None, an unknown collection is empty; neither is an error."""
        await scene.fill({"id": "a"})
        assert await scene.provider.read_item(THINGS, "b") is None
        assert await scene.provider.read_item("never_seen", "a") is None
        assert await scene.provider.count_items("never_seen") == 0
        page = await scene.provider.list_items("never_seen", total=True)
        assert (page.items, page.cursor, page.total) == ([], None, 0)
        assert (await scene.provider.versions("never_seen")).entries == []
        assert "never_seen" not in await scene.provider.collections()

    @case()
    async def test_read_items_in_order(self, scene: Scene) -> None:
        """Results stand in the order asked, absent ones as None, repeated ones repeated."""
        await scene.fill({"id": "a"}, {"id": "b"})
        items = await scene.provider.read_items(THINGS, iter(["b", "x", "a", "b"]))
        assert [item and item.id for item in items] == ["b", None, "a", "b"]
        assert await scene.provider.read_items(THINGS, []) == []

    @case()
    async def test_read_spans_collections(self, scene: Scene) -> None:
        """One read takes documents from several collections and scopes."""
        for collection in ("one", "two", "u/one"):
            await scene.fill({"id": "a", "in": collection}, collection=collection)
        addresses = [Address(name, "a") for name in ("two", "u/one", "three", "one")]
        items = await scene.provider.read(addresses)
        assert [item and (item.collection, item.document["in"]) for item in items] == [
            ("two", "two"),
            ("u/one", "u/one"),
            None,
            ("one", "one"),
        ]

    @case()
    async def test_what_was_read_is_the_callers(self, scene: Scene) -> None:
        """Changing a document that was read, listed or returned changes nothing stored."""
        returned = await scene.provider.put_item(THINGS, {"id": "a", "n": [1]})
        read = await scene.provider.read_item(THINGS, "a")
        listed = (await scene.provider.list_items(THINGS)).items[0]
        assert read is not None
        for item in (returned, read, listed):
            item.document["n"].append("spoilt")
        stored = await scene.document("a")
        assert stored is not None
        assert stored["n"] == [1]
        assert await scene.ids({"n": {"$contains": "spoilt"}}) == []

    # --- put -----------------------------------------------------------------------------------

    @case()
    async def test_put_creates_and_replaces_whole(self, scene: Scene) -> None:
        """A put replaces the whole document; nothing of the old one stays."""
        first = await scene.provider.put_item(THINGS, {"id": "a", "x": 1, "y": {"z": 1}})
        second = await scene.provider.put_item(THINGS, {"id": "a", "y": {"w": 2}})
        assert second.version != first.version
        stored = await scene.provider.read_item(THINGS, "a")
        assert stored == second
        assert stored is not None
        assert stored.document.keys() == {"id", "y", "createdAt", "updatedAt"}
        assert stored.document["y"] == {"w": 2}

    @case("conditional_write")
    async def test_put_with_the_right_version(self, scene: Scene) -> None:
        """`if_version` lets the put through while it is the version."""
        first = await scene.provider.put_item(THINGS, {"id": "a", "n": 1})
        second = await scene.provider.put_item(
            THINGS, {"id": "a", "n": 2}, if_version=first.version
        )
        assert second.document["n"] == 2
        with pytest.raises(VersionMismatchError) as caught:
            await scene.provider.put_item(THINGS, {"id": "a", "n": 3}, if_version=first.version)
        assert caught.value.expected_version == first.version
        assert caught.value.actual_version == second.version
        assert (await scene.document("a") or {})["n"] == 2

    @case("conditional_write")
    async def test_put_with_the_version_of_what_is_gone(self, scene: Scene) -> None:
        """A put with `if_version` never brings a removed document back."""
        item = await scene.provider.put_item(THINGS, {"id": "a"})
        await scene.provider.delete_item(THINGS, "a")
        with pytest.raises(VersionMismatchError) as caught:
            await scene.provider.put_item(THINGS, {"id": "a"}, if_version=item.version)
        assert caught.value.actual_version is None
        assert await scene.document("a") is None

    @case()
    async def test_put_items(self, scene: Scene) -> None:
        """Several documents are created and replaced at once."""
        await scene.fill({"id": "b", "old": True})
        items = await scene.provider.put_items(THINGS, [{"id": "b"}, {"id": "a"}])
        assert [item.id for item in items] == ["b", "a"]
        assert "old" not in (await scene.document("b") or {})
        assert await scene.provider.put_items(THINGS, []) == []

    # --- update --------------------------------------------------------------------------------

    @cases(MERGES)
    async def test_update_is_a_merge_patch(
        self, scene: Scene, value: tuple[JsonObject, JsonObject, JsonObject]
    ) -> None:
        """Changes apply as RFC 7396 says."""
        before, changes, after = value
        await scene.fill({"id": "x", **before})
        item = await scene.provider.update_item(THINGS, "x", changes)
        expected = {"id": "x", **after, "updatedAt": "2026-01-31T12:00:00.000Z"}
        assert exactly(item.document, expected)
        assert exactly(await scene.document("x"), expected)

    @case()
    async def test_update_keeps_the_rest_and_stamps(self, scene: Scene) -> None:
        """Other fields and `createdAt` stay, `updatedAt` moves, the version changes."""
        before = await scene.provider.create_item(THINGS, {"id": "a", "x": 1, "y": 2})
        scene.clock.advance(5)
        after = await scene.provider.update_item(THINGS, "a", {"y": 3, "updatedAt": "mine"})
        assert after.document == {
            **before.document,
            "y": 3,
            "updatedAt": "2026-01-31T12:00:05.000Z",
        }
        assert after.version != before.version
        assert await scene.provider.read_item(THINGS, "a") == after

    @case()
    async def test_update_never_creates(self, scene: Scene) -> None:
        """Updating what is absent is an error with its facts, and creates nothing."""
        with pytest.raises(ItemNotFoundError) as caught:
            await scene.provider.update_item(THINGS, "a", {"x": 1})
        assert (caught.value.collection, caught.value.item_id) == (THINGS, "a")
        assert caught.value.operation == "write"
        assert await scene.document("a") is None

    @cases({"other": "b", "null": None, "number": 1})
    async def test_update_can_not_change_the_id(self, scene: Scene, value: Any) -> None:
        """Changes that name another id are refused; naming the same is harmless."""
        await scene.fill({"id": "a", "x": 1})
        with pytest.raises(InvalidDocumentError) as caught:
            await scene.provider.update_item(THINGS, "a", {"id": value, "x": 2})
        assert caught.value.field == "id"
        assert await scene.document("a") == {"id": "a", "x": 1}
        await scene.provider.update_item(THINGS, "a", {"id": "a", "x": 3})
        assert (await scene.document("a") or {})["x"] == 3

    @case()
    async def test_update_items(self, scene: Scene) -> None:
        """Several documents are patched in one batch."""
        await scene.fill({"id": "a", "x": 1, "y": 1}, {"id": "b", "x": 1}, {"id": "c"})
        items = await scene.provider.update_items(THINGS, {"b": {"x": 2}, "a": {"y": None}})
        assert [item.id for item in items] == ["b", "a"]
        everything = await scene.everything()
        assert {key: {**value, "updatedAt": 0} for key, value in everything.items()} == {
            "a": {"id": "a", "x": 1, "updatedAt": 0},
            "b": {"id": "b", "x": 2, "updatedAt": 0},
            "c": {"id": "c", "updatedAt": 0},
        }

    @case("atomic_batch")
    async def test_update_items_is_atomic(self, scene: Scene) -> None:
        """One absent document refuses the whole batch."""
        await scene.fill({"id": "a", "x": 1})
        with pytest.raises(ItemNotFoundError) as caught:
            await scene.provider.update_items(THINGS, {"a": {"x": 2}, "nope": {"x": 2}})
        assert (caught.value.index, caught.value.item_id) == (1, "nope")
        assert await scene.document("a") == {"id": "a", "x": 1}

    # --- modify --------------------------------------------------------------------------------

    @case("conditional_write")
    async def test_modify_replaces_by_a_function(self, scene: Scene) -> None:
        """The function gets the document, and what it returns is stored; ids and times stay."""
        before = await scene.provider.create_item(THINGS, {"id": "a", "n": 1, "old": 1})
        scene.clock.advance(1)

        def change(document: JsonObject) -> Mapping[str, Any]:
            assert document == before.document
            return {"n": document["n"] + 1}

        after = await scene.provider.modify_item(THINGS, "a", change)
        assert after.document == {
            "id": "a",
            "n": 2,
            "createdAt": before.document["createdAt"],
            "updatedAt": "2026-01-31T12:00:01.000Z",
        }
        assert await scene.provider.read_item(THINGS, "a") == after

    @case("conditional_write")
    async def test_modify_of_what_is_absent(self, scene: Scene) -> None:
        """The function is not even called."""
        with pytest.raises(ItemNotFoundError) as caught:
            await scene.provider.modify_item(THINGS, "a", lambda _: pytest.fail("called"))
        assert (caught.value.collection, caught.value.item_id) == (THINGS, "a")
        assert await scene.document("a") is None

    @cases({"another id": {"id": "b"}, "none": None, "no JSON": {"x": {1}}}, "conditional_write")
    async def test_modify_refuses_what_can_not_be_stored(self, scene: Scene, value: Any) -> None:
        """A function's result with another id, or that is no document, changes nothing."""
        await scene.fill({"id": "a", "x": 1})
        with pytest.raises(InvalidDocumentError):
            await scene.provider.modify_item(THINGS, "a", lambda _: value)
        assert await scene.everything() == {"a": {"id": "a", "x": 1}}

    @case("conditional_write")
    async def test_modify_passes_on_what_the_function_raises(self, scene: Scene) -> None:
        """An exception of the function reaches the caller; the document stays."""
        await scene.fill({"id": "a", "x": 1})

        def change(document: JsonObject) -> Mapping[str, Any]:
            document["x"] = "spoilt"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await scene.provider.modify_item(THINGS, "a", change)
        assert await scene.document("a") == {"id": "a", "x": 1}

    @case("conditional_write")
    async def test_modify_begins_anew_after_a_conflict(self, scene: Scene) -> None:
        """When the document was changed meanwhile, the function sees the newer one."""
        await scene.fill({"id": "a", "n": 1})
        seen: list[int] = []
        first = await scene.provider.read_item(THINGS, "a")
        assert first is not None

        real_read = scene.provider.read_item

        async def stale_then_real(collection: str, item_id: str) -> Any:
            item = first if not seen else await real_read(collection, item_id)
            if not seen:
                await scene.fill({"id": "a", "n": 10})
            return item

        def change(document: JsonObject) -> Mapping[str, Any]:
            seen.append(document["n"])
            return {**document, "n": document["n"] + 1}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scene.provider, "read_item", stale_then_real)
            item = await scene.provider.modify_item(THINGS, "a", change)
        assert seen == [1, 10]
        assert item.document["n"] == 11

    # --- delete --------------------------------------------------------------------------------

    @case()
    async def test_delete(self, scene: Scene) -> None:
        """A removed document is gone everywhere; the others stay."""
        await scene.fill({"id": "a"}, {"id": "b"})
        await scene.provider.delete_item(THINGS, "a")
        assert await scene.document("a") is None
        assert await scene.ids() == ["b"]
        assert await scene.provider.count_items(THINGS) == 1
        assert [entry.id for entry in (await scene.provider.versions(THINGS)).entries] == ["b"]

    @case()
    async def test_deleting_what_is_absent(self, scene: Scene) -> None:
        """It is not an error, twice neither, and creates no collection."""
        await scene.provider.delete_item(THINGS, "a")
        await scene.provider.delete_item(THINGS, "a")
        await scene.provider.delete_items(THINGS, ["a", "b"])
        assert THINGS not in await scene.provider.collections()

    @case()
    async def test_delete_items(self, scene: Scene) -> None:
        """Several are removed in one batch; naming one twice or an absent one is harmless."""
        await scene.fill(*({"id": name} for name in "abcd"))
        await scene.provider.delete_items(THINGS, iter(["a", "c", "a", "zz"]))
        assert await scene.ids() == ["b", "d"]
        await scene.provider.delete_items(THINGS, [])

    @case()
    async def test_create_after_delete(self, scene: Scene) -> None:
        """A removed id is free again, and its old fields do not come back."""
        await scene.fill({"id": "a", "old": 1})
        await scene.provider.delete_item(THINGS, "a")
        item = await scene.provider.create_item(THINGS, {"id": "a", "new": 1})
        assert item.document.keys() == {"id", "new", "createdAt", "updatedAt"}

    @case("conditional_delete")
    async def test_delete_with_a_version(self, scene: Scene) -> None:
        """`if_version` removes only that version."""
        first = await scene.provider.put_item(THINGS, {"id": "a", "n": 1})
        second = await scene.provider.put_item(THINGS, {"id": "a", "n": 2})
        with pytest.raises(VersionMismatchError) as caught:
            await scene.provider.delete_item(THINGS, "a", if_version=first.version)
        assert caught.value.actual_version == second.version
        assert await scene.document("a") is not None
        await scene.provider.delete_item(THINGS, "a", if_version=second.version)
        assert await scene.document("a") is None

    # --- clear ---------------------------------------------------------------------------------

    @case()
    async def test_clear_empties_one_collection(self, scene: Scene) -> None:
        """Every document of the collection goes, no other's; clearing again is harmless."""
        await scene.fill(*({"id": name} for name in "abc"))
        await scene.fill({"id": "a"}, collection="others")
        await scene.provider.clear_collection(THINGS)
        assert await scene.ids() == []
        assert (await scene.provider.versions(THINGS)).entries == []
        assert THINGS not in await scene.provider.collections()
        assert await scene.ids(collection="others") == ["a"]
        await scene.provider.clear_collection(THINGS)
        await scene.provider.clear_collection("never_seen")
        await scene.provider.create_item(THINGS, {"id": "a"})
        assert await scene.ids() == ["a"]
