"""Workers KV: what a provider needs of it (`KVTransport`), and that over the REST API."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, TypeVar, cast

import msgspec

from storage_providers.cloudflare._checks import checked_id, encoded, quoted
from storage_providers.cloudflare._envelope import next_cursor
from storage_providers.cloudflare._kv_words import (
    MAX_BULK_BYTES,
    MAX_BULK_KEYS,
    MAX_GET_KEYS,
    MAX_LIST_KEYS,
    KVEntry,
    KVFound,
    KVKey,
    KVKeyPage,
    KVTransport,
    check_key,
    check_limit,
)
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.errors import ItemNotFoundError, TransportError
from storage_providers.resilience import Deadline, Effect, map_bounded

__all__ = [
    "MAX_BULK_KEYS",
    "MAX_GET_KEYS",
    "KVEntry",
    "KVFound",
    "KVKey",
    "KVKeyPage",
    "KVNamespace",
    "KVNamespaceInfo",
    "KVNamespaces",
    "KVTransport",
]

T = TypeVar("T")

# --- the REST API ------------------------------------------------------------------------------


class KVNamespaceInfo(msgspec.Struct, frozen=True):
    """A namespace of the account.

    Attributes:
        id: Its id, which is the one thing that other calls take.
        title: Its name.
    """

    id: str
    title: str


class _Pair(msgspec.Struct, frozen=True, omit_defaults=True):
    key: str
    value: str
    base64: bool = False
    metadata: Any = None
    expiration: int | None = None


class _Bulk(msgspec.Struct, frozen=True):
    successful_key_count: float | None = None
    unsuccessful_keys: list[str] | None = None


class _Values(msgspec.Struct, frozen=True):
    values: dict[str, KVFound | None]


class KVNamespace:
    """One namespace over the REST API.

    Args:
        client: The account; borrowed, connected and closed by whoever made it.
        namespace_id: The namespace.

    Raises:
        ConfigurationError: `namespace_id` is malformed.
    """

    def __init__(self, client: CloudflareClient, namespace_id: str) -> None:
        self.namespace_id = checked_id("namespace_id", namespace_id)
        self._client = client
        self._path = f"storage/kv/namespaces/{self.namespace_id}"

    def __repr__(self) -> str:
        return f"KVNamespace({self.namespace_id!r})"

    async def get(self, key: str, *, deadline: Deadline | None = None) -> bytes | None:
        """Read one value; see `KVTransport.get`."""
        try:
            answer = await self._client.request_bytes(
                "GET",
                f"{self._path}/values/{quoted_key(key)}",
                service="kv",
                operation="kv.get",
                deadline=deadline,
            )
        except ItemNotFoundError:
            return None
        return answer.content

    async def get_metadata(self, key: str, *, deadline: Deadline | None = None) -> Any:
        """Read what was stored with a value.

        Args:
            key: The key.
            deadline: The operation's budget.

        Returns:
            The metadata; `None` without any, and where there is no such key.

        Raises:
            StorageError: As in `KVTransport`.
        """
        try:
            answer = await self._client.request(
                "GET",
                f"{self._path}/metadata/{quoted_key(key)}",
                effect=Effect.READ,
                service="kv",
                operation="kv.get_metadata",
                deadline=deadline,
            )
        except ItemNotFoundError:
            return None
        return answer.result

    async def put(self, entry: KVEntry, *, deadline: Deadline | None = None) -> None:
        """Write one pair, whatever bytes its value has; `put_many` costs no more for a thousand.

        Args:
            entry: The pair.
            deadline: The operation's budget.

        Raises:
            DocumentTooLargeError: The value or its metadata is too large.
            StorageError: As in `KVTransport`.
        """
        value = entry.value.encode() if isinstance(entry.value, str) else entry.value
        content, content_type = value, "application/octet-stream"
        if entry.metadata is not None:
            content, content_type = _form(value, encoded(entry.metadata))
        await self._client.request(
            "PUT",
            f"{self._path}/values/{quoted_key(entry.key)}",
            params={"expiration": entry.expiration},
            content=content,
            content_type=content_type,
            effect=Effect.IDEMPOTENT_WRITE,
            service="kv",
            operation="kv.put",
            deadline=deadline,
        )

    async def get_many(
        self, keys: Sequence[str], *, deadline: Deadline | None = None
    ) -> dict[str, KVFound | None]:
        """Read many values that are text; see `KVTransport.get_many`."""
        unique = list(dict.fromkeys(keys))
        for key in unique:
            check_key(key)

        async def read(part: Sequence[str]) -> Mapping[str, KVFound | None]:
            answer = await self._client.request(
                "POST",
                f"{self._path}/bulk/get",
                json={"keys": part, "type": "text", "withMetadata": True},
                effect=Effect.READ,
                as_type=_Values,
                service="kv",
                operation="kv.get_many",
                deadline=deadline,
            )
            return cast(_Values, answer.result).values

        found: dict[str, KVFound | None] = {}
        parts = _parts(unique, MAX_GET_KEYS)
        for values in await map_bounded(read, parts, limit=self._client.concurrency):
            found.update(values)
        return {key: found.get(key) for key in unique}

    async def put_many(
        self, entries: Sequence[KVEntry], *, deadline: Deadline | None = None
    ) -> list[str]:
        """Write many pairs; see `KVTransport.put_many`."""
        pairs = {entry.key: encoded(_pair(entry)) for entry in entries}
        return await self._bulk("PUT", "bulk", pairs, "kv.put_many", deadline)

    async def delete_many(
        self, keys: Sequence[str], *, deadline: Deadline | None = None
    ) -> list[str]:
        """Remove many keys; see `KVTransport.delete_many`."""
        names = {key: encoded(check_key(key)) for key in keys}
        return await self._bulk("POST", "bulk/delete", names, "kv.delete_many", deadline)

    async def list_keys(
        self,
        *,
        prefix: str = "",
        limit: int = MAX_LIST_KEYS,
        cursor: str | None = None,
        deadline: Deadline | None = None,
    ) -> KVKeyPage:
        """List keys with their metadata; see `KVTransport.list_keys`."""
        answer = await self._client.request(
            "GET",
            f"{self._path}/keys",
            params={"prefix": prefix or None, "limit": check_limit(limit), "cursor": cursor},
            effect=Effect.READ,
            as_type=list[KVKey],
            service="kv",
            operation="kv.list_keys",
            deadline=deadline,
        )
        return KVKeyPage(cast("list[KVKey]", answer.result), next_cursor(answer.result_info))

    async def _bulk(
        self,
        method: str,
        path: str,
        bodies: Mapping[str, bytes],
        operation: str,
        deadline: Deadline | None,
    ) -> list[str]:
        """Send encoded members of an array in as few calls as may be; the keys that failed."""

        async def send(part: Sequence[str]) -> list[str]:
            answer = await self._client.request(
                method,
                f"{self._path}/{path}",
                content=b"[%b]" % b",".join([bodies[key] for key in part]),
                effect=Effect.IDEMPOTENT_WRITE,
                as_type=_Bulk,
                service="kv",
                operation=operation,
                deadline=deadline,
            )
            return cast(_Bulk, answer.result).unsuccessful_keys or []

        left, rounds = list(bodies), 0
        while left:
            parts = list(_bulk_parts(left, bodies))
            try:
                failed = await map_bounded(send, parts, limit=self._client.concurrency)
            except TransportError:
                if rounds == 0:
                    raise
                break  # What the rounds before have done is known; this is about the rest.
            # The service names the pairs that did not make it, and wants those alone again.
            left, rounds = [key for part in failed for key in part if key in bodies], rounds + 1
            if left and not await self._client.pause(rounds, deadline):
                break
        return left


class KVNamespaces:
    """The namespaces of an account.

    Args:
        client: The account; borrowed.
    """

    def __init__(self, client: CloudflareClient) -> None:
        self._client = client

    async def find(self, title: str) -> KVNamespaceInfo | None:
        """The namespace with this title, `None` without one.

        Raises:
            StorageError: As in `CloudflareClient.request`.
        """
        async with aclosing(self.list()) as namespaces:
            async for namespace in namespaces:
                if namespace.title == title:
                    return namespace
        return None

    async def list(self) -> AsyncGenerator[KVNamespaceInfo, None]:
        """Every namespace.

        Raises:
            StorageError: As in `CloudflareClient.request`.
        """
        listing = self._client.pages(
            "storage/kv/namespaces",
            by="page",
            params={"per_page": 100},
            as_type=list[KVNamespaceInfo],
            service="kv",
            operation="kv.list",
        )
        async with aclosing(listing) as pages:
            async for page in pages:
                for namespace in cast("Sequence[KVNamespaceInfo]", page.result):
                    yield namespace

    async def create(
        self, title: str, *, jurisdiction: Literal["eu", "fedramp", "us"] | None = None
    ) -> KVNamespaceInfo:
        """Make a namespace.

        Args:
            title: Its name, which no other namespace of the account has.
            jurisdiction: Where it must stay; can't be changed.

        Raises:
            ItemExistsError: There is one with this title.
            OutcomeUnknownError: The connection broke; see whether it is there.
            StorageError: As in `CloudflareClient.request`.
        """
        body = {"title": title}
        if jurisdiction is not None:
            body["jurisdiction"] = jurisdiction
        answer = await self._client.request(
            "POST",
            "storage/kv/namespaces",
            json=body,
            effect=Effect.WRITE,
            as_type=KVNamespaceInfo,
            service="kv",
            operation="kv.create",
        )
        return cast(KVNamespaceInfo, answer.result)

    async def delete(self, namespace_id: str) -> None:
        """Delete a namespace with all that is in it.

        Args:
            namespace_id: Its id, not its title.

        Raises:
            ConfigurationError: There is none, or the id is malformed.
            StorageError: As in `CloudflareClient.request`.
        """
        await self._client.request(
            "DELETE",
            f"storage/kv/namespaces/{checked_id('namespace_id', namespace_id)}",
            effect=Effect.WRITE,
            service="kv",
            operation="kv.delete",
        )


# --- helpers -----------------------------------------------------------------------------------


def quoted_key(key: str) -> str:
    """A key as a part of a path.

    Raises:
        InvalidArgumentError: As in `check_key`.
    """
    return quoted(check_key(key))


def _pair(entry: KVEntry) -> _Pair:
    check_key(entry.key)
    if isinstance(entry.value, bytes):
        text, encoded_so = base64.b64encode(entry.value).decode(), True
    else:
        text, encoded_so = entry.value, False
    return _Pair(entry.key, text, encoded_so, entry.metadata, entry.expiration)


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _bulk_parts(keys: Sequence[str], bodies: Mapping[str, bytes]) -> Iterator[list[str]]:
    """Keys in groups whose bodies fit into one call."""
    part: list[str] = []
    size = 2
    for key in keys:
        more = len(bodies[key]) + 1
        if part and (len(part) >= MAX_BULK_KEYS or size + more > MAX_BULK_BYTES):
            yield part
            part, size = [], 2
        part.append(key)
        size += more
    if part:
        yield part


def _form(value: bytes, metadata: bytes) -> tuple[bytes, str]:
    """A value and its metadata as the form that the service takes; its type."""
    # A boundary that is in neither part: some number of dashes is not.
    boundary = "storage-providers"
    while boundary.encode() in value or boundary.encode() in metadata:
        boundary += "-x"
    line = f"--{boundary}".encode()
    body = b"\r\n".join(
        (
            line,
            # With a name it is a file, and bytes; without one it would be read as text.
            b'Content-Disposition: form-data; name="value"; filename="value"',
            b"Content-Type: application/octet-stream",
            b"",
            value,
            line,
            b'Content-Disposition: form-data; name="metadata"',
            b"Content-Type: application/json",
            b"",
            metadata,
            line + b"--",
            b"",
        )
    )
    return body, f"multipart/form-data; boundary={boundary}"
