"""Documents as an index proposes them, in the order of its entries or of what they hold."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from storage_providers.filters import Order, Path
from storage_providers.protocol import check_id
from storage_providers.providers._objects import ObjectStore
from storage_providers.providers._objects.access import ID, Access, Range
from storage_providers.providers._objects.candidates import PLACE, Candidate, Proposal, Source
from storage_providers.providers._objects.entries import LAST, directed, value_key
from storage_providers.providers._objects.keys import Layout
from storage_providers.providers._objects.pages import Pages
from storage_providers.resilience import map_bounded

__all__ = ["Chained", "Entries", "Merged", "Selected", "pieces_of", "place_of"]


class Entries:
    """What the entries in one range of an index propose, in their order.

    An entry that can't be read, or whose key tells that it is no match, is passed over; so is the
    next one of the same document and values, which another write made.

    Args:
        store: The service.
        layout: Where things are.
        collection: The collection.
        access: How the index is used.
        part: The range.
        size: Lines of the first page.
        whole: The range that `part` is what is left of, if where its listing goes on is to be told.
        place: Where it goes on, for `Pages`.
    """

    def __init__(
        self,
        store: ObjectStore,
        layout: Layout,
        collection: str,
        access: Access,
        part: Range,
        *,
        size: int | None = None,
        whole: Range | None = None,
        place: str = "",
    ) -> None:
        self._layout = layout
        self._collection = collection
        self._access = access
        folder = access.keys.folder
        self._begin = folder + part.begin
        self._stop = folder + part.stop
        listed = part if whole is None else whole
        common = _common(listed.start, listed.stop)
        self._tells_places = whole is not None
        self._pages = Pages(
            store,
            folder + common,
            after=folder + part.start,
            size=size,
            whole=listed.start == common
            and listed.stop == common + LAST
            and not access.tests
            and access.id_spans is None,
            place=place,
        )
        self._left = deque[Candidate]()
        self._last = ("", "")

    async def next(self) -> Proposal | None:
        while not self._left:
            if self._pages.ended:
                return None
            lines = await self._pages.next()
            for at, entry in enumerate(lines.entries):
                if entry.key >= self._stop:
                    self._pages.ended = True
                    break
                tells = self._tells_places and lines.places
                candidate = self._candidate(entry.key, PLACE + lines.places[at] if tells else "")
                if candidate is not None:
                    self._left.append(candidate)
        return self._left.popleft()

    def _candidate(self, key: str, rest: str) -> Candidate | None:
        try:
            entry = self._access.keys.read(key)
            if (entry.values, entry.id) == self._last:
                return None
            self._last = entry.values, entry.id
            if not self._access.passes(entry.values, value_key(entry.id)):
                return None
            where = self._layout.document(self._collection, check_id(entry.id))
        except ValueError:
            return None
        place = key[len(self._begin) : len(key) - len(entry.token)]
        return Candidate(entry.id, where, place, values=entry.values, rest=rest)


class Chained:
    """What several sources propose, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = deque(sources)

    async def next(self) -> Proposal | None:
        while self._sources:
            found = await self._sources[0].next()
            if found is not None:
                return found
            self._sources.popleft()
        return None


class Merged:
    """What several sources propose, in the order of places."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._heads: list[tuple[str, int, Proposal]] | None = None

    async def next(self) -> Proposal | None:
        if self._heads is None:
            firsts = await map_bounded(lambda source: source.next(), self._sources)
            self._heads = [
                (first.place, at, first) for at, first in enumerate(firsts) if first is not None
            ]
            heapq.heapify(self._heads)
            self._due: int | None = None
        elif self._due is not None:
            following = await self._sources[self._due].next()
            if following is not None:
                heapq.heappush(self._heads, (following.place, self._due, following))
        if not self._heads:
            self._due = None
            return None
        _, self._due, found = heapq.heappop(self._heads)
        return found


class Selected:
    """What a source proposes in any order, in another one: its keys are gone through for the first.

    As many as are likely to be needed are kept. If more are, it is gone through again, for twice
    as many.

    Args:
        begin: Makes the source anew.
        place: Where a proposal stands in the order.
        keep: How many to keep at first.
        after: Only those behind this place.
    """

    def __init__(
        self,
        begin: Callable[[], Source],
        place: Callable[[Proposal], str],
        *,
        keep: int,
        after: str = "",
    ) -> None:
        self._begin = begin
        self._place = place
        self._keep = max(1, keep)
        self._after = after
        self._left = deque[Proposal]()
        self._more = True

    async def next(self) -> Proposal | None:
        if not self._left and self._more:
            await self._select()
        return self._left.popleft() if self._left else None

    async def _select(self) -> None:
        best = list[tuple[_Backwards, int, Proposal]]()
        source, number = self._begin(), 0
        while (found := await source.next()) is not None:
            place = self._place(found)
            if place <= self._after:
                continue
            number += 1
            kept = msgspec.structs.replace(found, place=place)
            if isinstance(kept, Candidate):
                kept = msgspec.structs.replace(kept, rest="")
            entry = (_Backwards(place), number, kept)
            if len(best) < self._keep:
                heapq.heappush(best, entry)
            elif place < best[0][0].place:
                heapq.heapreplace(best, entry)
        self._more = number > len(best)
        self._left.extend(sorted((each for *_, each in best), key=lambda each: each.place))
        if self._left:
            self._after = self._left[-1].place
        self._keep *= 2


class _Backwards:
    """A place that compares the other way round."""

    __slots__ = ("place",)

    def __init__(self, place: str) -> None:
        self.place = place

    def __lt__(self, other: _Backwards) -> bool:
        return self.place > other.place


def place_of(wanted: Sequence[Order], pieces: Mapping[Path, str]) -> str:
    """Where a document stands in an order, from the keys of its values.

    Args:
        wanted: The order.
        pieces: The values of its fields, as `value_key` gives them.
    """
    return "".join(directed(pieces[each.path], descending=each.descending) for each in wanted)


def _common(start: str, stop: str) -> str:
    """What two texts begin with."""
    length = 0
    for left, right in zip(start, stop, strict=False):
        if left != right:
            break
        length += 1
    return start[:length]


def pieces_of(access: Access, candidate: Candidate) -> dict[Path, str]:
    """What a candidate's entry says of the fields of its index and of its id."""
    paths = [order.path for order in access.keys.orders]
    pieces = dict(zip(paths, access.keys.pieces(candidate.values or ""), strict=True))
    return pieces | {ID: value_key(candidate.id)}
