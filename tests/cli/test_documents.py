"""Documents are read from whatever form they come in."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from storage_providers.cli._documents import documents_in
from storage_providers.cli._errors import UsageError


def read(text: str) -> list[dict[str, object]]:
    """Every document of a text."""
    return list(documents_in(io.StringIO(text), "stdin"))


@pytest.mark.parametrize(
    "text",
    [
        '{"id":"a"}\n{"id":"b"}\n',
        '\n{"id":"a"}\n\n{"id":"b"}',
        '[{"id":"a"},{"id":"b"}]',
        '[\n  {"id": "a"},\n  {"id": "b"}\n]\n',
        '{\n  "id": "a"\n}\n{\n  "id": "b"\n}\n',
        '{"id":"a"} {"id":"b"}',
    ],
)
def test_forms(text: str) -> None:
    """JSON lines, arrays and concatenated documents all give the documents."""
    assert read(text) == [{"id": "a"}, {"id": "b"}]


def test_numbers_stay_exact() -> None:
    """Integers beyond 2^53 are read as they are, over one line and over several."""
    assert read('{"n": 9007199254740993}')[0]["n"] == 9007199254740993
    assert read('{\n"n": 9007199254740993\n}')[0]["n"] == 9007199254740993


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"id":"a"}\n{"id":"b"\n', "stdin, line 2"),
        ('{\n  "id": "a",\n}', "line 3"),
        ("[1]", "holds a JSON number"),
        ('"text"', "holds a JSON text"),
        ("[null]", "holds a JSON null"),
        ('{\n"n": NaN}', "NaN is not a JSON number"),
        ("id: a", "line 1, column 1"),
    ],
)
def test_broken_input_is_located(text: str, complaint: str) -> None:
    """What is not a document is refused, saying where it is."""
    with pytest.raises(UsageError, match=complaint):
        read(text)


def test_json_lines_are_not_read_ahead() -> None:
    """A document is handed on before the next line is read, so memory stays flat."""
    lines_read = 0

    def lines() -> Iterator[str]:
        nonlocal lines_read
        for number in range(1000):
            lines_read += 1
            yield f'{{"id":"{number}"}}\n'

    stream = documents_in(lines(), "stdin")
    next(stream)
    next(stream)
    assert lines_read == 2
