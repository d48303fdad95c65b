"""What breaks on the way, on every transport: what is raised, what is sent again, what is left."""

from __future__ import annotations

import asyncio
import gzip
import socket

import msgspec
import pytest

from storage_providers.errors import (
    ConfigurationError,
    DeadlineExceededError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    TransportError,
)
from storage_providers.resilience import Effect, NotSentError, RetryPolicy
from tests.cloudflare.service import (
    CLOSE,
    RESET,
    STALL,
    TRANSPORTS,
    Action,
    client,
    cut,
    failed,
    ok,
    reply,
    run,
)

ONCE = RetryPolicy(attempts=1)
EVERY_TRANSPORT = pytest.mark.parametrize("transport", TRANSPORTS)

BODY = msgspec.json.encode({"success": True, "errors": [], "messages": [], "result": "x" * 500})
CUT_LENGTH = cut(reply(200, BODY)[:-100])
CUT_CHUNKS = cut(
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    + f"{len(BODY):x}\r\n".encode()
    + BODY
    + b"\r\n"
)
CUT_HEADERS = cut(b"HTTP/1.1 200 OK\r\ncontent-ty")
CUT_GZIP = reply(200, gzip.compress(BODY)[:-20], content_encoding="gzip")
NOT_HTTP = cut(b"\x15\x03\x01\x00\x02\x02\x46 this is not HTTP\r\n\r\n")

LOST: dict[str, Action] = {
    "close": CLOSE,
    "reset": RESET,
    "headers": CUT_HEADERS,
    "length": CUT_LENGTH,
    "chunks": CUT_CHUNKS,
    "gzip": CUT_GZIP,
    "no HTTP": NOT_HTTP,
}


# A client of httpx-aiohttp that is lent to us keeps aiohttp's habit of sending these three again.
@pytest.mark.parametrize(
    ("transport", "method"),
    [
        (transport, method)
        for transport in TRANSPORTS
        for method in ("GET", "PUT", "DELETE", "POST")
        if transport != "borrowed aiohttp" or method == "POST"
    ],
)
@pytest.mark.parametrize("fault", LOST)
def test_a_lost_answer_is_not_known_and_never_sent_twice(
    transport: str, method: str, fault: str
) -> None:
    """A write whose answer is lost is sent once, also on a connection that had been used before."""

    async def main() -> None:
        async with client(ok(), LOST[fault], ok(), transport=transport) as opened:
            await opened.client.request("GET", "first", effect=Effect.READ)
            content = None if method == "GET" else b"{}"
            with pytest.raises(OutcomeUnknownError):
                await opened.client.request(method, "second", effect=Effect.WRITE, content=content)
            assert [each.method for each in opened.service.requests] == ["GET", method]

    run(main())


@EVERY_TRANSPORT
@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("effect", [Effect.READ, Effect.IDEMPOTENT_WRITE])
def test_what_may_be_repeated_is(transport: str, fault: str, effect: Effect) -> None:
    """A lost answer to a read, or to a write that may be done twice, is asked for again."""

    async def main() -> None:
        async with client(LOST[fault], ok("second"), transport=transport) as opened:
            answer = await opened.client.request("POST", "x", effect=effect, content=b"{}")
            assert answer.result == "second"
            assert len(opened.service.requests) == 2
            assert [each.error for each in opened.reports] == ["TransportError", None]

    run(main())


@EVERY_TRANSPORT
@pytest.mark.parametrize("fault", LOST)
def test_a_lost_answer_that_is_never_replaced_is_a_transport_error(
    transport: str, fault: str
) -> None:
    """A read gives up after its attempts, with an error that names no address."""

    async def main() -> None:
        async with client(LOST[fault], transport=transport) as opened:
            with pytest.raises(TransportError) as caught:
                await opened.client.request("GET", "secret-key", effect=Effect.READ)
            assert type(caught.value) is TransportError
            assert "secret-key" not in str(caught.value)
            assert [each.number for each in opened.reports] == [1, 2, 3]

    run(main())


@EVERY_TRANSPORT
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_connection_that_was_closed_while_idle_is_not_used(transport: str, method: str) -> None:
    """The service may close what is idle: the next write goes over a new one, and is known."""

    async def main() -> None:
        async with client(cut(ok("first")), ok("second"), transport=transport) as opened:
            call = opened.client.request
            assert (await call("GET", "x", effect=Effect.READ)).result == "first"
            await asyncio.sleep(1)
            answer = await call(method, "x", effect=Effect.WRITE, content=b"{}")
            assert answer.result == "second"
            assert opened.service.connections == 2
            assert len(opened.reports) == 2

    run(main())


