"""Which bucket, where it is, with which credentials and how patiently: checked at once."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from storage_providers._hosts import is_loopback
from storage_providers._secrets import Secret
from storage_providers.errors import ConfigurationError
from storage_providers.resilience import CONCURRENCY

__all__ = ["CONNECT_SECONDS", "DEADLINE_SECONDS", "READ_SECONDS", "Jurisdiction", "R2Config"]

Jurisdiction: TypeAlias = Literal["eu", "fedramp", "us"]
"""Where data has to stay. Source: Cloudflare docs, r2/reference/data-location, and its changelog of
2026-08-17 for `us` (read 2026-11)."""

CONNECT_SECONDS: Final = 10.0
"""How long connecting may take. Ours: three lost packets are resent within 7 s."""

READ_SECONDS: Final = 30.0
"""How long an answer, or the next part of it, may be waited for. Ours."""

DEADLINE_SECONDS: Final = 60.0
"""How long one object may take, with all that is tried again: also the most, since processes reckon
with it when they take an index for settled (`WRITE_SECONDS`). Ours."""

MAX_CONCURRENCY: Final = 1024
"""Most connections. Ours: a process may often open no more than 1,024 files."""

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
"""Source: AWS, S3 user guide, bucket naming rules (read 2026-11)."""

_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
"""What a name must not look like, by the same source."""

_VISIBLE = re.compile(r"[!-~]*")
"""What stands in headers: visible ASCII."""

_REGION = re.compile(r"(?![0-9]+$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
"""What botocore takes: a label of a host's name."""

_ACCOUNT = re.compile(r"[0-9a-fA-F]{32}")
_JURISDICTIONS = (None, "eu", "fedramp", "us")


