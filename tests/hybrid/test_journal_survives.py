"""The journal on disk: processes that are killed, and outages of many writes."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from storage_providers.base import Provider
from storage_providers.errors import ConfigurationError, TransportError
from storage_providers.layers import Call, Layer, compose
from storage_providers.protocol import Address, Delete, Patch, Put
from storage_providers.providers._hybrid.effects import Known
from storage_providers.providers._hybrid.journal import Draft, Journal, Taken
from storage_providers.providers.hybrid import HybridProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.faults import Fail, Faults, LoseAnswer

T = TypeVar("T")

WRITER = """
import asyncio, sys
from storage_providers.errors import TransportError
from storage_providers.layers import compose
from storage_providers.providers.hybrid import HybridProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.faults import Fail, Faults

async def main():
    folder = sys.argv[1]
    hybrid = HybridProvider(
        primary=compose(Faults(Fail(call=None)), provider=SQLiteProvider(folder + "/primary.db")),
        fallback=LocalFileProvider(folder + "/fallback"),
        journal=folder + "/journal.db",
    )
    async with hybrid:
        for number in range(int(sys.argv[2]), 10_000):
            name = f"d{number % 7}"
            await hybrid.put_item("things", {"id": name, "n": number})
            print(number, flush=True)

asyncio.run(main())
"""

REPLAYER = """
import asyncio, os, signal, sys
from storage_providers.layers import Layer, compose
from storage_providers.providers.hybrid import HybridProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider

class Dying(Layer):
    left = int(sys.argv[2])

    async def around(self, call, proceed):
        # Killed before the call, or after it was carried out and before anybody heard of it.
        Dying.left -= 1
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await proceed()
        Dying.left -= 1
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

async def main():
    folder = sys.argv[1]
    hybrid = HybridProvider(
        primary=compose(Dying(), provider=SQLiteProvider(folder + "/primary.db")),
        fallback=LocalFileProvider(folder + "/fallback"),
        journal=folder + "/journal.db",
    )
    async with hybrid:
        await hybrid.replay()

asyncio.run(main())
"""


def on_disk(
    folder: Path,
    *,
    primary: Provider | None = None,
    fallback: Provider | None = None,
    **options: Any,
) -> HybridProvider:
    """The hybrid of the programs above."""
    return HybridProvider(
        primary=SQLiteProvider(folder / "primary.db") if primary is None else primary,
        fallback=LocalFileProvider(folder / "fallback") if fallback is None else fallback,
        journal=folder / "journal.db",
        **options,
    )


@pytest.mark.parametrize("seed", range(3))
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, seed: int) -> None:
    """A writer is killed in an outage, twice; the primary gets every write that it was told of."""
    chance = random.Random(seed)
    begin = 0
    told = -1
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(begin)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randrange(1, 40)):
                told = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            # What it wrote until then was acknowledged too.
            rest = writer.stdout.read().split(b"\n")[:-1]
            told = int(rest[-1]) if rest else told
        begin = told + 1

    async def look() -> dict[str, int]:
        async with on_disk(tmp_path) as hybrid:
            await hybrid.replay()
            status = await hybrid.status()
            assert (status.pending, status.conflicts) == (0, 0)
        async with SQLiteProvider(tmp_path / "primary.db") as primary:
            return {item.id: item.document["n"] async for item in primary.find_items("things")}

    there = asyncio.run(look())
    for name in range(7):
        acknowledged = [number for number in range(told + 1) if number % 7 == name]
        if acknowledged:
            # The write in flight at the kill may have been taken as well.
            assert there[f"d{name}"] in (acknowledged[-1], acknowledged[-1] + 7)


async def _outage(folder: Path) -> dict[str, Any]:
    """An outage with conflicts; returns what a merge makes of it."""
    away = Faults()
    primary = SQLiteProvider(folder / "primary.db")
    async with on_disk(folder, primary=compose(away, provider=primary)) as hybrid:
        for name in "abcd":
            await hybrid.put_item("things", {"id": name, "here": 0, "there": 0})
        away.script.append(Fail(call=None))
        await hybrid.update_item("things", "a", {"here": 1})
        await hybrid.update_item("things", "b", {"here": 1})
        await hybrid.delete_item("things", "c")
        await hybrid.put_item("things", {"id": "e", "here": 1})
        await primary.update_item("things", "b", {"there": 1})
        await primary.update_item("things", "d", {"there": 1})
    return {
        "a": {"here": 1, "there": 0},
        "b": {"here": 1, "there": 1},
        "d": {"here": 0, "there": 1},
        "e": {"here": 1},
    }


def test_a_replay_that_is_killed_anywhere_is_taken_up(tmp_path: Path) -> None:
    """Killed before and after every call to the primary: the same comes of it, one conflict."""
    for point in range(1, 99):
        folder = tmp_path / str(point)
        folder.mkdir()
        expected = asyncio.run(_outage(folder))
        died = subprocess.run(
            [sys.executable, "-c", REPLAYER, str(folder), str(point)], check=False
        )

        async def look(folder: Path) -> dict[str, Any]:
            async with on_disk(folder) as hybrid:
                await hybrid.replay()
                (record,) = await hybrid.conflicts()
                assert (record.conflict.id, record.state) == ("b", "settled")
            async with SQLiteProvider(folder / "primary.db") as primary:
                return {i.id: i.document async for i in primary.find_items("things")}

        there = asyncio.run(look(folder))
        shown = {
            name: {field: document[field] for field in ("here", "there") if field in document}
            for name, document in there.items()
        }
        assert shown == expected, point
        if died.returncode == 0:
            assert point > 6
            break
        assert died.returncode == -signal.SIGKILL
    else:
        raise AssertionError("the replay never came to its end")


def test_a_long_outage_is_replayed_in_order(tmp_path: Path) -> None:
    """More than several windows, with every other answer of the primary lost, each write once."""
    writes = 3_000

    async def play() -> None:
        primary, away = InMemoryProvider(), Faults()
        hybrid = HybridProvider(
            primary=compose(away, provider=primary),
            fallback=InMemoryProvider(),
            journal=tmp_path / "journal.db",
            retry_seconds=0,
        )
        async with hybrid:
            away.script.append(Fail(call=None))
            for start in range(0, writes, 100):
                await hybrid.write(
                    [
                        Put("things", {"id": f"d{(start + number) % 700}", "n": start + number})
                        for number in range(100)
                    ]
                )
            assert (await hybrid.status()).pending == writes
            away.script[:] = [LoseAnswer("write", call=number) for number in range(1, 200, 2)]
            with pytest.raises(TransportError):
                await hybrid.replay()
            while (await hybrid.status()).pending:
                try:
                    await hybrid.replay()
                except TransportError:
                    continue
            there = {item.id: item.document["n"] async for item in primary.find_items("things")}
            assert there == {f"d{number % 700}": number for number in range(writes)}
            assert await hybrid.conflicts() == []
            assert away.struck["LoseAnswer"] > 5

    asyncio.run(play())


OPERATIONS = int(os.environ.get("HYBRID_OPERATIONS", "10000"))
"""Writes of the longest outage; 100,000 are run by hand."""


class InOrder(Layer):
    """Notes what a primary is given, and keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[str, int] = {}
        self.greatest = -1

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        """Hold each write to the order of those before."""
        if call.verb == "write":
            numbers = {write.id: write.document["n"] for write in call.arguments[0]}
            # One window is one batch: of a document its last state, and nothing of it again.
            assert min(numbers.values()) > self.greatest
            assert all(self.last.get(name, -1) < number for name, number in numbers.items())
            self.greatest = max(numbers.values())
            self.last |= numbers
        return await proceed()


