"""A progress bar for whatever takes longer than a second, on a terminal only."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from storage_providers.cli._text import visible

__all__ = ["ShowStep", "progress_bar", "step_bars"]

SHOWN_AFTER_SECONDS = 1.0

ShowStep = Callable[[str, int, int | None, str], None]
"""Told the name of a step, how many are done, of how many if that is known, and what is at hand."""


@contextmanager
def progress_bar(
    what: str,
    total: int | None = None,
    *,
    enabled: bool = True,
    console: Console | None = None,
    shown_after_seconds: float = SHOWN_AFTER_SECONDS,
) -> Generator[Callable[[int], None]]:
    """Show how far something is, on stderr, once it has taken a second.

    Nothing is shown where stderr is no terminal.

    Args:
        what: What is being done, such as `importing`.
        total: How many there are, if that is known: without it there is no time left.
        enabled: False shows nothing: where results are printed to the same terminal.
        console: Where to show it; without, stderr.
        shown_after_seconds: Shorter work shows nothing.

    Yields:
        A function to be told how many are done so far.
    """
    console = console or Console(file=sys.stderr)
    if not enabled or not console.is_terminal:
        yield lambda done: None
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Count(),
        _Rate(),
        TimeElapsedColumn() if total is None else TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task(what, total=total)
    start = asyncio.get_running_loop().call_later(shown_after_seconds, bar.start)
    try:
        yield lambda done: bar.update(task, completed=done)
    finally:
        start.cancel()
        bar.stop()


@contextmanager
def step_bars(
    note: Callable[[str], None], *, console: Console | None = None
) -> Generator[ShowStep]:
    """Show several steps, one after the other, each with a bar of its own that stays.

    Where stderr is no terminal, each step is a note when it begins.

    Args:
        note: Told the notes.
        console: Where to show it; without, stderr.

    Yields:
        A function to be told how far it is; the first call for a step ends the one before.
    """
    console = console or Console(file=sys.stderr)
    steps: dict[str, TaskID] = {}
    if not console.is_terminal:

        def say(step: str, done: int, total: int | None, _detail: str) -> None:
            if step not in steps:
                steps[step] = TaskID(done)
                note(f"{step} …" if total is None else f"{step} of {total:,} documents …")

        yield say
        return
    bars = _bars_that_stay(console)

    def show(step: str, done: int, total: int | None, detail: str) -> None:
        if step not in steps:
            _finish_all(bars)
            bars.start()
            steps[step] = bars.add_task(step, total=total, detail=detail)
        bars.update(steps[step], completed=done, total=total, detail=visible(detail))

    try:
        yield show
        _finish_all(bars)
    finally:
        bars.stop()


def _bars_that_stay(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description:<10}", markup=False),
        BarColumn(),
        _Count(),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[detail]}", markup=False),
        console=console,
    )


def _finish_all(bars: Progress) -> None:
    """End every bar where it stands; one that counted nothing shows no number."""
    for each in bars.tasks:
        bars.update(each.id, detail="")
        if not each.finished:
            uncounted = not each.completed
            done = 1 if uncounted else each.completed
            bars.update(each.id, total=done, completed=done, uncounted=uncounted)


class _Count(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        if task.fields.get("uncounted") or not (task.completed or task.total):
            return Text("")
        done = f"{int(task.completed):,}"
        return Text(done if task.total is None else f"{done} of {int(task.total):,}")


class _Rate(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        speed = None if task.fields.get("uncounted") else task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed")
