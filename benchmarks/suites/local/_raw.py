"""The other side: what somebody who knows the tools would write by hand."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from storage_providers.providers._sql import Dialect, create_table, table_of
from storage_providers.providers._sql.write import Shape, put_sql

__all__ = ["RawTable", "SameTable", "durable_write"]


class RawTable:
    """One table of documents and the statements for it, without conditions, scopes or checks."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self.connection = _connect(path, synchronous)
        self.connection.execute(
            "CREATE TABLE todos (id TEXT PRIMARY KEY, body TEXT NOT NULL, version INTEGER NOT NULL)"
        )
        self._encode = msgspec.json.Encoder().encode

    def put_many(self, documents: list[dict[str, Any]]) -> None:
        """Encode documents and store them in one transaction."""
        encode = self._encode
        rows = [(document["id"], encode(document).decode()) for document in documents]
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(_PUT, rows)
        self.connection.execute("COMMIT")

    def put(self, document: dict[str, Any]) -> None:
        """Encode a document and store it; the statement is its own transaction."""
        self.connection.execute(_PUT, (document["id"], self._encode(document).decode()))

    def get(self, item_id: str) -> tuple[str, int] | None:
        """A document's body and version."""
        row: tuple[str, int] | None = self.connection.execute(_GET, (item_id,)).fetchone()
        return row

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class SameTable:
    """A table as `SQLiteProvider` makes it, and its upsert, without anything around them."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self._connection = _connect(path, synchronous)
        table, _ = table_of("todos")
        for sql in create_table(table):
            self._connection.execute(sql)
        self._sql = put_sql(table, Shape(), Dialect())
        self._encode = msgspec.json.Encoder().encode

    def put_many(self, documents: list[dict[str, Any]]) -> None:
        """Encode documents and store them in one transaction."""
        encode = self._encode
        rows = [("", document["id"], encode(document).decode(), "1") for document in documents]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(self._sql, rows)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    # Made on one thread and used by another, one at a time.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection


_PUT = (
    "INSERT INTO todos (id, body, version) VALUES (?, ?, 1) "
    "ON CONFLICT (id) DO UPDATE SET body = excluded.body, version = version + 1"
)
_GET = "SELECT body, version FROM todos WHERE id = ?"


def durable_write(folder: Path, name: str, content: bytes) -> None:
    """Replace a file so that a crash at any moment leaves the old one or the new one."""
    descriptor, temporary = tempfile.mkstemp(dir=folder)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, folder / name)  # noqa: PTH105  # What is measured is the bare call.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
