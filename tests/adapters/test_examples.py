"""The examples run offline and print what they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
LAST_LINES = {
    "langgraph_agent.py": "After pruning: 1",
    "openai_agents_session.py": ("The last answer was taken back; the newest item is 'Goodbye'"),
    "key_value_store.py": "As documents: ['kv..j5axk5diebrwy2lfnz2hg', 'kv.cache']",
}


@pytest.mark.parametrize("name", LAST_LINES)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    """With warnings as errors, in an empty folder that it leaves as it was."""
    done = subprocess.run(  # noqa: PLW1510 - its output says what went wrong
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == LAST_LINES[name]
    assert list(tmp_path.iterdir()) == []
