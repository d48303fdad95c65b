"""The engine for documents in tables: names, tables and rows.

The engine is pure: it makes statements and reads rows, a driver executes. SQLite and D1 share it,
and the index beside local files is one more table of it.

| module | makes |
|---|---|
| `_sql` | names, tables, reads by id, listings of ids and collections |
| `_sql.where` | conditions |
| `_sql.query` | queries and pages |
| `_sql.write` | puts, patches, deletes |
| `_sql.schema` | what `declare` asks for: indexes, side tables, full text |
| `_sql.rows` | documents, and what only looks like one |

One table holds one collection name for all scopes. Its `rid` is the stable row number that side
tables refer to. `body` is compact JSON exactly as `encode_object` makes it.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from storage_providers._clock import Clock
from storage_providers.protocol import Item, check_collection

__all__ = [
    "BROKEN",
    "CREATE_DECLARATIONS",
    "DECLARATIONS",
    "NO_DOCUMENT",
    "Dialect",
    "Statement",
    "create_table",
    "erase_rows",
    "item_columns",
    "item_from_row",
    "list_broken",
    "list_declared_scopes",
    "list_scopes",
    "list_tables",
    "list_versions",
    "live",
    "quoted",
    "read_declarations",
    "read_item",
    "read_items",
    "set_aside_broken",
    "table_of",
    "version_tokens",
    "write_declaration",
]

DECLARATIONS = "sp_declarations"
"""The table of declarations: one row for each collection and scope."""


BROKEN = "sp_broken"
"""The table of what was found in the place of documents, for whoever wants to mend it."""


class Statement(NamedTuple):
    """One SQL statement with its bound values."""

    sql: str
    parameters: tuple[Any, ...] = ()


class Dialect(msgspec.Struct, frozen=True):
    """Where drivers differ.

    Attributes:
        body: Expression that returns the column `body` as the driver wants it.
        payload: The same for `payload`, and whatever the driver wants behind it.
        payload_parameter: How a payload is bound; `{}` stands for its placeholder.
        cuts_text_at_nul: Whether text extracted from JSON ends at U+0000 (SQLite before 3.45).
    """

    body: str = "CAST(body AS BLOB)"
    payload: str = "payload"
    payload_parameter: str = "{}"
    cuts_text_at_nul: bool = False


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@lru_cache(maxsize=4096)
def table_of(collection: str) -> tuple[str, str]:
    """The quoted table of a collection and its scope.

    What belongs to the table is called `c_NAME:…`; `:` can't occur in a collection's name.
    """
    scope, name = check_collection(collection)
    return quoted(f"c_{name}"), scope


@lru_cache(maxsize=1024)
def create_table(table: str) -> tuple[str, ...]:
    """The statements that make a collection's table unless it is there."""
    name = table.strip('"')
    expires, broken = quoted(f"{name}:expires"), quoted(f"{name}:broken")
    return (
        f"CREATE TABLE IF NOT EXISTS {table} (rid INTEGER PRIMARY KEY, scope TEXT NOT NULL, "
        "id TEXT NOT NULL, body TEXT, encoding TEXT, payload BLOB, "
        "version TEXT NOT NULL, expires_at INTEGER, UNIQUE (scope, id))",
        f"CREATE INDEX IF NOT EXISTS {expires} ON {table} (expires_at) "
        "WHERE expires_at IS NOT NULL",
        f"CREATE INDEX IF NOT EXISTS {broken} ON {table} (scope, id) WHERE body IS NULL",
    )


def version_tokens(clock: Clock) -> Callable[[], str]:
    """A maker of version tokens that no other maker ever gives out."""
    # Time and randomness of the id make the token, so that no two providers share one.
    unique = bytes.fromhex(clock.new_id().replace("-", ""))
    token = base64.urlsafe_b64encode(unique[:6] + unique[10:]).decode()
    numbers = itertools.count()
    return lambda: f"{token}{next(numbers):x}"


def live(now: str) -> str:
    """The condition that a row has not expired at the time of a placeholder, epoch ms."""
    return f"(expires_at IS NULL OR expires_at>{now})"


def item_columns(dialect: Dialect) -> str:
    """The columns that `item_from_row` reads."""
    return f"id,version,{dialect.body},encoding,{dialect.payload}"


def item_from_row(collection: str, row: tuple[Any, ...]) -> Item:
    """An item from a row of `item_columns`."""
    item_id, version, body, encoding, payload = row
    return Item(collection, item_id, version, body, encoding, payload)


@lru_cache(maxsize=1024)
def read_item(table: str, dialect: Dialect) -> str:
    """Read one live document; binds scope, id and the time now."""
    return f"SELECT {item_columns(dialect)} FROM {table} WHERE scope=?1 AND id=?2 AND {live('?3')}"


@lru_cache(maxsize=1024)
def read_items(table: str, dialect: Dialect) -> str:
    """Read several live documents; binds scope, the time now and the ids as a JSON array."""
    return (
        f"SELECT {item_columns(dialect)} FROM {table} WHERE scope=?1 AND {live('?2')} "
        "AND id IN (SELECT value FROM json_each(?3))"
    )


def list_broken(collection: str) -> Statement:
    """List the ids of documents that are known to be no JSON."""
    table, scope = table_of(collection)
    return Statement(
        f"SELECT id FROM {table} WHERE scope=?1 AND body IS NULL ORDER BY id", (scope,)
    )


