"""Replaced and deleted documents, kept beside the index until newer ones take their place."""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from storage_providers._clock import Clock, format_timestamp
from storage_providers.errors import ItemNotFoundError
from storage_providers.protocol import Item
from storage_providers.providers._files.layout import Layout
from storage_providers.providers._files.names import (
    ENCODED_SUFFIX,
    PLAIN_SUFFIX,
)
from storage_providers.providers._files.reader import Found
from storage_providers.providers._files.writer import FileChange, os_error

__all__ = ["Backup", "Backups"]


class Backup(msgspec.Struct, frozen=True):
    """An earlier state of a document.

    Attributes:
        name: Tells it from the document's other backups; names sort by time.
        replaced_at: When the document was replaced or deleted, ISO 8601, UTC.
        size_bytes: How large its file is.
    """

    name: str
    replaced_at: str
    size_bytes: int


class Backups:
    """The backups of one root.

    Args:
        layout: Where things are.
        clock: Tells when a document was replaced.
        limit: Newest backups to keep of each document.
    """

    def __init__(self, layout: Layout, clock: Clock, limit: int) -> None:
        self._layout = layout
        self._clock = clock
        self._limit = limit

    def next_path(self, collection: str, item_id: str) -> str:
        """Where the state of a document that is about to go is kept, without suffix."""
        return os.path.join(self._layout.backups(collection, item_id), self._next_name())

    def next_path_for_file(self, collection: str, file_name: str) -> str:
        """As `next_path`, for a file whose document may not be readable."""
        stem = os.path.splitext(file_name)[0]
        return os.path.join(self._layout.backups_of_file(collection, stem), self._next_name())

    def _next_name(self) -> str:
        # The clock never repeats a millisecond in one process; the number tells processes apart.
        return f"{self._clock.stamp_ms():015d}-{os.getpid():x}"

    def prune(self, change: FileChange) -> None:
        """Remove the oldest backups of a document beyond the limit."""
        if change.backup is None:
            return
        folder = os.path.dirname(change.backup)
        with suppress(OSError):
            for name in sorted(os.listdir(folder))[: -self._limit]:
                os.unlink(os.path.join(folder, name))

    def list(self, collection: str, item_id: str) -> list[Backup]:
        """The backups of a document, the newest first.

        Raises:
            StorageError: The system does not let us read them.
        """
        folder = self._layout.backups(collection, item_id)
        try:
            with os.scandir(folder) as entries:
                found = [
                    Backup(
                        entry.name,
                        format_timestamp(int(entry.name.partition("-")[0])),
                        entry.stat().st_size,
                    )
                    for entry in entries
                    if entry.name.endswith((PLAIN_SUFFIX, ENCODED_SUFFIX))
                    and entry.name.partition("-")[0].isdecimal()
                ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise os_error(error, folder) from error
        return sorted(found, key=lambda backup: backup.name, reverse=True)

    def read(self, collection: str, item_id: str, name: str) -> Item:
        """Read a backup.

        Raises:
            ItemNotFoundError: There is none of that name.
            CorruptItemError: It is damaged (it was when it was replaced).
            StorageError: The system does not let us read it.
        """
        if name not in {backup.name for backup in self.list(collection, item_id)}:
            raise ItemNotFoundError(
                f"no backup {name!r}; list_backups names those there are",
                collection=collection,
                item_id=item_id,
            )
        folder = self._layout.backups(collection, item_id)
        path = os.path.join(folder, name)
        try:
            with open(path, "rb") as file:
                raw = file.read()
        except OSError as error:
            raise os_error(error, path) from error
        return Found(path, os.path.basename(folder), raw, 0).item(collection)
