"""What each operation of the agent store may cost in calls, and what counts them.

Nothing is prepared but what a program does anyway: the store is opened on an empty place and
filled through itself. What is declared is asked for once a minute at most and counted by the
providers' own tests.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

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

__all__ = ["BUDGETS", "Counted", "Place", "d1", "kv", "numbered", "reading", "writing"]

BATCH = 1_000


class Counted:
    """A store whose calls are counted.

    Args:
        provider: Where it is.
        calls: How many calls there were so far.
        puts_of: How often a key was written, where that is known.
    """

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

    async def cost(self, work: Callable[[], Awaitable[Any]]) -> tuple[int, Any]:
        """How many calls this takes, with everything that it leaves to do later; its result."""
        await self.store.flush()
        await self.warm()
        before = self._calls()
        result = await work()
        await self.store.flush()
        return self._calls() - before, result

    async def fill(self, full: int) -> None:
        """So many messages in one thread, threads of one resource, and traces."""
        store = self.store
        await store.threads.save(Thread(id="full", resource_id="u"))
        for first in range(0, full, BATCH):
            numbers = range(first, min(first + BATCH, full))
            await store.messages.save([numbered(number) for number in numbers])
            await self._threads(numbers)
            await store.traces.save(
                [Span(trace_id=f"t{n}", span_id="r", name="run", started_at=at(n)) for n in numbers]
            )

    async def _threads(self, numbers: range) -> None:
        """Threads, all at once: saving one by one would take too long."""
        documents = [
            {"id": f"x{n:05}", "resourceId": "many", "createdAt": iso(at(n))} for n in numbers
        ]
        changes = [
            Change(key=(THREADS, each["id"]), old=None, new={**each, "updatedAt": iso(at(0))})
            for each in documents
        ]
        await self.store.threads._place.change([], lambda _: changes)


def numbered(number: int, thread_id: str = "full") -> Message:
    """The message of a number."""
    return said(number, thread_id, id=f"m{number:05}")


# --- places ------------------------------------------------------------------------------------


@asynccontextmanager
async def kv(_: Path) -> AsyncGenerator[Counted]:
    """KV's provider on a namespace in memory, calls as over the REST API."""
    namespace = MemoryNamespace()
    provider = kv_on(namespace, ManualClock().clock, CloudflareKVProvider)
    async with provider:
        yield Counted(provider, lambda: sum(namespace.calls.values()), namespace.puts.__getitem__)


@asynccontextmanager
async def d1(folder: Path) -> AsyncGenerator[Counted]:
    """D1's provider on a local stand-in, calls as over the REST API."""
    transport = LocalD1(folder / "d1.db")
    async with local_provider(transport, clock=ManualClock().clock) as provider:
        yield Counted(provider, lambda: len(transport.calls))
    transport.close()


Place: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Counted]]


# --- operations --------------------------------------------------------------------------------


