"""A rate budget: so many calls per window, shared by everything in the process.

Turns are given in the order of asking: one is free when fewer than `calls` calls went out in the
last `window_seconds` and nothing the service said forbids it. Whoever wakes gives out all turns
that are free, to the first of the queue and not to itself, so a task or an event loop that died in
the queue holds nobody up, and no wake-up looks at the whole queue.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Mapping
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
    """A place in the queue, and how to wake who waits there."""

    __slots__ = ("_loop", "_wake", "number", "turn")

    def __init__(self, number: int) -> None:
        self.number = number
        self.turn: float | None = None
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()

    def wake(self) -> bool:
        """Whether there may still be somebody: a loop that was closed has nobody waiting."""
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:
            return False
        return True

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
        # Re-entrant, because a task that died in the queue leaves it whenever it is collected.
        self._lock = threading.RLock()
        self._taken: deque[float] = deque()  # When the calls of the last window went out.
        self._queue: OrderedDict[_Seat, None] = OrderedDict()
        self._first: _Seat | None = None  # Who was told last that they are the first.
        self._seats = 0
        self._in_flight = 0
        # What the service said: none before `_blocked_until`, `_allowed` before `_allowed_until`.
        self._blocked_until = -math.inf
        self._allowed: float = math.inf
        self._allowed_until = -math.inf
        self._overtaken = 0  # The most calls left that an answer on its way may still name.
        self._busy: set[RateBudget] | None = None

    # --- for calls -----------------------------------------------------------------------------

    async def acquire(self, deadline: Deadline | None = None) -> float:
        """Wait for one's turn to make a call, first come, first served.

        Each success must be followed by `done` when the call has ended, or by `refund`.

        Args:
            deadline: A wait that would end after it is not begun.

        Returns:
            The turn, for `refund`.

        Raises:
            RateLimitedError: The wait would exceed the deadline; `retry_after_seconds` is the wait.
        """
        with self._lock:
            now = self._monotonic()
            self._give_turns(now)
            if not self._queue and self._is_free(now):
                return self._take(now)
            seat = _Seat(self._seats)
            self._seats += 1
            self._queue[seat] = None
            wait = least = self._turn_at(len(self._queue) - 1, now) - now
        try:
            while seat.turn is None:
                if deadline is not None and least > deadline.remaining_seconds:
                    raise self._error(least, deadline)
                await seat.wait(wait)
                with self._lock:
                    now = self._monotonic()
                    self._give_turns(now)
                    if seat.turn is None:
                        wait, least = self._waits(seat, now)
        except BaseException:
            self._leave(seat)
            raise
        return seat.turn

    def done(self) -> None:
        """Say that a call has ended, however it did."""
        with self._lock:
            self._in_flight -= 1

    def refund(self, turn: float) -> None:
        """Give back a turn that was not used: no call was made.

        Args:
            turn: What `acquire` returned.
        """
        with self._lock:
            self._take_back(turn)
            self._give_turns(self._monotonic())

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
            # Those whose time ends before it are to hear so now.
            for seat in self._queue:
                seat.wake()

    def _allow(self, remaining: int, reset_seconds: float | None) -> None:
        with self._lock:
            now = self._monotonic()
            window = self.limit.window_seconds if reset_seconds is None else reset_seconds
            # Calls on their way may not be in the service's count yet; this one is.
            others = max(0, self._in_flight - 1)
            known = self._allowed if now < self._allowed_until else math.inf
            # Answers overtake each other, so more than we know of counts only where it can't be
            # an old answer: then a new window has begun.
            if known == math.inf or remaining > self._overtaken:
                known, self._overtaken = max(0, remaining - others), remaining + others
            else:
                known = min(known, remaining)
                self._overtaken = min(self._overtaken, remaining + others)
            self._allowed, self._allowed_until = known, now + window
            self._give_turns(now)

    # --- for `shared_budget` -------------------------------------------------------------------

    def keep_while_busy(self, busy: set[RateBudget]) -> None:
        """Be in a set from a call's start until its window is over.

        Args:
            busy: The set that holds it.
        """
        self._busy = busy

    def release_if_idle(self) -> None:
        """Leave that set if nothing is remembered, so that a new budget would do the same."""
        with self._lock:
            now = self._monotonic()
            free = self._is_free(now) and now >= self._allowed_until
            used = self._taken or self._in_flight or self._queue
            if self._busy is not None and free and not used:
                self._busy.discard(self)

    # --- inside the lock -----------------------------------------------------------------------

    def _is_free(self, now: float) -> bool:
        while self._taken and self._taken[0] + self.limit.window_seconds <= now:
            self._taken.popleft()
        if len(self._taken) >= self.limit.calls or now < self._blocked_until:
            return False
        return now >= self._allowed_until or self._allowed > 0

    def _take(self, now: float) -> float:
        self._taken.append(now)
        self._allowed -= 1
        self._in_flight += 1
        if self._busy is not None:
            self._busy.add(self)
        return now

    def _take_back(self, turn: float) -> None:
        self._in_flight -= 1
        self._allowed += 1
        # It is gone already when the turn was kept for longer than a window.
        with suppress(ValueError):
            self._taken.remove(turn)

    def _give_turns(self, now: float) -> None:
        """Give out every turn that is free, and let a new first of the queue wait for the next."""
        while self._queue and self._is_free(now):
            seat, _ = self._queue.popitem(last=False)
            if seat.wake():
                seat.turn = self._take(now)
        while self._queue and (first := next(iter(self._queue))) is not self._first:
            self._first = first if first.wake() else None
            if self._first is None:
                del self._queue[first]

    def _turn_at(self, ahead: int, now: float) -> float:
        """When one's turn comes with so many ahead, as far as is known."""
        base = max(now, self._blocked_until)
        # A call follows the one that is `calls` before it by a window, and that one the one before
        # it: the oldest of them went out already, or waits for nothing but `base`.
        windows, oldest = divmod(len(self._taken) + ahead, self.limit.calls)
        length = self.limit.window_seconds
        if oldest < len(self._taken):
            at = max(base, self._taken[oldest] + length) + (windows - 1) * length
        else:
            at = base + windows * length
        if now < self._allowed_until and ahead >= self._allowed:
            at = max(at, self._allowed_until)
        return at

    def _waits(self, seat: _Seat, now: float) -> tuple[float, float]:
        """How long the seat is likely to wait, and how long at least."""
        first = next(iter(self._queue))
        # Who left the queue between the two is counted, so this may be too many.
        ahead = min(len(self._queue) - 1, seat.number - first.number)
        return self._turn_at(ahead, now) - now, self._turn_at(0, now) - now

    def _leave(self, seat: _Seat) -> None:
        with self._lock:
            if seat.turn is not None:
                self._take_back(seat.turn)
            elif seat in self._queue:
                del self._queue[seat]
            self._give_turns(self._monotonic())

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
_busy: set[RateBudget] = set()


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
        for busy in list(_busy):
            busy.release_if_idle()
        budget = _known.get(key)
        if budget is None:
            budget = _known[key] = RateBudget(limit, name=name, timing=timing)
            budget.keep_while_busy(_busy)
        elif budget.limit != limit:
            raise ConfigurationError(
                f"this token is used with {budget.limit.calls} calls in "
                f"{budget.limit.window_seconds:g} s already; it can't also have "
                f"{limit.calls} in {limit.window_seconds:g} s"
            )
        return budget
