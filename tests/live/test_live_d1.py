"""The conformance suite on a real D1, in a scratch database that is made and deleted by the run.

    CLOUDFLARE_ACCOUNT_ID=… CLOUDFLARE_API_TOKEN=… \
    python -m pytest -m live tests/live/test_live_d1.py

The token needs D1: Edit. It takes about an hour, because some 15,000 calls are made and the API
allows 1,200 in five minutes. `CLOUDFLARE_API_BASE_URL` leads elsewhere, such as to the emulator.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator

import pytest

from storage_providers._clock import Clock
from storage_providers.cloudflare.client import BASE_URL, CloudflareClient
from storage_providers.cloudflare.d1 import D1Database, D1Databases, SqlStatement
from storage_providers.errors import ItemExistsError
from storage_providers.protocol import CollectionSpec, StorageProvider
from storage_providers.providers._sql import create_table, quoted
from storage_providers.providers.d1 import D1Provider
from storage_providers.resilience import Effect
from storage_providers.testing import _harness
from storage_providers.testing.conformance import Backend, ProviderConformance

pytestmark = pytest.mark.live

NEEDED = ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN")
MISSING = [name for name in NEEDED if not os.environ.get(name)]

CASE_SECONDS = 3600.0
"""A case of the suite may take this long here, most of it waiting for its turn."""


def make_client() -> CloudflareClient:
    """A client of the account."""
    return CloudflareClient(
        account_id=os.environ["CLOUDFLARE_ACCOUNT_ID"],
        token=os.environ["CLOUDFLARE_API_TOKEN"],
        base_url=os.environ.get("CLOUDFLARE_API_BASE_URL", BASE_URL),
        deadline_seconds=900.0,
    )


@pytest.fixture(scope="module")
def database_id() -> Iterator[str]:
    """A database for this run."""

    async def make() -> str:
        async with make_client() as client:
            return (await D1Databases(client).create(f"live-{uuid.uuid4().hex[:12]}")).id

    async def remove() -> None:
        async with make_client() as client:
            await D1Databases(client).delete(found)

    found = asyncio.run(make())
    yield found
    asyncio.run(remove())


class LiveBackend(Backend):
    """The scratch database, emptied."""

    can_reopen = True
    can_share = True
    can_plant = True

    def __init__(self, database_id: str) -> None:
        self.database_id = database_id
        self._clients: list[CloudflareClient] = []

    async def _database(self) -> D1Database:
        self._clients.append(make_client())
        await self._clients[-1].connect()
        return D1Database(self._clients[-1], self.database_id)

    async def empty(self) -> None:
        """Drop every table, virtual ones with what is theirs first."""
        database = await self._database()
        (listed,) = await database.raw(
            [
                (
                    "SELECT name FROM sqlite_master WHERE type='table' "
                    "AND (substr(name,1,2)='c_' OR substr(name,1,3)='sp_') "
                    "ORDER BY sql LIKE 'CREATE VIRTUAL%' DESC",
                    [],
                )
            ],
            effect=Effect.READ,
        )
        drops: list[SqlStatement] = [
            (f"DROP TABLE IF EXISTS {quoted(name)}", []) for (name,) in listed.rows
        ]
        if drops:
            await database.raw(drops, effect=Effect.IDEMPOTENT_WRITE)

    async def open(self, clock: Clock) -> StorageProvider:
        if not self._clients:
            await self.empty()
        return D1Provider(
            database_id=self.database_id, client=(await self._database())._client, clock=clock
        )

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        scope, _, name = collection.rpartition("/")
        statements: list[SqlStatement] = [(sql, []) for sql in create_table(quoted(f"c_{name}"))]
        statements.append(
            (
                f'INSERT INTO "c_{name}" (scope, id, body, version) '
                "VALUES (?, ?, CAST(unhex(?) AS TEXT), 'planted') ON CONFLICT (scope, id) "
                "DO UPDATE SET body=excluded.body, version=excluded.version",
                [scope, item_id, raw.hex()],
            )
        )
        await (await self._database()).raw(statements, effect=Effect.IDEMPOTENT_WRITE)

    async def close(self) -> None:
        for client in self._clients:
            await client.disconnect()


@pytest.mark.skipif(bool(MISSING), reason=f"a real D1 account: set {', '.join(MISSING)}")
def test_the_database_answers(database_id: str) -> None:
    """Guards, tokens, patches and full text work there, before an hour is spent on the rest."""

    async def play() -> None:
        backend = LiveBackend(database_id)
        async with await backend.open(Clock()) as provider:
            await provider.declare(CollectionSpec(collection="t", text_fields=("v",)))
            item = await provider.create_item("t", {"id": "a", "v": "plants", "n": 2**53 + 1})
            with pytest.raises(ItemExistsError):
                await provider.create_item("t", {"id": "a"})
            patched = await provider.update_item("t", "a", {"v": "trees"}, if_version=item.version)
            assert patched.document["n"] == 2**53 + 1
            assert await provider.count_items("t", where={"$text": "trees"}) == 1
            assert await provider.count_items("t", where={"$text": "plants"}) == 0
        await backend.close()

    asyncio.run(play())


class TestLiveD1(ProviderConformance):
    """The contract on the service itself."""

    # Without an account one skip says so, not one for each case.
    __test__ = not MISSING

    @pytest.fixture
    def backend(self, database_id: str, monkeypatch: pytest.MonkeyPatch) -> Backend:
        monkeypatch.setattr(_harness, "CASE_SECONDS", CASE_SECONDS)
        return LiveBackend(database_id)
