"""The commands of `migrate`: everything moves, is interrupted, repeated and undone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli, Result
from tests.servers.emulator import Emulator
from tests.servers.moto import MotoS3

LEASE = ("--lease-seconds", "0.2")
QUESTION = b"Type its name to do it"


class Pair:
    """A folder that documents are in, a database that they go to, and commands on both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = f"file:{folder / 'data'}"
        self.target = f"sqlite:{folder / 'moved.db'}"
        self.cli = Cli("memory:")  # So that nothing but --from names the source.
        self.sides = ("--from", self.source, "--to", self.target)

    def __call__(self, step: str, *options: str, code: int = 0) -> Result:
        """Run a step."""
        return self.cli("migrate", step, *self.sides, *options, code=code)

    def run(self, *options: str, code: int = 0) -> Result:
        """Run it all, unasked and without a backup."""
        return self("run", "--yes", "--no-backup", *LEASE, *options, code=code)

    def status(self) -> dict[str, Any]:
        """Where it is."""
        return dict(json.loads(self("status", "--json").out))

    def start(self, step: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a step as a process."""
        return self.cli.start("migrate", step, *self.sides, *options)

    def at_source(self, *arguments: str, stdin: str = "") -> str:
        """A command on the source alone."""
        return Cli(self.source)(*arguments, stdin=stdin).out

    def at_target(self, *arguments: str, stdin: str = "") -> str:
        """A command on the target alone."""
        return Cli(self.target)(*arguments, stdin=stdin).out


@pytest.fixture
def pair(tmp_path: Path, environment: pytest.MonkeyPatch) -> Pair:  # noqa: ARG001
    """A source with 300 todos and three notes; nothing at the target yet."""
    pair = Pair(tmp_path)
    lines = (json.dumps({"id": f"{n:04}", "title": f"task {n}"}) + "\n" for n in range(300))
    pair.at_source("put", "todos", stdin="".join(lines))
    pair.at_source("put", "user-7/notes", stdin='{"id":"a"}\n{"id":"b"}\n{"id":"c"}\n')
    return pair


@pytest.fixture
def bucket(moto: MotoS3, environment: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a local server, and the settings that lead `r2://migrated` there."""
    environment.setenv("CLOUDFLARE_R2_ENDPOINT", moto.endpoint)
    environment.setenv("CLOUDFLARE_R2_ACCESS_KEY_ID", "key")
    environment.setenv("CLOUDFLARE_R2_SECRET_ACCESS_KEY", "secret")
    yield moto.make_bucket("migrated")
    moto.drop_bucket("migrated")


def contents(pair: Pair) -> list[dict[str, list[dict[str, Any]]]]:
    """Everything that either side holds."""
    return [
        {
            name: [json.loads(line) for line in ask("query", name, "--all").splitlines()]
            for name in ("todos", "user-7/notes")
        }
        for ask in (pair.at_source, pair.at_target)
    ]


# --- plan --------------------------------------------------------------------------------------


def test_plan(pair: Pair) -> None:
    """Counts, bytes, calls and cost, before anything is made."""
    shown = pair("plan")
    assert re.search(r"todos +300 +\d+ +0", shown.out)
    assert "303, about" in shown.out
    assert "0 calls, $0" in shown.out
    assert "nothing is moved yet" in shown.out
    found = json.loads(pair("plan", "--json").out)
    assert (found["documents"], found["usd"], found["canBegin"]) == (303, 0, True)
    assert [each["there"] for each in found["collections"]] == [0, 0]
    assert not (pair.folder / "moved.db").exists()
    assert pair("run", "--dry-run").out == shown.out
    assert not (pair.folder / "moved.db").exists()


@pytest.mark.usefixtures("bucket")
def test_a_plan_with_prices(pair: Pair) -> None:
    """A bucket's calls by what the service bills, in dollars, and where the prices are from."""
    sides = ("--from", pair.source, "--to", "r2://migrated/moved")
    shown = pair.cli("migrate", "plan", *sides).out
    assert re.search(r"target, r2 +\d+ calls; \d+ Class A operations", shown)
    assert "less than $0.01" in shown
    assert "prices" in shown
    found = json.loads(pair.cli("migrate", "plan", *sides, "--json").out)
    assert found["requests"] >= 303
    assert found["usd"] > 0


def test_a_target_that_cannot_compare_and_set(
    pair: Pair, cloudflare: Emulator, environment: pytest.MonkeyPatch
) -> None:
    """The plan says that no writes are taken meanwhile, and so does the question."""
    known = cloudflare.known
    environment.setenv("CLOUDFLARE_API_BASE_URL", known.api)
    environment.setenv("CLOUDFLARE_ACCOUNT_ID", known.account)
    environment.setenv("CLOUDFLARE_API_TOKEN", known.token)
    sides = ("--from", pair.source, "--to", f"kv://{known.namespaces[0]}/migrate-plan")
    planned = pair.cli("migrate", "plan", *sides, "--json")
    assert json.loads(planned.out)["live"] is False
    assert "no writes are taken" in pair.cli("migrate", "plan", *sides).err
    asked = pair.cli("migrate", "run", *sides, code=2)
    assert "UnsupportedOperationError for every write" in asked.err


def test_a_target_that_is_not_empty(pair: Pair) -> None:
    """It can't begin, and says what to do; it can when that is allowed."""
    pair.at_target("put", "todos", '{"id": "other"}')
    for step in (("plan",), ("run", "--yes"), ("run", "--dry-run")):
        refused = pair(*step, code=4)
        assert "it can't begin: the target holds 1 documents already, in todos" in refused.err
    assert json.loads(pair("plan", "--json", code=4).out)["canBegin"] is False
    assert pair.status()["phase"] == "source"
    pair("plan", "--allow-documents")
    refused = pair.run("--allow-documents", code=5)
    assert "differs: todos/other is extra" in refused.err
    pair("resume", "--repair", *LEASE)
    ours, theirs = contents(pair)
    assert ours == theirs


# --- run ---------------------------------------------------------------------------------------


def test_run(pair: Pair) -> None:
    """It asks, makes a backup, moves everything, and writes a report; again it changes nothing."""
    nobody = pair("run", code=2)
    assert "add --yes" in nobody.err
    assert "dual-write:?source=URL&target=URL with lease_seconds=10" in nobody.err
    assert pair.status()["phase"] == "source"
    report = pair.folder / "report.json"
    done = pair("run", "--yes", *LEASE, "--report", str(report))
    assert "303 documents compared: both sides are alike" in done.err
    assert "migrate clean-up --from" in done.err
    (backup,) = Path().glob("before-migration-*.zip")
    assert "303 documents" in pair.cli("verify", str(backup)).err
    found = json.loads(report.read_text())
    assert [step["step"] for step in found["steps"]] == [
        *("backup", "dual-write", "backfill", "verify", "cut-over"),
    ]
    assert found["status"]["phase"] == "target"
    ours, theirs = contents(pair)
    assert ours == theirs
    again = pair("run", "--yes", *LEASE)
    assert "nothing left to do" in again.err
    assert len(list(Path().glob("before-migration-*.zip"))) == 1
    assert pair.status() == found["status"]


def test_run_as_json(pair: Pair) -> None:
    """For programs: stdout holds the report alone."""
    found = json.loads(pair.run("--json", "--no-cut-over").out)
    assert found["status"]["phase"] == "dual"
    assert found["status"]["following"] == "cut-over"


def test_a_backup_of_a_name(pair: Pair) -> None:
    """Made where it is asked for, and never over another file."""
    file = pair.folder / "safe.zip"
    pair("run", "--yes", *LEASE, "--backup", str(file), "--no-cut-over")
    assert "303 documents" in pair.cli("verify", str(file)).err
    assert "exists" in pair("run", "--yes", "--backup", str(file), code=2).err
    assert pair.status()["backup"] == str(file)


def test_on_a_terminal(pair: Pair) -> None:
    """It asks, and shows a bar for each step with its count."""
    arguments = ("migrate", "run", *pair.sides, *LEASE, "--no-backup")
    question = b"kB? [y/N]"
    refused = pair.cli.on_terminal(*arguments, answers=["n\n"], question=question)
    assert "nothing was done" in refused.out
    assert pair.status()["phase"] == "source"
    shown = pair.cli.on_terminal(*arguments, answers=["y\n"], question=question, width=140)
    assert shown.code == 0, shown.out
    for step in ("dual-write", "backfill", "verify", "cut-over"):
        assert re.search(rf"✓.*{step}", shown.out), step
    assert "303 of 303" in shown.out


@pytest.mark.usefixtures("bucket")
def test_what_the_target_does_not_take(pair: Pair) -> None:
    """Documents are named with the reason, and nothing is cut over."""
    pair.at_source("put", "todos", json.dumps({"id": "x" * 250}))
    sides = ("--from", pair.source, "--to", "r2://migrated/moved")
    assert "ids of up to 200 bytes" in pair.cli("migrate", "plan", *sides).err
    options = ("--yes", "--no-backup", *LEASE, "--json")
    refused = pair.cli("migrate", "run", *sides, *options, code=5)
    assert f"not copied: todos/{'x' * 250}: " in refused.err
    assert f"differs: todos/{'x' * 250} is missing" in refused.err
    assert refused.out == ""
    repair = ("--repair", *LEASE)
    refused = pair.cli("migrate", "verify", *sides, *repair, code=4)
    assert f"todos/{'x' * 50}" in refused.out
    assert "repaired" not in refused.err
    assert json.loads(pair.cli("migrate", "status", *sides, "--json").out)["phase"] == "dual"


# --- interrupted -------------------------------------------------------------------------------


def wait_for(child: subprocess.Popen[bytes], words: bytes) -> bytes:
    """Read stderr of a child up to some words."""
    assert child.stderr is not None
    shown = b""
    while words not in shown:
        chunk = os.read(child.stderr.fileno(), 4096)
        assert chunk, shown
        shown += chunk
    return shown


def test_ctrl_c_and_resume(pair: Pair) -> None:
    """It stops with 130 and a report, says how to go on, and goes on where it was."""
    report = pair.folder / "report.json"
    child = pair.start(
        "run", "--yes", "--no-backup", *LEASE, "--rate", "10", "--report", str(report)
    )
    wait_for(child, b"backfill of 303")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert b"go on with: storage-providers migrate resume" in err
    found = json.loads(report.read_text())
    assert found["steps"][-1]["error"] == "CancelledError"
    status = pair.status()
    assert (status["phase"], status["running"]) == ("dual", False)
    pair("resume", *LEASE)
    ours, theirs = contents(pair)
    assert ours == theirs
    assert pair.status()["phase"] == "target"
    assert "nothing left to do" in pair("resume", *LEASE).err


def test_ctrl_c_twice(pair: Pair) -> None:
    """An impatient user loses nothing either."""
    child = pair.start("run", "--yes", "--no-backup", *LEASE, "--rate", "10")
    wait_for(child, b"backfill of 303")
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode == 130
    assert pair.status()["phase"] == "dual"
    pair("resume", *LEASE)
    ours, theirs = contents(pair)
    assert ours == theirs


def test_killed_and_resumed(pair: Pair) -> None:
    """After SIGKILL the next one waits some leases, then goes on."""
    child = pair.start("run", "--yes", "--no-backup", *LEASE, "--rate", "10")
    wait_for(child, b"backfill of 303")
    child.kill()
    child.communicate(timeout=60)
    assert pair.status()["running"] is True
    assert "told within 0.6 seconds" in pair("resume", *LEASE).err
    ours, theirs = contents(pair)
    assert ours == theirs


def test_two_at_once(pair: Pair) -> None:
    """The second one is told that another is at it."""
    child = pair.start("run", "--yes", "--no-backup", *LEASE, "--rate", "100")
    wait_for(child, b"backfill of 303")
    refused = pair("resume", *LEASE, code=4)
    assert "another process is at this migration" in refused.err
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert pair.status()["phase"] == "target"


def test_nothing_to_resume(pair: Pair) -> None:
    """Where none began, the command line that begins one is named."""
    pair.at_target("put", "x", '{"id": "a"}')
    pair.at_target("rm", "x", "a", "--yes")
    refused = pair("resume", code=4)
    assert "no migration is under way" in refused.err
    assert f"begin one: storage-providers migrate run --from {pair.source} --to" in refused.err


WRITER = """
import asyncio, json, sys
from storage_providers import open_provider

async def main():
    async with open_provider(sys.argv[1]) as provider:
        for number in range(10_000):
            await provider.put_item("todos", {"id": f"live-{number:05}", "n": number})
            if number % 3 == 2:
                await provider.delete_item("todos", f"live-{number - 1:05}")
            print(number, flush=True)
            await asyncio.sleep(0.005)

asyncio.run(main())
"""


def test_while_a_program_writes(pair: Pair) -> None:
    """A program that has the URL of both sides loses no write, however it ends."""
    url = f"dual-write:?source={pair.source}&target={pair.target}&lease_seconds=0.5"
    command = [sys.executable, "-c", WRITER, url]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    try:
        writer.stdout.readline()
        pair("run", "--yes", "--no-backup", "--lease-seconds", "0.5")
        assert pair.status()["phase"] == "target"
        time.sleep(0.2)
    finally:
        writer.send_signal(signal.SIGINT)
        out, err = writer.communicate(timeout=60)
    assert b"KeyboardInterrupt" in err
    last = int(out.splitlines()[-1])
    assert "alike" in pair("verify", "--lease-seconds", "0.5").err
    ours, theirs = contents(pair)
    assert ours == theirs
    there = {each["n"] for each in theirs["todos"] if "n" in each}
    wanted = {number for number in range(last) if number % 3 != 1}
    assert wanted <= there


# --- one step each -----------------------------------------------------------------------------


def test_verify_and_repair(pair: Pair) -> None:
    """Differences are listed, counted, and repaired on request."""
    pair.run("--no-cut-over")
    pair.at_target("put", "todos", '{"id": "0001", "title": "else"}')
    pair.at_target("put", "todos", '{"id": "extra"}')
    pair.at_target("rm", "todos", "0002", "--yes")
    found = pair("verify", *LEASE, code=4)
    assert "3 of 303 documents differ" in found.err
    listed = json.loads(pair("verify", "--json", *LEASE, code=4).out)
    assert listed["differenceCount"] == 3
    assert {(each["id"], each["kind"]) for each in listed["differences"]} == {
        ("0001", "different"),
        ("0002", "missing"),
        ("extra", "extra"),
    }
    assert "verify first" in pair("cut-over", "--yes", *LEASE, code=4).err
    repaired = pair("verify", "--repair", *LEASE)
    assert "3 documents were repaired" in repaired.err
    assert "alike" in pair("verify", *LEASE).err
    pair("cut-over", "--yes", *LEASE)
    assert pair.status()["leader"] == "target"


def test_back_and_forth(pair: Pair) -> None:
    """Each step asks; roll-back leads back to the beginning, and to a new run."""
    pair.run("--no-cut-over")
    assert "add --yes" in pair("cut-over", *LEASE, code=2).err
    pair("cut-over", "--yes", *LEASE)
    assert "already" in pair("cut-over", "--yes", *LEASE).err
    assert "add --yes" in pair("roll-back", *LEASE, code=2).err
    assert "the source is read" in pair("roll-back", "--yes", *LEASE).out
    assert "nothing is moved" in pair("roll-back", "--yes", *LEASE).out
    assert "nothing to go back to" in pair("roll-back", "--yes", *LEASE, code=4).err
    pair.at_source("put", "todos", '{"id": "later"}')
    pair.run("--allow-documents")
    ours, theirs = contents(pair)
    assert ours == theirs
    assert pair.status()["phase"] == "target"


def test_clean_up(pair: Pair) -> None:
    """Only once the target is read and alike, and after its name was typed."""
    pair.run("--no-cut-over")
    name = ("--name", pair.source)
    assert "needs --name" in pair("clean-up", "--yes", code=2).err
    refused = pair("clean-up", "--yes", "--name", "file:./other", *LEASE, code=2)
    assert "nothing was done" in refused.err
    assert "the source is still read" in pair("clean-up", "--yes", *name, *LEASE, code=4).err
    pair("cut-over", "--yes", *LEASE)
    pair.at_source("put", "todos", '{"id": "past-it"}')
    refused = pair("clean-up", "--yes", *name, *LEASE, code=4)
    assert "todos/past-it" in refused.out
    assert pair.at_source("count", "todos") == "301\n"
    pair("verify", "--repair", *LEASE)
    arguments = ("migrate", "clean-up", *pair.sides, *LEASE)
    refused = pair.cli.on_terminal(*arguments, answers=["data\n"], question=QUESTION)
    assert (refused.code, pair.at_source("count", "todos")) == (1, "300\n")
    shown = pair.cli.on_terminal(*arguments, answers=[pair.source + "\n"], question=QUESTION)
    assert shown.code == 0, shown.out
    assert "303 documents" in " ".join(shown.out.split())
    assert pair.at_source("ls", "--format", "jsonl") == ""
    assert pair.at_target("count", "todos") == "300\n"
    assert pair.status()["phase"] == "done"
    assert "0 documents" in pair("clean-up", "--yes", *name, *LEASE).err
    assert "done" in pair("plan", code=4).err
    assert "nothing left" in pair("run", "--yes", *LEASE).err
    assert "nothing to go back to" in pair("roll-back", "--yes", *LEASE, code=4).err


# --- how the sides are named -------------------------------------------------------------------


def test_both_sides_by_one_url(pair: Pair) -> None:
    """What programs open names both sides, with the lease, for every step and for `doctor`."""
    both = Cli(f"dual-write:?source={pair.source}&target={pair.target}&lease_seconds=0.2")
    both("migrate", "run", "--yes", "--no-backup")
    assert json.loads(both("migrate", "status", "--json").out)["phase"] == "target"
    assert "leave out --to" in both("migrate", "status", "--to", "memory:", code=2).err
    report = json.loads(both("doctor", "--json").out)
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["migration"]["detail"] == "phase target, the target is read"
    assert all(check["ok"] for check in checks.values())
    both("put", "todos", '{"id": "through-both"}')
    ours, theirs = contents(pair)
    assert ours == theirs


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--from", "{source}"], 2, "--to URL"),
        (["--from", "{source}", "--to", "{source}"], 2, "same place"),
        (["--from", "{source}", "--to", "{source}?enable_backup=true"], 2, "same place"),
        (["--from", "file:./none", "--to", "{target}"], 6, "there is nothing at"),
        (["--from", "{source}", "--to", "nope:x"], 6, "scheme"),
    ],
)
def test_sides_refused(pair: Pair, arguments: list[str], code: int, words: str) -> None:
    """One line says what is wrong, and nothing is made."""
    named = [each.format(source=pair.source, target=pair.target) for each in arguments]
    assert words in pair.cli("migrate", "run", "--yes", *named, code=code).err
    assert not (pair.folder / "moved.db").exists()


def test_settings_of_one_user(pair: Pair, environment: pytest.MonkeyPatch) -> None:
    """Settings that confine to a user name no place that can move."""
    environment.setenv("STORAGE_PROVIDERS_URL", pair.source)
    environment.setenv("STORAGE_PROVIDERS_USER_ID", "7")
    environment.setenv("STORAGE_PROVIDERS_KEY_PREFIX", "user-{userId}")
    command = [sys.executable, "-m", "storage_providers", "migrate", "plan", "--to", pair.target]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 2, child.stderr
    assert "one user" in child.stderr


def test_a_source_of_the_settings(pair: Pair, environment: pytest.MonkeyPatch) -> None:
    """Without --from it is what --url or the settings name."""
    environment.setenv("STORAGE_PROVIDERS_URL", pair.source)
    command = [sys.executable, "-m", "storage_providers", "migrate"]
    sides = ["--to", pair.target, "--json"]
    child = subprocess.run([*command, "plan", *sides], capture_output=True, check=True)
    assert json.loads(child.stdout)["documents"] == 303
    assert json.loads(Cli(pair.source)("migrate", "plan", *sides).out)["documents"] == 303
