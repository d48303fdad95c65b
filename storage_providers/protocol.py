"""The contract: the words every provider, layer and store speaks. No input or output here.

A provider implements four verbs, `read`, `write`, `query` and `versions`, each a batch that may
span collections, because remote calls are what costs. `storage_providers.base.Provider` derives
the friendly face (`create_item`, `find_items`, …) from them once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import msgspec

from storage_providers._json import JsonObject, JsonValue, decode_object
from storage_providers._names import (
    MAX_SCOPE_BYTES,
    check_collection,
    check_id,
    check_scope,
    is_inside,
)
from storage_providers._validation import describe_msgspec
from storage_providers._writes import (
    ANY,
    IF_ABSENT,
    IF_PRESENT,
    Clear,
    Condition,
    Delete,
    IfVersion,
    Patch,
    Presence,
    Put,
    Write,
    expiry_of,
)
from storage_providers.errors import CorruptItemError, InvalidDocumentError

__all__ = [
    "ANY",
    "IF_ABSENT",
    "IF_PRESENT",
    "Address",
    "Capabilities",
    "Clear",
    "CollectionSpec",
    "Condition",
    "Delete",
    "IfVersion",
    "ImportReport",
    "Index",
    "Item",
    "ItemVersion",
    "JsonObject",
    "JsonValue",
    "LegacyProblem",
    "LegacyRecord",
    "LegacySource",
    "Page",
    "Patch",
    "Presence",
    "Put",
    "Query",
    "QueryStatistics",
    "StorageProvider",
    "VersionPage",
    "Write",
    "check_collection",
    "check_id",
    "check_scope",
    "expiry_of",
    "is_inside",
]

T = TypeVar("T")

# --- what a provider can do --------------------------------------------------------------------


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider declares that it can do, as data. A layer transforms it.

    Attributes:
        atomic_batch: A `write` batch lands whole or not at all. Elsewhere each write does.
        conditional_write: `IF_ABSENT`, `IF_PRESENT` and `IfVersion` on puts and patches hold under
            concurrency, so `modify_item` and `update_item` lose nothing.
        conditional_delete: The same for deletes.
        native_query: `where` and `order_by` are answered by an engine, not by reading everything.
        text_search: `$text` works on collections declared with `text_fields`.
        native_ttl: Expired documents are removed by the service itself.
        strongly_consistent: A read sees every write that returned before it began.
        staleness_seconds: How old an answer may be when `strongly_consistent` is false, seconds.
        durable: What was written survives the end of the process.
        max_document_bytes: Largest document, bytes of its stored JSON; `None`: no limit of ours.
        max_id_bytes: Longest id, bytes of UTF-8.
        max_scope_bytes: Longest scope of a collection, bytes of UTF-8, all its parts together.
    """

    atomic_batch: bool = False
    conditional_write: bool = False
    conditional_delete: bool = False
    native_query: bool = False
    text_search: bool = False
    native_ttl: bool = False
    strongly_consistent: bool = True
    staleness_seconds: float = 0.0
    durable: bool = True
    max_document_bytes: int | None = None
    max_id_bytes: int = 512
    max_scope_bytes: int = MAX_SCOPE_BYTES


# --- reading -----------------------------------------------------------------------------------


class Address(msgspec.Struct, frozen=True):
    """Where one document is: its collection (with its scope, if any) and its id."""

    collection: str
    id: str


# Items are what reads and writes hand out by the thousand: a Struct is made twice as fast as an
# object with `__init__`, and the garbage collector need not follow it, as JSON has no cycles.
class Item(msgspec.Struct, eq=False, gc=False):
    """A document as read from a provider, with its version.

    Attributes:
        collection: The collection it was read from, with its scope if it has one.
        id: The document's id.
        version: Changes whenever the stored document does; comparable within one provider only.
        body: The document as UTF-8 JSON, as stored.
        encoding: Name of the payload's encoding, if a layer turned the document into bytes.
        payload: The encoded bytes, exactly when `encoding` is set.
    """

    collection: str
    id: str
    version: str
    body: bytes
    encoding: str | None = None
    payload: bytes | None = None
    _document: JsonObject | None = None

    @property
    def document(self) -> JsonObject:
        """The document, decoded at the first use and yours from then on.

        Raises:
            CorruptItemError: What is stored is no JSON object.
        """
        if self._document is None:
            try:
                self._document = decode_object(self.body)
            except ValueError as error:
                raise CorruptItemError(
                    str(error), collection=self.collection, item_id=self.id
                ) from None
        return self._document

    def decode(self, as_type: type[T]) -> T:
        """Decode the stored bytes straight to a type msgspec knows (a Struct, a dataclass, …).

        Raises:
            InvalidDocumentError: The document does not fit the type; the message names the field.
            CorruptItemError: What is stored is no JSON.
        """
        try:
            return msgspec.json.decode(self.body, type=as_type)
        except msgspec.ValidationError as error:
            # msgspec's own message may quote the value.
            field, reason = describe_msgspec(error)
            raise InvalidDocumentError(
                reason if field is None else f"field {field!r}: {reason}",
                collection=self.collection,
                item_id=self.id,
                field=field,
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CorruptItemError(
                f"not valid JSON ({error})", collection=self.collection, item_id=self.id
            ) from None

    def renamed(self, collection: str) -> Item:
        """The same item under another collection's name, for layers; no bytes are copied."""
        return Item(collection, self.id, self.version, self.body, self.encoding, self.payload)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Item):
            return NotImplemented
        return all(
            getattr(self, name) == getattr(other, name) for name in Item.__struct_fields__[:-1]
        )

    __hash__ = None  # type: ignore[assignment]  # its document can change

    def __repr__(self) -> str:
        encoding = f", encoding={self.encoding!r}" if self.encoding else ""
        return f"Item({self.collection!r}, id={self.id!r}, version={self.version!r}{encoding})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # msgspec's own, which rich prefers to the repr, would show the document.
        return [(name, getattr(self, name)) for name in ("collection", "id", "version", "encoding")]


