"""Counting the requests of one operation, for `QueryStatistics.requests`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Tally", "count_request", "tallied"]


class Tally:
    """How many requests were sent while it was in force."""

    __slots__ = ("requests",)

    def __init__(self) -> None:
        self.requests = 0


_TALLY: ContextVar[Tally | None] = ContextVar("storage_providers_tally", default=None)


@contextmanager
def tallied() -> Generator[Tally]:
    """Count the requests sent inside, also by tasks begun inside (they inherit the context)."""
    tally = Tally()
    token = _TALLY.set(tally)
    try:
        yield tally
    finally:
        _TALLY.reset(token)


def count_request() -> None:
    """Say that one request is being sent; every attempt counts."""
    tally = _TALLY.get()
    if tally is not None:
        tally.requests += 1
