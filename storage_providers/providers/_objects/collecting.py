"""Removing what nobody needs: clearing collections, entries left behind, expired documents.

Entries are judged by the documents they name: an entry whose document has not that value any more
is garbage, once it is so old that no write can be on its way that needs it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import msgspec

from storage_providers.errors import (
    CorruptItemError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
)
from storage_providers.providers._objects import ObjectEntry, StoredObject
from storage_providers.providers._objects.building import (
    READ_TOGETHER,
    document_pages,
    fill_in,
    listing_pages,
    read_all,
)
from storage_providers.providers._objects.declaring import RETRY_SECONDS, retry_seconds
from storage_providers.providers._objects.documents import to_item, token_of
from storage_providers.providers._objects.entries import (
    IndexEntry,
    IndexKeys,
    entry_token,
    token_time_ms,
)
from storage_providers.providers._objects.jobs import entries_there
from storage_providers.resilience import Deadline

if TYPE_CHECKING:
    from storage_providers.providers._objects.provider import ObjectProvider

__all__ = ["GRACE_SECONDS", "GcReport", "clear", "collect_garbage", "erase", "reindex"]

GRACE_SECONDS: Final = 600
"""Entries younger than this may belong to a write on its way, and stay. Ours: `WRITE_SECONDS`, and
seven minutes by which clocks may be apart."""


_LOGGER = logging.getLogger("storage_providers")


class GcReport(msgspec.Struct, kw_only=True):
    """What `gc` did.

    Attributes:
        entries_seen: Index entries looked at.
        entries_removed: Those of them that nobody needs any more.
        entries_kept_young: Those that are too young to judge.
        documents_removed: Expired documents removed.
    """

    entries_seen: int = 0
    entries_removed: int = 0
    entries_kept_young: int = 0
    documents_removed: int = 0


async def _remove(provider: ObjectProvider, keys: Sequence[str]) -> int:
    """Remove objects.

    Returns:
        How many.

    Raises:
        StorageError: One could not be removed; the others were.
    """
    if keys:
        for result in await provider.store.delete(keys):
            if result is not None:
                raise result
    return len(keys)


def _is_old(provider: ObjectProvider, key: str) -> bool | None:
    """Whether no write on its way can need an entry; `None`: it does not tell its age."""
    made_ms = token_time_ms(entry_token(key))
    if made_ms is None:
        return None
    return provider.clock.now_ms() - made_ms > GRACE_SECONDS * 1000


async def clear(provider: ObjectProvider, collection: str) -> None:
    """Remove every document of a collection, then the entries that no write can need.

    Raises:
        OutcomeUnknownError: Some documents were removed, others could not be.
        StorageError: No document was removed.
    """
    layout, removed = provider.layout, 0
    try:
        batches = _batches(provider, layout.folder(collection), layout.delimiter)
        async with aclosing(batches):
            async for entries in batches:
                keys = [entry.key for entry in entries if entry.key.endswith(layout.suffix)]
                results = await _delete(provider, keys)
                removed += results.count(None)
                for result in results:
                    if result is not None:
                        raise result
    except StorageError as error:
        if not removed or isinstance(error, OutcomeUnknownError):
            raise
        raise OutcomeUnknownError(
            f"{removed} documents were removed before it failed ({type(error).__name__}: "
            f"{error.message}); clear the collection again"
        ) from error
    # Only when all documents are gone: what is left of them still needs its entries.
    try:
        batches = _batches(provider, layout.index_folder(collection))
        async with aclosing(batches):
            async for entries in batches:
                await _remove(
                    provider, [entry.key for entry in entries if _is_old(provider, entry.key)]
                )
    except StorageError as error:
        _LOGGER.debug(
            "%s: index entries of %s were left to be collected (%s)",
            provider.name,
            collection,
            type(error).__name__,
        )


async def erase(provider: ObjectProvider, collection: str) -> int:
    """Remove every document of a collection, all index entries, then its declaration.

    Entries are removed whatever their age, as they hold values of documents; so nobody may be
    writing.

    Returns:
        How many objects of other programs are left in its folder.

    Raises:
        StorageError: Something could not be removed.
    """
    layout = provider.layout
    await clear(provider, collection)
    # Behind the entries: until then the declaration says that there are some.
    async with aclosing(_batches(provider, layout.index_folder(collection))) as batches:
        async for entries in batches:
            await _remove(provider, [entry.key for entry in entries])
    await _remove(provider, [provider.declarations.key(collection)])
    left = 0
    if not provider.store.limits.staleness_seconds:
        pages = listing_pages(provider.store, layout.folder(collection), delimiter=layout.delimiter)
        async with aclosing(pages):
            async for page in pages:
                left += len(page.entries)
    return left


async def _batches(
    provider: ObjectProvider, prefix: str, delimiter: str | None = None
) -> AsyncGenerator[list[ObjectEntry], None]:
    """What is listed, as much at once as one request removes."""
    most = provider.store.limits.delete_batch
    waiting: list[ObjectEntry] = []
    pages = listing_pages(provider.store, prefix, delimiter=delimiter)
    async with aclosing(pages):
        async for page in pages:
            if waiting and len(waiting) + len(page.entries) > most:
                yield waiting
                waiting = []
            waiting = [*waiting, *page.entries]
    if waiting:
        yield waiting


async def _delete(provider: ObjectProvider, keys: Sequence[str]) -> list[StorageError | None]:
    """Remove objects, those that are refused for the rate again after a while."""
    results: dict[str, StorageError | None] = {}
    deadline = Deadline(RETRY_SECONDS, provider.timing)
    rest: list[str] = list(keys)
    attempt = 0
    while rest:
        try:
            results.update(zip(rest, await provider.store.delete(rest), strict=True))
        except StorageError as error:
            results.update(dict.fromkeys(rest, error))
        attempt += 1
        rest = [key for key in rest if isinstance(results[key], RateLimitedError)]
        longest = 0.0
        for key in rest:
            refused = results[key]
            assert refused is not None
            wait = retry_seconds(refused, attempt, provider.timing.jitter())
            longest = max(longest, wait or 0.0)
        if longest >= deadline.remaining_seconds:
            break
        if rest:
            await provider.timing.sleep(longest)
    return list(results.values())


async def reindex(
    provider: ObjectProvider, collection: str, on_progress: Callable[[int], None] | None
) -> int:
    """Put the entries of all documents in all declared indexes.

    Returns:
        How many documents there are.
    """
    count = 0
    pages = document_pages(provider, collection)
    async with aclosing(pages):
        async for documents in pages:
            indexes = await provider.indexes(collection)
            await fill_in(provider, collection, documents, [index.keys for index in indexes])
            count += len(documents)
            if on_progress is not None:
                on_progress(count)
    return count


class _Collector:
    """One run of `gc`."""

    def __init__(self, provider: ObjectProvider, on_progress: Callable[[int], None] | None) -> None:
        self._provider = provider
        self._on_progress = on_progress
        self.report = GcReport()

    async def collect(self, collection: str) -> None:
        """Remove the entries of a collection that nobody needs."""
        layout, store = self._provider.layout, self._provider.store
        folders: list[str] = []
        pages = listing_pages(store, layout.index_folder(collection), delimiter=layout.delimiter)
        async with aclosing(pages):
            async for page in pages:
                folders += page.folders
        for folder in folders:
            await self._collect_index(collection, folder)

    async def _collect_index(self, collection: str, folder: str) -> None:
        report = self.report
        pages = listing_pages(self._provider.store, folder)
        async with aclosing(pages):
            async for page in pages:
                # Looked up for each page: an index that was dropped may be declared anew.
                keys = {
                    index.keys.folder: index.keys
                    for index in await self._provider.indexes(collection)
                }.get(folder)
                ages = [_is_old(self._provider, entry.key) for entry in page.entries]
                old = [
                    entry
                    for entry, is_old in zip(page.entries, ages, strict=True)
                    if is_old is not False
                ]
                garbage = (
                    [entry.key for entry in old]
                    if keys is None
                    else await self._garbage(collection, keys, old)
                )
                report.entries_removed += await _remove(self._provider, garbage)
                report.entries_kept_young += ages.count(False)
                report.entries_seen += len(page.entries)
                if self._on_progress is not None:
                    self._on_progress(report.entries_seen)

    async def _garbage(
        self, collection: str, keys: IndexKeys, found: Iterable[ObjectEntry]
    ) -> list[str]:
        """Of some entries of an index those that their documents do not need."""
        by_id: dict[str, list[IndexEntry]] = {}
        for each in found:
            try:
                entry = keys.read(each.key)
            except ValueError:
                continue  # Not as this SDK writes them, so not its to remove.
            by_id.setdefault(entry.id, []).append(entry)
        ids, garbage, doubles = list(by_id), list[str](), dict[str, str]()
        for start in range(0, len(ids), READ_TOGETHER):
            some = ids[start : start + READ_TOGETHER]
            documents = await read_all(
                self._provider.store,
                [self._provider.layout.document(collection, item_id) for item_id in some],
            )
            for item_id, stored in zip(some, documents, strict=True):
                unneeded, doubled = _judged(collection, keys, by_id[item_id], stored)
                garbage += unneeded
                doubles.update(doubled)
        return garbage + await self._doubles(doubles)

    async def _doubles(self, doubles: Mapping[str, str]) -> list[str]:
        """Of entries, with that of the document's own token, those whose other is there."""
        own = list(dict.fromkeys(doubles.values()))
        there: set[str] = set()
        for start in range(0, len(own), READ_TOGETHER):
            some = own[start : start + READ_TOGETHER]
            found = await read_all(self._provider.store, some)
            there.update(key for key, stored in zip(some, found, strict=True) if stored is not None)
        return [key for key, other in doubles.items() if other in there]

    async def remove_expired(self, collection: str) -> None:
        """Remove the expired documents of a collection, and their entries."""
        provider = self._provider
        pages = document_pages(provider, collection)
        async with aclosing(pages):
            async for documents in pages:
                for start in range(0, len(documents), READ_TOGETHER):
                    await self._remove_expired(collection, documents[start : start + READ_TOGETHER])

    async def _remove_expired(self, collection: str, documents: Sequence[tuple[str, str]]) -> None:
        provider, expired, entries = self._provider, list[str](), list[str]()
        indexes = await provider.indexes(collection)
        found = await read_all(provider.store, [key for key, _ in documents])
        for (key, item_id), stored in zip(documents, found, strict=True):
            if stored is None:
                continue
            try:
                item, expires_at_ms = to_item(collection, item_id, stored)
            except CorruptItemError:
                continue
            if provider.is_over(expires_at_ms):
                expired.append(key)
                entries += entries_there(indexes, item, stored)
        self.report.documents_removed += await _remove(provider, expired)
        self.report.entries_removed += await _remove(provider, entries)


