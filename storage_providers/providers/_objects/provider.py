"""`ObjectProvider`: the verbs of a provider, on any service that keeps objects under keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers._resilience.timing import SYSTEM_TIMING, Timing
from storage_providers.base import DECLARATIONS_KEPT, Provider
from storage_providers.errors import BatchError, StorageError
from storage_providers.protocol import (
    Address,
    CollectionSpec,
    Item,
    Page,
    Query,
    VersionPage,
    Write,
)
from storage_providers.providers._objects import ObjectStore, StoredObject
from storage_providers.providers._objects.declaring import (
    SETTLE_SECONDS,
    Declaration,
    Declarations,
    DeclaredIndex,
)
from storage_providers.providers._objects.documents import to_item
from storage_providers.providers._objects.keys import FolderLayout

__all__ = ["ObjectProvider"]

VERSIONS_KEPT = 10_000
"""Versions whose expiry is remembered at most. Ours: about 2 MB."""


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
    """How long after a change of a declaration every write goes by it."""

    def __init__(
        self,
        store: ObjectStore,
        layout: FolderLayout,
        *,
        clock: Clock = SYSTEM_CLOCK,
        timing: Timing = SYSTEM_TIMING,
    ) -> None:
        super().__init__(clock=clock)
        self.store = store
        self.layout = layout
        self.timing = timing
        self.declarations = Declarations(store, layout, clock, self.settle_seconds)
        self._indexes: dict[str, tuple[DeclaredIndex, ...]] = {}
        self._expiries: dict[tuple[str, str], int | None] = {}

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

    def known_alive(self, key: str, version: str) -> bool:
        """Whether this process knows that a version has not expired."""
        known = (key, version) in self._expiries
        return known and not self.is_over(self._expiries[key, version])

    # --- writes --------------------------------------------------------------------------------

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        raise NotImplementedError

    # --- queries -------------------------------------------------------------------------------

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        from storage_providers.providers._objects import querying

        return [await querying.answer(self, query) for query in queries]

    async def _versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage:
        from storage_providers.providers._objects import querying

        return await querying.versions(self, collection, cursor, limit)

    async def _collections(self, scope: str | None) -> list[str]:
        from storage_providers.providers._objects import querying

        return await querying.collections(self, scope)

    # --- declarations --------------------------------------------------------------------------

    async def _declare(self, spec: CollectionSpec) -> None:
        self._note(spec.collection, await self.declarations.declare(spec))

    async def _declared(self, collection: str) -> CollectionSpec | None:
        declaration = await self.declarations.load(collection)
        self._note(collection, declaration)
        return None if declaration is None else declaration.spec

    def _note(self, collection: str, declaration: Declaration | None) -> None:
        self._indexes.pop(collection, None)
        if len(self._indexes) >= DECLARATIONS_KEPT:
            del self._indexes[next(iter(self._indexes))]
        self._indexes[collection] = self.declarations.indexes_of(collection, declaration)

    async def indexes(self, collection: str) -> tuple[DeclaredIndex, ...]:
        """The indexes of a collection whose entries are to be kept; queries use the ready ones.

        As cheap as `declared`: at most one request a minute.
        """
        await self.declared(collection)
        if collection not in self._indexes:
            await self._declared(collection)
        return self._indexes[collection]
