"""What a migration costs: calls of the copy, and of each write while it is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from storage_providers.protocol import Put
from storage_providers.providers._dual.state import OWN
from storage_providers.providers.dual_write import DualWriteProvider
from storage_providers.transfer._migration.copying import pages
from storage_providers.transfer.migration import Migration
from tests.providers.d1.local import LocalD1, local_provider

DOCUMENTS = 10_000
LEASE_SECONDS = 0.2
ASKED_ONCE = 2
"""The names of the collections, which are two calls. The rest is asked by time."""

OVERHEAD = 1.05
"""Calls of a copy against those of reading once and writing once in full batches, at most."""


@asynccontextmanager
async def databases() -> AsyncGenerator[tuple[LocalD1, LocalD1, DualWriteProvider]]:
    """Two databases whose calls are counted, as one."""
    ours, theirs = LocalD1(":memory:"), LocalD1(":memory:")
    async with (
        local_provider(ours) as source,
        local_provider(theirs) as target,
        DualWriteProvider(source=source, target=target, lease_seconds=LEASE_SECONDS) as pair,
    ):
        yield ours, theirs, pair


def count(database: LocalD1) -> int:
    """Calls since the list was cleared, without those that look after the phase by time."""
    calls = [" ".join(statements) for statements in database.calls]
    return sum(OWN not in call or "c_things" in call for call in calls)


def documents(number: int) -> list[dict[str, object]]:
    """Small ones."""
    return [{"id": f"{n:06}", "n": n, "text": "x" * 200} for n in range(number)]


async def copied_plainly() -> int:
    """Calls of reading everything once and writing it once, and of nothing else."""
    async with databases() as (ours, theirs, pair):
        source, target = pair._sides["source"], pair._sides["target"]
        await source.put_items("things", documents(DOCUMENTS))
        await target.declared("things")
        ours.calls.clear()
        theirs.calls.clear()
        async for page, _ in pages(source, "things"):
            await target.write([Put("things", item.document) for item in page.items])
        return count(ours) + count(theirs)


async def copied() -> int:
    """Calls of the backfill."""
    async with databases() as (ours, theirs, pair):
        source, target = pair._sides["source"], pair._sides["target"]
        await source.put_items("things", documents(DOCUMENTS))
        migration = Migration(source=source, target=target, lease_seconds=LEASE_SECONDS)
        async with migration._held():
            await migration.start_dual_write()
            await target.declared("things")
            ours.calls.clear()
            theirs.calls.clear()
            done = await migration.backfill()
            assert done.copied == DOCUMENTS
            return count(ours) + count(theirs)


def test_the_copy_costs_what_reading_and_writing_once_costs() -> None:
    """What it asks beside that, whatever the number of documents, is named here."""
    plain = asyncio.run(copied_plainly())
    mine = asyncio.run(copied())
    assert mine - ASKED_ONCE <= OVERHEAD * plain, (mine, plain)


def test_a_write_costs_two_calls_where_the_follower_is_known() -> None:
    """One at each side; a third where it is to be read first, and one more note of a deletion."""

    async def main() -> None:
        async with databases() as (ours, theirs, pair):
            source, target = pair._sides["source"], pair._sides["target"]
            await source.put_item("things", {"id": "old"})

            async def calls_of(write: object) -> tuple[int, int]:
                ours.calls.clear()
                theirs.calls.clear()
                await write  # type: ignore[misc]
                return count(ours), count(theirs)

            await pair.put_item("things", {"id": "first"})
            assert await calls_of(pair.put_item("things", {"id": "old", "n": 1})) == (1, 0)
            assert await calls_of(pair.read_item("things", "old")) == (1, 0)
            migration = Migration(source=source, target=target, lease_seconds=LEASE_SECONDS)
            await migration.run(cut_over=False)
            await pair.put_item("things", {"id": "first"})
            assert await calls_of(pair.create_item("things", {"id": "new"})) == (1, 1)
            assert await calls_of(pair.put_item("things", {"id": "new", "n": 1})) == (1, 1)
            assert await calls_of(pair.put_item("things", {"id": "old", "n": 2})) == (1, 2)
            assert await calls_of(pair.update_item("things", "old", {"n": 3})) == (1, 1)
            assert await calls_of(pair.delete_item("things", "new")) == (1, 1)
            many = [{"id": f"m{n}"} for n in range(100)]
            assert await calls_of(pair.create_items("things", many)) == (1, 1)
            assert await calls_of(pair.read_item("things", "old")) == (1, 0)

    asyncio.run(main())
