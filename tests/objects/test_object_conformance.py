"""The conformance suite on objects in memory: as R2 keeps them, as KV does, indexed, in a scope."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import msgspec
import pytest

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.layers import Scope, compose
from storage_providers.protocol import CollectionSpec, Index
from storage_providers.providers._objects.provider import ObjectProvider
from storage_providers.testing.conformance import (
    Backend,
    ManualClock,
    ProviderConformance,
    count_cases,
)
from tests.objects.memory_store import (
    LIMITS,
    Fate,
    Immediate,
    MemoryObjects,
    MemoryStore,
    Request,
    objects,
)


async def yielding(_: Request) -> Fate:
    """Lets others run before each request."""
    await asyncio.sleep(0)
    return Fate.DONE


class Indexing(Immediate):
    """Builds indexes as soon as they are declared, so that the cases' queries use them."""

    async def _declare(self, spec: CollectionSpec) -> None:
        await super()._declare(spec)
        await self._builder.build(spec.collection, None)
        await self._declared(spec.collection)  # Not after a minute only.


class ObjectBackend(Backend):
    """Objects in memory, as a service with conditions keeps them."""

    can_reopen = True
    can_share = True
    can_plant = True
    kind: ClassVar[type[ObjectProvider]] = MemoryObjects
    prefix: ClassVar[str] = ""
    limits: ClassVar = LIMITS

    def __init__(self) -> None:
        self.store = MemoryStore(self.limits, yielding)

    async def open(self, clock: Clock) -> Provider:
        """A provider on the store."""
        return objects(self.store, clock, prefix=self.prefix, kind=self.kind)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        """Past the provider."""
        layout = objects(self.store, prefix=self.prefix).layout
        self.store.plant(layout.document(collection, item_id), raw)


class IndexedBackend(ObjectBackend):
    """The same; whatever is declared is ready at once."""

    kind = Indexing
    prefix = "apps/notes"


class ScopedBackend(IndexedBackend):
    """The same, in a scope, pages of a listing being short."""

    limits = msgspec.structs.replace(LIMITS, list_page=3, delete_batch=2)

    async def open(self, clock: Clock) -> Provider:
        """A user's part."""
        return compose(Scope("user-7"), provider=await super().open(clock))

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        """Past the provider."""
        await super().plant(f"user-7/{collection}", item_id, raw)


class UnconditionalBackend(IndexedBackend):
    """As KV: no conditions, listings only from the beginning."""

    limits = msgspec.structs.replace(
        LIMITS, conditional_put=False, starts_anywhere=False, max_key_bytes=2048
    )


class TestObjects(ProviderConformance):
    """No index is ready."""

    @pytest.fixture
    def backend(self) -> Backend:
        """A new store."""
        return ObjectBackend()


class TestIndexedObjects(ProviderConformance):
    """Every index is ready."""

    @pytest.fixture
    def backend(self) -> Backend:
        """A new store."""
        return IndexedBackend()


class TestScopedObjects(ProviderConformance):
    """In a scope, every index ready, three lines a listing."""

    @pytest.fixture
    def backend(self) -> Backend:
        """A new store."""
        return ScopedBackend()


class TestUnconditionalObjects(ProviderConformance):
    """Without conditions."""

    @pytest.fixture
    def backend(self) -> Backend:
        """A new store."""
        return UnconditionalBackend()


NOT_HERE = {
    "needs atomic_batch": 10,
    "needs conditional_delete": 14,
    "needs max_document_bytes": 1,
    "needs text_search": 20,
}
CONDITIONAL = (696, {**NOT_HERE, "needs the absence of conditional_write": 3})
UNCONDITIONAL = (665, {**NOT_HERE, "needs conditional_write": 34})


@pytest.mark.parametrize(
    ("suite", "backend", "expected"),
    [
        (TestObjects, ObjectBackend, CONDITIONAL),
        (TestIndexedObjects, IndexedBackend, CONDITIONAL),
        (TestScopedObjects, ScopedBackend, CONDITIONAL),
        (TestUnconditionalObjects, UnconditionalBackend, UNCONDITIONAL),
    ],
    ids=["objects", "indexed", "scoped", "unconditional"],
)
def test_no_case_disappears_unnoticed(
    suite: type[ProviderConformance],
    backend: type[Backend],
    expected: tuple[int, dict[str, int]],
) -> None:
    """Whoever adds a case or a capability changes these counts."""
    counts = count_cases(suite, backend())
    assert (counts.run, counts.not_applicable) == expected


def test_the_indexed_suite_uses_indexes() -> None:
    """What is declared there is ready at once, or the suite would prove nothing about indexes."""

    async def play() -> str | None:
        backend = IndexedBackend()
        async with await backend.open(ManualClock().clock) as provider:
            await provider.declare(CollectionSpec(collection="things", indexes=(Index(("v",)),)))
            await provider.put_items("things", [{"id": f"{n}", "v": n} for n in range(5)])
            page = await provider.list_items("things", where={"v": 3})
            assert [item.id for item in page.items] == ["3"]
            return page.statistics.index

    assert asyncio.run(play()) == "v"
