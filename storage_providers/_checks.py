"""What the verbs check before a provider is asked."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence

from storage_providers.errors import (
    DocumentTooLargeError,
    InvalidArgumentError,
    StorageError,
    UnsupportedOperationError,
)
from storage_providers.filters import parse_path
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    Capabilities,
    Clear,
    CollectionSpec,
    Delete,
    IfVersion,
    Patch,
    Put,
    Query,
    Write,
    check_collection,
    check_id,
)

MAX_TTL_SECONDS = 100 * 365.25 * 86_400
"""Longest default time to live, seconds: 100 years. Ours: times end with the year 9999."""

__all__ = [
    "bind_cursor",
    "check_batch",
    "check_query",
    "check_spec",
    "size_limit",
    "unbind_cursor",
]


def size_limit(capabilities: Capabilities, spec: CollectionSpec | None) -> int | None:
    """Largest document, bytes: the lower of the provider's limit and the declared one."""
    limit = capabilities.max_document_bytes
    declared = None if spec is None else spec.max_document_bytes
    if limit is None or declared is None:
        return declared if limit is None else limit
    return min(limit, declared)


def check_batch(
    batch: Sequence[Write], capabilities: Capabilities, limits: Mapping[str, int | None]
) -> None:
    """Check names, sizes, conditions against capabilities, and that no document comes twice.

    Args:
        batch: The writes.
        capabilities: What the provider can do.
        limits: Largest document of each collection, bytes.

    Raises:
        StorageError: The first write that can't be done, by its `index`; nothing was written.
    """
    max_id_bytes = capabilities.max_id_bytes
    seen: set[tuple[str, str]] = set()
    cleared: set[str] = set()
    for index, write in enumerate(batch):
        try:
            if isinstance(write, Clear):
                check_collection(write.collection, capabilities.max_scope_bytes)
                if write.collection in cleared:
                    raise InvalidArgumentError("the batch clears this collection twice")
                cleared.add(write.collection)
                continue
            check_id(write.id, max_id_bytes)
            key = (write.collection, write.id)
            if key in seen:
                raise InvalidArgumentError("the batch writes this document twice")
            seen.add(key)
            if write.condition is not ANY or isinstance(write, Patch):
                _check_condition(write, capabilities)
            limit = limits[write.collection]
            if isinstance(write, Put) and limit is not None and write.size_bytes > limit:
                raise DocumentTooLargeError(
                    f"document is {write.size_bytes} bytes, the limit is {limit}; store less in "
                    "one document or keep large fields apart",
                    size_bytes=write.size_bytes,
                    limit_bytes=limit,
                )
        except StorageError as error:
            error.collection, error.index = write.collection, index
            error.item_id = None if isinstance(write, Clear) else str(write.id)
            raise
    if cleared:
        for collection, _ in seen:
            if collection in cleared:
                raise InvalidArgumentError(
                    "the batch clears a collection and writes to it", collection=collection
                )


def _check_condition(write: Put | Patch | Delete, capabilities: Capabilities) -> None:
    condition = write.condition
    if isinstance(write, Patch):
        if condition is ANY or condition is IF_ABSENT:
            raise InvalidArgumentError("a patch takes the conditions IF_PRESENT and IfVersion")
        if isinstance(condition, IfVersion) and not capabilities.conditional_write:
            raise UnsupportedOperationError("if_version needs conditional_write")
        return
    if isinstance(write, Delete):
        if condition is IF_ABSENT:
            raise InvalidArgumentError("a delete can't ask for IF_ABSENT")
        if not capabilities.conditional_delete:
            raise UnsupportedOperationError("a conditional delete needs conditional_delete")
    elif isinstance(condition, IfVersion) and not capabilities.conditional_write:
        raise UnsupportedOperationError("if_version needs conditional_write")


def check_query(query: Query, capabilities: Capabilities) -> None:
    """Check what does not depend on the provider; `where` and cursors are parsed by it.

    Raises:
        InvalidArgumentError: A name is malformed or a number out of range.
    """
    check_collection(query.collection, capabilities.max_scope_bytes)
    if query.limit < 0 or query.offset < 0:
        raise InvalidArgumentError(
            f"limit is {query.limit} and offset {query.offset}; neither may be negative",
            collection=query.collection,
        )
    if query.cursor is not None and query.offset:
        raise InvalidArgumentError(
            "a query takes a cursor or an offset, not both", collection=query.collection
        )
    for field in query.fields or ():
        parse_path(field)


def check_spec(spec: CollectionSpec, capabilities: Capabilities) -> None:
    """Check a declaration.

    Raises:
        InvalidArgumentError: A name, path or number is malformed.
        UnsupportedOperationError: `text_fields` without `text_search`.
    """
    check_collection(spec.collection, capabilities.max_scope_bytes)
    for index in spec.indexes:
        if not index.fields or (index.each and len(index.fields) != 1):
            raise InvalidArgumentError(
                "an index has at least one field, and exactly one with each=True",
                collection=spec.collection,
            )
        paths = {parse_path(field.removeprefix("-")) for field in index.fields}
        if len(paths) != len(index.fields):
            raise InvalidArgumentError("an index names a field twice", collection=spec.collection)
    if len(set(spec.indexes)) != len(spec.indexes):
        raise InvalidArgumentError("an index is declared twice", collection=spec.collection)
    for field in spec.text_fields:
        parse_path(field)
    if spec.text_fields and not capabilities.text_search:
        raise UnsupportedOperationError(
            "text_fields need a provider with text_search", collection=spec.collection
        )
    limits = (
        ("default_ttl_seconds", spec.default_ttl_seconds, MAX_TTL_SECONDS),
        ("max_document_bytes", spec.max_document_bytes, math.inf),
    )
    for name, number, most in limits:
        # Written so that NaN, which compares with nothing, is refused too.
        if number is not None and not 0 < number <= most:
            raise InvalidArgumentError(
                f"{name} is {number}, it must be above 0 and at most {most}",
                collection=spec.collection,
            )


def bind_cursor(collection: str, cursor: str) -> str:
    """A provider's own cursor of `versions`, so that it continues this collection alone."""
    return _mark(collection) + cursor


def unbind_cursor(collection: str, cursor: str | None) -> str | None:
    """What `bind_cursor` was given.

    Raises:
        InvalidArgumentError: It is no cursor, or one of another collection.
    """
    if cursor is None:
        return None
    mark = _mark(collection)
    if not cursor.startswith(mark):
        raise InvalidArgumentError(
            "the cursor is damaged or belongs to another collection; begin again without one",
            collection=collection,
        )
    return cursor[len(mark) :]


def _mark(collection: str) -> str:
    digest = hashlib.blake2b(collection.encode(), digest_size=9).digest()
    return base64.urlsafe_b64encode(digest).decode()
