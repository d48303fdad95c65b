"""Formats: streamed, complete, and fit for a terminal."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import tracemalloc
from collections.abc import Sequence

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from storage_providers import Item, JsonObject
from storage_providers.cli import _output, _table
from storage_providers.cli._output import Format, open_writer, print_rows
from storage_providers.cli._progress import progress_bar
from storage_providers.cli._table import fit


def items(*documents: JsonObject) -> list[Item]:
    """Items as a provider would return them."""
    return [
        Item("things", str(document["id"]), "1", msgspec.json.encode(document))
        for document in documents
    ]


def printed(
    capfd: pytest.CaptureFixture[str],
    output_format: Format,
    batches: Sequence[Sequence[Item]],
    fields: Sequence[str] | None = None,
) -> tuple[str, list[str]]:
    """What a writer prints and notes."""
    notes: list[str] = []
    with open_writer(output_format, fields, notes.append) as writer:
        for batch in batches:
            writer.write(batch)
    print(end="", flush=True)
    return capfd.readouterr().out, notes


AWKWARD = items(
    {"id": "a", "text": 'comma, "quote"\nnewline', "n": 9007199254740993, "flag": True},
    {"id": "b", "nested": {"x": [1, None]}, "text": ""},
    {"id": "c", "late": "only here"},
)


def test_json_is_one_array(capfd: pytest.CaptureFixture[str]) -> None:
    """Documents of several pages make one valid array."""
    text, _ = printed(capfd, Format.JSON, [AWKWARD[:2], AWKWARD[2:]])
    assert json.loads(text) == [item.document for item in AWKWARD]


def test_empty_json_is_an_empty_array(capfd: pytest.CaptureFixture[str]) -> None:
    """No document is still valid JSON."""
    assert printed(capfd, Format.JSON, [[]])[0] == "[]\n"


def test_json_lines_are_lines(capfd: pytest.CaptureFixture[str]) -> None:
    """Each document is on one line, also if its file was edited by hand."""
    by_hand = Item("things", "h", "1", b'{\n  "id": "h"\n}')
    text, _ = printed(capfd, Format.JSONL, [[*AWKWARD, by_hand]])
    assert [json.loads(line) for line in text.splitlines()] == [
        *(item.document for item in AWKWARD),
        {"id": "h"},
    ]


def test_csv_has_every_key(capfd: pytest.CaptureFixture[str]) -> None:
    """The header names keys that only the last document has; values survive quoting."""
    text, _ = printed(capfd, Format.CSV, [AWKWARD[:2], AWKWARD[2:]])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["id", "text", "n", "flag", "nested", "late"]
    assert rows[0]["text"] == 'comma, "quote"\nnewline'
    assert rows[0]["n"] == "9007199254740993"
    assert rows[0]["flag"] == "true"
    assert rows[1]["nested"] == '{"x":[1,null]}'
    assert rows[2]["late"] == "only here"


def test_csv_with_fields_has_these(capfd: pytest.CaptureFixture[str]) -> None:
    """Named fields are the columns, dotted paths included, and `id` comes first."""
    text, _ = printed(capfd, Format.CSV, [AWKWARD], ["nested.x", "text"])
    assert text.splitlines()[0] == "id,nested.x,text"
    assert next(csv.DictReader(io.StringIO(text)))["nested.x"] == ""


def test_csv_spools_to_disk(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without fields, rows wait outside the memory: a tenth of what they hold is never reached."""
    monkeypatch.setattr(_output, "SPOOL_BYTES", 10_000)
    with open_writer(Format.CSV, None, lambda _: None) as writer:
        tracemalloc.start()
        try:
            for number in range(200):
                writer.write(items({"id": str(number), "text": "x" * 100_000}))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 2_000_000
    assert len(capfd.readouterr().out) > 20_000_000


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_tables_fit(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """No line is wider than the terminal, and what is left out is named."""
    monkeypatch.setenv("COLUMNS", str(width))
    wide = items(
        {"id": "a" * 8, **{f"field{number}": "wörd 日本 " * 9 for number in range(12)}},
        {"id": "b", "field3": {"deep": list(range(500))}},
    )
    text, notes = printed(capfd, Format.TABLE, [wide])
    lines = text.splitlines()
    assert len(lines) == 4
    assert max(map(cell_len, lines)) <= width
    shown = lines[0].split()
    hidden = {f"field{number}" for number in range(12)} - set(shown)
    if width == 200:
        assert "field5" in shown
    for name in hidden:
        assert any(name in note for note in notes) or any(word[:4] == name[:4] for word in shown)


def test_tables_show_no_escape_sequences(capfd: pytest.CaptureFixture[str]) -> None:
    """Escape sequences and markup in documents, also in keys, are shown as text."""
    text, _ = printed(
        capfd,
        Format.TABLE,
        [items({"id": "x\x1b[2J", "\x1b[31mkey": "a\nb", "m": "[bold]not markup[/] :smile:"})],
    )
    assert "\x1b" not in text
    assert "\\x1b[2J" in text
    assert "\\x1b[31mkey" in text
    assert "a\\nb" in text
    assert "[bold]not markup[/] :smile:" in text


def test_tables_name_keys_that_come_late(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that first occurs after the columns were settled is named at the end."""
    monkeypatch.setattr(_table, "CHUNK_ROWS", 2)
    text, notes = printed(capfd, Format.TABLE, [AWKWARD])
    assert len(text.splitlines()) == 5
    assert any("late" in note for note in notes)


def test_empty_table_with_fields_is_its_header(capfd: pytest.CaptureFixture[str]) -> None:
    """Without rows the columns are still there."""
    assert printed(capfd, Format.TABLE, [[]], ["due"])[0].split()[:2] == ["id", "due"]


def test_the_first_column_keeps_its_width() -> None:
    """An id can be copied whole as long as anything else can give way."""
    widths = fit({"id": 36, "content": 60, "notes": 60, "updatedAt": 24}, 80)
    assert widths["id"] == 36
    assert sum(widths.values()) + 2 * (len(widths) - 1) <= 80
    assert "content" in widths


def test_one_column_wider_than_the_line_is_narrowed() -> None:
    """Where nothing else can give way, the first column does."""
    assert fit({"id": 100}, 30) == {"id": 30}


def test_numbers_stand_right(capfd: pytest.CaptureFixture[str]) -> None:
    """A column of numbers alone is aligned right."""
    print_rows([{"name": "a", "count": 5}, {"name": "b", "count": 1234}], lambda _: None)
    lines = capfd.readouterr().out.splitlines()
    assert lines[2].rstrip().endswith("    5")


def test_progress_is_shown_on_a_terminal_only() -> None:
    """A bar with count and rate appears on a terminal once the time is up, nowhere else."""

    async def work(console: Console, after: float) -> str:
        with progress_bar("storing", 10, console=console, shown_after_seconds=after) as report:
            report(1)
            await asyncio.sleep(0)  # lets the event loop start the bar
            await asyncio.sleep(0)
            report(7)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    assert "7 of 10" in asyncio.run(work(terminal, 0))
    assert asyncio.run(work(Console(file=io.StringIO(), force_terminal=True), 60)) == ""
    assert asyncio.run(work(Console(file=io.StringIO()), 0)) == ""
