"""Versions carry the side they are of, so that none is ever shown to the other side."""

from __future__ import annotations

from storage_providers.errors import BatchError, StorageError, VersionMismatchError
from storage_providers.protocol import Condition, Delete, IfVersion, Item, Patch, Put, Write
from storage_providers.providers._hybrid.effects import PRIMARY

__all__ = ["from_primary", "labelled", "labelled_error", "to_primary", "to_side"]

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
