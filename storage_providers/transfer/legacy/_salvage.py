"""Reads JSON strictly, and says what is left of a file that is cut short or written over."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

from storage_providers._json import encode_object
from storage_providers.errors import InvalidDocumentError

__all__ = ["Parsed", "decode_text", "parse_json"]

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<mark>[{}\[\],:])
      | (?P<text>"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*")
      | (?P<word>-?\d[0-9.eE+-]*|true|false|null)
    )""",
    re.VERBOSE,
)
_CLOSERS = {"{": "}", "[": "]"}
_SALVAGE_DEPTH = 2
"""Members down to this depth are kept if they are complete: whole tasks of a list of tasks, whole
sections of a day. A task that is cut in the middle is not made up."""


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What was read from a file.

    Attributes:
        value: The JSON value; with a `reason`, the part of it that is whole.
        found: Whether there is a value at all.
        reason: What is wrong with the file, without its content; `None`: nothing.
    """

    value: Any = None
    found: bool = True
    reason: str | None = None


def decode_text(data: bytes) -> tuple[str, str | None]:
    """The text of a file in UTF-8, UTF-16 or UTF-32, without its byte order mark.

    Returns:
        The text up to the first byte that is none, and what is wrong with that byte.
    """
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding), None
    except UnicodeDecodeError as error:
        good = data[: error.start].decode(encoding, errors="ignore")
        return good, f"it is not {encoding} text from byte {error.start} on"


def parse_json(data: bytes) -> Parsed:
    """Read the bytes of a JSON file."""
    text, flaw = decode_text(data)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
        if flaw is None:
            encode_object({"value": value})
            return Parsed(value=value)
        return Parsed(value=value, reason=flaw)
    except json.JSONDecodeError as error:
        flaw = flaw or (
            f"it is not valid JSON at line {error.lineno}, column {error.colno} ({error.msg})"
        )
        return _salvaged(text, flaw)
    except _UnstorableError as error:
        return Parsed(found=False, reason=str(error))
    except (InvalidDocumentError, RecursionError, ValueError):
        return Parsed(found=False, reason="it holds values that JSON documents can't keep")


class _UnstorableError(Exception):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _UnstorableError("an object in it has the same key twice")
    return result


def _constant(name: str) -> Any:
    raise _UnstorableError(f"it holds {name}, which is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _UnstorableError("it holds a number beyond all doubles")
    return number


def _salvaged(text: str, reason: str) -> Parsed:
    for candidate in (_first_value(text), _completed(text)):
        if candidate is None:
            continue
        try:
            value = json.loads(
                candidate,
                object_pairs_hook=_object,
                parse_constant=_constant,
                parse_float=_float,
            )
            encode_object({"value": value})
        except (_UnstorableError, InvalidDocumentError, RecursionError, ValueError):
            continue
        return Parsed(value=value, reason=reason)
    return Parsed(found=False, reason=reason)


def _first_value(text: str) -> str | None:
    """A whole value at the beginning: a shorter file written over a longer one."""
    start = len(text) - len(text.lstrip())
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return text[start:end] if text[start : start + 1] in ("{", "[") else None


def _completed(text: str) -> str | None:
    """The text up to its last complete member, with what is open closed."""
    stack: list[str] = []
    best: tuple[int, str] | None = None
    after_colon = False
    position = 0
    while match := _TOKEN.match(text, position):
        position = match.end()
        mark = match["mark"]
        if mark in _CLOSERS:
            stack.append(mark)
        elif mark in ("}", "]"):
            if not stack:
                break
            if _CLOSERS[stack.pop()] != mark:
                break
        if mark in (",", ":"):
            after_colon = mark == ":"
            continue
        if match["word"] and position == len(text):
            break  # A number that ends with the file may go on.
        is_key = bool(stack) and stack[-1] == "{" and match["text"] and not after_colon
        if stack and len(stack) <= _SALVAGE_DEPTH and not is_key:
            best = position, "".join(_CLOSERS[mark] for mark in reversed(stack))
        after_colon = False
    return None if best is None else text[: best[0]] + best[1]
