"""The engine for documents as objects, and what it asks of a service.

The engine knows documents, indexes and declarations; a driver knows a service and is an
`ObjectStore`: get, put with a condition, delete many, list a page. R2 and KV share the engine.

| module | holds |
|---|---|
| `_objects` | the seam: what the engine asks of a driver |
| `_objects.keys` | where documents are: names as keys, and the order of keys |
| `_objects.entries` | index entries: values as keys that sort as the values do |
| `_objects.provider` | `ObjectProvider`: the verbs, on the modules below |
| `_objects.jobs` | one write: what must be known for it, and what is to be stored |
| `_objects.writing` | puts, patches, deletes: entries before the document, removal after it |
| `_objects.querying` | answers: a page from what a plan proposes; `reading`: reads and judges it |
| `_objects.question` | a query parsed, and its plan turned into a source of documents |
| `_objects.plan` | which way to answer; `spans`: conditions as ranges; `access`: use of an index |
| `_objects.walk` | the order of ids; `candidates`, `sources`, `pages`: the other ways to list |
| `_objects.listing` | versions, counts and names of collections, from listings alone |
| `_objects.declaring` | declarations, from building to ready |
| `_objects.building` | filling in what is older than its index, when asked and in the background |
| `_objects.collecting` | `Clear`, `reindex`, `gc` |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from storage_providers.errors import StorageError
from storage_providers.protocol import ANY, Condition

__all__ = [
    "Listing",
    "Metadata",
    "ObjectEntry",
    "ObjectLimits",
    "ObjectPut",
    "ObjectStore",
    "StoredObject",
]


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept beside an object's bytes.

    Attributes:
        token: Of the write that made the object, never the same twice; `None`: another program
            wrote it.
        encoding: Name of the payload's encoding, as in `Item`.
        visible_bytes: Of an encoded document: so many of the bytes are the visible document, the
            rest is the payload.
    """

    token: str | None = None
    encoding: str | None = None
    visible_bytes: int | None = None


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object as read.

    Attributes:
        key: Where it is.
        version: The service's own version of it.
        data: Its bytes.
        metadata: What was kept beside them.
    """

    key: str
    version: str
    data: bytes
    metadata: Metadata = Metadata()

    def __repr__(self) -> str:
        return f"StoredObject({self.key!r}, version={self.version!r})"


class ObjectPut(msgspec.Struct, frozen=True, kw_only=True):
    """An object to store.

    Attributes:
        key: Where.
        data: Its bytes; an index entry has none.
        metadata: What to keep beside them.
        condition: `ANY`, `IF_ABSENT` or `IfVersion`; judged by the service itself. Without
            `ObjectLimits.conditional_put` it is always `ANY`.
        expires_at_ms: From when on nobody needs it, milliseconds since 1970 by the provider's
            clock; `None`: always. A service that removes by itself what has expired may do so.
    """

    key: str
    data: bytes = b""
    metadata: Metadata = Metadata()
    condition: Condition = ANY
    expires_at_ms: int | None = None

    def __repr__(self) -> str:
        return f"ObjectPut({self.key!r}, {len(self.data)} bytes, {self.condition})"


class ObjectEntry(msgspec.Struct, frozen=True):
    """One line of a listing.

    Attributes:
        key: The object's key.
        version: Its version; empty where only reading the object tells it.
        stored: The object itself, where the line carries it.
    """

    key: str
    version: str
    stored: StoredObject | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a listing, in the byte order of the UTF-8 of keys.

    Attributes:
        entries: The objects.
        folders: With a delimiter: the distinct beginnings of the keys that hold it behind the
            prefix, the delimiter included.
        cursor: Continues the listing; `None`: this was the last page.
    """

    entries: list[ObjectEntry] = []
    folders: list[str] = []
    cursor: str | None = None


class ObjectLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a service accepts.

    Attributes:
        service: Its name, for messages.
        max_key_bytes: Longest key, bytes of UTF-8.
        conditional_put: Whether it judges conditions of puts, atomically.
        list_page: Most lines of one listing call.
        delete_batch: Most keys of one delete call.
        starts_anywhere: Whether a listing can start after any key; else only by its cursor.
        get_batch: Most keys that one request reads.
        put_batch: Most objects that one request stores.
        staleness_seconds: How old the answer to a read or listing may be.
    """

    service: str
    max_key_bytes: int
    conditional_put: bool
    list_page: int
    delete_batch: int
    starts_anywhere: bool
    get_batch: int = 1
    put_batch: int = 1
    staleness_seconds: float = 0.0


class ObjectStore(Protocol):
    """A service that keeps objects under keys, as the engine sees it.

    A driver bounds its concurrency, retries, keeps deadlines and translates errors. Errors of one
    object among several are returned in its place, so that the others are known; errors that
    concern the whole call are raised. Each method that sends to the service counts its requests
    by `count_request`.
    """

    @property
    def limits(self) -> ObjectLimits:
        """What the service accepts."""
        ...

    async def get(self, keys: Sequence[str]) -> list[StoredObject | StorageError | None]:
        """Read objects: one entry per key, in order, `None` where there is none."""
        ...

    async def put(self, objects: Sequence[ObjectPut]) -> list[str | StorageError]:
        """Store objects, each by itself: its new version, or why it was not stored.

        `ConflictError` says that a condition did not hold, and so that nothing of this put can land
        any more: the engine removes what it had prepared for it. A put whose answer was lost is
        sent again where its condition makes that safe; whether it landed is recognised by the
        token. Where that can't be told, whoever's object is there now, it is
        `OutcomeUnknownError`: it may have landed, or land yet. A put of one object ends, with all
        its attempts, within 60 s.
        """
        ...

    async def delete(self, keys: Sequence[str]) -> list[StorageError | None]:
        """Remove objects, each by itself; removing what is absent is no error."""
        ...

    async def list(
        self,
        prefix: str,
        *,
        after: str = "",
        cursor: str | None = None,
        limit: int | None = None,
        delimiter: str | None = None,
    ) -> Listing:
        """List the keys that begin with `prefix`, one page, one request.

        Args:
            prefix: What the keys begin with.
            after: Only keys behind this one; needs `starts_anywhere`.
            cursor: Continues where the listing with this cursor ended, same arguments.
            limit: Most lines, at most `limits.list_page`.
            delimiter: Fold the keys that hold it behind the prefix into `Listing.folders`.
        """
        ...
