"""`Provider`: what all providers and layers share.

The four verbs check their arguments and the provider's state, call the provider's own `_read`,
`_write`, … and add the context to errors. The friendly face derived from them is in `_face`.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import msgspec

from storage_providers import _checks
from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers._face import FriendlyFace
from storage_providers._json import encode_object, project
from storage_providers.errors import InvalidArgumentError, ProviderClosedError, StorageError
from storage_providers.filters import parse_path
from storage_providers.protocol import (
    Address,
    Capabilities,
    CollectionSpec,
    Item,
    Page,
    Query,
    VersionPage,
    Write,
    check_collection,
    check_id,
    check_scope,
)

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Provider"]

DECLARATIONS_KEPT = 10_000
"""Declarations remembered at most; each scope of a collection has one. Ours."""

DECLARATION_REFRESH_SECONDS = 60
"""How long a declaration made by another process may go unnoticed."""


class Provider(FriendlyFace):
    """Base of every provider: the contract of `StorageProvider`, with the friendly face.

    Authors implement the methods with a leading underscore; they are called with checked
    arguments while the provider is open, and raise bare `StorageError`s.

    Args:
        clock: Time and ids; tests pass one that they turn by hand.
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.clock = clock
        self._state = "new"
        self._lifetime = asyncio.Lock()
        self._declarations: dict[str, tuple[CollectionSpec | None, int]] = {}

    # --- for authors ---------------------------------------------------------------------------

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this provider can do."""

    async def _connect(self) -> None:
        """Open what needs opening."""

    async def _disconnect(self) -> None:
        """Close what `_connect` opened; called once."""

    @abstractmethod
    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]: ...

    @abstractmethod
    async def _write(self, batch: Sequence[Write]) -> list[Item | None]: ...

    @abstractmethod
    async def _query(self, queries: Sequence[Query]) -> list[Page]: ...

    @abstractmethod
    async def _versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage: ...

    @abstractmethod
    async def _collections(self, scope: str | None) -> list[str]:
        """Name the collections of a scope, and of those inside it; `None`: all there are."""

    @abstractmethod
    async def _declare(self, spec: CollectionSpec) -> None: ...

    @abstractmethod
    async def _declared(self, collection: str) -> CollectionSpec | None: ...

    def size_limit(self, collection: str) -> int | None:
        """Largest document of a collection, bytes: the provider's limit and the declared one.

        For `_write`, which has to hold patched documents to it; puts were checked already.
        """
        return _checks.size_limit(
            self.capabilities, self._declarations.get(collection, (None, 0))[0]
        )

    # --- lifetime ------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Open the provider; doing it again while it is open changes nothing.

        Raises:
            ProviderClosedError: It has been closed; make a new one.
            StorageError: What it stands on can't be reached or read.
        """
        # Tasks that connect at once: the first opens, the others find it open.
        async with self._lifetime:
            if self._state == "closed":
                raise ProviderClosedError("cannot reopen a provider once it has been closed")
            if self._state == "new":
                with self._context("connect"):
                    await self._connect()
                self._state = "open"

    async def disconnect(self) -> None:
        """Close the provider for good; doing it again changes nothing."""
        async with self._lifetime:
            was_open, self._state = self._state == "open", "closed"
            if was_open:
                with self._context("disconnect"):
                    await self._disconnect()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.disconnect()

    def __repr__(self) -> str:
        return self.name

    @contextmanager
    def _context(self, operation: str) -> Generator[None]:
        try:
            yield
        except StorageError as error:
            error.with_context(self.name, operation)
            raise

    def _check_open(self, operation: str) -> None:
        if self._state == "open":
            return
        advice = (
            "not connected; use 'async with provider:' or 'await provider.connect()'"
            if self._state == "new"
            else "the provider has been closed"
        )
        raise ProviderClosedError(advice).with_context(self.name, operation)

    # --- the waist -----------------------------------------------------------------------------

    async def read(self, addresses: Sequence[Address]) -> list[Item | None]:
        """Read documents by their ids, in one batch that may span collections.

        Args:
            addresses: Which documents.

        Returns:
            One entry per address, in order: the item, or `None` where there is none.

        Raises:
            CorruptItemError: The one document asked for can't be decoded.
            BatchError: Some of several could not be read; `results` holds the others.
            InvalidArgumentError: A collection or an id is malformed.
            TransportError: The provider could not be reached.
        """
        self._check_open("read")
        try:
            limits = self.capabilities
            max_id_bytes, max_scope_bytes = limits.max_id_bytes, limits.max_scope_bytes
            for address in addresses:
                check_collection(address.collection, max_scope_bytes)
                check_id(address.id, max_id_bytes)
            return await self._read(addresses)
        except StorageError as error:
            error.with_context(self.name, "read")
            raise

    async def write(self, batch: Sequence[Write]) -> list[Item | None]:
        """Store, patch and remove documents verbatim, in one batch that may span collections.

        The batch is atomic where `capabilities.atomic_batch`; elsewhere each write is.

        Args:
            batch: The writes, at most one per document.

        Returns:
            One entry per write, in order: the stored item, `None` for `Delete` and `Clear`.

        Raises:
            ItemExistsError: `IF_ABSENT` did not hold.
            ItemNotFoundError: `IF_PRESENT` did not hold.
            VersionMismatchError: `IfVersion` did not hold.
            DocumentTooLargeError: A document exceeds the limit of the provider or collection.
            InvalidArgumentError: The batch names a document twice, or a name is malformed.
            UnsupportedOperationError: A condition needs a capability that is not there.
            BatchError: Without `atomic_batch`: some of several writes failed.
            OutcomeUnknownError: The connection broke after sending; read before repeating.
        """
        self._check_open("write")
        try:
            capabilities = self.capabilities
            limits: dict[str, int | None] = {}
            for write in batch:
                name = write.collection
                if name not in limits:
                    limits[name] = _checks.size_limit(capabilities, await self.declared(name))
            _checks.check_batch(batch, capabilities, limits)
            return await self._write(batch) if batch else []
        except StorageError as error:
            error.with_context(self.name, "write")
            raise

    async def query(self, queries: Sequence[Query]) -> list[Page]:
        """Answer queries, in one batch that may span collections.

        Args:
            queries: The questions.

        Returns:
            One page per query, in order.

        Raises:
            InvalidArgumentError: A `where`, order, cursor, limit or name is malformed.
            UnsupportedOperationError: `$text` without `text_search` or declared `text_fields`.
            TransportError: The provider could not be reached.
        """
        self._check_open("query")
        try:
            for query in queries:
                _checks.check_query(query, self.capabilities)
            pages = await self._query(queries)
        except StorageError as error:
            error.with_context(self.name, "query")
            raise
        return [
            page if query.fields is None else _projected(page, query.fields)
            for query, page in zip(queries, pages, strict=True)
        ]

    async def versions(
        self, collection: str, cursor: str | None = None, limit: int = 1000
    ) -> VersionPage:
        """List the ids and versions of a collection, without the documents.

        Args:
            collection: Name of the collection.
            cursor: Continues where the page with this cursor ended.
            limit: Most entries to return, at least 1.

        Returns:
            A page of ids and versions, in the provider's own order.

        Raises:
            InvalidArgumentError: The name, cursor or limit is malformed, or the cursor is another
                collection's.
            TransportError: The provider could not be reached.
        """
        self._check_open("versions")
        with self._context("versions"):
            check_collection(collection, self.capabilities.max_scope_bytes)
            if limit < 1:
                raise InvalidArgumentError(f"limit is {limit}, the least is 1")
            cursor = _checks.unbind_cursor(collection, cursor)
            page = await self._versions(collection, cursor, limit)
        if page.cursor is None:
            return page
        return msgspec.structs.replace(page, cursor=_checks.bind_cursor(collection, page.cursor))

    async def collections(self, scope: str | None = None) -> list[str]:
        """Name the collections that hold documents or are declared, with their scopes, sorted.

        Args:
            scope: Only those of this scope and of the scopes inside it: `user-7` names
                `user-7/todos` and `user-7/work/todos`. `None`: every collection.

        Returns:
            The names; those of the SDK's own collections (they begin with `.`) are left out.

        Raises:
            InvalidArgumentError: The scope is malformed.
            TransportError: The provider could not be reached.
        """
        self._check_open("collections")
        with self._context("collections"):
            if scope is not None:
                check_scope(scope, self.capabilities.max_scope_bytes)
            return sorted(await self._collections(scope))

    async def declare(self, spec: CollectionSpec) -> None:
        """Declare indexes, text fields, default time to live and size limit of a collection.

        Declaring what is declared already costs nothing; something else replaces it.

        Args:
            spec: The declaration. It is kept with the data.

        Raises:
            InvalidArgumentError: A name, path or number in it is malformed.
            UnsupportedOperationError: `text_fields` without `text_search`.
        """
        self._check_open("declare")
        with self._context("declare"):
            _checks.check_spec(spec, self.capabilities)
            if await self.declared(spec.collection) != spec:
                await self._declare(spec)
                self._remember(spec.collection, spec)

    async def declared(self, collection: str) -> CollectionSpec | None:
        """What is declared about a collection.

        Args:
            collection: Name of the collection.

        Returns:
            The declaration (one made by another process within the last minute may be missing),
            or `None`.

        Raises:
            InvalidArgumentError: The name is malformed.
        """
        self._check_open("declared")
        known = self._declarations.get(collection)
        now = self.clock.now_ms()
        if known is not None and 0 <= now - known[1] < DECLARATION_REFRESH_SECONDS * 1000:
            return known[0]
        with self._context("declared"):
            check_collection(collection, self.capabilities.max_scope_bytes)
            spec = await self._declared(collection)
        self._remember(collection, spec)
        return spec

    def _remember(self, collection: str, spec: CollectionSpec | None) -> None:
        """Keep a declaration for a minute; with many scopes the oldest are let go."""
        self._declarations.pop(collection, None)
        if len(self._declarations) >= DECLARATIONS_KEPT:
            del self._declarations[next(iter(self._declarations))]
        self._declarations[collection] = spec, self.clock.now_ms()


def _projected(page: Page, fields: tuple[str, ...]) -> Page:
    paths = [parse_path(field) for field in fields]
    items = [
        Item(
            item.collection,
            item.id,
            item.version,
            encode_object(project(item.document, paths)),
            item.encoding,
            item.payload,
        )
        for item in page.items
    ]
    return msgspec.structs.replace(page, items=items)
