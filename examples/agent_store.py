"""An agent's whole life in one store: a conversation, a workflow that two processes want, a trace.

Runs offline: `python examples/agent_store.py [URL]`, by default in memory.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from storage_providers import AgentStore, open_provider
from storage_providers.agents import Include, Message, Retention, Score, Span, Thread

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)


async def talk(store: AgentStore) -> None:
    """Say something, and look at the newest of it and around a message."""
    await store.threads.save(Thread(id="ferns", resource_id="user-7", title="Ferns"))
    for number, text in enumerate(["Hello", "Do ferns want light?", "Little.", "And water?"]):
        role = "assistant" if number % 2 == 0 else "user"
        message = Message.of(
            text, thread_id="ferns", resource_id="user-7", role=role, id=f"m{number}"
        )
        await store.messages.save([message])
    for message in await store.messages.newest("ferns", 2):
        print(f"{message.role}: {message.text}")
    around = await store.messages.list("ferns", per_page=0, include=[Include("m1", 1, 1)])
    print("around the question:", [message.text for message in around.items])
    (thread,) = (await store.threads.list(resource_id="user-7", order_by="-updatedAt")).items
    print("last changed:", thread.title)


async def work(store: AgentStore) -> None:
    """Two want to resume the same run; one does."""
    await store.workflows.persist("water", "run-1", {"status": "suspended", "context": {}})
    resume = (
        store.workflows.update_state(
            "water", "run-1", {"status": "running", "by": who}, expected_status="suspended"
        )
        for who in ("first", "second")
    )
    results = await asyncio.gather(*resume)
    print("resumed by", sum(result is not None for result in results), "of 2")
    print("results:", await store.workflows.update_results("water", "run-1", "a", {"output": 1}))


async def look_back(store: AgentStore) -> None:
    """What happened, how good it was, and how long it is kept."""
    await store.traces.save(
        [
            Span(
                trace_id="t",
                span_id="a",
                name="answer",
                started_at=BEGIN,
                ended_at=BEGIN + timedelta(seconds=1.5),
            ),
            Span(
                trace_id="t",
                span_id="b",
                parent_span_id="a",
                name="think",
                started_at=BEGIN + timedelta(seconds=0.1),
                error={"message": "no such tool"},
            ),
        ]
    )
    trace = await store.traces.get("t")
    assert trace is not None
    for span in trace.spans:
        print(f"{span.name}: {span.status}, {span.duration_seconds} s")
    await store.scores.save(Score(scorer_id="helpful", score=0.9, created_at=BEGIN))
    print("scores:", [(day.day, day.mean) for day in await store.scores.summary()])
    print("pruned:", await store.prune({"spans": Retention(older_than=timedelta(0))}))


async def main() -> None:
    """Everything, one after the other."""
    url = sys.argv[1] if len(sys.argv) > 1 else "memory:"
    async with open_provider(url) as provider, AgentStore(provider) as store:
        await talk(store)
        await work(store)
        await look_back(store)


if __name__ == "__main__":
    asyncio.run(main())
