"""Eight processes on one agent store: nothing is lost, and one of several wins.

The full numbers on slow servers are played by hand: `python -m tests.agents.processes`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.agents.processes import Spec, d1_spec, kv_spec, r2_spec, races, results, saving
from tests.servers.emulator import Emulator
from tests.servers.moto import MotoS3
from tests.servers.r2 import moto_place


@pytest.fixture(params=["sqlite", "files", "hybrid"])
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


def test_saving_into_one_thread_on_this_machine(local: Spec) -> None:
    """4,000 messages are listed, in order, each once."""
    asyncio.run(saving(local, 500, 50))


def test_saving_into_one_thread_on_a_server(remote: Spec) -> None:
    """The same, with fewer."""
    asyncio.run(saving(remote, 6, 2))


def test_saving_into_one_thread_on_kv(cloudflare: Emulator) -> None:
    """Nothing is conditional there; each message has its own keys."""
    cloudflare.empty_namespace(cloudflare.known.namespaces[0])
    asyncio.run(saving(kv_spec(cloudflare), 6, 2))


def test_one_wins_a_round_on_this_machine(local: Spec) -> None:
    """A hundred rounds."""
    asyncio.run(races(local, 100))


def test_one_wins_a_round_on_a_server(remote: Spec) -> None:
    """Five rounds."""
    asyncio.run(races(remote, 5))


def test_results_of_all_steps_survive_on_this_machine(local: Spec) -> None:
    """Whoever else tells the results of another step."""
    asyncio.run(results(local, 10))


def test_results_of_all_steps_survive_on_a_server(remote: Spec) -> None:
    """The same, with fewer."""
    asyncio.run(results(remote, 2))
