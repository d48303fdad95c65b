"""What the checkpoint saver promises beyond LangGraph's conformance cases."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, CheckpointTuple
from langgraph.checkpoint.conformance.test_utils import (
    generate_checkpoint,
    generate_config,
    generate_metadata,
)
from langgraph.checkpoint.memory import InMemorySaver

from storage_providers.agents.adapters._langgraph.layout import Collections
from storage_providers.agents.adapters.langgraph import ProviderSaver
from storage_providers.errors import (
    BatchError,
    CorruptItemError,
    InvalidArgumentError,
    StorageError,
    TransportError,
    UnsupportedOperationError,
)
from storage_providers.protocol import Address, Capabilities, Item, StorageProvider, Write
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.sqlite import SQLiteProvider
from tests.adapters.places import CONSISTENT, Place
from tests.providers.d1.local import LocalD1, local_provider
from tests.servers.fault_proxy import FaultProxy
from tests.servers.moto import MotoS3
from tests.servers.r2 import moto_place

Work = Callable[[ProviderSaver], Awaitable[None]]

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


def play(work: Work, place: Place | None = None) -> None:
    """Do something with a saver, in memory unless a place is given."""

    async def main() -> None:
        if place is None:
            async with InMemoryProvider() as provider:
                await work(ProviderSaver(provider))
        else:
            async with place.open() as provider:
                await work(ProviderSaver(provider))

    asyncio.run(main())


async def put(
    saver: Any,
    thread: str,
    values: dict[str, Any],
    *,
    namespace: str = "",
    parent: RunnableConfig | None = None,
    version: Any = "1",
    **metadata: Any,
) -> RunnableConfig:
    """Store a checkpoint whose channels are all new."""
    config = generate_config(thread, checkpoint_ns=namespace)
    if parent is not None:
        config["configurable"]["checkpoint_id"] = parent["configurable"]["checkpoint_id"]
    versions = dict.fromkeys(values, version)
    checkpoint = generate_checkpoint(channel_values=values, channel_versions=versions)
    given = generate_metadata(**metadata)
    return cast(RunnableConfig, await saver.aput(config, checkpoint, given, versions))


async def everything(saver: Any, *args: Any, **options: Any) -> list[CheckpointTuple]:
    """All that a listing yields."""
    return [found async for found in saver.alist(*args, **options)]


async def documents(provider: StorageProvider) -> int:
    """How many documents there are in all collections."""
    return sum([await provider.count_items(name) for name in Collections.named("langgraph")])


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


# --- order and failure ---------------------------------------------------------------------------


class Careful(InMemoryProvider):
    """As R2: each write by itself, no conditional delete; it fails when told to.

    Attributes:
        left: Writes that still succeed; `None`: all.
    """

    name: ClassVar[str] = "careful"
    left: int | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Conditions of puts alone."""
        return Capabilities(conditional_write=True, max_document_bytes=200_000, max_id_bytes=200)

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        results: list[Item | StorageError | None] = []
        for write in batch:
            if self.left is not None:
                self.left -= 1
            try:
                if self.left is not None and self.left < 0:
                    raise TransportError("injected: the connection broke")
                results += await super()._write([write])
            except StorageError as error:
                if len(batch) == 1:
                    raise
                results.append(error)
        if any(isinstance(result, StorageError) for result in results):
            raise BatchError("some writes failed", results=results)
        return [result for result in results if not isinstance(result, StorageError)]


def test_a_checkpoint_is_never_seen_without_its_values() -> None:
    """Whichever write fails: `put` raises, and what can be read is complete."""

    async def main() -> None:
        for fails_at in range(10):
            async with Careful() as provider:
                saver = ProviderSaver(provider)
                before = await put(saver, "t", {"a": ["old"], "b": ["old"]})
                provider.left = fails_at
                values = {"a": ["x" * 150_000], "b": ["y" * 300_000], "c": [1]}
                try:
                    await put(saver, "t", values, parent=before, version="2")
                    failed = False
                except (TransportError, BatchError):
                    failed = True
                provider.left = None
                found = await saver.aget_tuple(generate_config("t"))
                assert found is not None
                wanted = {"a": ["old"], "b": ["old"]} if failed else values
                assert found.checkpoint["channel_values"] == wanted
                assert failed == (fails_at < 9)

    asyncio.run(main())


