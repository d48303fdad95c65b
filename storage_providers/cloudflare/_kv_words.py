"""Workers KV in words: its limits, its values, and what a provider needs of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from storage_providers.errors import InvalidArgumentError
from storage_providers.resilience import Deadline

__all__ = [
    "MAX_BULK_BYTES",
    "MAX_BULK_KEYS",
    "MAX_GET_KEYS",
    "MAX_LIST_KEYS",
    "KVEntry",
    "KVFound",
    "KVKey",
    "KVKeyPage",
    "KVTransport",
    "check_key",
    "check_limit",
]

MAX_BULK_KEYS: Final = 10_000
"""Pairs of one bulk write or delete. Source: Cloudflare's OpenAPI, KV bulk (read 2026-11)."""

MAX_BULK_BYTES: Final = 100_000_000
"""Bytes of one bulk write. Source: the same, "100 MB"; the smaller of its two readings."""

MAX_GET_KEYS: Final = 100
"""Keys of one bulk read. Source: the same."""

MIN_LIST_KEYS: Final = 10
MAX_LIST_KEYS: Final = 1_000
"""Keys of one page of a listing. Source: Cloudflare docs, kv/api/list-keys (read 2026-11)."""

MAX_KEY_BYTES: Final = 512
"""Longest key, bytes. Source: Cloudflare docs, kv/platform/limits (read 2026-11)."""


class KVEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A pair to write.

    Attributes:
        key: Up to 512 bytes of UTF-8; not empty, `.` or `..`.
        value: Up to 25 MiB. Text is stored as UTF-8.
        metadata: JSON of up to 1,024 bytes, which listings give back. JavaScript carries it, so
            only text, and numbers that JavaScript has, come back as they were.
        expiration: When it is removed, seconds since 1970, at least 60 seconds ahead.
    """

    key: str
    value: str | bytes
    metadata: Any = None
    expiration: int | None = None

    def __repr__(self) -> str:
        return f"KVEntry({len(self.value)} long)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # msgspec's own, which rich prefers to the repr, would show the value.
        return [("length", len(self.value))]


class KVFound(msgspec.Struct, frozen=True):
    """A value that was read.

    Attributes:
        value: The value.
        metadata: What was stored with it, `None` without any.
    """

    value: str
    metadata: Any = None

    def __repr__(self) -> str:
        return f"KVFound({len(self.value)} long)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("length", len(self.value))]


class KVKey(msgspec.Struct, frozen=True):
    """An entry of a listing.

    Attributes:
        name: The key.
        expiration: When it is removed, seconds since 1970.
        metadata: What was stored with it.
    """

    name: str
    expiration: int | None = None
    metadata: Any = None

    def __repr__(self) -> str:
        return "KVKey(…)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # Keys of indexes hold values of documents.
        return []


class KVKeyPage(msgspec.Struct, frozen=True):
    """Part of a listing, in the order of the keys' UTF-8; it may be empty and not the last.

    Attributes:
        keys: The entries.
        cursor: Continues the listing, with the same prefix; `None`: this was the last page.
    """

    keys: list[KVKey]
    cursor: str | None

    def __repr__(self) -> str:
        more = ", more" if self.cursor else ""
        return f"KVKeyPage({len(self.keys)} keys{more})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("keys", len(self.keys))]


class KVTransport(Protocol):
    """One namespace, however it is reached.

    It may answer with what was true up to a minute ago, also about keys that did not exist; nothing
    in it is conditional or atomic, and of two writers of one key the later wins.

    Every call may raise `ConfigurationError` (no such namespace), `AuthenticationError`,
    `PermissionDeniedError`, `RateLimitedError` (a key takes one write a second) and
    `TransportError`, and those that write `OutcomeUnknownError`.
    """

    async def get(self, key: str, *, deadline: Deadline | None = None) -> bytes | None:
        """Read one value, whatever bytes it has.

        Args:
            key: The key.
            deadline: The operation's budget.

        Returns:
            The value, `None` where there is none.
        """
        ...

    async def get_many(
        self, keys: Sequence[str], *, deadline: Deadline | None = None
    ) -> dict[str, KVFound | None]:
        """Read many values that are text, with their metadata; 100 in each call.

        Values that are not UTF-8 come back damaged: the service reads text only here.

        Args:
            keys: The keys.
            deadline: The operation's budget.

        Returns:
            For each key what was found, `None` where there is nothing.
        """
        ...

    async def put_many(
        self, entries: Sequence[KVEntry], *, deadline: Deadline | None = None
    ) -> list[str]:
        """Write many pairs, each of which lands alone; 10,000 in each call.

        Value, metadata and expiration replace what was there together. Sending again is safe, and
        is done where the service asks for it.

        Args:
            entries: The pairs, at most one for each key.
            deadline: The operation's budget.

        Returns:
            The keys that the service did not confirm, also when asked again: they may or may not
            have been written. An error instead says that about all of them; who wants to know
            more hands in at most `MAX_BULK_KEYS` at once.
        """
        ...

    async def delete_many(
        self, keys: Sequence[str], *, deadline: Deadline | None = None
    ) -> list[str]:
        """Remove many keys, each alone; those that are absent count as removed.

        Args:
            keys: The keys.
            deadline: The operation's budget.

        Returns:
            The keys that the service did not confirm, as with `put_many`.
        """
        ...

    async def list_keys(
        self,
        *,
        prefix: str = "",
        limit: int = MAX_LIST_KEYS,
        cursor: str | None = None,
        deadline: Deadline | None = None,
    ) -> KVKeyPage:
        """List keys with their metadata.

        Args:
            prefix: What they begin with; the same with every page.
            limit: Most keys to return, 10 to 1,000.
            cursor: Continues a listing.
            deadline: The operation's budget.

        Returns:
            A page.

        Raises:
            InvalidArgumentError: `limit` is out of range.
        """
        ...


# --- checks ------------------------------------------------------------------------------------


def check_key(key: str) -> str:
    """A key that Workers KV takes.

    Raises:
        InvalidArgumentError: It is empty, `.`, `..`, too long or no Unicode.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = -1
    if size < 0:
        raise InvalidArgumentError("a key holds a lone surrogate and is not valid Unicode")
    if not 0 < size <= MAX_KEY_BYTES or key in (".", ".."):
        raise InvalidArgumentError(
            f"a key has {size} bytes; it must have 1 to {MAX_KEY_BYTES} and not be '.' or '..'"
        )
    return key


def check_limit(limit: int) -> int:
    """How many keys a page of a listing may have.

    Raises:
        InvalidArgumentError: It is out of range.
    """
    if not MIN_LIST_KEYS <= limit <= MAX_LIST_KEYS:
        raise InvalidArgumentError(
            f"limit is {limit}; Workers KV lists {MIN_LIST_KEYS} to {MAX_LIST_KEYS} keys at once"
        )
    return limit
