"""Eight processes on one agent store: nothing is lost, and one of several wins.

The full numbers on slow servers are played by hand: `python -m tests.agents.processes`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.agents.processes import Asked, Spec, d1_spec, kv_spec, r2_spec, together
from tests.servers.emulator import Emulator
from tests.servers.moto import MotoS3
from tests.servers.r2 import moto_place

LOCAL = {
    "sqlite": Asked(500, 50, rounds=100, steps=5),
    "files": Asked(60, 20, rounds=15, steps=3),
    "hybrid": Asked(60, 20, rounds=15, steps=3),
}
"""What each process does; on files and on two sides it takes several times as long."""


@pytest.fixture(params=LOCAL)
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Spec:
    """An empty place on this machine."""
    return {"kind": request.param, "path": str(tmp_path / "place")}


@pytest.fixture(params=["d1", "r2"])
def remote(request: pytest.FixtureRequest) -> Spec:
    """An empty place on a server."""
    if request.param == "r2":
        moto: MotoS3 = request.getfixturevalue("moto")
        return r2_spec(moto_place(moto, request.getfixturevalue("moto_bucket")))
    emulator: Emulator = request.getfixturevalue("cloudflare")
    emulator.empty_database(emulator.known.databases[0])
    return d1_spec(emulator)


def test_eight_processes_on_this_machine(local: Spec) -> None:
    """All messages of one thread are listed; one wins each round; all results survive."""
    asyncio.run(together(local, LOCAL[local["kind"]]))


def test_eight_processes_on_a_server(remote: Spec) -> None:
    """The same, with fewer."""
    asyncio.run(together(remote, Asked(6, 2, rounds=5, steps=2)))


def test_eight_processes_on_kv(cloudflare: Emulator) -> None:
    """Nothing is conditional there, but each message has its own keys."""
    cloudflare.empty_namespace(cloudflare.known.namespaces[0])
    asyncio.run(together(kv_spec(cloudflare), Asked(6, 2)))
