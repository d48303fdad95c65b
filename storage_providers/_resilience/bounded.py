"""Many calls, few at a time: results in order, no task left behind."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import aclosing
from typing import Any, TypeVar, cast

from storage_providers.errors import ConfigurationError

__all__ = ["CONCURRENCY", "map_bounded", "stream_bounded"]

T = TypeVar("T")
R = TypeVar("R")

CONCURRENCY = 32
"""Calls in flight unless a driver says otherwise. Ours: at 30 ms each, a thousand a second."""


async def map_bounded(
    function: Callable[[T], Awaitable[R]], items: Iterable[T], *, limit: int = CONCURRENCY
) -> list[R]:
    """Call a function for every item, with at most `limit` calls in flight.

    The first failure cancels the calls in flight and nothing more is begun. Whether it fails, is
    cancelled or succeeds: when it ends, no task of it runs.

    Args:
        function: Makes one call.
        items: What to call it with; taken one by one, as calls begin.
        limit: Most calls in flight.

    Returns:
        The results, in the order of `items`.

    Raises:
        ConfigurationError: `limit` is below 1.
        BaseException: What the first failing call raised, itself and not in a group; a note
            names the others.
    """
    _check(limit)
    results: dict[int, R] = {}
    queue = enumerate(items)
    begun = 0

    async def work() -> None:
        nonlocal begun
        for position, item in queue:
            begun += 1
            results[position] = await function(item)

    if isinstance(items, Sequence):
        limit = min(limit, len(items))
    if limit <= 1:
        await work()
    else:
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(limit):
                    group.create_task(work())
        except BaseExceptionGroup as group_error:
            failure = _first(group_error)
        if failure is not None:
            # Raised out here, so that the group is not shown as its context.
            raise failure
    if len(results) < begun:
        # A call was cancelled from outside, which a task group takes for an end like any other.
        raise asyncio.CancelledError
    return [results[position] for position in range(begun)]


async def stream_bounded(
    function: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int = CONCURRENCY,
) -> AsyncGenerator[R, None]:
    """Call a function for every item and give the results in order, as they are asked for.

    At most `limit` calls are in flight or finished and not yet taken, so memory stays flat
    whatever the number of items, and a slow reader slows the calls. A failure is raised where its
    result would have come. Iterate inside `contextlib.aclosing` if you may stop early: closing
    cancels what is in flight and waits for its end.

    Args:
        function: Makes one call.
        items: What to call it with; at most `limit` are taken ahead. An asynchronous generator is
            closed at the end.
        limit: Most calls ahead of the reader.

    Yields:
        The results, in the order of `items`.

    Raises:
        ConfigurationError: `limit` is below 1.
        BaseException: What a call, or `items` itself, raised.
    """
    _check(limit)
    room = asyncio.Semaphore(limit)
    # What was begun, in order; `None` ends it.
    begun: asyncio.Queue[asyncio.Task[R] | None] = asyncio.Queue()
    tasks: set[asyncio.Task[R]] = set()

    async def feed() -> None:
        try:
            # The room comes first: no item is taken that can't begin.
            await room.acquire()
            async with aclosing(_each(items)) as source:
                async for item in source:
                    task = asyncio.create_task(_call(function, item))
                    tasks.add(task)
                    begun.put_nowait(task)
                    await room.acquire()
        finally:
            begun.put_nowait(None)

    feeder = asyncio.create_task(feed())
    try:
        while (task := await begun.get()) is not None:
            result = await task
            tasks.discard(task)
            room.release()
            yield result
            del result
        await feeder
    finally:
        await _end([feeder, *tasks])


async def _call(function: Callable[[T], Awaitable[R]], item: T) -> R:
    return await function(item)


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T, None]:
    if isinstance(items, AsyncIterable):
        try:
            async for item in items:
                yield item
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()
    else:
        for item in items:
            yield item


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until each has ended, also when cancelled meanwhile."""
    interrupted: asyncio.CancelledError | None = None
    for task in tasks:
        task.cancel()
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            interrupted = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # Seen here: what they raised while being cancelled is of no use.
    if interrupted is not None:
        raise interrupted


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    errors = list(_leaves(group))
    if len(errors) > 1:
        names = ", ".join(sorted({type(error).__name__ for error in errors[1:]}))
        errors[0].add_note(f"{len(errors) - 1} more calls failed at the same time: {names}")
    return errors[0]


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(cast(BaseExceptionGroup[BaseException], error))
        else:
            yield error


def _check(limit: int) -> None:
    if limit < 1:
        raise ConfigurationError(f"limit is {limit}; at least one call must be in flight")
