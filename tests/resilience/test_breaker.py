"""The circuit breaker: when it opens, who probes, when it closes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from storage_providers._resilience.breaker import Outcome, Pass
from storage_providers.errors import (
    AuthenticationError,
    ItemNotFoundError,
    RateLimitedError,
    TransportError,
)
from storage_providers.resilience import (
    Attempt,
    AttemptTimeoutError,
    BreakerPolicy,
    CircuitBreaker,
    CircuitOpenError,
    Effect,
    Resilience,
    RetryPolicy,
    Timing,
)
from tests.resilience.virtual import Service, run, timing


def test_the_breaker_opens_probes_once_and_closes() -> None:
    """Five failures over a second open it; then one call at a time asks whether it is back."""

    async def main() -> None:
        clock = timing()
        resilience = Resilience("r2", timing=clock)
        down = [TransportError("down")] * 3
        for _ in range(5):
            with suppress(TransportError):
                await resilience.call(Service(*down), effect=Effect.READ)
        with pytest.raises(CircuitOpenError) as caught:
            await resilience.call(Service("ok"), effect=Effect.READ)
        assert "r2 has been unavailable" in caught.value.message
        assert str(resilience.breaker.status.state) == "open"
        assert resilience.breaker.status.last_error == "TransportError"
        await asyncio.sleep(5.0)
        assert str(resilience.breaker.status.state) == "half_open"
        release = asyncio.Event()

        async def slow(_: Attempt) -> str:
            await release.wait()
            return "ok"

        probe = asyncio.create_task(resilience.call(slow, effect=Effect.READ))
        await asyncio.sleep(0.1)
        with pytest.raises(CircuitOpenError, match="probing"):
            await resilience.call(Service("ok"), effect=Effect.READ)
        release.set()
        assert await probe == "ok"
        assert str(resilience.breaker.status.state) == "closed"

    run(main())


class Hand:
    """Time turned by hand, and a breaker that goes by it."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self.now = 1_000.0
        self.breaker = CircuitBreaker(policy, name="x", timing=Timing(monotonic=lambda: self.now))

    def call(self, outcome: Outcome) -> None:
        """One call that ends at once."""
        error = TransportError("x") if outcome == "unavailable" else None
        self.breaker.leave(self.breaker.enter(), outcome, error)


def test_the_share_of_failures_opens_it_once_there_are_enough_calls() -> None:
    """Half of twenty, with answers in between; nineteen say nothing, old ones are forgotten."""
    hand = Hand(BreakerPolicy())
    for _ in range(2):
        for number in range(19):
            hand.call("answered" if number % 2 else "unavailable")
            hand.now += 0.1
        assert hand.breaker.status.state == "closed"
        hand.now += 10.0
    for number in range(20):
        assert hand.breaker.status.state == "closed"
        hand.call("unavailable" if number % 2 else "answered")
        hand.now += 0.2
    assert hand.breaker.status.state == "open"


def test_a_short_outage_and_one_dropped_connection_do_not_open_it() -> None:
    """Thirty calls that overlap are one failure; many failures in less than a second are none."""
    hand = Hand(BreakerPolicy(failure_rate=1.0, minimum_calls=1_000))
    passes = [hand.breaker.enter() for _ in range(30)]
    hand.now += 30.0
    for each in passes:
        hand.breaker.leave(each, "unavailable", TransportError("cut"))
    assert str(hand.breaker.status.state) == "closed"
    hand.call("answered")
    for _ in range(9):
        hand.call("unavailable")
        hand.now += 0.1
    assert str(hand.breaker.status.state) == "closed"
    hand.now += 0.5
    hand.call("unavailable")
    assert str(hand.breaker.status.state) == "open"


@pytest.mark.parametrize("end", ["cancelled", "timed out", "cut short", "failed", "refused"])
def test_how_a_probe_may_end(end: str) -> None:
    """No answer opens it again, any answer closes it, and what says nothing leaves the probe."""

    async def main() -> None:
        policy = BreakerPolicy(consecutive_failures=1, minimum_outage_seconds=0)
        resilience = Resilience("x", timing=timing(), breaker=policy, retry=RetryPolicy(attempts=1))

        async def probe(_: Attempt) -> str:
            if end == "failed":
                raise TransportError("down")
            if end == "refused":
                raise AuthenticationError("who?")
            await asyncio.Event().wait()
            return "never"

        with suppress(TransportError):
            await resilience.call(Service(TransportError("down")), effect=Effect.READ)
        await asyncio.sleep(5.0)
        deadline = resilience.deadline({"timed out": 2.0, "cut short": 0.5}.get(end))
        task = asyncio.create_task(resilience.call(probe, effect=Effect.READ, deadline=deadline))
        await asyncio.sleep(0.1)
        if end == "cancelled":
            task.cancel()
        with suppress(TransportError, AuthenticationError, asyncio.CancelledError):
            await task
        state = str(resilience.breaker.status.state)
        wanted = {"timed out": "open", "failed": "open", "refused": "closed"}
        assert state == wanted.get(end, "half_open")
        if state == "open":
            with pytest.raises(CircuitOpenError):
                await resilience.call(Service("ok"), effect=Effect.READ)
            await asyncio.sleep(5.0)
        assert await resilience.call(Service("ok"), effect=Effect.READ) == "ok"
        assert str(resilience.breaker.status.state) == "closed"

    run(main())


