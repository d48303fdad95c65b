"""How many calls and rows each operation costs, counted by the service's own log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from storage_providers.estimates import Workload
from storage_providers.protocol import (
    IF_ABSENT,
    Address,
    CollectionSpec,
    Index,
    Put,
    Query,
)
from storage_providers.providers.d1 import D1Provider
from storage_providers.testing.conformance import ManualClock
from tests import copying
from tests.providers.d1.workerd import WorkerdBackend
from tests.servers.emulator import Emulator

SPEC = CollectionSpec(
    collection="big", indexes=(Index.of("number"), Index.of("status", "due")), text_fields=("v",)
)


def document(number: int) -> dict[str, Any]:
    """One of many small ones."""
    return {
        "id": f"{number:05}",
        "number": number * 7_919 % 10_007,
        "status": ("open", "done")[number % 2],
        "due": f"2026-{number % 12 + 1:02}",
        "v": f"word{number % 7} plants",
    }


def play(
    emulator: Emulator,
    scene: Callable[[D1Provider, Counter, ManualClock], Awaitable[None]],
) -> None:
    """Play a scene on an empty database."""

    async def main() -> None:
        clock, backend = ManualClock(), WorkerdBackend(emulator)
        provider = await backend.open(clock.clock)
        assert isinstance(provider, D1Provider)
        try:
            async with provider:
                await scene(provider, Counter(emulator, provider), clock)
        finally:
            await backend.close()

    asyncio.run(main())


class Counter:
    """Calls and rows since it was asked last."""

    def __init__(self, emulator: Emulator, provider: D1Provider) -> None:
        self._emulator = emulator
        self._provider = provider
        self._rows = (0, 0)
        emulator.clear_log()

    def calls(self) -> int:
        """Calls that arrived, those that were refused among them."""
        calls = len(self._emulator.log())
        self._emulator.clear_log()
        return calls

    def rows(self) -> tuple[int, int]:
        """Rows read and written, by what the service says."""
        usage = self._provider.usage
        before, self._rows = self._rows, (usage.rows_read, usage.rows_written)
        return usage.rows_read - before[0], usage.rows_written - before[1]


def test_one_document(cloudflare: Emulator) -> None:
    """Each operation is one call; the first of a process asks what is declared as well."""

    async def scene(provider: D1Provider, count: Counter, _: ManualClock) -> None:
        await provider.create_item("t", {"id": "a", "n": 0})
        assert count.calls() == 2
        count.rows()
        item = await provider.create_item("t", {"id": "b", "n": 0})
        assert (count.calls(), count.rows()) == (1, (6, 3))
        await provider.put_item("t", {"id": "b", "n": 1})
        assert count.calls() == 1
        read, written = count.rows()
        assert (read <= 6, written) == (True, 2)
        await provider.update_item("t", "b", {"n": 2})
        assert count.calls() == 1
        read, written = count.rows()
        assert (read <= 14, written) == (True, 2)
        await provider.read_item("t", "b")
        assert (count.calls(), count.rows()) == (1, (1, 0))
        await provider.modify_item("t", "b", lambda found: {**found, "n": 3})
        assert count.calls() == 2
        await provider.delete_item("t", "b")
        assert count.calls() == 1
        # Another collection of the same process: the declarations are known already.
        await provider.create_item("u/other", {"id": item.id})
        assert count.calls() == 1

    play(cloudflare, scene)


def test_many_documents(cloudflare: Emulator) -> None:
    """A thousand documents are one call, into two indexes and full text, out of 10,000 or not."""

    async def scene(provider: D1Provider, count: Counter, _: ManualClock) -> None:
        await provider.declare(SPEC)
        assert count.calls() <= 4
        await provider.put_items("big", [document(number) for number in range(1_000)])
        assert count.calls() == 1
        for thousand in range(1, 10):
            await provider.put_items(
                "big",
                [document(number) for number in range(thousand * 1_000, thousand * 1_000 + 1_000)],
            )
        assert count.calls() == 9
        ids = [f"{number:05}" for number in range(1_000)]
        for wanted in (ids[:1], ids[:100], ids):
            assert all(await provider.read_items("big", wanted))
            assert count.calls() == 1
        count.rows()
        page = await provider.list_items("big", limit=100)
        assert (count.calls(), count.rows()[0], len(page.items)) == (1, 101, 100)
        page = await provider.list_items("big", limit=100, cursor=page.cursor)
        assert (count.calls(), count.rows()[0]) == (1, 101)
        assert page.statistics.requests == 1
        assert page.statistics.rows_read == 101
        await newest(provider, count)
        assert await provider.count_items("big", where={"status": "open"}) == 5_000
        assert count.calls() == 1
        found = await provider.list_items("big", where={"$text": "word3"}, limit=20)
        assert (count.calls(), len(found.items)) == (1, 20)
        versions = await provider.versions("big")
        assert (count.calls(), len(versions.entries)) == (1, 1_000)
        await provider.update_items("big", {item_id: {"n": 1} for item_id in ids})
        assert count.calls() == 1
        await provider.delete_items("big", ids)
        assert count.calls() == 1
        await provider.clear_collection("big")
        assert count.calls() == 1
        assert await provider.count_items("big") == 0

    async def newest(provider: D1Provider, count: Counter) -> None:
        count.rows()
        page = await provider.list_items("big", order_by="-number", limit=20)
        assert (count.calls(), count.rows()[0], page.statistics.index) == (1, 21, "number")
        page = await provider.list_items("big", order_by="-number", limit=20, cursor=page.cursor)
        calls, (read, _) = count.calls(), count.rows()
        assert (calls, read <= 25, page.statistics.full_scan) == (1, True, False)

    play(cloudflare, scene)


def test_batches_over_collections(cloudflare: Emulator) -> None:
    """Reads, writes and queries that span collections are one call each."""

    async def scene(provider: D1Provider, count: Counter, _: ManualClock) -> None:
        names = ["a", "b", "u/a", "v/w/c"]
        await provider.write([Put(name, {"id": "1"}, IF_ABSENT) for name in names])
        # One call tells what is declared about all collections, and they all are written by one.
        assert count.calls() == 2
        found = await provider.read([Address(name, "1") for name in names])
        assert (count.calls(), len([item for item in found if item])) == (1, 4)
        pages = await provider.query([Query(name, total=True) for name in names])
        assert (count.calls(), [page.total for page in pages]) == (1, [1, 1, 1, 1])
        # Of collections that were never written to, nobody knows the tables.
        found = await provider.read([Address(name, "1") for name in ["a", "x", "b", "y", "z"]])
        assert count.calls() == 3
        assert [item is not None for item in found] == [True, False, True, False, False]
        assert await provider.read_item("x", "1") is None
        assert count.calls() == 1

    play(cloudflare, scene)


def test_declarations_ride_along(cloudflare: Emulator) -> None:
    """While something is sent at least every minute, what is declared costs no call of its own."""

    async def scene(provider: D1Provider, count: Counter, clock: ManualClock) -> None:
        await provider.create_item("t", {"id": "a"})
        other = D1Provider(
            database_id=cloudflare.known.databases[0], client=provider._client, clock=clock.clock
        )
        async with other:
            await provider.declared("u/t")
            count.calls()
            for n in range(12):
                clock.advance(20)
                await provider.put_item("t", {"id": "a", "n": n})
                await provider.list_items("u/t")
            assert count.calls() == 24
            await other.declare(CollectionSpec(collection="t", default_ttl_seconds=60))
            count.calls()
            for n in range(4):
                clock.advance(20)
                item = await provider.put_item("t", {"id": "b", "n": n})
            assert "expiresAt" in item.document
            assert count.calls() == 4

    play(cloudflare, scene)


def test_expired_documents_are_collected_by_the_way(cloudflare: Emulator) -> None:
    """Once a minute a write removes them, in its own call."""

    async def scene(provider: D1Provider, count: Counter, clock: ManualClock) -> None:
        expiry = {"expiresAt": "2026-01-31T12:00:10Z"}
        await provider.write([Put("t", {"id": f"{n}", **expiry}) for n in range(50)])
        clock.advance(61)
        assert len((await provider.versions("t")).entries) == 50
        await provider.put_item("t", {"id": "a"})
        count.calls()
        assert [entry.id for entry in (await provider.versions("t")).entries] == ["a"]
        assert count.calls() == 1

    play(cloudflare, scene)


@pytest.mark.parametrize(
    "spec",
    [
        CollectionSpec(collection="t"),
        CollectionSpec(collection="t", indexes=(Index.of("number"), Index.of("status", "due"))),
        CollectionSpec(collection="t", text_fields=("v",)),
    ],
    ids=["plain", "indexed", "searched"],
)
def test_what_a_copy_was_said_to_cost(cloudflare: Emulator, spec: CollectionSpec) -> None:
    """Calls of copying to and from here are as estimated, rows to 1 %; so are those of the rest."""
    documents = [document(number) for number in range(1_300)]
    changed = [{**each, "number": -1, "status": "late"} for each in documents]
    size = {"indexes": len(spec.indexes), "full_text": bool(spec.text_fields)}

    async def scene(provider: D1Provider, count: Counter, _: ManualClock) -> None:
        await provider.declare(spec)
        for work, action in copying.works(documents, changed, **size):
            count.calls()
            count.rows()
            await action(provider)
            said = provider.estimate(work)
            rows = copying.charges(said)
            assert count.calls() == said.requests
            read, written = count.rows()
            assert rows.get("rows read", 0) == pytest.approx(read, rel=0.01)
            assert rows.get("rows written", 0) == pytest.approx(written, rel=0.01)

    play(cloudflare, scene)


def test_prices() -> None:
    """A million rows read are 0.001 $, written 1 $."""
    provider = D1Provider(binding=object())
    assert provider.estimate(Workload(documents_read=1_000_000)).usd == pytest.approx(
        0.001, rel=1e-2
    )
    # Its row and the key of it.
    created = provider.estimate(Workload(documents_created=1_000_000))
    assert created.usd == pytest.approx(2 + 0.002, rel=1e-2)
