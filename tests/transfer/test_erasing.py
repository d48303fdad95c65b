"""Erasing a scope: nothing of it is left, nothing else is touched."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from storage_providers.base import Provider
from storage_providers.errors import InvalidArgumentError, TransportError
from storage_providers.layers import Scope, compose
from storage_providers.protocol import CollectionSpec, Index, Put
from storage_providers.providers._dual.state import Phase
from storage_providers.providers.dual_write import DualWriteProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.conformance import ManualClock
from storage_providers.transfer.erasing import erase_scope
from tests.dual.pairs import set_phase
from tests.hybrid.world import World, gone
from tests.objects.memory_store import MemoryStore, objects, turning
from tests.providers.d1.workerd import WorkerdBackend
from tests.providers.kv.memory_namespace import MemoryNamespace
from tests.servers.emulator import Emulator
from tests.servers.moto import MotoS3
from tests.servers.r2 import moto_place

MARK = "secret-of-user-7"
INDEX = Index.of("owner")

Opened = AbstractAsyncContextManager[Provider]


async def fill(provider: Provider, clock: ManualClock | None = None) -> None:
    """Two collections of the user's, one of a scope inside, and what is like it but is not."""
    for collection in ("user-7/todos", "user-8/todos"):
        await provider.declare(CollectionSpec(collection=collection, indexes=(INDEX,)))
    names = ["user-7/todos", "user-7/work/todos", "user-8/todos", "user-77/todos", "todos"]
    for name in names:
        await provider.write([Put(name, {"id": f"{MARK}-{n}", "owner": MARK}) for n in range(7)])
    await provider.put_item("user-7/todos", {"id": f"{MARK}-1", "owner": f"{MARK} again"})
    await provider.declare(CollectionSpec(collection="user-7/notes", indexes=(INDEX,)))
    gone = {"id": "gone", "owner": MARK, "expiresAt": "2026-01-31T12:00:10.000Z"}
    await provider.write([Put("user-7/todos", gone)])
    if clock is not None:
        clock.advance(60)


async def check(provider: Provider, clock: ManualClock | None = None) -> list[str]:
    """Erase the user, and see what is there; returns what remains."""
    await fill(provider, clock)
    dry = await erase_scope(provider, "user-7", dry_run=True)
    there = dry.removed
    # Whether what has expired is there still is the provider's affair.
    assert there.pop("user-7/todos") in (7, 8)
    assert there == {"user-7/notes": 0, "user-7/work/todos": 7}
    assert (dry.left, dry.remains) == ({}, [])
    assert await provider.read_item("user-7/todos", f"{MARK}-0") is not None
    told: list[int] = []
    report = await erase_scope(provider, "user-7", on_progress=told.append)
    assert report.removed.keys() == {"user-7/todos", *there}
    assert report.left == {}
    assert told[-1] == sum(report.removed.values()) in (14, 15)
    assert await provider.collections("user-7") == []
    assert await provider.collections() == ["todos", "user-77/todos", "user-8/todos"]
    for name in ("todos", "user-77/todos", "user-8/todos"):
        assert await provider.count_items(name) == 7
    spec = await provider.declared("user-8/todos")
    assert spec is not None
    assert spec.indexes == (INDEX,)
    assert await provider.declared("user-7/todos") is None
    found = await provider.list_items("user-8/todos", where={"owner": MARK})
    assert len(found.items) == 7
    again = await erase_scope(provider, "user-7")
    assert (again.removed, again.left, again.remains) == ({}, {}, [])
    # And the user may come back.
    await provider.declare(CollectionSpec(collection="user-7/todos", indexes=(INDEX,)))
    await provider.put_item("user-7/todos", {"id": "new", "owner": "someone"})
    assert await provider.count_items("user-7/todos") == 1
    return report.remains


