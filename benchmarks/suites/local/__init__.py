"""What the embedded providers cost, beside the same work written by hand on one machine."""

from __future__ import annotations

from benchmarks._harness import Case
from benchmarks.suites.local._files import file_batch_put, file_durable_put
from benchmarks.suites.local._pages import file_reopen, pages
from benchmarks.suites.local._sqlite import (
    sqlite_batch_put,
    sqlite_durable_puts,
    sqlite_read_alone,
    sqlite_read_concurrent,
)
from benchmarks.suites.local._start import import_time

__all__ = ["CASES", "PEERS"]

PEERS = ("tinydb", "py-key-value-aio")

CASES: tuple[Case, ...] = (
    sqlite_batch_put,
    sqlite_read_concurrent,
    sqlite_read_alone,
    sqlite_durable_puts,
    file_durable_put,
    file_batch_put,
    pages,
    file_reopen,
    import_time,
)
