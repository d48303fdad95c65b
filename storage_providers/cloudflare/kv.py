"""Workers KV: what a provider needs of it (`KVTransport`), and that over the REST API."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal, Protocol, TypeVar, cast

import msgspec

from storage_providers.cloudflare._checks import checked_id, encoded, quoted
from storage_providers.cloudflare._envelope import next_cursor
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.errors import InvalidArgumentError, ItemNotFoundError, TransportError
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

MAX_BULK_KEYS: Final = 10_000
"""Pairs of one bulk write or delete. Source: Cloudflare's OpenAPI, KV bulk (read 2026-11)."""

MAX_BULK_BYTES: Final = 100_000_000
"""Bytes of one bulk write. Source: the same, "100 MB"; the smaller of its two readings."""

MAX_GET_KEYS: Final = 100
"""Keys of one bulk read. Source: the same."""

MIN_LIST_KEYS: Final = 10
MAX_LIST_KEYS: Final = 1_000
"""Keys of one page of a listing. Source: Cloudflare docs, kv/api/list-keys (read 2026-11)."""


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

MAX_KEY_BYTES: Final = 512
"""Longest key, bytes. Source: Cloudflare docs, kv/platform/limits (read 2026-11)."""


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


def quoted_key(key: str) -> str:
    """A key as a part of a path.

    Raises:
        InvalidArgumentError: As in `check_key`.
    """
    return quoted(check_key(key))


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
