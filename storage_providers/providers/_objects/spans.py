"""Conditions as parts of an index: which keys of values may match, from where to where.

`{"due": {"$gte": "2026"}}` is the text from `2026` on; `{"status": {"$in": ["a", "b"]}}` are two
single values. Whatever does not fit this form (`$or`, `$not`, `$exists`, …) bounds nothing: every
document that a listing proposes is read and the whole `where` evaluated on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import msgspec

from storage_providers.filters import And, Compare, Node, Path, Scalar
from storage_providers.providers._objects.entries import LAST, IndexKeys, value_key

__all__ = ["Conditions", "Span", "Spans", "conditions_of", "holds", "is_exact", "spans_at"]

Encode: TypeAlias = Callable[[Scalar], str]


class Span(msgspec.Struct, frozen=True, order=True):
    """Keys of values from `start` on and before `stop`.

    Attributes:
        start: Where it begins.
        stop: Where it ends.
        single: Whether it is one value: `start` is its key.
    """

    start: str
    stop: str
    single: bool = False


Spans: TypeAlias = "tuple[Span, ...]"
"""Sorted, apart from each other; none: nothing matches."""


class Conditions(msgspec.Struct, frozen=True):
    """What must hold of single fields for a document to match.

    Attributes:
        compares: Each of them.
        complete: Whether a document of which all hold does match: there is nothing else.
    """

    compares: tuple[Compare, ...] = ()
    complete: bool = True

    @property
    def constants(self) -> dict[Path, Scalar]:
        """Fields that have one and the same value, as it sorts, in all matches."""
        return {each.path: each.value for each in self.compares if each.operator == "eq"}


def conditions_of(node: Node | None) -> Conditions:
    """The conditions on single fields that a `where` joins by "and"."""
    match node:
        case None:
            return Conditions()
        case Compare():
            return Conditions((node,))
        case And(parts):
            inner = [conditions_of(part) for part in parts]
            compares = tuple(each for part in inner for each in part.compares)
            return Conditions(compares, all(part.complete for part in inner))
        case _:
            return Conditions((), complete=False)


def is_exact(compare: Compare) -> bool:
    """Whether a value's key tells if the condition holds.

    Null shares its key with arrays and objects, which sort with it and don't equal it.
    """
    if compare.operator == "eq":
        return compare.value is not None
    if compare.operator == "in":
        return None not in compare.value
    return compare.operator in ("gt", "gte", "lt", "lte", "prefix")


def spans_at(conditions: Conditions, path: Path, index: IndexKeys | None = None) -> Spans | None:
    """The values a field may have; `None`: any.

    Args:
        conditions: What must hold.
        path: The field.
        index: As they stand in this index, where the field has its own direction; without one,
            as `value_key` gives them.
    """
    encode: Encode = value_key
    descending = False
    if index is not None:
        position = [order.path for order in index.orders].index(path)
        encode, descending = partial(index.value, position), index.orders[position].descending
    found: Spans | None = None
    for compare in conditions.compares:
        if compare.path == path:
            spans = _spans(compare, encode, descending=descending)
            if spans is not None:
                found = spans if found is None else _meet(found, spans)
    return found


def single(key: str) -> Span:
    """The span of one value, from its key."""
    return Span(key, key + LAST, single=True)


def holds(spans: Sequence[Span], key: str) -> bool:
    """Whether a key is in one of the spans."""
    return any(span.start <= key < span.stop for span in spans)


def _spans(compare: Compare, encode: Encode, *, descending: bool) -> Spans | None:
    value, width = compare.value, 2 if descending else 1
    match compare.operator:
        case "eq":
            return (single(encode(value)),)
        case "in":
            return tuple(sorted({single(encode(member)) for member in value}))
        case "prefix":
            beginning = encode(value)[:-width]  # Without its end.
            return (Span(beginning, beginning + LAST),)
        case "gt" | "gte" | "lt" | "lte":
            key = encode(value)
            kind = key[:width]
            # From the bound on, or up to it; with the bound itself or without.
            with_bound = compare.operator in ("gte", "lte")
            if (compare.operator in ("gt", "gte")) != descending:
                return (Span(key if with_bound else key + LAST, kind + LAST),)
            return (Span(kind, key + LAST if with_bound else key),)
        case _:
            return None


def _meet(left: Spans, right: Spans) -> Spans:
    met = (
        Span(max(one.start, other.start), min(one.stop, other.stop), one.single or other.single)
        for one in left
        for other in right
    )
    return tuple(sorted(span for span in met if span.start < span.stop))
