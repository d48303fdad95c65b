"""py-key-value's store: what its own stores are tested for, on every place.

The cases up to "beyond them" are those that py-key-value 0.5 holds its own stores to; its package
does not ship them, so they are written here anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from key_value.aio.errors import InvalidTTLError, SerializationError
from key_value.aio.protocols.key_value import (
    AsyncDestroyCollectionProtocol,
    AsyncDestroyStoreProtocol,
    AsyncEnumerateCollectionsProtocol,
    AsyncEnumerateKeysProtocol,
    AsyncKeyValue,
)
from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper

from storage_providers.agents.adapters.key_value import ProviderKeyValue
from storage_providers.errors import InvalidArgumentError
from storage_providers.providers.in_memory import InMemoryProvider
from tests.adapters.counting import counted_d1, counted_kv
from tests.adapters.places import EVERYWHERE, Place

Work = Callable[[ProviderKeyValue], Awaitable[None]]

everywhere = pytest.mark.parametrize("place", EVERYWHERE, indirect=True)

VALUES: tuple[dict[str, Any], ...] = (
    {"null": None, "list": [None, None]},
    {"null": "null", "true": "true", "1": "1", "1.0": "1.0"},
    {"bool": True, "list": [True, False], "deep": {"a": {"b": {"c": {"d": False}}}}},
    {"int": 10**18, "negative": -42, "float": 1.23456789012345e10, "one": 1.0},
    {"unicode": "Hello 世界 🌍 émojis", "special": "Line1\nLine2\tTabbed", "long": "a" * 10_000},
    {"12345678-1234-5678-1234-567812345678": "aGVsbG8gd29ybGQ="},
    {"items": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}] * 500, "n": list(range(1000))},
    {"id": "x", "key": "y", "value": {"value": 1}, "expiresAt": "never", "createdAt": 1},
    {},
)
NOT_JSON: tuple[object, ...] = (
    datetime(2025, 1, 1, tzinfo=UTC),
    date(2025, 1, 1),
    UUID("12345678-1234-5678-1234-567812345678"),
    b"hello",
    {1, 2, 3},
    object(),
    float("nan"),
)


def play(place: Place, work: Work) -> None:
    """Do something with a store."""

    async def main() -> None:
        async with place.open() as provider:
            await work(ProviderKeyValue(provider))

    asyncio.run(main())


# --- py-key-value's cases ------------------------------------------------------------------------


@everywhere
def test_an_empty_store(place: Place) -> None:
    """Nothing is found and nothing deleted; the protocols are there."""

    async def work(store: ProviderKeyValue) -> None:
        for protocol in (
            AsyncKeyValue,
            AsyncEnumerateKeysProtocol,
            AsyncEnumerateCollectionsProtocol,
            AsyncDestroyStoreProtocol,
            AsyncDestroyCollectionProtocol,
        ):
            assert isinstance(store, protocol)
        assert await store.get("k", collection="c") is None
        assert await store.ttl("k", collection="c") == (None, None)
        assert await store.get_many(["a", "b"], collection="c") == [None, None]
        assert await store.ttl_many(["a"], collection="c") == [(None, None)]
        assert await store.delete("k", collection="c") is False
        assert await store.delete_many(["a", "b"], collection="c") == 0
        assert await store.keys("c") == []
        assert await store.collections() == []
        assert await store.destroy_collection("c") is False

    play(place, work)


@everywhere
def test_put_get_replace_delete(place: Place) -> None:
    """One key: each step shows in the next read, and only the first delete says true."""

    async def work(store: ProviderKeyValue) -> None:
        await store.put("k", {"n": 1}, collection="c")
        assert await store.get("k", collection="c") == {"n": 1}
        assert await store.get("k") is None
        await store.put("k", {"n": 2}, collection="c")
        await store.put("k", {"n": 3})
        assert await store.get("k", collection="c") == {"n": 2}
        assert await store.get("k") == {"n": 3}
        assert await store.delete("k", collection="c") is True
        assert await store.delete("k", collection="c") is False
        assert await store.get("k", collection="c") is None
        assert await store.get("k") == {"n": 3}

    play(place, work)


@everywhere
def test_many_at_once(place: Place) -> None:
    """Bulk operations keep the order of the keys, name missing ones, and count what they delete."""

    async def work(store: ProviderKeyValue) -> None:
        keys = [f"key {number}" for number in range(30)]
        values = [{"n": number} for number in range(30)]
        await store.put_many(keys, values, collection="c", ttl=100)
        await store.put_many((), (), collection="c")
        asked = ["none", *reversed(keys), keys[3]]
        wanted = [None, *reversed(values), values[3]]
        assert await store.get_many(asked, collection="c") == wanted
        for value, ttl in await store.ttl_many(keys[:3], collection="c"):
            assert value is not None
            assert ttl is not None
            assert 60 < ttl <= 100
        assert sorted(await store.keys("c")) == sorted(keys)
        assert await store.keys("c", limit=4) == sorted(keys)[:4]
        assert await store.delete_many([*keys[:20], "none"], collection="c") == 20
        assert await store.delete_many(keys, collection="c") == 10
        with pytest.raises(ValueError, match="different number of keys and values"):
            await store.put_many(["a"], [], collection="c")

    play(place, work)


@everywhere
def test_values_come_back_as_they_were(place: Place) -> None:
    """Nothing is taken for something else than it is."""

    async def work(store: ProviderKeyValue) -> None:
        for number, value in enumerate(VALUES):
            await store.put(str(number), value)
        for number, value in enumerate(VALUES):
            assert await store.get(str(number)) == value
        await store.put("tuple", {"t": (1, "two", 3.0)})
        assert await store.get("tuple") == {"t": [1, "two", 3.0]}

    play(place, work)


@pytest.mark.parametrize("value", NOT_JSON, ids=lambda value: type(value).__name__)
def test_what_is_not_json_is_refused(value: object) -> None:
    """As py-key-value's own stores refuse it, naming the field."""

    async def main() -> None:
        async with InMemoryProvider() as provider:
            store = ProviderKeyValue(provider)
            with pytest.raises(SerializationError, match=r"field 'value\.str_key"):
                await store.put("k", {"str_key": value})
            with pytest.raises(SerializationError):
                await store.put_many(["a", "b"], [{"n": 1}, {"str_key": value}])
            assert await store.get("a") is None

    asyncio.run(main())


