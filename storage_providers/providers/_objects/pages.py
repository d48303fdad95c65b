"""The pages of a listing.

What is assumed of a service's listings stands here: that they are in the byte order of keys, and
start behind any key where `ObjectLimits.starts_anywhere`. Elsewhere a listing goes on by the
service's own cursor, and lines that were seen already are passed over.
"""

from __future__ import annotations

import msgspec

from storage_providers.errors import InvalidArgumentError
from storage_providers.providers._objects import Listing, ObjectEntry, ObjectStore

__all__ = ["Lines", "Pages", "goes_on_behind"]


class Lines(msgspec.Struct, frozen=True):
    """A page of a listing.

    Attributes:
        entries: The objects.
        folders: The folders.
        last: The last line of both; empty where the page was.
        ended: Whether it was the last page.
        places: Where the listing goes on behind each of `entries`, for `Pages`; none if it starts
            anywhere.
    """

    entries: list[ObjectEntry]
    folders: list[str]
    last: str
    ended: bool
    places: list[str] = []


class Pages:
    """The pages of one listing, larger ones if the first was not enough.

    Args:
        store: The service.
        prefix: What the keys begin with.
        after: Only keys behind this one.
        size: Lines of the first page; without it, as many as the service gives.
        delimiter: Folds what lies deeper.
        whole: Whether all that begins so is wanted; else, the end of a page is no sign of more.
        place: One of `Lines.places` of a listing with the same prefix: where to go on, if the
            service can't start behind a key.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        *,
        after: str = "",
        size: int | None = None,
        delimiter: str | None = None,
        whole: bool = True,
        place: str = "",
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._wanted_after = after
        self._after = after if store.limits.starts_anywhere else ""
        # The lines of that page that were seen are listed again.
        seen, _, cursor = place.partition(":")
        most = store.limits.list_page
        wanted = None if size is None else size + int(seen or 0)
        self._size = most if wanted is None else max(1, min(wanted, most))
        self._delimiter = delimiter
        self._cursor: str | None = cursor or None
        self._may_be_outdated = bool(cursor)
        self._whole = whole
        self.ended = False

    async def next(self) -> Lines:
        """The next page; to be asked for only while it has not `ended`."""
        limits, cursor = self._store.limits, self._cursor
        listing = await self._list()
        entries, folders = listing.entries, listing.folders
        last_entry = entries[-1].key if entries else ""
        last = max(last_entry, folders[-1] if folders else "")
        self.ended = listing.cursor is None
        places = list[str]()
        if limits.starts_anywhere and last_entry and last == last_entry:
            # Anew behind it, as a listing continued by its cursor keeps its size.
            self._after, self._cursor = last, None
            self._size = min(limits.list_page, self._size * 4)
        else:
            self._cursor = listing.cursor
        if not limits.starts_anywhere:
            self._size = min(limits.list_page, self._size * 4)
            places = [f"{number}:{cursor or ''}" for number in range(1, len(entries) + 1)]
            if places and listing.cursor is not None and self._whole:
                places[-1] = f"0:{listing.cursor}"
            if self._wanted_after:
                kept = [at for at, each in enumerate(entries) if each.key > self._wanted_after]
                entries = [entries[at] for at in kept]
                places = [places[at] for at in kept]
        return Lines(entries, folders, last, self.ended, places)

    async def _list(self) -> Listing:
        try:
            listing = await self._store.list(
                self._prefix,
                after=self._after,
                cursor=self._cursor,
                limit=self._size,
                delimiter=self._delimiter,
            )
        except InvalidArgumentError:
            if not self._may_be_outdated:
                raise
            # How long the service keeps a cursor is its own affair: from the beginning, then.
            self._cursor, self._may_be_outdated = None, False
            return await self._list()
        self._may_be_outdated = False
        return listing


def goes_on_behind(place: str) -> bool:
    """Whether a place is the end of a page that is not the last, so that more is likely to come."""
    return place.startswith("0:")
