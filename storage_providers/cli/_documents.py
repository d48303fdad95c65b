"""Documents from an argument, a file or stdin."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NoReturn, cast

from storage_providers._json import JsonObject, decode_object
from storage_providers.cli._errors import UsageError

__all__ = ["documents_in", "given_documents"]


@contextmanager
def given_documents(text: str | None, file: Path | None) -> Generator[Iterable[JsonObject]]:
    """The documents a command was given: as an argument, in a file, or on stdin.

    Args:
        text: The argument; `-` or `None` is stdin.
        file: The file, instead of the argument.

    Yields:
        The documents, read as they are asked for.

    Raises:
        UsageError: There are none, there are two sources, or one is not JSON.
        OSError: The file can't be read.
    """
    if text is not None and file is not None:
        raise UsageError("give the document as an argument or with --file, not both")
    if file is not None and str(file) != "-":
        with file.open(encoding="utf-8-sig") as stream:
            yield documents_in(stream, str(file))
    elif text is not None and text != "-":
        yield documents_in([text], "the document")
    elif sys.stdin.isatty():
        raise UsageError("no document; give it as an argument, with --file or on stdin")
    else:
        yield documents_in(sys.stdin, "stdin")


def documents_in(lines: Iterable[str], source: str) -> Generator[JsonObject]:
    """Read one document, an array of them, or a stream of them (JSON lines, or `jq`'s output).

    JSON lines are read line by line; the other forms are read whole.

    Args:
        lines: The text.
        source: What to call it in errors.

    Yields:
        The documents.

    Raises:
        UsageError: It is not JSON, or something in it is not an object.
    """
    iterator = iter(lines)
    number = 0
    for line in iterator:
        number += 1
        if not line.strip():
            continue
        try:
            yield decode_object(line)
        except ValueError as error:
            if number > 1 and _begins_alone(line):
                raise UsageError(f"{source}, line {number}: {error}") from None
            yield from _values("".join(chain([line], iterator)), source, number)
            return


def _begins_alone(line: str) -> bool:
    """Whether a line looks like a broken document rather than the first line of a longer one."""
    stripped = line.strip()
    return stripped.startswith("{") and stripped != "{"


def _values(text: str, source: str, first_line: int) -> Generator[JsonObject]:
    decoder = json.JSONDecoder(parse_constant=_not_a_number)
    position = len(text) - len(text.lstrip())
    while position < len(text):
        try:
            value, position = cast("tuple[object, int]", decoder.raw_decode(text, position))
        except json.JSONDecodeError as error:
            line = error.lineno + first_line - 1
            raise UsageError(
                f"{source} is not JSON: line {line}, column {error.colno}: {error.msg}"
            ) from None
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{source} is not JSON: {error}") from None
        for member in cast("list[object]", value) if isinstance(value, list) else [value]:
            if not isinstance(member, dict):
                raise UsageError(
                    f"{source} holds a JSON {_kind(member)} where a document should be"
                )
            yield cast(JsonObject, member)
        position += len(text[position:]) - len(text[position:].lstrip())


def _not_a_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _kind(value: object) -> str:
    names: dict[type, str] = {
        str: "text",
        int: "number",
        float: "number",
        bool: "boolean",
        list: "array",
    }
    return names.get(type(value), "null")
