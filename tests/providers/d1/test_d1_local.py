"""D1Provider on a local stand-in for D1."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage_providers._clock import Clock
from storage_providers.protocol import StorageProvider
from storage_providers.providers._sql import create_table
from storage_providers.testing.conformance import Backend, ProviderConformance
from tests.providers.d1.local import LocalD1, local_provider


class LocalBackend(Backend):
    """A SQLite database file that answers as D1 does."""

    can_reopen = True
    can_share = True
    can_plant = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "d1.db"
        self.opened: list[LocalD1] = []

    def client(self) -> LocalD1:
        """One more client of the database."""
        self.opened.append(LocalD1(self.path))
        return self.opened[-1]

    async def open(self, clock: Clock) -> StorageProvider:
        return local_provider(self.client(), clock=clock)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        scope, _, name = collection.rpartition("/")
        connection = self.client().connection
        for sql in create_table(f'"c_{name}"'):
            connection.execute(sql)
        connection.execute(
            f'INSERT INTO "c_{name}" (scope, id, body, version) '
            "VALUES (?, ?, CAST(? AS TEXT), 'planted') ON CONFLICT (scope, id) "
            "DO UPDATE SET body=excluded.body, version=excluded.version",
            (scope, item_id, raw),
        )

    async def close(self) -> None:
        for transport in self.opened:
            transport.close()


class TestLocal(ProviderConformance):
    """The contract on the stand-in."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return LocalBackend(tmp_path)
