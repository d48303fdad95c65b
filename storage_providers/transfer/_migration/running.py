"""One runner at a time, and how far it is: a record beside the state.

A runner beats. Another takes over when that has stopped for several leases, or when the first has
put the record down. Two that meet all the same do no harm: the phase changes by compare-and-set
alone, and what is copied twice is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import msgspec

from storage_providers.base import Provider
from storage_providers.errors import ConflictError, MigrationError, StorageError
from storage_providers.protocol import IF_ABSENT, Address, IfVersion, Item, Put
from storage_providers.providers._dual.membership import LATE_LEASES, SILENT_LEASES
from storage_providers.providers._dual.state import OWN, MigrationState
from storage_providers.transfer._migration.pair import Pair

__all__ = ["Position", "Run", "RunRecord", "Verified"]

RUN_ID = "run"


class Position(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How far the copy is.

    Attributes:
        begun: The epoch in which writes began to reach both sides.
        through: Every collection up to this name is copied.
        cursors: Collections after it that are under way, with where to go on.
        finished: Those after it that are copied.
        documents: Documents looked at so far.
        complete: Whether everything is copied.
    """

    begun: int
    through: str = ""
    cursors: dict[str, str | None] = {}
    finished: list[str] = []
    documents: int = 0
    complete: bool = False


class Verified(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A comparison that found no difference.

    Attributes:
        epoch: The epoch it belongs to.
        documents: How many were compared.
        at: When, ISO 8601.
        silent: Writers that were not heard of when it began, with their last beats.
    """

    epoch: int
    documents: int
    at: str
    silent: list[tuple[str, int]] = []


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is kept of a run.

    Attributes:
        id: Always `run`.
        migration: The migration it belongs to; empty: one that is to begin.
        runner: Who is at it; `None`: nobody.
        beat: Grows while a runner is at it.
        backup: The archive that was made before anything moved.
        position: How far the copy is.
        verified: The last comparison that found no difference.
    """

    id: str = RUN_ID
    migration: str = ""
    runner: str | None = None
    beat: int = 0
    backup: str | None = None
    position: Position | None = None
    verified: Verified | None = None


class Run:
    """This process's run.

    Args:
        pair: Both sides.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._id = pair.clock.new_id()
        self._version: str | None = None
        self._lock = asyncio.Lock()
        self._failure: StorageError | None = None
        self._beaten_ms = 0
        self._home: Provider = pair.source
        self.record = RunRecord()

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[Run]:
        """Be the one runner inside this block.

        Raises:
            MigrationError: Another one is at it.
        """
        await self._take()
        self._pair.guard = self._guard
        beating = asyncio.create_task(self._beat_on())
        try:
            yield self
        finally:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating
            with contextlib.suppress(StorageError):
                await self.keep(runner=None)

    async def _guard(self) -> None:
        """Make sure that nobody has taken over; where that may be, the record tells.

        Raises:
            MigrationError: Somebody has.
        """
        passed_ms = self._pair.clock.now_ms() - self._beaten_ms
        in_time = 0 <= passed_ms < LATE_LEASES * self._pair.lease_seconds * 1000
        if self._failure is not None or not in_time:
            await self.keep()

    async def load(self) -> RunRecord:
        """Read the record, without being the runner."""
        state = (await self._pair.seen()).state
        item = await self._find(state)
        self.record = RunRecord() if item is None else item.decode(RunRecord)
        if self.record.migration not in ("", state.migration):
            self.record = RunRecord()  # Of an earlier migration, which is over.
        return self.record

    async def _find(self, state: MigrationState) -> Item | None:
        self._home = self._pair.home(state)
        (item,) = await self._home.read([Address(OWN, RUN_ID)])
        self._version = None if item is None else item.version
        return item

    async def _take(self) -> None:
        self._failure = None
        record = await self.load()
        waited = 0.0
        lease = self._pair.lease_seconds
        while record.runner is not None and waited < SILENT_LEASES:
            await self._pair.sleep(lease / 10)
            waited += 0.1
            beat, record = record.beat, await self.load()
            if record.runner is not None and record.beat != beat:
                raise MigrationError(
                    "another process is at this migration; wait for it, or end it and try again"
                )
        await self.keep(runner=self._id)

    async def keep(self, **changes: object) -> None:
        """Change the record.

        Raises:
            MigrationError: Another process took over.
            StorageError: It can't be written.
        """
        # Whoever is cancelled meanwhile must still know the version that it has made.
        await asyncio.shield(self._keep(changes))

    async def _keep(self, changes: Mapping[str, object]) -> None:
        async with self._lock:
            if self._failure is not None:
                raise self._failure
            record = msgspec.structs.replace(self.record, beat=self.record.beat + 1, **changes)
            sent_ms = self._pair.clock.now_ms()
            condition = IF_ABSENT if self._version is None else IfVersion(self._version)
            put = Put(OWN, msgspec.to_builtins(record), condition)
            try:
                (item,) = await self._home.write([put])
            except ConflictError as error:
                self._failure = MigrationError("another process took this migration over")
                raise self._failure from error
            assert item is not None
            self.record, self._version, self._beaten_ms = record, item.version, sent_ms

    async def moved(self) -> None:
        """Take the record along, after the migration began or its home has moved."""
        async with self._lock:
            state = (await self._pair.seen()).state
            await self._find(state)
        await self.keep(migration=state.migration)

    async def _beat_on(self) -> None:
        while True:
            await self._pair.sleep(self._pair.lease_seconds / 2)
            try:
                await self.keep()
            except MigrationError:
                return  # Whoever goes on by this run meets it.
            except StorageError:
                continue
