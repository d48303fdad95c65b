"""LocalFile: durable writes, against the system calls they need."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import msgspec

from benchmarks._harness import Run, on_own_thread, timed
from benchmarks.suites.local._documents import todos
from benchmarks.suites.local._raw import durable_write
from storage_providers import LocalFileProvider

__all__ = ["file_batch_put", "file_durable_put"]


async def file_durable_put(run: Run) -> None:
    """New documents one after the other, each on the medium before the next."""
    folder, size = run.place("file-durable-put"), run.size(10, 2)
    raw = folder / "raw"
    raw.mkdir()
    ours, theirs = (count(0, size) for _ in range(2))
    async with LocalFileProvider(folder / "ours") as provider:
        with ThreadPoolExecutor(1) as thread:

            async def put() -> float:
                batch = todos(next(ours), size)

                async def put_each() -> None:
                    for document in batch:
                        await provider.put_item("todos", document)

                return await timed(put_each, size)()

            async def raw_put() -> float:
                batch = todos(next(theirs), size)

                def write_each() -> None:
                    for document in batch:
                        content = msgspec.json.format(msgspec.json.encode(document), indent=2)
                        durable_write(raw, f"{document['id']}.json", content)

                return await on_own_thread(thread, write_each, size)()

            await run.compare(
                "LocalFile: durable put",
                put,
                raw_put,
                unit="µs/put",
                against="msgspec encode and format, tempfile.mkstemp, write, fsync, rename and "
                "fsync of the folder, in a loop on its own thread; no lock, no index",
                goal=1.5,
                rounds=101,
            )


async def file_batch_put(run: Run) -> None:
    """New documents, 1,000 in one batch against one after the other."""
    folder, size, singles = run.place("file-batch-put"), run.size(1000, 50), run.size(100, 5)
    ours, theirs = count(0, size), count(0, singles)
    async with (
        LocalFileProvider(folder / "batch") as batching,
        LocalFileProvider(folder / "single") as single,
    ):

        async def put_batch() -> float:
            batch = todos(next(ours), size)
            return await timed(lambda: batching.put_items("todos", batch), size)()

        async def put_singles() -> float:
            batch = todos(next(theirs), singles)

            async def put_each() -> None:
                for document in batch:
                    await single.put_item("todos", document)

            return await timed(put_each, singles)()

        await run.compare(
            "LocalFile: batch put of 1,000",
            put_batch,
            put_singles,
            unit="µs/document",
            against="the same provider's single puts, one after the other",
            goal=1.5,
            higher_is_better=True,
            rounds=15,
        )
