"""Many calls, few at a time: in order, with their errors, and nothing left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from storage_providers.errors import ConfigurationError, TransportError
from storage_providers.resilience import map_bounded, stream_bounded
from tests.resilience.virtual import run


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


async def _double(number: int) -> int:
    await asyncio.sleep(10 - number % 7)
    if number == 13:
        raise TransportError("unlucky")
    return 2 * number


async def _collect(stream: AsyncIterator[int], into: list[int]) -> None:
    async for each in stream:
        into.append(each)  # noqa: PERF401 - what came before an error is to be kept.


def test_an_asynchronous_source_is_read_as_needed_and_closed() -> None:
    """At most `limit` items are taken ahead, and its own clean-up has run at the end."""

    async def main() -> None:
        taken = 0
        closed = False

        async def source() -> AsyncIterator[int]:
            nonlocal taken, closed
            try:
                for number in range(1_000):
                    taken += 1
                    yield number % 7
            finally:
                await asyncio.sleep(1)
                closed = True

        async with aclosing(stream_bounded(_double, source(), limit=5)) as stream:
            for number in range(3):
                assert await anext(stream) == 2 * number
                await asyncio.sleep(100)
                assert taken <= number + 1 + 5
        assert closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failing_source_is_raised_after_what_it_gave(asynchronous: bool) -> None:
    """The results before it come first, then the source's own error."""

    async def main() -> None:
        def plain() -> Iterator[int]:
            yield from range(3)
            raise LookupError("source")

        async def later() -> AsyncIterator[int]:
            for number in range(3):
                yield number
            raise LookupError("source")

        got: list[int] = []
        stream = stream_bounded(_double, later() if asynchronous else plain(), limit=2)
        with pytest.raises(LookupError, match="source"):
            await _collect(stream, got)
        assert got == [0, 2, 4]
        with pytest.raises(LookupError, match="source"):
            await map_bounded(_double, plain(), limit=2)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_a_failing_item_is_raised_where_its_result_would_have_come() -> None:
    """All before it are given, none after it, and what was in flight is cancelled."""

    async def main() -> None:
        got: list[int] = []
        with pytest.raises(TransportError, match="unlucky"):
            await _collect(stream_bounded(_double, range(30), limit=4), got)
        assert got == [2 * number for number in range(13)]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


@pytest.mark.parametrize("limit", [1, 4])
def test_a_cancelled_run_leaves_no_task(limit: int) -> None:
    """Cancelled from outside, or a call that was cancelled by itself: both end in that."""

    async def main() -> None:
        async def consume() -> None:
            async for _ in stream_bounded(_double, range(10), limit=limit):
                pass

        async def gives_up(number: int) -> None:
            await asyncio.sleep(1)
            if number == 1:
                raise asyncio.CancelledError

        for coroutine in (consume(), map_bounded(_double, range(10), limit=limit)):
            task: asyncio.Task[object] = asyncio.create_task(coroutine)
            await asyncio.sleep(5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(asyncio.CancelledError):
            await map_bounded(gives_up, range(3), limit=limit)

    run(main())


def test_errors_at_the_same_time_are_noted() -> None:
    """The first is raised itself; how many more there were, and which, is a note on it."""

    async def main() -> None:
        async def fail(number: int) -> None:
            try:
                await asyncio.sleep(1 + number)
            finally:
                if number:
                    raise [KeyError, LookupError][number - 1](number)
            raise TransportError("first")

        with pytest.raises(TransportError, match="first") as caught:
            await map_bounded(fail, range(3), limit=3)
        assert caught.value.__notes__ == [
            "2 more calls failed at the same time: KeyError, LookupError"
        ]

    run(main())


def test_nothing_to_do_and_a_wrong_limit() -> None:
    """No items, no calls; a limit below 1 is refused."""

    async def main() -> None:
        assert await map_bounded(_double, []) == []
        assert await map_bounded(_double, iter(())) == []
        assert [each async for each in stream_bounded(_double, [])] == []
        with pytest.raises(ConfigurationError, match="limit is 0"):
            await anext(stream_bounded(_double, [1], limit=0))

    run(main())
