"""Documents as table, JSON, JSON lines or CSV: written while they are read, in flat memory.

Results go to stdout and nothing else does, so that it can be piped; notes go to stderr.
"""

from __future__ import annotations

import csv
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from storage_providers.cli._text import cell, compact_json, terminal_json, visible
from storage_providers.filters import parse_path
from storage_providers.protocol import Item, JsonObject

__all__ = ["Format", "Writer", "emit", "open_writer", "print_rows", "resolve_format"]

SPOOL_BYTES = 8_000_000
"""CSV without `--fields` waits for the last document in memory up to this size, then on disk."""


class Format(StrEnum):
    """How documents are printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class Writer(Protocol):
    """Prints documents in one format."""

    def write(self, items: Sequence[Item]) -> None:
        """Print some documents, in order."""
        ...

    def finish(self) -> None:
        """Print what comes at the end; not called after an error."""
        ...


def resolve_format(asked: Format | None) -> Format:
    """The format to print in: a table for people, JSON lines for programs, unless asked.

    Args:
        asked: What the user asked for, if anything.
    """
    if asked is not None:
        return asked
    return Format.TABLE if sys.stdout.isatty() else Format.JSONL


def open_writer(
    output_format: Format,
    fields: Sequence[str] | None,
    note: Callable[[str], None],
    *,
    key: str = "id",
) -> Writer:
    """Make the writer for a format.

    Args:
        output_format: The format.
        fields: Dotted paths that were asked for; `None`: whole documents.
        note: Told what the format could not show.
        key: The field that comes first.
    """
    match output_format:
        case Format.TABLE:
            from storage_providers.cli._table import TableWriter

            return TableWriter(fields, note, key=key)
        case Format.JSON:
            return JsonWriter()
        case Format.JSONL:
            return JsonLinesWriter()
        case Format.CSV:
            return CsvWriter(fields, key=key)


def print_rows(rows: Sequence[JsonObject], note: Callable[[str], None]) -> None:
    """Print a small table; nothing without rows.

    Args:
        rows: The rows, all with the same keys.
        note: Told what does not fit.
    """
    if rows:
        key, *others = rows[0]
        writer = open_writer(Format.TABLE, others, note, key=key)
        writer.write([Item("", str(row[key]), "", msgspec.json.encode(row)) for row in rows])
        writer.finish()


def emit(text: str) -> None:
    """Write to stdout, as UTF-8 wherever it goes.

    Args:
        text: What to write, line ends included.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    if sys.stdout.isatty():
        sys.stdout.buffer.flush()


def _line(item: Item) -> str:
    text = compact_json(item.body)
    return terminal_json(text) if sys.stdout.isatty() else text


class JsonLinesWriter:
    """One document a line."""

    def write(self, items: Sequence[Item]) -> None:
        emit("".join(f"{_line(item)}\n" for item in items))

    def finish(self) -> None:
        pass


class JsonWriter:
    """One array, a document a line."""

    def __init__(self) -> None:
        self._before = "[\n  "

    def write(self, items: Sequence[Item]) -> None:
        for item in items:
            emit(self._before + _line(item))
            self._before = ",\n  "

    def finish(self) -> None:
        emit("[]\n" if self._before[0] == "[" else "\n]\n")


class CsvWriter:
    """RFC 4180 with line feeds: a header, `id` first; text as it is, all else as JSON.

    With fields, rows are written as they come. Without, the columns are all top-level keys of all
    documents, so nothing is written before the last one is known.

    Args:
        fields: Dotted paths; `None`: every key that occurs.
        key: The field that comes first.
    """

    def __init__(self, fields: Sequence[str] | None, *, key: str = "id") -> None:
        self._fields = None if fields is None else list(dict.fromkeys([key, *fields]))
        self._keys: dict[str, None] = {key: None}
        self._spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115
        if self._fields is not None:
            self._rows([self._fields])

    def write(self, items: Sequence[Item]) -> None:
        if self._fields is not None:
            paths = [parse_path(field) for field in self._fields]
            self._rows([[cell(item.document, path) for path in paths] for item in items])
            return
        for item in items:
            self._keys.update(dict.fromkeys(item.document))
            self._spool.write(compact_json(item.body).encode() + b"\n")

    def finish(self) -> None:
        if self._fields is not None:
            return
        self._rows([list(self._keys)])
        self._spool.seek(0)
        for line in self._spool:
            document = msgspec.json.decode(line)
            self._rows([[cell(document, (key,)) for key in self._keys]])
        self._spool.close()

    def _rows(self, rows: list[list[str]]) -> None:
        buffer = io.StringIO()
        if sys.stdout.isatty():
            rows = [[visible(value) for value in row] for row in rows]
        csv.writer(buffer, lineterminator="\n").writerows(rows)
        emit(buffer.getvalue())
