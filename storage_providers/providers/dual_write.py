"""Two providers as one while documents move from the first to the second."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import ClassVar, Final, Literal, TypeAlias, TypeVar

import msgspec

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.errors import (
    ConfigurationError,
    InvalidArgumentError,
    OutcomeUnknownError,
    StorageError,
    TransportError,
)
from storage_providers.maintenance import Check
from storage_providers.protocol import (
    Address,
    Capabilities,
    CollectionSpec,
    Item,
    ItemVersion,
    Page,
    Query,
    VersionPage,
    Write,
)
from storage_providers.providers._dual.following import (
    Following,
    address_of,
    differences,
    results_of,
)
from storage_providers.providers._dual.membership import LEASE_SECONDS, Grant, Membership
from storage_providers.providers._dual.state import MigrationState, Phase, Side, StateStore
from storage_providers.providers._hybrid.labels import (
    labelled,
    labelled_error,
    labelled_page,
    labelled_result,
    to_side,
)
from storage_providers.providers._hybrid.reporting import check_side, is_open, together
from storage_providers.providers._hybrid.sending import Result, Results, joined

__all__ = ["DualWriteProvider", "DualWriteStatus", "FollowerWrites"]

T = TypeVar("T")

FollowerWrites: TypeAlias = Literal["primary_first", "all_or_report"]

LABELS: Final[dict[Side, str]] = {"source": "s.", "target": "t."}
"""What versions and cursors begin with: the side they are of."""

MEND_SECONDS: Final = 5.0
"""How long a follower that did not take something is left alone. Ours."""


class DualWriteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far the move is, and what this process has seen of it.

    Attributes:
        phase: `source`: nothing is moved. `dual`: both are written, the source is read.
            `switching`: no writes for a moment. `target`: both are written, the target is read.
            `done`: only the target is used.
        epoch: Grows with every change of the phase.
        leader: The side that is read.
        takes_writes: Whether programs may write in this phase.
        in_doubt: Documents that the other side may not have as the leader does; they are brought
            over at the next chance, and before the leader changes.
        shadow_reads: Documents that were read from both sides to compare them.
        shadow_differences: Of these, those that differed, and did so when looked at again.
    """

    phase: Phase
    epoch: int
    leader: Side
    takes_writes: bool
    in_doubt: int
    shadow_reads: int
    shadow_differences: int


