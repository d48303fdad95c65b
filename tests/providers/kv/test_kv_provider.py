"""CloudflareKVProvider: how it is made, namespaces, expiry, and what stale answers do to it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from storage_providers import open_provider
from storage_providers._clock import SYSTEM_CLOCK, format_timestamp
from storage_providers.cloudflare.kv import KVNamespace, KVNamespaces
from storage_providers.errors import (
    ConfigurationError,
    ItemExistsError,
    OutcomeUnknownError,
    UnsupportedOperationError,
)
from storage_providers.protocol import CollectionSpec, Index, Put
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.testing.conformance import ManualClock
from tests.providers.kv.workerd import client_of, turning
from tests.servers.emulator import Emulator

Work = Callable[[CloudflareKVProvider], Awaitable[Any]]


def run(emulator: Emulator, *works: Work, **options: Any) -> list[Any]:
    """Do something with providers of their own on one empty namespace, all open at once."""
    namespace_id = emulator.known.namespaces[0]
    if options.pop("empty", True):
        emulator.empty_namespace(namespace_id)
    if "namespace_title" not in options:
        options["namespace_id"] = namespace_id

    async def play() -> list[Any]:
        results = []
        async with client_of(emulator) as client:
            timing = turning(emulator)
            providers = [
                CloudflareKVProvider(client=client, timing=timing, **options) for _ in works
            ]
            for provider in providers:
                await provider.connect()
            for provider, work in zip(providers, works, strict=True):
                results.append(await work(provider))
            for provider in providers:
                await provider.disconnect()
        return results

    return asyncio.run(play())


# --- how it is made ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"account_id": "a", "token": "t"}, "namespace_id or namespace_title"),
        ({"namespace_id": "n", "namespace_title": "n", "token": "t"}, "one of them"),
        ({"namespace_id": "n", "token": "t"}, "account_id is missing"),
        ({"namespace_id": "n", "account_id": "a"}, "token is missing"),
        ({"namespace_title": "a/b", "account_id": "a", "token": "t"}, "not a title"),
        ({"binding": object(), "token": "t"}, "leave out token"),
        ({"namespace_id": "n", "namespaces": {"Bad": "x"}}, "not a collection name"),
        ({"namespace_id": "n", "namespaces": {"u/t": "x"}}, "name alone"),
        ({"namespace_id": "n", "namespaces": {"t": "a/b"}}, "neither an id"),
    ],
)
def test_what_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    """Missing, contradicting and malformed arguments, without the token."""
    with pytest.raises(ConfigurationError, match=message):
        CloudflareKVProvider(**options)


def test_opening_by_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """By id or title, with a prefix; token and account come from the environment alone."""
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "secret-token")
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a" * 32)
    by_id = open_provider(f"kv://{'0' * 32}/apps:notes")
    assert repr(by_id) == (f"CloudflareKVProvider(KVNamespace('{'0' * 32}'), prefix='apps:notes:')")
    assert "NamedNamespace('notes')" in repr(open_provider("kv://notes"))
    for url in ("kv:", "kv://", "kv://a@b", "kv://n?token=x", "kv://n?account_id=x"):
        with pytest.raises(ConfigurationError):
            open_provider(url)


# --- namespaces --------------------------------------------------------------------------------


def test_namespaces_of_their_own(cloudflare: Emulator) -> None:
    """A collection in a namespace of its own, in every scope, with its index entries."""
    second = cloudflare.known.namespaces[1]
    cloudflare.empty_namespace(second)

    async def work(provider: CloudflareKVProvider) -> list[str]:
        await provider.declare(CollectionSpec(collection="logs", indexes=(Index.of("n"),)))
        await provider.put_items("logs", [{"id": "a", "n": 1}])
        await provider.put_items("user-7/logs", [{"id": "b", "n": 1}])
        await provider.put_items("todos", [{"id": "c"}])
        return await provider.collections()

    assert run(cloudflare, work, namespaces={"logs": second}) == [["logs", "todos", "user-7/logs"]]

    async def keys(namespace_id: str) -> list[str]:
        async with client_of(cloudflare) as client:
            page = await KVNamespace(client, namespace_id).list_keys()
            return [key.name.partition(":")[0] for key in page.keys]

    assert asyncio.run(keys(second)) == ["@user-7", "logs", "~logs"]
    assert asyncio.run(keys(cloudflare.known.namespaces[0])) == [".declarations", "todos"]
    cloudflare.empty_namespace(second)


def test_provision_and_checks(cloudflare: Emulator) -> None:
    """A namespace is made by its title, once; the checks find it and leave nothing."""

    async def play() -> None:
        async with client_of(cloudflare) as client:
            place: dict[str, Any] = {"namespace_title": "made-here", "client": client}
            provider = CloudflareKVProvider(**place)
            assert [each.state for each in await provider.provision(dry_run=True)] == ["missing"]
            async with CloudflareKVProvider(**place) as early:
                with pytest.raises(ConfigurationError, match="provision"):
                    await early.read_item("t", "a")
            assert [each.state for each in await provider.provision()] == ["made"]
            assert [each.state for each in await provider.provision()] == ["there"]
            async with provider:
                checks = await provider.checks()
                assert [check.name for check in checks if not check.ok] == []
                assert [check.name for check in checks] == [
                    *("namespaces", "list", "read", "write", "delete", "indexes", "circuit")
                ]
                assert await provider.versions(".doctor") == await provider.versions("none")
            found = await KVNamespaces(client).find("made-here")
            assert found is not None
            await KVNamespaces(client).delete(found.id)
            on_demand = CloudflareKVProvider(create_namespaces=True, **place)
            async with on_demand:
                await on_demand.put_item("t", {"id": "a"})
            found = await KVNamespaces(client).find("made-here")
            assert found is not None
            await KVNamespaces(client).delete(found.id)

    asyncio.run(play())


# --- expiry ------------------------------------------------------------------------------------


def test_native_expiry_never_is_early(cloudflare: Emulator) -> None:
    """Rounded up to the second, at least two minutes ahead; what is very far is not told."""
    now = SYSTEM_CLOCK.now_ms()
    far = now + 3_600_000 + 1

    async def work(provider: CloudflareKVProvider) -> None:
        await provider.declare(CollectionSpec(collection="t", indexes=(Index.of("n"),)))
        await provider.write(
            [
                Put("t", {"id": "far", "n": 1, "expiresAt": format_timestamp(far)}),
                Put("t", {"id": "soon", "expiresAt": format_timestamp(now + 5_000)}),
                Put("t", {"id": "never", "n": 1}),
                Put("t", {"id": "very far", "expiresAt": "9999-01-01T00:00:00.000Z"}),
            ]
        )

    run(cloudflare, work)

    async def expirations() -> dict[str, int | None]:
        async with client_of(cloudflare) as client:
            page = await KVNamespace(client, cloudflare.known.namespaces[0]).list_keys()
            return {key.name: key.expiration for key in page.keys}

    found = asyncio.run(expirations())
    told = found["t:far"]
    assert told is not None
    assert 0 <= told * 1000 - far < 2_000
    entries = [expiration for key, expiration in found.items() if key.startswith("~t:")]
    assert entries.count(told) == 1
    soon = found["t:soon"]
    assert soon is not None
    assert soon >= time.time() + 60
    assert found["t:never"] is None
    assert found["t:very!20far"] is None


# --- stale answers and limits ------------------------------------------------------------------


def test_what_another_does_is_seen_within_a_minute(cloudflare: Emulator) -> None:
    """A second process may be told for a minute that there is nothing; the first sees its own."""
    cloudflare.configure(kvStaleMs=60_000, kvWriteLimitMs=1_000)
    cloudflare.advance(3600)

    async def look(provider: CloudflareKVProvider) -> object:
        return await provider.read_item("t", "a")

    async def make(provider: CloudflareKVProvider) -> int:
        await provider.create_item("t", {"id": "a", "n": 1})
        item = await provider.update_item("t", "a", {"n": 2})
        with pytest.raises(ItemExistsError):
            await provider.create_item("t", {"id": "a"})
        assert [each.id async for each in provider.find_items("t")] == ["a"]
        return int(item.document["n"])

    assert run(cloudflare, look, make, look)[:2] == [None, 2]
    assert run(cloudflare, look, empty=False) == [None]
    cloudflare.advance(61)
    (found,) = run(cloudflare, look, empty=False)
    assert found.document["n"] == 2


def test_an_index_is_built_amid_stale_answers(cloudflare: Emulator) -> None:
    """It waits until every process knows of it, and then finds everything."""
    cloudflare.configure(kvStaleMs=60_000, kvWriteLimitMs=1_000)
    cloudflare.advance(3600)
    clock = ManualClock()

    async def work(provider: CloudflareKVProvider) -> list[str]:
        await provider.put_items("t", [{"id": f"{n}", "n": n} for n in range(5)])
        await provider.declare(CollectionSpec(collection="t", indexes=(Index.of("n"),)))
        clock.advance(provider.settle_seconds - 1)
        assert [each.state for each in await provider.index_states("t")] == ["building"]
        clock.advance(1)
        cloudflare.advance(provider.settle_seconds)
        await provider.build_indexes("t")
        page = await provider.list_items("t", where={"n": {"$gte": 3}})
        assert page.statistics.index == "n"
        return [item.id for item in page.items]

    assert run(cloudflare, work, clock=clock.clock) == [["3", "4"]]


def test_what_is_not_confirmed_is_unknown(cloudflare: Emulator) -> None:
    """A key that the service keeps naming as unsuccessful may have landed or not."""

    async def work(provider: CloudflareKVProvider) -> None:
        await provider.declared("t")
        answer = {
            "success": True,
            "errors": [],
            "messages": [],
            "result": {"successful_key_count": 0, "unsuccessful_keys": ["t:a"]},
        }
        cloudflare.fault("PUT .*/bulk$", times=None, status=200, raw=json.dumps(answer))
        with pytest.raises(OutcomeUnknownError, match="did not confirm"):
            await provider.put_item("t", {"id": "a"})
        cloudflare.clear_faults()
        await provider.put_item("t", {"id": "a"})

    run(cloudflare, work)


def test_conditions_are_refused(cloudflare: Emulator) -> None:
    """What KV can't judge is refused before anything is sent."""

    async def work(provider: CloudflareKVProvider) -> None:
        await provider.put_item("t", {"id": "a"})
        cloudflare.clear_log()
        with pytest.raises(UnsupportedOperationError):
            await provider.update_item("t", "a", {"n": 1}, if_version="x")
        with pytest.raises(UnsupportedOperationError):
            await provider.modify_item("t", "a", lambda document: document)
        assert cloudflare.log() == []

    run(cloudflare, work)
