"""A service on this machine that answers as it is told, and a loop whose waits cost no time."""

from __future__ import annotations

import asyncio
import logging
import selectors
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import msgspec
import pytest

from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.resilience import AttemptReport, Timing

T = TypeVar("T")

ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "token-that-nobody-may-see"
KERNEL_SECONDS = 0.02
"""How long bytes on the way through the kernel are waited for before the clock is turned."""

TRANSPORTS = ("aiohttp", "httpx", "borrowed", "borrowed aiohttp")
"""The ways a request may go; see `client`."""


class TurnedLoop(asyncio.SelectorEventLoop):
    """A loop with real sockets that turns its clock to the next timer when nothing comes."""

    def __init__(self) -> None:
        self.now = 1_000.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """The loop's own time."""
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: TurnedLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> Any:
        """What is ready; when nothing is, it is later."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        ready = super().select(10 if timeout is None else KERNEL_SECONDS)
        if not ready:
            assert timeout is not None, "every task waits and no timer is set"
            self.loop.now += timeout
        return ready


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on such a loop."""
    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        return runner.run(main)


def timing() -> Timing:
    """The running loop's time, no jitter, and a fixed day: 1970-01-02, an hour before midnight."""
    loop = asyncio.get_running_loop()
    return Timing(monotonic=loop.time, jitter=lambda: 0.0, now_ms=lambda: (47 * 3600) * 1000)


# --- the service -------------------------------------------------------------------------------


class Request:
    """A request as it came over the wire."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        parts = urlsplit(target)
        self.raw_path = parts.path
        self.path = unquote(parts.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


Action: TypeAlias = "bytes | Callable[[Request], bytes | Fault] | Fault"


class Fault:
    """Something that happens instead of a whole answer."""

    def __init__(self, kind: str, part: bytes = b"") -> None:
        self.kind = kind
        self.part = part


STALL = Fault("stall")
CLOSE = Fault("close")
RESET = Fault("reset")


def cut(part: bytes) -> Fault:
    """Send so much and close."""
    return Fault("cut", part)


def reply(
    status: int = 200, body: bytes = b"", kind: str = "application/json", **headers: str
) -> bytes:
    """A whole response; `_` in a header's name stands for `-`."""
    lines = [f"HTTP/1.1 {status} Whatever", f"content-type: {kind}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ok(result: object = None, info: object = None, **headers: str) -> bytes:
    """A success in its envelope."""
    envelope = {"success": True, "errors": [], "messages": [], "result": result}
    if info is not None:
        envelope["result_info"] = info
    return reply(200, msgspec.json.encode(envelope), **headers)


def failed(status: int, code: int = 10000, message: str = "", **headers: str) -> bytes:
    """A failure in its envelope."""
    envelope = {
        "success": False,
        "errors": [{"code": code, "message": message}],
        "messages": [],
        "result": None,
    }
    return reply(status, msgspec.json.encode(envelope), **headers)


class Service:
    """Answers each request with the next action; with the last one from then on."""

    def __init__(self, actions: Sequence[Action]) -> None:
        self.actions = list(actions)
        self.requests: list[Request] = []
        self.connections = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.closed = 0
        self.address = ""
        self.arrived = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen on a free port of this machine."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/client/v4"

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await self._answer(await _read(reader), reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            self.closed += 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.requests.append(request)
        self.arrived.set()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            action = self.actions.pop(0) if len(self.actions) > 1 else self.actions[0]
            if callable(action):
                action = action(request)
            if isinstance(action, bytes):
                writer.write(action)
                return
            if action.kind == "stall":
                await reader.read(1)  # Until the other side gives up.
            elif action.kind == "reset":
                writer.transport.abort()
            elif action.kind == "cut":
                writer.write(action.part)
                await writer.drain()
            raise ConnectionResetError
        finally:
            self.in_flight -= 1


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.lower(): value.strip()
        for name, colon, value in (line.partition(":") for line in lines)
        if colon
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


# --- clients -----------------------------------------------------------------------------------


class Opened:
    """A connected client, the service it talks to, and what it reported."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.reports: list[AttemptReport] = []
        self.client: CloudflareClient


@asynccontextmanager
async def client(
    *actions: Action, transport: str = "aiohttp", token: str = TOKEN, **options: Any
) -> AsyncGenerator[Opened, None]:
    """A client by one of `TRANSPORTS`, and a service that answers it."""
    service = Service(actions)
    await service.start()
    opened = Opened(service)
    settings: dict[str, Any] = {
        "base_url": service.address,
        "rate_limit": None,
        "timing": timing(),
        "on_attempt": opened.reports.append,
        **options,
    }
    borrowed: httpx.AsyncClient | None = None
    with pytest.MonkeyPatch.context() as patch:
        if transport == "httpx":
            patch.setitem(sys.modules, "httpx_aiohttp", None)
        elif transport == "borrowed":
            borrowed = httpx.AsyncClient(verify=False)
        elif transport == "borrowed aiohttp":
            import httpx_aiohttp

            borrowed = httpx_aiohttp.HttpxAiohttpClient(verify=False)
        opened.client = CloudflareClient(ACCOUNT, token, http=borrowed, **settings)
        try:
            async with opened.client:
                yield opened
        finally:
            if borrowed is not None:
                assert not borrowed.is_closed
                await borrowed.aclose()
            await service.stop()


class Records(logging.Handler):
    """Keeps every record of every logger, as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.lines.append(self.format(record))