@everywhere
def test_times_to_live(place: Place) -> None:
    """The rest of it is told, wrong ones are refused, and a put without one ends it."""

    async def work(store: ProviderKeyValue) -> None:
        await store.put("k", {"n": 1}, ttl=100)
        value, ttl = await store.ttl("k")
        assert value == {"n": 1}
        assert ttl is not None
        assert 60 < ttl <= 100
        await store.put("k", {"n": 2})
        assert await store.ttl("k") == ({"n": 2}, None)
        for wrong in (-100, 0, True):
            with pytest.raises(InvalidTTLError):
                await store.put("k", {"n": 3}, ttl=wrong)
        assert await store.get("k") == {"n": 2}

    play(place, work)


@pytest.mark.parametrize("place", ["memory", "files", "sqlite", "d1", "r2", "kv"], indirect=True)
def test_expired_values_are_not_there(place: Place) -> None:
    """They are not read, listed or deleted; the shortest time is over at once."""

    async def work(store: ProviderKeyValue) -> None:
        await store.put("k", {"n": 1}, collection="c", ttl=0.000001)
        await store.put("l", {"n": 1}, collection="c")
        assert await store.get("k", collection="c") is None
        assert await store.ttl("k", collection="c") == (None, None)
        assert await store.keys("c") == ["l"]
        assert await store.delete("k", collection="c") is False

    play(place, work)


NAMES = (
    "plain",
    "Plain",
    "with space!@#$%^&*()",
    "a/b:c",
    "..",
    ".plain",
    "~tilde",
    "🙂",
    "e\u0301",
    "é",
    "test_name" * 100,
    "test_name" * 100 + "x",
    "x" * 40,
    "x" * 41,
    "kv.plain",
    "\x00",
)


@everywhere
def test_keys_and_collections_of_any_kind(place: Place) -> None:
    """Long ones, those with special characters, and those that look alike stay apart."""
    some = NAMES if place.name in ("memory", "sqlite", "d1") else NAMES[:12:2]

    async def work(store: ProviderKeyValue) -> None:
        for number, name in enumerate(some):
            await store.put_many(some, [{"at": [number, key]} for key in some], collection=name)
        for number, name in enumerate(some):
            found = await store.get_many(some, collection=name)
            assert found == [{"at": [number, key]} for key in some]
        assert sorted(await store.keys(some[-1])) == sorted(some)
        assert await store.collections() == sorted(some)
        assert await store.collections(limit=2) == sorted(some)[:2]
        assert await store.destroy_collection(some[0]) is True
        assert await store.keys(some[0]) == []
        assert len(await store.keys(some[1])) == len(some)
        assert await store.destroy() is True
        assert await store.get(some[2], collection=some[2]) is None

    play(place, work)


@pytest.mark.parametrize("place", ["memory", "files", "sqlite", "d1", "r2", "kv"], indirect=True)
def test_many_workers(place: Place) -> None:
    """Each sees its own keys as it left them."""

    async def work(store: ProviderKeyValue) -> None:
        async def worker(name: int) -> None:
            for number in range(3):
                key = f"{name}_{number}"
                assert await store.get(key) is None
                await store.put(key, {"n": number})
                assert await store.get(key) == {"n": number}
                await store.put(key, {"n": -number})
                assert await store.get(key) == {"n": -number}
                assert await store.delete(key)
                assert await store.get(key) is None

        async with asyncio.TaskGroup() as group:
            for name in range(3):
                group.create_task(worker(name))

    play(place, work)


