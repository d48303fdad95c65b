"""Providers on local servers, with what counts their calls and what fills them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from storage_providers.base import Provider
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.protocol import CollectionSpec, Index
from storage_providers.providers._objects.entries import IndexKeys, new_token
from storage_providers.providers._objects.keys import FolderLayout
from storage_providers.providers._objects.provider import ObjectProvider
from storage_providers.providers.d1 import D1Provider
from storage_providers.testing.conformance import ManualClock

__all__ = ["INDEXES", "Place", "d1_place", "document", "kv_place", "r2_place"]

INDEXES = (Index.of("-n"), Index.of("status"))
"""What is declared for the collections with indexes."""

SETTLED_SECONDS = 3_600.0
"""Far longer than it takes until every process knows of an index."""

BATCH = 1_000


class Place:
    """A provider, open, on a local server.

    Args:
        provider: The provider.
        clock: What it goes by.
        counted: How many calls arrived since `forget`.
        forget: Begins to count anew.
    """

    def __init__(
        self,
        provider: Provider,
        clock: ManualClock,
        counted: Callable[[], int],
        forget: Callable[[], None],
    ) -> None:
        self.provider = provider
        self._clock = clock
        self._counted = counted
        self._forget = forget

    async def count(self, collection: str, work: Callable[[], Awaitable[object]]) -> int:
        """How many calls this takes; what is declared is known already.

        That is asked for once a minute at most, whatever number of operations there are.
        """
        await self.provider.declared(collection)
        await self.provider.delete_item(collection, "absent")
        await asyncio.to_thread(self._forget)
        await work()
        return await asyncio.to_thread(self._counted)

    async def index(self, collection: str) -> None:
        """Declare the indexes of an empty collection and bring them to where queries use them."""
        await self.provider.declare(CollectionSpec(collection=collection, indexes=INDEXES))
        if isinstance(self.provider, ObjectProvider):
            self._clock.advance(SETTLED_SECONDS)
            await self.provider.build_indexes(collection)

    async def fill(self, collection: str, count: int) -> None:
        """Put many documents into a collection with indexes."""
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            await self.provider.put_items(collection, [document(number) for number in numbers])


class PlantedPlace(Place):
    """One that is filled past the provider, because each document and entry is a call.

    Attributes:
        plant: Puts objects under keys.
        layout: Of the provider's keys.
    """

    plant: Callable[[dict[str, bytes]], None]
    layout: FolderLayout

    async def fill(self, collection: str, count: int) -> None:
        """Put many documents and their entries where the provider keeps them."""
        objects: dict[str, bytes] = {}
        kept = [IndexKeys(self.layout, collection, index) for index in INDEXES]
        for number in range(count):
            each = document(number)
            token = new_token(self._clock.clock)
            for keys in kept:
                objects.update(dict.fromkeys(keys.entries_of(each, each["id"], token), b""))
            objects[self.layout.document(collection, each["id"])] = msgspec.json.encode(each)
        await asyncio.to_thread(self.plant, objects)


def document(number: int, generation: int = 0) -> dict[str, Any]:
    """One of many small ones; another generation has other values in both indexes."""
    status = ("done", "open", "late")[(number % 2) + generation]
    return {"id": f"d{number:05}", "n": number + generation, "status": status}


# --- D1 ----------------------------------------------------------------------------------------


@asynccontextmanager
async def d1_place() -> AsyncGenerator[Place]:
    """D1 of workerd, an empty database."""
    from tests.servers.emulator import Emulator

    emulator = await asyncio.to_thread(Emulator)
    try:
        known, clock = emulator.known, ManualClock()
        client = CloudflareClient(known.account, known.token, base_url=known.api, rate_limit=None)
        provider = D1Provider(database_id=known.databases[0], client=client, clock=clock.clock)
        async with client, provider:
            yield Place(provider, clock, lambda: len(emulator.log()), emulator.clear_log)
    finally:
        await asyncio.to_thread(emulator.stop)


# --- Workers KV --------------------------------------------------------------------------------


@asynccontextmanager
async def kv_place() -> AsyncGenerator[Place]:
    """KV of workerd, an empty namespace."""
    from storage_providers.providers.kv import CloudflareKVProvider
    from tests.servers.emulator import Emulator

    emulator = await asyncio.to_thread(Emulator)
    try:
        known, clock = emulator.known, ManualClock()
        client = CloudflareClient(known.account, known.token, base_url=known.api, rate_limit=None)
        provider = CloudflareKVProvider(
            namespace_id=known.namespaces[0], client=client, clock=clock.clock
        )
        async with client, provider:
            yield Place(provider, clock, lambda: len(emulator.log()), emulator.clear_log)
    finally:
        await asyncio.to_thread(emulator.stop)


# --- R2 ----------------------------------------------------------------------------------------


@asynccontextmanager
async def r2_place() -> AsyncGenerator[Place]:
    """A local S3, an empty bucket, behind a proxy that counts."""
    from tests.servers.fault_proxy import FaultProxy
    from tests.servers.moto import MotoS3
    from tests.servers.r2 import moto_place

    moto = await asyncio.to_thread(MotoS3)
    try:
        with FaultProxy(moto.host, moto.port) as proxy:
            bucket, clock = moto.make_bucket(), ManualClock()
            where = moto_place(moto, bucket, endpoint=proxy.endpoint)
            async with where.open(clock.clock) as provider:
                place = PlantedPlace(
                    provider, clock, lambda: sum(proxy.counts.values()), proxy.clear
                )
                place.plant = lambda objects: moto.plant(bucket, objects)
                place.layout = FolderLayout(where.prefix, service="R2", max_key_bytes=1024)
                yield place
    finally:
        await asyncio.to_thread(moto.stop)
