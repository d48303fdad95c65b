"""The agent store on providers that need no service."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage_providers.testing.agents import AgentStoreConformance
from storage_providers.testing.conformance import Backend
from tests.hybrid.test_hybrid_conformance import DatabaseAndFiles, MemoryPair
from tests.providers.d1.test_d1_local import LocalBackend
from tests.providers.test_local_file_conformance import FileBackend as FolderBackend
from tests.providers.test_sqlite import FileBackend
from tests.test_conformance import MemoryBackend


class TestMemory(AgentStoreConformance):
    """On the reference, which keeps orders apart, in atomic batches."""

    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()


class TestSQLite(AgentStoreConformance):
    """On a database file."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return FileBackend(tmp_path)


class TestLocalFile(AgentStoreConformance):
    """On files."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return FolderBackend(tmp_path / "root")


class TestD1(AgentStoreConformance):
    """On a local stand-in for D1."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return LocalBackend(tmp_path)


class TestHybridMemory(AgentStoreConformance):
    """On two dicts, which together have no atomic batches: bumps are coalesced."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return MemoryPair(tmp_path)


class TestHybrid(AgentStoreConformance):
    """On a database with files that stand in for it."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return DatabaseAndFiles(tmp_path)
