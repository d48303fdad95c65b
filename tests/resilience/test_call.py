"""What is sent, repeated and raised, and what a call leaves behind when it is cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers.errors import (
    ConfigurationError,
    DeadlineExceededError,
    ItemExistsError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    TransportError,
)
from storage_providers.resilience import (
    Attempt,
    AttemptReport,
    BreakerPolicy,
    Effect,
    NotSentError,
    RateBudget,
    RateLimit,
    Resilience,
    RetryPolicy,
    map_bounded,
)
from tests.resilience.virtual import Service, run, timing


@pytest.mark.parametrize(
    ("effect", "answers", "calls", "expected"),
    [
        (Effect.READ, [TransportError("x"), TransportError("x"), "ok"], 3, None),
        (Effect.READ, [TransportError("x")] * 4, 3, TransportError),
        (Effect.READ, [ItemExistsError("x"), "ok"], 1, ItemExistsError),
        (Effect.WRITE, [TransportError("x"), "ok"], 1, OutcomeUnknownError),
        (Effect.WRITE, [NotSentError("x"), RateLimitedError("x"), "ok"], 3, None),
        (Effect.WRITE, [NotSentError("x")] * 3, 3, NotSentError),
        (Effect.IDEMPOTENT_WRITE, [OutcomeUnknownError("x"), "ok"], 2, None),
        (Effect.IDEMPOTENT_WRITE, [TransportError("x")] * 3, 3, OutcomeUnknownError),
        (
            Effect.IDEMPOTENT_WRITE,
            [TransportError("x"), NotSentError("x"), NotSentError("x")],
            3,
            OutcomeUnknownError,
        ),
        (Effect.IDEMPOTENT_WRITE, [TransportError("x"), ItemExistsError("x")], 2, ItemExistsError),
    ],
)
def test_what_is_repeated(
    effect: Effect,
    answers: list[StorageError | str],
    calls: int,
    expected: type[StorageError] | None,
) -> None:
    """Only what may help and is safe; a write that may have landed says so in the end."""

    async def main() -> None:
        service = Service(*answers)
        resilience = Resilience("x", timing=timing())
        if expected is None:
            assert await resilience.call(service, effect=effect) == "ok"
        else:
            with pytest.raises(expected) as caught:
                await resilience.call(service, effect=effect)
            assert type(caught.value) is expected
        assert [each.number for each in service.attempts] == list(range(1, calls + 1))

    run(main())


@pytest.mark.parametrize(("asked", "calls"), [(7.0, 2), (61.0, 1)])
def test_retry_after_is_waited_for_or_raised(asked: float, calls: int) -> None:
    """A wait the service asks for is kept, one over the maximum is raised without a sleep."""

    async def main() -> None:
        clock = timing()
        began = clock.monotonic()
        service = Service(RateLimitedError("slow", retry_after_seconds=asked), "ok")
        call = Resilience("x", timing=clock, deadline_seconds=500).call(service, effect=Effect.READ)
        if calls == 2:
            assert await call == "ok"
            assert clock.monotonic() - began == pytest.approx(asked + 0.5)
        else:
            with pytest.raises(RateLimitedError):
                await call
            assert clock.monotonic() == began
        assert len(service.attempts) == calls

    run(main())


@pytest.mark.parametrize(
    ("effect", "expected"),
    [(Effect.READ, DeadlineExceededError), (Effect.WRITE, OutcomeUnknownError)],
)
def test_a_stalled_call_ends_at_the_deadline(effect: Effect, expected: type[StorageError]) -> None:
    """The deadline ends a call that hangs; a write that hung may have landed."""

    async def main() -> None:
        clock = timing()
        began = clock.monotonic()

        async def hang(_: Attempt) -> None:
            await asyncio.Event().wait()

        resilience = Resilience("x", timing=clock, deadline_seconds=5.0)
        with pytest.raises(expected) as caught:
            await resilience.call(hang, effect=effect)
        assert clock.monotonic() - began == pytest.approx(5.0)
        if isinstance(caught.value, DeadlineExceededError):
            assert (caught.value.deadline_seconds, caught.value.attempts) == (5.0, 1)

    run(main())


@pytest.mark.parametrize("where", ["sending", "sleeping", "queued", "probing"])
def test_a_cancelled_call_leaves_nothing_behind(where: str) -> None:
    """Wherever it waits: the turn and the probe are free again, and the next call goes through."""

    async def main() -> None:
        clock = timing()
        calls = 1 if where == "queued" else 100
        budget = RateBudget(RateLimit(calls=calls, window_seconds=10.0), timing=clock)
        resilience = Resilience(
            "x",
            timing=clock,
            budget=budget,
            breaker=BreakerPolicy(consecutive_failures=1, minimum_outage_seconds=0)
            if where == "probing"
            else None,
            retry=RetryPolicy(attempts=1 if where == "probing" else 3),
        )
        begun = 0

        async def hang(_: Attempt) -> str:
            nonlocal begun
            begun += 1
            if where == "sleeping":
                raise TransportError("down")
            await asyncio.Event().wait()
            return "never"

        if where == "queued":
            budget.refund(await budget.acquire())
            assert await resilience.call(Service("ok"), effect=Effect.READ) == "ok"
        if where == "probing":
            with suppress(TransportError):
                await resilience.call(Service(TransportError("down")), effect=Effect.READ)
            await asyncio.sleep(5.0)
        task = asyncio.create_task(resilience.call(hang, effect=Effect.READ))
        await asyncio.sleep(0.1)
        assert begun == (0 if where == "queued" else 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        began = clock.monotonic()
        assert await resilience.call(Service("ok"), effect=Effect.WRITE) == "ok"
        assert clock.monotonic() - began == pytest.approx(9.9 if where == "queued" else 0.0)
        assert resilience.breaker.status.state == "closed"

    run(main())


@pytest.mark.parametrize("answer", ["ok", OutcomeUnknownError("cut")])
def test_a_failing_hook_changes_no_outcome(
    answer: str | StorageError, caplog: pytest.LogCaptureFixture
) -> None:
    """What `on_attempt` raises is logged by name; the write's own end stands, and is counted."""

    async def main() -> None:
        def hook(_: AttemptReport) -> None:
            raise ValueError("with a secret")

        budget = RateBudget(RateLimit(calls=1, window_seconds=1.0), timing=timing())
        resilience = Resilience("x", timing=timing(), budget=budget, on_attempt=hook)
        call = resilience.call(Service(answer), effect=Effect.WRITE)
        if isinstance(answer, StorageError):
            with pytest.raises(OutcomeUnknownError) as caught:
                await call
            assert caught.value is answer
        else:
            assert await call == "ok"
        assert await resilience.call(Service("ok"), effect=Effect.READ) == "ok"

    with caplog.at_level(logging.ERROR, "storage_providers"):
        run(main())
    assert [each.getMessage() for each in caplog.records] == [
        "on_attempt raised ValueError, which was ignored"
    ] * 2


