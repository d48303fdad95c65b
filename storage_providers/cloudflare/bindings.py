"""D1 and Workers KV inside a Python Worker, through `env.DB` and `env.KV` instead of a token.

    database = D1Binding(self.env.DB)
    namespace = KVBinding(self.env.KV)

The objects are those of `workers-runtime-sdk` 1.9 and later, which takes and returns Python's own
values. Nothing here needs the extra `cloudflare`, and no call counts against the API's limit.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from storage_providers._requests import count_request
from storage_providers.cloudflare._javascript import javascript_error
from storage_providers.cloudflare._kv_words import (
    MAX_GET_KEYS,
    MAX_LIST_KEYS,
    KVEntry,
    KVFound,
    KVKey,
    KVKeyPage,
    check_key,
    check_limit,
)
from storage_providers.cloudflare._refusals import Refusal, Service
from storage_providers.cloudflare.d1 import D1Result, SqlStatement, check_statements
from storage_providers.cloudflare.errors import error_of
from storage_providers.errors import StorageError, TransportError
from storage_providers.resilience import (
    SYSTEM_TIMING,
    Attempt,
    Deadline,
    Effect,
    Resilience,
    map_bounded,
)

__all__ = ["D1Binding", "D1Object", "KVBinding", "KVObject"]

T = TypeVar("T")

CONCURRENCY = 6
"""Calls of one Worker in flight. Source: Cloudflare docs, workers/platform/limits, simultaneous
open connections (read 2026-11)."""


class D1Prepared(Protocol):
    """A statement of the runtime."""

    def bind(self, *values: Any) -> Any:
        """The statement with its values."""
        ...


class D1Object(Protocol):
    """What is used of `env.DB`."""

    def prepare(self, sql: str) -> D1Prepared:
        """A statement."""
        ...

    def batch(self, statements: list[Any]) -> Awaitable[Any]:
        """Run statements as one transaction."""
        ...


class KVObject(Protocol):
    """What is used of `env.KV`."""

    def get(self, key: Any, options: Any = ...) -> Awaitable[Any]:
        """A value."""
        ...

    def getWithMetadata(self, key: Any, options: Any = ...) -> Awaitable[Any]:  # noqa: N802
        """A value, or several, with their metadata."""
        ...

    def put(self, key: str, value: Any, options: Any = ...) -> Awaitable[Any]:
        """Write a pair."""
        ...

    def list(self, options: Any = ...) -> Awaitable[Any]:
        """List keys."""
        ...

    def delete(self, key: str) -> Awaitable[Any]:
        """Remove a key."""
        ...


class D1Binding:
    """One database inside a Worker; it is a `D1Transport`.

    Args:
        database: `env.DB`.
        resilience: Retries and the breaker; ordinary ones without.
    """

    def __init__(self, database: D1Object, *, resilience: Resilience | None = None) -> None:
        self._database = database
        self._calls = _Calls("d1", Resilience("D1") if resilience is None else resilience)

    def __repr__(self) -> str:
        return "D1Binding()"

    async def raw(
        self,
        statements: Sequence[SqlStatement],
        *,
        effect: Effect = Effect.WRITE,
        operation: str = "",
        deadline: Deadline | None = None,
    ) -> list[D1Result]:
        """Run statements in order as one transaction; see `D1Transport.raw`."""
        bodies = check_statements(statements)

        async def send() -> Any:
            # Prepared anew for each attempt; `batch` is the one call that is a transaction and
            # returns what was changed.
            prepared = [
                self._database.prepare(body.sql).bind(*body.params)
                if body.params
                else self._database.prepare(body.sql)
                for body in bodies
            ]
            return await self._database.batch(prepared)

        results = await self._calls.make(
            send, effect=effect, operation=operation or "d1.raw", deadline=deadline
        )
        return [_result(_mapping(each)) for each in results]


class KVBinding:
    """One namespace inside a Worker; it is a `KVTransport`.

    The runtime has no bulk writes: each pair is a call of its own, and a Worker may make 1,000 of
    them for one request.

    Args:
        namespace: `env.KV`.
        resilience: Retries and the breaker; ordinary ones without.
    """

    def __init__(self, namespace: KVObject, *, resilience: Resilience | None = None) -> None:
        self._namespace = namespace
        self._calls = _Calls("kv", Resilience("Workers KV") if resilience is None else resilience)

    def __repr__(self) -> str:
        return "KVBinding()"

    async def get(self, key: str, *, deadline: Deadline | None = None) -> bytes | None:
        """Read one value; see `KVTransport.get`."""
        check_key(key)
        value = await self._calls.make(
            lambda: self._namespace.get(key, "arrayBuffer"),
            effect=Effect.READ,
            operation="kv.get",
            deadline=deadline,
        )
        return None if value is None else bytes(value)

    async def get_many(
        self, keys: Sequence[str], *, deadline: Deadline | None = None
    ) -> dict[str, KVFound | None]:
        """Read many values that are text; see `KVTransport.get_many`."""
        unique = [check_key(key) for key in dict.fromkeys(keys)]

        async def read(part: list[str]) -> Mapping[str, Any]:
            found = await self._calls.make(
                lambda: self._namespace.getWithMetadata(part, "text"),
                effect=Effect.READ,
                operation="kv.get_many",
                deadline=deadline,
            )
            return _mapping(found)

        parts = [unique[at : at + MAX_GET_KEYS] for at in range(0, len(unique), MAX_GET_KEYS)]
        merged: dict[str, Any] = {}
        for found in await map_bounded(read, parts, limit=CONCURRENCY):
            merged.update(found)
        return {key: _found(merged.get(key)) for key in unique}

    async def put_many(
        self, entries: Sequence[KVEntry], *, deadline: Deadline | None = None
    ) -> list[str]:
        """Write many pairs, one call each; see `KVTransport.put_many`."""
        unique = {check_key(entry.key): entry for entry in entries}

        async def put(entry: KVEntry) -> None:
            options: dict[str, Any] = {}
            if entry.metadata is not None:
                options["metadata"] = entry.metadata
            if entry.expiration is not None:
                options["expiration"] = entry.expiration
            await self._calls.make(
                lambda: self._namespace.put(entry.key, entry.value, options),
                effect=Effect.IDEMPOTENT_WRITE,
                operation="kv.put_many",
                deadline=deadline,
            )

        return await _each(put, unique)

    async def delete_many(
        self, keys: Sequence[str], *, deadline: Deadline | None = None
    ) -> list[str]:
        """Remove many keys, one call each; see `KVTransport.delete_many`."""

        async def delete(key: str) -> None:
            await self._calls.make(
                lambda: self._namespace.delete(key),
                effect=Effect.IDEMPOTENT_WRITE,
                operation="kv.delete_many",
                deadline=deadline,
            )

        return await _each(delete, {check_key(key): key for key in keys})

    async def list_keys(
        self,
        *,
        prefix: str = "",
        limit: int = MAX_LIST_KEYS,
        cursor: str | None = None,
        deadline: Deadline | None = None,
    ) -> KVKeyPage:
        """List keys with their metadata; see `KVTransport.list_keys`."""
        options: dict[str, Any] = {"prefix": prefix, "limit": check_limit(limit)}
        if cursor is not None:
            options["cursor"] = cursor
        listed = await self._calls.make(
            lambda: self._namespace.list(options),
            effect=Effect.READ,
            operation="kv.list_keys",
            deadline=deadline,
        )
        page = _mapping(listed)
        following = None if page.get("list_complete") else page.get("cursor")
        return KVKeyPage([_key(_mapping(each)) for each in page.get("keys") or ()], following)


# --- calls -------------------------------------------------------------------------------------


class _Calls:
    """Calls of the runtime's objects, with retries and the SDK's own errors."""

    def __init__(self, service: Service, resilience: Resilience) -> None:
        self._service: Service = service
        self._resilience = resilience

    async def make(
        self,
        send: Callable[[], Awaitable[Any]],
        *,
        effect: Effect,
        operation: str,
        deadline: Deadline | None,
    ) -> Any:
        async def attempt(_: Attempt) -> Any:
            count_request()
            try:
                return _python(await send())
            except javascript_error() as error:
                text = str(error)
            # Raised out here, so that the runtime's error, which may quote values, is not kept.
            raise self._error(text, effect)

        return await self._resilience.call(
            attempt, effect=effect, operation=operation, deadline=deadline
        )

    def _error(self, text: str, effect: Effect) -> StorageError:
        """The error for what the runtime threw: `KV PUT failed: 413 …` or `D1_ERROR: …`."""
        known = re.search(r"\bfailed: (\d{3})\b", text) if self._service == "kv" else None
        refusal = Refusal(
            service=self._service,
            effect=effect,
            status=0 if known is None else int(known[1]),
            now_ms=SYSTEM_TIMING.now_ms(),
        )
        return error_of(refusal, [{"code": 0, "message": text}])


async def _each(call: Callable[[T], Awaitable[None]], items: Mapping[str, T]) -> list[str]:
    """Call for every item; the keys whose outcome was no success, unless there was none at all."""
    failed: dict[str, TransportError] = {}

    async def one(pair: tuple[str, T]) -> None:
        key, item = pair
        try:
            await call(item)
        except TransportError as error:
            failed[key] = error

    await map_bounded(one, items.items(), limit=CONCURRENCY)
    if failed and len(failed) == len(items):
        raise next(iter(failed.values()))
    return list(failed)


# --- values ------------------------------------------------------------------------------------


def _python(value: Any) -> Any:
    """Python's own values; older runtimes hand out proxies."""
    convert = getattr(value, "to_py", None)
    return convert() if callable(convert) else value


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", _python(value))


def _found(value: Any) -> KVFound | None:
    if value is None:
        return None
    entry = _mapping(value)
    text = entry.get("value")
    return None if text is None else KVFound(text, _python(entry.get("metadata")))


def _key(entry: Mapping[str, Any]) -> KVKey:
    expiration = entry.get("expiration")
    return KVKey(
        entry["name"],
        None if expiration is None else int(expiration),
        _python(entry.get("metadata")),
    )


def _result(entry: Mapping[str, Any]) -> D1Result:
    rows = [_mapping(row) for row in entry.get("results") or ()]
    meta = _mapping(entry.get("meta") or {})
    columns = list(rows[0]) if rows else []
    last, size = meta.get("last_row_id"), meta.get("size_after")
    return D1Result(
        columns=columns,
        rows=[[row[column] for column in columns] for row in rows],
        rows_read=int(meta.get("rows_read") or 0),
        rows_written=int(meta.get("rows_written") or 0),
        changes=int(meta.get("changes") or 0),
        last_row_id=None if last is None else int(last),
        duration_ms=float(meta.get("duration") or 0.0),
        size_after_bytes=None if size is None else int(size),
    )
