"""How many calls each operation on a remote provider makes, counted where they arrive.

The local servers of the tests stand for the services, so nothing is timed and every run counts the
same: `make emulator` installs the local Cloudflare. A row's reference is the operation's budget.
"""

from __future__ import annotations

from benchmarks._harness import Case
from benchmarks.suites.calls._agents import agents_in_keys, agents_in_tables
from benchmarks.suites.calls._cases import calls_of_d1, calls_of_kv, calls_of_r2

__all__ = ["CASES", "PEERS"]

PEERS = ("httpx", "aioboto3", "moto")

CASES: tuple[Case, ...] = (
    *(calls_of_d1, calls_of_r2, calls_of_kv),
    *(agents_in_tables, agents_in_keys),
)
