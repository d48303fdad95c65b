"""R2 inside a Python Worker, through `env.BUCKET` instead of credentials: `R2Binding`.

The object is that of `workers-runtime-sdk` 1.9 and later, which takes and returns Python's own
values. Nothing here needs the extra `r2`. What the runtime answers was tried on workerd from
JavaScript; from Python it can be tried on Cloudflare alone.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar, cast

from storage_providers._requests import count_request
from storage_providers.cloudflare._javascript import javascript_error
from storage_providers.errors import StorageError
from storage_providers.protocol import ANY, IfVersion
from storage_providers.providers._objects import (
    Listing,
    Metadata,
    ObjectEntry,
    ObjectLimits,
    ObjectPut,
    StoredObject,
)
from storage_providers.providers._r2.errors import Refusal, refused
from storage_providers.providers._r2.objects import (
    LIMITS,
    beginning_of,
    checked_key,
    conflict,
    put_arguments,
    read_metadata,
)
from storage_providers.providers._r2.putting import OnePut
from storage_providers.resilience import (
    Attempt,
    Effect,
    Resilience,
    RetryPolicy,
    Timing,
    map_bounded,
)

__all__ = ["BOUND", "R2Binding", "R2Object"]

T = TypeVar("T")
R = TypeVar("R")

BOUND: Final = "binding"
"""What a bound bucket is called in messages: the runtime does not tell its name."""

ATTEMPTS: Final = 5
"""As over S3."""

CONCURRENCY: Final = 6
"""Calls of one Worker in flight. Source: Cloudflare docs, workers/platform/limits, simultaneous
open connections (read 2026-11)."""

_CODES: Final = {
    10001: (500, "InternalError"),
    10002: (401, "Unauthorized"),
    10003: (403, "AccessDenied"),
    10006: (404, "NoSuchBucket"),
    10011: (400, "EntityTooLarge"),
    10012: (400, "MetadataTooLarge"),
    10020: (400, "InvalidObjectName"),
    10037: (400, "BadDigest"),
    10043: (503, "ServiceUnavailable"),
    10054: (400, "ClientDisconnect"),
    10058: (429, "TooManyRequests"),
}
"""The number at the end of the runtime's errors, as status and code of S3. Source: Cloudflare docs,
r2/api/error-codes (read 2026-11)."""


class R2Object(Protocol):
    """What is used of `env.BUCKET`."""

    def get(self, key: str) -> Awaitable[Any]:
        """An object with its bytes."""
        ...

    def head(self, key: str) -> Awaitable[Any]:
        """An object without them."""
        ...

    def put(self, key: str, value: Any, options: Any = ...) -> Awaitable[Any]:
        """Store an object; nothing comes back where the condition does not hold."""
        ...

    def delete(self, keys: Any) -> Awaitable[Any]:
        """Remove objects."""
        ...

    def list(self, options: Any = ...) -> Awaitable[Any]:
        """List objects."""
        ...


class R2Binding:
    """The objects of one bucket inside a Worker, as the engine sees them (`ObjectStore`).

    Args:
        bucket: `env.BUCKET`.
        retry: How often and when to try again; five attempts without.
        deadline_seconds: How long one object or page may take, with all that is tried again.
        timing: Time and chance.

    Attributes:
        bucket: What the bucket is called in messages; the runtime does not tell its name.
        resilience: What all calls go through.
    """

    bucket: Final = BOUND

    def __init__(
        self,
        bucket: R2Object,
        *,
        retry: RetryPolicy | None,
        deadline_seconds: float,
        timing: Timing,
    ) -> None:
        self._object = bucket
        self._timing = timing
        self.resilience = Resilience(
            "R2",
            retry=RetryPolicy(attempts=ATTEMPTS) if retry is None else retry,
            deadline_seconds=deadline_seconds,
            timing=timing,
        )

    def __repr__(self) -> str:
        return "R2Binding()"

    @property
    def limits(self) -> ObjectLimits:
        """What R2 accepts."""
        return LIMITS

    async def open(self) -> None:
        """Nothing is to be opened: the runtime holds the connection."""

    async def close(self) -> None:
        """Nothing is to be closed."""

    # --- objects -------------------------------------------------------------------------------

    async def get(self, keys: Sequence[str]) -> list[StoredObject | StorageError | None]:
        """Read objects: one entry per key, in order, `None` where there is none."""
        return await _each(self._get, keys)

    async def _get(self, key: str) -> StoredObject | None:
        checked_key(key)

        async def read() -> StoredObject | None:
            found = await self._object.get(key)
            if found is None:
                return None
            data = bytes(await found.arrayBuffer())
            return StoredObject(
                key=key,
                version=str(found.etag),
                data=data,
                metadata=_metadata(key, found, len(data)),
            )

        return await self._call(read, Effect.READ, "get")

    async def put(self, objects: Sequence[ObjectPut]) -> list[str | StorageError]:
        """Store objects, each by itself: its new version, or why it was not stored."""
        return await _each(self._put, objects)

    async def _put(self, put: ObjectPut) -> str:
        return await OnePut(put, _BoundPut(put, self._object, self._make), self.resilience).run()

    async def delete(self, keys: Sequence[str]) -> list[StorageError | None]:
        """Remove objects, each by itself; removing what is absent is no error."""
        batches = [
            list(keys[at : at + LIMITS.delete_batch])
            for at in range(0, len(keys), LIMITS.delete_batch)
        ]
        results: list[StorageError | None] = []
        for batch, result in zip(batches, await _each(self._delete, batches), strict=True):
            results += [result] * len(batch)
        return results

    async def _delete(self, batch: list[str]) -> None:
        for key in batch:
            checked_key(key)
        await self._call(lambda: self._object.delete(batch), Effect.IDEMPOTENT_WRITE, "delete")

    async def list(
        self,
        prefix: str,
        *,
        after: str = "",
        cursor: str | None = None,
        limit: int | None = None,
        delimiter: str | None = None,
    ) -> Listing:
        """List the keys that begin with `prefix`, one page, one request; see `ObjectStore`."""
        if beginning_of(prefix) != prefix:
            return Listing()
        options: dict[str, Any] = {"prefix": prefix, "limit": limit or LIMITS.list_page}
        told = {"startAfter": beginning_of(after), "cursor": cursor, "delimiter": delimiter}
        options.update({name: value for name, value in told.items() if value})

        async def read() -> Listing:
            page = await self._object.list(options)
            return Listing(
                entries=[ObjectEntry(str(each.key), str(each.etag)) for each in page.objects],
                folders=[str(each) for each in page.delimitedPrefixes],
                cursor=str(page.cursor) if page.truncated else None,
            )

        return await self._call(read, Effect.READ, "list")

    # --- calls ---------------------------------------------------------------------------------

    async def _call(self, make: Callable[[], Awaitable[T]], effect: Effect, operation: str) -> T:
        async def attempt(_: Attempt) -> T:
            return await self._make(make)

        return await self.resilience.call(attempt, effect=effect, operation=operation)

    async def _make(self, make: Callable[[], Awaitable[T]]) -> T:
        """Make one call, and know its errors."""
        count_request()
        try:
            return await make()
        except javascript_error() as error:
            text = str(error)
        # Raised out here, so that the runtime's error, which may quote keys, is not kept.
        found = re.search(r"\((\d{5})\)\s*$", text)
        status, code = _CODES.get(int(found[1]) if found else 0, (500, "InternalError"))
        raise refused(Refusal(status, code, {}, self.bucket, now_ms=self._timing.now_ms()))


class _BoundPut:
    """One put through the binding; a `PutWire`."""

    def __init__(
        self,
        put: ObjectPut,
        bucket: R2Object,
        make: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
    ) -> None:
        checked_key(put.key)
        arguments = put_arguments(put)
        self._put = put
        self._bucket = bucket
        self._make = make
        self._options: dict[str, Any] = {"customMetadata": arguments["Metadata"]}
        if "ContentType" in arguments:
            self._options["httpMetadata"] = {"contentType": arguments["ContentType"]}
        if isinstance(put.condition, IfVersion):
            self._options["onlyIf"] = {"etagMatches": put.condition.version}
        elif put.condition is not ANY:
            self._options["onlyIf"] = {"etagDoesNotMatch": "*"}

    async def store(self, sent: Callable[[], None]) -> str:
        """Make one attempt; see `PutWire`."""
        sent()
        stored = await self._make(
            lambda: self._bucket.put(self._put.key, self._put.data, self._options)
        )
        if stored is None:
            raise conflict(self._put)
        return str(stored.etag)

    async def look(self) -> tuple[str, str | None]:
        """What the key holds; see `PutWire`."""
        found = await self._make(lambda: self._bucket.head(self._put.key))
        if found is None:
            return "", None
        return str(found.etag), _metadata(self._put.key, found, int(found.size)).token


def _metadata(key: str, found: Any, size_bytes: int) -> Metadata:
    kept = found.customMetadata
    convert = getattr(kept, "to_py", None)
    told = cast("Mapping[str, str]", convert() if callable(convert) else kept or {})
    return read_metadata(key, told, size_bytes)


async def _each(
    function: Callable[[T], Awaitable[R]], items: Sequence[T]
) -> list[R | StorageError]:
    """Call for every item; the error of one stands in its place."""

    async def one(item: T) -> R | StorageError:
        try:
            return await function(item)
        except StorageError as error:
            return error

    return await map_bounded(one, items, limit=CONCURRENCY)
