"""The proxy breaks what it is told to, counts, and changes nothing else."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.servers.fault_proxy import Answer, Break, Cut, Drop, FaultProxy, Shorten, Stall, kind_of

BODY = b"0123456789"


class Server(ThreadingHTTPServer):
    """Keeps the requests it was sent, as they came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[str, str, list[tuple[str, str]], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    """Answers everything with the same body; in chunks below /chunks."""

    protocol_version = "HTTP/1.1"
    server: Server

    def _serve(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.received.append((self.command, self.path, self.headers.items(), sent))
        self.send_response(200)
        self.send_header("X-Kept", "as it is")
        if self.path.startswith("/chunks"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"4;a=b\r\n0123\r\n6\r\n456789\r\n0\r\nX-Trailer: 1\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(BODY)

    do_GET = do_PUT = do_HEAD = _serve  # noqa: N815 - as http.server calls them.

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited.
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server in a thread."""
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    """A proxy before it."""
    with FaultProxy("127.0.0.1", server.server_port) as running:
        yield running


@contextmanager
def connection(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    """A connection to the proxy."""
    opened = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    try:
        yield opened
    finally:
        opened.close()


def ask(
    proxy: FaultProxy, method: str = "GET", path: str = "/a", body: bytes | None = None
) -> tuple[int, bytes]:
    """Send one request on a connection of its own."""
    with connection(proxy) as opened:
        opened.request(method, path, body)
        answer = opened.getresponse()
        return answer.status, answer.read()


def test_messages_pass_byte_by_byte() -> None:
    """The server gets exactly the bytes of the request, the client exactly those of the answer."""
    request = (
        b"PUT /a%2Fb%20c/~?x=%7E&y HTTP/1.1\r\nX-Mixed-CASE:  a  b\r\nHost: signed.example:1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3;x=1\r\n\x00\xff\r\r\n0\r\nTrailer: 1\r\n\r\n"
    )
    answer = b"HTTP/1.1 200\r\nETAG: W/a\r\ncontent-LENGTH: 2\r\n\r\n\xfe\r"
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        FaultProxy("127.0.0.1", listening.getsockname()[1]) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client,
    ):
        listening.settimeout(10)
        client.sendall(request)
        server, _ = listening.accept()
        with server:
            server.settimeout(10)
            assert server.recv(len(request) + 1) == request
            server.sendall(answer)
            assert client.recv(len(answer) + 1) == answer


@pytest.mark.parametrize("path", ["/a", "/chunks"])
def test_a_connection_goes_on(proxy: FaultProxy, path: str) -> None:
    """Several requests on one connection each get the whole answer; a HEAD has no body."""
    with connection(proxy) as opened:
        for method, expected in (("GET", BODY), ("HEAD", b""), ("GET", BODY)):
            if path == "/chunks" and method == "HEAD":
                continue
            opened.request(method, path)
            answer = opened.getresponse()
            assert (answer.status, answer.headers["X-Kept"], answer.read()) == (
                200,
                "as it is",
                expected,
            )


def test_a_client_that_waits_is_told_to_continue(server: Server, proxy: FaultProxy) -> None:
    """`Expect: 100-continue` is answered at once, and the body reaches the server."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as raw:
        raw.sendall(
            b"PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        assert raw.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(b"abc")
        assert raw.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.received[0][3] == b"abc"


@pytest.mark.parametrize("after", [False, True])
def test_dropped_connections(server: Server, proxy: FaultProxy, after: bool) -> None:
    """A dropped request has no answer; the server knows of it only if it was to act first."""
    proxy.break_next(Drop(after=after))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy, "PUT", body=b"x")
    assert len(server.received) == after
    assert ask(proxy) == (200, BODY)


@pytest.mark.parametrize("after", [False, True])
def test_other_answers(server: Server, proxy: FaultProxy, after: bool) -> None:
    """The client gets the injected answer with its headers, and the connection goes on."""
    proxy.break_next(Answer(503, {"Retry-After": "7"}, b"later", after=after))
    with connection(proxy) as opened:
        opened.request("GET", "/a")
        answer = opened.getresponse()
        assert (answer.status, answer.headers["Retry-After"], answer.read()) == (503, "7", b"later")
        opened.request("GET", "/a")
        assert opened.getresponse().read() == BODY
    assert len(server.received) == 1 + after


@pytest.mark.parametrize("after", [False, True])
def test_stalls_end_with_the_client(server: Server, proxy: FaultProxy, after: bool) -> None:
    """A stalled request gets no answer within the client's patience; the next one does."""
    proxy.break_next(Stall(after=after))
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.05) as raw:
        raw.sendall(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        with pytest.raises(TimeoutError):
            raw.recv(1)
    assert ask(proxy) == (200, BODY)
    assert len(server.received) == 1 + after


def test_stalls_can_be_released(proxy: FaultProxy) -> None:
    """`release` drops what is stalled."""
    proxy.break_next(Stall())
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as raw:
        raw.sendall(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        while not proxy.seen:
            threading.Event().wait(0.001)
        # The request was noted just before it began to wait.
        while True:
            proxy.release()
            raw.settimeout(0.05)
            try:
                assert raw.recv(1) == b""
            except TimeoutError:
                continue
            break


@pytest.mark.parametrize("path", ["/a", "/chunks"])
@pytest.mark.parametrize(("keep", "left"), [(None, 5), (3, 3), (0, 0)])
def test_a_cut_body_breaks_off(proxy: FaultProxy, path: str, keep: int | None, left: int) -> None:
    """The length promises the whole body, and only a part comes."""
    proxy.break_next(Cut(keep))
    with pytest.raises(http.client.IncompleteRead) as raised:
        ask(proxy, path=path)
    assert raised.value.partial == BODY[:left]


@pytest.mark.parametrize("path", ["/a", "/chunks"])
def test_a_shortened_body_seems_whole(proxy: FaultProxy, path: str) -> None:
    """The length is that of the part that comes."""
    proxy.break_next(Shorten())
    assert ask(proxy, path=path) == (200, BODY[:5])


def test_rules_strike_what_they_name(proxy: FaultProxy) -> None:
    """Kind, method, path, skip and times are all kept to; the first rule that fits strikes."""
    proxy.break_next(Answer(500), method="PUT", path=r"/b$", skip=1, times=2)
    proxy.break_next(Answer(429), kind="LIST")
    proxy.break_next(Answer(503), method="PUT", times=1)
    sent = [("PUT", "/b"), ("PUT", "/b"), ("GET", "/b"), ("PUT", "/b"), ("PUT", "/b")]
    assert [ask(proxy, *each)[0] for each in sent] == [503, 500, 200, 500, 200]
    assert ask(proxy, path="/c?list-type=2&prefix=x")[0] == 429
    assert proxy.counts == {"PUT": 4, "GET": 1, "LIST": 1}
    assert [each.broken is not None for each in proxy.seen] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]
    proxy.break_next(Answer(500), times=100)
    proxy.clear()
    assert ask(proxy)[0] == 200
    assert proxy.counts == {"GET": 1}


def test_chance_is_the_same_each_time_and_lets_repeats_through(proxy: FaultProxy) -> None:
    """Of many requests about the share is broken, the same ones again, and never one twice."""

    def run() -> list[int]:
        proxy.clear()
        proxy.break_some(5, 0.3, Answer(500), Answer(503))
        return [ask(proxy, path=f"/{number}")[0] for number in range(60)]

    first = run()
    assert 8 <= 60 - first.count(200) <= 28
    assert set(first) == {200, 500, 503}
    broken = first.index(500)
    assert ask(proxy, path=f"/{broken}")[0] == 200
    assert run() == first


@pytest.mark.parametrize(
    ("method", "target", "kind"),
    [
        ("GET", "/b/k", "GET"),
        ("GET", "/b?list-type=2&max-keys=1", "LIST"),
        ("GET", "/b?prefix=&list-type=2", "LIST"),
        ("POST", "/b?delete", "DELETE_MANY"),
        ("POST", "/b?delete=", "DELETE_MANY"),
        ("POST", "/b?deleted", "POST"),
        ("DELETE", "/b/k", "DELETE"),
    ],
)
def test_kinds(method: str, target: str, kind: str) -> None:
    """Listings and batches of deletes are told from other requests by their query."""
    assert kind_of(method, target) == kind


def test_a_server_that_is_gone_drops_connections() -> None:
    """Without a server behind it the proxy closes the connection."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with FaultProxy("127.0.0.1", port) as proxy, pytest.raises(http.client.RemoteDisconnected):
        ask(proxy)


ALL: list[Break] = [Drop(), Answer(500), Cut(), Shorten()]


def test_every_break_is_written_down(proxy: FaultProxy) -> None:
    """What a request met stands beside it, in order."""
    for what in ALL:
        proxy.break_next(what)
    for _ in ALL:
        try:
            ask(proxy)
        except (http.client.HTTPException, OSError):
            continue
    assert [each.broken for each in proxy.seen] == ALL
