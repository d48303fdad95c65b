"""Keeping the follower as the leader is, whoever else writes.

A copy is only put where the follower is as it was *before* the leader was last looked at, by
compare-and-set. So of two processes that bring copies of one document, the one that knows less
always finds the follower changed, and looks at both sides again. Deletions leave nothing to compare
with; documents that were deleted are noted, and looked at once more before the leader changes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import Final, TypeAlias

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.conflicts import Stored
from storage_providers.errors import (
    ConflictError,
    InvalidArgumentError,
    ItemNotFoundError,
    OutcomeUnknownError,
    StorageError,
    TransportError,
)
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    Address,
    Capabilities,
    Clear,
    Condition,
    Delete,
    IfVersion,
    Item,
    Put,
    Write,
    check_collection,
    check_id,
)
from storage_providers.providers._dual.records import note_puts
from storage_providers.providers._hybrid.effects import is_same
from storage_providers.providers._hybrid.looking import each_id, read_each
from storage_providers.providers._hybrid.sending import Result, Results, send

__all__ = ["Following", "Guard", "address_of", "differences", "ids_of", "results_of"]

REMEMBERED: Final = 100_000
"""Documents of which the follower's version is remembered, at most. Ours."""

ROUNDS: Final = 20
"""How often a document is looked at anew that others keep changing. Ours."""

BATCH: Final = 500
"""Documents looked at in one call. Ours."""

_RACES: Final = (ConflictError, ItemNotFoundError)


Guard: TypeAlias = Callable[[], Awaitable[None]]
"""Raises if another may lead by now, so that what was read is of the past."""


async def _no_guard() -> None:
    return None