def test_a_deletion_that_fails_midway_leaves_no_broken_checkpoint() -> None:
    """Whichever write fails, the checkpoints still listed are whole, and repeating ends it."""

    async def main() -> None:
        for fails_at in range(0, 30, 3):
            async with Careful() as provider:
                saver = ProviderSaver(provider)
                parent: RunnableConfig | None = None
                for number in range(5):
                    values = {"a": [number], "same": ["s"]}
                    parent = await put(saver, "t", values, parent=parent, version=str(number))
                    await saver.aput_writes(parent, [("c", number)], "task")
                provider.left = fails_at
                with pytest.raises((TransportError, BatchError)) if fails_at < 20 else nothing():
                    await saver.adelete_thread("t")
                provider.left = None
                for found in await everything(saver, generate_config("t")):
                    assert set(found.checkpoint["channel_values"]) == {"a", "same"}
                await saver.adelete_thread("t")
                assert await documents(provider) == 0

    asyncio.run(main())


class nothing:  # noqa: N801 - stands where `pytest.raises` does
    """Expects no error."""

    def __enter__(self) -> None: ...

    def __exit__(self, *exc_info: object) -> None: ...


def test_a_value_that_is_gone_is_reported() -> None:
    """A checkpoint whose value somebody removed is an error, not a checkpoint without it."""

    async def main() -> None:
        async with InMemoryProvider() as provider:
            saver = ProviderSaver(provider)
            await put(saver, "t", {"a": [1]})
            await provider.clear_collection("langgraph_values")
            with pytest.raises(CorruptItemError, match=r"the value 't\.\.a\.1', which it"):
                await saver.aget_tuple(generate_config("t"))

    asyncio.run(main())


class Vanishing(InMemoryProvider):
    """Forgets a checkpoint between the two calls that read it."""

    name: ClassVar[str] = "vanishing"
    saver: ProviderSaver | None = None

    async def _query(self, queries: Any) -> Any:
        pages = await super()._query(queries)
        if self.saver is not None:
            saver, self.saver = self.saver, None
            await saver.adelete_thread("t")
        return pages


def test_a_thread_deleted_while_it_is_read() -> None:
    """There is none then, and no error."""

    async def main() -> None:
        async with Vanishing() as provider:
            saver = ProviderSaver(provider)
            await put(saver, "t", {"a": [1]})
            provider.saver = saver
            assert await saver.aget_tuple(generate_config("t")) is None

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


# --- listing -------------------------------------------------------------------------------------

FILTERS: tuple[dict[str, Any] | None, ...] = (
    None,
    {},
    {"source": "loop"},
    {"step": 2},
    {"step": 2.0},
    {"flag": True},
    {"flag": 1},
    {"missing": None},
    {"nested": {"a": 1}},
    {"nested": None},
    {"dotted.key": "v"},
    {"$odd": "v"},
    {"ratio": 0.5},
    {"text": "x" * 2000},
    {"source": "loop", "step": 3},
    {"big": 2**62},
    {"big": 2**70},
)


