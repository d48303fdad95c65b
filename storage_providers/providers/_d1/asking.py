"""Reads and queries: what to ask in one call, and documents from the answer."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from storage_providers.cloudflare.d1 import D1Result
from storage_providers.errors import BatchError, CorruptItemError, StorageError
from storage_providers.protocol import Address, Item, Page, Query, QueryStatistics
from storage_providers.providers import _sql
from storage_providers.providers._d1.bound import encoded, in_lists, joined
from storage_providers.providers._d1.database import Part
from storage_providers.providers._sql import Dialect, Statement, table_of
from storage_providers.providers._sql.query import Access, compile_query, next_cursor
from storage_providers.providers._sql.rows import is_document
from storage_providers.providers._sql.schema import read_plan

__all__ = [
    "DIALECT",
    "BrokenRows",
    "Plans",
    "Question",
    "corrupt",
    "items_of",
    "page_of",
    "parts_of",
    "question",
    "set_aside",
]

DIALECT: Final = Dialect(
    # Without the cast bytes that another program put there would come as a list of numbers.
    body="CAST(body AS TEXT) AS document",
    # What is no UTF-8 comes with U+FFFD in its place; the length without those tells.
    payload="payload,length(CAST(replace(CAST(body AS TEXT),char(65533),'') AS BLOB)) AS sound",
)
"""How D1 differs: no bytes either way."""

PLANS_KEPT: Final = 512
"""Statements whose plan is remembered for `Page.statistics`. Ours."""


def corrupt(collection: str, item_id: str) -> CorruptItemError:
    """The error that says a document is no JSON object."""
    table, scope = table_of(collection)
    return CorruptItemError(
        "what is stored is not a JSON object; put the document anew or delete it",
        collection=collection,
        item_id=item_id,
        source=f"table {table}, scope {scope!r}, id {item_id!r}",
    )


def item_of(collection: str, row: Sequence[Any]) -> Item | None:
    """An item from a row of `item_columns`; `None`: it holds no JSON object."""
    item_id, version, body, encoding, payload, sound = row
    if body is None:
        return None
    raw = body.encode()
    if not is_document(raw) or (
        "\ufffd" in body and len(body.replace("\ufffd", "").encode()) != sound
    ):
        return None
    return Item(
        collection,
        item_id,
        version,
        raw,
        encoding,
        None if payload is None else base64.b64decode(payload),
    )


# --- by id -------------------------------------------------------------------------------------


def parts_of(addresses: Sequence[Address], now_ms: int) -> list[Part]:
    """What to ask for documents by their ids: one part for each collection, in order."""
    ids: dict[str, dict[str, None]] = {}
    for address in addresses:
        ids.setdefault(address.collection, {})[address.id] = None
    parts: list[Part] = []
    for collection, wanted in ids.items():
        table, scope = table_of(collection)
        if len(wanted) == 1:
            one = Statement(_sql.read_item(table, DIALECT), (scope, *wanted, now_ms))
            parts.append(Part(table, [one]))
            continue
        many = _sql.read_items(table, DIALECT)
        lists = in_lists(map(encoded, wanted))
        parts.append(Part(table, [Statement(many, (scope, now_ms, text)) for text in lists]))
    return parts


def items_of(
    addresses: Sequence[Address], answers: Sequence[Sequence[D1Result] | None]
) -> list[Item | None]:
    """The documents that were asked for, in order.

    Raises:
        CorruptItemError: The one document asked for is no JSON object.
        BatchError: Some of several are none.
    """
    collections = dict.fromkeys(address.collection for address in addresses)
    rows: dict[tuple[str, str], Sequence[Any]] = {
        (collection, row[0]): row
        for collection, results in zip(collections, answers, strict=True)
        for result in results or ()
        for row in result.rows
    }
    found: list[Item | StorageError | None] = []
    for address in addresses:
        row = rows.get((address.collection, address.id))
        item = None if row is None else item_of(address.collection, row)
        found.append(
            corrupt(address.collection, address.id) if row is not None and item is None else item
        )
    items = [each for each in found if not isinstance(each, StorageError)]
    if len(items) == len(found):
        return items
    if len(found) == 1 and isinstance(found[0], StorageError):
        raise found[0]
    raise BatchError(
        f"{len(found) - len(items)} of {len(found)} documents can't be read; the others are in "
        "'results'",
        results=found,
    )


# --- queries -----------------------------------------------------------------------------------


class Question(NamedTuple):
    """A query as statements of one call.

    Attributes:
        query: The query.
        part: What to ask.
        rows_wanted: As in `Select`.
        names: What each statement of the part is for.
        explained: The statement whose plan tells about the query, if there is one.
    """

    query: Query
    part: Part
    rows_wanted: int
    names: tuple[str, ...]
    explained: Statement | None


Plans = dict[str, tuple[str | None, bool]]


def question(query: Query, access: Access, now_ms: int, plans: Mapping[str, object]) -> Question:
    """Make the statements of a query.

    Args:
        query: The question.
        access: What its collection's declaration offers.
        now_ms: Documents that expire then or earlier are left out, epoch ms.
        plans: Statements whose plan is known already.

    Raises:
        InvalidArgumentError: `where`, `order_by` or the cursor is malformed.
        UnsupportedOperationError: `$text` without declared text fields.
    """
    select = compile_query(query, access, now_ms, dialect=DIALECT)
    statements: dict[str, Statement] = {}
    if select.stages:
        statements["rows"] = joined(select.stages, select.rows_wanted)
    if select.total is not None:
        statements["total"] = select.total
    if query.cursor is None and not query.offset:
        statements["broken"] = _sql.list_broken(query.collection)
    explained = select.stages[0] if select.stages else select.total
    if explained is not None and explained.sql not in plans:
        statements["plan"] = Statement(f"EXPLAIN QUERY PLAN {explained.sql}", explained.parameters)
    part = Part(table_of(query.collection)[0], list(statements.values()))
    return Question(query, part, select.rows_wanted, tuple(statements), explained)


class BrokenRows(NamedTuple):
    """Documents of a collection that are no JSON objects, though SQLite takes them for that."""

    collection: str
    ids: list[str]


def page_of(asked: Question, results: Sequence[D1Result] | None, plans: Plans) -> Page | BrokenRows:
    """The page of a query, or what is in its way."""
    query = asked.query
    if results is None:
        total = 0 if query.total else None
        return Page(total=total, statistics=QueryStatistics(full_scan=False))
    named = dict(zip(asked.names, results, strict=True))
    rows = named["rows"].rows if "rows" in named else []
    more = bool(rows) and len(rows) == asked.rows_wanted
    if more:
        rows = rows[:-1]
    items: list[Item] = []
    broken: list[str] = []
    for row in rows:
        item = item_of(query.collection, row)
        if item is None:
            broken.append(row[0])
        else:
            items.append(item)
    if broken:
        return BrokenRows(query.collection, broken)
    known = named["broken"].rows if "broken" in named else []
    return Page(
        items=items,
        cursor=next_cursor(query, items[-1], DIALECT) if more else None,
        total=int(named["total"].rows[0][0]) if "total" in named else None,
        corrupt=tuple(corrupt(query.collection, item_id) for (item_id,) in known),
        statistics=_statistics(asked, named, plans),
    )


def set_aside(rows: BrokenRows) -> tuple[Statement, list[Statement]]:
    """Take rows out of the way that are no JSON objects: those named, and those SQLite can tell.

    Returns:
        A statement that returns the ids of this scope's, and those that set them aside. Asking
        first: the answer of what changes them may be lost, and there is no second one.
    """
    table, scope = table_of(rows.collection)
    text = "CAST(body AS TEXT)"
    condition = (
        f"(CASE WHEN json_valid({text}) THEN json_type({text})<>'object' ELSE 1 END "
        "OR (scope=?2 AND id IN (SELECT value FROM json_each(?3))))"
    )
    ids = encoded(rows.ids).decode()
    found = f"SELECT id FROM {table} WHERE scope=?2 AND body IS NOT NULL AND {condition}"
    return (
        Statement(found, ("", scope, ids)),
        list(_sql.set_aside_broken(table, condition, scope, ids)),
    )


def _statistics(asked: Question, named: Mapping[str, D1Result], plans: Plans) -> QueryStatistics:
    index: str | None = None
    full_scan: bool | None = False
    if asked.explained is not None:
        sql = asked.explained.sql
        if "plan" in named:
            if len(plans) >= PLANS_KEPT:
                plans.clear()
            plans[sql] = read_plan(sql, [row[-1] for row in named["plan"].rows])
        index, full_scan = plans.get(sql, (None, None))
    return QueryStatistics(
        index=index,
        full_scan=full_scan,
        rows_read=sum(result.rows_read for result in named.values()),
        rows_written=sum(result.rows_written for result in named.values()),
    )
