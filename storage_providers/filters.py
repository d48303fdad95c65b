r"""The `where` language: one vocabulary for every provider.

```python
{"status": "pending", "due": {"$lt": "2026-01-01"}, "$or": [{"tags": {"$contains": "home"}}, …]}
```

| operator | matches when the field |
|---|---|
| `$eq`, or the bare value | equals the value; `None` equals null and missing |
| `$ne` | does not equal it; so it matches missing |
| `$gt $gte $lt $lte` | is of the value's kind (number or text) and so ordered |
| `$in`, `$nin` | equals one of the values, or none of them |
| `$exists` | is there (`True`, also when null) or is not (`False`) |
| `$prefix` | is text that begins so |
| `$contains` | is text that holds the text, or an array with the value as a member |
| `$not` | does not match the operators it holds |
| `$and $or` (lists), `$not` | combine whole conditions |
| `$text` | full text: a document holding every word, under the capability `text_search` |

Paths are dotted and step through objects only; `\` takes the next character literally, so
`a\.b` is one field. Order: null and missing < numbers (false = 0, true = 1) < text by code point;
arrays and objects don't sort (they stand with null). Integers beyond 64 bits compare as doubles.
Values to compare with are text, numbers, booleans and `None`.

The evaluation here is the reference: the SQL engine agrees with it on generated cases.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from storage_providers._json import JsonObject
from storage_providers.errors import InvalidArgumentError, UnsupportedOperationError
from storage_providers.protocol import Query

__all__ = [
    "And",
    "Compare",
    "Node",
    "Not",
    "Or",
    "Order",
    "Path",
    "Predicate",
    "Scalar",
    "SortKey",
    "Text",
    "compile_where",
    "decode_cursor",
    "encode_cursor",
    "parse_order",
    "parse_path",
    "parse_where",
    "sort_key",
    "sortable",
    "value_at",
]

Path: TypeAlias = tuple[str, ...]
Scalar: TypeAlias = "str | int | float | None"
Operator: TypeAlias = Literal["eq", "gt", "gte", "lt", "lte", "in", "exists", "prefix", "contains"]

MAX_DEPTH: Final = 20
"""Deepest nesting of `where`. D1 allows expressions 100 deep (measured on workerd) and one of our
levels takes up to four of SQL's."""


class Compare(msgspec.Struct, frozen=True):
    """One field against one value (`in`: a tuple of values, `exists`: True)."""

    path: Path
    operator: Operator
    value: Any

    def __repr__(self) -> str:
        return f"Compare({'.'.join(self.path)!r}, {self.operator!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # The value may be one of a document's.
        return [("path", self.path), ("operator", self.operator)]


class And(msgspec.Struct, frozen=True):
    """All of the parts; without any, everything matches."""

    parts: tuple[Node, ...]


class Or(msgspec.Struct, frozen=True):
    """At least one of the parts; without any, nothing matches."""

    parts: tuple[Node, ...]


class Not(msgspec.Struct, frozen=True):
    """Not the part."""

    part: Node


class Text(msgspec.Struct, frozen=True):
    """Every word occurs in the collection's declared text fields."""

    words: tuple[str, ...]


Node: TypeAlias = And | Or | Not | Compare | Text
Predicate: TypeAlias = Callable[[JsonObject], bool]


# --- parsing -----------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def parse_path(text: str) -> Path:
    """Split a dotted path into its steps.

    Raises:
        InvalidArgumentError: A step is empty or the path ends in a lone backslash.
    """
    steps = text.split(".")
    if "\\" in text:
        steps, current, characters = list[str](), "", iter(text)
        for character in characters:
            if character == "\\":
                literal = next(characters, None)
                if literal is None:
                    raise InvalidArgumentError(f"path {text!r} ends in a lone backslash")
                current += literal
            elif character == ".":
                steps.append(current)
                current = ""
            else:
                current += character
        steps.append(current)
    if not all(steps):
        raise InvalidArgumentError(f"path {text!r} has an empty step; write 'field' or 'a.b'")
    if "\x00" in text:
        raise InvalidArgumentError("a path can't hold U+0000")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidArgumentError("a path is not valid Unicode text") from None
    return tuple(steps)


