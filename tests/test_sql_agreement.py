"""The SQL engine answers every generated query exactly as the reference does."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_providers._clock import Clock
from storage_providers._json import merge_patch
from storage_providers.protocol import (
    Address,
    CollectionSpec,
    Index,
    JsonObject,
    Page,
    Patch,
    Put,
    Query,
)
from storage_providers.providers._sql.schema import access_of
from storage_providers.providers._sqlite.session import Session
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing._harness import exactly
from storage_providers.testing.strategies import (
    FIELDS,
    documents,
    escaped,
    json_values,
    merge_patches,
    order_bys,
    wheres,
)

SCOPED = "user-7/things"


def new_session() -> Session:
    """A session on a database in memory."""
    versions = itertools.count()
    connection = sqlite3.connect(":memory:", isolation_level=None)
    return Session(connection, Clock(source=lambda: 1_000_000.0), lambda: f"v{next(versions)}")


def collections_of(found: Sequence[JsonObject]) -> list[Put]:
    """The documents in one scope, and decoys in others."""
    return [
        *(Put(SCOPED, document) for document in found),
        *(Put("things", {**document, "a": 1}) for document in found[:2]),
        *(Put("user-70/things", document) for document in found[:1]),
    ]


def pages(session: Session, query: Query, spec: CollectionSpec | None) -> list[Page]:
    """Every page of a listing."""
    found: list[Page] = []
    while True:
        found.append(session.query(query, access_of(spec, query.collection)))
        cursor = found[-1].cursor
        if cursor is None:
            return found
        query = msgspec.structs.replace(query, cursor=cursor, offset=0)


async def reference_pages(provider: InMemoryProvider, query: Query) -> list[Page]:
    """Every page of a listing, from the reference."""
    found: list[Page] = []
    while True:
        found += await provider.query([query])
        cursor = found[-1].cursor
        if cursor is None:
            return found
        query = msgspec.structs.replace(query, cursor=cursor, offset=0)


def compare(
    found: Sequence[JsonObject], queries: Sequence[Query], spec: CollectionSpec | None
) -> None:
    """Both answer all queries alike: ids, order, pages, totals, cursors."""
    puts = collections_of(found)
    session = new_session()
    session.connection.execute("BEGIN")
    session.write(puts, {})
    if spec is not None:
        session.declare(spec)
    session.connection.execute("COMMIT")

    async def ask() -> list[list[Page]]:
        async with InMemoryProvider(clock=Clock(source=lambda: 1_000_000.0)) as provider:
            await provider.write(puts)
            return [await reference_pages(provider, query) for query in queries]

    for query, expected in zip(queries, asyncio.run(ask()), strict=True):
        actual = pages(session, query, spec)
        shape = (query.where, query.order_by, query.offset)
        assert [[item.id for item in page.items] for page in actual] == [
            [item.id for item in page.items] for page in expected
        ], shape
        assert [page.total for page in actual] == [page.total for page in expected], shape
        assert [page.cursor for page in actual] == [page.cursor for page in expected], shape
        for page, other in zip(actual, expected, strict=True):
            assert all(
                exactly(item.document, twin.document)
                for item, twin in zip(page.items, other.items, strict=True)
            )
    session.connection.close()


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
    compare(found, asked, None)


@st.composite
def specs(draw: st.DrawFn) -> CollectionSpec:
    """Declarations with indexes of one to three fields, and of array members."""
    names = st.sampled_from([escaped(field) for field in FIELDS])
    fields = st.tuples(st.sampled_from(["", "-"]), names)
    plain = st.lists(fields, min_size=1, max_size=3, unique_by=lambda pair: pair[1]).map(
        lambda pairs: Index(tuple(sign + field for sign, field in pairs))
    )
    each = names.map(lambda field: Index.of(field, each=True))
    indexes = draw(st.lists(plain, max_size=3, unique=True)) + draw(
        st.lists(each, max_size=4, unique=True)
    )
    return CollectionSpec(collection=SCOPED, indexes=tuple(indexes))


@settings(max_examples=100)
@given(several, st.lists(queries, min_size=1, max_size=6), specs())
def test_queries_agree_with_indexes(
    found: list[JsonObject], asked: list[Query], spec: CollectionSpec
) -> None:
    """With indexes declared after the documents were there."""
    compare(found, asked, spec)


small = st.fixed_dictionaries(
    {"a": st.sampled_from([None, 0, 1, 1.0, True, "x", "y", [1, "x"], {"b": 1}, 10**400])},
    optional={
        "b": st.sampled_from([None, 2, "x", ["x"], 0.1, 0.5]),
        "tags": st.sampled_from([[], ["x", "y"], [None, 1], "xylophone", [["x"]], {"x": 1}, 1]),
    },
)
small_fields = st.sampled_from(["a", "b", "tags", "a.b", "id"])
small_orders = st.lists(
    st.tuples(st.sampled_from(["", "-"]), small_fields), max_size=3, unique_by=lambda pair: pair[1]
).map(lambda pairs: tuple(sign + field for sign, field in pairs))
small_wheres = st.dictionaries(
    small_fields,
    st.one_of(
        st.sampled_from([None, 1, "x", 0.1, True]),
        st.sampled_from(
            [
                {"$contains": "x"},
                {"$contains": None},
                {"$contains": 1},
                {"$contains": ""},
                {"$not": {"$contains": "x"}},
                {"$gt": 0},
                {"$lte": "x"},
                {"$in": [None, "x", 1]},
                {"$nin": list(range(20))},
                {"$in": ["x", *(str(number) for number in range(20)), None, 0.1]},
                {"$exists": False},
            ]
        ),
    ),
    max_size=2,
)


@settings(max_examples=100)
@given(
    st.lists(small, max_size=25),
    st.lists(
        st.builds(
            Query,
            st.just(SCOPED),
            where=small_wheres,
            order_by=small_orders,
            limit=st.sampled_from([1, 2, 5]),
            total=st.booleans(),
        ),
        min_size=2,
        max_size=8,
    ),
    st.sampled_from(
        [
            (),
            (Index.of("a"),),
            (Index.of("-a"), Index.of("tags", each=True)),
            (Index.of("a", "b"), Index.of("b", "-a")),
            (Index.of("a", "-b"), Index.of("b"), Index.of("a", each=True)),
        ]
    ),
)
def test_ties_and_kinds_agree(
    found: list[JsonObject], asked: list[Query], indexes: tuple[Index, ...]
) -> None:
    """Many documents with the same few values, so pages end between equal ones."""
    numbered = [{"id": f"{number:03}", **document} for number, document in enumerate(found)]
    compare(numbered, asked, CollectionSpec(collection=SCOPED, indexes=indexes))


@settings(max_examples=150)
@given(documents(nul=True), merge_patches(nul=True))
def test_patches_agree(document: JsonObject, changes: JsonObject) -> None:
    """`json_patch` merges exactly as RFC 7396, and numbers keep their form."""
    session = new_session()
    session.connection.execute("BEGIN")
    session.write([Put("things", document)], {})
    patched = session.write([Patch("things", document["id"], changes)], {})[0]
    session.connection.execute("COMMIT")
    assert patched is not None
    assert exactly(patched.document, merge_patch(document, changes))
    assert session.read([Address("things", document["id"])]) == [patched]


@settings(max_examples=100)
@given(st.lists(json_values(nul=True), min_size=1, max_size=5), st.data())
def test_side_tables_follow_every_write(values: list[object], data: st.DataObject) -> None:
    """Array members and full text are the same whether declared before or after the writes."""
    spec = CollectionSpec(
        collection="things", indexes=(Index.of("a", each=True),), text_fields=("a", "b")
    )
    before, after = new_session(), new_session()
    before.connection.execute("BEGIN")
    before.declare(spec)
    after.connection.execute("BEGIN")
    for number, value in enumerate(values):
        item_id = str(data.draw(st.integers(0, 2)))
        for session in (before, after):
            session.write([Put("things", {"id": item_id, "a": value, "n": number})], {})
    after.declare(spec)
    tables = [
        name
        for (name,) in before.connection.execute("SELECT name FROM sqlite_master")
        if name.startswith("c_things:each") and name.count(":") == 3
    ]
    assert len(tables) == 1
    for name in tables:
        rows = f'SELECT scope,kind,value,rid FROM "{name}" ORDER BY 1,2,3,4'
        assert (
            before.connection.execute(rows).fetchall() == after.connection.execute(rows).fetchall()
        )
    word = data.draw(st.sampled_from(["a", "ab", "日本", "1"]))
    query = Query("things", {"$text": word})
    access = access_of(spec, "things")
    assert [item.id for item in before.query(query, access).items] == [
        item.id for item in after.query(query, access).items
    ]
