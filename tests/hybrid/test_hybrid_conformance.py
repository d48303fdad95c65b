"""The conformance suite on a hybrid of which both sides are well."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from storage_providers._clock import Clock
from storage_providers.protocol import StorageProvider
from storage_providers.providers.hybrid import HybridProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases
from tests.providers.test_sqlite import FileBackend


class MemoryPair(Backend):
    """Two dicts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def open(self, clock: Clock) -> StorageProvider:
        return HybridProvider(
            primary=InMemoryProvider(clock=clock),
            fallback=InMemoryProvider(clock=clock),
            journal=self.folder / "journal.db",
        )


class DatabaseAndFiles(Backend):
    """A database with files that stand in for it."""

    can_reopen: ClassVar[bool] = True
    can_share: ClassVar[bool] = True
    can_plant: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.primary = FileBackend(folder)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        await self.primary.plant(collection, item_id, raw)

    async def open(self, clock: Clock) -> StorageProvider:
        return HybridProvider(
            primary=SQLiteProvider(self.primary.path, clock=clock),
            fallback=LocalFileProvider(self.folder / "fallback", clock=clock),
            journal=self.folder / "journal.db",
        )


class TestMemoryPair(ProviderConformance):
    """The reference on both sides."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return MemoryPair(tmp_path)


class TestDatabaseAndFiles(ProviderConformance):
    """Two that differ in most things."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return DatabaseAndFiles(tmp_path)


def test_what_both_sides_give_is_tested(tmp_path: Path) -> None:
    """Only what one of the sides lacks does not apply."""
    shared = {
        "needs atomic_batch": 10,
        "needs max_document_bytes": 1,
        "needs the absence of conditional_delete": 2,
        "needs the absence of conditional_write": 3,
    }
    memory = count_cases(TestMemoryPair, MemoryPair(tmp_path))
    assert memory.run == 628
    assert memory.not_applicable == {
        **shared,
        "needs plant": 72,
        "needs reopen": 5,
        "needs share": 3,
        "needs text_search": 20,
    }
    both = count_cases(TestDatabaseAndFiles, DatabaseAndFiles(tmp_path))
    assert both.run == 726
    assert both.not_applicable == {**shared, "needs the absence of text_search": 2}
