"""What the demo prints: headings, tables of documents, bars for long work."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from storage_providers import Item, JsonObject
from storage_providers.transfer import migration

WORD = "river"

console = Console(highlight=False)
"""Where everything is printed. Documents are printed as `Text`, never as markup."""


def bars() -> Progress:
    """Bars with counts and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )


class Steps:
    """One bar for each step of a migration.

    Args:
        shown: Where the bars are.
    """

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: migration.Progress) -> None:
        """Show how far a step is."""
        step = progress.step
        if step not in self._tasks:
            self.end()
            self._tasks[step] = self._shown.add_task(f"{step:<10}", total=progress.total)
        self._shown.update(self._tasks[step], completed=progress.done, total=progress.total)

    def end(self) -> None:
        """End the last bar."""
        for task in self._tasks.values():
            done = self._shown.tasks[task].completed or 1
            self._shown.update(task, total=done, completed=done)


def heading(text: str) -> None:
    """Print what happens next."""
    console.print()
    console.print(Text(text, style="bold"))


def show(items: Sequence[Item], *fields: str) -> None:
    """Print documents as a table."""
    table = Table(*fields)
    for item in items:
        document = item.document | {"passage": passage(item.document)}
        table.add_row(*(Text(str(document.get(field, ""))) for field in fields))
    console.print(table)


def passage(document: JsonObject) -> str:
    """The first sentence of a journal that holds the word."""
    texts = [entry["content"] for entry in document.get("entries", ())]
    texts += document.get("highlights", ())
    sentences = [part.strip() for text in texts for part in text.replace("\n", ". ").split(". ")]
    return next((sentence for sentence in sentences if WORD in sentence), "")
