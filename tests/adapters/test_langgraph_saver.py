"""What the checkpoint saver promises beyond LangGraph's conformance cases."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any, cast

import pytest
from langgraph.checkpoint.conformance.test_utils import (
    generate_checkpoint,
    generate_config,
    generate_metadata,
)

from storage_providers.agents.adapters.langgraph import ProviderSaver
from storage_providers.errors import (
    InvalidArgumentError,
    UnsupportedOperationError,
)
from storage_providers.protocol import Address
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.sqlite import SQLiteProvider
from tests.adapters.places import CONSISTENT, Place
from tests.adapters.saving import documents, everything, play, put

HOSTILE = (
    "a.b",
    "a",
    "~a",
    "a:b/c%2e",
    "../..",
    "🙂 \u0301é",
    "x" * 300,
    "x" * 301,
    "A",
    "CON",
    " ",
)
"""Names of threads, namespaces and channels that a careless mapping would mix up."""


# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["memory", "files", "sqlite", "d1", "r2"], indirect=True)
def test_names_of_any_kind_stay_apart(place: Place) -> None:
    """Threads, namespaces and channels may hold anything, be long, and look like each other."""

    async def work(saver: ProviderSaver) -> None:
        for number, name in enumerate(HOSTILE):
            await put(saver, name, {name: [name], "n": [number]}, version=f"{name[:9]}.1")
            stored = await put(saver, "one", {"n": [number, name]}, namespace=name)
            await saver.aput_writes(stored, [(name, name)], name, name)
        for number, name in enumerate(HOSTILE):
            found = await saver.aget_tuple(generate_config(name))
            assert found is not None
            assert found.checkpoint["channel_values"] == {name: [name], "n": [number]}
            assert found.config["configurable"]["thread_id"] == name
            assert len(await everything(saver, generate_config(name))) == 1
            inner = await saver.aget_tuple(generate_config("one", checkpoint_ns=name))
            assert inner is not None
            assert inner.checkpoint["channel_values"] == {"n": [number, name]}
            assert inner.pending_writes == [(name, name, name)]
        await saver.adelete_thread("a")
        assert await saver.aget_tuple(generate_config("a")) is None
        assert await saver.aget_tuple(generate_config("a.b")) is not None

    play(work, place)


@pytest.mark.parametrize("checkpoint_id", ["a:b", "%2e/..", "🙂", "x" * 100])
def test_checkpoint_ids_of_any_kind(checkpoint_id: str) -> None:
    """An id is found again as it was given."""

    async def work(saver: ProviderSaver) -> None:
        checkpoint = generate_checkpoint(checkpoint_id=checkpoint_id)
        stored = await saver.aput(generate_config("t"), checkpoint, generate_metadata(), {})
        await saver.aput_writes(stored, [("c", 1)], "task")
        found = await saver.aget_tuple(stored)
        assert found is not None
        assert found.config["configurable"]["checkpoint_id"] == checkpoint_id
        assert found.pending_writes == [("task", "c", 1)]

    play(work)


def test_a_checkpoint_id_that_is_too_long_is_refused() -> None:
    """Ids must sort, so a long one is not replaced by a digest but refused with the numbers."""

    async def work(saver: ProviderSaver) -> None:
        checkpoint = generate_checkpoint(checkpoint_id="x" * 600)
        with pytest.raises(InvalidArgumentError, match="the id is 603 bytes, this provider"):
            await saver.aput(generate_config("t"), checkpoint, generate_metadata(), {})

    play(work)


# --- large values --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["memory", "sqlite", "d1"], indirect=True)
def test_values_larger_than_a_document(place: Place) -> None:
    """Values, checkpoints and writes of several megabytes come back, copies too, and go again."""
    large = random.Random(7).randbytes(5_000_000)

    async def main() -> None:
        async with place.open() as provider:
            saver = ProviderSaver(provider)
            stored = await put(saver, "t", {"bytes": large, "n": 1}, note="y" * 3_000_000)
            await saver.aput_writes(stored, [("c", large), ("d", 2)], "task")
            await saver.acopy_thread("t", "copy")
            await saver.adelete_thread("t")
            found = await saver.aget_tuple(generate_config("copy"))
            assert found is not None
            assert found.checkpoint["channel_values"] == {"bytes": large, "n": 1}
            assert cast("dict[str, Any]", found.metadata)["note"] == "y" * 3_000_000
            assert found.pending_writes == [("task", "c", large), ("task", "d", 2)]
            await put(saver, "copy", {"bytes": b""}, version="2", parent=found.config)
            await saver.aprune(["copy"])
            assert await documents(provider) == 2
            await saver.adelete_thread("copy")
            assert await documents(provider) == 0

    asyncio.run(main())


# --- pending writes ------------------------------------------------------------------------------


@pytest.mark.parametrize("place", CONSISTENT, indirect=True)
def test_the_first_regular_write_counts_and_the_last_special_one(place: Place) -> None:
    """Repeating a task changes nothing but its errors and resumes; new places are added."""

    async def work(saver: ProviderSaver) -> None:
        stored = await put(saver, "t", {})
        await saver.aput_writes(stored, [("a", 1), ("__error__", "first")], "task", "path")
        await saver.aput_writes(stored, [("a", 2), ("__error__", "second"), ("b", 3)], "task")
        await saver.aput_writes(stored, [("__resume__", ["r"])], "task")
        found = await saver.aget_tuple(stored)
        assert found is not None
        assert sorted(found.pending_writes or [], key=str) == [
            ("task", "__error__", "second"),
            ("task", "__resume__", ["r"]),
            ("task", "a", 1),
            ("task", "b", 3),
        ]

    play(work, place)


@pytest.mark.parametrize("place", ["memory", "sqlite", "d1", "r2"], indirect=True)
def test_tasks_that_write_at_once_lose_nothing(place: Place) -> None:
    """Ten tasks, each writing its own and all writing as one more, end with every write."""

    async def work(saver: ProviderSaver) -> None:
        stored = await put(saver, "t", {})
        async with asyncio.TaskGroup() as group:
            for task in range(10):
                group.create_task(saver.aput_writes(stored, [("c", task)], f"task-{task}"))
                mine = [("x", task)] * (task + 1)
                group.create_task(saver.aput_writes(stored, mine, "shared"))
        found = await saver.aget_tuple(stored)
        assert found is not None
        writes = found.pending_writes or []
        assert {write[2] for write in writes if write[1] == "c"} == set(range(10))
        assert len([write for write in writes if write[0] == "shared"]) == 10

    play(work, place)


# --- what it stands on ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["kv"], indirect=True)
def test_a_provider_that_answers_late_is_refused(place: Place) -> None:
    """On KV an agent would go on from an old checkpoint."""

    async def main() -> None:
        async with place.open() as provider:
            with pytest.raises(
                UnsupportedOperationError,
                match="ProviderSaver needs a provider with strongly_consistent, which kv has not",
            ):
                ProviderSaver(provider)

    asyncio.run(main())


def test_a_bad_prefix_is_refused() -> None:
    """At once, with the rule."""
    with pytest.raises(InvalidArgumentError, match="UPPER_checkpoints"):
        ProviderSaver(InMemoryProvider(), prefix="UPPER")


def test_declared_indexes_of_others_stay(tmp_path: Path) -> None:
    """The index of runs is added to what was declared for the collection before."""
    from storage_providers.protocol import CollectionSpec, Index

    async def main() -> None:
        async with SQLiteProvider(tmp_path / "one.db") as provider:
            own = Index.of("metadata.user")
            spec = CollectionSpec(collection="langgraph_checkpoints", indexes=(own,))
            await provider.declare(spec)
            await put(ProviderSaver(provider), "t", {})
            declared = await provider.declared("langgraph_checkpoints")
            assert declared is not None
            assert declared.indexes == (own, Index.of("metadata.run_id"))

    asyncio.run(main())


def test_documents_show_what_they_are() -> None:
    """Names are kept as they were given, so that people and queries find them."""

    async def main() -> None:
        async with InMemoryProvider() as provider:
            stored = await put(ProviderSaver(provider), "a/b", {"m": [1]}, user="Ada")
            page = await provider.list_items("langgraph_checkpoints")
            document = page.items[0].document
            assert document["threadId"] == "a/b"
            assert document["checkpointId"] == stored["configurable"]["checkpoint_id"]
            assert document["metadata"]["user"] == "Ada"
            value = (await provider.list_items("langgraph_values")).items[0]
            assert value.document["channel"] == "m"
            assert await provider.read([Address(value.collection, value.id)]) == [value]

    asyncio.run(main())
