"""`Scope`: one user's or tenant's part of a provider, as if it were the whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Final, Self, TypeVar

import msgspec

from storage_providers._names import MAX_SCOPE_BYTES
from storage_providers.base import Provider
from storage_providers.errors import (
    BatchError,
    ConfigurationError,
    CorruptItemError,
    InvalidArgumentError,
    ProviderClosedError,
    StorageError,
    TransportError,
)
from storage_providers.layers._layer import Call, Layer
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
    check_scope,
)

__all__ = ["Scope", "stored_name"]

T = TypeVar("T")
E = TypeVar("E", bound=StorageError)


class Scope(Layer):
    """Shows one scope of a provider as a provider of its own.

    `todos` is stored as `user-7/todos`. Nothing outside the scope can be read, listed, counted,
    cleared, declared on or reached by any name, id or cursor, and names come back without the
    scope: in items, pages, declarations, `collections()` and errors. What is inside may have
    scopes itself: `work/todos` is stored as `user-7/work/todos`.

    A scope on a scope stays inside it. The one nearest the provider comes first in the stored
    name: `compose(Scope("user-7"), Scope("org-1"), provider=…)` keeps `todos` in
    `org-1/user-7/todos`.

    It holds against any input, not against code: `layer.inner` is the provider with everything.

    Args:
        scope: Printable text without `/`, not `.` or `..`, at most 256 bytes of UTF-8.

    Raises:
        InvalidArgumentError: The scope breaks these rules; the message says which.
    """

    name: ClassVar[str] = "scope"

    def __init__(self, scope: str) -> None:
        super().__init__()
        self._scope = _checked(scope)
        self._prefix = f"{scope}/"
        self._max_scope_bytes = MAX_SCOPE_BYTES

    def wrap(self, provider: Provider) -> Self:
        """Put this layer on a provider, for good.

        Raises:
            ConfigurationError: It is on one already, or the provider has no room for the scope.
        """
        room, size = provider.capabilities.max_scope_bytes, len(self._scope.encode())
        if size > room:
            raise ConfigurationError(
                f"the scope is {size} bytes, where {room} are left; use a shorter one, or fewer "
                "inside each other"
            )
        super().wrap(provider)
        self._max_scope_bytes = self.capabilities.max_scope_bytes
        return self

    def transform(self, capabilities: Capabilities) -> Capabilities:
        """The same, but with less room for scopes inside this one."""
        room = capabilities.max_scope_bytes - len(self._prefix.encode())
        return msgspec.structs.replace(capabilities, max_scope_bytes=max(room, 0))

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        """Carry out a call; an error of this layer's own says so."""
        try:
            return await proceed()
        except StorageError as error:
            error.with_context(self.name, call.verb)
            raise

    # --- reads ---------------------------------------------------------------------------------

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        inner = [Address(self._inside(address.collection), address.id) for address in addresses]
        items = await self._from_inside(super()._read(inner))
        return [
            None if item is None else item.renamed(address.collection)
            for address, item in zip(addresses, items, strict=True)
        ]

    # --- writes --------------------------------------------------------------------------------

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        inner = [write.renamed(self._inside(write.collection)) for write in batch]
        items = await self._from_inside(super()._write(inner))
        return [
            None if item is None else item.renamed(write.collection)
            for write, item in zip(batch, items, strict=True)
        ]

    # --- queries -------------------------------------------------------------------------------

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        inner = [
            msgspec.structs.replace(query, collection=self._inside(query.collection))
            for query in queries
        ]
        pages = await self._from_inside(super()._query(inner))
        return [
            msgspec.structs.replace(
                page,
                items=[item.renamed(query.collection) for item in page.items],
                corrupt=tuple(_left(self._prefix, error) for error in page.corrupt),
            )
            for query, page in zip(queries, pages, strict=True)
        ]

    async def _versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage:
        return await self._from_inside(super()._versions(self._inside(collection), cursor, limit))

    # --- collections ---------------------------------------------------------------------------

    async def _collections(self, scope: str | None) -> list[str]:
        prefix, inside = self._prefix, self._scope
        if scope is not None:
            inside = prefix + check_scope(scope, self._max_scope_bytes)
        try:
            names = await super()._collections(inside)
        except (ProviderClosedError, TransportError) as error:
            left: StorageError = _left(prefix, error)
        except StorageError as error:
            # A provider may look at every scope for this, and name what lies in another.
            left = _hidden(_copy(error))
        else:
            return [name.removeprefix(prefix) for name in names]
        raise left

    async def _declare(self, spec: CollectionSpec) -> None:
        inner = msgspec.structs.replace(spec, collection=self._inside(spec.collection))
        await self._from_inside(super()._declare(inner))

    async def _declared(self, collection: str) -> CollectionSpec | None:
        spec = await self._from_inside(super()._declared(self._inside(collection)))
        return None if spec is None else msgspec.structs.replace(spec, collection=collection)

    # --- names, in and out ---------------------------------------------------------------------

    def _inside(self, collection: str) -> str:
        """The stored name of a collection.

        Raises:
            InvalidArgumentError: It is no name, or too long here; said before it is prefixed, so
                that the message shows it as the caller knows it.
        """
        check_collection(collection, self._max_scope_bytes)
        return self._prefix + collection

    async def _from_inside(self, answer: Awaitable[T]) -> T:
        """Await the wrapped provider's answer; its errors come out with the names of this side."""
        try:
            return await answer
        except StorageError as error:
            left = _left(self._prefix, error)
        # Out here it does not drag the wrapped provider's error along as its context.
        raise left


