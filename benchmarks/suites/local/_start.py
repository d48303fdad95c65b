"""What a program pays before it does anything."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks._harness import Run

__all__ = ["import_time"]

BUDGET_SECONDS = 0.060


async def import_time(run: Run) -> None:
    """Starts of an interpreter that imports the package, and of one that does not."""
    seconds = await run.alternate(
        {
            "ours": lambda: _start("import storage_providers"),
            "bare": lambda: _start("pass"),
        },
        rounds=25,
    )
    extra = [ours - bare for ours, bare in zip(seconds["ours"], seconds["bare"], strict=True)]
    run.add(
        "import storage_providers",
        extra,
        [BUDGET_SECONDS] * len(extra),
        unit="ms",
        against="60 ms more than a bare interpreter started in the same round",
        goal=1.0,
    )


async def _start(program: str) -> float:
    # Nothing else runs on this loop, so blocking it costs nothing and adds no noise.
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: ASYNC221
    return time.perf_counter() - started