class Query(msgspec.Struct, frozen=True):
    """One question to one collection.

    Attributes:
        collection: Name of the collection, with its scope if it has one.
        where: Conditions, in the language of `storage_providers.filters`; `None`: all documents.
        order_by: Dotted paths, `-` in front for descending. Ties are broken by `id`, in the
            direction of the last field; without fields the order is by `id`.
        limit: Most items to return; 0 with `total=True` counts.
        cursor: Continues where the page with this cursor ended.
        offset: Items to pass over instead of a cursor.
        fields: Dotted paths to return, beside `id`; `None`: whole documents.
        total: Whether to count all matching documents, whatever `limit` is.
    """

    collection: str
    where: Mapping[str, Any] | None = None
    order_by: tuple[str, ...] = ()
    limit: int = 100
    cursor: str | None = None
    offset: int = 0
    fields: tuple[str, ...] | None = None
    total: bool = False

    def __repr__(self) -> str:
        return f"Query({self.collection!r}, order_by={self.order_by!r}, limit={self.limit})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # `where` holds values of documents.
        return [(name, getattr(self, name)) for name in ("collection", "order_by", "limit")]


class QueryStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer cost.

    Attributes:
        index: Name of the index that answered, `None` if none did.
        full_scan: Whether every document of the collection was looked at; `None`: not known.
        documents_read: Documents read to answer; `None`: not known.
        requests: Calls to a remote service.
        rows_read: Rows looked at, where the service charges for them; `None`: it does not.
        rows_written: Rows and index entries written, likewise.
    """

    index: str | None = None
    full_scan: bool | None = None
    documents_read: int | None = None
    requests: int = 0
    rows_read: int | None = None
    rows_written: int | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a listing.

    Attributes:
        items: The documents, in order.
        cursor: Continues the listing; `None`: this was the last page.
        total: All matching documents, if the query asked.
        corrupt: Documents that can't be read. Following the pages names each once: on the first
            page, or on the one where it would stand.
        statistics: What the answer cost.
    """

    items: list[Item] = []
    cursor: str | None = None
    total: int | None = None
    corrupt: tuple[CorruptItemError, ...] = ()
    statistics: QueryStatistics = QueryStatistics()

    def __repr__(self) -> str:
        more = ", more" if self.cursor else ""
        return f"Page({len(self.items)} items{more})"


class ItemVersion(msgspec.Struct, frozen=True):
    """One entry of `versions`: an id and the version its document has now."""

    id: str
    version: str


class VersionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Part of the ids and versions of a collection, ordered as the provider likes.

    Attributes:
        entries: Ids with their versions; expired documents may still be among them.
        cursor: Continues the listing; `None`: this was the last page.
    """

    entries: list[ItemVersion] = []
    cursor: str | None = None


# --- declaring ---------------------------------------------------------------------------------


class Index(msgspec.Struct, frozen=True):
    """An index over one or several fields.

    Attributes:
        fields: Dotted paths, `-` in front for descending.
        each: Index every member of an array field (one field only), for `$contains`.
    """

    fields: tuple[str, ...]
    each: bool = False

    @classmethod
    def of(cls, *fields: str, each: bool = False) -> Self:
        """`Index.of("status", "-due")`."""
        return cls(fields, each)


class CollectionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is declared about a collection; kept with the data, so every process knows it.

    Declaring again replaces the declaration: indexes no longer named are dropped.

    Attributes:
        collection: Name of the collection, with its scope if it has one.
        indexes: Indexes to keep.
        text_fields: Dotted paths to search with `$text`, on providers with `text_search`.
        default_ttl_seconds: The friendly face gives new documents an `expiresAt` this much later.
        max_document_bytes: Refuse larger documents, bytes of their stored JSON.
    """

    collection: str
    indexes: tuple[Index, ...] = ()
    text_fields: tuple[str, ...] = ()
    default_ttl_seconds: float | None = None
    max_document_bytes: int | None = None


