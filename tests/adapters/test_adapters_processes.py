"""Two processes that use one adapter on one place at once: nothing is lost, nothing is twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint

from storage_providers.agents.adapters.key_value import ProviderKeyValue
from storage_providers.agents.adapters.langgraph import ProviderSaver, ProviderStore
from storage_providers.agents.adapters.openai_agents import ProviderSession
from storage_providers.base import Provider
from tests.adapters.workers import Pair, config
from tests.agents.processes import Spec, d1_spec, opened, r2_spec
from tests.servers.emulator import Emulator
from tests.servers.r2 import moto_place

COUNT = 8

Do: TypeAlias = "Callable[[str], Awaitable[list[Any]]]"


@pytest.fixture(params=["sqlite", "files", "d1", "r2"])
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> Spec:
    """An empty place that several processes can open."""
    if request.param == "r2":
        bucket = request.getfixturevalue("moto_bucket")
        return r2_spec(moto_place(request.getfixturevalue("moto"), bucket))
    if request.param == "d1":
        emulator: Emulator = request.getfixturevalue("cloudflare")
        emulator.empty_database(emulator.known.databases[0])
        return d1_spec(emulator)
    return {"kind": request.param, "path": str(tmp_path / "place")}


def test_two_processes(spec: Spec) -> None:
    """By each adapter: checkpoints and writes, items, turns, keys."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            provider = await opened(stack, spec)
            first = {**empty_checkpoint(), "id": "first"}
            await ProviderSaver(provider).aput(config(), cast(Checkpoint, first), {}, {})
            with Pair(spec, COUNT) as pair:
                for check in (checkpoints, items, turns, keys):
                    await check(provider, lambda what: asyncio.to_thread(pair.do, what))

    asyncio.run(main())


async def checkpoints(provider: Provider, do: Do) -> None:
    """Every checkpoint is listed with its values; of a task that both wrote one write counts."""
    told = await do("save")
    listed = [each async for each in ProviderSaver(provider).alist(config())]
    found = {each.config["configurable"]["checkpoint_id"]: each for each in listed}
    assert len(found) == len(listed) == 2 * COUNT + 1
    for who, ids in zip("ab", told, strict=True):
        for number, checkpoint_id in enumerate(ids):
            said = found[checkpoint_id].checkpoint["channel_values"]["said"]
            assert said[:2] == [who, number]
    writes = found["first"].pending_writes or []
    own = {channel for _, channel, _ in writes if channel != "taken"}
    assert own == {f"{who}-{number}" for who in "ab" for number in range(COUNT)}
    taken = sorted(task for task, channel, _ in writes if channel == "taken")
    assert taken == sorted(f"task-{number}" for number in range(COUNT))


async def items(provider: Provider, do: Do) -> None:
    """All are there; of the one that both put, the last of one of them."""
    await do("remember")
    store = ProviderStore(provider)
    for who in "ab":
        found = await store.asearch(("users", who), limit=2 * COUNT)
        assert {each.key: each.value["n"] for each in found} == {
            str(number): number for number in range(COUNT)
        }
    shared = await store.aget(("users",), "shared")
    assert shared is not None
    assert shared.value["n"] == COUNT - 1


async def turns(provider: Provider, do: Do) -> None:
    """Each turn is together, those of one process in order; no item is popped twice."""
    session = ProviderSession("shared", provider)

    async def read() -> list[str]:
        return [cast("dict[str, Any]", item)["content"] for item in await session.get_items()]

    await do("add")
    said = await read()
    found = [said[at : at + 3] for at in range(0, len(said), 3)]
    assert all(turn == [f"{turn[0][:-2]} {part}" for part in range(3)] for turn in found)
    for who in "ab":
        own = [turn[0] for turn in found if turn[0].startswith(who)]
        assert own == [f"{who} {number} 0" for number in range(COUNT)]
    popped = [text for texts in await do("pop") for text in texts]
    assert sorted([*await read(), *popped]) == sorted(said)


async def keys(provider: Provider, do: Do) -> None:
    """All are there; a delete says true to one of two, where deletes can be conditional."""
    store = ProviderKeyValue(provider)
    await do("put")
    names = [f"{who}-{number}" for who in "ab" for number in range(COUNT)]
    assert [(each or {}).get("n") for each in await store.get_many(names)] == 2 * [*range(COUNT)]
    assert (await store.get("shared") or {})["n"] == COUNT - 1
    said_true = sorted(number for numbers in await do("delete") for number in numbers)
    assert sorted(await store.keys()) == sorted([*names[COUNT:], "shared"])
    assert {*said_true} == {*range(COUNT)}
    if provider.capabilities.conditional_delete:
        assert said_true == [*range(COUNT)]
