"""The object engine answers every generated query as the reference does, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_providers.protocol import Index, JsonObject, Put, Query
from storage_providers.providers._objects import ObjectLimits
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing._harness import exactly
from storage_providers.testing.strategies import (
    FIELDS,
    documents,
    escaped,
    ids,
    order_bys,
    wheres,
)
from tests.objects.memory_store import LIMITS, MemoryStore
from tests.objects.planting import Bucket, clock, ids_of, pages

SCOPED = "user-7/things"


def compare(
    found: Sequence[JsonObject],
    queries: Sequence[Query],
    indexes: Sequence[Index] = (),
    *,
    ready: bool = True,
    garbage: bool = False,
    limits: ObjectLimits = LIMITS,
) -> None:
    """Both answer all queries alike: ids, order, pages, totals, documents."""
    asyncio.run(_compare(found, queries, indexes, ready=ready, garbage=garbage, limits=limits))


async def _compare(
    found: Sequence[JsonObject],
    queries: Sequence[Query],
    indexes: Sequence[Index],
    *,
    ready: bool,
    garbage: bool,
    limits: ObjectLimits,
) -> None:
    bucket = Bucket(*indexes, ready=ready, store=MemoryStore(limits))
    bucket.declare(SCOPED)
    bucket.plant(*found, collection=SCOPED)
    bucket.plant(*({**document, "a": 1} for document in found[:2]), collection="things")
    bucket.plant(*found[:1], collection="user-70/things")
    bucket.plant(*found[:1], collection=SCOPED + "/things")
    if garbage:
        litter(bucket, found)
    async with bucket.provider, InMemoryProvider(clock=clock()) as reference:
        await reference.write([Put(SCOPED, document) for document in found])
        for query in queries:
            expected = await pages(reference, query)
            actual = await pages(bucket.provider, query)
            shape = (query.where, query.order_by, query.limit, query.offset, query.total)
            if garbage and actual[-1].items == [] and len(actual) == len(expected) + 1:
                # All that was listed behind the page turned out to be garbage.
                actual.pop()
            assert ids_of(actual) == ids_of(expected), shape
            assert [page.total for page in actual] == [page.total for page in expected], shape
            assert not any(page.corrupt for page in actual)
            for page, other in zip(actual, expected, strict=True):
                assert all(
                    exactly(item.document, twin.document)
                    for item, twin in zip(page.items, other.items, strict=True)
                )


def litter(bucket: Bucket, found: Sequence[JsonObject]) -> None:
    """Entries of former documents, second ones of present ones, and what is none at all."""
    values: list[object] = [None, 0, 1, "x", ["x", None], {"b": 2}]
    for number, document in enumerate(found):
        value = values[number % len(values)]
        former = {"id": document["id"], **dict.fromkeys(("a", "b", "tags", "c"), value)}
        for each in (former, document, document):
            for key in bucket.entries(each, "x" + f"{number:020x}", SCOPED):
                bucket.put(key)
        bucket.put(bucket.layout.document(SCOPED, document["id"]) + ".bak", b"{}")
    gone = {"id": "gone", "a": 1, "b": "x", "tags": ["x"]}
    for key in bucket.entries(gone, "x" + "0" * 20, SCOPED):
        bucket.put(key)
        bucket.put(key[:-24])
        bucket.put(key + "/more")
    for index in bucket.indexes:
        folder = bucket.keys(index, SCOPED).folder
        for name in ("0", "1", "2", "zzz", "2x", "0!", "%", "10", "2é!x!y"):
            bucket.put(folder + name)


many_limits = st.builds(
    msgspec.structs.replace,
    st.just(LIMITS),
    list_page=st.sampled_from([1, 2, 3, 5, 1000]),
    get_batch=st.sampled_from([1, 1, 3, 100]),
    starts_anywhere=st.booleans(),
)
"""Services whose listings come in smaller pages, that read several objects in one request, and
whose listings start at their beginning only."""

queries = st.builds(
    Query,
    st.just(SCOPED),
    where=st.none() | wheres(),
    order_by=order_bys(),
    limit=st.sampled_from([1, 2, 3, 100]),
    offset=st.sampled_from([0, 0, 0, 1, 3]),
    total=st.booleans(),
)
several = st.lists(documents(), max_size=12, unique_by=lambda document: document["id"])


@settings(max_examples=100)
@given(several, st.lists(queries, min_size=1, max_size=6))
def test_queries_agree(found: list[JsonObject], asked: list[Query]) -> None:
    """Without any index."""
    compare(found, asked)


@st.composite
def some_indexes(draw: st.DrawFn) -> list[Index]:
    """Indexes of one to three fields, and of array members."""
    names = st.sampled_from([*map(escaped, FIELDS), "id"])
    fields = st.tuples(st.sampled_from(["", "-"]), names)
    plain = st.lists(fields, min_size=1, max_size=3, unique_by=lambda pair: pair[1]).map(
        lambda pairs: Index(tuple(sign + field for sign, field in pairs))
    )
    each = fields.map(lambda pair: Index.of("".join(pair), each=True))
    return draw(st.lists(plain, max_size=3, unique=True)) + draw(
        st.lists(each, max_size=4, unique=True)
    )


@settings(max_examples=100)
@given(
    several, st.lists(queries, min_size=1, max_size=6), some_indexes(), st.booleans(), many_limits
)
def test_queries_agree_with_indexes(
    found: list[JsonObject],
    asked: list[Query],
    indexes: list[Index],
    ready: bool,
    limits: ObjectLimits,
) -> None:
    """With indexes that are ready, and with some still being built."""
    compare(found, asked, indexes, ready=ready, limits=limits)


small = st.fixed_dictionaries(
    {"a": st.sampled_from([1, "x", 1.0, True, None, 0, "y", [1, "x"], {"b": 1}, 10**400])},
    optional={
        "b": st.sampled_from([2, "x", None, ["x"], 0.1, 0.5]),
        "tags": st.sampled_from([["x", "y"], "xylophone", [None, 1], [], [["x"]], {"x": 1}, 1]),
    },
)
small_fields = st.sampled_from(["a", "a", "b", "b", "tags", "a.b", "id"])
small_orders = st.lists(
    st.tuples(st.sampled_from(["", "-"]), small_fields), max_size=3, unique_by=lambda pair: pair[1]
).map(lambda pairs: tuple(sign + field for sign, field in pairs))
common_wheres: list[JsonObject] = [
    {"a": 1},
    {"a": "x"},
    {"a": {"$in": [1, "x", 0]}},
    {"a": {"$gte": 0}},
    {"a": {"$prefix": ""}},
    {"b": {"$in": [2, "x"]}},
    {"a": 1, "b": 2},
    {"b": {"$gt": 0}, "a": {"$in": ["x", 1]}},
    {"tags": {"$contains": "x"}},
    {"tags": {"$contains": 1}},
    {"tags": {"$contains": "x"}, "a": 1},
]
"""What the indexes below are good for, and many documents match."""

small_wheres: st.SearchStrategy[JsonObject] = st.sampled_from(common_wheres) | st.dictionaries(
    small_fields,
    st.sampled_from(
        [
            None,
            1,
            "x",
            0.1,
            True,
            {"$contains": "x"},
            {"$contains": None},
            {"$contains": ""},
            {"$not": {"$contains": "x"}},
            {"$gt": 0},
            {"$gte": 0, "$lt": 2},
            {"$lte": "x"},
            {"$lt": "y", "$gte": ""},
            {"$prefix": "x"},
            {"$prefix": "00"},
            {"$gt": "003"},
            {"$in": [None, "x", 1]},
            {"$in": ["001", "007", "absent"]},
            {"$in": []},
            {"$nin": list(range(20))},
            {"$in": ["x", *(str(number) for number in range(20)), None, 0.1]},
            {"$exists": False},
        ]
    ),
    max_size=3,
)
small_indexes = st.sampled_from(
    [
        (),
        (Index.of("a"),),
        (Index.of("-a"), Index.of("tags", each=True)),
        (Index.of("a", "b"), Index.of("b", "-a")),
        (Index.of("a", "-b"), Index.of("b"), Index.of("a", each=True)),
        (Index.of("a", "b", "tags"), Index.of("-b", "a", "-id")),
        (Index.of("-a", "-b"), Index.of("-tags", each=True)),
        (Index.of("id", "a"), Index.of("b", "-id", "a")),
    ]
)
small_queries = st.builds(
    Query,
    st.just(SCOPED),
    where=small_wheres,
    order_by=small_orders,
    limit=st.sampled_from([1, 2, 5]),
    offset=st.sampled_from([0, 0, 0, 2]),
    total=st.booleans(),
)


@settings(max_examples=300)
@given(
    st.lists(small, min_size=1, max_size=25),
    st.lists(small_queries, min_size=2, max_size=8),
    small_indexes,
    st.booleans(),
    many_limits,
)
def test_ties_and_kinds_agree(
    found: list[JsonObject],
    asked: list[Query],
    indexes: tuple[Index, ...],
    garbage: bool,
    limits: ObjectLimits,
) -> None:
    """Many documents with the same few values, so pages end between equal ones; with garbage."""
    numbered = [{"id": f"{number:03}", **document} for number, document in enumerate(found)]
    compare(numbered, asked, indexes, garbage=garbage, limits=limits)


relatives = st.text(
    st.sampled_from("ab -!%/.0~é\u0301\x01zK\u212a$&'(),+{j"), min_size=1, max_size=5
)
"""Ids of which many begin as others do, go on below `.`, or can't stand in a key."""