@pytest.mark.parametrize("place", ["memory", "files", "sqlite", "d1"], indirect=True)
def test_listing_agrees_with_langgraphs_own_saver(place: Place) -> None:
    """Filters, `before` and limits find what `InMemorySaver` finds, in its order."""
    own = InMemorySaver()

    async def work(saver: ProviderSaver) -> None:
        parents: dict[str, RunnableConfig] = {}
        for step in range(8):
            for namespace in ("", "inner|x:1"):
                config = generate_config("t", checkpoint_ns=namespace)
                if namespace in parents:
                    of_parent = parents[namespace]["configurable"]["checkpoint_id"]
                    config["configurable"]["checkpoint_id"] = of_parent
                metadata = generate_metadata(
                    source="loop" if step % 2 else "input",
                    step=step,
                    flag=step % 3 == 0,
                    nested={"a": step % 2},
                    ratio=step / 2,
                    text="x" * (2000 + step % 2),
                    big=2**62 + step % 2,
                    **{"dotted.key": "vw"[step % 2], "$odd": "wv"[step % 2]},
                )
                checkpoint = generate_checkpoint(
                    channel_values={"a": [step]}, channel_versions={"a": step}
                )
                await own.aput(config, checkpoint, metadata, {"a": step})
                parents[namespace] = await saver.aput(config, checkpoint, metadata, {"a": step})
        ids = [tuple_.config for tuple_ in await everything(own, generate_config("t"))]
        for asked in FILTERS:
            for namespace in ("", "inner|x:1", "none"):
                config = generate_config("t", checkpoint_ns=namespace)
                for options in (
                    {},
                    {"limit": 0},
                    {"limit": 2},
                    {"before": ids[3]},
                    {"before": ids[3], "limit": 1},
                    {"before": ids[-1]},
                ):
                    options = cast("dict[str, Any]", options)
                    wanted = await everything(own, config, filter=asked, **options)
                    found = await everything(saver, config, filter=asked, **options)
                    assert [each.config for each in found] == [each.config for each in wanted]
                    assert [each.checkpoint for each in found] == [
                        each.checkpoint for each in wanted
                    ]
                    assert [each.metadata for each in found] == [each.metadata for each in wanted]
                    assert [each.parent_config for each in found] == [
                        each.parent_config for each in wanted
                    ]

    play(work, place)


def test_listing_across_namespaces_and_threads() -> None:
    """Without a namespace, or without a thread, all are listed, newest first."""

    async def work(saver: ProviderSaver) -> None:
        ids: list[str] = []
        for number in range(120):
            stored = await put(saver, f"t{number % 3}", {"n": [number]}, namespace="ab"[number % 2])
            ids.append(stored["configurable"]["checkpoint_id"])
        found = await everything(saver, None)
        assert [each.checkpoint["id"] for each in found] == ids[::-1]
        one: RunnableConfig = {"configurable": {"thread_id": "t1"}}
        found = await everything(saver, one)
        assert [each.checkpoint["id"] for each in found] == ids[1::3][::-1]
        named: RunnableConfig = {"configurable": {"thread_id": "t1", "checkpoint_id": ids[4]}}
        assert [each.checkpoint["id"] for each in await everything(saver, named)] == [ids[4]]
        before: RunnableConfig = {"configurable": {"thread_id": "x", "checkpoint_id": ids[60]}}
        found = await everything(saver, None, before=before, limit=5)
        assert [each.checkpoint["id"] for each in found] == ids[55:60][::-1]

    play(work)


# --- branches, runs, pruning ---------------------------------------------------------------------


def test_two_branches_never_share_a_version() -> None:
    """Both grow from one checkpoint and name their versions alone, and both stay as they are."""

    async def work(saver: ProviderSaver) -> None:
        root = await put(saver, "t", {"a": ["root"]}, version=saver.get_next_version(None, None))
        version = saver.get_next_version(None, None)
        left = await put(
            saver, "t", {"a": ["left"]}, parent=root, version=saver.get_next_version(version, None)
        )
        right = await put(
            saver, "t", {"a": ["right"]}, parent=root, version=saver.get_next_version(version, None)
        )
        for config, wanted in ((root, "root"), (left, "left"), (right, "right")):
            found = await saver.aget_tuple(config)
            assert found is not None
            assert found.checkpoint["channel_values"] == {"a": [wanted]}
        assert saver.get_next_version(7, None) > saver.get_next_version(6, None)

    play(work)


