"""The link to the primary: whether it may be asked, and what was last heard of it."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from storage_providers.base import Provider
from storage_providers.errors import StorageError, TransportError
from storage_providers.maintenance import error_name
from storage_providers.providers._hybrid.filling import mend
from storage_providers.providers._hybrid.replay import Replay
from storage_providers.providers._hybrid.reporting import (
    HybridEvent,
    Listener,
    is_open,
)
from storage_providers.providers._hybrid.sending import is_unavailable

__all__ = ["Link"]

T = TypeVar("T")


class Link:
    """Decides for each call which side answers; the primary does once it has the whole journal.

    Args:
        replay: Brings the journal over to the primary.
        fallback: The fallback.
        listener: Told when the side changes.
        retry_seconds: How long the primary is left alone after it could not be reached.
    """

    def __init__(
        self, replay: Replay, fallback: Provider, listener: Listener, retry_seconds: float
    ) -> None:
        self._replay = replay
        self._primary = replay.primary
        self._journal = replay.journal
        self._mirror = replay.mirror
        self._clock = replay.clock
        self._fallback = fallback
        self._retry_seconds = retry_seconds
        self._tell = listener.tell
        self._failed_ms = 0
        self._mended_ms: int | None = None
        self._is_degraded = False
        self.error: StorageError | None = None
        self.opened: list[Provider] = []

    # --- opening -------------------------------------------------------------------------------

    async def open(self, side: Provider) -> None:
        """Open a side, unless it is open: then it is borrowed."""
        if not is_open(side):
            await side.connect()
            self.opened.append(side)

    async def reach(self) -> bool:
        """Open the primary unless it is open; whether it is then.

        Raises:
            StorageError: It refuses, which waiting does not change.
        """
        if is_open(self._primary):
            return True
        try:
            await self.open(self._primary)
        except StorageError as error:
            if not is_unavailable(error):
                raise
            self.failed(error)
            return False
        return True

    async def close(self) -> None:
        """Close the sides that were opened here."""
        async with contextlib.AsyncExitStack() as stack:
            while self.opened:
                stack.push_async_callback(self.opened.pop(0).disconnect)

    # --- which side ----------------------------------------------------------------------------

    async def ready(self) -> bool:
        """Whether the primary may be asked: it has everything, and did not just fail."""
        if not self.may_try() or not await self.reach():
            return False
        pending, doubts = await self._journal.has_work()
        if pending:
            if not await self.advance():
                await self._replay.idle()
            if await self._journal.is_pending():
                return False
        if (doubts or self._mirror.has_doubts_unnoted) and self._is_due(self._mended_ms):
            self._mended_ms = self._clock.now_ms()
            with contextlib.suppress(StorageError):  # They stay in doubt.
                await mend(self._primary, self._fallback, self._journal, self._mirror)
        return True

    def may_try(self) -> bool:
        """Whether the primary did not just fail."""
        return self.error is None or self._is_due(self._failed_ms)

    def _is_due(self, tried_ms: int | None) -> bool:
        if tried_ms is None:
            return True
        passed_ms = self._clock.now_ms() - tried_ms
        return not 0 <= passed_ms < self._retry_seconds * 1000

    async def ask(self, ask: Callable[[], Awaitable[T]]) -> T | StorageError:
        """The primary's answer, or its error if it can't be reached.

        Raises:
            StorageError: It answered with another error.
        """
        if not await self.ready():
            return self.outage()
        try:
            answer = await ask()
        except StorageError as error:
            if not is_unavailable(error):
                raise
            self.failed(error)
            return error
        self.worked()
        return answer

    async def advance(self) -> int:
        """Replay one window; how many writes were brought over."""
        if not self.may_try() or not await self.reach():
            return 0
        try:
            done = await self._replay.step()
        except StorageError as error:
            self.failed(error)
            return 0
        if done:
            self._tell(HybridEvent("replayed", done))
            if not await self._journal.is_pending():
                self.worked()
        return done

    async def replay_all(self, on_progress: Callable[[int], None] | None) -> int:
        """Replay everything now, whenever the primary was last tried; how many writes it got.

        Raises:
            TransportError: The primary can't be reached, or another process is replaying.
            StorageError: It refuses, or the policy failed.
        """
        if not await self.reach():
            raise self.outage()
        done = 0
        while await self._journal.is_pending():
            try:
                step = await self._replay.step(wait=True)
            except StorageError as error:
                self.failed(error)
                raise
            if not step and await self._journal.is_pending():
                raise TransportError("another process is replaying; try again later")
            done += step
            self._tell(HybridEvent("replayed", step))
            if on_progress is not None:
                on_progress(done)
        self.worked()
        return done

    def failed(self, error: StorageError) -> None:
        """The primary could not be reached, or refused what was replayed."""
        self.error, self._failed_ms = error, self._clock.now_ms()
        if not self._is_degraded:
            self._is_degraded = True
            self._tell(HybridEvent("degraded", detail=error_name(error)))

    def worked(self) -> None:
        """The primary answered."""
        self.error = None
        if self._is_degraded:
            self._is_degraded = False
            self._tell(HybridEvent("recovered"))

    def outage(self) -> TransportError:
        """The error of a call that the primary was not asked for."""
        known = self.error
        if known is None:
            return TransportError("writes of an outage are being replayed to the primary")
        error = TransportError(
            f"the primary could not be reached a moment ago ({error_name(known)}: "
            f"{known.message}); it is tried again after {self._retry_seconds:g} s",
            retry_after_seconds=self._retry_seconds,
        )
        error.__cause__ = known
        return error
