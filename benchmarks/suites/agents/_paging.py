"""A thread of 100,000 messages: its pages cost the same wherever they are."""

from __future__ import annotations

import time

from benchmarks._harness import Run
from benchmarks.suites.agents._ours import Ours, open_files, open_sqlite, said

__all__ = ["paging"]

THREAD = "long"
PAGE = 1000
"""Messages that `iterate` asks for at once."""

PLACES = {"in the middle": 0.5, "at the end": 1.0}


async def paging(run: Run) -> None:
    """The pages of `iterate`, newest first: one in the middle and the last against the first."""
    count = run.size(100_000, 2 * PAGE)
    for name, opened in (("SQLite", open_sqlite), ("LocalFile", open_files)):
        async with opened(run.place(f"paging-{name}")) as ours:
            await ours.begin([THREAD])
            for begin in range(0, count, PAGE):
                await ours.save(THREAD, said(THREAD, begin, PAGE))
            rounds = [await _seconds_of_pages(ours, count) for _ in range(2 if run.quick else 7)]
        first = [pages[0] for pages in rounds[1:]]
        for place, at in PLACES.items():
            run.add(
                f"{name}: page {place} of {count:,} messages",
                [pages[round(at * (len(pages) - 1))] for pages in rounds[1:]],
                first,
                unit=f"ms/{PAGE:,} messages",
                against="the first page of the same thread; constant cost is 1",
                goal=1.25,
            )


async def _seconds_of_pages(ours: Ours, count: int) -> list[float]:
    """How long each page of the thread took, the newest first."""
    seconds: list[float] = []
    number, started = 0, time.perf_counter()
    async for _ in ours.store.messages.iterate(THREAD, newest_first=True):
        number += 1
        if number % PAGE == 0:
            now = time.perf_counter()
            seconds.append(now - started)
            started = now
    assert number == count
    return seconds
