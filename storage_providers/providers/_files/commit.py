"""Carries out batches of writes on the files of a root: conditions, files, backups, index."""

from __future__ import annotations

import copy
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from storage_providers._clock import Clock
from storage_providers._json import decode_object, encode_object, merge_patch
from storage_providers.errors import BatchError, OutcomeUnknownError, StorageError
from storage_providers.protocol import (
    ANY,
    Clear,
    CollectionSpec,
    Delete,
    Item,
    Patch,
    Put,
    Write,
    expiry_of,
)
from storage_providers.providers._files.backups import Backups
from storage_providers.providers._files.format import render, version_of
from storage_providers.providers._files.index import FileIndex, IndexGoneError, Written
from storage_providers.providers._files.layout import (
    Layout,
    is_document,
    row_name,
)
from storage_providers.providers._files.lock import RootLock
from storage_providers.providers._files.mending import mend
from storage_providers.providers._files.names import ENCODED_SUFFIX, PLAIN_SUFFIX, file_stem
from storage_providers.providers._files.reader import Found, find
from storage_providers.providers._files.removing import discard, erase
from storage_providers.providers._files.writer import FileChange, FileWriter, os_error
from storage_providers.providers._sql.write import conflict

__all__ = ["Committer", "WriteJob"]

MOST_WRITES_TOGETHER: Final = 1000
"""Writes of several callers that share one locking and one forcing of each folder."""

EXPIRED_AT_ONCE: Final = 1000
"""Expired documents removed at a time."""


class WriteJob:
    """A batch that waits to be carried out, then what came of it."""

    __slots__ = ("batch", "done", "failed", "results")

    def __init__(self, batch: Sequence[Write]) -> None:
        self.batch = batch
        self.results: list[Item | StorageError | None] = [None] * len(batch)
        self.failed = False
        self.done = False

    def fail(self, index: int, error: StorageError) -> None:
        """Note why a write was not done."""
        write = self.batch[index]
        error.collection, error.index = write.collection, index
        error.item_id = None if isinstance(write, Clear) else write.id
        self.results[index] = error
        self.failed = True

    def outcome(self) -> list[Item | None]:
        """The stored items.

        Raises:
            BatchError: Some of several writes were not done.
            StorageError: The one write was not done.
            OutcomeUnknownError: Something unforeseen stopped the thread in the middle.
        """
        if not self.done:
            raise OutcomeUnknownError("the write was interrupted; read before repeating")
        if not self.failed:
            return [result for result in self.results if not isinstance(result, StorageError)]
        errors = [result for result in self.results if isinstance(result, StorageError)]
        if len(self.results) == 1:
            errors[0].index = None
            raise errors[0]
        raise BatchError(
            f"{len(errors)} of {len(self.results)} writes were not done, the others were; first: "
            f"{errors[0]}",
            results=self.results,
        )


class _Planned(NamedTuple):
    """A write whose condition holds, ready to be carried out."""

    job: WriteJob
    position: int
    change: FileChange
    collection: str
    name: str
    item: Item | None
    expires_at_ms: int | None


