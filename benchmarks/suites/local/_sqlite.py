"""SQLite: puts and reads, against one hand-made table."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import count, cycle, islice
from typing import Any

from benchmarks._harness import Run, on_own_thread, timed
from benchmarks.suites.local._documents import todos
from benchmarks.suites.local._raw import RawTable, SameTable
from storage_providers import SQLiteProvider

__all__ = [
    "sqlite_batch_put",
    "sqlite_durable_puts",
    "sqlite_read_alone",
    "sqlite_read_concurrent",
]

CONCURRENCY = 64


async def sqlite_batch_put(run: Run) -> None:
    """A batch of 1,000 new documents through the friendly face."""
    folder, size = run.place("sqlite-batch-put"), run.size(1000, 100)
    same = SameTable(folder / "same.db", "FULL")
    plain = RawTable(folder / "plain.db", "FULL")
    async with SQLiteProvider(folder / "ours.db", synchronous="FULL") as provider:
        with ThreadPoolExecutor(1) as thread:
            numbers = {name: count(0, size) for name in ("ours", "same", "plain")}

            async def put() -> float:
                batch = todos(next(numbers["ours"]), size)
                return await timed(lambda: provider.put_items("todos", batch), size)()

            async def put_same() -> float:
                batch = todos(next(numbers["same"]), size)
                return await on_own_thread(thread, lambda: same.put_many(batch), size)()

            async def put_plain() -> float:
                batch = todos(next(numbers["plain"]), size)
                return await on_own_thread(thread, lambda: plain.put_many(batch), size)()

            seconds = await run.alternate(
                {"ours": put, "same": put_same, "plain": put_plain}, rounds=61
            )
    how = "msgspec encode and executemany in one transaction, WAL, synchronous=FULL, own thread: "
    run.add(
        "SQLite: batch put of 1,000",
        seconds["ours"],
        seconds["same"],
        unit="µs/document",
        against=how + "the same upsert into the same table",
        goal=1.5,
    )
    run.add(
        "SQLite: batch put of 1,000 (plain table)",
        seconds["ours"],
        seconds["plain"],
        unit="µs/document",
        against=how + "a table of id, body and version only",
        goal=None,
    )
    same.close()
    plain.close()


async def sqlite_read_concurrent(run: Run) -> None:
    """Single reads by 64 tasks that each wait for their document before the next."""
    await _reads(run, CONCURRENCY)


async def sqlite_read_alone(run: Run) -> None:
    """Single reads one after the other."""
    await _reads(run, 1)


async def _reads(run: Run, tasks: int) -> None:
    folder, size = run.place(f"sqlite-read-{tasks}"), run.size(10_000, 500)
    each = run.size(3200, 64) // tasks if tasks > 1 else run.size(400, 20)
    raw = RawTable(folder / "raw.db", "NORMAL")
    documents = todos(0, size)
    raw.put_many(documents)
    async with SQLiteProvider(folder / "ours.db") as provider:
        await provider.put_items("todos", documents)
        # Primes spread the reads over the table; both sides read the same documents.
        ids = [documents[number * 7919 % size]["id"] for number in range(each * tasks)]

        async def reader(mine: list[str]) -> None:
            for item_id in mine:
                assert await provider.read_item("todos", item_id) is not None

        async def read() -> None:
            if tasks == 1:
                await reader(ids)
                return
            async with asyncio.TaskGroup() as group:
                for number in range(tasks):
                    group.create_task(reader(ids[number::tasks]))

        with ThreadPoolExecutor(1) as thread:

            def raw_read_all() -> None:
                for item_id in ids:
                    assert raw.get(item_id) is not None

            async def raw_read_each() -> None:
                loop = asyncio.get_running_loop()
                for item_id in ids:
                    assert await loop.run_in_executor(thread, raw.get, item_id) is not None

            if tasks > 1:
                await run.compare(
                    f"SQLite: single read, {tasks} at once",
                    timed(read, len(ids)),
                    on_own_thread(thread, raw_read_all, len(ids)),
                    unit="µs/read",
                    against="the raw select of body and version in a loop on its own thread, "
                    "without any event loop",
                    goal=2.5,
                    rounds=41,
                )
            else:
                await run.compare(
                    "SQLite: single read, alone",
                    timed(read, len(ids)),
                    timed(raw_read_each, len(ids)),
                    unit="µs/read",
                    against="run_in_executor to one thread and the raw select there",
                    goal=1.5,
                    rounds=41,
                )
    raw.close()


async def sqlite_durable_puts(run: Run) -> None:
    """Single puts by 64 tasks, each on the medium before its task goes on."""
    folder, each = run.place("sqlite-durable-puts"), run.size(10, 2)
    operations = each * CONCURRENCY
    raw = RawTable(folder / "raw.db", "FULL")
    # Replacing among as many documents as there are keeps both files at one size.
    documents = todos(0, operations * 4)
    ours, theirs = cycle(documents), cycle(documents)
    async with SQLiteProvider(folder / "ours.db", synchronous="FULL") as provider:

        async def writer(mine: list[dict[str, Any]]) -> None:
            for document in mine:
                await provider.put_item("todos", document)

        async def put() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(CONCURRENCY):
                    group.create_task(writer(list(islice(ours, each))))

        with ThreadPoolExecutor(1) as thread:

            def raw_put() -> None:
                for document in islice(theirs, operations):
                    raw.put(document)

            await run.compare(
                f"SQLite: durable put, {CONCURRENCY} at once",
                timed(put, operations),
                on_own_thread(thread, raw_put, operations),
                unit="µs/put",
                against="msgspec encode and one raw commit for each put, synchronous=FULL, in a "
                "loop on its own thread",
                goal=5,
                higher_is_better=True,
                rounds=31,
            )
    raw.close()
