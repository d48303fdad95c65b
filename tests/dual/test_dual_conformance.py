"""The conformance suite on two sides, in each phase of a migration."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.protocol import StorageProvider
from storage_providers.providers._dual.state import Phase
from storage_providers.providers.dual_write import DualWriteProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases
from tests.dual.pairs import set_phase
from tests.providers.test_sqlite import FileBackend


class MemoryPair(Backend):
    """Two dicts."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase

    async def open(self, clock: Clock) -> StorageProvider:
        source, target = InMemoryProvider(clock=clock), InMemoryProvider(clock=clock)
        await source.connect()
        await target.connect()
        await set_phase(source, target, self.phase, clock)
        return DualWriteProvider(source=source, target=target)


class DatabaseAndFiles(Backend):
    """A database and files; the database leads in the phase."""

    can_reopen: ClassVar[bool] = True
    can_share: ClassVar[bool] = True
    can_plant: ClassVar[bool] = True

    def __init__(self, folder: Path, phase: Phase) -> None:
        self.folder = folder
        self.phase = phase
        self.database = FileBackend(folder)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        await self.database.plant(collection, item_id, raw)

    def sides(self, clock: Clock) -> tuple[Provider, Provider]:
        """Source and target, not open yet."""
        database = SQLiteProvider(self.database.path, clock=clock)
        files = LocalFileProvider(self.folder / "files", clock=clock)
        return (files, database) if self.phase == "target" else (database, files)

    async def open(self, clock: Clock) -> StorageProvider:
        source, target = self.sides(clock)
        async with source, target:
            await set_phase(source, target, self.phase, clock)
        source, target = self.sides(clock)
        return DualWriteProvider(source=source, target=target)


@pytest.mark.parametrize("phase", ["dual", "target"])
class TestMemoryPair(ProviderConformance):
    """The reference on both sides."""

    @pytest.fixture
    def backend(self, phase: Phase) -> Backend:
        return MemoryPair(phase)


class TestDualDatabaseAndFiles(ProviderConformance):
    """Two that differ in most things, while the first leads."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return DatabaseAndFiles(tmp_path, "dual")


class TestTargetFilesAndDatabase(ProviderConformance):
    """Two that differ in most things, after the second took over."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return DatabaseAndFiles(tmp_path, "target")


def test_what_both_sides_give_is_tested(tmp_path: Path) -> None:
    """Only what one of the sides lacks does not apply."""
    shared = {
        "needs atomic_batch": 10,
        "needs max_document_bytes": 1,
        "needs the absence of conditional_delete": 2,
        "needs the absence of conditional_write": 3,
    }
    memory = count_cases(TestMemoryPair, MemoryPair("dual"))
    assert memory.run == 628
    assert memory.not_applicable == {
        **shared,
        "needs plant": 72,
        "needs reopen": 5,
        "needs share": 3,
        "needs text_search": 20,
    }
    both = count_cases(TestDualDatabaseAndFiles, DatabaseAndFiles(tmp_path, "dual"))
    assert both.run == 726
    assert both.not_applicable == {**shared, "needs the absence of text_search": 2}
