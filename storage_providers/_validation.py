"""Turns what msgspec and pydantic say about a document into words without its content."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["describe_msgspec", "describe_pydantic"]

Problem = tuple[str | None, str]
"""The dotted path of the field, if one is to blame, and what is wrong with it."""

_MSGSPEC_PATH = re.compile(r" - at (?:`key` in )?`\$([^`]*)`$")
_MSGSPEC_FIELD = re.compile(r"Object (missing required|contains unknown) field `([^`]*)`")
_MSGSPEC_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")

_MSGSPEC_REASONS: tuple[tuple[re.Pattern[str], str | None], ...] = (
    # `None`: the message holds types and limits of the model only, and may be passed on.
    (re.compile(r"Expected `[^`]*`(, got `[^`]*`)?"), None),
    (
        re.compile(r"Expected `[^`]*` (of length|at most|at least|matching regex|[<>]=?|with) .*"),
        None,
    ),
    (re.compile(r"Expected `[^`]*` of (at least|at most) length \d+, got \d+"), None),
    (re.compile(r"Expected `int` that's a multiple of -?\d+"), None),
    (re.compile(r"Invalid (RFC3339 encoded \w+|ISO8601 duration|UUID|decimal string)"), None),
    (re.compile(r"Invalid base64 encoded string|Integer value out of range"), None),
    (re.compile(r"Invalid (enum )?value .*", re.DOTALL), "is none of the values the model allows"),
)

_PYDANTIC_SAFE = re.compile(
    r".*_type|.*_parsing_size|missing|none_required|finite_number|extra_forbidden|frozen_.*"
    r"|greater_than.*|less_than.*|multiple_of|string_too_.*|bytes_too_.*|too_short|too_long"
    r"|string_pattern_mismatch|enum|literal_error|(bool|int|float)_parsing|int_from_float"
    r"|timezone_naive|timezone_aware|date_past|date_future|datetime_past|datetime_future"
)
"""Error types whose messages speak of the model alone; others may quote the value."""

_PYDANTIC_TEXT = re.compile(r"(datetime|date|time_delta|time|uuid|url|decimal)(_from_\w+)?_parsing")


def describe_msgspec(error: Exception) -> Problem:
    """Name the field a msgspec error is about and say what is wrong, never the value."""
    message = str(error)
    path: list[str] = []
    if where := _MSGSPEC_PATH.search(message):
        message = message[: where.start()]
        for name, position in _MSGSPEC_STEP.findall(where.group(1)):
            path.append(name or ("*" if position == "..." else position))
    if field := _MSGSPEC_FIELD.fullmatch(message):
        path.append(field.group(2))
        reason = "is missing" if field.group(1) == "missing required" else "is not in the model"
        return ".".join(path), reason
    dotted = ".".join(path) or None
    for pattern, words in _MSGSPEC_REASONS:
        if pattern.fullmatch(message):
            return dotted, words or message[0].lower() + message[1:].replace("`", "")
    return dotted, "is not what the model allows"


def describe_pydantic(errors: Iterable[Any]) -> Problem:
    """Name the first field of pydantic's `errors()` and say what is wrong, never the value."""
    found = list(errors)
    first = found[0]
    dotted = ".".join(str(step) for step in first["loc"]) or None
    kind = str(first["type"])
    if kind == "missing":
        reason = "is missing"
    elif _PYDANTIC_SAFE.fullmatch(kind):
        message = str(first["msg"])
        reason = message[0].lower() + message[1:]
    elif text := _PYDANTIC_TEXT.match(kind):
        reason = f"is not a valid {text.group(1)}"
    else:
        reason = f"is not what the model allows ({kind})"
    if len(found) > 1:
        reason += f"; {len(found) - 1} more fields do not fit either"
    return dotted, reason
