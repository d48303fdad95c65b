"""Which namespaces, and how they are reached: by id, by title, or through a Worker's binding."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from storage_providers._secrets import Secret
from storage_providers.cloudflare._checks import BASE_URL
from storage_providers.cloudflare._own import own_client
from storage_providers.cloudflare.kv import (
    KVEntry,
    KVFound,
    KVKeyPage,
    KVNamespace,
    KVNamespaceInfo,
    KVNamespaces,
    KVTransport,
)
from storage_providers.errors import ConfigurationError, InvalidArgumentError, ItemExistsError
from storage_providers.protocol import check_collection
from storage_providers.resilience import Deadline, RetryPolicy

if TYPE_CHECKING:
    from storage_providers.cloudflare.client import CloudflareClient

__all__ = ["NamedNamespace", "Place", "is_namespace_id"]

MAX_LIST_LINES: Final = 1000

_ID: Final = re.compile(r"[0-9a-f]{32}")
"""The id of a namespace. Source: Cloudflare's OpenAPI, KV namespace_identifier (read 2026-11)."""

_TITLE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,63}")
"""What a namespace may be called. Ours, so that nothing else is taken for a title."""

_OF_THE_CLIENT: Final = ("account_id", "token", "base_url", "retry")


def is_namespace_id(name: str) -> bool:
    """Whether a namespace is named by its id, and not by its title."""
    return _ID.fullmatch(name) is not None


class NamedNamespace:
    """A namespace whose id is asked for by its title when it is first needed; a `KVTransport`.

    Args:
        client: The account; borrowed.
        title: The namespace's title.
        create: Whether to make it if there is none.
    """

    def __init__(self, client: CloudflareClient, title: str, *, create: bool) -> None:
        self.title = title
        self._client = client
        self._create = create
        self._namespace: KVNamespace | None = None
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        return f"NamedNamespace({self.title!r})"

    async def namespace(self) -> KVNamespace:
        """The namespace, by its id.

        Raises:
            ConfigurationError: The account has none of this title, and none is to be made.
            StorageError: The service could not be asked.
        """
        async with self._asking:
            if self._namespace is None:
                found = await KVNamespaces(self._client).find(self.title)
                if found is None and self._create:
                    found = (await find_or_make(self._client, self.title))[0]
                if found is None:
                    raise ConfigurationError(
                        f"the account has no KV namespace titled {self.title!r}; "
                        "'storage-providers provision' makes it, or create_namespaces=True"
                    )
                self._namespace = KVNamespace(self._client, found.id)
            return self._namespace

    async def get(self, key: str, *, deadline: Deadline | None = None) -> bytes | None:
        """See `KVTransport.get`."""
        return await (await self.namespace()).get(key, deadline=deadline)

    async def get_many(
        self, keys: Sequence[str], *, deadline: Deadline | None = None
    ) -> dict[str, KVFound | None]:
        """See `KVTransport.get_many`."""
        return await (await self.namespace()).get_many(keys, deadline=deadline)

    async def put_many(
        self, entries: Sequence[KVEntry], *, deadline: Deadline | None = None
    ) -> list[str]:
        """See `KVTransport.put_many`."""
        return await (await self.namespace()).put_many(entries, deadline=deadline)

    async def delete_many(
        self, keys: Sequence[str], *, deadline: Deadline | None = None
    ) -> list[str]:
        """See `KVTransport.delete_many`."""
        return await (await self.namespace()).delete_many(keys, deadline=deadline)

    async def list_keys(
        self,
        *,
        prefix: str = "",
        limit: int = MAX_LIST_LINES,
        cursor: str | None = None,
        deadline: Deadline | None = None,
    ) -> KVKeyPage:
        """See `KVTransport.list_keys`."""
        namespace = await self.namespace()
        return await namespace.list_keys(
            prefix=prefix, limit=limit, cursor=cursor, deadline=deadline
        )


