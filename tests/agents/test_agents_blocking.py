"""The agent store without `await`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage_providers._clock import SYSTEM_CLOCK
from storage_providers.agents import AgentStore, Message, Retention, Span, Thread
from storage_providers.agents._wire import iso
from storage_providers.blocking import BlockingIterator, blocking, iterate, run
from storage_providers.errors import ItemNotFoundError
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.agents import said
from tests.agents.places import kv_on
from tests.providers.kv.memory_namespace import MemoryNamespace


def test_every_domain(tmp_path: Path) -> None:
    """Each has its methods, with what they take and give, and their errors."""
    provider = SQLiteProvider(tmp_path / "agents.db")
    begin = datetime(2026, 1, 31, 12, tzinfo=UTC)
    rules = {"spans": Retention(keep=0)}
    with blocking(provider), blocking(AgentStore(provider, retention=rules)) as store:
        thread = store.threads.save(Thread(id="t", resource_id="u"))
        assert isinstance(thread, Thread)
        store.messages.save(said(number, "t", id=f"m{number}") for number in range(1_200))
        found = store.messages.iterate("t")
        assert isinstance(found, BlockingIterator)
        assert [each.id for each in found] == [f"m{number}" for number in range(1_200)]
        assert [each.id for each in store.messages.newest("t", 2)] == ["m1198", "m1199"]
        store.workflows.persist("w", "r", {"status": "suspended"})
        state = {"status": "running"}
        assert store.workflows.update_state("w", "r", state, expected_status="suspended")
        assert store.resources.update("u", working_memory="ferns").working_memory == "ferns"
        store.traces.save(Span(trace_id="x", span_id="a", name="run", started_at=begin))
        done: list[tuple[str, int]] = []
        told = store.prune(on_progress=lambda table, count: done.append((table, count)))
        assert (told, done[-1:]) == ({"spans": 1}, [("spans", 1)])
        assert store.threads.delete("t") == 1_200
        with pytest.raises(ItemNotFoundError):
            store.messages.save([said(0, "t")])


def test_threads_of_the_system_share_a_store(tmp_path: Path) -> None:
    """Eight save into one conversation at once: nothing is lost."""
    provider = SQLiteProvider(tmp_path / "agents.db")
    with blocking(provider), blocking(AgentStore(provider)) as store:
        store.threads.save(Thread(id="t", resource_id="u"))

        def save(who: int) -> None:
            for number in range(10):
                store.messages.save([said(number, "t", id=f"{who}-{number}")])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(save, range(8)))
        assert store.messages.list("t", total=True).total == 80


def test_leaving_writes_what_waits() -> None:
    """On Workers KV the time of a thread's last change may wait for its second."""
    namespace = MemoryNamespace()
    place = kv_on(namespace, SYSTEM_CLOCK)
    with blocking(place) as provider:
        with blocking(AgentStore(place)) as store:
            store.threads.save(Thread(id="t", resource_id="u"))
            for number in range(3):
                store.messages.save([said(number, "t")])
            seen = store.threads.get("t").updated_at
        stored = provider.read_item("agent_threads", "t").document["updatedAt"]
        assert stored >= iso(seen)
        assert namespace.puts["agent_threads:t"] == 3


def test_with_types(tmp_path: Path) -> None:
    """`run` and `iterate` keep those of the call."""
    provider = SQLiteProvider(tmp_path / "agents.db")
    with blocking(provider):
        store = AgentStore(provider)
        thread = run(store.threads.save(Thread(resource_id="u")))
        message = Message.of("Hello", thread_id=thread.id, resource_id="u")
        run(store.messages.save([message]))
        texts: list[str] = [each.text for each in iterate(store.messages.iterate(thread.id))]
        assert texts == ["Hello"]
