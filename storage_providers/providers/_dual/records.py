"""The records of a migration beside its state: who writes, and what must be looked at again.

A *writer* is a process that writes through `DualWriteProvider`; its record says whether it is at
it, and under which epoch. A *note* names documents whose copy at the follower is not certain: they
were deleted, or the follower did not take them. Before the leader changes, every note is settled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

import msgspec

from storage_providers.base import Provider
from storage_providers.protocol import Address, Delete, Item, Put, Query
from storage_providers.providers._dual.state import OWN

__all__ = ["NOTE_ENTRIES", "Note", "Writer", "note_puts", "notes_of", "remove", "writers_of"]

NOTE_ENTRIES: Final = 1000
"""Documents named by one note, at most. Ours: it stays far below the size of a document."""

PAGE: Final = 200
"""Records read at once. Ours."""

_WRITER: Final = "writer-"
_NOTE: Final = "note-"


class Writer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a process says about its writing.

    Attributes:
        id: Its id, which begins with `writer-`.
        epoch: The epoch that its writes are of; all of earlier ones have ended.
        active: Whether it may be writing. It says so no more before it rests or ends.
        beat: Grows while it is active.
        lease_seconds: It looks at the state at least this often.
    """

    id: str
    epoch: int
    active: bool
    beat: int
    lease_seconds: float

    @property
    def put(self) -> Put:
        """The write that stores this."""
        return Put(OWN, msgspec.to_builtins(self))


class Note(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Documents to look at again.

    Attributes:
        id: Its id, which begins with `note-`.
        entries: Collections and ids; an empty id: all of the collection.
    """

    id: str
    entries: list[tuple[str, str]]

    @property
    def addresses(self) -> list[Address]:
        """The documents."""
        return [Address(collection, item_id) for collection, item_id in self.entries]


def writer_id(new_id: str) -> str:
    """The id of a writer's record."""
    return _WRITER + new_id


def note_puts(addresses: Iterable[Address], ids: Iterable[str]) -> list[Put]:
    """The writes that note documents.

    Args:
        addresses: The documents; an empty id: all of the collection.
        ids: New ids, as many as are taken.
    """
    entries = [(address.collection, address.id) for address in addresses]
    source = iter(ids)
    return [
        Put(
            OWN,
            msgspec.to_builtins(
                Note(id=_NOTE + next(source), entries=entries[start : start + NOTE_ENTRIES])
            ),
        )
        for start in range(0, len(entries), NOTE_ENTRIES)
    ]


async def writers_of(provider: Provider) -> list[Writer]:
    """Every writer that has a record."""
    return [item.decode(Writer) async for item in _records(provider, _WRITER)]


async def notes_of(provider: Provider) -> AsyncIterator[Note]:
    """Every note, a page at a time."""
    async for item in _records(provider, _NOTE):
        yield item.decode(Note)


async def _records(provider: Provider, prefix: str) -> AsyncIterator[Item]:
    cursor: str | None = None
    while True:
        query = Query(OWN, where={"id": {"$prefix": prefix}}, limit=PAGE, cursor=cursor)
        (page,) = await provider.query([query])
        for item in page.items:
            yield item
        cursor = page.cursor
        if cursor is None:
            return


async def remove(provider: Provider, ids: Sequence[str]) -> None:
    """Remove records; those that are gone are no error."""
    await provider.write([Delete(OWN, each) for each in ids])
