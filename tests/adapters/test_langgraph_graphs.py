"""Real graphs on the saver and the store, with and without await."""

from __future__ import annotations

import asyncio
import operator
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.config import get_store
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from storage_providers.agents.adapters.langgraph import ProviderSaver, ProviderStore
from storage_providers.blocking import blocking, run
from storage_providers.errors import UnsupportedOperationError
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.sqlite import SQLiteProvider
from tests.adapters.places import Place

THREAD: Any = {"configurable": {"thread_id": "thread/1"}}


class State(TypedDict):
    """Numbers that are added up, and an answer."""

    numbers: Annotated[list[int], operator.add]
    answer: str


def add(state: State) -> dict[str, Any]:
    """Add the next number."""
    return {"numbers": [len(state["numbers"])]}


def ask(state: State) -> dict[str, Any]:
    """Wait for a person."""
    return {"answer": interrupt({"numbers": state["numbers"]})}


def remember(state: State) -> dict[str, Any]:
    """Keep the answer in the store, without await, as nodes that are plain functions do."""
    store = get_store()
    store.put(("answers",), "last", {"text": state["answer"]})
    found = store.get(("answers",), "last")
    assert found is not None
    assert found.value == {"text": state["answer"]}
    return {}


def graph_of(saver: ProviderSaver, store: ProviderStore) -> Any:
    """Add, ask, remember."""
    builder = StateGraph(State)
    builder.add_node("add", add)
    builder.add_node("ask", ask)
    builder.add_node("remember", remember)
    builder.add_edge(START, "add")
    builder.add_edge("add", "ask")
    builder.add_edge("ask", "remember")
    builder.add_edge("remember", END)
    return builder.compile(checkpointer=saver, store=store)


@pytest.mark.parametrize("place", ["memory", "files", "sqlite", "d1", "r2"], indirect=True)
def test_a_graph_stops_and_goes_on_in_another_process(place: Place) -> None:
    """An interrupted graph is resumed by a new provider, a new saver and a new graph."""

    async def begin() -> None:
        async with place.open() as provider:
            graph = graph_of(ProviderSaver(provider), ProviderStore(provider))
            found = await graph.ainvoke({"numbers": [7]}, THREAD)
            assert found["__interrupt__"][0].value == {"numbers": [7, 1]}

    async def go_on() -> None:
        async with place.open() as provider:
            store = ProviderStore(provider)
            graph = graph_of(ProviderSaver(provider), store)
            found = await graph.ainvoke(Command(resume="yes"), THREAD)
            assert found == {"numbers": [7, 1], "answer": "yes"}
            item = await store.aget(("answers",), "last")
            assert item is not None
            assert item.value == {"text": "yes"}
            history = [state async for state in graph.aget_state_history(THREAD)]
            assert [state.metadata["step"] for state in history] == [3, 2, 1, 0, -1]
            again = await graph.ainvoke(None, history[-2].config)
            assert again["__interrupt__"]
            assert (await graph.aget_state(THREAD)).next == ("ask",)

    asyncio.run(begin())
    asyncio.run(go_on())


def test_a_graph_without_await(tmp_path: Path) -> None:
    """`invoke` works with a provider that the blocking API opened."""
    provider = SQLiteProvider(tmp_path / "one.db")
    with blocking(provider):
        saver, store = ProviderSaver(provider), ProviderStore(provider)
        graph = graph_of(saver, store)
        graph.invoke({"numbers": [7]}, THREAD)
        assert graph.invoke(Command(resume="no"), THREAD)["answer"] == "no"
        assert len(list(graph.get_state_history(THREAD))) == 5
        listed = saver.list(THREAD)
        next(listed)
        listed.close()  # type: ignore[attr-defined]
        saver.copy_thread("thread/1", "copy")
        saver.prune(["copy"])
        assert len(list(saver.list({"configurable": {"thread_id": "copy"}}))) == 1
        saver.delete_thread("copy")
        saver.delete_for_runs(["none"])
        assert saver.get_tuple({"configurable": {"thread_id": "copy"}}) is None
        assert [item.key for item in store.search(("answers",))] == ["last"]


def test_blocking_calls_reach_the_loop_of_the_provider() -> None:
    """From another thread they go to the loop the saver was made on; on it they are refused."""

    async def main() -> None:
        async with InMemoryProvider() as provider:
            saver, store = ProviderSaver(provider), ProviderStore(provider)
            await asyncio.to_thread(store.put, ("a",), "k", {"n": 1})
            assert await asyncio.to_thread(saver.get_tuple, THREAD) is None
            assert await store.aget(("a",), "k") is not None
            with pytest.raises(UnsupportedOperationError, match="a blocking call on the event"):
                store.get(("a",), "k")
            with pytest.raises(UnsupportedOperationError, match="another event loop"):
                await asyncio.to_thread(run, saver.aget_tuple(THREAD))

    asyncio.run(main())


def appended(log: list[str], writes: list[list[str]]) -> list[str]:
    """A list with what was added to it."""
    return [*log, *(text for write in writes for text in write)]


class Deltas(TypedDict):
    """A list that is stored as what was added to it."""

    log: Annotated[list[str], DeltaChannel(appended)]


def test_a_graph_with_a_delta_channel_survives_pruning() -> None:
    """Its state is the same after all but what it is put together from was removed."""

    async def main() -> None:
        async with InMemoryProvider() as provider:
            saver = ProviderSaver(provider)
            builder = StateGraph(Deltas)
            builder.add_node("step", lambda state: {"log": [f"step {len(state['log'])}"]})
            builder.add_edge(START, "step")
            graph: Any = builder.compile(checkpointer=saver)
            for number in range(6):
                await graph.ainvoke({"log": [f"said {number}"]}, THREAD)
            before = (await graph.aget_state(THREAD)).values
            assert len(before["log"]) == 12
            await saver.aprune(["thread/1"])
            assert (await graph.aget_state(THREAD)).values == before

    asyncio.run(main())


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("langgraph", "langgraph", "langgraph"),
        ("key_value", "key_value", "key-value"),
    ],
)
def test_a_missing_framework_names_its_extra(module: str, missing: str, extra: str) -> None:
    """Importing an adapter without its framework says what to install; the package still loads."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "import storage_providers.agents.adapters\n"
        f"try:\n    import storage_providers.agents.adapters.{module}\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    name = f"storage_providers.agents.adapters.{module}"
    assert done.stdout == f"{name} needs: pip install 'storage-providers[{extra}]'\n"
