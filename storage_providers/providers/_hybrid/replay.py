"""The replay: what the fallback took is written to the primary, and conflicts are settled.

A document of the primary is changed only while it is as it was before the outage's writes, or as
one of them left it: then an earlier replay, or a write whose answer was lost, has been there. So
replaying twice changes nothing. Anything else was changed elsewhere meanwhile, which is a conflict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.conflicts import (
    Conflict,
    ConflictRecord,
    Policy,
    PolicyName,
    Resolution,
    Stored,
    check_policy,
    settle,
)
from storage_providers.errors import (
    BatchError,
    ConfigurationError,
    ConflictError,
    CorruptItemError,
    DeadlineExceededError,
    ItemExistsError,
    ItemNotFoundError,
    StorageError,
    TransportError,
)
from storage_providers.maintenance import error_name
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    Address,
    Condition,
    Delete,
    IfVersion,
    Item,
    Write,
)
from storage_providers.providers._files.lock import RootLock
from storage_providers.providers._hybrid.effects import is_same, live
from storage_providers.providers._hybrid.journal import Entry, Journal
from storage_providers.providers._hybrid.mirror import Mirror
from storage_providers.providers._hybrid.sending import REFUSALS, Result, send, separate

__all__ = ["Replay"]

ROUNDS: Final = 10
"""How often documents that others keep changing are read anew in one step."""


_RACES: Final = (ConflictError, ItemNotFoundError)


class _Plan(msgspec.Struct):
    """What is to be done about one document."""

    address: Address
    seqs: list[int]
    write: Write | None
    target: Stored | None
    record: ConflictRecord | None = None
    copy_error: StorageError | None = None


class Replay:
    """Brings the journal to the primary, one window at a time.

    Args:
        primary: Where to.
        journal: Where from.
        mirror: Keeps other writes out meanwhile, and the fallback as the primary is.
        policy: Settles conflicts.
        clock: Tells what has expired.
        on_conflict: Told of each conflict that was settled or refused.
    """

    def __init__(
        self,
        primary: Provider,
        journal: Journal,
        mirror: Mirror,
        *,
        policy: PolicyName | Policy,
        clock: Clock,
        on_conflict: Callable[[ConflictRecord], None],
    ) -> None:
        self.primary = primary
        self.journal = journal
        self.mirror = mirror
        self._policy: PolicyName | Policy = policy
        self._policy_name = check_policy(policy)
        self.clock = clock
        self._on_conflict = on_conflict
        self._lock = RootLock(f"{journal.path}.lock", 0)
        self._turn = asyncio.Lock()

    async def step(self, *, wait: bool = False) -> int:
        """Replay one window.

        Args:
            wait: Let another task end its window first, instead of leaving it to that.

        Returns:
            How many writes of the journal are done with; 0 also while another task or process is
            at it.

        Raises:
            TransportError: The primary is unavailable; what is not done stays in the journal.
            StorageError: It refuses as a whole; likewise.
        """
        if self._turn.locked() and not wait:
            return 0
        async with self._turn:
            try:
                with self._lock.held():
                    return await self._window()
            except DeadlineExceededError as error:
                if error.provider is not None:
                    raise
                return 0  # Another process is replaying.

    async def idle(self) -> None:
        """Wait until no task of this process is at a window."""
        async with self._turn:
            return

    async def _window(self) -> int:
        entries = await self.journal.head()
        chains: dict[Address, list[Entry]] = {}
        for entry in entries:
            chains.setdefault(entry.address, []).append(entry)
        done = 0
        async with self.mirror.writing(chains):
            for _ in range(ROUNDS):
                if not chains:
                    return done
                for plan in await self._round(chains):
                    done += len(plan.seqs)
                    del chains[plan.address]
            if not chains:
                return done
        raise TransportError(
            f"{len(chains)} documents were changed at the primary each of {ROUNDS} times they "
            "were replayed; they are tried again later"
        )

    async def _round(self, chains: dict[Address, list[Entry]]) -> list[_Plan]:
        """Read the documents and write what is missing; returns what is done with."""
        found = await self._read(list(chains))
        begun = await self.journal.settling(list(chains))
        plans = [
            await self._plan(chain, found[address], begun.get(address))
            for address, chain in chains.items()
        ]
        await self._write_copies(plans)
        pending = [plan for plan in plans if plan.write is not None]
        sent = await send(self.primary, [plan.write for plan in pending if plan.write is not None])
        outcomes = {plan.address: result for plan, result in zip(pending, sent, strict=True)}
        done = [plan for plan in plans if not _is_again(outcomes.get(plan.address))]
        await self._finish(done, outcomes, found)
        for error in separate(sent).values():
            if not isinstance(error, (*_RACES, *REFUSALS)):
                raise error
        return done

    async def _read(
        self, addresses: Sequence[Address]
    ) -> dict[Address, Item | StorageError | None]:
        try:
            items: Sequence[Result] = await self.primary.read(addresses)
        except BatchError as error:
            items = error.results
            for failure in error.errors:
                if not isinstance(failure, CorruptItemError):
                    raise failure from error
        except CorruptItemError as error:
            items = [error]
        return dict(zip(addresses, items, strict=True))

    # --- one document --------------------------------------------------------------------------

    async def _plan(
        self,
        chain: Sequence[Entry],
        found: Item | StorageError | None,
        record: ConflictRecord | None,
    ) -> _Plan:
        """`record`: a conflict of the document that was being settled when a process ended."""
        address, now_ms = chain[0].address, self.clock.now_ms()
        seqs, target = [entry.seq for entry in chain], live(chain[-1].after, now_ms)
        if isinstance(found, StorageError):
            # Nobody can read it; what was promised takes its place.
            return _Plan(address, seqs, self._towards(address, target, ANY), target)
        there = None if found is None else live(Stored.of(found), now_ms)
        if record is not None:
            covered = _covered(chain, record)
            if covered and is_same(there, live(record.resolution.stored, now_ms)):
                return _Plan(address, covered, None, there, record)
            if covered and is_same(there, record.conflict.primary):
                return self._settled(address, covered, found, record)
            await self.journal.finish((), [msgspec.structs.replace(record, state="settled")])
        if is_same(there, target):
            return _Plan(address, seqs, None, target)
        base = chain[0].before
        if _is_ours(chain, there, now_ms):
            write = self._towards(address, target, _condition(found))
            return _Plan(address, seqs, write, target)
        conflict = Conflict(
            collection=address.collection,
            id=address.id,
            primary=there,
            fallback=target,
            base=base.stored,
            base_known=base.certain,
            written_ms=chain[-1].at_ms,
        )
        return self._settled(address, seqs, found, await self._log(conflict))

    def _settled(
        self, address: Address, seqs: list[int], found: Item | None, record: ConflictRecord
    ) -> _Plan:
        result = record.resolution.stored
        if is_same(result, record.conflict.primary):
            return _Plan(address, seqs, None, result, record)
        write = self._towards(address, result, _condition(found))
        return _Plan(address, seqs, write, result, record)

    async def _log(self, conflict: Conflict) -> ConflictRecord:
        limit = self.primary.capabilities.max_id_bytes
        try:
            resolution = settle(conflict, self._policy, max_id_bytes=limit)
        except StorageError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"the policy {self._policy_name!r} raised {type(error).__name__}; correct it, and "
                "the replay goes on",
                collection=conflict.collection,
                item_id=conflict.id,
            ) from error
        return await self.journal.log(self._record(conflict, resolution))

    def _record(self, conflict: Conflict, resolution: Resolution) -> ConflictRecord:
        return ConflictRecord(
            number=0,
            conflict=conflict,
            policy=self._policy_name,
            resolution=resolution,
            state="settling",
            seen_ms=self.clock.now_ms(),
        )

    def _towards(self, address: Address, target: Stored | None, condition: Condition) -> Write:
        able = self.primary.capabilities
        if target is not None:
            possible = able.conditional_write
            return target.put(address.collection, condition if possible else ANY)
        possible = able.conditional_delete and condition is not IF_ABSENT
        return Delete(address.collection, address.id, condition if possible else ANY)

    # --- all of them ---------------------------------------------------------------------------

    async def _write_copies(self, plans: Sequence[_Plan]) -> None:
        """Write the documents that a policy keeps beside; those that are there are its own."""
        owners = [
            (plan, copy.put(plan.address.collection, IF_ABSENT))
            for plan in plans
            if plan.record is not None
            for copy in plan.record.resolution.copies
        ]
        if not owners:
            return
        copies = [copy for _, copy in owners]
        results = await send(self.primary, copies)
        for position, error in separate(results).items():
            if isinstance(error, REFUSALS):
                # The log keeps what the primary never takes; the rest must not wait for it.
                owners[position][0].copy_error = error
            elif not isinstance(error, ItemExistsError):
                raise error
        await self.mirror.store(
            {
                Address(copy.collection, copy.id): item
                for copy, item in zip(copies, results, strict=True)
                if isinstance(item, Item)
            }
        )

    async def _finish(
        self,
        plans: Sequence[_Plan],
        outcomes: dict[Address, Result],
        found: dict[Address, Item | StorageError | None],
    ) -> None:
        records: list[ConflictRecord] = []
        correct: dict[Address, Item | None] = {}
        for plan in plans:
            there: Result = found[plan.address]
            if plan.write is not None:
                outcome = outcomes[plan.address]
                if isinstance(outcome, StorageError):
                    records.append(await self._refused(plan, outcome, there))
                else:
                    there = outcome
            if not isinstance(there, StorageError):
                correct[plan.address] = there
        refused = {record.number for record in records}
        records += [
            _settled_record(plan.record, plan.copy_error)
            for plan in plans
            if plan.record is not None and plan.record.number not in refused
        ]
        self.mirror.forget(plan.address for plan in plans)
        last = {plan.address: plan.seqs[-1] for plan in plans}
        for address in await self.journal.later({each: last[each] for each in correct}):
            del correct[address]  # The fallback has what was written after this.
        if correct:
            await self.mirror.store(correct)
        await self.journal.finish([seq for plan in plans for seq in plan.seqs], records)
        await self.mirror.keep_promises(list(correct))
        for record in records:
            self._on_conflict(record)

    async def _refused(
        self, plan: _Plan, error: StorageError, found: Item | StorageError | None
    ) -> ConflictRecord:
        """The record of a document that the primary does not take, whatever is tried."""
        record = plan.record
        if record is None:
            there = None if found is None or isinstance(found, StorageError) else Stored.of(found)
            conflict = Conflict(
                collection=plan.address.collection,
                id=plan.address.id,
                primary=there,
                fallback=plan.target,
                base=there,
            )
            record = await self.journal.log(self._record(conflict, Resolution(there)))
        return msgspec.structs.replace(record, state="refused", error=error_name(error))


def _is_ours(chain: Sequence[Entry], there: Stored | None, now_ms: int) -> bool:
    """Whether the primary has what was there before the outage's writes, or what one left."""
    base = chain[0].before
    states = [live(entry.after, now_ms) for entry in chain]
    if base.certain:
        states.append(live(base.stored, now_ms))
    elif there is None:
        states.append(None)
    return any(is_same(there, state) for state in states)


def _settled_record(record: ConflictRecord, copy_error: StorageError | None) -> ConflictRecord:
    error = None if copy_error is None else error_name(copy_error)
    return msgspec.structs.replace(record, state="settled", error=error)


def _covered(chain: Sequence[Entry], record: ConflictRecord) -> list[int]:
    """The writes that a conflict was about; later ones came after it was logged."""
    for position, entry in enumerate(chain):
        if is_same(entry.after, record.conflict.fallback):
            return [each.seq for each in chain[: position + 1]]
    return []


def _condition(found: Item | None) -> Condition:
    return IF_ABSENT if found is None else IfVersion(found.version)


def _is_again(outcome: Result) -> bool:
    """Whether the write is still to be done: it met a change, or nobody."""
    return isinstance(outcome, StorageError) and not isinstance(outcome, REFUSALS)
