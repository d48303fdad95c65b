"""The rules for the names of collections, their scopes and ids."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from storage_providers.errors import InvalidArgumentError

__all__ = ["MAX_SCOPE_BYTES", "check_collection", "check_id", "check_scope", "is_inside"]

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
        check_scope(scope, max_scope_bytes)
    return scope, name


def check_scope(scope: object, max_scope_bytes: int = MAX_SCOPE_BYTES) -> str:
    """Check that a scope is one or more parts of printable text, joined by `/`.

    Raises:
        InvalidArgumentError: It is not, or longer than `max_scope_bytes` of UTF-8.
    """
    if not isinstance(scope, str):
        raise InvalidArgumentError(f"a scope is text, not {type(scope).__name__}")
    if any(part in ("", ".", "..") or not part.isprintable() for part in scope.split("/")):
        raise InvalidArgumentError(
            f"scope {scope!r} has a part that is empty, '.', '..' or not printable"
        )
    size = len(scope.encode())
    if size > max_scope_bytes:
        raise InvalidArgumentError(f"scope is {size} bytes, the limit here is {max_scope_bytes}")
    return scope


def is_inside(collection: str, scope: str | None) -> bool:
    """Whether a collection belongs to a scope or to one inside it; `None`: all do."""
    return scope is None or collection.startswith(f"{scope}/")


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