@EVERY_TRANSPORT
def test_connections_are_kept(transport: str) -> None:
    """Calls one after the other share a connection, also after some seconds."""

    async def main() -> None:
        async with client(ok(), transport=transport) as opened:
            for _ in range(3):
                await opened.client.request("GET", "x", effect=Effect.READ)
                await asyncio.sleep(4)
            assert opened.service.connections == 1

    run(main())


@EVERY_TRANSPORT
def test_a_refused_connection_is_not_sent(transport: str) -> None:
    """Where nobody listens nothing was done: it is tried again, and nothing is unknown."""

    async def main() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{free.getsockname()[1]}"
            async with client(ok(), transport=transport, base_url=address) as opened:
                with pytest.raises(NotSentError, match="Connection refused") as caught:
                    await opened.client.request("POST", "x", effect=Effect.WRITE, content=b"{}")
                assert [each.number for each in opened.reports] == [1, 2, 3]
                assert "127.0.0.1" not in str(caught.value)

    run(main())


@EVERY_TRANSPORT
@pytest.mark.parametrize(
    ("effect", "expected"),
    [(Effect.READ, DeadlineExceededError), (Effect.WRITE, OutcomeUnknownError)],
)
def test_a_silent_service_ends_at_the_deadline(
    transport: str, effect: Effect, expected: type[StorageError]
) -> None:
    """The deadline holds over every phase, and nothing runs on after it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with client(STALL, transport=transport, deadline_seconds=20.0) as opened:
            began = loop.time()
            with pytest.raises(expected):
                await opened.client.request("POST", "x", effect=effect, content=b"{}")
            assert loop.time() - began == pytest.approx(20.0, abs=0.5)
            assert len(opened.service.requests) == 1

    run(main())


@EVERY_TRANSPORT
def test_a_silence_ends_an_attempt(transport: str) -> None:
    """A service that says nothing for the read time-out is asked again, within the deadline."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with client(
            STALL, ok(), transport=transport, read_timeout_seconds=3.0, deadline_seconds=60.0
        ) as opened:
            began = loop.time()
            await opened.client.request("GET", "x", effect=Effect.READ)
            assert 3.0 <= loop.time() - began < 6.0
            assert [each.error for each in opened.reports] == ["TransportError", None]

    run(main())


@EVERY_TRANSPORT
def test_cancelling_leaves_nothing_behind(transport: str) -> None:
    """A cancelled call closes its connection, gives its place back and leaves no task."""

    async def main() -> None:
        async with client(STALL, ok("next"), transport=transport, concurrency=1) as opened:
            before = asyncio.all_tasks()
            call = asyncio.create_task(opened.client.request("GET", "x", effect=Effect.READ))
            await opened.service.arrived.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            answer = await opened.client.request("GET", "x", effect=Effect.READ)
            assert answer.result == "next"
            assert opened.service.closed == 1
            assert opened.service.connections == 2
            assert len(asyncio.all_tasks() - before) <= 1  # The service's own, for a connection.

    run(main())


@EVERY_TRANSPORT
def test_few_calls_are_in_flight(transport: str) -> None:
    """However many are made at once, no more than `concurrency` reach the service."""

    async def main() -> None:
        async with client(ok(), transport=transport, concurrency=3) as opened:
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(opened.client.request("GET", "x", effect=Effect.READ))
            assert len(opened.service.requests) == 20
            assert opened.service.most_in_flight <= 3
            assert opened.service.connections <= 3

    run(main())


def test_waiting_for_a_place_counts_against_the_deadline() -> None:
    """A call that finds every place taken says that it ran out of time, not that it was sent."""

    async def main() -> None:
        async with client(STALL, concurrency=1, deadline_seconds=10.0) as opened:
            first = asyncio.create_task(opened.client.request("GET", "x", effect=Effect.READ))
            await asyncio.sleep(0)
            with pytest.raises(DeadlineExceededError) as caught:
                await opened.client.request(
                    "PUT", "x", effect=Effect.WRITE, deadline=opened.client.deadline(5.0)
                )
            assert caught.value.attempts == 0
            with pytest.raises(DeadlineExceededError):
                await first
            assert [each.method for each in opened.service.requests] == ["GET"]

    run(main())


# --- answers that are no success ---------------------------------------------------------------


