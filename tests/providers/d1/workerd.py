"""D1 of workerd behind the REST API, for the tests: a database each, and what is planted there."""

from __future__ import annotations

import random
from typing import Any

import httpx

from storage_providers._clock import Clock
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.protocol import StorageProvider
from storage_providers.providers._sql import create_table
from storage_providers.providers.d1 import D1Provider
from storage_providers.resilience import BreakerPolicy, RetryPolicy
from storage_providers.testing.conformance import Backend
from tests.servers.emulator import Emulator

__all__ = ["BrokenLine", "FaultyBackend", "WorkerdBackend", "client_of", "raw"]


def client_of(emulator: Emulator, **options: Any) -> CloudflareClient:
    """A client of the local Cloudflare, whose calls nobody counts."""
    known = emulator.known
    options = {"retry": RetryPolicy(base_delay_seconds=0), "rate_limit": None, **options}
    return CloudflareClient(
        account_id=known.account, token=known.token, base_url=known.api, **options
    )


def raw(emulator: Emulator, *statements: tuple[str, list[Any]]) -> list[list[list[Any]]]:
    """Run statements past the provider; returns their rows."""
    known = emulator.known
    address = f"{known.api}/accounts/{known.account}/d1/database/{known.databases[0]}/raw"
    answer = httpx.post(
        address,
        headers={"Authorization": f"Bearer {known.token}"},
        json={"batch": [{"sql": sql, "params": values} for sql, values in statements]},
    ).json()
    assert answer["success"], answer["errors"]
    return [result["results"]["rows"] for result in answer["result"]]


class WorkerdBackend(Backend):
    """The first database of the local Cloudflare, emptied."""

    can_reopen = True
    can_share = True
    can_plant = True

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._clients: list[CloudflareClient] = []
        emulator.empty_database(emulator.known.databases[0])

    async def open(self, clock: Clock) -> StorageProvider:
        client = client_of(self.emulator)
        self._clients.append(client)
        return D1Provider(database_id=self.emulator.known.databases[0], client=client, clock=clock)

    async def plant(self, collection: str, item_id: str, raw_bytes: bytes) -> None:
        scope, _, name = collection.rpartition("/")
        raw(
            self.emulator,
            *((sql, []) for sql in create_table(f'"c_{name}"')),
            (
                f'INSERT INTO "c_{name}" (scope, id, body, version) '
                "VALUES (?, ?, CAST(unhex(?) AS TEXT), 'planted') ON CONFLICT (scope, id) "
                "DO UPDATE SET body=excluded.body, version=excluded.version",
                [scope, item_id, raw_bytes.hex()],
            ),
        )

    async def close(self) -> None:
        for client in self._clients:
            await client.disconnect()


class BrokenLine(httpx.AsyncBaseTransport):
    """A connection that breaks a third of all calls, before or after they are carried out.

    Attributes:
        before: How many calls never arrived.
        after: How many answers were lost.
    """

    def __init__(self) -> None:
        self.before = self.after = 0
        self._chance = random.Random(5)
        # Making certificates ready would cost more than the calls, which are plain.
        self._inner = httpx.AsyncHTTPTransport(verify=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, unless it fails."""
        turn = self._chance.randrange(6)
        if turn == 2:
            self.before += 1
            raise httpx.ConnectError("injected")
        response = await self._inner.handle_async_request(request)
        if turn == 5:
            self.after += 1
            await response.aread()
            await response.aclose()
            raise httpx.ReadError("injected")
        return response

    async def aclose(self) -> None:
        """Close its connections."""
        await self._inner.aclose()


class FaultyBackend(WorkerdBackend):
    """The same behind broken lines, with a client that tries again."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        self.lines: list[BrokenLine] = []
        self._https: list[httpx.AsyncClient] = []

    async def open(self, clock: Clock) -> StorageProvider:
        line = BrokenLine()
        http = httpx.AsyncClient(transport=line, trust_env=False)
        client = client_of(
            self.emulator,
            http=http,
            retry=RetryPolicy(attempts=20, base_delay_seconds=0),
            breaker=BreakerPolicy(consecutive_failures=10**6, minimum_calls=10**6),
        )
        self.lines.append(line)
        self._https.append(http)
        self._clients.append(client)
        return D1Provider(database_id=self.emulator.known.databases[0], client=client, clock=clock)

    async def close(self) -> None:
        await super().close()
        for http in self._https:
            await http.aclose()
