"""Cases: batches over several documents, collections and scopes."""

from __future__ import annotations

import pytest

from storage_providers.errors import (
    BatchError,
    InvalidArgumentError,
    InvalidDocumentError,
    ItemExistsError,
    ItemNotFoundError,
    StorageError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    IF_PRESENT,
    Clear,
    Delete,
    IfVersion,
    JsonObject,
    Patch,
    Put,
    Write,
)
from storage_providers.testing._harness import THINGS, Scene, case, cases


class BatchCases:
    """All or nothing, or write by write; each document once."""

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


async def _state(scene: Scene) -> dict[str, dict[str, JsonObject]]:
    """Everything stored, by collection and id."""
    return {name: await scene.everything(name) for name in await scene.provider.collections()}
