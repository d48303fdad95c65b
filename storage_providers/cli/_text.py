"""Text from documents made safe for a terminal, without changing what it says.

A document may hold escape sequences that recolour, retitle or rewrite the terminal of whoever
looks at it, or direction marks that show text in another order than it has. On a terminal these
are shown as escapes; what goes into a file or a pipe is left as it is.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import msgspec

from storage_providers.filters import value_at

__all__ = ["cell", "compact_json", "indented_json", "terminal_json", "visible"]

_JOINERS: Final = "\u200c\u200d"
"""Zero-width (non-)joiners: harmless, and parts of emoji and of many scripts."""

_HIDDEN_IN_JSON: Final = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""Text with its control and direction characters shown as escapes, on one line.

    Args:
        text: Any text.

    Returns:
        The same text where it is printable, `\n`, `\x1b`, `\u202e` … where it is not.
    """
    if text.isprintable():
        return text
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    category = unicodedata.category(character)
    if category == "Zs":
        return " "
    if category in ("Cn", "Co"):  # newer than Python's tables, or a font's own symbol
        return character
    return character.encode("unicode_escape").decode()


def terminal_json(text: str) -> str:
    r"""JSON with the characters that a terminal would act on written as `\u` escapes.

    Args:
        text: Valid JSON; the control characters below U+0020 are escaped in it already.

    Returns:
        JSON of the same value.
    """
    return _HIDDEN_IN_JSON.sub(_json_escape, text)


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(
        f"\\u{units[position]:02x}{units[position + 1]:02x}" for position in range(0, len(units), 2)
    )


def compact_json(body: bytes) -> str:
    """A stored document on one line (files edited by hand have several).

    Args:
        body: UTF-8 JSON.
    """
    return (msgspec.json.format(body, indent=-1) if b"\n" in body else body).decode()


def indented_json(body: bytes) -> str:
    """A stored document over several lines, for people.

    Args:
        body: UTF-8 JSON.
    """
    return msgspec.json.format(body, indent=2).decode()


def cell(document: dict[str, object], path: tuple[str, ...]) -> str:
    """The value at a path as one field of a table or of CSV.

    Text stands for itself, everything else as its JSON; null and missing are empty.

    Args:
        document: The document.
        path: Steps to the value.
    """
    value = value_at(document, path)
    if isinstance(value, str):
        return value
    if value is None or not isinstance(value, bool | int | float | list | dict):
        return ""
    return msgspec.json.encode(value).decode()
