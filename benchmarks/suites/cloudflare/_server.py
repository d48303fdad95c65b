"""A service that answers from memory, in a process of its own: all that is measured is clients."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import msgspec

__all__ = ["served"]

_HEADERS = (
    "HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 09:00:00 GMT\r\n"
    "content-type: application/json\r\ncf-ray: 8f0000000000-AMS\r\nserver: cloudflare\r\n"
    "x-ratelimit-limit: 9000000\r\nx-ratelimit-remaining: 8999999\r\ncontent-length: {}\r\n\r\n"
)


def _answer(result: object) -> bytes:
    envelope: dict[str, object] = {"success": True, "errors": [], "messages": [], "result": result}
    body = msgspec.json.encode(envelope)
    return _HEADERS.format(len(body)).encode() + body


def _table(rows: int) -> bytes:
    table = {"columns": ["id", "body"], "rows": [[f"id-{i}", "x" * 300] for i in range(rows)]}
    meta = {"rows_read": rows, "rows_written": 0, "changes": 0, "duration": 0.5}
    return _answer([{"results": table, "success": True, "meta": meta}])


_ANSWERS = {b"/small/": _table(1), b"/large/": _table(1_000)}


class _Answering(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._left = b""

    def data_received(self, data: bytes) -> None:
        self._left += data
        while (end := self._left.find(b"\r\n\r\n")) >= 0:
            head = self._left[:end].lower()
            _, _, length = head.partition(b"content-length:")
            whole = end + 4 + (int(length.split(b"\r\n")[0]) if length else 0)
            if len(self._left) < whole:
                return
            self._left = self._left[whole:]
            target = head.split(b" ", 2)[1]
            known = (answer for part, answer in _ANSWERS.items() if part in target)
            self._transport.write(next(known))


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def served() -> Generator[str]:
    """The base URL of a running service; `d1/database/small` and `…/large` are its databases."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/client/v4"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(_serve())
