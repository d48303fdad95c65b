"""Which indexes the agent store declares, and when."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from storage_providers import LocalFileProvider, Provider, SQLiteProvider
from storage_providers.agents import AgentStore, Message, Retention, Thread
from storage_providers.agents._tables import TABLES
from storage_providers.protocol import CollectionSpec, Index
from storage_providers.testing.conformance import ManualClock

OWN = Index.of("title")


async def declared(provider: Provider, name: str) -> set[str]:
    """The fields of the indexes that a table has, joined by commas."""
    spec = await provider.declared(TABLES[name].collection)
    return set() if spec is None else {",".join(index.fields) for index in spec.indexes}


async def talk(store: AgentStore) -> None:
    """A thread with a message."""
    await store.threads.save(Thread(id="t", resource_id="r"))
    await store.messages.save([Message.of("Hello", thread_id="t", resource_id="r")])


def test_an_index_that_nobody_asks_for_is_not_declared(tmp_path: Path) -> None:
    """Those that everybody needs come with the first write, the others with the first question."""

    async def scenario() -> None:
        for provider in (SQLiteProvider(":memory:"), LocalFileProvider(tmp_path)):
            async with provider, AgentStore(provider) as store:
                await talk(store)
                await store.messages.newest("t", 5)
                common = {"resourceId,createdAt", "resourceId,updatedAt"}
                assert await declared(provider, "messages") == {"threadId,position"}
                assert await declared(provider, "threads") == common
                found = await store.messages.list(resource_id="r")
                assert [message.text for message in found.items] == ["Hello"]
                both = {"threadId,position", "resourceId,position"}
                assert await declared(provider, "messages") == both
                await store.threads.list()
                assert await declared(provider, "threads") == {*common, "createdAt"}

    asyncio.run(scenario())


def test_declare_declares_all() -> None:
    """Whoever has millions declares them before, and what others declared stays."""

    async def scenario() -> None:
        async with SQLiteProvider(":memory:") as provider:
            threads = TABLES["threads"].collection
            await provider.declare(CollectionSpec(collection=threads, indexes=(OWN,)))
            await AgentStore(provider).declare()
            for name, table in TABLES.items():
                wanted = {",".join(order.index.fields) for order in table.orders}
                own = {"title"} if name == "threads" else set[str]()
                assert await declared(provider, name) == wanted | own

    asyncio.run(scenario())


def test_an_index_that_another_process_dropped(tmp_path: Path) -> None:
    """Who declares at the same moment may overwrite it: it is declared again within a minute."""

    async def scenario() -> None:
        time = ManualClock()
        path = tmp_path / "a.db"
        async with SQLiteProvider(path, clock=time.clock) as mine, SQLiteProvider(path) as theirs:
            store = AgentStore(mine)
            await talk(store)
            await store.messages.list(resource_id="r")
            messages = TABLES["messages"].collection
            await theirs.declare(CollectionSpec(collection=messages, indexes=(OWN,)))
            time.advance(61)
            await store.messages.list(resource_id="r")
            assert await declared(mine, "messages") == {
                "title",
                "threadId,position",
                "resourceId,position",
            }

    asyncio.run(scenario())


def test_retention_looks_at_the_oldest_first() -> None:
    """Pruning threads declares the order in which they are old."""

    async def scenario() -> None:
        time = ManualClock()
        async with SQLiteProvider(":memory:", clock=time.clock) as provider:
            store = AgentStore(provider)
            await talk(store)
            assert await store.prune({"threads": Retention(older_than=timedelta(days=1))}) == {
                "threads": 0
            }
            assert "updatedAt" in await declared(provider, "threads")
            time.advance(2 * 86_400)
            assert await store.prune({"threads": Retention(older_than=timedelta(days=1))}) == {
                "threads": 1
            }

    asyncio.run(scenario())
