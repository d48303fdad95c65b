"""A rate budget: so many calls per window, shared by everything in the process.

Calls take seats in the order they come. A seat is free when fewer than `calls` calls went out in
the last `window_seconds`, the ones before it in the queue counted, and when nothing the service
said forbids it. Nobody hands the turn on, so a task or an event loop that dies in the queue holds
nobody up; a seat that is given back, and news from the service, wake those who wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from storage_providers._resilience.headers import RateLimitHeaders, read_headers
from storage_providers._resilience.timing import (
    SYSTEM_TIMING,
    Deadline,
    Timing,
    check_numbers,
    plain_seconds,
)
from storage_providers.errors import ConfigurationError, RateLimitedError

__all__ = ["RateBudget", "RateLimit", "shared_budget"]

TOO_MANY_REQUESTS = 429
"""The HTTP status of a call that exceeds a limit. Source: RFC 6585, section 4."""


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls a service allows.

    Attributes:
        calls: Calls in any window. The default is the Cloudflare API's for one user or token;
            source: Cloudflare docs, fundamentals/api/reference/limits (read 2026-11).
        window_seconds: Length of a window, seconds. Source: the same.
    """

    calls: int = 1_200
    window_seconds: float = 300.0

    def __post_init__(self) -> None:
        check_numbers(self, calls=1, window_seconds=0.001)


class _Seat:
    """A place in the queue: when its turn comes, and how to wake who waits for it."""

    __slots__ = ("_loop", "_wake", "at")

    def __init__(self) -> None:
        self.at = 0.0
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        # A loop that was closed has nobody waiting.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    async def wait(self, seconds: float) -> None:
        """Until the turn seems to have come, or something changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()


class RateBudget:
    """Calls per window, for all threads and event loops of the process.

    Args:
        limit: What the service allows.
        name: Whose limit it is, for messages.
        timing: Time.
    """

    def __init__(
        self,
        limit: RateLimit,
        *,
        name: str = "the service",
        timing: Timing = SYSTEM_TIMING,
    ) -> None:
        self.limit = limit
        self.name = name
        self._monotonic = timing.monotonic
        self._now_ms = timing.now_ms
        self._lock = threading.Lock()
        self._taken: deque[float] = deque()  # When the calls of the last window went out.
        self._queue: dict[_Seat, None] = {}
        self._in_flight = 0
        # What the service said: none before `_blocked_until`, `_allowed` before `_allowed_until`.
        self._blocked_until = -math.inf
        self._allowed: float = math.inf
        self._allowed_until = -math.inf
        self._on_use: Callable[[], None] = lambda: None

    # --- for calls -----------------------------------------------------------------------------

    async def acquire(self, deadline: Deadline | None = None) -> None:
        """Wait for one's turn to make a call, first come, first served.

        Each success must be followed by `done` when the call has ended, or by `refund`.

        Args:
            deadline: A wait that would end after it is not begun.

        Raises:
            RateLimitedError: The wait would exceed the deadline; `retry_after_seconds` is the wait.
        """
        with self._lock:
            now = self._monotonic()
            if not self._queue and self._is_free(0, now):
                self._take(now)
                return
            seat = _Seat()
            self._queue[seat] = None
            self._schedule(now)
        try:
            while True:
                with self._lock:
                    wait = self._try_seat(seat)
                if wait is None:
                    return
                if deadline is not None and wait > deadline.remaining_seconds:
                    raise self._error(wait, deadline)
                await seat.wait(wait)
        finally:
            self._give_up(seat)

    def done(self) -> None:
        """Say that a call has ended, however it did."""
        with self._lock:
            self._in_flight -= 1

    def refund(self) -> None:
        """Give back a turn that was not used: no call was made."""
        with self._lock:
            self._in_flight -= 1
            if self._taken:
                self._taken.pop()
            self._allowed += 1
            self._schedule(self._monotonic())

    # --- what the service says -----------------------------------------------------------------

    def learn(self, headers: Mapping[str, str], status: int | None = None) -> RateLimitHeaders:
        """Take what a response says about rates; call it while the call is still in flight.

        A 429 that says when to come back stops all calls until then. One that does not is about
        something else (one key, one database) and stops only who asked.

        Args:
            headers: The response's headers, in any case.
            status: Its HTTP status.

        Returns:
            What was read, `retry_after_seconds` for the error to raise among it.
        """
        said = read_headers(headers, self._now_ms())
        if said.remaining is not None:
            self._allow(said.remaining, said.reset_seconds)
        if status == TOO_MANY_REQUESTS:
            wait = said.retry_after_seconds
            wait = said.reset_seconds if wait is None else wait
            if wait is not None:
                self.block(wait)
        return said

    def block(self, seconds: float) -> None:
        """Make no call for some time, because the service said so.

        Args:
            seconds: How long.
        """
        with self._lock:
            now = self._monotonic()
            self._blocked_until = max(self._blocked_until, now + seconds)
            self._schedule(now)

    def _allow(self, remaining: int, reset_seconds: float | None) -> None:
        with self._lock:
            now = self._monotonic()
            window = self.limit.window_seconds if reset_seconds is None else reset_seconds
            # Calls on their way may not be in the service's count yet; this one is.
            others = max(0, self._in_flight - 1)
            known = self._allowed if now < self._allowed_until else math.inf
            # Answers overtake each other, so more than we know of counts only where it can't be
            # an old answer: then a new window has begun.
            if known == math.inf or remaining > known + others:
                known = max(0, remaining - others)
            else:
                known = min(known, remaining)
            self._allowed, self._allowed_until = known, now + window
            self._schedule(now)

    # --- inside the lock -----------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether nothing is remembered, so that a new budget would do the same."""
        with self._lock:
            now = self._monotonic()
            self._forget(now)
            return not (
                self._taken or self._queue or self._in_flight or now < self._blocked_until
            ) and not (now < self._allowed_until)

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0] + self.limit.window_seconds <= now:
            self._taken.popleft()

    def _is_free(self, ahead: int, now: float) -> bool:
        self._forget(now)
        if len(self._taken) + ahead >= self.limit.calls or now < self._blocked_until:
            return False
        return now >= self._allowed_until or ahead < self._allowed

    def _take(self, now: float) -> None:
        self._taken.append(now)
        self._allowed -= 1
        self._in_flight += 1
        self._on_use()

    def _try_seat(self, seat: _Seat) -> float | None:
        """Take the seat if it is free; otherwise the seconds until it may be."""
        now = self._monotonic()
        ahead = 0
        for other in self._queue:
            if other is seat:
                break
            ahead += 1
        if self._is_free(ahead, now):
            del self._queue[seat]
            self._take(now)
            return None
        if seat.at <= now:
            # Someone ahead went later than planned.
            self._schedule(now)
        return seat.at - now

    def _give_up(self, seat: _Seat) -> None:
        with self._lock:
            if seat in self._queue:
                del self._queue[seat]
                self._schedule(self._monotonic())

    def _schedule(self, now: float) -> None:
        """Work out when each of those who wait may go, and wake those whose time changed."""
        if not self._queue:
            return
        self._forget(now)
        going = list(self._taken)
        calls, window = self.limit.calls, self.limit.window_seconds
        allowed = self._allowed if now < self._allowed_until else math.inf
        at = max(now, self._blocked_until)
        for ahead, seat in enumerate(self._queue):
            if ahead >= allowed:
                at = max(at, self._allowed_until)
            if len(going) >= calls:
                at = max(at, going[len(going) - calls] + window)
            going.append(at)
            if seat.at != at:
                seat.at = at
                seat.wake()

    def _error(self, wait: float, deadline: Deadline) -> RateLimitedError:
        return RateLimitedError(
            f"{self.name} allows {self.limit.calls} calls in "
            f"{plain_seconds(self.limit.window_seconds)} and they are used up; the next is free in "
            f"{plain_seconds(wait)}, the operation has "
            f"{plain_seconds(deadline.remaining_seconds)} left; try again then, or raise "
            "deadline_seconds",
            retry_after_seconds=wait,
        )


