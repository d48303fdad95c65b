"""How often a save goes to its provider, and that a wrong guess of it does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from storage_providers.agents import AgentStore, Message, Thread
from storage_providers.base import Provider
from storage_providers.errors import ItemNotFoundError
from storage_providers.layers import Call, Layer, compose
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider

T = TypeVar("T")
Play = Callable[[Callable[["Trips"], Awaitable[None]]], None]


class Trips(Layer):
    """Notes what is read and written."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        if call.verb in ("read", "write", "query"):
            self.seen.append(call.verb)
        return await proceed()


def _said(*texts: str, **more: str) -> list[Message]:
    return [Message.of(text, thread_id="t", resource_id="r", **more) for text in texts]


PLACES: dict[str, Callable[[Path], Provider]] = {
    "memory": lambda _: InMemoryProvider(),
    "sqlite": lambda folder: SQLiteProvider(folder / "a.db"),
    "files": lambda folder: LocalFileProvider(folder / "a"),
}


@pytest.fixture(params=PLACES)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Plays a test on a provider with `native_query`, under a layer that counts."""

    async def opened(test: Callable[[Trips], Awaitable[None]]) -> None:
        layer = Trips()
        async with compose(layer, provider=PLACES[request.param](tmp_path)):
            await test(layer)

    return lambda test: asyncio.run(opened(test))


async def _touched(store: AgentStore) -> str:
    thread = await store.threads.get("t")
    assert thread is not None
    return str(thread.updated_at)


def test_new_messages_of_a_thread_just_written_are_one_write(play: Play) -> None:
    """Where the bump is in the batch nothing is read; on files it is a change of its own."""

    async def test(trips: Trips) -> None:
        store = AgentStore(trips)
        await store.threads.save(Thread(id="t", resource_id="r"))
        await store.messages.save(_said("one"))
        trips.seen.clear()
        await store.messages.save(_said("two", "three"))
        expected = ["write"] if trips.capabilities.atomic_batch else ["read", "write"] * 2
        assert trips.seen == expected
        assert [each.text for each in await store.messages.newest("t", 5)] == [
            "one",
            "two",
            "three",
        ]

    play(test)


def test_messages_that_have_ids_are_read_before(play: Play) -> None:
    """They may be there already: then they keep their time and their place."""

    async def test(trips: Trips) -> None:
        store = AgentStore(trips)
        await store.threads.save(Thread(id="t", resource_id="r"))
        (first,) = await store.messages.save(_said("one", id="m"))
        await store.messages.save(_said("two"))
        trips.seen.clear()
        (again,) = await store.messages.save(_said("changed", id="m"))
        assert trips.seen[:2] == ["read", "write"]
        assert again.created_at == first.created_at
        assert [each.text for each in await store.messages.newest("t", 5)] == ["changed", "two"]

    play(test)


def test_a_thread_that_another_store_bumped_is_bumped_again(play: Play) -> None:
    """What this store wrote last is not what is there any more: the write is made anew."""

    async def test(trips: Trips) -> None:
        store, other = AgentStore(trips), AgentStore(trips)
        await store.threads.save(Thread(id="t", resource_id="r"))
        await other.messages.save(_said("one"))
        await other.threads.update("t", title="renamed")
        before = await _touched(other)
        await store.messages.save(_said("two"))
        assert await _touched(other) > before
        thread = await store.threads.get("t")
        assert thread is not None
        assert thread.title == "renamed"
        assert [each.text for each in await store.messages.newest("t", 5)] == ["one", "two"]

    play(test)


def test_a_thread_that_another_store_deleted_takes_no_message(play: Play) -> None:
    """Though this store wrote it last: the save fails and leaves nothing."""

    async def test(trips: Trips) -> None:
        store, other = AgentStore(trips), AgentStore(trips)
        await store.threads.save(Thread(id="t", resource_id="r"))
        await other.threads.delete("t")
        with pytest.raises(ItemNotFoundError):
            await store.messages.save(_said("lost"))
        assert await store.messages.newest("t", 5) == []

    play(test)