# --- beyond them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["memory", "sqlite", "d1"], indirect=True)
def test_one_of_many_deletes_says_true(place: Place) -> None:
    """So a key that may be used once is used once."""

    async def work(store: ProviderKeyValue) -> None:
        for _ in range(20):
            await store.put("code", {"n": 1})
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(store.delete("code")) for _ in range(5)]
            assert sorted(task.result() for task in tasks) == [False] * 4 + [True]

    play(place, work)


def test_other_collections_are_left_alone() -> None:
    """What the program keeps beside the store is neither listed nor destroyed."""

    async def main() -> None:
        async with InMemoryProvider() as provider:
            for name in ("todos", "kv", "kv..not-base32", "user-7/kv.c", "kv....x"):
                await provider.put_item(name, {"id": "1"})
            store, other = ProviderKeyValue(provider), ProviderKeyValue(provider, prefix="kv2")
            await store.put("k", {}, collection="c")
            await other.put("k", {}, collection="c")
            assert await store.collections() == ["c"]
            await store.destroy()
            assert await other.get("k", collection="c") == {}
            assert await store.collections() == []
            for name in ("todos", "kv", "kv..not-base32", "user-7/kv.c", "kv....x"):
                assert await provider.count_items(name) == 1

    asyncio.run(main())


@pytest.mark.parametrize("prefix", ["", "UPPER", "a.b", "-a", "x" * 9])
def test_a_bad_prefix_is_refused(prefix: str) -> None:
    """At once, with the rule."""
    with pytest.raises(InvalidArgumentError):
        ProviderKeyValue(InMemoryProvider(), prefix=prefix)


def test_the_provider_is_opened_at_the_first_use() -> None:
    """As frameworks need it that make their store before there is a loop."""
    provider = InMemoryProvider()
    store = ProviderKeyValue(provider)

    async def main() -> None:
        await store.put("k", {"n": 1})
        assert await store.get("k") == {"n": 1}
        await provider.disconnect()

    asyncio.run(main())


def test_wrappers_work_on_it() -> None:
    """py-key-value's own wrappers take it as any store, and so do frameworks."""

    async def main() -> None:
        async with InMemoryProvider() as provider:
            store: Any = PrefixKeysWrapper(ProviderKeyValue(provider), prefix="app")
            await store.put("k", {"n": 1})
            assert await store.get("k") == {"n": 1}
            assert [
                item.id for item in (await provider.list_items("kv.default_collection")).items
            ] == ["app__k"]

    asyncio.run(main())


def test_calls_on_d1(tmp_path: Path) -> None:
    """One for each operation, of one key or a thousand."""

    async def main() -> None:
        async with counted_d1(tmp_path) as (provider, cost):
            store = ProviderKeyValue(provider)
            await store.put("first", {})
            keys = [f"k{number}" for number in range(1000)]
            values: list[Mapping[str, Any]] = [{"n": number} for number in range(1000)]
            assert await cost(store.put("k", {})) == 1
            assert await cost(store.put_many(keys, values)) == 1
            assert await cost(store.get("k")) == 1
            assert await cost(store.ttl_many(keys)) == 1
            assert await cost(store.delete("k")) == 1
            assert await cost(store.delete_many(keys[:500])) == 2
            assert await cost(store.keys()) == 1
            assert await cost(store.destroy_collection("default_collection")) == 2

    asyncio.run(main())


def test_calls_on_kv() -> None:
    """Bulk calls: one for 100 that are read, 10,000 that are put, 1,000 that are listed."""

    async def main() -> None:
        async with counted_kv("kv.default_collection") as (provider, cost):
            store = ProviderKeyValue(provider)
            await store.put("first", {})
            keys = [f"k{number}" for number in range(1000)]
            values: list[Mapping[str, Any]] = [{"n": number} for number in range(1000)]
            assert await cost(store.put("k", {})) == {"put": 1}
            assert await cost(store.put_many(keys, values)) == {"put": 1}
            assert await cost(store.get("k")) == {"get": 1}
            assert await cost(store.ttl_many(keys)) == {"get": 10}
            assert await cost(store.delete("k")) == {"get": 1, "delete": 1}
            assert await cost(store.delete_many(keys[:500])) == {"get": 5, "delete": 1}
            assert await cost(store.keys()) == {"list": 1}
            assert await cost(store.destroy_collection("default_collection")) == {
                "list": 3,
                "delete": 1,
            }

    asyncio.run(main())
