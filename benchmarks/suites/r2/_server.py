"""A canned S3 server: answers from memory, in a process of its own, so that its CPU is not ours.

`python _server.py DELAY_SECONDS` prints the port it listens on and serves until its input ends. It
knows what the suite sends: PUT, GET of one object, GET of a listing, and `Expect: 100-continue`,
which costs the delay once more, as it costs a round trip.
"""

from __future__ import annotations

import asyncio
import sys

DOCUMENT = b'{"id":"item","text":"' + b"x" * (1024 - 23) + b'"}'
LISTED = 1000

_ETAG = b'ETag: "9bb58f26192e4ba00f01e2e7b136bbd8"\r\n'
_COMMON = (
    b"Date: Sat, 21 Nov 2026 09:00:00 GMT\r\nServer: canned\r\nx-amz-request-id: 8A5F0C8E2D7B\r\n"
)


def _answer(body: bytes, *headers: bytes) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 200 OK\r\n" + _COMMON + b"".join(headers) + length + b"\r\n" + body


def _listing() -> bytes:
    line = (
        "<Contents><Key>notes/item-{:06}.json</Key><LastModified>2026-11-21T08:30:00.000Z"
        "</LastModified><ETag>&quot;9bb58f26192e4ba00f01e2e7b136bbd8&quot;</ETag><Size>1024</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )
    head = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult '
        'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name><Prefix>notes/</Prefix>'
        "<EncodingType>url</EncodingType><MaxKeys>1000</MaxKeys><KeyCount>1000</KeyCount>"
        "<IsTruncated>false</IsTruncated>"
    )
    lines = "".join(line.format(number) for number in range(LISTED))
    return f"{head}{lines}</ListBucketResult>".encode()


PUT_ANSWER = _answer(b"", _ETAG)
GET_ANSWER = _answer(
    DOCUMENT,
    _ETAG,
    b"Content-Type: application/json\r\n",
    b"Last-Modified: Sat, 21 Nov 2026 08:30:00 GMT\r\n",
    b"x-amz-meta-token: 0192f0c3a7e57a7f8d3b4c5d6e7f8091\r\n",
)
LIST_ANSWER = _answer(_listing(), b"Content-Type: application/xml\r\n")


class Canned(asyncio.Protocol):
    """One connection."""

    def __init__(self, delay_seconds: float) -> None:
        self._delay = delay_seconds
        self._received = bytearray()
        self._wanted = 0
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._wanted and not self._read_head():
            return
        if len(self._received) >= self._wanted:
            del self._received[: self._wanted]
            self._wanted = 0
            self._send(self._answer)

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._received[:end])
        lines = head.lower().split(b"\r\n")
        lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        self._wanted = end + 4 + sum(lengths)
        if head.startswith(b"PUT"):
            self._answer = PUT_ANSWER
        else:
            self._answer = LIST_ANSWER if b"list-type=2" in lines[0] else GET_ANSWER
        if b"expect: 100-continue" in lines:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _send(self, answer: bytes) -> None:
        if not self._delay:
            self._transport.write(answer)
            return
        asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)


async def serve(delay_seconds: float) -> None:
    """Serve on a free port of this machine until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Canned(delay_seconds), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
