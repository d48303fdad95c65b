"""Pages as the store's callers count them, and records read from answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from storage_providers.agents._asking import Answer, Question, ask, iterate
from storage_providers.agents._place import Place
from storage_providers.agents._wire import Record
from storage_providers.agents.models import Listed
from storage_providers.errors import (
    CorruptItemError,
    InvalidArgumentError,
    InvalidDocumentError,
    StorageError,
)
from storage_providers.protocol import Item

__all__ = ["PerPage", "checked_page", "each", "equals", "listed", "page_of", "read_all", "required"]

R = TypeVar("R", bound=Record)

PerPage = int | Literal[False]


def checked_page(page: int, per_page: PerPage) -> None:
    """Refuse numbers that name no page.

    Raises:
        InvalidArgumentError: One is negative.
    """
    if per_page is not False and per_page < 0:
        raise InvalidArgumentError(f"perPage must be >= 0, it is {per_page}")
    if page < 0:
        raise InvalidArgumentError(f"page must be >= 0, it is {page}")


def required(value: object, name: str) -> str:
    """Text that says something.

    Raises:
        InvalidArgumentError: It is blank, or no text.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgumentError(f"{name} must be a non-empty string")
    return value


def equals(field: str, values: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Conditions that a field holds all these; nothing else matches, so not a missing field.

    Raises:
        InvalidArgumentError: A value is not text, a number, a boolean or `None`.
    """
    conditions: list[dict[str, Any]] = []
    for name, value in (values or {}).items():
        if not isinstance(value, str | int | float | None):
            raise InvalidArgumentError(
                f"{field}.{name} is compared with text, a number, a boolean or None, not with "
                f"{type(value).__name__}"
            )
        escaped = name.replace("\\", "\\\\").replace(".", "\\.")
        # Missing is equal to null in this language, but no value that was asked for.
        test = {"$eq": value} if value is not None else {"$eq": None, "$exists": True}
        conditions.append({f"{field}.{escaped}": test})
    return conditions


async def listed(
    place: Place, model: type[R], question: Question, page: int, per_page: PerPage
) -> Listed[R]:
    """A page of records.

    Raises:
        InvalidArgumentError: A number is negative.
        TransportError: The provider could not be reached.
    """
    checked_page(page, per_page)
    if per_page is False:
        answer = await ask(place, question)
        return page_of(model, answer, 0, per_page=False)
    if per_page == 0:
        return Listed(items=[], total=0 if question.total else None, page=page, per_page=0)
    question = msgspec.structs.replace(question, limit=per_page, offset=page * per_page)
    return page_of(model, await ask(place, question), page, per_page=per_page)


def page_of(model: type[R], answer: Answer, page: int, *, per_page: PerPage) -> Listed[R]:
    """An answer as a page."""
    items, corrupt = read_all(model, answer.items)
    return Listed(
        items=items,
        total=answer.total,
        page=page,
        per_page=per_page,
        has_more=answer.more,
        corrupt=(*answer.corrupt, *corrupt),
    )


def read_all(model: type[R], items: Iterable[Item]) -> tuple[list[R], list[StorageError]]:
    """Items as records, and why others are none."""
    records: list[R] = []
    errors: list[StorageError] = []
    for item in items:
        try:
            records.append(record_of(model, item))
        except (InvalidDocumentError, CorruptItemError) as error:
            errors.append(error)
    return records, errors


def record_of(model: type[R], item: Item) -> R:
    """An item as a record.

    Raises:
        InvalidDocumentError: It does not fit.
        CorruptItemError: It can't be read.
    """
    record = model.from_body(item.body)
    if record is not None:
        return record
    try:
        return model.from_document(item.document)
    except InvalidDocumentError as error:
        error.collection, error.item_id = item.collection, item.id
        raise


async def each(
    place: Place,
    model: type[R],
    question: Question,
    on_corrupt: Callable[[StorageError], None] | None,
) -> AsyncIterator[R]:
    """Every record that answers a question.

    Raises:
        StorageError: One can't be read and nobody is to be told; or the provider failed.
    """
    async for found in iterate(place, question):
        try:
            if isinstance(found, StorageError):
                raise found
            record = record_of(model, found)
        except (InvalidDocumentError, CorruptItemError) as error:
            if on_corrupt is None:
                raise
            on_corrupt(error)
            continue
        yield record
