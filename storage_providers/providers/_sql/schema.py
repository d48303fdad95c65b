"""What `declare` asks for, as tables, indexes and triggers.

A declaration belongs to one collection of one scope, but the table is shared by all scopes: it has
what any of them asks for. Names tell what a thing is for: `c_todos:by:status,-due:1f3a9c2b`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec

from storage_providers.filters import Path, parse_path
from storage_providers.protocol import CollectionSpec, Index
from storage_providers.providers._sql import Statement, quoted, table_of
from storage_providers.providers._sql.query import Access
from storage_providers.providers._sql.where import Sources, field

__all__ = ["access_of", "existing_objects", "index_fields", "migrate", "read_plan"]

_TRIGGERS = ("insert", "update", "delete")


@lru_cache(maxsize=1024)
def access_of(spec: CollectionSpec | None, collection: str) -> Access:
    """What the declared indexes offer queries of a collection."""
    if spec is None:
        return Access()
    name = collection.rpartition("/")[2]
    ordered: set[Path] = set()
    leading: set[Path] = set()
    members: dict[Path, str] = {}
    for index in spec.indexes:
        if index.each:
            members[parse_path(index.fields[0].removeprefix("-"))] = quoted(
                _object_name(name, index)
            )
        elif _can_be_made(index):
            paths = [parse_path(item.removeprefix("-")) for item in index.fields]
            ordered.update(paths)
            leading.add(paths[0])
    text = quoted(_text_name(name, spec.text_fields)) if spec.text_fields else None
    return Access(Sources(members, text), frozenset(ordered), frozenset(leading))


def existing_objects(collection: str) -> Statement:
    """Name the indexes and triggers that a collection's table has."""
    table = table_of(collection)[0].strip('"')
    return Statement("SELECT name FROM sqlite_master WHERE tbl_name=?1", (table,))


def index_fields(object_name: str) -> str | None:
    """The fields of an index, from its name; `None` if it was not declared."""
    parts = object_name.split(":")
    return parts[2] if len(parts) == 4 and parts[1] in ("by", "each", "text") else None


def read_plan(sql: str, details: Iterable[str]) -> tuple[str | None, bool]:
    """The declared index that answers a query, and whether it reads the whole collection.

    Args:
        sql: The query's statement.
        details: The last column of its `EXPLAIN QUERY PLAN`.
    """
    index, ranged, sorts = None, False, False
    for detail in details:
        sorts = sorts or "TEMP B-TREE FOR ORDER BY" in detail
        ranged = ranged or " AND " in detail or "rowid=?" in detail
        for word in detail.split():
            index = index or index_fields(word)
    filters = sql.count(" AND ") > 2 or "count(*)" in sql
    return index, not ranged and (filters or sorts)


def migrate(
    collection: str, specs: Iterable[CollectionSpec], existing: Iterable[str]
) -> list[Statement]:
    """Make the statements that turn what a table has into what its declarations ask for.

    Args:
        collection: The collection, whose table exists.
        specs: The declarations of that collection name, of all scopes.
        existing: What `existing_objects` named.
    """
    table = table_of(collection)[0]
    name = collection.rpartition("/")[2]
    wanted: dict[str, list[str]] = {}
    for spec in specs:
        for index in spec.indexes:
            object_name = _object_name(name, index)
            if object_name not in wanted and _can_be_made(index):
                make = _create_members if index.each else _create_index
                wanted[object_name] = make(table, object_name, index.fields)
        if spec.text_fields:
            object_name = _text_name(name, spec.text_fields)
            if object_name not in wanted:
                wanted[object_name] = _create_text(table, object_name, spec.text_fields)
    present = {_owner(each) for each in existing if index_fields(_owner(each)) is not None}
    statements = [
        Statement(sql) for object_name in present - set(wanted) for sql in _drop(object_name)
    ]
    for object_name, sqls in wanted.items():
        if object_name not in present:
            statements += [Statement(sql) for sql in sqls]
    return statements


def _can_be_made(index: Index) -> bool:
    """Whether SQLite can index these fields.

    No path of some versions reaches a name that holds a quotation mark, and subqueries, which do,
    are not allowed in an index. Queries read such fields without one.
    """
    return index.each or all(
        field(parse_path(name.removeprefix("-"))).indexable for name in index.fields
    )


# --- names -------------------------------------------------------------------------------------


def _object_name(name: str, index: Index) -> str:
    return _named(name, "each" if index.each else "by", index.fields)


def _text_name(name: str, fields: Sequence[str]) -> str:
    return _named(name, "text", fields)


def _named(name: str, kind: str, fields: Sequence[str]) -> str:
    # SQLite folds the case of names; the hash keeps `Due` and `due` apart.
    digest = hashlib.blake2b(msgspec.json.encode(list(fields)), digest_size=4).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9_.,-]", "_", ",".join(fields))[:60]
    return f"c_{name}:{kind}:{readable}:{digest}"


