"""Queries as statements, and rows as pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from storage_providers.filters import (
    And,
    Compare,
    Node,
    Order,
    Path,
    Scalar,
    Text,
    decode_cursor,
    encode_cursor,
    parse_order,
    parse_where,
    sortable,
    value_at,
)
from storage_providers.protocol import Item, Query
from storage_providers.providers._sql import Dialect, Statement, item_columns, live, table_of
from storage_providers.providers._sql.where import Parameters, Sources, compile_condition, field

__all__ = ["Access", "Select", "compile_query", "next_cursor"]

_MOST_ROWS: Final = 2**62


class Select(NamedTuple):
    """The statements that answer a query.

    Attributes:
        stages: Run one after the other until `rows_wanted` rows are there; each continues where
            the one before ended. Rows are those of `_sql.item_columns`.
        total: Counts all matching documents, if the query asked.
        rows_wanted: One more than the page holds, to know whether there is another.
    """

    stages: tuple[Statement, ...]
    total: Statement | None
    rows_wanted: int


class Access(NamedTuple):
    """What the declared indexes offer a query.

    Attributes:
        sources: Side tables that answer conditions.
        ordered: Fields that an index can deliver in order.
        leading: Fields that stand first in an index, so that it finds their values.
    """

    sources: Sources = Sources()
    ordered: frozenset[Path] = frozenset()
    leading: frozenset[Path] = frozenset()


def compile_query(query: Query, access: Access, now_ms: int, *, dialect: Dialect) -> Select:
    """Make the statements that answer a query.

    Args:
        query: The question.
        access: What its collection's declared indexes offer.
        now_ms: Documents that expire then or earlier are left out, epoch ms.
        dialect: What the driver wants.

    Raises:
        InvalidArgumentError: `where`, `order_by` or the cursor is malformed.
        UnsupportedOperationError: `$text` without declared text fields.
    """
    table, scope = table_of(query.collection)
    parameters = Parameters(scope, now_ms)
    node = parse_where(query.where)
    condition = compile_condition(node, parameters, access.sources)
    order = parse_order(query.order_by)
    # No two documents share an id: what stands behind it orders nothing.
    order = order[: 1 + [part.path for part in order].index(("id",))]
    # Without statistics SQLite takes a scope for a few rows, and would rather read all of them in
    # order than look up some and sort. A plus sign forbids it the index of a column.
    by_row, by_value = _looked_up(node, access)
    scope_column = "+scope" if by_row else "scope"
    id_column = "+id" if order[0].path == ("id",) and (by_row or by_value) else "id"
    matching = f"FROM {table} WHERE {scope_column}=?1 AND {live('?2')} AND body IS NOT NULL"
    if condition is not None:
        matching += f" AND {condition}"
    total = None
    if query.total:
        total = Statement(f"SELECT count(*) {matching}", tuple(parameters.values))
    rows_wanted = min(query.limit, _MOST_ROWS) + 1 if query.limit else 0
    if not rows_wanted:
        if query.cursor is not None:
            decode_cursor(query)
        return Select((), total, 0)
    values = tuple(parameters.values)
    stages: list[Statement] = []
    for after, open_order, parameters in _continuations(
        query, order, access.ordered, values, id_column
    ):
        ordering = ",".join(
            (id_column if part.path == ("id",) else field(part.path).value)
            + (" DESC" if part.descending else "")
            for part in open_order
        )
        sql = f"SELECT {item_columns(dialect)} {matching}{after} ORDER BY {ordering} "
        sql += f"LIMIT {parameters.add(rows_wanted)}"
        if query.offset:
            sql += f" OFFSET {parameters.add(min(query.offset, _MOST_ROWS))}"
        stages.append(Statement(sql, tuple(parameters.values)))
    return Select(tuple(stages), total, rows_wanted)


def _looked_up(node: Node | None, access: Access) -> tuple[bool, bool]:
    """Whether side tables name the rows to look at, and whether an index has a list of values."""
    by_row = by_value = False
    for part in _conjuncts(node):
        if isinstance(part, Text):
            by_row = True
        elif isinstance(part, Compare):
            by_row |= part.operator == "contains" and part.path in access.sources.members
            by_value |= part.operator == "in" and part.path in access.leading
    return by_row, by_value


def _conjuncts(node: Node | None) -> list[Node]:
    if node is None:
        return []
    if isinstance(node, And):
        return [each for part in node.parts for each in _conjuncts(part)]
    return [node]


def next_cursor(query: Query, last: Item, dialect: Dialect) -> str:
    """The cursor that continues after an item."""
    document = last.document
    keys = [sortable(value_at(document, part.path)) for part in parse_order(query.order_by)]
    if dialect.cuts_text_at_nul:
        keys = [key.partition("\x00")[0] if isinstance(key, str) else key for key in keys]
    return encode_cursor(query, keys)


# --- continuing after a cursor -----------------------------------------------------------------


class _Continuation(NamedTuple):
    """A condition that continues a listing, the order it leaves open, and what it binds."""

    condition: str
    open_order: Sequence[Order]
    parameters: Parameters


def _continuations(
    query: Query,
    order: Sequence[Order],
    ordered: frozenset[Path],
    values: tuple[object, ...],
    id_column: str,
) -> list[_Continuation]:
    if query.cursor is None:
        return [_Continuation("", order, Parameters(*values))]
    keys = decode_cursor(query)[: len(order)]
    if order[0].path == ("id",):
        # Ids are never the same and never NULL.
        parameters = Parameters(*values)
        sign = "<" if order[0].descending else ">"
        condition = f" AND {id_column}{sign}{parameters.add(keys[0])}"
        return [_Continuation(condition, order[:1], parameters)]
    if order[0].path not in ordered:
        # Without an index every statement reads everything: ask once.
        parameters = Parameters(*values)
        return [_Continuation(f" AND {_after(order, keys, parameters)}", order, parameters)]
    # With an index each of these is one range of it, however many documents share a value. What
    # is the same for all of a range is left out of its order: SQLite would sort by it.
    found: list[_Continuation] = []
    for depth in range(len(order) - 1, -1, -1):
        for kind in range(2):  # What is less than a value, then NULL.
            parameters = Parameters(*values)
            conditions = [
                _same(part, key, parameters)
                for part, key in zip(order[:depth], keys[:depth], strict=True)
            ]
            beyond = _beyond(order[depth], keys[depth], parameters)
            if kind < len(beyond):
                conditions.append(beyond[kind])
                condition = "".join(f" AND {each}" for each in conditions)
                open_order = order[depth + 1 :] if kind else order[depth:]
                found.append(_Continuation(condition, open_order, parameters))
    return found


def _after(order: Sequence[Order], keys: Sequence[Scalar], parameters: Parameters) -> str:
    beyond = " OR ".join(_beyond(order[0], keys[0], parameters))
    if len(order) == 1:
        return f"({beyond or '0'})"
    same = _same(order[0], keys[0], parameters)
    rest = f"({same} AND {_after(order[1:], keys[1:], parameters)})"
    return f"({beyond} OR {rest})" if beyond else rest


def _same(part: Order, key: Scalar, parameters: Parameters) -> str:
    value = field(part.path).value
    return f"{value} IS NULL" if key is None else f"{value} IS {parameters.scalar(key)}"


def _beyond(part: Order, key: Scalar, parameters: Parameters) -> list[str]:
    """What comes after a key, as one or two ranges in order; NULL is the least."""
    value = field(part.path).value
    if not part.descending:
        return [f"{value} IS NOT NULL"] if key is None else [f"{value}>{parameters.scalar(key)}"]
    if key is None:
        return []
    less = f"{value}<{parameters.scalar(key)}"
    return [less] if part.path == ("id",) else [less, f"{value} IS NULL"]
