"""The SQL engine's statements: which index they use, how deep they are, what they bind."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from storage_providers._clock import Clock
from storage_providers.errors import (
    CorruptItemError,
    DocumentTooLargeError,
    InvalidArgumentError,
    ItemExistsError,
    StorageError,
    UnsupportedOperationError,
)
from storage_providers.filters import parse_where
from storage_providers.protocol import (
    IF_ABSENT,
    CollectionSpec,
    Delete,
    IfVersion,
    Index,
    JsonObject,
    Page,
    Patch,
    Put,
    Query,
)
from storage_providers.providers._sql import (
    DECLARATIONS,
    Dialect,
    list_declared_scopes,
    list_scopes,
)
from storage_providers.providers._sql.query import Access, compile_query
from storage_providers.providers._sql.schema import access_of
from storage_providers.providers._sql.where import Parameters, Sources, compile_condition
from storage_providers.providers._sqlite.session import Session


def test_the_collections_of_a_scope_are_found_along_an_index() -> None:
    """However many scopes and declarations the tables hold, only those of the scope are read."""
    table = Table({"id": "a"}, spec=CollectionSpec(collection="t"))
    for statement in (list_scopes('"c_t"', "user-7"), list_declared_scopes("t", "user-7")):
        rows = table.connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)
        plans = [row[3] for row in rows if "c_t" in row[3] or DECLARATIONS in row[3]]
        assert plans
        assert all(plan.startswith("SEARCH") and "scope" in plan for plan in plans), plans


class Table:
    """A collection `t` in memory."""

    def __init__(self, *documents: JsonObject, spec: CollectionSpec | None = None) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.versions = iter(range(10**9))
        clock = Clock(source=lambda: 1_000_000.0)
        self.session = Session(self.connection, clock, lambda: f"v{next(self.versions)}")
        self.access = access_of(spec, "t")
        self.connection.execute("BEGIN")
        self.session.write([Put("t", document) for document in documents], {})
        if spec is not None:
            self.session.declare(spec)
        self.connection.execute("COMMIT")

    def page(self, where: Any = None, order_by: tuple[str, ...] = (), **more: Any) -> Page:
        """Answer a query."""
        return self.session.query(Query("t", where, order_by, **more), self.access)

    def ids(self, where: Any = None, order_by: tuple[str, ...] = ()) -> list[str]:
        """The ids that a query finds."""
        return [item.id for item in self.page(where, order_by).items]

    def plans(self, where: Any, order_by: tuple[str, ...] = (), **more: Any) -> list[str]:
        """How SQLite goes about each stage of a query."""
        query = Query("t", where, order_by, **more)
        select = compile_query(query, self.access, 0, dialect=Dialect())
        return [
            "; ".join(
                row[3] for row in self.connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
            )
            for sql, parameters in select.stages
        ]


def numbered(count: int) -> list[JsonObject]:
    """Documents with fields of few and of many values."""
    return [
        {"id": f"{n:04}", "kind": "ab"[n % 2], "n": n, "due": f"2026-{n % 12 + 1:02}", "r": n / 7}
        for n in range(count)
    ]


DECLARED = CollectionSpec(
    collection="t",
    indexes=(Index.of("kind", "due"), Index.of("n"), Index.of("r"), Index.of("due", "-n")),
)


@pytest.mark.parametrize(
    ("where", "order_by", "plan"),
    [
        ({"kind": "a"}, ("due",), "by:kind,due (scope=? AND <expr>=?)"),
        ({"kind": "a"}, ("-due",), "by:kind,due (scope=? AND <expr>=?)"),
        ({"kind": "a", "due": {"$gte": "2026-03"}}, ("due",), "(scope=? AND <expr>=? AND <expr>>?"),
        ({"kind": "a", "due": {"$prefix": "2026-0"}}, ("due",), "<expr>>? AND <expr><?)"),
        ({"n": 5}, (), "by:n (scope=? AND <expr>=?)"),
        ({"n": {"$gt": 5}}, ("n",), "by:n (scope=? AND <expr>>? AND <expr><?)"),
        ({"n": {"$in": [1, 2, 3]}}, (), "by:n (scope=? AND <expr>=?)"),
        ({"n": {"$in": list(range(200))}}, (), "by:n (scope=? AND <expr>=?)"),
        ({"n": None}, (), "by:n (scope=? AND <expr>=?)"),
        ({"r": 3 / 7}, (), "by:r (scope=? AND <expr>=?)"),
        ({"due": "2026-03"}, ("-n",), "by:due,-n (scope=? AND <expr>=?)"),
        ({"due": "2026-03"}, ("n",), "by:due,-n (scope=? AND <expr>=?)"),
        (None, ("due", "-n"), "by:due,-n (scope=?)"),
        (None, ("-due", "n"), "by:due,-n (scope=?)"),
        ({"id": {"$prefix": "00"}}, (), "(scope=? AND id>? AND id<?)"),
        ({"$and": [{"kind": "a"}, {"$and": [{"due": "2026-01"}]}]}, (), "<expr>=? AND <expr>=?)"),
    ],
)
def test_indexes_are_used(where: Any, order_by: tuple[str, ...], plan: str) -> None:
    """Conditions and orders that an index serves go by it, without sorting."""
    table = Table(*numbered(50), spec=DECLARED)
    (actual,) = table.plans(where, order_by)
    for part in plan.split(" (", 1):
        assert part in actual.replace(":" + actual.rpartition(":")[2].split(" ")[0], ""), actual
    if order_by:
        assert "ORDER BY" not in actual


@pytest.mark.parametrize("order_by", [(), ("-id",), ("n",)])
@pytest.mark.parametrize("where", [{"tags": {"$contains": "x"}}, {"$text": "x", "n": {"$gt": 0}}])
def test_side_tables_name_the_rows(where: Any, order_by: tuple[str, ...]) -> None:
    """Members and words are looked up, and only their rows are read, on later pages too."""
    indexes = (Index.of("n"), Index.of("tags", each=True))
    spec = CollectionSpec(collection="t", indexes=indexes, text_fields=("tags",))
    table = Table(*({"id": f"{n:03}", "n": n, "tags": ["x"]} for n in range(30)), spec=spec)
    plans = table.plans(where, order_by)
    page = table.page(where, order_by, limit=3)
    plans += table.plans(where, order_by, limit=3, cursor=page.cursor)
    for plan in plans:
        assert "USING INTEGER PRIMARY KEY (rowid=?)" in plan, plan
        assert "each:tags" in plan or "VIRTUAL TABLE INDEX" in plan, plan


@pytest.mark.parametrize("order_by", [("kind", "due"), ("-kind", "-due"), ("due", "-n"), ("-n",)])
def test_every_stage_of_a_cursor_is_a_range(order_by: tuple[str, ...]) -> None:
    """Continuing a listing along an index never reads what was passed already, nor sorts."""
    table = Table(*numbered(50), spec=DECLARED)
    cursor = table.page(None, order_by, limit=7).cursor
    plans = table.plans(None, order_by, limit=7, cursor=cursor)
    assert len(plans) >= 2
    for plan in plans:
        assert "(scope=? AND " in plan
        assert "ORDER BY" not in plan


def test_a_list_of_values_is_looked_up_on_every_page() -> None:
    """A page in the order of ids does not read all ids to find a few values."""
    table = Table(*numbered(50), spec=DECLARED)
    where = {"n": {"$in": [1, 5, 9, 20]}}
    cursor = table.page(where, limit=2).cursor
    (plan,) = table.plans(where, limit=2, cursor=cursor)
    assert "by:n" in plan


def test_without_an_index_a_cursor_asks_once() -> None:
    """Where everything has to be read anyhow it is read once."""
    table = Table(*numbered(50))
    cursor = table.page(None, ("-kind", "n"), limit=7).cursor
    assert len(table.plans(None, ("-kind", "n"), limit=7, cursor=cursor)) == 1


def test_statistics() -> None:
    """They name the declared index, and say when everything was read."""
    table = Table(*numbered(50), spec=DECLARED)
    assert table.page({"kind": "a"}, ("due",)).statistics.index == "kind,due"
    assert table.page({"kind": "a"}, ("due",)).statistics.full_scan is False
    scanned = table.page({"x": 1}).statistics
    assert (scanned.index, scanned.full_scan) == (None, True)
    assert table.page().statistics.full_scan is False
    assert table.page(None, ("x",)).statistics.full_scan is True


def test_expressions_stay_shallow() -> None:
    """Wide and deep conditions fit a limit of 100 levels."""
    table = Table(*numbered(3))
    table.connection.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100)
    wide = {"$or": [{"n": {"$ne": n}} for n in range(500)]}
    assert len(table.ids(wide)) == 3
    assert len(table.ids({"$and": [wide, {"$not": {"n": 7}}] * 20})) == 3
    deep: JsonObject = {"n": {"$gte": 0}}
    for _ in range(6):
        deep = {"$not": {"$and": [{"$not": deep}, {"$or": [deep, {"n": {"$contains": "x"}}]}]}}
    assert table.ids({"$or": [deep, {"$not": deep}]}) == table.ids()


def test_long_lists_are_one_value() -> None:
    """So that services that limit bound values take them."""
    parameters = Parameters("scope", 0)
    members: list[Any] = [*range(500), "a", 0.1, None]
    compile_condition(parse_where({"n": {"$in": members}}), parameters, Sources())
    assert len(parameters.values) == 3


@pytest.mark.parametrize(
    "name",
    ["it's", 'quo"te', "back\\\\slash", "new\nline", "a\\.b", "; DROP TABLE t; --", "e\u0301"],
)
def test_names_of_fields_are_no_sql(name: str) -> None:
    """Whatever a field is called, it is found, and nothing else happens."""
    plain = name.replace("\\.", ".").replace("\\\\", "\\")
    table = Table({"id": "a", plain: 1}, {"id": "b", "x": {plain: {"y": [1, "z"]}}}, {"id": "c"})
    assert table.ids({name: 1}) == ["a"]
    assert table.ids({f"x.{name}.y": {"$contains": "z"}}) == ["b"]
    assert table.ids({f"x.{name}": {"$exists": True}}) == ["b"]
    assert table.ids(None, (f"-{name}",)) == ["a", "c", "b"]


def test_text_with_nul() -> None:
    """Equality sees the whole text; what is stored is whole."""
    table = Table({"id": "a", "v": "x\x00y"}, {"id": "b", "v": "x\x00z"}, {"id": "c", "v": "y"})
    assert table.ids({"v": "x\x00y"}) == ["a"]
    assert table.ids({"v": {"$in": ["x\x00z", "y"]}}) == ["b", "c"]
    assert table.ids({"v": {"$ne": "x\x00y"}}) == ["b", "c"]
    order, cursor = [], None
    while True:
        page = table.page(None, ("v",), limit=1, cursor=cursor)
        order += [item.document["v"] for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(order) == ["x\x00y", "x\x00z", "y"]


# --- full text ---------------------------------------------------------------------------------

SEARCHED = CollectionSpec(collection="t", text_fields=("title", "notes", "id"))


def test_text_finds_every_word_in_any_field() -> None:
    """All words, in any of the fields, in arrays and objects too, without case or accents."""
    table = Table(
        {"id": "one", "title": "Café au lait", "notes": ["with Sugar", {"deep": "and milk"}]},
        {"id": "two", "title": "Tea", "notes": "with milk", "other": "sugar"},
        {"id": "three", "title": 7, "notes": None},
        spec=SEARCHED,
    )
    assert table.ids({"$text": "cafe MILK"}) == ["one"]
    assert table.ids({"$text": "milk with"}) == ["one", "two"]
    assert table.ids({"$text": "sugar"}) == ["one"]
    assert table.ids({"$text": "three"}) == ["three"]
    assert table.ids({"$not": {"$text": "milk"}}) == ["three"]
    assert table.ids({"$text": "milk", "title": "Tea"}) == ["two"]
    assert table.page({"$text": "milk"}).statistics.index == "title,notes,id"


@pytest.mark.parametrize(
    "words", ['"', 'a" OR "b', "a*", "^a", "col:a", "NEAR(a b)", "-a", "(", "a\x00b"]
)
def test_text_is_no_query_language(words: str) -> None:
    """Whatever a user types is words to look for."""
    table = Table({"id": "x", "title": "b"}, spec=SEARCHED)
    assert table.ids({"$text": words}) == []


def test_text_follows_changes() -> None:
    """Puts, patches, deletes and expiry are seen at once."""
    table = Table({"id": "a", "title": "old"}, {"id": "b", "title": "old"}, spec=SEARCHED)
    table.connection.execute("BEGIN")
    table.session.write([Put("t", {"id": "a", "title": "new"})], {})
    table.session.write([Patch("t", "b", {"notes": "new"})], {})
    assert (table.ids({"$text": "old"}), table.ids({"$text": "new"})) == (["b"], ["a", "b"])
    table.session.write([Delete("t", "b")], {})
    assert (table.ids({"$text": "old"}), table.ids({"$text": "new"})) == ([], ["a"])
    table.connection.execute("COMMIT")


def test_text_needs_a_declaration() -> None:
    """Without text fields there is nothing to search."""
    with pytest.raises(UnsupportedOperationError, match="text_fields"):
        Table({"id": "a"}).ids({"$text": "a"})


# --- declarations ------------------------------------------------------------------------------


def objects(table: Table) -> set[str]:
    """What belongs to the declarations of `t`."""
    rows = table.connection.execute("SELECT name FROM sqlite_master")
    return {name for (name,) in rows if name.startswith("c_t:") and name.count(":") >= 3}


def test_declarations_of_scopes_share_a_table() -> None:
    """An index goes when the last scope that declared it does not any more."""
    table = Table({"id": "a", "n": 1})
    index = CollectionSpec(collection="u/t", indexes=(Index.of("n"), Index.of("m", each=True)))
    text = CollectionSpec(collection="v/t", indexes=(Index.of("n"),), text_fields=("n",))
    for spec in (index, text):
        table.connection.execute("BEGIN")
        table.session.declare(spec)
        table.connection.execute("COMMIT")
    both = objects(table)
    assert {name.split(":")[1] for name in both} == {"by", "each", "text"}
    table.session.declare(CollectionSpec(collection="u/t"))
    assert {name.split(":")[1] for name in objects(table)} == {"by", "text"}
    table.session.declare(CollectionSpec(collection="v/t"))
    assert objects(table) == set()
    assert table.session.declared("v/t") == CollectionSpec(collection="v/t")
    assert table.session.declared("t") is None


def test_declaring_again_changes_nothing() -> None:
    """What is there stays as it is."""
    table = Table(*numbered(5), spec=DECLARED)
    before = table.connection.execute("SELECT name,rootpage FROM sqlite_master").fetchall()
    table.session.declare(DECLARED)
    after = table.connection.execute("SELECT name,rootpage FROM sqlite_master").fetchall()
    assert after == before


def test_names_that_differ_in_case_have_indexes_of_their_own() -> None:
    """SQLite folds the case of names, documents don't."""
    spec = CollectionSpec(collection="t", indexes=(Index.of("due"), Index.of("Due")))
    table = Table({"id": "a", "due": 1, "Due": 2}, {"id": "b", "Due": 1}, spec=spec)
    assert (table.ids({"due": 1}), table.ids({"Due": 1})) == (["a"], ["b"])
    assert len(objects(table)) == 2


