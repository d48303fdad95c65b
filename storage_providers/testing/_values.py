"""Cases: what JSON values and ids survive, what is refused, and stamps."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from typing import Any, Final

import pytest

from storage_providers.errors import InvalidArgumentError, InvalidDocumentError
from storage_providers.protocol import Address, Delete, Item, JsonObject, Patch, Put
from storage_providers.testing._harness import THINGS, Scene, case, cases, exactly
from storage_providers.testing.strategies import AWKWARD_IDS, FIELDS, NUMBERS, TEXTS


def _nested(depth: int, *, objects: bool = False) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = {"d": value} if objects else [value]
    return value


VALUES: Final[dict[str, Any]] = {
    "scalars": [None, True, False, 0, 1, -1, 0.5, "", "text"],
    "one is not 1.0 is not true": [1, 1.0, True, 0, 0.0, -0.0, False],
    "numbers": list(NUMBERS),
    "doubles": [1e-7, 1.7976931348623157e308, 2.2250738585072014e-308, 0.1, 1e21, 123456789.123],
    "texts": list(TEXTS),
    "control characters": [chr(code) for code in range(0x20)] + ["\x7f", "a\x00b", "\u2028"],
    "empty": [[], {}, "", [[]], [{}], {"a": []}],
    "names": {name: position for position, name in enumerate((*FIELDS, "", " ", "id", "\x00"))},
    "deep arrays": _nested(190),
    "deep objects": _nested(190, objects=True),
    "a long text": "ä€😀" * 20_000,
    "a long list": list(range(5000)),
    "looks like ours": {"__encoding__": "zstd", "$ref": "x", "_id": 1, "version": 2, "body": "x"},
}

REFUSED: Final[dict[str, Any]] = {
    "nan": math.nan,
    "infinity": math.inf,
    "nested infinity": {"a": [0, -math.inf]},
    "bytes": b"bytes",
    "set": {1, 2},
    "datetime": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "decimal": decimal.Decimal("1.5"),
    "object": object(),
    "key that is no text": {1: "a"},
    "key None": {None: "a"},
    "lone surrogate": "\ud800",
    "lone surrogate in a key": {"\udfff": 1},
    "too deep": _nested(300),
    "far too deep": _nested(3000, objects=True),
}

ID_TABLE: Final = {f"{position}": item_id for position, item_id in enumerate(AWKWARD_IDS)}


class ValueCases:
    """Documents come back exactly as they were, or are refused."""

    @cases(VALUES)
    async def test_values_come_back_exactly(self, scene: Scene, value: Any) -> None:
        """Put, patch, batch, list and a second copy all keep the value to the bit."""
        document = {"id": "put", "v": value}
        (item,) = await scene.fill(document)
        assert exactly(item.document, document)
        assert exactly(await scene.document("put"), document)
        assert exactly(json.loads(item.body), document)
        await scene.fill({"id": "patched", "keep": 1.0})
        # In an array, since a patch would merge an object.
        plain: Any = [value]
        (patched,) = await scene.write(Patch(THINGS, "patched", {"v": plain}))
        assert exactly(patched.document, {"id": "patched", "keep": 1.0, "v": plain})
        assert exactly(await scene.document("patched"), patched.document)
        (listed, *_) = (await scene.provider.list_items(THINGS, order_by="-id")).items
        assert exactly(listed.document, document)
        (copy,) = await scene.fill(listed.document, collection="copies")
        assert exactly(copy.document, document)

    @cases(VALUES)
    async def test_a_patch_keeps_other_values_exactly(self, scene: Scene, value: Any) -> None:
        """Patching one field leaves the bits of all others."""
        await scene.fill({"id": "a", "v": value, "n": 1})
        (item,) = await scene.write(Patch(THINGS, "a", {"n": 2}))
        expected = {"id": "a", "v": value, "n": 2}
        assert exactly(item.document, expected)
        assert exactly(await scene.document("a"), expected)

    @cases(REFUSED)
    async def test_what_is_not_json_is_refused(self, scene: Scene, value: Any) -> None:
        """By create, put and update, naming the field; nothing is written."""
        await scene.fill({"id": "old", "v": 1})
        for attempt in (
            scene.provider.create_item(THINGS, {"id": "a", "v": value}),
            scene.provider.put_item(THINGS, {"id": "old", "v": value}),
            scene.provider.update_item(THINGS, "old", {"v": value}),
        ):
            with pytest.raises(InvalidDocumentError) as caught:
                await attempt
            assert caught.value.collection == THINGS
            assert (caught.value.field or "").split(".")[0] == "v"
        assert await scene.everything() == {"old": {"id": "old", "v": 1}}

    # --- ids -----------------------------------------------------------------------------------

    @cases(ID_TABLE)
    async def test_an_awkward_id_through_every_verb(self, scene: Scene, value: str) -> None:
        """Whatever an id holds, every verb finds this document and no other."""
        if len(value.encode()) > scene.capabilities.max_id_bytes:
            return
        provider = scene.provider
        created = await provider.create_item(THINGS, {"id": value, "n": 1})
        assert (created.id, created.document["id"]) == (value, value)
        assert await provider.read_item(THINGS, value) == created
        assert (await provider.update_item(THINGS, value, {"n": 2})).id == value
        (put,) = await provider.put_items(THINGS, [{"id": value, "n": 3}])
        assert (await provider.list_items(THINGS, where={"id": value})).items == [put]
        assert await scene.ids({"id": {"$prefix": value}}) == [value]
        (entry,) = (await provider.versions(THINGS)).entries
        assert (entry.id, entry.version) == (value, put.version)
        assert await provider.collections() == [THINGS]
        await provider.delete_item(THINGS, value)
        assert await provider.read_item(THINGS, value) is None
        assert await provider.count_items(THINGS) == 0

    @case()
    async def test_no_two_ids_are_one(self, scene: Scene) -> None:
        """Ids that file systems or databases may fold stay different documents."""
        limit = scene.capabilities.max_id_bytes
        ids = [item_id for item_id in AWKWARD_IDS if len(item_id.encode()) <= limit]
        await scene.fill(*({"id": item_id, "n": n} for n, item_id in enumerate(ids)))
        assert await scene.ids() == sorted(ids)
        assert await scene.ids(order_by="-id") == sorted(ids, reverse=True)
        read = await scene.provider.read_items(THINGS, ids)
        assert [item and item.document["n"] for item in read] == list(range(len(ids)))
        await scene.provider.delete_items(THINGS, ids[::2])
        assert await scene.ids() == sorted(ids[1::2])

    @case()
    async def test_awkward_ids_in_awkward_scopes(self, scene: Scene) -> None:
        """Ids and scopes that resemble each other's paths do not meet."""
        addresses = [
            Address("a/b/things", "c"),
            Address("a/things", "b/things/c"),
            Address("a/things", "../things/c"),
            Address("things", "a/b/things/c"),
            Address("b/things", "c"),
            Address("a%2fb/things", "c"),
            Address("a/things", "c"),
            Address("things", "c"),
            Address("things", "a/things/c"),
        ]
        await scene.write(
            *(Put(at.collection, {"id": at.id, "n": n}) for n, at in enumerate(addresses))
        )
        items = await scene.provider.read(addresses)
        assert [item and item.document["n"] for item in items] == list(range(len(addresses)))

    @case()
    async def test_the_longest_id(self, scene: Scene) -> None:
        """`max_id_bytes` bytes of UTF-8 are accepted, and ids that differ at their end differ."""
        limit = scene.capabilities.max_id_bytes
        ids = ["x" * limit, "x" * (limit - 1) + "y", "X" * limit, "€" * (limit // 3)]
        ids += ["😀" * (limit // 4), "/" * limit, "é" * (limit // 2 - 1) + "e"]
        await scene.fill(*({"id": item_id, "n": n} for n, item_id in enumerate(ids)))
        assert await scene.ids() == sorted(ids)
        read = await scene.provider.read_items(THINGS, ids)
        assert [item and item.document["n"] for item in read] == list(range(len(ids)))
        await scene.provider.delete_items(THINGS, ids)
        assert await scene.ids() == []

    @cases({"ascii": "x", "two bytes": "é", "four bytes": "😀"})
    async def test_an_id_too_long(self, scene: Scene, value: str) -> None:
        """One byte more is refused with both numbers, by every verb that names ids."""
        limit = scene.capabilities.max_id_bytes
        long = "x" * (limit + 1 - len(value.encode())) + value
        assert len(long.encode()) == limit + 1
        for attempt in (
            scene.provider.create_item(THINGS, {"id": long}),
            scene.provider.put_item(THINGS, {"id": long}),
            scene.provider.update_item(THINGS, long, {"n": 1}),
            scene.provider.delete_item(THINGS, long),
            scene.provider.read_item(THINGS, long),
        ):
            with pytest.raises(InvalidArgumentError, match=f"{limit + 1} bytes.*{limit}"):
                await attempt
        assert await scene.ids() == []

    @cases({"empty": "", "nul": "a\x00b", "surrogate": "\ud800", "number": 7, "none": None})
    async def test_what_is_no_id(self, scene: Scene, value: Any) -> None:
        """Empty text, U+0000, broken Unicode and other types are refused by every verb."""
        await scene.fill({"id": "a"})
        wrong: tuple[type[Exception], ...] = (InvalidArgumentError, InvalidDocumentError)
        with pytest.raises(InvalidArgumentError):
            await scene.provider.read_item(THINGS, value)
        with pytest.raises(wrong):
            await scene.provider.update_item(THINGS, value, {"n": 1})
        with pytest.raises(InvalidArgumentError):
            await scene.provider.write([Delete(THINGS, value)])
        if value is not None:
            with pytest.raises(wrong):
                await scene.provider.put_item(THINGS, {"id": value})
        assert await scene.ids() == ["a"]

    # --- stamps --------------------------------------------------------------------------------

    @case()
    async def test_stamps_never_repeat(self, scene: Scene) -> None:
        """While the clock stands still, every write has a later `updatedAt`; ids sort as made."""
        items: list[Item] = []
        for _ in range(20):
            items.append(await scene.provider.create_item(THINGS, {}))
            items.append(await scene.provider.update_item(THINGS, items[-1].id, {"n": 1}))
        stamps = [item.document["updatedAt"] for item in items]
        assert stamps == sorted(set(stamps))
        created = [item.id for item in items[::2]]
        assert created == sorted(set(created))

    @case()
    async def test_stamps_survive_a_clock_turned_back(self, scene: Scene) -> None:
        """When the clock goes back, stamps still go forward."""
        first = await scene.provider.create_item(THINGS, {"id": "a"})
        scene.clock.advance(-3600)
        second = await scene.provider.update_item(THINGS, "a", {"n": 1})
        third = await scene.provider.create_item(THINGS, {})
        stamps = [item.document["updatedAt"] for item in (first, second, third)]
        assert stamps == sorted(set(stamps))

    @case("conditional_write")
    async def test_modify_goes_past_a_stamp_from_the_future(self, scene: Scene) -> None:
        """A document stamped by a clock ahead of ours is stamped later still."""
        await scene.fill({"id": "a", "updatedAt": "2026-03-01T00:00:00.000Z"})
        item = await scene.provider.modify_item(THINGS, "a", lambda document: document)
        assert item.document["updatedAt"] == "2026-03-01T00:00:00.001Z"

    @case()
    async def test_put_keeps_what_it_is_given(self, scene: Scene) -> None:
        """`put_item` keeps a given `createdAt` and reads nothing of the old document."""
        await scene.provider.create_item(THINGS, {"id": "a"})
        scene.clock.advance(60)
        given: JsonObject = {"id": "a", "createdAt": "2001-01-01T00:00:00.000Z"}
        item = await scene.provider.put_item(THINGS, given)
        assert item.document == {**given, "updatedAt": "2026-01-31T12:01:00.000Z"}
        item = await scene.provider.put_item(THINGS, {"id": "a"})
        assert item.document["createdAt"] == "2026-01-31T12:01:00.001Z"
