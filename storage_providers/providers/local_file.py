"""Documents as files: one indented JSON file each, to read, edit, diff and back up like any other.

The files are the truth. A SQLite index beside them answers queries; it can be deleted at any time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import ClassVar, Final, NamedTuple, TypeVar, cast

import msgspec

from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers.base import Provider
from storage_providers.errors import (
    BatchError,
    ConfigurationError,
    StorageError,
)
from storage_providers.estimates import IN_THIS_PROCESS, Estimate, Workload
from storage_providers.protocol import (
    Address,
    Capabilities,
    CollectionSpec,
    Item,
    Page,
    Put,
    Query,
    VersionPage,
    Write,
    check_collection,
    check_id,
)
from storage_providers.providers._files.backups import Backup, Backups
from storage_providers.providers._files.commit import Committer
from storage_providers.providers._files.declarations import read_declaration, render_declaration
from storage_providers.providers._files.index import (
    BUSY_SECONDS,
    FileIndex,
    IndexGoneError,
    index_errors,
)
from storage_providers.providers._files.layout import Layout
from storage_providers.providers._files.lock import POLL_SECONDS, RootLock
from storage_providers.providers._files.names import file_stem
from storage_providers.providers._files.reader import corrupt_file, find
from storage_providers.providers._files.scan import Progress, Scan
from storage_providers.providers._files.writer import FileWriter, os_error
from storage_providers.providers._sql.schema import access_of
from storage_providers.providers._sqlite.session import MissingSideTableError
from storage_providers.providers._sqlite.worker import Worker

__all__ = ["Backup", "LocalFileProvider"]

_LOGGER = logging.getLogger("storage_providers")

T = TypeVar("T")

SCAN_AHEAD: Final = 0.8
"""Part of `rescan_seconds` after which a query starts the next scan without waiting for it, so that
where queries are frequent none of them waits."""

INDEX_ATTEMPTS: Final = 4
"""How often an index that is deleted under our hands is made anew for one call."""

TURN_SECONDS: Final = 2 * POLL_SECONDS
"""How long the lock is left to others between turns; they try to get it twice in that time."""

MANY_FILES: Final = 1000
"""A scan that indexes more files than these says so in the log: it is what a query waited for."""


class _Scanned(NamedTuple):
    """When a collection's folder was last compared with which index."""

    at_ms: int
    identity: tuple[int, int] | None


