"""Deleting, copying and pruning threads, so that no checkpoint is ever seen without its values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from storage_providers.agents.adapters._common import raise_corrupt, segment
from storage_providers.agents.adapters._langgraph.layout import (
    PAGE,
    Collections,
    Place,
    delete_all,
    part_ids,
    query_all,
    write_in_order,
)
from storage_providers.protocol import (
    Address,
    Item,
    JsonObject,
    Page,
    Put,
    Query,
    StorageProvider,
)

__all__ = ["copy_thread", "delete_runs", "delete_thread", "keep_latest"]

ASKED: Final = 100
"""Checkpoints whose writes are asked for in one call. Ours."""

COPIED: Final = 50
"""Documents that a copy holds in memory at once. Ours."""

_HEAD: Final = ("threadId", "namespace", "checkpointId", "parentId", "values", "delta", "channels")


_REFERENCES: Final = ("content",)

T = TypeVar("T")


class _Checkpoint(NamedTuple):
    """What upkeep needs to know of a checkpoint."""

    id: str
    place: Place
    checkpoint_id: str
    parent_id: str | None
    values: frozenset[str]
    delta: frozenset[str]
    channels: frozenset[str]


async def delete_thread(
    provider: StorageProvider, collections: Collections, thread_id: str
) -> None:
    """Remove everything of a thread, checkpoints first; what was interrupted can be repeated."""
    where = {"id": {"$prefix": f"{segment(thread_id)}."}}
    queries = [Query(name, where, limit=PAGE, fields=("id",)) for name in collections]
    while True:
        pages = await provider.query(queries)
        checkpoints, values, writes = map(_found, collections, pages)
        if not (checkpoints or values or writes):
            return
        rest = [values, writes] if pages[0].cursor is None else []
        await delete_all(provider, checkpoints, *rest)
        if not any(page.cursor for page in pages):
            return


async def delete_runs(
    provider: StorageProvider, collections: Collections, run_ids: Sequence[str]
) -> None:
    """Remove the checkpoints that runs made, their writes, and values that nothing else names."""
    if run_ids:
        where = {"metadata.run_id": {"$in": sorted(set(run_ids))}}
        await _remove(provider, collections, await _heads(provider, collections, where))


async def keep_latest(provider: StorageProvider, collections: Collections, thread_id: str) -> None:
    """Remove all checkpoints of a thread but the newest of each namespace.

    Also kept are the ancestors from which the newest one's delta channels are put together.
    """
    where = {"id": {"$prefix": f"{segment(thread_id)}."}}
    heads = await _heads(provider, collections, where)
    kept: set[str] = set()
    for some in _by_place(heads).values():
        known = {head.checkpoint_id: head for head in some}
        head: _Checkpoint | None = known[max(known)]
        wanted = set[str]() if head is None else set(head.delta)
        while head is not None:
            kept.add(head.id)
            wanted -= head.channels
            head = known.get(head.parent_id or "") if wanted else None
    await _remove(provider, collections, [head for head in heads if head.id not in kept])


async def copy_thread(
    provider: StorageProvider, collections: Collections, source: str, target: str
) -> None:
    """Copy everything of a thread, values first: a checkpoint is complete when it is seen."""
    old, new = segment(source), segment(target)
    for name in (collections.values, collections.writes, collections.checkpoints):
        where: JsonObject = {"id": {"$prefix": f"{old}."}}
        query = Query(name, where, limit=COPIED)
        while True:
            page = (await provider.query([query]))[0]
            raise_corrupt(page.corrupt)
            copies = [_moved(item, target, new + item.id[len(old) :]) for item in page.items]
            await write_in_order(provider, copies)
            if page.cursor is None:
                break
            query = msgspec.structs.replace(query, cursor=page.cursor)


# --- helpers -------------------------------------------------------------------------------------


def _moved(item: Item, thread_id: str, item_id: str) -> Put:
    return Put(item.collection, {**item.document, "id": item_id, "threadId": thread_id})


async def _heads(
    provider: StorageProvider, collections: Collections, where: JsonObject
) -> list[_Checkpoint]:
    query = Query(collections.checkpoints, where, limit=PAGE, fields=_HEAD)
    heads: list[_Checkpoint] = []
    for item in (await query_all(provider, [query]))[0]:
        found = item.document
        heads.append(
            _Checkpoint(
                item.id,
                Place(found["threadId"], found["namespace"]),
                found["checkpointId"],
                found.get("parentId"),
                frozenset(found["values"]),
                frozenset(found["delta"]),
                frozenset(found["channels"]),
            )
        )
    return heads


async def _remove(
    provider: StorageProvider, collections: Collections, heads: Sequence[_Checkpoint]
) -> None:
    """Remove checkpoints, then what only they referred to."""
    if not heads:
        return
    gone = [Address(collections.checkpoints, head.id) for head in heads]
    contents = await _referring(provider, collections.checkpoints, [each.id for each in gone])
    await delete_all(provider, gone)
    writes = await _writes_of(provider, collections, heads)
    values = await _unused(provider, collections, heads)
    parts = [
        Address(collections.values, item_id)
        for item in [*contents, *writes, *values]
        for item_id in part_ids(item.document, item.id.partition(".")[0])
    ]
    await delete_all(provider, map(_address, writes), map(_address, values), parts)


async def _unused(
    provider: StorageProvider, collections: Collections, gone: Sequence[_Checkpoint]
) -> list[Item]:
    """The values that removed checkpoints referred to, and no other of their thread does."""
    candidates: set[str] = set()
    for place, heads in _by_place(gone).items():
        named = {value for head in heads for value in head.values}
        if named:
            left = await _heads(provider, collections, {"id": {"$prefix": place.prefix}})
            named -= {value for head in left for value in head.values}
            candidates |= {f"{segment(place.thread_id)}.{value}" for value in named}
    return await _referring(provider, collections.values, sorted(candidates))


async def _writes_of(
    provider: StorageProvider, collections: Collections, heads: Sequence[_Checkpoint]
) -> list[Item]:
    found: list[Item] = []
    for some in _slices(heads, ASKED):
        queries = [
            Query(
                collections.writes,
                {"id": {"$prefix": head.place.writes(head.checkpoint_id)}},
                limit=PAGE,
                fields=_REFERENCES,
            )
            for head in some
        ]
        found += [item for items in await query_all(provider, queries) for item in items]
    return found


async def _referring(provider: StorageProvider, collection: str, ids: Sequence[str]) -> list[Item]:
    """Documents by their ids, with what they refer to."""
    found: list[Item] = []
    for some in _slices(ids, PAGE):
        where: JsonObject = {"id": {"$in": list(some)}}
        query = Query(collection, where, limit=PAGE, fields=_REFERENCES)
        found += (await query_all(provider, [query]))[0]
    return found


def _by_place(heads: Iterable[_Checkpoint]) -> dict[Place, list[_Checkpoint]]:
    places: defaultdict[Place, list[_Checkpoint]] = defaultdict(list)
    for head in heads:
        places[head.place].append(head)
    return places


def _slices(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]


def _found(collection: str, page: Page) -> list[Address]:
    """What a page lists, broken documents included."""
    ids = [*(item.id for item in page.items), *(each.item_id for each in page.corrupt)]
    return [Address(collection, item_id) for item_id in ids if item_id is not None]


def _address(item: Item) -> Address:
    return Address(item.collection, item.id)
