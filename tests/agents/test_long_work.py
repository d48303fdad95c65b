"""Long threads: what goes over all of one holds little at once, and goes on where it stopped."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from storage_providers._clock import SYSTEM_CLOCK
from storage_providers.agents import AgentStore, Thread
from storage_providers.base import Provider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.agents import said
from tests.agents.places import kv_on
from tests.providers.kv.memory_namespace import MemoryNamespace

MANY = 1_100
PLACES = ("sqlite", "memory", "kv")
"""A database; orders apart in atomic batches; orders apart, each write by itself."""


class StoppedError(Exception):
    """Somebody stopped the work."""


def opened(place: str, folder: Path) -> Provider:
    """An empty place."""
    if place == "memory":
        return InMemoryProvider()
    if place == "kv":
        return kv_on(MemoryNamespace(), SYSTEM_CLOCK)
    return SQLiteProvider(folder / "agents.db")


@asynccontextmanager
async def talk(place: str, folder: Path) -> AsyncGenerator[tuple[Provider, AgentStore]]:
    """A long thread."""
    async with opened(place, folder) as provider, AgentStore(provider) as store:
        await store.threads.save(Thread(id="t", resource_id="u"))
        for first in range(0, MANY, 1_000):
            some = range(first, min(first + 1_000, MANY))
            await store.messages.save([said(number) for number in some])
        yield provider, store


def play(place: str, folder: Path, work: Callable[[Provider, AgentStore], Awaitable[None]]) -> None:
    """Do something with a long thread."""

    async def main() -> None:
        async with talk(place, folder) as (provider, store):
            await work(provider, store)

    asyncio.run(main())


@pytest.mark.parametrize("place", PLACES)
def test_a_deletion_goes_on(place: str, tmp_path: Path) -> None:
    """Stopped after its first batch, the thread is there with the rest; again, nothing is left."""

    def stop(deleted: int) -> None:
        raise StoppedError(deleted)

    async def work(provider: Provider, store: AgentStore) -> None:
        with pytest.raises(StoppedError):
            await store.threads.delete("t", on_progress=stop)
        assert await store.threads.get("t") is not None
        assert (await store.messages.list("t", per_page=1, total=True)).total == MANY - 1_000
        assert await store.threads.delete("t") == MANY - 1_000
        assert await store.threads.get("t") is None
        for name in ("agent_messages", "agent_messages_order", "agent_threads_order"):
            assert [item.id async for item in provider.find_items(name)] == []

    play(place, tmp_path, work)


@pytest.mark.parametrize("place", PLACES)
def test_moving_to_a_resource_goes_on(place: str, tmp_path: Path) -> None:
    """Stopped between thread and messages, calling it again takes along those that stayed."""

    async def work(_: Provider, store: AgentStore) -> None:
        await store.threads.update("t", resource_id="v")
        assert (await store.messages.list(resource_id="u", per_page=1, total=True)).total == MANY
        await store.threads.move("t", "v")
        assert (await store.messages.list(resource_id="u", per_page=1, total=True)).total == 0
        assert (await store.messages.list(resource_id="v", per_page=1, total=True)).total == MANY
        assert [each.id for each in await store.messages.newest("t", 1)] == [f"m{MANY - 1}"]

    play(place, tmp_path, work)


@pytest.mark.parametrize("place", ["sqlite", "kv"])
def test_iterating_holds_a_page(place: str, tmp_path: Path) -> None:
    """Of 20 MB, no more than a page or two is in memory at once."""

    async def main() -> None:
        async with opened(place, tmp_path) as provider, AgentStore(provider) as store:
            await store.threads.save(Thread(id="t", resource_id="u"))
            large = [said(number, content="x" * 20_000) for number in range(1_000)]
            await store.messages.save(large)
            count, most = 0, 0
            tracemalloc.start()
            try:
                async for message in store.messages.iterate("t", newest_first=True):
                    count += len(message.text)
                    most = max(most, 0 if count % 200_000 else tracemalloc.get_traced_memory()[0])
            finally:
                tracemalloc.stop()
            assert count == 20_000_000
            assert most < 16_000_000

    asyncio.run(main())
