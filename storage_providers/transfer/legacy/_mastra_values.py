"""Mastra's values as documents have them: JSON, times, what messages say."""

from __future__ import annotations

import math
from typing import Any, Final, cast

import msgspec

from storage_providers._clock import format_timestamp, parse_timestamp
from storage_providers.agents.models import MessageContent
from storage_providers.errors import InvalidDocumentError

__all__ = ["content_of", "json_of", "jsonb", "time_of"]

_UNITS_PER_MS: Final = ((1e11, 0.001), (1e14, 1), (1e17, 1e3), (math.inf, 1e6))
"""Numbers up to the first are times in a unit, of which the second make a millisecond. Ours: as
seconds 1e11 is the year 5138, as milliseconds 1973, and so on for micro- and nanoseconds."""


def time_of(value: object, field: str) -> str:
    """A time, ISO 8601 or a number since 1970, as documents carry it.

    Numbers are seconds, milliseconds, microseconds or nanoseconds, whichever makes a time between
    1973 and 5138.

    Raises:
        InvalidDocumentError: It is no time.
    """
    try:
        if isinstance(value, str):
            number = _number(value)
            if number is None:
                return format_timestamp(parse_timestamp(value.strip()))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = value
        else:
            raise ValueError
        unit = next(unit for limit, unit in _UNITS_PER_MS if abs(number) < limit)
        # Whole numbers stay whole: nanoseconds have more digits than a float.
        if isinstance(number, int) and unit >= 1:
            return format_timestamp(number // int(unit))
        return format_timestamp(int(number / unit))
    except (ValueError, OverflowError, StopIteration):
        raise InvalidDocumentError(
            "it is neither an ISO 8601 time nor a number", field=field
        ) from None


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def json_of(value: object, field: str, *, strict: bool) -> Any:
    """What a JSON column holds, as text or as SQLite's JSONB.

    Args:
        value: The value.
        field: The column, for the error.
        strict: Whether it can't be anything but JSON. Other columns take any value: objects and
            lists are written into them as JSON, text as it is.

    Raises:
        InvalidDocumentError: It is not JSON, though it must be.
    """
    if isinstance(value, bytes):
        return jsonb(value, field)
    if not isinstance(value, str):
        return value
    try:
        found: Any = msgspec.json.decode(value)
        whole = strict or isinstance(found, dict | list)
        return cast(Any, found) if whole else value
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        if not strict:
            return value
        raise InvalidDocumentError(
            f"it is not valid JSON ({len(value)} characters)", field=field
        ) from None


def content_of(value: object, kind: str) -> dict[str, Any]:
    """What a message says, in format 2.

    The column is text. It is JSON where it reads as a content with parts or as parts of format 1;
    any other text is what was said, whatever it looks like.

    Args:
        value: The column.
        kind: The message's `type`: `v2` for contents of format 2.

    Raises:
        InvalidDocumentError: It is cut short, or no content at all.
    """
    if isinstance(value, bytes):
        value = jsonb(value, "content")
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        whole = value.lstrip()
        strict = (kind == "v2" and whole[0] == "{") or whole.startswith('{"format":2,')
        found = json_of(value, "content", strict=strict)
        if _is_content(found):
            value = found
    return MessageContent.of(value).to_document()


def _is_content(value: object) -> bool:
    if isinstance(value, dict):
        content = cast("dict[str, object]", value)
        return isinstance(content.get("parts"), list) or content.get("format") == 2
    if not isinstance(value, list) or not value:
        return False
    parts = cast("list[object]", value)
    return all(
        isinstance(part, dict) and isinstance(cast("dict[str, object]", part).get("type"), str)
        for part in parts
    )


# --- JSONB -------------------------------------------------------------------------------------


def jsonb(data: bytes, field: str) -> Any:
    """Decode SQLite's JSONB, which LibSQL files hold, by any version of SQLite.

    Source: sqlite.org/jsonb.html (read 2026-11).

    Raises:
        InvalidDocumentError: It is damaged, or some other bytes.
    """
    try:
        value, end = _element(data, 0, len(data))
        if end == len(data):
            return value
    except (ValueError, IndexError, KeyError, TypeError, RecursionError, msgspec.DecodeError):
        pass
    raise InvalidDocumentError(f"it is not valid JSONB ({len(data)} bytes)", field=field)


_CONSTANTS: Final[dict[int, bool | None]] = {0: None, 1: True, 2: False}
_ARRAY: Final = 11
_OBJECT: Final = 12


def _element(data: bytes, at: int, limit: int) -> tuple[Any, int]:
    kind, size = data[at] & 15, data[at] >> 4
    at += 1
    if size > 11:
        width = 1 << (size - 12)
        size = int.from_bytes(data[at : at + width])
        at += width
    end = at + size
    if end > limit:
        raise ValueError("cut short")
    if kind in (_ARRAY, _OBJECT):
        members: list[Any] = []
        while at < end:
            member, at = _element(data, at, end)
            members.append(member)
        pairs = zip(members[::2], members[1::2], strict=True) if kind == _OBJECT else ()
        return (dict(pairs) if kind == _OBJECT else members), end
    return _scalar(kind, data[at:end].decode()), end


def _scalar(kind: int, text: str) -> Any:
    match kind:
        case 3 | 5:
            return msgspec.json.decode(text)
        case 4:
            return int(text, 16)
        case 6:
            return float(text)
        case 7 | 10:
            return text
        case 8:
            return msgspec.json.decode(f'"{text}"')
        case _:
            # 9 is text with escapes of JSON5, which Mastra's JSON.stringify never makes.
            return _CONSTANTS[kind]
