"""The demo: the main job from end to end, and a second run that changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(folder: Path) -> subprocess.Popen[str]:
    """Start a run."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "demo.py"), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "300"},
    )


def end(child: subprocess.Popen[str]) -> str:
    """What a run prints."""
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert err == ""
    return out


def run(folder: Path) -> str:
    """What one run prints."""
    return end(start(folder))


def documents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every document's bytes, and when its file was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*.json")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def test_the_demo_twice(tmp_path: Path) -> None:
    """It imports, shows, edits, exports and verifies; the second run finds all of it done."""
    folder = tmp_path / "demo"
    first = run(folder)
    assert "Show the demo to someone" in first
    assert "all checksums are right" in first
    assert "Nothing was changed" not in first
    before = documents(folder / "data")
    assert len(before) > 500
    second = run(folder)
    assert "Nothing was changed" in second
    assert "left as it is" in second
    assert documents(folder / "data") == before
    edited = [
        name
        for name, (body, _) in before.items()
        if name.startswith("todos/") and json.loads(body)["content"] == "Show the demo to someone"
    ]
    assert len(edited) == 1


def test_two_demos_at_once(tmp_path: Path) -> None:
    """Two runs in one folder get in nobody's way: both end well, each document is there once."""
    children = [start(tmp_path / "demo") for _ in range(2)]
    for child in children:
        assert "all checksums are right" in end(child)
    todos = [
        json.loads(body)
        for name, (body, _) in documents(tmp_path / "demo" / "data").items()
        if name.startswith("todos/")
    ]
    assert len(todos) == len({todo["id"] for todo in todos}) > 200


def test_the_commands_it_names(tmp_path: Path) -> None:
    """What the demo says to try works."""
    folder = tmp_path / "demo"
    shown = run(folder)
    lines = [line.strip() for line in shown.splitlines()]
    program = next(line for line in lines if line.startswith("alias sp="))[9:].strip("'")
    commands = [line[3:] for line in lines if line.startswith("sp ")]
    assert len(commands) == 5
    for command in commands:
        if not command.startswith("edit"):
            done = subprocess.run(
                f"{program} {command}", shell=True, capture_output=True, timeout=60, check=False
            )
            assert done.returncode == 0, f"{command}: {done.stderr!r}"
            assert done.stdout
