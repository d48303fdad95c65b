"""What a hybrid counts: numbers without names, for people and for whatever collects metrics."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["METRICS", "Counter", "HybridCounts", "Metric"]


class Metric(msgspec.Struct, frozen=True):
    """One number that is measured.

    Attributes:
        name: Its name.
        kind: `counter`: only grows, from 0 when the provider is made. `gauge`: what is so now.
        unit: Of what, as in OpenTelemetry.
        field: The attribute of `HybridStatus`, or of its `counts`, that holds it.
    """

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    field: str


METRICS: Final = (
    Metric("hybrid.outages", "counter", "{outage}", "outages"),
    Metric("hybrid.fallback.reads", "counter", "{document}", "reads"),
    Metric("hybrid.fallback.queries", "counter", "{query}", "queries"),
    Metric("hybrid.unanswered", "counter", "{request}", "unanswered"),
    Metric("hybrid.journaled", "counter", "{write}", "journaled"),
    Metric("hybrid.replayed", "counter", "{write}", "replayed"),
    Metric("hybrid.conflicts", "counter", "{conflict}", "conflicts"),
    Metric("hybrid.refused", "counter", "{document}", "refused"),
    Metric("hybrid.degraded", "gauge", "1", "degraded"),
    Metric("hybrid.journal.pending", "gauge", "{write}", "pending"),
    Metric("hybrid.copies.doubtful", "gauge", "{document}", "doubts"),
)
"""Every number, without labels: neither collections nor ids are in any."""


class HybridCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What happened since the provider was made, in this process.

    Attributes:
        outages: Times that the primary could not be reached any more.
        reads: Documents, and missing ones, that the fallback answered for.
        queries: Queries and listings that the fallback answered.
        unanswered: Reads, queries and writes that ended in the primary's error in an outage.
        journaled: Writes that the fallback took.
        replayed: Writes that were brought to the primary.
        conflicts: Conflicts that were settled.
        refused: Documents that the primary did not take.
    """

    outages: int = 0
    reads: int = 0
    queries: int = 0
    unanswered: int = 0
    journaled: int = 0
    replayed: int = 0
    conflicts: int = 0
    refused: int = 0


class Counter:
    """Counts, by the names of `HybridCounts`."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(HybridCounts.__struct_fields__, 0)

    def add(self, name: str, count: int = 1) -> None:
        """Count some more.

        Args:
            name: An attribute of `HybridCounts`.
            count: How many.
        """
        self._counts[name] += count

    def snapshot(self) -> HybridCounts:
        """What was counted so far."""
        return HybridCounts(**self._counts)
