"""What rides in the metadata of a key, and objects as pairs of Workers KV.

The metadata holds the token of the write and, where it fits, the whole document **as a JSON
string**: JavaScript carries metadata, and would change 2^53+1 and 1.0 in an object. So a listing
of small documents needs no reads. The value always is the whole document too.

Bulk reads give text only, so bytes that are no UTF-8 are kept as base64; the metadata says so.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from storage_providers.cloudflare.kv import KVEntry, KVFound, KVKey
from storage_providers.errors import CorruptItemError, DocumentTooLargeError, InvalidArgumentError
from storage_providers.providers._objects import Metadata, ObjectEntry, ObjectPut, StoredObject
from storage_providers.providers._objects.entries import token_time_ms

__all__ = [
    "MAX_CARRIED_BYTES",
    "MAX_METADATA_BYTES",
    "MAX_VALUE_BYTES",
    "may_be_damaged",
    "pair",
    "read_found",
    "read_line",
]

MAX_VALUE_BYTES: Final = 25 * 1024 * 1024
"""Largest value, bytes. Source: Cloudflare docs, kv/platform/limits (read 2026-11)."""

MAX_METADATA_BYTES: Final = 1_024
"""Largest metadata, bytes of JSON. Source: the same limits."""

MAX_CARRIED_BYTES: Final = 900
"""Larger documents are not put into metadata. Ours: what JSON adds to text, and the token, need
the rest; whether all of it fits is found by encoding it."""

_DAMAGED: Final = "\ufffd"

_encode = msgspec.json.Encoder().encode


def pair(put: ObjectPut, expiration: int | None) -> KVEntry:
    """An object as a pair to store.

    Args:
        put: The object; an index entry has neither bytes nor token.
        expiration: When the service removes it, seconds since 1970.

    Raises:
        DocumentTooLargeError: KV takes no such value.
        InvalidArgumentError: What is to be kept beside it is too long.
    """
    metadata = put.metadata
    if metadata.token is None and not put.data:
        return KVEntry(key=put.key, value="", expiration=expiration)
    told: dict[str, object] = {"token": metadata.token}
    if metadata.encoding is not None:
        told |= {"encoding": metadata.encoding, "visible": metadata.visible_bytes}
    try:
        text = put.data.decode()
    except UnicodeDecodeError:
        text = base64.b64encode(put.data).decode()
        told["base64"] = True
    else:
        carried = {**told, "body": text}
        small = len(put.data) <= MAX_CARRIED_BYTES and metadata.encoding is None
        if small and len(_encode(carried)) <= MAX_METADATA_BYTES:
            told = carried
    size = len(text) if text.isascii() else len(text.encode())
    if size > MAX_VALUE_BYTES:
        raise DocumentTooLargeError(
            f"the value is {size} bytes as KV keeps it, KV accepts {MAX_VALUE_BYTES}",
            size_bytes=size,
            limit_bytes=MAX_VALUE_BYTES,
        )
    if len(_encode(told)) > MAX_METADATA_BYTES:
        raise InvalidArgumentError(
            f"the metadata is {len(_encode(told))} bytes, KV accepts {MAX_METADATA_BYTES}; use a "
            "shorter name of the encoding"
        )
    return KVEntry(key=put.key, value=text, metadata=told, expiration=expiration)


def read_found(key: str, found: KVFound) -> StoredObject:
    """A value that was read, as an object.

    Raises:
        CorruptItemError: Its metadata says base64, and it is not.
    """
    told = _ours(found.metadata)
    if told is None:
        return foreign(key, found.value.encode())
    data = found.value.encode()
    if told.get("base64"):
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error:
            raise CorruptItemError(
                f"{key}: its metadata says base64 and its value is not; put the document anew or "
                "delete it",
                source=key,
            ) from None
    return _stored(key, told, data)


def foreign(key: str, value: bytes) -> StoredObject:
    """A value that another program wrote, as an object."""
    version = "x" + hashlib.blake2b(value, digest_size=10).hexdigest()
    return StoredObject(key=key, version=version, data=value)


def may_be_damaged(found: KVFound) -> bool:
    """Whether a value of another program may hold bytes that a bulk read does not give."""
    return _DAMAGED in found.value and _ours(found.metadata) is None


def read_line(line: KVKey) -> ObjectEntry:
    """A line of a listing; with the object itself where its metadata holds it."""
    told = _ours(line.metadata)
    if told is None:
        return ObjectEntry(line.name, "")
    body = told.get("body")
    stored = _stored(line.name, told, body.encode()) if isinstance(body, str) else None
    return ObjectEntry(line.name, str(told["token"]), stored)


def _ours(metadata: Any) -> Mapping[str, Any] | None:
    """Metadata as this SDK writes it; `None`: another program's."""
    if not isinstance(metadata, dict):
        return None
    told = cast("dict[str, Any]", metadata)
    token = told.get("token")
    return told if isinstance(token, str) and token_time_ms(token) is not None else None


def _stored(key: str, told: Mapping[str, Any], data: bytes) -> StoredObject:
    token, encoding, visible = told["token"], told.get("encoding"), told.get("visible")
    return StoredObject(
        key=key,
        version=token,
        data=data,
        metadata=Metadata(
            token=token,
            encoding=encoding if isinstance(encoding, str) else None,
            visible_bytes=visible if isinstance(visible, int) else None,
        ),
    )
