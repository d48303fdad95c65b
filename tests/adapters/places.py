"""The providers that adapters are tested on, each an empty place that can be opened again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import pytest

from storage_providers.protocol import StorageProvider
from storage_providers.providers.d1 import D1Provider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from tests.providers.d1.local import LocalD1, local_provider
from tests.providers.d1.workerd import client_of as d1_client
from tests.providers.kv.workerd import client_of as kv_client
from tests.providers.kv.workerd import turning
from tests.servers.emulator import Emulator
from tests.servers.r2 import moto_place, on_workerd

__all__ = ["CONSISTENT", "EVERYWHERE", "Opener", "Place", "place_of"]

CONSISTENT: Final = ("memory", "files", "sqlite", "d1", "d1-workerd", "r2", "r2-workerd")
"""Places that see every write at once and judge conditions."""

EVERYWHERE: Final = (*CONSISTENT, "kv")

Opener = Callable[[], StorageProvider]


class Place(NamedTuple):
    """An empty place for documents.

    Attributes:
        name: Which.
        open: Opens a provider on it; of those in memory all are the same one.
    """

    name: str
    open: Callable[[], AbstractAsyncContextManager[StorageProvider]]


def place_of(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """An empty place of a kind.

    D1 is `LocalD1`, `sqlite3` behind D1's transport, and workerd's own; R2 is moto and workerd's
    own; KV is workerd's.
    """
    return Place(name, _OPENERS[name](tmp_path, request))


# --- helpers -------------------------------------------------------------------------------------


def _opening(make: Opener) -> Callable[[], AbstractAsyncContextManager[StorageProvider]]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[StorageProvider]:
        async with make() as provider:
            yield provider

    return opened


def _memory(_: Path, __: pytest.FixtureRequest) -> Any:
    provider = InMemoryProvider()

    @asynccontextmanager
    async def opened() -> AsyncIterator[StorageProvider]:
        await provider.connect()
        yield provider

    return opened


def _d1(tmp_path: Path, _: pytest.FixtureRequest) -> Any:
    @asynccontextmanager
    async def opened() -> AsyncIterator[StorageProvider]:
        transport = LocalD1(tmp_path / "d1.db")
        try:
            async with local_provider(transport) as provider:
                yield provider
        finally:
            transport.close()

    return opened


def _d1_workerd(_: Path, request: pytest.FixtureRequest) -> Any:
    emulator: Emulator = request.getfixturevalue("cloudflare")
    database_id = emulator.known.databases[0]
    emulator.empty_database(database_id)

    @asynccontextmanager
    async def opened() -> AsyncIterator[StorageProvider]:
        async with (
            d1_client(emulator) as client,
            D1Provider(database_id=database_id, client=client) as provider,
        ):
            yield provider

    return opened


def _kv(_: Path, request: pytest.FixtureRequest) -> Any:
    emulator: Emulator = request.getfixturevalue("cloudflare")
    namespace_id = emulator.known.namespaces[0]
    emulator.empty_namespace(namespace_id)

    @asynccontextmanager
    async def opened() -> AsyncIterator[StorageProvider]:
        async with (
            kv_client(emulator) as client,
            CloudflareKVProvider(
                namespace_id=namespace_id, client=client, timing=turning(emulator)
            ) as provider,
        ):
            yield provider

    return opened


def _r2(_: Path, request: pytest.FixtureRequest) -> Any:
    moto = request.getfixturevalue("moto")
    return _opening(moto_place(moto, request.getfixturevalue("moto_bucket")).open)


def _r2_workerd(_: Path, request: pytest.FixtureRequest) -> Any:
    return _opening(on_workerd(request.getfixturevalue("cloudflare")).open)


_OPENERS: Final[dict[str, Callable[[Path, pytest.FixtureRequest], Any]]] = {
    "memory": _memory,
    "files": lambda path, _: _opening(cast(Opener, lambda: LocalFileProvider(path / "files"))),
    "sqlite": lambda path, _: _opening(cast(Opener, lambda: SQLiteProvider(path / "one.db"))),
    "d1": _d1,
    "d1-workerd": _d1_workerd,
    "r2": _r2,
    "r2-workerd": _r2_workerd,
    "kv": _kv,
}
