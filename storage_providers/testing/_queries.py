"""Cases: the `where` language, order, projection, totals; with and without indexes."""

from __future__ import annotations

from typing import Any, Final

import pytest

from storage_providers.errors import InvalidArgumentError, UnsupportedOperationError
from storage_providers.protocol import CollectionSpec, Index, JsonObject, Query
from storage_providers.testing._harness import THINGS, Scene, case, cases, exactly

BIG: Final = 2**53

POPULATION: Final[tuple[JsonObject, ...]] = (
    {"id": "absent"},
    {"id": "null", "v": None},
    {"id": "false", "v": False},
    {"id": "true", "v": True},
    {"id": "zero", "v": 0},
    {"id": "one", "v": 1},
    {"id": "one.0", "v": 1.0},
    {"id": "minus", "v": -1.5},
    {"id": "2^53", "v": BIG},
    {"id": "2^53+1", "v": BIG + 1},
    {"id": "2^64", "v": 2**64},
    {"id": "huge", "v": 10**400},
    {"id": "empty", "v": ""},
    {"id": "text 1", "v": "1"},
    {"id": "Apple", "v": "Apple"},
    {"id": "apple", "v": "apple"},
    {"id": "apple pie", "v": "apple pie"},
    {"id": "100%", "v": "100%_[*]"},
    {"id": "é", "v": "é"},
    {"id": "bmp", "v": "\uffff"},
    {"id": "astral", "v": "😀"},
    {"id": "array", "v": [1, "apple", None, [5]]},
    {"id": "no array", "v": []},
    {"id": "object", "v": {"w": 1, "x": {"y": "deep"}}},
    {"id": "no object", "v": {}},
    {"id": "dotted", "v.w": 1, "$v": "dollar", "v\\": "back", "": "none", "q\"'": 1, "0": "zero"},
)

ABOVE_ZERO: Final = ("one", "one.0", "true", "2^53", "2^53+1", "2^64", "huge")
NUMBERS: Final = ("minus", "false", "zero", *ABOVE_ZERO)
TEXTS: Final = (
    "empty",
    "text 1",
    "100%",
    "Apple",
    "apple",
    "apple pie",
    "é",
    "bmp",
    "astral",
)
NOTHING: Final = ("absent", "array", "dotted", "no array", "no object", "null", "object")
ALL: Final = frozenset(str(document["id"]) for document in POPULATION)


def _but(*ids: str) -> set[str]:
    return set(ALL) - set(ids)


