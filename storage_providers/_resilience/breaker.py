"""A circuit breaker: stops calling a service that is down, and asks it now and then.

```
          failures, as the policy counts them
 closed ─────────────────────────────────────▶ open
   ▲                                            │ open_seconds later
   │ the probe is answered                      ▼
   └──────────────────────────────────────── half_open ──▶ open again, if the probe fails
                                              one call at a time
```
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal

import msgspec

from storage_providers._resilience.timing import (
    SYSTEM_TIMING,
    Timing,
    check_numbers,
    plain_seconds,
)
from storage_providers.errors import (
    ConfigurationError,
    RateLimitedError,
    StorageError,
    TransportError,
)

__all__ = [
    "AttemptTimeoutError",
    "BreakerPolicy",
    "BreakerState",
    "BreakerStatus",
    "CircuitBreaker",
    "CircuitOpenError",
    "NotSentError",
    "Pass",
]

BreakerState = Literal["closed", "open", "half_open"]
Outcome = Literal["answered", "unavailable", "unjudged"]


class NotSentError(TransportError):
    """The request surely was not carried out: it never left, or was turned away before."""


class AttemptTimeoutError(TransportError):
    """No answer came within the time-out of one attempt."""


class CircuitOpenError(NotSentError):
    """The service has been down, so it was not called; `retry_after_seconds` says when it is.

    Attributes:
        opened_for_seconds: Since when the service counts as down.
        last_error: Name of the error that it answered last.
    """

    def __init__(
        self,
        message: str = "",
        *,
        opened_for_seconds: float = 0.0,
        last_error: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.opened_for_seconds = opened_for_seconds
        self.last_error = last_error


class BreakerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a service counts as down, and for how long it is left alone.

    Only errors that say it can't be reached count, and calls that overlap count as one piece of
    evidence for `consecutive_failures`: thirty calls cut off by one dropped connection are one.

    Attributes:
        consecutive_failures: Opens after this many failures one after the other. Source:
            pybreaker's `fail_max`, 5.
        failure_rate: Or when this share of the calls in the window failed. Source: Hystrix's
            `errorThresholdPercentage`, 50.
        minimum_calls: Calls in the window below which the share says nothing. Source: Hystrix's
            `requestVolumeThreshold`, 20.
        window_seconds: The window of the share. Source: Hystrix's rolling window, 10 s.
        minimum_outage_seconds: Failures must go on for this long; what is shorter is left to
            retries. Ours: one round of full-jitter retries.
        open_seconds: How long the service is left alone before one call probes it. Source:
            Hystrix's `sleepWindowInMilliseconds`, 5,000.
        minimum_wait_seconds: A call that was given less time than this and ran out of it says
            nothing about the service. Ours.
    """

    consecutive_failures: int = 5
    failure_rate: float = 0.5
    minimum_calls: int = 20
    window_seconds: float = 10.0
    minimum_outage_seconds: float = 1.0
    open_seconds: float = 5.0
    minimum_wait_seconds: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(
            self,
            consecutive_failures=1,
            minimum_calls=1,
            window_seconds=0.001,
            minimum_outage_seconds=0,
            open_seconds=0.001,
            minimum_wait_seconds=0,
        )
        if not 0 < self.failure_rate <= 1:
            raise ConfigurationError(
                f"failure_rate is {self.failure_rate}; it must be above 0 and at most 1"
            )


class BreakerStatus(msgspec.Struct, frozen=True):
    """What a breaker knows, for people and for `doctor`.

    Attributes:
        state: `closed` (calls pass), `open` (they don't), `half_open` (one at a time does).
        opened_for_seconds: Since when the service counts as down, `None` while closed.
        probe_in_seconds: When the next call may pass, `None` while closed.
        last_error: Name of the last error that said it can't be reached, if there was one.
    """

    state: BreakerState
    opened_for_seconds: float | None
    probe_in_seconds: float | None
    last_error: str | None


class Pass(msgspec.Struct, frozen=True):
    """Leave to make one call; hand it back to `CircuitBreaker.leave`."""

    era: int
    began: float
    is_probe: bool


