"""Writes as statements, and what a write that changed nothing ran into."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from storage_providers.errors import (
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
    Condition,
    Delete,
    IfVersion,
    Patch,
    Put,
)
from storage_providers.providers._sql import Dialect, Statement, live, table_of

__all__ = [
    "clear_rows",
    "collect_expired",
    "conflict",
    "delete_row",
    "look_at",
    "patch_row",
    "put_row",
    "put_sql",
]

_COLUMNS = ("body", "encoding", "payload", "version", "expires_at")


# --- puts --------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def put_sql(table: str, condition: str, dialect: Dialect) -> str:
    """The statement of a put; it changes one row, or none when its condition does not hold.

    Args:
        table: The quoted table.
        condition: `any`, `if_absent`, `if_present` or `if_version`.
        dialect: What the driver wants.
    """
    places = ["?3", "?4", dialect.payload_parameter.format("?5"), "?6", "?7"]
    if condition in ("if_present", "if_version"):
        changes = ",".join(f"{name}={place}" for name, place in zip(_COLUMNS, places, strict=True))
        sql = f"UPDATE {table} SET {changes} WHERE scope=?1 AND id=?2 AND {live('?8')}"
        return sql + (" AND version=?9" if condition == "if_version" else "")
    changes = ",".join(f"{name}=excluded.{name}" for name in _COLUMNS)
    sql = (
        f"INSERT INTO {table} (scope,id,{','.join(_COLUMNS)}) VALUES (?1,?2,{','.join(places)}) "
        f"ON CONFLICT (scope,id) DO UPDATE SET {changes}"
    )
    # A row in the way of IF_ABSENT is none if it has expired.
    return sql + (" WHERE expires_at<=?8" if condition == "if_absent" else "")


def put_row(put: Put, scope: str, version: str, now_ms: int) -> tuple[Any, ...]:
    """The values that `put_sql` binds."""
    condition = put.condition
    row = (
        scope,
        put.id,
        put.body.decode(),
        put.encoding,
        put.payload,
        version,
        put.expires_at_ms,
    )
    if condition is ANY:
        return row
    return (*row, now_ms, condition.version) if isinstance(condition, IfVersion) else (*row, now_ms)


def condition_name(condition: Condition) -> str:
    """A condition as `put_sql` takes it."""
    return "if_version" if isinstance(condition, IfVersion) else condition.value


# --- patches, deletes --------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _patch_sql(table: str, shape: tuple[bool, bool, bool], dialect: Dialect) -> str:
    sets_expiry, has_version, has_limit = shape
    sql = (
        f"UPDATE {table} SET body=json_patch(body,?3),version=?4"
        f"{',expires_at=?5' if sets_expiry else ''} "
        f"WHERE scope=?1 AND id=?2 AND {live('?6')} AND encoding IS NULL"
        f"{' AND version=?7' if has_version else ''}"
    )
    if has_limit:
        sql += " AND length(CAST(json_patch(body,?3) AS BLOB))<=?8"
    return f"{sql} RETURNING {dialect.body}"


def patch_row(
    patch: Patch, version: str, now_ms: int, limit_bytes: int | None, *, dialect: Dialect
) -> Statement:
    """Merge changes into a document in one statement; it returns the new body, or no row."""
    table, scope = table_of(patch.collection)
    expected = patch.condition.version if isinstance(patch.condition, IfVersion) else None
    values: list[Any] = [scope, patch.id, patch.body.decode(), version, patch.expires_at_ms, now_ms]
    if expected is not None or limit_bytes is not None:
        values.append(expected)
    if limit_bytes is not None:
        values.append(limit_bytes)
    shape = (patch.sets_expiry, expected is not None, limit_bytes is not None)
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


def look_at(write: Put | Patch | Delete, now_ms: int) -> Statement:
    """Look at the document a write did not change: version, encoding and patched size."""
    table, scope = table_of(write.collection)
    size, values = "0", (scope, write.id, now_ms)
    if isinstance(write, Patch):
        size = "iif(encoding IS NULL,length(CAST(json_patch(body,?4) AS BLOB)),0)"
        values = (*values, write.body.decode())
    sql = f"SELECT version,encoding,{size} FROM {table} WHERE scope=?1 AND id=?2 AND {live('?3')}"
    return Statement(sql, values)


def conflict(
    write: Put | Patch | Delete,
    found: tuple[str, str | None, int] | None,
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
        if limit_bytes is not None and size_bytes > limit_bytes:
            return DocumentTooLargeError(
                f"the patched document is {size_bytes} bytes, the limit is {limit_bytes}",
                size_bytes=size_bytes,
                limit_bytes=limit_bytes,
            )
    return None
