"""As a process: pipes, signals, terminals, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

# What happens outside the provider needs trying once; every child takes its time to start.
ONE_PROVIDER = pytest.mark.parametrize("cli", ["sqlite"], indirect=True)


@pytest.fixture
def many(cli: Cli) -> Cli:
    """A storage with 2,000 documents of 100 bytes each."""
    lines = (json.dumps({"id": f"{number:05}", "t": "x" * 100}) + "\n" for number in range(2000))
    cli("put", "many", stdin="".join(lines))
    return cli


def test_a_reader_that_goes_away(many: Cli) -> None:
    """`| head` ends the command quietly, with the code that `cat` has there."""
    child = many.start("query", "many", "--all")
    assert child.stdout is not None
    assert child.stderr is not None
    assert json.loads(child.stdout.readline())["id"] == "00000"
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait(60) == 141
    child.stderr.close()
    assert child.stdin is not None
    child.stdin.close()


def test_ctrl_c(cli: Cli) -> None:
    """While it waits for more input, Ctrl-C ends it with 130; what was stored stays stored."""
    child = cli.start("put", "many")
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"".join(b'{"id":"%d"}\n' % number for number in range(500)))
    child.stdin.flush()
    assert child.stdout.readline() == b"0\n"
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    assert child.stderr.read() == b"storage-providers: interrupted\n"
    assert child.wait(60) == 130
    for stream in (child.stdin, child.stdout, child.stderr):
        stream.close()
    assert cli("count", "many").out == "500\n"


def test_a_pipeline(many: Cli) -> None:
    """One command's lines are another one's documents, none lost and nothing else between."""
    source = many.start("query", "many", "--all")
    assert source.stdout is not None
    target = subprocess.run(
        many.command("put", "copies"), stdin=source.stdout, capture_output=True, check=True
    )
    source.communicate()
    assert target.stdout.count(b"\n") == 2000
    assert many("count", "copies").out == "2000\n"


@ONE_PROVIDER
def test_on_a_terminal_there_is_a_table(cli: Cli) -> None:
    """A terminal gets a table that fits it, and no escape sequence out of a document."""
    cli(
        "put",
        "todos",
        '{"id": "a\\u001b[2J", "text": "\\u001b]0;title\\u0007\\u009b1m long ' + "x" * 200 + '"}',
    )
    shown = cli.on_terminal("ls", "todos", width=60).out
    assert "\x1b[2J" not in shown
    assert "\x1b]0" not in shown
    assert "\x9b" not in shown
    assert "a\\x1b[2J" in shown
    assert "…" in shown
    for output_format in ("json", "jsonl", "csv"):
        shown = cli.on_terminal("query", "todos", "--format", output_format).out
        assert not {"\x1b", "\x9b", "\x07"} & set(shown), output_format
    shown = cli.on_terminal("get", "todos", "a\x1b[2J").out
    assert not {"\x1b", "\x9b", "\x07"} & set(shown)


@ONE_PROVIDER
def test_a_question_on_a_terminal(cli: Cli) -> None:
    """`rm` asks; no and the return key remove nothing, yes does, Ctrl-C ends it."""
    cli("put", "todos", '{"id": "a"}')
    for answer, code, left in (
        ("\n", 1, "1"),
        ("n\n", 1, "1"),
        ("\x03", 130, "1"),
        ("y\n", 0, "0"),
    ):
        result = cli.on_terminal("rm", "todos", "a", answers=[answer])
        assert "Remove todos/a?" in result.out
        assert result.code == code, result.out
        assert cli("count", "todos").out == f"{left}\n"


@ONE_PROVIDER
def test_colours_only_where_they_are_wanted(cli: Cli) -> None:
    """Nothing but text goes into a pipe."""
    cli("put", "todos", '{"id": "a"}')
    child = subprocess.run(
        cli.command("ls", "--format", "table"), capture_output=True, text=True, check=True
    )
    assert "\x1b" not in child.stdout + child.stderr


@ONE_PROVIDER
def test_debug_shows_the_traceback(cli: Cli) -> None:
    """`--debug` before or after the command, or the variable: where it happened, then the line."""
    cli("put", "todos", '{"id": "a"}')
    for arguments, environment in (
        (["--debug", "get", "Todos", "a"], {}),
        (["get", "Todos", "a", "--debug"], {}),
        (["get", "Todos", "a"], {"STORAGE_PROVIDERS_DEBUG": "1"}),
    ):
        child = cli.start(*arguments, **environment)
        err = child.communicate(timeout=60)[1].decode()
        assert "Traceback" in err
        assert err.splitlines()[-1].startswith("storage-providers: ")
        assert child.returncode == 2


@ONE_PROVIDER
def test_the_url_can_follow_the_command(cli: Cli, tmp_path: Path) -> None:
    """`--url` behind the command counts more than the one before it; so does it than settings."""
    cli("put", "todos", '{"id": "a"}')
    elsewhere = f"sqlite:{tmp_path / 'elsewhere.db'}"
    cli("put", "todos", '{"id": "a"}', "--url", elsewhere)
    cli("put", "todos", '{"id": "b"}', "--url", elsewhere)
    assert cli("count", "todos", "--url", elsewhere).out == "2\n"
    environment = {**os.environ, "STORAGE_PROVIDERS_URL": cli.url}
    command = [sys.executable, "-m", "storage_providers", "count", "todos"]
    child = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert child.stdout == b"1\n"


def test_without_its_packages_it_says_what_to_install() -> None:
    """Without typer or rich, one line names the extra."""
    for missing in ("typer", "rich"):
        code = f"import sys; sys.modules[{missing!r}] = None\n"
        code += "from storage_providers.cli import main; main()"
        child = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert child.returncode == 1
        assert child.stderr == (
            f"storage-providers: the command line needs {missing}: "
            "pip install 'storage-providers[cli]'\n"
        )


def test_starting_is_quick() -> None:
    """`--version` pulls in no provider, no settings and no progress bars' rich."""
    code = (
        "import sys\nsys.argv = ['storage-providers', '--version']\n"
        "import storage_providers.cli\n"
        "try: storage_providers.cli.main()\n"
        "except SystemExit: pass\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.startswith("storage-providers ")
    loaded = set(child.stderr.split())
    assert not loaded & {
        "sqlite3",
        "pydantic_settings",
        "storage_providers.providers.sqlite",
        "storage_providers.providers.local_file",
        "storage_providers.transfer.archive",
    }
