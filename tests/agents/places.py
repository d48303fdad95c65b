"""Places of the agent store's tests that no other tests have."""

from __future__ import annotations

from typing import ClassVar, cast

from storage_providers._clock import Clock
from storage_providers.cloudflare.kv import KVEntry
from storage_providers.protocol import StorageProvider
from storage_providers.providers._kv.layout import KVLayout
from storage_providers.providers._kv.store import KVStore
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.testing.conformance import Backend
from tests.providers.kv.memory_namespace import MemoryNamespace
from tests.providers.kv.workerd import Consistent

__all__ = ["MemoryKVBackend", "kv_on"]


def kv_on(
    namespace: MemoryNamespace, clock: Clock, kind: type[CloudflareKVProvider] = Consistent
) -> CloudflareKVProvider:
    """A provider on a namespace in memory."""
    provider = kind(binding=object(), clock=clock)
    cast(KVStore, provider.store).namespace = namespace
    return provider


class MemoryKVBackend(Backend):
    """A namespace in memory, which never answers what is old."""

    can_reopen: ClassVar[bool] = True
    can_share: ClassVar[bool] = True
    can_plant: ClassVar[bool] = True

    def __init__(self) -> None:
        self.namespace = MemoryNamespace()

    async def open(self, clock: Clock) -> StorageProvider:
        return kv_on(self.namespace, clock)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        key = KVLayout("").document(collection, item_id)
        await self.namespace.put_many([KVEntry(key=key, value=raw.decode())])
