"""Retry, deadline, circuit breaker, rate budget and bounded concurrency, for every remote driver.

A driver makes one `Resilience` and sends each request through it:

    item = await self._resilience.call(lambda attempt: self._get(key), effect=Effect.READ)

It raises `NotSentError` where a request surely was not carried out, `RateLimitedError` where it was
refused for its rate, and `TransportError` where no proper answer came.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar

import msgspec

from storage_providers._resilience.bounded import CONCURRENCY, map_bounded, stream_bounded
from storage_providers._resilience.breaker import (
    AttemptTimeoutError,
    BreakerPolicy,
    BreakerStatus,
    CircuitBreaker,
    CircuitOpenError,
    NotSentError,
    Pass,
)
from storage_providers._resilience.budget import RateBudget, RateLimit, shared_budget
from storage_providers._resilience.headers import (
    RateLimitHeaders,
    read_headers,
    retry_after_seconds,
)
from storage_providers._resilience.timing import (
    SYSTEM_TIMING,
    Deadline,
    Timing,
    check_numbers,
    plain_seconds,
)
from storage_providers.errors import (
    BatchError,
    ConflictError,
    ItemNotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    TransportError,
)

__all__ = [
    "CONCURRENCY",
    "SYSTEM_TIMING",
    "Attempt",
    "AttemptReport",
    "AttemptTimeoutError",
    "BreakerPolicy",
    "BreakerStatus",
    "CircuitBreaker",
    "CircuitOpenError",
    "Deadline",
    "Effect",
    "NotSentError",
    "RateBudget",
    "RateLimit",
    "RateLimitHeaders",
    "Resilience",
    "RetryPolicy",
    "Timing",
    "check_numbers",
    "map_bounded",
    "read_headers",
    "retry_after_seconds",
    "shared_budget",
    "stream_bounded",
]

T = TypeVar("T")

_LOGGER = logging.getLogger("storage_providers")


class Effect(Enum):
    """What a call does to what is stored, and so whether it may be repeated."""

    READ = "read"
    """Nothing: it may be repeated."""

    IDEMPOTENT_WRITE = "idempotent_write"
    """Doing it twice is doing it once, and the second answer is as good as the first."""

    WRITE = "write"
    """Repeating could do it twice, or answer a false conflict: never after it may have landed."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often a call is tried, and how long to wait between.

    Waits are drawn from 0 to the exponential bound ("full jitter"; source: AWS Architecture Blog,
    "Exponential Backoff And Jitter").

    Attributes:
        attempts: Most attempts, the first included. Source: wrangler and the Python SDK of
            Cloudflare, 3.
        base_delay_seconds: Bound of the first wait; it doubles. Source: the same SDK, 0.5.
        max_delay_seconds: Largest bound. Source: the same SDK, 8.
        max_retry_after_seconds: A longer wait asked for by the service is not waited for, the
            error is raised at once. Source: the same two, 60.
        min_rate_limited_delay_seconds: Shortest wait after a refusal for the rate that does not
            say how long. Source: wrangler; R2 and KV take one write a second per key.
    """

    attempts: int = 3
    base_delay_seconds: float = 0.5
    max_delay_seconds: float = 8.0
    max_retry_after_seconds: float = 60.0
    min_rate_limited_delay_seconds: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(
            self,
            attempts=1,
            base_delay_seconds=0,
            max_delay_seconds=0,
            max_retry_after_seconds=0,
            min_rate_limited_delay_seconds=0,
        )

    def delay_seconds(self, attempt: int, error: StorageError, jitter: float) -> float:
        """How long to wait after an attempt failed.

        Args:
            attempt: Which one, from 1.
            error: What it raised.
            jitter: A random number from 0 to 1.

        Returns:
            Seconds; never less than the service asked for.
        """
        # 2**60 is beyond any bound; a larger power would not be a float.
        bound = min(self.max_delay_seconds, self.base_delay_seconds * 2.0 ** min(attempt - 1, 60))
        floor = _asked(error)
        if floor is None:
            limited = isinstance(error, RateLimitedError)
            floor = self.min_rate_limited_delay_seconds if limited else 0.0
        return floor + jitter * bound


class Attempt(msgspec.Struct, frozen=True):
    """What a call may want to know about itself.

    Attributes:
        number: From 1.
        timeout_seconds: The time it has, `None` for no end.
        may_have_landed: Whether an earlier attempt of this write may have been carried out.
    """

    number: int
    timeout_seconds: float | None
    may_have_landed: bool


class AttemptReport(msgspec.Struct, frozen=True):
    """What became of one attempt, for metrics.

    Attributes:
        operation: The caller's name for the call.
        number: From 1.
        seconds: How long it took.
        error: Name of the error that ended it, `None` if it succeeded.
    """

    operation: str
    number: int
    seconds: float
    error: str | None


class Resilience:
    """What stands between one driver and its service; shared by all its calls.

    Args:
        name: The service, for messages.
        retry: How often and when to try again.
        deadline_seconds: Budget of an operation that brings no `Deadline`; `None` for no end. Ours.
        attempt_timeout_seconds: Longest one attempt may take; `None` for the deadline alone.
        breaker: When the service counts as down.
        budget: The calls that the service allows, if it counts them.
        timing: Time and chance.
        on_attempt: Told about every attempt that was begun. What it raises is logged, by name, and
            changes nothing.
    """

    def __init__(
        self,
        name: str,
        *,
        retry: RetryPolicy | None = None,
        deadline_seconds: float | None = 60.0,
        attempt_timeout_seconds: float | None = None,
        breaker: BreakerPolicy | None = None,
        budget: RateBudget | None = None,
        timing: Timing = SYSTEM_TIMING,
        on_attempt: Callable[[AttemptReport], None] | None = None,
    ) -> None:
        self.retry = RetryPolicy() if retry is None else retry
        self.breaker = CircuitBreaker(breaker, name=name, timing=timing)
        self.budget = budget
        self._deadline_seconds = deadline_seconds
        self._attempt_timeout_seconds = attempt_timeout_seconds
        self._timing = timing
        self._on_attempt = on_attempt
        Deadline(deadline_seconds, timing)  # Refuses a wrong number now, not at the first call.
        check_numbers(self, _attempt_timeout_seconds=0.001)

    def deadline(self, seconds: float | None = None) -> Deadline:
        """A budget to share between the calls of one operation, pages for example."""
        return Deadline(self._deadline_seconds if seconds is None else seconds, self._timing)

    async def call(
        self,
        send: Callable[[Attempt], Awaitable[T]],
        *,
        effect: Effect,
        operation: str = "",
        deadline: Deadline | None = None,
    ) -> T:
        """Send one request, again if that may help and is safe.

        Args:
            send: Makes one attempt and raises `StorageError`s.
            effect: What it does.
            operation: A name for reports.
            deadline: The operation's budget; without one, the call has its own.

        Returns:
            What `send` returned.

        Raises:
            OutcomeUnknownError: A write may have landed; read before repeating.
            DeadlineExceededError: The time is up; nothing was written.
            RateLimitedError: The service wants a longer wait than there is time for.
            CircuitOpenError: The service is down and was not called.
            StorageError: What the last attempt raised.
        """
        deadline = self.deadline() if deadline is None else deadline
        may_have_landed, number, last = False, 0, None
        while True:
            if deadline.is_over:
                raise self._final(deadline.error(number, last), may_have_landed, number, deadline)
            number += 1
            try:
                return await self._attempt(send, number, may_have_landed, operation, deadline)
            except StorageError as caught:
                error = caught
            if effect is not Effect.READ and _may_have_landed(error):
                may_have_landed = True
            if not self._repeats(error, effect, may_have_landed, number):
                raise self._final(error, may_have_landed, number, deadline)
            delay = self.retry.delay_seconds(number, error, self._timing.jitter())
            if not self._waits(error, delay, deadline):
                raise self._final(error, may_have_landed, number, deadline, no_time=True)
            last = error
            await self._timing.sleep(delay)

    async def _attempt(
        self,
        send: Callable[[Attempt], Awaitable[T]],
        number: int,
        may_have_landed: bool,
        operation: str,
        deadline: Deadline,
    ) -> T:
        self.breaker.check()
        turn = None if self.budget is None else await self.budget.acquire(deadline)
        try:
            if deadline.is_over:
                raise NotSentError("the time was up before it was sent")
            # It may have opened while this call waited for its turn, which then is another's.
            entered = self.breaker.enter()
        except NotSentError:
            if self.budget is not None and turn is not None:
                self.budget.refund(turn)
            raise
        try:
            return await self._send(send, number, may_have_landed, operation, deadline, entered)
        finally:
            if self.budget is not None:
                self.budget.done()

    async def _send(
        self,
        send: Callable[[Attempt], Awaitable[T]],
        number: int,
        may_have_landed: bool,
        operation: str,
        deadline: Deadline,
        entered: Pass,
    ) -> T:
        seconds = deadline.phase_seconds(self._attempt_timeout_seconds)
        failure: BaseException | None = None
        timer = asyncio.timeout(seconds)
        try:
            async with timer:
                return await send(Attempt(number, seconds, may_have_landed))
        except TimeoutError as error:
            if not timer.expired():
                failure = error
                raise
            failure = AttemptTimeoutError(f"no answer within {plain_seconds(seconds or 0)}")
            raise failure from None
        except BaseException as error:
            failure = error
            raise
        finally:
            took = self._timing.monotonic() - entered.began
            self.breaker.leave(entered, self.breaker.judge(failure, took), failure)
            self._report(operation, number, took, failure)

    def _report(
        self, operation: str, number: int, took: float, failure: BaseException | None
    ) -> None:
        if self._on_attempt is None:
            return
        name = None if failure is None else type(failure).__name__
        try:
            self._on_attempt(AttemptReport(operation, number, took, name))
        except Exception as error:  # noqa: BLE001 - the call's outcome stands, above all a write's.
            _LOGGER.error("on_attempt raised %s, which was ignored", type(error).__name__)

    def _repeats(
        self, error: StorageError, effect: Effect, may_have_landed: bool, number: int
    ) -> bool:
        if number >= self.retry.attempts or isinstance(error, CircuitOpenError):
            return False
        if may_have_landed and effect is Effect.WRITE:
            return False
        return error.retryable or (
            isinstance(error, OutcomeUnknownError) and effect is Effect.IDEMPOTENT_WRITE
        )

    def _waits(self, error: StorageError, delay: float, deadline: Deadline) -> bool:
        asked = _asked(error)
        if asked is not None and asked > self.retry.max_retry_after_seconds:
            return False
        return delay < deadline.remaining_seconds

    def _final(
        self,
        error: StorageError,
        may_have_landed: bool,
        attempts: int,
        deadline: Deadline,
        *,
        no_time: bool = False,
    ) -> StorageError:
        answered = isinstance(error, (ConflictError, ItemNotFoundError, BatchError))
        if may_have_landed and not answered:
            if isinstance(error, OutcomeUnknownError):
                return error
            unknown = OutcomeUnknownError(
                f"the write was sent and may have landed ({type(error).__name__}: "
                f"{error.message}); read before repeating",
                collection=error.collection,
                item_id=error.item_id,
                index=error.index,
            )
            unknown.__cause__ = error
            return unknown
        timed_out = type(error) in (AttemptTimeoutError, NotSentError) and deadline.is_over
        if timed_out or (
            no_time and _asked(error) is None and not isinstance(error, RateLimitedError)
        ):
            late = deadline.error(attempts, error)
            late.__cause__ = error
            return late
        if attempts > 1:
            error.add_note(f"after {attempts} attempts")
        return error


def _asked(error: StorageError) -> float | None:
    return error.retry_after_seconds if isinstance(error, TransportError) else None


def _may_have_landed(error: StorageError) -> bool:
    # What the service or this side refused was not carried out; everything else may have been.
    return isinstance(error, TransportError) and not isinstance(
        error, (NotSentError, RateLimitedError)
    )
