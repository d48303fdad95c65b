"""A hybrid of two dicts in which every part can be reached, and its primary taken away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from storage_providers.base import Provider
from storage_providers.errors import (
    TransportError,
)
from storage_providers.layers import Call, Layer, compose
from storage_providers.providers.hybrid import HybridEvent, HybridProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing.conformance import ManualClock
from storage_providers.testing.faults import Faults

T = TypeVar("T")


class Line(Layer):
    """The network before a primary: while `down`, every call fails, opening it too."""

    name = "line"

    def __init__(self) -> None:
        super().__init__()
        self.down: Callable[[], BaseException] | None = None
        self.calls: list[str] = []

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        if call.verb != "disconnect":
            self.calls.append(call.verb)
            if self.down is not None:
                raise self.down()
        return await proceed()


def gone() -> BaseException:
    """The error of an outage."""
    return TransportError("no route to the primary")


class World:
    """A hybrid of two dicts, and the handles to all of its parts."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.time = ManualClock()
        self.line = Line()
        self.faults = Faults()
        self.broken = Faults()
        self.primary = InMemoryProvider(clock=self.time.clock)
        self.fallback = InMemoryProvider(clock=self.time.clock)
        self.events: list[HybridEvent] = []
        self.folder = folder
        self.options = {"retry_seconds": 0, **options}
        self.hybrid = self.make()

    def make(self) -> HybridProvider:
        """A hybrid on the same data."""
        self.behind: Provider = compose(self.line, self.faults, provider=self.primary)
        return self._hybrid(compose(self.broken, provider=self.fallback))

    def again(self) -> HybridProvider:
        """Another hybrid on the same sides and journal."""
        return self._hybrid(compose(Layer(), provider=self.fallback))

    def _hybrid(self, fallback: Provider) -> HybridProvider:
        return HybridProvider(
            primary=self.behind,
            fallback=fallback,
            journal=self.folder / "journal.db",
            on_event=self.events.append,
            sleep=never,
            **self.options,
        )

    def cut(self, error: Callable[[], BaseException] = gone) -> None:
        """Begin an outage."""
        self.line.down = error

    def mend(self) -> None:
        """End it."""
        self.line.down = None

    async def put(self, **fields: Any) -> None:
        """Put the one document through the hybrid."""
        await self.hybrid.put_item("things", {"id": "a", **fields})

    async def there(self, item_id: str = "a") -> dict[str, Any] | None:
        """What the primary itself holds, without times."""
        return plain(await self.primary.read_item("things", item_id))

    async def seen(self, item_id: str = "a") -> dict[str, Any] | None:
        """What the hybrid shows, without times."""
        return plain(await self.hybrid.read_item("things", item_id))


def plain(item: Any) -> dict[str, Any] | None:
    """A document without id and times."""
    if item is None:
        return None
    return {k: v for k, v in item.document.items() if k not in ("id", "createdAt", "updatedAt")}


async def never(_: float) -> None:
    """Wait until cancelled: nothing happens in the background unless a test lets it."""
    await asyncio.Event().wait()


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[World]:
    """A world whose sides are open, so that looking at them is always possible."""
    world = World(folder, **options)
    await world.primary.connect()
    await world.fallback.connect()
    async with world.hybrid:
        yield world


async def clash(world: World, *, here: dict[str, Any], there: dict[str, Any] | None) -> None:
    """One document, changed in an outage and elsewhere."""
    await world.put(n=1, m=1)
    world.cut()
    world.time.advance(1)
    await world.hybrid.update_item("things", "a", here)
    world.time.advance(1)
    if there is None:
        await world.primary.delete_item("things", "a")
    else:
        await world.primary.update_item("things", "a", there)
    world.mend()
    await world.hybrid.replay()
