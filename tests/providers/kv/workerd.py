"""KV of workerd behind the REST API, for the tests: a namespace each, and what is planted there."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar
from urllib.parse import quote

import httpx
import msgspec

from storage_providers._clock import Clock
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.protocol import Capabilities, CollectionSpec, StorageProvider
from storage_providers.providers._kv.layout import KVLayout
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.resilience import BreakerPolicy, RetryPolicy, Timing
from storage_providers.testing.conformance import Backend
from tests.providers.d1.workerd import BrokenLine
from tests.servers.emulator import Emulator

__all__ = [
    "Consistent",
    "FaultyBackend",
    "StaleBackend",
    "WorkerdBackend",
    "client_of",
    "plant_value",
    "turning",
]


def turning(emulator: Emulator) -> Timing:
    """Waiting that turns the emulator's clock instead."""

    async def sleep(seconds: float) -> None:
        if seconds > 0:
            emulator.advance(seconds)
        await asyncio.sleep(0)

    return Timing(sleep=sleep, jitter=lambda: 0.0)


def client_of(emulator: Emulator, **options: Any) -> CloudflareClient:
    """A client of the local Cloudflare, whose calls nobody counts."""
    known = emulator.known
    options = {
        "retry": RetryPolicy(base_delay_seconds=0),
        "rate_limit": None,
        "timing": turning(emulator),
        **options,
    }
    return CloudflareClient(
        account_id=known.account, token=known.token, base_url=known.api, **options
    )


def plant_value(emulator: Emulator, namespace_id: str, key: str, value: bytes) -> None:
    """Put a value past the provider, as another program would."""
    known = emulator.known
    place = f"{known.api}/accounts/{known.account}/storage/kv/namespaces/{namespace_id}"
    answer = httpx.put(
        f"{place}/values/{quote(key, safe='')}",
        headers={"Authorization": f"Bearer {known.token}"},
        content=value,
    ).json()
    assert answer["success"], answer["errors"]


class Consistent(CloudflareKVProvider):
    """What the service is while nothing is stale: every case of the contract applies."""

    staleness_seconds: ClassVar[float] = 0.0

    @property
    def capabilities(self) -> Capabilities:
        """As declared, but consistent."""
        return msgspec.structs.replace(
            super().capabilities, strongly_consistent=True, staleness_seconds=0.0
        )


class Indexing(Consistent):
    """Builds indexes as soon as they are declared, so that the cases' queries use them."""

    settle_seconds: ClassVar[float] = 0.0

    async def _declare(self, spec: CollectionSpec) -> None:
        await super()._declare(spec)
        await self._builder.build(spec.collection, None)
        await self._declared(spec.collection)  # Not after a minute only.


class WorkerdBackend(Backend):
    """The first namespace of the local Cloudflare, emptied."""

    can_reopen = True
    can_share = True
    can_plant = True
    kind: ClassVar[type[CloudflareKVProvider]] = Consistent
    prefix: ClassVar[str] = ""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.namespace_id = emulator.known.namespaces[0]
        self._clients: list[CloudflareClient] = []
        emulator.empty_namespace(self.namespace_id)

    def client(self) -> CloudflareClient:
        """A client of its own."""
        return client_of(self.emulator)

    async def open(self, clock: Clock) -> StorageProvider:
        """A provider on the namespace."""
        client = self.client()
        self._clients.append(client)
        return self.kind(
            namespace_id=self.namespace_id,
            prefix=self.prefix,
            client=client,
            clock=clock,
            timing=turning(self.emulator),
        )

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        """Past the provider."""
        key = KVLayout(self.prefix).document(collection, item_id)
        plant_value(self.emulator, self.namespace_id, key, raw)

    async def close(self) -> None:
        """Close what was opened."""
        for client in self._clients:
            await client.disconnect()


class FaultyBackend(WorkerdBackend):
    """What is declared is ready at once, behind lines that break a third of all calls."""

    kind = Indexing
    prefix = "apps:notes"

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        self.lines: list[BrokenLine] = []
        self._https: list[httpx.AsyncClient] = []

    def client(self) -> CloudflareClient:
        """A client that tries again."""
        line = BrokenLine()
        http = httpx.AsyncClient(transport=line, trust_env=False)
        self.lines.append(line)
        self._https.append(http)
        return client_of(
            self.emulator,
            http=http,
            retry=RetryPolicy(attempts=20, base_delay_seconds=0),
            breaker=BreakerPolicy(consecutive_failures=10**6, minimum_calls=10**6),
        )

    async def close(self) -> None:
        """Close what was opened."""
        await super().close()
        for http in self._https:
            await http.aclose()


class StaleBackend(WorkerdBackend):
    """The same at its worst: answers a minute old, and one write a second for each key."""

    kind = CloudflareKVProvider

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        emulator.configure(kvStaleMs=60_000, kvWriteLimitMs=1_000)
        # Nothing of the case before is remembered.
        emulator.advance(3600)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        """Past the provider, a second after what was written before."""
        self.emulator.advance(1)
        await super().plant(collection, item_id, raw)
