"""CloudflareKVProvider on the KV of workerd: the contract, with indexes, amid faults, stale."""

from __future__ import annotations

import pytest

from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases
from tests.providers.kv.workerd import FaultyBackend, StaleBackend, WorkerdBackend
from tests.providers.on_a_server import LEFT_OUT, OnAServer, OnBadDays
from tests.servers.emulator import Emulator


class TestWorkerd(OnAServer):
    """The contract, no index being ready."""

    # Thousands of requests, which are played on a store in memory.
    test_a_large_batch = LEFT_OUT

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return WorkerdBackend(cloudflare)


class TestBrokenLine(OnBadDays):
    """The same with every index ready, while a third of the calls break, arrived or not."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return FaultyBackend(cloudflare)


class TestStale(OnBadDays):
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


def test_no_case_disappears_unnoticed(cloudflare: Emulator) -> None:
    """Whoever adds a case or a capability changes these counts."""
    everything = count_cases(ProviderConformance, WorkerdBackend(cloudflare))
    assert (everything.run, everything.not_applicable) == (666, NOT_HERE)
    assert count_cases(TestWorkerd, WorkerdBackend(cloudflare)).run == 566
    assert count_cases(TestBrokenLine, FaultyBackend(cloudflare)).run == 256
    assert count_cases(TestStale, StaleBackend(cloudflare)).run == 253