class CircuitBreaker:
    """Shared by all calls of one driver; usable from several threads.

    Args:
        policy: When to open.
        name: What it guards, for messages.
        timing: Time.
    """

    def __init__(
        self,
        policy: BreakerPolicy | None = None,
        *,
        name: str = "the service",
        timing: Timing = SYSTEM_TIMING,
    ) -> None:
        self.policy = BreakerPolicy() if policy is None else policy
        self.name = name
        self._monotonic = timing.monotonic
        # Re-entrant, because an abandoned call gives its pass back whenever it is collected.
        self._lock = threading.RLock()
        # Counts the changes of state: what began in another era says nothing about this one.
        self._era = 0
        self._opened_at: float | None = None
        self._probe_at = 0.0
        self._probing = False
        self._last_error: str | None = None
        self._reset()

    def _reset(self) -> None:
        self._run = 0
        self._run_began_at = 0.0
        self._run_counted_at = 0.0
        self._recent: deque[tuple[float, bool]] = deque()
        self._recent_failures = 0

    # --- what it shows -------------------------------------------------------------------------

    @property
    def status(self) -> BreakerStatus:
        """All of it at one moment."""
        with self._lock:
            now = self._monotonic()
            if self._opened_at is None:
                return BreakerStatus("closed", None, None, self._last_error)
            wait = max(0.0, self._probe_at - now)
            state: BreakerState = "half_open" if self._probing or wait == 0 else "open"
            return BreakerStatus(state, now - self._opened_at, wait, self._last_error)

    # --- what calls do -------------------------------------------------------------------------

    def check(self) -> None:
        """Refuse early, before a call waits for anything else.

        Raises:
            CircuitOpenError: The service is left alone, or being probed by another call.
        """
        if self._opened_at is not None:
            with self._lock:
                self._refuse_if_open(self._monotonic())

    def enter(self) -> Pass:
        """Ask to make one call. Each pass must come back through `leave`.

        Returns:
            The pass.

        Raises:
            CircuitOpenError: The service is left alone, or being probed by another call.
        """
        with self._lock:
            now = self._monotonic()
            self._refuse_if_open(now)
            self._probing = self._opened_at is not None
            return Pass(self._era, now, self._probing)

    def leave(self, entered: Pass, outcome: Outcome, error: BaseException | None = None) -> None:
        """Say how a call ended.

        Args:
            entered: The call's pass.
            outcome: `answered`, whatever the answer was; `unavailable`, if none came; `unjudged`,
                if that can't be told, as of a call that was cancelled.
            error: What it raised.
        """
        with self._lock:
            if entered.era != self._era:
                return
            now = self._monotonic()
            if outcome == "unavailable" and error is not None:
                self._last_error = type(error).__name__
            if entered.is_probe:
                self._end_probe(outcome, now)
            elif outcome != "unjudged":
                self._count(entered, outcome == "unavailable", now)

    def judge(self, error: BaseException | None, waited_seconds: float) -> Outcome:
        """What a call's end says about whether the service is there.

        Args:
            error: What the call raised, `None` if it returned.
            waited_seconds: How long it lasted.

        Returns:
            The outcome, for `leave`.
        """
        if error is None or isinstance(error, RateLimitedError):
            return "answered"
        if isinstance(error, TransportError):
            cut_short = isinstance(error, AttemptTimeoutError) and (
                waited_seconds < self.policy.minimum_wait_seconds
            )
            return "unjudged" if cut_short else "unavailable"
        return "answered" if isinstance(error, StorageError) else "unjudged"

    # --- inside the lock -----------------------------------------------------------------------

    def _refuse_if_open(self, now: float) -> None:
        if self._opened_at is None or (now >= self._probe_at and not self._probing):
            return
        since, wait = now - self._opened_at, max(0.0, self._probe_at - now)
        plan = (
            "one call is probing it now"
            if self._probing
            else f"it will be probed in {plain_seconds(wait)}"
        )
        raise CircuitOpenError(
            f"{self.name} has been unavailable for {plain_seconds(since)} (last: "
            f"{self._last_error}), so it was not called; {plan}; try again then",
            opened_for_seconds=since,
            last_error=self._last_error or "",
            retry_after_seconds=wait,
        )

    def _end_probe(self, outcome: Outcome, now: float) -> None:
        self._probing = False
        if outcome == "unjudged":
            return
        self._era += 1
        if outcome == "answered":
            self._opened_at = None
            self._reset()
        else:
            self._probe_at = now + self.policy.open_seconds

    def _count(self, entered: Pass, failed: bool, now: float) -> None:
        self._recent.append((now, failed))
        self._recent_failures += failed
        while now - self._recent[0][0] > self.policy.window_seconds:
            self._recent_failures -= self._recent.popleft()[1]
        if not failed:
            self._run = 0
            return
        if self._run == 0:
            self._run_began_at = now
        if self._run == 0 or entered.began >= self._run_counted_at:
            self._run, self._run_counted_at = self._run + 1, now
        if self._is_down(now):
            self._era += 1
            self._opened_at = now
            self._probe_at = now + self.policy.open_seconds

    def _is_down(self, now: float) -> bool:
        least = self.policy.minimum_outage_seconds
        if self._run >= self.policy.consecutive_failures and now - self._run_began_at >= least:
            return True
        calls = len(self._recent)
        if calls < self.policy.minimum_calls:
            return False
        if self._recent_failures < self.policy.failure_rate * calls:
            return False
        first = next(at for at, failed in self._recent if failed)
        return now - first >= least
