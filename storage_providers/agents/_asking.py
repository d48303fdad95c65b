"""Pages of a table in one of its orders: a query where the provider answers them, else entries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from storage_providers.agents._place import Place
from storage_providers.agents._tables import Order, Table, turned
from storage_providers.errors import StorageError
from storage_providers.filters import compile_where, parse_where
from storage_providers.protocol import Item, Query

__all__ = ["Answer", "Question", "ask", "batches", "iterate", "neighbours"]

CHUNK: Final = 1000
"""Entries listed at once. Source: R2 and KV list 1,000 keys a call (Cloudflare docs, 2026-11)."""

FIRST: Final = 100
"""Documents asked for first while going through a table; then as many as have `PAGE_BYTES`.
Ours."""

PAGE_BYTES: Final = 2_000_000
"""What documents asked for at once have about together, bytes of JSON. Ours."""

BATCH_BYTES: Final = 8_000_000
"""What documents changed at once have about together, bytes of JSON. Ours."""

READ_AT_ONCE: Final = 100
"""Documents read at once while going through a list. Source: KV reads 100 a call (the same)."""

Found = TypeVar("Found")

_TAIL: Final = 13
"""Length of what follows the place in the id of an entry."""


class Question(msgspec.Struct, kw_only=True, frozen=True):
    """What is asked.

    Attributes:
        table: Which table.
        order: In which of its orders.
        lists: The values of the order's field: which lists.
        oldest_first: Against the order.
        low: Only what sorts from here on.
        high: Only what sorts before this.
        where: Further conditions, in the language of `storage_providers.filters`.
        limit: Most documents; `None`: all there are.
        offset: Documents to pass over.
        total: Whether to count.
        ids_only: Whether ids will do, where a query can leave out the rest.
    """

    table: Table
    order: Order
    lists: tuple[str, ...] = ("",)
    oldest_first: bool = False
    low: str | None = None
    high: str | None = None
    where: Mapping[str, Any] | None = None
    limit: int | None = None
    offset: int = 0
    total: bool = False
    ids_only: bool = False


class Answer(msgspec.Struct, kw_only=True):
    """What was found.

    Attributes:
        items: The documents, in order.
        total: How many there are in all, if asked.
        more: Whether there are more behind these.
        corrupt: What can't be read.
    """

    items: list[Item]
    total: int | None = None
    more: bool = False
    corrupt: list[StorageError] = []


async def ask(place: Place, question: Question) -> Answer:
    """Answer a question.

    Raises:
        InvalidArgumentError: Its `where` is malformed.
        TransportError: The provider could not be reached.
    """
    await place.declare(question.table, question.order)
    if not place.keeps_orders:
        return await _queried(place, question)
    if question.where or question.low or question.high or len(question.lists) > 1:
        return await _walked(place, question)
    return await _listed(place, question)


async def iterate(place: Place, question: Question) -> AsyncIterator[Item | StorageError]:
    """Everything that answers a question, holding one page of documents at a time.

    Oldest first, where orders are kept apart, the ids of the whole list are held.
    """
    await place.declare(question.table, question.order)
    if place.keeps_orders:
        matches = compile_where(node) if (node := parse_where(question.where)) else None
        entries = _chosen(place, question)
        async for found in _read(place, question, entries):
            if isinstance(found, StorageError) or matches is None or matches(found.document):
                yield found
        return
    query = _query(question, CHUNK if question.ids_only else FIRST)
    while True:
        (page,) = await place.provider.query([query])
        for error in page.corrupt:
            yield error
        for item in page.items:
            yield item
        if page.cursor is None:
            return
        size = max(1, sum(len(item.body) for item in page.items))
        fitting = min(CHUNK, max(1, PAGE_BYTES * len(page.items) // size))
        query = msgspec.structs.replace(query, cursor=page.cursor, limit=fitting)


async def batches(
    found: AsyncIterator[Found], most: int = CHUNK
) -> AsyncIterator[tuple[list[Found], bool]]:
    """What is found in lists that are dealt with at once, each with whether it is the last.

    The last may be empty.
    """
    some, size = list[Found](), 0
    async for each in found:
        if len(some) == most or size > BATCH_BYTES:
            yield some, False
            some, size = [], 0
        some.append(each)
        size += len(each.body) if isinstance(each, Item) else 0
    yield some, True


# --- where the provider answers queries --------------------------------------------------------


def _query(question: Question, limit: int) -> Query:
    order = question.order
    conditions: list[Mapping[str, Any]] = [question.where] if question.where else []
    if order.field is not None:
        lists = question.lists
        is_one = len(lists) == 1
        conditions.append({order.field: lists[0] if is_one else {"$in": list(lists)}})
    if question.low is not None:
        conditions.append({order.sort: {"$gte": question.low}})
    if question.high is not None:
        conditions.append({order.sort: {"$lt": question.high}})
    where = conditions[0] if len(conditions) == 1 else {"$and": conditions} if conditions else None
    order_by = (order.sort if question.oldest_first else f"-{order.sort}",)
    fields = () if question.ids_only else None
    return Query(question.table.collection, where, order_by, limit, fields=fields)


async def _queried(place: Place, question: Question) -> Answer:
    if question.limit is None:
        answer = Answer(items=[])
        async for found in iterate(place, question):
            if isinstance(found, StorageError):
                answer.corrupt.append(found)
            else:
                answer.items.append(found)
        answer.total = len(answer.items) if question.total else None
        del answer.items[: question.offset]
        return answer
    query = msgspec.structs.replace(
        _query(question, question.limit), offset=question.offset, total=question.total
    )
    (page,) = await place.provider.query([query])
    return Answer(
        items=page.items,
        total=page.total,
        more=page.cursor is not None,
        corrupt=list(page.corrupt),
    )


# --- where orders are kept apart ---------------------------------------------------------------


class _Entry(msgspec.Struct, frozen=True):
    """One document in one list."""

    id: str
    place: str
    of: str


async def _listed(place: Place, question: Question) -> Answer:
    """A page of one whole list: as many entries as it has documents, and these."""
    answer, offset, cursor = Answer(items=[]), question.offset, None
    limit, total = question.limit, question.total
    prefix = question.order.list_of(question.lists[0])
    while True:
        wanted = CHUNK if limit is None else limit - len(answer.items)
        query = _entry_query(question, prefix, wanted, oldest_first=question.oldest_first)
        query = msgspec.structs.replace(query, offset=offset, cursor=cursor, total=total)
        (page,) = await place.provider.query([query])
        if total:
            answer.total, total = page.total, False
        offset, cursor = 0, page.cursor
        entries = [_entry(prefix, item) for item in page.items]
        async for found in _read(place, question, _each(entries)):
            _take(answer, found)
        full = limit is not None and len(answer.items) >= limit
        if cursor is None or full:
            answer.more = cursor is not None
            return answer


async def _walked(place: Place, question: Question) -> Answer:
    """A page of what has to be judged, or comes from several lists."""
    answer, passed = Answer(items=[]), 0
    count = 0
    async for found in iterate(place, question):
        if isinstance(found, StorageError):
            answer.corrupt.append(found)
            continue
        count += 1
        full = question.limit is not None and len(answer.items) >= question.limit
        if passed < question.offset:
            passed += 1
        elif not full:
            answer.items.append(found)
        else:
            answer.more = True
            if not question.total:
                break
    answer.total = count if question.total else None
    return answer


async def _chosen(place: Place, question: Question) -> AsyncIterator[_Entry]:
    """The entries that a question is about, in its order."""
    if len(question.lists) == 1 and not question.oldest_first:
        async for entry in _entries(place, question, question.lists[0]):
            yield entry
        return
    found = [entry for each in question.lists async for entry in _entries(place, question, each)]
    for entry in sorted(found, key=lambda each: each.place, reverse=question.oldest_first):
        yield entry


async def _entries(place: Place, question: Question, value: str) -> AsyncIterator[_Entry]:
    """The entries of one list between the bounds, newest first."""
    prefix = question.order.list_of(value)
    low, high = (None if each is None else turned(each) for each in (question.low, question.high))
    begin = prefix + (_common(low, high) if low is not None and high is not None else "")
    low, high = (None if each is None else turned(each) for each in (low, high))
    size = CHUNK if question.limit is None else question.offset + question.limit + 1
    cursor: str | None = None
    while True:
        query = _entry_query(question, begin, max(1, min(size, CHUNK)))
        (page,) = await place.provider.query([msgspec.structs.replace(query, cursor=cursor)])
        for item in page.items:
            entry = _entry(prefix, item)
            at = turned(entry.place)
            if low is not None and at < low:
                return
            if high is None or at < high:
                yield entry
        cursor = page.cursor
        if cursor is None:
            return


async def _read(
    place: Place, question: Question, entries: AsyncIterator[_Entry]
) -> AsyncIterator[Item | StorageError]:
    """The documents of entries that still hold, or why they can't be read."""
    size = min(READ_AT_ONCE, question.limit or READ_AT_ONCE)
    some: list[_Entry] = []
    async for entry in entries:
        some.append(entry)
        if len(some) == size:
            for found in await _documents(place, question, some):
                yield found
            some = []
    for found in await _documents(place, question, some):
        yield found


