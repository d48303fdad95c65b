"""Puts, and the truth about those whose answer was lost.

Whether a conditional put landed
--------------------------------
A put names its condition (the key is free, or holds a version) and keeps a token with the object
that no other write has. R2 judges the condition, so sending a put again can't do harm. But when an
answer was lost, the next answer may deny what the first attempt did:

| attempts so far | then | it is |
|---|---|---|
| no doubtful one | 200 | stored |
| no doubtful one | 412, or 404 on a version | a conflict: nothing was written |
| any | 429, 409 | refused; sent again, or at last an error: nothing was written by it |
| doubtful | 200 | stored, by whichever attempt |
| doubtful | 412, or 404 on a version | looked at |
| doubtful | nothing proper until attempts or time end | looked at |

An attempt is *doubtful* if it may have been carried out although no proper answer came: the
connection broke, time was up, or a 5xx. Looking is one HEAD:

| the key holds | it is |
|---|---|
| our token | stored, with the version that stands there |
| another's object, or nothing | unknown |
| what the condition named, still | unknown |
| no answer to the HEAD either | unknown |

Unknown is all that can be said of the last three. Another's object may have replaced ours. And
while the condition still holds, or may hold again once another deletes or restores, a delayed copy
of an earlier attempt can yet land: only sending the same conditional put again is safe, which has
been done as often as there was leave to. So "nothing was written" is said only if every attempt was
refused. A put without a token can't be recognised, and one that was doubtful stays unknown.

Puts without condition follow the same table; theirs can't be refused by 412.

Two layers below would blur this and are kept from it: botocore does not retry, and aiohttp does not
send a body again on a new connection (see `body`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from storage_providers.errors import (
    ConflictError,
    DeadlineExceededError,
    OutcomeUnknownError,
    StorageError,
)
from storage_providers.providers._objects import ObjectPut
from storage_providers.providers._r2.answers import version_of
from storage_providers.providers._r2.client import ANY_KEY, Call, S3Client
from storage_providers.providers._r2.objects import conflict, put_arguments
from storage_providers.providers._r2.sending import Sender
from storage_providers.resilience import Attempt, Deadline, Effect, Resilience

__all__ = ["OnePut", "PutWire", "S3Put"]


class PutWire(Protocol):
    """How one put is sent, and looked at."""

    async def store(self, sent: Callable[[], None]) -> str:
        """Make one attempt; says `sent` before anything leaves.

        Returns:
            The object's new version.

        Raises:
            ConflictError: Its condition does not hold.
            StorageError: What else the answer stands for, or how the connection broke.
        """
        ...

    async def look(self) -> tuple[str, str | None]:
        """What the key holds: its version and token; `""` and `None` where there is nothing."""
        ...


class S3Put:
    """One put over S3.

    Args:
        put: What to store.
        bucket: Where.
        sender: Makes requests.

    Raises:
        StorageError: R2 would not accept it; nothing was sent.
    """

    __slots__ = ("_arguments", "_bucket", "_data", "_sender", "_url")

    def __init__(self, put: ObjectPut, bucket: str, sender: Sender) -> None:
        self._url = sender.url(put.key)
        self._arguments = put_arguments(put)
        self._data = put.data
        self._bucket = bucket
        self._sender = sender

    async def store(self, sent: Callable[[], None]) -> str:
        """Make one attempt; see `PutWire`."""

        async def store(client: S3Client) -> str:
            sent()
            answer = await client.put_object(Bucket=self._bucket, Key=ANY_KEY, **self._arguments)
            return version_of(answer)

        return await self._sender.send(Call(self._url, self._sender.body(self._data)), store)

    async def look(self) -> tuple[str, str | None]:
        """One HEAD; see `PutWire`."""
        return await self._sender.send(Call(self._url), self._version, absent=("", None))

    async def _version(self, client: S3Client) -> tuple[str, str | None]:
        answer = await client.head_object(Bucket=self._bucket, Key=ANY_KEY)
        return version_of(answer), answer["Metadata"].get("token")


class OnePut:
    """One put, with its attempts and, if it comes to that, the look at what became of it.

    Args:
        put: What to store.
        wire: How it is sent.
        resilience: Repeats it.
    """

    __slots__ = ("_deadline", "_doubtful", "_put", "_resilience", "_sent", "_wire")

    def __init__(self, put: ObjectPut, wire: PutWire, resilience: Resilience) -> None:
        self._put = put
        self._wire = wire
        self._resilience = resilience
        self._deadline: Deadline = resilience.deadline()
        self._sent = False
        self._doubtful = False

    async def run(self) -> str:
        """Store it.

        Returns:
            The object's new version.

        Raises:
            ConflictError: Its condition does not hold; nothing was written.
            OutcomeUnknownError: It may have landed.
            StorageError: It was refused, or not sent; nothing was written.
        """
        try:
            return await self._resilience.call(
                self._attempt,
                effect=Effect.IDEMPOTENT_WRITE,
                operation="put",
                deadline=self._deadline,
            )
        except ConflictError as error:
            if not self._doubtful:
                raise conflict(self._put) from error
            return await self._look(_unknown(error))
        except OutcomeUnknownError as error:
            if not self._sent:
                raise _never_sent(self._deadline) from error
            return await self._look(error)

    async def _attempt(self, attempt: Attempt) -> str:
        self._doubtful = attempt.may_have_landed
        return await self._wire.store(self._mark_sent)

    def _mark_sent(self) -> None:
        self._sent = True

    async def _look(self, error: OutcomeUnknownError) -> str:
        token = self._put.metadata.token
        if token is None or self._deadline.is_over:
            raise error
        try:
            version, found = await self._resilience.call(
                self._head, effect=Effect.READ, operation="head", deadline=self._deadline
            )
        except StorageError as failure:
            error.add_note(f"looking whether it landed failed: {type(failure).__name__}")
            raise error from failure
        if found != token:
            raise error
        return version

    async def _head(self, _: Attempt) -> tuple[str, str | None]:
        return await self._wire.look()


def _unknown(error: ConflictError) -> OutcomeUnknownError:
    unknown = OutcomeUnknownError(
        "an answer to the put was lost, and what is there now does not tell whether it landed; "
        "read before repeating"
    )
    unknown.__cause__ = error
    return unknown


def _never_sent(deadline: Deadline) -> DeadlineExceededError:
    return DeadlineExceededError(
        "no connection was free in the time there was, so nothing was sent; raise concurrency or "
        "deadline_seconds",
        deadline_seconds=deadline.seconds,
    )
