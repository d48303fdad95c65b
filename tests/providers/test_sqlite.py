"""SQLiteProvider: the conformance suite, and what is its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from storage_providers._clock import Clock
from storage_providers.protocol import StorageProvider
from storage_providers.providers._sql import create_table
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.conformance import Backend, ProviderConformance


class FileBackend(Backend):
    """A database file."""

    can_reopen = True
    can_share = True
    can_plant = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "documents.db"

    async def open(self, clock: Clock) -> StorageProvider:
        return SQLiteProvider(self.path, clock=clock)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        scope, _, name = collection.rpartition("/")
        connection = sqlite3.connect(self.path)
        with connection:
            for sql in create_table(f'"c_{name}"'):
                connection.execute(sql)
            connection.execute(
                f'INSERT INTO "c_{name}" (scope, id, body, version) '
                "VALUES (?, ?, CAST(? AS TEXT), 'planted') ON CONFLICT (scope, id) "
                "DO UPDATE SET body=excluded.body, version=excluded.version",
                (scope, item_id, raw),
            )
        connection.close()


class MemoryBackend(Backend):
    """A database in memory."""

    async def open(self, clock: Clock) -> StorageProvider:
        return SQLiteProvider(":memory:", clock=clock)


class TestFile(ProviderConformance):
    """The contract on a database file."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return FileBackend(tmp_path)


class TestMemory(ProviderConformance):
    """The contract on a database in memory."""

    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()
