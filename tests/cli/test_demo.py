"""The demo: the main job from end to end, and a second run that changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
DAYS = "40"
"""A third of what the demo is about when nobody says."""


class Demo(NamedTuple):
    """A folder that two demos were run in at the same time, and what they printed."""

    folder: Path
    printed: tuple[str, str]


def start(folder: Path) -> subprocess.Popen[str]:
    """Start a run."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "demo.py"), str(folder), DAYS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "300"},
    )


def end(child: subprocess.Popen[str]) -> str:
    """What a run prints."""
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    assert err == ""
    return out


def documents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every document's bytes, and when its file was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*.json")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Two runs in one new folder, begun at once."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    children = start(folder), start(folder)
    return Demo(folder, (end(children[0]), end(children[1])))


def test_two_demos_at_once(demo: Demo) -> None:
    """Each imports, edits, exports, and moves to a bucket through an outage; none is in the way."""
    for printed in demo.printed:
        assert "Show the demo to someone" in printed
        assert "all checksums are right" in printed
        assert "bucket valet-data: made" in printed
        assert "The network fails." in printed
        assert "It stops" in printed
        assert "on both sides: 0 differences" in printed
        assert "todos meanwhile: 0 are lost" in printed
        assert printed.count("the same │") == 2
    todos = [
        json.loads(body)
        for name, (body, _) in documents(demo.folder / "data").items()
        if name.startswith("todos/")
    ]
    assert len(todos) == len({todo["id"] for todo in todos}) > 80


def test_the_demo_again(demo: Demo) -> None:
    """A later run finds all of it done and changes nothing."""
    before = documents(demo.folder / "data")
    assert len(before) > 170
    printed = end(start(demo.folder))
    assert "Nothing was changed" in printed
    assert "left as it is" in printed
    assert documents(demo.folder / "data") == before
    edited = [
        name
        for name, (body, _) in before.items()
        if name.startswith("todos/") and json.loads(body)["content"] == "Show the demo to someone"
    ]
    assert len(edited) in (1, 2)  # Each of the two runs may have chosen one.


def test_the_commands_it_names(demo: Demo) -> None:
    """What the demo says to try works."""
    lines = [line.strip() for line in demo.printed[0].splitlines()]
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
