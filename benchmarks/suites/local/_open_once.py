"""Opens a folder, asks for a page and prints the process's peak memory in MB. Run as a child."""

from __future__ import annotations

import asyncio
import sys

from benchmarks._machine import peak_megabytes
from benchmarks.suites.local._documents import due_days
from storage_providers import LocalFileProvider


async def open_once(folder: str) -> None:
    """Open a folder and ask for one page by its indexed field."""
    async with LocalFileProvider(folder) as provider:
        page = await provider.list_items(
            "todos", where={"due": {"$gte": due_days(5)}}, order_by="due", limit=100
        )
        assert page.items


if __name__ == "__main__":
    asyncio.run(open_once(sys.argv[1]))
    print(peak_megabytes())
