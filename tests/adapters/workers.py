"""Processes that use one adapter on one place at once: what each does, and how it is started."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self, cast

from langgraph.checkpoint.base import empty_checkpoint

from storage_providers.agents.adapters.key_value import ProviderKeyValue
from storage_providers.agents.adapters.langgraph import ProviderSaver, ProviderStore
from storage_providers.agents.adapters.openai_agents import ProviderSession
from storage_providers.base import Provider
from tests.agents.processes import Spec, opened

__all__ = ["Pair", "config"]

ROOT: Final = Path(__file__).parents[2]
NAMES: Final = ("a", "b")
"""What the processes are called."""


def config(checkpoint_id: str | None = None) -> Any:
    """The thread that all write to, or one checkpoint of it."""
    return {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": checkpoint_id}}


async def save(provider: Provider, who: str, count: int) -> object:
    """Put checkpoints into one thread, and writes of one task of a checkpoint of all."""
    saver = ProviderSaver(provider)
    ids: list[str] = []
    for number in range(count):
        checkpoint = empty_checkpoint()
        version = saver.get_next_version(None, None)
        value = [who, number, "x" * 2_000]
        checkpoint["channel_values"] = {"said": value}
        checkpoint["channel_versions"] = {"said": version}
        await saver.aput(config(), checkpoint, {"step": number}, {"said": version})
        ids.append(checkpoint["id"])
        writes = [(f"{who}-{number}", number)]
        await saver.aput_writes(config("first"), writes, f"{who}-task-{number}")
        await saver.aput_writes(config("first"), [("taken", who)], f"task-{number}")
    return ids


async def remember(provider: Provider, who: str, count: int) -> object:
    """Put items of one's own, and one that the other puts too."""
    store = ProviderStore(provider)
    for number in range(count):
        await store.aput(("users", who), str(number), {"n": number})
        await store.aput(("users",), "shared", {"by": who, "n": number})
    return None


async def add(provider: Provider, who: str, count: int) -> object:
    """Add turns of three items to one session."""
    session = ProviderSession("shared", provider)
    for turn in range(count):
        items = [{"role": "user", "content": f"{who} {turn} {part}"} for part in range(3)]
        await session.add_items(cast("list[Any]", items))
    return None


async def pop(provider: Provider, _: str, count: int) -> object:
    """Take items off one session."""
    session = ProviderSession("shared", provider)
    popped = [await session.pop_item() for _ in range(count)]
    return [cast("dict[str, Any]", item)["content"] for item in popped]


async def put(provider: Provider, who: str, count: int) -> object:
    """Put values of one's own, and one that the other puts too."""
    store = ProviderKeyValue(provider)
    for number in range(count):
        await store.put(f"{who}-{number}", {"n": number})
        await store.put("shared", {"by": who, "n": number})
    return None


async def delete(provider: Provider, _: str, count: int) -> object:
    """Delete what the other deletes too; which of them were there."""
    store = ProviderKeyValue(provider)
    return [number for number in range(count) if await store.delete(f"a-{number}")]


WORK: Final[dict[str, Callable[[Provider, str, int], Awaitable[object]]]] = {
    each.__name__: each for each in (save, remember, add, pop, put, delete)
}


async def work(spec: Spec, who: str, count: int) -> None:
    """One process: for each line it does what that names, and tells what came of it."""
    async with AsyncExitStack() as stack:
        provider = await opened(stack, spec)
        print(json.dumps("ready"), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await WORK[line.strip()](provider, who, count)), flush=True)


class Pair:
    """Two processes on one place, for a `with` block.

    Args:
        spec: The place.
        count: How often each does what it is told.
    """

    def __init__(self, spec: Spec, count: int) -> None:
        arguments = [json.dumps([spec, who, count]) for who in NAMES]
        self._children = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.adapters.workers", each],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for each in arguments
        ]

    def __enter__(self) -> Self:
        assert self._told() == ["ready", "ready"]
        return self

    def __exit__(self, *exc_info: object) -> None:
        for child in self._children:
            child.communicate(timeout=60)

    def do(self, what: str) -> list[Any]:
        """Let both do the same at once; what each told."""
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write(f"{what}\n")
            child.stdin.flush()
        return self._told()

    def _told(self) -> list[Any]:
        lines = [child.stdout.readline() for child in self._children if child.stdout is not None]
        assert all(lines), "a process ended; its error stands above"
        return [json.loads(line) for line in lines]


if __name__ == "__main__":
    asyncio.run(work(*json.loads(sys.argv[1])))
