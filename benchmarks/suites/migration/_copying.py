"""The backfill between embedded providers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks._harness import Run
from benchmarks.suites.migration._moving import LEASE_SECONDS, fill
from storage_providers import IF_ABSENT, LocalFileProvider, Provider, Put, SQLiteProvider
from storage_providers.transfer._migration.copying import pages
from storage_providers.transfer.migration import Migration

Make = Callable[[Path], Provider]


def in_a_file(folder: Path) -> Provider:
    """A database in a folder."""
    return SQLiteProvider(folder / "storage.db")


def _files(folder: Path) -> Provider:
    return LocalFileProvider(folder / "files", rescan_seconds=None)


SIDES: dict[str, tuple[Make, Make]] = {
    "SQLite to SQLite": (in_a_file, in_a_file),
    "SQLite to LocalFile": (in_a_file, _files),
    "LocalFile to SQLite": (_files, in_a_file),
}


async def copy_speed(run: Run) -> None:
    """The copy of a collection, against the slower of reading it and writing it in batches."""
    for number, (title, (make_source, make_target)) in enumerate(SIDES.items()):
        async with make_source(run.place(f"from-{number}")) as source:
            await fill(source, run.size(10_000, 300))
            await compare(run, title, source, make_target)


async def compare(run: Run, title: str, source: Provider, make_target: Make) -> None:
    """Add the row of one pair.

    Args:
        run: The run.
        title: Names the pair.
        source: Open, and filled.
        make_target: Makes an empty target, which may use the folder.
    """
    count = await source.count_items("things")
    ours, theirs = list[float](), list[float]()
    for turn in range(3 if run.quick else 9):
        ours.append(await _copied(source, make_target, run.place(f"{title}-ours-{turn}")))
        place = run.place(f"{title}-theirs-{turn}")
        theirs.append(await _slower_side(source, make_target, place))
    run.add(
        f"{title}: copying {count:,} documents",
        ours[1:],
        theirs[1:],
        unit="s",
        against="the slower of reading all pages and writing all batches, each alone",
        goal=0.8,
        higher_is_better=True,
    )


async def _copied(source: Provider, make_target: Make, folder: Path) -> float:
    async with make_target(folder) as target:
        migration = Migration(source=source, target=target, lease_seconds=LEASE_SECONDS)
        await migration.start_dual_write()
        started = time.perf_counter()
        await migration.backfill()
        seconds = time.perf_counter() - started
        await migration.roll_back()
    return seconds


async def _slower_side(source: Provider, make_target: Make, folder: Path) -> float:
    started = time.perf_counter()
    found = [page async for page, _ in pages(source, "things")]
    reading = time.perf_counter() - started
    batches = [[Put("things", item.document, IF_ABSENT) for item in page.items] for page in found]
    async with make_target(folder) as target:
        await target.collections()
        started = time.perf_counter()
        for batch in batches:
            await target.write(batch)
        writing = time.perf_counter() - started
    return max(reading, writing)


async def copy_memory(run: Run) -> None:
    """The largest memory of a process that moves a hundred times as many documents."""
    small, large = run.size(1_000, 100), run.size(100_000, 1_000)
    peaks = [await _peak(run.place(f"memory-{count}"), count) for count in (small, large)]
    run.add(
        f"memory of moving {large:,} documents",
        [peaks[1]],
        [peaks[0]],
        unit="MB",
        against=f"moving {small:,} (SQLite to SQLite, the whole process)",
        goal=1.5,
    )


async def _peak(folder: Path, count: int) -> float:
    program = [sys.executable, "-m", fill.__module__, str(folder), str(count)]
    await asyncio.to_thread(subprocess.run, [*program, "fill"], check=True, capture_output=True)
    done = await asyncio.to_thread(
        subprocess.run, [*program, "move"], check=True, capture_output=True, text=True
    )
    return float(done.stdout)