def test_every_attempt_is_reported() -> None:
    """Number, duration and the error's name, for each attempt that was begun."""

    async def main() -> None:
        reports: list[AttemptReport] = []
        resilience = Resilience("x", timing=timing(), on_attempt=reports.append)

        async def send(attempt: Attempt) -> str:
            await asyncio.sleep(2.0)
            if attempt.number == 1:
                raise NotSentError("refused")
            return "ok"

        assert await resilience.call(send, effect=Effect.WRITE, operation="put") == "ok"
        assert reports == [
            AttemptReport("put", 1, 2.0, "NotSentError"),
            AttemptReport("put", 2, 2.0, None),
        ]

    run(main())


def test_an_attempt_has_its_own_time_and_the_next_may_succeed() -> None:
    """A stalled attempt of a read is cut off and repeated; a later attempt knows of landing."""

    async def main() -> None:
        clock = timing()
        seen: list[Attempt] = []
        resilience = Resilience("x", timing=clock, attempt_timeout_seconds=3.0)

        async def send(attempt: Attempt) -> str:
            seen.append(attempt)
            if attempt.number == 1:
                await asyncio.Event().wait()
            return "ok"

        began = clock.monotonic()
        assert await resilience.call(send, effect=Effect.IDEMPOTENT_WRITE) == "ok"
        assert clock.monotonic() - began == pytest.approx(3.5)
        assert seen == [Attempt(1, 3.0, False), Attempt(2, 3.0, True)]

    run(main())


