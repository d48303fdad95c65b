"""The conformance suite on a real R2 account, in a scratch prefix of a bucket that is there.

    CLOUDFLARE_ACCOUNT_ID=… CLOUDFLARE_R2_ACCESS_KEY_ID=… CLOUDFLARE_R2_SECRET_ACCESS_KEY=… \
    LIVE_R2_BUCKET=… python -m pytest -m live tests/live

It makes about 13,000 requests of class A and 53,000 of class B (counted on a local server,
2026-11), 0.08 $ (Cloudflare docs, r2/pricing, 2026-11). Some nine minutes of it are waits, because
R2 takes one write a second per key and many cases write the same one again.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Sequence
from typing import ClassVar

import pytest

from storage_providers import CloudflareR2Provider
from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers.errors import StorageError
from storage_providers.protocol import StorageProvider
from storage_providers.providers._objects import (
    Listing,
    ObjectLimits,
    ObjectPut,
    ObjectStore,
    StoredObject,
)
from storage_providers.providers._objects.keys import FolderLayout
from storage_providers.testing import _harness
from storage_providers.testing.conformance import Backend, ProviderConformance

pytestmark = pytest.mark.live

NEEDED = (
    "CLOUDFLARE_R2_ACCESS_KEY_ID",
    "CLOUDFLARE_R2_SECRET_ACCESS_KEY",
    "LIVE_R2_BUCKET",
)
PLACES = ("CLOUDFLARE_R2_ENDPOINT", "CLOUDFLARE_ACCOUNT_ID")
MISSING = [name for name in NEEDED if not os.environ.get(name)]
if not any(os.environ.get(name) for name in PLACES):
    MISSING.append(" or ".join(PLACES))

SPACING_SECONDS = 1.1
"""Between two writes of one key; the service takes one a second."""

CASE_SECONDS = 1800.0
"""A case of the suite may take this long here."""

RUN = f"live-{uuid.uuid4().hex[:12]}"
"""The scratch prefix of this run."""

CROWDS = {
    "test_increments_are_not_lost",
    "test_two_providers_lose_nothing",
    "test_updates_of_different_fields_all_count",
}
"""Cases with tens of writers of one document, which R2's one write a second leaves no time for."""


class Spaced:
    """A store that never writes the same key twice within a second, as R2 asks.

    Args:
        store: The real one.
    """

    _last: ClassVar[dict[str, float]] = {}

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @property
    def limits(self) -> ObjectLimits:
        """What the service accepts."""
        return self._store.limits

    async def get(self, keys: Sequence[str]) -> list[StoredObject | StorageError | None]:
        """Read objects."""
        return await self._store.get(keys)

    async def put(self, objects: Sequence[ObjectPut]) -> list[str | StorageError]:
        """Store objects, once their keys may be written again."""
        now = time.monotonic()
        turns = [max(now, self._last.get(put.key, 0.0) + SPACING_SECONDS) for put in objects]
        for put, turn in zip(objects, turns, strict=True):
            self._last[put.key] = turn
        await asyncio.sleep(max(turns, default=now) - now)
        return await self._store.put(objects)

    async def delete(self, keys: Sequence[str]) -> list[StorageError | None]:
        """Remove objects."""
        return await self._store.delete(keys)

    async def list(
        self,
        prefix: str,
        *,
        after: str = "",
        cursor: str | None = None,
        limit: int | None = None,
        delimiter: str | None = None,
    ) -> Listing:
        """List a page."""
        return await self._store.list(
            prefix, after=after, cursor=cursor, limit=limit, delimiter=delimiter
        )


class LiveBackend(Backend):
    """A prefix of its own for each case, emptied at its end.

    Args:
        prefix: The prefix.
    """

    can_reopen: ClassVar[bool] = True
    can_share: ClassVar[bool] = True
    can_plant: ClassVar[bool] = True

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def provider(self, clock: Clock = SYSTEM_CLOCK) -> CloudflareR2Provider:
        """A provider on the prefix, as it is."""
        endpoint = os.environ.get("CLOUDFLARE_R2_ENDPOINT")
        return CloudflareR2Provider(
            os.environ["LIVE_R2_BUCKET"],
            prefix=self.prefix,
            account_id=None if endpoint else os.environ["CLOUDFLARE_ACCOUNT_ID"],
            endpoint_url=endpoint,
            access_key_id=os.environ["CLOUDFLARE_R2_ACCESS_KEY_ID"],
            secret_access_key=os.environ["CLOUDFLARE_R2_SECRET_ACCESS_KEY"],
            session_token=os.environ.get("CLOUDFLARE_R2_SESSION_TOKEN"),
            clock=clock,
        )

    async def open(self, clock: Clock) -> StorageProvider:
        provider = self.provider(clock)
        provider.store = Spaced(provider.store)
        return provider

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        layout = FolderLayout(self.prefix, service="R2", max_key_bytes=1024)
        async with self.provider() as provider:
            put = ObjectPut(key=layout.document(collection, item_id), data=raw)
            (result,) = await Spaced(provider.store).put([put])
        assert isinstance(result, str), result

    async def close(self) -> None:
        async with self.provider() as provider:
            await empty(provider.store, f"{self.prefix}/")


async def empty(store: ObjectStore, prefix: str) -> None:
    """Remove everything below a prefix, and see that it is gone."""
    assert prefix.startswith(RUN)
    while keys := [entry.key for entry in (await store.list(prefix)).entries]:
        errors = [error for error in await store.delete(keys) if error is not None]
        assert not errors, errors[0]


@pytest.mark.skipif(bool(MISSING), reason=f"a real R2 account: set {', '.join(MISSING)}")
def test_the_bucket_answers() -> None:
    """Everything that `doctor` tries goes well, before hours are spent on the rest."""

    async def play() -> None:
        backend = LiveBackend(f"{RUN}/doctor")
        async with backend.provider() as provider:
            checks = await provider.checks()
        await backend.close()
        assert [check for check in checks if not check.ok] == []

    asyncio.run(play())


class TestLiveR2(ProviderConformance):
    """The contract on R2 itself."""

    # Without an account one skip says so, not one for each case.
    __test__ = not MISSING

    @pytest.fixture
    def backend(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
        name = request.node.originalname
        if name in CROWDS:
            pytest.skip("R2 takes one write a second per key, this case has tens of writers")
        monkeypatch.setattr(_harness, "CASE_SECONDS", CASE_SECONDS)
        return LiveBackend(f"{RUN}/{uuid.uuid4().hex[:8]}")
