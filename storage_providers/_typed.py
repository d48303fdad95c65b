"""What `Collection[T]` returns."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from storage_providers.errors import CorruptItemError, InvalidDocumentError
from storage_providers.protocol import QueryStatistics

__all__ = ["TypedItem", "TypedPage", "Unreadable"]

T = TypeVar("T")

Unreadable = CorruptItemError | InvalidDocumentError
"""Why a document is missing from a typed listing: it can't be read, or does not fit the model."""


class TypedItem(msgspec.Struct, Generic[T], frozen=True):
    """A document as read through a model, with its version.

    Attributes:
        id: The document's id.
        version: Changes whenever the stored document does; comparable within one provider only.
        value: The document as the model sees it.
    """

    id: str
    version: str
    value: T

    def __repr__(self) -> str:
        return f"TypedItem({type(self.value).__name__}, id={self.id!r}, version={self.version!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own, which rich prefers to the repr, would show the value.
        return [("id", self.id), ("version", self.version)]


class TypedPage(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Part of a typed listing.

    Attributes:
        items: The documents, in order.
        cursor: Continues the listing; `None`: this was the last page.
        total: All matching documents, if asked for, those that do not fit the model included.
        corrupt: Documents that are not among `items`: `CorruptItemError` for those
            that can't be read, as `Page.corrupt`, and `InvalidDocumentError` for those of this
            page that do not fit the model.
        statistics: What the answer cost.
    """

    items: list[TypedItem[T]] = []
    cursor: str | None = None
    total: int | None = None
    corrupt: tuple[Unreadable, ...] = ()
    statistics: QueryStatistics = QueryStatistics()

    def __repr__(self) -> str:
        more = ", more" if self.cursor else ""
        return f"TypedPage({len(self.items)} items{more})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("items", len(self.items)), ("more", self.cursor is not None)]
