"""As much of HTTP/1.1 as a proxy needs: whole messages, kept as the bytes they came as."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

__all__ = ["Message", "read_message", "read_response"]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_BODY: Final = frozenset({204, 304})


class Message(msgspec.Struct, frozen=True):
    """A request or an answer.

    Attributes:
        head: First line and headers, to the empty line.
        framed: The body as it came, in chunks perhaps.
        body: The body itself.
        closes: Whether the connection ends with it.
    """

    head: bytes
    framed: bytes
    body: bytes
    closes: bool

    @property
    def raw(self) -> bytes:
        """All of it, as it came."""
        return self.head + self.framed

    @property
    def method(self) -> str:
        """A request's method."""
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> str:
        """A request's path and query, as sent."""
        return self.head.split(b" ", 2)[1].decode()

    @property
    def headers(self) -> dict[str, str]:
        """Its headers, by names in lower case."""
        return _headers(self.head)

    def head_with_length(self, length: int) -> bytes:
        """The head for a body in one piece of this length."""
        first, *headers = self.head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        framing = (b"content-length:", b"transfer-encoding:")
        kept = [line for line in headers if not line.lower().startswith(framing)]
        return b"\r\n".join([first, *kept, b"Content-Length: %d" % length, b"", b""])


async def read_message(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Message | None:
    """Read one request; a client that waits to be told to continue is told.

    Args:
        reader: From the client.
        writer: To the client.

    Returns:
        The request, `None` if the client has no more.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    headers = _headers(head)
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(CONTINUE)
    framed, body = await _body(reader, headers, otherwise_to_the_end=False)
    return Message(head, framed, body, closes=False)


async def read_response(reader: asyncio.StreamReader, method: str) -> Message:
    """Read the answer to a request; interim answers are left out.

    Args:
        reader: From the server.
        method: Of the request.

    Returns:
        The answer.
    """
    status = 100
    head = b""
    while 100 <= status < 200:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])  # Behind "HTTP/1.1 ".
    headers = _headers(head)
    closes = head.startswith(b"HTTP/1.0") or headers.get("connection", "").lower() == "close"
    if method == "HEAD" or status in NO_BODY:
        return Message(head, b"", b"", closes)
    framed, body = await _body(reader, headers, otherwise_to_the_end=True)
    unframed = not {"content-length", "transfer-encoding"} & headers.keys()
    return Message(head, framed, body, closes or unframed)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.lower(): value.strip() for name, _, value in pairs}


async def _body(
    reader: asyncio.StreamReader, headers: dict[str, str], *, otherwise_to_the_end: bool
) -> tuple[bytes, bytes]:
    """The body, as it came and by itself."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _chunks(reader)
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read() if otherwise_to_the_end else b""
    return body, body


async def _chunks(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    framed, body = bytearray(), bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        framed += line
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        piece = await reader.readexactly(size + 2)
        framed += piece
        body += piece[:-2]
    # Trailers, then an empty line.
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        framed += line
    return bytes(framed), bytes(body)
