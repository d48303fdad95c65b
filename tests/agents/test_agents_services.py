"""The agent store on services: KV, R2 and D1, on stand-ins and on workerd."""

from __future__ import annotations

import pytest

from storage_providers.testing.agents import AgentStoreConformance
from storage_providers.testing.conformance import Backend
from tests.agents.places import MemoryKVBackend
from tests.providers.d1.workerd import WorkerdBackend as D1WorkerdBackend
from tests.providers.kv.workerd import StaleBackend, WorkerdBackend
from tests.servers.emulator import Emulator
from tests.servers.moto import MotoS3
from tests.servers.r2 import R2Backend, moto_place, on_workerd
from tests.test_conformance import WeakBackend


class TestWeak(AgentStoreConformance):
    """On the least that a provider can do."""

    @pytest.fixture
    def backend(self) -> Backend:
        return WeakBackend()


class TestKVInMemory(AgentStoreConformance):
    """On KV's provider, with a namespace in memory."""

    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryKVBackend()


class TestKV(AgentStoreConformance):
    """On the KV of workerd."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return WorkerdBackend(cloudflare)


class TestStaleKV(AgentStoreConformance):
    """On a KV that answers what was true a minute ago, and takes a write a second for each key."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return StaleBackend(cloudflare)


class TestD1(AgentStoreConformance):
    """On the D1 of workerd."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return D1WorkerdBackend(cloudflare)


class TestR2OnMoto(AgentStoreConformance):
    """On R2's provider, with moto's S3."""

    @pytest.fixture
    def backend(self, moto: MotoS3, moto_bucket: str, request: pytest.FixtureRequest) -> Backend:
        return R2Backend(moto_place(moto, moto_bucket), name=request.node.name)


class TestR2(AgentStoreConformance):
    """On the R2 of workerd."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator, request: pytest.FixtureRequest) -> Backend:
        return R2Backend(on_workerd(cloudflare), name=request.node.name)
