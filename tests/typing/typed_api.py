"""Read by mypy and pyright alone: typed collections and the blocking API keep their types."""

from __future__ import annotations

from typing import assert_type

import msgspec

from storage_providers import Collection, InMemoryProvider, Item, JsonObject, open_provider
from storage_providers.base import Provider
from storage_providers.blocking import Blocking, BlockingIterator, blocking, iterate, run
from storage_providers.collection import TypedItem, TypedPage


class Todo(msgspec.Struct):
    """A model."""

    content: str


async def collections() -> None:
    """A collection knows its model everywhere, and is one of dictionaries without."""
    provider = InMemoryProvider()
    todos = Collection(provider, "todos", Todo)
    assert_type(todos, Collection[Todo])
    assert_type(await todos.create(Todo("a")), TypedItem[Todo])
    assert_type(await todos.read("1"), TypedItem[Todo] | None)
    assert_type(await todos.list(), TypedPage[Todo])
    assert_type((await todos.modify("1", lambda todo: todo)).value, Todo)
    assert_type([item.value async for item in todos.find()], list[Todo])
    assert_type(await todos.read_many(["1"]), list[TypedItem[Todo] | None])
    plain = Collection(provider, "todos")
    assert_type(plain, Collection[JsonObject])
    await todos.create({"content": "a"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def without_await() -> None:
    """`run` and `iterate` keep types; a facade remembers what it wraps."""
    provider = open_provider("memory:")
    assert_type(provider, Provider)
    assert_type(blocking(provider), Blocking[Provider])
    assert_type(run(provider.read_item("todos", "1")), Item | None)
    assert_type(iterate(provider.find_items("todos")), BlockingIterator[Item])
    with blocking(provider) as store:
        assert_type(store, Blocking[Provider])