async def _documents(
    place: Place, question: Question, entries: Iterable[_Entry]
) -> list[Item | StorageError]:
    known = {entry.of: entry for entry in entries}
    table, order = question.table, question.order
    results = await place.read([(table, item_id) for item_id in known])
    found: list[Item | StorageError] = []
    for entry, result in zip(known.values(), results, strict=True):
        if isinstance(result, StorageError) or (
            result is not None and order.entry(result.document) == entry.id
        ):
            found.append(result)
    return found


async def neighbours(
    place: Place, question: Question, item: Item, previous: int, following: int
) -> list[Item | StorageError]:
    """A document with those before and after it in its list, oldest first."""
    if not place.keeps_orders:
        return await _queried_neighbours(place, question, item, previous, following)
    around: list[_Entry] = []
    mine, behind = question.order.entry(item.document), None
    async for entry in _entries(place, question, question.lists[0]):
        around.append(entry)
        if behind is not None:
            behind += 1
        elif entry.id == mine:
            behind = 0
        elif len(around) > following:
            del around[0]
        if behind == previous:
            break
    return (await _documents(place, question, around))[::-1]


async def _queried_neighbours(
    place: Place, question: Question, item: Item, previous: int, following: int
) -> list[Item | StorageError]:
    at = item.document[question.order.sort]
    sides = (
        msgspec.structs.replace(question, high=at),
        # A place is followed by nothing but its end.
        msgspec.structs.replace(question, low=f"{at}~", oldest_first=True),
    )
    queries = [_query(side, n) for side, n in zip(sides, (previous, following), strict=True)]
    before, after = await place.provider.query(queries)
    return [*before.corrupt, *after.corrupt, *before.items[::-1], item, *after.items]


# --- helpers -----------------------------------------------------------------------------------


def _entry_query(
    question: Question, prefix: str, limit: int, *, oldest_first: bool = False
) -> Query:
    order_by = ("-id",) if oldest_first else ()
    return Query(question.table.entries_in, {"id": {"$prefix": prefix}}, order_by, limit)


def _entry(prefix: str, item: Item) -> _Entry:
    return _Entry(item.id, item.id[len(prefix) : -_TAIL], str(item.document.get("of", "")))


def _common(one: str, other: str) -> str:
    pairs = enumerate(zip(one, other, strict=False))
    length = next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
    return one[:length]


def _take(answer: Answer, found: Item | StorageError) -> None:
    if isinstance(found, StorageError):
        answer.corrupt.append(found)
    else:
        answer.items.append(found)


async def _each(entries: Iterable[_Entry]) -> AsyncIterator[_Entry]:
    for entry in entries:
        yield entry
