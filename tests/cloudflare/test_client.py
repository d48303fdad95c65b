"""The client: its lifetime, what it sends, pages, the shared budget, and what it refuses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from storage_providers._requests import tallied
from storage_providers._secrets import Secret
from storage_providers.cloudflare._http import Http
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.errors import (
    ConfigurationError,
    InvalidArgumentError,
    ProviderClosedError,
    RateLimitedError,
    TransportError,
)
from storage_providers.resilience import CircuitOpenError, Effect, RateLimit, RetryPolicy
from tests.cloudflare.service import (
    ACCOUNT,
    TOKEN,
    TRANSPORTS,
    Request,
    client,
    failed,
    ok,
    reply,
    run,
    timing,
)

EVERY_TRANSPORT = pytest.mark.parametrize("transport", TRANSPORTS)

# --- lifetime ----------------------------------------------------------------------------------


def test_it_has_three_plain_states() -> None:
    """New, open, closed; opening and closing twice change nothing; a closed one stays closed."""

    async def main() -> None:
        async with client(ok()) as opened:
            made = CloudflareClient(
                ACCOUNT, TOKEN, base_url=opened.service.address, rate_limit=None
            )
            with pytest.raises(ProviderClosedError, match="not connected"):
                await made.request("GET", "x", effect=Effect.READ)
            await made.connect()
            await made.connect()
            await made.request("GET", "x", effect=Effect.READ)
            await made.disconnect()
            await made.disconnect()
            with pytest.raises(ProviderClosedError, match="has been closed"):
                await made.request("GET", "x", effect=Effect.READ)
            with pytest.raises(ProviderClosedError, match="cannot reopen"):
                await made.connect()
            assert len(opened.service.requests) == 1

    run(main())


def test_making_one_does_nothing() -> None:
    """The constructor needs no loop, opens no connection and imports no aiohttp."""
    program = (
        "import sys\n"
        "from storage_providers.cloudflare.client import CloudflareClient\n"
        "assert 'httpx' not in sys.modules\n"
        f"CloudflareClient({ACCOUNT!r}, {TOKEN!r})\n"
        "assert 'aiohttp' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("module", ["d1", "kv", "bindings", "errors", "client"])
def test_importing_needs_no_http_library(module: str) -> None:
    """Every module can be imported where only the bindings are used."""
    program = (
        "import sys\nsys.modules['httpx'] = None\nsys.modules['aiohttp'] = None\n"
        f"import storage_providers.cloudflare.{module}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without httpx the constructor says what to install."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'storage-providers\[cloudflare\]'"):
        CloudflareClient(ACCOUNT, TOKEN)


def test_a_lent_client_that_was_closed_says_so() -> None:
    """It is not taken for a fault of the service."""

    async def main() -> None:
        import httpx

        lent = httpx.AsyncClient()
        async with CloudflareClient(ACCOUNT, TOKEN, http=lent, base_url="http://localhost:1") as it:
            await lent.aclose()
            with pytest.raises(ProviderClosedError, match="it was given has been closed"):
                await it.request("GET", "x", effect=Effect.READ)

    run(main())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base_url": "http://api.cloudflare.com/client/v4"}, "plain http"),
        ({"base_url": "http://10.0.0.1/x"}, "plain http"),
        ({"base_url": "http://localhost.example.com"}, "plain http"),
        ({"base_url": "ftp://localhost"}, "is not a URL"),
        ({"base_url": "https://"}, "is not a URL"),
        ({"base_url": "https://[::1"}, "is not a URL"),
        ({"base_url": "https://user:pass@localhost"}, "more than scheme"),
        ({"base_url": "https://localhost/?x=1"}, "more than scheme"),
        ({"account_id": ""}, "account_id"),
        ({"account_id": "../user"}, "account_id"),
        ({"account_id": "a/b"}, "account_id"),
        ({"account_id": "a\n"}, "account_id"),
        ({"concurrency": 0}, "concurrency"),
        ({"connect_timeout_seconds": 0}, "connect"),
        ({"read_timeout_seconds": -1}, "read"),
        ({"write_timeout_seconds": float("nan")}, "write"),
        ({"deadline_seconds": 0}, "deadline_seconds"),
    ],
)
def test_wrong_settings_are_refused_at_once(options: dict[str, Any], says: str) -> None:
    """The constructor names the setting and shows no secret."""
    settings = {"account_id": ACCOUNT, "token": TOKEN, **options}
    with pytest.raises(ConfigurationError, match=says) as caught:
        CloudflareClient(settings.pop("account_id"), settings.pop("token"), **settings)
    assert "pass" not in str(caught.value).replace("past", "")


@pytest.mark.parametrize(
    "base_url",
    ["http://localhost:1/x", "http://127.0.0.1", "http://[::1]:9", "https://example.com/"],
)
def test_https_and_this_machine_are_accepted(base_url: str) -> None:
    """Plain http only reaches this machine; a slash at the end does not matter."""
    made = CloudflareClient(ACCOUNT, Secret(TOKEN), base_url=base_url)
    assert made.base_url == base_url.rstrip("/")


def test_over_https_the_certificate_is_checked() -> None:
    """A service with a certificate that nobody vouches for gets no token."""
    import ssl

    from tests.cloudflare.certificate import self_signed

    async def main() -> None:
        got = bytearray()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.extend(await reader.read(10_000))
            writer.close()

        with self_signed() as files:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*files)
            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
            address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            for fast in (True, False):
                with pytest.MonkeyPatch.context() as patch:
                    if not fast:
                        patch.setitem(sys.modules, "httpx_aiohttp", None)
                    async with CloudflareClient(
                        ACCOUNT, TOKEN, base_url=address, retry=RetryPolicy(attempts=1)
                    ) as made:
                        with pytest.raises(TransportError, match="certificate not accepted"):
                            await made.request("GET", "x", effect=Effect.READ)
            server.close()
        assert bytes(got) == b""

    asyncio.run(main())


# --- what is sent ------------------------------------------------------------------------------


@EVERY_TRANSPORT
def test_what_goes_over_the_wire(transport: str) -> None:
    """Token, body, its type and parameters arrive as given; nothing else of note does."""

    async def main() -> None:
        async with client(ok({"a": [1, None]}), transport=transport) as opened:
            answer = await opened.client.request(
                "POST",
                "d1/database",
                params={"name": "a&b=c d/é+%", "page": 3, "left": None},
                json={"é": [1, 2.5, None]},
                effect=Effect.READ,
            )
            assert answer.result == {"a": [1, None]}
            request = opened.service.requests[0]
            assert request.method == "POST"
            assert request.raw_path == f"/client/v4/accounts/{ACCOUNT}/d1/database"
            assert request.query == {"name": "a&b=c d/é+%", "page": "3"}
            assert request.json == {"é": [1, 2.5, None]}
            assert request.headers["authorization"] == f"Bearer {TOKEN}"
            assert request.headers["content-type"] == "application/json"
            assert request.headers["user-agent"] == "storage-providers"
            assert "cookie" not in request.headers
            await opened.client.request("GET", "/user/tokens/verify", effect=Effect.READ)
            assert opened.service.requests[1].raw_path == "/client/v4/user/tokens/verify"
            assert "content-type" not in opened.service.requests[1].headers

    run(main())


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
def test_cookies_are_not_kept(transport: str) -> None:
    """What one answer sets, the next request does not carry, unless a lent client does so."""

    async def main() -> None:
        setting = reply(200, msgspec.json.encode({"success": True}), set_cookie="a=b; Path=/")
        async with client(setting, transport=transport) as opened:
            for _ in range(2):
                await opened.client.request("GET", "x", effect=Effect.READ)
            assert all("cookie" not in each.headers for each in opened.service.requests)

    run(main())


def test_what_is_no_json_is_not_sent() -> None:
    """A body that can't be written as JSON is refused before anything is sent, and not shown."""

    async def main() -> None:
        async with client(ok()) as opened:
            for body in ({"a": object()}, {"a": "\ud800"}):
                with pytest.raises(InvalidArgumentError, match="JSON"):
                    await opened.client.request("PUT", "x", json=body, effect=Effect.WRITE)
            prefix = {"prefix": "\ud800"}
            with pytest.raises(InvalidArgumentError, match="Unicode") as caught:
                await opened.client.request("GET", "x", params=prefix, effect=Effect.READ)
            assert caught.value.__context__ is None
            assert opened.service.requests == []

    run(main())