class LocalFileProvider(Provider):
    """Keeps each document as a file `{root}/{scope/}{collection}/{id}.json`.

    Several processes may use a root at once. A write that returned is on the medium. Files may be
    edited, added and removed by hand: reads by id see it at once, queries within
    `rescan_seconds` or after `refresh()`.

    Args:
        root: The folder; made when it is not there.
        enable_backup: Keep replaced and deleted documents, see `list_backups`.
        backup_limit: Newest backups to keep of each document.
        rescan_seconds: A query looks for files changed by hand if that was last done this long
            ago; `None`: only the first query of a collection and `refresh` do.
        lock_timeout_seconds: How long to wait while other processes write.
        fsync: Whether writes are forced to the medium before they return. Without it they still
            survive the end of the process, not a power cut.
        clock: Time and ids; tests pass one that they turn by hand.

    Raises:
        ConfigurationError: An argument is out of range.
    """

    name: ClassVar[str] = "local"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        enable_backup: bool = False,
        backup_limit: int = 10,
        rescan_seconds: float | None = 5.0,
        lock_timeout_seconds: float = 30.0,
        fsync: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(clock=clock)
        if not os.fspath(root):
            raise ConfigurationError("root is empty; name a folder")
        if backup_limit < 1:
            raise ConfigurationError(f"backup_limit is {backup_limit}; the least is 1")
        for name, seconds in (
            ("rescan_seconds", rescan_seconds),
            ("lock_timeout_seconds", lock_timeout_seconds),
        ):
            if seconds is not None and seconds < 0:
                raise ConfigurationError(f"{name} is {seconds}; the least is 0")
        self.root: str = os.path.abspath(os.fspath(root))
        self._rescan_seconds = rescan_seconds
        self._layout = Layout(self.root)
        self._backups = Backups(self._layout, clock, backup_limit)
        self._index = FileIndex(self._layout.index, clock)
        self._committer = Committer(
            self._layout,
            writer=FileWriter(self._layout.temp, fsync=fsync),
            index=FileIndex(self._layout.index, clock),
            backups=self._backups if enable_backup else None,
            lock=RootLock(self._layout.lock, lock_timeout_seconds),
            clock=clock,
            size_limit=self.size_limit,
        )
        self._scanned: dict[str, _Scanned] = {}
        self._scanning: dict[str, asyncio.Task[None]] = {}
        self._listeners: dict[str, list[Progress]] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return _CAPABILITIES

    def estimate(self, workload: Workload) -> Estimate:
        """Tell what work will cost: nothing is called, nothing is billed."""
        return IN_THIS_PROCESS

    # --- lifetime ------------------------------------------------------------------------------

    async def _connect(self) -> None:
        self._writer = _worker("files-writer", self._open_committer, self._layout.index)
        await self._writer.start()
        self._reader = _worker("files-reader", self._open_index, self._layout.index)
        try:
            await self._reader.start()
        except BaseException:
            await self._writer.stop()
            raise

    def _open_committer(self) -> Committer:
        self._committer.open()
        return self._committer

    def _open_index(self) -> FileIndex:
        with suppress(IndexGoneError):  # Deleted already: the first query makes it anew.
            self._index.open(create=False)
        return self._index

    async def _disconnect(self) -> None:
        if self._scanning:
            await asyncio.wait(list(self._scanning.values()))
        try:
            await self._writer.stop()
        finally:
            await self._reader.stop()

    # --- reads ---------------------------------------------------------------------------------

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        results, changed = await self._reader.submit(self._find_all, addresses)
        for collection, names in changed.items():
            # The read has its answer; what keeps the index from following is the next scan's.
            with suppress(IndexGoneError, StorageError):
                await self._mend_all(collection, names, lambda _: None)
        errors = [result for result in results if isinstance(result, StorageError)]
        if not errors:
            return cast("list[Item | None]", results)
        if len(results) == 1:
            raise errors[0]
        raise BatchError(
            f"{len(errors)} of {len(results)} documents can't be read; the others are in 'results'",
            results=results,
        )

    def _find_all(
        self, addresses: Sequence[Address]
    ) -> tuple[list[Item | StorageError | None], dict[str, list[str]]]:
        results: list[Item | StorageError | None] = []
        changed: dict[str, list[str]] = {}
        now = self.clock.now_ms()
        for address in addresses:
            try:
                found = find(self._layout.document(address.collection, address.id))
                if address.collection in self._scanned:
                    self._compare(address, found.version if found else None, changed)
                expired = found is None or found.expired(now)
                results.append(None if expired or found is None else found.item(address.collection))
            except StorageError as error:
                error.collection, error.item_id = address.collection, address.id
                results.append(error)
        return results, changed

    def _compare(
        self, address: Address, version: str | None, changed: dict[str, list[str]]
    ) -> None:
        """Note a file that does not look as the index says."""
        name = file_stem(address.id)
        try:
            row = self._index.row(address.collection, name)
        except (IndexGoneError, sqlite3.Error):
            return
        if (None if row is None else row.version) != version:
            changed.setdefault(address.collection, []).append(name)

    # --- writes --------------------------------------------------------------------------------

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        # Whatever waits when the thread comes to it is done together.
        job = self._committer.enqueue(batch)
        await self._writer.submit(lambda _: self._committer.commit(), None)
        return job.outcome()

    async def _mend_all(
        self, collection: str, names: Sequence[str], tell_left: Callable[[int], None]
    ) -> None:
        """Bring rows up to what the files are now, in turns that are short for other writers."""
        while True:
            names = await self._writer.submit(self._mend, (collection, names))
            tell_left(len(names))
            if not names:
                return
            await asyncio.sleep(TURN_SECONDS)

    def _mend(self, job: tuple[str, Sequence[str]]) -> Sequence[str]:
        with index_errors():
            return self._committer.mend(*job)

    def _collect(self, collection: str) -> None:
        with index_errors():
            self._committer.collect_expired(collection)

    # --- queries -------------------------------------------------------------------------------

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        return [await self._answer(query) for query in queries]

    async def _answer(self, query: Query) -> Page:
        spec = await self.declared(query.collection)
        try:
            return await self._with_index(
                query.collection, lambda: self._reader.submit(self._ask, (query, spec))
            )
        except MissingSideTableError:
            # Another process changed the declaration within the last minute.
            self._scanned.pop(query.collection, None)
            now = await self._declared(query.collection)
            self._declarations[query.collection] = now, self.clock.now_ms()
            return await self._with_index(
                query.collection, lambda: self._reader.submit(self._ask, (query, now))
            )

    def _ask(self, job: tuple[Query, CollectionSpec | None]) -> Page:
        query, spec = job
        with index_errors():
            self._index.check()
            page = self._index.session.query(query, access_of(spec, query.collection))
            if query.cursor is not None or query.offset:
                return page
            problems = self._index.problems(query.collection)
        if not problems:
            return page
        corrupt = tuple(corrupt_file(query.collection, *problem) for problem in problems)
        return msgspec.structs.replace(page, corrupt=(*page.corrupt, *corrupt))

    async def _versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage:
        def list_versions(_: None) -> VersionPage:
            with index_errors():
                self._index.check()
                return self._index.session.versions(collection, cursor, limit)

        return await self._with_index(collection, lambda: self._reader.submit(list_versions, None))

    async def _with_index(self, collection: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the index, after a scan if one is due, and again if it had to be made anew."""
        cause: IndexGoneError | None = None
        for _ in range(INDEX_ATTEMPTS):
            try:
                await self._keep_fresh(collection)
                return await ask()
            except IndexGoneError as error:
                cause = error
                await self._renew_index(anew=error.is_broken)
        raise StorageError(
            f"the index {self._layout.index} was deleted or damaged {INDEX_ATTEMPTS} times during "
            "this call; find out what does it, reads by id work all the same",
            collection=collection,
        ) from cause

    # --- the index -----------------------------------------------------------------------------

    async def refresh(
        self,
        collection: str | None = None,
        *,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """Look for files that were changed by hand, now.

        Args:
            collection: Only in this collection; `None`: in all.
            on_progress: Told how many files were looked at so far, every few hundred files and at
                the end. The numbers only grow. It is called on the event loop, so it should be
                quick; what it raises ends the refresh, after the collection that it is at.

        Raises:
            StorageError: The folders can't be read, or the index can't be made.
        """
        self._check_open("refresh")
        progress = Progress(on_progress)
        with self._context("refresh"):
            names = await self._collections(None) if collection is None else [collection]
            for name in names:
                check_collection(name)
                running = self._scanning.get(name)
                if running is not None:
                    await asyncio.wait([running])
                self._scanned.pop(name, None)
                listeners = self._listeners.setdefault(name, [])
                listeners.append(progress)
                try:
                    await self._with_index(name, _nothing)
                finally:
                    listeners.remove(progress)
                    if not listeners:
                        del self._listeners[name]
                progress.next_collection()
        progress.finish()

    async def _keep_fresh(self, collection: str) -> None:
        """Compare a collection's folder with the index if that was not done lately."""
        known = self._scanned.get(collection)
        if known is not None and known.identity == self._index.identity:
            if self._rescan_seconds is None:
                return
            age = (self.clock.now_ms() - known.at_ms) / 1000
            if 0 <= age < self._rescan_seconds:
                if age >= self._rescan_seconds * SCAN_AHEAD:
                    self._start_scan(collection)
                return
        await asyncio.shield(self._start_scan(collection))

    def _start_scan(self, collection: str) -> asyncio.Task[None]:
        """Begin to compare a folder with the index, or join in what has begun."""
        task = self._scanning.get(collection)
        if task is None:
            task = self._scanning[collection] = asyncio.create_task(self._scan(collection))
            task.add_done_callback(lambda done: self._scan_ended(collection, done))
        return task

    def _scan_ended(self, collection: str, task: asyncio.Task[None]) -> None:
        self._scanning.pop(collection, None)
        if not task.cancelled():
            task.exception()  # Those who wait raise it; without any, it was for nobody.

    async def _scan(self, collection: str) -> None:
        began = self.clock.now_ms()
        started = time.monotonic()
        spec = await self._declared(collection)
        if not await self._reader.submit(self._is_prepared, (collection, spec)):
            await self._writer.submit(self._prepare, (collection, spec))
        scan = Scan(self._index, collection, self._layout.folder(collection))
        identity = self._index.identity
        changed = 0

        def tell_left(files: int) -> None:
            for progress in self._listeners.get(collection, ()):
                progress.looked_at(scan.seen - files)

        while (names := await self._reader.submit(self._step, scan)) is not None:
            if names:
                changed += len(names)
                await self._mend_all(collection, names, tell_left)
            else:
                tell_left(scan.gathered)
        tell_left(0)
        if changed > MANY_FILES:
            seconds = time.monotonic() - started
            _LOGGER.info(
                "indexed %d new, changed or removed files in %.1f s; looked at %d",
                changed,
                seconds,
                scan.seen,
            )
        if await self._reader.submit(self._has_expired, collection):
            with suppress(StorageError):  # They are invisible all the same.
                await self._writer.submit(self._collect, collection)
        self._scanned[collection] = _Scanned(began, identity)

    def _is_prepared(self, job: tuple[str, CollectionSpec | None]) -> bool:
        with index_errors():
            self._index.check()
            return self._index.is_prepared(*job)

    def _prepare(self, job: tuple[str, CollectionSpec | None]) -> None:
        with index_errors():
            self._committer.prepare(*job)

    def _step(self, scan: Scan) -> list[str] | None:
        with index_errors():
            return scan.step()

    def _has_expired(self, collection: str) -> bool:
        with index_errors():
            return bool(self._index.expired(collection, 1))

    async def _renew_index(self, *, anew: bool) -> None:
        """Open the index that is there now, making one if there is none."""
        await self._writer.submit(lambda _: self._committer.open_index(anew=anew), None)
        await self._reader.submit(self._reopen, None)

    def _reopen(self, _: None) -> None:
        self._index.close()
        self._index.open(create=False)

    # --- collections ---------------------------------------------------------------------------

    async def _collections(self, scope: str | None) -> list[str]:
        return await self._reader.submit(self._list_collections, scope)

    def _list_collections(self, scope: str | None) -> list[str]:
        try:
            names = set(self._layout.collections(scope))
        except OSError as error:
            raise os_error(error, str(error.filename or self.root)) from error
        return [name for name in names if not name.rpartition("/")[2].startswith(".")]

    async def _declare(self, spec: CollectionSpec) -> None:
        await self._with_index(
            spec.collection, lambda: self._writer.submit(self._keep_declaration, spec)
        )

    def _keep_declaration(self, spec: CollectionSpec) -> None:
        with index_errors():
            self._committer.declare(spec, render_declaration(spec))

    async def _declared(self, collection: str) -> CollectionSpec | None:
        return await self._reader.submit(self._read_declaration, collection)

    def _read_declaration(self, collection: str) -> CollectionSpec | None:
        return read_declaration(self._layout.declaration(collection), collection)

    async def discard(self, collection: str) -> None:
        """Remove the folder of a collection of the SDK's own, unless it holds documents.

        Raises:
            StorageError: The system does not let us.
        """
        self._check_open("discard")
        with self._context("discard"):
            if check_collection(collection)[1].startswith("."):
                await self._writer.submit(self._committer.discard, collection)

    async def erase(self, collection: str) -> list[str]:
        """Remove a collection for good: documents, their backups, declaration, empty folders.

        Nobody may be writing to it. Returns where something may remain, a sentence each.

        Raises:
            StorageError: The system does not let us; do it again.
        """
        self._check_open("erase")
        await self.clear_collection(collection)
        with self._context("erase"):
            remains = await self._with_index(
                collection, lambda: self._writer.submit(self._erase, collection)
            )
        self._declarations.pop(collection, None)
        return remains

    def _erase(self, collection: str) -> list[str]:
        with index_errors():
            return self._committer.erase(collection)

    # --- backups -------------------------------------------------------------------------------

    async def list_backups(self, collection: str, item_id: str) -> list[Backup]:
        """List the states of a document that were kept when it was replaced or deleted.

        Args:
            collection: Name of the collection.
            item_id: Id of the document, which may be gone.

        Returns:
            The backups, the newest first; none without `enable_backup`.

        Raises:
            InvalidArgumentError: A name is malformed.
            PermissionDeniedError: The system does not let us read them.
        """
        self._check_open("list_backups")
        with self._context("list_backups"):
            check_collection(collection)
            check_id(item_id, self.capabilities.max_id_bytes)
            return await self._reader.submit(
                lambda _: self._backups.list(collection, item_id), None
            )

    async def read_backup(self, collection: str, item_id: str, name: str) -> Item:
        """Read a backup without restoring it.

        Args:
            collection: Name of the collection.
            item_id: Id of the document.
            name: Name of the backup, from `list_backups`.

        Returns:
            The document as it was, with the version it had.

        Raises:
            ItemNotFoundError: There is no such backup.
            CorruptItemError: The file was damaged already when it was replaced.
        """
        self._check_open("read_backup")
        with self._context("read_backup"):
            check_collection(collection)
            check_id(item_id, self.capabilities.max_id_bytes)
            return await self._reader.submit(
                lambda _: self._backups.read(collection, item_id, name), None
            )

    async def restore_backup(self, collection: str, item_id: str, name: str) -> Item:
        """Put a document back as it was, atomically; what it is now becomes a backup itself.

        Args:
            collection: Name of the collection.
            item_id: Id of the document.
            name: Name of the backup, from `list_backups`.

        Returns:
            The document as stored now.

        Raises:
            ItemNotFoundError: There is no such backup.
            CorruptItemError: The file was damaged already when it was replaced.
            StorageError: It can't be written, see `write`.
        """
        item = await self.read_backup(collection, item_id, name)
        put = Put(collection, item.document, encoding=item.encoding, payload=item.payload)
        return cast(Item, (await self.write((put,)))[0])


_CAPABILITIES: Final = Capabilities(
    conditional_write=True, conditional_delete=True, native_query=True, text_search=True
)


def _worker(name: str, opener: Callable[[], FileIndex | Committer], index: str) -> Worker:
    """A thread that owns one side of the provider; all it does with it itself is to close it."""
    return Worker(name, cast("Callable[[], sqlite3.Connection]", opener), (index, BUSY_SECONDS))


async def _nothing() -> None:
    return
