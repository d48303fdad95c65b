"""Writing to a primary that can be reached, and having the copies follow."""

from __future__ import annotations

from collections.abc import Sequence

from storage_providers.base import Provider
from storage_providers.errors import StorageError, TransportError
from storage_providers.protocol import Address, Clear, Item, Write
from storage_providers.providers._hybrid.labels import labelled_error, labelled_result, to_primary
from storage_providers.providers._hybrid.link import Link
from storage_providers.providers._hybrid.mirror import Mirror
from storage_providers.providers._hybrid.sending import Results, send

__all__ = ["write_through"]


async def write_through(
    primary: Provider, link: Link, mirror: Mirror, batch: Sequence[Write]
) -> Results:
    """Write to the primary, and mirror what landed; what may have landed is in doubt.

    Args:
        primary: The primary.
        link: Told whether it could be reached.
        mirror: Has the documents of the batch locked.
        batch: The writes.

    Returns:
        For each what the primary made of it.

    Raises:
        StorageError: The primary refused as a whole; nothing was written.
    """
    doubted = [
        Address(each.collection, "" if isinstance(each, Clear) else each.id) for each in batch
    ]
    try:
        results = await send(primary, [to_primary(write) for write in batch])
    except StorageError as error:
        labelled_error(error)
        raise
    except BaseException:
        # Cancelled on its way: it may have landed.
        mirror.doubt_now(doubted)
        raise
    failures = [each for each in results if isinstance(each, TransportError)]
    if failures:
        link.failed(failures[0])
    else:
        link.worked()
    try:
        await _follow(mirror, batch, results)
    except BaseException:
        mirror.doubt_now(doubted)
        raise
    return [labelled_result(write, each) for write, each in zip(batch, results, strict=True)]


async def _follow(mirror: Mirror, batch: Sequence[Write], results: Results) -> None:
    """Mirror what landed."""
    landed: dict[Address, Item | None] = {}
    for write, result in zip(batch, results, strict=True):
        if isinstance(result, StorageError):
            continue
        if isinstance(write, Clear):
            await mirror.clear(write.collection)
        else:
            landed[Address(write.collection, write.id)] = result
    await mirror.store(landed)
    await mirror.keep_promises(list(landed))
