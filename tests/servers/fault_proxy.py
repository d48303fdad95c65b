r"""A proxy between a client and a server that breaks requests on purpose, and counts them.

```python
with FaultProxy("127.0.0.1", port) as proxy:
    client = connect(proxy.endpoint)
    proxy.break_next(Answer(503, {"Retry-After": "1"}), method="PUT")
    proxy.break_next(Drop(after=True), path=r"/things/a\.json")
    ...
    assert proxy.counts == {"PUT": 2, "GET": 1}
```

Requests go on byte by byte as they came, so that signatures over the host and the headers stay
good. It runs on a loop of its own in a thread of its own.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final

import msgspec

from tests.servers.http11 import Message, read_message, read_response

__all__ = [
    "Answer",
    "Break",
    "Cut",
    "Drop",
    "FaultProxy",
    "Seen",
    "Shorten",
    "Stall",
    "kind_of",
]

STALL_SECONDS: Final = 30.0
"""A stalled request is dropped after so long, so that a forgotten one ends."""


class Drop(msgspec.Struct, frozen=True, tag=True):
    """The connection is closed without an answer.

    Attributes:
        after: Whether the server carries the request out first.
    """

    after: bool = False


class Answer(msgspec.Struct, frozen=True, tag=True):
    """Another answer than the server's own.

    Attributes:
        status: Its status.
        headers: Its headers; the length is added.
        body: Its body.
        after: Whether the server carries the request out first.
    """

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""
    after: bool = False


class Stall(msgspec.Struct, frozen=True, tag=True):
    """No answer at all, until the client gives up or `release` is called.

    Attributes:
        after: Whether the server carries the request out first.
    """

    after: bool = False


class Cut(msgspec.Struct, frozen=True, tag=True):
    """The answer's body breaks off in the middle: the connection is closed.

    Attributes:
        keep: How many bytes of the body arrive; `None`: half of them.
    """

    keep: int | None = None


class Shorten(msgspec.Struct, frozen=True, tag=True):
    """The answer's body is shorter than it was, and its length says so: nothing seems amiss.

    Attributes:
        keep: How many bytes of the body arrive; `None`: half of them.
    """

    keep: int | None = None


Break = Drop | Answer | Stall | Cut | Shorten


class Seen(msgspec.Struct, frozen=True):
    """One request as the proxy saw it.

    Attributes:
        kind: What `kind_of` says.
        method: Its method.
        target: Its path and query, as sent.
        broken: What it met, if anything.
    """

    kind: str
    method: str
    target: str
    broken: Break | None


class _Rule:
    """Requests to break, and how many are left."""

    def __init__(
        self, what: Break, kind: str | None, method: str | None, path: str, skip: int, times: int
    ) -> None:
        self.what = what
        self.times = times
        self._kind = kind
        self._method = method
        self._path = re.compile(path)
        self._skip = skip

    def meets(self, kind: str, message: Message) -> bool:
        """Whether it is this request's turn; counts the ones it lets pass."""
        if self._kind not in (None, kind) or self._method not in (None, message.method):
            return False
        if self.times <= 0 or not self._path.search(message.target):
            return False
        self._skip -= 1
        if self._skip >= 0:
            return False
        self.times -= 1
        return True


class _Chance:
    """Breaks a share of all requests, the same ones for the same requests."""

    def __init__(self, seed: int, share: float, choices: tuple[Break, ...]) -> None:
        self._seed = seed
        self._share = share
        self._choices = choices
        self._seen: Counter[str] = Counter()
        self._rest: Counter[str] = Counter()

    def choose(self, message: Message) -> Break | None:
        """What this request meets. A draw belongs to a request, whenever others arrive."""
        line = f"{message.method} {message.target}"
        self._seen[line] += 1
        if self._rest[line] > 0:
            self._rest[line] -= 1
            return None
        draw = random.Random(f"{self._seed} {line} {self._seen[line]}")
        if draw.random() >= self._share:
            return None
        # The next of the same kind pass, so that a client that tries again gets through.
        self._rest[line] = 2
        return draw.choice(self._choices)


def kind_of(method: str, target: str) -> str:
    """What a request does, in the words of S3: a listing and a batch of deletes have their own."""
    query = target.partition("?")[2]
    if method == "GET" and "list-type=" in query:
        return "LIST"
    if method == "POST" and re.match(r"delete(=|&|$)", query):
        return "DELETE_MANY"
    return method


