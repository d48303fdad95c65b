"""How checkpoints lie: ids that sort, bytes as text, and writes in an order that is safe.

    {prefix}_checkpoints   thread.namespace.checkpoint          a checkpoint
    {prefix}_values        thread.namespace.channel.version     a version of a channel's value
    {prefix}_writes        thread.namespace.checkpoint.task     a task's pending writes

The id alone answers what LangGraph asks: the newest checkpoint of a thread is the last one with
its prefix, and everything of a thread begins with the thread.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec

from storage_providers.agents.adapters._common import raise_corrupt, segment, stamps
from storage_providers.protocol import (
    Address,
    Clear,
    Delete,
    Item,
    JsonObject,
    Put,
    Query,
    StorageProvider,
    Write,
    check_collection,
)

__all__ = [
    "PAGE",
    "Collections",
    "Packer",
    "Place",
    "delete_all",
    "id_list",
    "part_ids",
    "query_all",
    "read_data",
    "write_in_order",
]

PAGE: Final = 1000
"""Documents asked for at once; what R2 and KV list in one call."""

MAX_BATCH_BYTES: Final = 8_000_000
"""Bytes written in one batch. Ours: D1's provider takes 10,000,000, ids and conditions included."""

MAX_CONTENT_BYTES: Final = 6_000_000
"""Text of one document, bytes, however much the provider takes, so that it fits a batch. Ours."""

RESERVED_BYTES: Final = 65_536
"""Room for ids and metadata beside a document's content, bytes. Ours."""

_VERSION: Final = re.compile(r"[A-Za-z0-9_.-]{1,52}", re.ASCII)
"""Versions as LangGraph's savers make them: 32 digits, a full stop, a random fraction."""


class Collections(NamedTuple):
    """The names of the three collections."""

    checkpoints: str
    values: str
    writes: str

    @classmethod
    def named(cls, prefix: str) -> Collections:
        """Those whose names begin with a prefix.

        Raises:
            InvalidArgumentError: The names are no collections' names.
        """
        names = [f"{prefix}_{part}" for part in cls._fields]
        for name in names:
            check_collection(name)
        return cls(*names)


class Place(NamedTuple):
    """A namespace of a thread, and the ids of what is in it."""

    thread_id: str
    namespace: str

    @property
    def prefix(self) -> str:
        """What all ids of this place begin with."""
        return f"{segment(self.thread_id)}.{segment(self.namespace)}."

    def checkpoint(self, checkpoint_id: str) -> str:
        """The id of a checkpoint's document; ids sort as checkpoint ids do."""
        return self.prefix + checkpoint_id

    def value(self, channel: str, version: str | int | float) -> str:
        """The id of a channel's value."""
        return f"{self.prefix}{segment(channel)}.{segment(str(version), _VERSION)}"

    def writes(self, checkpoint_id: str, suffix: str = "") -> str:
        """What the ids of a checkpoint's pending writes begin with."""
        return f"{self.prefix}{segment(checkpoint_id)}.{suffix}"


class Packer:
    """Turns serialized values into parts of documents.

    Short ones become text in the document itself, long ones documents of their own in
    `values`, which must be written before the document that refers to them.

    Args:
        collections: Where documents are.
        limit_bytes: Largest document of the provider; `None`: no limit.
        thread_id: Whose values these are.
    """

    def __init__(self, collections: Collections, limit_bytes: int | None, thread_id: str) -> None:
        limit = MAX_CONTENT_BYTES if limit_bytes is None else limit_bytes
        self._chunk = min(MAX_CONTENT_BYTES, limit - min(RESERVED_BYTES, limit // 2))
        self._collections = collections
        self._thread_id = thread_id
        self._room = self._chunk
        self.parts: list[Put] = []

    def next_document(self) -> None:
        """Begin another document, with all its room."""
        self._room = self._chunk

    def pack(self, typed: tuple[str, bytes], owner: str) -> JsonObject:
        """What stands in the document for a value as the serializer gives it.

        Args:
            typed: Its type's name and its bytes.
            owner: What the ids of parts begin with, if there are any.
        """
        kind, raw = typed
        text = base64.b64encode(raw).decode()
        if len(text) <= self._room:
            self._room -= len(text)
            return {"type": kind, "data": text}
        owner = f"{owner}~{secrets.token_hex(6)}"
        pieces = range(0, len(text), self._chunk)
        for number, start in enumerate(pieces):
            document = {
                "id": f"{owner}~{number}",
                "threadId": self._thread_id,
                "data": text[start : start + self._chunk],
                **stamps(),
            }
            self.parts.append(Put(self._collections.values, document))
        # Without the thread, so that a copy of the thread need not rewrite it.
        return {"type": kind, "parts": len(pieces), "partsOf": owner.partition(".")[2]}


def part_ids(document: Mapping[str, Any], thread: str) -> Iterator[str]:
    """The ids of the parts that a document refers to, in order."""
    content = document.get("content")
    entries = cast("list[JsonObject]", content if isinstance(content, list) else [content])
    for entry in entries:
        if entry and "partsOf" in entry:
            yield from id_list(entry, thread)


def id_list(entry: Mapping[str, Any], thread: str) -> list[str]:
    """The ids of one packed value's parts."""
    owner = f"{thread}.{entry['partsOf']}"
    return [f"{owner}~{number}" for number in range(entry["parts"])]


async def query_all(provider: StorageProvider, queries: Sequence[Query]) -> list[list[Item]]:
    """Answer several queries whole, following every cursor, in as few calls as there are pages.

    Raises:
        CorruptItemError: A document that belongs to an answer can't be read.
    """
    found: list[list[Item]] = [[] for _ in queries]
    open_: list[tuple[int, Query]] = list(enumerate(queries))
    while open_:
        pages = await provider.query([query for _, query in open_])
        following: list[tuple[int, Query]] = []
        for (number, query), page in zip(open_, pages, strict=True):
            raise_corrupt(page.corrupt)
            found[number] += page.items
            if page.cursor is not None:
                more = msgspec.structs.replace(query, cursor=page.cursor)
                following.append((number, more))
        open_ = following
    return found


async def write_in_order(provider: StorageProvider, *stages: Sequence[Write]) -> None:
    """Write stage by stage: what refers to something lands after it.

    One batch where that lands whole or not at all, and is not too large for it.

    Raises:
        StorageError: A write failed; what comes after it was not sent.
    """
    together = [write for stage in stages for write in stage]
    if provider.capabilities.atomic_batch and _size(together) <= MAX_BATCH_BYTES:
        if together:
            await provider.write(together)
        return
    for stage in stages:
        for batch in _batches(stage):
            await provider.write(batch)


async def delete_all(provider: StorageProvider, *stages: Iterable[Address]) -> None:
    """Remove stage by stage: what refers to something goes before it."""
    await write_in_order(
        provider,
        *([Delete(each.collection, each.id) for each in stage] for stage in stages),
    )


def _size(batch: Iterable[Write]) -> int:
    return sum(
        write.size_bytes if isinstance(write, Put) else 100
        for write in batch
        if not isinstance(write, Clear)
    )


def _batches(stage: Sequence[Write]) -> Iterator[list[Write]]:
    batch: list[Write] = []
    size = 0
    for write in stage:
        more = _size([write])
        if batch and (size + more > MAX_BATCH_BYTES or len(batch) >= 10 * PAGE):
            yield batch
            batch, size = [], 0
        batch.append(write)
        size += more
    if batch:
        yield batch


def read_data(documents: Iterable[JsonObject]) -> bytes:
    """The bytes that the document of a value, or its parts together, hold."""
    return base64.b64decode("".join(document["data"] for document in documents))
