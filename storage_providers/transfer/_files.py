"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from storage_providers.errors import PermissionDeniedError, StorageError, StorageFullError

__all__ = ["PendingFile", "sync_folder", "translated", "write_file"]


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Turn the operating system's errors into the SDK's, naming the file."""
    try:
        yield
    except OSError as error:
        reason = f"{path}: {error.strerror or type(error).__name__}"
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise PermissionDeniedError(f"{reason}; check the permissions of the folder") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(f"{reason}; free some space and try again") from error
        raise StorageError(reason) from error


class PendingFile:
    """A file being written beside its final name.

    Only its owner can read it, as it may hold everything there is.

    Args:
        path: The final name; its folder must exist.

    Raises:
        StorageError: The file can't be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with translated(path):
            handle, name = tempfile.mkstemp(
                prefix=f".{path.name[:50]}.", suffix=".tmp", dir=path.parent
            )
        self._temporary = Path(name)
        self.stream: IO[bytes] = os.fdopen(handle, "w+b")

    def commit(self) -> None:
        """Give the file its name, once everything is on the medium.

        Raises:
            StorageError: It can't be completed; nothing appears under the name.
        """
        with translated(self.path):
            try:
                self.stream.flush()
                os.fsync(self.stream.fileno())
                self.stream.close()
                self._temporary.replace(self.path)
            except OSError:
                self.abandon()
                raise
            sync_folder(self.path.parent)

    def abandon(self) -> None:
        """Remove what was written so far."""
        with suppress(OSError):
            self.stream.close()
        with suppress(OSError):
            self._temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power cut, where the system can do that."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file, complete or not at all.

    Raises:
        StorageError: It can't be written; what was there before is untouched.
    """
    pending = PendingFile(path)
    try:
        with translated(path):
            pending.stream.write(data)
    except BaseException:
        pending.abandon()
        raise
    pending.commit()
