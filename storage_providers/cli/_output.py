"""Documents as table, JSON, JSON lines or CSV: written while they are read, in flat memory.

Results go to stdout and nothing else does, so that it can be piped; notes go to stderr.
"""

from __future__ import annotations

import csv
import io
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from typing import IO, Protocol

import msgspec

from storage_providers._json import decode_object
from storage_providers.cli._text import cell, compact_json, indented_json, terminal_json, visible
from storage_providers.filters import parse_path
from storage_providers.protocol import Item, JsonObject

__all__ = [
    "Format",
    "Writer",
    "emit",
    "open_writer",
    "print_facts",
    "print_json",
    "print_rows",
    "resolve_format",
]

SPOOL_BYTES = 8_000_000
"""CSV without `--fields` waits for the last document in memory up to this size, then on disk."""


PAGE_ROWS = 500


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


@contextmanager
def open_writer(
    output_format: Format,
    fields: Sequence[str] | None,
    note: Callable[[str], None],
    *,
    key: str = "id",
) -> Generator[Writer]:
    """Make the writer for a format; its end is printed at the end of the block.

    Args:
        output_format: The format.
        fields: Dotted paths that were asked for; `None`: whole documents.
        note: Told what the format could not show.
        key: The field that comes first.

    Yields:
        The writer.
    """
    match output_format:
        case Format.TABLE:
            from storage_providers.cli._table import TableWriter

            writer: Writer = TableWriter(fields, note, key=key)
        case Format.JSON:
            writer = JsonWriter()
        case Format.JSONL:
            writer = JsonLinesWriter()
        case Format.CSV if fields is not None:
            writer = CsvWriter([key, *fields])
        case Format.CSV:
            with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
                writer = WholeCsvWriter(key, spool)
                yield writer
                writer.finish()
            return
    yield writer
    writer.finish()


def print_rows(rows: Sequence[JsonObject], note: Callable[[str], None]) -> None:
    """Print a small table; nothing without rows.

    Args:
        rows: The rows, all with the same keys.
        note: Told what does not fit.
    """
    if rows:
        key, *others = rows[0]
        with open_writer(Format.TABLE, others, note, key=key) as writer:
            writer.write([Item("", str(row[key]), "", msgspec.json.encode(row)) for row in rows])


def print_facts(facts: Mapping[str, object]) -> None:
    """Print a line for each fact, for people.

    Args:
        facts: By their names, of which underscores are shown as spaces.
    """
    width = max(map(len, facts))
    for name, value in facts.items():
        emit(visible(f"{name.replace('_', ' '):<{width}}  {_words(value)}") + "\n")


def _words(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return f"{value:,}"
        case _:
            return str(value)


def emit(text: str) -> None:
    """Write to stdout at once, as UTF-8 wherever it goes.

    Args:
        text: What to write, line ends included; better a page than a line.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def print_json(found: object) -> None:
    """Print something as indented JSON.

    Args:
        found: Anything that msgspec encodes.
    """
    emit(indented_json(msgspec.json.encode(found)) + "\n")


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
        if items:
            emit(self._before + ",\n  ".join(map(_line, items)))
            self._before = ",\n  "

    def finish(self) -> None:
        emit("[]\n" if self._before[0] == "[" else "\n]\n")


class CsvWriter:
    """RFC 4180 with line feeds: a header, then text as it is and all else as JSON.

    Args:
        fields: Dotted paths, one a column.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        names = list(dict.fromkeys(fields))
        self._paths = [parse_path(name) for name in names]
        _emit_rows([names])

    def write(self, items: Sequence[Item]) -> None:
        _emit_rows([[cell(item.document, path) for path in self._paths] for item in items])

    def finish(self) -> None:
        pass


class WholeCsvWriter:
    """CSV with a column for every top-level key of any document.

    So nothing is left out; and nothing is printed before the last document is known.

    Args:
        key: The field that comes first.
        spool: Where documents wait.
    """

    def __init__(self, key: str, spool: IO[bytes]) -> None:
        self._keys = {key: None}
        self._spool = spool

    def write(self, items: Sequence[Item]) -> None:
        for item in items:
            self._keys.update(dict.fromkeys(item.document))
            self._spool.write(compact_json(item.body).encode() + b"\n")

    def finish(self) -> None:
        _emit_rows([list(self._keys)])
        self._spool.seek(0)
        paths = [(key,) for key in self._keys]
        documents = map(decode_object, self._spool)
        while page := list(islice(documents, PAGE_ROWS)):
            _emit_rows([[cell(document, path) for path in paths] for document in page])


def _emit_rows(rows: list[list[str]]) -> None:
    buffer = io.StringIO()
    if sys.stdout.isatty():
        rows = [[visible(value) for value in row] for row in rows]
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    emit(buffer.getvalue())
