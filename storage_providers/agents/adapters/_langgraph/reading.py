"""Reading checkpoints: which there are, and all that belongs to them, in two calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, DeltaChannelHistory, get_checkpoint_id
from langgraph.checkpoint.serde.base import SerializerProtocol

from storage_providers.agents.adapters._common import raise_corrupt, segment, warn_corrupt
from storage_providers.agents.adapters._langgraph.documents import (
    pushed_down,
    restored,
    value_ids,
)
from storage_providers.agents.adapters._langgraph.layout import (
    PAGE,
    Collections,
    Place,
    part_ids,
    query_all,
)
from storage_providers.errors import CorruptItemError
from storage_providers.protocol import Address, Item, JsonObject, Query, StorageProvider

__all__ = ["history", "newest_first", "one", "place_of", "query_of"]

LISTED: Final = 50
"""Checkpoints read at once while listing, with their values and writes. Ours."""


def place_of(config: RunnableConfig) -> Place:
    """The thread and namespace that a configuration names.

    Raises:
        KeyError: It names no `thread_id`.
    """
    named = config.get("configurable") or {}
    return Place(str(named["thread_id"]), str(named.get("checkpoint_ns") or ""))


async def one(
    provider: StorageProvider,
    collections: Collections,
    serde: SerializerProtocol,
    config: RunnableConfig,
) -> CheckpointTuple | None:
    """The checkpoint that a configuration names, or the newest; `None` if there is none.

    Raises:
        CorruptItemError: It is there, but a part of it can't be read or is missing.
    """
    while (head := await _head(provider, collections, config)) is not None:
        try:
            return (await _complete(provider, collections, serde, [head]))[0]
        except CorruptItemError as error:
            # Deleted between the two calls? Then there is another newest one, or none.
            if error.item_id != head.id:
                raise
            if (await provider.read([Address(head.collection, head.id)]))[0] is not None:
                raise
    return None


async def newest_first(
    provider: StorageProvider,
    collections: Collections,
    serde: SerializerProtocol,
    query: Query,
    asked: Mapping[str, Any] | None,
    limit: int | None,
) -> AsyncIterator[CheckpointTuple]:
    """The checkpoints that a query names, with all that belongs to them.

    Args:
        provider: Where they are.
        collections: In which collections.
        serde: The saver's serializer.
        query: Which documents.
        asked: What their metadata must equal.
        limit: Most to yield; `None`: all.

    Raises:
        CorruptItemError: One of them can't be read.
    """
    left = limit
    cursor: str | None = None
    while left is None or left > 0:
        size = LISTED if left is None else min(LISTED, left)
        page = (
            await provider.query(
                [
                    Query(
                        query.collection,
                        query.where,
                        order_by=query.order_by,
                        limit=size,
                        cursor=cursor,
                    )
                ]
            )
        )[0]
        warn_corrupt(page.corrupt)
        for found in await _complete(provider, collections, serde, page.items):
            metadata: Mapping[str, Any] = found.metadata
            if all(metadata.get(key) == value for key, value in (asked or {}).items()):
                yield found
                left = None if left is None else left - 1
        cursor = page.cursor
        if cursor is None:
            return


def query_of(
    collections: Collections,
    config: RunnableConfig | None,
    asked: Mapping[str, Any] | None,
    before: RunnableConfig | None,
) -> Query:
    """The query for what `list` asks."""
    conditions: list[JsonObject] = [pushed_down(asked)]
    named = (config or {}).get("configurable") or {}
    before_id = get_checkpoint_id(before) if before else None
    by_id = False
    if config is not None:
        place = place_of(config)
        by_id = named.get("checkpoint_ns") is not None
        prefix = place.prefix if by_id else f"{segment(place.thread_id)}."
        conditions.append({"id": {"$prefix": prefix}})
        if checkpoint_id := get_checkpoint_id(config):
            conditions.append({"checkpointId": checkpoint_id})
            if by_id:
                conditions.append({"id": place.checkpoint(checkpoint_id)})
        if before_id and by_id:
            conditions.append({"id": {"$lt": place.checkpoint(before_id)}})
    if before_id and not by_id:
        conditions.append({"checkpointId": {"$lt": before_id}})
    where: JsonObject = {"$and": [condition for condition in conditions if condition]}
    order = "-id" if by_id else "-checkpointId"
    return Query(collections.checkpoints, where, order_by=(order,))


async def history(
    provider: StorageProvider,
    collections: Collections,
    serde: SerializerProtocol,
    config: RunnableConfig,
    channels: Sequence[str],
) -> dict[str, DeltaChannelHistory]:
    """What delta channels are put together from: writes since the nearest stored value, and it.

    Follows the parents of a checkpoint, 50 in two calls.

    Raises:
        CorruptItemError: One of them can't be read.
    """
    remaining = set(channels)
    found: dict[str, DeltaChannelHistory] = {channel: {"writes": []} for channel in channels}
    async for heads in _ancestors(provider, collections, config):
        for ancestor in await _complete(provider, collections, serde, heads, channels):
            for write in reversed(ancestor.pending_writes or []):
                if write[1] in remaining:
                    found[write[1]]["writes"].append(write)
            values = ancestor.checkpoint["channel_values"]
            for channel in remaining & values.keys():
                found[channel]["seed"] = values[channel]
            remaining -= values.keys()
        if not remaining:
            break
    for entry in found.values():
        entry["writes"].reverse()
    return found


# --- helpers -------------------------------------------------------------------------------------


async def _head(
    provider: StorageProvider, collections: Collections, config: RunnableConfig
) -> Item | None:
    """The document of the checkpoint that a configuration names, or of the newest one."""
    place, checkpoint_id = place_of(config), get_checkpoint_id(config)
    where: JsonObject = (
        {"id": place.checkpoint(checkpoint_id)}
        if checkpoint_id
        else {"id": {"$prefix": place.prefix}}
    )
    query = Query(collections.checkpoints, where, order_by=("-id",), limit=1)
    page = (await provider.query([query]))[0]
    raise_corrupt(page.corrupt)
    return page.items[0] if page.items else None


async def _ancestors(
    provider: StorageProvider, collections: Collections, config: RunnableConfig
) -> AsyncIterator[list[Item]]:
    """The parent of a checkpoint, its parent and so on, as many at once as one page tells."""
    place, head = place_of(config), await _head(provider, collections, config)
    parent_id: str | None = None if head is None else head.document.get("parentId")
    while parent_id:
        newest = {"$prefix": place.prefix, "$lte": place.checkpoint(parent_id)}
        query = Query(collections.checkpoints, {"id": newest}, order_by=("-id",), limit=LISTED)
        page = (await provider.query([query]))[0]
        raise_corrupt(page.corrupt)
        known = {item.document["checkpointId"]: item for item in page.items}
        chain: list[Item] = []
        while parent_id in known:
            chain.append(known.pop(parent_id))
            parent_id = chain[-1].document.get("parentId")
        if not chain:
            return
        yield chain


async def _complete(
    provider: StorageProvider,
    collections: Collections,
    serde: SerializerProtocol,
    heads: Sequence[Item],
    only: Collection[str] | None = None,
) -> list[CheckpointTuple]:
    """Add to checkpoints' own documents the values and writes: one call for all of them.

    Args:
        provider: Where they are.
        collections: In which collections.
        serde: The saver's serializer.
        heads: The checkpoints' own documents.
        only: Channels whose values are wanted; without, those of all.
    """
    if not heads:
        return []
    places = [Place(head.document["threadId"], head.document["namespace"]) for head in heads]
    wanted = [value_ids(head, only) for head in heads]
    queries = [
        Query(
            collections.writes,
            {"id": {"$prefix": place.writes(head.document["checkpointId"])}},
            limit=PAGE,
        )
        for place, head in zip(places, heads, strict=True)
    ]
    if ids := sorted({item_id for some in wanted for item_id in some}):
        queries.append(Query(collections.values, {"id": {"$in": ids}}, limit=PAGE))
    answers = await query_all(provider, queries)
    writes = answers[: len(heads)]
    items = [*heads, *(item for some in answers for item in some)]
    parts = await _parts(provider, collections, items)
    values = {item.id: item for some in answers[len(heads) :] for item in some}
    return [
        restored(serde, place, head, {each: values.get(each) for each in some}, own, parts)
        for place, head, some, own in zip(places, heads, wanted, writes, strict=True)
    ]


async def _parts(
    provider: StorageProvider, collections: Collections, items: Sequence[Item]
) -> dict[str, Item]:
    """The documents of long values that others refer to, by id; seldom any."""
    addresses = [
        Address(collections.values, item_id)
        for item in items
        for item_id in part_ids(item.document, segment(item.document["threadId"]))
    ]
    found = await provider.read(addresses) if addresses else []
    return {item.id: item for item in found if item is not None}
