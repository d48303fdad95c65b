"""An S3 server of moto in a thread, and buckets on it."""

from __future__ import annotations

import asyncio
import io
import itertools
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.models import s3_backends

from tests.servers.http11 import Message, read_message

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["MotoS3"]

_NUMBERS = itertools.count()
"""Names of buckets: all servers of a process share what they hold."""

ACCOUNT: Final = "123456789012"
"""The account that moto gives to everybody."""


class MotoS3:
    """A running server. It takes any credentials.

    Requests are carried out one at a time: moto itself looks at a put's condition and then stores,
    so that of several racing puts more than one could succeed, which R2 does not allow. Moto's own
    server also starts a thread and ends the connection with every request, which takes as long as
    the rest.

    Attributes:
        host: Its host.
        port: Its port.
    """

    def __init__(self) -> None:
        self._app = create_backend_app("s3")
        self._turn = threading.Lock()
        self._backend = s3_backends[ACCOUNT]["aws"]
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        begun = asyncio.run_coroutine_threadsafe(self._begin(), self._loop)
        self._server = begun.result(timeout=10)
        self.host: str
        self.port: int
        self.host, self.port = self._server.sockets[0].getsockname()

    async def _begin(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while (message := await read_message(reader, writer)) is not None:
                    writer.write(self._answer(message))
                    await writer.drain()
        finally:
            self._tasks.discard(task)
            writer.close()

    def _answer(self, message: Message) -> bytes:
        head: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], _exc_info: object = None) -> Any:
            head.append(f"HTTP/1.1 {status}")
            head.extend(f"{name}: {value}" for name, value in headers)

        with self._turn:
            body = b"".join(self._app(self._environ(message), start))
        head.append(f"Date: {formatdate(usegmt=True)}")
        if not any(line.lower().startswith("content-length:") for line in head):
            head.append(f"Content-Length: {len(body)}")
        if message.method == "HEAD":
            body = b""
        return "\r\n".join([*head, "", ""]).encode("latin-1") + body

    def _environ(self, message: Message) -> WSGIEnvironment:
        path, _, query = message.target.partition("?")
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": message.method,
            "SCRIPT_NAME": "",
            # As WSGI wants it: the bytes as if they were Latin-1.
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": message.target,
            "REQUEST_URI": message.target,
            "SERVER_NAME": self.host,
            "SERVER_PORT": str(self.port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(message.body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(message.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in message.headers.items():
            plain = name.upper().replace("-", "_")
            if plain not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
                environ[plain if plain == "CONTENT_TYPE" else f"HTTP_{plain}"] = value
        return environ

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://{self.host}:{self.port}"

    def make_bucket(self, name: str = "") -> str:
        """Make an empty bucket; returns its name, which is invented if none is given."""
        name = name or f"bucket-{next(_NUMBERS)}"
        with self._turn:
            self._backend.create_bucket(name, region_name="us-east-1")
        return name

    def drop_bucket(self, name: str) -> None:
        """Remove a bucket and what is in it."""
        with self._turn:
            bucket = self._backend.buckets[name]
            for key in list(bucket.keys):
                bucket.keys.pop(key)
            self._backend.delete_bucket(name)

    def plant(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Put objects into a bucket without any request."""
        with self._turn:
            for key, data in objects.items():
                self._backend.put_object(bucket, key, data)

    def keys(self, bucket: str) -> list[str]:
        """The keys that are in a bucket, in order."""
        with self._turn:
            return sorted(self._backend.buckets[bucket].keys.keys())

    def data(self, bucket: str, key: str) -> bytes:
        """The bytes of an object."""
        with self._turn:
            return bytes(self._backend.buckets[bucket].keys[key].value)

    def stop(self) -> None:
        """End it."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
