"""What the checkpoint saver keeps of a thread's history: listed, branched, pruned."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions
from langgraph.checkpoint.conformance.test_utils import (
    generate_checkpoint,
    generate_config,
    generate_metadata,
)
from langgraph.checkpoint.memory import InMemorySaver

from storage_providers.agents.adapters.langgraph import ProviderSaver
from storage_providers.errors import InvalidArgumentError
from tests.adapters.places import Place
from tests.adapters.saving import documents, everything, play, put

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
