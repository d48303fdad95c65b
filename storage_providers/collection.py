"""`Collection[T]`: one collection, seen through a model.

The methods are those of the provider's friendly face without the collection's name and without
`_item` in theirs: `create_item` is `create`, `read_items` is `read_many`, `find_items` is `find`.
"""

from __future__ import annotations

import builtins
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from storage_providers._clock import SYSTEM_CLOCK, format_timestamp
from storage_providers._json import JsonObject, encode_object, merge_patch
from storage_providers._models import PlainCodec, codec_for, to_wire
from storage_providers._overlay import overlay
from storage_providers._typed import TypedItem, TypedPage, Unreadable
from storage_providers.errors import (
    BatchError,
    CorruptItemError,
    CorruptItemWarning,
    InvalidArgumentError,
    InvalidDocumentError,
    ItemNotFoundError,
    StorageError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    CollectionSpec,
    Index,
    Item,
    StorageProvider,
    check_collection,
)

if TYPE_CHECKING:
    from storage_providers._clock import Clock
    from storage_providers._models import Codec

__all__ = ["Collection", "TypedItem", "TypedPage"]

T = TypeVar("T")


class Collection(Generic[T]):
    """A typed view of one collection of a provider.

    Documents are validated before they are written and when they are read; an error names the
    field, as a dotted path, and never its value. Field names in `where`, `order_by` and changes
    are those of the documents (`createdAt`); an attribute's name that differs from it is refused.

    The provider's lifetime is not the collection's business: it is borrowed.

    Args:
        provider: Where the documents are.
        name: Name of the collection, with its scope if it has one (`user-7/todos`).
        model: A pydantic model, a msgspec Struct, a dataclass, a TypedDict, or `dict` for
            documents as they are.

    Raises:
        InvalidArgumentError: The name is malformed, or the class can't be a model.
    """

    @overload
    def __init__(self: Collection[JsonObject], provider: StorageProvider, name: str) -> None: ...

    @overload
    def __init__(self, provider: StorageProvider, name: str, model: type[T]) -> None: ...

    def __init__(self, provider: StorageProvider, name: str, model: Any = dict) -> None:
        check_collection(name)
        self.provider = provider
        self.name = name
        self._codec: Codec[T] = codec_for(model)
        self._is_plain = isinstance(self._codec, PlainCodec)

    def __repr__(self) -> str:
        return f"Collection({self.provider!r}, {self.name!r}, {self._codec.model_name})"

    # --- one document --------------------------------------------------------------------------

    async def create(self, value: T, *, item_id: str | None = None) -> TypedItem[T]:
        """Store a new document.

        Args:
            value: The document. `updatedAt` is set; so are `id` and `createdAt` where the model
                lacks them or they are `None`.
            item_id: The id, for models without one.

        Returns:
            The document as stored: times to the millisecond, and with what was set.

        Raises:
            ItemExistsError: The id is taken; nothing was written.
            InvalidDocumentError: The value does not fit its model; `field` says where.
            DocumentTooLargeError: It exceeds the limit.
            OutcomeUnknownError: The connection broke after sending; read before trying again.
        """
        document = self._document("create", value, item_id)
        return self._typed("create", await self.provider.create_item(self.name, document))

    async def read(self, item_id: str) -> TypedItem[T] | None:
        """Read one document.

        Args:
            item_id: Id of the document.

        Returns:
            The document, or `None` if there is none.

        Raises:
            CorruptItemError: What is stored can't be decoded.
            InvalidDocumentError: The stored document does not fit the model; `field` says where.
            TransportError: The provider could not be reached.
        """
        item = await self.provider.read_item(self.name, item_id)
        return None if item is None else self._typed("read", item)

    async def update(
        self, item_id: str, changes: Mapping[str, Any], *, if_version: str | None = None
    ) -> TypedItem[T]:
        """Change some fields of one document and leave the others as they are.

        The changed document is validated as a whole before anything is written. That takes a
        read, and on a provider with `conditional_write` the write only happens if the document
        is still the one that was validated; otherwise it is done again. Without a model it is
        one `update_item`. On a provider without `conditional_write` what others change at the
        same moment is not validated together with it.

        Args:
            item_id: Id of the document.
            changes: Fields to set or, with `None`, to remove (a JSON Merge Patch, RFC 7396),
                under the names that documents use. Values may be datetimes, enums and the like.
            if_version: Only change the document if this is still its version.

        Returns:
            The document as stored, with its new version.

        Raises:
            ItemNotFoundError: No such document; nothing was written.
            VersionMismatchError: It has another version; `actual_version` says which.
            InvalidDocumentError: The result would not fit the model; nothing was written.
            InvalidArgumentError: `changes` uses an attribute's name instead of the document's.
            DocumentTooLargeError: The result exceeds the limit.
            OutcomeUnknownError: The connection broke after sending; read before trying again.
        """
        self._checked("update", changes)
        if self._is_plain:
            item = await self.provider.update_item(
                self.name, item_id, changes, if_version=if_version
            )
            return self._typed("update", item)
        with self._context("update", item_id):
            patch = cast(JsonObject, to_wire(changes))

        def merged(document: JsonObject) -> JsonObject:
            result = merge_patch(document, patch)
            self._validate("update", item_id, result)
            return result

        if if_version is None and self.provider.capabilities.conditional_write:
            return self._typed(
                "update", await self.provider.modify_item(self.name, item_id, merged)
            )
        item = await self._require("update", item_id, if_version)
        merged(item.document)
        return self._typed(
            "update",
            await self.provider.update_item(self.name, item_id, patch, if_version=if_version),
        )

    async def modify(
        self, item_id: str, change: Callable[[T], T], *, deadline_seconds: float = 30.0
    ) -> TypedItem[T]:
        """Read a document, change it by a function and store it, if need be again and again.

        Only what `change` changed is written into the document: fields that the model does not
        know stay, at every depth, and so does the stored form of what was not touched.

        Args:
            item_id: Id of the document.
            change: Takes the value and returns the new one; the same object, changed, will do.
            deadline_seconds: No new attempt is begun after this long, seconds.

        Returns:
            The document as stored, with its new version.

        Raises:
            ItemNotFoundError: No such document.
            VersionMismatchError: Others kept changing it until the deadline.
            UnsupportedOperationError: The provider has no `conditional_write`.
            InvalidDocumentError: The stored or the changed document does not fit the model, or
                the change gave it another id; nothing was written.
            OutcomeUnknownError: The connection broke after sending; read before trying again.
        """

        def changed(document: JsonObject) -> JsonObject:
            value = self._decoded("modify", item_id, encode_object(document))
            before = self._encoded("modify", value, item_id)
            after = self._encoded("modify", change(value), item_id)
            result = cast(JsonObject, overlay(document, before, after))
            self._validate("modify", item_id, result)
            return result

        item = await self.provider.modify_item(
            self.name, item_id, changed, deadline_seconds=deadline_seconds
        )
        return self._typed("modify", item)

    async def put(
        self, value: T, *, item_id: str | None = None, if_version: str | None = None
    ) -> TypedItem[T]:
        """Store a document whole, creating it or replacing what is there.

        What the model does not know of a replaced document is gone, its `createdAt` included if
        the model has none; `modify` keeps it.

        Args:
            value: The document; stamped as by `create`.
            item_id: The id, for models without one.
            if_version: Only replace the document if this is still its version.

        Returns:
            The document as stored, with its version.

        Raises:
            VersionMismatchError: It has another version, or is gone; nothing was written.
            InvalidDocumentError: The value does not fit its model; `field` says where.
            DocumentTooLargeError: It exceeds the limit.
            OutcomeUnknownError: The connection broke after sending; read before trying again.
        """
        document = self._document("put", value, item_id)
        item = await self.provider.put_item(self.name, document, if_version=if_version)
        return self._typed("put", item)

    async def delete(self, item_id: str, *, if_version: str | None = None) -> None:
        """Remove a document; removing what is absent is not an error.

        Args:
            item_id: Id of the document.
            if_version: Only remove the document if this is still its version.

        Raises:
            VersionMismatchError: It has another version, or is gone already.
            UnsupportedOperationError: `if_version` without `conditional_delete`.
            OutcomeUnknownError: The connection broke after sending.
        """
        await self.provider.delete_item(self.name, item_id, if_version=if_version)

    # --- several documents ---------------------------------------------------------------------

    async def create_many(self, values: Iterable[T]) -> builtins.list[TypedItem[T]]:
        """Store new documents in one batch.

        As `create`, and `BatchError` as the provider's `write` says. A value that does not fit is
        named by its `index`; nothing was written then.
        """
        documents = self._documents("create_many", values)
        items = await self.provider.create_items(self.name, documents)
        return [self._typed("create_many", item) for item in items]

    async def read_many(self, item_ids: Iterable[str]) -> builtins.list[TypedItem[T] | None]:
        """Read documents in one batch, in order; `None` where there is none.

        Args:
            item_ids: Ids of the documents.

        Returns:
            One entry per id.

        Raises:
            InvalidDocumentError: The one document asked for does not fit the model.
            BatchError: Some of several can't be read or do not fit; `results` holds the errors
                and, untyped, the others.
            TransportError: The provider could not be reached.
        """
        items = await self.provider.read_items(self.name, item_ids)
        results: list[Item | StorageError | None] = list(items)
        found: list[TypedItem[T] | None] = []
        failed: StorageError | None = None
        for position, item in enumerate(items):
            try:
                found.append(None if item is None else self._typed("read_many", item))
            except StorageError as error:
                results[position] = failed = error
                error.index = position
        if failed is None:
            return found
        if len(items) == 1:
            raise failed
        count = sum(isinstance(result, StorageError) for result in results)
        raise BatchError(
            f"{count} of {len(items)} documents can't be read as {self._codec.model_name}; "
            f"'results' says which, the last: {failed.message}",
            results=results,
        ).with_context(self.provider.name, "read_many")

    async def put_many(self, values: Iterable[T]) -> builtins.list[TypedItem[T]]:
        """Create or replace documents in one batch; as `put`, errors as `create_many`."""
        documents = self._documents("put_many", values)
        items = await self.provider.put_items(self.name, documents)
        return [self._typed("put_many", item) for item in items]

    async def delete_many(self, item_ids: Iterable[str]) -> None:
        """Remove documents in one batch; absent ones are not an error."""
        await self.provider.delete_items(self.name, item_ids)

    # --- listing -------------------------------------------------------------------------------

    async def list(
        self,
        *,
        where: Mapping[str, Any] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int = 100,
        cursor: str | None = None,
        offset: int = 0,
        total: bool = False,
    ) -> TypedPage[T]:
        """List one page of the collection.

        There is no `fields`: part of a document would not fit the model. Ask the provider's
        `list_items` for projections.

        Args:
            where: Conditions, in the language of `storage_providers.filters`; values may be
                datetimes, enums and the like.
            order_by: A dotted path or several, `-` in front for descending; without, by `id`.
            limit: Most items to return.
            cursor: Continues where the page with this cursor ended.
            offset: Items to pass over, instead of a cursor.
            total: Whether to count all matching documents too.

        Returns:
            The page. Documents that can't be read or do not fit are named in its `corrupt`.

        Raises:
            InvalidArgumentError: An argument is malformed, or names an attribute instead of the
                document's field.
            UnsupportedOperationError: `$text` without `text_search` or declared `text_fields`.
            TransportError: The provider could not be reached.
        """
        self._checked("list", (order_by,) if isinstance(order_by, str) else order_by or ())
        page = await self.provider.list_items(
            self.name,
            where=self._where("list", where),
            order_by=order_by,
            limit=limit,
            cursor=cursor,
            offset=offset,
            total=total,
        )
        items: list[TypedItem[T]] = []
        corrupt: list[Unreadable] = list(page.corrupt)
        for item in page.items:
            try:
                items.append(self._typed("list", item))
            except (InvalidDocumentError, CorruptItemError) as error:
                corrupt.append(error)
        return TypedPage(
            items=items,
            cursor=page.cursor,
            total=page.total,
            corrupt=tuple(corrupt),
            statistics=page.statistics,
        )

    async def find(
        self,
        *,
        where: Mapping[str, Any] | None = None,
        order_by: str | Sequence[str] | None = None,
        page_size: int = 500,
        on_corrupt: Callable[[Unreadable], None] | None = None,
    ) -> AsyncIterator[TypedItem[T]]:
        """Iterate over every matching document, holding one page at a time.

        Args:
            where: Conditions, as in `list`.
            order_by: A dotted path or several, `-` in front for descending; without, by `id`.
            page_size: Items to fetch at once.
            on_corrupt: Told of each document that can't be read or does not fit the model;
                without it, a `CorruptItemWarning` is issued. The others are yielded all the same.

        Yields:
            The documents, in order.

        Raises:
            InvalidArgumentError: An argument is malformed.
            UnsupportedOperationError: `$text` without `text_search` or declared `text_fields`.
            TransportError: The provider could not be reached.
        """
        cursor: str | None = None
        while True:
            page = await self.list(where=where, order_by=order_by, limit=page_size, cursor=cursor)
            for error in page.corrupt:
                if on_corrupt is None:
                    warnings.warn(str(error), CorruptItemWarning, stacklevel=2)
                else:
                    on_corrupt(error)
            for item in page.items:
                yield item
            cursor = page.cursor
            if cursor is None:
                return

    async def count(self, *, where: Mapping[str, Any] | None = None) -> int:
        """Count the documents that match; arguments and errors as `list`.

        Documents that do not fit the model are counted too.
        """
        return await self.provider.count_items(self.name, where=self._where("count", where))

    async def clear(self) -> None:
        """Remove every document of the collection; its declaration stays."""
        await self.provider.clear_collection(self.name)

    # --- declaring -----------------------------------------------------------------------------

    async def declare(
        self,
        *,
        indexes: Iterable[Index | str | tuple[str, ...]] = (),
        text_fields: Iterable[str] = (),
        default_ttl_seconds: float | None = None,
        max_document_bytes: int | None = None,
    ) -> CollectionSpec:
        """Declare indexes and limits of the collection; replaces what was declared before.

        Args:
            indexes: Indexes to keep; `"status"` and `("status", "-due")` are short for
                `Index.of("status")` and `Index.of("status", "-due")`.
            text_fields: Dotted paths to search with `$text`.
            default_ttl_seconds: New documents expire this much later, seconds.
            max_document_bytes: Refuse larger documents, bytes of their stored JSON.

        Returns:
            The declaration.

        Raises:
            InvalidArgumentError: A name, path or number is malformed.
            UnsupportedOperationError: `text_fields` without `text_search`.
        """
        spec = CollectionSpec(
            collection=self.name,
            indexes=tuple(_index(index) for index in indexes),
            text_fields=tuple(text_fields),
            default_ttl_seconds=default_ttl_seconds,
            max_document_bytes=max_document_bytes,
        )
        for index in spec.indexes:
            self._checked("declare", index.fields)
        self._checked("declare", spec.text_fields)
        await self.provider.declare(spec)
        return spec

    async def declared(self) -> CollectionSpec | None:
        """What is declared about the collection, or `None`."""
        return await self.provider.declared(self.name)

    # --- in and out ----------------------------------------------------------------------------

    def _typed(self, operation: str, item: Item) -> TypedItem[T]:
        if item.encoding is not None:
            with self._context(operation, item.id):
                raise CorruptItemError(
                    f"the document is encoded as {item.encoding!r}; read it through the layer "
                    "that wrote it"
                )
        return TypedItem(item.id, item.version, self._decoded(operation, item.id, item.body))

    def _decoded(self, operation: str, item_id: str, body: bytes) -> T:
        try:
            return self._codec.decode(body)
        except StorageError as error:
            error.collection, error.item_id = self.name, item_id
            error.with_context(self.provider.name, operation)
            raise

    def _encoded(self, operation: str, value: T, item_id: str | None) -> JsonObject:
        with self._context(operation, item_id):
            return self._codec.encode(value)

    def _validate(self, operation: str, item_id: str, document: JsonObject) -> None:
        with self._context(operation, item_id):
            self._codec.decode(encode_object(document))

    def _document(self, operation: str, value: T, item_id: str | None) -> JsonObject:
        """A new document: encoded, with an id, and known to fit the model once it is stamped."""
        document = self._encoded(operation, value, item_id)
        if not self._is_plain:
            for field in ("id", "createdAt", "updatedAt", "expiresAt"):
                if document.get(field, "") is None:
                    del document[field]
        if document.get("id") is None:
            document["id"] = self._clock.new_id() if item_id is None else item_id
        elif item_id is not None and document["id"] != item_id:
            with self._context(operation, item_id):
                raise InvalidArgumentError("item_id is not the id that the value has")
        if not self._is_plain:
            now = format_timestamp(self._clock.now_ms())
            stamped = {"createdAt": now, "updatedAt": now, **document}
            self._validate(operation, str(document["id"]), stamped)
        return document

    def _documents(self, operation: str, values: Iterable[T]) -> builtins.list[JsonObject]:
        documents: list[JsonObject] = []
        for position, value in enumerate(values):
            try:
                documents.append(self._document(operation, value, None))
            except InvalidDocumentError as error:
                error.index = position
                raise
        return documents

    async def _require(self, operation: str, item_id: str, if_version: str | None) -> Item:
        item = await self.provider.read_item(self.name, item_id)
        with self._context(operation, item_id):
            if if_version is not None and (item is None or item.version != if_version):
                raise VersionMismatchError(
                    "the document is gone" if item is None else "the document was changed",
                    expected_version=if_version,
                    actual_version=None if item is None else item.version,
                )
            if item is None:
                raise ItemNotFoundError("no such document")
        return item

    @property
    def _clock(self) -> Clock:
        return cast("Clock", getattr(self.provider, "clock", SYSTEM_CLOCK))

    # --- names and values in queries -----------------------------------------------------------

    def _where(self, operation: str, where: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if where is None or self._is_plain:
            return where
        with self._context(operation):
            self._codec.check_where(where)
            return cast(JsonObject, to_wire(where))

    def _checked(self, operation: str, paths: Iterable[str]) -> None:
        with self._context(operation):
            self._codec.check_paths(paths)

    @contextmanager
    def _context(self, operation: str, item_id: str | None = None) -> Generator[None]:
        try:
            yield
        except StorageError as error:
            error.collection, error.item_id = self.name, item_id
            error.with_context(self.provider.name, operation)
            raise


def _index(index: Index | str | tuple[str, ...]) -> Index:
    if isinstance(index, Index):
        return index
    return Index.of(index) if isinstance(index, str) else Index.of(*index)
