"""Migrations between real places, with processes that write and a runner that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage_providers.base import Provider
from storage_providers.transfer.migration import Migration
from tests.dual.children import LEASE_SECONDS, SHARED, opened
from tests.servers.emulator import Emulator
from tests.servers.moto import MotoS3
from tests.servers.r2 import moto_place, on_workerd

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("MIGRATION_KILLS", "4"))
WRITERS = 2

Place = dict[str, Any]

CASES: dict[str, tuple[int, float]] = {
    "files-to-moto": (400, 0.02),
    "workerd-r2-to-workerd-d1": (120, 0.1),
    "workerd-d1-to-sqlite": (400, 0.05),
    "sqlite-to-files": (600, 0.01),
}
"""How many documents there are, and how long writers rest between two writes, seconds."""


def documents_of(name: str) -> int:
    """How many documents a case has; all of them, 10,000, where that is asked for."""
    return int(os.environ.get("MIGRATION_DOCUMENTS", CASES[name][0]))


@pytest.fixture
def sides(
    request: pytest.FixtureRequest, case: str, tmp_path: Path
) -> Iterator[tuple[Place, Place]]:
    """The places of a case, empty."""
    files = {"kind": "file", "path": str(tmp_path / "files")}
    database = {"kind": "sqlite", "path": str(tmp_path / "storage.db")}
    if case == "sqlite-to-files":
        yield database, files
    elif case == "files-to-moto":
        moto: MotoS3 = request.getfixturevalue("moto")
        place = moto_place(moto, request.getfixturevalue("moto_bucket"))
        yield files, _r2(place)
    else:
        emulator: Emulator = request.getfixturevalue("cloudflare")
        known = emulator.known
        emulator.empty_database(known.databases[0])
        d1 = {
            "kind": "d1",
            "account": known.account,
            "token": known.token,
            "base_url": known.api,
            "database": known.databases[0],
        }
        if case == "workerd-d1-to-sqlite":
            yield d1, database
            return
        place = on_workerd(emulator)
        yield _r2(place), d1
        emulator.empty_bucket(place.bucket, place.prefix)


def _r2(place: Any) -> Place:
    return {
        "kind": "r2",
        "bucket": place.bucket,
        "prefix": place.prefix,
        "endpoint_url": place.endpoint,
        "access_key_id": place.access_key_id,
        "secret_access_key": place.secret_access_key,
    }


def start(kind: str, **arguments: object) -> subprocess.Popen[str]:
    """Run a program of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.dual.children", kind, json.dumps(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def fill(place: Place, count: int) -> None:
    """What is there before."""
    async with opened(place) as provider:
        await provider.put_items("things", [{"id": f"shared{n}", "by": []} for n in range(SHARED)])
        for begin in range(0, count, 500):
            await provider.put_items(
                "old/papers",
                [
                    {"id": f"paper{n}", "n": n, "text": "x" * 300}
                    for n in range(begin, min(begin + 500, count))
                ],
            )


@pytest.mark.parametrize("case", list(CASES))
def test_a_migration_under_writers_loses_nothing(case: str, sides: tuple[Place, Place]) -> None:
    """Its runner is killed again and again; in the end both sides hold all that was promised."""
    source, target = sides
    count, pause = documents_of(case), CASES[case][1]
    asyncio.run(fill(source, count))
    chance = random.Random(case)
    both = {"source": source, "target": target}
    writers = [start("writer", who=f"w{n}", pause_seconds=pause, **both) for n in range(WRITERS)]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == '["ready"]\n', writer.communicate()[1]
        killed = 0
        for _ in range(KILLS):
            # The first two long before the end, however few calls a quick disk lets it take.
            calls = round(2 ** chance.uniform(1, 6 if killed < 2 else 9))
            runner = start("runner", calls=calls, **both)
            output, errors = runner.communicate(timeout=300)
            assert runner.returncode in (0, -signal.SIGKILL), errors
            killed += runner.returncode != 0
        assert killed >= 2
        last = start("runner", calls=0, **both)
        output, errors = last.communicate(timeout=1200)
        assert output == '["target"]\n', errors
        time.sleep(2 * LEASE_SECONDS)
        said = [word for writer in writers for word in heard(writer)]
    finally:
        for process in writers:
            process.kill()
            process.communicate()
    asyncio.run(check(both, said, count))


def heard(writer: subprocess.Popen[str]) -> list[list[Any]]:
    """Stop a writer; what it said."""
    assert writer.stdin is not None
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdin.write("stop\n")
    writer.stdin.flush()
    # Not communicate(), which does not know what readline() has read ahead.
    lines = [json.loads(line) for line in writer.stdout.read().splitlines()]
    assert lines[-1] == ["end"], writer.stderr.read()
    return lines[:-1]


async def check(both: dict[str, Place], said: list[list[Any]], count: int) -> None:
    """Compare both sides with each other, and with what was promised."""
    failed = [words for words in said if words[0] == "failed"]
    assert not failed, failed[:3]
    async with opened(both["source"]) as source, opened(both["target"]) as target:
        migration = Migration(source=source, target=target, lease_seconds=LEASE_SECONDS)
        found = await migration.verify()
        assert found.difference_count == 0, found.differences[:5]
        assert await target.count_items("old/papers") == count
        await check_promises(target, said)
        assert await documents(source) == await documents(target)
        cleaned = await migration.clean_up()
        assert cleaned.documents >= count
        assert await source.collections() in ([], ["old/papers", "things"])
        assert await source.count_items("things") == 0


async def documents(provider: Provider) -> dict[str, Any]:
    """The documents that writers change."""
    return {item.id: item.document async for item in provider.find_items("things")}


async def check_promises(target: Provider, said: list[list[Any]]) -> None:
    """Every write that was acknowledged is there, once."""
    found = await documents(target)
    done = [words for words in said if words[0] == "done"]
    maybe = [words for words in said if words[0] == "maybe"]
    assert len(done) > 20
    for name in (f"shared{n}" for n in range(SHARED)):
        by = found[name]["by"]
        promised = {f"{who}-{turn}" for _, where, turn, who in done if where == name}
        possible_too = {f"{who}-{turn}" for _, where, turn, who in maybe if where == name}
        assert len(set(by)) == len(by), name
        assert promised <= set(by) <= promised | possible_too, name
    possible: dict[str, set[int]] = {}
    for outcome, name, turn, _ in said:
        if not name.startswith("shared"):
            kept = set() if outcome == "done" else possible.get(name, {0})
            possible[name] = {*kept, turn}
    for name, turns in possible.items():
        assert (found[name]["turn"] if name in found else 0) in turns, name