async def find_or_make(client: CloudflareClient, title: str) -> tuple[KVNamespaceInfo, bool]:
    """The namespace of a title, and whether it was made now.

    Raises:
        StorageError: It could not be made.
    """
    try:
        return await KVNamespaces(client).create(title), True
    except ItemExistsError:
        # Another was faster, or an attempt before this one landed.
        found = await KVNamespaces(client).find(title)
        if found is None:
            raise
        return found, False


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Which namespaces, and how they are reached; the arguments of `CloudflareKVProvider`.

    Raises:
        ConfigurationError: Arguments are missing, malformed or contradict each other.
    """

    account_id: str | None = None
    namespace_id: str | None = None
    namespace_title: str | None = None
    namespaces: Mapping[str, str] | None = None
    create_namespaces: bool | None = None
    token: Secret | str | None = None
    base_url: str | None = None
    retry: RetryPolicy | None = None
    client: CloudflareClient | None = None
    binding: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.token, str):
            msgspec.structs.force_setattr(self, "token", Secret(self.token))
        given = [name for name in self.__struct_fields__ if getattr(self, name)]
        if self.binding is not None:
            if len(given) > 1:
                rest = ", ".join(name for name in given if name != "binding")
                raise ConfigurationError(f"a binding is a namespace already; leave out {rest}")
            return
        if (self.namespace_id is None) == (self.namespace_title is None):
            raise ConfigurationError(
                "give namespace_id or namespace_title, one of them; 'wrangler kv namespace list' "
                "says both"
            )
        if self.namespace_title is not None and not _TITLE.fullmatch(self.namespace_title):
            raise ConfigurationError(
                "namespace_title is not a title: 1 to 64 letters, digits, blanks, '_', '.' and '-'"
            )
        for collection, name in (self.namespaces or {}).items():
            _check_own(collection, name)
        own = ", ".join(name for name in given if name in _OF_THE_CLIENT)
        if self.client is not None and own:
            raise ConfigurationError(f"a client has its {own} already; leave them out")

    @property
    def names(self) -> list[str]:
        """The namespaces by id or title, the common one first."""
        first = self.namespace_title if self.namespace_id is None else self.namespace_id
        return list(dict.fromkeys([first or "", *(self.namespaces or {}).values()]))

    def open_client(self) -> CloudflareClient:
        """The client that was given, or one of its own.

        Raises:
            ConfigurationError: Something is missing or malformed, or `httpx` is not installed.
        """
        if self.client is not None:
            return self.client
        return own_client(
            "CloudflareKVProvider",
            account_id=self.account_id,
            token=self.token,
            base_url=BASE_URL if self.base_url is None else self.base_url,
            retry=self.retry,
        )

    def reach(
        self,
    ) -> tuple[KVTransport, dict[str, KVTransport], CloudflareClient | None]:
        """The common namespace, those of single collections, and the client they stand on.

        Raises:
            ConfigurationError: As `open_client`.
        """
        if self.binding is not None:
            from storage_providers.cloudflare.bindings import KVBinding

            return KVBinding(self.binding), {}, None
        client = self.open_client()
        made = {name: self._namespace(client, name) for name in self.names}
        if self.namespace_id is not None:
            # Whatever it looks like: it was called an id.
            made[self.namespace_id] = KVNamespace(client, self.namespace_id)
        own = {name: made[each] for name, each in (self.namespaces or {}).items()}
        return made[self.names[0]], own, client

    def _namespace(self, client: CloudflareClient, name: str) -> KVTransport:
        if is_namespace_id(name):
            return KVNamespace(client, name)
        return NamedNamespace(client, name, create=bool(self.create_namespaces))


def _check_own(collection: str, name: str) -> None:
    try:
        scope, plain = check_collection(collection)
    except InvalidArgumentError as error:
        raise ConfigurationError(f"namespaces: {error.message}") from None
    if scope or plain.startswith("."):
        raise ConfigurationError(
            f"namespaces: {collection!r} is not a collection's name alone, which counts in every "
            "scope"
        )
    if not _TITLE.fullmatch(name):
        raise ConfigurationError(
            f"namespaces: that of {collection!r} is neither an id of 32 hexadecimal digits nor a "
            "title of 1 to 64 letters, digits, blanks, '_', '.' and '-'"
        )
