"""How fast everything moves, against the slower side alone, and how much memory that takes."""

from __future__ import annotations

from benchmarks._harness import Case
from benchmarks.suites.migration._copying import copy_memory, copy_speed

__all__ = ["CASES", "PEERS"]

PEERS = ()

CASES: tuple[Case, ...] = (copy_speed, copy_memory)
