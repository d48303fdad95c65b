"""What each operation of the agent store costs in calls, in an empty store and in a full one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from storage_providers.agents import AgentStore, Retention, Span, Thread
from storage_providers.agents._wire import iso
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.testing.agents import at, said
from storage_providers.testing.conformance import ManualClock
from tests.agents.budgets import BUDGETS, Place, d1, kv, numbered, reading, writing
from tests.agents.places import kv_on
from tests.providers.kv.memory_namespace import MemoryNamespace

FULL = 1_100
"""Two listings; with 10,000 the suite `calls` of the benchmarks counts the same."""


@pytest.mark.parametrize(("service", "place"), [("KV", kv), ("D1", d1)])
def test_every_operation_keeps_its_budget(service: str, place: Place, tmp_path: Path) -> None:
    """Whatever the number of messages, threads and traces."""
    budgets = BUDGETS[service]

    async def play() -> None:
        async with place(tmp_path) as counted:
            empty = {name: calls async for name, calls in writing(counted, "empty")}
            await counted.fill(FULL)
            full = {name: calls async for name, calls in writing(counted, "full")}
            assert full == empty
            full |= {name: calls async for name, calls in reading(counted, FULL)}
        assert full.keys() == budgets.keys()
        over = {name: calls for name, calls in full.items() if calls > budgets[name](FULL)}
        assert over == {}, full

    asyncio.run(play())


def test_bumps_within_a_second_are_one(tmp_path: Path) -> None:
    """On a service that takes one write a second for each key; who asks sees each at once."""

    async def play() -> None:
        async with kv(tmp_path) as counted:
            store = counted.store
            await store.threads.save(Thread(id="t", resource_id="u"))
            await counted.warm()
            puts: list[int] = []
            seen: list[Any] = []

            async def save() -> None:
                for number in range(10):
                    await store.messages.save([numbered(number, "t")])
                    thread = await store.threads.get("t")
                    assert thread is not None
                    seen.append(thread.updated_at)
                puts.append(counted.puts_of("agent_threads:t"))
                await store.flush()
                puts.append(counted.puts_of("agent_threads:t"))

            await save()
            assert puts == [2, 3]
            assert seen == sorted({*seen})
            assert len(seen) == 10
            item = await counted.provider.read_item("agent_threads", "t")
            assert item is not None
            assert item.document["updatedAt"] >= iso(seen[-1])

    asyncio.run(play())


def test_a_bump_that_waits_is_written_by_itself(tmp_path: Path) -> None:
    """A second later, without anybody asking for it."""

    async def play() -> None:
        async with kv(tmp_path) as counted:
            store = counted.store
            await store.threads.save(Thread(id="t", resource_id="u"))
            for number in range(3):
                await store.messages.save([numbered(number, "t")])
            before = counted.puts_of("agent_threads:t")
            bumps = store.threads._bumps
            assert bumps._task is not None
            await bumps._task
            assert counted.puts_of("agent_threads:t") == before + 1
            assert not bumps._waiting

    asyncio.run(play())


def test_entries_that_were_replaced_are_nowhere() -> None:
    """They are put once more, expired: no listing and no total has them, whoever asks."""

    async def play() -> None:
        namespace, clock = MemoryNamespace(), ManualClock().clock
        first, second = (kv_on(namespace, clock, CloudflareKVProvider) for _ in range(2))
        async with first, second:
            for _ in range(5):
                await AgentStore(first).threads.save(Thread(id="t", resource_id="u"))
            for provider in (first, second):
                listed = await AgentStore(provider).threads.list(order_by="-updatedAt", total=True)
                assert ([each.id for each in listed.items], listed.total) == (["t"], 1)
        assert namespace.calls["list"] == 2
        entries = {key: each for key, each in namespace.entries.items() if "_order:" in key}
        over = [key for key, each in entries.items() if each.expiration is not None]
        assert (len(entries), len(over)) == (2 + 5 * 2, 4 * 2)

    asyncio.run(play())


def test_pruning_deletes_a_hundred_at_once(tmp_path: Path) -> None:
    """Threads with their messages and traces with their spans: not a call for each of them."""

    async def play() -> None:
        async with d1(tmp_path) as counted:
            store, names = counted.store, [f"x{number:03}" for number in range(250)]
            for name in names:
                await store.threads.save(Thread(id=name, resource_id="u"))
            for number in range(2):
                some = [said(number, name, id=f"{name}-{number}") for name in names]
                await store.messages.save(some)
                parent = names[0] if number else None
                await store.traces.save(
                    [
                        Span(
                            trace_id=name,
                            span_id=f"s{number}",
                            parent_span_id=parent,
                            name="run",
                            started_at=at(number),
                        )
                        for name in names
                    ]
                )
            rules = {"threads": Retention(keep=0)}
            calls, deleted = await counted.cost(lambda: store.prune(rules))
            assert (deleted, calls) == ({"threads": 250}, 1 + 3 * 2)
            rules = {"spans": Retention(keep=0)}
            calls, deleted = await counted.cost(lambda: store.prune(rules))
            assert (deleted, calls) == ({"spans": 500}, 2 + 3 * 2)

    asyncio.run(play())
