"""Large attachments leave the rows of messages, and come back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from storage_providers._clock import Clock
from storage_providers.agents import AgentStore, Message, MessageContent, Thread
from storage_providers.agents.attachments import offload_attachments
from storage_providers.protocol import StorageProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.agents import AgentStoreConformance
from storage_providers.testing.conformance import Backend


class OffloadedBackend(Backend):
    """A database whose larger parts are elsewhere."""

    async def open(self, clock: Clock) -> StorageProvider:
        return offload_attachments(
            SQLiteProvider(":memory:", clock=clock),
            objects=InMemoryProvider(clock=clock),
            over_bytes=40,
        )


class TestOffloaded(AgentStoreConformance):
    """Nothing is different for who uses the store, although most parts leave."""

    @pytest.fixture
    def backend(self) -> Backend:
        return OffloadedBackend()


def test_large_attachments_leave_the_row(tmp_path: Path) -> None:
    """A picture of 300 kB is an object; the row stays small, and the message is whole."""

    async def play() -> None:
        objects, database = InMemoryProvider(), SQLiteProvider(tmp_path / "agents.db")
        async with objects, offload_attachments(database, objects=objects) as provider:
            store = AgentStore(provider)
            await store.threads.save(Thread(id="t", resource_id="u"))
            picture = {"name": "a.png", "contentType": "image/png", "url": "data:," + "x" * 300_000}
            content = MessageContent(
                parts=[{"type": "text", "text": "Look"}], attachments=[picture]
            )
            message = Message.of(content, thread_id="t", resource_id="u", id="m")
            await store.messages.save([message])
            (row,) = await database.read_items("agent_messages", ["m"])
            assert row is not None
            assert len(row.body) < 1_000
            assert (await store.messages.newest("t", 1))[0].content == content

    asyncio.run(play())
