"""`R2Store`: the objects of one bucket, as the engine sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from storage_providers.errors import (
    AuthenticationError,
    ConfigurationError,
    StorageError,
    TransportError,
)
from storage_providers.providers._objects import Listing, ObjectLimits, ObjectPut, StoredObject
from storage_providers.providers._r2.answers import read_listing, version_of
from storage_providers.providers._r2.client import ANY_KEY, Call, S3Client
from storage_providers.providers._r2.config import R2Config
from storage_providers.providers._r2.deleting import batches_of, delete_batch, twin
from storage_providers.providers._r2.objects import LIMITS, beginning_of, checked_key, read_metadata
from storage_providers.providers._r2.putting import OnePut, S3Put
from storage_providers.providers._r2.sending import Sender
from storage_providers.resilience import (
    Attempt,
    Effect,
    Resilience,
    RetryPolicy,
    Timing,
    map_bounded,
)

__all__ = ["ATTEMPTS", "R2Store"]

ATTEMPTS: Final = 5
"""Ours: R2 takes one write a second for each key, so that of writers at one key some need several
turns; with what is waited in between about 10 s."""

T = TypeVar("T")
R = TypeVar("R")


class R2Store:
    """The objects of one bucket, as the engine sees them (`ObjectStore`).

    Args:
        config: The bucket and how to reach it.
        client: An S3 client of aioboto3 or aiobotocore, borrowed and not closed; without one, the
            store makes its own. Its retries are not used.
        retry: How often and when to try again.
        timing: Time and chance.

    Attributes:
        bucket: Name of the bucket.
        sender: Makes single requests.
        resilience: What all requests go through; `resilience.breaker.status` says whether R2 is
            taken for reachable.

    Raises:
        ConfigurationError: aioboto3, credentials or the endpoint are missing or wrong, or the
            client can't be used.
    """

    def __init__(
        self,
        config: R2Config,
        *,
        client: S3Client | None = None,
        retry: RetryPolicy | None = None,
        timing: Timing | None = None,
    ) -> None:
        timing = Timing() if timing is None else timing
        self.bucket = config.bucket
        self._concurrency = config.concurrency
        self.sender = Sender(config, client, timing)
        self.resilience = Resilience(
            "R2",
            retry=RetryPolicy(attempts=ATTEMPTS) if retry is None else retry,
            deadline_seconds=config.deadline_seconds,
            timing=timing,
        )

    def __repr__(self) -> str:
        return f"R2Store({self.bucket!r})"

    @property
    def limits(self) -> ObjectLimits:
        """What R2 accepts."""
        return LIMITS

    async def open(self) -> None:
        """Make the client, on the running loop. No request is sent.

        Raises:
            ConfigurationError: What boto reads from its own files and variables is not valid.
        """
        await self.sender.open()

    async def close(self) -> None:
        """Close the client, unless it is borrowed; doing it again changes nothing."""
        await self.sender.close()

    # --- objects -------------------------------------------------------------------------------

    async def get(self, keys: Sequence[str]) -> list[StoredObject | StorageError | None]:
        """Read objects: one entry per key, in order, `None` where there is none."""
        return await self._each(self._get, keys)

    async def _get(self, key: str) -> StoredObject | None:
        url = self.sender.url(key)

        async def read(client: S3Client) -> StoredObject | None:
            answer = await client.get_object(Bucket=self.bucket, Key=ANY_KEY)
            async with answer["Body"] as body:
                data: bytes = await body.read()
            return StoredObject(
                key=key,
                version=version_of(answer),
                data=data,
                metadata=read_metadata(key, answer["Metadata"], len(data)),
            )

        async def attempt(_: Attempt) -> StoredObject | None:
            return await self.sender.send(Call(url), read, absent=None)

        return await self.resilience.call(attempt, effect=Effect.READ, operation="get")

    async def put(self, objects: Sequence[ObjectPut]) -> list[str | StorageError]:
        """Store objects, each by itself: its new version, or why it was not stored."""
        return await self._each(self._put, objects)

    async def _put(self, put: ObjectPut) -> str:
        return await OnePut(put, S3Put(put, self.bucket, self.sender), self.resilience).run()

    async def delete(self, keys: Sequence[str]) -> list[StorageError | None]:
        """Remove objects, each by itself; removing what is absent is no error."""
        results: dict[str, StorageError | None] = {}
        good: list[str] = []
        for key in keys:
            try:
                good.append(checked_key(key))
            except StorageError as error:
                results[key] = error
        batches = batches_of(good)

        async def delete(batch: list[str]) -> list[StorageError | None]:
            return await delete_batch(batch, self.bucket, self.sender, self.resilience)

        found = await map_bounded(delete, batches, limit=self._concurrency)
        for batch, errors in zip(batches, found, strict=True):
            results.update(zip(batch, errors, strict=True))
        return _raise_shared([results[key] for key in keys])

    async def _each(
        self, work: Callable[[T], Awaitable[R]], items: Sequence[T]
    ) -> list[R | StorageError]:
        """Do something with every item, a few at a time; errors stand in the item's place.

        What the credentials or the configuration are to blame for befalls all: the rest is not
        sent, and if nothing succeeded it is raised.
        """
        doom: list[StorageError] = []

        async def one(item: T) -> R | StorageError:
            if doom:
                return twin(doom[0])
            try:
                return await work(item)
            except (AuthenticationError, ConfigurationError) as error:
                doom.append(error)
                return error
            except StorageError as error:
                return error

        return _raise_shared(await map_bounded(one, items, limit=self._concurrency))

    # Last, as its name hides the type's from what follows in the class.
    async def list(
        self,
        prefix: str,
        *,
        after: str = "",
        cursor: str | None = None,
        limit: int | None = None,
        delimiter: str | None = None,
    ) -> Listing:
        """List the keys that begin with `prefix`, one page, one request."""
        if len(prefix.encode()) > LIMITS.max_key_bytes:
            return Listing()  # No key can begin so, and the service would refuse the question.
        told: dict[str, Any] = {
            "StartAfter": beginning_of(after) or None,
            "ContinuationToken": cursor,
            "MaxKeys": limit,
            "Delimiter": delimiter,
        }
        arguments = {name: value for name, value in told.items() if value is not None}

        async def attempt(_: Attempt) -> Listing:
            call = Call(read=read_listing)
            await self.sender.send(
                call,
                lambda client: client.list_objects_v2(
                    Bucket=self.bucket, Prefix=prefix, **arguments
                ),
            )
            if not isinstance(call.answer, Listing):
                raise TransportError("R2's answer is no listing")
            return call.answer

        return await self.resilience.call(attempt, effect=Effect.READ, operation="list")


def _raise_shared(results: list[T | StorageError]) -> list[T | StorageError]:
    """Raise what befell everything; see `R2Store._each`."""
    first = results[0] if results else None
    if isinstance(first, (AuthenticationError, ConfigurationError)) and all(
        isinstance(result, (AuthenticationError, ConfigurationError)) for result in results
    ):
        raise first
    return results
