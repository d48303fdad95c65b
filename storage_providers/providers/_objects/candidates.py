"""What may belong to an answer, and the simple sources of it.

A source proposes documents, one `next` after the other; nothing is read ahead, and there is
nothing to close.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol, TypeAlias

import msgspec

from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import check_id
from storage_providers.providers._objects import ObjectEntry, ObjectStore, StoredObject
from storage_providers.providers._objects.entries import LAST, value_key
from storage_providers.providers._objects.keys import Layout, read_sortable_text
from storage_providers.providers._objects.pages import Pages
from storage_providers.providers._objects.spans import Span

__all__ = [
    "EVERY_ID",
    "PLACE",
    "ByIds",
    "Candidate",
    "InKeyOrder",
    "Proposal",
    "Source",
    "Stranger",
    "proposal",
    "text_at",
]

PLACE: Final = "|"
"""What `Candidate.rest` begins with that is a place for `Pages`; no other cursor holds it."""

EVERY_ID: Final = Span("2", "3")
"""All ids, as `value_key` gives them, and whatever else names hold."""


class Candidate(msgspec.Struct, frozen=True):
    """A document that may belong to an answer.

    Attributes:
        id: Its id.
        key: Its key.
        place: Sorts as the source does.
        version: As listed, where the listing tells.
        probe: Whether it is proposed only because it would not be listed in its turn.
        values: What its index entry says, `None` without one.
        rest: Where to go on behind it: with a walk by id, what need not be walked, for `ById`;
            where listings go on by the service's cursor, `PLACE` and a place for `Pages`.
        stored: The document itself, where the listing carries it.
    """

    id: str
    key: str
    place: str
    version: str | None = None
    probe: bool = False
    values: str | None = None
    rest: str = ""
    stored: StoredObject | None = None


class Stranger(msgspec.Struct, frozen=True):
    """A key that looks like a document's but is not one that this SDK reads.

    Attributes:
        key: The key.
        place: Where it stands among the candidates.
    """

    key: str
    place: str


Proposal: TypeAlias = Candidate | Stranger


class Source(Protocol):
    """Proposes documents."""

    async def next(self) -> Proposal | None:
        """The next one; `None`: there is none."""
        ...


class ByIds:
    """Documents whose ids are known; whether they are there is not.

    Args:
        layout: Where things are.
        collection: The collection.
        ids: Which, in order.
        after: Only those behind this place.
        descending: Whether they are in descending order.
    """

    def __init__(
        self,
        layout: Layout,
        collection: str,
        ids: Iterable[str],
        *,
        after: str | None = None,
        descending: bool = False,
    ) -> None:
        self._left = deque[Candidate]()
        for item_id in ids:
            place = value_key(item_id)
            if after is not None and (place >= after if descending else place <= after):
                continue
            try:
                key = layout.document(collection, check_id(item_id))
            except InvalidArgumentError:
                continue  # No document can have this id.
            self._left.append(Candidate(item_id, key, place))

    async def next(self) -> Proposal | None:
        return self._left.popleft() if self._left else None


class InKeyOrder:
    """Every document of a collection, as the listing has them: the cheapest.

    That is the order of ids where `Layout.in_id_order`, and no useful order elsewhere.

    Args:
        store: The service.
        layout: Where things are.
        collection: The collection.
        span: Only ids in this span.
        after: Only keys behind this one.
        size: Lines of the first page.
        place: Where the listing goes on, for `Pages`.
    """

    def __init__(
        self,
        store: ObjectStore,
        layout: Layout,
        collection: str,
        *,
        span: Span = EVERY_ID,
        after: str = "",
        size: int | None = None,
        place: str = "",
    ) -> None:
        self._layout = layout
        self._collection = collection
        self._folder = layout.folder(collection)
        self._span = span
        prefix, whole = self._folder, span == EVERY_ID
        if span.stop == span.start + LAST:
            prefix, whole = layout.beginning(prefix, text_at(span.start)), True
        self._pages = Pages(
            store,
            prefix,
            after=after,
            size=size,
            delimiter=layout.delimiter,
            whole=whole,
            place=place,
        )
        self._left = deque[Proposal]()

    async def next(self) -> Proposal | None:
        while not self._left:
            if self._pages.ended:
                return None
            lines = await self._pages.next()
            for at, entry in enumerate(lines.entries):
                rest = PLACE + lines.places[at] if lines.places else ""
                found = proposal(self._layout, self._collection, self._folder, entry, rest)
                if found is None:
                    continue
                if self._layout.in_id_order and found.place >= self._span.stop:
                    self._pages.ended = True
                    break
                if self._span.start <= found.place < self._span.stop:
                    self._left.append(found)
        return self._left.popleft()


def proposal(
    layout: Layout, collection: str, folder: str, entry: ObjectEntry, rest: str = ""
) -> Proposal | None:
    """What a line of the listing of a collection's folder says; `None`: it is no document."""
    try:
        item_id = layout.id_at(folder, entry.key)
        if item_id is None:
            return None
        key = layout.document(collection, check_id(item_id))
        if entry.key > key:
            raise ValueError("its turn is over where it is listed")
    except ValueError:
        return Stranger(entry.key, layout.stray_place(entry.key[len(folder) :]))
    return Candidate(
        item_id, key, value_key(item_id), entry.version, rest=rest, stored=entry.stored
    )


def text_at(start: str) -> str:
    """The smallest id from a place on, or one before it."""
    text = start[1:].removesuffix(LAST)
    return read_sortable_text(text if text.endswith("!") else text + "!")[0]
