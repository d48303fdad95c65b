"""Replaying without being asked, while a provider is open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from storage_providers.providers._hybrid.journal import Journal
from storage_providers.providers._hybrid.link import Link

__all__ = ["BackgroundReplay"]

_LOGGER = logging.getLogger("storage_providers")

LEAST_WAIT_SECONDS: Final = 0.1
"""How long the background waits between attempts at least. Ours."""


class BackgroundReplay:
    """Tries to replay until the journal is empty.

    Args:
        link: Replays.
        journal: Tells whether there is anything to replay.
        retry_seconds: How long to wait before each attempt.
        sleep: Waits.
    """

    def __init__(
        self,
        link: Link,
        journal: Journal,
        retry_seconds: float,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._link = link
        self._journal = journal
        self._wait_seconds = max(retry_seconds, LEAST_WAIT_SECONDS)
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless it is at it."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._replay())

    async def stop(self) -> None:
        """End it, wherever it is."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _replay(self) -> None:
        while True:
            await self._sleep(self._wait_seconds)
            try:
                while await self._link.advance():
                    pass
                if not await self._journal.is_pending():
                    return
            except Exception as error:  # noqa: BLE001 - tried again; calls meet it as well.
                _LOGGER.error("hybrid: replaying failed with %s", type(error).__name__)
