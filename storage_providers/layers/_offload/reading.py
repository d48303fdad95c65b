"""Reading documents back whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from storage_providers.base import Provider
from storage_providers.errors import BatchError, CorruptItemError, StorageError, TransportError
from storage_providers.layers._offload.objects import Missing, Objects
from storage_providers.layers._offload.record import (
    ENCODING,
    Record,
    Reference,
    parts_of,
    whole,
)
from storage_providers.protocol import Address, Item, Page, Query

__all__ = ["Loaded", "Reader", "Result"]

Result = Item | StorageError | None

ATTEMPTS = 5
"""How often documents are read again that others replaced, and whose objects they collected,
between the reading of a document and of its object."""


class Loaded(NamedTuple):
    """A document as it was found.

    Attributes:
        stored: As stored below this layer; `None`: there is none, or it can't be read.
        record: Its record, if it has one.
        result: As it was put, or the reason why it can't be read.
    """

    stored: Item | None
    record: Record | None
    result: Result


class _Opened(NamedTuple):
    """A stored document with its record read, and the object that it needs to be whole."""

    stored: Item
    record: Record
    inline: bytes
    needs: Reference | None


class Reader:
    """Reads documents and puts them together.

    Args:
        inner: Where the documents are.
        objects: Where the other halves are.
    """

    def __init__(self, inner: Provider, objects: Objects) -> None:
        self._inner = inner
        self._objects = objects

    async def load(self, addresses: Sequence[Address]) -> list[Loaded]:
        """Read documents, each with its record; what can't be read is an error in its place."""
        for _ in range(ATTEMPTS):
            results = await self._stored(addresses)
            loaded, absent = await self._restored(results, [False] * len(results))
            if not await self._has_changed(absent):
                return loaded
        raise _unsteady()

    async def read(self, addresses: Sequence[Address]) -> list[Item | None]:
        """Read documents, as the verb `read` does."""
        results = [loaded.result for loaded in await self.load(addresses)]
        errors = [result for result in results if isinstance(result, StorageError)]
        if errors and len(addresses) == 1:
            raise errors[0]
        if errors:
            raise BatchError(
                f"{len(errors)} of {len(results)} documents can't be read; the others are in "
                "'results'",
                results=results,
            )
        return [result for result in results if not isinstance(result, StorageError)]

    async def ask(self, queries: Sequence[Query], partial: Sequence[bool]) -> list[Page]:
        """Answer queries.

        Args:
            queries: What to ask below this layer.
            partial: For each, whether its fields are all there without the object.
        """
        for _ in range(ATTEMPTS):
            pages = await self._inner.query(queries)
            items = [item for page in pages for item in page.items]
            flags = [flag for page, flag in zip(pages, partial, strict=True) for _ in page.items]
            loaded, absent = await self._restored(items, flags)
            if not await self._has_changed(absent):
                results = iter(loaded)
                return [_page(page, [next(results).result for _ in page.items]) for page in pages]
        raise _unsteady()

    async def referred(self, addresses: Sequence[Address]) -> dict[str, tuple[str, str] | None]:
        """Collection and id of the object that each document of one collection refers to.

        Documents that can't be read are left out; those that are not there refer to none.
        """
        found: dict[str, tuple[str, str] | None] = {}
        for address, result in zip(addresses, await self._stored(addresses), strict=True):
            opened = _open(result, partial=False) if isinstance(result, Item) else result
            if isinstance(opened, StorageError):
                continue
            known = opened.record.object if isinstance(opened, _Opened) else None
            found[address.id] = None if known is None else (known.collection, known.id)
        return found

    async def _stored(self, addresses: Sequence[Address]) -> Sequence[Result]:
        try:
            return await self._inner.read(addresses)
        except CorruptItemError as error:
            if len(addresses) > 1:
                raise
            return [error]
        except BatchError as error:
            return error.results

    async def _restored(
        self, results: Sequence[Result], partial: Sequence[bool]
    ) -> tuple[list[Loaded], list[Item]]:
        """Documents as they were put, and those whose object is not there."""
        opened = [
            _open(result, flag) if isinstance(result, Item) else result
            for result, flag in zip(results, partial, strict=True)
        ]
        needed = [one.needs for one in opened if isinstance(one, _Opened) and one.needs]
        contents = await self._objects.fetch(needed)
        loaded: list[Loaded] = []
        absent: list[Item] = []
        for result, one in zip(results, opened, strict=True):
            stored = result if isinstance(result, Item) else None
            if not isinstance(one, _Opened):
                loaded.append(Loaded(stored, None, one))
                continue
            content = None if one.needs is None else contents[one.needs]
            if isinstance(content, Missing):
                if content.is_absent:
                    absent.append(one.stored)
                error = self._damaged(one, content.reason)
                loaded.append(Loaded(stored, one.record, error))
            else:
                loaded.append(Loaded(stored, one.record, _join(one, content)))
        return loaded, absent

    async def _has_changed(self, absent: Sequence[Item]) -> bool:
        """Whether any of these documents is another by now, so that its object may be gone."""
        if not absent:
            return False
        addresses = [Address(item.collection, item.id) for item in absent]
        return any(
            not isinstance(now, Item) or now.version != item.version
            for item, now in zip(absent, await self._stored(addresses), strict=True)
        )

    def _damaged(self, one: _Opened, reason: str) -> CorruptItemError:
        assert one.needs is not None
        place = f"{self._objects.provider!r}: {one.needs.collection}/{one.needs.id}"
        return CorruptItemError(
            f"the object {one.needs.id!r} that holds its large fields {reason}; restore that "
            "object, or put the document again",
            collection=one.stored.collection,
            item_id=one.stored.id,
            source=place,
        )


def _open(item: Item, partial: bool) -> Item | _Opened | CorruptItemError:
    if item.encoding != ENCODING:
        return item
    try:
        record, inline = parts_of(item.payload or b"")
    except msgspec.MsgspecError:
        return _unreadable(item)
    is_needed = record.payload_left or (record.document_bytes and not partial)
    return _Opened(item, record, inline, record.object if is_needed else None)


def _join(one: _Opened, content: bytes | None) -> Item | CorruptItemError:
    item = one.stored
    try:
        body, payload = whole(item.body, one.record, one.inline, content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _unreadable(item)
    return Item(item.collection, item.id, item.version, body, one.record.encoding, payload)


def _unreadable(item: Item) -> CorruptItemError:
    return CorruptItemError(
        "the record of what left the document is damaged",
        collection=item.collection,
        item_id=item.id,
    )


def _page(page: Page, results: Sequence[Result]) -> Page:
    items = [result for result in results if isinstance(result, Item)]
    corrupt = [result for result in results if isinstance(result, CorruptItemError)]
    return msgspec.structs.replace(page, items=items, corrupt=(*page.corrupt, *corrupt))


def _unsteady() -> TransportError:
    return TransportError(
        f"the documents were replaced and their objects collected {ATTEMPTS} times while they "
        "were read; try again"
    )
