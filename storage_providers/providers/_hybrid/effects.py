"""What a write makes of a document, worked out where the primary can't be asked."""

from __future__ import annotations

from typing import Final

import msgspec

from storage_providers._json import encode_object, merge_patch
from storage_providers.conflicts import Stored
from storage_providers.errors import (
    DocumentTooLargeError,
    ItemExistsError,
    ItemNotFoundError,
    TransportError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    IF_PRESENT,
    Delete,
    IfVersion,
    Item,
    Patch,
    Put,
)

__all__ = ["FALLBACK", "PRIMARY", "Known", "after_write", "fallback_item", "is_same", "live"]

PRIMARY: Final = "p."
FALLBACK: Final = "f."
"""What versions and cursors begin with: the side they are of."""


class Known(msgspec.Struct, frozen=True):
    """What is known of a document before a write.

    Attributes:
        stored: What is there; `None`: nothing.
        certain: Whether that is known; if not, `stored` is `None` and says nothing.
    """

    stored: Stored | None
    certain: bool = True


def live(stored: Stored | None, now_ms: int) -> Stored | None:
    """What a read would give: nothing where the document has expired."""
    if stored is None:
        return None
    expires_at_ms = stored.expires_at_ms
    return None if expires_at_ms is not None and expires_at_ms <= now_ms else stored


def is_same(left: Stored | None, right: Stored | None) -> bool:
    """Whether two sides hold the same content."""
    if left is None or right is None:
        return left is right
    return left == right or left.digest == right.digest


def fallback_item(collection: str, item_id: str, stored: Stored) -> Item:
    """What is stored as an item; its version is the fallback's, made from the content."""
    version = FALLBACK + stored.digest
    return Item(collection, item_id, version, stored.body, stored.encoding, stored.payload)


def after_write(write: Put | Patch | Delete, known: Known, limit: int | None) -> Stored | None:
    """What there is after a write.

    Args:
        write: The write.
        known: What was there; an expired document is nothing.
        limit: Largest document of the collection, bytes.

    Raises:
        ConflictError: Its condition does not hold.
        ItemNotFoundError: There is nothing to patch.
        DocumentTooLargeError: The patched document exceeds the limit.
        TransportError: It depends on what is there, which is not known.
    """
    asks = write.condition is not ANY or isinstance(write, Patch)
    if asks:
        if not known.certain:
            raise TransportError("what the primary holds under this id is not known here")
        _check(write, known.stored)
    if isinstance(write, Delete):
        return None
    if isinstance(write, Put):
        return Stored.of(write)
    assert known.stored is not None
    return _patched(write, known.stored, limit)


def _check(write: Put | Patch | Delete, stored: Stored | None) -> None:
    match write.condition:
        case IfVersion(version):
            actual = None if stored is None else FALLBACK + stored.digest
            if actual != version:
                raise VersionMismatchError(
                    "the document is gone" if actual is None else "the document was changed",
                    expected_version=version,
                    actual_version=actual,
                )
        case condition:
            if condition is IF_ABSENT and stored is not None:
                raise ItemExistsError("a document with this id exists already")
            if condition is IF_PRESENT and stored is None:
                raise ItemNotFoundError("no such document")


def _patched(patch: Patch, stored: Stored, limit: int | None) -> Stored:
    if stored.encoding is not None:
        raise UnsupportedOperationError(
            f"the document is encoded as {stored.encoding!r}; patch it through the layer that "
            "wrote it"
        )
    body = encode_object(merge_patch(stored.document, patch.changes))
    if limit is not None and len(body) > limit:
        raise DocumentTooLargeError(
            f"the patched document is {len(body)} bytes, the limit is {limit}",
            size_bytes=len(body),
            limit_bytes=limit,
        )
    return Stored(body)
