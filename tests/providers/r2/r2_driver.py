"""What the tests of the driver share: stores, and a server that answers as it is told."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from storage_providers.providers._objects import Metadata, ObjectPut
from storage_providers.providers._r2 import R2Config, R2Store
from storage_providers.resilience import RetryPolicy, Timing
from tests.servers.http11 import Message, read_message

__all__ = ["NO_WAITING", "Scripted", "answer", "config", "opened", "put_of"]


async def _at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


NO_WAITING = Timing(sleep=_at_once, jitter=lambda: 0.5, now_ms=lambda: 1_795_251_600_000)


def config(endpoint: str, bucket: str = "bucket", **more: Any) -> R2Config:
    """A bucket at a local server."""
    return R2Config(
        bucket=bucket,
        endpoint_url=endpoint,
        access_key_id="AKIDEXAMPLE",
        secret_access_key="very-secret",
        **more,
    )


@asynccontextmanager
async def opened(
    endpoint: str, bucket: str = "bucket", *, attempts: int = 5, client: Any = None, **more: Any
) -> AsyncGenerator[R2Store]:
    """An open store."""
    store = R2Store(
        config(endpoint, bucket, **more),
        client=client,
        retry=RetryPolicy(attempts=attempts),
        timing=NO_WAITING,
    )
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def put_of(key: str = "a.json", data: bytes = b"{}", token: str | None = "t1", **more: Any) -> Any:
    """A put; `condition` may be among what else is given."""
    return ObjectPut(key=key, data=data, metadata=Metadata(token=token), **more)


def answer(status: int, code: str = "", body: bytes = b"", **headers: str) -> bytes:
    """An answer of S3 as it goes over the wire."""
    if code:
        body = f"<Error><Code>{code}</Code><Message>words of the service</Message></Error>".encode()
    told = {"Content-Length": str(len(body)), **headers}
    lines = [
        f"HTTP/1.1 {status} Said",
        *(f"{name.replace('_', '-')}: {value}" for name, value in told.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Scripted:
    """Answers one request after the other from a list and keeps what it was sent.

    An answer of `None` closes the connection instead; so does one that ends with `CUT`, and `RESET`
    resets it. Without an answer left, the last is given again.
    """

    CUT = b"\0cut"
    RESET = b"\0reset"

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.seen: list[Message] = []
        self.in_flight = self.most_in_flight = 0
        self.hold: asyncio.Event | None = None
        self.came = asyncio.Event()

    async def __aenter__(self) -> Scripted:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def methods(self) -> list[str]:
        """What came, in order."""
        return [message.method for message in self.seen]

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._tasks)

    async def has_seen(self, count: int) -> None:
        """Wait until so many requests came."""
        while len(self.seen) < count:
            self.came.clear()
            await self.came.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        message = await read_message(reader, writer)
        if message is None:
            return False
        self.seen.append(message)
        self.came.set()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.in_flight -= 1
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if said is None:
            return False
        if said == self.RESET:
            plug: socket.socket = writer.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        writer.write(said.removesuffix(self.CUT))
        await writer.drain()
        return not said.endswith(self.CUT)