class Following:
    """Brings one side of a pair to where the other is.

    Args:
        leader: The side that counts.
        follower: The side that is brought there.
        clock: Makes the ids of notes.
        doubts: Documents that the follower may not have as the leader does.
    """

    def __init__(
        self,
        leader: Provider,
        follower: Provider,
        clock: Clock,
        doubts: dict[Address, None] | None = None,
    ) -> None:
        self.leader = leader
        self.follower = follower
        self._clock = clock
        self._guard: Guard = _no_guard
        self._versions: dict[Address, str | None] = {}
        self.doubts: dict[Address, None] = {} if doubts is None else doubts

    def under(self, guard: Guard) -> Following:
        """The same, with a check before the follower is written.

        Args:
            guard: Raises if another may lead by now, so that what was read is of the past.
        """
        other = copy(self)
        other._guard = guard
        return other

    # --- writing to both -----------------------------------------------------------------------

    async def lead(self, batch: Sequence[Write]) -> Results:
        """Write to the leader alone.

        Returns:
            For each what the leader made of it; where that is not known, it is in doubt.

        Raises:
            StorageError: The leader refused as a whole; nothing was written.
        """
        try:
            results = await send(self.leader, batch)
        except StorageError:
            raise
        except BaseException:
            self.doubt(map(address_of, batch))
            raise
        for write, result in zip(batch, results, strict=True):
            if isinstance(result, OutcomeUnknownError):
                self.doubt([address_of(write)])
        return results

    async def write(self, batch: Sequence[Write]) -> Results:
        """Write to the leader, then bring the follower there.

        Returns:
            For each what the leader made of it. What the follower did not take is in doubt.

        Raises:
            StorageError: The leader refused as a whole; nothing was written.
        """
        expected = await self._expected(batch)
        notes: Sequence[Write] = self._notes_for(batch)
        if notes and not self.leader.capabilities.atomic_batch:
            await self.leader.write(notes)
            notes = []
        results = (await self.lead([*batch, *notes]))[: len(batch)]
        landed: dict[Address, Item | None] = {}
        cleared: list[str] = []
        for write, result in zip(batch, results, strict=True):
            if isinstance(result, StorageError):
                continue
            if isinstance(write, Clear):
                cleared.append(write.collection)
            else:
                landed[address_of(write)] = result
        try:
            await self._bring(landed, expected)
            for collection in cleared:
                await self._clear(collection)
        except BaseException as error:
            self.doubt([*landed, *(Address(name, "") for name in cleared)])
            if not isinstance(error, StorageError):
                raise
        return results

    def _notes_for(self, batch: Sequence[Write]) -> list[Put]:
        gone = [address_of(write) for write in batch if isinstance(write, (Delete, Clear))]
        return self.notes(gone)

    def notes(self, addresses: Iterable[Address]) -> list[Put]:
        """The writes that note documents, to be looked at before the leader changes."""
        return note_puts(addresses, iter(self._clock.new_id, ""))

    async def _expected(self, batch: Sequence[Write]) -> Mapping[Address, str | None]:
        """What the follower has now: read before the leader is written, or known from earlier."""
        known: dict[Address, str | None] = {}
        asked: list[Address] = []
        for write in batch:
            address = address_of(write)
            if isinstance(write, Clear):
                continue
            if address in self._versions:
                known[address] = self._versions[address]
            elif isinstance(write, Put) and write.condition is IF_ABSENT:
                known[address] = None
            else:
                asked.append(address)
        if asked:
            try:
                found = await results_of(self.follower, asked)
            except StorageError:
                return known  # What lands will be in doubt.
            known |= {
                each: _version(item)
                for each, item in found.items()
                if not isinstance(item, StorageError)
            }
        return known

    async def _bring(
        self, landed: Mapping[Address, Item | None], expected: Mapping[Address, str | None]
    ) -> None:
        """Have the follower take what landed, where it is as expected; else look again."""
        writes: dict[Address, Write] = {}
        again: list[Address] = []
        for address, item in landed.items():
            if address not in expected:
                again.append(address)
            elif item is not None or expected[address] is not None:
                writes[address] = self._towards(address, item, expected[address])
        again += await self._send(writes)
        if not self.follower.capabilities.conditional_delete:
            again += [address for address, write in writes.items() if isinstance(write, Delete)]
        if again:
            await self.bring_anew(again)

    async def _send(self, writes: Mapping[Address, Write]) -> list[Address]:
        """Write to the follower; returns what met a change.

        Raises:
            StorageError: It can't be reached, or refuses a document; that one is in doubt.
        """
        if not writes:
            return []
        met: list[Address] = []
        failure: StorageError | None = None
        await self._guard()
        results = await send(self.follower, list(writes.values()))
        for address, result in zip(writes, results, strict=True):
            self._versions.pop(address, None)
            if isinstance(result, _RACES):
                met.append(address)
            elif isinstance(result, StorageError):
                self.doubt([address])
                failure = failure or result
            else:
                self._remember(address, _version(result))
        if isinstance(failure, TransportError):
            self.doubt(met)
            raise failure
        return met

    def _towards(self, address: Address, item: Item | None, version: str | None) -> Write:
        able = self.follower.capabilities
        condition: Condition = ANY
        if item is not None:
            if able.conditional_write:
                condition = IF_ABSENT if version is None else IfVersion(version)
            return Stored.of(item).put(address.collection, condition)
        if able.conditional_delete and version is not None:
            condition = IfVersion(version)
        return Delete(address.collection, address.id, condition)

    def _write_towards(self, address: Address, ours: Result, there: Result) -> Write:
        assert not isinstance(ours, StorageError)
        if not isinstance(there, StorageError):
            return self._towards(address, ours, _version(there))
        # Nobody can read it; what the leader has takes its place.
        if ours is None:
            return Delete(address.collection, address.id)
        return Stored.of(ours).put(address.collection)

    def _remember(self, address: Address, version: str | None) -> None:
        self._versions[address] = version
        if len(self._versions) > REMEMBERED:
            del self._versions[next(iter(self._versions))]

    # --- looking at both -----------------------------------------------------------------------

    async def bring_anew(self, addresses: Sequence[Address]) -> int:
        """Look at both sides, and bring the follower to where the leader is.

        Args:
            addresses: The documents; an empty id: all of the collection, on either side.

        Returns:
            How many the follower had otherwise.

        Raises:
            StorageError: A side can't be reached, or others keep changing a document.
        """
        changed = 0
        for address in addresses:
            if not address.id:
                changed += await self._bring_collection(address.collection)
        named = list(dict.fromkeys(each for each in addresses if each.id))
        for start in range(0, len(named), BATCH):
            changed += await self._bring_some(named[start : start + BATCH])
        return changed

    async def _bring_some(self, addresses: list[Address]) -> int:
        changed: set[Address] = set()
        for _ in range(ROUNDS):
            theirs = await results_of(self.follower, addresses)
            ours = await results_of(self.leader, addresses)
            writes = {
                address: self._write_towards(address, ours[address], theirs[address])
                for address in differences(ours, theirs)
            }
            changed.update(writes)
            again = await self._send(writes)
            if not self.follower.capabilities.conditional_delete:
                # It may have removed what others have put since.
                again += [each for each, write in writes.items() if isinstance(write, Delete)]
            if not again:
                return len(changed)
            addresses = again
        raise TransportError(
            f"{len(addresses)} documents were changed each of {ROUNDS} times they were looked at"
        )

    async def _bring_collection(self, collection: str) -> int:
        ids = await ids_of(self.leader, collection) | await ids_of(self.follower, collection)
        return await self.bring_anew([Address(collection, each) for each in sorted(ids)])

    async def _clear(self, collection: str) -> None:
        for address in [each for each in self._versions if each.collection == collection]:
            del self._versions[address]
        await self._guard()
        await self.follower.write([Clear(collection)])
        # What others have put at both sides since then may be gone at the follower.
        ids = await ids_of(self.leader, collection)
        await self.bring_anew([Address(collection, each) for each in sorted(ids)])

    # --- in doubt ------------------------------------------------------------------------------

    def doubt(self, addresses: Iterable[Address]) -> None:
        """Remember that the follower may not have these as the leader does."""
        for address in addresses:
            self.doubts[address] = None
            self._versions.pop(address, None)

    async def mend(self) -> int:
        """Look at everything in doubt; returns how many of them are no more.

        Raises:
            StorageError: A side can't be reached; what is left stays in doubt.
        """
        mended = 0
        while self.doubts:
            some = list(self.doubts)[:BATCH]
            for address in some:
                del self.doubts[address]
            try:
                await self.bring_anew(some)
            except BaseException:
                self.doubt(some)
                raise
            if any(address in self.doubts for address in some):
                return mended  # The follower refuses them.
            mended += len(some)
        return mended

    async def note_doubts(self) -> None:
        """Note at the leader what is in doubt, for whoever changes the phase."""
        some = list(self.doubts)
        if not some:
            return
        await self.leader.write(self.notes(some))
        for address in some:
            self.doubts.pop(address, None)


