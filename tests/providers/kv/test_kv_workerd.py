"""CloudflareKVProvider on the KV of workerd: the contract, with indexes, amid faults, stale."""

from __future__ import annotations

import pytest

from storage_providers.testing.conformance import Backend, ProviderConformance
from tests.providers.kv.workerd import FaultyBackend, IndexedBackend, StaleBackend, WorkerdBackend
from tests.servers.emulator import Emulator


class TestWorkerd(ProviderConformance):
    """The contract, no index being ready."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return WorkerdBackend(cloudflare)


class TestIndexed(ProviderConformance):
    """The contract, every index being ready."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return IndexedBackend(cloudflare)


class TestBrokenLine(ProviderConformance):
    """The contract, while a third of the calls break before or after they are carried out."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return FaultyBackend(cloudflare)


class TestStale(ProviderConformance):
    """What is promised of a service that answers what was true a minute ago."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return StaleBackend(cloudflare)
