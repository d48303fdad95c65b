"""Upkeep: retention of tables, and orders that are made anew from their documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from storage_providers._clock import format_timestamp, parse_timestamp
from storage_providers.agents._asking import Question, ask, batches, iterate
from storage_providers.agents._place import Change, Place
from storage_providers.agents._tables import ROOT, SPANS, Table
from storage_providers.agents._wire import epoch_ms
from storage_providers.errors import InvalidArgumentError, StorageError
from storage_providers.protocol import Delete, Item, Write

__all__ = ["Reindexed", "Retention", "reindex"]

AT_ONCE: Final = 1000
"""Documents looked at and deleted in one batch. Ours."""

GARBAGE_SECONDS: Final = 600
"""Younger entries are left alone: their documents may be on their way. As the object engine's."""

Progress = Callable[[int], None]


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long records are kept.

    Attributes:
        older_than: What is older may go: a span of time, or a moment.
        keep: How many of the newest stay, however old.
    """

    older_than: timedelta | datetime | None = None
    keep: int | None = None

    def cutoff(self, now_ms: int) -> str | None:
        """The moment, as documents carry it.

        Raises:
            InvalidArgumentError: Neither is given, or one is negative: nothing would be kept.
        """
        if self.older_than is None and self.keep is None:
            raise InvalidArgumentError("say older_than or keep; clear_table removes everything")
        if self.keep is not None and self.keep < 0:
            raise InvalidArgumentError(f"keep is {self.keep}, the least is 0")
        if isinstance(self.older_than, timedelta):
            if self.older_than < timedelta(0):
                raise InvalidArgumentError(f"older_than is negative: {self.older_than}")
            return format_timestamp(now_ms - self.older_than // timedelta(milliseconds=1))
        return None if self.older_than is None else format_timestamp(epoch_ms(self.older_than))


class Reindexed(msgspec.Struct, kw_only=True):
    """What `reindex` did.

    Attributes:
        documents: Documents looked at.
        removed: Entries removed that led nowhere.
        unreadable: Documents that can't be read, so have no entries.
    """

    documents: int = 0
    removed: int = 0
    unreadable: int = 0


async def expired(place: Place, table: Table, retention: Retention) -> AsyncIterator[Item]:
    """The documents of a table that a retention lets go.

    Raises:
        InvalidArgumentError: The retention is not one.
    """
    # What is old comes first in such an order.
    await place.declare(table, *(each for each in table.orders if each.sorts_all_by(table.time)))
    high = await _high(place, table, retention)
    where = None if high is None else {table.time: {"$lt": high}}
    fields = None if place.keeps_orders else ("createdAt",)
    found = place.provider.find_items(
        table.collection, where=where, fields=fields, on_corrupt=lambda _: None
    )
    async for item in found:
        yield item


async def expired_traces(place: Place, retention: Retention) -> AsyncIterator[str]:
    """The traces that a retention lets go, by their roots; then those that have none.

    Raises:
        InvalidArgumentError: The retention is not one.
    """
    high = retention.cutoff(place.clock.now_ms())
    question = Question(table=SPANS, order=SPANS.order("root"), lists=(ROOT,))
    if retention.keep:
        last = msgspec.structs.replace(question, offset=retention.keep - 1, limit=1)
        answer = await ask(place, last)
        if not answer.items:
            return
        oldest = str(answer.items[0].document["startedAt"])
        high = oldest if high is None else min(high, oldest)
    async for found in iterate(place, msgspec.structs.replace(question, high=high)):
        if isinstance(found, Item):
            yield str(found.document["traceId"])
    if high is not None:
        async for trace_id in _rootless(place, high):
            yield trace_id


async def _rootless(place: Place, high: str) -> AsyncIterator[str]:
    """Traces with spans that began before, whose root was never stored."""
    known = set[str]()
    where = {"startedAt": {"$lt": high}, "parentSpanId": {"$exists": True}}
    found = place.provider.find_items(SPANS.collection, where=where, on_corrupt=lambda _: None)
    async for item in found:
        trace_id = str(item.document.get("traceId"))
        if trace_id in known:
            continue
        known.add(trace_id)
        of_trace = Question(
            table=SPANS,
            order=SPANS.order("trace"),
            lists=(trace_id,),
            where={"root": ROOT},
            limit=1,
        )
        if not (await ask(place, of_trace)).items:
            yield trace_id


async def _high(place: Place, table: Table, retention: Retention) -> str | None:
    high = retention.cutoff(place.clock.now_ms())
    if retention.keep:
        page = await place.provider.list_items(
            table.collection, order_by=f"-{table.time}", limit=1, offset=retention.keep - 1
        )
        oldest = str(page.items[0].document.get(table.time, "")) if page.items else ""
        high = oldest if high is None else min(high, oldest)
    return high


async def delete_all(
    place: Place, table: Table, items: AsyncIterator[Item], on_progress: Progress | None
) -> int:
    """Delete documents with their entries, some at once.

    Raises:
        StorageError: The provider failed; what was deleted until then stays so.
    """
    deleted = 0
    async for found, _ in batches(items, AT_ONCE):
        changes = [Change(key=(table, item.id), old=item, new=None) for item in found]
        await place.apply(changes)
        deleted += len(changes)
        if on_progress is not None and changes:
            on_progress(deleted)
    return deleted


async def reindex(place: Place, table: Table, on_progress: Progress | None = None) -> Reindexed:
    """Make the entries of a table that are missing, and remove those that lead nowhere.

    Raises:
        StorageError: The provider failed; it may be called again.
    """
    done = Reindexed()
    await place.declare(table)
    if not place.keeps_orders or not table.orders:
        return done
    writes: list[Write] = []

    def unreadable(_: StorageError) -> None:
        done.unreadable += 1

    found = place.provider.find_items(table.collection, on_corrupt=unreadable)
    async for item in found:
        done.documents += 1
        entries = sorted(table.entries(item.document))
        writes += (place.entry(table, item.id, entry) for entry in entries)
        if len(writes) >= AT_ONCE:
            await place.provider.write(writes)
            writes = []
            if on_progress is not None:
                on_progress(done.documents)
    await place.provider.write(writes)
    done.removed = await _remove_garbage(place, table)
    if on_progress is not None:
        on_progress(done.documents)
    return done


async def _remove_garbage(place: Place, table: Table) -> int:
    before_ms, removed = place.clock.now_ms() - GARBAGE_SECONDS * 1000, 0
    some: list[Item] = []

    async def go() -> None:
        nonlocal removed
        keys = [(table, str(item.document.get("of"))) for item in some]
        stored = await place.read(keys)
        wrong: list[Write] = [
            Delete(table.entries_in, entry.id)
            for entry, document in zip(some, stored, strict=True)
            if not _holds(table, entry, document)
        ]
        await place.provider.write(wrong)
        removed += len(wrong)
        some.clear()

    async for entry in place.provider.find_items(table.entries_in, on_corrupt=lambda _: None):
        if _made_ms(entry) > before_ms:
            continue
        some.append(entry)
        if len(some) == AT_ONCE:
            await go()
    await go()
    return removed


def _holds(table: Table, entry: Item, document: Item | StorageError | None) -> bool:
    if isinstance(document, StorageError):
        return True  # It may be mended.
    return document is not None and entry.id in table.entries(document.document)


def _made_ms(entry: Item) -> int:
    made: Any = entry.document.get("createdAt")
    return parse_timestamp(made) if isinstance(made, str) else 0