WHERES: Final[dict[str, tuple[Any, set[str]]]] = {
    "none": (None, set(ALL)),
    "empty": ({}, set(ALL)),
    "number": ({"v": 1}, {"one", "one.0", "true"}),
    "double": ({"v": 1.0}, {"one", "one.0", "true"}),
    "true": ({"v": True}, {"one", "one.0", "true"}),
    "false": ({"v": False}, {"zero", "false"}),
    "minus zero": ({"v": -0.0}, {"zero", "false"}),
    "text": ({"v": "apple"}, {"apple"}),
    "text is no number": ({"v": "1"}, {"text 1"}),
    "empty text": ({"v": ""}, {"empty"}),
    "null is missing": ({"v": None}, {"null", "absent", "dotted"}),
    "eq null": ({"v": {"$eq": None}}, {"null", "absent", "dotted"}),
    "beyond doubles": ({"v": BIG + 1}, {"2^53+1"}),
    "at 2^53": ({"v": float(BIG)}, {"2^53"}),
    "beyond 64 bits": ({"v": 2**64}, {"2^64"}),
    "beyond 64 bits as doubles": ({"v": 2**64 + 1}, {"2^64"}),
    "beyond every double": ({"v": {"$gt": 1.7e308}}, {"huge"}),
    "ne": ({"v": {"$ne": 1}}, _but("one", "one.0", "true")),
    "ne text": ({"v": {"$ne": "apple"}}, _but("apple")),
    "ne null": ({"v": {"$ne": None}}, _but("null", "absent", "dotted")),
    "gt": ({"v": {"$gt": 1}}, {"2^53", "2^53+1", "2^64", "huge"}),
    "gt exact": ({"v": {"$gt": BIG}}, {"2^53+1", "2^64", "huge"}),
    "gte": ({"v": {"$gte": 1}}, set(ABOVE_ZERO)),
    "lt": ({"v": {"$lt": 0}}, {"minus"}),
    "lte": ({"v": {"$lte": 0}}, {"minus", "false", "zero"}),
    "lt text": ({"v": {"$lt": "Apple"}}, {"empty", "text 1", "100%"}),
    "gt text": ({"v": {"$gt": "apple"}}, {"apple pie", "é", "bmp", "astral"}),
    "gt by code point": ({"v": {"$gt": "\uffff"}}, {"astral"}),
    "between": ({"v": {"$gte": -2, "$lt": 1}}, {"minus", "false", "zero"}),
    "in": ({"v": {"$in": [1, "apple", "nope"]}}, {"one", "one.0", "true", "apple"}),
    "in null": ({"v": {"$in": [None, ""]}}, {"null", "absent", "dotted", "empty"}),
    "in nothing": ({"v": {"$in": []}}, set()),
    "nin": ({"v": {"$nin": [1, None]}}, _but("one", "one.0", "true", "null", "absent", "dotted")),
    "nin nothing": ({"v": {"$nin": []}}, set(ALL)),
    "in many": ({"v": {"$in": [*range(2, 1200), "é"]}}, {"é"}),
    "exists": ({"v": {"$exists": True}}, _but("absent", "dotted")),
    "exists not": ({"v": {"$exists": False}}, {"absent", "dotted"}),
    "prefix": ({"v": {"$prefix": "apple"}}, {"apple", "apple pie"}),
    "prefix is literal": ({"v": {"$prefix": "100%_["}}, {"100%"}),
    "prefix no wildcard": ({"v": {"$prefix": "a%"}}, set()),
    "empty prefix is any text": ({"v": {"$prefix": ""}}, set(TEXTS)),
    "prefix at the end of unicode": ({"v": {"$prefix": "\uffff"}}, {"bmp"}),
    "contains in text": ({"v": {"$contains": "pp"}}, {"Apple", "apple", "apple pie"}),
    "contains is literal": ({"v": {"$contains": "%_[*"}}, {"100%"}),
    "contains no wildcard": ({"v": {"$contains": "_"}}, {"100%"}),
    "contains member": ({"v": {"$contains": 1}}, {"array"}),
    "contains true as 1": ({"v": {"$contains": True}}, {"array"}),
    "contains text member": ({"v": {"$contains": "apple"}}, {"apple", "apple pie", "array"}),
    "contains no part of a member": ({"v": {"$contains": "appl"}}, {"apple", "apple pie"}),
    "contains null": ({"v": {"$contains": None}}, {"array"}),
    "contains not nested": ({"v": {"$contains": 5}}, set()),
    "contains empty text": ({"v": {"$contains": ""}}, set(TEXTS)),
    "not": (
        {"v": {"$not": {"$gt": 0}}},
        _but(*ABOVE_ZERO),
    ),
    "not prefix": ({"v": {"$not": {"$prefix": "a"}}}, _but("apple", "apple pie")),
    "two operators": ({"v": {"$prefix": "a", "$ne": "apple"}}, {"apple pie"}),
    "two fields": ({"v": {"$prefix": "a"}, "id": "apple"}, {"apple"}),
    "and": ({"$and": [{"v": {"$gt": 0}}, {"v": {"$lt": 2}}]}, {"one", "one.0", "true"}),
    "or": ({"$or": [{"v": "é"}, {"v": {"$lt": 0}}]}, {"é", "minus"}),
    "not whole": ({"$not": {"v": {"$exists": True}}}, {"absent", "dotted"}),
    "and of nothing": ({"$and": []}, set(ALL)),
    "or of nothing": ({"$or": []}, set()),
    "not of nothing": ({"$not": {}}, set()),
    "nested": (
        {"$or": [{"$and": [{"v": 1}, {"$not": {"id": "one"}}]}, {"v": {"$in": ["é"]}}]},
        {"one.0", "true", "é"},
    ),
    "path": ({"v.w": 1}, {"object"}),
    "deep path": ({"v.x.y": {"$prefix": "de"}}, {"object"}),
    "path steps through no array": ({"v.0": 1}, set()),
    "path into a text": ({"v.x": {"$exists": True}}, {"object"}),
    "missing path": ({"v.x.nope": None, "v.x": {"$exists": True}}, {"object"}),
    "literal dot": ({"v\\.w": 1}, {"dotted"}),
    "literal dollar": ({"\\$v": "dollar"}, {"dotted"}),
    "literal backslash": ({"v\\\\": "back"}, {"dotted"}),
    "quotes in a name": ({"q\"'": 1}, {"dotted"}),
    "a name that is a number": ({"0": "zero"}, {"dotted"}),
    "id": ({"id": "é"}, {"é"}),
    "id range": ({"id": {"$gte": "\uffff"}}, set()),
    "injection": ({"v": "' OR 1=1 --"}, set()),
    "injection by name": ({"v') OR 1=1 --": 1}, set()),
    "equal to object never": ({"v": {"$in": ["[object Object]", "{}"]}}, set()),
}

