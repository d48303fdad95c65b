"""The KV provider inside a Worker, on an object that behaves as the runtime's `env.KV` does."""

from __future__ import annotations

import asyncio
from typing import Any

from storage_providers.protocol import CollectionSpec, Index
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.testing.conformance import ManualClock
from tests.cloudflare.runtime import Namespace, worker


def test_documents_live_in_a_workers_namespace() -> None:
    """They are put, changed, found by an index, listed in order and removed, by its calls alone."""
    namespace, time = Namespace(), ManualClock()

    async def use() -> list[Any]:
        async with CloudflareKVProvider(binding=namespace, clock=time.clock) as provider:
            await provider.declare(CollectionSpec(collection="todos", indexes=(Index.of("n"),)))
            ids = [f"t{n:03}" for n in range(150)]
            await provider.put_items("todos", ({"id": each, "n": int(each[1:])} for each in ids))
            await provider.update_item("todos", "t007", {"n": 1000})
            listed = [item.id async for item in provider.find_items("todos")]
            assert listed == ids
            found = await provider.list_items("todos", where={"n": {"$gte": 148}}, order_by="-n")
            read = await provider.read_items("todos", ids)
            assert [item and item.document["n"] for item in read[:8]] == [0, 1, 2, 3, 4, 5, 6, 1000]
            await provider.delete_items("todos", ids[1:])
            assert [item.id async for item in provider.find_items("todos")] == ["t000"]
            await provider.clear_collection("todos")
            assert await provider.count_items("todos") == 0
            return [item.id for item in found.items]

    with worker():
        assert asyncio.run(use()) == ["t007", "t149", "t148"]