def _pages(full: int) -> int:
    return -(-full // 1_000)


BUDGETS: dict[str, dict[str, Callable[[int], int]]] = {
    "KV": {
        "save a thread": lambda _: 2,
        "save a thread again": lambda _: 2,
        "save 10 messages": lambda _: 4,
        "save 1,000 messages": lambda _: 14,
        "delete a thread of 1,000 messages": lambda _: 14,
        "persist a snapshot": lambda _: 2,
        "persist a snapshot again": lambda _: 2,
        "load a snapshot": lambda _: 1,
        "newest 20 messages": lambda _: 2,
        "newest 20 messages, total": lambda full: 2 + _pages(full),
        "2 messages around the first": lambda full: 3 + _pages(full),
        "2 messages around one in the middle": lambda full: 3 + _pages(full),
        "2 messages around the last": lambda full: 3 + _pages(full),
        "20 threads of a resource": lambda _: 2,
        "20 threads of a resource, total": lambda full: 2 + _pages(full),
        "20 traces": lambda _: 2,
        "20 traces, total": lambda full: 2 + _pages(full),
    },
    "D1": {
        "save a thread": lambda _: 1,
        "save a thread again": lambda _: 1,
        "save 10 messages": lambda _: 2,
        "save 1,000 messages": lambda _: 3,
        "delete a thread of 1,000 messages": lambda _: 2,
        "persist a snapshot": lambda _: 1,
        "persist a snapshot again": lambda _: 1,
        "load a snapshot": lambda _: 1,
        "newest 20 messages": lambda _: 1,
        "newest 20 messages, total": lambda _: 1,
        "2 messages around the first": lambda _: 2,
        "2 messages around one in the middle": lambda _: 2,
        "2 messages around the last": lambda _: 2,
        "20 threads of a resource": lambda _: 1,
        "20 threads of a resource, total": lambda _: 1,
        "20 traces": lambda _: 1,
        "20 traces, total": lambda _: 1,
    },
}
"""Calls that an operation may take; the argument is how full the store is."""

Spent: TypeAlias = AsyncGenerator[tuple[str, int]]


async def writing(counted: Counted, prefix: str, many: int = BATCH) -> Spent:
    """Every operation that writes, with the calls it made."""
    store, thread = counted.store, f"{prefix}-thread"

    async def cost(work: Callable[[], Awaitable[Any]]) -> int:
        return (await counted.cost(work))[0]

    def save() -> Awaitable[Any]:
        return store.threads.save(Thread(id=thread, resource_id="u"))

    yield "save a thread", await cost(save)
    yield "save a thread again", await cost(save)
    ten = [said(n, thread, id=f"{prefix}-a{n}") for n in range(10)]
    yield "save 10 messages", await cost(lambda: store.messages.save(ten))
    # Within a second of the last, the bump of a thread would come later, by itself.
    other = f"{prefix}-other"
    await store.threads.save(Thread(id=other, resource_id="u"))
    some = [said(n, other, id=f"{prefix}-b{n}") for n in range(many)]
    yield "save 1,000 messages", await cost(lambda: store.messages.save(some))
    yield "delete a thread of 1,000 messages", await cost(lambda: store.threads.delete(other))
    snapshot = {"status": "running", "context": {"text": "x" * 5_000}}

    def persist() -> Awaitable[Any]:
        return store.workflows.persist("w", f"{prefix}-r", snapshot)

    yield "persist a snapshot", await cost(persist)
    yield "persist a snapshot again", await cost(persist)
    yield "load a snapshot", await cost(lambda: store.workflows.load("w", f"{prefix}-r"))


async def reading(counted: Counted, full: int) -> Spent:
    """Every operation that reads in a full store, with the calls it made; answers are checked."""
    store, page = counted.store, min(20, full)
    newest = range(full - 1, full - page - 1, -1)

    calls, found = await counted.cost(lambda: store.messages.newest("full", page))
    assert [m.id for m in found] == [f"m{n:05}" for n in reversed(newest)]
    yield "newest 20 messages", calls
    calls, found = await counted.cost(
        lambda: store.messages.list("full", newest_first=True, per_page=page, total=True)
    )
    assert (found.total, found.has_more) == (full, full > page)
    yield "newest 20 messages, total", calls
    targets = {"the first": 0, "one in the middle": full // 2, "the last": full - 1}
    for name, target in targets.items():
        calls, found = await counted.cost(lambda at=target: _window(store, at))  # type: ignore[misc]
        around = range(max(0, target - 2), min(full, target + 3))
        assert [m.id for m in found.items] == [f"m{n:05}" for n in around]
        yield f"2 messages around {name}", calls

    def threads(total: bool) -> Awaitable[Any]:
        return store.threads.list(resource_id="many", per_page=page, total=total)

    def traces(total: bool) -> Awaitable[Any]:
        return store.traces.list(per_page=page, total=total)

    calls, found = await counted.cost(lambda: threads(total=False))
    assert [t.id for t in found.items] == [f"x{n:05}" for n in newest]
    yield "20 threads of a resource", calls
    calls, found = await counted.cost(lambda: threads(total=True))
    assert found.total == full
    yield "20 threads of a resource, total", calls
    calls, found = await counted.cost(lambda: traces(total=False))
    assert [s.trace_id for s in found.items] == [f"t{n}" for n in newest]
    yield "20 traces", calls
    calls, found = await counted.cost(lambda: traces(total=True))
    assert found.total == full
    yield "20 traces, total", calls


def _window(store: AgentStore, target: int) -> Awaitable[Any]:
    include = [Include(f"m{target:05}", previous=2, next=2)]
    return store.messages.list("full", per_page=0, include=include)
