"""A LangGraph agent that stops for a person, and goes on in a new process where it stopped.

    python examples/langgraph_agent.py            # in a temporary folder
    python examples/langgraph_agent.py agent.db   # run it twice: it remembers

Needs: `pip install 'storage-providers[langgraph]' langgraph`. It calls no model and no service.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any, TypedDict

from langgraph.config import get_store
from langgraph.graph import END, START, StateGraph  # pyright: ignore[reportMissingTypeStubs]
from langgraph.types import Command, interrupt

from storage_providers import SQLiteProvider
from storage_providers.agents.adapters.langgraph import ProviderSaver, ProviderStore

THREAD: Any = {"configurable": {"thread_id": "garden/plan"}}


class State(TypedDict):
    """A plan, and whether somebody agreed to it."""

    plan: str
    agreed: bool


def draft(state: State) -> dict[str, Any]:
    """Write a plan. A model would stand here."""
    return {"plan": f"{state['plan']}: water, weed, plant"}


def ask(state: State) -> dict[str, Any]:
    """Stop until somebody answers."""
    return {"agreed": interrupt(f"Do this? {state['plan']}")}


def remember(state: State) -> dict[str, Any]:
    """Keep what was agreed to for all later threads."""
    if state["agreed"]:
        get_store().put(("plans", "garden"), "last", {"plan": state["plan"]})
    return {}


def graph_on(saver: ProviderSaver, store: ProviderStore) -> Any:
    """The graph: draft, ask, remember."""
    builder: Any = StateGraph(State)
    for node in (draft, ask, remember):
        builder.add_node(node)
    builder.add_edge(START, "draft")
    builder.add_edge("draft", "ask")
    builder.add_edge("ask", "remember")
    builder.add_edge("remember", END)
    return builder.compile(checkpointer=saver, store=store)


async def first_process(path: Path) -> None:
    """Run until the graph asks."""
    async with SQLiteProvider(path) as provider:
        graph = graph_on(ProviderSaver(provider), ProviderStore(provider))
        result = await graph.ainvoke({"plan": "Saturday", "agreed": False}, THREAD)
        print("It asks:", result["__interrupt__"][0].value)


async def second_process(path: Path) -> None:
    """Answer, as another process would, and look at what is kept."""
    async with SQLiteProvider(path) as provider:
        saver, store = ProviderSaver(provider), ProviderStore(provider)
        graph = graph_on(saver, store)
        result = await graph.ainvoke(Command(resume=True), THREAD)
        print("Agreed:", result["plan"])
        for item in await store.asearch(("plans",)):
            print("Remembered:", ".".join(item.namespace), item.value["plan"])
        steps = [state.metadata["step"] async for state in graph.aget_state_history(THREAD)]
        print("Steps kept:", steps[:5])
        await saver.aprune(["garden/plan"])
        print("After pruning:", len([state async for state in graph.aget_state_history(THREAD)]))


def main() -> None:
    """Play both processes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder, "agent.db")
        asyncio.run(first_process(path))
        asyncio.run(second_process(path))


if __name__ == "__main__":
    main()
