"""The bytes of a put, which are sent once and never shown. Loads aiohttp."""

from __future__ import annotations

from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Order, Payload

__all__ = ["Body"]

PIECE_BYTES: Final = 262_144
"""How much is handed to the connection at once, so that a large body leaves the loop to others
while the network takes it. Ours."""


class Body(bytes):
    """Bytes that know whether they were sent.

    aiohttp sends a PUT again on its own when a kept connection breaks before the answer. The first
    may have been carried out, and the answer to the second would then deny what was done. So these
    bytes go out once, and who made them decides what to do next.
    """

    taken = False

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"

    __str__ = __repr__


class _Payload(Payload):
    """How aiohttp sends a `Body`."""

    _value: Body

    def __init__(self, value: Body, *arguments: Any, **named: Any) -> None:
        if value.taken:
            raise aiohttp.ServerDisconnectedError("the connection broke before the answer came")
        value.taken = True
        super().__init__(value, *arguments, **named)

    @property
    def size(self) -> int:
        """How many bytes."""
        return len(self._value)

    @property
    def consumed(self) -> bool:
        """Whether it can't be sent again: never more than once."""
        return True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The text, which nobody asks for."""
        return bytes.decode(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it."""
        if len(self._value) <= PIECE_BYTES:
            await writer.write(self._value)
            return
        view = memoryview(self._value)
        for start in range(0, len(view), PIECE_BYTES):
            await writer.write(view[start : start + PIECE_BYTES])


# Before the kind for all bytes, which a `Body` also is.
aiohttp.payload_type(Body, order=Order.try_first)(_Payload)
