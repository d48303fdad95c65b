"""The command line on two providers as one: an outage from its beginning to its end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from storage_providers.layers import compose
from storage_providers.protocol import Put
from storage_providers.providers.hybrid import HybridProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.faults import Fail, Faults
from tests.cli.conftest import Cli
from tests.servers.moto import MotoS3


def url_of(primary: str, fallback: str, journal: str, **options: str) -> str:
    """The URL of a hybrid."""
    sides = {"primary": primary, "fallback": fallback, "journal": journal}
    return "hybrid:?" + urlencode({**sides, **options})


class Bucket:
    """A hybrid of a bucket and a folder, the bucket by itself, and the network between."""

    def __init__(self, moto: MotoS3, bucket: str, environment: pytest.MonkeyPatch) -> None:
        self.moto = moto
        self.environment = environment
        environment.setenv("CLOUDFLARE_R2_ACCESS_KEY_ID", "a-key-id")
        environment.setenv("CLOUDFLARE_R2_SECRET_ACCESS_KEY", "very-secret-key")
        environment.setenv("CLOUDFLARE_MAX_RETRIES", "0")
        self.hybrid = Cli(url_of(f"r2://{bucket}", "file:./copies", "journal.db"))
        self.bucket = Cli(f"r2://{bucket}")
        self.mend()

    def cut(self) -> None:
        """Have nobody answer: the port is one that was free a moment ago."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.environment.setenv("CLOUDFLARE_R2_ENDPOINT", f"http://127.0.0.1:{port}")

    def mend(self) -> None:
        """Have the server answer again."""
        self.environment.setenv("CLOUDFLARE_R2_ENDPOINT", self.moto.endpoint)


@pytest.fixture
def pair(moto: MotoS3, moto_bucket: str, environment: pytest.MonkeyPatch) -> Bucket:
    """Two sides with nothing on them."""
    return Bucket(moto, moto_bucket, environment)


def test_an_outage(pair: Bucket) -> None:
    """Written in it, seen in it, told of in it, brought over after it."""
    cli = pair.hybrid
    cli("put", "todos", '{"id": "a", "n": 1}')
    filled = json.loads(cli("hybrid", "fill", "--json").out)
    assert filled == {"collections": 1, "documents": 1, "removed": 0, "corrupt": 0}
    pair.cut()
    cli("put", "todos", '{"id": "b", "n": 2}')
    assert json.loads(cli("get", "todos", "b").out)["n"] == 2
    assert cli("count", "todos").out == "2\n"
    found = json.loads(cli("hybrid", "status", "--json").out)
    assert (found["reachable"], found["pending"], found["complete"]) == (False, 1, True)
    assert found["error"] == "TransportError"
    assert found["oldest_pending"] is not None
    shown = cli("hybrid", "status").out
    assert "reachable       no" in shown
    assert "very-secret-key" not in shown
    refused = cli("hybrid", "replay", code=7)
    assert "could not be reached" in refused.err
    checks = json.loads(cli("doctor", "--json", code=7).out)["checks"]
    states = {check["name"]: check for check in checks}
    assert states["fallback"]["ok"]
    assert not all(check["ok"] for name, check in states.items() if name.startswith("primary"))
    assert states["journal"]["detail"].startswith("1 writes wait for the primary")
    pair.mend()
    assert json.loads(cli("hybrid", "replay", "--json").out) == {
        "replayed": 1,
        "conflicts": 0,
        "refused": 0,
    }
    assert json.loads(pair.bucket("get", "todos", "b").out)["n"] == 2
    assert json.loads(cli("hybrid", "status", "--json").out)["pending"] == 0
    names = [check["name"] for check in json.loads(cli("doctor", "--json").out)["checks"]]
    assert {"primary: write", "fallback", "journal", "copies"} <= set(names)


