"""The contract on files: every case of the conformance suite."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from storage_providers._clock import Clock
from storage_providers.protocol import StorageProvider
from storage_providers.providers._files.layout import Layout
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases


class FileBackend(Backend):
    """A folder."""

    can_reopen = True
    can_share = True
    can_plant = True

    def __init__(self, root: Path) -> None:
        self.root = root

    async def open(self, clock: Clock) -> StorageProvider:
        return LocalFileProvider(self.root, clock=clock, fsync=False, rescan_seconds=0)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        await asyncio.to_thread(self._plant, collection, item_id, raw)

    def _plant(self, collection: str, item_id: str, raw: bytes) -> None:
        path = Path(Layout(str(self.root)).document(collection, item_id) + ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)


class TestLocalFile(ProviderConformance):
    """Documents as files do what the reference does."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return FileBackend(tmp_path / "root")


def test_only_what_files_lack_does_not_apply(tmp_path: Path) -> None:
    """Files lack atomic batches, a size limit and a service's own time to live, nothing else."""
    counts = count_cases(TestLocalFile, FileBackend(tmp_path))
    allowed = {"atomic_batch", "max_document_bytes", "native_ttl"}
    needed = {reason.removeprefix("needs ") for reason in counts.not_applicable}
    assert {name for name in needed if not name.startswith("the absence of")} <= allowed
    assert counts.run > 20 * sum(counts.not_applicable.values())
