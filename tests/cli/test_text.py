"""What documents hold can't reach the terminal as anything but text."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers.cli._text import cell, compact_json, indented_json, terminal_json, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain — überall 日本 👩‍👩‍👧", "plain — überall 日本 👩‍👩‍👧"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("non\u00a0breaking", "non breaking"),
        ("line\u2028end", "line\\u2028end"),
    ],
)
def test_visible_shows_what_a_terminal_would_act_on(text: str, shown: str) -> None:
    """Printable text stays, control and direction characters become escapes."""
    assert visible(text) == shown


@given(st.text())
def test_visible_leaves_no_control_character(text: str) -> None:
    """Whatever the text, no control, surrogate or line-separating character is left."""
    left = {unicodedata.category(character) for character in visible(text)}
    assert not left & {"Cc", "Cs", "Zl", "Zp"}


@given(st.dictionaries(st.text(), st.text() | st.integers()))
def test_terminal_json_means_the_same(document: dict[str, object]) -> None:
    """Escaping changes how JSON is written, not what it says."""
    text = json.dumps(document, ensure_ascii=False)
    shown = terminal_json(text)
    assert json.loads(shown) == document
    assert not {character for character in shown if 0x7F <= ord(character) <= 0x9F}


def test_terminal_json_escapes_beyond_the_basic_plane() -> None:
    """A character beyond U+FFFF becomes a surrogate pair, as JSON wants it."""
    assert terminal_json('"\U000e0041"') == '"\\udb40\\udc41"'


def test_documents_edited_by_hand_fit_one_line() -> None:
    """A stored body with line ends in it becomes one line, and back."""
    assert compact_json(b'{\n  "id": "a",\n  "n": 1.0\n}') == '{"id":"a","n":1.0}'
    assert indented_json(b'{"id":"a"}') == '{\n  "id": "a"\n}'


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("text",), "a, b"),
        (("flag",), "true"),
        (("number",), "1.5"),
        (("nested",), '{"list":[1,"x"]}'),
        (("nested", "list"), '[1,"x"]'),
        (("nothing",), ""),
        (("missing",), ""),
        (("text", "deeper"), ""),
    ],
)
def test_cells(path: tuple[str, ...], expected: str) -> None:
    """Text stands for itself, null and missing are empty, the rest is JSON."""
    document: dict[str, object] = {
        "text": "a, b",
        "flag": True,
        "number": 1.5,
        "nested": {"list": [1, "x"]},
        "nothing": None,
    }
    assert cell(document, path) == expected