def _owner(object_name: str) -> str:
    stem, _, last = object_name.rpartition(":")
    return stem if last in _TRIGGERS else object_name


def _drop(object_name: str) -> list[str]:
    if object_name.split(":")[1] == "by":
        return [f"DROP INDEX IF EXISTS {quoted(object_name)}"]
    triggers = [f"DROP TRIGGER IF EXISTS {quoted(f'{object_name}:{event}')}" for event in _TRIGGERS]
    return [*triggers, f"DROP TABLE IF EXISTS {quoted(object_name)}"]


# --- what is declared --------------------------------------------------------------------------


def _create_index(table: str, object_name: str, fields: Sequence[str]) -> list[str]:
    columns = ["scope"]
    paths: list[Path] = []
    for name in fields:
        path = parse_path(name.removeprefix("-"))
        paths.append(path)
        columns.append(field(path).value + (" DESC" if name.startswith("-") else ""))
    if ("id",) not in paths:
        columns.append("id DESC" if fields[-1].startswith("-") else "id")
    sql = f"CREATE INDEX IF NOT EXISTS {quoted(object_name)} ON {table} ({','.join(columns)})"
    return [sql]


def _create_members(table: str, object_name: str, fields: Sequence[str]) -> list[str]:
    """A table of array members.

    `kind` is 0 for a value, 1 for the whole text of a field that is no array (`$contains` looks
    into it), 2 for null.
    """
    side = quoted(object_name)
    path = parse_path(fields[0].removeprefix("-"))

    def fill(row: str, source: str = "") -> list[str]:
        at = field(path, f"{row}.body")
        # DISTINCT and not OR IGNORE: an upsert's own conflict clause would override that.
        into = f"INSERT INTO {side} (scope,kind,value,rid) SELECT DISTINCT {row}.scope"
        members = f"{source},{at.members}" if source else f"{at.members}"
        plain = f" FROM {source}" if source else ""
        return [
            f"{into},iif(type='null',2,0),ifnull(atom,''),{row}.rid FROM {members} "
            f"WHERE {at.type}='array' AND type<>'array' AND type<>'object'",
            # In parentheses, since D1 takes a bare CASE … END for the end of a trigger.
            f"{into},1,({at.value}),{row}.rid{plain} WHERE {at.type}='text'",
        ]

    remove = f"DELETE FROM {side} WHERE rid=old.rid"
    return [
        f"CREATE TABLE IF NOT EXISTS {side} (scope TEXT NOT NULL, kind INTEGER NOT NULL, "
        "value NOT NULL, rid INTEGER NOT NULL, PRIMARY KEY (scope, kind, value, rid)) "
        "WITHOUT ROWID",
        f"CREATE INDEX IF NOT EXISTS {quoted(object_name + ':rid')} ON {side} (rid)",
        *fill("d", f"{table} AS d"),
        *_triggers(table, object_name, fill("new"), remove),
    ]


def _create_text(table: str, object_name: str, fields: Sequence[str]) -> list[str]:
    """A full-text table that holds no text of its own; all text below a field is searched."""
    side = quoted(object_name)

    def text(row: str) -> str:
        parts: list[str] = []
        for name in fields:
            tree = field(parse_path(name), f"{row}.body").tree
            parts.append(
                f"ifnull((SELECT group_concat(atom,char(10)) FROM {tree} WHERE type='text'),'')"
            )
        return "||char(10)||".join(parts)

    def add(row: str) -> str:
        return f"INSERT INTO {side} (rowid,text) SELECT {row}.rid,{text(row)}"

    remove = f"INSERT INTO {side} ({side},rowid,text) SELECT 'delete',old.rid,{text('old')}"
    return [
        f"CREATE VIRTUAL TABLE IF NOT EXISTS {side} "
        "USING fts5(text, content='', tokenize='unicode61')",
        f"{add('d')} FROM {table} AS d",
        *_triggers(table, object_name, [add("new")], remove),
    ]


def _triggers(table: str, object_name: str, add: Sequence[str], remove: str) -> list[str]:
    added = "; ".join(add)
    bodies = {
        "insert": f"AFTER INSERT ON {table} BEGIN {added}; END",
        "update": f"AFTER UPDATE OF body ON {table} WHEN old.body IS NOT new.body "
        f"BEGIN {remove}; {added}; END",
        "delete": f"AFTER DELETE ON {table} BEGIN {remove}; END",
    }
    return [
        f"CREATE TRIGGER IF NOT EXISTS {quoted(f'{object_name}:{event}')} {body}"
        for event, body in bodies.items()
    ]