class R2Config(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about a bucket before it is opened.

    Attributes:
        bucket: Its name.
        account_id: The account's id; gives the endpoint.
        jurisdiction: The bucket's, if it has one: it is reachable only at that endpoint.
        endpoint_url: The endpoint itself, instead of `account_id`.
        access_key_id: Id of the API token.
        secret_access_key: Its secret.
        session_token: Of temporary credentials.
        region: What requests are signed for. Source: Cloudflare docs, r2/api/s3/api, `auto`.
        concurrency: Most requests in flight, and most connections.
        connect_timeout_seconds: How long connecting may take.
        read_timeout_seconds: How long an answer, or the next part of it, may be waited for.
        deadline_seconds: How long one object or page may take, with all that is tried again.

    Raises:
        ConfigurationError: Something is missing, contradictory or not of that form.
    """

    bucket: str
    account_id: str | None = None
    jurisdiction: Jurisdiction | None = None
    endpoint_url: str | None = None
    access_key_id: Secret | str | None = None
    secret_access_key: Secret | str | None = None
    session_token: Secret | str | None = None
    region: str = "auto"
    concurrency: int = CONCURRENCY
    connect_timeout_seconds: float = CONNECT_SECONDS
    read_timeout_seconds: float = READ_SECONDS
    deadline_seconds: float = DEADLINE_SECONDS

    def __post_init__(self) -> None:
        for name in ("access_key_id", "secret_access_key", "session_token"):
            value = getattr(self, name)
            if isinstance(value, str):
                msgspec.structs.force_setattr(self, name, Secret(value))
            if value and not _VISIBLE.fullmatch(getattr(self, name).reveal()):
                raise ConfigurationError(
                    f"{name} holds a blank, a control character or a letter that is not ASCII; "
                    "copy it again, without an end of line"
                )
        if not _REGION.fullmatch(self.region):
            raise ConfigurationError(
                f"region is {self.region!r}; it is letters, digits and hyphens: 'auto' on R2"
            )
        if not _BUCKET.fullmatch(self.bucket) or _ADDRESS.fullmatch(self.bucket):
            raise ConfigurationError(
                f"bucket is {self.bucket!r}; names have 3 to 63 lower-case letters, digits and "
                "hyphens, and no hyphen at their ends"
            )
        if not 1 <= self.concurrency <= MAX_CONCURRENCY:
            raise ConfigurationError(
                f"concurrency is {self.concurrency}; it must be from 1 to {MAX_CONCURRENCY}"
            )
        for name in ("connect_timeout_seconds", "read_timeout_seconds", "deadline_seconds"):
            seconds = getattr(self, name)
            if not 0 < seconds < float("inf"):
                raise ConfigurationError(f"{name} is {seconds}; it must be above 0")
        if self.deadline_seconds > DEADLINE_SECONDS:
            raise ConfigurationError(
                f"deadline_seconds is {self.deadline_seconds}, the most is {DEADLINE_SECONDS:g}: "
                "other processes take it that no write arrives later"
            )

    def check_reachable(self) -> None:
        """See whether a client of our own can be made from this.

        Raises:
            ConfigurationError: aioboto3, credentials or the endpoint are missing or wrong.
        """
        need_aioboto3()
        self.endpoint()
        missing = [
            name for name in ("access_key_id", "secret_access_key") if not getattr(self, name)
        ]
        if missing:
            raise ConfigurationError(
                f"no {' and no '.join(missing)} given: R2 takes no unsigned request"
            )

    def endpoint(self) -> str:
        """The address of the service, without the bucket and without a `/` at its end."""
        if self.jurisdiction not in _JURISDICTIONS:
            raise ConfigurationError(
                f"jurisdiction is {self.jurisdiction!r}; it is None, 'eu', 'fedramp' or 'us'"
            )
        if self.endpoint_url is not None:
            if self.account_id is not None or self.jurisdiction is not None:
                raise ConfigurationError(
                    "endpoint_url is given, so account_id and jurisdiction must not be: they are "
                    "parts of it"
                )
            endpoint = checked_endpoint(self.endpoint_url)
            if urlsplit(endpoint).path.endswith(f"/{self.bucket}"):
                # As the dashboard shows it. Objects would go astray, and listings fail.
                raise ConfigurationError(
                    f"endpoint_url ends with the bucket's name, /{self.bucket}; leave that out"
                )
            return endpoint
        if "." in self.bucket:
            # Source: Cloudflare docs, r2/buckets/create-buckets (read 2026-11).
            raise ConfigurationError(
                f"bucket is {self.bucket!r}; names on R2 have no dots, those of another S3 server "
                "may: give its endpoint_url"
            )
        if self.account_id is None or not _ACCOUNT.fullmatch(self.account_id):
            raise ConfigurationError(
                "neither endpoint_url nor an account_id of 32 hexadecimal digits is given; the "
                "dashboard shows both beside the buckets"
            )
        part = "" if self.jurisdiction is None else f".{self.jurisdiction}"
        return f"https://{self.account_id.lower()}{part}.r2.cloudflarestorage.com"


def need_aioboto3() -> None:
    """Raise `ConfigurationError` where aioboto3 is not installed; does not load it."""
    if find_spec("aioboto3") is None:
        raise ConfigurationError("CloudflareR2Provider needs: pip install 'storage-providers[r2]'")


def checked_endpoint(url: str) -> str:
    """An endpoint that may be talked to.

    Args:
        url: Its address; a path is kept.

    Returns:
        The address without a `/` at its end.

    Raises:
        ConfigurationError: It is no address, holds credentials or a query, or is plain http to
            another machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("https", "http") or not host or re.search(r"[\s\x00-\x20\x7f]", url):
        raise ConfigurationError(
            "endpoint_url is no URL such as https://ACCOUNT.r2.cloudflarestorage.com"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("endpoint_url holds credentials; they are arguments of their own")
    if parts.query or parts.fragment:
        raise ConfigurationError("endpoint_url has a query or a fragment; leave it out")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(
            f"endpoint_url is plain http to {host}, which is refused except to this machine; "
            "use https"
        )
    return url.rstrip("/")
