"""py-key-value's `AsyncKeyValue` on any `StorageProvider`, so FastMCP and others can use it.

Needs: `pip install 'storage-providers[key-value]'`.

```python
store = ProviderKeyValue(provider)
await store.put("session-1", {"user": "Ada"}, collection="sessions", ttl=3600)
```
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from storage_providers._clock import format_timestamp
from storage_providers.agents.adapters._common import digest, need, warn_corrupt
from storage_providers.errors import InvalidArgumentError, InvalidDocumentError, ItemNotFoundError
from storage_providers.protocol import (
    IF_PRESENT,
    Address,
    Clear,
    Delete,
    Item,
    JsonObject,
    Put,
    Query,
    StorageProvider,
    check_collection,
)

need("key_value.aio", __name__, "key-value")

from key_value.aio.errors import SerializationError  # noqa: E402
from key_value.aio.stores.base import (  # noqa: E402
    BaseDestroyCollectionStore,
    BaseDestroyStore,
    BaseEnumerateCollectionsStore,
    BaseEnumerateKeysStore,
    ManagedEntry,
)

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["ProviderKeyValue"]

PAGE: Final = 1000
"""Keys asked for at once."""

MOST: Final = 10_000
"""Keys or collections that are listed without a limit, as py-key-value's own stores do."""

_PLAIN: Final = re.compile(r"[a-z0-9_-]{1,40}", re.ASCII)
_MAX_NAME: Final = 64