WRONG_WHERES: Final[dict[str, Any]] = {
    "a list": [],
    "text": "v = 1",
    "unknown operator": {"v": {"$like": "a"}},
    "unknown top operator": {"$xor": []},
    "operator without dollar": {"v": {"gt": 1}},
    "object to compare with": {"v": {"$eq": {"a": 1}}},
    "list to compare with": {"v": [1]},
    "empty operators": {"v": {}},
    "mixed": {"v": {"$gt": 1, "w": 2}},
    "gt null": {"v": {"$gt": None}},
    "in text": {"v": {"$in": "abc"}},
    "in lists": {"v": {"$in": [[1]]}},
    "exists number": {"v": {"$exists": 1}},
    "prefix number": {"v": {"$prefix": 1}},
    "contains list": {"v": {"$contains": [1]}},
    "not value": {"v": {"$not": 1}},
    "and object": {"$and": {"v": 1}},
    "or of texts": {"$or": ["v"]},
    "nan": {"v": float("nan")},
    "infinity": {"v": {"$lt": float("inf")}},
    "bytes": {"v": b"x"},
    "empty path": {"": 1},
    "empty step": {"v..w": 1},
    "ending dot": {"v.": 1},
    "lone backslash": {"v\\": 1},
    "nul in a path": {"v\x00": 1},
    "surrogate": {"v": "\ud800"},
    "surrogate in a path": {"\ud800": 1},
    "number as a name": {1: 1},
    "empty text search": {"$text": " "},
}


def _deep(levels: int, operator: str) -> Any:
    where: Any = {"v": 1}
    for _ in range(levels):
        where = {operator: where if operator == "$not" else [where, {"v": 2}]}
    return where