@settings(max_examples=200)
@given(
    st.lists(relatives | ids(max_bytes=200), max_size=40, unique=True),
    st.lists(relatives, min_size=1, max_size=3),
    st.sampled_from([1, 2, 3, 7, 100]),
    st.booleans(),
    st.sampled_from([(), (Index.of("v"),), (Index.of("-v"),), (Index.of("v", "-id"),)]),
    many_limits,
)
def test_hostile_ids_agree(
    names: list[str],
    bounds: list[str],
    limit: int,
    total: bool,
    indexes: tuple[Index, ...],
    limits: ObjectLimits,
) -> None:
    """In order, between bounds, by prefixes, with pages of any size."""
    found: list[JsonObject] = [{"id": name, "v": len(name) % 3} for name in names]
    low, high = min(bounds), max(bounds)
    wheres: list[JsonObject | None] = [
        None,
        {"id": {"$gt": low}},
        {"id": {"$gte": low, "$lt": high}},
        {"id": {"$lte": high}, "v": 1},
        {"id": {"$prefix": low}},
        {"id": {"$in": [*bounds, *names[:3], ""]}},
        {"v": 1},
        {"v": {"$in": [0, 2]}},
    ]
    orders: list[tuple[str, ...]] = [(), ("-id",), ("v",), ("-v",), ("v", "-id")]
    asked = [
        Query(SCOPED, where, order, limit, None, total=total)
        for where in wheres
        for order in orders
    ]
    compare(found, asked, indexes, limits=limits)
