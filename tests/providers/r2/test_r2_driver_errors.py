"""What R2 and the connection say, as errors of the SDK: the whole table, walked."""

from __future__ import annotations

import asyncio
import ssl
from importlib import import_module
from pathlib import Path

import aiohttp
import pytest

from storage_providers.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    DocumentTooLargeError,
    InvalidArgumentError,
    PermissionDeniedError,
    RateLimitedError,
    StorageError,
    TransportError,
    UnsupportedOperationError,
)
from storage_providers.providers._r2.errors import CODES, STATUSES, Kind, Refusal, broken, refused
from storage_providers.resilience import NotSentError
from tests.providers.r2.r2_driver import NO_WAITING, Scripted, answer, opened
from tests.servers.certificate import make_certificate

exceptions = import_module("botocore.exceptions")
parsers = import_module("botocore.parsers")

KINDS: dict[Kind, type[StorageError]] = {
    "authentication": AuthenticationError,
    "clock": AuthenticationError,
    "permission": PermissionDeniedError,
    "no_bucket": ConfigurationError,
    "wrong_place": ConfigurationError,
    "precondition": ConflictError,
    "contention": RateLimitedError,
    "too_many": RateLimitedError,
    "too_large": DocumentTooLargeError,
    "metadata": DocumentTooLargeError,
    "bad_key": InvalidArgumentError,
    "unsupported": UnsupportedOperationError,
    "transient": TransportError,
    "other": StorageError,
}


def refusal(status: int, code: str = "", **headers: str) -> Refusal:
    """An answer to a request of 7 bytes."""
    return Refusal(status, code, headers, "bucket", 7, NO_WAITING.now_ms())


@pytest.mark.parametrize("code", CODES)
def test_every_code(code: str) -> None:
    """Each code of the table makes its error, whatever the status, and says the code."""
    for status in (400, 404, 503, 0):
        error = refused(refusal(status, code))
        assert type(error) is KINDS[CODES[code]]
        assert code in str(error)
        assert "{" not in str(error)
        assert "  " not in str(error)


@pytest.mark.parametrize("status", [*STATUSES, 400, 418, 500, 502, 503, 504, 520, 599])
def test_every_status_without_a_code(status: int) -> None:
    """The status decides where no code is known, and 5xx is the service's own trouble."""
    kind: Kind = STATUSES.get(status, "transient" if status >= 500 else "other")
    for code in ("", "NeverHeardOf"):
        error = refused(refusal(status, code))
        assert type(error) is KINDS[kind]
        assert str(status) in str(error)


def test_every_kind_is_made_by_something() -> None:
    """No error that nobody raises."""
    assert {*CODES.values(), *STATUSES.values(), "other"} == set(KINDS)


@pytest.mark.parametrize("code", ["InternalError", "AccessDenied", "Unauthorized"])
def test_412_and_429_are_what_they_are(code: str) -> None:
    """Whatever code stands beside them."""
    assert type(refused(refusal(412, code))) is ConflictError
    assert type(refused(refusal(429, code))) is RateLimitedError


def test_waits_that_are_asked_for_are_kept() -> None:
    """`Retry-After`, in seconds or as a date, of refusals and of failures."""
    limited = refused(refusal(429, "TooManyRequests", **{"retry-after": "7"}))
    assert isinstance(limited, RateLimitedError)
    assert limited.retry_after_seconds == 7
    failed = refused(
        refusal(
            503,
            **{
                "retry-after": "Sat, 21 Nov 2026 09:00:30 GMT",
                "date": "Sat, 21 Nov 2026 09:00:00 GMT",
            },
        )
    )
    assert isinstance(failed, TransportError)
    assert failed.retry_after_seconds == 30


@pytest.mark.parametrize(
    ("date", "words"),
    [
        ("Sat, 21 Nov 2026 08:40:00 GMT", "1200 s ahead"),
        ("Sat, 21 Nov 2026 09:20:00 GMT", "1200 s behind"),
        ("", "09:00:00 UTC"),
        ("yesterday", "09:00:00 UTC"),
    ],
)
def test_a_wrong_clock_is_told_with_both_times(date: str, words: str) -> None:
    """A signature's time is this machine's, so the message compares the two."""
    error = refused(refusal(403, "RequestTimeTooSkewed", date=date))
    assert words in str(error)
    assert "set the clock" in str(error)