# --- legacy data -------------------------------------------------------------------------------


class LegacyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One document made from legacy data.

    Attributes:
        collection: Where it belongs.
        document: The document, with `id`, `createdAt` and `updatedAt`.
        origin: Where it came from (a file, a key, a row), for reports.
        dated: Whether `updatedAt` is the document's own. One whose times were guessed never
            replaces a document that exists.
    """

    collection: str
    document: JsonObject
    origin: str
    dated: bool = True

    def __repr__(self) -> str:
        return f"LegacyRecord({self.collection!r}, origin={self.origin!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("collection", self.collection), ("origin", self.origin)]


class LegacyProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of legacy data that could not be read, and why.

    Attributes:
        origin: Where it is.
        reason: What is wrong, without its content.
    """

    origin: str
    reason: str


@runtime_checkable
class LegacySource(Protocol):
    """Reads data of another format; `Provider.migrate_legacy_data` takes one."""

    @property
    def name(self) -> str:
        """A short name for reports."""
        ...

    def records(self) -> AsyncIterator[LegacyRecord | LegacyProblem]:
        """Every document, or the reason why it can't be one. Reading again gives the same."""
        ...


class ImportReport(msgspec.Struct, kw_only=True):
    """What an import did, document by document counted.

    Attributes:
        source: Name of the source.
        dry_run: Whether nothing was written.
        created: New documents, per collection.
        updated: Documents replaced by a newer one from the source, per collection.
        unchanged: Documents that were there already, per collection.
        kept: Documents that differ here and are as new or newer than the source's, per collection.
        problems: What could not be imported, and why.
    """

    source: str
    dry_run: bool = False
    created: dict[str, int] = {}
    updated: dict[str, int] = {}
    unchanged: dict[str, int] = {}
    kept: dict[str, int] = {}
    problems: list[LegacyProblem] = []


# --- the port ----------------------------------------------------------------------------------


class StorageProvider(Protocol):
    """What programs hold: a place for collections of JSON documents.

    `storage_providers.base.Provider` implements everything below the four verbs once and
    documents arguments, results and errors.
    """

    name: ClassVar[str]
    """Short name for errors and reports, such as `sqlite`."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    async def connect(self) -> None: ...
    async def disconnect(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exc_info: object) -> None: ...

    # The waist: what a provider implements and a layer wraps.
    async def read(self, addresses: Sequence[Address]) -> list[Item | None]: ...
    async def write(self, batch: Sequence[Write]) -> list[Item | None]: ...
    async def query(self, queries: Sequence[Query]) -> list[Page]: ...
    async def versions(
        self, collection: str, cursor: str | None = None, limit: int = 1000
    ) -> VersionPage: ...
    async def collections(self, scope: str | None = None) -> list[str]: ...
    async def declare(self, spec: CollectionSpec) -> None: ...
    async def declared(self, collection: str) -> CollectionSpec | None: ...

    # The friendly face, derived from it.
    async def create_item(self, collection: str, document: Mapping[str, Any]) -> Item: ...
    async def create_items(
        self, collection: str, documents: Iterable[Mapping[str, Any]]
    ) -> list[Item]: ...
    async def read_item(self, collection: str, item_id: str) -> Item | None: ...
    async def read_items(self, collection: str, item_ids: Iterable[str]) -> list[Item | None]: ...
    async def update_item(
        self,
        collection: str,
        item_id: str,
        changes: Mapping[str, Any],
        *,
        if_version: str | None = None,
    ) -> Item: ...
    async def update_items(
        self, collection: str, changes: Mapping[str, Mapping[str, Any]]
    ) -> list[Item]: ...
    async def modify_item(
        self,
        collection: str,
        item_id: str,
        change: Callable[[JsonObject], Mapping[str, Any]],
        *,
        deadline_seconds: float = 30.0,
    ) -> Item: ...
    async def put_item(
        self, collection: str, document: Mapping[str, Any], *, if_version: str | None = None
    ) -> Item: ...
    async def put_items(
        self, collection: str, documents: Iterable[Mapping[str, Any]]
    ) -> list[Item]: ...
    async def delete_item(
        self, collection: str, item_id: str, *, if_version: str | None = None
    ) -> None: ...
    async def delete_items(self, collection: str, item_ids: Iterable[str]) -> None: ...
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
    ) -> Page: ...
    def find_items(
        self,
        collection: str,
        *,
        where: Mapping[str, Any] | None = None,
        order_by: str | Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
        page_size: int = 500,
        on_corrupt: Callable[[CorruptItemError], None] | None = None,
    ) -> AsyncIterator[Item]: ...
    async def count_items(
        self, collection: str, *, where: Mapping[str, Any] | None = None
    ) -> int: ...
    async def clear_collection(self, collection: str) -> None: ...
    async def migrate_legacy_data(
        self,
        source: LegacySource,
        *,
        dry_run: bool = False,
        on_progress: Callable[[int], None] | None = None,
    ) -> ImportReport: ...
