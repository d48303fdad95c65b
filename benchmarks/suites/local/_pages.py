"""A page of 100 by an indexed field out of 100,000, and opening a folder of as many files."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from benchmarks._harness import Run, Sample, timed
from benchmarks._machine import installed
from benchmarks.suites.local._corpus import (
    corpus_size,
    documents_of,
    filled_database,
    filled_folder,
)
from benchmarks.suites.local._documents import due_days
from benchmarks.suites.local._peers import PageOf, open_py_key_value, open_tinydb
from storage_providers import LocalFileProvider, Query, SQLiteProvider, StorageProvider
from storage_providers.providers._sql import Dialect, Statement
from storage_providers.providers._sql.query import Access, compile_query

__all__ = ["file_reopen", "pages"]

LIMIT = 100
REOPEN_BUDGET_SECONDS = 1.0

Documents: TypeAlias = list[dict[str, Any]]


async def pages(run: Run) -> None:
    """The first 100 todos due on a day or later, by due day: the day differs every time."""
    database, folder = await filled_database(run), await filled_folder(run)
    # Some pages' worth of documents are due after the last of these days.
    days = [day for day in (due_days(number * 37) for number in range(250)) if day < "2054"]
    per_turn = run.size(20, 2)
    async with AsyncExitStack() as stack:
        sqlite = await stack.enter_async_context(SQLiteProvider(database))
        # Looking for edits by hand now and then would hit single turns; `file_reopen` measures it.
        files = await stack.enter_async_context(LocalFileProvider(folder, rescan_seconds=None))
        ours = {"SQLite": _asking(sqlite), "LocalFile": _asking(files)}
        stored = {"SQLite": database, "LocalFile": _index_file(folder)}
        for name, ask in ours.items():
            thread = stack.enter_context(ThreadPoolExecutor(1))
            raw = _asking_raw(stored[name], thread)
            assert await ask(days[0]) == await raw(days[0])
            await run.compare(
                f"{name}: page of 100 out of {corpus_size(run):,}",
                _turn(ask, days, per_turn),
                _turn(raw, days, per_turn),
                unit="µs/page",
                against="the same SQL on the same file and one msgspec decode of the whole page, "
                "through run_in_executor to one thread",
                goal=1.5,
                rounds=41,
            )
        await _against_peers(run, ours, days)


async def _against_peers(run: Run, ours: dict[str, PageOf], days: list[str]) -> None:
    """Peers are slow enough that a few turns of one page tell everything."""
    peers = (
        ("tinydb", "TinyDB", open_tinydb, 3, "search and sort; it keeps no indexes"),
        (
            "py-key-value-aio",
            "py-key-value's FileTreeStore",
            open_py_key_value,
            1,
            "get_many of all keys (it has no queries), filter and sort",
        ),
    )
    for distribution, title, open_peer, rounds, how in peers:
        names = {key: f"{key}: page of 100, against {title}" for key in ours}
        if installed(distribution) is None:
            for name in names.values():
                run.missing(
                    name,
                    f"{title}: not installed; pip install 'storage-providers[bench]'",
                    unit="ms/page",
                    goal=20,
                    higher_is_better=True,
                )
            continue
        async with open_peer(run.place(distribution), documents_of(run)) as peer:
            samples = {key: _turn(ask, days, 1) for key, ask in ours.items()}
            answers: list[Documents] = []
            samples["peer"] = _turn(_kept(peer, answers), days, 1)
            seconds = await run.alternate(samples, rounds=rounds, warm_up=0)
            assert _ids(answers[0]) == _ids(await ours["SQLite"](days[0]))
            for key, name in names.items():
                run.add(
                    name,
                    seconds[key],
                    seconds["peer"],
                    unit="ms/page",
                    against=f"{title} with the same documents: {how}",
                    goal=20,
                    higher_is_better=True,
                )


def _turn(ask: PageOf, days: list[str], pages_each: int) -> Sample:
    # Days repeat only after a while: a cache of answers (TinyDB has one) must not help anybody.
    following = cycle(days)

    async def ask_all() -> None:
        for _ in range(pages_each):
            assert await ask(next(following))

    return timed(ask_all, pages_each)


def _kept(ask: PageOf, answers: list[Documents]) -> PageOf:
    async def ask_and_keep(day: str) -> Documents:
        answers.append(await ask(day))
        return answers[-1]

    return ask_and_keep


def _ids(documents: Documents) -> list[str]:
    return [document["id"] for document in documents]


def _asking(provider: StorageProvider) -> PageOf:
    async def ask(day: str) -> Documents:
        page = await provider.list_items(
            "todos", where={"due": {"$gte": day}}, order_by="due", limit=LIMIT
        )
        return [item.document for item in page.items]

    return ask


def _asking_raw(path: Path, thread: ThreadPoolExecutor) -> PageOf:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    decode: Callable[[bytes], Documents] = msgspec.json.Decoder(list[dict[str, Any]]).decode
    sql = _statement(due_days(0)).sql

    def ask_on_thread(day: str) -> Documents:
        rows = connection.execute(sql, _statement_values(day)).fetchall()
        # One row more than the page shows whether there is another.
        return decode(b"[" + b",".join([row[2] for row in rows[:LIMIT]]) + b"]")

    async def ask(day: str) -> Documents:
        return await asyncio.get_running_loop().run_in_executor(thread, ask_on_thread, day)

    return ask


def _statement(day: str) -> Statement:
    query = Query("todos", {"due": {"$gte": day}}, ("due",), LIMIT)
    access = Access(ordered=frozenset({("due",)}))
    return compile_query(query, access, int(time.time() * 1000), dialect=Dialect()).stages[0]


def _statement_values(day: str) -> tuple[Any, ...]:
    return ("", int(time.time() * 1000), day, LIMIT + 1)


def _index_file(folder: Path) -> Path:
    return folder / ".storage-providers" / "index" / "index.sqlite"


# --- opening a folder --------------------------------------------------------------------------


async def file_reopen(run: Run) -> None:
    """Open a folder in which nothing changed, and ask for one page."""
    folder = await filled_folder(run)

    async def reopen() -> float:
        started = time.perf_counter()
        async with LocalFileProvider(folder) as provider:
            assert await _asking(provider)(due_days(5))
            return time.perf_counter() - started

    async def look_at_all() -> None:
        with os.scandir(folder / "todos") as entries:
            assert sum(entry.stat().st_mtime_ns > 0 for entry in entries) == corpus_size(run)

    seconds = await run.alternate({"ours": reopen, "stat": timed(look_at_all)}, rounds=7)
    name = f"LocalFile: open {corpus_size(run):,} files, first page"
    run.add(
        name,
        seconds["ours"],
        [REOPEN_BUDGET_SECONDS] * len(seconds["ours"]),
        unit="s",
        against="one second",
        goal=1.0,
    )
    run.add(
        f"{name} (scan)",
        seconds["ours"],
        seconds["stat"],
        unit="s",
        against="os.scandir with a stat of every file: the least that notices an edit",
        goal=None,
    )
    few = run.size(1000, 100)
    small = await filled_folder(run, few)
    samples = {"many": lambda: _peak_megabytes(folder), "few": lambda: _peak_megabytes(small)}
    peaks = await run.alternate(samples, rounds=3, warm_up=0)
    run.add(
        f"LocalFile: peak memory of opening {corpus_size(run):,}",
        peaks["many"],
        peaks["few"],
        unit="MB",
        against=f"the same process opening {few:,} files; flat is 1",
        goal=1.25,
    )


async def _peak_megabytes(folder: Path) -> float:
    """Peak resident memory of a process of its own that opens a folder and asks for a page."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.suites.local._open_once",
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"opening {folder.name} in a process of its own failed")
    return float(printed)
