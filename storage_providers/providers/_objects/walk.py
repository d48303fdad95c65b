"""Walking over the documents of a collection in the order of their ids.

Here alone it matters where the order of keys differs from that of ids (see `keys`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, TypeAlias

import msgspec

from storage_providers.providers._objects import ObjectEntry, ObjectStore
from storage_providers.providers._objects.candidates import (
    EVERY_ID,
    Candidate,
    Proposal,
    Stranger,
    proposal,
    text_at,
)
from storage_providers.providers._objects.entries import value_key
from storage_providers.providers._objects.keys import (
    ESCAPED,
    FolderLayout,
    earlier_ids,
)
from storage_providers.providers._objects.pages import Pages
from storage_providers.providers._objects.spans import Span
from storage_providers.resilience import map_bounded

__all__ = ["RESTS", "ById"]

_BEHIND_ESCAPED: Final = chr(ord(ESCAPED) + 1)

_NO_MORE_ESCAPED: Final = "!"
_NO_MORE_PLAIN: Final = "~"
_DISPLACED: Final = "^"
RESTS: Final = (_NO_MORE_ESCAPED, _NO_MORE_PLAIN, _DISPLACED)
"""What `Candidate.rest` may say, beside nothing."""

_Rank: TypeAlias = tuple[str, bool]


class ById:
    """The documents of a collection in the order of their ids.

    Ids that stand in keys as they are and the others are listed apart, where there are others; the
    two are merged. An id that could be listed later than its turn is proposed unseen. A name that
    is listed in another form than NFC, earlier than its turn, is kept until then.

    Args:
        store: The service.
        layout: Where things are.
        collection: The collection.
        span: Only ids in this span.
        size: Lines of the first page.
        rest: `Candidate.rest` of the one before, if any.
    """

    def __init__(
        self,
        store: ObjectStore,
        layout: FolderLayout,
        collection: str,
        *,
        span: Span = EVERY_ID,
        size: int | None = None,
        rest: str = "",
    ) -> None:
        self._store = store
        self._layout = layout
        self._collection = collection
        self._folder = layout.folder(collection)
        self._span = span
        self._plain_start = span.start
        self._size = size
        self._first_id = text_at(span.start)
        self._plain, self._escaped = deque[Proposal](), deque[Proposal]()
        self._displaced = dict[_Rank, Proposal]()
        self._early = set[str]()
        begin = self._folder
        if rest != _DISPLACED:
            begin = layout.before_plain(self._folder, self._first_id)
        escapes = self._folder + ESCAPED
        # A listing that begins before them shows on its way whether there are escaped names.
        self._shared = begin < escapes and rest not in (_NO_MORE_ESCAPED, _NO_MORE_PLAIN)
        if begin.startswith(escapes):
            begin = self._folder + _BEHIND_ESCAPED
        self._plain_pages = None if rest == _NO_MORE_PLAIN else self._listing(begin)
        self._escaped_pages: Pages | None = None
        if not self._shared and rest != _NO_MORE_ESCAPED:
            self._escaped_pages = self._escaped_listing()

    async def next(self) -> Proposal | None:
        while listings := self._due():
            await map_bounded(lambda listing: listing(), listings)
        if not self._plain and not self._escaped:
            return None
        escaped_first = not self._plain or (
            bool(self._escaped) and self._escaped[0].place < self._plain[0].place
        )
        found = (self._escaped if escaped_first else self._plain).popleft()
        if isinstance(found, Stranger):
            return found
        rest = ""
        self._early = {place for place in self._early if place > found.place}
        if self._early:
            rest = _DISPLACED
        elif not self._escaped and self._escaped_pages is None:
            rest = _NO_MORE_ESCAPED
        elif not self._plain and self._plain_pages is None:
            rest = _NO_MORE_PLAIN
        return msgspec.structs.replace(found, rest=rest) if rest else found

    # --- helpers -------------------------------------------------------------------------------

    def _due(self) -> list[Callable[[], Awaitable[None]]]:
        """What must be listed before it is known what comes next."""
        found: list[Callable[[], Awaitable[None]]] = []
        if not self._plain and self._plain_pages is not None:
            found.append(partial(self._list_plain, self._plain_pages))
        if not self._escaped and self._escaped_pages is not None:
            found.append(partial(self._list_escaped, self._escaped_pages))
        return found

    def _listing(self, after: str) -> Pages:
        return Pages(self._store, self._folder, after=after, size=self._size, delimiter="/")

    def _escaped_listing(self, after: str = "") -> Pages:
        prefix = self._folder + ESCAPED
        begin = max(after, self._layout.before_escaped(self._folder, self._first_id or None))
        return Pages(self._store, prefix, after=begin, size=self._size, delimiter="/")

    async def _list_plain(self, pages: Pages) -> None:
        lines = await pages.next()
        at = len(self._folder)
        escaped = [each for each in lines.entries if each.key.startswith(ESCAPED, at)]
        found = self._read(each for each in lines.entries if not each.key.startswith(ESCAPED, at))
        last_name = lines.last[at:]
        if lines.ended:
            self._plain_pages = None
        elif last_name.startswith(ESCAPED) and self._store.limits.starts_anywhere:
            self._plain_pages = self._listing(self._folder + _BEHIND_ESCAPED)
        else:
            found = [*map(self._probe, earlier_ids(last_name)), *found]
        if self._shared:
            self._shared = False
            self._queue_escaped(escaped)
            if not lines.ended and last_name < _BEHIND_ESCAPED:
                self._escaped_pages = self._escaped_listing(escaped[-1].key if escaped else "")
        self._queue(found, last_name)

    def _read(self, entries: Iterable[ObjectEntry]) -> list[Proposal]:
        found = list[Proposal]()
        for entry in entries:
            each = proposal(self._layout, self._collection, self._folder, entry)
            if each is not None:
                found.append(each)
                if isinstance(each, Candidate) and each.key != entry.key:
                    self._early.add(each.place)
        return found

    def _probe(self, item_id: str) -> Proposal:
        key = self._layout.document(self._collection, item_id)
        return Candidate(item_id, key, value_key(item_id), probe=True)

    def _queue(self, found: Iterable[Proposal], last_name: str) -> None:
        """Queue what a page of plain names brought, each in its turn and once."""
        # Whatever sorts before the last name was listed by now or is proposed unseen.
        reached = value_key(last_name)
        ranked = self._displaced | {_rank(each): each for each in found}
        self._displaced = dict[_Rank, Proposal]()
        for rank, each in sorted(ranked.items()):
            if each.place >= self._span.stop:
                break
            if each.place >= reached and self._plain_pages is not None:
                self._displaced[rank] = each
            elif each.place >= self._plain_start:
                self._plain.append(each)
        self._plain_start = max(self._plain_start, reached)
        if reached >= self._span.stop:
            self._plain_pages = None

    async def _list_escaped(self, pages: Pages) -> None:
        lines = await pages.next()
        if lines.ended:
            self._escaped_pages = None
        self._queue_escaped(lines.entries)

    def _queue_escaped(self, entries: Iterable[ObjectEntry]) -> None:
        for each in sorted(self._read(entries), key=_rank):
            if each.place >= self._span.stop:
                self._escaped_pages = None
            elif each.place >= self._span.start:
                self._escaped.append(each)


def _rank(each: Proposal) -> _Rank:
    return each.place, isinstance(each, Candidate)