def test_an_answer_of_another_form_is_an_error() -> None:
    """A success that is not what was asked for is not handed on."""

    async def main() -> None:
        async with client(ok({"id": 1}), retry=RetryPolicy(attempts=1)) as opened:
            with pytest.raises(TransportError, match="another form"):
                await opened.client.request("GET", "x", effect=Effect.READ, as_type=list[str])

    run(main())


@EVERY_TRANSPORT
def test_raw_bodies(transport: str) -> None:
    """A body without an envelope is given as it is, also one that looks like a failure."""

    async def main() -> None:
        odd = b'{"success": false, "errors": [{"code": 7403}]}\x00\xff'
        answers = (reply(200, odd, "application/octet-stream", expiration="99"), reply(200, b""))
        async with client(*answers, failed(403, 10000, ""), transport=transport) as opened:
            answer = await opened.client.request_bytes("GET", "x")
            assert (answer.content, answer.headers["expiration"]) == (odd, "99")
            assert (await opened.client.request_bytes("GET", "x")).content == b""
            with pytest.raises(Exception, match="the token was not accepted"):
                await opened.client.request_bytes("GET", "x")

    run(main())


# --- counting ----------------------------------------------------------------------------------


def test_every_attempt_is_counted() -> None:
    """The hook and the tally of an operation see each attempt, with its name and its end."""

    async def main() -> None:
        async with client(failed(500), failed(429), ok()) as opened:
            with tallied() as tally:
                await opened.client.request("GET", "x", effect=Effect.READ, operation="d1.raw")
            assert tally.requests == 3
            assert [(each.operation, each.number, each.error) for each in opened.reports] == [
                ("d1.raw", 1, "TransportError"),
                ("d1.raw", 2, "RateLimitedError"),
                ("d1.raw", 3, None),
            ]

    run(main())


