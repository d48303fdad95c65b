"""The example runs, alike on providers of different kinds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "agent_store.py"

PRINTED = """\
assistant: Little.
user: And water?
around the question: ['Hello', 'Do ferns want light?', 'Little.']
last changed: Ferns
resumed by 1 of 2
results: {'a': {'output': 1}}
answer: SUCCESS, 1.5 s
think: ERROR, None s
scores: [('2026-01-31', 0.9)]
pruned: {'spans': 2}
"""


@pytest.mark.parametrize("place", ["memory:", "sqlite:agents.db", "file:./agents"])
def test_the_example_runs(place: str, tmp_path: Path) -> None:
    """And says what happened."""
    run = subprocess.run(
        [sys.executable, EXAMPLE, place],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert run.stdout == PRINTED
