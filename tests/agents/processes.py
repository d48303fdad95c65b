"""Processes that work on one store at once.

By hand, with the full numbers, on each place: `python -m tests.agents.processes`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

from storage_providers.agents import AgentStore, Message, Thread
from storage_providers.base import Provider
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.providers.d1 import D1Provider
from storage_providers.providers.hybrid import HybridProvider
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.r2 import CloudflareR2Provider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.resilience import RetryPolicy, Timing

__all__ = ["PROCESSES", "Asked", "Spec", "d1_spec", "kv_spec", "r2_spec", "together", "work"]

PROCESSES = 8

Spec = dict[str, Any]
"""How to open a place: its kind, and what that kind needs."""

# Real waits between tries, a tenth as long: the servers here take more than one write a second.
QUICK = Timing(sleep=lambda seconds: asyncio.sleep(seconds / 10))


async def opened(stack: AsyncExitStack, spec: Spec) -> Provider:
    """Open a place."""
    kind, given = spec["kind"], {k: v for k, v in spec.items() if k != "kind"}
    provider: Provider
    if kind == "sqlite":
        provider = SQLiteProvider(given["path"])
    elif kind == "files":
        provider = LocalFileProvider(Path(given["path"]))
    elif kind == "hybrid":
        provider = HybridProvider(
            primary=SQLiteProvider(given["path"]),
            fallback=LocalFileProvider(Path(given["path"] + ".fallback")),
            journal=Path(given["path"] + ".journal"),
        )
    elif kind == "r2":
        provider = CloudflareR2Provider(timing=QUICK, **given)
    else:
        client = CloudflareClient(
            account_id=given["account"],
            token=given["token"],
            base_url=given["api"],
            rate_limit=None,
            retry=RetryPolicy(base_delay_seconds=0.05),
        )
        await stack.enter_async_context(client)
        if kind == "d1":
            provider = D1Provider(database_id=given["database"], client=client)
        else:
            provider = CloudflareKVProvider(namespace_id=given["namespace"], client=client)
    return await stack.enter_async_context(provider)


# --- what each process does --------------------------------------------------------------------


async def save(store: AgentStore, who: int, count: int, size: int) -> object:
    """Save messages into one thread, some at once."""
    for first in range(0, count, size):
        await store.messages.save(
            [
                Message.of(f"{n}", thread_id="t", resource_id="u", id=f"p{who}-{n:05}")
                for n in range(first, min(first + size, count))
            ]
        )
    return None


async def race(store: AgentStore, who: int, count: int, _: int) -> object:
    """Expect the same status as everybody else, round by round; tell the rounds that were won."""
    won: list[int] = []
    for number in range(count):
        changed = await store.workflows.update_state(
            "w", f"r{number}", {"status": "running", "by": who}, expected_status="suspended"
        )
        if changed is not None:
            won.append(number)
    return won


async def step(store: AgentStore, who: int, count: int, _: int) -> object:
    """Tell the results of steps of one's own."""
    for number in range(count):
        await store.workflows.update_results("w", "run", f"p{who}-{number}", {"output": number})
    return None


WORK = {"save": save, "race": race, "step": step}

Task = tuple[str, int, int]
"""What a process does, how often, and how much at once."""


async def work(spec: Spec, who: int, tasks: list[Task]) -> None:
    """One process; it tells what came of the last of its tasks."""
    async with AsyncExitStack() as stack:
        store = AgentStore(await opened(stack, spec))
        async with store:
            await store.threads.get("t")
            print("ready", flush=True)
            sys.stdin.readline()
            told = [await WORK[what](store, who, count, size) for what, count, size in tasks]
        print(json.dumps(told), flush=True)


