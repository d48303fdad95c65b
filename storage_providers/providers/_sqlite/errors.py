"""What SQLite reports, as the SDK's errors.

Result codes: sqlite.org/rescode.html (read 2026-11).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from storage_providers.errors import (
    ConfigurationError,
    CorruptItemError,
    DeadlineExceededError,
    DocumentTooLargeError,
    OutcomeUnknownError,
    PermissionDeniedError,
    StorageError,
    StorageFullError,
    TransportError,
)

__all__ = ["translated"]


def translated(error: sqlite3.Error, path: str, waited_seconds: float) -> StorageError:
    """The error to raise (`from error`) for one of SQLite's.

    Args:
        error: What SQLite raised.
        path: The database, for the message.
        waited_seconds: How long a lock was waited for.
    """
    extended = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
    match extended & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DeadlineExceededError(
                f"another program kept {path} locked for {waited_seconds:g} seconds; try again, "
                "keep transactions short or raise busy_timeout_seconds"
            )
        case sqlite3.SQLITE_FULL:
            return StorageFullError(
                f"no space left for {path}; nothing was written, free some space"
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return PermissionDeniedError(
                f"{path} can't be written ({name}); check who owns the file and its folder"
            )
        case sqlite3.SQLITE_CANTOPEN:
            return _cannot_open(path, name)
        case sqlite3.SQLITE_NOTADB:
            return ConfigurationError(f"{path} is not a SQLite database; name another file")
        case sqlite3.SQLITE_CORRUPT:
            return CorruptItemError(
                f"the database {path} is damaged ({name}); restore a backup", source=path
            )
        case sqlite3.SQLITE_TOOBIG:
            return DocumentTooLargeError("a document exceeds what SQLite can hold in one row")
        case sqlite3.SQLITE_IOERR:
            if extended in _AFTER_WRITING:
                return OutcomeUnknownError(
                    f"{path} could not be brought to the medium ({name}); read before repeating"
                )
            return TransportError(f"reading or writing {path} failed ({name})")
        case _:
            return StorageError(f"SQLite reports {name} on {path}: {error}")


_AFTER_WRITING = frozenset(
    {
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
    }
)


def _cannot_open(path: str, name: str) -> StorageError:
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        return ConfigurationError(f"the folder {folder} of the database does not exist; make it")
    if Path(path).is_dir():
        return ConfigurationError(f"{path} is a folder, not a database; name a file in it")
    return PermissionDeniedError(
        f"{path} can't be opened ({name}); check who owns the file and its folder"
    )