class DualWriteProvider(Provider):
    """Reads one side and writes both, as the phase of a migration says.

    Before a migration and without one it is the source. While one is under way writes go to the
    side that leads, then to the other; afterwards it is the target. The phase is kept with the
    data, so every process that opens these two sides sees it, and `Migration` changes it while
    they run. A process that is late learns so before it says that a write is done.

    A provider that is not open yet is opened and closed with this one; an open one is borrowed.

    Args:
        source: The side that documents come from.
        target: The side that they go to.
        follower_writes: `primary_first`: a write is done when the leading side has it; what the
            other did not take is brought over later. `all_or_report`: then
            `OutcomeUnknownError` is raised as well, though the leading side has it.
        shadow_reads: Share of the reads that are made at both sides to compare them, 0 to 1.
        lease_seconds: How long a phase that was read is gone by. The same in all processes.
        sleep: Waits; tests pass their own.
        clock: Time; without, the source's.

    Raises:
        ConfigurationError: An argument is out of range, both sides are one, or neither can compare
            and set.
    """

    name: ClassVar[str] = "dual-write"

    def __init__(
        self,
        *,
        source: Provider,
        target: Provider,
        follower_writes: FollowerWrites = "primary_first",
        shadow_reads: float = 0.0,
        lease_seconds: float = LEASE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock=source.clock if clock is None else clock)
        _check_arguments(source, target, follower_writes, shadow_reads, lease_seconds)
        self._sides: dict[Side, Provider] = {"source": source, "target": target}
        self._reports = follower_writes == "all_or_report"
        self._share = shadow_reads
        self._states = StateStore(source, target, self.clock)
        self._membership = Membership(
            self._states,
            clock=self.clock,
            lease_seconds=lease_seconds,
            sleep=sleep,
            settle=self._settle_doubts,
        )
        doubts: dict[Address, None] = {}
        self._following: dict[Side, Following] = {
            "source": Following(source, target, self.clock, doubts),
            "target": Following(target, source, self.clock, doubts),
        }
        self._doubts = doubts
        self._mended_ms: int | None = None
        self._opened: list[Provider] = []
        self._shadowed = 0
        self._differed = 0

    @property
    def source(self) -> Provider:
        """The side that documents come from."""
        return self._sides["source"]

    @property
    def target(self) -> Provider:
        """The side that they go to."""
        return self._sides["target"]

    @property
    def sides(self) -> dict[str, Provider]:
        """Both, by what they are called."""
        return {"source": self.source, "target": self.target}

    @property
    def lease_seconds(self) -> float:
        """How long a phase that was read is gone by."""
        return self._membership.lease_seconds

    @property
    def capabilities(self) -> Capabilities:
        """What both sides give together; batches are never atomic."""
        return together(self._sides["source"].capabilities, self._sides["target"].capabilities)

    def __repr__(self) -> str:
        return f"DualWrite({self._sides['source']!r}, {self._sides['target']!r})"

    # --- lifetime ------------------------------------------------------------------------------

    async def _connect(self) -> None:
        try:
            for side in self._sides.values():
                if not is_open(side):
                    await side.connect()
                    self._opened.append(side)
            await self._membership.look()
        except BaseException:
            await self._close_sides()
            raise

    async def _disconnect(self) -> None:
        try:
            await self._membership.close()
        finally:
            await self._close_sides()

    async def _close_sides(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            while self._opened:
                stack.push_async_callback(self._opened.pop(0).disconnect)

    # --- reads ---------------------------------------------------------------------------------

    async def _ask(self, ask: Callable[[Side], Awaitable[T]]) -> T:
        """The answer of the side that leads, as long as it does."""
        while True:
            side = (await self._membership.state()).leader
            with _of_side(side):
                answer = await ask(side)
            if await self._membership.leads(side):
                return answer

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        return await self._ask(lambda side: self._read_from(side, addresses))

    async def _read_from(self, side: Side, addresses: Sequence[Address]) -> list[Item | None]:
        items = await self._sides[side].read(addresses)
        state = self._membership.known
        follows = state is not None and state.follows
        if self._share and follows and self.clock.jitter() < self._share:
            await self._compare(side, addresses)
        return [None if item is None else labelled(item, LABELS[side]) for item in items]

    async def _compare(self, side: Side, addresses: Sequence[Address]) -> None:
        """Count what the sides hold otherwise, and still do when they are looked at again."""
        pair = self._following[side]
        left = list(addresses)
        with contextlib.suppress(TransportError):
            for _ in range(2):
                ours = await results_of(pair.leader, left)
                left = differences(ours, await results_of(pair.follower, left))
                if not left:
                    break
            self._shadowed += len(addresses)
            self._differed += len(left)

    # --- writes --------------------------------------------------------------------------------

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        async with self._membership.writing() as grant:
            leader, label = grant.state.leader, LABELS[grant.state.leader]
            sent = [to_side(write, label) for write in batch]
            following = self._under(grant)
            write = following.write if grant.state.follows else following.lead
            with _of_side(leader):
                results = await write(sent)
            results = [
                labelled_result(write, each, label)
                for write, each in zip(batch, results, strict=True)
            ]
            await self._confirm(grant, batch, results)
            if self._doubts and grant.state.follows:
                await self._mend(following)
                self._report(batch, results)
        return joined(results)

    def _report(self, batch: Sequence[Write], results: Results) -> None:
        """Say of which writes the follower lacks what the leader has, if that is asked for."""
        if not self._reports:
            return
        for position, write in enumerate(batch):
            lacks = address_of(write) in self._doubts
            if lacks and not isinstance(results[position], StorageError):
                results[position] = OutcomeUnknownError(
                    "the leading side has the write, the other could not take it; it is brought "
                    "over at the next chance"
                )

    async def _confirm(self, grant: Grant, batch: Sequence[Write], results: Results) -> None:
        """Bring what landed to where the migration is now, if it went on without this process."""
        named = [address_of(write) for write in batch]
        was = grant.state.leader
        try:
            doubt = self._following[was].doubt
            now = await self._membership.confirm(grant, lambda: doubt(named))
            if now is None:
                return
            following = self._under(now)
            if now.state.follows or now.state.leader != was:
                await following.bring_anew(named)
            if now.state.leader == was:
                return
            there = await results_of(following.leader, [each for each in named if each.id])
        except StorageError as error:
            for position, result in enumerate(results):
                if not isinstance(result, StorageError):
                    results[position] = _overtaken(error)
            return
        for position, (address, result) in enumerate(zip(named, results, strict=True)):
            if not isinstance(result, StorageError):
                results[position] = _as_now(result, there.get(address), LABELS[now.state.leader])

    def _under(self, grant: Grant) -> Following:
        """What brings the follower on, as long as a grant holds."""
        membership = self._membership
        return self._following[grant.state.leader].under(lambda: membership.guard(grant))

    async def _mend(self, following: Following) -> None:
        """Try to bring over what the follower did not take."""
        since = self._mended_ms
        now_ms = self.clock.now_ms()
        if since is None or not 0 <= now_ms - since < MEND_SECONDS * 1000:
            self._mended_ms = now_ms
            with contextlib.suppress(StorageError):
                await following.mend()

    async def _settle_doubts(self) -> None:
        """Note what is in doubt, before this process says that it has ended its writes."""
        state = self._membership.known
        if state is not None and self._doubts:
            await self._following[state.leader].note_doubts()

    # --- queries -------------------------------------------------------------------------------

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        if all(query.cursor is None for query in queries):
            return await self._ask(lambda side: self._query_at(side, queries))
        state = await self._membership.state()
        return [
            (await self._query_at(_side_of(query.cursor, state, query.collection), [query]))[0]
            for query in queries
        ]

    async def _query_at(self, side: Side, queries: Sequence[Query]) -> list[Page]:
        label = LABELS[side]
        asked = [
            msgspec.structs.replace(query, cursor=_without(label, query.cursor))
            for query in queries
        ]
        return [labelled_page(page, label) for page in await self._sides[side].query(asked)]

    async def _versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage:
        state = await self._membership.state()
        side = _side_of(cursor, state, collection)
        label = LABELS[side]
        page = await self._sides[side].versions(collection, _without(label, cursor), limit)
        return VersionPage(
            entries=[ItemVersion(each.id, label + each.version) for each in page.entries],
            cursor=None if page.cursor is None else label + page.cursor,
        )

    # --- collections ---------------------------------------------------------------------------

    async def _collections(self, scope: str | None) -> list[str]:
        return await self._ask(lambda side: self._sides[side].collections(scope))

    async def _declare(self, spec: CollectionSpec) -> None:
        state = await self._membership.state()
        await self._sides[state.leader].declare(spec)
        if state.follows:
            await self._sides[state.follower].declare(spec)

    async def _declared(self, collection: str) -> CollectionSpec | None:
        return await self._ask(lambda side: self._sides[side].declared(collection))

    # --- upkeep --------------------------------------------------------------------------------

    async def status(self) -> DualWriteStatus:
        """How far the migration is, and what this process has seen of it.

        Raises:
            StorageError: The phase can't be read.
        """
        self._check_open("status")
        with self._context("status"):
            state = await self._membership.look()
        return DualWriteStatus(
            phase=state.phase,
            epoch=state.epoch,
            leader=state.leader,
            takes_writes=state.takes_writes,
            in_doubt=len(self._doubts),
            shadow_reads=self._shadowed,
            shadow_differences=self._differed,
        )

    async def checks(self, *, write: bool = True) -> list[Check]:
        """Check both sides, and say how far the migration is.

        Args:
            write: Whether writing and removing may be tried.
        """
        self._check_open("checks")
        checks = await check_side("source", self._sides["source"], write=write)
        checks += await check_side("target", self._sides["target"], write=write)
        status = await self.status()
        detail = f"phase {status.phase}, the {status.leader} is read"
        advice = None
        if status.phase == "switching":
            advice = "no writes are taken; if it stays so, run: storage-providers migrate resume"
        elif not status.takes_writes:
            advice = "no writes are taken until it is cleaned up or rolled back"
        return [*checks, Check(name="migration", ok=True, detail=detail, advice=advice)]

    async def forget(self, collection: str) -> list[str]:
        """Say what the migration may still know of a collection that both sides have erased.

        Args:
            collection: Name of the collection, with its scope.

        Returns:
            A sentence, while both sides are written.

        Raises:
            StorageError: The phase can't be read.
        """
        self._check_open("forget")
        with self._context("forget"):
            state = await self._membership.look()
        if not state.follows:
            return []
        return [
            "the migration's notes keep ids of removed documents until it is cleaned up or rolled "
            "back"
        ]


# --- helpers -----------------------------------------------------------------------------------


def _check_arguments(
    source: Provider,
    target: Provider,
    follower_writes: str,
    shadow_reads: float,
    lease_seconds: float,
) -> None:
    if source is target:
        raise ConfigurationError("source and target are the same provider; use two")
    if follower_writes not in ("primary_first", "all_or_report"):
        raise ConfigurationError(
            f"follower_writes is {follower_writes!r}; use 'primary_first' or 'all_or_report'"
        )
    if not 0 <= shadow_reads <= 1:
        raise ConfigurationError(f"shadow_reads is {shadow_reads}; it is a share, from 0 to 1")
    if not 0 < lease_seconds <= 3600:
        raise ConfigurationError(
            f"lease_seconds is {lease_seconds}; it is more than 0 and at most 3600"
        )


@contextlib.contextmanager
def _of_side(side: Side) -> Generator[None]:
    """Give versions in errors the label of their side."""
    try:
        yield
    except StorageError as error:
        labelled_error(error, None, LABELS[side])
        raise


def _overtaken(cause: BaseException | None = None) -> OutcomeUnknownError:
    error = OutcomeUnknownError(
        "the migration went on while this write was under way; read before repeating"
    )
    error.__cause__ = cause
    return error


def _as_now(result: Item | None, there: Result, label: str) -> Result:
    """The result of a write, if the side that leads now has it."""
    if isinstance(there, StorageError):
        return _overtaken(there)
    if result is None or there is None:
        return None if result is there else _overtaken()
    same = result.body == there.body and result.payload == there.payload
    return labelled(there, label) if same else _overtaken()


def _side_of(cursor: str | None, state: MigrationState, collection: str) -> Side:
    """The side that a listing goes on at: the one it was begun at, while that is kept up."""
    if cursor is None:
        return state.leader
    for side, label in LABELS.items():
        if cursor.startswith(label) and (side == state.leader or state.follows):
            return side
    raise InvalidArgumentError(
        "the cursor is damaged, or of a side that is not used any more; begin again without one",
        collection=collection,
    )


def _without(label: str, cursor: str | None) -> str | None:
    return None if cursor is None else cursor.removeprefix(label)
