"""Documents in a SQLite database: the embedded provider for programs that query."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from typing import ClassVar, Final, Literal, TypeAlias

import msgspec

from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers.base import Provider
from storage_providers.errors import ConfigurationError, TransportError
from storage_providers.estimates import IN_THIS_PROCESS, Estimate, Workload
from storage_providers.protocol import (
    Address,
    Capabilities,
    CollectionSpec,
    Item,
    Page,
    Patch,
    Query,
    VersionPage,
    Write,
    check_collection,
)
from storage_providers.providers._sql import list_tables, quoted, table_of, version_tokens
from storage_providers.providers._sql.schema import access_of
from storage_providers.providers._sqlite.session import (
    BrokenRowsError,
    MissingSideTableError,
    Session,
)
from storage_providers.providers._sqlite.worker import (
    ReadingWorker,
    Worker,
    WriteJob,
    WritingWorker,
)

__all__ = ["SQLiteProvider"]

MAX_DOCUMENT_BYTES: Final = 1_000_000_000 - 10_000
"""Largest document, bytes: a row of SQLite holds 1,000,000,000 (sqlite.org/limits.html, read
2026-11), some of which id, scope and version take."""

CACHED_STATEMENTS: Final = 512
"""Prepared statements kept per connection; each shape of a query is one."""

COLLECT_SECONDS: Final = 60
"""Expired documents are removed this often, while something is written."""

COLLECT_ROWS: Final = 1000
"""Most expired documents removed from one table at once, so that no writer waits long."""

LARGE_BATCH: Final = 32
"""From this many writes on, a batch gets a commit of its own instead of sharing one."""

ATTEMPTS: Final = 5
"""How often a query is asked again after another process changed a declaration or left broken
rows; each is gone at the second attempt unless more follow."""

Synchronous: TypeAlias = Literal["NORMAL", "FULL", "EXTRA"]


class SQLiteProvider(Provider):
    """Keeps collections in the tables of one SQLite database file, in WAL mode.

    Several processes may use the file at once. Writes that wait at the same moment share one
    commit; each still succeeds or fails by itself.

    Args:
        path: The database file, made when it is not there; `:memory:` for one that lives as long
            as the provider is connected.
        synchronous: `FULL`: a write that returned survives a power cut. `NORMAL`: it survives the
            end of the process, not always a power cut. `EXTRA`: see SQLite's documentation.
        busy_timeout_seconds: How long to wait for another process that is writing.
        clock: Time and ids; tests pass one that they turn by hand.

    Raises:
        ConfigurationError: An argument is not one of these.
    """

    name: ClassVar[str] = "sqlite"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "FULL",
        busy_timeout_seconds: float = 30.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(clock=clock)
        self.path = os.fspath(path)
        if not self.path:
            raise ConfigurationError("path is empty; name a database file or ':memory:'")
        if synchronous not in ("NORMAL", "FULL", "EXTRA"):
            raise ConfigurationError(
                f"synchronous is {synchronous!r}; use 'FULL', 'NORMAL' or 'EXTRA'"
            )
        if busy_timeout_seconds < 0:
            raise ConfigurationError(
                f"busy_timeout_seconds is {busy_timeout_seconds}; the least is 0"
            )
        self._synchronous = synchronous
        self._busy_timeout_seconds = busy_timeout_seconds
        self._collected_ms = 0
        self._new_version = version_tokens(clock)

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return _CAPABILITIES if self.path != ":memory:" else _MEMORY_CAPABILITIES

    def estimate(self, workload: Workload) -> Estimate:
        """Tell what work will cost: nothing is called, nothing is billed."""
        return IN_THIS_PROCESS

    # --- lifetime ------------------------------------------------------------------------------

    async def _connect(self) -> None:
        describe = self.path, self._busy_timeout_seconds
        self._writer = WritingWorker("sqlite-writer", self._open_for_writing, describe)
        await self._writer.start()
        self._writing = Session(self._writer.connection, self.clock, self._new_version)
        self._writer.session = self._writing
        self._writer.after_round = self._collect
        if self.path == ":memory:":
            self._reader: Worker = self._writer
            self._reading = self._writing
            self._read_job = self._reading.read
            return
        # A connection of its own, so that reading never waits until a write is on the medium.
        self._reader = reader = ReadingWorker("sqlite-reader", self._open_for_reading, describe)
        try:
            await reader.start()
        except BaseException:
            await self._writer.stop()
            raise
        self._reading = Session(reader.connection, self.clock, self._new_version)
        reader.session, self._read_job = self._reading, reader.read

    def _open_for_writing(self) -> sqlite3.Connection:
        connection = self._open()
        try:
            self._patiently(connection, "PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_for_reading(self) -> sqlite3.Connection:
        connection = self._open()
        connection.execute("PRAGMA query_only=ON")
        return connection

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path,
            timeout=self._busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )

    def _patiently(self, connection: sqlite3.Connection, sql: str) -> None:
        """Run a statement that SQLite gives up at once when another process does the same."""
        deadline = time.monotonic() + self._busy_timeout_seconds
        while True:
            try:
                connection.execute(sql)
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() >= deadline:
                    raise
                time.sleep(0.001 + 0.01 * self.clock.jitter())

    async def _disconnect(self) -> None:
        try:
            await self._writer.stop()
        finally:
            await self._reader.stop()

    def _collect(self) -> None:
        """Remove expired documents now and then, behind the back of whoever just wrote."""
        now = self.clock.now_ms()
        if 0 <= now - self._collected_ms < COLLECT_SECONDS * 1000:
            return
        self._collected_ms = now
        connection = self._writer.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._writing.collect_expired(COLLECT_ROWS)
            connection.execute("COMMIT")
        except sqlite3.Error:
            # Expired documents are invisible all the same; the next round tries again.
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    # --- reads ---------------------------------------------------------------------------------

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        return await self._reader.submit(self._read_job, addresses, special=True)

    # --- writes --------------------------------------------------------------------------------

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        limits = {
            write.collection: self.size_limit(write.collection)
            for write in batch
            if isinstance(write, Patch)
        }
        if len(batch) < LARGE_BATCH:
            return await self._writer.submit(self._writer.write, (batch, limits))
        return await self._writer.submit(self._apply_alone, (batch, limits), special=True)

    def _apply_alone(self, job: WriteJob) -> list[Item | None]:
        return self._writing.write_alone(*job)

    # --- queries -------------------------------------------------------------------------------

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        return [await self._answer(query) for query in queries]

    async def _answer(self, query: Query) -> Page:
        spec = await self.declared(query.collection)
        found: list[tuple[str, str]] = []
        for _ in range(ATTEMPTS):
            try:
                page = await self._reader.submit(self._ask, (query, spec))
            except MissingSideTableError:
                # Another process changed the declaration within the last minute.
                spec = await self._declared(query.collection)
                self._remember(query.collection, spec)
            except BrokenRowsError:
                found += await self._writer.submit(self._set_aside_broken, query.collection)
            else:
                return self._with_found(query, page, found)
        raise TransportError(
            f"the tables changed under the query {ATTEMPTS} times; try again",
            collection=query.collection,
        )

    def _set_aside_broken(self, collection: str) -> list[tuple[str, str]]:
        return self._writing.set_aside_broken(collection)

    def _with_found(self, query: Query, page: Page, found: list[tuple[str, str]]) -> Page:
        """A later page names the broken documents that no page before it can have named."""
        if not found or query.cursor is None:
            return page
        scope = table_of(query.collection)[1]
        corrupt = [
            self._reading.corrupt(query.collection, item_id)
            for owner, item_id in found
            if owner == scope
        ]
        return msgspec.structs.replace(page, corrupt=tuple(corrupt))

    def _ask(self, job: tuple[Query, CollectionSpec | None]) -> Page:
        query, spec = job
        return self._reading.query(query, access_of(spec, query.collection))

    async def _versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage:
        return await self._reader.submit(
            lambda _: self._reading.versions(collection, cursor, limit), None
        )

    # --- collections ---------------------------------------------------------------------------

    async def _collections(self, scope: str | None) -> list[str]:
        return await self._reader.submit(self._list_collections, scope)

    def _list_collections(self, scope: str | None) -> list[str]:
        return self._reading.collections(scope)

    async def _declare(self, spec: CollectionSpec) -> None:
        await self._writer.submit(self._writing.declare, spec)

    async def _declared(self, collection: str) -> CollectionSpec | None:
        return await self._reader.submit(self._reading.declared, collection)

    async def discard(self, collection: str) -> None:
        """Drop the table of a collection of the SDK's own, unless it holds documents.

        Raises:
            StorageError: The database can't be written.
        """
        self._check_open("discard")
        with self._context("discard"):
            await self._writer.submit(self._drop_if_empty, check_collection(collection)[1])

    def _drop_if_empty(self, name: str) -> None:
        table, connection = table_of(name)[0], self._writer.connection
        for (found,) in connection.execute(*list_tables()).fetchall():
            empty = quoted(found) == table and name.startswith(".")
            if empty and connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is None:  # noqa: S608 # quoted
                connection.execute(f"DROP TABLE {table}")

    async def erase(self, collection: str) -> list[str]:
        """Remove a collection for good: documents, broken ones that were set aside, declaration.

        Nobody may be writing to it. Safe to repeat.

        Args:
            collection: Name of the collection, with its scope.

        Returns:
            Where something of it may remain, and how that goes, a sentence each.

        Raises:
            StorageError: The database could not be written, nothing was removed; do it again.
        """
        self._check_open("erase")
        with self._context("erase"):
            check_collection(collection, self.capabilities.max_scope_bytes)
            await self._writer.submit(self._erase, collection)
            self._declarations.pop(collection, None)
        if self.path == ":memory:":
            return []
        return [
            f"the file {self.path} keeps bytes of removed rows until they are overwritten; "
            f"`sqlite3 {self.path} VACUUM` writes it anew without them"
        ]

    def _erase(self, collection: str) -> None:
        self._writing.erase(collection)


_CAPABILITIES: Final = Capabilities(
    atomic_batch=True,
    conditional_write=True,
    conditional_delete=True,
    native_query=True,
    text_search=True,
    max_document_bytes=MAX_DOCUMENT_BYTES,
)
_MEMORY_CAPABILITIES: Final = Capabilities(
    atomic_batch=True,
    conditional_write=True,
    conditional_delete=True,
    native_query=True,
    text_search=True,
    durable=False,
    max_document_bytes=MAX_DOCUMENT_BYTES,
)