def test_a_write_whose_turn_comes_too_late_is_not_sent() -> None:
    """The time is up when the turn comes: nothing was sent, so nothing is unknown."""

    async def main() -> None:
        clock = timing()
        budget = RateBudget(RateLimit(calls=1, window_seconds=10.0), timing=clock)
        resilience = Resilience("x", timing=clock, budget=budget, deadline_seconds=10.0)
        await budget.acquire()
        service = Service("ok")
        with pytest.raises(DeadlineExceededError) as caught:
            await resilience.call(service, effect=Effect.WRITE)
        assert isinstance(caught.value.__cause__, NotSentError)
        assert service.attempts == []
        assert await resilience.call(service, effect=Effect.WRITE) == "ok"

    run(main())


def test_a_timeout_of_the_drivers_own_is_left_alone() -> None:
    """Only our own timer makes an attempt's time-out."""

    async def main() -> None:
        async def send(_: Attempt) -> str:
            raise TimeoutError("another's")

        with pytest.raises(TimeoutError, match="another's"):
            await Resilience("x", timing=timing()).call(send, effect=Effect.READ)

    run(main())


def test_one_deadline_serves_many_calls() -> None:
    """Pages of one operation share its time; the last that does not fit says how long it had."""

    async def main() -> None:
        resilience = Resilience("x", timing=timing())
        deadline = resilience.deadline(5.0)

        async def page(_: Attempt) -> str:
            await asyncio.sleep(2.0)
            return "ok"

        for _ in range(2):
            assert await resilience.call(page, effect=Effect.READ, deadline=deadline) == "ok"
        with pytest.raises(DeadlineExceededError, match="not done within 5 s"):
            await resilience.call(page, effect=Effect.READ, deadline=deadline)

    run(main())


@given(
    attempt=st.integers(1, 5_000),
    jitter=st.floats(0, 1),
    asked=st.none() | st.floats(0, 100),
    limited=st.booleans(),
)
def test_waits_lie_between_what_was_asked_for_and_the_bound(
    attempt: int, jitter: float, asked: float | None, limited: bool
) -> None:
    """Full jitter above the service's own wait, for any attempt."""
    policy = RetryPolicy()
    error = (RateLimitedError if limited else TransportError)("x", retry_after_seconds=asked)
    floor = (1.0 if limited else 0.0) if asked is None else asked
    bound = min(8.0, 0.5 * 2.0 ** min(attempt - 1, 10))
    delay = policy.delay_seconds(attempt, error, jitter)
    assert delay == pytest.approx(floor + jitter * bound)
    assert floor <= delay <= floor + bound


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: RetryPolicy(attempts=0), "attempts is 0"),
        (lambda: RetryPolicy(base_delay_seconds=-1), "base_delay_seconds is -1"),
        (lambda: RetryPolicy(max_delay_seconds=float("nan")), "max_delay_seconds is nan"),
        (lambda: RateLimit(calls=0), "calls is 0"),
        (lambda: RateLimit(window_seconds=0), "window_seconds is 0"),
        (lambda: BreakerPolicy(failure_rate=0), "failure_rate is 0"),
        (lambda: BreakerPolicy(failure_rate=1.1), "failure_rate is 1.1"),
        (lambda: BreakerPolicy(open_seconds=0), "open_seconds is 0"),
        (lambda: Resilience("x", deadline_seconds=0), "deadline_seconds is 0"),
        (lambda: Resilience("x", deadline_seconds=float("inf")), "deadline_seconds is inf"),
        (lambda: Resilience("x", attempt_timeout_seconds=0), "^attempt_timeout_seconds is 0"),
        (lambda: asyncio.run(map_bounded(asyncio.sleep, [1], limit=0)), "limit is 0"),
    ],
)
def test_wrong_numbers_are_refused_by_name(make: Callable[[], object], named: str) -> None:
    """At once, naming the setting and its value."""
    with pytest.raises(ConfigurationError, match=named):
        make()