# --- one budget for one account -------------------------------------------------------------------

_lock = threading.Lock()
_known: weakref.WeakValueDictionary[str, RateBudget] = weakref.WeakValueDictionary()
# Budgets in use are held even when no driver is left: the service remembers, so must we.
_in_use: dict[str, RateBudget] = {}


def shared_budget(
    secret: str | bytes,
    limit: RateLimit,
    *,
    name: str = "the service",
    timing: Timing = SYSTEM_TIMING,
) -> RateBudget:
    """The one budget of this process for one token; the token itself is not kept.

    Args:
        secret: What the service counts by; only its digest is used.
        limit: What the service allows for it.
        name: Whose limit it is, for messages.
        timing: Time, for the first who asks.

    Returns:
        The same budget for the same secret and name.

    Raises:
        ConfigurationError: Another part of the program uses the token with another limit.
    """
    key = hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).hexdigest()
    key = f"{name} {key}"
    with _lock:
        for idle in [each for each, budget in _in_use.items() if budget.is_idle]:
            del _in_use[idle]
        budget = _known.get(key)
        if budget is None:
            budget = _known[key] = RateBudget(limit, name=name, timing=timing)
            held = weakref.ref(budget)
            budget._on_use = lambda: _hold(key, held())
        elif budget.limit != limit:
            raise ConfigurationError(
                f"this token is used with {budget.limit.calls} calls in "
                f"{budget.limit.window_seconds:g} s already; it can't also have "
                f"{limit.calls} in {limit.window_seconds:g} s"
            )
        return budget


def _hold(key: str, budget: RateBudget | None) -> None:
    if budget is not None:
        _in_use[key] = budget
