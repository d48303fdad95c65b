"""How an index is used for a query: which of its entries to list, and in what order they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from storage_providers.filters import Order, Path, Scalar
from storage_providers.providers._objects.entries import ANY_TEXT, LAST, IndexKeys, directed
from storage_providers.providers._objects.spans import (
    Conditions,
    Spans,
    holds,
    is_exact,
    single,
    spans_at,
)

__all__ = ["ID", "Access", "Arrangement", "Range", "access_of", "goal_of"]

MAX_RANGES: Final = 16
"""Listings that one query joins at most; with more values, one over all of them is sifted. Ours."""

ID: Final = ("id",)

Arrangement: TypeAlias = Literal["listed", "merged", "selected", "sorted"]
"""How documents come into order: as they are listed; by merging listings; by looking through all
keys for the first ones; by reading all documents first."""


class Range(msgspec.Struct, frozen=True):
    """Part of an index's entries, as texts behind its folder.

    Attributes:
        begin: The values of the leading fields that its listing shares.
        start: Where it begins.
        stop: Where it ends.
    """

    begin: str
    start: str
    stop: str


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How an index is used.

    Attributes:
        keys: The index.
        ranges: What to list, in order.
        leading: Leading fields with given values.
        bounded: Whether the field behind them is bounded.
        tests: What the values of other fields must be in, by their position.
        id_spans: What ids must be in.
        exact: Whether entries tell all that `where` asks for.
        arrangement: How the wanted order comes about.
    """

    keys: IndexKeys
    ranges: tuple[Range, ...]
    leading: int
    bounded: bool
    tests: tuple[tuple[int, Spans], ...]
    id_spans: Spans | None
    exact: bool
    arrangement: Arrangement

    def passes(self, values: str, item_id_key: str) -> bool:
        """Whether an entry may be a match, as far as its key tells."""
        if self.id_spans is not None and not holds(self.id_spans, item_id_key):
            return False
        if not self.tests:
            return True
        pieces = self.keys.pieces(values)
        return all(holds(spans, pieces[position]) for position, spans in self.tests)

    def behind(self, values: Mapping[Path, Scalar]) -> tuple[Range, ...]:
        """What is left of the ranges behind a document with these values, when in order.

        Args:
            values: Of all fields of the query's order and of those with one given value.
        """
        keys, merged = self.keys, self.arrangement == "merged"
        place, ended = "", False
        for position in range(self.leading if merged else 0, len(keys.orders)):
            path = keys.orders[position].path
            place += keys.value(position, values[path])
            if path == ID:
                ended = True
                break
        if not ended:
            place += keys.id_key(str(values[ID]))
        place += LAST
        left = (
            Range(each.begin, max(each.start, each.begin + place if merged else place), each.stop)
            for each in self.ranges
        )
        return tuple(each for each in left if each.start < each.stop)


def cut(order: Sequence[Order]) -> list[Order]:
    """An order as far as it matters: nothing behind `id` does."""
    position = next(at for at, each in enumerate(order) if each.path == ID)
    return list(order[: position + 1])


def goal_of(order: Sequence[Order], conditions: Conditions) -> list[Order]:
    """What of a query's order is left to bring about: fields of one given value are in order."""
    constants = conditions.constants.keys() - {ID}
    return [each for each in cut(order) if each.path not in constants]


def access_of(
    keys: IndexKeys, conditions: Conditions, goal: Sequence[Order], id_spans: Spans | None
) -> Access:
    """How an index would be used.

    Args:
        keys: The index.
        conditions: What the query's `where` asks of single fields.
        goal: The query's order, `goal_of`.
        id_spans: What ids must be in.
    """
    paths = [order.path for order in keys.orders]
    spans = [spans_at(conditions, path, keys) for path in paths]
    used = [each for each in conditions.compares if each.path == ID or each.path in paths]
    exact = conditions.complete and len(used) == len(conditions.compares)
    exact = exact and all(is_exact(each) for each in used)
    if keys.index.each:
        members, exact = _members(keys, conditions)
        spans = [members]
    begins = _begins(spans)
    leading, listings = len(begins) - 1, begins[-1]
    bounds = spans[leading] if leading < len(spans) else None
    sifted = leading
    hull = [("", LAST)]
    if bounds is not None:
        hull = [(span.start, span.stop) for span in bounds]
        if len(listings) * len(bounds) <= MAX_RANGES:
            sifted += 1
        else:
            hull = [(hull[0][0], hull[-1][1])]
    ranges = [
        Range(begin, begin + start, begin + stop) for begin in listings for start, stop in hull
    ]
    plain = [] if keys.index.each else [spans_at(conditions, path) for path in paths]
    tests = [(at, each) for at, each in enumerate(plain) if at >= sifted and each is not None]
    return Access(
        keys=keys,
        ranges=tuple(ranges),
        leading=leading,
        bounded=bounds is not None,
        tests=tuple(tests),
        id_spans=id_spans,
        exact=exact,
        arrangement=_arrangement(keys, conditions, goal, leading, len(listings), exact=exact),
    )


def _begins(spans: Sequence[Spans | None]) -> list[list[str]]:
    """With what entries may begin: by no value, by that of the first field, and so on."""
    begins = [[""]]
    for each in spans:
        if each is None or not all(span.single for span in each):
            break
        if len(begins[-1]) * len(each) > MAX_RANGES:
            break
        begins.append([begin + span.start for begin in begins[-1] for span in each])
    return begins


def _members(keys: IndexKeys, conditions: Conditions) -> tuple[Spans | None, bool]:
    """Where in an index over members the documents are that a `$contains` may match."""
    path = keys.orders[0].path
    found = [c for c in conditions.compares if c.path == path and c.operator == "contains"]
    if not found:
        return None, False
    compare, text = found[0], directed(ANY_TEXT, descending=keys.orders[0].descending)
    spans = [single(keys.value(0, compare.value))]
    others = [each for each in conditions.compares if each is not compare]
    exact = conditions.complete and all(each.path == ID and is_exact(each) for each in others)
    if isinstance(compare.value, str):
        # Text that holds the text matches too.
        spans.append(single(text))
        exact = False
    return tuple(sorted(spans)), exact


def _arrangement(
    keys: IndexKeys,
    conditions: Conditions,
    goal: Sequence[Order],
    leading: int,
    listings: int,
    *,
    exact: bool,
) -> Arrangement:
    goal, fields = list(goal), cut([*keys.orders, Order(ID, keys.ids_descending)])
    if goal == goal_of(fields[leading:] or fields[-1:], conditions):
        return "listed" if listings <= 1 else "merged"
    if keys.index.each:
        return "sorted"
    if goal == goal_of(fields, conditions):
        return "listed"
    known = {order.path for order in fields} | {ID}
    return "selected" if exact and all(order.path in known for order in goal) else "sorted"
