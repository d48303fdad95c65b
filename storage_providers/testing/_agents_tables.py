"""Cases: tables as a whole, retention, placement, and orders kept apart."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from storage_providers.agents import AgentStore, Message, Retention, Thread
from storage_providers.errors import (
    ConfigurationError,
    InvalidArgumentError,
    InvalidDocumentError,
)
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing._agents_harness import Stage, agent_case, at, ids, said


class TableCases:
    """Tables."""

    @agent_case()
    async def test_records_are_inserted(self, stage: Stage) -> None:
        """Into every table, as documents have them."""
        store, time = stage.store, "2026-01-31T12:00:00.000Z"
        records: dict[str, dict[str, Any]] = {
            "threads": {"id": "t", "resourceId": "u", "createdAt": time},
            "messages": {"id": "m", "threadId": "t", "resourceId": "u", "content": "{}"},
            "resources": {"id": "u", "workingMemory": ""},
            "runs": {"workflowName": "w", "runId": "r", "snapshot": {"status": "x"}},
            "scores": {"id": "s", "scorerId": "q", "score": 1},
            "spans": {"traceId": "t", "spanId": "p", "name": "n", "startedAt": time},
        }
        for table, record in records.items():
            await store.insert(table, record)
        assert ids((await store.messages.list("t")).items) == ["m"]
        assert (await store.messages.newest("t", 1))[0].text == "{}"
        assert await store.workflows.load("w", "r") == {"status": "x"}
        assert len((await store.scores.list(scorer_id="q")).items) == 1
        assert len((await store.traces.list()).items) == 1
        with pytest.raises(InvalidArgumentError, match="no table"):
            await store.insert("absent", {})
        with pytest.raises(InvalidDocumentError):
            await store.insert("threads", {"id": "x"})

    @agent_case()
    async def test_records_are_inserted_in_batches(self, stage: Stage) -> None:
        """Checked before anything is written."""
        await stage.thread()
        rows = [said(n).to_document() for n in range(5)]
        await stage.store.batch_insert("messages", rows)
        assert (await stage.store.messages.list("t", total=True)).total == 5
        with pytest.raises(InvalidDocumentError):
            await stage.store.batch_insert("scores", [{"scorerId": "q", "score": 1}, {}])
        assert (await stage.store.scores.list(total=True)).total == 0

    @agent_case()
    async def test_clearing_a_table(self, stage: Stage) -> None:
        """Nothing of it is left, and nothing else is touched."""
        await stage.talk(3)
        await stage.store.workflows.persist("w", "r", {})
        await stage.store.clear_table("messages")
        assert (await stage.store.messages.list("t", total=True)).total == 0
        assert await stage.store.threads.get("t") is not None
        await stage.store.clear_table("threads")
        assert (await stage.store.threads.list(total=True)).total == 0
        assert await stage.store.workflows.load("w", "r") == {}
        await stage.talk(2)
        assert (await stage.store.messages.list("t", total=True)).total == 2
        with pytest.raises(InvalidArgumentError, match="no table"):
            await stage.store.clear_table("absent")

    @agent_case()
    async def test_old_records_are_pruned(self, stage: Stage) -> None:
        """Threads by their last change and with their messages, runs by their beginning."""
        store, scene = stage.store, stage.scene
        await stage.talk(2)
        await store.workflows.persist("w", "old", {})
        await store.flush()
        scene.clock.advance(10 * 86_400)
        await stage.talk(1, "other")
        await store.workflows.persist("w", "new", {})
        rule = Retention(older_than=timedelta(days=5))
        deleted = await store.prune({"threads": rule, "runs": rule, "scores": rule})
        assert deleted == {"threads": 1, "runs": 1, "scores": 0}
        assert ids((await store.threads.list()).items) == ["other"]
        assert await store.messages.get(["m0000"]) == []
        assert [run.run_id for run in (await store.workflows.list()).items] == ["new"]

    @agent_case()
    async def test_retention_of_the_store(self, stage: Stage) -> None:
        """Is what `prune` goes by; its tables are checked."""
        provider = stage.scene.provider
        store = AgentStore(provider, retention={"runs": Retention(keep=1)})
        for n in range(3):
            await store.workflows.persist("w", f"r{n}", {}, created_at=at(n))
        assert await store.prune() == {"runs": 2}
        assert [run.run_id for run in (await store.workflows.list()).items] == ["r2"]
        with pytest.raises(InvalidArgumentError, match="no table"):
            AgentStore(provider, retention={"absent": Retention(keep=1)})

    @agent_case()
    async def test_domains_in_providers_of_their_own(self, stage: Stage) -> None:
        """Each domain is where it was placed; one without a provider is named."""
        async with InMemoryProvider(clock=stage.scene.clock.clock) as other:
            store = AgentStore(stage.scene.provider, workflows=other)
            await store.workflows.persist("w", "r", {})
            await store.threads.save(Thread(id="t", resource_id="u"))
            assert await other.count_items("agent_runs") == 1
            assert await stage.scene.provider.count_items("agent_runs") == 0
            assert await stage.store.threads.get("t") is not None
        with pytest.raises(ConfigurationError, match="workflows have no provider"):
            AgentStore(threads=other, resources=other, scores=other, traces=other)

    @agent_case("share", "strongly_consistent")
    async def test_two_stores_see_each_other(self, stage: Stage) -> None:
        """What one saved the other lists and changes."""
        other = await stage.another()
        await stage.talk(3)
        await other.messages.save([said(3), said(4)])
        await other.messages.update({"m0000": {"role": "system"}})
        found = await stage.store.messages.list("t", total=True)
        assert (len(found.items), found.total) == (5, 5)
        assert found.items[0].role == "system"

    @agent_case("share", "conditional_write")
    async def test_two_stores_saving_at_once(self, stage: Stage) -> None:
        """Into one thread: every message is listed once."""
        await stage.thread()
        stores = [stage.store, await stage.another()]

        async def save(store: AgentStore, name: str) -> None:
            for n in range(5):
                messages = [
                    Message.of("x", thread_id="t", resource_id="u", id=f"{name}{n}{k}")
                    for k in range(3)
                ]
                await store.messages.save(messages)

        async with asyncio.TaskGroup() as group:
            for store, name in zip(stores, "ab", strict=True):
                group.create_task(save(store, name))
        found = await stage.store.messages.list("t", per_page=False, total=True)
        wanted = {f"{name}{n}{k}" for name in "ab" for n in range(5) for k in range(3)}
        assert found.total == 30
        assert {*ids(found.items)} == wanted
        for name in "ab":
            own = [each for each in ids(found.items) if each.startswith(name)]
            assert own == sorted(own)

    @agent_case(lacks=["native_query"])
    async def test_orders_are_made_anew(self, stage: Stage) -> None:
        """For documents that were copied here; entries that lead nowhere are removed."""
        await stage.talk(4)
        provider = stage.scene.provider
        await provider.clear_collection("agent_messages_order")
        assert (await stage.store.messages.list("t", total=True)).total == 0
        done = (await stage.store.reindex())["messages"]
        assert (done.documents, done.removed) == (4, 0)
        found = await stage.store.messages.list("t", total=True)
        assert (ids(found.items), found.total) == (["m0000", "m0001", "m0002", "m0003"], 4)
        await provider.delete_item("agent_messages", "m0001")
        assert ids((await stage.store.messages.list("t")).items) == ["m0000", "m0002", "m0003"]
        stage.scene.clock.advance(3600)
        assert (await stage.store.reindex())["messages"].removed == 2
        assert (await stage.store.messages.list("t", total=True)).total == 3

    @agent_case(lacks=["native_query"])
    async def test_a_page_is_full_although_entries_lead_nowhere(self, stage: Stage) -> None:
        """What a crash left is passed over."""
        await stage.talk(6)
        for gone in ("m0005", "m0003"):
            await stage.scene.provider.delete_item("agent_messages", gone)
        listed = await stage.store.messages.list("t", newest_first=True, per_page=3)
        assert ids(listed.items) == ["m0004", "m0002", "m0001"]
