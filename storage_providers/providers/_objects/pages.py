"""The pages of a listing.

What is assumed of a service's listings stands here: that they are in the byte order of keys, and
start behind any key where `ObjectLimits.starts_anywhere`; elsewhere lines are passed over.
"""

from __future__ import annotations

import msgspec

from storage_providers.providers._objects import ObjectEntry, ObjectStore

__all__ = ["Lines", "Pages"]


class Lines(msgspec.Struct, frozen=True):
    """A page of a listing.

    Attributes:
        entries: The objects.
        folders: The folders.
        last: The last line of both; empty where the page was.
        ended: Whether it was the last page.
    """

    entries: list[ObjectEntry]
    folders: list[str]
    last: str
    ended: bool


class Pages:
    """The pages of one listing, larger ones if the first was not enough.

    Args:
        store: The service.
        prefix: What the keys begin with.
        after: Only keys behind this one.
        size: Lines of the first page; without it, as many as the service gives.
        delimiter: Folds what lies deeper.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        *,
        after: str = "",
        size: int | None = None,
        delimiter: str | None = None,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._wanted_after = after
        self._after = after if store.limits.starts_anywhere else ""
        most = store.limits.list_page
        self._size = most if size is None else max(1, min(size, most))
        self._delimiter = delimiter
        self._cursor: str | None = None
        self.ended = False

    async def next(self) -> Lines:
        """The next page; to be asked for only while it has not `ended`."""
        limits = self._store.limits
        listing = await self._store.list(
            self._prefix,
            after=self._after,
            cursor=self._cursor,
            limit=self._size,
            delimiter=self._delimiter,
        )
        entries, folders = listing.entries, listing.folders
        last_entry = entries[-1].key if entries else ""
        last = max(last_entry, folders[-1] if folders else "")
        self.ended = listing.cursor is None
        if limits.starts_anywhere and last_entry and last == last_entry:
            # Anew behind it, as a listing continued by its cursor keeps its size.
            self._after, self._cursor = last, None
            self._size = min(limits.list_page, self._size * 4)
        else:
            self._cursor = listing.cursor
        if not limits.starts_anywhere and self._wanted_after:
            entries = [entry for entry in entries if entry.key > self._wanted_after]
        return Lines(entries, folders, last, self.ended)
