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
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["progress_bar"]

SHOWN_AFTER_SECONDS = 1.0


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


class _Count(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        done = f"{int(task.completed):,}"
        return Text(done if task.total is None else f"{done} of {int(task.total):,}")


class _Rate(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed")
