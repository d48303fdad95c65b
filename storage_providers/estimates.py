"""What work will cost: calls of a service, and what it bills for them, told without asking it.

A provider that knows has `estimate`, whatever layers stand on it (`layers.below_layers` finds it).
It reckons with its own batch and page sizes, so that a plan can be compared with what was counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol, runtime_checkable

import msgspec

__all__ = ["IN_THIS_PROCESS", "Charge", "Estimate", "Estimating", "Workload", "calls_for"]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Work on the documents of one collection, each of them touched once.

    Attributes:
        documents_listed: By id and version, with `versions`.
        documents_read: By pages of a query without conditions, in the order of ids.
        documents_fetched: By their ids, with `read`.
        documents_created: Written with `IF_ABSENT`, and absent.
        documents_put: Written with `ANY`, and there already, with other indexed values.
        documents_deleted: Removed, and there.
        document_bytes: One document on average, bytes.
        indexes: Declared indexes of the collection.
        full_text: Whether text fields are declared.
        page_documents: Documents of a full page.
        batch_documents: Documents of a full batch that is fetched, written or deleted.
        bytes_at_once: No page or batch holds more, bytes.
    """

    documents_listed: int = 0
    documents_read: int = 0
    documents_fetched: int = 0
    documents_created: int = 0
    documents_put: int = 0
    documents_deleted: int = 0
    document_bytes: int = 0
    indexes: int = 0
    full_text: bool = False
    page_documents: int = 1000
    batch_documents: int = 500
    bytes_at_once: int = 8 * 1024 * 1024

    @property
    def page(self) -> int:
        """Documents of a page, as many as its bytes allow."""
        return self._fitting(self.page_documents)

    @property
    def batch(self) -> int:
        """Documents of a batch, as many as its bytes allow."""
        return self._fitting(self.batch_documents)

    def _fitting(self, documents: int) -> int:
        return max(1, min(documents, self.bytes_at_once // max(1, self.document_bytes)))


class Charge(msgspec.Struct, frozen=True):
    """One thing that a service bills.

    Attributes:
        unit: What is counted, in the service's own words, such as `Class A operations`.
        count: How many.
        usd: What they cost, US dollars; what a plan includes is not taken off.
    """

    unit: str
    count: int
    usd: float

    @staticmethod
    def at(unit: str, count: int, usd_per_million: float) -> Charge:
        """What so many cost.

        Args:
            unit: What is counted.
            count: How many.
            usd_per_million: The price of a million of them, US dollars.
        """
        return Charge(unit, count, count * usd_per_million / 1_000_000)

    @staticmethod
    def needed(*charges: Charge) -> tuple[Charge, ...]:
        """Of some charges those that count anything."""
        return tuple(charge for charge in charges if charge.count)


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What work will cost.

    What a process asks once when it opens, tries again and index upkeep are not in it.

    Attributes:
        requests: Calls of the service.
        charges: What it bills for them, the units that are not needed left out.
        basis: Where the prices are from, on one line.
    """

    requests: int
    charges: tuple[Charge, ...] = ()
    basis: str

    @property
    def usd(self) -> float:
        """All charges together, US dollars."""
        return sum(charge.usd for charge in self.charges)

    @staticmethod
    def together(estimates: Iterable[Estimate]) -> Estimate:
        """Several estimates as one: of several collections, or of several pieces of work.

        Args:
            estimates: At least one, each on the same basis or on none.
        """
        requests, charges = 0, dict[str, Charge]()
        bases = dict[str, None]()
        for each in estimates:
            requests += each.requests
            bases[each.basis] = None
            for charge in each.charges:
                before = charges.get(charge.unit, Charge(charge.unit, 0, 0.0))
                charges[charge.unit] = Charge(
                    charge.unit, before.count + charge.count, before.usd + charge.usd
                )
        return Estimate(
            requests=requests, charges=tuple(charges.values()), basis="; ".join(bases) or "no work"
        )


IN_THIS_PROCESS: Final = Estimate(requests=0, basis="in this process: no calls, nothing billed")
"""The estimate of every embedded provider, whatever the work."""


@runtime_checkable
class Estimating(Protocol):
    """A provider that can tell what work on it costs."""

    def estimate(self, workload: Workload) -> Estimate:
        """Tell what work will cost, without asking the service.

        Args:
            workload: The work, on one collection.

        Returns:
            Calls and charges. With documents all alike they are right to a few percent.
        """
        ...


def calls_for(count: int, together: int, most: int) -> int:
    """How many calls it takes if so many come in groups, and each group is sent by itself.

    Args:
        count: How many there are.
        together: Size of a group.
        most: How many of a group one call takes.
    """
    full, rest = divmod(count, together)
    return full * -(-together // most) + -(-rest // most)