def differences(ours: Mapping[Address, Result], theirs: Mapping[Address, Result]) -> list[Address]:
    """The documents that two sides hold otherwise, of those that can be read on the first."""
    return [
        address
        for address, item in ours.items()
        if not isinstance(item, StorageError) and not _is_same(item, theirs[address])
    ]


def _is_same(item: Item | None, there: Result) -> bool:
    if isinstance(there, StorageError):
        return False
    sides = [None if each is None else Stored.of(each) for each in (item, there)]
    return is_same(*sides)


async def results_of(provider: Provider, addresses: Sequence[Address]) -> dict[Address, Result]:
    """What a side holds under these ids; where that can't be read, the error.

    Under an id that it does not take it holds nothing.

    Raises:
        StorageError: The side can't be reached.
    """
    able = provider.capabilities
    asked = [each for each in addresses if _is_taken(each, able)]
    return dict.fromkeys(addresses) | await read_each(provider, asked)


def _is_taken(address: Address, able: Capabilities) -> bool:
    try:
        check_collection(address.collection, able.max_scope_bytes)
        check_id(address.id, able.max_id_bytes)
    except InvalidArgumentError:
        return False
    return True


async def ids_of(provider: Provider, collection: str) -> set[str]:
    """The ids of a collection."""
    return {each async for each in each_id(provider, collection)}


def address_of(write: Write) -> Address:
    """The document that a write is about; an empty id: all of its collection."""
    return Address(write.collection, "" if isinstance(write, Clear) else write.id)


def _version(item: Item | None) -> str | None:
    return None if item is None else item.version
