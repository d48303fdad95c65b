"""What a document's file holds: indented JSON, or one line of JSON and the encoded bytes.

A plain document (`.json`) is indented by two spaces, keys in the order they were given, with a
newline at the end. A document that a layer encoded (`.encoded`) has a first line
`{"encoding": …, "document": {…}}` with its visible part; its payload's bytes follow.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from storage_providers.providers._bodies import parse_body

__all__ = ["Content", "parse", "render", "version_of"]


class Content(NamedTuple):
    """A document as its file holds it.

    Attributes:
        item_id: The `id` inside; `None` if there is none.
        body: The document as compact JSON.
        encoding: Name of the payload's encoding.
        payload: The encoded bytes, exactly when `encoding` is set.
        expires_at_ms: When it expires, milliseconds since 1970.
    """

    item_id: str | None
    body: bytes
    encoding: str | None
    payload: bytes | None
    expires_at_ms: int | None


class _Header(msgspec.Struct):
    encoding: str
    document: msgspec.Raw


_header = msgspec.json.Decoder(_Header).decode
_format = msgspec.json.format


def version_of(raw: bytes) -> str:
    """The version of a document: a hash of its file's bytes, so hand edits change it too."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def render(body: bytes, encoding: str | None = None, payload: bytes | None = None) -> bytes:
    """The bytes of a document's file.

    Args:
        body: The document, or its visible part, as compact JSON.
        encoding: Name of the payload's encoding.
        payload: The encoded bytes, exactly when `encoding` is set.
    """
    if encoding is None:
        return _format(body, indent=2) + b"\n"
    header = msgspec.json.encode({"encoding": encoding, "document": msgspec.Raw(body)})
    return header + b"\n" + (payload or b"")


def parse(raw: bytes, *, encoded: bool) -> Content:
    """Read the bytes of a document's file.

    Args:
        raw: All bytes of the file.
        encoded: Whether it is a file of an encoded document.

    Raises:
        ValueError: It is damaged; the message says how, without its content.
    """
    if not raw:
        raise ValueError("the file is empty")
    if not encoded:
        return _content(raw, None, None)
    line, newline, payload = raw.partition(b"\n")
    if not newline:
        raise ValueError("the line that says how the document is encoded is cut off")
    try:
        header = _header(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the first line is damaged ({error})") from None
    return _content(bytes(header.document), header.encoding, payload)


def _content(text: bytes, encoding: str | None, payload: bytes | None) -> Content:
    item_id, body, expires_at_ms = parse_body(text)
    return Content(item_id, body, encoding, payload, expires_at_ms)
