"""`where` as SQL: conditions over a document's JSON, with every value bound.

A field's *value expression* is the same text wherever it is used, in an index, a condition or an
order, because SQLite only uses an index whose expression is the one asked for. Paths are escaped
literals for the same reason; values are always bound.

A compiled condition is true exactly for the documents that `filters.compile_where` matches. For the
others it is false or NULL, so `NOT` is written `(…) IS NOT TRUE`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from storage_providers.errors import UnsupportedOperationError
from storage_providers.filters import And, Compare, Node, Not, Or, Path, Scalar, Text

__all__ = ["Field", "Parameters", "Sources", "compile_condition", "field", "literal"]

MANY_VALUES: Final = 8
"""From here on the values of `$in` travel as one JSON text, so the statement stays the same."""

_EXACT_FLOATS: Final = 2.0**53


class Parameters:
    """The bound values of one statement, by number, so that fragments may come in any order."""

    __slots__ = ("values",)

    def __init__(self, *values: Any) -> None:
        self.values: list[Any] = list(values)

    def add(self, value: Any) -> str:
        """Bind a value and return its placeholder."""
        self.values.append(value)
        return f"?{len(self.values)}"

    def scalar(self, value: Scalar) -> str:
        """Bind a value to compare a field with.

        SQLite reads a number from JSON by its own arithmetic, which may differ from Python's in the
        last digit (as it does in 3.40). So both sides of a comparison are read by SQLite.
        """
        if isinstance(value, float):
            if math.isinf(value):
                return "9e999" if value > 0 else "-9e999"
            if not value.is_integer() or abs(value) >= _EXACT_FLOATS:
                return f"json_extract({self.add(_json(value))},'$')"
        return self.add(value)


class Sources(NamedTuple):
    """What a condition may lean on beside the documents themselves.

    Attributes:
        members: Side tables of array members, by the path they index.
        text: The full-text table, if text fields are declared.
    """

    members: Mapping[Path, str] = MappingProxyType({})
    text: str | None = None


# --- fields ------------------------------------------------------------------------------------


class Field(NamedTuple):
    """SQL for one field of the document in the column `body`.

    Attributes:
        value: What it compares as: text, a number, or NULL.
        type: Its JSON type as text; NULL when it is missing.
        members: A table function with one row (`atom`, `type`) for each member of an array.
        tree: The same for everything below the field, itself included.
        indexable: Whether `value` may stand in an index.
    """

    value: str
    type: str
    members: str
    tree: str
    indexable: bool = True


def literal(text: str) -> str:
    """Text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


@lru_cache(maxsize=4096)
def field(path: Path, body: str = "body") -> Field:
    """SQL for a field of the document in `body` (a column or a trigger's `new.body`)."""
    if path == ("id",):
        owner = body.rpartition(".")[0]
        column = f"{owner}.id" if owner else "id"
        return Field(column, "'text'", "json_each(NULL)", f"json_tree(json_quote({column}))")
    container: str = body
    steps: Path = ()
    for step in path[:-1]:
        if _is_plain(step):
            steps = (*steps, step)
        else:
            rows = _rows(container, steps, step)
            container, steps = f"(SELECT value {rows} AND type='object')", ()
    if _is_plain(path[-1]):
        where = f"{container},{_json_path((*steps, path[-1]))}"
        return Field(
            f"CASE json_type({where}) WHEN 'array' THEN NULL WHEN 'object' THEN NULL "
            f"ELSE json_extract({where}) END",
            f"json_type({where})",
            f"json_each({where})",
            f"json_tree({where})",
            indexable=container == body,
        )
    rows = _rows(container, steps, path[-1])
    return Field(
        f"(SELECT atom {rows})",
        f"(SELECT type {rows})",
        f"json_each((SELECT value {rows} AND type='array'))",
        f"json_tree((SELECT iif(atom IS NULL,value,json_quote(atom)) {rows}))",
        indexable=False,
    )


def _rows(container: str, steps: Path, key: str) -> str:
    return f"FROM json_each({container},{_json_path(steps)}) WHERE key={literal(key)}"


def _json_path(steps: Path) -> str:
    # Escaped as in the document: SQLite before 3.45 compares the two as they are written.
    return literal("$" + "".join(f".{_json(step)}" for step in steps))


def _is_plain(step: str) -> bool:
    """Whether a JSON path can name the key in every SQLite: some end it at the first quote."""
    return '"' not in step


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


# --- conditions --------------------------------------------------------------------------------


def compile_condition(node: Node | None, parameters: Parameters, sources: Sources) -> str | None:
    """Compile a parsed `where`; `None` when it matches everything.

    Args:
        node: The parsed `where`.
        parameters: Receives the bound values; `?1` is the scope.
        sources: Side tables that can answer parts of it.

    Raises:
        UnsupportedOperationError: It holds `$text` and no text fields are declared.
    """
    return None if node is None else _Compiler(parameters, sources).node(node)


