"""The rate budget: turns in order, never too many, from any task, loop or thread."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers.errors import ConfigurationError, RateLimitedError
from storage_providers.resilience import (
    Deadline,
    Effect,
    RateBudget,
    RateLimit,
    Resilience,
    Timing,
    shared_budget,
)
from tests.resilience.virtual import Service, run, timing


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


def test_one_token_has_one_budget() -> None:
    """The same secret gives the same budget, which does not hold the secret."""
    limit = RateLimit(calls=5, window_seconds=1.0)
    budget = shared_budget("very-secret", limit)
    assert shared_budget("very-secret", limit) is budget
    assert shared_budget("other", limit) is not budget
    assert "very-secret" not in repr(vars(budget))


def test_a_refund_frees_its_own_turn() -> None:
    """Giving back an old turn must not forget a newer call: the window stays whole."""

    async def main() -> None:
        clock = timing()
        budget = RateBudget(RateLimit(calls=2, window_seconds=10.0), timing=clock)
        old = await budget.acquire()
        await asyncio.sleep(9.0)
        await budget.acquire()
        budget.refund(old)
        began = clock.monotonic()
        await budget.acquire()
        assert clock.monotonic() == began
        await budget.acquire()
        assert clock.monotonic() - began == pytest.approx(10.0)

    run(main())


def test_a_refund_lets_the_next_in_line_go() -> None:
    """Who waits goes at once, and a turn that was given to a cancelled task is another's."""

    async def main() -> None:
        clock = timing()
        budget = RateBudget(RateLimit(calls=1, window_seconds=10.0), timing=clock)
        turn = await budget.acquire()
        first, second = (asyncio.create_task(budget.acquire()) for _ in range(2))
        await asyncio.sleep(1.0)
        budget.refund(turn)
        first.cancel()  # It has the turn already, and does not know.
        await asyncio.wait([first, second])
        assert first.cancelled()
        assert second.result() == turn + 1.0

    run(main())


