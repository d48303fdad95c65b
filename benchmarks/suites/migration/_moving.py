"""A process that moves everything from one database to another, and says how much memory it took.

python -m benchmarks.suites.migration._moving FOLDER COUNT fill|move
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from benchmarks._machine import peak_megabytes
from storage_providers import Provider, SQLiteProvider
from storage_providers.transfer._migration.copying import MAX_PAGE
from storage_providers.transfer.migration import Migration

LEASE_SECONDS = 0.5


async def fill(source: Provider, count: int) -> None:
    """Store so many small documents."""
    for begin in range(0, count, MAX_PAGE):
        numbers = range(begin, min(begin + MAX_PAGE, count))
        await source.put_items("things", [_document(number) for number in numbers])


def _document(number: int) -> dict[str, object]:
    return {"id": f"{number:07}", "number": number, "title": "x" * 40, "notes": ["y" * 100] * 2}


async def move(folder: Path, count: int, what: str) -> None:
    """Fill the source, or move everything from it."""
    async with SQLiteProvider(folder / "source.db") as source:
        if what == "fill":
            await fill(source, count)
            return
        async with SQLiteProvider(folder / "target.db") as target:
            migration = Migration(source=source, target=target, lease_seconds=LEASE_SECONDS)
            await migration.run()


if __name__ == "__main__":
    asyncio.run(move(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
    print(peak_megabytes())
