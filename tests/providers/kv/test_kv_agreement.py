"""CloudflareKVProvider answers as the reference does, page by page, whatever ids are like."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from storage_providers import InMemoryProvider
from storage_providers.base import Provider
from storage_providers.protocol import CollectionSpec, Index
from storage_providers.providers._kv.store import KVStore
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.testing.conformance import ManualClock
from tests.providers.kv.memory_namespace import MemoryNamespace

ids = st.text(st.sampled_from("!:;~@ a0Z|%\x7f\xe9\U0001f600"), min_size=1, max_size=3)
wheres: Any = st.sampled_from(
    [
        None,
        {"v": 1},
        {"v": {"$gte": 1}},
        {"v": {"$in": [0, 2]}},
        {"id": {"$prefix": "a"}},
        {"id": {"$prefix": ":"}},
        {"id": {"$gte": ";"}},
        {"id": {"$lt": "a", "$gt": "!"}, "v": {"$lt": 2}},
    ]
)
orders = st.sampled_from([(), ("-id",), ("v",), ("-v",), ("w", "v"), ("v", "-id")])


async def pages(provider: Provider, where: Any, order: Any, limit: int) -> list[list[str]]:
    """The ids of every page, without an empty one at the end, which KV may add."""
    found: list[list[str]] = []
    cursor = None
    while True:
        page = await provider.list_items(
            "t", where=where, order_by=order, limit=limit, cursor=cursor
        )
        found.append([item.id for item in page.items])
        cursor = page.cursor
        if cursor is None:
            return [each for each in found if each]


@settings(max_examples=150)
@given(
    names=st.sets(ids, max_size=40),
    large=st.booleans(),
    where=wheres,
    order=orders,
    limit=st.integers(1, 25),
    ready=st.booleans(),
)
def test_pages_agree(
    names: set[str], large: bool, where: Any, order: Any, limit: int, ready: bool
) -> None:
    """With documents beside their keys or not, indexes ready or building, in any order."""
    documents = [
        {"id": name, "v": len(name) % 3, "w": ord(name[0]) % 2, "x": "x" * 1200 * large}
        for name in sorted(names)
    ]
    clock = ManualClock()

    async def play() -> None:
        provider = CloudflareKVProvider(binding=object(), clock=clock.clock, prefix="p")
        cast(KVStore, provider.store).namespace = MemoryNamespace()
        async with provider, InMemoryProvider(clock=clock.clock) as reference:
            spec = CollectionSpec(collection="t", indexes=(Index.of("v"), Index.of("w", "-v")))
            await provider.declare(spec)
            clock.advance(3600 if ready else 0)
            if ready:
                await provider.build_indexes("t")
            await provider.put_items("t", documents)
            await reference.put_items("t", documents)
            expected = await pages(reference, where, order, limit)
            assert await pages(provider, where, order, limit) == expected
            count = await reference.count_items("t", where=where)
            assert await provider.count_items("t", where=where) == count

    asyncio.run(play())
