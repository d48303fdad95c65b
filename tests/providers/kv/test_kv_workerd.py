"""CloudflareKVProvider on the KV of workerd: the contract, with indexes, amid faults, stale."""

from __future__ import annotations

import pytest

from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases
from tests.providers.kv.workerd import FaultyBackend, StaleBackend, WorkerdBackend
from tests.servers.emulator import Emulator


class TestWorkerd(ProviderConformance):
    """The contract, no index being ready."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return WorkerdBackend(cloudflare)


class TestBrokenLine(ProviderConformance):
    """The same with every index ready, while a third of the calls break, arrived or not."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return FaultyBackend(cloudflare)


class TestStale(ProviderConformance):
    """What is promised of a service that answers what was true a minute ago."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return StaleBackend(cloudflare)


NOT_HERE = {
    "needs atomic_batch": 10,
    "needs conditional_delete": 14,
    "needs conditional_write": 34,
    "needs text_search": 20,
}


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (WorkerdBackend, (666, NOT_HERE)),
        (FaultyBackend, (666, NOT_HERE)),
        (StaleBackend, (663, {**NOT_HERE, "needs strongly_consistent": 3})),
    ],
    ids=["workerd", "broken line", "stale"],
)
def test_no_case_disappears_unnoticed(
    cloudflare: Emulator, backend: type[WorkerdBackend], expected: tuple[int, dict[str, int]]
) -> None:
    """Whoever adds a case or a capability changes these counts."""
    counts = count_cases(ProviderConformance, backend(cloudflare))
    assert (counts.run, counts.not_applicable) == expected
