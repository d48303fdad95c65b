"""The only place that knows the HTTP library: sends one request and says what became of it.

Requests go to httpx's transports directly, past `httpx.AsyncClient`: nothing is merged, followed,
remembered or logged that we did not ask for. aiohttp carries them where `httpx-aiohttp` is
installed, at about a tenth of the processor time; httpx's own transport does elsewhere.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import socket
import ssl
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from storage_providers._hosts import is_loopback
from storage_providers.errors import ConfigurationError, ProviderClosedError, TransportError
from storage_providers.resilience import NotSentError

if TYPE_CHECKING:
    import aiohttp
    import httpx

__all__ = ["Http", "Phases", "Reply", "need_httpx"]

KEEPALIVE_SECONDS = 20.0
"""How long an idle connection is kept. Ours: httpx's 5 s would mean a new handshake for most calls
of a quiet program; much longer, and the other side has closed it when a write is sent on it."""

PIECE_BYTES = 256 * 1024
"""Longest part of a body that is handed over at once, bytes. Ours; aiohttp warns from 1 MiB on."""

_GZIP = 31
"""zlib's `wbits` for gzip alone. Source: zlib manual, `inflateInit2`."""


class Phases(msgspec.Struct, frozen=True, kw_only=True):
    """How long each phase of one request may take, seconds."""

    connect: float
    read: float
    write: float