@pytest.mark.parametrize("place", ["memory", "sqlite", "d1", "r2"], indirect=True)
def test_deleting_runs_keeps_what_others_refer_to(place: Place) -> None:
    """A value goes with the last checkpoint that refers to it, its parts and writes with it."""

    async def main() -> None:
        async with place.open() as provider:
            saver = ProviderSaver(provider)
            first = await put(saver, "t", {"a": ["a"], "b": ["b"]}, run_id="1")
            await saver.aput_writes(first, [("c", 1)], "task")
            config = generate_config("t", checkpoint_id=first["configurable"]["checkpoint_id"])
            versions: ChannelVersions = {"a": "1", "b": "2"}
            values = {"a": ["a"], "b": ["b2"]}
            checkpoint = generate_checkpoint(channel_values=values, channel_versions=versions)
            await saver.aput(config, checkpoint, generate_metadata(run_id="2"), {"b": "2"})
            assert await documents(provider) == 6
            await saver.adelete_for_runs(["1", "unknown"])
            found = await saver.aget_tuple(generate_config("t"))
            assert found is not None
            assert found.checkpoint["channel_values"] == values
            assert await documents(provider) == 3

    asyncio.run(main())


def delta_thread(steps: int, snapshots: set[int]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Channel values and metadata of a thread with the delta channel `d`."""
    thread: list[tuple[dict[str, Any], dict[str, Any]]] = []
    since = 0
    for step in range(steps):
        since = 0 if step in snapshots else since + 1
        values: dict[str, Any] = {"n": [step]}
        if step in snapshots:
            values["d"] = [f"snapshot-{step}"]
        counters = {} if since == 0 else {"counters_since_delta_snapshot": {"d": (since, since)}}
        thread.append((values, counters))
    return thread


@pytest.mark.parametrize("place", ["memory", "sqlite", "d1"], indirect=True)
@pytest.mark.parametrize("snapshots", [set(), {0}, {3, 60}], ids=["none", "first", "two"])
def test_delta_channels_have_their_history(place: Place, snapshots: set[int]) -> None:
    """The writes since the nearest snapshot are those of `InMemorySaver`, also after pruning."""
    own = InMemorySaver()

    async def work(saver: ProviderSaver) -> None:
        parent: RunnableConfig | None = None
        rng = random.Random(3)
        for step, (values, counters) in enumerate(delta_thread(75, snapshots)):
            config = generate_config("t")
            if parent is not None:
                config["configurable"]["checkpoint_id"] = parent["configurable"]["checkpoint_id"]
            versions: ChannelVersions = {"n": str(step), "d": str(step)}
            checkpoint = generate_checkpoint(channel_values=values, channel_versions=versions)
            metadata = generate_metadata(step=step, **counters)
            await own.aput(config, checkpoint, metadata, dict(versions))
            parent = await saver.aput(config, checkpoint, metadata, dict(versions))
            for task in rng.sample(range(9), 2):
                writes = [("d", f"{step}-{task}"), ("other", 1)]
                await own.aput_writes(parent, writes, f"task-{task}", f"path-{9 - task}")
                await saver.aput_writes(parent, writes, f"task-{task}", f"path-{9 - task}")
        newest = generate_config("t")
        wanted = await own.aget_delta_channel_history(config=newest, channels=["d", "n"])
        assert ("seed" in wanted["d"]) == bool(snapshots)
        assert await saver.aget_delta_channel_history(config=newest, channels=["d", "n"]) == wanted
        await saver.aprune(["t"])
        assert await saver.aget_delta_channel_history(config=newest, channels=["d", "n"]) == wanted
        left = await everything(saver, newest)
        assert len(left) == 75 - max(snapshots, default=0)

    play(work, place)


def test_no_channels_have_no_history() -> None:
    """Nothing asked, nothing answered; a thread that is not there has no writes."""

    async def work(saver: ProviderSaver) -> None:
        config = generate_config("none")
        assert await saver.aget_delta_channel_history(config=config, channels=[]) == {}
        found = await saver.aget_delta_channel_history(config=config, channels=["d"])
        assert found == {"d": {"writes": []}}

    play(work)


def test_an_unknown_strategy_is_refused() -> None:
    """A misspelt strategy removes nothing."""

    async def work(saver: ProviderSaver) -> None:
        await put(saver, "t", {})
        with pytest.raises(InvalidArgumentError, match="no strategy 'keep_last'"):
            await saver.aprune(["t"], strategy="keep_last")
        assert await saver.aget_tuple(generate_config("t")) is not None

    play(work)


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


# --- costs ---------------------------------------------------------------------------------------


def test_calls_on_d1(tmp_path: Path) -> None:
    """Each operation's calls do not depend on how much there is, but for pages of 1,000 or 50."""
    transport = LocalD1(tmp_path / "d1.db")

    async def main() -> None:
        async with local_provider(transport) as provider:
            saver = ProviderSaver(provider)

            async def cost(work: Awaitable[Any]) -> int:
                transport.calls.clear()
                await work
                return len(transport.calls)

            parent = await put(saver, "t", {"a": [0]})
            for number in range(120):
                values = {"a": [number], "b": ["x" * 5000], "c": number}
                fresh = put(saver, "t", values, parent=parent, version=str(number), run_id="r")
                assert await cost(fresh) == 1
                stored = await saver.aget_tuple(generate_config("t"))
                assert stored is not None
                parent = stored.config
            assert await cost(saver.aput_writes(parent, [("a", 1), ("b", 2)], "task")) == 1
            assert await cost(saver.aget_tuple(generate_config("t"))) == 2
            assert await cost(saver.aget_tuple(parent)) == 2
            assert await cost(saver.aget_tuple(generate_config("other"))) == 1
            assert await cost(everything(saver, generate_config("t"), limit=10)) == 2
            assert await cost(everything(saver, generate_config("t"))) == 6
            assert await cost(saver.acopy_thread("t", "u")) <= 2 * (1 + 3 + 5)
            assert await cost(saver.adelete_thread("u")) == 2
            assert await cost(saver.aprune(["t"])) <= 9
            assert await cost(saver.adelete_for_runs(["r"])) <= 8
        transport.close()

    asyncio.run(main())


def test_requests_on_r2(moto: MotoS3, moto_bucket: str, moto_proxy: FaultProxy) -> None:
    """A put sends what changed and the checkpoint; reading lists twice and reads what belongs."""
    place = moto_place(moto, moto_bucket, endpoint=moto_proxy.endpoint)

    async def main() -> None:
        async with place.open() as provider:
            saver = ProviderSaver(provider)

            async def cost(work: Awaitable[Any]) -> dict[str, int]:
                moto_proxy.clear()
                await work
                return dict(moto_proxy.counts)

            parent = await put(saver, "t", {"a": [0]})
            await saver.aput_writes(parent, [("a", 0)], "first")
            await saver.aget_tuple(generate_config("t"))
            for number in range(5):
                values = {"a": [number], "b": [number], "c": number}
                fresh = put(saver, "t", values, parent=parent, version=str(number))
                assert await cost(fresh) == {"PUT": 3}
            found = await saver.aget_tuple(generate_config("t"))
            assert found is not None
            assert await cost(saver.aput_writes(found.config, [("a", 1)] * 5, "task")) == {"PUT": 1}
            assert await cost(saver.aget_tuple(generate_config("t"))) == {"GET": 4, "LIST": 3}
            assert await cost(saver.aget_tuple(found.config)) == {"GET": 4, "LIST": 2}
            assert await cost(saver.aget_tuple(generate_config("none"))) == {"LIST": 1}
            assert await cost(everything(saver, generate_config("t"))) == {"GET": 18, "LIST": 13}
            # 6 checkpoints, 10 values and 2 writes: a listing of plain and one of other names each.
            copied = await cost(saver.acopy_thread("t", "u"))
            assert copied == {"LIST": 6, "GET": 18, "PUT": 18}
            deleted = await cost(saver.adelete_thread("u"))
            assert deleted == {"LIST": 6, "GET": 18, "DELETE_MANY": 3}

    asyncio.run(main())
