"""Objects as puts and answers of S3: what is checked before a byte moves, and what is read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from storage_providers.errors import (
    ConflictError,
    CorruptItemError,
    DocumentTooLargeError,
    InvalidArgumentError,
    ItemExistsError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import ANY, IF_ABSENT, IfVersion
from storage_providers.providers._objects import Metadata, ObjectLimits, ObjectPut

__all__ = [
    "LIMITS",
    "MAX_METADATA_BYTES",
    "MAX_OBJECT_BYTES",
    "beginning_of",
    "checked_key",
    "conflict",
    "put_arguments",
    "read_metadata",
]

LIMITS: Final = ObjectLimits(
    service="R2",
    max_key_bytes=1024,
    conditional_put=True,
    list_page=1000,
    delete_batch=1000,
    starts_anywhere=True,
)
"""Source: Cloudflare docs, r2/platform/limits and r2/api/s3/api (read 2026-11)."""

MAX_METADATA_BYTES: Final = 8_192
"""Largest metadata, bytes of names and values. Source: the same limits."""

MAX_OBJECT_BYTES: Final = 5 * 1024**3 - 5 * 1024**2
"""Largest body of one PUT, bytes; more needs parts. Source: the same limits: just under 5 GiB."""


def checked_key(key: str) -> str:
    """A key that R2 accepts.

    Args:
        key: The key.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It is longer than R2 accepts, empty or no Unicode text.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidArgumentError("a key holds a lone surrogate, no Unicode text") from None
    if not 0 < size <= LIMITS.max_key_bytes:
        raise InvalidArgumentError(
            f"the key is {size} bytes long, R2 accepts 1 to {LIMITS.max_key_bytes}; shorten names"
        )
    return key


def beginning_of(text: str) -> str:
    """As much of a text as a key can hold.

    Every key behind the text is behind this too. Of the others, only those are that begin with it.

    Args:
        text: Any text, perhaps longer than a key.

    Returns:
        The text, or its beginning.
    """
    data = text.encode()
    limit = LIMITS.max_key_bytes
    return text if len(data) <= limit else data[:limit].decode(errors="ignore")


def put_arguments(put: ObjectPut) -> dict[str, object]:
    """A put as arguments of `put_object`, without key and body.

    Args:
        put: What to store.

    Returns:
        The arguments.

    Raises:
        DocumentTooLargeError: R2 takes no such body in one request.
        InvalidArgumentError: What is to be kept beside it is too long, or no text for headers.
        UnsupportedOperationError: Its condition is not one that R2 judges.
    """
    size = len(put.data)
    if size > MAX_OBJECT_BYTES:
        raise DocumentTooLargeError(
            f"the object is {size} bytes, R2 accepts {MAX_OBJECT_BYTES} in one request",
            size_bytes=size,
            limit_bytes=MAX_OBJECT_BYTES,
        )
    arguments: dict[str, object] = {"Metadata": _kept(put.metadata)}
    if size:
        plain = put.metadata.encoding is None
        arguments["ContentType"] = "application/json" if plain else "application/octet-stream"
    if isinstance(put.condition, IfVersion):
        arguments["IfMatch"] = f'"{put.condition.version}"'
    elif put.condition is IF_ABSENT:
        arguments["IfNoneMatch"] = "*"
    elif put.condition is not ANY:
        raise UnsupportedOperationError(f"objects are not put under the condition {put.condition}")
    return arguments


def _kept(metadata: Metadata) -> dict[str, str]:
    visible = metadata.visible_bytes
    told = {
        "token": metadata.token,
        "encoding": metadata.encoding,
        "visible-bytes": None if visible is None else str(visible),
    }
    kept = {name: value for name, value in told.items() if value is not None}
    for name, value in kept.items():
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise InvalidArgumentError(
                f"metadata {name!r} holds characters that a header can't; use visible ASCII"
            )
    size = sum(len(name) + len(value) for name, value in kept.items())
    if size > MAX_METADATA_BYTES:
        raise InvalidArgumentError(
            f"metadata is {size} bytes, R2 accepts {MAX_METADATA_BYTES} for each object"
        )
    return kept


def read_metadata(key: str, kept: Mapping[str, str], size_bytes: int) -> Metadata:
    """What is kept beside an object.

    Args:
        key: Its key, for the error.
        kept: Its metadata as S3 gives it.
        size_bytes: How large the object is.

    Returns:
        Ours of it; of an object that another program wrote, nothing.

    Raises:
        CorruptItemError: `visible-bytes` is no number, or more than the object has.
    """
    if not kept:
        return Metadata()
    told, visible = kept.get("visible-bytes"), None
    if told is not None:
        visible = int(told) if re.fullmatch("[0-9]{1,15}", told) else -1
        if not 0 <= visible <= size_bytes:
            raise CorruptItemError(
                f"its metadata 'visible-bytes' is no number up to the {size_bytes} bytes it has",
                source=key,
            )
    return Metadata(token=kept.get("token"), encoding=kept.get("encoding"), visible_bytes=visible)


def conflict(put: ObjectPut) -> ConflictError:
    """The error of a put whose condition does not hold.

    Args:
        put: The put.

    Returns:
        The error, for the caller to raise.
    """
    if isinstance(put.condition, IfVersion):
        return VersionMismatchError(
            "the object has another version, or is gone", expected_version=put.condition.version
        )
    return ItemExistsError("there is such an object already")