def test_clients_with_one_token_share_their_calls() -> None:
    """The budget is the token's, whatever the account; another token has its own."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        limit = RateLimit(calls=4, window_seconds=50)
        async with client(ok(), rate_limit=limit, token="shared") as first:
            options: dict[str, Any] = {"timing": timing(), "base_url": first.service.address}
            second = CloudflareClient("b" * 32, Secret("shared"), rate_limit=limit, **options)
            other = CloudflareClient(ACCOUNT, "other", rate_limit=limit, **options)
            began = loop.time()
            async with second, other:
                for each in (first.client, second, first.client, second):
                    await each.request("GET", "x", effect=Effect.READ)
                await other.request("GET", "x", effect=Effect.READ)
                assert loop.time() - began < 1
                deadline = second.deadline(10)
                with pytest.raises(RateLimitedError) as caught:
                    await second.request("GET", "x", effect=Effect.READ, deadline=deadline)
                assert caught.value.retry_after_seconds == pytest.approx(50, abs=1)
                await second.request("GET", "x", effect=Effect.READ)
                assert loop.time() - began == pytest.approx(50, abs=1)
            assert len(first.service.requests) == 6
            with pytest.raises(ConfigurationError, match="4 calls"):
                CloudflareClient(ACCOUNT, "shared")

    run(main())


def test_a_refusal_for_the_rate_stops_everybody() -> None:
    """When the service says that the token must wait, calls of other clients wait as well."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        limit = RateLimit(calls=1_000, window_seconds=301)
        stop = failed(429, 971, "", retry_after="30")
        async with (
            client(stop, ok(), rate_limit=limit, token="stopped") as first,
            client(ok(), rate_limit=limit, token="stopped") as second,
        ):
            began = loop.time()
            async with asyncio.TaskGroup() as group:
                group.create_task(first.client.request("GET", "x", effect=Effect.READ))
                await first.service.arrived.wait()
                await asyncio.sleep(1)
                group.create_task(second.client.request("GET", "x", effect=Effect.READ))
            assert loop.time() - began == pytest.approx(30, abs=1)
            assert second.service.connections == 1
            assert [len(each.service.requests) for each in (first, second)] == [2, 1]

    run(main())