def test_what_the_service_says_is_kept() -> None:
    """The calls that remain are made, then none until the reset; the new window is believed."""

    async def main() -> None:
        clock = timing()
        began = clock.monotonic()
        budget = RateBudget(RateLimit(calls=100, window_seconds=300.0), timing=clock)
        await budget.acquire()
        budget.learn({"X-RateLimit-Remaining": "2", "X-RateLimit-Reset": "30"})
        budget.done()
        went = []
        for _ in range(4):
            await budget.acquire()
            went.append(clock.monotonic() - began)
            budget.done()
        assert went == pytest.approx([0, 0, 30, 30])
        await budget.acquire()
        budget.learn({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"})
        waiting = asyncio.create_task(budget.acquire())
        await asyncio.sleep(1.0)
        assert not waiting.done()
        budget.learn({"X-RateLimit-Remaining": "50", "X-RateLimit-Reset": "300"})
        await waiting
        assert clock.monotonic() - began == pytest.approx(31)

    run(main())


def test_an_answer_that_was_overtaken_gives_no_calls_back() -> None:
    """Of answers that overlap, the one with the fewest calls left is the newest."""

    async def main() -> None:
        clock = timing()
        budget = RateBudget(RateLimit(calls=100, window_seconds=300.0), timing=clock)
        for _ in range(3):
            await budget.acquire()
        for remaining in ("1", "2", "3"):
            budget.learn({"ratelimit": f'"default";r={remaining};t=60'})
            budget.done()
        began = clock.monotonic()
        await budget.acquire()
        assert clock.monotonic() - began in (0.0, pytest.approx(60.0))
        await budget.acquire()
        assert clock.monotonic() - began == pytest.approx(60.0)

    run(main())


def test_a_refusal_without_a_time_stops_only_who_asked() -> None:
    """A 429 that names no wait is about one key, not about the account."""

    async def main() -> None:
        clock = timing()
        budget = RateBudget(RateLimit(calls=5, window_seconds=10.0), timing=clock)
        began = clock.monotonic()
        budget.learn({}, 429)
        await budget.acquire()
        assert clock.monotonic() == began
        budget.learn({"x-ratelimit-reset": "7"}, 429)
        await budget.acquire()
        assert clock.monotonic() - began == pytest.approx(7.0)

    run(main())


def test_news_from_the_service_reach_those_who_wait() -> None:
    """A block tells at once those whose time ends before it; the others keep their order."""

    async def main() -> None:
        clock = timing()
        budget = RateBudget(RateLimit(calls=1, window_seconds=10.0), timing=clock)
        began = clock.monotonic()
        await budget.acquire()
        patient = asyncio.create_task(budget.acquire())
        hasty = asyncio.create_task(budget.acquire(Deadline(60.0, clock)))
        await asyncio.sleep(1.0)
        budget.block(100.0)
        with pytest.raises(RateLimitedError):
            await hasty
        assert clock.monotonic() - began == pytest.approx(1.0)
        assert await patient - began == pytest.approx(101.0)

    run(main())


@given(waiting=st.integers(0, 12), calls=st.integers(1, 4), used=st.integers(0, 4))
def test_the_wait_that_is_announced_is_the_wait(waiting: int, calls: int, used: int) -> None:
    """Who has a second less than it takes is refused at once, with the time that it would take."""

    async def main() -> None:
        clock = timing()
        budget = RateBudget(RateLimit(calls=calls, window_seconds=10.0), timing=clock)
        for _ in range(min(used, calls)):
            await budget.acquire()
            await asyncio.sleep(1.0)
        budget.block(3.0)
        tasks = [asyncio.create_task(budget.acquire()) for _ in range(waiting)]
        await asyncio.sleep(0)
        now = clock.monotonic()
        with pytest.raises(RateLimitedError) as caught:
            await budget.acquire(Deadline(0.001, clock))
        announced = caught.value.retry_after_seconds
        assert announced is not None
        assert await budget.acquire() - now == pytest.approx(announced)
        await asyncio.gather(*tasks)

    run(main())


def test_a_loop_that_died_in_the_queue_holds_nobody_up() -> None:
    """Its place goes to the next, from whatever loop that is."""
    now = [0.0]
    budget = RateBudget(
        RateLimit(calls=1, window_seconds=10.0), timing=Timing(monotonic=lambda: now[0])
    )
    asyncio.run(_once(budget))
    dead = asyncio.new_event_loop()
    task = dead.create_task(budget.acquire())
    dead.call_soon(dead.call_soon, dead.stop)
    dead.run_forever()
    assert not task.done()
    dead.close()
    now[0] = 10.0
    asyncio.run(_once(budget))
    task.get_coro().close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task
    gc.collect()
    now[0] = 20.0
    asyncio.run(_once(budget))


async def _once(budget: RateBudget) -> None:
    await budget.acquire(Deadline(5.0))
    budget.done()


def test_threads_with_loops_of_their_own_share_one_budget() -> None:
    """Eight threads, all of the calls, never more than allowed in a window."""
    budget = RateBudget(RateLimit(calls=20, window_seconds=0.02))
    went: list[float] = []
    gate = threading.Barrier(8)

    async def use() -> None:
        async def one() -> None:
            went.append(await budget.acquire())
            budget.done()

        await asyncio.gather(*(one() for _ in range(20)))

    def work() -> None:
        gate.wait()
        asyncio.run(use())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    went.sort()
    assert len(went) == 160
    for first, later in zip(went, went[20:], strict=False):
        assert first + 0.02 <= later


def test_a_long_queue_costs_little() -> None:
    """Ten thousand who wait: each is woken a few times, not once for every other."""

    async def main() -> None:
        clock = timing()
        reads = 0

        def monotonic() -> float:
            nonlocal reads
            reads += 1
            return clock.monotonic()

        budget = RateBudget(
            RateLimit(calls=100, window_seconds=10.0), timing=Timing(monotonic=monotonic)
        )
        await asyncio.gather(*(budget.acquire() for _ in range(10_000)))
        assert reads <= 40_000

    run(main())


def test_one_token_has_one_limit() -> None:
    """Another limit for the same token is refused, with both numbers and without the token."""
    held = shared_budget("clash-secret", RateLimit(calls=5, window_seconds=1.0))
    with pytest.raises(ConfigurationError, match="5 calls in 1 s") as caught:
        shared_budget("clash-secret", RateLimit(calls=6, window_seconds=1.0))
    assert "clash-secret" not in str(caught.value)
    assert held.limit.calls == 5


def test_a_budget_is_remembered_for_as_long_as_the_service_remembers() -> None:
    """No driver is left: the calls of the last window still count, later nothing does."""
    limit = RateLimit(calls=1, window_seconds=10.0)

    async def main() -> None:
        clock = timing()
        await _once(shared_budget("kept", limit, timing=clock))
        gc.collect()
        with pytest.raises(RateLimitedError):
            await shared_budget("kept", limit).acquire(Deadline(5.0, clock))
        await asyncio.sleep(10.0)
        shared_budget("another", limit)
        gc.collect()
        other = RateLimit(calls=2, window_seconds=10.0)
        assert shared_budget("kept", other).limit == other

    run(main())
