"""The base of every layer, and how layers are put on a provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Self, TypeVar

import msgspec

from storage_providers.base import Provider
from storage_providers.errors import ConfigurationError
from storage_providers.protocol import (
    Address,
    Capabilities,
    CollectionSpec,
    Item,
    Page,
    Query,
    VersionPage,
    Write,
)

__all__ = ["Call", "Layer", "below_layers", "compose"]

T = TypeVar("T")


class Call(msgspec.Struct, frozen=True):
    """One call of a verb on its way through a layer.

    Attributes:
        verb: `connect`, `disconnect`, `read`, `write`, `query`, `versions`, `collections`,
            `declare` or `declared`.
        arguments: The verb's arguments, in order.
    """

    verb: str
    arguments: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"Call({self.verb!r})"


class Layer(Provider):
    """A provider that wraps another.

    There are three kinds. One that goes *around* calls (metrics, retry, audit) overrides `around`.
    One that *maps* (scope, encryption) overrides the verbs whose arguments or results it changes.
    One that answers *itself* (a cache) overrides what it answers. Whatever is not overridden
    passes through, and the friendly face is derived from the layer's own verbs, so it can't be
    bypassed.

    A layer is made without the provider it wraps; `compose` brings them together.
    """

    name: ClassVar[str] = "layer"
    _inner: Provider | None = None

    @property
    def inner(self) -> Provider:
        """The provider this layer wraps."""
        if self._inner is None:
            raise ConfigurationError(
                f"the layer {type(self).__name__} wraps nothing yet; use compose(layer, provider=…)"
            )
        return self._inner

    def wrap(self, provider: Provider) -> Self:
        """Put this layer on a provider, for good.

        Raises:
            ConfigurationError: It is on one already.
        """
        if self._inner is not None:
            raise ConfigurationError(
                f"the layer {type(self).__name__} is in use already; make a new one"
            )
        self._inner = provider
        self.clock = provider.clock
        return self

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        """Carry out one call. `proceed` may be awaited never, once or several times."""
        return await proceed()

    def transform(self, capabilities: Capabilities) -> Capabilities:
        """What is left of the wrapped provider's capabilities, or added to them."""
        return capabilities

    # --- everything passes through -------------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        return self.transform(self.inner.capabilities)

    async def connect(self) -> None:
        await self.around(Call("connect"), self.inner.connect)

    async def disconnect(self) -> None:
        await self.around(Call("disconnect"), self.inner.disconnect)

    async def read(self, addresses: Sequence[Address]) -> list[Item | None]:
        return await self.around(Call("read", (addresses,)), lambda: self._read(addresses))

    async def write(self, batch: Sequence[Write]) -> list[Item | None]:
        return await self.around(Call("write", (batch,)), lambda: self._write(batch))

    async def query(self, queries: Sequence[Query]) -> list[Page]:
        return await self.around(Call("query", (queries,)), lambda: self._query(queries))

    async def versions(
        self, collection: str, cursor: str | None = None, limit: int = 1000
    ) -> VersionPage:
        return await self.around(
            Call("versions", (collection, cursor, limit)),
            lambda: self._versions(collection, cursor, limit),
        )

    async def collections(self, scope: str | None = None) -> list[str]:
        return await self.around(Call("collections", (scope,)), lambda: self._collections(scope))

    async def declare(self, spec: CollectionSpec) -> None:
        await self.around(Call("declare", (spec,)), lambda: self._declare(spec))

    async def declared(self, collection: str) -> CollectionSpec | None:
        return await self.around(
            Call("declared", (collection,)), lambda: self._declared(collection)
        )

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        return await self.inner.read(addresses)

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        return await self.inner.write(batch)

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        return await self.inner.query(queries)

    async def _versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage:
        return await self.inner.versions(collection, cursor, limit)

    async def _collections(self, scope: str | None) -> list[str]:
        return await self.inner.collections(scope)

    async def _declare(self, spec: CollectionSpec) -> None:
        await self.inner.declare(spec)

    async def _declared(self, collection: str) -> CollectionSpec | None:
        return await self.inner.declared(collection)

    def _check_open(self, operation: str) -> None:
        self.inner._check_open(operation)

    def __repr__(self) -> str:
        return f"{type(self).__name__} > {self._inner!r}"


def compose(*layers: Layer, provider: Provider) -> Provider:
    """Put layers on a provider.

    Args:
        layers: Written outermost first: a call meets them in this order.
        provider: What they stand on.

    Returns:
        The outermost layer, or the provider itself without layers.

    Raises:
        ConfigurationError: A layer is in use already.
    """
    for layer in reversed(layers):
        provider = layer.wrap(provider)
    return provider


def below_layers(provider: Provider) -> Provider:
    """The provider that layers stand on, or itself without any: who may have more than the verbs.

    Args:
        provider: Any provider.
    """
    while isinstance(provider, Layer):
        provider = provider.inner
    return provider