def test_a_conflict(pair: Bucket) -> None:
    """It is listed without contents, shown with them when asked for, and undone after asking."""
    cli = pair.hybrid
    cli("put", "todos", '{"id": "a", "title": "before", "n": 1}')
    pair.cut()
    cli("put", "todos", '{"id": "a", "title": "here", "n": 1}')
    pair.mend()
    pair.bucket("put", "todos", '{"id": "a", "title": "there", "n": 1}')
    assert json.loads(cli("hybrid", "replay", "--json").out)["conflicts"] == 1
    listed = cli("hybrid", "conflicts")
    assert listed.out.splitlines()[2].split()[:5] == ["1", "todos", "a", "merge", "settled"]
    (row,) = json.loads(cli("hybrid", "conflicts", "--json").out)
    assert list(row) == ["number", "collection", "id", "policy", "state", "when", "error"]
    for text in (listed.out, listed.err, json.dumps(row)):
        assert "here" not in text
        assert "there" not in text
    (row,) = json.loads(cli("hybrid", "conflicts", "1", "--documents", "--json").out)
    titles = [row[side]["title"] for side in ("base", "fallback", "primary", "kept")]
    assert titles == ["before", "here", "there", "there"]
    assert json.loads(cli("hybrid", "conflicts", "--documents").out) == row
    assert "no conflict 2" in cli("hybrid", "conflicts", "2", code=3).err
    assert "no conflict -1" in cli("hybrid", "conflicts", "--", "-1", code=3).err
    assert "--yes" in cli("hybrid", "undo", "1", "--keep", "fallback", code=2).err
    assert "--keep" in cli("hybrid", "undo", "1", code=2).err
    assert json.loads(pair.bucket("get", "todos", "a").out)["title"] == "there"
    declined = cli.on_terminal("hybrid", "undo", "1", "--keep", "fallback", answers=["n\n"])
    assert "nothing was done" in declined.out
    cli("hybrid", "undo", "1", "--keep", "fallback", "--yes")
    assert json.loads(pair.bucket("get", "todos", "a").out)["title"] == "here"
    assert "is undone" in cli("hybrid", "undo", "1", "--keep", "primary", "-y", code=2).err
    assert json.loads(cli("hybrid", "conflicts", "--json").out)[0]["state"] == "undone"


def test_what_was_changed_since_is_not_undone(pair: Bucket) -> None:
    """The exit code is that of a conflict, and a conflict in an outage can't be undone."""
    cli = pair.hybrid
    cli("put", "todos", '{"id": "a", "n": 1}')
    pair.cut()
    cli("put", "todos", '{"id": "a", "n": 2}')
    pair.mend()
    pair.bucket("put", "todos", '{"id": "a", "n": 3}')
    cli("hybrid", "replay")
    pair.cut()
    assert "reached" in cli("hybrid", "undo", "1", "--keep", "primary", "-y", code=7).err
    pair.mend()
    cli("put", "todos", '{"id": "a", "n": 4}')
    assert "was changed since" in cli("hybrid", "undo", "1", "--keep", "fallback", "-y", code=4).err


def test_both_sides_are_provisioned(moto: MotoS3, environment: pytest.MonkeyPatch) -> None:
    """What the services of the sides need is made, and said whose it is."""
    name = "made-for-a-hybrid"
    pair = Bucket(moto, name, environment)
    (row,) = json.loads(pair.hybrid("provision", "--dry-run", "--json").out)["provisions"]
    assert (row["what"], row["state"]) == (f"primary: bucket {name}", "missing")
    made = json.loads(pair.hybrid("provision", "--json").out)
    try:
        assert made["provisions"][0]["state"] == "made"
        assert all(check["ok"] for check in made["checks"])
    finally:
        moto.drop_bucket(name)


