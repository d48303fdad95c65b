"""Writes on their way to a provider, each with a result of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from storage_providers.base import Provider
from storage_providers.errors import (
    BatchError,
    ConflictError,
    CorruptItemError,
    DocumentTooLargeError,
    InvalidArgumentError,
    InvalidDocumentError,
    ItemNotFoundError,
    OutcomeUnknownError,
    StorageError,
    TransportError,
    UnsupportedOperationError,
)
from storage_providers.protocol import Item, Write

__all__ = ["REFUSALS", "Result", "Results", "is_unavailable", "joined", "send", "separate"]

Result: TypeAlias = "Item | StorageError | None"
Results: TypeAlias = "list[Item | StorageError | None]"

REFUSALS: Final = (
    CorruptItemError,
    DocumentTooLargeError,
    InvalidArgumentError,
    InvalidDocumentError,
    UnsupportedOperationError,
)
"""Errors that a document meets however often it is sent."""

_OF_ONE_DOCUMENT: Final = (ConflictError, ItemNotFoundError, *REFUSALS)


def is_unavailable(error: StorageError) -> bool:
    """Whether a provider could not be reached, rather than refused.

    A batch counts as such if any of its requests met that.
    """
    if isinstance(error, BatchError):
        return any(isinstance(each, TransportError) for each in error.errors)
    return isinstance(error, TransportError)


async def send(provider: Provider, batch: Sequence[Write]) -> Results:
    """Write each for itself, in as few calls as that takes.

    Where batches are atomic, one write that is refused takes all others with it; they are sent
    again without it.

    Returns:
        For each write its item, `None`, or why it failed. `OutcomeUnknownError`: it may have
        landed. Every other error: it did not.

    Raises:
        StorageError: The provider refused as a whole; nothing was written.
    """
    results: Results = [None] * len(batch)
    left = list(range(len(batch)))
    while left:
        part = [batch[position] for position in left]
        try:
            answers: Sequence[Result] = await provider.write(part)
        except BatchError as error:
            if len(error.results) != len(part):
                raise
            answers = error.results
        except StorageError as error:
            culprit = error.index
            if isinstance(error, TransportError):
                answers = [error] * len(part)
            elif not isinstance(error, _OF_ONE_DOCUMENT):
                raise
            elif len(part) == 1:
                answers = [error]
            elif culprit is None or not 0 <= culprit < len(part):
                return await _one_by_one(provider, part, left, results)
            else:
                results[left.pop(culprit)] = error
                continue
        for position, answer in zip(left, answers, strict=True):
            results[position] = answer
        return results
    return results


async def _one_by_one(
    provider: Provider, part: Sequence[Write], left: Sequence[int], results: Results
) -> Results:
    for position, write in zip(left, part, strict=True):
        results[position] = (await send(provider, [write]))[0]
    return results


def separate(results: Results) -> dict[int, StorageError]:
    """The failures by their positions."""
    return {
        position: result
        for position, result in enumerate(results)
        if isinstance(result, StorageError)
    }


def joined(results: Results) -> list[Item | None]:
    """The results of a batch as a verb gives them.

    Raises:
        StorageError: The one request failed.
        BatchError: Some of several did.
    """
    failures = separate(results)
    if not failures:
        return [result for result in results if not isinstance(result, StorageError)]
    if len(results) == 1:
        raise failures[0]
    for position, error in failures.items():
        if not isinstance(error, TransportError) or isinstance(error, OutcomeUnknownError):
            error.index = position
    first = next(iter(failures.values()))
    raise BatchError(
        f"{len(failures)} of {len(results)} requests failed, the first by "
        f"{type(first).__name__}: {first.message}",
        results=results,
    )
