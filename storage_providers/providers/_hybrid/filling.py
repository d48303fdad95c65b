"""Filling: everything that the primary holds is copied, and what it lacks is removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from storage_providers.base import Provider
from storage_providers.conflicts import Stored
from storage_providers.errors import ConfigurationError, StorageError, TransportError
from storage_providers.protocol import Address, Item, Query
from storage_providers.providers._hybrid.effects import is_same
from storage_providers.providers._hybrid.journal import Journal
from storage_providers.providers._hybrid.looking import each_id, read_each
from storage_providers.providers._hybrid.mirror import Mirror

__all__ = ["Filled", "adopt", "fill", "mend"]

PAGE: Final = 500
"""Documents copied at once. Ours."""


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """What filling did.

    Attributes:
        collections: Collections of the primary.
        documents: Documents of the primary.
        removed: Documents that the fallback alone had.
        corrupt: Documents that can't be read at the primary; they have no copy.
    """

    collections: int
    documents: int
    removed: int
    corrupt: int


async def adopt(fallback: Provider, journal: Journal, *, anyway: bool) -> None:
    """Make sure that what the fallback holds is the hybrid's to replace and remove.

    Args:
        fallback: The fallback.
        journal: Knows it once it was made sure of.
        anyway: Take over what is there.

    Raises:
        ConfigurationError: The fallback holds documents of somebody else.
    """
    if await journal.is_adopted():
        return
    if not anyway:
        for name in await fallback.collections():
            (page,) = await fallback.query([Query(name, limit=1)])
            # Another process may have made sure meanwhile, and written.
            if (page.items or page.corrupt) and not await journal.is_adopted():
                raise ConfigurationError(
                    "the fallback holds documents already, and the journal is new; the primary "
                    "counts, so what it lacks would be removed. Bring them to the primary first, "
                    "then say adopt_fallback=True, or use an empty fallback",
                    collection=name,
                )
    await journal.adopt()


async def fill(
    primary: Provider,
    fallback: Provider,
    mirror: Mirror,
    on_progress: Callable[[int], None] | None,
) -> Filled:
    """Copy everything; may be interrupted and repeated, and run while others read and write."""
    names = await primary.collections()
    documents = removed = corrupt = 0
    for name in names:
        spec = await primary.declared(name)
        if spec is not None:
            await fallback.declare(spec)
        cursor: str | None = None
        while True:
            tick = mirror.tick
            (page,) = await primary.query([Query(name, limit=PAGE, cursor=cursor)])
            await _copy(fallback, mirror, page.items, tick)
            documents += len(page.items)
            broken = [Address(name, each.item_id) for each in page.corrupt if each.item_id]
            corrupt += len(page.corrupt)
            if broken:
                await mirror.doubt(broken)
            if on_progress is not None:
                on_progress(documents)
            cursor = page.cursor
            if cursor is None:
                break
    for name in {*names, *await fallback.collections()}:
        removed += await _remove_others(primary, fallback, mirror, name)
    return Filled(collections=len(names), documents=documents, removed=removed, corrupt=corrupt)


async def _copy(fallback: Provider, mirror: Mirror, items: Sequence[Item], tick: int) -> None:
    """Copy what the fallback does not hold just so, whatever was copied before."""
    addresses = [Address(item.collection, item.id) for item in items]
    held = await _readable(fallback, addresses)
    new = [
        (address, item)
        for address, item in zip(addresses, items, strict=True)
        if (there := held.get(address)) is None or not is_same(Stored.of(there), Stored.of(item))
    ]
    mirror.forget(address for address, _ in new)
    await mirror.copy(new, tick, wait=True)


async def _remove_others(
    primary: Provider, fallback: Provider, mirror: Mirror, collection: str
) -> int:
    """Remove what the primary does not have; it is asked for each, as others may write."""
    theirs = {each async for each in each_id(primary, collection)}
    extra = [
        Address(collection, each)
        async for each in each_id(fallback, collection)
        if each not in theirs
    ]
    removed = 0
    for start in range(0, len(extra), PAGE):
        some = extra[start : start + PAGE]
        tick = mirror.tick
        items = await primary.read(some)
        mirror.forget(some)
        await mirror.copy(list(zip(some, items, strict=True)), tick, wait=True)
        removed += sum(item is None for item in items)
    return removed


async def mend(primary: Provider, fallback: Provider, journal: Journal, mirror: Mirror) -> None:
    """Copy anew what is in doubt; what can't be read at the primary stays so.

    Raises:
        TransportError: A provider is unavailable, or writes got in the way; the doubts stay.
    """
    doubts = await mirror.doubts()
    named = sorted(
        (each for each in doubts if each.id), key=lambda each: (each.collection, each.id)
    )
    for address in doubts:
        if not address.id:
            name = address.collection
            named += [Address(name, each) async for each in each_id(fallback, name)]
    named = list(dict.fromkeys(named))
    for start in range(0, len(named), PAGE):
        some = named[start : start + PAGE]
        async with mirror.writing(some):
            found = await _readable(primary, some)
            if await journal.is_pending():
                raise TransportError("writes went to the journal meanwhile")
            await mirror.store(found, strict=True)
            await mirror.trust(list(found))
            await mirror.keep_promises(list(found))
    await mirror.trust([address for address in doubts if not address.id])


async def _readable(side: Provider, addresses: Sequence[Address]) -> dict[Address, Item | None]:
    """What a side holds, without what is corrupt there."""
    found = await read_each(side, addresses)
    return {at: item for at, item in found.items() if not isinstance(item, StorageError)}
