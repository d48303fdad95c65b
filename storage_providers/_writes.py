"""The writes of a batch and the conditions on them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, TypeAlias

import msgspec

from storage_providers._clock import parse_timestamp
from storage_providers._json import JsonObject, decode_object, encode_object, may_be_deep
from storage_providers.errors import InvalidArgumentError, InvalidDocumentError

__all__ = [
    "ANY",
    "IF_ABSENT",
    "IF_PRESENT",
    "Clear",
    "Condition",
    "Delete",
    "IfVersion",
    "Patch",
    "Presence",
    "Put",
    "Write",
    "expiry_of",
]

_ENCODING_NAME = re.compile(r"[a-z0-9][a-z0-9+-]{0,63}", re.ASCII)


class Presence(Enum):
    """Conditions on whether the document is there."""

    ANY = "any"
    IF_ABSENT = "if_absent"
    IF_PRESENT = "if_present"


class IfVersion(msgspec.Struct, frozen=True):
    """The condition that the document still has this version."""

    version: str


Condition: TypeAlias = Presence | IfVersion
"""What must hold for a write to happen: `ANY`, `IF_ABSENT`, `IF_PRESENT` or `IfVersion("…")`."""

ANY: Final = Presence.ANY
"""Write whatever is there now."""
IF_ABSENT: Final = Presence.IF_ABSENT
"""Write only if no document with this id exists (an expired one does not)."""
IF_PRESENT: Final = Presence.IF_PRESENT
"""Write only if a document with this id exists."""


class Put:
    """Store a document whole, creating or replacing it. The document is encoded here, once.

    Layers that turn documents into bytes (compression, encryption) pass `encoding` and `payload`:
    the payload carries the whole, and `document` only what stays visible to queries.

    Args:
        collection: Name of the collection, with its scope if it has one.
        document: A JSON object with a string `id`; stored verbatim.
        condition: What must hold for the write to happen.
        encoding: Name of the payload's encoding: 1 to 64 of `a-z 0-9 + -`.
        payload: The encoded bytes; given exactly when `encoding` is.

    Attributes:
        body: The document as compact UTF-8 JSON.
        expires_at_ms: When the document expires, milliseconds since 1970; `None`: never.

    Raises:
        InvalidDocumentError: `document` is not storable JSON, or `id` or `expiresAt` are wrong.
        InvalidArgumentError: `encoding` and `payload` do not go together.
    """

    __slots__ = ("body", "collection", "condition", "encoding", "expires_at_ms", "id", "payload")

    def __init__(
        self,
        collection: str,
        document: Mapping[str, Any],
        condition: Condition = ANY,
        *,
        encoding: str | None = None,
        payload: bytes | None = None,
    ) -> None:
        item_id = document.get("id")
        if not isinstance(item_id, str) or not item_id:
            raise InvalidDocumentError(
                "a document needs an 'id' that is non-empty text", collection=collection, field="id"
            )
        if (encoding is None) != (payload is None):
            raise InvalidArgumentError("'encoding' and 'payload' go together")
        if encoding is not None and not _ENCODING_NAME.fullmatch(encoding):
            raise InvalidArgumentError(f"{encoding!r} is not an encoding name")
        self.collection = collection
        self.id = item_id
        self.condition = condition
        self.encoding = encoding
        self.payload = payload
        try:
            self.body = encode_object(document)
            self.expires_at_ms = expiry_of(document) if "expiresAt" in document else None
        except InvalidDocumentError as error:
            error.collection, error.item_id = collection, item_id
            raise

    @classmethod
    def of_body(
        cls,
        collection: str,
        body: bytes,
        condition: Condition = ANY,
        *,
        encoding: str | None = None,
        payload: bytes | None = None,
    ) -> Put:
        """Store what a provider holds: it is checked by decoding it, and not encoded again.

        Args:
            collection: Name of the collection.
            body: The document as UTF-8 JSON, as `Item.body` has it.
            condition: What must hold for the write to happen.
            encoding: Name of the payload's encoding.
            payload: The encoded bytes; given exactly when `encoding` is.

        Raises:
            ValueError: `body` is not a JSON object.
            InvalidDocumentError: `id` or `expiresAt` are wrong, or it is nested too deep.
        """
        document = decode_object(body)
        item_id: Any = document.get("id")
        is_named = isinstance(item_id, str) and item_id != ""
        if not is_named or "expiresAt" in document or may_be_deep(body):
            return cls(collection, document, condition, encoding=encoding, payload=payload)
        put = object.__new__(cls)
        put.collection, put.id, put.condition = collection, item_id, condition
        put.body, put.encoding, put.payload = body, encoding, payload
        put.expires_at_ms = None
        return put

    @property
    def document(self) -> JsonObject:
        """The document, decoded anew each time."""
        return decode_object(self.body)

    @property
    def size_bytes(self) -> int:
        """Bytes that count against `max_document_bytes`."""
        return len(self.body) + (len(self.payload) if self.payload is not None else 0)

    def renamed(self, collection: str) -> Put:
        """The same write to another collection, for layers; nothing is encoded again."""
        put = object.__new__(Put)
        put.collection = collection
        put.id = self.id
        put.condition = self.condition
        put.encoding = self.encoding
        put.payload = self.payload
        put.body = self.body
        put.expires_at_ms = self.expires_at_ms
        return put

    def __repr__(self) -> str:
        return f"Put({self.collection!r}, id={self.id!r}, {self.condition})"


class Patch:
    """Change some fields of an existing document: a JSON Merge Patch (RFC 7396).

    Args:
        collection: Name of the collection, with its scope if it has one.
        item_id: The document's id.
        changes: Fields to set or, with `None`, to remove. May not change `id`.
        condition: `IF_PRESENT` or `IfVersion`; a patch never creates.

    Attributes:
        body: The changes as compact UTF-8 JSON.
        sets_expiry: Whether the changes name `expiresAt`.
        expires_at_ms: The new expiry if so, milliseconds since 1970; `None`: never.

    Raises:
        InvalidDocumentError: `changes` is not storable JSON, changes the `id` or has a wrong
            `expiresAt`.
    """

    __slots__ = ("body", "collection", "condition", "expires_at_ms", "id", "sets_expiry")

    def __init__(
        self,
        collection: str,
        item_id: str,
        changes: Mapping[str, Any],
        condition: Condition = IF_PRESENT,
    ) -> None:
        self.collection = collection
        self.id = item_id
        self.condition = condition
        try:
            if changes.get("id", item_id) != item_id:
                raise InvalidDocumentError("a patch can't change the id", field="id")
            self.body = encode_object(changes)
            self.sets_expiry = "expiresAt" in changes
            self.expires_at_ms = expiry_of(changes)
        except InvalidDocumentError as error:
            error.collection, error.item_id = collection, item_id
            raise

    @property
    def changes(self) -> JsonObject:
        """The changes, decoded anew each time."""
        return decode_object(self.body)

    def renamed(self, collection: str) -> Patch:
        """The same write to another collection, for layers; nothing is encoded again."""
        patch = object.__new__(Patch)
        patch.collection = collection
        patch.id = self.id
        patch.condition = self.condition
        patch.body = self.body
        patch.sets_expiry = self.sets_expiry
        patch.expires_at_ms = self.expires_at_ms
        return patch

    def __repr__(self) -> str:
        return f"Patch({self.collection!r}, id={self.id!r}, {self.condition})"


class Delete(msgspec.Struct, frozen=True):
    """Remove a document. Removing what is absent is not an error.

    Attributes:
        collection: Name of the collection, with its scope if it has one.
        id: The document's id.
        condition: `ANY`, `IF_PRESENT` or `IfVersion`; the latter two need `conditional_delete`.
    """

    collection: str
    id: str
    condition: Condition = ANY

    def renamed(self, collection: str) -> Delete:
        """The same write to another collection, for layers."""
        return Delete(collection, self.id, self.condition)


class Clear(msgspec.Struct, frozen=True):
    """Remove every document of one collection (of this scope alone). Declarations stay.

    Attributes:
        collection: Name of the collection, with its scope if it has one.
    """

    collection: str

    def renamed(self, collection: str) -> Clear:
        """The same write to another collection, for layers."""
        return Clear(collection)


Write: TypeAlias = Put | Patch | Delete | Clear


def expiry_of(document: Mapping[str, Any]) -> int | None:
    """When a document expires, milliseconds since 1970; `None` if it does not.

    Raises:
        InvalidDocumentError: `expiresAt` is neither null nor an ISO 8601 time.
    """
    text = document.get("expiresAt")
    if text is None:
        return None
    if isinstance(text, str):
        try:
            return parse_timestamp(text)
        except ValueError:
            pass
    raise InvalidDocumentError(
        "'expiresAt' is not an ISO 8601 time such as 2026-01-31T12:00:00.000Z", field="expiresAt"
    )