# --- writes ------------------------------------------------------------------------------------


def refused(table: Table, error: type[StorageError], *batch: Any, limit: int | None = None) -> Any:
    """Write what must fail, and check that nothing is left of it."""
    before = table.connection.execute("SELECT * FROM c_t ORDER BY id").fetchall()
    table.connection.execute("BEGIN")
    with pytest.raises(error) as caught:
        table.session.write(batch, {"t": limit})
    table.connection.execute("COMMIT")
    assert table.connection.execute("SELECT * FROM c_t ORDER BY id").fetchall() == before
    return caught.value


def test_the_first_failing_write_is_named() -> None:
    """Whatever its kind and its neighbours."""
    table = Table({"id": "a"}, {"id": "b"})
    many = [Put("t", {"id": f"{n}"}, IF_ABSENT) for n in range(120)]
    error = refused(
        table, ItemExistsError, *many[:70], Put("t", {"id": "b"}, IF_ABSENT), *many[70:]
    )
    assert (error.index, error.item_id) == (70, "b")
    error = refused(table, StorageError, *many, Delete("t", "b"), Patch("t", "x", {"n": 1}))
    assert (error.index, error.item_id) == (121, "x")
    error = refused(table, StorageError, *many, Delete("t", "b", IfVersion("no")))
    ((version,),) = table.connection.execute("SELECT version FROM c_t WHERE id='b'").fetchall()
    assert (error.index, error.actual_version) == (120, version)


