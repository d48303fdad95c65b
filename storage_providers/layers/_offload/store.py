"""What a layer keeps about itself, with the data: its token, and every rule documents came by."""

from __future__ import annotations

from typing import Final

import msgspec

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.errors import ConflictError, CorruptItemError, TransportError
from storage_providers.layers._offload.layout import Layout
from storage_providers.protocol import ANY, IF_ABSENT, Condition, IfVersion, Item, JsonObject, Put

__all__ = ["COLLECTION", "Known", "Store"]

COLLECTION: Final = ".offload"
"""The collection of the layer's own document."""

TOKEN_CHARACTERS: Final = 16

_ID: Final = "store"
_REFRESH_SECONDS: Final = 60
"""How long a rule that another process began to use may go unnoticed. As with declarations."""

_ATTEMPTS: Final = 10


class Known(msgspec.Struct, frozen=True):
    """What is kept.

    Attributes:
        token: Tells this data's objects from those of all other data at the same provider.
        layouts: Every rule by which a document may have been split.
    """

    token: str
    layouts: tuple[Layout, ...]


class Store:
    """The layer's own document in the wrapped provider.

    Args:
        inner: The wrapped provider.
        layout: The rule that is in force.
    """

    def __init__(self, inner: Provider, layout: Layout) -> None:
        self._inner = inner
        self._clock: Clock = inner.clock
        self._layout = layout
        self._known: Known | None = None
        self._read_ms: int | None = None

    async def known(self) -> Known | None:
        """What is kept, at most a minute old; `None`: nothing ever left."""
        now = self._clock.now_ms()
        if self._read_ms is None or not 0 <= now - self._read_ms < _REFRESH_SECONDS * 1000:
            _, self._known = await self._read()
            self._read_ms = now
        return self._known

    async def layouts(self) -> tuple[Layout, ...]:
        """Every rule that queries have to reckon with."""
        known = await self.known()
        if known is None or self._layout in known.layouts:
            return (self._layout,) if known is None else known.layouts
        return (*known.layouts, self._layout)

    async def prepare(self) -> Known:
        """Make sure that the rule in force is kept, before a document is split by it."""
        if self._known is not None and self._layout in self._known.layouts:
            return self._known
        return await self._keep(alone=False)

    async def fresh(self) -> Known | None:
        """What is kept now."""
        return (await self._read())[1]

    async def forget_others(self) -> None:
        """Keep the rule in force alone."""
        await self._keep(alone=True)

    async def _keep(self, *, alone: bool) -> Known:
        for _ in range(_ATTEMPTS):
            item, known = await self._read()
            if known is None:
                token = self._clock.new_id().replace("-", "")[-TOKEN_CHARACTERS:]
                wanted = Known(token, (self._layout,))
            elif alone or self._layout in known.layouts:
                wanted = Known(known.token, (self._layout,) if alone else known.layouts)
            else:
                wanted = Known(known.token, (*known.layouts, self._layout))
            if wanted != known:
                try:
                    await self._inner.write([Put(COLLECTION, _document(wanted), self._if(item))])
                except ConflictError:
                    continue  # Another process did the same.
            self._known, self._read_ms = wanted, self._clock.now_ms()
            return wanted
        raise TransportError(
            f"the document {COLLECTION}/{_ID} was changed by others {_ATTEMPTS} times; try again"
        )

    def _if(self, item: Item | None) -> Condition:
        if item is None:
            return IF_ABSENT
        return IfVersion(item.version) if self._inner.capabilities.conditional_write else ANY

    async def _read(self) -> tuple[Item | None, Known | None]:
        item = await self._inner.read_item(COLLECTION, _ID)
        if item is None:
            return None, None
        try:
            return item, msgspec.convert(item.document, Known)
        except msgspec.ValidationError as error:
            raise CorruptItemError(
                f"what the layer keeps about itself is damaged ({error}); restore this document",
                collection=COLLECTION,
                item_id=_ID,
            ) from None


def _document(known: Known) -> JsonObject:
    return {"id": _ID, **msgspec.to_builtins(known)}
