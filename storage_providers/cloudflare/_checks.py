"""What goes into addresses and headers, checked before anything is sent."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from storage_providers._hosts import is_loopback
from storage_providers._secrets import Secret
from storage_providers.errors import ConfigurationError, InvalidArgumentError

__all__ = ["BASE_URL", "checked_id", "checked_token", "checked_url", "encoded", "quoted"]

BASE_URL: Final = "https://api.cloudflare.com/client/v4"
"""Where the API is. Source: Cloudflare docs, fundamentals/api/how-to/make-api-calls (2026-11)."""


# --- checks ------------------------------------------------------------------------------------


def quoted(part: str) -> str:
    """One part of a path, percent-encoded whole: a `/` in it does not end it.

    Raises:
        InvalidArgumentError: It is not Unicode.
    """
    try:
        return quote(part, safe="")
    except UnicodeEncodeError:
        pass
    raise InvalidArgumentError("a key holds a lone surrogate and is not valid Unicode")


def encoded(value: object) -> bytes:
    """A body of JSON.

    Raises:
        InvalidArgumentError: Something in it is not JSON, or text that is not Unicode.
    """
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        # The errors of codecs hold the text.
        reason = type(error).__name__
    raise InvalidArgumentError(f"what was to be sent can't be written as JSON ({reason})")


def checked_id(name: str, value: str) -> str:
    """An id that stands in a path as it is.

    Raises:
        ConfigurationError: It is empty or has other characters than ids have.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise ConfigurationError(
            f"{name} is not an id: 1 to 64 letters, digits, - or _; copy it from the dashboard"
        )
    return value


def checked_token(token: Secret | str) -> Secret:
    secret = token if isinstance(token, Secret) else Secret(token)
    text = secret.reveal()
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ConfigurationError(
            "the API token is empty or holds blanks or other characters that no token has"
        )
    return secret


def checked_url(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError("base_url is not a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(f"base_url is not a URL such as {BASE_URL}")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigurationError("base_url holds more than scheme, host, port and path")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(
            "base_url is plain http, which is refused except to this machine; use https"
        )
    return base_url.rstrip("/")
