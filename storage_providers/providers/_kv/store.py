"""`KVStore`: namespaces of Workers KV, as the engine sees them.

Every call of the engine is as few bulk calls as there can be. Nothing is conditional: of two
writers of one key the later wins, wherever that is decided. A bulk call names the keys that it did
not carry out, and only those are sent again, by the client; what remains then may or may not have
landed, because the service does not say why.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from storage_providers._clock import Clock
from storage_providers.cloudflare.kv import (
    MAX_BULK_KEYS,
    MAX_GET_KEYS,
    KVEntry,
    KVFound,
    KVTransport,
)
from storage_providers.errors import InvalidArgumentError, OutcomeUnknownError, StorageError
from storage_providers.providers._kv.layout import MAX_KEY_BYTES, KVLayout
from storage_providers.providers._kv.metadata import (
    foreign,
    may_be_damaged,
    pair,
    read_found,
    read_line,
)
from storage_providers.providers._kv.own import OwnWrites
from storage_providers.providers._objects import Listing, ObjectLimits, ObjectPut, StoredObject
from storage_providers.resilience import Deadline, Timing, map_bounded

__all__ = ["LIMITS", "STALENESS_SECONDS", "KVStore"]

STALENESS_SECONDS: Final = 60.0
"""How old an answer may be, also one that there is no such key. Source: Cloudflare docs,
kv/concepts/how-kv-works, "60 seconds or more" (read 2026-11)."""

MIN_EXPIRY_SECONDS: Final = 60
"""The service refuses to remove a key sooner. Source: Cloudflare docs, kv/platform/limits (read
2026-11)."""

SPARE_SECONDS: Final = 60
"""Added to that, for the way and for clocks that differ: the service refuses the whole call.
Ours."""

MAX_EXPIRY_SECONDS: Final = 10 * 366 * 86_400
"""What expires later is not told to the service, which refuses dates that are far. Ours."""

DEADLINE_SECONDS: Final = 60.0
"""What one bulk write may take with everything that is sent again. Ours, as the engine asks."""

CALLS: Final = 8
"""Bulk calls in flight for one call of the engine. Ours."""

MIN_LIST_LINES: Final = 10
"""Fewest lines of a listing that may be asked for. Source: Cloudflare docs, kv/api/list-keys (read
2026-11)."""

LIMITS: Final = ObjectLimits(
    service="KV",
    max_key_bytes=MAX_KEY_BYTES,
    conditional_put=False,
    list_page=1000,
    delete_batch=MAX_BULK_KEYS,
    starts_anywhere=False,
    get_batch=MAX_GET_KEYS,
    put_batch=MAX_BULK_KEYS,
    staleness_seconds=STALENESS_SECONDS,
)
"""Source: Cloudflare docs, kv/platform/limits and kv/api, and its OpenAPI (read 2026-11)."""

T = TypeVar("T")
Part = tuple[KVTransport, list[str]]


class KVStore:
    """Namespaces, as the engine sees them (`ObjectStore`).

    Args:
        namespace: Where everything is that has no namespace of its own.
        own: The namespaces of collections that have their own, by their names without scope.
        layout: Under which keys things are; tells which collection a key belongs to.
        clock: What expiry is told by.
        timing: Time for deadlines, and the service's time for its own expiry.
        staleness_seconds: How old answers may be; for so long own writes are remembered.
    """

    def __init__(
        self,
        namespace: KVTransport,
        own: Mapping[str, KVTransport],
        layout: KVLayout,
        *,
        clock: Clock,
        timing: Timing,
        staleness_seconds: float = STALENESS_SECONDS,
    ) -> None:
        self.namespace = namespace
        self.own = own
        self._layout = layout
        self._clock = clock
        self._timing = timing
        self._own_writes = OwnWrites(clock, timing, staleness_seconds)
        self._limits = msgspec.structs.replace(LIMITS, staleness_seconds=staleness_seconds)

    def __repr__(self) -> str:
        return f"KVStore({self.namespace!r})"

    @property
    def limits(self) -> ObjectLimits:
        """What KV accepts."""
        return self._limits

    # --- reads ---------------------------------------------------------------------------------

    async def get(self, keys: Sequence[str]) -> list[StoredObject | StorageError | None]:
        """Read objects: one entry per key, in order, `None` where there is none."""
        found: dict[str, StoredObject | StorageError | None] = {}

        async def read(part: Part) -> Mapping[str, StoredObject | StorageError | None]:
            namespace, some = part
            values = await namespace.get_many(some)
            return {key: await self._object(namespace, key, values[key]) for key in some}

        for results in await self._each(read, self._parts(keys, MAX_GET_KEYS)):
            found.update(results)
        for key, each in found.items():
            if not isinstance(each, StorageError):
                found[key] = self._own_writes.corrected(key, each)
        return [found[key] for key in keys]

    async def _object(
        self, namespace: KVTransport, key: str, found: KVFound | None
    ) -> StoredObject | StorageError | None:
        if found is None:
            return None
        try:
            if may_be_damaged(found):
                value = await namespace.get(key)
                return None if value is None else foreign(key, value)
            return read_found(key, found)
        except StorageError as error:
            return error

    # --- writes --------------------------------------------------------------------------------

    async def put(self, objects: Sequence[ObjectPut]) -> list[str | StorageError]:
        """Store objects, each by itself: its new version, or why it may not be stored."""
        results: dict[str, str | StorageError] = {}
        pairs: dict[str, KVEntry] = {}
        for put in objects:
            try:
                pairs[put.key] = pair(put, self._expiration(put.expires_at_ms))
                results[put.key] = put.metadata.token or ""
            except StorageError as error:
                results[put.key] = error

        async def write(part: Part) -> Mapping[str, StorageError]:
            namespace, some = part
            deadline = Deadline(DEADLINE_SECONDS, self._timing)
            entries = [pairs[key] for key in some]
            return _unconfirmed(await namespace.put_many(entries, deadline=deadline))

        for failed in await self._each(write, self._parts(pairs, MAX_BULK_KEYS)):
            results.update(failed)
        for put in objects:
            if isinstance(version := results[put.key], str):
                self._own_writes.put(
                    StoredObject(key=put.key, version=version, data=put.data, metadata=put.metadata)
                )
        return [results[put.key] for put in objects]

    def _expiration(self, expires_at_ms: int | None) -> int | None:
        """When the service may remove what expires, never early, and no sooner than it accepts."""
        if expires_at_ms is None:
            return None
        now_ms = self._timing.now_ms()
        left_ms = expires_at_ms - self._clock.now_ms()
        if left_ms > MAX_EXPIRY_SECONDS * 1000:
            return None
        least_ms = (MIN_EXPIRY_SECONDS + SPARE_SECONDS) * 1000
        return -(-(now_ms + max(left_ms, least_ms)) // 1000)

    async def delete(self, keys: Sequence[str]) -> list[StorageError | None]:
        """Remove objects, each by itself; removing what is absent is no error."""
        results: dict[str, StorageError] = {}

        async def remove(part: Part) -> Mapping[str, StorageError]:
            namespace, some = part
            deadline = Deadline(DEADLINE_SECONDS, self._timing)
            return _unconfirmed(await namespace.delete_many(some, deadline=deadline))

        for failed in await self._each(remove, self._parts(keys, MAX_BULK_KEYS)):
            results.update(failed)
        for key in keys:
            if key not in results:
                self._own_writes.removed(key)
        return [results.get(key) for key in keys]

    # --- helpers -------------------------------------------------------------------------------

    def _namespace(self, key: str) -> KVTransport:
        if not self.own:
            return self.namespace
        return self.own.get(self._layout.collection_in(key) or "", self.namespace)

    def _parts(self, keys: Sequence[str] | Mapping[str, object], most: int) -> Sequence[Part]:
        """The keys without repetition, in parts that one request takes."""
        by_namespace: dict[int, Part] = {}
        for key in dict.fromkeys(keys):
            namespace = self._namespace(key)
            by_namespace.setdefault(id(namespace), (namespace, []))[1].append(key)
        return [
            (namespace, some[start : start + most])
            for namespace, some in by_namespace.values()
            for start in range(0, len(some), most)
        ]

    async def _each(
        self, work: Callable[[Part], Awaitable[Mapping[str, T]]], parts: Sequence[Part]
    ) -> Sequence[Mapping[str, T | StorageError]]:
        """Do something with every part; the error of one is that of each of its keys.

        Raises:
            StorageError: There is but one part.
        """

        async def one(part: Part) -> Mapping[str, T | StorageError]:
            try:
                return dict(await work(part))
            except StorageError as error:
                if len(parts) == 1:
                    raise
                return {key: copy.copy(error) for key in part[1]}

        return await map_bounded(one, parts, limit=CALLS)

    async def list_in(
        self,
        namespace: KVTransport,
        prefix: str,
        *,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Listing:
        """List the keys of one namespace that begin with `prefix`, one page, one request."""
        lines = LIMITS.list_page if limit is None else max(MIN_LIST_LINES, limit)
        given, after = (None, "") if cursor is None else _read_cursor(cursor)
        page = await namespace.list_keys(prefix=prefix, limit=lines, cursor=given)
        entries = [read_line(line) for line in page.keys]
        last = page.keys[-1].name if page.keys else after
        if self._own_writes:
            end = None if page.cursor is None else last
            entries = self._own_writes.corrected_lines(prefix, entries, after, end)
        return Listing(entries=entries, cursor=_cursor(page.cursor, last))

    # Last, as its name hides the type's from what follows in the class.
    async def list(
        self,
        prefix: str,
        *,
        after: str = "",
        cursor: str | None = None,
        limit: int | None = None,
        delimiter: str | None = None,
    ) -> Listing:
        """List the keys that begin with `prefix`, one page, one request.

        There may be more lines than `limit`, of which the service gives at least 10; `after` can't
        be asked for.
        """
        page = await self.list_in(self._namespace(prefix), prefix, cursor=cursor, limit=limit)
        folders: dict[str, None] = {}
        entries = page.entries
        if delimiter is not None:
            beyond = len(prefix)
            for entry in entries:
                at = entry.key.find(delimiter, beyond)
                if at >= 0:
                    folders[entry.key[: at + len(delimiter)]] = None
            entries = [entry for entry in entries if delimiter not in entry.key[beyond:]]
        return Listing(entries=entries, folders=list(folders), cursor=page.cursor)


def _cursor(given: str | None, last: str) -> str | None:
    """The service's cursor, with the last key before it."""
    if given is None:
        return None
    return f"{given}~{base64.urlsafe_b64encode(last.encode()).decode()}"


def _read_cursor(cursor: str) -> tuple[str, str]:
    given, _, last = cursor.rpartition("~")
    try:
        return given, base64.b64decode(last, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise InvalidArgumentError("the cursor is damaged; begin again without one") from None


def _unconfirmed(keys: Sequence[str]) -> Mapping[str, StorageError]:
    return {
        key: OutcomeUnknownError(
            "KV did not confirm the write, also when asked again; it takes one write a second for "
            "each key; read before repeating"
        )
        for key in keys
    }
