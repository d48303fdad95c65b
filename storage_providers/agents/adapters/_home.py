"""The event loop on which an adapter's provider lives, and calls to it from other threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar, cast

from storage_providers import blocking
from storage_providers.errors import UnsupportedOperationError

__all__ = ["HomeLoop"]

R = TypeVar("R")


class HomeLoop:
    """Remembers the loop an adapter was made or first used on, and carries blocking calls there.

    An adapter that is made without a running loop and used without `await` lives on the loop
    that `storage_providers.blocking` shares; so does its provider, opened by `blocking(provider)`.
    """

    def __init__(self) -> None:
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def enter(self) -> None:
        """Say that an asynchronous call begins here.

        Raises:
            UnsupportedOperationError: The adapter lives on another loop.
        """
        running = asyncio.get_running_loop()
        if self._loop is None or self._loop.is_closed():
            self._loop = running
        elif self._loop is not running:
            raise UnsupportedOperationError(
                "this was made or used on another event loop, where its provider lives; "
                "make a provider and an adapter for each loop"
            )

    def run(self, call: Callable[[], Awaitable[R]]) -> R:
        """Make an asynchronous call from a thread that has no loop, and wait for it.

        Raises:
            UnsupportedOperationError: Called on the thread of the adapter's own loop.
        """

        async def start() -> R:
            return await call()

        loop = self._loop
        if loop is None or loop.is_closed():
            return blocking.run(start())
        try:
            inside = asyncio.get_running_loop() is loop
        except RuntimeError:
            inside = False
        if inside:
            raise UnsupportedOperationError(
                "a blocking call on the event loop would stop the loop it waits for; "
                "await the asynchronous method, whose name begins with 'a'"
            )
        return asyncio.run_coroutine_threadsafe(start(), loop).result()

    def iterate(self, source: AsyncIterator[R]) -> Iterator[R]:
        """Draw from an asynchronous iterator in the same way, one at a time."""
        ended = object()
        try:
            while (found := self.run(lambda: anext(source, ended))) is not ended:
                yield cast(R, found)
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                self.run(close)
