"""D1 of workerd and SQLite answer generated queries and patches alike, to the letter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage_providers._clock import Clock
from storage_providers.protocol import (
    CollectionSpec,
    Index,
    JsonObject,
    Page,
    Patch,
    Put,
    Query,
    StorageProvider,
)
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing._harness import exactly
from storage_providers.testing.strategies import documents, merge_patches, order_bys, wheres
from tests.providers.d1.workerd import WorkerdBackend
from tests.servers.emulator import Emulator

THINGS = "user-7/things"
WORKERD = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)

queries = st.builds(
    Query,
    st.just(THINGS),
    where=st.none() | wheres(),
    order_by=order_bys(),
    limit=st.sampled_from([1, 2, 3, 100]),
    offset=st.sampled_from([0, 0, 0, 1, 3]),
    total=st.booleans(),
)
several = st.lists(documents(), max_size=12, unique_by=lambda document: document["id"])
declarations = st.sampled_from(
    [
        (),
        (Index.of("a"),),
        (Index.of("-a"), Index.of("tags", each=True)),
        (Index.of("a", "b"), Index.of("b", "-a")),
        (Index.of("a", "-b", "tags"), Index.of("a", each=True)),
    ]
)
values = st.sampled_from(
    [None, 0, 1, 1.0, True, "x", "y", [1, "x"], {"b": 1}, 10**400, 2**53 + 1, 2**53, -(2**63), 0.1]
)
alike = st.fixed_dictionaries({"a": values}, optional={"b": values, "tags": values})
fields = st.sampled_from(["a", "b", "tags", "a.b", "id"])
asked_of_alike = st.builds(
    Query,
    st.just(THINGS),
    where=st.dictionaries(
        fields,
        st.sampled_from(
            [
                *(None, 1, "x", 0.1, True, 2**53 + 1, {"$gt": 2**53}, {"$lte": 2**53}),
                *({"$contains": "x"}, {"$contains": 2**53 + 1}, {"$in": [2**53 + 1, None, "x"]}),
                *({"$nin": list(range(20))}, {"$in": ["x", *map(str, range(200))]}),
                *({"$exists": False}, {"$gte": -(2**63)}, {"$not": {"$contains": None}}),
            ]
        ),
        max_size=2,
    ),
    order_by=st.lists(
        st.tuples(st.sampled_from(["", "-"]), fields), max_size=3, unique_by=lambda pair: pair[1]
    ).map(lambda pairs: tuple(sign + field for sign, field in pairs)),
    limit=st.sampled_from([1, 2, 5]),
    total=st.booleans(),
)


async def pages(provider: StorageProvider, query: Query) -> list[Page]:
    """Every page of a listing."""
    found: list[Page] = []
    while True:
        found += await provider.query([query])
        cursor = found[-1].cursor
        if cursor is None:
            return found
        query = msgspec.structs.replace(query, cursor=cursor, offset=0)


async def compare(
    emulator: Emulator,
    found: Sequence[JsonObject],
    asked: Sequence[Query],
    indexes: tuple[Index, ...],
) -> None:
    """Both answer all queries alike: documents, order, pages, totals."""
    clock = Clock(source=lambda: 1_000_000.0)
    backend = WorkerdBackend(emulator)
    spec = CollectionSpec(collection=THINGS, indexes=indexes)
    async with await backend.open(clock) as d1, SQLiteProvider(":memory:", clock=clock) as sqlite:
        for provider in (d1, sqlite):
            await provider.write(
                [
                    *(Put(THINGS, document) for document in found),
                    *(Put("things", {**document, "a": 1}) for document in found[:2]),
                ]
            )
            await provider.declare(spec)
        for query in asked:
            ours, theirs = await pages(d1, query), await pages(sqlite, query)
            shape = (query.where, query.order_by, query.offset)
            assert [[item.body for item in page.items] for page in ours] == [
                [item.body for item in page.items] for page in theirs
            ], shape
            assert [page.total for page in ours] == [page.total for page in theirs], shape
            assert [page.cursor for page in ours] == [page.cursor for page in theirs], shape
    await backend.close()


@WORKERD
@given(several, st.lists(queries, min_size=1, max_size=6), declarations)
def test_queries_agree(
    cloudflare: Emulator,
    found: list[JsonObject],
    asked: list[Query],
    indexes: tuple[Index, ...],
) -> None:
    """Any documents and conditions."""
    asyncio.run(compare(cloudflare, found, asked, indexes))


@WORKERD
@given(st.lists(alike, max_size=25), st.lists(asked_of_alike, min_size=2, max_size=8), declarations)
def test_ties_and_large_numbers_agree(
    cloudflare: Emulator,
    found: list[JsonObject],
    asked: list[Query],
    indexes: tuple[Index, ...],
) -> None:
    """Many documents with the same few values, integers among them that JavaScript can't hold."""
    numbered = [{"id": f"{number:03}", **document} for number, document in enumerate(found)]
    asyncio.run(compare(cloudflare, numbered, asked, indexes))


@WORKERD
@given(st.lists(st.tuples(documents(nul=True), merge_patches(nul=True)), min_size=1, max_size=4))
def test_patches_agree(cloudflare: Emulator, cases: list[tuple[JsonObject, JsonObject]]) -> None:
    """One patch and several at once merge alike, and numbers keep their form."""

    async def check() -> None:
        clock = Clock(source=lambda: 1_000_000.0)
        backend = WorkerdBackend(cloudflare)
        puts = [Put(THINGS, {**case[0], "id": f"{n}"}) for n, case in enumerate(cases)]
        patches = [Patch(THINGS, f"{n}", case[1]) for n, case in enumerate(cases)]
        async with (
            await backend.open(clock) as d1,
            SQLiteProvider(":memory:", clock=clock) as sqlite,
        ):
            for provider in (d1, sqlite):
                await provider.write(puts)
            ours = await d1.write(patches)
            theirs = await sqlite.write(patches)
            for item, twin in zip(ours, theirs, strict=True):
                assert item is not None
                assert twin is not None
                assert exactly(item.document, twin.document)
            read = await d1.read_items(THINGS, [patch.id for patch in patches])
            assert read == ours
        await backend.close()

    asyncio.run(check())
