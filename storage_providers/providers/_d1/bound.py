"""Statements as D1 takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from storage_providers.cloudflare.d1 import SqlStatement
from storage_providers.errors import UnsupportedOperationError
from storage_providers.providers._sql import Statement

__all__ = [
    "LIST_BYTES",
    "MAX_CALL_BYTES",
    "MAX_STATEMENT_BYTES",
    "MAX_TEXT_BYTES",
    "bound",
    "check_call",
    "encoded",
    "in_lists",
    "joined",
]

MAX_BOUND: Final = 100
"""Most values bound to a statement. Source: Cloudflare docs, d1/platform/limits (read 2026-11)."""

MAX_STATEMENT_BYTES: Final = 100_000
"""Longest statement, bytes. Source: the same page."""

MAX_TEXT_BYTES: Final = 2_000_000
"""Longest text, and largest row, bytes. Source: the same page."""

MAX_CALL_BYTES: Final = 10_000_000
"""Most bytes of statements and values in one call. Ours: D1 names no limit, but works on a call in
the 128 MB of a Worker; source: Cloudflare docs, workers/platform/limits (read 2026-11)."""

LIST_BYTES: Final = 1_900_000
"""Longest list that is bound as one text. Ours: below `MAX_TEXT_BYTES`."""

MAX_TERMS: Final = 5
"""Most terms of one UNION ALL. Measured on workerd (2026-11); SQLite's own limit is 500."""

_TOKEN: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\?(\d+)""")
"""Quoted text, quoted names, placeholders."""

encoded = msgspec.json.Encoder().encode
"""A value as JSON."""


def bound(statement: Statement) -> SqlStatement:
    """Write numbers into a statement and bind its texts, those beyond the 99th as one JSON text.

    Each text that the statement uses is bound once: D1 refuses values that no placeholder names.

    Raises:
        UnsupportedOperationError: The statement or a text is longer than D1 takes.
    """
    sql, values = statement
    used = [values[int(match[1]) - 1] for match in _TOKEN.finditer(sql) if match[1] is not None]
    texts = list(dict.fromkeys(value for value in used if isinstance(value, str)))
    direct = len(texts) if len(texts) <= MAX_BOUND else MAX_BOUND - 1
    places = {
        text: f"?{number + 1}"
        if number < direct
        else f"json_extract(?{direct + 1},'$[{number - direct}]')"
        for number, text in enumerate(texts)
    }

    def place(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        value = values[int(match[1]) - 1]
        return places[value] if isinstance(value, str) else _literal(value)

    sql = _TOKEN.sub(place, sql)
    parameters = texts[:direct]
    if direct < len(texts):
        parameters.append(encoded(texts[direct:]).decode())
    _check(sql, parameters)
    return sql, parameters


def _literal(value: Any) -> str:
    """A number or NULL in SQL."""
    if value is None:
        return "NULL"
    if not isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} can't be bound")
    number = repr(int(value) if isinstance(value, bool) else value)
    # A minus sign behind another would begin a comment.
    return f"({number})" if number.startswith("-") else number


def _check(sql: str, parameters: Sequence[str]) -> None:
    size = _size(sql)
    if size > MAX_STATEMENT_BYTES:
        raise UnsupportedOperationError(
            f"the conditions are {size} bytes as SQL, D1 takes {MAX_STATEMENT_BYTES}; ask with "
            "fewer, or with '$in' where they name values of one field"
        )
    longest = max(map(_size, parameters), default=0)
    if longest > MAX_TEXT_BYTES:
        raise UnsupportedOperationError(
            f"a value or a list of values is {longest} bytes, D1 takes {MAX_TEXT_BYTES}; ask with "
            "a shorter one"
        )


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def check_call(statements: Iterable[SqlStatement]) -> None:
    """Check that a batch of statements fits one call.

    Raises:
        UnsupportedOperationError: It does not. It can't be split, since one call is what is atomic.
    """
    size = sum(
        _size(sql) + sum(_size(value) for value in values if isinstance(value, str))
        for sql, values in statements
    )
    if size > MAX_CALL_BYTES:
        raise UnsupportedOperationError(
            f"the batch is {size} bytes, D1 takes {MAX_CALL_BYTES} in one call, and only a call is "
            "atomic; write it in several batches"
        )


def joined(statements: Sequence[Statement], limit: int) -> Statement:
    """Statements one after the other as one, which stops after so many rows."""
    while len(statements) > MAX_TERMS:
        groups = range(0, len(statements), MAX_TERMS)
        statements = [joined(statements[at : at + MAX_TERMS], limit) for at in groups]
    if len(statements) == 1:
        return statements[0]
    parts: list[str] = []
    values: list[Any] = []
    for sql, parameters in statements:
        shift = len(values)

        def moved(match: re.Match[str], shift: int = shift) -> str:
            return match[0] if match[1] is None else f"?{int(match[1]) + shift}"

        parts.append(f"SELECT * FROM ({_TOKEN.sub(moved, sql)})")
        values += parameters
    return Statement(f"{' UNION ALL '.join(parts)} LIMIT {limit}", tuple(values))


def in_lists(elements: Iterable[bytes]) -> Iterator[str]:
    """JSON values as arrays of at most `LIST_BYTES`; a longer value stands alone."""
    held: list[bytes] = []
    size = 0
    for element in elements:
        if held and size + len(element) + 2 > LIST_BYTES:
            yield "[" + b",".join(held).decode() + "]"
            held, size = [], 0
        held.append(element)
        size += len(element) + 1
    if held:
        yield "[" + b",".join(held).decode() + "]"
