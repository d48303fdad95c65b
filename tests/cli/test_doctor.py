"""What `doctor` tries and finds, and that it leaves nothing behind."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storage_providers.cli._app import app
from tests.cli.conftest import Cli


def place(cli: Cli) -> Path:
    """The folder or database of a storage."""
    return Path(cli.url.partition(":")[2].partition("?")[0])


def contents(cli: Cli) -> list[str]:
    """What there is in a storage: folders and files, or tables and indexes."""
    path = place(cli)
    if path.is_dir():
        return sorted(
            str(each.relative_to(path)) for each in path.rglob("*") if "index" not in each.parts
        )
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name FROM sqlite_schema ORDER BY name").fetchall()
    connection.close()
    return [name for (name,) in rows]


def checks_of(cli: Cli, *arguments: str, code: int = 0) -> list[dict[str, object]]:
    """The checks that `doctor` reports."""
    checks: list[dict[str, object]] = json.loads(
        cli("doctor", "--json", *arguments, code=code).out
    )["checks"]
    return checks


def test_doctor(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings with their source and masked secrets, trials, capabilities."""
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "very-secret-token")
    cli("put", "todos", '{"id": "a"}')
    report = json.loads(cli("doctor", "--json").out)
    assert [check["name"] for check in report["checks"]] == ["connect", "list", "write"]
    assert all(check["ok"] for check in report["checks"])
    assert report["capabilities"]["conditional_write"] is True
    settings = {setting["name"]: setting for setting in report["settings"]["settings"]}
    assert settings["url"]["origin"] == "argument"
    text = cli("doctor").out
    assert "very-secret-token" not in text + json.dumps(report)
    assert "CLOUDFLARE" not in text
    assert "api_token" in text
    assert "write" not in [check["name"] for check in checks_of(cli, "--no-write")]


@pytest.mark.parametrize("options", ["", "?enable_backup=true"])
def test_doctor_leaves_nothing_behind(cli: Cli, options: str) -> None:
    """No folder, no backup, no table: everything is as it was."""
    if cli.url.startswith("file:"):
        cli.url += options
    cli("put", "todos", '{"id": "a"}')
    before = contents(cli)
    assert "ok      write: a document was written, read and removed" in cli("doctor").out
    assert contents(cli) == before


def test_doctor_leaves_nothing_behind_in_a_scope(cli: Cli, environment: pytest.MonkeyPatch) -> None:
    """A user's part of the storage is left as it was, too."""
    environment.setenv("STORAGE_PROVIDERS_KEY_PREFIX", "user-{userId}")
    environment.setenv("STORAGE_PROVIDERS_USER_ID", "7")
    environment.setenv("STORAGE_PROVIDERS_URL", cli.url)
    result = CliRunner().invoke(app, ["put", "todos", '{"id": "a"}'])
    assert result.exit_code == 0, result.stderr
    before = contents(cli)
    assert cli.url.startswith("sqlite:") or "user-7/todos" in before
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0
    assert contents(cli) == before


def test_doctor_leaves_what_is_not_its_own(cli: Cli) -> None:
    """A collection of its name that holds a document is kept, with the document."""
    cli("put", ".doctor", '{"id": "mine"}')
    before = contents(cli)
    cli("doctor")
    assert contents(cli) == before
    assert json.loads(cli("get", ".doctor", "mine").out)["id"] == "mine"


def test_doctor_of_nothing_makes_nothing(cli: Cli, tmp_path: Path) -> None:
    """A place that is not there yet is no error, but a mistyped path should be seen."""
    before = set(tmp_path.rglob("*"))
    (check,) = checks_of(cli)
    assert check["ok"]
    assert str(place(cli)) in str(check["detail"])
    assert "check the path" in str(check["advice"])
    assert cli("doctor").out.count("warn    place") == 1
    assert set(tmp_path.rglob("*")) == before


def test_doctor_of_a_place_that_cannot_be_made(cli: Cli, tmp_path: Path) -> None:
    """A database needs its folder; a folder is made with all those above it."""
    cli.url = cli.url.replace(tmp_path.name, f"{tmp_path.name}/deep/er")
    code = 1 if cli.url.startswith("sqlite:") else 0
    (check,) = checks_of(cli, code=code)
    assert check["ok"] is (code == 0)
    assert ("make its folder" in str(check["advice"])) is (code == 1)


def test_doctor_of_what_is_wrong(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A malformed setting and an unknown scheme are failed checks with the code for settings."""
    monkeypatch.setenv("CLOUDFLARE_MAX_RETRIES", "many")
    cli("doctor", "--no-write", code=6)
    cli.url = "nowhere:x"
    report = json.loads(cli("doctor", "--json", code=6).out)
    assert [check["ok"] for check in report["checks"]] == [False, False]
    assert "file:./valet-data" in cli("ls", code=6).err


def test_doctor_of_what_may_not_be_written(cli: Cli) -> None:
    """Something else where the storage should be is a failed check and one line elsewhere."""
    Path(cli.url.partition(":")[2]).write_text("neither a folder nor a database")
    code = 6 if cli.url.startswith("sqlite:") else 1
    assert cli("doctor", code=code).out.count("FAILED") == 1
    assert len(cli("ls", code=code).err.splitlines()) == 1
