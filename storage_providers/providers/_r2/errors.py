"""What R2 and the connection say, as errors of the SDK: one table, and the kinds of broken calls.

Source of the codes: Cloudflare docs, r2/api/error-codes, and AWS, S3 API reference, error
responses (both read 2026-11). The service's own words are left out: they may quote what was sent.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

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
from storage_providers.resilience import NotSentError, retry_after_seconds

__all__ = ["CODES", "STATUSES", "Refusal", "broken", "misconfigured", "refused"]

Kind: TypeAlias = Literal[
    "authentication",
    "clock",
    "permission",
    "no_bucket",
    "wrong_place",
    "precondition",
    "contention",
    "too_many",
    "too_large",
    "metadata",
    "bad_key",
    "unsupported",
    "transient",
    "other",
]

CODES: Final[Mapping[str, Kind]] = {
    "Unauthorized": "authentication",
    "InvalidAccessKeyId": "authentication",
    "SignatureDoesNotMatch": "authentication",
    "ExpiredToken": "authentication",
    "InvalidToken": "authentication",
    "TokenRefreshRequired": "authentication",
    "AuthorizationHeaderMalformed": "authentication",
    "ExpiredRequest": "clock",
    "RequestTimeTooSkewed": "clock",
    "RequestExpired": "clock",
    "AccessDenied": "permission",
    "AllAccessDisabled": "permission",
    "NotEntitled": "permission",
    "NoSuchBucket": "no_bucket",
    "InvalidBucketName": "no_bucket",
    "PermanentRedirect": "wrong_place",
    "TemporaryRedirect": "wrong_place",
    "PreconditionFailed": "precondition",
    "ConditionalRequestConflict": "contention",
    "OperationAborted": "contention",
    "TooManyRequests": "too_many",
    "SlowDown": "too_many",
    "Throttling": "too_many",
    "ThrottlingException": "too_many",
    "RequestLimitExceeded": "too_many",
    "EntityTooLarge": "too_large",
    "MetadataTooLarge": "metadata",
    "InvalidObjectName": "bad_key",
    "KeyTooLongError": "bad_key",
    # Of a put alone: its version was not there. Elsewhere it is no error, there is nothing.
    "NoSuchKey": "precondition",
    "NotImplemented": "unsupported",
    "MethodNotAllowed": "unsupported",
    "InternalError": "transient",
    "ServiceUnavailable": "transient",
    "RequestTimeout": "transient",
    "ClientDisconnect": "transient",
    "IncompleteBody": "transient",
    "BadDigest": "transient",
    "InvalidDigest": "transient",
    "XAmzContentSHA256Mismatch": "transient",
}
"""Kinds by S3's code."""

STATUSES: Final[Mapping[int, Kind]] = {
    301: "wrong_place",
    302: "wrong_place",
    307: "wrong_place",
    308: "wrong_place",
    401: "authentication",
    403: "permission",
    # A service of S3 names what is missing, so this is another's answer.
    404: "wrong_place",
    405: "unsupported",
    408: "transient",
    409: "contention",
    412: "precondition",
    413: "too_large",
    414: "bad_key",
    429: "too_many",
    501: "unsupported",
}
"""Kinds by HTTP status, where the code is unknown or missing, as in the answer to a HEAD."""


class Refusal(NamedTuple):
    """What the service answered, and to what.

    Attributes:
        status: The HTTP status; 0 where one key among several was refused.
        code: S3's code; empty where there is none.
        headers: The answer's headers, names in lower case.
        bucket: The bucket that was asked.
        size_bytes: How large the body was that was sent.
        now_ms: This machine's time, milliseconds since 1970.
        endpoint: Who was asked, for messages.
    """

    status: int
    code: str
    headers: Mapping[str, str]
    bucket: str
    size_bytes: int = 0
    now_ms: int = 0
    endpoint: str = "this endpoint"

    @property
    def kind(self) -> Kind:
        """What sort of refusal it is."""
        # A 429 and a 412 are what they are, whatever code a proxy gives them.
        if self.status in (412, 429):
            return STATUSES[self.status]
        known = CODES.get(self.code) or STATUSES.get(self.status)
        return known or ("transient" if self.status >= 500 else "other")

    @property
    def said(self) -> str:
        """Status and code, for messages."""
        return " ".join(
            part for part in (str(self.status) if self.status else "", self.code) if part
        )


def refused(refusal: Refusal) -> StorageError:
    """The error that an answer stands for.

    Args:
        refusal: The answer.

    Returns:
        The error, for the caller to raise.
    """
    kind, said = refusal.kind, refusal.said
    if kind == "clock":
        return AuthenticationError(_clock(refusal))
    if kind == "too_large":
        return DocumentTooLargeError(
            f"R2 refused {refusal.size_bytes} bytes as too large ({said})",
            size_bytes=refusal.size_bytes,
        )
    if kind in ("too_many", "contention", "transient"):
        return _later(refusal)
    if kind == "no_bucket":
        return ConfigurationError(
            f"there is no bucket {refusal.bucket!r} at {refusal.endpoint} ({said}); make it with "
            "`storage-providers provision`, or set account and jurisdiction to the bucket's"
        )
    make, words = _PLAIN[kind]
    return make(
        words.format(said=said or "no code", bucket=refusal.bucket, endpoint=refusal.endpoint)
    )


