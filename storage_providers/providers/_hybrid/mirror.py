"""The mirror: what the primary answers and takes, kept at the fallback as well.

A copy lands only if no write passed it: a write holds the lock of its document until its copy is
there too, and what was read before a write ended is not copied after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from storage_providers.base import Provider
from storage_providers.conflicts import Stored
from storage_providers.errors import StorageError
from storage_providers.protocol import Address, Clear, Delete, Item, Write
from storage_providers.providers._hybrid.journal import Journal, Taken

__all__ = ["Mirror", "write_of"]

STRIPES: Final = 256
"""Locks for all documents together; two that share one wait for each other. Ours."""

REMEMBERED: Final = 100_000
"""Documents whose copy and last write are remembered, at most. Ours."""

BATCH: Final = 500
"""Documents copied in one call, at most. Ours."""

_NEVER: Final = object()


class Mirror:
    """Copies to the fallback, in an order that never leaves an old copy behind.

    Args:
        fallback: Where the copies go.
        journal: Keeps which of them could not be made.
    """

    def __init__(self, fallback: Provider, journal: Journal) -> None:
        self._fallback = fallback
        self._journal = journal
        self._locks = [asyncio.Lock() for _ in range(STRIPES)]
        self._tick = 0
        self._written: dict[Address, int] = {}
        self._forgotten_tick = 0
        self._copied: dict[Address, str | None] = {}
        self._unnoted: set[Address] = set()

    # --- the order -----------------------------------------------------------------------------

    @property
    def tick(self) -> int:
        """Now, for `copy`: taken before the primary is asked."""
        return self._tick

    @asynccontextmanager
    async def writing(
        self, addresses: Iterable[Address], *, everything: bool = False
    ) -> AsyncGenerator[None]:
        """Keep other writes of these documents out until this one is copied too.

        Args:
            addresses: The documents.
            everything: All documents, for a write that does not name them.
        """
        named = list(addresses)
        stripes = range(STRIPES) if everything else sorted({_stripe(each) for each in named})
        async with AsyncExitStack() as stack:
            # In one order, so that no two wait for each other.
            for stripe in stripes:
                await stack.enter_async_context(self._locks[stripe])
            try:
                yield
            finally:
                self._tick += 1
                if everything:
                    self._forgotten_tick = self._tick
                for address in named:
                    self._note_write(address)

    def _note_write(self, address: Address) -> None:
        self._written.pop(address, None)
        self._written[address] = self._tick
        if len(self._written) > REMEMBERED:
            oldest = next(iter(self._written))
            self._forgotten_tick = max(self._forgotten_tick, self._written.pop(oldest))

    def _is_overtaken(self, address: Address, tick: int) -> bool:
        return max(self._written.get(address, 0), self._forgotten_tick) > tick

    # --- copies --------------------------------------------------------------------------------

    async def copy(
        self,
        answers: Sequence[tuple[Address, Item | None]],
        tick: int,
        *,
        wait: bool = False,
    ) -> None:
        """Copy what the primary answered, unless a write passed it.

        Args:
            answers: Documents and what the primary holds; `None`: nothing.
            tick: `tick` from before the primary was asked.
            wait: Wait for writes in progress instead of leaving the copy to them.
        """
        new = {
            address: item
            for address, item in answers
            if self._copied.get(address, _NEVER) != (None if item is None else item.version)
            or address in self._unnoted
        }
        if not wait:
            new = {
                address: item
                for address, item in new.items()
                if not self._locks[_stripe(address)].locked()
            }
        if not new:
            return
        async with AsyncExitStack() as stack:
            for stripe in sorted({_stripe(address) for address in new}):
                await stack.enter_async_context(self._locks[stripe])
            fresh = {a: item for a, item in new.items() if not self._is_overtaken(a, tick)}
            if fresh and not await self._journal.is_pending():
                await self.store(fresh)
                await self.keep_promises(list(fresh))

    async def store(self, fresh: Mapping[Address, Item | None], *, strict: bool = False) -> None:
        """Copy these documents; the caller holds their locks.

        Args:
            fresh: What the primary holds of each; `None`: nothing.
            strict: Raise the fallback's error; without, the copies are in doubt then.
        """
        batch = [
            write_of(address, None if item is None else Stored.of(item))
            for address, item in fresh.items()
        ]
        if await self._write(batch, list(fresh), strict=strict):
            for address, item in fresh.items():
                self._remember(address, None if item is None else item.version)

    async def keep_promises(self, addresses: Sequence[Address]) -> None:
        """Bring back what another process has put into the journal since, and a copy covered.

        Args:
            addresses: The documents that were copied; the caller holds their locks.
        """
        before: dict[Address, Taken | None] = dict.fromkeys(addresses)
        while addresses and await self._journal.is_pending():
            promised = dict(zip(addresses, await self._journal.last(addresses), strict=True))
            new = {
                address: taken.stored
                for address, taken in promised.items()
                if taken is not None and taken != before[address]
            }
            if not new:
                return
            self.forget(new)
            await self._write([write_of(*each) for each in new.items()], list(new))
            before, addresses = promised, list(new)

    async def clear(self, collection: str) -> None:
        """Empty a collection of the fallback; the caller holds every lock."""
        self.forget(address for address in list(self._copied) if address.collection == collection)
        await self._write([Clear(collection)], [Address(collection, "")])

    async def _write(
        self, batch: Sequence[Write], addresses: Sequence[Address], *, strict: bool = False
    ) -> bool:
        try:
            for start in range(0, len(batch), BATCH):
                await self._fallback.write(batch[start : start + BATCH])
        except StorageError:
            await self.doubt(addresses)
            if strict:
                raise
            return False
        except BaseException:
            self._unnoted.update(addresses)
            raise
        return True

    def _remember(self, address: Address, version: str | None) -> None:
        self._copied.pop(address, None)
        self._copied[address] = version
        if len(self._copied) > REMEMBERED:
            del self._copied[next(iter(self._copied))]

    def forget(self, addresses: Iterable[Address]) -> None:
        """The fallback holds something else than what was copied."""
        for address in addresses:
            self._copied.pop(address, None)

    # --- copies in doubt -----------------------------------------------------------------------

    async def doubt(self, addresses: Sequence[Address]) -> None:
        """Note that these copies may be old, on disk if that is possible."""
        self.doubt_now(addresses)
        try:
            await self._journal.doubt(addresses)
        except StorageError:
            return  # Still noted in memory, and tried again by `doubts`.
        self._unnoted.difference_update(addresses)

    def doubt_now(self, addresses: Iterable[Address]) -> None:
        """Note it in memory at once, where nothing may be awaited."""
        named = list(addresses)
        self._unnoted.update(named)
        self.forget(named)

    @property
    def has_doubts_unnoted(self) -> bool:
        """Whether doubts are in memory alone."""
        return bool(self._unnoted)

    async def doubts(self) -> set[Address]:
        """The copies in doubt; those that were in memory alone are noted on disk."""
        if self._unnoted:
            await self.doubt(list(self._unnoted))
        return await self._journal.doubts() | self._unnoted

    async def doubted(self, addresses: Sequence[Address]) -> set[Address]:
        """Those of these documents whose copy is in doubt."""
        if self._unnoted:
            await self.doubt(list(self._unnoted))
        in_memory = {
            each
            for each in addresses
            if each in self._unnoted or Address(each.collection, "") in self._unnoted
        }
        return await self._journal.doubted(addresses) | in_memory

    async def is_doubted(self, collection: str) -> bool:
        """Whether the copy of any document of a collection is in doubt."""
        if self._unnoted:
            await self.doubt(list(self._unnoted))
        if any(address.collection == collection for address in self._unnoted):
            return True
        return await self._journal.is_doubted(collection)

    async def trust(self, addresses: Sequence[Address]) -> None:
        """These copies were made anew."""
        self._unnoted.difference_update(addresses)
        await self._journal.trust(addresses)


def write_of(address: Address, stored: Stored | None) -> Write:
    """The write that makes a document what it should be, whatever it is."""
    if stored is None:
        return Delete(address.collection, address.id)
    return stored.put(address.collection)


def _stripe(address: Address) -> int:
    return hash((address.collection, address.id)) % STRIPES
