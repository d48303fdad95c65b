"""The backfill from a local database to the services, which local servers stand for.

What a copy costs there is calls and waiting, not this process's time. `make emulator` installs the
local Cloudflare.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks._harness import Run
from benchmarks.suites.migration._copying import compare, in_a_file
from benchmarks.suites.migration._moving import fill
from storage_providers import CloudflareR2Provider, Provider
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.providers.d1 import D1Provider

__all__ = ["copy_to_d1", "copy_to_r2"]


async def copy_to_d1(run: Run) -> None:
    """The copy of a collection to D1, workerd standing for it."""
    from tests.servers.emulator import Emulator

    emulator = await asyncio.to_thread(Emulator)
    try:
        known = emulator.known
        database = known.databases[0]
        client = CloudflareClient(known.account, known.token, base_url=known.api, rate_limit=None)

        def empty(_: Path) -> Provider:
            emulator.empty_database(database)
            return D1Provider(database_id=database, client=client)

        source = in_a_file(run.place("to-d1"))
        async with client, source:
            await fill(source, run.size(5_000, 200))
            await compare(run, "SQLite to D1 (workerd)", source, empty)
    finally:
        await asyncio.to_thread(emulator.stop)


async def copy_to_r2(run: Run) -> None:
    """The copy of a collection to R2, moto standing for it."""
    from tests.servers.moto import MotoS3
    from tests.servers.r2 import moto_place

    moto = await asyncio.to_thread(MotoS3)
    try:

        def empty(_: Path) -> CloudflareR2Provider:
            return moto_place(moto, moto.make_bucket()).open()

        async with in_a_file(run.place("to-r2")) as source:
            await fill(source, run.size(500, 50))
            await compare(run, "SQLite to R2 (moto)", source, empty)
    finally:
        await asyncio.to_thread(moto.stop)