class QueryCases:
    """What matches, and in which order."""

    @cases(WHERES)
    async def test_where(self, scene: Scene, value: tuple[Any, set[str]]) -> None:
        """Exactly the expected documents match, in listings, totals and counts."""
        where, expected = value
        await scene.fill(*POPULATION)
        assert set(await scene.ids(where)) == expected
        assert await scene.provider.count_items(THINGS, where=where) == len(expected)

    @cases(
        {
            "one field": [Index.of("v")],
            "descending": [Index.of("-v")],
            "with id": [Index.of("v", "-id")],
            "id": [Index.of("id", "v")],
            "each": [Index.of("v", each=True)],
            "nested": [Index.of("v.w"), Index.of("v.x.y"), Index.of("v\\.w"), Index.of("\\$v")],
            "all": [Index.of("v"), Index.of("v", each=True), Index.of("-id"), Index.of("v.w", "v")],
        }
    )
    async def test_indexes_change_no_answer(self, scene: Scene, value: list[Index]) -> None:
        """With any indexes, declared before or after the documents, all answers stay."""
        spec = CollectionSpec(collection=THINGS, indexes=tuple(value))
        await scene.fill(*POPULATION[::2])
        await scene.provider.declare(spec)
        await scene.fill(*POPULATION[1::2])
        for name, (where, expected) in WHERES.items():
            assert set(await scene.ids(where)) == expected, name
        assert await scene.ids(order_by="v") == await _unindexed(scene, "v")
        assert await scene.ids(order_by="-v") == await _unindexed(scene, "-v")
        assert await scene.ids(order_by=("-v", "id")) == await _unindexed(scene, "-v", "id")

    @cases(WRONG_WHERES)
    async def test_wrong_wheres_are_refused(self, scene: Scene, value: Any) -> None:
        """A `where` outside the language is refused, on empty and unknown collections too."""
        await scene.fill({"id": "a", "v": 1})
        for collection in (THINGS, "never_seen"):
            with pytest.raises(InvalidArgumentError) as caught:
                await scene.provider.list_items(collection, where=value)
            assert caught.value.operation == "query"
            with pytest.raises(InvalidArgumentError):
                await scene.provider.count_items(collection, where=value)

    @cases({"and": "$and", "or": "$or", "not": "$not"})
    async def test_deep_wheres(self, scene: Scene, value: str) -> None:
        """20 levels are answered, 21 refused with the number."""
        await scene.fill({"id": "a", "v": 1}, {"id": "b", "v": 2})
        found = await scene.ids(_deep(20, value))
        assert found == {"$and": [], "$or": ["a", "b"], "$not": ["a"]}[value]
        with pytest.raises(InvalidArgumentError, match="20"):
            await scene.ids(_deep(21, value))

    @case()
    async def test_wide_wheres(self, scene: Scene) -> None:
        """Conditions with hundreds of parts are answered."""
        await scene.fill(*({"id": f"{n:03}", "v": n} for n in range(300)))
        either = {"$or": [{"v": n} for n in range(0, 300, 2)]}
        assert len(await scene.ids(either)) == 150
        every = {"$and": [{"v": {"$ne": n}} for n in range(150)]}
        assert len(await scene.ids(every)) == 150

    @case(lacks=["text_search"])
    async def test_text_search_undeclared(self, scene: Scene) -> None:
        """Without `text_search`, `$text` is refused wherever it stands."""
        await scene.fill({"id": "a", "v": "word"})
        for where in ({"$text": "word"}, {"$or": [{"$not": {"$text": "word"}}, {"v": 1}]}):
            with pytest.raises(UnsupportedOperationError):
                await scene.provider.list_items(THINGS, where=where)
            with pytest.raises(UnsupportedOperationError):
                await scene.provider.count_items("never_seen", where=where)

    # --- order ---------------------------------------------------------------------------------

    @case()
    async def test_order_across_kinds(self, scene: Scene) -> None:
        """Null and missing, arrays and objects first; then numbers; then text by code point."""
        await scene.fill(*POPULATION)
        expected = [*NOTHING, *NUMBERS, *TEXTS]
        assert await scene.ids(order_by="v") == expected
        assert await scene.ids(order_by="-v") == expected[::-1]

    @case()
    async def test_ties_are_broken_by_id(self, scene: Scene) -> None:
        """In the direction of the last field."""
        await scene.fill(*({"id": name, "v": 1} for name in "bca"))
        assert await scene.ids(order_by="v") == ["a", "b", "c"]
        assert await scene.ids(order_by="-v") == ["c", "b", "a"]
        assert await scene.ids(order_by=("v", "-w")) == ["c", "b", "a"]
        assert await scene.ids(order_by=("-v", "w")) == ["a", "b", "c"]
        assert await scene.ids(order_by=("-v", "id")) == ["a", "b", "c"]
        assert await scene.ids() == ["a", "b", "c"]

    @case()
    async def test_order_by_several_fields(self, scene: Scene) -> None:
        """Fields count in their order, each in its direction, nested ones too."""
        await scene.fill(
            {"id": "1", "a": "x", "b": {"c": 1}},
            {"id": "2", "a": "x", "b": {"c": 2}},
            {"id": "3", "a": "w", "b": {"c": 2}},
            {"id": "4", "a": "w"},
            {"id": "5", "b": {"c": 9}},
        )
        assert await scene.ids(order_by=("a", "-b.c")) == ["5", "3", "4", "2", "1"]
        assert await scene.ids(order_by=["-b.c", "-a"]) == ["5", "2", "3", "1", "4"]
        assert await scene.ids({"a": {"$exists": True}}, ("-a", "b.c")) == ["1", "2", "4", "3"]

    @case()
    async def test_order_of_exact_numbers(self, scene: Scene) -> None:
        """Integers of 64 bits sort exactly, also against doubles."""
        values = [2**63 - 1, 2**53 + 1, float(2**53), -(2**63), 2**53 + 2, 0.5, 2**62 + 1, 2**62]
        await scene.fill(*({"id": f"{n}", "v": value} for n, value in enumerate(values)))
        expected = [f"{n}" for n, _ in sorted(enumerate(values), key=lambda pair: pair[1])]
        assert await scene.ids(order_by="v") == expected
        for number, value in enumerate(values):
            assert await scene.ids({"v": value}) == [f"{number}"]

    @cases(
        {"twice": ("v", "-v"), "empty": ("",), "step": ("a..b",), "nul": ("\x00",), "minus": ("-",)}
    )
    async def test_wrong_orders_are_refused(self, scene: Scene, value: tuple[str, ...]) -> None:
        """Malformed paths and fields named twice."""
        with pytest.raises(InvalidArgumentError):
            await scene.provider.list_items(THINGS, order_by=value)

    @case()
    async def test_order_by_awkward_names(self, scene: Scene) -> None:
        """Escaped names sort by that very field."""
        await scene.fill({"id": "a", "v.w": 2, "-x": 1, "q'\"": 1}, {"id": "b", "v.w": 1, "-x": 2})
        assert await scene.ids(order_by="v\\.w") == ["b", "a"]
        assert await scene.ids(order_by="\\-x") == ["a", "b"]
        assert await scene.ids(order_by="-\\-x") == ["b", "a"]
        assert await scene.ids(order_by="-q'\"") == ["a", "b"]

    # --- what comes back -----------------------------------------------------------------------

    @case()
    async def test_items_of_queries_are_as_read(self, scene: Scene) -> None:
        """Listed items equal read ones: version, body and all."""
        items = await scene.fill({"id": "a", "v": 1.0}, {"id": "b", "v": [2**70]})
        assert (await scene.provider.list_items(THINGS)).items == items

    @case()
    async def test_fields(self, scene: Scene) -> None:
        """Only the named fields and `id` come back, nested as they were; absent ones stay away."""
        (stored,) = await scene.fill(
            {"id": "a", "v": {"w": 1, "x": {"y": 2.0}}, "v.w": 3, "n": None}
        )
        expected: dict[tuple[str, ...], JsonObject] = {
            (): {"id": "a"},
            ("n",): {"id": "a", "n": None},
            ("v.w", "nope"): {"id": "a", "v": {"w": 1}},
            ("v.x.y", "v.w"): {"id": "a", "v": {"x": {"y": 2.0}, "w": 1}},
            ("v", "v.w"): {"id": "a", "v": {"w": 1, "x": {"y": 2.0}}},
            ("v\\.w", "id"): {"id": "a", "v.w": 3},
            ("v.w.z",): {"id": "a"},
        }
        for fields, projection in expected.items():
            (item,) = (await scene.provider.list_items(THINGS, fields=fields)).items
            assert exactly(item.document, projection), fields
            assert (item.id, item.version) == ("a", stored.version)
        with pytest.raises(InvalidArgumentError):
            await scene.provider.list_items(THINGS, fields=["a..b"])
        assert (await scene.provider.read_item(THINGS, "a")) == stored

    @case()
    async def test_fields_do_not_limit_where_and_order(self, scene: Scene) -> None:
        """Conditions and order may name fields that are not returned; pages go on."""
        await scene.fill(*({"id": f"{n}", "v": -n, "w": n % 2} for n in range(6)))
        found = scene.provider.find_items(
            THINGS, where={"w": 1}, order_by="v", fields=["w"], page_size=1
        )
        assert [item.document async for item in found] == [
            {"id": "5", "w": 1},
            {"id": "3", "w": 1},
            {"id": "1", "w": 1},
        ]

    @case()
    async def test_totals(self, scene: Scene) -> None:
        """`total` counts every match, whatever limit, offset or cursor; unasked it is None."""
        await scene.fill(*({"id": f"{n}", "v": n} for n in range(7)))
        where = {"v": {"$gte": 2}}
        page = await scene.provider.list_items(THINGS, where=where, limit=2, total=True)
        assert (page.total, len(page.items)) == (5, 2)
        again = await scene.provider.list_items(
            THINGS, where=where, limit=2, total=True, cursor=page.cursor
        )
        assert (again.total, [item.id for item in again.items]) == (5, ["4", "5"])
        page = await scene.provider.list_items(THINGS, where=where, offset=9, total=True)
        assert (page.total, page.items, page.cursor) == (5, [], None)
        page = await scene.provider.list_items(THINGS, where=where)
        assert page.total is None

    @case()
    async def test_limit_zero(self, scene: Scene) -> None:
        """No items; with `total` that is counting."""
        await scene.fill({"id": "a"}, {"id": "b"})
        page = await scene.provider.list_items(THINGS, limit=0)
        assert (page.items, page.total) == ([], None)
        page = await scene.provider.list_items(THINGS, limit=0, total=True)
        assert (page.items, page.total) == ([], 2)

    @cases({"limit": {"limit": -1}, "offset": {"offset": -1}, "both": {"offset": 1, "cursor": "x"}})
    async def test_wrong_numbers_are_refused(self, scene: Scene, value: dict[str, Any]) -> None:
        """Nothing is clamped: negative numbers, and an offset beside a cursor."""
        with pytest.raises(InvalidArgumentError):
            await scene.provider.list_items(THINGS, **value)

    @case()
    async def test_several_queries_at_once(self, scene: Scene) -> None:
        """One call answers queries to several collections and scopes, in order."""
        for name in ("one", "two", "u/one"):
            await scene.fill({"id": "a", "in": name}, {"id": "b", "in": name}, collection=name)
        pages = await scene.provider.query(
            [
                Query("u/one", order_by=("-id",), limit=1),
                Query("never_seen", total=True),
                Query("two", {"id": "b"}),
                Query("one", limit=0, total=True),
            ]
        )
        assert [[(i.collection, i.id) for i in page.items] for page in pages] == [
            [("u/one", "b")],
            [],
            [("two", "b")],
            [],
        ]
        assert [page.total for page in pages] == [None, 0, None, 2]

    @case()
    async def test_queries_see_every_change(self, scene: Scene) -> None:
        """What was written, patched or removed is at once so in queries."""
        await scene.fill({"id": "a", "v": 1}, {"id": "b", "v": 1})
        assert await scene.ids({"v": 1}) == ["a", "b"]
        await scene.provider.update_item(THINGS, "a", {"v": 2})
        assert (await scene.ids({"v": 1}), await scene.ids({"v": 2})) == (["b"], ["a"])
        await scene.provider.put_item(THINGS, {"id": "b", "w": 1})
        assert (await scene.ids({"v": 1}), await scene.ids({"w": 1})) == ([], ["b"])
        await scene.provider.delete_item(THINGS, "a")
        assert await scene.ids({"v": 2}) == []


async def _unindexed(scene: Scene, *order_by: str) -> list[str]:
    """The order of the same documents in a collection without any declaration."""
    if await scene.provider.count_items("plain") == 0:
        await scene.fill(*POPULATION, collection="plain")
    return await scene.ids(order_by=order_by, collection="plain")