class Committer:
    """Everything that changes a root. All but `enqueue` belongs on one thread.

    Args:
        layout: Where things are.
        writer: Changes files.
        index: A connection of this thread's own.
        backups: Keeps replaced and deleted documents; `None`: nobody does.
        lock: Held while anything changes.
        clock: Judges expiry.
        size_limit: Largest document of a collection, bytes; for patches.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        writer: FileWriter,
        index: FileIndex,
        backups: Backups | None,
        lock: RootLock,
        clock: Clock,
        size_limit: Callable[[str], int | None],
    ) -> None:
        self._layout = layout
        self._writer = writer
        self._index = index
        self._backups = backups
        self._lock = lock
        self._clock = clock
        self._size_limit = size_limit
        self._jobs: deque[WriteJob] = deque()
        self._jobs_lock = threading.Lock()
        self._noted: set[str] = set()

    # --- lifetime ------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the folders, remove what a killed process left, open the index.

        Raises:
            StorageError: The system does not let us.
        """
        try:
            for folder in self._layout.own_folders():
                self._writer.make_folders(folder)
            self._layout.write_gitignore()
            if os.listdir(self._layout.temp):
                with self._lock.held():
                    self._writer.remove_leftovers()
        except OSError as error:
            raise os_error(error, str(error.filename or self._layout.root)) from error
        self.open_index()

    def open_index(self, *, anew: bool = False) -> None:
        """Open the index that is there, or make a new one.

        Args:
            anew: Delete the one that is there.

        Raises:
            StorageError: It can't be made.
        """
        with self._lock.held():
            try:
                self._index.check()
                if anew:
                    self._index.remove()
            except IndexGoneError:
                pass  # Another process made a new one already.
            self._index.close()
            try:
                self._index.open(create=True)
            except (OSError, sqlite3.Error) as error:
                raise StorageError(
                    f"the index {self._layout.index} can't be made ({error}); reads by id work, "
                    "queries need it"
                ) from error

    def close(self) -> None:
        """Close the index."""
        self._writer.close()
        self._index.close()

    # --- writes --------------------------------------------------------------------------------

    def enqueue(self, batch: Sequence[Write]) -> WriteJob:
        """Line a batch up for the next `commit`, from any thread."""
        job = WriteJob(batch)
        with self._jobs_lock:
            self._jobs.append(job)
        return job

    def commit(self) -> None:
        """Carry out the batches that wait, together; their jobs tell the outcome."""
        jobs: list[WriteJob] = []
        with self._jobs_lock:
            writes = 0
            while self._jobs and (not jobs or writes < MOST_WRITES_TOGETHER):
                jobs.append(self._jobs.popleft())
                writes += len(jobs[-1].batch)
        if not jobs:
            return
        try:
            with self._lock.held():
                self._commit(jobs)
        except StorageError as error:
            # Only the lock fails as a whole, before anything was done.
            for job in jobs:
                for index in range(len(job.batch)):
                    job.fail(index, copy.copy(error))
        for job in jobs:
            job.done = True

    def _commit(self, jobs: Iterable[WriteJob]) -> None:
        planned: list[_Planned] = []
        busy: set[tuple[str, str]] = set()
        for job in jobs:
            for index, write in enumerate(job.batch):
                if isinstance(write, Clear):
                    self._carry_out(planned)
                    busy.clear()
                    self._clear(job, index, write.collection)
                    continue
                if (write.collection, write.id) in busy:
                    # Another caller's write to the same document comes first.
                    self._carry_out(planned)
                    busy.clear()
                try:
                    planned.append(self._plan(job, index, write))
                    busy.add((write.collection, write.id))
                except StorageError as error:
                    job.fail(index, error)
        self._carry_out(planned)

    def _plan(self, job: WriteJob, index: int, write: Put | Patch | Delete) -> _Planned:
        """Check a write's condition against the file and prepare the change."""
        path = self._layout.document(write.collection, write.id)
        name = file_stem(write.id)
        found = find(path) if write.condition is not ANY else None
        backup = self._backups.next_path(write.collection, write.id) if self._backups else None
        if isinstance(write, Delete):
            self._check(write, found)
            change = FileChange(
                path + PLAIN_SUFFIX, None, other=path + ENCODED_SUFFIX, backup=backup
            )
            return _Planned(job, index, change, write.collection, name, None, None)
        body, encoding, payload, expires_at_ms = self._new_document(write, found)
        data = render(body, encoding, payload)
        item = Item(write.collection, write.id, version_of(data), body, encoding, payload)
        suffixes = (PLAIN_SUFFIX, ENCODED_SUFFIX)
        main, other = suffixes if encoding is None else reversed(suffixes)
        change = FileChange(path + main, data, other=path + other, backup=backup)
        self._note_folders(write.collection)
        return _Planned(job, index, change, write.collection, name, item, expires_at_ms)

    def _new_document(
        self, write: Put | Patch, found: Found | None
    ) -> tuple[bytes, str | None, bytes | None, int | None]:
        if isinstance(write, Put):
            self._check(write, found)
            return write.body, write.encoding, write.payload, write.expires_at_ms
        if found is None or found.expired(self._clock.now_ms()):
            self._check(write, found)
        assert found is not None
        if found.content is None:
            raise found.corrupt(write.collection)
        merged = merge_patch(decode_object(found.content.body), write.changes)
        body = encode_object(merged)
        self._check(write, found, len(body))
        return body, None, None, expiry_of(merged)

    def _check(self, write: Put | Patch | Delete, found: Found | None, size_bytes: int = 0) -> None:
        """Raise what stands in a write's way."""
        if found is None or found.expired(self._clock.now_ms()):
            current = None
        else:
            encoding = None if found.content is None else found.content.encoding
            current = found.version, encoding, size_bytes
        error = conflict(write, current, self._size_limit(write.collection))
        if error is not None:
            raise error

    def _carry_out(self, planned: list[_Planned]) -> None:
        """Do what was planned, files first, then the index; leaves the list empty."""
        if not planned:
            return
        self._writer.apply([plan.change for plan in planned])
        done: list[_Planned] = []
        for plan in planned:
            if plan.change.error is not None:
                plan.job.fail(plan.position, plan.change.error)
            else:
                plan.job.results[plan.position] = plan.item
                done.append(plan)
        if self._backups:
            for plan in done:
                self._backups.prune(plan.change)
        self._update_index(lambda: self._index_all(done))
        planned.clear()

    def _index_all(self, done: Iterable[_Planned]) -> None:
        written: list[Written] = []
        for plan in done:
            if plan.item is None:
                self._index.delete(plan.collection, plan.name)
            else:
                stamp = plan.change.stamp
                written.append(Written(plan.item, plan.name, stamp, plan.expires_at_ms))
        self._index.put_all(written)

    def _clear(self, job: WriteJob, index: int, collection: str) -> None:
        folder = self._layout.folder(collection)
        try:
            with os.scandir(folder) as entries:
                names = [
                    entry.name
                    for entry in entries
                    if is_document(entry.name) and not entry.is_dir()
                ]
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as error:
            job.fail(index, os_error(error, folder))
            return
        changes = [
            FileChange(
                os.path.join(folder, name),
                None,
                backup=self._backups.next_path_for_file(collection, name)
                if self._backups
                else None,
            )
            for name in names
        ]
        self._writer.apply(changes)
        failed = [change.error for change in changes if change.error is not None]
        if not failed:
            self._update_index(lambda: self._index.clear(collection))
            return
        job.fail(index, failed[0])
        gone = [
            row_name(os.path.splitext(name)[0])
            for name, change in zip(names, changes, strict=True)
            if change.error is None
        ]
        self._update_index(lambda: self._forget(collection, gone))

    def _forget(self, collection: str, names: Iterable[str]) -> None:
        for name in names:
            self._index.delete(collection, name)

    def _note_folders(self, collection: str) -> None:
        """Keep the whole names of folders whose names had to be shortened."""
        if collection in self._noted:
            return
        notes = self._layout.folder_notes(collection)
        changes = [
            FileChange(path, data) for path, data in notes.items() if not os.path.exists(path)
        ]
        self._writer.apply(changes)
        for change in changes:
            if change.error is not None:
                raise change.error
        self._noted.add(collection)

    # --- the index -----------------------------------------------------------------------------

    def _update_index(self, update: Callable[[], None]) -> None:
        """Change the index after the files were changed.

        The write is done by then and must not fail: a row that is missing is found by the next
        scan, since it does not look like its file.
        """
        try:
            try:
                self._index.check()
            except IndexGoneError:
                self._index.close()
                self._index.open(create=True)
            with self._index.transaction():
                update()
        except (IndexGoneError, OSError, sqlite3.Error) as error:
            self._index.close()
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(
                error, sqlite3.OperationalError
            ):
                self._index.remove()

    def mend(self, collection: str, names: Sequence[str]) -> Sequence[str]:
        """Bring the index rows of some files up to what the files are now.

        Args:
            collection: Their collection.
            names: Names of files without suffix, whether they are still there or not.

        Returns:
            Those left for another turn, after other writers had theirs.

        Raises:
            IndexGoneError: The index was deleted or made anew.
            StorageError: The lock can't be had.
        """
        with self._lock.held():
            self._index.check()
            with self._index.transaction():
                return mend(self._index, collection, self._layout.folder(collection), names)

    def prepare(self, collection: str, spec: CollectionSpec | None) -> None:
        """Make what the index needs for a collection.

        Raises:
            IndexGoneError: The index was deleted or made anew.
            StorageError: The lock can't be had, or a field can't be indexed.
        """
        with self._lock.held():
            self._index.check()
            with self._index.transaction():
                self._index.prepare(collection, spec)

    def declare(self, spec: CollectionSpec, data: bytes) -> None:
        """Keep a declaration with the files, and make what it asks for in the index.

        Raises:
            IndexGoneError: The index was deleted or made anew.
            StorageError: It can't be kept; nothing changed.
        """
        change = FileChange(self._layout.declaration(spec.collection), data)
        with self._lock.held():
            self._index.check()
            with self._index.transaction():
                self._index.prepare(spec.collection, spec)
                self._note_folders(spec.collection)
                self._writer.apply([change])
                if change.error is not None:
                    raise change.error

    def discard(self, collection: str) -> None:
        """Remove the folder of a collection if it is empty, and the backups of its documents.

        Raises:
            StorageError: The lock can't be had, or the system does not let us.
        """
        with self._lock.held():
            discard(self._layout, collection)

    def erase(self, collection: str) -> list[str]:
        """Remove what is kept of a collection without documents: declaration, backups, folders.

        Returns:
            What remains, a sentence each.

        Raises:
            IndexGoneError: The index was deleted or made anew.
            StorageError: The lock can't be had, or the system does not let us.
        """
        with self._lock.held():
            self._index.check()
            with self._index.transaction():
                self._index.prepare(collection, None)
            return erase(self._layout, collection)

    def collect_expired(self, collection: str) -> int:
        """Remove documents that have expired and were not written since; returns how many.

        Raises:
            IndexGoneError: The index was deleted or made anew.
            StorageError: The lock can't be had.
        """
        with self._lock.held():
            self._index.check()
            now = self._clock.now_ms()
            names: list[str] = []
            changes: list[FileChange] = []
            for item_id, version in self._index.expired(collection, EXPIRED_AT_ONCE):
                path = self._layout.document(collection, item_id)
                found = find(path)
                if found is None or (found.version == version and found.expired(now)):
                    names.append(file_stem(item_id))
                    changes.append(
                        FileChange(path + PLAIN_SUFFIX, None, other=path + ENCODED_SUFFIX)
                    )
            self._writer.apply(changes)
            with self._index.transaction():
                for name, change in zip(names, changes, strict=True):
                    if change.error is None:
                        self._index.delete(collection, name)
            return len(names)
