"""Reading proposed documents: several at a time, in order, no more than are needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import msgspec

from storage_providers.errors import CorruptItemError, StorageError
from storage_providers.filters import Predicate
from storage_providers.protocol import Item
from storage_providers.providers._objects import StoredObject
from storage_providers.providers._objects.candidates import Candidate, Proposal, Source, Stranger
from storage_providers.providers._objects.documents import corrupt, to_item
from storage_providers.providers._objects.entries import IndexKeys
from storage_providers.resilience import CONCURRENCY, stream_bounded

if TYPE_CHECKING:
    from storage_providers.providers._objects.provider import ObjectProvider

__all__ = ["Demand", "Found", "Reader"]

TOGETHER: Final = 1000
"""Most documents judged together where listings carry them. Source: the lines of one listing."""


class Found(msgspec.Struct, frozen=True):
    """What became of a proposal.

    Attributes:
        proposal: The proposal.
        item: The document, if it is there and matches.
        error: It can't be read as a document.
        expires: Whether it has a time at which it expires.
    """

    proposal: Proposal
    item: Item | None = None
    error: CorruptItemError | None = None
    expires: bool = False


class Demand:
    """How many documents may be read: as many as are wanted, and more as some turn out not to fit.

    The more of them don't, the more are read ahead.

    Args:
        wanted: How many are wanted.
    """

    def __init__(self, wanted: int) -> None:
        self._allowed = wanted
        self._begun = 0
        self._missed = 0
        self._raised = asyncio.Event()

    @property
    def is_met(self) -> bool:
        """Whether as many were begun as may be."""
        return self._begun >= self._allowed + self._missed + self._missed // 2

    async def begin(self) -> None:
        """Wait until one more may be read."""
        while self.is_met:
            self._raised.clear()
            await self._raised.wait()

    def count(self, proposal: Proposal) -> None:
        """One is read. Those that are proposed unseen don't count: most of them are not there."""
        if not _is_free(proposal):
            self._begun += 1

    def miss(self, proposal: Proposal) -> None:
        """One did not fit."""
        if not _is_free(proposal):
            self._missed += 1
            self._raised.set()

    def more(self) -> None:
        """One more is wanted."""
        self._allowed += 1
        self._raised.set()


class Reader:
    """Reads the documents that a source proposes, and judges them.

    Args:
        provider: The provider.
        collection: The collection.
        matches: Evaluates the query's `where`, if there is one.
        index: The index whose entries proposed them; an entry counts while its document has its
            values.

    Attributes:
        documents_read: How many were there to read.
    """

    def __init__(
        self,
        provider: ObjectProvider,
        collection: str,
        matches: Predicate | None,
        index: IndexKeys | None = None,
    ) -> None:
        self._provider = provider
        self._collection = collection
        self._matches = matches
        self._index = index
        self.documents_read = 0

    async def stream(
        self, source: Source, demand: Demand | None = None
    ) -> AsyncGenerator[Found, None]:
        """Read what a source proposes, in its order.

        To be iterated inside `contextlib.aclosing`. At its end, `source` proposes what was not
        read, if as many as were demanded have been.

        Args:
            source: Proposes documents.
            demand: How many are wanted; without it, all are read.
        """
        batch = self._provider.store.limits.get_batch
        # With bulk calls, one is on its way while the other is judged.
        calls = CONCURRENCY if batch == 1 else max(2, CONCURRENCY // batch)
        parts = stream_bounded(self.read, _parts(source, demand, batch), limit=calls)
        async with aclosing(parts):
            async for part in parts:
                for found in part:
                    yield found

    async def read(self, proposals: list[Proposal]) -> list[Found]:
        """Read some documents in one call of the store.

        Raises:
            StorageError: One could not be read.
        """
        keys = [each.key for each in proposals if _must_be_read(each)]
        objects = iter(await self._provider.store.get(keys) if keys else [])
        return [
            self._stranger(each)
            if isinstance(each, Stranger)
            else self._judged(each, next(objects) if each.stored is None else each.stored)
            for each in proposals
        ]

    def _stranger(self, stranger: Stranger) -> Found:
        problem = "its name is not one that this SDK writes or takes for an id"
        return Found(stranger, error=corrupt(self._collection, None, stranger.key, problem))

    def _judged(self, candidate: Candidate, stored: StoredObject | StorageError | None) -> Found:
        if stored is None:
            return Found(candidate)
        self.documents_read += 1
        try:
            if isinstance(stored, StorageError):
                raise stored
            item, expires_at_ms = to_item(self._collection, candidate.id, stored)
        except CorruptItemError as error:
            error.collection, error.item_id = self._collection, candidate.id
            # It goes on without the calls that led to it, and the bytes that they hold.
            error.__context__ = None
            return Found(candidate, error=error.with_traceback(None))
        except StorageError as error:
            error.collection, error.item_id = self._collection, candidate.id
            raise
        self._provider.remember_expiry(stored.key, stored.version, expires_at_ms)
        expires = expires_at_ms is not None
        if self._provider.is_over(expires_at_ms) or not self._fits(candidate, item):
            return Found(candidate, expires=expires)
        return Found(candidate, item, expires=expires)

    def _fits(self, candidate: Candidate, item: Item) -> bool:
        index, matches = self._index, self._matches
        if index is not None and candidate.values not in index.values_of(item.document):
            return False
        return matches is None or matches(item.document)


async def _parts(
    source: Source, demand: Demand | None, batch: int
) -> AsyncGenerator[list[Proposal], None]:
    """Proposals for one call each, no more than may be read."""
    while True:
        part, reads = list[Proposal](), 0
        while reads < batch and len(part) < TOGETHER:
            if part and demand is not None and demand.is_met:
                break
            if demand is not None:
                await demand.begin()
            found = await source.next()
            if found is None:
                if part:
                    yield part
                return
            if demand is not None:
                demand.count(found)
            part.append(found)
            reads += _must_be_read(found)
        yield part


def _must_be_read(proposal: Proposal) -> bool:
    return isinstance(proposal, Candidate) and proposal.stored is None


def _is_free(proposal: Proposal) -> bool:
    return isinstance(proposal, Stranger) or proposal.probe
