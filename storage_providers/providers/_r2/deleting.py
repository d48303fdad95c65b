"""Deletions: many keys in one request, and what became of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from storage_providers.errors import StorageError, TransportError
from storage_providers.providers._r2.answers import Deletion, KeyRefusal, read_deletion
from storage_providers.providers._r2.client import ANY_KEY, Call
from storage_providers.providers._r2.objects import LIMITS
from storage_providers.providers._r2.sending import Sender
from storage_providers.resilience import Attempt, Effect, Resilience

__all__ = ["batches_of", "delete_batch", "twin"]

_NO_XML: Final = re.compile("[^\t -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write, or reads back as another character."""

_NOTHING: Final[dict[str, Any]] = {}


def batches_of(keys: Sequence[str]) -> list[list[str]]:
    """Keys in portions for one request each.

    Args:
        keys: The keys; of equal ones, one is kept.

    Returns:
        The portions. A key that XML can't hold is one of its own, which is sent otherwise.
    """
    size = LIMITS.delete_batch
    alone = [key for key in dict.fromkeys(keys) if _NO_XML.search(key)]
    many = list(dict.fromkeys(keys))
    if alone:
        apart = set(alone)
        many = [key for key in many if key not in apart]
    together = [many[start : start + size] for start in range(0, len(many), size)]
    return together + [[key] for key in alone]


async def delete_batch(
    keys: list[str], bucket: str, sender: Sender, resilience: Resilience
) -> list[StorageError | None]:
    """Remove objects by one request; keys refused for a while are tried again, and only they.

    Args:
        keys: A portion from `batches_of`.
        bucket: Where they are.
        sender: Makes requests.
        resilience: Repeats them.

    Returns:
        One entry per key: why it was not removed, `None` if it was.
    """
    failed: dict[str, StorageError] = {}
    left = keys

    async def attempt(_: Attempt) -> None:
        nonlocal left
        refusals = await _send(left, bucket, sender)
        if not {each.key for each in refusals} <= set(left):
            # It says of one of ours that it is still there, in a way that can't be read.
            raise TransportError("R2's answer to a deletion names other keys than were asked for")
        for key in left:
            failed.pop(key, None)
        failed.update((each.key, sender.refused_key(each.code)) for each in refusals)
        left = [key for key in left if key in failed and failed[key].retryable]
        if left:
            raise failed[left[0]]

    try:
        await resilience.call(attempt, effect=Effect.IDEMPOTENT_WRITE, operation="delete")
    except StorageError as error:
        failed.update((key, twin(error)) for key in left)
    return [failed.get(key) for key in keys]


async def _send(keys: list[str], bucket: str, sender: Sender) -> tuple[KeyRefusal, ...]:
    if len(keys) == 1:
        call = Call(sender.url(keys[0]))
        await sender.send(
            call,
            lambda client: client.delete_object(Bucket=bucket, Key=ANY_KEY),
            absent=_NOTHING,
        )
        return ()
    call = Call(read=read_deletion)
    what = {"Quiet": True, "Objects": [{"Key": key} for key in keys]}
    await sender.send(call, lambda client: client.delete_objects(Bucket=bucket, Delete=what))
    if not isinstance(call.answer, Deletion):
        raise TransportError("R2's answer is none to a deletion")
    return call.answer.refusals


def twin(error: StorageError) -> StorageError:
    """The same error for another object: each names its own object later.

    Args:
        error: The error.

    Returns:
        A new one of the same kind.
    """
    other = type(error)(error.message)
    if isinstance(error, TransportError) and isinstance(other, TransportError):
        other.retry_after_seconds = error.retry_after_seconds
    other.__cause__ = error
    return other
