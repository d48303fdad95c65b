"""The backfill: everything that the source holds is copied, while programs go on writing.

A document is only created at the target, never replaced: one that is there already was written by a
program or by an earlier copy, and both sides are looked at again. So a copy never goes over a newer
document, and may be killed and repeated at any point. A document that is deleted while it is copied
is noted by whoever deletes it, and looked at again before the leader changes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from storage_providers import _checks
from storage_providers.base import Provider
from storage_providers.conflicts import Stored
from storage_providers.errors import (
    BatchError,
    ConflictError,
    InvalidArgumentError,
    OutcomeUnknownError,
    StorageError,
)
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    Address,
    Item,
    Page,
    Put,
    Query,
    check_collection,
    check_id,
)
from storage_providers.providers._dual.following import differences, results_of
from storage_providers.providers._dual.state import MigrationState
from storage_providers.resilience import map_bounded, stream_bounded
from storage_providers.transfer._migration.pair import Pair, Progress
from storage_providers.transfer._migration.running import Position, Run

__all__ = ["Backfill", "Backfilled", "Problem", "pages"]

FIRST_PAGE: Final = 100
MAX_PAGE: Final = 2000
PAGE_BYTES: Final = 4 * 1024 * 1024
"""Documents read and written at once. Ours: the first page shows how large they are."""

AHEAD: Final = 2
"""Pages read ahead of the writing, of each collection."""

PARALLEL: Final = 4
"""Collections copied at once."""

CHECKPOINT_SECONDS: Final = 10.0
"""How often is kept how far the copy is. What was copied since is copied again after a kill."""

PROBLEMS_KEPT: Final = 1000
"""Problems that are named one by one; more are counted."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A document, or a declaration, that the target does not get.

    Attributes:
        collection: Its collection.
        id: Its id; `None`: the declaration.
        reason: Why, without its content.
    """

    collection: str
    id: str | None
    reason: str


class Backfilled(msgspec.Struct, kw_only=True, rename="camel"):
    """What a copy did.

    Attributes:
        collections: Collections copied.
        documents: Documents looked at.
        copied: Of these, created at the target.
        there: Those that the target had already.
        problem_count: Those that it does not get.
        problems: Which, the first of them.
    """

    collections: int = 0
    documents: int = 0
    copied: int = 0
    there: int = 0
    problem_count: int = 0
    problems: list[Problem] = []

    def problem(self, collection: str, item_id: str | None, reason: object) -> None:
        """Note something that the target does not get."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(Problem(collection=collection, id=item_id, reason=str(reason)))