def test_a_missing_bucket_is_told_with_what_to_do() -> None:
    """The name, and the command that makes it; a missing object is nothing of the sort."""

    async def main() -> None:
        missing = answer(404, "NoSuchBucket")
        async with Scripted(missing) as server, opened(server.endpoint) as store:
            with pytest.raises(ConfigurationError, match=r"'bucket'.*storage-providers provision"):
                await store.get(["k"])
            with pytest.raises(ConfigurationError, match="'bucket'"):
                await store.list("")
            with pytest.raises(ConfigurationError, match="'bucket'"):
                await store.delete(["k"])
            with pytest.raises(ConfigurationError, match="'bucket'"):
                await store.delete(["k", "l"])

    asyncio.run(main())


def test_the_words_of_the_service_are_left_out() -> None:
    """They may quote what was sent."""

    async def main() -> None:
        said = answer(400, "SomethingNew")
        async with Scripted(said) as server, opened(server.endpoint) as store:
            (error,) = await store.get(["k"])
            assert type(error) is StorageError
            assert "400 SomethingNew" in str(error)
            assert "words of the service" not in str(error)
            assert error.__cause__ is not None
            assert len(server.seen) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (exceptions.ConnectTimeoutError(endpoint_url="u"), NotSentError, "reached"),
        (exceptions.ProxyConnectionError(proxy_url="u"), NotSentError, "reached"),
        (exceptions.SSLError(endpoint_url="u", error="e"), NotSentError, "TLS"),
        (exceptions.ReadTimeoutError(endpoint_url="u"), TransportError, "in time"),
        (TimeoutError(), TransportError, "in time"),
        (exceptions.ConnectionClosedError(endpoint_url="u"), TransportError, "broke"),
        (exceptions.HTTPClientError(error="e"), TransportError, "broke"),
        (exceptions.ResponseStreamingError(error="e"), TransportError, "broke"),
        (
            exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
            TransportError,
            "cut off",
        ),
        (aiohttp.ClientPayloadError(), TransportError, "cut off"),
        (aiohttp.ServerDisconnectedError(), TransportError, "broke"),
        (parsers.ResponseParserError(), TransportError, "understood"),
        (ConnectionResetError(), TransportError, "broke"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_way_to_get_no_answer(error: Exception, kind: type[StorageError], words: str) -> None:
    """`NotSentError` only where the request surely was not carried out."""
    made = broken(error)
    assert type(made) is kind
    assert words in str(made)


def test_an_endpoint_error_is_judged_by_its_cause() -> None:
    """Aiobotocore gives one name to connections that were not made and to those that broke."""
    broke = exceptions.EndpointConnectionError(endpoint_url="u", error=aiohttp.ClientOSError(104))
    assert type(broken(broke)) is TransportError
    key = aiohttp.client_reqrep.ConnectionKey("h", 1, False, True, None, None, None)
    cause = aiohttp.ClientConnectorError(key, OSError(111, "refused"))
    refused_connection = exceptions.EndpointConnectionError(endpoint_url="u", error=cause)
    assert type(broken(refused_connection)) is NotSentError


def test_errors_of_programs_are_not_dressed_up() -> None:
    """A mistake in the code stays visible."""
    assert broken(KeyError("x")) is None


def test_a_certificate_that_is_not_trusted_sends_nothing(tmp_path: Path) -> None:
    """The handshake fails before the request, and says that it was TLS."""
    files = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)

    async def main() -> None:
        async def nobody(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(nobody, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        async with server, opened(f"https://127.0.0.1:{port}", attempts=1) as store:
            (error,) = await store.get(["k"])
            assert type(error) is NotSentError
            assert "TLS" in str(error)

    asyncio.run(main())


def test_too_many_writes_to_one_key_are_waited_for() -> None:
    """R2 takes one a second for each key: at least that long is waited between attempts."""
    waits: list[float] = []

    async def main() -> None:
        limited = answer(429, "TooManyRequests")
        async with (
            Scripted(limited, limited, limited, answer(200, body=b"", ETag='"v"')) as server,
            opened(server.endpoint) as store,
        ):
            assert store.resilience.retry.min_rate_limited_delay_seconds == 1.0
            for number in (1, 2, 3):
                error = RateLimitedError("slow")
                waits.append(store.resilience.retry.delay_seconds(number, error, 0.0))
            (found,) = await store.get(["k"])
            assert not isinstance(found, StorageError)
            assert len(server.seen) == 4
            assert store.resilience.breaker.status.state == "closed"

    asyncio.run(main())
    assert min(waits) >= 1.0
