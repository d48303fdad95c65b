"""The friendly face: one document or one collection at a time, derived from the verbs.

It is written once, on abstract verbs, and inherited by every provider and every layer; so a
layer's own verbs are what its friendly face calls, and no layer can be bypassed.
"""

from __future__ import annotations

import asyncio
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, cast

from storage_providers._clock import Clock, format_timestamp, parse_timestamp
from storage_providers.errors import (
    CorruptItemError,
    CorruptItemWarning,
    InvalidArgumentError,
    InvalidDocumentError,
    ItemNotFoundError,
    RateLimitedError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    IF_PRESENT,
    Address,
    Capabilities,
    Clear,
    CollectionSpec,
    Condition,
    Delete,
    IfVersion,
    ImportReport,
    Item,
    JsonObject,
    LegacySource,
    Page,
    Patch,
    Put,
    Query,
    Write,
)

__all__ = ["FriendlyFace"]

_CANONICAL_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


class FriendlyFace(ABC):
    """What `StorageProvider` offers beside the verbs; `Provider` adds the verbs themselves."""

    name: ClassVar[str]
    clock: Clock

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this provider can do."""

    @abstractmethod
    async def read(self, addresses: Sequence[Address]) -> list[Item | None]: ...

    @abstractmethod
    async def write(self, batch: Sequence[Write]) -> list[Item | None]: ...

    @abstractmethod
    async def query(self, queries: Sequence[Query]) -> list[Page]: ...

    @abstractmethod
    async def declared(self, collection: str) -> CollectionSpec | None: ...

    # --- one document -------------------------------------------------------

    async def create_item(self, collection: str, document: Mapping[str, Any]) -> Item:
        """Store a new document.

        Args:
            collection: Name of the collection.
            document: A JSON object. Without an `id` it gets a UUIDv7. `createdAt` is set unless
                given, `updatedAt` is set.

        Returns:
            The document as stored, with its version.

        Raises:
            ItemExistsError: The id is taken; nothing was written.
            InvalidDocumentError: It is not storable JSON; `field` says where.
            DocumentTooLargeError: It exceeds the limit.
            OutcomeUnknownError: The connection broke after sending; read before trying again.
        """
        return (await self._put(collection, [document], IF_ABSENT))[0]

    async def read_item(self, collection: str, item_id: str) -> Item | None:
        """Read one document.

        Args:
            collection: Name of the collection.
            item_id: Id of the document.

        Returns:
            The document with its version, or `None` if there is none.

        Raises:
            CorruptItemError: What is stored can't be decoded; `source` names the place.
            TransportError: The provider could not be reached.
        """
        return (await self.read((Address(collection, item_id),)))[0]

    async def update_item(
        self,
        collection: str,
        item_id: str,
        changes: Mapping[str, Any],
        *,
        if_version: str | None = None,
    ) -> Item:
        """Change some fields of one document and leave the others as they are.

        Changes are applied as a JSON Merge Patch (RFC 7396): `None` removes a field. On a provider
        with `conditional_write`, fields changed by others at the same moment are kept.

        Args:
            collection: Name of the collection.
            item_id: Id of the document.
            changes: Fields to set or, with `None`, to remove.
            if_version: Only change the document if this is still its version.

        Returns:
            The document as stored, with its new version.

        Raises:
            ItemNotFoundError: No such document; nothing was written.
            VersionMismatchError: It has another version; `actual_version` says which.
            InvalidDocumentError: `changes` is not storable JSON or changes the id.
            DocumentTooLargeError: The result exceeds the limit.
            OutcomeUnknownError: The connection broke after sending; read before trying again.
        """
        condition = IF_PRESENT if if_version is None else IfVersion(if_version)
        stamped = self._stamped_changes(changes, format_timestamp(self.clock.stamp_ms()))
        patch = Patch(collection, item_id, stamped, condition)
        return _stored(await self.write((patch,)))[0]

    async def modify_item(
        self,
        collection: str,
        item_id: str,
        change: Callable[[JsonObject], Mapping[str, Any]],
        *,
        deadline_seconds: float = 30.0,
    ) -> Item:
        """Read a document, change it by a function and store it, if need be again and again.

        The document is only replaced if nobody else changed it since it was read; otherwise
        `change` is called anew with what is there then. So increments are never lost.

        Args:
            collection: Name of the collection.
            item_id: Id of the document.
            change: Takes the document (its own copy) and returns the new one.
            deadline_seconds: No new attempt is begun after this long, seconds.

        Returns:
            The document as stored, with its new version.

        Raises:
            ItemNotFoundError: No such document.
            VersionMismatchError: Others kept changing it until the deadline.
            RateLimitedError: The service wants a longer wait than there is time for.
            UnsupportedOperationError: The provider has no `conditional_write`.
            InvalidDocumentError: The new document is not storable JSON or changes the id.
            OutcomeUnknownError: The connection broke after sending; read before trying again.
        """
        if not self.capabilities.conditional_write:
            raise UnsupportedOperationError(
                "modify_item needs conditional_write", collection=collection, item_id=item_id
            ).with_context(self.name, "modify_item")
        loop = asyncio.get_running_loop()
        deadline, attempt = loop.time() + deadline_seconds, 0
        while True:
            item = await self.read_item(collection, item_id)
            if item is None:
                raise ItemNotFoundError(
                    "no such document", collection=collection, item_id=item_id
                ).with_context(self.name, "modify_item")
            if item.encoding is not None:
                # Storing what is visible of it would drop the payload.
                raise UnsupportedOperationError(
                    f"the document is encoded as {item.encoding!r}; modify it through the layer "
                    "that wrote it",
                    collection=collection,
                    item_id=item_id,
                ).with_context(self.name, "modify_item")
            document = self._modified(item, change)
            try:
                put = Put(collection, document, IfVersion(item.version))
                return _stored(await self.write((put,)))[0]
            except (VersionMismatchError, RateLimitedError) as error:
                attempt += 1
                floor, bound = 0.0, min(0.25, 0.001 * 2**attempt)
                if isinstance(error, RateLimitedError):
                    # Nothing was written. Object stores take one write a second per key.
                    floor, bound = max(1.0, error.retry_after_seconds or 0.0), 1.0
                if loop.time() + floor >= deadline:
                    raise
                await asyncio.sleep(floor + self.clock.jitter() * bound)

    async def put_item(
        self, collection: str, document: Mapping[str, Any], *, if_version: str | None = None
    ) -> Item:
        """Store a document whole, creating it or replacing what is there.

        Args:
            collection: Name of the collection.
            document: A JSON object. Without an `id` it gets a UUIDv7. `updatedAt` is set; so is
                `createdAt` unless given (nothing is read first: pass it on to keep it).
            if_version: Only replace the document if this is still its version.

        Returns:
            The document as stored, with its version.

        Raises:
            VersionMismatchError: It has another version, or is gone; nothing was written.
            InvalidDocumentError: It is not storable JSON; `field` says where.
            DocumentTooLargeError: It exceeds the limit.
            OutcomeUnknownError: The connection broke after sending; read before trying again.
        """
        condition = ANY if if_version is None else IfVersion(if_version)
        return (await self._put(collection, [document], condition))[0]

    async def delete_item(
        self, collection: str, item_id: str, *, if_version: str | None = None
    ) -> None:
        """Remove a document; removing what is absent is not an error.

        Args:
            collection: Name of the collection.
            item_id: Id of the document.
            if_version: Only remove the document if this is still its version.

        Raises:
            VersionMismatchError: It has another version, or is gone already.
            UnsupportedOperationError: `if_version` without `conditional_delete`.
            OutcomeUnknownError: The connection broke after sending.
        """
        condition = ANY if if_version is None else IfVersion(if_version)
        await self.write((Delete(collection, item_id, condition),))

    # --- several documents --------------------------------------------------

    async def create_items(
        self, collection: str, documents: Iterable[Mapping[str, Any]]
    ) -> list[Item]:
        """Store new documents in one batch; as `create_item`, and `BatchError` as `write` says."""
        return await self._put(collection, documents, IF_ABSENT)

    async def read_items(self, collection: str, item_ids: Iterable[str]) -> list[Item | None]:
        """Read documents in one batch, in order; `None` where there is none. See `read`."""
        return await self.read([Address(collection, item_id) for item_id in item_ids])

    async def update_items(
        self, collection: str, changes: Mapping[str, Mapping[str, Any]]
    ) -> list[Item]:
        """Patch documents in one batch: `{id: changes}`. As `update_item`, errors as `write`."""
        stamp = format_timestamp(self.clock.stamp_ms())
        return _stored(
            await self.write(
                [
                    Patch(collection, item_id, self._stamped_changes(change, stamp))
                    for item_id, change in changes.items()
                ]
            )
        )

    async def put_items(
        self, collection: str, documents: Iterable[Mapping[str, Any]]
    ) -> list[Item]:
        """Create or replace documents in one batch; as `put_item`, errors as `write`."""
        return await self._put(collection, documents, ANY)

    async def delete_items(self, collection: str, item_ids: Iterable[str]) -> None:
        """Remove documents in one batch; absent ones are not an error. Errors as `write`."""
        await self.write([Delete(collection, item_id) for item_id in dict.fromkeys(item_ids)])

    # --- listing ------------------------------------------------------------

    async def list_items(
        self,
        collection: str,
        *,
        where: Mapping[str, Any] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int = 100,
        cursor: str | None = None,
        offset: int = 0,
        fields: Sequence[str] | None = None,
        total: bool = False,
    ) -> Page:
        """List one page of a collection.

        Args:
            collection: Name of the collection.
            where: Conditions, in the language of `storage_providers.filters`.
            order_by: A dotted path or several, `-` in front for descending; without, by `id`.
            limit: Most items to return.
            cursor: Continues where the page with this cursor ended.
            offset: Items to pass over, instead of a cursor.
            fields: Dotted paths to return beside `id`; without, whole documents.
            total: Whether to count all matching documents too.

        Returns:
            The page. Documents that can't be read are named in `Page.corrupt`.

        Raises:
            InvalidArgumentError: An argument is malformed, or the cursor is another query's.
            UnsupportedOperationError: `$text` without `text_search` or declared `text_fields`.
            TransportError: The provider could not be reached.
        """
        query = Query(
            collection,
            where,
            _names(order_by),
            limit,
            cursor,
            offset,
            None if fields is None else _names(fields),
            total,
        )
        return (await self.query((query,)))[0]

    async def find_items(
        self,
        collection: str,
        *,
        where: Mapping[str, Any] | None = None,
        order_by: str | Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
        page_size: int = 500,
        on_corrupt: Callable[[CorruptItemError], None] | None = None,
    ) -> AsyncIterator[Item]:
        """Iterate over every matching document, holding one page at a time.

        Args:
            collection: Name of the collection.
            where: Conditions, in the language of `storage_providers.filters`.
            order_by: A dotted path or several, `-` in front for descending; without, by `id`.
            fields: Dotted paths to return beside `id`; without, whole documents.
            page_size: Items to fetch at once, at least 1.
            on_corrupt: Told of each document that can't be read; without it, a
                `CorruptItemWarning` is issued. The others are yielded all the same.

        Yields:
            The documents, in order.

        Raises:
            InvalidArgumentError: An argument is malformed.
            UnsupportedOperationError: `$text` without `text_search` or declared `text_fields`.
            TransportError: The provider could not be reached.
        """
        cursor: str | None = None
        if page_size < 1:
            raise InvalidArgumentError(f"page_size is {page_size}, the least is 1")
        while True:
            page = await self.list_items(
                collection,
                where=where,
                order_by=order_by,
                limit=page_size,
                cursor=cursor,
                fields=fields,
            )
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

    async def count_items(self, collection: str, *, where: Mapping[str, Any] | None = None) -> int:
        """Count the documents that match; arguments and errors as `list_items`."""
        page = (await self.query((Query(collection, where, limit=0, total=True),)))[0]
        return cast(int, page.total)

    async def clear_collection(self, collection: str) -> None:
        """Remove every document of a collection; its declaration stays. Errors as `write`."""
        await self.write((Clear(collection),))

    async def migrate_legacy_data(
        self,
        source: LegacySource,
        *,
        dry_run: bool = False,
        on_progress: Callable[[int], None] | None = None,
    ) -> ImportReport:
        """Import everything a legacy source holds; repeating it changes nothing.

        A document that exists already is replaced only by one with a newer `updatedAt`.

        Args:
            source: Reads the legacy data, such as `ValetFolder("valet-data")`.
            dry_run: Only report what would be done.
            on_progress: Told after each batch how many records were dealt with so far.

        Returns:
            What was created, updated, left as it was, and what could not be read and why.

        Raises:
            StorageError: This provider failed; what was imported until then stays.
        """
        from storage_providers._importing import import_legacy

        return await import_legacy(self, source, dry_run=dry_run, on_progress=on_progress)

    # --- helpers -------------------------------------------------------------------------------

    async def _put(
        self, collection: str, documents: Iterable[Mapping[str, Any]], condition: Condition
    ) -> list[Item]:
        spec = await self.declared(collection)
        now = self.clock.stamp_ms()
        stamp = format_timestamp(now)
        expiry = (
            None
            if spec is None or spec.default_ttl_seconds is None
            else format_timestamp(now + round(spec.default_ttl_seconds * 1000))
        )
        puts: list[Put] = []
        for position, document in enumerate(documents):
            try:
                stamped = self._stamped(document, stamp, expiry)
                puts.append(Put(collection, stamped, condition))
            except InvalidDocumentError as error:
                error.collection, error.index = collection, position
                error.with_context(self.name, "write")
                raise
        return _stored(await self.write(puts))

    def _stamped(self, document: Mapping[str, Any], stamp: str, expiry: str | None) -> JsonObject:
        if not _is_mapping(document):
            raise InvalidDocumentError(
                f"a document is a JSON object, not {type(document).__name__}"
            )
        stamped: JsonObject = {"id": None, **document}
        if stamped["id"] is None:
            stamped["id"] = self.clock.new_id()
        created = document.get("createdAt")
        stamped["createdAt"] = stamp if created is None else _timestamp(created, "createdAt")
        stamped["updatedAt"] = stamp
        if expiry is not None and "expiresAt" not in document:
            stamped["expiresAt"] = expiry
        return stamped

    def _stamped_changes(self, changes: Mapping[str, Any], stamp: str) -> JsonObject:
        if not _is_mapping(changes):
            raise InvalidDocumentError(f"changes are a JSON object, not {type(changes).__name__}")
        stamped = {**changes, "updatedAt": stamp}
        if "createdAt" in changes:
            stamped["createdAt"] = _timestamp(changes["createdAt"], "createdAt")
        return stamped

    def _modified(
        self, item: Item, change: Callable[[JsonObject], Mapping[str, Any]]
    ) -> JsonObject:
        before = item.document
        created, updated = before.get("createdAt"), before.get("updatedAt")
        after = change(before)
        if not isinstance(after, Mapping):
            raise InvalidDocumentError(
                f"the change returned {type(after).__name__}, not the document",
                collection=item.collection,
                item_id=item.id,
            )
        if after.get("id", item.id) != item.id:
            raise InvalidDocumentError(
                "the change gave the document another id",
                collection=item.collection,
                item_id=item.id,
                field="id",
            )
        now = self.clock.stamp_ms()
        if isinstance(updated, str) and _CANONICAL_TIMESTAMP.fullmatch(updated):
            # Another machine's clock may be ahead of ours; time must not go back for a document.
            now = max(now, parse_timestamp(updated) + 1)
        stamped = {"id": item.id, **after, "updatedAt": format_timestamp(now)}
        if stamped.get("createdAt") is None and created is not None:
            stamped["createdAt"] = created
        elif stamped.get("createdAt") != created:
            stamped["createdAt"] = _timestamp(stamped["createdAt"], "createdAt")
        return stamped


def _names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())


def _stored(items: list[Item | None]) -> list[Item]:
    return cast("list[Item]", items)


def _is_mapping(value: object) -> bool:
    # Asking an abstract class takes longer than all the rest of a dict's stamping.
    return type(value) is dict or isinstance(value, Mapping)


def _timestamp(value: object, field: str) -> str:
    """A time as documents carry it; other ISO 8601 forms are brought into it."""
    if isinstance(value, str):
        if _CANONICAL_TIMESTAMP.fullmatch(value):
            return value
        try:
            return format_timestamp(parse_timestamp(value))
        except ValueError:
            pass
    raise InvalidDocumentError(
        f"{field!r} is not an ISO 8601 time such as 2026-01-31T12:00:00.000Z", field=field
    )