def parse_where(where: Mapping[str, Any] | None) -> Node | None:
    """Check a `where` and turn it into a tree; `None` when it matches everything.

    Raises:
        InvalidArgumentError: An operator is unknown or a value does not fit it.
    """
    if not where:
        if where is None or isinstance(where, Mapping):
            return None
        raise InvalidArgumentError(f"'where' is a mapping, not {type(where).__name__}")
    return _parse_condition(where, 0)


def _parse_condition(where: object, depth: int) -> Node:
    if not isinstance(where, Mapping):
        raise InvalidArgumentError(f"a condition is a mapping, not {type(where).__name__}")
    if depth > MAX_DEPTH:
        raise InvalidArgumentError(f"'where' is nested deeper than {MAX_DEPTH} levels")
    parts: list[Node] = []
    for key, operand in cast("Mapping[object, object]", where).items():
        if not isinstance(key, str):
            raise InvalidArgumentError(f"a field name is text, not {type(key).__name__}")
        if key in ("$and", "$or"):
            if not isinstance(operand, list | tuple):
                raise InvalidArgumentError(f"{key} takes a list of conditions")
            conditions = cast("Sequence[object]", operand)
            members = tuple(_parse_condition(member, depth + 1) for member in conditions)
            parts.append(And(members) if key == "$and" else Or(members))
        elif key == "$not":
            parts.append(Not(_parse_condition(operand, depth + 1)))
        elif key == "$text":
            parts.append(_parse_text(operand))
        elif key.startswith("$"):
            raise InvalidArgumentError(
                f"unknown operator {key!r}; a field that begins with '$' is written '\\{key}'"
            )
        else:
            parts.append(_parse_field(parse_path(key), key, operand, depth))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _parse_text(operand: object) -> Text:
    words = tuple(operand.split()) if isinstance(operand, str) else ()
    if not words:
        raise InvalidArgumentError("$text takes text with at least one word")
    return Text(words)


def _parse_field(path: Path, name: str, operand: object, depth: int) -> Node:
    if not isinstance(operand, Mapping):
        return Compare(path, "eq", _scalar(name, "$eq", operand))
    operators = cast("Mapping[object, object]", operand)
    if not operators or not all(isinstance(key, str) and key[:1] == "$" for key in operators):
        raise InvalidArgumentError(
            f"{name!r} can't be compared with an object; use dotted paths or operators such as $eq"
        )
    parts = tuple(
        _parse_operator(path, name, cast(str, key), value, depth)
        for key, value in operators.items()
    )
    return parts[0] if len(parts) == 1 else And(parts)


def _parse_operator(path: Path, name: str, operator: str, value: object, depth: int) -> Node:
    match operator:
        case "$eq":
            return Compare(path, "eq", _scalar(name, operator, value))
        case "$ne":
            return Not(Compare(path, "eq", _scalar(name, operator, value)))
        case "$gt" | "$gte" | "$lt" | "$lte":
            scalar = _scalar(name, operator, value)
            if scalar is None:
                raise InvalidArgumentError(f"{name!r}: {operator} takes a number or text, not None")
            return Compare(path, cast(Operator, operator[1:]), scalar)
        case "$in" | "$nin":
            if not isinstance(value, list | tuple):
                raise InvalidArgumentError(f"{name!r}: {operator} takes a list of values")
            members = tuple(
                _scalar(name, operator, member) for member in cast("Sequence[object]", value)
            )
            inside = Compare(path, "in", members)
            return inside if operator == "$in" else Not(inside)
        case "$exists":
            if not isinstance(value, bool):
                raise InvalidArgumentError(f"{name!r}: $exists takes True or False")
            present = Compare(path, "exists", True)
            return present if value else Not(present)
        case "$prefix":
            if not isinstance(value, str):
                raise InvalidArgumentError(f"{name!r}: $prefix takes text")
            return Compare(path, "prefix", _scalar(name, operator, value))
        case "$contains":
            return Compare(path, "contains", _scalar(name, operator, value))
        case "$not":
            if depth > MAX_DEPTH:
                raise InvalidArgumentError(f"'where' is nested deeper than {MAX_DEPTH} levels")
            if not isinstance(value, Mapping):
                raise InvalidArgumentError(f"{name!r}: $not takes operators such as {{'$gt': 5}}")
            inner = cast("Mapping[str, object]", value)
            return Not(_parse_field(path, name, inner, depth + 1))
        case _:
            raise InvalidArgumentError(
                f"{name!r}: unknown operator {operator!r}; there are $eq $ne $gt $gte $lt $lte "
                "$in $nin $exists $prefix $contains $not"
            )


