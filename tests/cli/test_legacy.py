"""`migrate legacy`: another program's data into any provider."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from examples.valet_data import make_valet_data
from storage_providers.cli import _legacy
from storage_providers.transfer.legacy import LEGACY_KINDS
from tests.cli.conftest import Cli
from tests.cli.test_help import help_of
from tests.transfer.test_mastra_versions import restored

ONE_PROVIDER = pytest.mark.parametrize("cli", ["sqlite"], indirect=True)


@pytest.fixture
def valet(tmp_path: Path) -> Path:
    """A legacy folder, broken files included, of more than one batch."""
    folder = tmp_path / "valet-data"
    make_valet_data(folder, todos=700, days=6)
    return folder


def test_a_folder_becomes_documents(cli: Cli, valet: Path) -> None:
    """Dry run, import, and again: nothing is made, everything is, nothing is changed."""
    dry = json.loads(cli("migrate", "legacy", str(valet), "--dry-run", "--json", code=5).out)
    assert "there is nothing at" in cli("ls", code=6).err
    first = json.loads(cli("migrate", "legacy", str(valet), "--json", code=5).out)
    assert first["created"] == dry["created"]
    assert int(cli("count", "todos").out) == first["created"]["todos"] >= 700
    again = cli("migrate", "legacy", str(valet), "--from", "valet", code=5)
    assert "nothing was changed" in again.err
    assert json.loads(cli("declare", "todos").out)["indexes"]
    assert (valet / "_global_todo.json").exists()


@ONE_PROVIDER
def test_where_to(cli: Cli, valet: Path, tmp_path: Path) -> None:
    """`--to` names the place; with another `--url` it is not clear which is meant."""
    other = f"sqlite:{tmp_path / 'other.db'}"
    refused = cli("migrate", "legacy", str(valet), "--to", other, code=2)
    assert "use one of them" in refused.err
    bare = Cli(other)
    bare("migrate", "legacy", str(valet), "--to", other, code=5)
    assert int(bare("count", "todos").out) >= 700


@ONE_PROVIDER
def test_what_is_not_recognised(cli: Cli, tmp_path: Path) -> None:
    """A folder of other things is refused with what was looked for, by both commands."""
    (tmp_path / "photos").mkdir()
    for command in (["import"], ["migrate", "legacy"]):
        refused = cli(*command, str(tmp_path / "photos"), code=2)
        assert "_global_todo.json" in refused.err
        assert "--from" in refused.err
        assert (
            "no kind of legacy data"
            in cli(*command, str(tmp_path / "photos"), "--from", "velvet", code=2).err
        )
        assert "No such file" in cli(*command, str(tmp_path / "absent"), code=3).err


@ONE_PROVIDER
def test_help_names_every_kind(cli: Cli) -> None:  # noqa: ARG001
    """The option of both commands says which kinds there are."""
    for command in (["import"], ["migrate", "legacy"]):
        for kind in LEGACY_KINDS:
            assert kind.name in help_of(*command).partition("--from")[2]


def test_ctrl_c_and_again(cli: Cli, valet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after the first batch it ends with 130; the next run brings in the rest."""

    @contextmanager
    def stopping(*_: Any, **__: Any) -> Generator[Callable[[int], None]]:
        yield lambda done: os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(_legacy, "progress_bar", stopping)
        assert "interrupted" in cli("migrate", "legacy", str(valet), code=130).err
    report = json.loads(cli("migrate", "legacy", str(valet), "--json", code=5).out)
    assert sum(report["unchanged"].values()) >= 500
    assert sum(report["created"].values()) > 0
    again = json.loads(cli("migrate", "legacy", str(valet), "--json", code=5).out)
    assert again["created"] == again["updated"] == {}


@ONE_PROVIDER
def test_on_a_terminal(cli: Cli, valet: Path) -> None:
    """A terminal gets the table, after a first look that tells how much there is."""
    result = cli.on_terminal("migrate", "legacy", str(valet))
    assert result.code == 5
    assert "todos" in result.out


def test_what_mastra_stored(cli: Cli, tmp_path: Path) -> None:
    """Its file becomes a store that the other commands show; again: nothing is changed."""
    path = str(restored("libsql-1.23.1", tmp_path))
    dry = json.loads(cli("migrate", "legacy", path, "--dry-run", "--json").out)
    first = json.loads(cli("migrate", "legacy", path, "--json").out)
    assert first["created"] == dry["created"]
    assert first["created"]["agent_messages"] == 2
    again = cli("migrate", "legacy", path, "--from", "mastra")
    assert "nothing was changed" in again.err
    assert '{"a": 1}\n' in cli("threads", "show", "t").out
    (thread,) = json.loads(cli("threads", "list", "--format", "json").out)
    assert thread["resourceId"] == "u"
    assert "suspended" in cli("runs", "list").out
    assert "└─ run  running" in cli("traces", "show", "tr").out
