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
from storage_providers.providers._objects import ObjectEntry, ObjectStore
from storage_providers.providers._objects.entries import value_key
from storage_providers.providers._objects.keys import ESCAPED, SUFFIX, FolderLayout
from storage_providers.providers._objects.pages import Pages
from storage_providers.providers._objects.spans import Span

__all__ = [
    "EVERY_ID",
    "ByIds",
    "Candidate",
    "InKeyOrder",
    "Proposal",
    "Source",
    "Stranger",
    "proposal",
]

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
        rest: With a walk by id: what need not be walked behind it, for `ById`.
    """

    id: str
    key: str
    place: str
    version: str | None = None
    probe: bool = False
    values: str | None = None
    rest: str = ""


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
        layout: FolderLayout,
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
    """Every document of a collection, as the listing has them: the cheapest, in no useful order.

    Args:
        store: The service.
        layout: Where things are.
        collection: The collection.
        span: Only ids in this span.
    """

    def __init__(
        self,
        store: ObjectStore,
        layout: FolderLayout,
        collection: str,
        *,
        span: Span = EVERY_ID,
    ) -> None:
        self._layout = layout
        self._collection = collection
        self._folder = layout.folder(collection)
        self._span = span
        self._pages = Pages(store, self._folder, delimiter="/")
        self._left = deque[Proposal]()

    async def next(self) -> Proposal | None:
        while not self._left:
            if self._pages.ended:
                return None
            for entry in (await self._pages.next()).entries:
                found = proposal(self._layout, self._collection, self._folder, entry)
                if found is not None and self._span.start <= found.place < self._span.stop:
                    self._left.append(found)
        return self._left.popleft()


def proposal(
    layout: FolderLayout, collection: str, folder: str, entry: ObjectEntry
) -> Proposal | None:
    """What a line of the listing of a collection's folder says; `None`: it is no document."""
    name = entry.key[len(folder) :]
    escaped = name.startswith(ESCAPED)
    try:
        item_id = layout.id_at(folder, entry.key)
        if item_id is None:
            return None
        key = layout.document(collection, check_id(item_id))
        if not escaped and name > item_id + SUFFIX:
            raise ValueError("its turn is over where it is listed")
    except ValueError:
        place = "2" + name[1:] if escaped else value_key(name.removesuffix(SUFFIX))
        return Stranger(entry.key, place)
    return Candidate(item_id, key, value_key(item_id), entry.version)
