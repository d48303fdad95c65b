"""Every suite runs, in small, and prints the object it promises. No figure is judged here."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from benchmarks.__main__ import main, suite_names

ROW_KEYS = {
    "name",
    "value",
    "unit",
    "reference",
    "ratio",
    "goal",
    "spread",
    "higher_is_better",
}


def _printed_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    printed: dict[str, Any] = msgspec.json.decode(capsys.readouterr().out)
    return printed


def _check_row(row: dict[str, Any]) -> None:
    assert set(row) == ROW_KEYS
    assert row["name"]
    assert row["unit"]
    assert row["reference"]
    if row["ratio"] is None:
        assert "not installed" in row["reference"]
        assert row["value"] is row["spread"] is None
        return
    low, high = row["spread"]
    assert 0 < low <= row["ratio"] <= high or len({low, high}) == 1
    assert row["value"] > 0


def test_the_suite_local_prints_every_promised_row(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object on standard output, with all rows and their goals."""
    result = _printed_json(capsys, "local", "--quick")
    assert set(result) == {"suite", "machine", "versions", "rows"}
    assert result["suite"] == "local"
    for row in result["rows"]:
        _check_row(row)
    goals = [(row["goal"], row["higher_is_better"]) for row in result["rows"]]
    for_each_of_two = [(1.5, False), (20, True), (20, True)]
    promised = [
        (1.5, False),  # SQLite: a batch
        (2.5, False),  # SQLite: reads at once
        (1.5, False),  # SQLite: a read alone
        (5, True),  # SQLite: durable puts at once
        (1.5, False),  # LocalFile: a durable put
        (1.5, True),  # LocalFile: a batch
        *for_each_of_two,  # SQLite: a page, and against both peers
        *for_each_of_two,  # LocalFile: the same
        (1, False),  # LocalFile: opening
        (1.25, False),  # LocalFile: memory of opening
        (1, False),  # import
    ]
    with_goal = [goal for goal in goals if goal[0] is not None]
    assert sorted(with_goal) == sorted(promised)


def test_only_measures_the_cases_named(capsys: pytest.CaptureFixture[str]) -> None:
    """`--only` picks cases by a part of their name."""
    result = _printed_json(capsys, "local", "--quick", "--only", "import")
    assert [row["name"] for row in result["rows"]] == ["import storage_providers"]


def test_the_table_says_which_goals_were_met(capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--json` each row names its reference, and a last line counts the goals."""
    assert main(["local", "--quick", "--only", "import"]) == 0
    printed = capsys.readouterr().out
    assert "against 60 ms more than a bare interpreter" in printed
    assert "0 rows not measured" in printed


def test_suites_are_listed_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a suite, or with --list, they are listed with their first line."""
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in suite_names())
    assert "local" in suite_names()


def test_an_unknown_suite_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error ends with the code for wrong usage and says what there is."""
    assert main(["locale"]) == 2
    assert "local" in capsys.readouterr().err


def test_an_unknown_case_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """So does a case that is not there, instead of measuring nothing."""
    assert main(["local", "--only", "nothing like it"]) == 2
    assert "import_time" in capsys.readouterr().err
