"""SQLiteProvider under kill and under several processes: nothing acknowledged is ever lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from storage_providers.providers.sqlite import SQLiteProvider

PROCESSES = 4
INCREMENTS = 40

WRITE_AND_TELL = """
import asyncio, sys
from storage_providers.protocol import Delete, Put
from storage_providers.providers.sqlite import SQLiteProvider

async def main(path, first):
    def tell(line):
        sys.stdout.write(line + "\\n")
        sys.stdout.flush()

    async def writer(provider, who):
        n = first
        while True:
            n += 1
            await provider.put_item("single", {"id": f"{who}-{n % 50}", "n": n, "fill": "x" * 300})
            tell(f"single {who}-{n % 50} {n}")
            if n % 10 == 0:
                await provider.write(
                    [Put("left", {"id": who, "n": n}), Put("s/right", {"id": who, "n": n})]
                    + [Put("many", {"id": f"{who}-{k}", "n": n}) for k in range(60)]
                )
                tell(f"batch {who} {n}")
            if n % 25 == 0:
                await provider.update_item("single", f"{who}-{n % 50}", {"patched": n})
                tell(f"patched {who}-{n % 50} {n}")

    async with SQLiteProvider(path) as provider:
        tell("ready")
        await asyncio.gather(*(writer(provider, f"w{k}") for k in range(8)))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""

CHANGE = """
import asyncio, sys
from storage_providers.providers.sqlite import SQLiteProvider

async def main(path, who, times):
    async with SQLiteProvider(path) as provider:
        def increment(document):
            document["count"] += 1
            return document

        async def modify():
            for _ in range(times):
                await provider.modify_item("t", "shared", increment, deadline_seconds=60)

        async def patch():
            for n in range(times):
                await provider.update_item("t", "patched", {who: n + 1})

        await asyncio.gather(modify(), patch())

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a program of its own, its output piped to us."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def read_until(process: subprocess.Popen[str], lines: int) -> list[str]:
    """Whole lines, up to so many; then kill the process and take what is left in the pipe."""
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    told += process.stdout.readlines()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    return [line for line in told if line.endswith("\n")]


def test_a_kill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Killed again and again amid writes: what was told is there, batches are whole."""
    path, chance = tmp_path / "a.db", random.Random(11)
    single: dict[str, int] = {}
    patched: dict[str, int] = {}
    batches: dict[str, int] = {}
    for attempt in range(4):
        process = start(WRITE_AND_TELL, path, attempt * 100_000)
        told = read_until(process, chance.randint(200, 1500))
        assert told[0] == "ready\n"
        for line in told[1:]:
            kind, who, number = line.split()
            {"single": single, "patched": patched, "batch": batches}[kind][who] = int(number)
        asyncio.run(check(path, single, patched, batches))
    assert sum(map(len, (single, patched, batches))) > 100
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.db"]


async def check(
    path: Path, single: dict[str, int], patched: dict[str, int], batches: dict[str, int]
) -> None:
    """Everything told is there, or something the same writer wrote later."""
    async with SQLiteProvider(path) as provider:
        stored = {item.id: item.document async for item in provider.find_items("single")}
        for item_id, number in single.items():
            assert stored[item_id]["n"] >= number
            assert len(stored[item_id]["fill"]) == 300
        for item_id, number in patched.items():
            # A later put replaced the whole document, and with it the patch.
            document = stored[item_id]
            assert document.get("patched", 0) >= number or document["n"] > number
        for who, number in batches.items():
            (left, right) = await provider.read_items("left", [who]) + await provider.read_items(
                "s/right", [who]
            )
            assert left is not None
            assert right is not None
            many = await provider.read_items("many", [f"{who}-{k}" for k in range(60)])
            numbers = {item.document["n"] for item in (left, right, *many) if item is not None}
            assert len(numbers) == 1
            assert numbers.pop() >= number
            assert None not in many


def test_several_processes_lose_no_update(tmp_path: Path) -> None:
    """Four processes count the same document up and patch fields of another."""
    path = tmp_path / "a.db"

    async def prepare() -> None:
        async with SQLiteProvider(path) as provider:
            await provider.create_item("t", {"id": "shared", "count": 0})
            await provider.create_item("t", {"id": "patched"})

    async def result() -> tuple[int, dict[str, int]]:
        async with SQLiteProvider(path) as provider:
            shared, patched = await provider.read_items("t", ["shared", "patched"])
            assert shared is not None
            assert patched is not None
            fields = {key: value for key, value in patched.document.items() if key[0] == "p"}
            return shared.document["count"], fields

    asyncio.run(prepare())
    processes = [start(CHANGE, path, f"p{n}", INCREMENTS) for n in range(PROCESSES)]
    for process in processes:
        process.communicate(timeout=120)
    assert [process.returncode for process in processes] == [0] * PROCESSES
    count, fields = asyncio.run(result())
    assert count == PROCESSES * INCREMENTS
    assert fields == {f"p{n}": INCREMENTS for n in range(PROCESSES)}


def test_several_processes_make_one_database(tmp_path: Path) -> None:
    """Processes that open a new file at the same moment all succeed, and find each other's data."""
    code = """
import asyncio, json, sys
from storage_providers.protocol import CollectionSpec, Index
from storage_providers.providers.sqlite import SQLiteProvider

async def main(path, who):
    async with SQLiteProvider(path) as provider:
        await provider.declare(CollectionSpec(collection="t", indexes=(Index.of("n"),)))
        await provider.put_items("t", [{"id": f"{who}-{n}", "n": n} for n in range(100)])
        print(json.dumps(await provider.collections()))

asyncio.run(main(*sys.argv[1:]))
"""
    path = tmp_path / "a.db"
    processes = [start(code, path, f"p{n}") for n in range(PROCESSES)]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [json.loads(answer) for answer in answers] == [["t"]] * PROCESSES

    async def count() -> int:
        async with SQLiteProvider(path) as provider:
            return await provider.count_items("t")

    assert asyncio.run(count()) == 100 * PROCESSES
