"""Removing objects that no document refers to, and splitting documents anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from storage_providers.base import Provider
from storage_providers.errors import BatchError, ConflictError, CorruptItemError, StorageError
from storage_providers.layers._offload.layout import Layout
from storage_providers.layers._offload.objects import Objects, made_at_ms, owner_of
from storage_providers.layers._offload.reading import Reader
from storage_providers.layers._offload.writing import Writer
from storage_providers.protocol import Address, Delete, IfVersion, Item, Put, Query

__all__ = ["Collected", "collect", "resettle"]

OBJECTS_TOGETHER: Final = 200
"""Objects looked at together; so many documents are held in memory at most. Ours."""

DOCUMENTS_TOGETHER: Final = 20
"""Documents that are split anew together; so many whole ones are held in memory at most. Ours."""


class Collected(msgspec.Struct, kw_only=True):
    """What `Offload.collect` did.

    Attributes:
        objects: Objects looked at.
        removed: Those that no document referred to.
        young: Those that were younger than asked, and so left alone.
        unknown: Those whose document can't be read, and so left alone.
    """

    objects: int = 0
    removed: int = 0
    young: int = 0
    unknown: int = 0


async def collect(
    reader: Reader,
    objects: Objects,
    namespace: str,
    before_ms: int,
    on_progress: Callable[[int], None] | None,
) -> Collected:
    """Remove what was made before a time and no document refers to.

    Args:
        reader: Reads the documents.
        objects: Knows where the objects are.
        namespace: The scope of all of this data's objects.
        before_ms: Younger objects are left alone, milliseconds since 1970.
        on_progress: Told how many objects were looked at so far.
    """
    report = Collected()
    for collection in await objects.provider.collections(namespace):
        cursor: str | None = None
        while True:
            page = await objects.provider.versions(collection, cursor, OBJECTS_TOGETHER)
            old = list(_older([entry.id for entry in page.entries], before_ms))
            report.objects += len(page.entries)
            report.young += len(page.entries) - len(old)
            if old:
                await _remove(reader, objects.provider, namespace, collection, old, report)
            if on_progress is not None:
                on_progress(report.objects)
            cursor = page.cursor
            if cursor is None:
                break
    return report


def _older(ids: Iterable[str], before_ms: int) -> Iterable[str]:
    for item_id in ids:
        try:
            made = made_at_ms(item_id)
        except ValueError:
            continue  # Somebody else put it there.
        if made < before_ms:
            yield item_id


async def _remove(
    reader: Reader,
    provider: Provider,
    namespace: str,
    collection: str,
    ids: Sequence[str],
    report: Collected,
) -> None:
    owners = {item_id: owner_of(item_id) for item_id in ids}
    unnamed = [item_id for item_id, owner in owners.items() if owner is None]
    for item_id, item in zip(unnamed, await _read(provider, collection, unnamed), strict=True):
        owner = item.document.get("document") if isinstance(item, Item) else None
        owners[item_id] = owner if isinstance(owner, str) else None
    documents = collection.removeprefix(f"{namespace}/")
    named = list(dict.fromkeys(owner for owner in owners.values() if owner is not None))
    referred = await reader.referred([Address(documents, owner) for owner in named])
    orphans: list[Delete] = []
    for item_id, owner in owners.items():
        if owner is None or owner not in referred:
            report.unknown += 1
        elif referred[owner] != (collection, item_id):
            orphans.append(Delete(collection, item_id))
    if orphans:
        await provider.write(orphans)
        report.removed += len(orphans)


async def _read(
    provider: Provider, collection: str, ids: Sequence[str]
) -> Sequence[Item | StorageError | None]:
    if not ids:
        return []
    try:
        return await provider.read([Address(collection, item_id) for item_id in ids])
    except CorruptItemError as error:
        return [error]
    except BatchError as error:
        return error.results


async def resettle(
    inner: Provider,
    reader: Reader,
    writer: Writer,
    layout: Layout,
    on_progress: Callable[[int], None] | None,
) -> int:
    """Put every document again that was split by another rule.

    Args:
        inner: Where the documents are.
        reader: Reads them whole.
        writer: Puts them.
        layout: The rule in force.
        on_progress: Told how many documents were put so far.

    Returns:
        How many were put.
    """
    count = 0
    for collection in await inner.collections():
        cursor: str | None = None
        while True:
            query = Query(collection, limit=DOCUMENTS_TOGETHER, cursor=cursor, fields=())
            page = (await inner.query([query]))[0]
            if page.corrupt:
                raise page.corrupt[0]
            addresses = [Address(collection, item.id) for item in page.items if item.encoding]
            for loaded in await reader.load(addresses):
                item, record = loaded.result, loaded.record
                if record is None or record.layout == layout:
                    continue
                if isinstance(item, StorageError):
                    raise item
                if item is not None:
                    count += await _put_again(writer, item)
            if on_progress is not None:
                on_progress(count)
            cursor = page.cursor
            if cursor is None:
                break
    return count


async def _put_again(writer: Writer, item: Item) -> int:
    put = Put(
        item.collection,
        item.document,
        IfVersion(item.version),
        encoding=item.encoding,
        payload=item.payload,
    )
    try:
        await writer.write([put])
    except ConflictError:
        return 0  # Whoever changed or removed it did so by the rule in force.
    return 1
