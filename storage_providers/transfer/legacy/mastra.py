"""What Mastra stored, as a source: its LibSQL or SQLite file, and its tables in D1.

Both have the same tables, which are read by row number, some rows at a time. D1 has objects and
lists as JSON in text, and text as it is (`serializeValue` in stores/cloudflare-d1); LibSQL has all
JSON columns as JSONB (`prepareStatement` in stores/libsql), earlier as text, in columns that make
a number of text that looks like one. Source: github.com/mastra-ai/mastra (read 2026-11), and files
made by @mastra/libsql 0.16.4 and 1.23.1. `MastraKV`, for Workers KV, is in
`storage_providers.transfer.legacy.mastra_kv`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias

from storage_providers.cloudflare.d1 import D1Transport
from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import LegacyProblem, LegacyRecord
from storage_providers.resilience import Effect
from storage_providers.transfer.legacy._mastra_tables import MASTRA_TABLES, MastraTable, record_of

__all__ = ["MAX_ID_BYTES", "MastraD1", "MastraFile", "is_mastra_file"]

MAX_ID_BYTES: Final = 200
"""How long ids of runs and spans get before a hash stands for them, unless told otherwise. Ours."""

AT_ONCE: Final = 100
"""Rows read at once. Ours: of a row D1 takes 2 MB at most."""

MAGIC: Final = b"SQLite format 3\0"

Entry: TypeAlias = LegacyRecord | LegacyProblem
Rows: TypeAlias = "tuple[Sequence[str], Sequence[Sequence[Any]]]"
Ask: TypeAlias = "Callable[[str, tuple[int, ...]], Awaitable[Rows]]"


class MastraFile:
    """The tables of a LibSQL or SQLite file; it is opened for reading alone.

    Args:
        path: The file.
        max_id_bytes: The longest id of the provider that the documents are for.
    """

    name = "mastra"

    def __init__(self, path: str | PathLike[str], *, max_id_bytes: int = MAX_ID_BYTES) -> None:
        self._path = Path(path)
        self._max_id_bytes = max_id_bytes

    async def records(self) -> AsyncGenerator[Entry]:
        """Every row as a document, or the reason why it can't be one, as of one moment.

        Raises:
            InvalidArgumentError: The file can't be read, or has none of Mastra's tables.
        """

        async def ask(sql: str, values: tuple[int, ...]) -> Rows:
            return await asyncio.to_thread(_asked, connection, sql, values)

        try:
            connection = await asyncio.to_thread(_opened, self._path)
            with closing(connection):
                async for entry in _all_rows(ask, "", self._max_id_bytes, str(self._path)):
                    yield entry
        except (OSError, sqlite3.Error) as error:
            raise InvalidArgumentError(f"{self._path} can't be read: {error}") from error


class MastraD1:
    """The tables of a D1 database.

    Args:
        database: The database: `D1Database` over the REST API, or a Worker's binding.
        prefix: What its tables' names begin with, Mastra's `tablePrefix`.
        max_id_bytes: The longest id of the provider that the documents are for.
    """

    name = "mastra"

    def __init__(
        self, database: D1Transport, *, prefix: str = "", max_id_bytes: int = MAX_ID_BYTES
    ) -> None:
        self._database = database
        self._prefix = prefix
        self._max_id_bytes = max_id_bytes

    async def records(self) -> AsyncGenerator[Entry]:
        """Every row as a document, or the reason why it can't be one.

        Raises:
            InvalidArgumentError: The database has none of Mastra's tables.
            StorageError: The database failed.
        """

        async def ask(sql: str, values: tuple[int, ...]) -> Rows:
            (result,) = await self._database.raw(
                [(sql, values)], effect=Effect.READ, operation="legacy.mastra"
            )
            return result.columns, result.rows

        async for entry in _all_rows(ask, self._prefix, self._max_id_bytes, "the database"):
            yield entry


def is_mastra_file(path: Path) -> bool:
    """Whether a path is a SQLite file with tables of Mastra's."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return False
        with closing(_opened(path)) as connection:
            return not {row[0] for row in connection.execute(TABLE_NAMES)}.isdisjoint(MASTRA_TABLES)
    except (OSError, sqlite3.Error):
        return False


# --- tables ------------------------------------------------------------------------------------

TABLE_NAMES: Final = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = _text
    return connection


def _text(raw: bytes) -> str:
    # What is no UTF-8 spoils its row, not the reading.
    return raw.decode(errors="surrogateescape")


def _asked(connection: sqlite3.Connection, sql: str, values: tuple[int, ...]) -> Rows:
    if not connection.in_transaction:
        connection.execute("BEGIN")
    cursor = connection.execute(sql, values)
    return [column[0] for column in cursor.description], cursor.fetchall()


async def _all_rows(ask: Ask, prefix: str, max_id_bytes: int, where: str) -> AsyncGenerator[Entry]:
    _, found = await ask(TABLE_NAMES, ())
    names = {str(row[0]) for row in found}
    tables = {prefix + name: table for name, table in MASTRA_TABLES.items()}
    if names.isdisjoint(tables):
        raise InvalidArgumentError(
            f"{where} has none of Mastra's tables; looked for {', '.join(tables)}"
        )
    for name, table in tables.items():
        if name not in names:
            continue
        try:
            async for entry in _rows(ask, table, name, _query(name, prefix, names), max_id_bytes):
                yield entry
        except sqlite3.DatabaseError as error:
            yield LegacyProblem(
                origin=name,
                reason=f"the file is damaged ({error}); what comes behind in it was not read",
            )


OWNER: Final = "owner of the thread"


def _query(name: str, prefix: str, names: set[str]) -> str:
    owner, threads = "", f"{prefix}mastra_threads"
    if name == f"{prefix}mastra_messages" and threads in names:
        # Messages of earlier versions don't say whose they are; their threads do.
        found = f"SELECT o.resourceId FROM {_quoted(threads)} o WHERE o.id = t.thread_id"  # noqa: S608
        owner = f', ({found}) AS "{OWNER}"'
    return (
        f'SELECT t.rowid AS "row", t.*{owner} FROM {_quoted(name)} t '  # noqa: S608
        f"WHERE t.rowid > ? ORDER BY t.rowid LIMIT {AT_ONCE}"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def _rows(
    ask: Ask, table: MastraTable, name: str, query: str, max_id_bytes: int
) -> AsyncGenerator[Entry]:
    last = -(2**53)
    while True:
        columns, rows = await ask(query, (last,))
        for row in rows:
            values = dict(zip(columns[1:], row[1:], strict=True))
            owner = values.pop(OWNER, None)
            # A column that was added later is empty in rows from before.
            if owner is not None and not values.get("resourceId"):
                values["resourceId"] = owner
            last = int(row[0])
            yield record_of(table, values, f"{name} row {last}", max_id_bytes)
        if len(rows) < AT_ONCE:
            return
