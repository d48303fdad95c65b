"""The suite `calls` prints the calls of every operation, and its goals are the budgets."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.__main__ import main
from benchmarks.suites.calls._cases import D1_BUDGETS, KV_BUDGETS, R2_BUDGETS
from tests.agents.budgets import BUDGETS


@pytest.mark.parametrize(
    ("service", "budgets"), [("D1", D1_BUDGETS), ("R2", R2_BUDGETS), ("KV", KV_BUDGETS)]
)
def test_every_operation_keeps_its_budget(
    capsys: pytest.CaptureFixture[str],
    service: str,
    budgets: dict[str, object],
) -> None:
    """In small, where calls are counted as in full: no row is missing, and none is over."""
    assert main(["calls", "--quick", "--json", "--only", service.lower()]) == 0
    rows = msgspec.json.decode(capsys.readouterr().out)["rows"]
    assert sorted(row["name"] for row in rows) == sorted(f"{service}: {name}" for name in budgets)
    for row in rows:
        assert (row["unit"], row["goal"]) == ("calls", 1)
        assert 0 < row["ratio"] <= 1, row
        assert "its budget" in row["reference"]


def test_the_agent_store_keeps_its_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    """In small, on both services."""
    assert main(["calls", "--quick", "--json", "--only", "agents"]) == 0
    rows = msgspec.json.decode(capsys.readouterr().out)["rows"]
    wanted = [f"{service}: agents: {name}" for service, each in BUDGETS.items() for name in each]
    assert sorted(row["name"] for row in rows) == sorted(wanted)
    assert all(0 < row["ratio"] <= 1 for row in rows), rows