class Reply:
    """One response, its body whole and decompressed; the headers' names in lower case."""

    __slots__ = ("content", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content

    def __repr__(self) -> str:
        return f"Reply({self.status}, {len(self.content)} bytes)"


def need_httpx(who: str) -> None:
    """Fail early, and with advice, where the library is not installed.

    Raises:
        ConfigurationError: Naming the extra to install.
    """
    try:
        importlib.import_module("httpx")
    except ImportError as error:
        raise ConfigurationError(
            f"{who} needs: pip install 'storage-providers[cloudflare]'"
        ) from error


class Http:
    """A pool of connections to one place, or somebody else's `httpx.AsyncClient`.

    Args:
        base_url: Where everything is sent; only its scheme and host matter here.
        borrowed: A client to send with instead; it is never closed. One of httpx-aiohttp sends GET,
            PUT and DELETE again by itself when a connection breaks, which no caller can prevent.
        connections: Most connections at once.
        phases: Time-outs of each request.
    """

    def __init__(
        self,
        base_url: str,
        *,
        borrowed: httpx.AsyncClient | None,
        connections: int,
        phases: Phases,
    ) -> None:
        self._base_url = base_url
        self._borrowed = borrowed
        self._connections = connections
        self._extensions = {
            "timeout": {
                "connect": phases.connect,
                "read": phases.read,
                "write": phases.write,
                # Callers are as many as connections, so nobody waits for one but for its making.
                "pool": phases.connect,
            }
        }
        self._transport: httpx.AsyncBaseTransport | None = None

    async def open(self) -> None:
        """Make the pool; connections are made when they are needed."""
        _keep_addresses_out_of_the_log()
        if self._borrowed is None:
            self._transport = await _make_transport(self._base_url, self._connections)

    async def close(self) -> None:
        """Close what was opened here."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def send(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], content: bytes | None
    ) -> Reply:
        """Send one request and read the whole response; redirects are not followed.

        Args:
            method: The HTTP method.
            url: The whole address, percent-encoded.
            headers: Headers beside `Host` and `Content-Length`.
            content: The body.

        Returns:
            The response, whatever its status.

        Raises:
            NotSentError: The request never left.
            TransportError: No whole response came; the request may have been carried out.
            ProviderClosedError: The borrowed client has been closed.
        """
        import httpx

        body: bytes | AsyncIterator[bytes] | None = content
        if content is not None and len(content) > PIECE_BYTES:
            headers = [*headers, ("Content-Length", str(len(content)))]
            body = _pieces(content)
        request = httpx.Request(
            method, _url(url), headers=headers, content=body, extensions=self._extensions
        )
        # The library's errors may hold the request, its token and its body, so ours are raised
        # outside of the `except`: not even their `__context__` leads there.
        failure: TransportError
        answered = False
        try:
            response = await self._answer(request)
            answered = True
            stream = response.stream
            assert isinstance(stream, httpx.AsyncByteStream)
            try:
                received = b"".join([chunk async for chunk in stream])
            finally:
                await stream.aclose()
        except Exception as error:
            known = isinstance(error, (httpx.HTTPError, httpx.StreamError, OSError))
            # httpx-aiohttp lets some errors of aiohttp through.
            if not known and not type(error).__module__.startswith("aiohttp"):
                raise
            failure = _failure(error, answered=answered)
        else:
            # A dict is asked at a tenth of the price of httpx's headers.
            found = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers.raw
            }
            return Reply(response.status_code, found, _decoded(found, received))
        raise failure

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        token = _sending.set(True)
        try:
            if self._transport is not None:
                return await self._transport.handle_async_request(request)
            if self._borrowed is None:
                raise ProviderClosedError("its connections have been closed")
            if self._borrowed.is_closed:
                raise ProviderClosedError("the httpx.AsyncClient it was given has been closed")
            return await self._borrowed.send(
                request, stream=True, auth=None, follow_redirects=False
            )
        finally:
            _sending.reset(token)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    """A body in parts: in one piece it would keep the loop busy, of which aiohttp warns."""
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]


@lru_cache(maxsize=256)
def _url(text: str) -> httpx.URL:
    # Parsing costs a tenth of a request, and most requests go to few places.
    import httpx

    return httpx.URL(text)


# --- reading -----------------------------------------------------------------------------------


def _decoded(headers: Mapping[str, str], body: bytes) -> bytes:
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding == "identity" or not body:
        return body
    if encoding != "gzip":
        raise TransportError("the response is compressed in a way that was not asked for")
    inflate = zlib.decompressobj(_GZIP)
    try:
        plain = inflate.decompress(body)
    except zlib.error:
        raise TransportError("the response's compression is damaged") from None
    if not inflate.eof:
        raise TransportError("the response ends early: its compressed body is cut off")
    return plain


# --- failing -----------------------------------------------------------------------------------


def _failure(error: Exception, *, answered: bool) -> TransportError:
    """What a failed request means: it surely never left, or it may have been carried out."""
    if not answered and _never_left(error):
        return NotSentError(f"no connection could be made ({_reason(error)})")
    what = "the response broke off" if answered else "no response came"
    return TransportError(f"{what} ({_reason(error)})")


def _never_left(error: Exception) -> bool:
    import httpx

    if not isinstance(
        error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError
    ):
        return False
    cause = error.__cause__
    if cause is None or not type(cause).__module__.startswith("aiohttp"):
        return True
    # httpx-aiohttp calls every broken connection a ConnectTimeout, also when a request was on its
    # way (0.2.0, `AIOHTTP_EXC_MAP`). Only these are raised before one is.
    names = {each.__name__ for each in type(cause).__mro__}
    return bool(names & {"ClientConnectorError", "ConnectionTimeoutError", "ClientHttpProxyError"})


def _reason(error: BaseException) -> str:
    """The error in words that hold no address and no content."""
    name, chain = type(error).__name__, [error]
    while len(chain) < 8 and (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for each in chain:
        if isinstance(each, ssl.SSLCertVerificationError) and hasattr(each, "verify_message"):
            return f"{name}: certificate not accepted, {each.verify_message}"
        if isinstance(each, socket.gaierror):
            return f"{name}: the host's name was not found"
    for each in chain:
        if isinstance(each, OSError) and each.errno and not isinstance(each, ssl.SSLError):
            return f"{name}: {os.strerror(each.errno)}"
    return name


# --- connections -------------------------------------------------------------------------------


async def _make_transport(base_url: str, connections: int) -> httpx.AsyncBaseTransport:
    import httpx

    url = httpx.URL(base_url)
    limits = httpx.Limits(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=KEEPALIVE_SECONDS,
    )
    secure = url.scheme == "https"
    # Loading the certificates takes some 20 ms, which the event loop shall not stand still for.
    make = httpx.create_ssl_context if secure else _no_context
    verify = await _off_the_loop(make)
    proxy = _proxy(url.scheme, url.host)
    if proxy is None or proxy.startswith("http"):
        with suppress(ImportError):
            return _fast_transport(verify, limits, proxy)
    return httpx.AsyncHTTPTransport(verify=verify, limits=limits, proxy=proxy, trust_env=False)


def _no_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _off_the_loop(make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    # A browser's or a Worker's Python has no threads.
    return make() if sys.platform == "emscripten" else await asyncio.to_thread(make)


def _proxy(scheme: str, host: str) -> str | None:
    """The proxy that the environment names, as for every other program."""
    from urllib.request import getproxies, proxy_bypass

    if is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(scheme) or proxies.get("all")


def _fast_transport(
    verify: ssl.SSLContext, limits: httpx.Limits, proxy: str | None
) -> httpx.AsyncBaseTransport:
    import aiohttp
    import httpx
    import httpx_aiohttp

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            ssl=verify,
            limit=limits.max_connections or 0,
            keepalive_timeout=limits.keepalive_expiry,
        ),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_send_once,),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
    )
    return httpx_aiohttp.AiohttpTransport(
        verify=verify,
        limits=limits,
        proxy=None if proxy is None else httpx.Proxy(proxy),
        client=session,
    )


async def _send_once(
    request: aiohttp.ClientRequest,
    handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
) -> aiohttp.ClientResponse:
    """Have a broken connection raised for what it is.

    aiohttp sends GET, PUT and DELETE again by itself when a reused connection breaks, and
    httpx-aiohttp calls the break a failure to connect. Neither takes this error for one.
    """
    import aiohttp

    try:
        return await handler(request)
    except (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientHttpProxyError,
        aiohttp.SocketTimeoutError,
    ):
        raise
    except (aiohttp.ClientError, OSError) as error:
        raise aiohttp.ClientPayloadError(type(error).__name__) from error


# --- the log -----------------------------------------------------------------------------------

_sending: ContextVar[bool] = ContextVar("storage_providers_sending", default=False)


def _keep_addresses_out_of_the_log() -> None:
    """Have the library log our requests without their paths and without response headers.

    A lent client logs every URL at INFO, and httpcore every response's headers at DEBUG; the keys
    of Workers KV, which may hold values of documents, are part of both.
    """
    for name in ("httpx", "httpcore.http11", "httpcore.http2"):
        logger = logging.getLogger(name)
        if _without_addresses not in logger.filters:
            logger.addFilter(_without_addresses)


def _without_addresses(record: logging.LogRecord) -> bool:
    if not _sending.get():
        return True
    if record.name == "httpx" and isinstance(record.args, tuple):
        import httpx

        record.args = tuple(
            f"{each.scheme}://{each.host}/…" if isinstance(each, httpx.URL) else each
            for each in record.args
        )
    elif isinstance(record.msg, str) and not record.args:
        record.msg = record.msg.partition(" return_value=")[0]
    return True
