"""Durable, atomic changes to files, many at the cost of few.

A file is written beside its folder first (`temp`), forced to the medium, and then takes the place
of the old one by a rename, which is atomic; at the end each folder is forced to the medium once.
Whoever reads sees the old document or the new one. The caller holds the lock of the root, so what
lies in the `temp` folder when a lock is won was left by a process that died.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from storage_providers.errors import (
    OutcomeUnknownError,
    PermissionDeniedError,
    StorageError,
    StorageFullError,
)

__all__ = ["FileChange", "FileWriter", "os_error", "stamp_of"]

MAX_OPEN_FILES: Final = 128
"""Files held open between writing and forcing; processes may be limited to 256 (macOS)."""

FORCED_AT_ONCE: Final = 16
"""Files forced to the medium at the same time. Ours: ten files on ext4 took 10 ms one after the
other, and 4 ms at once."""

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_PERMISSIONS: Final = 0o777
_CAN_SYNC_FOLDERS: Final = os.name != "nt"
_OPEN_TEMP: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


class FileChange:
    """One file to put in place or to remove, and what came of it.

    Attributes:
        path: Where the file belongs.
        data: Its new bytes; `None` removes it.
        other: A second file of the same document, removed with or after the change.
        backup: Where the file that is there now is kept; `None`: nowhere.
        error: Why it was not done.
        stamp: Tells later whether the file was touched, see `stamp_of`; 0 if that can't be told.
    """

    __slots__ = ("_mtime_ns", "_temp", "backup", "data", "error", "other", "path", "stamp")

    def __init__(
        self, path: str, data: bytes | None, *, other: str | None = None, backup: str | None = None
    ) -> None:
        self.path = path
        self.data = data
        self.other = other
        self.backup = backup
        self.error: StorageError | None = None
        self.stamp = 0
        self._temp: str | None = None
        self._mtime_ns = 0


def stamp_of(status: os.stat_result) -> int:
    """A number that changes when a file is written, replaced or given another time."""
    return hash((status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino))


def os_error(error: OSError, path: str) -> StorageError:
    """What the SDK raises for an error of the operating system; it names the path."""
    reason = f"{error.strerror or type(error).__name__}: {path}"
    if error.errno in _FULL:
        return StorageFullError(f"{reason}; free some space, the old document is untouched")
    if error.errno in _DENIED:
        return PermissionDeniedError(f"{reason}; check who may write there")
    if error.errno == errno.EXDEV:
        return StorageError(f"{reason}; all folders of a root must be on one file system")
    return StorageError(reason)


class FileWriter:
    """Carries out changes to files. Use it while holding the lock of the root.

    Args:
        temp_folder: Folder for files being written, on the file system they belong to.
        fsync: Whether to force changes to the medium before they count as done.
    """

    def __init__(self, temp_folder: str, *, fsync: bool = True) -> None:
        self._temp_folder = temp_folder
        self._fsync = fsync
        self._numbers = itertools.count()
        self._forcing: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """End the threads that force files to the medium."""
        if self._forcing is not None:
            self._forcing.shutdown()

    def remove_leftovers(self) -> int:
        """Remove the temporary files that a process left when it died; how many there were."""
        names = os.listdir(self._temp_folder)
        for name in names:
            self._discard(os.path.join(self._temp_folder, name))
        return len(names)

    def apply(self, changes: Sequence[FileChange]) -> None:
        """Carry out changes, each whole or not at all; `error` says which were not.

        When this returns, what was done is on the medium.
        """
        puts = [change for change in changes if change.data is not None]
        for start in range(0, len(puts), MAX_OPEN_FILES):
            self._prepare(puts[start : start + MAX_OPEN_FILES])
        self._back_up([change for change in changes if change.backup and not change.error])
        for change in changes:
            if change.error is None:
                self._attempt(change, self._put_in_place)
        self._sync_folders(changes)

    def make_folders(self, folder: str) -> None:
        """Make a folder and those above it, and force what is new to the medium.

        Raises:
            OSError: The system does not let us.
        """
        missing: list[str] = []
        while folder and not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(path)
            self._sync_folder(os.path.dirname(path))

    # --- steps ---------------------------------------------------------------------------------

    def _prepare(self, changes: Sequence[FileChange]) -> None:
        """Write the temporary files, then force them to the medium together."""
        written: list[tuple[FileChange, int]] = []
        for change in changes:
            try:
                written.append((change, self._write_temp(change)))
            except OSError as error:
                self._fail(change, error)
        results = self._force([file for _, file in written])
        for (change, _), failed in zip(written, results, strict=True):
            if failed is not None:
                self._fail(change, failed)

    def _force(self, files: Sequence[int]) -> list[OSError | None]:
        """Force files to the medium and close them; each with what went wrong.

        Several at once, as the medium then takes them together.
        """
        if len(files) < 2 or not self._fsync:
            return [self._force_one(file) for file in files]
        if self._forcing is None:
            self._forcing = ThreadPoolExecutor(FORCED_AT_ONCE, "files-forcing")
        waiting = [self._force_soon(self._forcing, file) for file in files]
        return [result() for result in waiting]

    def _force_soon(self, pool: ThreadPoolExecutor, file: int) -> Callable[[], OSError | None]:
        try:
            return pool.submit(self._force_one, file).result
        except RuntimeError:  # The interpreter starts no work on threads once it ends.
            error = self._force_one(file)
            return lambda: error

    def _force_one(self, file: int) -> OSError | None:
        try:
            try:
                if self._fsync:
                    self._sync(file)
            finally:
                os.close(file)
        except OSError as error:
            return error
        return None

    def _write_temp(self, change: FileChange) -> int:
        """Write a temporary file and return its descriptor."""
        assert change.data is not None
        change._temp = os.path.join(self._temp_folder, f"{os.getpid():x}-{next(self._numbers):x}")
        file = self._create(change._temp)
        try:
            rest = memoryview(change.data)
            while rest:
                rest = rest[self._write(file, rest) :]
            # The system's own time may be some milliseconds coarse: with it, an edit by hand
            # right after this one would leave no trace.
            now = change._mtime_ns = time.time_ns()
            os.utime(file if os.utime in os.supports_fd else change._temp, ns=(now, now))
            self._keep_mode(change, file)
        except BaseException:
            os.close(file)
            raise
        return file

    def _keep_mode(self, change: FileChange, file: int) -> None:
        """Give a new file the permission bits of the one that it replaces."""
        assert change._temp is not None
        for path in (change.path, change.other):
            try:
                old = os.stat(path).st_mode if path is not None else 0
            except OSError:
                continue  # It is not there, or the rename meets the same error and tells it.
            if stat.S_ISREG(old):
                if (old ^ os.fstat(file).st_mode) & _PERMISSIONS:
                    os.chmod(
                        file if os.chmod in os.supports_fd else change._temp, old & _PERMISSIONS
                    )
                return

    def _create(self, path: str) -> int:
        try:
            return os.open(path, _OPEN_TEMP, 0o666)
        except FileExistsError:
            # An earlier process with our number left it; we hold the lock.
            os.unlink(path)
        except FileNotFoundError:
            os.makedirs(self._temp_folder, exist_ok=True)
        return os.open(path, _OPEN_TEMP, 0o666)

    def _write(self, file: int, data: memoryview) -> int:
        """Write some bytes; a seam for tests that stand for a failing medium."""
        return os.write(file, data)

    def _back_up(self, changes: Sequence[FileChange]) -> None:
        """Keep the files that are about to go, before any of them does."""
        for change in changes:
            self._attempt(change, self._keep_old)
        kept = [change.backup for change in changes if change.backup and not change.error]
        for folder in {os.path.dirname(path) for path in kept}:
            try:
                self._sync_folder(folder)
            except OSError as error:
                for change in changes:
                    if change.backup and os.path.dirname(change.backup) == folder:
                        self._fail(change, error)

    def _keep_old(self, change: FileChange) -> None:
        assert change.backup is not None
        for source in (change.path, change.other):
            if source is None or not os.path.lexists(source):
                continue
            target = change.backup + os.path.splitext(source)[1]
            if not os.path.isdir(os.path.dirname(target)):
                self.make_folders(os.path.dirname(target))
            try:
                os.link(source, target)
            except OSError:
                # No hard links here (FAT, some network shares).
                shutil.copy2(source, target)
            return
        change.backup = None

    def _put_in_place(self, change: FileChange) -> None:
        if change.data is None:
            # The second file first: it must not come back to life when the first is gone.
            for path in (change.other, change.path):
                if path is not None:
                    with suppress(FileNotFoundError):
                        os.unlink(path)
            return
        assert change._temp is not None
        try:
            os.replace(change._temp, change.path)
        except FileNotFoundError:
            self.make_folders(os.path.dirname(change.path))
            os.replace(change._temp, change.path)
        change._temp = None
        if change.other is not None:
            with suppress(FileNotFoundError):
                os.unlink(change.other)
        status = os.stat(change.path)
        # A file system that rounds times can't show an edit in the same moment.
        change.stamp = stamp_of(status) if status.st_mtime_ns == change._mtime_ns else 0

    def _sync_folders(self, changes: Iterable[FileChange]) -> None:
        by_folder: dict[str, list[FileChange]] = {}
        for change in changes:
            if change.error is None:
                by_folder.setdefault(os.path.dirname(change.path), []).append(change)
        for folder, done in by_folder.items():
            try:
                self._sync_folder(folder)
            except FileNotFoundError:
                pass  # Nothing was ever there: the changes removed what was absent.
            except OSError as error:
                for change in done:
                    change.error = OutcomeUnknownError(
                        f"{error.strerror}: {folder}; the change may be lost when the power fails"
                    )

    # --- helpers -------------------------------------------------------------------------------

    def _attempt(self, change: FileChange, step: Callable[[FileChange], None]) -> None:
        try:
            step(change)
        except OSError as error:
            self._fail(change, error)

    def _fail(self, change: FileChange, error: OSError) -> None:
        change.error = os_error(error, change.path)
        change.error.__cause__ = error
        if change._temp is not None:
            self._discard(change._temp)
            change._temp = None

    def _discard(self, path: str) -> None:
        with suppress(OSError):
            os.unlink(path)

    def _sync(self, file: int) -> None:
        os.fsync(file)

    def _sync_folder(self, folder: str) -> None:
        if not (self._fsync and _CAN_SYNC_FOLDERS):
            return
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
