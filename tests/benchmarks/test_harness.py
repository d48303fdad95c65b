"""The harness: turns, ratios, goals and the object that `--json` prints."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks._harness import Row, Run, Sample
from benchmarks._machine import machine, versions


def _fixed(seconds: Iterator[float]) -> Sample:
    async def sample() -> float:
        return next(seconds)

    return sample


def test_contestants_take_turns_in_alternating_order(tmp_path: Path) -> None:
    """Every round has one turn of each, and who begins changes, so that drift hits both."""
    turns: list[str] = []

    def noting(name: str) -> Sample:
        async def sample() -> float:
            turns.append(name)
            return 1.0

        return sample

    samples = {"a": noting("a"), "b": noting("b")}
    seconds = asyncio.run(Run(tmp_path).alternate(samples, rounds=3, warm_up=1))
    assert "".join(turns) == "abbaabba"
    assert seconds == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_warm_up_turns_are_thrown_away(tmp_path: Path) -> None:
    """The first turns pay for what later ones find ready; they count for nobody."""
    slow_start = _fixed(iter([100.0, 2.0, 4.0]))
    seconds = asyncio.run(Run(tmp_path).alternate({"a": slow_start}, rounds=2, warm_up=1))
    assert seconds == {"a": [2.0, 4.0]}


def test_a_ratio_is_made_within_each_round(tmp_path: Path) -> None:
    """A round in which the whole machine was slow does not change the ratio."""
    run = Run(tmp_path)
    row = run.add("x", [2e-6, 20e-6, 2e-6], [1e-6, 10e-6, 1e-6], unit="µs", against="y", goal=2)
    assert row.ratio == 2
    assert row.spread == (2, 2)
    assert row.value == 2
    assert row.met is True
    assert run.rows == [row]


def test_higher_is_better_turns_the_ratio_and_the_goal_around(tmp_path: Path) -> None:
    """Five times the speed is a fifth of the time; four times does not reach it."""
    run = Run(tmp_path)
    faster = run.add("x", [1.0], [5.0], unit="s", against="y", goal=5, higher_is_better=True)
    slower = run.add("x", [1.0], [4.0], unit="s", against="y", goal=5, higher_is_better=True)
    assert (faster.ratio, faster.met) == (5, True)
    assert (slower.ratio, slower.met) == (4, False)


def test_the_spread_is_the_quartiles_of_the_rounds(tmp_path: Path) -> None:
    """One wild round stays out of the spread, three of four rounds don't."""
    ours = [1.0, 2.0, 3.0, 4.0, 100.0]
    row = Run(tmp_path).add("x", ours, [1.0] * 5, unit="MB", against="y", goal=None)
    assert row.ratio == 3
    assert row.spread == (2, 4)
    assert row.met is None


def test_a_row_that_was_not_measured_says_why(tmp_path: Path) -> None:
    """A peer that is not installed neither meets nor misses a goal, and is not left out."""
    reported: list[Row] = []
    run = Run(tmp_path, report=reported.append)
    run.missing("x", "TinyDB: not installed", unit="ms", goal=20, higher_is_better=True)
    (row,) = reported
    assert (row.value, row.ratio, row.spread, row.met) == (None, None, None, None)
    assert row.reference == "TinyDB: not installed"


def test_a_quick_run_is_small_and_short(tmp_path: Path) -> None:
    """Sizes and rounds shrink; nothing else differs."""
    run = Run(tmp_path, quick=True)
    seconds = asyncio.run(run.alternate({"a": _fixed(iter([1.0] * 3))}, rounds=50, warm_up=5))
    assert len(seconds["a"]) == 2
    assert (run.size(1000, 10), Run(tmp_path).size(1000, 10)) == (10, 1000)


def test_the_machine_is_described_without_naming_it(tmp_path: Path) -> None:
    """What figures depend on is there; no host, user or path is."""
    facts = machine(tmp_path)
    assert {"cores", "processor", "system", "python", "filesystem"} <= set(facts)
    assert str(tmp_path) not in str(facts)


def test_versions_name_a_peer_that_is_missing() -> None:
    """A missing peer has the version None instead of being left out."""
    found = versions(["no-such-distribution-anywhere"])
    assert found["no-such-distribution-anywhere"] is None
    assert found["sqlite"]
    assert found["msgspec"]


@pytest.mark.parametrize("ours", [0.5, 1.0])
def test_a_goal_is_met_at_its_very_edge(tmp_path: Path, ours: float) -> None:
    """A goal of at most 1 is met by 1."""
    row = Run(tmp_path).add("x", [ours], [1.0], unit="s", against="y", goal=1)
    assert row.met is True
