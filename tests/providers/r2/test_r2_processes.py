"""Several processes on one bucket lose no change of each other's, on both servers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.emulator import Emulator
from tests.servers.moto import MotoS3
from tests.servers.r2 import R2Place, moto_place, on_workerd

PROCESSES = 8
TURNS = {"moto": (50, 10), "workerd": (10, 3)}
"""How often each process increments and patches; workerd takes some times as long for a put."""

WORK = """
import asyncio, json, sys
from storage_providers.errors import ItemExistsError
from storage_providers.providers.r2 import CloudflareR2Provider
from storage_providers.resilience import Timing

# Real waits between tries, a tenth as long: the servers here take more than one write a second.
QUICK = Timing(sleep=lambda seconds: asyncio.sleep(seconds / 10))

async def main(who, increments, patches, bucket, **place):
    async with CloudflareR2Provider(bucket, timing=QUICK, **place) as provider:
        await provider.read_item("t", "nothing")
        print("ready", flush=True)
        sys.stdin.readline()

        async def create():
            try:
                await provider.create_item("t", {"id": "contested", "by": who})
            except ItemExistsError:
                return False
            return True

        async def modify():
            def increment(document):
                document["count"] += 1
                return document

            for _ in range(increments):
                await provider.modify_item("t", "counter", increment, deadline_seconds=100)

        async def patch():
            for n in range(patches):
                await provider.update_item("t", "patched", {who: n + 1})

        won = await create()
        await asyncio.gather(modify(), patch())
        print(json.dumps(won), flush=True)

asyncio.run(main(**json.loads(sys.argv[1])))
"""


@pytest.fixture(params=list(TURNS))
def server(request: pytest.FixtureRequest) -> str:
    """The name of a server."""
    name: str = request.param
    return name


@pytest.fixture
def place(server: str, request: pytest.FixtureRequest) -> Iterator[R2Place]:
    """An empty place on each server."""
    if server == "moto":
        moto: MotoS3 = request.getfixturevalue("moto")
        yield moto_place(moto, request.getfixturevalue("moto_bucket"))
        return
    emulator: Emulator = request.getfixturevalue("cloudflare")
    made = on_workerd(emulator)
    yield made
    emulator.empty_bucket(made.bucket, made.prefix)


def start(who: str, place: R2Place, turns: tuple[int, int]) -> subprocess.Popen[str]:
    """Run a program of its own."""
    arguments = {
        "who": who,
        "increments": turns[0],
        "patches": turns[1],
        "bucket": place.bucket,
        "prefix": place.prefix,
        "endpoint_url": place.endpoint,
        "access_key_id": place.access_key_id,
        "secret_access_key": place.secret_access_key,
    }
    return subprocess.Popen(
        [sys.executable, "-c", WORK, json.dumps(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


def run_together(place: R2Place, turns: tuple[int, int]) -> list[Any]:
    """Start all processes, let them loose at the same moment; what each of them said last."""
    processes = [start(f"p{n}", place, turns) for n in range(PROCESSES)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said: list[Any] = []
        for process in processes:
            output, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors
            said.append(json.loads(output))
        return said
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_processes_lose_no_change(server: str, place: R2Place) -> None:
    """Of 8 processes one creates a document, each increment counts, every patch stays."""

    async def prepare() -> None:
        async with place.open() as provider:
            await provider.create_item("t", {"id": "counter", "count": 0})
            await provider.create_item("t", {"id": "patched"})

    async def result() -> dict[str, Any]:
        async with place.open() as provider:
            return {item.id: item.document async for item in provider.find_items("t")}

    asyncio.run(prepare())
    increments, patches = turns = TURNS[server]
    won = run_together(place, turns)
    assert sorted(won) == [False] * (PROCESSES - 1) + [True]
    documents = asyncio.run(result())
    assert documents["contested"]["by"] == f"p{won.index(True)}"
    assert documents["counter"]["count"] == PROCESSES * increments
    fields = {name: value for name, value in documents["patched"].items() if name[0] == "p"}
    assert fields == {f"p{n}": patches for n in range(PROCESSES)}