def test_in_memory() -> None:
    """Nothing remains."""

    async def main() -> None:
        clock = ManualClock()
        async with InMemoryProvider(clock=clock.clock) as provider:
            assert await check(provider, clock) == []

    asyncio.run(main())


def test_sqlite(tmp_path: Path) -> None:
    """What remains are bytes in the file, and the command that is named removes them."""
    path = tmp_path / "agents.db"

    async def main() -> list[str]:
        clock = ManualClock()
        async with SQLiteProvider(path, clock=clock.clock) as provider:
            remains = await check(provider, clock)
            for name in ("user-8/todos", "user-77/todos", "todos"):
                await provider.clear_collection(name)
            return remains

    (remains,) = asyncio.run(main())
    assert f"sqlite3 {path} VACUUM" in remains
    connection = sqlite3.connect(path)
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert MARK.encode() not in path.read_bytes()


def test_sqlite_broken_rows(tmp_path: Path) -> None:
    """Broken documents that were set aside hold their bytes, and go as well."""
    path = tmp_path / "agents.db"

    async def main() -> None:
        async with SQLiteProvider(path) as provider:
            await provider.put_item("user-7/todos", {"id": "a"})
            await provider.put_item("user-8/todos", {"id": "a"})
            connection = sqlite3.connect(path)
            connection.execute("UPDATE c_todos SET body='broken'")
            connection.commit()
            assert len((await provider.list_items("user-7/todos")).corrupt) == 1
            await erase_scope(provider, "user-7")
            kept = connection.execute("SELECT scope FROM sp_broken").fetchall()
            assert kept == [("user-8",)]
            connection.close()

    asyncio.run(main())


def test_files(tmp_path: Path) -> None:
    """Files, backups, declarations and empty folders go; a stranger's file is left and named."""
    root = tmp_path / "data"

    async def main() -> list[str]:
        clock = ManualClock()
        async with LocalFileProvider(root, enable_backup=True, clock=clock.clock) as provider:
            return await check(provider, clock)

    remains = asyncio.run(main())
    assert [str(root / ".storage-providers" / "index") in each for each in remains] == [True]
    left = [path for path in root.rglob("*") if "user-7" in path.parts]
    assert {path.relative_to(root).as_posix() for path in left if path.is_file()} == {
        "user-7/todos/new.json",
        ".storage-providers/collections/user-7/todos.json",
    }
    (root / "user-7" / "todos" / "picture.png").write_bytes(b"")

    async def again() -> list[str]:
        async with LocalFileProvider(root) as provider:
            return (await erase_scope(provider, "user-7")).remains

    assert any("1 files in" in each for each in asyncio.run(again()))
    assert [path.name for path in (root / "user-7" / "todos").iterdir()] == ["picture.png"]


def test_long_names_of_files(tmp_path: Path) -> None:
    """A scope whose name is too long for a folder is kept in a note, which is named."""
    scope = "ü" * 120

    async def main() -> None:
        async with LocalFileProvider(tmp_path / "data") as provider:
            await provider.put_item(f"{scope}/todos", {"id": "a"})
            report = await erase_scope(provider, scope)
            assert report.left == {}
            assert any("whole name of a folder" in each for each in report.remains)
            assert await provider.collections() == []

    asyncio.run(main())


def test_objects() -> None:
    """Index entries go whatever their age; an object of another program is left and named."""

    async def main() -> None:
        clock, store = ManualClock(), MemoryStore()
        async with objects(store, clock.clock, timing=turning(clock)) as provider:
            assert await check(provider, clock) == []
            assert [key for key in store.keys("user-7/") if MARK in key] == []
            store.plant("user-7/todos/readme.txt", b"")
            (remains,) = (await erase_scope(provider, "user-7")).remains
            assert "1 objects" in remains
            assert store.keys("user-7/") == ["user-7/todos/readme.txt"]

    asyncio.run(main())


