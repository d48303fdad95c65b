"""What a document's file holds: indented JSON, or one line of JSON and the encoded bytes.

A plain document (`.json`) is indented by two spaces, keys in the order they were given, with a
newline at the end. A document that a layer encoded (`.encoded`) has a first line
`{"encoding": …, "document": {…}}` with its visible part; its payload's bytes follow.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

import msgspec

from storage_providers._json import decode_object
from storage_providers.errors import InvalidDocumentError
from storage_providers.protocol import expiry_of

__all__ = ["Content", "parse", "render", "version_of", "with_id"]

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Some editors put it before UTF-8 text."""

_LARGE_EXPONENT: Final = re.compile(rb"[0-9][eE]\+?[0-9]{3}")
_MANY_DIGITS: Final = re.compile(rb"[0-9]{300}")
"""Signs of a number too large for a double: decoding fails where reading over it does not."""

MAX_NESTING: Final = 200
"""Deepest nesting of a document, as for those that are stored through the SDK."""


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


class _Fields(msgspec.Struct):
    id: str | msgspec.UnsetType = msgspec.UNSET
    expiresAt: str | None = None  # noqa: N815 - the name on disk


class _Header(msgspec.Struct):
    encoding: str
    document: msgspec.Raw


_fields = msgspec.json.Decoder(_Fields).decode
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
        return _parse_body(raw.removeprefix(_BYTE_ORDER_MARK), None, None)
    line, newline, payload = raw.partition(b"\n")
    if not newline:
        raise ValueError("the line that says how the document is encoded is cut off")
    try:
        header = _header(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the first line is damaged ({error})") from None
    return _parse_body(bytes(header.document), header.encoding, payload)


def _parse_body(text: bytes, encoding: str | None, payload: bytes | None) -> Content:
    try:
        if not text.isascii():
            text.decode()
        body = _format(text, indent=-1)
        fields = _fields(body)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a JSON document ({error})") from None
    if _LARGE_EXPONENT.search(body) or (len(body) > 300 and _MANY_DIGITS.search(body)):
        decode_object(body)
    if body.count(b"[") + body.count(b"{") > MAX_NESTING and _nesting(body) > MAX_NESTING:
        raise ValueError(f"nested deeper than {MAX_NESTING} levels")
    try:
        expires_at_ms = (
            None if fields.expiresAt is None else expiry_of({"expiresAt": fields.expiresAt})
        )
    except InvalidDocumentError as error:
        raise ValueError(error.message) from None
    item_id = None if isinstance(fields.id, msgspec.UnsetType) else fields.id
    return Content(item_id, body, encoding, payload, expires_at_ms)


def with_id(body: bytes, item_id: str) -> bytes:
    """A document that has no `id`, with it."""
    rest = body[1:]
    return b'{"id":' + msgspec.json.encode(item_id) + (b"" if rest == b"}" else b",") + rest


def _nesting(body: bytes) -> int:
    """How deep the arrays and objects of valid JSON go."""
    depth = deepest = 0
    for token in re.finditer(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', body):
        if token[0] in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in (b"]", b"}"):
            depth -= 1
    return deepest
