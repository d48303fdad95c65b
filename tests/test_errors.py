"""The error tree: shape, facts, messages of one line."""

from __future__ import annotations

import pickle
import re

import pytest

from storage_providers import errors
from storage_providers.errors import (
    BatchError,
    ConflictError,
    CorruptItemError,
    DocumentTooLargeError,
    InvalidArgumentError,
    InvalidDocumentError,
    ItemExistsError,
    ItemNotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    TransportError,
    VersionMismatchError,
)

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, StorageError)
]


@pytest.mark.parametrize("error_type", CLASSES)
def test_every_error_is_public_and_drawn(error_type: type[StorageError]) -> None:
    """Each class is in `__all__`, in the drawing at the top, and says what it means."""
    assert error_type.__name__ in errors.__all__
    assert error_type.__name__ in (errors.__doc__ or "")
    assert error_type.__doc__
    assert issubclass(error_type, StorageError)


@pytest.mark.parametrize("error_type", CLASSES)
def test_every_error_can_be_made_plainly(error_type: type[StorageError]) -> None:
    """A message is enough; facts are absent until they are known."""
    error = error_type("it broke")
    assert str(error) == "it broke"
    assert (error.provider, error.operation, error.collection, error.item_id) == (None,) * 4
    assert error.index is None


@pytest.mark.parametrize("error_type", CLASSES)
def test_every_error_survives_pickling(error_type: type[StorageError]) -> None:
    """Errors cross process pools with their facts."""
    error = error_type("it broke").with_context("memory", "write")
    error.collection, error.item_id, error.index = "things", "a", 3
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is error_type
    assert str(again) == str(error) == "memory.write things/a: it broke"
    assert again.index == 3


def test_what_may_be_tried_again() -> None:
    """Transport errors may, except a write whose outcome is unknown; nothing else may."""
    retryable = {each for each in CLASSES if each.retryable}
    assert TransportError in retryable
    assert RateLimitedError in retryable
    assert OutcomeUnknownError not in retryable
    assert all(issubclass(each, TransportError) for each in retryable)


def test_families() -> None:
    """Callers catch families: conflicts, transport, and wrong values as `ValueError`."""
    assert issubclass(ItemExistsError, ConflictError)
    assert issubclass(VersionMismatchError, ConflictError)
    assert not issubclass(ItemNotFoundError, ConflictError)
    assert issubclass(InvalidArgumentError, ValueError)
    assert issubclass(InvalidDocumentError, ValueError)


def test_the_innermost_context_stays() -> None:
    """A provider further out does not rename where it happened."""
    error = ItemNotFoundError("no such document", collection="things", item_id="a")
    error.with_context("sqlite", "write").with_context("hybrid", "migrate")
    assert str(error) == "sqlite.write things/a: no such document"
    assert (error.provider, error.operation) == ("sqlite", "write")


def test_facts_are_attributes() -> None:
    """Numbers and names are typed attributes, not only words."""
    mismatch = VersionMismatchError("changed", expected_version="1", actual_version="2", index=4)
    assert (mismatch.expected_version, mismatch.actual_version, mismatch.index) == ("1", "2", 4)
    large = DocumentTooLargeError("large", size_bytes=10, limit_bytes=5)
    assert (large.size_bytes, large.limit_bytes) == (10, 5)
    assert RateLimitedError("slow", retry_after_seconds=1.5).retry_after_seconds == 1.5
    assert CorruptItemError("broken", source="a.json").source == "a.json"
    assert InvalidDocumentError("wrong", field="a.b").field == "a.b"


def test_batch_errors_tell_failures_apart() -> None:
    """`errors` are the failures among `results`, in order."""
    first, second = ItemExistsError("one"), OutcomeUnknownError("two")
    error = BatchError("2 of 4 failed", results=[None, first, None, second])
    assert error.results == (None, first, None, second)
    assert error.errors == (first, second)


def test_ids_with_line_breaks_keep_a_message_on_one_line() -> None:
    """An id may hold a line break or a terminal's control characters; a message does not."""
    error = ItemNotFoundError("no such document", collection="things", item_id="a\nb\x1b[31m\r")
    shown = str(error.with_context("memory", "read"))
    assert not re.search(r"[\x00-\x1f\x7f]", shown)
    assert "no such document" in shown