def _scalar(name: str, operator: str, value: object) -> Scalar:
    """A value to compare with, as it compares: booleans as 0 and 1, huge integers as doubles."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidArgumentError(f"{name!r}: {operator}: not valid Unicode text") from None
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgumentError(f"{name!r}: {operator} can't compare with {value}")
    if value is None or isinstance(value, int | float):
        return sortable(value)
    raise InvalidArgumentError(
        f"{name!r}: {operator} compares with text, numbers, booleans or None, "
        f"not {type(value).__name__}"
    )


# --- values and their order --------------------------------------------------------------------

_MISSING: Final = object()
_MIN_INT64: Final = -(2**63)
_MAX_INT64: Final = 2**63 - 1


def value_at(document: JsonObject, path: Path) -> Any:
    """The value at a path, or a private marker (equal to nothing) when it is missing."""
    value: Any = document
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return _MISSING
        value = cast(JsonObject, value)[step]
    return value


def sortable(value: object) -> Scalar:
    """A value as it compares.

    Null, missing, arrays and objects as `None`, booleans as 0 and 1, integers beyond 64 bits as
    doubles.
    """
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        if _MIN_INT64 <= value <= _MAX_INT64:
            return value
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return value if isinstance(value, str | float) else None


# --- evaluating --------------------------------------------------------------------------------


def compile_where(node: Node | None) -> Predicate:
    """Make the predicate that evaluates a parsed `where` on decoded documents.

    Raises:
        UnsupportedOperationError: It holds `$text`, which only a full-text index answers.
    """
    match node:
        case None:
            return lambda document: True
        case And(parts):
            predicates = [compile_where(part) for part in parts]
            return lambda document: all(predicate(document) for predicate in predicates)
        case Or(parts):
            alternatives = [compile_where(part) for part in parts]
            return lambda document: any(predicate(document) for predicate in alternatives)
        case Not(part):
            inner = compile_where(part)
            return lambda document: not inner(document)
        case Compare(path, operator, value):
            test = _TESTS[operator](value)
            return lambda document: test(value_at(document, path))
        case Text():
            raise UnsupportedOperationError(
                "$text needs a provider with the capability text_search"
            )


Test: TypeAlias = Callable[[Any], bool]


def _test_eq(wanted: Scalar) -> Test:
    if wanted is None:
        return lambda value: value is None or value is _MISSING
    return lambda value: sortable(value) == wanted


def _test_in(wanted: tuple[Scalar, ...]) -> Test:
    tests = [_test_eq(member) for member in wanted]
    return lambda value: any(test(value) for test in tests)


def _test_range(compare: Callable[[Any, Any], bool]) -> Callable[[Scalar], Test]:
    def make(bound: Scalar) -> Test:
        kind = str if isinstance(bound, str) else (int, float)

        def test(value: Any) -> bool:
            key = sortable(value)
            return isinstance(key, kind) and compare(key, bound)

        return test

    return make


def _test_contains(wanted: Scalar) -> Test:
    def test(value: Any) -> bool:
        if isinstance(value, list):
            members = cast("list[object]", value)
            if wanted is None:
                return None in members
            return any(sortable(member) == wanted for member in members)
        return isinstance(value, str) and isinstance(wanted, str) and wanted in value

    return test


_TESTS: Final[dict[str, Callable[[Any], Test]]] = {
    "eq": _test_eq,
    "in": _test_in,
    "gt": _test_range(lambda key, bound: key > bound),
    "gte": _test_range(lambda key, bound: key >= bound),
    "lt": _test_range(lambda key, bound: key < bound),
    "lte": _test_range(lambda key, bound: key <= bound),
    "exists": lambda _: lambda value: value is not _MISSING,
    "prefix": lambda wanted: lambda value: isinstance(value, str) and value.startswith(wanted),
    "contains": _test_contains,
}


# --- ordering and cursors ----------------------------------------------------------------------


class Order(msgspec.Struct, frozen=True):
    """One field of `order_by`."""

    path: Path
    descending: bool


@lru_cache(maxsize=1024)
def parse_order(order_by: tuple[str, ...]) -> tuple[Order, ...]:
    """Parse `order_by`, always ending in `id`, which breaks ties in the last field's direction.

    Raises:
        InvalidArgumentError: A path is wrong or named twice.
    """
    orders = [
        Order(parse_path(field.removeprefix("-")), field.startswith("-")) for field in order_by
    ]
    paths = [order.path for order in orders]
    if len(set(paths)) != len(paths):
        raise InvalidArgumentError(f"order_by names a field twice: {', '.join(order_by)}")
    if ("id",) not in paths:
        orders.append(Order(("id",), bool(orders) and orders[-1].descending))
    return tuple(orders)


class SortKey:
    """A document's place in an order; compares by the rules above, descending fields reversed."""

    __slots__ = ("_descending", "values")

    def __init__(self, values: Sequence[Scalar], descending: Sequence[bool]) -> None:
        self.values = tuple(values)
        self._descending = tuple(descending)

    def __lt__(self, other: SortKey) -> bool:
        for mine, theirs, descending in zip(
            self.values, other.values, self._descending, strict=True
        ):
            left, right = _ranked(mine), _ranked(theirs)
            if left != right:
                return left > right if descending else left < right
        return False