def _judged(
    collection: str, keys: IndexKeys, entries: Sequence[IndexEntry], stored: StoredObject | None
) -> tuple[list[str], dict[str, str]]:
    """Judge the entries that name one document by what it is now.

    Returns:
        Those that it does not need; and those that it does not need if it has its own for the same
        value, with their keys.
    """
    if stored is None:
        return [entry.key for entry in entries], {}
    try:
        document = to_item(collection, entries[0].id, stored)[0].document
    except CorruptItemError:
        return [], {}  # When it is mended, they may be its own.
    needed, token = set(keys.values_of(document)), token_of(stored)
    tail = keys.id_key(entries[0].id) + token
    return (
        [entry.key for entry in entries if entry.values not in needed],
        {
            entry.key: keys.folder + entry.values + tail
            for entry in entries
            if entry.values in needed and entry.token != token
        },
    )


async def collect_garbage(
    provider: ObjectProvider,
    collections: Iterable[str],
    *,
    remove_expired: bool,
    on_progress: Callable[[int], None] | None,
) -> GcReport:
    """Remove the entries that nobody needs, and if asked the expired documents."""
    collector = _Collector(provider, on_progress)
    for collection in collections:
        try:
            if remove_expired:
                await collector.remove_expired(collection)
            await collector.collect(collection)
        except StorageError as error:
            error.collection = collection if error.collection is None else error.collection
            raise
    return collector.report
