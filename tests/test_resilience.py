"""Retry, deadline, breaker, budget and bounded calls, on a loop whose time is turned by hand."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers.errors import (
    DeadlineExceededError,
    ItemExistsError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    TransportError,
)
from storage_providers.resilience import (
    Attempt,
    CircuitOpenError,
    Effect,
    NotSentError,
    RateBudget,
    RateLimit,
    Resilience,
    Timing,
    map_bounded,
    read_headers,
    shared_budget,
    stream_bounded,
)

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that, instead of sleeping, turns its own clock to the next timer."""

    def __init__(self) -> None:
        self.now = 1_000.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """The loop's own time."""
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> Any:
        """Nothing is ever waited for; waiting for nothing at all is a deadlock."""
        assert timeout is not None, "every task waits and no timer is set"
        self.loop.now += max(0.0, timeout)
        return super().select(0)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on a virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def timing() -> Timing:
    """The running loop's time; the largest jitter."""
    return Timing(monotonic=asyncio.get_running_loop().time, jitter=lambda: 1.0)


class Service:
    """Answers with what it was given, one answer a call; counts the calls."""

    def __init__(self, *answers: StorageError | str) -> None:
        self.answers = list(answers)
        self.attempts: list[Attempt] = []

    async def __call__(self, attempt: Attempt) -> str:
        self.attempts.append(attempt)
        answer = self.answers.pop(0)
        if isinstance(answer, StorageError):
            raise answer
        return answer


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


@given(
    arrivals=st.lists(st.floats(0, 40), min_size=1, max_size=25),
    calls=st.integers(1, 4),
    cancelled=st.sets(st.integers(0, 24), max_size=5),
)
def test_the_budget_is_never_exceeded_and_starves_nobody(
    arrivals: list[float], calls: int, cancelled: set[int]
) -> None:
    """For any arrivals and cancellations: at most N calls a window, in order of arrival."""

    async def main() -> None:
        budget = RateBudget(RateLimit(calls=calls, window_seconds=10.0), timing=timing())
        went: list[tuple[int, float]] = []

        async def one(number: int, delay: float) -> None:
            await asyncio.sleep(delay)
            await budget.acquire()
            went.append((number, asyncio.get_running_loop().time()))
            budget.done()

        ordered = sorted(arrivals)
        tasks = [asyncio.create_task(one(*each)) for each in enumerate(ordered)]
        await asyncio.sleep(20.0)
        for number in cancelled:
            if number < len(tasks):
                tasks[number].cancel()
        await asyncio.wait(tasks)
        assert all(task.done() for task in tasks)
        times = [at for _, at in went]
        assert times == sorted(times)
        for first, later in zip(times, times[calls:], strict=False):
            assert first + 10.0 <= later
        assert {number for number, _ in went} >= set(range(len(tasks))) - cancelled

    run(main())


def test_a_wait_beyond_the_deadline_is_refused_and_a_block_is_kept() -> None:
    """A 429 with Retry-After stops all calls; who has no time for that is told at once."""

    async def main() -> None:
        clock = timing()
        budget = RateBudget(RateLimit(calls=100, window_seconds=10.0), timing=clock)
        budget.learn({"Retry-After": "300"}, 429)
        resilience = Resilience("x", timing=clock, budget=budget, deadline_seconds=5.0)
        with pytest.raises(RateLimitedError) as caught:
            await resilience.call(Service("ok"), effect=Effect.READ)
        assert caught.value.retry_after_seconds == pytest.approx(300)
        began = clock.monotonic()
        await budget.acquire()
        assert clock.monotonic() - began == pytest.approx(300)

    run(main())


def test_headers_in_every_spelling() -> None:
    """The names in use, dates by the service's own clock, and nonsense is not said."""
    assert read_headers({"X-RateLimit-Remaining": "7"}, 0).remaining == 7
    both = read_headers({"Ratelimit": '"default";r=50;t=30'}, 0)
    assert (both.remaining, both.reset_seconds) == (50, 30)
    dated = {
        "Date": "Sat, 21 Nov 2026 05:00:00 GMT",
        "retry-after": "Sat, 21 Nov 2026 05:01:00 GMT",
    }
    assert read_headers(dated, 0).retry_after_seconds == 60
    assert read_headers({"Retry-After": "soon"}, 0).retry_after_seconds is None


def test_one_token_has_one_budget() -> None:
    """The same secret gives the same budget, which does not hold the secret."""
    limit = RateLimit(calls=5, window_seconds=1.0)
    budget = shared_budget("very-secret", limit)
    assert shared_budget("very-secret", limit) is budget
    assert shared_budget("other", limit) is not budget
    assert "very-secret" not in repr(vars(budget))


def test_bounded_calls_fail_bare_and_leave_no_task() -> None:
    """Results in order, at most `limit` in flight, the first error itself, nothing left over."""

    async def main() -> None:
        running = most = 0

        async def work(number: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(10 - number % 7)
                if number == 15:
                    raise TransportError("broken")
                return number
            finally:
                running -= 1

        assert await map_bounded(work, range(15), limit=4) == list(range(15))
        with pytest.raises(TransportError, match="broken"):
            await map_bounded(work, range(40), limit=4)
        got: list[int] = []
        async with aclosing(stream_bounded(work, range(1_000), limit=4)) as stream:
            async for each in stream:
                got.append(each)
                if each == 9:
                    break
        assert (got, running, most) == (list(range(10)), 0, 4)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