_PLAIN: Final[Mapping[str, tuple[type[StorageError], str]]] = {
    "authentication": (
        AuthenticationError,
        "R2 does not take these credentials ({said}); check access_key_id, secret_access_key and "
        "session_token (new ones may take a minute until they work)",
    ),
    "permission": (
        PermissionDeniedError,
        "the credentials do not allow this in bucket {bucket!r} ({said}); the token needs "
        "'Object Read & Write' on it",
    ),
    "wrong_place": (
        ConfigurationError,
        "bucket {bucket!r} is not at {endpoint} ({said}); check account and jurisdiction, or "
        "endpoint_url",
    ),
    "precondition": (ConflictError, "the object is not as the put asked for ({said})"),
    "metadata": (DocumentTooLargeError, "R2 refused what is kept beside the object ({said})"),
    "bad_key": (
        InvalidArgumentError,
        "R2 refused the key, which is too long or has wrong characters ({said})",
    ),
    "unsupported": (UnsupportedOperationError, "the service can't do this ({said})"),
    "other": (StorageError, "R2 refused the request ({said})"),
}


def _later(refusal: Refusal) -> StorageError:
    wait = retry_after_seconds(refusal.headers, refusal.now_ms)
    if refusal.kind == "transient":
        return TransportError(
            f"R2 could not answer ({refusal.said}); try again", retry_after_seconds=wait
        )
    what = (
        "too many requests; R2 takes one write a second for each object"
        if refusal.kind == "too_many"
        else "another write to the object was under way, so this one was not carried out"
    )
    return RateLimitedError(f"{what} ({refusal.said})", retry_after_seconds=wait)


def _clock(refusal: Refusal) -> str:
    ours = datetime.fromtimestamp(refusal.now_ms / 1000, UTC)
    told = f"R2 takes the request's time for wrong ({refusal.said}): this machine's clock says "
    advice = "set the clock, best by NTP; R2 accepts 15 minutes"
    try:
        theirs = parsedate_to_datetime(refusal.headers.get("date", ""))
    except ValueError:
        return f"{told}{ours:%Y-%m-%d %H:%M:%S} UTC; {advice}"
    apart = (ours - theirs).total_seconds()
    word = "ahead" if apart > 0 else "behind"
    return (
        f"{told}{ours:%Y-%m-%d %H:%M:%S} UTC, R2's {theirs:%Y-%m-%d %H:%M:%S} UTC, so it is "
        f"{abs(apart):.0f} s {word}; {advice}"
    )


def broken(error: Exception, endpoint: str = "its endpoint") -> StorageError | None:
    """The error that a call stands for which got no proper answer.

    Args:
        error: What botocore or aiohttp raised.
        endpoint: Who was asked, for messages.

    Returns:
        `NotSentError` if the request surely was not carried out, `TransportError` if it may have
        been, `None` for an error of another sort.
    """
    import aiohttp

    # Neither has types.
    exceptions, parsers = import_module("botocore.exceptions"), import_module("botocore.parsers")
    name = type(error).__name__
    if isinstance(error, (exceptions.ConnectTimeoutError, exceptions.ProxyConnectionError)):
        return NotSentError(f"R2 could not be reached at {endpoint} ({name})")
    if isinstance(error, exceptions.SSLError):
        return NotSentError(
            f"no secure connection to {endpoint} could be made (TLS); check its address and "
            "certificate, and this machine's clock"
        )
    if isinstance(error, exceptions.EndpointConnectionError):
        # aiobotocore gives this name also to connections that broke after the request was sent.
        cause = cast(Any, error).kwargs.get("error")
        if isinstance(cause, (aiohttp.ClientConnectorError, socket.gaierror)):
            return NotSentError(f"R2 could not be reached at {endpoint} ({type(cause).__name__})")
        return TransportError("the connection to R2 broke")
    if isinstance(error, (exceptions.ReadTimeoutError, TimeoutError)):
        return TransportError("R2 did not answer in time")
    if isinstance(error, (exceptions.IncompleteReadError, aiohttp.ClientPayloadError)):
        return TransportError("R2's answer was cut off")
    if isinstance(error, parsers.ResponseParserError):
        return TransportError("R2's answer can't be understood")
    if isinstance(error, (exceptions.HTTPClientError, aiohttp.ClientError, OSError)):
        return TransportError(f"the connection to R2 broke ({name})")
    return misconfigured(error) if isinstance(error, exceptions.BotoCoreError) else None


def misconfigured(error: Exception) -> ConfigurationError:
    """The error that botocore's own stands for where it was asked for nothing unusual.

    Args:
        error: What botocore raised.
    """
    return ConfigurationError(
        f"boto's own configuration can't be used ({type(error).__name__}); see variables that "
        "begin with AWS_, and ~/.aws/config"
    )
