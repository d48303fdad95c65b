"""The rules for the names of collections, their scopes and ids."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from storage_providers.errors import InvalidArgumentError

__all__ = ["MAX_SCOPE_BYTES", "check_collection", "check_id"]

_COLLECTION_NAME = re.compile(r"[a-z0-9_.][a-z0-9_.-]{0,63}", re.ASCII)

MAX_SCOPE_BYTES: Final = 256
"""Longest scope, all parts together, UTF-8 bytes. Ours: it leaves room in a 512-byte KV key."""


@lru_cache(maxsize=4096)
def check_collection(address: str, max_scope_bytes: int = MAX_SCOPE_BYTES) -> tuple[str, str]:
    """Split `scope/collection` into its scope (`""` without one) and its name, checking both.

    A name is 1 to 64 of `a-z 0-9 _ . -`; names that begin with `.` are the SDK's own. A scope is
    one or more parts before it, of any printable text, joined by `/`.

    Raises:
        InvalidArgumentError: It breaks these rules; the message says which.
    """
    scope, _, name = address.rpartition("/")
    if not _COLLECTION_NAME.fullmatch(name) or set(name) == {"."}:
        raise InvalidArgumentError(
            f"{name!r} is not a collection name; use 1 to 64 of a-z, 0-9, '_', '.' and '-' "
            "(lower case, not beginning with '-')"
        )
    if scope or address.startswith("/"):
        parts = scope.split("/")
        if any(part in ("", ".", "..") or not part.isprintable() for part in parts):
            raise InvalidArgumentError(
                f"scope {scope!r} has a part that is empty, '.', '..' or not printable"
            )
        if len(scope.encode()) > max_scope_bytes:
            raise InvalidArgumentError(
                f"scope is {len(scope.encode())} bytes, the limit here is {max_scope_bytes}"
            )
    return scope, name


def check_id(item_id: object, max_bytes: int | None = None) -> str:
    """Check that an id is non-empty Unicode text without U+0000 and fits `max_bytes` of UTF-8.

    Raises:
        InvalidArgumentError: It is not.
    """
    if not isinstance(item_id, str):
        raise InvalidArgumentError(f"an id is text, not {type(item_id).__name__}")
    if not item_id or "\x00" in item_id:
        raise InvalidArgumentError("an id is at least one character and holds no U+0000")
    try:
        size = len(item_id) if item_id.isascii() else len(item_id.encode())
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            "an id holds a lone surrogate and is not valid Unicode"
        ) from None
    if max_bytes is not None and size > max_bytes:
        raise InvalidArgumentError(
            f"the id is {size} bytes, this provider accepts {max_bytes}; use a shorter id"
        )
    return item_id
