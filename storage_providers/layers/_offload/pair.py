"""A layer that stands on two providers: their lifetimes, and what both together can do."""

from __future__ import annotations

import msgspec

from storage_providers.base import Provider
from storage_providers.errors import ConfigurationError, ProviderClosedError
from storage_providers.layers._layer import Call, Layer
from storage_providers.layers._offload.limits import LimitedLayer
from storage_providers.layers._offload.objects import OWN_BYTES, Objects
from storage_providers.layers._offload.store import TOKEN_CHARACTERS
from storage_providers.protocol import Capabilities, check_scope

__all__ = ["Pair"]


class Pair(LimitedLayer):
    """A layer that keeps objects at another provider than the one it wraps.

    Args:
        objects: The other provider.
        within: The scope there under which everything is kept.
        cache_bytes: How much content to remember, bytes.
    """

    def __init__(self, objects: Provider, within: str, cache_bytes: int) -> None:
        super().__init__()
        self._within = check_scope(within)
        self._objects = Objects(objects, cache_bytes)
        self._has_opened = False

    def _check_pair(self, provider: Provider, over_bytes: int) -> None:
        """Check that what one provider leaves the other takes.

        Raises:
            ConfigurationError: It does not.
        """
        objects = self._objects.provider
        if objects is provider:
            raise ConfigurationError("objects is the provider that this layer wraps; use another")
        below: Provider = provider
        while isinstance(below, Layer):
            if isinstance(below, Pair):
                raise ConfigurationError("there is an Offload already; name all fields in one")
            below = below.inner
        for name, most in (
            (provider.name, provider.capabilities.max_document_bytes),
            (objects.name, _most(objects.capabilities)),
        ):
            if most is not None and over_bytes > most:
                raise ConfigurationError(
                    f"over_bytes is {over_bytes}, but {name} takes {most} bytes; lower it"
                )
        if objects.capabilities.max_scope_bytes < self._taken_bytes:
            raise ConfigurationError(f"{objects.name} has no room for the scope {self._within!r}")

    def transform(self, capabilities: Capabilities) -> Capabilities:
        """Documents may be as large as an object; what both providers promise remains."""
        objects = self._objects.provider.capabilities
        room = min(capabilities.max_scope_bytes, objects.max_scope_bytes - self._taken_bytes)
        return msgspec.structs.replace(
            capabilities,
            max_document_bytes=_most(objects),
            max_scope_bytes=max(0, room),
            strongly_consistent=capabilities.strongly_consistent and objects.strongly_consistent,
            staleness_seconds=max(capabilities.staleness_seconds, objects.staleness_seconds),
            durable=capabilities.durable and objects.durable,
        )

    def _namespace(self, token: str) -> str:
        return f"{self._within}/{token}"

    @property
    def _taken_bytes(self) -> int:
        """What stands in front of every scope at the other provider, bytes."""
        return len(f"{self._within}/{'x' * TOKEN_CHARACTERS}/".encode())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._objects.provider!r}) > {self._inner!r}"

    # --- lifetime ------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Open both providers; the other one stays its owner's if it is open already."""
        await self.around(Call("connect"), self._connect)

    async def disconnect(self) -> None:
        """Close the wrapped provider, and the other one if this layer opened it."""
        await self.around(Call("disconnect"), self._disconnect)

    async def _connect(self) -> None:
        async with self._lifetime:
            objects, opened = self._objects.provider, False
            if not _is_open(objects):
                await objects.connect()
                opened = self._has_opened = True
            try:
                await self.inner.connect()
            except BaseException:
                if opened:
                    self._has_opened = False
                    await objects.disconnect()
                raise

    async def _disconnect(self) -> None:
        async with self._lifetime:
            self._objects.forget()
            try:
                await self.inner.disconnect()
            finally:
                if self._has_opened:
                    self._has_opened = False
                    await self._objects.provider.disconnect()


def _most(objects: Capabilities) -> int | None:
    limit = objects.max_document_bytes
    return None if limit is None else limit - OWN_BYTES


def _is_open(provider: Provider) -> bool:
    try:
        provider._check_open("connect")
    except ProviderClosedError:
        return False
    return True
