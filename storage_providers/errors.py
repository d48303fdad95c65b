"""Every error the SDK raises.

```
StorageError                       provider, operation, collection, item_id, retryable
├── ConfigurationError             ├── DocumentTooLargeError     size_bytes, limit_bytes
├── InvalidArgumentError           ├── InvalidDocumentError      field
├── ProviderClosedError            ├── CorruptItemError          source
├── UnsupportedOperationError      ├── AuthenticationError
├── ItemNotFoundError              ├── PermissionDeniedError
├── ConflictError                  ├── StorageFullError
│   ├── ItemExistsError            ├── CorruptArchiveError
│   └── VersionMismatchError       ├── MigrationError
│         expected_version,        ├── BatchError                results
│         actual_version           └── TransportError            retryable, retry_after_seconds
│                                      ├── DeadlineExceededError deadline_seconds, attempts
│                                      ├── RateLimitedError
│                                      └── OutcomeUnknownError
```

A message is one line: `provider.operation collection/id: what happened, with numbers; what to do`.
Backends raise the bare error; `Provider` adds the context in one place. No message and no
attribute ever holds a secret or the content of a document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from storage_providers.protocol import Item

__all__ = [
    "AuthenticationError",
    "BatchError",
    "ConfigurationError",
    "ConflictError",
    "CorruptArchiveError",
    "CorruptItemError",
    "CorruptItemWarning",
    "DeadlineExceededError",
    "DocumentTooLargeError",
    "InvalidArgumentError",
    "InvalidDocumentError",
    "ItemExistsError",
    "ItemNotFoundError",
    "MigrationError",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "ProviderClosedError",
    "RateLimitedError",
    "StorageError",
    "StorageFullError",
    "TransportError",
    "UnsupportedOperationError",
    "VersionMismatchError",
]


class StorageError(Exception):
    """Base of every error the SDK raises.

    Attributes:
        message: What happened, without the context.
        provider: Name of the provider, once known.
        operation: The verb that failed, once known.
        collection: The collection concerned, if one is.
        item_id: The document concerned, if one is.
        index: Position of the failed write in its batch, if it was one of several.
        retryable: Whether the same call may succeed later without any change.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        collection: str | None = None,
        item_id: str | None = None,
        index: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider: str | None = None
        self.operation: str | None = None
        self.collection = collection
        self.item_id = item_id
        self.index = index

    def with_context(self, provider: str, operation: str) -> Self:
        """Name where the error happened, unless a provider further in already did."""
        if self.provider is None:
            self.provider = provider
            self.operation = operation
        return self

    def __str__(self) -> str:
        where = ".".join(part for part in (self.provider, self.operation) if part)
        if self.collection is not None:
            target = self.collection + (f"/{self.item_id}" if self.item_id is not None else "")
            if not target.isprintable():
                # An id may hold line breaks and a terminal's control characters.
                target = repr(target)[1:-1]
            where = f"{where} {target}" if where else target
        return f"{where}: {self.message}" if where else self.message


class ConfigurationError(StorageError):
    """Settings are missing, contradictory or wrong; the message names the one to change."""


class InvalidArgumentError(StorageError, ValueError):
    """A name, `where`, cursor, condition or limit is not one the contract allows."""


class ProviderClosedError(StorageError):
    """The provider is not connected yet, or was closed."""


class UnsupportedOperationError(StorageError):
    """This provider cannot do that; nothing was sent or written. See its `capabilities`."""


class ItemNotFoundError(StorageError):
    """The document that was to be changed does not exist; nothing was written."""


class ConflictError(StorageError):
    """The document is not in the state the write asked for; nothing was written."""


class ItemExistsError(ConflictError):
    """A document with this id exists already; nothing was written."""


class VersionMismatchError(ConflictError):
    """The document has another version than the write asked for; nothing was written."""

    def __init__(
        self,
        message: str = "",
        *,
        collection: str | None = None,
        item_id: str | None = None,
        index: int | None = None,
        expected_version: str | None = None,
        actual_version: str | None = None,
    ) -> None:
        super().__init__(message, collection=collection, item_id=item_id, index=index)
        self.expected_version = expected_version
        self.actual_version = actual_version


class DocumentTooLargeError(StorageError):
    """A document exceeds what the provider or the collection accepts; nothing was written."""

    def __init__(
        self,
        message: str = "",
        *,
        collection: str | None = None,
        item_id: str | None = None,
        index: int | None = None,
        size_bytes: int = 0,
        limit_bytes: int = 0,
    ) -> None:
        super().__init__(message, collection=collection, item_id=item_id, index=index)
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class InvalidDocumentError(StorageError, ValueError):
    """A document is not a JSON object the SDK can store, or does not fit its model.

    Attributes:
        field: Dotted path of the offending field, if one field is to blame.
    """

    def __init__(
        self,
        message: str = "",
        *,
        collection: str | None = None,
        item_id: str | None = None,
        index: int | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message, collection=collection, item_id=item_id, index=index)
        self.field = field


class CorruptItemError(StorageError):
    """What is stored under an id can't be read as a document; other documents are unaffected.

    Attributes:
        source: Where the broken bytes are (a file's path, a key, a table and row).
    """

    def __init__(
        self,
        message: str = "",
        *,
        collection: str | None = None,
        item_id: str | None = None,
        index: int | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__(message, collection=collection, item_id=item_id, index=index)
        self.source = source


class CorruptItemWarning(UserWarning):
    """`find_items` passed over a document that can't be read."""


class CorruptArchiveError(StorageError):
    """An archive is damaged, incomplete or not one of ours; nothing of it was imported."""


class MigrationError(StorageError):
    """A migration can't take this step now; what it has done until then stands."""


class AuthenticationError(StorageError):
    """The credentials are missing, wrong or expired."""


class PermissionDeniedError(StorageError):
    """The credentials, or the operating system, do not allow this."""


class StorageFullError(StorageError):
    """There is no space left, or a quota is used up; the old document is untouched."""


class BatchError(StorageError):
    """Parts of a batch failed while others did not.

    Attributes:
        results: One entry per request, in order: the `Item` or `None` where it succeeded, the
            error where it did not. `OutcomeUnknownError` marks a write that may have landed.
    """

    def __init__(
        self, message: str = "", *, results: Sequence[Item | StorageError | None] = ()
    ) -> None:
        super().__init__(message)
        self.results = tuple(results)

    @property
    def errors(self) -> tuple[StorageError, ...]:
        """The failures alone, in order."""
        return tuple(result for result in self.results if isinstance(result, StorageError))


class TransportError(StorageError):
    """The provider could not be reached or did not answer properly.

    Attributes:
        retry_after_seconds: How long the service asks to wait before the next call, if it does.
    """

    retryable = True

    def __init__(
        self,
        message: str = "",
        *,
        collection: str | None = None,
        item_id: str | None = None,
        index: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, collection=collection, item_id=item_id, index=index)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceededError(TransportError):
    """The operation did not finish in the time it was given.

    Attributes:
        deadline_seconds: The time it was given, if known.
        attempts: How many times it was tried, if known.
    """

    def __init__(
        self,
        message: str = "",
        *,
        deadline_seconds: float | None = None,
        attempts: int | None = None,
    ) -> None:
        super().__init__(message)
        self.deadline_seconds = deadline_seconds
        self.attempts = attempts


class RateLimitedError(TransportError):
    """Too many requests; wait before the next one."""


class OutcomeUnknownError(TransportError):
    """The connection broke after a write was sent: it may have landed. Read before repeating."""

    retryable = False