def test_remaining_calls_are_believed() -> None:
    """`x-ratelimit-remaining` is the service's own count, and holds until its reset."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        limit = RateLimit(calls=1_000, window_seconds=302)
        none_left = ok(x_ratelimit_remaining="0", x_ratelimit_reset="Fri, 02 Jan 1970 23:00:40 GMT")
        async with client(none_left, ok(), rate_limit=limit, token="counted") as opened:
            began = loop.time()
            for _ in range(2):
                await opened.client.request("GET", "x", effect=Effect.READ)
            assert loop.time() - began == pytest.approx(40, abs=1)

    run(main())


def test_a_service_that_is_down_is_left_alone() -> None:
    """The breaker of one service, or of one database, does not stop the others."""

    async def main() -> None:
        def answer(request: Request) -> bytes:
            return failed(500) if "down" in request.path else ok()

        async with client(answer, retry=RetryPolicy(attempts=1)) as opened:
            call = opened.client.request
            for _ in range(5):
                with pytest.raises(TransportError):
                    await call("GET", "down", effect=Effect.READ, service="d1", resource="one")
                await asyncio.sleep(1)
            with pytest.raises(CircuitOpenError, match="D1 one has been unavailable"):
                await call("GET", "up", effect=Effect.READ, service="d1", resource="one")
            await call("GET", "up", effect=Effect.READ, service="d1", resource="two")
            await call("GET", "up", effect=Effect.READ, service="kv")
            assert len(opened.service.requests) == 7

    run(main())


# --- pages -------------------------------------------------------------------------------------


async def pages_of(opened: Any, by: str, **options: Any) -> list[Any]:
    """The results of every page."""
    listing = opened.client.pages("things", by=by, as_type=list[int], **options)
    async with aclosing(listing) as pages:
        return [page.result async for page in pages]


@pytest.mark.parametrize(
    "info",
    [
        lambda page: {"page": page, "per_page": 2, "total_pages": 3, "count": 2},
        lambda page: {"page": page, "per_page": 2, "total_count": 5, "count": 2},
        lambda page: {"page": page, "per_page": 2},
        lambda page: {},
    ],
    ids=["total pages", "total count", "size", "nothing"],
)
def test_pages_by_number(info: Any) -> None:
    """Whatever the service says of its pages, each comes once, in order."""
    listed = [[1, 2], [3, 4], [5]]

    def answer(request: Request) -> bytes:
        page = int(request.query.get("page", "1"))
        assert request.query["per_page"] == "2"
        assert request.query["name"] == "x"
        return ok(listed[page - 1], info(page))

    async def main() -> None:
        async with client(answer) as opened:
            found = await pages_of(opened, "page", params={"per_page": 2, "name": "x"})
            assert found == listed
            assert len(opened.service.requests) == 3

    run(main())


def test_an_empty_page_is_the_last_by_number() -> None:
    """Totals that promise more do not make a listing endless."""

    async def main() -> None:
        info = {"page": 1, "per_page": 2, "total_count": 100, "total_pages": 50}
        async with client(ok([], info)) as opened:
            assert await pages_of(opened, "page") == [[]]

    run(main())


@pytest.mark.parametrize("form", ["cursor", "cursors"])
def test_pages_by_cursor(form: str) -> None:
    """An empty page with a cursor goes on; an empty cursor, or none, is the end."""
    listed = {"": ([1], "a/b+="), "a/b+=": ([], "c"), "c": ([2], "")}

    def answer(request: Request) -> bytes:
        result, following = listed[request.query.get("cursor", "")]
        info = {"cursor": following} if form == "cursor" else {"cursors": {"after": following}}
        assert request.query["prefix"] == "p"
        return ok(result, info)

    async def main() -> None:
        async with client(answer) as opened:
            assert await pages_of(opened, "cursor", params={"prefix": "p"}) == [[1], [], [2]]

    run(main())


def test_a_listing_that_goes_in_circles_ends() -> None:
    """A page that names itself as the next is an error and not an endless loop."""

    async def main() -> None:
        async with client(ok([1], {"cursor": "same"})) as opened:
            with pytest.raises(TransportError, match="names itself"):
                await pages_of(opened, "cursor")
            assert len(opened.service.requests) == 2

    run(main())


def test_one_deadline_for_all_pages() -> None:
    """A budget that is handed in is that of the whole listing."""

    async def main() -> None:
        asked = 0

        def answer(_: Request) -> bytes:
            nonlocal asked
            asked += 1
            return ok([1], {"cursor": f"c{asked}"}) if asked % 2 else failed(429, 1, "")

        async with client(answer) as opened:
            deadline = opened.client.deadline(5)
            with pytest.raises(RateLimitedError):
                await pages_of(opened, "cursor", deadline=deadline)
            assert deadline.remaining_seconds <= 1
            assert asked >= 8

    run(main())


# --- the way there -----------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
def test_the_proxy_of_the_environment_is_used(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with every other program, but never on the way to this machine."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for name in ("https_proxy", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        if not fast:
            monkeypatch.setitem(sys.modules, "httpx_aiohttp", None)
        once = RetryPolicy(attempts=1)
        async with CloudflareClient(ACCOUNT, TOKEN, retry=once, rate_limit=None) as made:
            with pytest.raises(TransportError) as caught:
                await made.request("GET", "x", effect=Effect.READ)
        assert asked[0].startswith(b"CONNECT api.cloudflare.com:443 ")
        assert TOKEN not in str(caught.value)
        async with client(ok()) as opened:
            await opened.client.request("GET", "x", effect=Effect.READ)
        assert len(asked) == 1
        server.close()

    asyncio.run(main())


def test_the_fast_transport_is_taken_where_it_is_installed() -> None:
    """Aiohttp carries the requests unless it is missing."""

    async def main() -> None:
        async with client(ok()) as opened:
            http: Http = opened.client._http
            assert type(http._transport).__name__ == "AiohttpTransport"
        async with client(ok(), transport="httpx") as opened:
            http = opened.client._http
            assert type(http._transport).__name__ == "AsyncHTTPTransport"

    run(main())