_CREATE_BROKEN = (
    f"CREATE TABLE IF NOT EXISTS {BROKEN} (name TEXT NOT NULL, scope TEXT NOT NULL, "
    "id TEXT NOT NULL, version TEXT NOT NULL, body BLOB, PRIMARY KEY (name, scope, id, version))"
)

NO_DOCUMENT = "NOT (json_valid(body) AND sp_is_document(CAST(body AS BLOB)))"
"""The condition that a row holds no document, where there is the function `sp_is_document`."""


def set_aside_broken(
    table: str, condition: str, *parameters: Any
) -> tuple[Statement, Statement, Statement]:
    """Find documents that are no JSON objects, keep their bytes and set their bodies to NULL.

    The second statement returns scope and id of each.

    Args:
        table: The quoted table.
        condition: What is wrong with a row; its placeholders begin with `?2`.
        parameters: What the condition binds.
    """
    broken = f"body IS NOT NULL AND {condition}"
    # The name is bound by both statements, so that the placeholders are the same.
    name = table.strip('"')[2:]
    return (
        Statement(_CREATE_BROKEN),
        Statement(
            f"INSERT OR IGNORE INTO {BROKEN} (name,scope,id,version,body) "
            f"SELECT ?1,scope,id,version,CAST(body AS BLOB) FROM {table} WHERE {broken} "
            "RETURNING scope,id",
            (name, *parameters),
        ),
        Statement(f"UPDATE {table} SET body=NULL WHERE ?1=?1 AND {broken}", (name, *parameters)),
    )


def list_versions(collection: str, after_id: str, limit: int) -> Statement:
    """List ids and versions in the order of ids."""
    table, scope = table_of(collection)
    return Statement(
        f"SELECT id,version FROM {table} WHERE scope=?1 AND id>?2 ORDER BY id LIMIT ?3",
        (scope, after_id, limit),
    )


def list_tables() -> Statement:
    """Name the tables of collections; `c_` and the collection's name."""
    return Statement(
        "SELECT name FROM sqlite_master WHERE type='table' AND substr(name,1,2)='c_' "
        "AND instr(name,':')=0 AND sql NOT LIKE 'CREATE VIRTUAL%'"
    )


def list_scopes(table: str, scope: str | None = None) -> Statement:
    """List the scopes in a table, jumping from one to the next along its index.

    Args:
        table: The quoted table.
        scope: Only this one and those inside it; `None`: all.
    """
    first = within = own = ""
    parameters: tuple[str, ...] = ()
    if scope is not None:
        # What is inside begins with `scope/`, and `0` is the character after `/`.
        first, within = " WHERE scope>?2 AND scope<?3", " AND scope<?3"
        own = f" UNION ALL SELECT ?1 WHERE EXISTS (SELECT 1 FROM {table} WHERE scope=?1)"
        parameters = (scope, f"{scope}/", f"{scope}0")
    return Statement(
        f"WITH RECURSIVE s(scope) AS (SELECT min(scope) FROM {table}{first} UNION ALL "
        f"SELECT (SELECT min(scope) FROM {table} WHERE scope>s.scope{within}) FROM s "
        f"WHERE s.scope IS NOT NULL) SELECT scope FROM s WHERE scope IS NOT NULL{own}",
        parameters,
    )


# --- declarations ------------------------------------------------------------------------------

CREATE_DECLARATIONS = (
    f"CREATE TABLE IF NOT EXISTS {DECLARATIONS} (name TEXT NOT NULL, scope TEXT NOT NULL, "
    "spec TEXT NOT NULL, PRIMARY KEY (name, scope))"
)


def read_declarations(name: str | None = None, scope: str | None = None) -> Statement:
    """Read declarations as `name, scope, spec`: all, those of a name, or one."""
    columns = f"SELECT name,scope,spec FROM {DECLARATIONS}"
    if name is None:
        return Statement(columns)
    if scope is None:
        return Statement(f"{columns} WHERE name=?1", (name,))
    return Statement(f"{columns} WHERE name=?1 AND scope=?2", (name, scope))


def list_declared_scopes(name: str, scope: str | None = None) -> Statement:
    """List the scopes that declare a collection's name: all, or one and those inside it."""
    columns = f"SELECT scope FROM {DECLARATIONS} WHERE name=?1"
    if scope is None:
        return Statement(columns, (name,))
    inside = f"{columns} AND scope>?3 AND scope<?4"
    return Statement(
        f"{columns} AND scope=?2 UNION ALL {inside}", (name, scope, f"{scope}/", f"{scope}0")
    )


def write_declaration(name: str, scope: str, spec: str) -> Statement:
    """Keep a declaration."""
    return Statement(
        f"INSERT INTO {DECLARATIONS} (name,scope,spec) VALUES (?1,?2,?3) "
        "ON CONFLICT (name,scope) DO UPDATE SET spec=excluded.spec",
        (name, scope, spec),
    )


def erase_rows(collection: str) -> tuple[Statement, ...]:
    """Remove a collection of one scope: documents, broken ones that were kept, the declaration.

    The tables must be there, but for that of broken documents, which is made.
    """
    table, scope = table_of(collection)
    name = table.strip('"')[2:]
    return (
        Statement(_CREATE_BROKEN),
        Statement(f"DELETE FROM {table} WHERE scope=?1", (scope,)),
        Statement(f"DELETE FROM {BROKEN} WHERE name=?1 AND scope=?2", (name, scope)),
        Statement(f"DELETE FROM {DECLARATIONS} WHERE name=?1 AND scope=?2", (name, scope)),
    )