def play(spec: Spec, *tasks: Task) -> list[Any]:
    """Let eight processes begin at once; what each told of each task."""
    folder = str(Path(__file__).parents[2])
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys, json, asyncio; from tests.agents.processes import work; "
                "asyncio.run(work(*json.loads(sys.argv[1])))",
                json.dumps([spec, who, tasks]),
            ],
            env={**os.environ, "PYTHONPATH": folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate(timeout=1200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * PROCESSES
    return [json.loads(each) for each in told]


# --- what has to come of it --------------------------------------------------------------------


class Asked(NamedTuple):
    """How much eight processes are to do.

    Attributes:
        messages: Messages that each saves into one thread.
        at_once: So many in a batch.
        rounds: Rounds in which all expect the same status.
        steps: Steps of one run whose results each tells.
    """

    messages: int
    at_once: int
    rounds: int = 0
    steps: int = 0


async def together(spec: Spec, asked: Asked) -> None:
    """Nothing is lost: let eight processes work, then look."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(AgentStore(await opened(stack, spec)))
        await store.threads.save(Thread(id="t", resource_id="u", title="kept"))
        for number in range(asked.rounds):
            await store.workflows.persist("w", f"r{number}", {"status": "suspended"})
        await store.workflows.persist("w", "run", {"status": "running"})
        tasks: list[Task] = [("save", asked.messages, asked.at_once)]
        if asked.rounds:
            tasks += [("race", asked.rounds, 0), ("step", asked.steps, 0)]
        told = await asyncio.to_thread(play, spec, *tasks)
        await everything_is_listed(store, asked.messages, in_turn=spec["kind"] != "kv")
        if asked.rounds:
            await one_won_each_round(store, [each[1] for each in told], asked.rounds)
            await all_results_are_there(store, asked.steps)


async def everything_is_listed(store: AgentStore, count: int, *, in_turn: bool) -> None:
    """Once, in order; what one process saved in the order in which it did."""
    listed = await store.messages.list("t", per_page=1, total=True)
    messages = [message async for message in store.messages.iterate("t")]
    thread = await store.threads.get("t")
    ids = [message.id for message in messages]
    assert listed.total == len(ids) == len({*ids}) == PROCESSES * count, (listed.total, len(ids))
    times = [message.created_at for message in messages if message.created_at is not None]
    assert times == sorted(times)
    for who in range(PROCESSES):
        own = [each for each in ids if each.startswith(f"p{who}-")]
        assert own == [f"p{who}-{n:05}" for n in range(count)]
    assert thread is not None
    assert thread.title == "kept"
    assert thread.updated_at is not None
    # On KV the later write stands, whatever it says.
    assert not in_turn or thread.updated_at >= times[-1]


async def one_won_each_round(store: AgentStore, told: list[list[int]], rounds: int) -> None:
    """And the state is the winner's."""
    won = sorted((number, who) for who, numbers in enumerate(told) for number in numbers)
    assert [number for number, _ in won] == [*range(rounds)]
    for number, who in won:
        snapshot = await store.workflows.load("w", f"r{number}")
        assert snapshot == {"status": "running", "by": who}


async def all_results_are_there(store: AgentStore, count: int) -> None:
    """Of all steps of all processes."""
    snapshot = await store.workflows.load("w", "run")
    assert snapshot is not None
    wanted = {f"p{who}-{n}": {"output": n} for who in range(PROCESSES) for n in range(count)}
    assert snapshot["context"] == wanted


async def _everything(specs: Sequence[tuple[str, Spec]]) -> None:
    for name, spec in specs:
        began = time.monotonic()
        kv = spec["kind"] == "kv"
        await together(spec, Asked(500, 10) if kv else Asked(500, 10, rounds=100, steps=10))
        print(f"{name}: nothing lost, {time.monotonic() - began:.1f} s", flush=True)


def main() -> None:
    """The full numbers on each place."""
    import tempfile

    from tests.servers.emulator import Emulator
    from tests.servers.moto import MotoS3
    from tests.servers.r2 import moto_place

    chosen = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        specs: list[tuple[str, Spec]] = [
            ("SQLite", {"kind": "sqlite", "path": f"{folder}/a.db"}),
            ("LocalFile", {"kind": "files", "path": f"{folder}/files"}),
            ("Hybrid", {"kind": "hybrid", "path": f"{folder}/h.db"}),
        ]
        moto, emulator = MotoS3(), Emulator()
        try:
            specs.append(("R2", r2_spec(moto_place(moto, moto.make_bucket()))))
            specs += [("D1", d1_spec(emulator)), ("KV", kv_spec(emulator))]
            asyncio.run(_everything([each for each in specs if not chosen or each[0] in chosen]))
        finally:
            moto.stop()
            emulator.stop()


def r2_spec(place: Any) -> Spec:
    """An empty place on an S3 server."""
    return {
        "kind": "r2",
        "bucket": place.bucket,
        "prefix": place.prefix,
        "endpoint_url": place.endpoint,
        "access_key_id": place.access_key_id,
        "secret_access_key": place.secret_access_key,
    }


def d1_spec(emulator: Any) -> Spec:
    """The first database of workerd."""
    known = emulator.known
    place = {"api": known.api, "account": known.account, "token": known.token}
    return {"kind": "d1", **place, "database": known.databases[0]}


def kv_spec(emulator: Any) -> Spec:
    """The first namespace of workerd."""
    known = emulator.known
    place = {"api": known.api, "account": known.account, "token": known.token}
    return {"kind": "kv", **place, "namespace": known.namespaces[0]}


if __name__ == "__main__":
    main()