def _checked(scope: object) -> str:
    if not isinstance(scope, str):
        raise InvalidArgumentError(f"a scope is text, not {type(scope).__name__}")
    if not scope or scope in (".", "..") or "/" in scope or not scope.isprintable():
        raise InvalidArgumentError(
            f"{scope!r} is not a scope; use printable text without '/', other than '.' and '..'"
        )
    size = len(scope.encode())
    if size > MAX_SCOPE_BYTES:
        raise InvalidArgumentError(f"the scope is {size} bytes, the limit is {MAX_SCOPE_BYTES}")
    return scope


HIDDEN: Final = (
    "the provider failed outside of this scope; the same call on the provider itself says where"
)


def _left(prefix: str, error: E) -> E:
    """An error as it reads outside the scope.

    It is a copy: a provider may raise the same error to callers in several scopes.
    """
    copy = _copy(error)
    if copy.collection is not None:
        if not copy.collection.startswith(prefix):
            return _hidden(copy)
        copy.collection = copy.collection.removeprefix(prefix)
    if isinstance(copy, BatchError):
        message = copy.message
        results: list[Item | StorageError | None] = []
        for result in copy.results:
            if isinstance(result, StorageError):
                left = _left(prefix, result)
                # The batch's message may quote one of its errors.
                message = message.replace(str(result), str(left))
                results.append(left)
            elif result is not None:
                results.append(result.renamed(result.collection.removeprefix(prefix)))
            else:
                results.append(None)
        copy.results = tuple(results)
        _reword(copy, message)
    return copy


def _hidden(error: E) -> E:
    """An error that happened elsewhere, without what it says about that place."""
    error.collection = error.item_id = None
    if isinstance(error, CorruptItemError):
        error.source = None
    if isinstance(error, BatchError):
        error.results = ()
    _reword(error, HIDDEN)
    return error


def _reword(error: StorageError, message: str) -> None:
    error.message = message
    error.args = (message,)


def _copy(error: E) -> E:
    # Not by calling the class: authors' own errors may take other arguments than they keep.
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error.__cause__
    return copy.with_traceback(error.__traceback__)


def stored_name(provider: Provider, collection: str) -> str:
    """The name of a collection below layers.

    Args:
        provider: The outermost layer, or the provider itself.
        collection: The name as it is known there.
    """
    while isinstance(provider, Layer):
        if isinstance(provider, Scope):
            collection = provider._prefix + collection
        provider = provider.inner
    return collection
