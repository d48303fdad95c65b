"""What each operation of the agent store costs in calls, in a full and fresh place.

Nothing is prepared but what a program does anyway: the store is opened on an empty place and
filled through itself. What is declared is asked for once a minute at most and counted by the
providers' own tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from storage_providers.agents import AgentStore, Include, Message, Span, Thread
from storage_providers.agents._place import Change
from storage_providers.agents._tables import TABLES, THREADS
from storage_providers.agents._wire import iso
from storage_providers.base import Provider
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.testing.agents import at, said
from storage_providers.testing.conformance import ManualClock
from tests.agents.places import kv_on
from tests.providers.d1.local import LocalD1, local_provider
from tests.providers.kv.memory_namespace import MemoryNamespace

FULL = 10_000
THOUSAND = 1_000

Count = Callable[[Callable[[], Awaitable[Any]]], Awaitable[int]]


class Counted:
    """A store whose calls are counted."""

    def __init__(
        self,
        provider: Provider,
        calls: Callable[[], int],
        puts_of: Callable[[str], int] = lambda key: 0,
    ) -> None:
        self.provider = provider
        self.puts_of = puts_of
        self.store = AgentStore(provider)
        self._calls = calls

    async def warm(self) -> None:
        """Let the provider know what is declared, as every minute."""
        await self.store.declare()
        for table in TABLES.values():
            for name in (table.collection, table.entries_in):
                await self.provider.declared(name)
                await self.provider.delete_item(name, "absent")

    async def cost(self, work: Callable[[], Awaitable[Any]]) -> int:
        """How many calls this takes, with everything that it leaves to do later."""
        await self.store.flush()
        await self.warm()
        before = self._calls()
        await work()
        await self.store.flush()
        return self._calls() - before

    async def fill(self) -> None:
        """10,000 messages in one thread, 10,000 threads of one resource, 10,000 traces."""
        store = self.store
        await store.threads.save(Thread(id="full", resource_id="u"))
        for first in range(0, FULL, THOUSAND):
            numbers = range(first, first + THOUSAND)
            await store.messages.save([numbered(number) for number in numbers])
            await self._threads(numbers)
            await store.traces.save(
                [Span(trace_id=f"t{n}", span_id="r", name="run", started_at=at(n)) for n in numbers]
            )

    async def _threads(self, numbers: range) -> None:
        changes = [
            Change(
                key=(THREADS, f"x{n:05}"),
                old=None,
                new={
                    "id": f"x{n:05}",
                    "resourceId": "many",
                    "createdAt": iso(at(n)),
                    "updatedAt": iso(at(0)),
                },
            )
            for n in numbers
        ]
        await self.store.threads._place.change([], lambda _: changes)


def numbered(number: int, thread_id: str = "full") -> Message:
    """The message of a number."""
    return said(number, thread_id, id=f"m{number:05}")


@asynccontextmanager
async def kv(_: Path) -> Any:
    """KV, consistent or not: a namespace in memory, calls as over the REST API."""
    namespace = MemoryNamespace()
    provider = kv_on(namespace, ManualClock().clock, CloudflareKVProvider)
    async with provider:
        yield Counted(provider, lambda: sum(namespace.calls.values()), namespace.puts.__getitem__)


@asynccontextmanager
async def d1(folder: Path) -> Any:
    """A local stand-in for D1, calls as over the REST API."""
    transport = LocalD1(folder / "d1.db")
    async with local_provider(transport, clock=ManualClock().clock) as provider:
        yield Counted(provider, lambda: len(transport.calls))
    transport.close()


Place = Callable[[Path], AbstractAsyncContextManager[Counted]]

PLACES = pytest.mark.parametrize(("place", "service"), [(kv, 0), (d1, 1)], ids=["kv", "d1"])


@PLACES
def test_every_operation_keeps_its_budget(place: Place, service: int, tmp_path: Path) -> None:
    """Writing in an empty and in a full store, and reading in a full one."""

    async def play() -> None:
        async with place(tmp_path) as counted:
            await writing(counted, "empty", service)
            await counted.fill()
            await writing(counted, "full", service)
            await reading(counted, service)

    asyncio.run(play())


async def writing(counted: Counted, prefix: str, service: int) -> None:
    """Every writing operation with its budgets on KV and D1."""
    store, spent = counted.store, dict[str, int]()
    thread = f"{prefix}-thread"

    async def count(name: str, work: Callable[[], Awaitable[Any]]) -> None:
        spent[name] = await counted.cost(work)

    await count("save_thread", lambda: store.threads.save(Thread(id=thread, resource_id="u")))
    ten = [said(n, thread, id=f"{prefix}-a{n}") for n in range(10)]
    await count("save_messages(10)", lambda: store.messages.save(ten))
    # Within a second of the last, the bump of a thread would come later, by itself.
    thread = f"{prefix}-other"
    await store.threads.save(Thread(id=thread, resource_id="u"))
    many = [said(n, thread, id=f"{prefix}-b{n}") for n in range(THOUSAND)]
    await count("save_messages(1,000)", lambda: store.messages.save(many))
    await count("delete_thread", lambda: store.threads.delete(thread))
    snapshot = {"status": "running", "context": {"text": "x" * 5_000}}
    persist = lambda: store.workflows.persist("w", f"{prefix}-r", snapshot)  # noqa: E731
    await count("persist", persist)
    await count("persist again", persist)
    await count("load", lambda: store.workflows.load("w", f"{prefix}-r"))
    budgets = {
        "save_thread": (2, 1),
        "save_messages(10)": (4, 2),
        "save_messages(1,000)": (14, 3),
        "delete_thread": (14, 2),
        "persist": (2, 1),
        "persist again": (2, 1),
        "load": (1, 1),
    }
    over = {name: calls for name, calls in spent.items() if calls > budgets[name][service]}
    assert over == {}, spent


async def reading(counted: Counted, service: int) -> None:
    """Every reading operation with its budgets on KV and D1."""
    store, spent = counted.store, dict[str, int]()
    lists = FULL // 1_000

    async def count(name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        found: list[Any] = []

        async def noted() -> None:
            found.append(await work())

        spent[name] = await counted.cost(noted)
        return found[0]

    newest = await count("newest", lambda: store.messages.newest("full", 20))
    assert [m.id for m in newest] == [f"m{n:05}" for n in range(FULL - 20, FULL)]
    page = await count(
        "newest, total",
        lambda: store.messages.list("full", newest_first=True, per_page=20, total=True),
    )
    assert (page.total, page.has_more) == (FULL, True)
    for target in (0, FULL // 2, FULL - 1):
        wanted = [n for n in range(target - 2, target + 3) if 0 <= n < FULL]
        window = await count(
            "window",
            lambda target=target: store.messages.list(  # type: ignore[misc]
                "full", per_page=0, include=[Include(f"m{target:05}", 2, 2)]
            ),
        )
        assert [m.id for m in window.items] == [f"m{n:05}" for n in wanted]
    threads = await count("threads", lambda: store.threads.list(resource_id="many", per_page=20))
    assert [t.id for t in threads.items] == [f"x{n:05}" for n in range(FULL - 1, FULL - 21, -1)]
    page = await count(
        "threads, total",
        lambda: store.threads.list(resource_id="many", per_page=20, total=True),
    )
    assert page.total == FULL
    traces = await count("traces", lambda: store.traces.list(per_page=20))
    assert [s.trace_id for s in traces.items] == [f"t{n}" for n in range(FULL - 1, FULL - 21, -1)]
    page = await count("traces, total", lambda: store.traces.list(per_page=20, total=True))
    assert page.total == FULL
    budgets = {
        "newest": (2, 1),
        "newest, total": (2 + lists, 1),
        "window": (3 + lists, 2),
        "threads": (2, 1),
        "threads, total": (2 + lists, 1),
        "traces": (2, 1),
        "traces, total": (2 + lists, 1),
    }
    over = {name: calls for name, calls in spent.items() if calls > budgets[name][service]}
    assert over == {}, spent


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
