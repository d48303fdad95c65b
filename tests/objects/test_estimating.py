"""What work on objects is said to take, against what it takes: thousands, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from storage_providers.errors import StorageError
from storage_providers.protocol import CollectionSpec, Index
from storage_providers.providers._objects import Listing, ObjectPut, StoredObject
from storage_providers.providers._objects.estimating import operations_of
from storage_providers.testing.conformance import ManualClock
from tests import copying
from tests.objects.memory_store import LIMITS, MemoryStore, objects, turning
from tests.objects.planting import played


class CountingStore(MemoryStore):
    """Counts requests as a service like R2 gets them."""

    sent = 0

    async def get(self, keys: Sequence[str]) -> list[StoredObject | StorageError | None]:
        """An object each."""
        self.sent += len(keys)
        return await super().get(keys)

    async def put(self, objects: Sequence[ObjectPut]) -> list[str | StorageError]:
        """An object each."""
        self.sent += len(objects)
        return await super().put(objects)

    async def delete(self, keys: Sequence[str]) -> list[StorageError | None]:
        """A thousand each."""
        self.sent += -(-len(keys) // LIMITS.delete_batch)
        return await super().delete(keys)

    async def list(self, prefix: str, **how: Any) -> Listing:
        """A page each."""
        self.sent += 1
        return await super().list(prefix, **how)


@pytest.mark.parametrize("page", [100, 800, 1000])
@pytest.mark.parametrize("fields", [(), ("-n", "status")], ids=["plain", "indexed"])
@played
async def test_work_takes_what_was_said(page: int, fields: tuple[str, ...]) -> None:
    """Every kind of work, on pages shorter than a listing and as long as one."""
    documents = [{"id": f"d{number:05}", "n": number, "status": "open"} for number in range(2_600)]
    changed = [{**each, "n": int(str(each["n"])) + 9_000, "status": "done"} for each in documents]
    clock, store = ManualClock(), CountingStore()
    async with objects(store, clock.clock, timing=turning(clock)) as provider:
        if fields:
            indexes = tuple(Index.of(field) for field in fields)
            await provider.declare(CollectionSpec(collection="t", indexes=indexes))
            await provider.build_indexes("t")
        for work, action in copying.works(
            documents, changed, indexes=len(fields), page_documents=page
        ):
            await provider.declared("t")
            store.sent = 0
            await action(provider)
            said = operations_of(work, LIMITS).requests - 1  # The declaration is known already.
            # The folder of its indexes is a line of its own, so a listing may be one page longer.
            assert said <= store.sent <= said + bool(fields), work
