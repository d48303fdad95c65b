"""`thread.updatedAt`: later each time the thread's messages change.

Where a key takes but one write a second, a bump within a second of the last waits, and takes along
those that come until then. Who asks this store sees it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from storage_providers.agents._place import Change, Known, Place, patched
from storage_providers.agents._tables import THREADS
from storage_providers.agents._wire import iso, moment
from storage_providers.agents.models import Thread
from storage_providers.errors import ConflictError, RateLimitedError, StorageError

__all__ = ["Bumps"]

INTERVAL_SECONDS: Final = 1.0
"""One write a second for each key. Source: Cloudflare docs, r2/platform/limits and
kv/platform/limits (read 2026-11)."""

_LOGGER = logging.getLogger("storage_providers")


class Bumps:
    """Notes when threads were touched.

    Args:
        place: Where the threads are.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._last: dict[str, float] = {}
        self._waiting: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def _coalesces(self) -> bool:
        return self._place.keeps_orders and not self._place.capabilities.atomic_batch

    @property
    def _apart(self) -> bool:
        """Whether a bump is a change of its own: with a condition, which should fail alone."""
        able = self._place.capabilities
        return able.conditional_write and not able.atomic_batch

    @property
    def _may_wait(self) -> bool:
        return self._coalesces or self._apart

    @property
    def are_with_batches(self) -> bool:
        """Whether a batch lands only if the bumps of its threads do."""
        return not self._may_wait

    def next(self, thread_id: str, stored: str | None) -> str:
        """A time for `updatedAt`, later than what anybody saw."""
        return self._place.stamp(max(stored or "", self._waiting.get(thread_id, "")) or None)

    def seen(self, thread: Thread) -> Thread:
        """A thread as it is once the bumps that wait are written."""
        waiting = self._waiting.get(thread.id)
        if waiting is None or (thread.updated_at is not None and iso(thread.updated_at) > waiting):
            return thread
        return msgspec.structs.replace(thread, updated_at=moment(waiting))

    def forget(self, thread_id: str) -> None:
        """The thread was written, with a later time, or is gone."""
        self._waiting.pop(thread_id, None)

    # --- with a batch of messages --------------------------------------------------------------

    def planned(self, known: Known, thread_ids: Iterable[str]) -> list[Change]:
        """The bumps that go with a batch; the others are noted."""
        changes: list[Change] = []
        for thread_id in thread_ids:
            key = (THREADS, thread_id)
            old = known[key]
            if old is None:
                continue
            stamp = self.next(thread_id, old.document.get("updatedAt"))
            if self._apart or self._is_recent(thread_id):
                self._waiting[thread_id] = stamp
                continue
            new = patched(old, {"updatedAt": stamp})
            changes.append(Change(key=key, old=old, new=new))
        return changes

    async def landed(self, thread_ids: Iterable[str]) -> None:
        """The batch was written: what is due now is, what is not waits."""
        if not self._may_wait:
            return
        now = asyncio.get_running_loop().time()
        due: list[str] = []
        for thread_id in thread_ids:
            if thread_id in self._waiting:
                # From when on a bump by others is one for this batch too.
                self._waiting[thread_id] = self.next(thread_id, None)
            if self._is_recent(thread_id):
                continue
            if not self._apart:
                self.forget(thread_id)  # It went with the batch.
            self._note(thread_id, now)
            if thread_id in self._waiting:
                due.append(thread_id)
        await self._start(due)

    async def _start(self, due: list[str]) -> None:
        """Write the bumps that are due; those that wait are written later."""
        # Where many write this thread at once, it goes on waiting.
        with contextlib.suppress(ConflictError, RateLimitedError):
            await self._write(due)
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._later())

    async def touch(self, thread_ids: Iterable[str]) -> None:
        """Bump threads on their own."""
        some = list(thread_ids)
        if not some:
            return
        if self._may_wait:
            now = asyncio.get_running_loop().time()
            due = [thread_id for thread_id in some if not self._is_recent(thread_id)]
            for thread_id in some:
                self._waiting[thread_id] = self.next(thread_id, None)
            for thread_id in due:
                self._note(thread_id, now)
            await self._start(due)
            return
        keys = [(THREADS, thread_id) for thread_id in some]
        await self._place.change(keys, lambda known: self.planned(known, some))

    async def flush(self) -> None:
        """Write the bumps that wait.

        Raises:
            StorageError: The provider failed; they go on waiting.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._write(list(self._waiting))

    # --- helpers -------------------------------------------------------------------------------

    def _is_recent(self, thread_id: str) -> bool:
        last = self._last.get(thread_id)
        now = asyncio.get_running_loop().time()
        return self._coalesces and last is not None and now - last < INTERVAL_SECONDS

    def _note(self, thread_id: str, now: float) -> None:
        self._last = {k: v for k, v in self._last.items() if now - v < INTERVAL_SECONDS}
        self._last[thread_id] = now

    async def _write(self, thread_ids: list[str]) -> None:
        """Write bumps that wait."""
        keys = [(THREADS, thread_id) for thread_id in thread_ids]
        if not keys:
            return
        stamps: dict[str, str] = {}

        def plan(known: Known) -> list[Change]:
            changes: list[Change] = []
            for key, old in known.items():
                before = "" if old is None else str(old.document.get("updatedAt"))
                if old is None or before > self._waiting.get(key[1], "~"):
                    stamps[key[1]] = before or "~"
                    continue
                stamps[key[1]] = self.next(key[1], old.document.get("updatedAt"))
                new = patched(old, {"updatedAt": stamps[key[1]]})
                changes.append(Change(key=key, old=old, new=new))
            return changes

        await self._place.change(keys, plan)
        for thread_id in thread_ids:
            if self._waiting.get(thread_id, "") <= stamps.get(thread_id, "~"):
                self.forget(thread_id)

    async def _later(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(INTERVAL_SECONDS)
                some = list(self._waiting)
                for thread_id in some:
                    self._note(thread_id, asyncio.get_running_loop().time())
                await self._write(some)
        except StorageError as error:
            _LOGGER.warning(
                "%s: the time of the last change of %d threads was not written (%s); it is with "
                "the next message, or by flush()",
                self._place.provider.name,
                len(self._waiting),
                type(error).__name__,
            )
