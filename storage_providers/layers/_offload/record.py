"""What stands beside a document in the place of what left it: the payload of an offloaded item."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from storage_providers.layers._offload.layout import Layout, join

__all__ = ["ENCODING", "Record", "Reference", "digest_of", "parts_of", "whole"]

ENCODING: Final = "offload"
"""The encoding of every document that this layer stored with a record, and of no other."""


class Reference(msgspec.Struct, frozen=True):
    """Where an object is, and what it must hold.

    Attributes:
        collection: Its collection at the provider of objects.
        id: Its id there.
        size_bytes: How long its content is.
        digest: The content's BLAKE2b with 20 bytes, in hexadecimal.
    """

    collection: str
    id: str
    size_bytes: int
    digest: str


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was stored of a document and where.

    Attributes:
        object: What left; `None`: nothing did, the record only guards the document's encoding.
        document_bytes: How much of the object is the document's other half; the rest is payload.
        encoding: The encoding that the document was given from above this layer.
        payload_left: Whether the payload from above is in the object, not behind the record.
        layout: The rule by which the document was split.
    """

    object: Reference | None = None
    document_bytes: int = 0
    encoding: str | None = None
    payload_left: bool = False
    layout: Layout = Layout()

    def encode(self, payload: bytes | None) -> bytes:
        """The record as bytes, with the payload from above behind it unless that left."""
        inline = b"" if payload is None or self.payload_left else payload
        return msgspec.json.encode(self) + b"\n" + inline


def parts_of(stored: bytes) -> tuple[Record, bytes]:
    """A record and the payload behind it.

    Raises:
        msgspec.MsgspecError: It is no record.
    """
    text, _, inline = stored.partition(b"\n")
    return msgspec.json.decode(text, type=Record), inline


def whole(
    stays: bytes, record: Record, inline: bytes, content: bytes | None
) -> tuple[bytes, bytes | None]:
    """The body and the payload that were put.

    Args:
        stays: The body as stored.
        record: The document's record.
        inline: What stood behind the record.
        content: The object's content; `None`: it is not needed.

    Raises:
        msgspec.MsgspecError: The halves are no JSON.
    """
    body, payload = stays, None if record.encoding is None else inline
    if content is not None:
        if record.document_bytes:
            body = join(stays, content[: record.document_bytes])
        if record.payload_left:
            payload = content[record.document_bytes :]
    return body, payload


def digest_of(content: bytes) -> str:
    """What a reference says of a content."""
    return hashlib.blake2b(content, digest_size=20).hexdigest()
