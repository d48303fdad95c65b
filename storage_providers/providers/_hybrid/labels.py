"""Versions and cursors carry the side they are of, so that none is shown to the other side."""

from __future__ import annotations

import msgspec

from storage_providers.errors import (
    BatchError,
    InvalidArgumentError,
    StorageError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    Condition,
    Delete,
    IfVersion,
    Item,
    Page,
    Patch,
    Put,
    Query,
    Write,
)
from storage_providers.providers._hybrid.effects import FALLBACK, PRIMARY
from storage_providers.providers._hybrid.sending import Result

__all__ = [
    "cursor_of_primary",
    "from_primary",
    "is_of_fallback",
    "labelled",
    "labelled_error",
    "labelled_page",
    "labelled_result",
    "old_cursor",
    "query_of_primary",
    "to_primary",
    "to_side",
]

_NEVER = "?"
"""Stands before a version that is not that side's: it has none that begins so."""


def labelled(item: Item, side: str) -> Item:
    """An item whose version says its side."""
    version = side + item.version
    return Item(item.collection, item.id, version, item.body, item.encoding, item.payload)


def from_primary(item: Item | None) -> Item | None:
    """An item of the primary as the hybrid gives it."""
    return None if item is None else labelled(item, PRIMARY)


def to_primary(write: Write) -> Write:
    """A write as the primary gets it."""
    return to_side(write, PRIMARY)


def to_side(write: Write, side: str) -> Write:
    """A write as a side gets it; a version of the other side is none that it has."""
    if not isinstance(write, (Put, Patch, Delete)) or not isinstance(write.condition, IfVersion):
        return write
    version = write.condition.version
    own = version.removeprefix(side) if version.startswith(side) else _NEVER + version
    condition = IfVersion(own)
    if isinstance(write, Delete):
        return Delete(write.collection, write.id, condition)
    again = write.renamed(write.collection)
    again.condition = condition
    return again


def labelled_error(
    error: StorageError, condition: Condition | None = None, side: str = PRIMARY
) -> StorageError:
    """An error of a side, with versions as the pair gives them."""
    if isinstance(error, VersionMismatchError):
        if isinstance(condition, IfVersion):
            error.expected_version = condition.version
        if error.actual_version is not None:
            error.actual_version = side + error.actual_version
    if isinstance(error, BatchError):
        error.results = tuple(
            labelled(each, side) if isinstance(each, Item) else each for each in error.results
        )
    return error


def labelled_result(write: Write, result: Result, side: str = PRIMARY) -> Result:
    """What became of a write at a side, as the pair gives it."""
    if isinstance(result, StorageError):
        asked = write.condition if isinstance(write, (Put, Patch, Delete)) else None
        return labelled_error(result, asked, side)
    return None if result is None else labelled(result, side)


def labelled_page(page: Page, side: str = PRIMARY) -> Page:
    """A page of a side as the pair gives it."""
    return msgspec.structs.replace(
        page,
        items=[labelled(item, side) for item in page.items],
        cursor=None if page.cursor is None else side + page.cursor,
    )


def query_of_primary(query: Query) -> Query:
    """A query as the primary gets it."""
    cursor = cursor_of_primary(query.cursor, query.collection)
    return query if cursor is None else msgspec.structs.replace(query, cursor=cursor)


def cursor_of_primary(cursor: str | None, collection: str) -> str | None:
    """A cursor as the primary gets it.

    Raises:
        InvalidArgumentError: It is of neither side.
    """
    if cursor is None or cursor.startswith(PRIMARY):
        return None if cursor is None else cursor.removeprefix(PRIMARY)
    raise InvalidArgumentError(
        "the cursor is damaged; begin again without one", collection=collection
    )


def is_of_fallback(cursor: str | None) -> bool:
    """Whether an outage began a listing."""
    return cursor is not None and cursor.startswith(FALLBACK)


def old_cursor(collection: str) -> InvalidArgumentError:
    """The error where what an outage began can't be continued."""
    return InvalidArgumentError(
        "the cursor is of an outage, and the fallback can't go on; begin again without one",
        collection=collection,
    )
