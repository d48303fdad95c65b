"""Looking at one side of a pair: what it holds under some ids, and under which ids it does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from storage_providers.base import Provider
from storage_providers.errors import BatchError, CorruptItemError, StorageError
from storage_providers.protocol import Address
from storage_providers.providers._hybrid.sending import Result

__all__ = ["each_id", "read_each"]


async def read_each(side: Provider, addresses: Sequence[Address]) -> dict[Address, Result]:
    """What a side holds under these ids; where a document is corrupt, the error.

    Args:
        side: The side.
        addresses: Ids that it takes.

    Raises:
        StorageError: The side can't be reached.
    """
    items: Sequence[Result]
    try:
        items = await side.read(addresses)
    except CorruptItemError as error:
        items = [error]
    except BatchError as error:
        items = error.results
    for item in items:
        if isinstance(item, StorageError) and not isinstance(item, CorruptItemError):
            raise item
    return dict(zip(addresses, items, strict=True))


async def each_id(side: Provider, collection: str) -> AsyncGenerator[str]:
    """The ids of a collection, a page at a time.

    Args:
        side: The side.
        collection: Name of the collection.

    Raises:
        StorageError: The side can't be reached.
    """
    cursor: str | None = None
    while True:
        page = await side.versions(collection, cursor)
        for entry in page.entries:
            yield entry.id
        cursor = page.cursor
        if cursor is None:
            return
