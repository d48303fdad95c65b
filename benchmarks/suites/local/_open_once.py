"""Opens a folder, asks for a page and prints the process's peak memory in MB. Run as a child."""

from __future__ import annotations

import asyncio
import re
import resource
import sys
from pathlib import Path

from benchmarks.suites.local._documents import due_days
from storage_providers import LocalFileProvider


async def open_once(folder: str) -> None:
    """Open a folder and ask for one page by its indexed field."""
    async with LocalFileProvider(folder) as provider:
        page = await provider.list_items(
            "todos", where={"due": {"$gte": due_days(5)}}, order_by="due", limit=100
        )
        assert page.items


def peak_megabytes() -> float:
    """The most memory this process ever held, MB."""
    try:
        # ru_maxrss would include what the parent held when it started this process.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found is not None:
        return int(found[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    asyncio.run(open_once(sys.argv[1]))
    print(peak_megabytes())
