"""Documents, index entries and declarations put straight into a store, as writers leave them."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, ParamSpec

import msgspec

from storage_providers._clock import Clock, format_timestamp
from storage_providers.protocol import CollectionSpec, Index, JsonObject, Page, Query
from storage_providers.providers._objects import Metadata, ObjectPut
from storage_providers.providers._objects.declaring import Declaration, IndexRecord, IndexState
from storage_providers.providers._objects.entries import IndexKeys, index_name
from storage_providers.providers._objects.keys import FolderLayout
from storage_providers.providers._objects.provider import ObjectProvider
from tests.objects.memory_store import MemoryStore, objects

THINGS = "things"
NOW = 1_000_000.0

P = ParamSpec("P")

_numbers = itertools.count()


def played(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test in a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def clock() -> Clock:
    """A clock that stands still."""
    return Clock(source=lambda: NOW)


def token() -> str:
    """A token no other write has."""
    return f"{int(NOW * 1000):012x}{next(_numbers):010x}"


class Bucket:
    """A store in memory and what is planted in it.

    Args:
        indexes: Those declared of each collection planted in.
        ready: Whether queries may use them.
        store: Where.
    """

    def __init__(
        self,
        *indexes: Index,
        ready: bool = True,
        store: MemoryStore | None = None,
        prefix: str = "",
    ) -> None:
        self.store = MemoryStore() if store is None else store
        self.indexes = indexes
        self.layout = FolderLayout(prefix, service="memory", max_key_bytes=1024)
        self.provider: ObjectProvider = objects(self.store, clock(), prefix=prefix)
        self._state = IndexState.READY if ready else IndexState.BUILDING

    def declare(self, collection: str = THINGS) -> None:
        """Declare the indexes."""
        since = format_timestamp(int(NOW * 1000))
        records = {
            index_name(index): IndexRecord(index=index, state=self._state, since=since)
            for index in self.indexes
        }
        declaration = Declaration(
            id=collection.rpartition("/")[2],
            spec=CollectionSpec(collection=collection, indexes=self.indexes),
            indexes=records,
        )
        key = self.provider.declarations.key(collection)
        self.put(key, msgspec.json.encode(declaration))

    def put(self, key: str, data: bytes = b"", token: str | None = None) -> None:
        """Put an object there."""
        self.store._keep(ObjectPut(key=key, data=data, metadata=Metadata(token=token)))

    def plant(self, *documents: Mapping[str, Any], collection: str = THINGS) -> None:
        """Put documents there, with their entries."""
        for document in documents:
            mark = token()
            for key in self.entries(document, mark, collection):
                self.put(key)
            key = self.layout.document(collection, document["id"])
            self.put(key, msgspec.json.encode(document), mark)

    def entries(
        self, document: Mapping[str, Any], mark: str, collection: str = THINGS
    ) -> list[str]:
        """The keys of a document's entries in all indexes."""
        return [
            key
            for index in self.indexes
            for key in self.keys(index, collection).entries_of(dict(document), document["id"], mark)
        ]

    def keys(self, index: Index, collection: str = THINGS) -> IndexKeys:
        """The keys of one index."""
        return IndexKeys(self.layout, collection, index)

    def remove(self, item_id: str, collection: str = THINGS) -> None:
        """Remove a document and leave its entries."""
        self.store._remove(self.layout.document(collection, item_id))

    def forget(self) -> None:
        """Begin to count requests anew."""
        self.store.calls.clear()
        self.store.requests.clear()

    @property
    def asked(self) -> dict[str, int]:
        """Requests since, by kind."""
        return dict(self.store.requests)


async def pages(provider: Any, query: Query, most: int = 1000) -> list[Page]:
    """Every page of a listing."""
    found: list[Page] = []
    while True:
        found += await provider.query([query])
        assert len(found) <= most, "the listing does not end"
        if found[-1].cursor is None:
            return found
        query = msgspec.structs.replace(query, cursor=found[-1].cursor, offset=0)


def ids_of(found: Iterable[Page]) -> list[list[str]]:
    """The ids on each page."""
    return [[item.id for item in page.items] for page in found]


def flat(found: Iterable[Page]) -> list[str]:
    """The ids on all pages."""
    return [item.id for page in found for item in page.items]


def numbered(count: int, **fields: Any) -> list[JsonObject]:
    """Documents with ids `00000`, `00001`, … and a number `n` of their own."""
    return [{"id": f"{number:05}", "n": number, **fields} for number in range(count)]
