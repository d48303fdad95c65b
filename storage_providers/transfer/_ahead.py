"""Fetching the next while the last is dealt with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

__all__ = ["one_ahead"]

T = TypeVar("T")


async def one_ahead(fetch: Callable[[T | None], Awaitable[T | None]]) -> AsyncGenerator[T]:
    """What `fetch` gives, one after the other; the next is on its way while one is dealt with.

    To be iterated inside `contextlib.aclosing`: what is on its way is cancelled at the end.

    Args:
        fetch: Takes the one before, at first `None`, and gives the next; `None`: there is none.
    """
    following = asyncio.ensure_future(fetch(None))
    try:
        while (found := await following) is not None:
            following = asyncio.ensure_future(fetch(found))
            yield found
    finally:
        following.cancel()
        await asyncio.wait([following])
        if not following.cancelled():
            following.exception()  # Nobody wants it any more, nor a warning that nobody saw it.
