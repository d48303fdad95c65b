"""A process's part in a migration: it looks at the state often enough, and says that it writes.

Nobody may go on by a state that has changed. Readers look at it again when their lease is over.
Writers also keep a record: whoever changes the phase waits until each of them has acknowledged the
new one, rests, or has not been heard of for several leases. One that was not heard of and still
lives finds that out by itself (`confirm`) before it says that a write is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from storage_providers._clock import Clock
from storage_providers.errors import (
    ConflictError,
    StorageError,
    TransportError,
    UnsupportedOperationError,
)
from storage_providers.providers._dual.records import Writer, remove, writer_id
from storage_providers.providers._dual.state import (
    MigrationState,
    Seen,
    Side,
    StateStore,
    before_switching,
)

__all__ = ["LATE_LEASES", "LEASE_SECONDS", "SILENT_LEASES", "Grant", "Membership"]

_LOGGER = logging.getLogger("storage_providers")

LEASE_SECONDS: Final = 10.0
"""How long a state that was read may be gone by. Ours: two calls in ten seconds for a writer."""

LATE_LEASES: Final = 2
"""A writer that could not renew its record for so many leases counts itself as not heard of."""

SILENT_LEASES: Final = 6
"""After so many leases without a beat, others count a writer as not heard of. More than
`LATE_LEASES`, so that the writer always knows first, by as long as a request may be on its way."""

SWITCH_LEASES: Final = 6
"""After so many leases, writers that wait for a switch end it."""

POLL_LEASES: Final = 0.05
"""How often a writer that waits for a switch looks, in leases."""


class Grant:
    """Leave to write, under one state.

    Args:
        state: The state.
        lapses: How often the record had been late before.
    """

    __slots__ = ("counts", "lapses", "state")

    def __init__(self, state: MigrationState, lapses: int) -> None:
        self.state = state
        self.lapses = lapses
        self.counts = False


class Membership:
    """Keeps a process's view of the state fresh, and its record.

    Args:
        states: Reads the state.
        clock: Time.
        lease_seconds: The same in every process of a migration.
        sleep: Waits; tests pass their own.
        settle: Called before the record says that all writes of an epoch have ended; notes what
            they left uncertain.

    Attributes:
        lease_seconds: As given.
    """

    def __init__(
        self,
        states: StateStore,
        *,
        clock: Clock,
        lease_seconds: float,
        sleep: Callable[[float], Awaitable[None]],
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self._states = states
        self._clock = clock
        self.lease_seconds = lease_seconds
        self._lease_ms = lease_seconds * 1000
        self._sleep = sleep
        self._settle = settle
        self._seen: Seen | None = None
        self._read_ms = 0
        self._writer = Writer(
            id=writer_id(clock.new_id()),
            epoch=-1,
            active=False,
            beat=0,
            lease_seconds=lease_seconds,
        )
        self._beaten_ms = 0
        self._renewed_ms: int | None = None
        self._lapses = 0
        self._lock = asyncio.Lock()
        self._in_flight = 0
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._is_used = False
        self._beating: asyncio.Task[None] | None = None

    # --- reading -------------------------------------------------------------------------------

    @property
    def known(self) -> MigrationState | None:
        """The state as it was last read."""
        return None if self._seen is None else self._seen.state

    async def state(self) -> MigrationState:
        """The state to read by.

        Raises:
            StorageError: It can't be read.
        """
        state = self.known
        if state is None or not (state.phase == "done" or self._is_within(self._read_ms)):
            return await self.look()
        # While the leader changes, nobody goes by what was read before.
        return await self.look() if state.phase == "switching" else state

    async def leads(self, side: Side) -> bool:
        """Whether a side led until now, so that what it has just answered is true."""
        return self._is_within(self._read_ms) or (await self.state()).leader == side

    async def look(self) -> MigrationState:
        """Read the state anew."""
        sent_ms = self._clock.now_ms()
        seen = await self._states.read(None if self._seen is None else self._seen.state)
        if self._seen is None or seen.state.epoch >= self._seen.state.epoch:
            self._seen, self._read_ms = seen, sent_ms
        return seen.state

    def _is_within(self, since_ms: int, leases: float = 1) -> bool:
        # A clock that was put back tells nothing.
        return 0 <= self._clock.now_ms() - since_ms < self._lease_ms * leases

    # --- writing -------------------------------------------------------------------------------

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[Grant]:
        """Write inside this block, by the state that it gives.

        Raises:
            UnsupportedOperationError: Writes are not taken in this phase, on these sides.
            TransportError: The leader is changing, which takes longer than it should.
        """
        grant = Grant(await self._admitted(), self._lapses)
        self._enter(grant)
        try:
            yield grant
        finally:
            self._leave(grant)

    def _enter(self, grant: Grant) -> None:
        """Count a write as under way, with no await since its state was known to be the last."""
        grant.counts = True
        self._in_flight += 1
        self._at_rest.clear()
        self._is_used = True

    def _leave(self, grant: Grant) -> None:
        """Count a write as ended: nothing is sent for it any more."""
        if grant.counts:
            grant.counts = False
            self._in_flight -= 1
            if not self._in_flight:
                self._at_rest.set()

    async def _admitted(self) -> MigrationState:
        waited = 0.0
        while True:
            state = await self._renewed()
            if state.phase == "done":
                return state
            if not state.takes_writes:
                raise UnsupportedOperationError(
                    "a migration is under way between sides that can't both compare and set, so "
                    "no writes are taken until it is cleaned up or rolled back"
                )
            if state.phase != "switching" and self._writer.epoch == state.epoch:
                return state
            if self._writer.epoch != state.epoch:
                await self._at_rest.wait()
                await self._acknowledge()
                continue
            if waited > 2 * SWITCH_LEASES:
                raise TransportError(
                    "the leading side of the migration is changing, which takes longer than it "
                    "should; nothing was written, try again",
                    retry_after_seconds=self._lease_ms / 1000,
                )
            await self._sleep(self._lease_ms / 1000 * POLL_LEASES)
            waited += POLL_LEASES
            if await self.look() == state and waited > SWITCH_LEASES:
                await self._break_off()

    async def _break_off(self) -> None:
        """End a switch that nobody seems to carry on; whoever does so after all finds it ended."""
        seen = self._seen
        assert seen is not None
        with contextlib.suppress(ConflictError):
            await self._states.change(seen, before_switching(seen.state))
        await self.look()

    async def _renewed(self) -> MigrationState:
        """The state, with a record that is heard of; nothing is asked while the lease holds."""
        state = self.known
        if state is not None and state.phase == "done":
            return state
        renewed_ms = self._renewed_ms
        if state is not None and renewed_ms is not None and self._is_within(renewed_ms):
            return state
        return await self._renew()

    async def _renew(self) -> MigrationState:
        """Say that writing goes on, then look at the state: whoever changes it sees the record."""
        async with self._lock:
            state = self.known or await self.look()
            for _ in range(3):
                if not state.takes_writes or state.phase == "done":
                    return await self.look()
                home, sent_ms = state.home, self._clock.now_ms()
                if self._writer.epoch < 0:
                    await self._beat(active=True, epoch=state.epoch)
                else:
                    await self._beat(active=True)
                state = await self.look()
                if state.home == home:
                    self._renewed_ms = sent_ms
                    break
        self._keep_beating()
        return state

    async def _beat(self, *, active: bool, epoch: int | None = None) -> None:
        sent_ms = self._clock.now_ms()
        known = self.known
        assert known is not None
        writer = msgspec.structs.replace(
            self._writer,
            epoch=self._writer.epoch if epoch is None else epoch,
            active=active,
            beat=self._writer.beat + 1,
        )
        await self._states.sides[known.home].write([writer.put])
        if self._writer.active and not self._is_within(self._beaten_ms, LATE_LEASES):
            self._lapses += 1
        self._writer, self._beaten_ms = writer, sent_ms

    async def _acknowledge(self) -> None:
        """Say that every write of earlier epochs has ended."""
        async with self._lock:
            state = self.known
            if state is None or self._in_flight or self._writer.epoch == state.epoch:
                return
            await self._settle()
            await self._beat(active=True, epoch=state.epoch)
            # Where the record is new, the state is looked at after it once more.
            self._renewed_ms = None

    async def guard(self, grant: Grant) -> None:
        """Check that nobody can have gone on without this process since a grant was given.

        Raises:
            TransportError: Its record was late; what was read under the grant may be of the past.
        """
        if grant.state.phase != "done" and not self._is_in_time(grant):
            raise TransportError("this process was not heard of for too long to go on")

    def _is_in_time(self, grant: Grant) -> bool:
        return self._lapses == grant.lapses and self._is_within(self._beaten_ms, LATE_LEASES)

    async def confirm(self, grant: Grant, uncertain: Callable[[], None]) -> Grant | None:
        """Find out, before a write counts as done, whether the migration went on without it.

        Args:
            grant: The leave to write.
            uncertain: Called if the leader is just changing: what was written is to be noted.

        Returns:
            `None`: it did not. Otherwise leave to go on by the state that is now.
        """
        if grant.state.phase == "done" or self._is_in_time(grant):
            return None
        state = await self._renew()
        if self._lapses == grant.lapses or state.epoch == grant.state.epoch:
            return None
        if state.phase == "switching":
            # Whoever switches may be waiting for this very write.
            uncertain()
            self._leave(grant)
            while state.phase == "switching":
                await self._acknowledge()
                await self._sleep(self._lease_ms / 1000 * POLL_LEASES)
                state = await self.look()
            self._enter(grant)
        return Grant(state, self._lapses)

    # --- in the background ---------------------------------------------------------------------

    def _keep_beating(self) -> None:
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat_on())

    async def _beat_on(self) -> None:
        while True:
            await self._sleep(self._lease_ms / 2000)
            try:
                if not await self._beat_once():
                    return
            except StorageError as error:
                _LOGGER.warning("dual write: the state can't be read (%s)", type(error).__name__)

    async def _beat_once(self) -> bool:
        """Renew the record, or say that the process rests; whether to go on."""
        used, self._is_used = self._is_used, False
        if not used and not self._in_flight:
            return not await self._rest()
        state = await self._renew()
        if state.phase == "done":
            return False
        if not self._in_flight:
            await self._acknowledge()
        return True

    async def _rest(self) -> bool:
        async with self._lock:
            if self._in_flight or self._is_used:
                return False
            # Whoever wants to write from here on renews the record first, after this.
            self._writer = msgspec.structs.replace(self._writer, active=False)
            self._renewed_ms = None
            await self._settle()
            state = await self.look()
            await self._beat(active=False, epoch=state.epoch)
            return True

    async def close(self) -> None:
        """Say that nothing is written any more."""
        if self._beating is not None:
            self._beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beating
        if self._writer.epoch < 0 or self.known is None:
            return
        try:
            await self._settle()
            await remove(self._states.sides[self.known.home], [self._writer.id])
        except StorageError as error:
            # Others wait some leases for it, and compare once more.
            _LOGGER.warning("dual write: not signed off (%s)", type(error).__name__)
