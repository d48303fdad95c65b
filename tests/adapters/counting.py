"""Providers on services on this machine that count what they are asked, to hold adapters to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from storage_providers.protocol import StorageProvider
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.testing.conformance import ManualClock
from tests.agents.places import kv_on
from tests.providers.d1.local import LocalD1, local_provider
from tests.providers.kv.memory_namespace import MemoryNamespace
from tests.servers.fault_proxy import FaultProxy
from tests.servers.moto import MotoS3
from tests.servers.r2 import moto_place

__all__ = ["Cost", "Counted", "counted_d1", "counted_kv", "counted_r2"]

Cost: TypeAlias = Callable[[Awaitable[Any]], Awaitable[dict[str, int]]]
"""Tells the requests that some work takes, by kind."""

Counted: TypeAlias = AbstractAsyncContextManager[tuple[StorageProvider, Cost]]


@asynccontextmanager
async def counted_d1(
    tmp_path: Path,
) -> AsyncIterator[tuple[StorageProvider, Callable[[Awaitable[Any]], Awaitable[int]]]]:
    """D1's provider on `sqlite3` behind its transport, and what tells the calls of some work."""
    transport = LocalD1(tmp_path / "d1.db")
    try:
        async with local_provider(transport) as provider:

            async def cost(work: Awaitable[Any]) -> int:
                transport.calls.clear()
                await work
                return len(transport.calls)

            yield provider, cost
    finally:
        transport.close()


@asynccontextmanager
async def counted_kv(*collections: str) -> AsyncIterator[tuple[StorageProvider, Cost]]:
    """KV's provider on a namespace in memory, and what tells the calls of some work by kind.

    Args:
        collections: Whose declarations are known, as they are asked for once a minute at most.
    """
    namespace = MemoryNamespace()
    async with kv_on(namespace, ManualClock().clock, CloudflareKVProvider) as provider:

        async def cost(work: Awaitable[Any]) -> dict[str, int]:
            for name in collections:
                await provider.declared(name)
            namespace.calls.clear()
            await work
            return dict(namespace.calls)

        yield provider, cost


@asynccontextmanager
async def counted_r2(
    moto: MotoS3, bucket: str, proxy: FaultProxy
) -> AsyncIterator[tuple[StorageProvider, Cost]]:
    """R2's provider on a bucket of moto, and what tells the requests of some work by kind."""
    async with moto_place(moto, bucket, endpoint=proxy.endpoint).open() as provider:

        async def cost(work: Awaitable[Any]) -> dict[str, int]:
            proxy.clear()
            await work
            return dict(proxy.counts)

        yield provider, cost
