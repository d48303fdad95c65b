"""Undoing: one side of a conflict is brought back, in place of what the policy decided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from storage_providers.base import Provider
from storage_providers.conflicts import ConflictRecord, Resolution, Side, Stored
from storage_providers.errors import VersionMismatchError
from storage_providers.protocol import ANY, IF_ABSENT, Address, Delete, IfVersion, Item
from storage_providers.providers._hybrid.effects import is_same

__all__ = ["bring_back"]

Read: TypeAlias = Callable[[Sequence[Address]], Awaitable[list[Item | None]]]


async def bring_back(hybrid: Provider, read: Read, record: ConflictRecord, keep: Side) -> None:
    """Have one side stand, if what was decided still does.

    Args:
        hybrid: Where.
        read: Reads from its primary alone.
        record: The conflict.
        keep: The side.

    Raises:
        VersionMismatchError: The document was changed since; nothing was written.
        TransportError: The primary can't be reached.
    """
    wanted = record.side(keep)
    address = Address(record.conflict.collection, record.conflict.id)
    refused = record.state == "refused"
    stands = Resolution(record.conflict.primary) if refused else record.resolution
    copies = [Address(address.collection, each.document["id"]) for each in stands.copies]
    item, *beside = await read([address, *copies])
    there = None if item is None else Stored.of(item)
    if not is_same(there, wanted):
        if not is_same(there, stands.stored):
            raise VersionMismatchError(
                "the document was changed since the conflict was settled",
                collection=address.collection,
                item_id=address.id,
            )
        condition = IF_ABSENT if item is None else IfVersion(item.version)
        if wanted is not None:
            await hybrid.write([wanted.put(address.collection, condition)])
        else:
            able = hybrid.capabilities.conditional_delete and item is not None
            asked = condition if able else ANY
            await hybrid.write([Delete(address.collection, address.id, asked)])
    await hybrid.write(
        [
            Delete(place.collection, place.id)
            for place, copy, made in zip(copies, beside, stands.copies, strict=True)
            if copy is not None and is_same(Stored.of(copy), made)
        ]
    )
