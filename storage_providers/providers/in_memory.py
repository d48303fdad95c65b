"""Documents in a dict: the reference for what every other provider must do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers._json import encode_object, merge_patch
from storage_providers.base import Provider
from storage_providers.errors import (
    DocumentTooLargeError,
    InvalidArgumentError,
    ItemExistsError,
    ItemNotFoundError,
    StorageError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.estimates import IN_THIS_PROCESS, Estimate, Workload
from storage_providers.filters import (
    SortKey,
    compile_where,
    decode_cursor,
    encode_cursor,
    parse_order,
    parse_where,
    sort_key,
)
from storage_providers.protocol import (
    IF_ABSENT,
    IF_PRESENT,
    Address,
    Capabilities,
    Clear,
    CollectionSpec,
    Delete,
    IfVersion,
    Item,
    ItemVersion,
    Page,
    Patch,
    Put,
    Query,
    QueryStatistics,
    VersionPage,
    Write,
    expiry_of,
    is_inside,
)

__all__ = ["InMemoryProvider"]

Stored = dict[str, Item]


class InMemoryProvider(Provider):
    """Keeps collections in this process's memory, for tests and as the reference.

    Everything is gone when the process ends. There is no full-text search.

    Args:
        clock: Time and ids; tests pass one that they turn by hand.
    """

    name: ClassVar[str] = "memory"

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(clock=clock)
        self._stored: defaultdict[str, Stored] = defaultdict(dict)
        self._specs: dict[str, CollectionSpec] = {}
        self._last_version = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            atomic_batch=True, conditional_write=True, conditional_delete=True, durable=False
        )

    def estimate(self, workload: Workload) -> Estimate:
        """Tell what work will cost: nothing is called, nothing is billed."""
        return IN_THIS_PROCESS

    # --- reads ---------------------------------------------------------------------------------

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        return [self._live(self._stored, address.collection, address.id) for address in addresses]

    def _live(self, stored: defaultdict[str, Stored], collection: str, item_id: str) -> Item | None:
        item = stored[collection].get(item_id)
        return None if item is None or self._expired(item) else _copy(item)

    def _expired(self, item: Item) -> bool:
        expires_at_ms = expiry_of(item.document)
        return expires_at_ms is not None and expires_at_ms <= self.clock.now_ms()

    # --- writes --------------------------------------------------------------------------------

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        # All or nothing: the batch is worked on a copy that takes the place of the original.
        changed = {write.collection: dict(self._stored[write.collection]) for write in batch}
        stored = defaultdict(dict, {**self._stored, **changed})
        results: list[Item | None] = []
        for index, write in enumerate(batch):
            try:
                results.append(self._apply(stored, write))
            except StorageError as error:
                error.collection, error.index = write.collection, index
                error.item_id = None if isinstance(write, Clear) else write.id
                raise
        self._stored = stored
        return results

    def _apply(self, stored: defaultdict[str, Stored], write: Write) -> Item | None:
        collection = stored[write.collection]
        if isinstance(write, Clear):
            collection.clear()
            return None
        current = self._live(stored, write.collection, write.id)
        _check(write, current)
        if isinstance(write, Delete):
            collection.pop(write.id, None)
            return None
        if isinstance(write, Put):
            body, encoding, payload = write.body, write.encoding, write.payload
        else:
            assert current is not None
            body, encoding, payload = self._patched(write, current), None, None
        self._last_version += 1
        item = Item(write.collection, write.id, str(self._last_version), body, encoding, payload)
        collection[write.id] = item
        return _copy(item)

    def _patched(self, patch: Patch, current: Item) -> bytes:
        if current.encoding is not None:
            raise UnsupportedOperationError(
                f"the document is encoded as {current.encoding!r}; patch it through the layer "
                "that wrote it"
            )
        body = encode_object(merge_patch(current.document, patch.changes))
        limit = self.size_limit(patch.collection)
        if limit is not None and len(body) > limit:
            raise DocumentTooLargeError(
                f"the patched document is {len(body)} bytes, the limit is {limit}",
                size_bytes=len(body),
                limit_bytes=limit,
            )
        return body

    # --- queries -------------------------------------------------------------------------------

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        return [self._answer(query) for query in queries]

    def _answer(self, query: Query) -> Page:
        matches = compile_where(parse_where(query.where))
        order = parse_order(query.order_by)
        stored = self._stored[query.collection]
        found = [
            (sort_key(item.document, order), item)
            for item in stored.values()
            if not self._expired(item) and matches(item.document)
        ]
        total = len(found) if query.total else None
        found.sort(key=lambda pair: pair[0])
        if query.cursor is not None:
            last = SortKey(decode_cursor(query), [part.descending for part in order])
            found = [pair for pair in found if last < pair[0]]
        page = found[query.offset : query.offset + query.limit]
        more = len(found) > query.offset + query.limit and bool(page)
        return Page(
            items=[_copy(item) for _, item in page],
            cursor=encode_cursor(query, page[-1][0].values) if more else None,
            total=total,
            statistics=QueryStatistics(full_scan=True, documents_read=len(stored)),
        )

    async def _versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage:
        if cursor is not None and not cursor.startswith(">"):
            raise InvalidArgumentError("the cursor is damaged; begin again without one")
        ids = sorted(
            item_id
            for item_id in self._stored[collection]
            if cursor is None or item_id > cursor[1:]
        )
        entries = [
            ItemVersion(item_id, self._stored[collection][item_id].version)
            for item_id in ids[:limit]
        ]
        return VersionPage(
            entries=entries, cursor=f">{entries[-1].id}" if len(ids) > limit else None
        )

    # --- collections ---------------------------------------------------------------------------

    async def _collections(self, scope: str | None) -> list[str]:
        names = {name for name, items in self._stored.items() if items} | set(self._specs)
        return [
            name
            for name in names
            if is_inside(name, scope) and not name.rpartition("/")[2].startswith(".")
        ]

    async def _declare(self, spec: CollectionSpec) -> None:
        self._specs[spec.collection] = spec

    async def _declared(self, collection: str) -> CollectionSpec | None:
        return self._specs.get(collection)

    async def erase(self, collection: str) -> list[str]:
        """Remove a collection with its declaration.

        Args:
            collection: Name of the collection, with its scope.

        Returns:
            Nothing: none of it remains.
        """
        self._check_open("erase")
        self._stored.pop(collection, None)
        self._specs.pop(collection, None)
        self._declarations.pop(collection, None)
        return []


def _copy(item: Item) -> Item:
    """An item of the caller's own: what is done to its document stays there."""
    return Item(item.collection, item.id, item.version, item.body, item.encoding, item.payload)


def _check(write: Put | Patch | Delete, current: Item | None) -> None:
    """Raise the conflict if the write's condition does not hold."""
    match write.condition:
        case IfVersion(version):
            actual = None if current is None else current.version
            if actual != version:
                raise VersionMismatchError(
                    "the document is gone" if actual is None else "the document was changed",
                    expected_version=version,
                    actual_version=actual,
                )
        case condition:
            if condition is IF_ABSENT and current is not None:
                raise ItemExistsError("a document with this id exists already")
            if condition is IF_PRESENT and current is None:
                raise ItemNotFoundError("no such document")