def _ranked(value: Scalar) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    return (2, value) if isinstance(value, str) else (1, value)


def sort_key(document: JsonObject, order: Sequence[Order]) -> SortKey:
    """The place of a document in an order."""
    return SortKey(
        [sortable(value_at(document, part.path)) for part in order],
        [part.descending for part in order],
    )


def _fingerprint(query: Query) -> str:
    shape = msgspec.json.encode([query.collection, query.where, query.order_by])
    return base64.urlsafe_b64encode(hashlib.blake2b(shape, digest_size=9).digest()).decode()


def encode_cursor(query: Query, values: Sequence[Scalar]) -> str:
    """A keyset cursor: where the last item stood in `parse_order(query.order_by)`."""
    # An infinite key stands for an integer beyond every double; JSON has no word for it.
    keys = [
        {"inf": key > 0} if isinstance(key, float) and math.isinf(key) else key for key in values
    ]
    body = msgspec.json.encode([_fingerprint(query), keys])
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def decode_cursor(query: Query) -> tuple[Scalar, ...]:
    """The sort key that `query.cursor` holds.

    Raises:
        InvalidArgumentError: It is no cursor, or one of another query.
    """
    try:
        text = cast(str, query.cursor)
        padded = text + "=" * (-len(text) % 4)
        fingerprint, keys = msgspec.json.decode(
            base64.b64decode(padded, altchars=b"-_", validate=True), type=tuple[str, list[Any]]
        )
        order = parse_order(query.order_by)
        values = tuple(
            (math.inf if key["inf"] else -math.inf) if isinstance(key, dict) else sortable(key)
            for key in keys
        )
    except (ValueError, TypeError, KeyError, msgspec.MsgspecError):
        raise InvalidArgumentError("the cursor is damaged; begin again without one") from None
    if fingerprint != _fingerprint(query):
        raise InvalidArgumentError(
            "the cursor belongs to another query; collection, where and order_by must stay the same"
        )
    if len(values) != len(order):
        raise InvalidArgumentError("the cursor is damaged; begin again without one")
    return values
