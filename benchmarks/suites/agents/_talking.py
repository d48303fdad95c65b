"""Saving conversations and reading their newest messages, by everybody in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks._harness import Run, Sample, timed
from benchmarks._machine import installed
from benchmarks.suites.agents._ours import Contestant, Said, open_files, open_sqlite, said
from benchmarks.suites.agents._peers import PEERS

__all__ = ["reading", "saving", "saving_at_once"]

BATCH = 10
LONG = 40
"""Messages of a thread in the end."""

NEWEST = 20
AT_ONCE = 16
OURS = {"SQLite": open_sqlite, "LocalFile": open_files}
DURABLE = "WAL, synchronous=FULL"


async def saving(run: Run) -> None:
    """10,000 messages in batches of 10, one batch after the other."""
    await _save(run, 1)


async def saving_at_once(run: Run) -> None:
    """The same by 16 tasks, each with threads of its own, as a program that serves many does."""
    await _save(run, AT_ONCE)


async def _save(run: Run, tasks: int) -> None:
    """New threads in each round, in stores that grow."""
    threads = run.size(10_000, 160) // LONG
    turns: dict[str, int] = {}

    async def save_all(name: str, contestant: Contestant) -> float:
        turn = turns[name] = turns.get(name, 0) + 1
        names = [f"t{turn}-{number:04}" for number in range(threads)]
        await contestant.begin(names)
        shares = [
            [
                (thread, said(thread, begin, BATCH))
                for begin in range(0, LONG, BATCH)
                for thread in names[number::tasks]
            ]
            for number in range(tasks)
        ]

        async def save(mine: Sequence[tuple[str, list[Said]]]) -> None:
            for thread, batch in mine:
                await contestant.save(thread, batch)

        async def save_by_all() -> None:
            async with asyncio.TaskGroup() as group:
                for share in shares:
                    group.create_task(save(share))

        return await timed(save_by_all, sum(map(len, shares)))()

    async with _opened(run, f"saving-{tasks}") as contestants:
        seconds = await run.alternate(
            {name: _turn(save_all, name, each) for name, each in contestants.items()},
            rounds=7,
            warm_up=1,
        )
    how = f"{tasks} at once" if tasks > 1 else "one by one"
    _report(run, f"{threads * LONG:,} messages by {BATCH}, {how}", "ms/save", seconds)


async def reading(run: Run) -> None:
    """The newest 20 messages of each of 1,000 threads of 40."""
    names = [f"t{number:04}" for number in range(run.size(1000, 4))]

    async def read_all(_: str, contestant: Contestant) -> float:
        async def read() -> None:
            for thread in names:
                found = await contestant.newest(thread, NEWEST)
                assert len(found) == NEWEST

        return await timed(read, len(names))()

    async with _opened(run, "reading") as contestants:
        for name, contestant in contestants.items():
            await contestant.begin(names)
            for begin in range(0, LONG, BATCH):
                for thread in names:
                    await contestant.save(thread, said(thread, begin, BATCH))
            newest = await contestant.newest(names[0], NEWEST)
            expected = [each.text for each in said(names[0], LONG - NEWEST, NEWEST)]
            # That one tells times by the second.
            assert name == "LangGraph's SqliteStore" or list(newest) == expected
        seconds = await run.alternate(
            {name: _turn(read_all, name, each) for name, each in contestants.items()},
            rounds=7,
            warm_up=1,
        )
    _report(run, f"newest {NEWEST} of {len(names):,} threads", "ms/read", seconds)


# --- all of them -------------------------------------------------------------------------------


@asynccontextmanager
async def _opened(run: Run, what: str) -> AsyncGenerator[dict[str, Contestant]]:
    """Ours, and every peer that is installed."""
    async with AsyncExitStack() as stack:
        found: dict[str, Contestant] = {}
        for name, open_ours in OURS.items():
            place = run.place(f"{what}-{name}")
            found[name] = await stack.enter_async_context(open_ours(place))
        for number, peer in enumerate(PEERS):
            if installed(peer.distribution) is not None:
                place = run.place(f"{what}-{number}")
                found[peer.title] = await stack.enter_async_context(peer.open(place))
        yield found


def _turn(
    work: Callable[[str, Contestant], Awaitable[float]], name: str, contestant: Contestant
) -> Sample:
    return lambda: work(name, contestant)


def _report(run: Run, what: str, unit: str, seconds: Mapping[str, list[float]]) -> None:
    """A row for each of ours against each of them; missing peers are named."""
    for ours in OURS:
        for peer in PEERS:
            name = f"{ours}: {what}, {peer.title}"
            if peer.title in seconds:
                run.add(
                    name,
                    seconds[ours],
                    seconds[peer.title],
                    unit=unit,
                    against=f"{peer.title}, {DURABLE}: {peer.how}",
                    goal=1,
                    higher_is_better=True,
                )
            else:
                run.missing(
                    name,
                    f"{peer.title}: not installed; pip install 'storage-providers[bench]'",
                    unit=unit,
                    goal=1,
                    higher_is_better=True,
                )
