"""D1Provider on the D1 of workerd: the contract, alone and amid broken connections."""

from __future__ import annotations

import pytest

from storage_providers.testing.conformance import Backend, ProviderConformance
from tests.providers.d1.workerd import FaultyBackend, WorkerdBackend
from tests.servers.emulator import Emulator


class TestWorkerd(ProviderConformance):
    """The contract."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return WorkerdBackend(cloudflare)


class TestBrokenLine(ProviderConformance):
    """The contract, while a third of the calls break before or after it is carried out."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return FaultyBackend(cloudflare)