class ProviderKeyValue(
    BaseDestroyStore,
    BaseDestroyCollectionStore,
    BaseEnumerateCollectionsStore,
    BaseEnumerateKeysStore,
):
    """Keeps keys and values on a provider, a collection of ours for each of py-key-value's.

    Any text is a collection or a key: what is no name of ours is written in another form, and
    what is too long by its digest, with the original kept in the documents. A bulk operation is
    one batch. Expired values are never returned, and removed by the provider itself, so there is
    nothing to cull.

    Args:
        provider: Where values are kept. It is opened at the first use if it is not open, and never
            closed.
        prefix: What the names of the provider's collections begin with, 1 to 8 characters.
        default_collection: Used where no collection is given; py-key-value's own if left out.

    Raises:
        InvalidArgumentError: The prefix can't begin a collection's name.
    """

    def __init__(
        self,
        provider: StorageProvider,
        *,
        prefix: str = "kv",
        default_collection: str | None = None,
    ) -> None:
        if not _PLAIN.fullmatch(prefix) or len(prefix) > 8:
            raise InvalidArgumentError(f"prefix {prefix!r} is not 1 to 8 of a-z 0-9 _ -")
        check_collection(f"{prefix}.x")
        self.provider = provider
        self._prefix = prefix
        super().__init__(default_collection=default_collection, stable_api=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.provider!r})"

    async def _setup(self) -> None:
        """Open the provider, for frameworks that make their store before there is a loop."""
        await self.provider.connect()

    # --- reads -----------------------------------------------------------------------------------

    async def _get_managed_entry(self, *, collection: str, key: str) -> ManagedEntry | None:
        return (await self._get_managed_entries(collection=collection, keys=[key]))[0]

    async def _get_managed_entries(
        self, *, collection: str, keys: Sequence[str]
    ) -> list[ManagedEntry | None]:
        items = await self._read(collection, keys)
        return [None if item is None else _entry(item) for item in items]

    # --- writes ----------------------------------------------------------------------------------

    async def _put_managed_entry(
        self, *, collection: str, key: str, managed_entry: ManagedEntry
    ) -> None:
        await self._put(collection, {key: managed_entry})

    async def _put_managed_entries(
        self,
        *,
        collection: str,
        keys: Sequence[str],
        managed_entries: Sequence[ManagedEntry],
        ttl: float | None,
        created_at: datetime,
        expires_at: datetime | None,
    ) -> None:
        await self._put(collection, dict(zip(keys, managed_entries, strict=True)))

    async def _delete_managed_entry(self, *, key: str, collection: str) -> bool:
        if not self.provider.capabilities.conditional_delete:
            return await self._delete_managed_entries(keys=[key], collection=collection) == 1
        name, item_id = self._name(collection), self._id(key)
        try:
            await self.provider.write([Delete(name, item_id, IF_PRESENT)])
        except ItemNotFoundError:
            return False
        return True

    async def _delete_managed_entries(self, *, keys: Sequence[str], collection: str) -> int:
        found = [item for item in await self._read(collection, set(keys)) if item is not None]
        if found:
            await self.provider.write([Delete(item.collection, item.id) for item in found])
        return len(found)

    # --- enumeration and destruction -------------------------------------------------------------

    async def _get_collection_keys(self, *, collection: str, limit: int | None = None) -> list[str]:
        most, found = limit or MOST, list[str]()
        query = Query(self._name(collection), limit=min(PAGE, most), fields=("key",))
        while True:
            page = (await self.provider.query([query]))[0]
            warn_corrupt(page.corrupt)
            found += [item.document.get("key", item.id) for item in page.items]
            if page.cursor is None or len(found) >= most:
                return found[:most]
            query = msgspec.structs.replace(query, cursor=page.cursor)

    async def _get_collection_names(self, *, limit: int | None = None) -> list[str]:
        names = await self._names()
        hidden = [name for name in names if self._shown(name) is None]
        queries = [Query(name, limit=1, fields=("collection",)) for name in hidden]
        pages = await self.provider.query(queries) if queries else []
        found = [shown for name in names if (shown := self._shown(name)) is not None]
        # An empty collection with a long name can't say what it was called.
        found += [page.items[0].document["collection"] for page in pages if page.items]
        return sorted(found)[: limit or MOST]

    async def _delete_collection(self, *, collection: str) -> bool:
        name = self._name(collection)
        page = (await self.provider.query([Query(name, limit=1, fields=("id",))]))[0]
        await self.provider.write([Clear(name)])
        return bool(page.items or page.corrupt)

    async def _delete_store(self) -> bool:
        names = await self._names()
        if names:
            await self.provider.write([Clear(name) for name in names])
        return True

    # --- helpers ---------------------------------------------------------------------------------

    async def _read(self, collection: str, keys: Iterable[str]) -> list[Item | None]:
        name = self._name(collection)
        addresses = [Address(name, self._id(key)) for key in keys]
        unique = list(dict.fromkeys(addresses))
        found = await self.provider.read(unique) if unique else []
        by_address = dict(zip(unique, found, strict=True))
        return [by_address[address] for address in addresses]

    async def _put(self, collection: str, entries: Mapping[str, ManagedEntry]) -> None:
        name = self._name(collection)
        with _serialization():
            puts = [
                Put(name, self._document(name, collection, key, entry))
                for key, entry in entries.items()
            ]
        if puts:
            await self.provider.write(puts)

    def _document(self, name: str, collection: str, key: str, entry: ManagedEntry) -> JsonObject:
        created = _stamp(entry.created_at or datetime.now(UTC))
        document: JsonObject = {"id": self._id(key), "value": entry.value}
        if document["id"] != key:
            document["key"] = key
        if self._shown(name) is None:
            document["collection"] = collection
        if entry.expires_at is not None:
            document["expiresAt"] = _stamp(entry.expires_at)
        return {**document, "createdAt": created, "updatedAt": created}

    def _id(self, key: str) -> str:
        """A key as it is, or the digest of one that is too long or is no id."""
        plain = key and "\x00" not in key and not key.startswith("~")
        size = len(key.encode("utf-8", "surrogatepass"))
        return key if plain and size <= self.provider.capabilities.max_id_bytes else digest(key)

    def _name(self, collection: str) -> str:
        """`kv.` and a plain name, `kv..` and base32 of another, `kv...` and a long one's digest."""
        if _PLAIN.fullmatch(collection):
            return f"{self._prefix}.{collection}"
        raw = collection.encode("utf-8", "surrogatepass")
        coded = f"{self._prefix}..{_base32(raw)}"
        if len(coded) <= _MAX_NAME:
            return coded
        return f"{self._prefix}...{_base32(hashlib.sha256(raw).digest())}"

    def _shown(self, name: str) -> str | None:
        """The collection that a name shows, `None` if it is a digest."""
        rest = name[len(self._prefix) + 1 :]
        if not rest.startswith("."):
            return rest
        coded = rest[1:]
        if coded.startswith("."):
            return None
        padded = coded.upper() + "=" * (-len(coded) % 8)
        return base64.b32decode(padded).decode("utf-8", "surrogatepass")

    async def _names(self) -> list[str]:
        """Those of the provider's collections that this made."""
        ours = re.compile(rf"{self._prefix}\.([a-z0-9_-]{{1,40}}|\.[a-z2-7]+|\.\.[a-z2-7]{{52}})")
        return [name for name in await self.provider.collections() if ours.fullmatch(name)]


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()


def _entry(item: Item) -> ManagedEntry:
    document = item.document
    expires = document.get("expiresAt")
    return ManagedEntry(
        value=cast("dict[str, Any]", document["value"]),
        created_at=datetime.fromisoformat(document["createdAt"]),
        expires_at=None if expires is None else datetime.fromisoformat(expires),
    )


def _stamp(moment: datetime) -> str:
    return format_timestamp(int(moment.timestamp() * 1000))


@contextmanager
def _serialization() -> Generator[None]:
    """Values that are no JSON raise what py-key-value's own stores raise."""
    try:
        yield
    except InvalidDocumentError as error:
        raise SerializationError(str(error)) from error
