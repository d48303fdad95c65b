"""How fast everything moves, against the slower side alone, and how much memory that takes."""

from __future__ import annotations

from benchmarks._harness import Case
from benchmarks.suites.migration._copying import copy_memory, copy_speed
from benchmarks.suites.migration._services import copy_to_d1, copy_to_r2

__all__ = ["CASES", "PEERS"]

PEERS = ("httpx", "aioboto3", "moto")

CASES: tuple[Case, ...] = (copy_speed, copy_to_d1, copy_to_r2, copy_memory)
