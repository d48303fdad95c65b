"""A namespace in memory that counts calls as the REST API would see them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

from storage_providers.cloudflare.kv import (
    MAX_BULK_KEYS,
    MAX_GET_KEYS,
    KVEntry,
    KVFound,
    KVKey,
    KVKeyPage,
)
from storage_providers.resilience import Deadline

__all__ = ["MemoryNamespace"]

MAX_LIST_KEYS = 1000


class MemoryNamespace:
    """What `KVNamespace` is over the REST API; it refuses what the service refuses.

    Attributes:
        entries: What is kept.
        calls: Calls by kind.
        puts: How often each key was written.
    """

    def __init__(self) -> None:
        self.entries: dict[str, KVEntry] = {}
        self.calls: Counter[str] = Counter()
        self.puts: Counter[str] = Counter()
        self._sorted: list[str] | None = None

    async def get(self, key: str, *, deadline: Deadline | None = None) -> bytes | None:
        """Read one value."""
        self.calls["read"] += 1
        entry = self.entries.get(key)
        return None if entry is None else str(entry.value).encode()

    async def get_many(
        self, keys: Sequence[str], *, deadline: Deadline | None = None
    ) -> dict[str, KVFound | None]:
        """Read some."""
        assert 0 < len(set(keys)) <= MAX_GET_KEYS
        self.calls["get"] += 1
        found = {key: self.entries.get(key) for key in keys}
        return {
            key: None if entry is None else KVFound(str(entry.value), entry.metadata)
            for key, entry in found.items()
        }

    async def put_many(
        self, entries: Sequence[KVEntry], *, deadline: Deadline | None = None
    ) -> list[str]:
        """Write some."""
        assert 0 < len(entries) <= MAX_BULK_KEYS
        self.calls["put"] += 1
        self.puts.update(entry.key for entry in entries)
        self.entries.update({entry.key: entry for entry in entries})
        self._sorted = None
        return []

    async def delete_many(
        self, keys: Sequence[str], *, deadline: Deadline | None = None
    ) -> list[str]:
        """Remove some."""
        assert 0 < len(keys) <= MAX_BULK_KEYS
        self.calls["delete"] += 1
        for key in keys:
            self.entries.pop(key, None)
        self._sorted = None
        return []

    async def list_keys(
        self,
        *,
        prefix: str = "",
        limit: int = MAX_LIST_KEYS,
        cursor: str | None = None,
        deadline: Deadline | None = None,
    ) -> KVKeyPage:
        """List a page."""
        assert 10 <= limit <= MAX_LIST_KEYS
        self.calls["list"] += 1
        if self._sorted is None:
            self._sorted = sorted(self.entries)
        start = bisect_right(self._sorted, prefix if cursor is None else cursor)
        names = self._sorted[start : start + limit + 1]
        names = [name for name in names if name.startswith(prefix)]
        page = [KVKey(name, None, self.entries[name].metadata) for name in names[:limit]]
        return KVKeyPage(page, page[-1].name if len(names) > limit else None)