def memory_mb() -> float:
    """What this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_very_long_outage_is_replayed_in_order_in_flat_memory(tmp_path: Path) -> None:
    """Taken by one hybrid and replayed by the next, which never holds more than a window of it."""

    async def take() -> None:
        away = Faults(Fail(call=None))
        async with on_disk(
            tmp_path,
            primary=compose(away, provider=InMemoryProvider()),
            fallback=SQLiteProvider(tmp_path / "fallback.db"),
        ) as hybrid:
            for start in range(0, OPERATIONS, 500):
                await hybrid.write(
                    [
                        Put(
                            "things",
                            {"id": f"d{(start + n) % 700}", "n": start + n, "x": "y" * 200},
                        )
                        for n in range(500)
                    ]
                )
            assert (await hybrid.status()).pending == OPERATIONS

    async def replay() -> None:
        order = InOrder()
        primary = InMemoryProvider()
        grown: list[float] = []
        async with on_disk(
            tmp_path,
            primary=compose(order, provider=primary),
            fallback=SQLiteProvider(tmp_path / "fallback.db"),
        ) as hybrid:
            before = memory_mb()
            done = await hybrid.replay(on_progress=lambda _: grown.append(memory_mb() - before))
            assert done == OPERATIONS
            there = {item.id: item.document["n"] async for item in primary.find_items("things")}
            assert there == {f"d{number % 700}": number for number in range(OPERATIONS)}
            assert await hybrid.conflicts() == []
        assert max(grown) < 30, max(grown)

    asyncio.run(take())
    asyncio.run(replay())


def test_the_journal_gives_back_what_it_took(tmp_path: Path) -> None:
    """In order, with what was there before each, over several windows."""

    async def play() -> None:
        journal = Journal(str(tmp_path / "journal.db"))
        await journal.open()
        nothing = Known(None)
        drafts = [Draft(Put("things", {"id": "a", "n": number}), nothing) for number in range(450)]
        answers = await journal.append(drafts, 7)
        assert all(isinstance(answer, Taken) for answer in answers)
        await journal.append([Draft(Patch("things", "a", {"m": 1}), nothing)], 8)
        await journal.append([Draft(Delete("things", "a"), nothing)], 9)
        seq, entries = 0, []
        while window := await journal.head(seq):
            assert len(window) <= 200
            entries += window
            seq = window[-1].seq
        numbers = [entry.after.document["n"] for entry in entries[:-1] if entry.after is not None]
        assert numbers == [*range(450), 449]
        assert entries[-1].after is None
        for before, after in itertools.pairwise(entries):
            assert after.before == Known(before.after)
        assert await journal.last([Address("things", "a"), Address("things", "b")]) == [
            Taken(None),
            None,
        ]
        await journal.close()

    asyncio.run(play())


def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """Rather than misread; and so is a file that is none."""
    path = tmp_path / "journal.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(ConfigurationError, match="format 2"):
        asyncio.run(on_disk(tmp_path).connect())
    path.write_bytes(b"no database" * 100)
    with pytest.raises(ConfigurationError, match="not a SQLite database"):
        asyncio.run(on_disk(tmp_path).connect())
    assert path.exists()