@pytest.mark.parametrize(
    ("error", "waited", "outcome"),
    [
        (None, 0.0, "answered"),
        (RateLimitedError("x"), 0.0, "answered"),
        (ItemNotFoundError("x"), 0.0, "answered"),
        (TransportError("x"), 0.0, "unavailable"),
        (AttemptTimeoutError("x"), 0.9, "unjudged"),
        (AttemptTimeoutError("x"), 1.0, "unavailable"),
        (asyncio.CancelledError(), 9.0, "unjudged"),
        (ValueError("x"), 0.0, "unjudged"),
    ],
)
def test_what_an_end_says(error: BaseException | None, waited: float, outcome: str) -> None:
    """Any answer shows that the service is there; a bug or a cancellation shows nothing."""
    assert CircuitBreaker().judge(error, waited) == outcome


def _any_flying(machine: Breaker) -> bool:
    return bool(machine.flying)


def _is_probing(machine: Breaker) -> bool:
    return machine.probe is not None


class Breaker(RuleBasedStateMachine):
    """Any order of calls that overlap, against what must always hold."""

    def __init__(self) -> None:
        super().__init__()
        self.hand = Hand(BreakerPolicy(consecutive_failures=2, minimum_calls=6))
        self.flying: list[Pass] = []
        self.probe: Pass | None = None
        self.opened_at: float | None = None

    @rule(seconds=st.floats(0.01, 4.0))
    def time_passes(self, seconds: float) -> None:
        """Of itself it only ever lets a probe through."""
        before = self.hand.breaker.status.state
        self.hand.now += seconds
        after = self.hand.breaker.status.state
        assert (before, after) in {(before, before), ("open", "half_open")}

    @rule()
    def enter(self) -> None:
        """Passes while closed, and one at a time, late enough, otherwise."""
        status = self.hand.breaker.status
        free = status.state == "closed" or (status.state == "half_open" and self.probe is None)
        if not free:
            with pytest.raises(CircuitOpenError) as caught:
                self.hand.breaker.enter()
            assert caught.value.retry_after_seconds == status.probe_in_seconds
            return
        entered = self.hand.breaker.enter()
        assert entered.is_probe == (status.state == "half_open")
        if entered.is_probe:
            assert self.opened_at is not None
            assert self.hand.now >= self.opened_at + 5.0
            self.probe = entered
        else:
            self.flying.append(entered)

    @precondition(_any_flying)
    @rule(data=st.data(), outcome=st.sampled_from(["answered", "unavailable", "unjudged"]))
    def leave(self, data: st.DataObject, outcome: Outcome) -> None:
        """Only a failure while closed opens it; a call from before says nothing."""
        entered = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        before = self.hand.breaker.status.state
        self.hand.breaker.leave(entered, outcome, TransportError("x"))
        after = self.hand.breaker.status.state
        if after != before:
            assert (before, after, outcome) == ("closed", "open", "unavailable")
            self.opened_at = self.hand.now

    @precondition(_is_probing)
    @rule(outcome=st.sampled_from(["answered", "unavailable", "unjudged"]))
    def end_probe(self, outcome: Outcome) -> None:
        """Its end decides."""
        assert self.probe is not None
        self.hand.breaker.leave(self.probe, outcome, TransportError("x"))
        self.probe = None
        wanted = {"answered": "closed", "unavailable": "open", "unjudged": "half_open"}
        assert self.hand.breaker.status.state == wanted[outcome]
        if outcome == "unavailable":
            self.opened_at = self.hand.now

    @invariant()
    def the_early_check_agrees(self) -> None:
        """`check` refuses exactly when `enter` would."""
        state = self.hand.breaker.status.state
        free = state == "closed" or (state == "half_open" and self.probe is None)
        try:
            self.hand.breaker.check()
        except CircuitOpenError:
            assert not free
        else:
            assert free


TestBreaker = Breaker.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=40)