def test_a_user_sees_their_own_conflicts(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where settings confine a hybrid to a user, nobody else's are listed, shown or undone."""
    asyncio.run(_conflicts(tmp_path, "user-7/todos", "user-8/todos"))
    environment.setenv("STORAGE_PROVIDERS_USER_ID", "8")
    environment.setenv("STORAGE_PROVIDERS_KEY_PREFIX", "user-{userId}")
    environment.setenv("STORAGE_PROVIDERS_URL", _url(tmp_path))
    cli = Settings()
    (row,) = json.loads(cli("hybrid", "conflicts", "--json").out)
    assert (row["number"], row["collection"]) == (2, "todos")
    assert "no conflict 1" in cli("hybrid", "conflicts", "1", "--documents", code=3).err
    assert "no conflict 1" in cli("hybrid", "undo", "1", "--keep", "primary", "-y", code=3).err
    cli("hybrid", "undo", "2", "--keep", "fallback", "-y")


class Settings(Cli):
    """The command line on what the settings name."""

    def __init__(self) -> None:
        super().__init__("")

    def __call__(self, *args: str, stdin: str = "", code: int = 0) -> Any:
        from typer.testing import CliRunner

        from storage_providers.cli._app import app

        outcome = CliRunner().invoke(app, list(args), input=stdin)
        assert outcome.exit_code == code, outcome.output
        return type("Result", (), {"out": outcome.stdout, "err": outcome.stderr})


# --- local places ------------------------------------------------------------------------------


def _url(folder: Path) -> str:
    return url_of(
        f"sqlite:{folder / 'main.db'}", f"sqlite:{folder / 'copies.db'}", str(folder / "journal.db")
    )


def _hybrid(folder: Path, faults: Faults) -> HybridProvider:
    """The same as `_url`, with a network that can fail."""
    return HybridProvider(
        primary=compose(faults, provider=SQLiteProvider(folder / "main.db")),
        fallback=SQLiteProvider(folder / "copies.db"),
        journal=folder / "journal.db",
    )


async def _conflicts(folder: Path, *collections: str) -> None:
    faults = Faults()
    async with _hybrid(folder, faults) as hybrid:
        for collection in collections:
            await hybrid.put_item(collection, {"id": "a", "n": 1})
        faults.script.append(Fail(call=None))
        for collection in collections:
            await hybrid.put_item(collection, {"id": "a", "n": 2})
        faults.script.clear()
        async with SQLiteProvider(folder / "main.db") as elsewhere:
            for collection in collections:
                await elsewhere.put_item(collection, {"id": "a", "n": 3})
        await hybrid.replay()


async def _outage(folder: Path, writes: int) -> None:
    async with _hybrid(folder, Faults(Fail(call=None))) as hybrid:
        for start in range(0, writes, 500):
            await hybrid.write([Put("things", {"id": f"d{start + n}"}) for n in range(500)])


def _stop(child: subprocess.Popen[bytes], begun: Callable[[], bool]) -> tuple[int, bytes]:
    """Press Ctrl-C once the work has begun."""
    deadline = time.monotonic() + 60
    while not begun() and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, shown = child.communicate(timeout=60)
    return child.returncode, shown


def _rows(path: Path, sql: str) -> int:
    """A number out of a database that another process writes to."""
    try:
        with sqlite3.connect(path) as connection:
            return int(connection.execute(sql).fetchone()[0])
    except sqlite3.Error:
        return 0


@pytest.mark.usefixtures("environment")
def test_a_replay_is_stopped_and_taken_up(tmp_path: Path) -> None:
    """Ctrl-C ends it cleanly, and the next one brings over the rest, each document once."""
    asyncio.run(_outage(tmp_path, 6000))
    cli = Cli(_url(tmp_path))
    journal = tmp_path / "journal.db"
    child = cli.start("hybrid", "replay")
    code, shown = _stop(child, lambda: _rows(journal, "SELECT min(seq) FROM journal") - 1 > 0)
    assert (code, shown.strip()) == (130, b"storage-providers: interrupted")
    left = _rows(journal, "SELECT count(*) FROM journal")
    assert 0 < left < 6000
    assert json.loads(cli("hybrid", "replay", "--json").out)["replayed"] == left
    assert Cli(f"sqlite:{tmp_path / 'main.db'}")("count", "things").out == "6000\n"
    assert cli("hybrid", "conflicts", "--json").out == "[]\n"


@pytest.mark.usefixtures("environment")
def test_filling_is_stopped_and_taken_up(tmp_path: Path) -> None:
    """Ctrl-C leaves the fallback incomplete, and the next one completes it."""

    async def prepare() -> None:
        async with SQLiteProvider(tmp_path / "main.db") as primary:
            await primary.write([Put("things", {"id": f"d{number}"}) for number in range(20_000)])

    asyncio.run(prepare())
    cli = Cli(_url(tmp_path))
    copies = tmp_path / "copies.db"
    child = cli.start("hybrid", "fill")
    code, shown = _stop(child, lambda: _rows(copies, "SELECT count(*) FROM c_things") > 0)
    assert (code, shown.strip()) == (130, b"storage-providers: interrupted")
    assert not json.loads(cli("hybrid", "status", "--json").out)["complete"]
    assert json.loads(cli("hybrid", "fill", "--json").out)["documents"] == 20_000
    assert json.loads(cli("hybrid", "status", "--json").out)["complete"]
    assert Cli(f"sqlite:{copies}")("count", "things").out == "20000\n"


@pytest.mark.usefixtures("environment")
def test_what_somebody_else_keeps_at_the_fallback_is_not_removed(tmp_path: Path) -> None:
    """Unless that is asked for, and then only after asking again."""
    copies = Cli(f"sqlite:{tmp_path / 'copies.db'}")
    copies("put", "things", '{"id": "mine"}')
    Cli(f"sqlite:{tmp_path / 'main.db'}")("put", "things", '{"id": "theirs"}')
    cli = Cli(_url(tmp_path))
    refused = cli("hybrid", "fill", code=6)
    assert "holds documents already" in refused.err
    assert "holds documents already" in cli("ls", code=6).err
    assert "--yes" in cli("hybrid", "fill", "--adopt", code=2).err
    declined = cli.on_terminal("hybrid", "fill", "--adopt", answers=["n\n"])
    assert "nothing was done" in declined.out
    assert "mine" in copies("query", "things").out
    filled = json.loads(cli("hybrid", "fill", "--adopt", "--yes", "--json").out)
    assert (filled["documents"], filled["removed"]) == (1, 1)
    assert "theirs" in copies("query", "things").out
    assert "mine" not in copies("query", "things").out


@pytest.mark.usefixtures("environment")
def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A mistyped path of the primary or the journal is no empty one; other providers have none."""
    cli = Cli(_url(tmp_path))
    for command in (("status",), ("replay",), ("conflicts",), ("undo", "1", "--keep", "primary")):
        assert "no journal at" in cli("hybrid", *command, code=6).err
    assert "there is nothing at" in cli("hybrid", "fill", code=6).err
    assert "there is nothing at" in cli("ls", code=6).err
    assert list(tmp_path.glob("[!w]*")) == []
    for name in ("status", "fill", "replay", "conflicts"):
        assert "STORAGE_PROVIDERS_PROVIDER=hybrid" in Cli("memory:")("hybrid", name, code=2).err


@pytest.mark.usefixtures("environment")
def test_a_document_that_is_refused_is_told_of(tmp_path: Path) -> None:
    """The replay ends with a failure that says where the document is kept."""
    asyncio.run(_outage(tmp_path, 500))
    primary = Cli(f"sqlite:{tmp_path / 'main.db'}")
    primary("declare", "things", "--max-bytes", "10")
    result = Cli(_url(tmp_path))("hybrid", "replay", "--json", code=1)
    assert json.loads(result.out) == {"replayed": 500, "conflicts": 0, "refused": 500}
    assert "hybrid conflicts" in result.err
