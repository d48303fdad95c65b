"""Two providers as one: the primary, and a fallback that stands in while it can't be reached."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Final, TypeVar

import msgspec

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.conflicts import (
    ConflictRecord,
    Policy,
    PolicyName,
    Side,
)
from storage_providers.errors import (
    InvalidArgumentError,
    ItemNotFoundError,
    StorageError,
    TransportError,
)
from storage_providers.maintenance import Check, Provision, error_name
from storage_providers.protocol import (
    Address,
    Capabilities,
    Clear,
    CollectionSpec,
    Item,
    ItemVersion,
    Page,
    Query,
    VersionPage,
    Write,
)
from storage_providers.providers._hybrid.arguments import checked_journal
from storage_providers.providers._hybrid.background import BackgroundReplay
from storage_providers.providers._hybrid.degraded import Degraded, DegradedWrites
from storage_providers.providers._hybrid.effects import PRIMARY
from storage_providers.providers._hybrid.filling import Filled, adopt, fill
from storage_providers.providers._hybrid.journal import Journal
from storage_providers.providers._hybrid.labels import (
    cursor_of_primary,
    from_primary,
    is_of_fallback,
    labelled_error,
    labelled_page,
    old_cursor,
    query_of_primary,
)
from storage_providers.providers._hybrid.link import Link
from storage_providers.providers._hybrid.metrics import METRICS, Counter, HybridCounts, Metric
from storage_providers.providers._hybrid.mirror import Mirror
from storage_providers.providers._hybrid.replay import Replay
from storage_providers.providers._hybrid.reporting import (
    HybridEvent,
    HybridStatus,
    Listener,
    check_copies,
    check_journal,
    check_side,
    is_open,
    provision_sides,
    together,
)
from storage_providers.providers._hybrid.sending import (
    Results,
    joined,
)
from storage_providers.providers._hybrid.through import write_through
from storage_providers.providers._hybrid.undoing import bring_back

__all__ = [
    "METRICS",
    "Filled",
    "HybridCounts",
    "HybridEvent",
    "HybridProvider",
    "HybridStatus",
    "Metric",
    "is_open",
]

T = TypeVar("T")

RETRY_SECONDS: Final = 5.0
"""How long the primary is left alone after it could not be reached. Ours."""


class HybridProvider(Provider):
    """Answers from a primary, and from a fallback while the primary can't be reached.

    What the primary answers or takes is mirrored to the fallback. When the primary can't be reached
    (`TransportError`; never a conflict, a missing document or a bad request), the fallback answers
    what it holds, and takes writes that ask for no condition into a journal on disk. They are
    replayed when the primary is back, in order, each only where the document is as it was; a change
    made elsewhere meanwhile is a conflict, settled by `policy` and kept in a log.

    While degraded, what the fallback does not hold raises the primary's error, as do queries, until
    `fill` has made the fallback complete.

    A provider that is not open yet is opened and closed with this one; an open one is borrowed.

    Args:
        primary: The provider that counts.
        fallback: The one that stands in; its documents are the hybrid's alone.
        journal: File of the journal, made when it is not there. It belongs to these two sides;
            several processes with the same sides share it.
        policy: Settles conflicts: `merge`, `newest`, `primary`, `fallback`, `keep_both`, or a
            function of a `Conflict`.
        degraded_writes: `unconditional`: while degraded, writes with a condition raise the
            primary's error. `journal`: conditions are judged by what the fallback holds.
        retry_seconds: How long the primary is left alone after it could not be reached.
        adopt_fallback: Take over what the fallback holds already when the journal is new: where
            the primary has something else, it is replaced, and what the primary lacks is removed.
            Without, such a fallback is refused.
        on_event: Told what happens. What it raises is logged by name and changes nothing.
        sleep: Waits between attempts to replay in the background; tests pass their own.
        clock: Time; without, the primary's.

    Raises:
        ConfigurationError: An argument is out of range, or both sides are one.
    """

    name: ClassVar[str] = "hybrid"

    def __init__(
        self,
        *,
        primary: Provider,
        fallback: Provider,
        journal: str | os.PathLike[str],
        policy: PolicyName | Policy = "merge",
        degraded_writes: DegradedWrites = "unconditional",
        retry_seconds: float = RETRY_SECONDS,
        adopt_fallback: bool = False,
        on_event: Callable[[HybridEvent], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock=primary.clock if clock is None else clock)
        path = checked_journal(primary, fallback, journal, policy, retry_seconds)
        self._primary = primary
        self._fallback = fallback
        self._adopt_fallback = adopt_fallback
        self._counter = Counter()
        self._listener = Listener(on_event, self._counter)
        self._journal = Journal(path)
        self._mirror = Mirror(fallback, self._journal)
        self._degraded = Degraded(self, fallback, self._journal, self._mirror, degraded_writes)
        self._replay = Replay(
            primary,
            self._journal,
            self._mirror,
            policy=policy,
            clock=self.clock,
            on_conflict=self._listener.tell_conflict,
        )
        self._link = Link(self._replay, fallback, self._listener, retry_seconds)
        self._background = BackgroundReplay(self._link, self._journal, retry_seconds, sleep)

    @property
    def primary(self) -> Provider:
        """The side that counts."""
        return self._primary

    @property
    def fallback(self) -> Provider:
        """The side that stands in."""
        return self._fallback

    @property
    def sides(self) -> dict[str, Provider]:
        """Both, by what they are called."""
        return {"primary": self._primary, "fallback": self._fallback}

    @property
    def journal(self) -> str:
        """The file of the journal."""
        return self._journal.path

    @property
    def capabilities(self) -> Capabilities:
        """What both sides give together; batches are never atomic."""
        return together(self._primary.capabilities, self._fallback.capabilities)

    def __repr__(self) -> str:
        return f"Hybrid({self._primary!r}, {self._fallback!r})"

    # --- lifetime ------------------------------------------------------------------------------

    async def _connect(self) -> None:
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(self._link.close)
            await self._link.open(self._fallback)
            await self._journal.open()
            undo.push_async_callback(self._journal.close)
            await adopt(self._fallback, self._journal, anyway=self._adopt_fallback)
            await self._link.reach()
            await self._degraded.restore()
            if await self._journal.is_pending():
                self._background.start()
            undo.pop_all()

    async def _disconnect(self) -> None:
        await self._background.stop()
        try:
            if self._mirror.has_doubts_unnoted:
                await self._mirror.doubts()
            await self._journal.close()
        finally:
            await self._link.close()

    # --- reads ---------------------------------------------------------------------------------

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        tick = self._mirror.tick
        try:
            items = await self._link.ask(lambda: self._primary.read(addresses))
        except StorageError as error:
            labelled_error(error)
            raise
        if isinstance(items, StorageError):
            return joined(self._answered("reads", await self._degraded.read(addresses, items)))
        await self._mirror.copy(list(zip(addresses, items, strict=True)), tick)
        return [from_primary(item) for item in items]

    async def _read_primary(self, addresses: Sequence[Address]) -> list[Item | None]:
        """What the primary says, or its error."""
        items = await self._link.ask(lambda: self._primary.read(addresses))
        if isinstance(items, StorageError):
            raise items
        return [from_primary(item) for item in items]

    # --- writes --------------------------------------------------------------------------------

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        ready = await self._link.ready()
        clears = any(isinstance(write, Clear) for write in batch)
        named = [
            Address(write.collection, write.id) for write in batch if not isinstance(write, Clear)
        ]
        async with self._mirror.writing(named, everything=clears):
            # Another task, or process, may have had to use the journal since.
            results: Results
            if ready and not await self._journal.is_pending():
                results = await write_through(self._primary, self._link, self._mirror, batch)
            else:
                results = [self._link.outage()] * len(batch)
            lost = {
                position: result
                for position, result in enumerate(results)
                if isinstance(result, TransportError)
            }
            if lost:
                await self._take(batch, lost, results)
        return joined(results)

    async def _take(
        self, batch: Sequence[Write], lost: dict[int, TransportError], results: Results
    ) -> None:
        """Have the fallback take what the primary could not be given."""
        positions = list(lost)
        taken = await self._degraded.write(
            [batch[position] for position in positions],
            {index: lost[position] for index, position in enumerate(positions)},
        )
        for position, result in zip(positions, taken, strict=True):
            results[position] = result
        self._answered(None, taken)
        count = sum(not isinstance(result, StorageError) for result in taken)
        if count:
            self._listener.tell(HybridEvent("journaled", count))
            self._background.start()

    # --- queries -------------------------------------------------------------------------------

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        if any(is_of_fallback(query.cursor) for query in queries):
            # What an outage began is ended where it began, outage or not.
            return [await self._continue(query) for query in queries]
        tick = self._mirror.tick
        pages = await self._link.ask(
            lambda: self._primary.query([query_of_primary(query) for query in queries])
        )
        if isinstance(pages, StorageError):
            return await self._asked(len(queries), self._degraded.query(queries, pages))
        found = [
            (Address(query.collection, item.id), item)
            for query, page in zip(queries, pages, strict=True)
            if query.fields is None
            for item in page.items
        ]
        await self._mirror.copy(found, tick)
        return [labelled_page(page) for page in pages]

    async def _continue(self, query: Query) -> Page:
        if is_of_fallback(query.cursor):
            error = old_cursor(query.collection)
            return (await self._asked(1, self._degraded.query([query], error)))[0]
        return (await self._query([query]))[0]

    async def _versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage:
        if is_of_fallback(cursor):
            error = old_cursor(collection)
            return await self._asked(1, self._degraded.versions(collection, cursor, limit, error))
        page = await self._link.ask(
            lambda: self._primary.versions(collection, cursor_of_primary(cursor, collection), limit)
        )
        if isinstance(page, StorageError):
            return await self._asked(1, self._degraded.versions(collection, cursor, limit, page))
        entries = [ItemVersion(each.id, PRIMARY + each.version) for each in page.entries]
        following = None if page.cursor is None else PRIMARY + page.cursor
        return VersionPage(entries=entries, cursor=following)

    # --- counting ------------------------------------------------------------------------------

    async def _asked(self, count: int, answer: Awaitable[T]) -> T:
        """Count questions that the fallback is asked, by whether it answers."""
        try:
            found = await answer
        except TransportError:
            self._counter.add("unanswered", count)
            raise
        self._counter.add("queries", count)
        return found

    def _answered(self, name: str | None, results: Results) -> Results:
        """Count what became of requests for documents in an outage."""
        failed = sum(isinstance(result, TransportError) for result in results)
        self._counter.add("unanswered", failed)
        if name is not None:
            self._counter.add(name, len(results) - failed)
        return results

    # --- collections ---------------------------------------------------------------------------

    async def _collections(self, scope: str | None) -> list[str]:
        names = await self._link.ask(lambda: self._primary.collections(scope))
        if isinstance(names, StorageError):
            return await self._asked(1, self._degraded.collections(scope, names))
        return names

    async def _declare(self, spec: CollectionSpec) -> None:
        if not await self._link.ready():
            raise self._link.outage()
        # First where it can be done again: what the primary has declared is not declared twice.
        await self._fallback.declare(spec)
        failure = await self._link.ask(lambda: self._primary.declare(spec))
        if failure is not None:
            raise failure

    async def _declared(self, collection: str) -> CollectionSpec | None:
        spec = await self._link.ask(lambda: self._primary.declared(collection))
        if isinstance(spec, StorageError):
            return await self._fallback.declared(collection)
        return spec

    # --- upkeep --------------------------------------------------------------------------------

    async def status(self) -> HybridStatus:
        """How the two sides stand, without asking the primary.

        Raises:
            StorageError: The journal can't be read.
        """
        self._check_open("status")
        with self._context("status"):
            facts = await self._journal.facts()
        error = self._link.error
        degraded = error is not None or facts.pending > 0
        return HybridStatus(
            degraded=degraded,
            error=None if error is None else error_name(error),
            pending=facts.pending,
            oldest_pending_ms=facts.oldest_ms,
            complete=facts.filled_ms is not None,
            filled_ms=facts.filled_ms,
            doubts=facts.doubts,
            conflicts=facts.conflicts,
            refused=facts.refused,
            counts=self._counter.snapshot(),
        )

    async def checks(self, *, write: bool = True) -> list[Check]:
        """Check both sides and what stands between them.

        Args:
            write: Whether writing and removing may be tried.
        """
        self._check_open("checks")
        checks = await check_side("primary", self._primary, write=write)
        checks += await check_side("fallback", self._fallback, write=write)
        status = await self.status()
        return [*checks, check_journal(status), check_copies(status)]

    async def provision(self, *, dry_run: bool = False) -> list[Provision]:
        """Make what the services of both sides need; they need not be connected.

        Args:
            dry_run: Only look.

        Raises:
            PermissionDeniedError: The credentials do not allow it.
            TransportError: A service could not be reached.
        """
        return await provision_sides(self.sides, dry_run=dry_run)

    async def replay(self, *, on_progress: Callable[[int], None] | None = None) -> int:
        """Replay the whole journal now, whenever the primary was last tried.

        It is done without being asked, too: at every call, and in the background. It may be
        interrupted and repeated.

        Args:
            on_progress: Told after each step how many writes the primary got so far.

        Returns:
            How many writes the primary got.

        Raises:
            TransportError: The primary can't be reached, or another process is replaying; what it
                does not have yet stays in the journal.
            StorageError: The primary refuses as a whole, or the policy failed; likewise.
        """
        self._check_open("replay")
        with self._context("replay"):
            return await self._link.replay_all(on_progress)

    async def fill(self, *, on_progress: Callable[[int], None] | None = None) -> Filled:
        """Copy everything to the fallback, so that it answers queries and misses in an outage.

        It may be interrupted and repeated, and run while others read and write. What is changed at
        the primary past every hybrid, by other programs, is at the fallback once it is read or
        filled again.

        Args:
            on_progress: Told after each page how many documents were looked at so far.

        Returns:
            What was there and what was done.

        Raises:
            TransportError: The primary can't be reached, or a copy could not be made.
            StorageError: A side failed; the fallback is not complete.
        """
        self._check_open("fill")
        with self._context("fill"):
            if not await self._link.ready():
                raise self._link.outage()
            started_ms = self.clock.now_ms()
            filled = await fill(self._primary, self._fallback, self._mirror, on_progress)
            if await self._journal.is_pending():
                raise TransportError("an outage began meanwhile; fill again when it is over")
            await self._journal.set_filled(started_ms)
        return filled

    async def conflicts(self, *, after: int = 0, limit: int = 100) -> list[ConflictRecord]:
        """The log of conflicts, oldest first.

        Args:
            after: Only those with a larger number.
            limit: Most records to return, at least 1.

        Raises:
            InvalidArgumentError: `limit` is less than 1.
        """
        self._check_open("conflicts")
        with self._context("conflicts"):
            if limit < 1:
                raise InvalidArgumentError(f"limit is {limit}, the least is 1")
            return await self._journal.records(after, limit)

    async def undo_conflict(self, number: int, *, keep: Side) -> None:
        """Bring one side of a conflict back, in place of what the policy decided.

        Args:
            number: The conflict's number in the log.
            keep: The side whose document, or deletion, is to stand. Documents that the policy kept
                beside it are removed, unless they were changed.

        Raises:
            ItemNotFoundError: There is no such conflict.
            InvalidArgumentError: It was undone already, or is not settled yet.
            VersionMismatchError: The document was changed since; nothing was written.
            TransportError: The primary can't be reached.
        """
        self._check_open("undo_conflict")
        with self._context("undo_conflict"):
            found = await self._journal.records(number - 1, 1)
            if not found or found[0].number != number:
                raise ItemNotFoundError(f"there is no conflict {number} in the log")
            record = found[0]
            if record.state not in ("settled", "refused"):
                raise InvalidArgumentError(f"conflict {number} is {record.state}")
            await bring_back(self, self._read_primary, record, keep)
            await self._journal.finish((), [msgspec.structs.replace(record, state="undone")])

    async def forget(self, collection: str) -> list[str]:
        """Remove the conflicts of a collection that both sides have erased from the log.

        Args:
            collection: Name of the collection, with its scope.

        Returns:
            What the journal's file may still hold of it.

        Raises:
            TransportError: The primary lacks writes to it.
            StorageError: The journal can't be written.
        """
        self._check_open("forget")
        with self._context("forget"):
            pending = await self._journal.forget(collection)
            if pending:
                raise TransportError(f"the primary lacks {pending} writes; erase again with it")
        return [
            f"the journal {self.journal} keeps bytes of removed rows until they are overwritten; "
            f"`sqlite3 {self.journal} VACUUM` writes it anew without them"
        ]