class FaultProxy:
    """The proxy; a context manager.

    Args:
        host: The server's host.
        port: The server's port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._chance: _Chance | None = None
        self._seen: list[Seen] = []
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        begun = asyncio.run_coroutine_threadsafe(self._begin(), self._loop)
        self._server = begun.result(timeout=10)

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Close every connection and end the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- what tests ask of it ------------------------------------------------------------------

    def break_next(
        self,
        what: Break,
        *,
        kind: str | None = None,
        method: str | None = None,
        path: str = "",
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Break the next requests of some sort. Of several rules the first that fits strikes.

        Args:
            what: How.
            kind: Only requests of this kind, see `kind_of`.
            method: Only requests with this method.
            path: Only where this regular expression is found in path and query, as sent.
            skip: How many of them pass first.
            times: How many are broken.
        """
        with self._lock:
            self._rules.append(_Rule(what, kind, method, path, skip, times))

    def break_some(self, seed: int, share: float, *choices: Break) -> None:
        """Break a share of all requests; one that was broken gets through when sent again.

        Args:
            seed: Which sequence of random numbers; equal requests meet equal faults.
            share: Of the requests, 0 to 1.
            choices: What they meet.
        """
        with self._lock:
            self._chance = _Chance(seed, share, choices)

    def clear(self) -> None:
        """Take all faults back, let stalled requests go, forget the requests so far."""
        with self._lock:
            self._rules.clear()
            self._chance = None
            self._seen.clear()
        self.release()

    def release(self) -> None:
        """Drop the requests that are stalled now."""
        self._loop.call_soon_threadsafe(self._let_go)

    def _let_go(self) -> None:
        self._released.set()
        self._released = asyncio.Event()

    @property
    def seen(self) -> list[Seen]:
        """The requests since `clear`, in the order they came."""
        with self._lock:
            return list(self._seen)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many requests of each kind came since `clear`."""
        return dict(Counter(each.kind for each in self.seen))

    # --- on the loop ---------------------------------------------------------------------------

    async def _begin(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _end(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # A connection that breaks is the client's matter; a cancellation is our own end.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; whether the connection goes on."""
        message = await read_message(reader, writer)
        if message is None:
            return False
        what = self._note(message)
        if what is None:
            return await self._pass_on(message, writer)
        if isinstance(what, Cut | Shorten):
            return await self._damage(message, what, writer)
        if what.after:
            await self._forward(message)
        if isinstance(what, Answer):
            writer.write(_answer(what, head_only=message.method == "HEAD"))
            await writer.drain()
            return True
        if isinstance(what, Stall):
            await self._stall(reader)
        return False

    def _note(self, message: Message) -> Break | None:
        kind = kind_of(message.method, message.target)
        with self._lock:
            rule = next((rule for rule in self._rules if rule.meets(kind, message)), None)
            what = rule.what if rule is not None else None
            if what is None and self._chance is not None:
                what = self._chance.choose(message)
            self._seen.append(Seen(kind, message.method, message.target, what))
        return what

    async def _forward(self, message: Message) -> Message:
        """Send the request on, on a connection of its own, and read the whole answer."""
        reader, writer = await asyncio.open_connection(*self._place)
        try:
            writer.write(message.raw)
            await writer.drain()
            return await read_response(reader, message.method)
        finally:
            writer.close()

    async def _pass_on(self, message: Message, writer: asyncio.StreamWriter) -> bool:
        answer = await self._forward(message)
        writer.write(answer.raw)
        await writer.drain()
        return not answer.closes

    async def _damage(
        self, message: Message, what: Cut | Shorten, writer: asyncio.StreamWriter
    ) -> bool:
        answer = await self._forward(message)
        body = answer.body[: len(answer.body) // 2 if what.keep is None else what.keep]
        # A body in chunks is sent on in one piece, with its length.
        length = len(answer.body) if isinstance(what, Cut) else len(body)
        writer.write(answer.head_with_length(length) + body)
        await writer.drain()
        return isinstance(what, Shorten) and not answer.closes

    async def _stall(self, reader: asyncio.StreamReader) -> None:
        released = asyncio.ensure_future(self._released.wait())
        # The client says nothing more; an end of its side means that it gave up.
        gone = asyncio.ensure_future(reader.read(1))
        done, waiting = await asyncio.wait(
            (released, gone), timeout=STALL_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        for task in waiting:
            task.cancel()
        for task in done:
            task.exception()


def _answer(what: Answer, *, head_only: bool) -> bytes:
    headers = {**what.headers, "Content-Length": str(len(what.body))}
    lines = [f"HTTP/1.1 {what.status} Injected", *(f"{k}: {v}" for k, v in headers.items())]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head if head_only else head + what.body
