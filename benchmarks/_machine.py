"""Names the machine and the versions of a run, and nothing that identifies their owner.

Beside that, how much memory a process took.
"""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

__all__ = ["machine", "peak_megabytes", "versions"]


def machine(folder: Path) -> dict[str, str | int | float]:
    """What the figures depend on.

    Args:
        folder: Where the benchmark keeps its files.
    """
    facts: dict[str, str | int | float] = {
        "cores": os.cpu_count() or 1,
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "filesystem": _filesystem(folder),
    }
    if hasattr(os, "getloadavg"):
        facts["load_before"] = round(os.getloadavg()[0], 2)
    return facts


def versions(peers: Iterable[str]) -> dict[str, str | None]:
    """Versions of what takes part; `None` for a peer that is not installed."""
    found: dict[str, str | None] = {
        name: installed(name) for name in ("storage-providers", "msgspec", *peers)
    }
    found["sqlite"] = sqlite3.sqlite_version
    return found


def installed(distribution: str) -> str | None:
    """The version of a distribution, or `None`."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _filesystem(folder: Path) -> str:
    """Type of the file system a folder lies on, where the system tells."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    target = folder.resolve()
    inside = [mount for mount in mounts if target.is_relative_to(mount[1])]
    return max(inside, key=lambda mount: len(mount[1]))[2] if inside else "unknown"


def peak_megabytes() -> float:
    """The most memory this process ever held, MB."""
    try:
        # ru_maxrss would include what the parent held when it started this process.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found is not None:
        return int(found[1]) / 1024
    import resource  # Not on Windows.

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
