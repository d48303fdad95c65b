"""Time and chance, injected; one time budget for a whole operation."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import msgspec

from storage_providers._clock import SYSTEM_CLOCK
from storage_providers.errors import ConfigurationError, DeadlineExceededError, StorageError

__all__ = ["SYSTEM_TIMING", "Deadline", "Timing", "check_numbers", "plain_seconds"]


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the parts get time and chance from; tests pass their own.

    Attributes:
        monotonic: Seconds that never go back. Time-outs run on the event loop's own time, which
            is this one unless a test says otherwise.
        sleep: Waits that many seconds.
        jitter: A random number from 0 to 1.
        now_ms: Milliseconds since 1970, to read dates in headers by.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = SYSTEM_CLOCK.jitter
    now_ms: Callable[[], int] = SYSTEM_CLOCK.now_ms


SYSTEM_TIMING = Timing()
"""The machine's own."""


class Deadline:
    """The time one operation has, shared by all its attempts and pages.

    Args:
        seconds: The whole budget from now; `None` for no end.
        timing: Time.

    Raises:
        ConfigurationError: `seconds` is not a positive number.
    """

    __slots__ = ("_end", "_monotonic", "seconds")

    def __init__(self, seconds: float | None, timing: Timing = SYSTEM_TIMING) -> None:
        if seconds is not None and not 0 < seconds < math.inf:
            raise ConfigurationError(f"deadline_seconds is {seconds}; it must be above 0")
        self.seconds = seconds
        self._monotonic = timing.monotonic
        self._end = math.inf if seconds is None else self._monotonic() + seconds

    @property
    def remaining_seconds(self) -> float:
        """What is left: 0 when it is over, infinite when there is no end."""
        if self.seconds is None:
            return math.inf
        return max(0.0, self._end - self._monotonic())

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self.remaining_seconds <= 0

    def phase_seconds(self, limit_seconds: float | None) -> float | None:
        """How long one phase (connecting, reading, one attempt) may take.

        Args:
            limit_seconds: The phase's own time-out, `None` for none.

        Returns:
            The shorter of that and what is left, `None` where neither ends.
        """
        limit = math.inf if limit_seconds is None else limit_seconds
        shorter = min(limit, self.remaining_seconds)
        return None if shorter == math.inf else shorter

    def error(self, attempts: int, last: StorageError | None = None) -> DeadlineExceededError:
        """The error of an operation that ran out of time.

        Args:
            attempts: How many times it was tried.
            last: What the last attempt that ended ran into.

        Returns:
            The error, for the caller to raise.
        """
        reason = "" if last is None else f", last: {type(last).__name__}: {last.message}"
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        return DeadlineExceededError(
            f"not done within {plain_seconds(self.seconds or 0)} ({tries}{reason}); "
            "try again, or raise deadline_seconds",
            deadline_seconds=self.seconds,
            attempts=attempts,
        )


def plain_seconds(seconds: float) -> str:
    """A duration as messages say it: `0.25 s`, `12.3 s`, `300 s`."""
    return f"{round(seconds, 2 if seconds < 10 else 1):g} s" if seconds < 1e6 else "a long time"


def check_numbers(owner: object, **least: float) -> None:
    """Refuse numbers of a configuration that are below their least value or no numbers.

    Raises:
        ConfigurationError: Naming the first such number.
    """
    for name, smallest in least.items():
        value = getattr(owner, name)
        if value is not None and not smallest <= value < math.inf:
            shown = name.removeprefix("_")
            raise ConfigurationError(f"{shown} is {value}; it must be at least {smallest:g}")
