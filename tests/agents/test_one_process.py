"""What one process does at once, where nothing is conditional: its own changes all count."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from storage_providers._clock import SYSTEM_CLOCK
from storage_providers.agents import AgentStore, Thread
from storage_providers.cloudflare.kv import KVEntry
from storage_providers.resilience import Deadline
from storage_providers.testing.agents import said
from tests.agents.places import kv_on
from tests.providers.kv.memory_namespace import MemoryNamespace


class Far(MemoryNamespace):
    """Takes its turn of the loop before it writes, so that others read what was there."""

    async def put_many(
        self, entries: Sequence[KVEntry], *, deadline: Deadline | None = None
    ) -> list[str]:
        """Write some, later."""
        for _ in range(20):
            await asyncio.sleep(0)
        return await super().put_many(entries, deadline=deadline)


def test_a_bump_overwrites_no_other_change() -> None:
    """A title that is changed while messages are saved; a memory that two add to."""

    async def play() -> None:
        async with kv_on(Far(), SYSTEM_CLOCK) as provider, AgentStore(provider) as store:
            await store.threads.save(Thread(id="t", resource_id="u", title="old"))
            async with asyncio.TaskGroup() as group:
                group.create_task(store.messages.save([said(0, "t")]))
                group.create_task(store.threads.update("t", title="new"))
                group.create_task(store.threads.update("t", metadata={"a": 1}))
                for number in range(3):
                    metadata = {f"k{number}": number}
                    group.create_task(store.resources.update("u", metadata=metadata))
            thread, resource = await store.threads.get("t"), await store.resources.get("u")
            assert thread is not None
            assert (thread.title, thread.metadata) == ("new", {"a": 1})
            assert resource is not None
            assert resource.metadata == {"k0": 0, "k1": 1, "k2": 2}

    asyncio.run(play())


def test_a_bump_brings_no_thread_back() -> None:
    """One that is written while the thread is deleted."""

    async def play() -> None:
        async with kv_on(Far(), SYSTEM_CLOCK) as provider, AgentStore(provider) as store:
            for turns in range(0, 60, 5):
                await store.threads.save(Thread(id="t", resource_id="u"))
                for number in range(3):
                    await store.messages.save([said(number, "t")])
                writing = asyncio.create_task(store.flush())
                for _ in range(turns):
                    await asyncio.sleep(0)
                await store.threads.delete("t")
                await writing
                assert await store.threads.get("t") is None
                assert (await store.threads.list(total=True)).total == 0

    asyncio.run(play())
