"""A layer whose limits are not those of the provider below it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from storage_providers.base import Provider
from storage_providers.errors import StorageError
from storage_providers.layers._layer import Call, Layer
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

__all__ = ["LimitedLayer"]

T = TypeVar("T")


class LimitedLayer(Layer):
    """Checks arguments against its own capabilities, as a provider does, and names its errors."""

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        """Carry out a call; an error of this layer's own says so."""
        try:
            return await proceed()
        except StorageError as error:
            error.with_context(self.name, call.verb)
            raise

    async def read(self, addresses: Sequence[Address]) -> list[Item | None]:
        return await self.around(Call("read", (addresses,)), lambda: Provider.read(self, addresses))

    async def write(self, batch: Sequence[Write]) -> list[Item | None]:
        return await self.around(Call("write", (batch,)), lambda: Provider.write(self, batch))

    async def query(self, queries: Sequence[Query]) -> list[Page]:
        return await self.around(Call("query", (queries,)), lambda: Provider.query(self, queries))

    async def versions(
        self, collection: str, cursor: str | None = None, limit: int = 1000
    ) -> VersionPage:
        return await self.around(
            Call("versions", (collection, cursor, limit)),
            lambda: Provider.versions(self, collection, cursor, limit),
        )

    async def collections(self, scope: str | None = None) -> list[str]:
        return await self.around(
            Call("collections", (scope,)), lambda: Provider.collections(self, scope)
        )

    async def _declare(self, spec: CollectionSpec) -> None:
        check_collection(spec.collection, self.capabilities.max_scope_bytes)
        await self.inner.declare(spec)

    async def _declared(self, collection: str) -> CollectionSpec | None:
        check_collection(collection, self.capabilities.max_scope_bytes)
        return await self.inner.declared(collection)
