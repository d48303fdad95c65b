"""Estimates: how work is divided into calls, and estimates put together."""

from __future__ import annotations

import pytest

from storage_providers.estimates import (
    IN_THIS_PROCESS,
    Charge,
    Estimate,
    Estimating,
    Workload,
    calls_for,
)
from storage_providers.layers import Scope, below_layers, compose
from storage_providers.providers.in_memory import InMemoryProvider


@pytest.mark.parametrize(
    ("count", "together", "most", "calls"),
    [(0, 500, 100, 0), (1, 500, 100, 1), (1050, 500, 100, 11), (1050, 500, 10_000, 3)],
)
def test_groups_are_sent_by_themselves(count: int, together: int, most: int, calls: int) -> None:
    """A group that is smaller than a call is one all the same."""
    assert calls_for(count, together, most) == calls


def test_large_documents_make_small_batches() -> None:
    """Pages and batches hold as many documents as their bytes allow, and one at least."""
    work = Workload(document_bytes=100_000, bytes_at_once=1_000_000)
    assert (work.page, work.batch) == (10, 10)
    assert Workload(document_bytes=2_000_000, bytes_at_once=1_000_000).batch == 1
    assert (Workload().page, Workload().batch) == (1000, 500)


def test_estimates_together() -> None:
    """Calls and charges of the same unit are added; what costs is told by unit."""
    one = Estimate(
        requests=3,
        charges=(Charge.at("rows read", 2_000_000, 0.001), Charge.at("rows written", 1_000, 1.0)),
        basis="prices",
    )
    both = Estimate.together([one, IN_THIS_PROCESS, one])
    assert both.requests == 6
    assert [(charge.unit, charge.count) for charge in both.charges] == [
        ("rows read", 4_000_000),
        ("rows written", 2_000),
    ]
    assert both.usd == pytest.approx(0.006)
    assert both.basis == f"prices; {IN_THIS_PROCESS.basis}"
    assert Estimate.together([]) == Estimate(requests=0, basis="no work")


def test_what_costs_nothing_says_so_below_layers_too() -> None:
    """A provider in this process bills nothing, and is found below layers."""
    provider = compose(Scope("user-7"), provider=InMemoryProvider())
    assert not isinstance(provider, Estimating)
    own = below_layers(provider)
    assert isinstance(own, Estimating)
    assert own.estimate(Workload(documents_read=1_000)) == IN_THIS_PROCESS