class _Compiler:
    def __init__(self, parameters: Parameters, sources: Sources) -> None:
        self._parameters = parameters
        self._sources = sources

    def node(self, node: Node) -> str:
        match node:
            case And(parts):
                return _joined([self.node(part) for part in parts], "AND") if parts else "1"
            case Or(parts):
                return _joined([self.node(part) for part in parts], "OR") if parts else "0"
            case Not(part):
                return f"({self.node(part)} IS NOT TRUE)"
            case Text(words):
                return self._text(words)
            case Compare(path, operator, value):
                return self._compare(path, operator, value)

    def _compare(self, path: Path, operator: str, value: Any) -> str:
        at = field(path)
        if path == ("id",):
            # The column is text: SQLite would turn a number into text to compare it.
            if operator == "in":
                value = _texts(value)
            elif _is_number(value) and operator != "exists":
                return "0"
        match operator:
            case "eq":
                return self._equals(path, value)
            case "in":
                return self._inside(path, value)
            case "exists":
                return f"({at.type} IS NOT NULL)"
            case "prefix":
                return self._prefix(at, value)
            case "contains":
                return self._contains(path, value)
            case "gt" | "gte":
                sign = ">" if operator == "gt" else ">="
                above = f"{at.value}{sign}{self._parameters.scalar(value)}"
                # Every number sorts before every text.
                return f"({above})" if isinstance(value, str) else f"({above} AND {at.value}<'')"
            case "lt" | "lte":
                sign = "<" if operator == "lt" else "<="
                below = f"{at.value}{sign}{self._parameters.scalar(value)}"
                return f"({at.value}>='' AND {below})" if isinstance(value, str) else f"({below})"
            case _:
                raise UnsupportedOperationError(f"${operator} has no SQL")

    def _equals(self, path: Path, value: Scalar) -> str:
        at = field(path)
        if value is None:
            # Arrays and objects have no value either, but are not null.
            return f"({at.value} IS NULL AND ifnull({at.type},'null')='null')"
        if isinstance(value, str) and "\x00" in value:
            # SQLite before 3.45 ends extracted text at U+0000; the JSON itself is whole.
            if path == ("id",):
                return "0"
            if at.indexable:
                wanted = self._parameters.add(_json(value))
                return f"((body->{_json_path(path)}) IS {wanted})"
        return f"({at.value} IS {self._parameters.scalar(value)})"

    def _inside(self, path: Path, values: tuple[Scalar, ...]) -> str:
        plain: list[Scalar] = []
        parts: list[str] = []
        for value in dict.fromkeys(values):
            if (
                value is None
                or (isinstance(value, float) and math.isinf(value))
                or (isinstance(value, str) and "\x00" in value)
            ):
                parts.append(self._equals(path, value))
            else:
                plain.append(value)
        if plain:
            if len(plain) > MANY_VALUES:
                members = f"SELECT value FROM json_each({self._parameters.add(_json(plain))})"
            else:
                members = ",".join(self._parameters.scalar(value) for value in plain)
            parts.append(f"({field(path).value} IN ({members}))")
        return _joined(parts, "OR") if parts else "0"

    def _prefix(self, at: Field, prefix: str) -> str:
        start = f"{at.value}>={self._parameters.add(prefix)}"
        end = _after_prefix(prefix)
        return (
            f"({start})" if end is None else f"({start} AND {at.value}<{self._parameters.add(end)})"
        )

    def _contains(self, path: Path, value: Scalar) -> str:
        at, table = field(path), self._sources.members.get(path)
        if table is not None:
            return self._contains_indexed(table, value)
        if value is None:
            member = "type='null'"
        else:
            wanted = self._parameters.scalar(value)
            member = f"atom IS {wanted}"
            if isinstance(value, str):
                return (
                    f"(CASE {at.type} WHEN 'text' THEN instr({at.value},{wanted})>0 "
                    f"WHEN 'array' THEN EXISTS(SELECT 1 FROM {at.members} WHERE {member}) END)"
                )
        return f"({at.type}='array' AND EXISTS(SELECT 1 FROM {at.members} WHERE {member}))"

    def _contains_indexed(self, table: str, value: Scalar) -> str:
        rows = f"SELECT rid FROM {table} WHERE scope=?1 AND kind="
        if value is None:
            return f"(rid IN ({rows}2))"
        wanted = self._parameters.scalar(value)
        found = f"{rows}0 AND value={wanted}"
        if isinstance(value, str):
            found += f" UNION ALL {rows}1 AND instr(value,{wanted})>0"
        return f"(rid IN ({found}))"

    def _text(self, words: Sequence[str]) -> str:
        table = self._sources.text
        if table is None:
            raise UnsupportedOperationError(
                "$text needs a collection declared with text_fields; declare them first"
            )
        # FTS5 reads its query as a C string; no token holds U+0000 anyway.
        phrases = ('"' + word.replace("\x00", " ").replace('"', '""') + '"' for word in words)
        wanted = self._parameters.add(" ".join(phrases))
        return f"(rid IN (SELECT rowid FROM {table} WHERE {table} MATCH {wanted}))"


def _texts(values: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    return tuple(value for value in values if isinstance(value, str))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _joined(parts: Sequence[str], word: str) -> str:
    """Join conditions as a balanced tree: SQLite limits the depth of expressions (D1 to 100)."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({_joined(parts[:middle], word)} {word} {_joined(parts[middle:], word)})"


def _after_prefix(prefix: str) -> str | None:
    """The least text after every text with the prefix, by code point; `None`: there is none."""
    for end in range(len(prefix), 0, -1):
        point = ord(prefix[end - 1])
        if point < 0x10FFFF:
            # Surrogates are no characters: U+E000 follows U+D7FF.
            following = 0xE000 if point == 0xD7FF else point + 1
            return prefix[: end - 1] + chr(following)
    return None
