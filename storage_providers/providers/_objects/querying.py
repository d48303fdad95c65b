"""Answering queries: a plan proposes documents, they are read, judged and put in order.

An answer is exact whatever the plan. Memory is flat: the documents of the page, those passed over
by `offset`, one more, and those on their way.

Whether a page is the last is certain wherever documents had to be judged. Where all that is listed
matches (no condition, or one that the index tells) and no document of the collection that this
process read or wrote expires, none is read only to see if there is more: should the rest turn out
to be gone, the next page is empty.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from storage_providers._requests import tallied
from storage_providers.errors import CorruptItemError
from storage_providers.filters import SortKey, sort_key
from storage_providers.protocol import Item, Page, Query, QueryStatistics
from storage_providers.providers._objects.access import ID
from storage_providers.providers._objects.candidates import (
    PLACE,
    Candidate,
    Proposal,
    Source,
    Stranger,
)
from storage_providers.providers._objects.entries import value_key
from storage_providers.providers._objects.listing import collections, count, versions
from storage_providers.providers._objects.pages import goes_on_behind
from storage_providers.providers._objects.plan import Plan
from storage_providers.providers._objects.question import Question
from storage_providers.providers._objects.reading import Demand, Found, Reader

if TYPE_CHECKING:
    from storage_providers.providers._objects.provider import ObjectProvider

__all__ = ["QueryPlan", "answer", "collections", "explain", "versions"]


class QueryPlan(msgspec.Struct, frozen=True):
    """How a query would be answered.

    Attributes:
        kind: `ids`, `index`, `walk` (the keys in the order of ids) or `scan` (every document).
        order: `listed`, `merged` or `selected`: only as many documents are read as are needed;
            `sorted`: all that may match.
        index: The index, as people write it.
        costs: What is requested, in words.
    """

    kind: str
    order: str
    index: str | None
    costs: str


async def explain(provider: ObjectProvider, query: Query) -> QueryPlan:
    """Say how a query would be answered, without asking it.

    Raises:
        InvalidArgumentError: Its `where`, order or cursor is malformed.
        UnsupportedOperationError: It asks for `$text`.
    """
    question = Question(query)
    plan = await _plan(provider, question)
    if plan.kind == "ids":
        costs = "a read for each id"
    else:
        lines = "1,000 keys" if plan.access is None else "1,000 entries in its range"
        documents = {
            "walk": "a document, until the page is full",
            "scan": "every document",
            "index": "an entry that may match"
            + ("" if plan.arrangement == "sorted" else ", until the page is full"),
        }[plan.kind]
        costs = f"a listing for each {lines}, a read for {documents}"
    label = None if plan.access is None else plan.access.keys.label
    return QueryPlan(plan.kind, plan.arrangement, label, costs)


async def answer(provider: ObjectProvider, query: Query) -> Page:
    """Answer a query.

    Raises:
        InvalidArgumentError: Its `where`, order or cursor is malformed.
        UnsupportedOperationError: It asks for `$text`.
        TransportError: The service could not be asked.
    """
    question = Question(query)
    if query.limit == 0 and not query.total:
        return Page(statistics=QueryStatistics(full_scan=False, documents_read=0))
    with tallied() as tally:
        if query.limit == 0 and not query.where:
            total = await count(provider, query.collection)
            statistics = QueryStatistics(full_scan=False, documents_read=0, requests=tally.requests)
            return Page(total=total, statistics=statistics)
        plan = await _plan(provider, question)
        keys = None if plan.access is None else plan.access.keys
        reader = Reader(provider, query.collection, question.matches, keys)
        if plan.arrangement == "sorted":
            page = await _Sorted(question).page(reader.stream(question.source(provider, plan)))
        else:
            page = await _InOrder(provider, question, plan, reader).page()
        if query.total and page.total is None:
            page = msgspec.structs.replace(page, total=await count(provider, query.collection))
        elif not query.total:
            page = msgspec.structs.replace(page, total=None)
        reads_all = plan.kind == "scan" or (plan.kind == "walk" and bool(query.where))
        statistics = QueryStatistics(
            index=None if keys is None else keys.label,
            full_scan=reads_all and plan.id_spans is None,
            documents_read=reader.documents_read,
            requests=tally.requests,
        )
        return msgspec.structs.replace(page, statistics=statistics)


async def _plan(provider: ObjectProvider, question: Question) -> Plan:
    plan = question.plan(())
    if plan.kind == "ids" or not question.uses_indexes:
        return plan
    declared = await provider.indexes(question.query.collection)
    return question.plan([each.keys for each in declared if each.ready])


class _InOrder:
    """A page of documents that are proposed in the wanted order: read until it is full.

    Args:
        provider: The provider.
        question: The query.
        plan: Its plan.
        reader: Reads what is proposed.
    """

    def __init__(
        self, provider: ObjectProvider, question: Question, plan: Plan, reader: Reader
    ) -> None:
        self._question = question
        self._reader = reader
        folder = provider.layout.folder(question.query.collection)
        # All that is listed matches, and will be there on the next page.
        self._sure = plan.exact and not provider.may_expire(folder)
        self._source: Source = question.source(provider, plan, int(not self._sure))
        self._demand = Demand(question.needed + (not self._sure))
        self._items: list[Item] = []
        self._taken = set[str]()
        self._corrupt = dict[str, CorruptItemError]()
        self._waiting = dict[str, CorruptItemError]()
        self._rest = ""

    async def page(self) -> Page:
        """Read the page."""
        more = False
        async with aclosing(self._reader.stream(self._source, self._demand)) as results:
            async for found in results:
                if self._is_full and self._fits(found):
                    more = True
                    break
                self._take(found)
                if self._sure and self._is_full:
                    break
        if self._sure and self._is_full:
            more = await self._has_more()
        if not more:
            self._corrupt |= self._waiting
        question, cursor = self._question, None
        if more:
            last = sort_key(self._items[-1].document, question.order)
            cursor = question.cursor(last.values, self._rest)
        whole = not more and question.last is None
        return Page(
            items=self._items,
            cursor=cursor,
            total=len(self._taken) if whole else None,
            corrupt=tuple(self._corrupt.values()),
        )

    @property
    def _is_full(self) -> bool:
        return len(self._taken) == self._question.needed

    def _fits(self, found: Found) -> bool:
        # A document that moves while it is listed may be met twice.
        return found.item is not None and found.item.id not in self._taken

    def _take(self, found: Found) -> None:
        """Take what came next, or note that it does not fit."""
        proposal = found.proposal
        if found.error is not None:
            self._waiting[proposal.key] = found.error
        if found.item is not None and self._fits(found):
            self._taken.add(found.item.id)
            if len(self._taken) > self._question.query.offset:
                self._items.append(found.item)
            # What can't be read is named on the page where the next document stands.
            self._corrupt |= self._waiting
            self._waiting.clear()
            if isinstance(proposal, Candidate):
                self._rest = proposal.rest
                if proposal.probe:
                    self._doubt()
        else:
            self._demand.miss(proposal)
            if isinstance(proposal, Candidate) and not proposal.probe:
                self._doubt()
        if found.expires:
            self._doubt()

    def _doubt(self) -> None:
        """Not all that is listed is there for certain: one more is to be read."""
        if self._sure:
            self._sure = False
            self._demand.more()

    async def _has_more(self) -> bool:
        """Whether something is listed behind the page."""
        if self._rest.startswith(PLACE) and goes_on_behind(self._rest[len(PLACE) :]):
            return True  # The service says so, and looking would be a listing more.
        while (proposal := await self._source.next()) is not None:
            if isinstance(proposal, Stranger) or proposal.probe:
                (found,) = await self._reader.read([proposal])
                if found.error is not None:
                    self._waiting[proposal.key] = found.error
                if found.item is None:
                    continue
            return True
        return False


class _Sorted:
    """A page of documents that come in any order: all are judged, the first ones kept.

    Args:
        question: The query.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        self._best: list[_Last] = []
        self._kept = set[str]()
        self._corrupt = dict[str, tuple[str, CorruptItemError]]()
        self._total = 0

    async def page(self, results: AsyncGenerator[Found, None]) -> Page:
        """Read everything."""
        question = self._question
        query, order = question.query, question.order
        async with aclosing(results):
            async for found in results:
                if found.error is not None:
                    self._corrupt[found.proposal.key] = _id_place(found.proposal), found.error
                if found.item is None:
                    continue
                self._total += 1
                place = sort_key(found.item.document, order)
                if question.last is None or question.last < place:
                    self._keep(place, found.item)
        kept = sorted(self._best, key=lambda each: each.place)
        shown = kept[query.offset : question.needed]
        more = len(kept) > question.needed and bool(shown)
        cursor = question.cursor(shown[-1].place.values, "") if more else None
        return Page(
            items=[each.item for each in shown],
            cursor=cursor,
            total=self._total if question.all_matches else None,
            corrupt=self._named(shown[-1].place if more else None),
        )

    def _keep(self, place: SortKey, item: Item) -> None:
        if not self._question.query.limit or item.id in self._kept:
            return
        entry = _Last(place, item)
        if len(self._best) <= self._question.needed:
            heapq.heappush(self._best, entry)
        elif place < self._best[0].place:
            self._kept.remove(heapq.heapreplace(self._best, entry).item.id)
        else:
            return
        self._kept.add(item.id)

    def _named(self, end: SortKey | None) -> tuple[CorruptItemError, ...]:
        """What can't be read: where it would stand by its id, else on the first page."""
        question = self._question
        if not question.by_id:
            named = list(self._corrupt.values()) if question.last is None else []
            return tuple(error for _, error in named)
        position = [order.path for order in question.order].index(ID)
        last, stop = (
            None if place is None else value_key(place.values[position])
            for place in (question.last, end)
        )
        if question.goal[-1].descending:
            last, stop = stop, last
        return tuple(
            error
            for place, error in self._corrupt.values()
            if (last is None or place > last) and (stop is None or place < stop)
        )


class _Last:
    """A document in a heap whose first is the last in order."""

    __slots__ = ("item", "place")

    def __init__(self, place: SortKey, item: Item) -> None:
        self.place = place
        self.item = item

    def __lt__(self, other: _Last) -> bool:
        return other.place < self.place


def _id_place(proposal: Proposal) -> str:
    """Where a proposal stands by its id."""
    return value_key(proposal.id) if isinstance(proposal, Candidate) else proposal.place
