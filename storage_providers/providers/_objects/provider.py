"""`ObjectProvider`: the verbs of a provider, on any service that keeps objects under keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import msgspec

from storage_providers._checks import check_query
from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers._resilience.timing import SYSTEM_TIMING, Timing
from storage_providers.base import DECLARATIONS_KEPT, Provider
from storage_providers.errors import BatchError, StorageError
from storage_providers.maintenance import Check, IndexStatus
from storage_providers.protocol import (
    Address,
    CollectionSpec,
    Item,
    Page,
    Query,
    VersionPage,
    Write,
    check_collection,
)
from storage_providers.providers._objects import (
    ObjectStore,
    StoredObject,
    checking,
    collecting,
    querying,
    writing,
)
from storage_providers.providers._objects.building import Builder
from storage_providers.providers._objects.collecting import GcReport
from storage_providers.providers._objects.declaring import (
    SETTLE_SECONDS,
    Declaration,
    Declarations,
    DeclaredIndex,
)
from storage_providers.providers._objects.documents import to_item
from storage_providers.providers._objects.keys import Layout
from storage_providers.providers._objects.querying import QueryPlan
from storage_providers.resilience import map_bounded

__all__ = ["ObjectProvider"]

VERSIONS_KEPT = 10_000
"""Versions whose expiry is remembered at most. Ours: about 2 MB."""


QUERIES_AT_ONCE = 4
"""Queries of one batch that are answered at the same time, each by several reads. Ours."""

FOLDERS_KEPT = 10_000
"""Collections of which it is remembered that documents in them expire. Ours."""


class ObjectProvider(Provider):
    """Keeps documents as objects. A driver's provider names itself and its capabilities.

    Args:
        store: The service.
        layout: Under which keys things are.
        clock: Wall-clock time and ids.
        timing: How to wait; tests pass their own.

    Attributes:
        store: The service.
        layout: Under which keys things are.
        timing: How to wait.
    """

    settle_seconds: ClassVar[float] = SETTLE_SECONDS
    """How long after a change of a declaration every write goes by it, seconds."""

    builds_in_background: ClassVar[bool] = True
    """Whether an open provider builds indexes that it comes across."""

    def __init__(
        self,
        store: ObjectStore,
        layout: Layout,
        *,
        clock: Clock = SYSTEM_CLOCK,
        timing: Timing = SYSTEM_TIMING,
    ) -> None:
        super().__init__(clock=clock)
        self.store = store
        self.layout = layout
        self.timing = timing
        self.declarations = Declarations(store, layout, clock, timing, self.settle_seconds)
        self._builder = Builder(self)
        self._indexes: dict[str, tuple[DeclaredIndex, ...]] = {}
        self._expiries: dict[tuple[str, str], int | None] = {}
        self._expiring: dict[str, None] = {}

    async def _disconnect(self) -> None:
        await self._builder.close()

    # --- reads ---------------------------------------------------------------------------------

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        keys = [self.layout.document(address.collection, address.id) for address in addresses]
        results: list[Item | StorageError | None] = []
        for address, found in zip(addresses, await self.store.get(keys), strict=True):
            try:
                if isinstance(found, StorageError):
                    raise found
                results.append(
                    None if found is None else self.item_of(address.collection, address.id, found)
                )
            except StorageError as error:
                error.collection, error.item_id = address.collection, address.id
                results.append(error)
        errors = [result for result in results if isinstance(result, StorageError)]
        if not errors:
            return cast("list[Item | None]", results)
        if len(results) == 1:
            raise errors[0]
        raise BatchError(
            f"{len(errors)} of {len(results)} documents can't be read; the others are in 'results'",
            results=results,
        )

    def item_of(self, collection: str, item_id: str, stored: StoredObject) -> Item | None:
        """A stored object as an item.

        Args:
            collection: The collection, with its scope.
            item_id: The id that its key tells.
            stored: The object.

        Returns:
            The item, `None` if it has expired.

        Raises:
            CorruptItemError: It is no document; `source` is its key.
        """
        item, expires_at_ms = to_item(collection, item_id, stored)
        self.remember_expiry(stored.key, stored.version, expires_at_ms)
        return None if self.is_over(expires_at_ms) else item

    def is_over(self, expires_at_ms: int | None) -> bool:
        """Whether a document with this expiry has expired."""
        return expires_at_ms is not None and expires_at_ms <= self.clock.now_ms()

    def remember_expiry(self, key: str, version: str, expires_at_ms: int | None) -> None:
        """Keep in mind when a version expires, so that a condition on it needs no reading."""
        self._expiries.pop((key, version), None)
        if len(self._expiries) >= VERSIONS_KEPT:
            del self._expiries[next(iter(self._expiries))]
        self._expiries[key, version] = expires_at_ms
        if expires_at_ms is not None:
            if len(self._expiring) >= FOLDERS_KEPT:
                del self._expiring[next(iter(self._expiring))]
            folder, delimiter, _ = key.rpartition(self.layout.delimiter)
            self._expiring[folder + delimiter] = None

    def may_expire(self, folder: str) -> bool:
        """Whether this process has met a document in a collection's folder that expires."""
        return folder in self._expiring

    def known_alive(self, key: str, version: str) -> bool:
        """Whether this process knows that a version has not expired."""
        known = (key, version) in self._expiries
        return known and not self.is_over(self._expiries[key, version])

    # --- writes --------------------------------------------------------------------------------

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        return await writing.write(self, batch)

    # --- queries -------------------------------------------------------------------------------

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        return await map_bounded(
            lambda query: querying.answer(self, query), queries, limit=QUERIES_AT_ONCE
        )

    async def _versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage:
        return await querying.versions(self, collection, cursor, limit)

    async def _collections(self, scope: str | None) -> list[str]:
        return await querying.collections(self, scope)

    async def explain(self, query: Query) -> QueryPlan:
        """Say how a query would be answered, without asking it.

        Args:
            query: The question.

        Returns:
            The plan; what the answer did cost is in `Page.statistics`.

        Raises:
            InvalidArgumentError: Its `where`, order or cursor is malformed.
            UnsupportedOperationError: It asks for `$text`.
        """
        self._check_open("explain")
        with self._context("explain"):
            check_query(query, self.capabilities)
            return await querying.explain(self, query)

    # --- declarations --------------------------------------------------------------------------

    async def _declare(self, spec: CollectionSpec) -> None:
        self._note(spec.collection, await self.declarations.declare(spec))

    async def _declared(self, collection: str) -> CollectionSpec | None:
        declaration = await self.declarations.load(collection)
        self._note(collection, declaration)
        # Its folder may have been moved or copied.
        return (
            None
            if declaration is None
            else msgspec.structs.replace(declaration.spec, collection=collection)
        )

    def _note(self, collection: str, declaration: Declaration | None) -> None:
        self._indexes.pop(collection, None)
        if len(self._indexes) >= DECLARATIONS_KEPT:
            del self._indexes[next(iter(self._indexes))]
        self._indexes[collection] = self.declarations.indexes_of(collection, declaration)
        if self.builds_in_background:
            self._builder.notice(collection, declaration)

    def forget(self, collection: str) -> None:
        """Look at a declaration anew when it is next needed."""
        self._declarations.pop(collection, None)

    async def indexes(self, collection: str) -> tuple[DeclaredIndex, ...]:
        """The indexes of a collection whose entries are to be kept; queries use the ready ones.

        As cheap as `declared`: at most one request a minute.
        """
        await self.declared(collection)
        if collection not in self._indexes:
            await self._declared(collection)
        return self._indexes[collection]

    async def index_states(self, collection: str) -> list[IndexStatus]:
        """How far each index of a collection is, as it is kept now: one request.

        Args:
            collection: Name of the collection.

        Returns:
            The declared ones in their order, then those dropped lately.

        Raises:
            CorruptItemError: The declaration can't be read.
            TransportError: The service could not be reached.
        """
        self._check_open("index_states")
        with self._context("index_states"):
            check_collection(collection, self.capabilities.max_scope_bytes)
            return await checking.index_states(self, collection)

    async def build_indexes(
        self, collection: str, on_progress: Callable[[int], None] | None = None
    ) -> None:
        """Fill in the indexes of a collection that are not ready yet, and wait until they are.

        An open provider does it in the background too. A new index is due when all processes
        know of it, `settle_seconds` after its declaration.

        Args:
            collection: Name of the collection.
            on_progress: Told after each page how many documents were dealt with so far.

        Raises:
            InvalidDocumentError: A document has a value too long for an index; `item_id` names it.
            TransportError: The service could not be reached; what was done stays.
        """
        self._check_open("build_indexes")
        with self._context("build_indexes"):
            check_collection(collection, self.capabilities.max_scope_bytes)
            await self._builder.build(collection, on_progress)

    async def reindex(
        self, collection: str, on_progress: Callable[[int], None] | None = None
    ) -> int:
        """Put the index entries of all documents, after other programs wrote to the bucket.

        Args:
            collection: Name of the collection.
            on_progress: Told after each page how many documents were dealt with so far.

        Returns:
            How many documents there are.

        Raises:
            InvalidDocumentError: A document has a value too long for an index; `item_id` names it.
            TransportError: The service could not be reached; doing it again does no harm.
        """
        self._check_open("reindex")
        with self._context("reindex"):
            check_collection(collection, self.capabilities.max_scope_bytes)
            return await collecting.reindex(self, collection, on_progress)

    async def gc(
        self,
        collection: str | None = None,
        *,
        remove_expired: bool = False,
        on_progress: Callable[[int], None] | None = None,
    ) -> GcReport:
        """Remove index entries that interrupted writes left behind, and those of dropped indexes.

        They are in nobody's way but cost a request each time a query meets them.

        Args:
            collection: Name of the collection; `None`: all of them.
            remove_expired: Remove expired documents too. The service has no conditional delete:
                only while nobody else writes, or what was put in place of an expired document at
                that moment is removed instead.
            on_progress: Told after each page how many entries were looked at so far.

        Returns:
            What was removed.

        Raises:
            TransportError: The service could not be reached; what was done stays.
        """
        self._check_open("gc")
        with self._context("gc"):
            if collection is None:
                names = sorted(await self._collections(None))
            else:
                check_collection(collection, self.capabilities.max_scope_bytes)
                names = [collection]
            return await collecting.collect_garbage(
                self, names, remove_expired=remove_expired, on_progress=on_progress
            )

    async def erase(self, collection: str) -> list[str]:
        """Remove a collection for good: documents, index entries of any age, declaration.

        Nobody may be writing to it. Safe to repeat.

        Args:
            collection: Name of the collection, with its scope.

        Returns:
            Where something of it may remain, and how that goes, a sentence each.

        Raises:
            StorageError: Something could not be removed, other things were; do it again.
        """
        self._check_open("erase")
        with self._context("erase"):
            check_collection(collection, self.capabilities.max_scope_bytes)
            left = await collecting.erase(self, collection)
            self._declarations.pop(collection, None)
            self._indexes.pop(collection, None)
            self.declarations.forget(collection)
        remains: list[str] = []
        if left:
            remains.append(
                f"{left} objects in the folder of {collection} are not this SDK's and were left; "
                f"they begin with {self.layout.folder(collection)!r}"
            )
        if self.store.limits.staleness_seconds:
            remains.append(
                f"answers of {self.store.limits.service} may be "
                f"{self.store.limits.staleness_seconds:.0f} s old or more: what was removed may "
                "still be seen, and what was written just before may not have been; erase again "
                "after that"
            )
        return remains

    # --- health --------------------------------------------------------------------------------

    async def checks(self, *, write: bool = True) -> list[Check]:
        """Try each right on the place by itself, and look how far indexes are.

        Nothing that was written to try it stays behind.

        Args:
            write: Whether writing and removing may be tried.

        Returns:
            What was tried, in order; failures are results, not exceptions.
        """
        self._check_open("checks")
        return [
            *await checking.check_rights(self.store, self.layout, self.clock, write=write),
            await checking.check_indexes(self),
        ]
