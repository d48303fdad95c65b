"""Measures what `import storage_providers` costs over a bare interpreter.

`python scripts/import_time.py [RUNS]` prints medians in milliseconds, as alternating runs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

GOAL_MS = 60.0
STATEMENTS = {
    "bare interpreter": "pass",
    "import storage_providers": "import storage_providers",
    "from storage_providers import InMemoryProvider": (
        "from storage_providers import InMemoryProvider"
    ),
}


def once(statement: str) -> float:
    """Wall-clock milliseconds of one fresh interpreter that carries out a statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return (time.perf_counter() - started) * 1000


def main(runs: int) -> int:
    """Print the medians; the exit code is 1 if the goal is missed."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(runs):
        for name, statement in STATEMENTS.items():
            times[name].append(once(statement))
    medians = {name: statistics.median(values) for name, values in times.items()}
    bare = medians["bare interpreter"]
    for name, median in medians.items():
        print(f"{median:8.1f} ms  {median - bare:+8.1f} ms  {name}")
    cost = medians["import storage_providers"] - bare
    print(f"goal: {GOAL_MS:g} ms over a bare interpreter, measured {cost:.1f} ms")
    return int(cost > GOAL_MS)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 15))