def test_a_patch_is_held_to_the_limit() -> None:
    """By the size of what it would make of the document, in bytes."""
    table = Table({"id": "a", "v": "é" * 10})
    size = len(Put("t", {"id": "a", "v": "é" * 10, "w": "é"}).body)
    error = refused(table, DocumentTooLargeError, Patch("t", "a", {"w": "é"}), limit=size - 1)
    assert (error.size_bytes, error.limit_bytes) == (size, size - 1)
    table.connection.execute("BEGIN")
    (item,) = table.session.write([Patch("t", "a", {"w": "é"})], {"t": size})
    assert item is not None
    assert len(item.body) == size


def test_encoded_and_broken_documents_are_not_patched() -> None:
    """Only the layer that encoded a document can change it; what is no JSON object is reported."""
    table = Table({"id": "broken"})
    table.connection.execute("BEGIN")
    table.session.write([Put("t", {"id": "e"}, encoding="gzip", payload=b"...")], {})
    table.connection.execute("UPDATE c_t SET body='[1]' WHERE id='broken'")
    table.connection.execute("COMMIT")
    refused(table, UnsupportedOperationError, Patch("t", "e", {"n": 1}))
    refused(table, CorruptItemError, Patch("t", "broken", {"n": 1}))
    table.connection.execute("UPDATE c_t SET body='{' WHERE id='broken'")
    refused(table, CorruptItemError, Patch("t", "broken", {"n": 1}))


@pytest.mark.parametrize("order_by", [("kind", "-id", "n"), ("-kind", "id", "-n"), ("id", "n")])
def test_what_stands_behind_the_id_orders_nothing(order_by: tuple[str, ...]) -> None:
    """Pages continue all the same, with and without an index."""
    for spec in (None, DECLARED):
        table = Table(*numbered(9), spec=spec)
        found: list[str] = []
        cursor = None
        while True:
            page = table.page(None, order_by, limit=2, cursor=cursor)
            found += [item.id for item in page.items]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == table.ids(None, order_by)
        assert len(found) == 9


def test_wrong_cursors() -> None:
    """They are refused before anything is read."""
    table = Table(*numbered(9))
    cursor = table.page(None, ("n",), limit=2).cursor
    with pytest.raises(InvalidArgumentError, match="another query"):
        table.page(None, ("-n",), limit=2, cursor=cursor)
    with pytest.raises(InvalidArgumentError, match="damaged"):
        table.page(None, ("n",), limit=0, total=True, cursor="nonsense")
    with pytest.raises(InvalidArgumentError, match="damaged"):
        table.session.versions("t", "nonsense", 5)


def test_access_without_a_declaration() -> None:
    """Nothing is leant on."""
    assert access_of(None, "t") == Access()
