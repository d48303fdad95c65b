"""What a document's bytes say, wherever people and other programs can write them too."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from storage_providers._json import decode_object
from storage_providers.errors import InvalidDocumentError
from storage_providers.protocol import expiry_of

__all__ = ["MAX_NESTING", "Body", "parse_body", "with_id"]

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Some editors put it before UTF-8 text."""

_LARGE_EXPONENT: Final = re.compile(rb"[0-9][eE]\+?[0-9]{3}")
_MANY_DIGITS: Final = re.compile(rb"[0-9]{300}")
"""Signs of a number too large for a double: decoding fails where reading over it does not."""

MAX_NESTING: Final = 200
"""Deepest nesting of a document, as for those that are stored through the SDK."""


class Body(NamedTuple):
    """A document as its bytes hold it.

    Attributes:
        item_id: The `id` inside; `None` if there is none.
        body: The document as compact JSON.
        expires_at_ms: When it expires, milliseconds since 1970.
    """

    item_id: str | None
    body: bytes
    expires_at_ms: int | None


class _Fields(msgspec.Struct):
    id: str | msgspec.UnsetType = msgspec.UNSET
    expiresAt: str | None = None  # noqa: N815 - the name on disk


_fields = msgspec.json.Decoder(_Fields).decode
_format = msgspec.json.format


def parse_body(raw: bytes) -> Body:
    """Read a document, however it is laid out.

    Args:
        raw: A JSON object, perhaps indented, perhaps with a byte order mark.

    Raises:
        ValueError: It is damaged; the message says how, without its content.
    """
    text = raw.removeprefix(_BYTE_ORDER_MARK)
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
    return Body(item_id, body, expires_at_ms)


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
