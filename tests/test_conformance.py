"""The conformance suite on every provider and on layers, with its counts held fixed."""

from __future__ import annotations

import pytest

from storage_providers._clock import Clock
from storage_providers.layers import Layer, compose
from storage_providers.protocol import StorageProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing.conformance import Backend, ProviderConformance


class MemoryBackend(Backend):
    """A dict."""

    async def open(self, clock: Clock) -> StorageProvider:
        return InMemoryProvider(clock=clock)


class LayeredBackend(Backend):
    """A dict behind two layers that pass everything through."""

    async def open(self, clock: Clock) -> StorageProvider:
        return compose(Layer(), Layer(), provider=InMemoryProvider(clock=clock))


class TestInMemory(ProviderConformance):
    """The reference itself."""

    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()


class TestLayered(ProviderConformance):
    """Layers that do nothing change nothing."""

    @pytest.fixture
    def backend(self) -> Backend:
        return LayeredBackend()