def test_r2(moto: MotoS3, moto_bucket: str) -> None:
    """In a bucket, nothing remains: no document, entry or declaration."""
    place = moto_place(moto, moto_bucket)

    async def main() -> None:
        clock = ManualClock()
        async with place.open(clock.clock) as provider:
            assert await check(provider, clock) == []
            assert (await erase_scope(provider, "user-7")).removed == {"user-7/todos": 1}
            listing = await provider.store.list(f"{place.prefix}/user-7/")
            assert listing.entries == []

    asyncio.run(main())


def test_kv() -> None:
    """Everything goes, and it is said that the service may answer from its caches."""

    async def main() -> None:
        clock, namespace = ManualClock(), MemoryNamespace()
        provider = CloudflareKVProvider(binding=object(), clock=clock.clock, timing=turning(clock))
        provider._kv.namespace = namespace
        async with provider:
            (remains,) = await check(provider, clock)
            assert "60 s old or more" in remains
            await erase_scope(provider, "user-7")
        assert [key for key in namespace.entries if "user-7:" in key] == []

    asyncio.run(main())


def test_d1(cloudflare: Emulator) -> None:
    """Everything goes, and Time Travel is named."""

    async def main() -> None:
        clock, backend = ManualClock(), WorkerdBackend(cloudflare)
        provider = await backend.open(clock.clock)
        assert isinstance(provider, Provider)
        try:
            async with provider:
                (remains,) = await check(provider, clock)
                assert "Time Travel" in remains
        finally:
            await backend.close()

    asyncio.run(main())


async def make_conflict(world: World, collection: str) -> None:
    """A document that was changed at both sides while the primary was away."""
    await world.hybrid.put_item(collection, {"id": "a", "n": 0})
    world.line.down = gone
    await world.hybrid.put_item(collection, {"id": "a", "n": 1})
    await world.primary.put_item(collection, {"id": "a", "n": 2})
    world.line.down = None
    await world.hybrid.replay()


def test_both_sides_of_a_hybrid(tmp_path: Path) -> None:
    """Primary, fallback and the log of conflicts, and what only one side holds; not other users."""

    async def main() -> list[str]:
        world = World(tmp_path, policy="primary")
        async with world.hybrid:
            for user in ("user-7", "user-8"):
                await make_conflict(world, f"{user}/{MARK}")
            await world.primary.put_item("user-7/primary", {"id": "a"})
            await world.fallback.put_item("user-7/fallback", {"id": "a"})
            dry = await erase_scope(world.hybrid, "user-7", dry_run=True)
            assert dry.removed == {
                f"user-7/{MARK}": 1,
                "user-7/fallback": 1,
                "user-7/primary": 1,
            }
            report = await erase_scope(world.hybrid, "user-7")
            assert report.left == {}
            for side in (world.primary, world.fallback):
                assert await side.collections() == [f"user-8/{MARK}"]
            (left,) = await world.hybrid.conflicts()
            assert left.conflict.collection == f"user-8/{MARK}"
            return report.remains

    (remains,) = asyncio.run(main())
    assert "VACUUM" in remains


def test_a_hybrid_is_not_erased_without_its_primary(tmp_path: Path) -> None:
    """As long as the primary can't be reached, it is an error, and it can be done again."""

    async def main() -> None:
        world = World(tmp_path)
        async with world.hybrid as hybrid:
            await hybrid.put_item("user-7/todos", {"id": "a"})
            await hybrid.fill()
            world.line.down = gone
            with pytest.raises(TransportError):
                await erase_scope(hybrid, "user-7")
            await hybrid.delete_item("user-7/todos", "a")
            with pytest.raises(TransportError, match="lacks 1 writes"):
                await hybrid.forget("user-7/todos")
            world.line.down = None
            assert (await erase_scope(hybrid, "user-7")).left == {}
            assert await world.primary.collections() == []

    asyncio.run(main())


