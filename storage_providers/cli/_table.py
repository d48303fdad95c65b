"""Tables that fit the terminal and hold whatever documents hold."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from storage_providers.cli._output import emit
from storage_providers.cli._text import cell, visible
from storage_providers.filters import parse_path, value_at
from storage_providers.protocol import Item

__all__ = ["TableWriter", "stdout_console"]

CHUNK_ROWS = 200
"""Rows printed at once; the first so many decide about columns and widths."""

MAX_CELL_WIDTH = 60
MIN_CELL_WIDTH = 8
GAP = "  "
_SHOWN_LAST = ("createdAt", "updatedAt", "expiresAt")


def stdout_console() -> Console:
    """A console on stdout that never takes a document's text for markup."""
    return Console(file=sys.stdout, markup=False, emoji=False, highlight=False)


class TableWriter:
    """One row a document, one column a field; values too long for their column end in `…`.

    Columns and widths are settled by the first rows, so a listing of any length is printed while
    it is read. What does not fit or came too late is named at the end.

    Args:
        fields: Dotted paths to show beside the key; `None`: the top-level keys.
        note: Told what is not shown.
        key: The field that comes first and keeps its width.
    """

    def __init__(
        self, fields: Sequence[str] | None, note: Callable[[str], None], *, key: str = "id"
    ) -> None:
        self._fields = fields
        self._key = key
        self._note = note
        self._console = stdout_console()
        self._waiting: list[Item] = []
        self._widths: dict[str, int] = {}
        self._hidden: dict[str, None] = {}
        self._numeric: set[str] = set()
        self._settled = False

    def write(self, items: Sequence[Item]) -> None:
        for item in items:
            self._waiting.append(item)
            if len(self._waiting) >= CHUNK_ROWS:
                self._print()

    def finish(self) -> None:
        if self._waiting or not self._settled:
            self._print()
        if self._hidden:
            names = ", ".join(self._hidden)
            self._note(f"not shown: {names} (choose with --fields, or use --format json)")

    def _print(self) -> None:
        if not self._settled:
            self._settle()
            self._print_header()
        columns = [
            (self._path(name), width, name in self._numeric) for name, width in self._widths.items()
        ]
        lines: list[str] = []
        for item in self._waiting:
            if self._fields is None:
                self._hidden.update((key, None) for key in item.document if key not in self._widths)
            cells = [_fitted(_shown(item, path), width, right) for path, width, right in columns]
            lines.append((GAP.join(cells)).rstrip() + "\n")
        self._waiting.clear()
        emit("".join(lines))

    def _print_header(self) -> None:
        if self._widths:
            titles = [
                _fitted(visible(name), width, name in self._numeric)
                for name, width in self._widths.items()
            ]
            rule = "─" * (sum(self._widths.values()) + len(GAP) * (len(titles) - 1))
            self._console.print(Text(GAP.join(titles).rstrip(), style="bold"), soft_wrap=True)
            self._console.print(Text(rule, style="dim"), soft_wrap=True)

    def _path(self, name: str) -> tuple[str, ...]:
        return (name,) if self._fields is None else parse_path(name)

    def _settle(self) -> None:
        """Decide from the rows at hand which columns there are and how wide they are."""
        self._settled = True
        names = [self._key, *(_keys(self._waiting) if self._fields is None else self._fields)]
        wanted = {
            name: min(
                max(
                    cell_len(visible(name)),
                    *(cell_len(_shown(item, self._path(name))) for item in self._waiting),
                    1,
                ),
                MAX_CELL_WIDTH,
            )
            for name in dict.fromkeys(names)
        }
        if not self._waiting and self._fields is None:
            wanted = {}
        self._numeric = {
            name
            for name in wanted
            if all(_is_number(value_at(item.document, self._path(name))) for item in self._waiting)
        }
        self._widths = fit(wanted, self._console.width)
        self._hidden.update((name, None) for name in wanted if name not in self._widths)


def _keys(items: Iterable[Item]) -> list[str]:
    keys = dict.fromkeys(key for item in items for key in item.document)
    return [key for key in keys if key not in _SHOWN_LAST] + [
        key for key in _SHOWN_LAST if key in keys
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(item: Item, path: tuple[str, ...]) -> str:
    # A cell needs no more than its width, and making megabytes visible takes long.
    return visible(cell(item.document, path)[: MAX_CELL_WIDTH + 1])


def _fitted(text: str, width: int, right: bool) -> str:
    """Text as wide as its column: filled up, or cut with `…` at the end."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - length) + text if right else text + " " * (width - length)


def fit(wanted: dict[str, int], total: int) -> dict[str, int]:
    """Widths that fit a line: the widest columns give way first, then the last ones go.

    Args:
        wanted: Width that each column would like, the most important column first; it is the
            only one that keeps its width as long as others can give way.
        total: Width of the line; two cells between columns are taken off.

    Returns:
        The columns that are shown, with their widths.
    """
    names = list(wanted)
    while names:
        room = total - len(GAP) * (len(names) - 1)
        widths = {name: wanted[name] for name in names}
        least = {name: min(wanted[name], MIN_CELL_WIDTH) for name in names[1:]}
        least[names[0]] = wanted[names[0]] if len(names) > 1 else 1
        if sum(least.values()) <= room or len(names) == 1:
            return _narrowed(widths, least, room)
        names.pop()
    return {}


def _narrowed(widths: dict[str, int], least: dict[str, int], room: int) -> dict[str, int]:
    excess = sum(widths.values()) - room
    while excess > 0:
        widest = max(
            (name for name in widths if widths[name] > least[name]),
            key=lambda name: widths[name],
            default=None,
        )
        if widest is None:
            break
        widths[widest] -= 1
        excess -= 1
    return widths
