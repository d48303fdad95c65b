"""Measures fairly on a noisy machine: contestants take turns, and only turns side by side compare.

A *sample* is one turn of one contestant: it does its work and returns seconds per operation. A
*round* is one turn of each, in an order that is reversed every other round. A ratio is made within
each round; a row reports the median of these ratios, and as spread their quartiles. So what slows
the whole machine down for a while slows both sides of the same round.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

__all__ = ["Case", "Row", "Run", "Sample", "on_own_thread", "timed"]

Sample: TypeAlias = Callable[[], Awaitable[float]]
"""One turn: does its work and returns seconds per operation."""

_PER_SECOND: Final = {"µs": 1e6, "ms": 1e3, "s": 1.0}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measured comparison.

    Attributes:
        name: What was measured.
        value: Our own figure (the median), in `unit`; `None`: not measured, `reference` says why.
        unit: Unit of `value`.
        reference: What it is compared with, in words.
        ratio: Ours against the reference: cost by cost, or speed by speed if higher is better.
        goal: What the ratio has to reach; `None`: shown for information.
        spread: The quartiles of the ratio over all rounds.
        higher_is_better: Whether the goal is a least ratio and not a highest one.
    """

    name: str
    value: float | None
    unit: str
    reference: str
    ratio: float | None
    goal: float | None
    spread: tuple[float, float] | None
    higher_is_better: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal was met; `None` without a goal or a measurement."""
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio >= self.goal if self.higher_is_better else self.ratio <= self.goal


class Run:
    """One run of a suite: what its cases need, and where they leave their rows.

    Args:
        folder: An empty folder on the disk to measure; everything is made inside it.
        quick: Small sizes and few rounds, to see that everything works. The figures mean nothing.
        report: Told of each row as it is measured.
    """

    def __init__(
        self,
        folder: Path,
        *,
        quick: bool = False,
        report: Callable[[Row], None] = lambda row: None,
    ) -> None:
        self.folder = folder
        self.quick = quick
        self.rows: list[Row] = []
        self._report = report

    def size(self, full: int, quick: int) -> int:
        """How many: `full`, or `quick` in a quick run."""
        return quick if self.quick else full

    def place(self, name: str) -> Path:
        """A new folder for one contestant; those of one case lie next to each other."""
        path = self.folder / name
        path.mkdir(parents=True)
        return path

    async def alternate(
        self, samples: Mapping[str, Sample], *, rounds: int = 21, warm_up: int = 2
    ) -> dict[str, list[float]]:
        """Let the contestants take turns.

        Args:
            samples: The contestants by name.
            rounds: How many turns of each are kept.
            warm_up: How many turns of each come first and are thrown away.

        Returns:
            Seconds per operation, round by round, for each contestant.
        """
        if self.quick:
            rounds, warm_up = min(rounds, 2), min(warm_up, 1)
        seconds: dict[str, list[float]] = {name: [] for name in samples}
        order = list(samples)
        for turn in range(warm_up + rounds):
            for name in order:
                # Each turn starts with an equally clean heap. The collector stays on while it
                # runs, as it does in the programs that this stands for.
                gc.collect()
                elapsed = await samples[name]()
                if turn >= warm_up:
                    seconds[name].append(elapsed)
            order.reverse()
        return seconds

    async def compare(
        self,
        name: str,
        ours: Sample,
        reference: Sample,
        *,
        unit: str,
        against: str,
        goal: float | None,
        higher_is_better: bool = False,
        rounds: int = 21,
    ) -> Row:
        """Let two contestants take turns and report the row.

        Args:
            name: What is measured.
            ours: Our side.
            reference: The other side.
            unit: Unit of the row's value; begins with `µs`, `ms` or `s`.
            against: What the reference does, in words.
            goal: What the ratio has to reach, if anything.
            higher_is_better: Compare speeds and not costs.
            rounds: How many turns of each are kept.

        Returns:
            The row.
        """
        seconds = await self.alternate({"ours": ours, "reference": reference}, rounds=rounds)
        return self.add(
            name,
            seconds["ours"],
            seconds["reference"],
            unit=unit,
            against=against,
            goal=goal,
            higher_is_better=higher_is_better,
        )

    def add(
        self,
        name: str,
        ours: list[float],
        reference: list[float],
        *,
        unit: str,
        against: str,
        goal: float | None,
        higher_is_better: bool = False,
    ) -> Row:
        """Report the row of two contestants that took turns, or of values against a budget.

        Args:
            name: What was measured.
            ours: Our figures, round by round: seconds if `unit` is a time, else as they are.
            reference: The other side's, round by round.
            unit: Unit of the row's value.
            against: What the reference does, in words.
            goal: What the ratio has to reach, if anything.
            higher_is_better: Compare speeds and not costs.

        Returns:
            The row.
        """
        pairs = zip(ours, reference, strict=True)
        ratios = [theirs / own if higher_is_better else own / theirs for own, theirs in pairs]
        row = Row(
            name=name,
            value=_rounded(statistics.median(ours) * _PER_SECOND.get(unit.partition("/")[0], 1)),
            unit=unit,
            reference=against,
            ratio=_rounded(statistics.median(ratios)),
            goal=goal,
            spread=_quartiles(ratios),
            higher_is_better=higher_is_better,
        )
        return self._keep(row)

    def missing(
        self, name: str, reason: str, *, unit: str, goal: float | None, higher_is_better: bool
    ) -> Row:
        """Report a row that could not be measured, and why."""
        return self._keep(
            Row(
                name=name,
                value=None,
                unit=unit,
                reference=reason,
                ratio=None,
                goal=goal,
                spread=None,
                higher_is_better=higher_is_better,
            )
        )

    def _keep(self, row: Row) -> Row:
        self.rows.append(row)
        self._report(row)
        return row


Case: TypeAlias = Callable[[Run], Awaitable[None]]
"""Measures something and leaves one or several rows in the run."""


def timed(work: Callable[[], Awaitable[object]], operations: int = 1) -> Sample:
    """The sample that times `work` on the event loop, as `operations` operations."""

    async def sample() -> float:
        started = time.perf_counter()
        await work()
        return (time.perf_counter() - started) / operations

    return sample


def on_own_thread(
    thread: ThreadPoolExecutor, work: Callable[[], object], operations: int = 1
) -> Sample:
    """The sample that times `work` inside `thread`: the way there and back is not counted."""

    def timed_work() -> float:
        started = time.perf_counter()
        work()
        return (time.perf_counter() - started) / operations

    async def sample() -> float:
        return await asyncio.get_running_loop().run_in_executor(thread, timed_work)

    return sample


def _rounded(value: float) -> float:
    """Four significant digits: more would only pretend."""
    return float(f"{value:.4g}")


def _quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) == 1:
        return _rounded(values[0]), _rounded(values[0])
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return _rounded(low), _rounded(high)
