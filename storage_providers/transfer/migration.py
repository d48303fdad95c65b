"""Moving everything from one provider to another while programs go on using it.

The steps: **backup**, an archive of the source; **dual-write**, from which on writes reach both
sides; **backfill**, which copies what was there before; **verify**, which compares every document;
**cut-over**, after which the target is read; **clean-up**, which removes the source. Each may be
interrupted, by a kill too, and repeated; until clean-up every one can be rolled back. How far it is
is kept with the data, so any process goes on where another stopped.

Programs take part by using `DualWriteProvider` on the same two sides.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from os import PathLike, fspath
from typing import Any, Final, Self

import storage_providers
from storage_providers._clock import Clock, format_timestamp
from storage_providers.base import Provider
from storage_providers.errors import MigrationError, StorageError
from storage_providers.protocol import Clear
from storage_providers.providers._dual.membership import LEASE_SECONDS
from storage_providers.providers._dual.records import notes_of, remove, writers_of
from storage_providers.providers._dual.state import (
    Phase,
    Seen,
    Side,
)
from storage_providers.providers._hybrid.reporting import is_open
from storage_providers.transfer._migration.comparing import Comparison, Difference, verify
from storage_providers.transfer._migration.copying import Backfill, Backfilled, Problem
from storage_providers.transfer._migration.pair import Pair, Progress, Report, Step
from storage_providers.transfer._migration.planning import (
    DONE,
    CollectionPlan,
    MigrationPlan,
    SideCost,
    counts_of,
    plan,
)
from storage_providers.transfer._migration.reporting import (
    Cleaned,
    MigrationReport,
    MigrationStatus,
    StepReport,
    following_step,
)
from storage_providers.transfer._migration.running import Run
from storage_providers.transfer._migration.switching import (
    break_off,
    change_phase,
    switch_leader,
    writers_heard,
)
from storage_providers.transfer.archive import ArchiveManifest, export_archive

__all__ = [
    "Backfilled",
    "Cleaned",
    "CollectionPlan",
    "Comparison",
    "Difference",
    "Migration",
    "MigrationPlan",
    "MigrationReport",
    "MigrationStatus",
    "Problem",
    "Progress",
    "SideCost",
    "Step",
    "StepReport",
]


ATTEMPTS: Final = 3
"""How often `run` tries to cut over. Ours."""


class Migration:
    """Moves everything from one provider to another, step by step.

    A provider that is not open yet is opened and closed with this; an open one is borrowed.

    Args:
        source: Where documents come from.
        target: Where they go to.
        lease_seconds: As in `DualWriteProvider`; the same in every process.
        on_progress: Told how far each step is.
        sleep: Waits; tests pass their own.
        clock: Time; without, the source's.

    Raises:
        ConfigurationError: Neither side can compare and set, or both are one.
    """

    def __init__(
        self,
        *,
        source: Provider,
        target: Provider,
        lease_seconds: float = LEASE_SECONDS,
        on_progress: Report | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Clock | None = None,
    ) -> None:
        self._pair = Pair(
            source,
            target,
            lease_seconds=lease_seconds,
            sleep=sleep,
            clock=clock,
            report=on_progress,
        )
        self._run = Run(self._pair)
        self._opened = contextlib.AsyncExitStack()
        self._is_held = False
        self._steps: list[StepReport] = []

    @property
    def source(self) -> Provider:
        """Where documents come from."""
        return self._pair.source

    @property
    def target(self) -> Provider:
        """Where they go to."""
        return self._pair.target

    @property
    def steps(self) -> list[StepReport]:
        """The steps that this object took, in order, with what each found."""
        return list(self._steps)

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            for side in (self._pair.source, self._pair.target):
                if not is_open(side):
                    await stack.enter_async_context(side)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._opened.aclose()

    @asynccontextmanager
    async def _held(self) -> AsyncGenerator[Seen]:
        """Be the one runner, and know the state."""
        if self._is_held:
            yield await self._pair.seen()
            return
        async with self._run.held():
            self._is_held = True
            try:
                yield await self._pair.seen()
            finally:
                self._is_held = False

    @contextlib.contextmanager
    def _taking(self, step: Step) -> Generator[dict[str, Any]]:
        """Keep that a step was taken, with what is put into the dictionary."""
        clock, found = self._pair.clock, dict[str, Any]()
        began_ms = clock.now_ms()
        try:
            yield found
        except BaseException as error:
            found["error"] = type(error).__name__
            raise
        finally:
            seconds = (clock.now_ms() - began_ms) / 1000
            began_at = format_timestamp(began_ms)
            self._steps.append(StepReport(step=step, began_at=began_at, seconds=seconds, **found))

    # --- looking -------------------------------------------------------------------------------

    async def status(self) -> MigrationStatus:
        """Where the migration is.

        Raises:
            StorageError: A side can't be reached.
        """
        state = (await self._pair.seen()).state
        record = await Run(self._pair).load()
        home = self._pair.home(state)
        position, verified = record.position, record.verified
        is_current = position is not None and position.begun == state.begun
        complete = is_current and position is not None and position.complete
        alike = verified is not None and verified.epoch == state.epoch
        return MigrationStatus(
            migration=state.migration,
            phase=state.phase,
            leader=state.leader,
            live=state.live,
            changed_at=state.changed_at,
            backup=record.backup,
            copied=position.documents if is_current and position is not None else 0,
            copy_complete=complete,
            verified_at=verified.at if alike and verified is not None else None,
            writers=sum(writer.active for writer in await writers_of(home)),
            to_settle=len([note async for note in notes_of(home)]),
            running=record.runner is not None,
            following=following_step(state, complete=complete, alike=alike),
        )

    async def plan(self, *, allow_documents: bool = False) -> MigrationPlan:
        """What the migration would do; nothing is written.

        Args:
            allow_documents: Whether the target may hold documents already.

        Raises:
            StorageError: A side can't be reached.
        """
        state = (await self._pair.seen()).state
        return await plan(self._pair, state, begun=allow_documents or bool(state.migration))

    async def report(self) -> MigrationReport:
        """What this object did, and where the migration is; also after a side has failed."""
        status: MigrationStatus | None = None
        with contextlib.suppress(StorageError):
            status = await self.status()
        return MigrationReport(
            source=self.source.name,
            target=self.target.name,
            sdk_version=storage_providers.__version__,
            steps=list(self._steps),
            status=status,
        )

    # --- the steps -----------------------------------------------------------------------------

    async def run(
        self,
        *,
        backup: str | PathLike[str] | None = None,
        allow_documents: bool = False,
        repair: bool = False,
        rate: float | None = None,
        cut_over: bool = True,
    ) -> MigrationStatus:
        """Take every step that is left, up to the cut-over.

        Args:
            backup: The archive to make before anything moves; `None`: none.
            allow_documents: Whether the target may hold documents already.
            repair: Whether differences are repaired at the target, and compared once more.
            rate: Documents copied a second at most; `None`: as many as it goes.
            cut_over: Whether the target is to be read in the end.

        Returns:
            Where the migration is then.

        Raises:
            MigrationError: The target holds documents already, the sides differ, or another
                process is at it. What was done until then stands.
            StorageError: A side failed; likewise.
        """
        async with self._held() as seen:
            await break_off(self._pair, seen)
            if (await self._pair.seen()).state.phase == "source":
                if backup is not None:
                    await self.backup(backup)
                await self.start_dual_write(allow_documents=allow_documents)
            if (await self._pair.seen()).state.phase == "dual":
                await self.backfill(rate=rate)
                await self._verified(repair=repair)
                if cut_over:
                    await self._cut_over_at_last(repair=repair)
        return await self.status()

    async def _cut_over_at_last(self, *, repair: bool) -> None:
        """Cut over; where writers came in between, compare once more and try again."""
        for attempt in range(ATTEMPTS):
            try:
                return await self.cut_over()
            except MigrationError:
                phase = (await self._pair.seen()).state.phase
                if attempt == ATTEMPTS - 1 or phase != "dual":
                    raise
                await self._verified(repair=repair)
        return None

    async def _verified(self, *, repair: bool) -> None:
        found = await self.verify(repair=repair)
        if repair and found.repaired:
            found = await self.verify()
        if found.difference_count:
            raise MigrationError(
                f"{found.difference_count} documents differ ({found.unreadable_count} of them "
                "can't be read at the source); look at them with verify, repair them, then resume"
            )

    async def backup(
        self, path: str | PathLike[str], *, overwrite: bool = False
    ) -> ArchiveManifest:
        """Export everything that the leading side holds to an archive with checksums.

        Args:
            path: The archive to write.
            overwrite: Whether one of this name is replaced.

        Raises:
            InvalidArgumentError: The file exists.
            StorageError: The side failed, or the file can't be written.
        """
        async with self._held() as seen:
            side = self._pair.side(seen.state.leader)

            def tell(done: int) -> None:
                self._pair.tell(Progress(step="backup", done=done, total=total))

            with self._taking("backup") as found:
                total = await self._total(side)
                manifest = await export_archive(side, path, overwrite=overwrite, on_progress=tell)
                found["backup"] = (fspath(path), manifest.count)
            await self._run.keep(backup=fspath(path))
        return manifest

    async def start_dual_write(self, *, allow_documents: bool = False) -> None:
        """Have every writer write both sides from here on; returns when each of them does.

        Args:
            allow_documents: Whether the target may hold documents already.

        Raises:
            MigrationError: It is begun already, is done, or the target holds documents.
        """
        async with self._held() as seen:
            self._expect(seen, "source")
            found = await plan(
                self._pair, seen.state, begun=allow_documents or bool(seen.state.migration)
            )
            if found.obstacles:
                raise MigrationError("; ".join(found.obstacles))
            self._pair.tell(Progress(step="dual-write", detail="waiting for writers"))
            with self._taking("dual-write"):
                await change_phase(self._pair, seen, "dual")
                await self._run.moved()
                await self._pair.sleep(self._pair.staleness_seconds)

    async def backfill(self, *, rate: float | None = None) -> Backfilled:
        """Copy what was at the source before; goes on where an earlier run stopped.

        Args:
            rate: Documents a second at most; `None`: as many as it goes.

        Returns:
            What was copied in this run, and what the target does not take.

        Raises:
            MigrationError: Writes do not reach both sides yet, or another process is at it.
            StorageError: A side failed; what was copied stays.
        """
        async with self._held() as seen:
            self._expect(seen, "dual")
            position = self._run.record.position
            if position is not None and position.begun == seen.state.begun and position.complete:
                return Backfilled()
            with self._taking("backfill") as found:
                # An earlier runner may have died before every writer wrote to both sides.
                await writers_heard(self._pair, seen, acknowledged=True)
                names = await self._pair.source.collections()
                total = await self._total(self._pair.source, names)
                copy = Backfill(self._pair, self._run, seen.state, names, total=total, rate=rate)
                found["backfilled"] = copy.result
                return await copy.copy()

    async def verify(self, *, repair: bool = False) -> Comparison:
        """Compare every document of both sides.

        Args:
            repair: Whether the side that does not lead is brought to where the other is. What it
                alone has is removed from it.

        Returns:
            What differs.

        Raises:
            MigrationError: The sides are not kept alike in this phase, or another process is at it.
            StorageError: A side failed.
        """
        async with self._held() as seen:
            self._expect(seen, "dual", "target")
            with self._taking("verify") as taken:
                total = await self._total(self._pair.side(seen.state.leader))
                found, verified = await verify(self._pair, seen, repair=repair, total=total)
                taken["compared"] = found
            await self._run.keep(verified=verified)
        return found

    async def _total(self, side: Provider, names: Sequence[str] | None = None) -> int | None:
        """How many documents a side holds; not asked where nobody looks at the progress."""
        if not self._pair.is_watched:
            return None
        names = await side.collections() if names is None else names
        return sum((await counts_of(side, names)).values())

    async def cut_over(self) -> None:
        """Have the target lead: it is read, and the source is kept as it is.

        Writers wait meanwhile, for about a lease.

        Raises:
            MigrationError: The sides were not found alike in this phase, or a writer ended without
                a word since.
        """
        async with self._held() as seen:
            self._expect(seen, "dual")
            await self._switch(seen, "cut-over", "target", "target")

    async def roll_back(self, *, repair: bool = False) -> None:
        """Go back one step: the source leads again, or writes reach the source alone.

        Args:
            repair: From the phase `target`: whether differences are repaired at the source.

        Raises:
            MigrationError: There is nothing to go back to, or the sides differ.
        """
        async with self._held() as seen:
            self._expect(seen, "switching", "dual", "target")
            if seen.state.phase == "switching":
                await break_off(self._pair, seen)
            elif seen.state.phase == "dual":
                self._pair.tell(Progress(step="roll-back", detail="waiting for writers"))
                with self._taking("roll-back"):
                    await change_phase(self._pair, seen, "source")
            else:
                await self._verified(repair=repair)
                await self._switch(seen, "roll-back", "dual", "source")

    async def _switch(self, seen: Seen, step: Step, phase: Phase, leader: Side) -> None:
        verified = self._run.record.verified
        if verified is None or verified.epoch != seen.state.epoch:
            raise MigrationError("the sides were not found alike in this phase yet; verify first")
        self._pair.tell(Progress(step=step, detail="waiting for writers"))
        known = frozenset((writer, beat) for writer, beat in verified.silent)
        with self._taking(step):
            await switch_leader(self._pair, seen, phase, leader, known)
            await self._run.moved()

    async def clean_up(self) -> Cleaned:
        """End the migration, and remove every document from the source. There is no way back.

        Raises:
            MigrationError: The target does not lead, or the sides were not found alike since it
                does.
            StorageError: A side failed; call it again.
        """
        async with self._held() as seen:
            self._expect(seen, "target", "done")
            if seen.state.phase == "target":
                verified = self._run.record.verified
                if verified is None or verified.epoch != seen.state.epoch:
                    raise MigrationError(
                        "the sides were not found alike since the target leads; verify first"
                    )
                await change_phase(self._pair, seen, "done")
            await self._pair.states.tell_source((await self._pair.seen()).state)
            with self._taking("clean-up") as found:
                found["cleaned"] = cleaned = await self._emptied(self._pair.source)
            return cleaned

    async def _emptied(self, source: Provider) -> Cleaned:
        names = await source.collections()
        counts = await counts_of(source, names)
        done, total = 0, sum(counts.values())
        for name in names:
            await source.write([Clear(name)])
            done += counts[name]
            self._pair.tell(Progress(step="clean-up", done=done, total=total, detail=name))
        for side in (source, self._pair.target):
            await remove(side, [note.id async for note in notes_of(side)])
            await remove(side, [writer.id for writer in await writers_of(side)])
        return Cleaned(collections=len(names), documents=total)

    def _expect(self, seen: Seen, *phases: Phase) -> None:
        phase = seen.state.phase
        if phase == "done" and phase not in phases:
            raise MigrationError(DONE)
        if phase not in phases:
            raise MigrationError(
                f"the migration is in the phase {phase!r}, this step is for "
                f"{' or '.join(map(repr, phases))}"
            )
