"""The command line, in this process, in a child, and in a child on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storage_providers.cli._app import app


class Result:
    """What a command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


class Cli:
    """Runs commands against one storage."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *args: str, stdin: str = "", code: int = 0) -> Result:
        """Run a command in this process and hold it to an exit code."""
        outcome = CliRunner().invoke(app, ["--url", self.url, *args], input=stdin)
        result = Result(outcome.exit_code, outcome.stdout, outcome.stderr)
        assert result.code == code, f"{args}: {result.out}\n{result.err}\n{outcome.exception!r}"
        assert "Traceback" not in result.err
        return result

    def command(self, *args: str) -> list[str]:
        """The command line for a child."""
        return [sys.executable, "-m", "storage_providers", "--url", self.url, *args]

    def start(self, *args: str, **options: str) -> subprocess.Popen[bytes]:
        """Start a child with its streams as pipes; `options` go to its environment."""
        return subprocess.Popen(
            self.command(*args),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **options},
        )

    def on_terminal(
        self,
        *args: str,
        answers: Sequence[str] = (),
        width: int = 100,
        question: bytes = b"[y/N]",
    ) -> Result:
        """Run a child on a terminal of its own; `out` holds everything that was shown.

        Each time `question` was shown, the next of the answers is typed.
        """
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        environment.pop("COLUMNS", None)
        child = subprocess.Popen(
            self.command(*args),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 # so that Ctrl-C reaches it
        )
        os.close(terminal)
        shown = _converse(controller, answers, question)
        os.close(controller)
        return Result(child.wait(60), shown.decode(), "")


def _converse(controller: int, answers: Sequence[str], question: bytes) -> bytes:
    """Read everything until the child is gone, and answer its questions."""
    shown, left, last = b"", list(answers), ""
    while True:
        if left and shown.count(question) > len(answers) - len(left):
            last = left.pop(0)
            os.write(controller, last.encode())
        try:
            ready = select.select([controller], [], [], 30)[0]
            if not ready and last == "\x03":
                # The line editor misses one that comes just before it waits; people press again.
                os.write(controller, last.encode())
                ready = select.select([controller], [], [], 30)[0]
            assert ready, f"nothing more was shown in a minute after {shown!r}"
            chunk = os.read(controller, 65536)
        except OSError:  # Linux says so when the last process has closed the terminal
            return shown
        if not chunk:
            return shown
        shown += chunk


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An empty folder to run in, and no settings from outside."""
    for name in list(os.environ):
        if name.startswith(("STORAGE_PROVIDERS_", "CLOUDFLARE_", "MCP_MEMORY_")):
            monkeypatch.delenv(name)
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return monkeypatch


@pytest.fixture(params=["sqlite", "file"])
def cli(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    environment: pytest.MonkeyPatch,  # noqa: ARG001 # it leaves nothing set
) -> Cli:
    """The command line on an empty storage, with no settings but its own."""
    target = tmp_path / ("data.db" if request.param == "sqlite" else "data")
    return Cli(f"{request.param}:{target}")