@pytest.mark.parametrize("phase", ["source", "dual", "target", "done"])
def test_both_sides_of_a_migration(phase: Phase) -> None:
    """In whatever phase it is, the side that is not read is erased as well."""

    async def main() -> list[str]:
        source, target = InMemoryProvider(), InMemoryProvider()
        async with source, target:
            await set_phase(source, target, phase, source.clock)
            for side in (source, target):
                await side.put_item("user-7/todos", {"id": "a"})
                await side.put_item("user-8/todos", {"id": "a"})
            await target.put_item("user-7/notes", {"id": "only here"})
            async with DualWriteProvider(source=source, target=target) as dual:
                dry = await erase_scope(dual, "user-7", dry_run=True)
                assert dry.removed == {"user-7/notes": 1, "user-7/todos": 1}
                report = await erase_scope(dual, "user-7")
                assert report.left == {}
                assert await dual.count_items("user-8/todos") == 1
            for side in (source, target):
                assert await side.collections() == ["user-8/todos"]
            return report.remains

    remains = asyncio.run(main())
    assert any("notes" in each for each in remains) == (phase in ("dual", "target"))


def test_what_a_provider_without_the_hook_keeps_is_said() -> None:
    """Documents go; of the rest it is said that it is not known."""

    async def main() -> None:
        class Other(InMemoryProvider):
            erase = None  # type: ignore[assignment]

        async with Other() as provider:
            await provider.put_item("user-7/todos", {"id": "a"})
            report = await erase_scope(provider, "user-7")
            assert (report.removed, report.left) == ({"user-7/todos": 1}, {})
            assert "declarations of the scope stay" in report.remains[0]

    asyncio.run(main())


def test_through_a_scope_only_what_is_inside_goes() -> None:
    """On a view of one tenant, a user of that tenant is erased, with the stored names."""

    async def main() -> None:
        async with InMemoryProvider() as provider:
            view = compose(Scope("org-1"), provider=provider)
            await view.declare(CollectionSpec(collection="user-7/todos", indexes=(INDEX,)))
            for each in (provider, view):
                await each.put_item("user-7/todos", {"id": "a"})
            report = await erase_scope(view, "user-7")
            assert report.removed == {"user-7/todos": 1}
            assert await provider.collections() == ["user-7/todos"]
            with pytest.raises(InvalidArgumentError):
                await erase_scope(view, "../user-7")

    asyncio.run(main())


def test_who_is_still_writing_is_noticed() -> None:
    """Documents that keep coming are counted at the end, not passed over."""

    class Busy(InMemoryProvider):
        async def erase(self, collection: str) -> list[str]:
            remains = await super().erase(collection)
            await super()._write([Put(collection, {"id": "late"})])
            return remains

    async def main() -> None:
        async with Busy() as provider:
            await provider.put_item("user-7/todos", {"id": "a"})
            report = await erase_scope(provider, "user-7")
            assert report.left == {"user-7/todos": 1}

    asyncio.run(main())


KILLED = """
import asyncio, os, signal, sys
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.transfer.erasing import erase_scope

async def main():
    async with SQLiteProvider(sys.argv[1]) as provider:
        die = lambda done: os.kill(os.getpid(), signal.SIGKILL)
        await erase_scope(provider, "user-7", on_progress=die)

asyncio.run(main())
"""


def test_a_killed_erasure_goes_on(tmp_path: Path) -> None:
    """What a killed run left is removed by the next."""
    path = tmp_path / "agents.db"

    async def make() -> None:
        async with SQLiteProvider(path) as provider:
            await provider.put_items("user-7/todos", [{"id": f"{n}"} for n in range(1_500)])

    async def go_on() -> dict[str, int]:
        async with SQLiteProvider(path) as provider:
            report = await erase_scope(provider, "user-7")
            assert report.left == {}
            assert await provider.collections() == []
            return report.removed

    asyncio.run(make())
    child = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert asyncio.run(go_on()) == {"user-7/todos": 500}
