"""Filling in the entries of documents that are older than their index.

A walk over the documents in the order of their keys puts the entries that a document's own writer
would have put, under the document's own token. Doing it twice, or while others write, does no
harm: an entry too many is passed over by queries and collected some day. Progress is kept in the
declaration, with a lease, so that whoever comes next goes on where another stopped.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

import msgspec

from storage_providers._clock import format_timestamp, parse_timestamp
from storage_providers.errors import CorruptItemError, InvalidDocumentError, StorageError
from storage_providers.providers._objects import Listing, ObjectPut, ObjectStore, StoredObject
from storage_providers.providers._objects.declaring import (
    Declaration,
    IndexRecord,
    IndexState,
)
from storage_providers.providers._objects.documents import to_item, token_of
from storage_providers.providers._objects.entries import IndexKeys

if TYPE_CHECKING:
    from storage_providers.providers._objects.provider import ObjectProvider

__all__ = ["READ_TOGETHER", "Builder", "document_pages", "fill_in", "listing_pages", "read_all"]

READ_TOGETHER: Final = 100
"""Documents held in memory at once. Source: KV reads 100 values a request (Cloudflare docs,
kv/api, 2026-11)."""

LEASE_SECONDS: Final = 120
"""How long others leave a back-fill alone after it last told of progress. Ours."""

LOOK_AGAIN_SECONDS: Final = 60
"""How often the background looks whether something is due, and its wait after a failure, which
doubles. Ours."""

FAILED_SECONDS: Final = 3600
"""The longest wait after failures in the background. Ours."""

_LOGGER = logging.getLogger("storage_providers")

Progress = Callable[[int], None]


# --- walking -----------------------------------------------------------------------------------


async def listing_pages(
    store: ObjectStore, prefix: str, *, after: str = "", delimiter: str | None = None
) -> AsyncGenerator[Listing, None]:
    """The pages of a listing.

    Args:
        store: The service.
        prefix: What the keys begin with.
        after: Only keys behind this one.
        delimiter: As in `ObjectStore.list`.
    """
    cursor: str | None = None
    start = after if store.limits.starts_anywhere else ""
    behind = after.encode()
    while True:
        page = await store.list(prefix, after=start, cursor=cursor, delimiter=delimiter)
        if after and not start:
            entries = [entry for entry in page.entries if entry.key.encode() > behind]
            yield msgspec.structs.replace(page, entries=entries)
        else:
            yield page
        cursor = page.cursor
        if cursor is None:
            return


async def document_pages(
    provider: ObjectProvider, collection: str, *, after: str = ""
) -> AsyncGenerator[list[tuple[str, str]], None]:
    """The keys and ids of a collection's documents, a page of a listing at a time.

    Objects whose keys this SDK does not read are left out.
    """
    folder = provider.layout.folder(collection)
    pages = listing_pages(provider.store, folder, after=after, delimiter=provider.layout.delimiter)
    async with aclosing(pages):
        async for page in pages:
            found: list[tuple[str, str]] = []
            for entry in page.entries:
                with suppress(ValueError):
                    item_id = provider.layout.id_at(folder, entry.key)
                    if item_id is not None:
                        found.append((entry.key, item_id))
            yield found


async def read_all(store: ObjectStore, keys: Sequence[str]) -> list[StoredObject | None]:
    """Read objects.

    Raises:
        StorageError: One could not be read.
    """
    found: list[StoredObject | None] = []
    for result in await store.get(keys):
        if isinstance(result, StorageError):
            raise result
        found.append(result)
    return found


async def fill_in(
    provider: ObjectProvider,
    collection: str,
    documents: Sequence[tuple[str, str]],
    indexes: Iterable[IndexKeys],
) -> None:
    """Put the entries of some documents.

    Args:
        provider: Where they are.
        collection: Their collection.
        documents: Their keys and ids.
        indexes: The indexes.

    Raises:
        InvalidDocumentError: A document has a value too long for an index; `item_id` names it.
        StorageError: Something could not be read or written.
    """
    indexes = tuple(indexes)
    for start in range(0, len(documents), READ_TOGETHER):
        some = documents[start : start + READ_TOGETHER]
        entries: list[ObjectPut] = []
        found = await read_all(provider.store, [key for key, _ in some])
        for (_, item_id), stored in zip(some, found, strict=True):
            if stored is not None:
                entries += _entries(collection, item_id, stored, indexes)
        if entries:
            for result in await provider.store.put(entries):
                if isinstance(result, StorageError):
                    raise result


def _entries(
    collection: str, item_id: str, stored: StoredObject, indexes: Iterable[IndexKeys]
) -> list[ObjectPut]:
    try:
        item, expires_at_ms = to_item(collection, item_id, stored)
    except CorruptItemError:
        return []
    try:
        document, token = item.document, token_of(stored)
        return [
            ObjectPut(key=key, expires_at_ms=expires_at_ms)
            for keys in indexes
            for key in keys.entries_of(document, item_id, token)
        ]
    except InvalidDocumentError as error:
        error.collection, error.item_id = collection, item_id
        raise


# --- one index after the other -----------------------------------------------------------------


class Builder:
    """Builds the indexes of a provider's collections, when asked and in the background.

    Args:
        provider: The provider.
    """

    def __init__(self, provider: ObjectProvider) -> None:
        self._provider = provider
        self._name = provider.clock.new_id()
        self._noticed: dict[str, float] = {}  # When to look at each, by the monotonic clock.
        self._failures: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    # --- in the background ---------------------------------------------------------------------

    def notice(self, collection: str, declaration: Declaration | None) -> None:
        """Take note of what is declared; an index that is being built is seen to."""
        if not _building(declaration):
            return
        self._noticed.setdefault(collection, self._provider.timing.monotonic())
        if self._task is None or self._task.done():
            # A context of its own: its requests are not those of the call that it began in.
            self._task = asyncio.get_running_loop().create_task(
                self._run(), context=contextvars.Context()
            )

    async def close(self) -> None:
        """End the work in the background."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        timing = self._provider.timing
        while self._noticed:
            for collection, at in list(self._noticed.items()):
                if at <= timing.monotonic():
                    wait = await self._try(collection)
                    if wait is None:
                        del self._noticed[collection]
                    else:
                        self._noticed[collection] = timing.monotonic() + wait
            if self._noticed:
                soonest = min(self._noticed.values()) - timing.monotonic()
                # Others may be noticed meanwhile.
                await timing.sleep(min(max(soonest, 0.0), LOOK_AGAIN_SECONDS))

    async def _try(self, collection: str) -> float | None:
        try:
            wait = await self.step(collection, None)
        except StorageError as error:
            self._failures[collection] += 1
            # Some failures last until somebody mends a document; each attempt reads a page again.
            doubled = LOOK_AGAIN_SECONDS * 2.0 ** min(self._failures[collection] - 1, 10)
            wait = min(doubled, FAILED_SECONDS)
            _LOGGER.warning(
                "%s: building the indexes of %s failed (%s); it is tried again in %d s",
                self._provider.name,
                collection,
                type(error).__name__,
                wait,
            )
            return wait
        del self._failures[collection]
        return wait

    # --- when asked ----------------------------------------------------------------------------

    async def build(self, collection: str, on_progress: Progress | None) -> None:
        """Build what is to be built, however long it takes until it is due."""
        while (wait := await self.step(collection, on_progress)) is not None:
            await self._provider.timing.sleep(min(wait, LOOK_AGAIN_SECONDS))

    async def step(self, collection: str, on_progress: Progress | None) -> float | None:
        """Build the indexes that are due.

        Returns:
            In how many seconds to look again; `None`: nothing is to be built.
        """
        declarations = self._provider.declarations
        declaration = await declarations.load(collection)
        building = _building(declaration)
        if declaration is None or not building:
            return None
        now_ms = self._provider.clock.now_ms()
        waits = {
            name: parse_timestamp(record.since) / 1000 + declarations.settle_seconds - now_ms / 1000
            for name, record in building.items()
        }
        due = {name: record for name, record in building.items() if waits[name] <= 0}
        if not due:
            return min(waits.values())
        if not await self._lease(collection, due, ()):
            return LOOK_AGAIN_SECONDS / 6
        if await self._walk(collection, due, on_progress):
            self._provider.forget(collection)
        return 0.0

    async def _walk(
        self, collection: str, due: Mapping[str, IndexRecord], on_progress: Progress | None
    ) -> bool:
        """Fill in some indexes, from where all of them have been done.

        Returns:
            Whether they are ready; otherwise another has taken over.
        """
        provider, count = self._provider, 0
        indexes = [IndexKeys(provider.layout, collection, record.index) for record in due.values()]
        after = min((record.done or "" for record in due.values()), key=str.encode)
        pages = document_pages(provider, collection, after=after)
        async with aclosing(pages):
            async for documents in pages:
                await fill_in(provider, collection, documents, indexes)
                count += len(documents)
                if on_progress is not None:
                    on_progress(count)
                if documents and not await self._lease(collection, due, documents[-1]):
                    return False
        return await self._lease(collection, due, None)

    async def _lease(
        self,
        collection: str,
        due: Mapping[str, IndexRecord],
        done: tuple[()] | tuple[str, str] | None,
    ) -> bool:
        """Tell the others that this one is at it, and how far.

        Args:
            collection: The collection.
            due: The indexes as they were.
            done: The last document that was dealt with, `()`: none yet, `None`: all of them.

        Returns:
            Whether it still is this one's to do.
        """
        provider, mine = self._provider, True

        def change(before: Declaration | None) -> Declaration | None:
            nonlocal mine
            now_ms = provider.clock.now_ms()
            mine = before is not None and (
                before.builder in (None, self._name)
                or before.until is None
                or parse_timestamp(before.until) <= now_ms
            )
            if before is None or not mine:
                return None
            until = format_timestamp(now_ms + LEASE_SECONDS * 1000)
            return msgspec.structs.replace(
                before,
                indexes={
                    name: _advanced(record, due.get(name), done)
                    for name, record in before.indexes.items()
                },
                builder=None if done is None else self._name,
                until=None if done is None else until,
            )

        await provider.declarations.change(collection, change)
        return mine


def _building(declaration: Declaration | None) -> dict[str, IndexRecord]:
    if declaration is None:
        return {}
    return {
        name: record
        for name, record in declaration.indexes.items()
        if record.state is IndexState.BUILDING
    }


def _advanced(
    record: IndexRecord,
    begun: IndexRecord | None,
    done: tuple[()] | tuple[str, str] | None,
) -> IndexRecord:
    """An index's record after some more of it was filled in."""
    # One that was dropped and declared anew meanwhile begins anew.
    if begun is None or done == () or record.state is not IndexState.BUILDING:
        return record
    if record.since != begun.since:
        return record
    if not done:
        return msgspec.structs.replace(record, state=IndexState.READY, done=None)
    return msgspec.structs.replace(record, done=done[0])