@EVERY_TRANSPORT
@pytest.mark.parametrize("effect", [Effect.READ, Effect.WRITE])
def test_retry_after_is_waited_for(transport: str, effect: Effect) -> None:
    """A refusal for the rate was not carried out, so also a write is sent again, after the wait."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        limited = failed(429, 971, "Please wait and consider throttling", retry_after="7")
        async with client(limited, ok("then"), transport=transport) as opened:
            began = loop.time()
            answer = await opened.client.request("POST", "x", effect=effect, content=b"{}")
            assert answer.result == "then"
            assert loop.time() - began == pytest.approx(7.0, abs=0.5)

    run(main())


@pytest.mark.parametrize(
    ("limited", "waited"),
    [
        (failed(429, 10000, "slow"), 1.0),
        (failed(429, 10000, "slow", retry_after="0"), 0.0),
        (failed(429, 10000, "slow", retry_after="Fri, 02 Jan 1970 23:00:09 GMT"), 9.0),
        (failed(429, 10000, "slow", x_ratelimit_reset="Fri, 02 Jan 1970 23:00:11 GMT"), 11.0),
        (failed(429, 10000, "slow", ratelimit='"default";r=0;t=13'), 13.0),
        (reply(429, b"<html>slow</html>", "text/html", retry_after="5"), 5.0),
        (failed(503, 10000, "busy", retry_after="4"), 4.0),
        (failed(500, 10000, "oops"), 0.0),
        (reply(502, b"<html>bad gateway</html>", "text/html"), 0.0),
    ],
)
def test_how_long_is_waited(limited: bytes, waited: float) -> None:
    """As long as the service says, in whatever header; else a second when it was too fast."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with client(limited, ok("then")) as opened:
            began = loop.time()
            assert (await opened.client.request("GET", "x", effect=Effect.READ)).result == "then"
            assert loop.time() - began == pytest.approx(waited, abs=0.5)

    run(main())


def test_a_long_wait_is_raised_at_once() -> None:
    """A minute and more is not waited for; the error says how long it is."""

    async def main() -> None:
        async with client(failed(429, 971, "", retry_after="300")) as opened:
            with pytest.raises(RateLimitedError) as caught:
                await opened.client.request("GET", "x", effect=Effect.READ)
            assert caught.value.retry_after_seconds == 300
            assert len(opened.service.requests) == 1

    run(main())


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 524, 530])
@pytest.mark.parametrize("body", [b"<html>private</html>", b"", b"[]", b'"x"', b'{"a": 1}', b"{"])
def test_an_answer_that_is_no_envelope(status: int, body: bytes) -> None:
    """It is a transport error with its status and without its content, for a write unknown."""

    async def main() -> None:
        async with client(reply(status, body, "text/html"), retry=ONCE) as opened:
            with pytest.raises(TransportError, match=f"HTTP {status}") as caught:
                await opened.client.request("GET", "x", effect=Effect.READ)
            assert "private" not in str(caught.value)
            with pytest.raises(OutcomeUnknownError):
                await opened.client.request("PUT", "x", effect=Effect.WRITE)

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, b'{"success": false, "errors": [], "messages": [], "result": null}'),
        reply(200, b'{"success": false, "errors": null, "messages": null, "result": {"a": 1}}'),
        reply(200, b'{"success": false, "errors": [{"code": 1, "message": 7}], "result": [1]}'),
        reply(200, b'{"success": false, "errors": ["x", null, {"code": "y"}]}'),
        reply(200, b'{"success": false, "errors": {"code": 1}}'),
        reply(200, b"<html>log in to the hotel's network</html>", "text/html"),
        reply(200, b'{"result": 1}'),
        reply(200, b""),
    ],
)
def test_success_is_what_the_body_says(answer: bytes) -> None:
    """Status 200 alone is no success, whatever else the body holds."""

    async def main() -> None:
        async with client(answer, retry=ONCE) as opened:
            with pytest.raises(TransportError, match="HTTP 200"):
                await opened.client.request("GET", "x", effect=Effect.READ)

    run(main())


@EVERY_TRANSPORT
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_refused(transport: str, status: int) -> None:
    """The token goes to no other place: a redirect is an error, and nothing follows it."""

    async def main() -> None:
        elsewhere = "http://127.0.0.1:1/elsewhere"
        answers: list[Action] = [
            reply(status, location=elsewhere),
            reply(status, BODY, location=elsewhere),
        ]
        async with client(*answers, transport=transport) as opened:
            for _ in answers:
                with pytest.raises(ConfigurationError, match="redirect"):
                    await opened.client.request("GET", "x", effect=Effect.READ)
            with pytest.raises(ConfigurationError, match="redirect"):
                await opened.client.request_bytes("GET", "x")
            assert len(opened.service.requests) == 3

    run(main())


@EVERY_TRANSPORT
def test_compressed_answers_are_read(transport: str) -> None:
    """Gzip is asked for and undone."""

    async def main() -> None:
        answer = reply(200, gzip.compress(BODY), content_encoding="gzip")
        async with client(answer, transport=transport) as opened:
            result = (await opened.client.request("GET", "x", effect=Effect.READ)).result
            assert result == "x" * 500
            assert opened.service.requests[0].headers["accept-encoding"] == "gzip"

    run(main())