class _Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A page on its way: what was read, the cursor it began at, what is to be written."""

    page: Page
    began: str | None
    puts: dict[Address, Put]


async def pages(
    provider: Provider, collection: str, cursor: str | None = None
) -> AsyncGenerator[tuple[Page, str | None]]:
    """A collection in order of the ids, page by page, each with the cursor that it began at."""
    limit = FIRST_PAGE
    while True:
        (page,) = await provider.query([Query(collection, limit=limit, cursor=cursor)])
        yield page, cursor
        cursor = page.cursor
        if cursor is None:
            return
        size = sum(len(item.body) + len(item.payload or b"") for item in page.items)
        limit = min(MAX_PAGE, max(1, PAGE_BYTES * len(page.items) // max(size, 1)))


class Backfill:
    """One copy of everything.

    Args:
        pair: Both sides.
        run: Keeps how far it is.
        state: The state, in which both sides are written.
        names: The collections.
        total: How many documents there are, for the progress.
        rate: Documents a second at most; `None`: as many as it goes.
    """

    def __init__(
        self,
        pair: Pair,
        run: Run,
        state: MigrationState,
        names: Sequence[str],
        *,
        total: int | None = None,
        rate: float | None = None,
    ) -> None:
        self._pair = pair
        self._run = run
        self._state = state
        self._names = sorted(names)
        self._total = total
        self._rate = rate
        self._following = pair.following(state)
        self._careful: set[str] = set()
        self._position = self._begun()
        self._kept_ms = pair.clock.now_ms()
        self._begun_ms = pair.clock.now_ms()
        self.result = Backfilled()

    def _begun(self) -> Position:
        position = self._run.record.position
        if position is None or position.begun != self._state.begun:
            return Position(begun=self._state.begun)
        # What was written after it was kept is there already.
        self._careful = set(position.cursors)
        return msgspec.structs.replace(position, cursors=dict(position.cursors))

    async def copy(self) -> Backfilled:
        """Copy what is not copied yet.

        Raises:
            MigrationError: Another process took the migration over.
            StorageError: A side failed; what was copied until then stays.
        """
        position = self._position
        left = [
            name
            for name in self._names
            if name > position.through and name not in position.finished
        ]
        await map_bounded(self._collection, left, limit=PARALLEL)
        if self._following.doubts:
            await self._following.mend()
        position = msgspec.structs.replace(self._position, complete=True, cursors={}, finished=[])
        await self._run.keep(position=position)
        return self.result

    # --- one collection ------------------------------------------------------------------------

    async def _collection(self, name: str) -> None:
        await self._declare(name)
        cursor = self._position.cursors.setdefault(name, None)
        source = pages(self._following.leader, name, cursor)
        async with aclosing(stream_bounded(self._prepared, source, limit=AHEAD)) as ahead:
            async for page in ahead:
                self._position.cursors[name] = page.began
                await self._page(name, page)
                await self._pace()
                await self._checkpoint()
        self._finish(name)
        self.result.collections += 1

    def _finish(self, name: str) -> None:
        """Note a collection as copied; `through` takes in what has no gap before it."""
        position = self._position
        cursors = {each: at for each, at in position.cursors.items() if each != name}
        finished = {*position.finished, name}
        through = position.through
        for each in self._names:
            if each > through:
                if each not in finished:
                    break
                finished.discard(each)
                through = each
        self._position = msgspec.structs.replace(
            position, cursors=cursors, finished=sorted(finished), through=through
        )

    async def _declare(self, name: str) -> None:
        spec = await self._following.leader.declared(name)
        if spec is None or await self._following.follower.declared(name) == spec:
            return
        able = self._following.follower.capabilities
        if spec.text_fields and not able.text_search:
            self.result.problem(name, None, "no full-text search there; declared without")
            spec = msgspec.structs.replace(spec, text_fields=())
        await self._following.follower.declare(spec)

    # --- one page ------------------------------------------------------------------------------

    async def _prepared(self, entry: tuple[Page, str | None]) -> _Prepared:
        """A page as it will be written, made while the one before it is on its way."""
        page, began = entry
        able = self._following.follower.capabilities
        condition = IF_ABSENT if able.conditional_write else ANY
        puts = {
            Address(item.collection, item.id): Stored.of(item).put(item.collection, condition)
            for item in page.items
        }
        return _Prepared(page=page, began=began, puts=puts)

    async def _page(self, name: str, prepared: _Prepared) -> None:
        page = prepared.page
        for error in page.corrupt:
            self.result.problem(name, error.item_id, error)
        puts = await self._fitting(name, prepared.puts)
        missing: Collection[Address] = puts
        if name in self._careful:
            missing = await self._missing([i for i in page.items if Address(name, i.id) in puts])
        if missing:
            met = await self._create([puts[address] for address in missing])
            if met:
                self._careful.add(name)
                await self._following.bring_anew(met)
            self.result.copied += len(missing) - len(met)
            self.result.there += len(met)
        self.result.there += len(puts) - len(missing)
        done = len(page.items) + len(page.corrupt)
        self.result.documents += done
        self._position = msgspec.structs.replace(
            self._position, documents=self._position.documents + done
        )
        self._pair.tell(
            Progress(step="backfill", done=self._position.documents, total=self._total, detail=name)
        )

    async def _fitting(self, name: str, puts: dict[Address, Put]) -> dict[Address, Put]:
        """What the target takes; the rest is a problem of each document alone."""
        able = self._following.follower.capabilities
        limit = _checks.size_limit(able, await self._following.follower.declared(name))
        fitting: dict[Address, Put] = {}
        for address, put in puts.items():
            try:
                check_collection(name, able.max_scope_bytes)
                check_id(put.id, able.max_id_bytes)
            except InvalidArgumentError as error:
                self.result.problem(name, put.id, error.message)
                continue
            if limit is None or put.size_bytes <= limit:
                fitting[address] = put
            else:
                reason = f"it is {put.size_bytes} bytes, the target takes {limit}"
                self.result.problem(name, put.id, reason)
        return fitting

    async def _missing(self, items: Sequence[Item]) -> list[Address]:
        """Those that the target holds otherwise, or not at all."""
        ours = {Address(item.collection, item.id): item for item in items}
        return differences(ours, await results_of(self._following.follower, list(ours)))

    async def _create(self, puts: Sequence[Put]) -> list[Address]:
        """Create documents in one call; returns those that are to be looked at again."""
        addresses = [Address(put.collection, put.id) for put in puts]
        await self._pair.guard()
        try:
            await self._following.follower.write(puts)
        except BatchError as error:
            met: list[Address] = []
            for address, result in zip(addresses, error.results, strict=True):
                if isinstance(result, (ConflictError, OutcomeUnknownError)):
                    met.append(address)
                elif isinstance(result, StorageError):
                    raise result from error
            return met
        except (ConflictError, OutcomeUnknownError):
            return addresses
        return []

    # --- between pages -------------------------------------------------------------------------

    async def _pace(self) -> None:
        if self._rate is None:
            return
        due = self.result.documents / self._rate
        passed = (self._pair.clock.now_ms() - self._begun_ms) / 1000
        if due > passed:
            await self._pair.sleep(due - passed)

    async def _checkpoint(self) -> None:
        now_ms = self._pair.clock.now_ms()
        if 0 <= now_ms - self._kept_ms < CHECKPOINT_SECONDS * 1000:
            return
        self._kept_ms = now_ms
        position = msgspec.structs.replace(self._position, cursors=dict(self._position.cursors))
        await self._run.keep(position=position)
