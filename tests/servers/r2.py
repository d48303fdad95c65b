"""`CloudflareR2Provider` on local servers: where its data is, and how to make one there."""

from __future__ import annotations

import asyncio
import itertools
import random
import zlib
from collections.abc import Callable
from typing import ClassVar, Final, NamedTuple

from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers.protocol import StorageProvider
from storage_providers.providers._objects.keys import FolderLayout
from storage_providers.providers._r2.config import READ_SECONDS
from storage_providers.providers.r2 import CloudflareR2Provider
from storage_providers.resilience import Timing
from storage_providers.testing.conformance import Backend
from tests.servers.emulator import Emulator
from tests.servers.fault_proxy import Answer, Break, Cut, Drop
from tests.servers.moto import MotoS3

__all__ = ["NO_WAITING", "ROUGH", "R2Backend", "R2Place", "moto_place", "on_workerd", "s3_error"]


async def _at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


NO_WAITING: Final = Timing(sleep=_at_once)
"""Waits between tries take no time; what they are for is tested with a clock that is turned."""


def s3_error(status: int, code: str, *, after: bool = False, **headers: str) -> Answer:
    """An error as S3 answers it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"Content-Type": "application/xml", **named}, body.encode(), after)


ROUGH: Final[tuple[Break, ...]] = (
    Drop(),
    Drop(after=True),
    Cut(),
    s3_error(500, "InternalError"),
    s3_error(500, "InternalError", after=True),
    s3_error(503, "ServiceUnavailable"),
    s3_error(429, "TooManyRequests", Retry_After="1"),
)
"""What a bad day is made of."""


class R2Place(NamedTuple):
    """Where a provider keeps its documents.

    Attributes:
        endpoint: Address of the server's S3 API.
        bucket: The bucket.
        prefix: The prefix in it.
        access_key_id: A key that the server takes.
        secret_access_key: Its secret.
        plant: Puts bytes under a key, past the provider.
    """

    endpoint: str
    bucket: str
    prefix: str = ""
    access_key_id: str = "key"
    secret_access_key: str = "secret"
    plant: Callable[[str, bytes], None] = lambda key, data: None

    def key(self, collection: str, item_id: str) -> str:
        """The key of a document."""
        layout = FolderLayout(self.prefix, service="R2", max_key_bytes=1024)
        return layout.document(collection, item_id)

    def open(
        self,
        clock: Clock = SYSTEM_CLOCK,
        *,
        timing: Timing = NO_WAITING,
        read_timeout_seconds: float = READ_SECONDS,
    ) -> CloudflareR2Provider:
        """Make a provider here."""
        return CloudflareR2Provider(
            self.bucket,
            prefix=self.prefix,
            endpoint_url=self.endpoint,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            clock=clock,
            timing=timing,
            read_timeout_seconds=read_timeout_seconds,
        )


NOWHERE: Final = R2Place("http://127.0.0.1:9", "nowhere")
"""Enough to ask a provider what it can do."""


def moto_place(moto: MotoS3, bucket: str, *, endpoint: str | None = None) -> R2Place:
    """A bucket of the local S3, perhaps by way of a proxy."""

    def plant(key: str, data: bytes) -> None:
        moto.plant(bucket, {key: data})

    return R2Place(endpoint or moto.endpoint, bucket, prefix="kept/here", plant=plant)


_CASES = itertools.count()


def on_workerd(emulator: Emulator) -> R2Place:
    """A new prefix in a bucket of workerd."""
    known = emulator.known
    bucket = known.buckets[0]

    def plant(key: str, data: bytes) -> None:
        emulator.put_object(bucket, key, data)

    return R2Place(
        known.s3,
        bucket,
        f"case-{next(_CASES)}",
        known.access_key_id,
        known.secret_access_key,
        plant,
    )


class R2Backend(Backend):
    """A place of its own for each case."""

    can_reopen: ClassVar[bool] = True
    can_share: ClassVar[bool] = True
    can_plant: ClassVar[bool] = True

    def __init__(self, place: R2Place = NOWHERE, *, name: str = "") -> None:
        self.place = place
        # The same chance on every run, so that the same requests are made and meet the same faults.
        self._chance = random.Random(zlib.crc32(name.encode()))

    async def open(self, clock: Clock) -> StorageProvider:
        own = Clock(source=lambda: clock.now_ms() / 1000, randomness=self._chance.randbytes)
        return self.place.open(own)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        key = self.place.key(collection, item_id)
        await asyncio.to_thread(self.place.plant, key, raw)
