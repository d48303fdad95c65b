"""A bucket on a local server that stands for Cloudflare R2, and a network that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager


@contextlib.contextmanager
def local_s3() -> Generator[tuple[str, int]]:
    """An S3 server of this process's own (moto), on a free port."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It has a line for each request.
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()
    finally:
        server.stop()


class Network:
    """Carries bytes to a server, until it is cut.

    Args:
        host: The server's.
        port: The server's.

    Attributes:
        url: Where clients connect to.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._is_cut = False
        self._open: set[asyncio.StreamWriter] = set()
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Network]:
        """Be there inside this block."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self._drop()

    async def fail(self, seconds: float) -> None:
        """Drop every connection, and take no other for some seconds."""
        self._is_cut = True
        self._drop()
        await asyncio.sleep(seconds)
        self._is_cut = False

    def _drop(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(*self._server)
        self._open |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, back))
                group.create_task(_copy(there, writer))
        finally:
            self._open -= {writer, back}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
