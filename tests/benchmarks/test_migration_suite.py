"""The suite `migration` runs, in small, and prints the rows it promises. No figure is judged."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import main


def test_the_suite_migration_prints_every_promised_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Copies between files and databases and to both services, and the memory of a process."""
    assert main(["migration", "--json", "--quick"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["name"].partition(": ")[0] for row in rows] == [
        "SQLite to SQLite",
        "SQLite to LocalFile",
        "LocalFile to SQLite",
        "SQLite to D1 (workerd)",
        "SQLite to R2 (moto)",
        "memory of moving 1,000 documents",
    ]
    assert all(row["value"] > 0 for row in rows)
