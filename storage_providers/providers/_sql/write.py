"""Writes as statements, and what a write that changed nothing ran into."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from storage_providers.errors import (
    CorruptItemError,
    DocumentTooLargeError,
    ItemExistsError,
    ItemNotFoundError,
    StorageError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    Delete,
    IfVersion,
    Patch,
    Put,
)
from storage_providers.providers._sql import Dialect, Statement, live, table_of

__all__ = [
    "Found",
    "Shape",
    "clear_rows",
    "collect_expired",
    "conflict",
    "delete_row",
    "look_at",
    "patch_row",
    "put_sql",
    "put_values",
    "shape_of",
]

# --- puts --------------------------------------------------------------------------------------


class Shape(NamedTuple):
    """What kind of put it is; puts of one shape into one table share a statement.

    Values that are NULL are written as such and not bound: binding None costs Python's `sqlite3`
    more than all other values of a row together.

    Attributes:
        condition: `any`, `if_absent`, `if_present` or `if_version`.
        encoded: Whether there is an encoding with its payload.
        expires: Whether it expires.
    """

    condition: str = "any"
    encoded: bool = False
    expires: bool = False


def shape_of(put: Put) -> Shape:
    """The shape of a put."""
    condition = put.condition
    name = "if_version" if isinstance(condition, IfVersion) else condition.value
    return Shape(name, put.encoding is not None, put.expires_at_ms is not None)


@lru_cache(maxsize=1024)
def put_sql(table: str, shape: Shape, dialect: Dialect, rows: int = 1) -> str:
    """The statement of puts of one shape; it changes as many rows as conditions hold.

    Args:
        table: The quoted table.
        shape: What kind of puts; `if_present` and `if_version` take one row only.
        dialect: What the driver wants.
        rows: How many documents it stores.
    """
    numbers = itertools.count(3 if shape.condition == "any" else 4)

    def values() -> dict[str, str]:
        payload = dialect.payload_parameter.format
        return {
            "id": f"?{next(numbers)}",
            "body": f"?{next(numbers)}",
            "encoding": f"?{next(numbers)}" if shape.encoded else "NULL",
            "payload": payload(f"?{next(numbers)}") if shape.encoded else "NULL",
            "expires_at": f"?{next(numbers)}" if shape.expires else "NULL",
        }

    if shape.condition in ("if_present", "if_version"):
        row = values()
        item_id = row.pop("id")
        changes = ",".join(f"{name}={value}" for name, value in row.items())
        sql = f"UPDATE {table} SET version=?2,{changes} WHERE scope=?1 AND id={item_id}"
        sql += f" AND {live('?3')}"
        return sql + (f" AND version=?{next(numbers)}" if shape.condition == "if_version" else "")
    listed = [values() for _ in range(rows)]
    columns = tuple(listed[0])
    changes = ",".join(f"{name}=excluded.{name}" for name in ("version", *columns[1:]))
    sql = (
        f"INSERT INTO {table} (scope,version,{','.join(columns)}) VALUES "
        f"{','.join('(?1,?2,' + ','.join(row.values()) + ')' for row in listed)} "
        f"ON CONFLICT (scope,id) DO UPDATE SET {changes}"
    )
    # A row in the way of IF_ABSENT is none if it has expired.
    return sql + (" WHERE expires_at<=?3" if shape.condition == "if_absent" else "")


def put_values(
    puts: Sequence[Put], shape: Shape, scope: str, version: str, now_ms: int
) -> list[Any]:
    """The values that `put_sql` binds for as many puts as it has rows."""
    values: list[Any] = [scope, version] if shape.condition == "any" else [scope, version, now_ms]
    if not shape.encoded and not shape.expires and shape.condition != "if_version":
        values += [value for put in puts for value in (put.id, put.body.decode())]
        return values
    for put in puts:
        values += (put.id, put.body.decode())
        if shape.encoded:
            values += (put.encoding, put.payload)
        if shape.expires:
            values.append(put.expires_at_ms)
        if isinstance(put.condition, IfVersion):
            values.append(put.condition.version)
    return values


# --- patches, deletes --------------------------------------------------------------------------


class _PatchShape(NamedTuple):
    expiry: str
    has_version: bool
    has_limit: bool


@lru_cache(maxsize=1024)
def _patch_sql(table: str, shape: _PatchShape, dialect: Dialect) -> str:
    numbers = itertools.count(6)
    expiry = {"keep": "", "never": ",expires_at=NULL", "at": f",expires_at=?{next(numbers)}"}
    if shape.expiry != "at":
        numbers = itertools.count(6)
    sql = (
        f"UPDATE {table} SET body=json_patch(body,?3),version=?4{expiry[shape.expiry]} "
        f"WHERE scope=?1 AND id=?2 AND {live('?5')} AND encoding IS NULL AND substr(body,1,1)='{{'"
    )
    if shape.has_version:
        sql += f" AND version=?{next(numbers)}"
    if shape.has_limit:
        sql += f" AND length(CAST(json_patch(body,?3) AS BLOB))<=?{next(numbers)}"
    return f"{sql} RETURNING {dialect.body}"


def patch_row(
    patch: Patch, version: str, now_ms: int, limit_bytes: int | None, *, dialect: Dialect
) -> Statement:
    """Merge changes into a document in one statement; it returns the new body, or no row."""
    table, scope = table_of(patch.collection)
    values: list[Any] = [scope, patch.id, patch.body.decode(), version, now_ms]
    expiry = "keep"
    if patch.sets_expiry:
        expiry = "never" if patch.expires_at_ms is None else "at"
        if patch.expires_at_ms is not None:
            values.append(patch.expires_at_ms)
    has_version = isinstance(patch.condition, IfVersion)
    if isinstance(patch.condition, IfVersion):
        values.append(patch.condition.version)
    if limit_bytes is not None:
        values.append(limit_bytes)
    shape = _PatchShape(expiry, has_version, limit_bytes is not None)
    return Statement(_patch_sql(table, shape, dialect), tuple(values))


def delete_row(delete: Delete, now_ms: int) -> Statement:
    """Remove a document; the statement changes no row when its condition does not hold."""
    table, scope = table_of(delete.collection)
    sql = f"DELETE FROM {table} WHERE scope=?1 AND id=?2"
    match delete.condition:
        case IfVersion(version):
            return Statement(
                f"{sql} AND {live('?3')} AND version=?4", (scope, delete.id, now_ms, version)
            )
        case condition if condition is ANY:
            return Statement(sql, (scope, delete.id))
        case _:
            return Statement(f"{sql} AND {live('?3')}", (scope, delete.id, now_ms))


def clear_rows(collection: str) -> Statement:
    """Remove every document of one collection of one scope."""
    table, scope = table_of(collection)
    return Statement(f"DELETE FROM {table} WHERE scope=?1", (scope,))


def collect_expired(table: str, now_ms: int, limit: int) -> Statement:
    """Remove documents that have expired, those first that expired first."""
    return Statement(
        f"DELETE FROM {table} WHERE rid IN (SELECT rid FROM {table} WHERE expires_at<=?1 "
        "ORDER BY expires_at LIMIT ?2)",
        (now_ms, limit),
    )


# --- conflicts ---------------------------------------------------------------------------------


Found: TypeAlias = tuple[str, str | None, int | None]
"""Version, encoding and, for a patch, the patched size (NULL: no JSON object) of a row."""


def look_at(write: Put | Patch | Delete, now_ms: int) -> Statement:
    """Look at the document a write did not change, as `Found`."""
    table, scope = table_of(write.collection)
    values: tuple[Any, ...] = (scope, write.id, now_ms)
    size = "0"
    if isinstance(write, Patch):
        size = (
            "CASE WHEN encoding IS NOT NULL THEN 0 WHEN substr(body,1,1)='{' "
            "THEN length(CAST(json_patch(body,?4) AS BLOB)) END"
        )
        values = (*values, write.body.decode())
    sql = f"SELECT version,encoding,{size} FROM {table} WHERE scope=?1 AND id=?2 AND {live('?3')}"
    return Statement(sql, values)


def conflict(
    write: Put | Patch | Delete,
    found: Found | None,
    limit_bytes: int | None = None,
) -> StorageError | None:
    """Why a write changed nothing, from the row that `look_at` found; `None`: it should have."""
    version = None if found is None else found[0]
    condition = write.condition
    if isinstance(condition, IfVersion) and version != condition.version:
        return VersionMismatchError(
            "the document is gone" if version is None else "the document was changed",
            expected_version=condition.version,
            actual_version=version,
        )
    if found is None:
        gone = condition is not ANY and condition is not IF_ABSENT
        return ItemNotFoundError("no such document") if gone else None
    if condition is IF_ABSENT:
        return ItemExistsError("a document with this id exists already")
    if isinstance(write, Patch):
        _, encoding, size_bytes = found
        if encoding is not None:
            return UnsupportedOperationError(
                f"the document is encoded as {encoding!r}; patch it through the layer that wrote it"
            )
        if size_bytes is None:
            return CorruptItemError(
                "what is stored is not a JSON object; put the document anew or delete it",
                source=f"table {table_of(write.collection)[0]}",
            )
        if limit_bytes is not None and size_bytes > limit_bytes:
            return DocumentTooLargeError(
                f"the patched document is {size_bytes} bytes, the limit is {limit_bytes}",
                size_bytes=size_bytes,
                limit_bytes=limit_bytes,
            )
    return None
