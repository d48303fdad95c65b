"""Archives: what goes in comes out, and nothing hostile gets in."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_providers.errors import (
    CorruptItemError,
    InvalidArgumentError,
    StorageError,
    TransportError,
)
from storage_providers.protocol import CollectionSpec, Index, Item, Page, Put, Query
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.strategies import documents, ids
from storage_providers.transfer.archive import (
    Selection,
    export_archive,
    import_archive,
    read_manifest,
    verify_archive,
)
from tests.transfer.archives import example

COLLECTIONS = st.sampled_from(["todos", "a.b-c", "user-7/todos", "Us er/Ä/todos", "us%20er/todos"])


async def contents(provider: InMemoryProvider) -> dict[tuple[str, str], tuple[Any, ...]]:
    """Everything a provider holds, without the versions."""
    found: dict[tuple[str, str], tuple[Any, ...]] = {}
    for collection in await provider.collections():
        async for item in provider.find_items(collection):
            found[collection, item.id] = item.body, item.encoding, item.payload
    return found


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            COLLECTIONS, ids(), documents(), st.none() | st.tuples(st.just("zstd+x"), st.binary())
        ),
        max_size=12,
        unique_by=lambda entry: entry[:2],
    )
)
def test_what_goes_in_comes_out(
    entries: list[tuple[str, str, dict[str, Any], tuple[str, bytes] | None]],
) -> None:
    """Documents of any id, text and encoding are the same after an export and an import."""

    async def check(path: Path) -> None:
        async with InMemoryProvider() as source, InMemoryProvider() as target:
            for collection, item_id, document, encoded in entries:
                encoding, payload = encoded or (None, None)
                whole = {**document, "id": item_id, "expiresAt": None}
                await source.write([Put(collection, whole, encoding=encoding, payload=payload)])
            manifest = await export_archive(source, path)
            assert await verify_archive(path) == await read_manifest(path) == manifest
            assert manifest.count == len(entries)
            report = await import_archive(target, path)
            assert sum(report.created.values()) == len(entries)
            assert report.problems == []
            assert await contents(target) == await contents(source)
            again = await import_archive(target, path, "overwrite")
            assert again.unchanged == report.created
            assert (again.created, again.updated, again.kept) == ({}, {}, {})

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(Path(folder) / "a.zip"))


@pytest.mark.parametrize(
    ("mode", "there"), [("create-only", 9), ("overwrite", 1), ("newest-wins", 9)]
)
def test_modes_decide_about_newer_documents(tmp_path: Path, mode: Any, there: int) -> None:
    """A document that is newer than the archive's is only replaced by `overwrite`."""

    async def check() -> None:
        await example(tmp_path / "a.zip")
        async with InMemoryProvider() as provider:
            newer = {"id": "1", "n": 9, "updatedAt": "2026-01-03T00:00:00.000Z"}
            await provider.write([Put("todos", newer)])
            report = await import_archive(provider, tmp_path / "a.zip", mode)
            item = await provider.read_item("todos", "1")
            assert item is not None
            assert item.document["n"] == there
            assert report.created == {"todos": 1, "user-7/notes": 1}
            assert report.updated == ({"todos": 1} if there == 1 else {})
            assert report.kept == ({"todos": 1} if there == 9 else {})

    asyncio.run(check())


def test_newest_wins_replaces_older_documents(tmp_path: Path) -> None:
    """An older document gives way to the archive's, whose times stay as they were."""

    async def check() -> None:
        await example(tmp_path / "a.zip")
        async with InMemoryProvider() as provider:
            older = {"id": "1", "n": 9, "updatedAt": "2026-01-01T23:59:59.999Z"}
            await provider.write([Put("todos", older)])
            report = await import_archive(provider, tmp_path / "a.zip", "newest-wins")
            item = await provider.read_item("todos", "1")
            assert item is not None
            assert item.document["updatedAt"] == "2026-01-02T00:00:00.000Z"
            assert report.updated == {"todos": 1}

    asyncio.run(check())


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """A dry run reports what would be done, and does not even declare."""

    async def check() -> None:
        await example(tmp_path / "a.zip")
        async with InMemoryProvider() as provider:
            report = await import_archive(provider, tmp_path / "a.zip", dry_run=True)
            assert report.created == {"todos": 2, "user-7/notes": 1}
            assert await provider.collections() == []

    asyncio.run(check())


def test_part_of_an_archive_can_be_restored(tmp_path: Path) -> None:
    """Only the collections asked for come back, and a wrong name says which there are."""

    async def check() -> None:
        await example(tmp_path / "a.zip")
        async with InMemoryProvider() as provider:
            await import_archive(provider, tmp_path / "a.zip", collections=["user-7/notes"])
            assert await provider.collections() == ["user-7/notes"]
            with pytest.raises(InvalidArgumentError, match="todos, user-7/notes"):
                await import_archive(provider, tmp_path / "a.zip", collections=["todo"])

    asyncio.run(check())


async def two_users(path: Path, part: Any = None) -> None:
    """An archive of two users and what belongs to neither, or a part of it."""
    async with InMemoryProvider() as provider:
        for name in ("todos", "user-7/todos", "user-7/work/todos", "user-7/cache", "user-77/todos"):
            await provider.declare(CollectionSpec(collection=name, indexes=(Index.of("due"),)))
            await provider.write([Put(name, {"id": "1", "of": name})])
        await export_archive(provider, path, part)


@pytest.mark.parametrize(
    ("part", "held"),
    [
        (Selection(scope="user-7"), ["user-7/cache", "user-7/todos", "user-7/work/todos"]),
        (Selection(scope="user-7", exclude=("*/cache",)), ["user-7/todos", "user-7/work/todos"]),
        (Selection(exclude=("user-7*", "nothing")), ["todos"]),
        (Selection(scope="user-7", into="u"), ["u/cache", "u/todos", "u/work/todos"]),
        (Selection(scope="user-7", into=""), ["cache", "todos", "work/todos"]),
        (Selection(scope="user-9"), []),
        (["todos", "user-77/todos", "todos"], ["todos", "user-77/todos"]),
    ],
)
def test_a_part_can_be_exported(tmp_path: Path, part: Any, held: list[str]) -> None:
    """One scope, with those inside it and without one that only begins alike; patterns; names."""

    async def check() -> None:
        await two_users(tmp_path / "a.zip", part)
        manifest = await verify_archive(tmp_path / "a.zip")
        assert [entry.collection for entry in manifest.collections] == held
        assert all(
            entry.spec and entry.spec.collection == entry.collection
            for entry in manifest.collections
        )

    asyncio.run(check())


@pytest.mark.parametrize(
    ("part", "restored"),
    [
        (Selection(scope="user-7", exclude=("*/cache",)), {"user-7/todos", "user-7/work/todos"}),
        (Selection(scope="user-7", into="user-8", collections=("user-7/todos",)), {"user-8/todos"}),
        (Selection(scope="user-7/work", into=""), {"todos"}),
    ],
)
def test_one_scope_can_be_restored(tmp_path: Path, part: Selection, restored: set[str]) -> None:
    """One user's part of a larger archive comes back, if asked as another's; nothing else does."""

    async def check() -> None:
        await two_users(tmp_path / "a.zip")
        async with InMemoryProvider() as provider:
            dry = await import_archive(provider, tmp_path / "a.zip", collections=part, dry_run=True)
            report = await import_archive(provider, tmp_path / "a.zip", collections=part)
            assert dry.created == report.created == dict.fromkeys(restored, 1)
            assert set(await provider.collections()) == restored
            for name in restored:
                item = await provider.read_item(name, "1")
                spec = await provider.declared(name)
                assert item is not None
                assert item.document["of"].startswith(str(part.scope))
                assert spec is not None
                assert (spec.collection, spec.indexes) == (name, (Index.of("due"),))

    asyncio.run(check())


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Selection(scope="user-9"), "nothing of that is selected"),
        (Selection(scope="../user-7"), "scope"),
        (Selection(scope="user-7", into="a//b"), "scope"),
        (Selection(scope="user-7", into="u" * 257), "limit here is 256"),
        (Selection(into="user-8"), "name that with scope"),
        (Selection(scope="user-7", collections=("todos",)), "not in the scope 'user-7'"),
        ([".declarations"], "the SDK's own"),
    ],
)
def test_a_wrong_selection_is_refused(tmp_path: Path, part: Any, why: str) -> None:
    """A scope that the archive does not hold, and what is malformed, write nothing."""

    async def check() -> None:
        await two_users(tmp_path / "a.zip")
        async with InMemoryProvider() as provider:
            with pytest.raises(InvalidArgumentError, match=why):
                await import_archive(provider, tmp_path / "a.zip", collections=part)
            assert await provider.collections() == []

    asyncio.run(check())


def test_declarations_come_back_as_far_as_the_provider_can(tmp_path: Path) -> None:
    """Text fields are left out, and reported, where there is no full-text search."""

    async def check() -> None:
        spec = CollectionSpec(
            collection="todos", indexes=(Index.of("due"),), text_fields=("content",)
        )
        async with SQLiteProvider(tmp_path / "a.db") as source:
            await source.declare(spec)
            await export_archive(source, tmp_path / "a.zip")
        async with SQLiteProvider(tmp_path / "b.db") as target:
            report = await import_archive(target, tmp_path / "a.zip")
            assert await target.declared("todos") == spec
            assert report.problems == []
        async with InMemoryProvider() as memory:
            report = await import_archive(memory, tmp_path / "a.zip")
            declared = await memory.declared("todos")
            assert declared is not None
            assert (declared.indexes, declared.text_fields) == (spec.indexes, ())
            assert "text_search" in report.problems[0].reason

    asyncio.run(check())


def test_create_only_keeps_a_declaration(tmp_path: Path) -> None:
    """What is declared at the target stays with `create-only` and goes with `overwrite`."""

    async def check() -> None:
        await example(tmp_path / "a.zip")
        async with InMemoryProvider() as provider:
            own = CollectionSpec(collection="todos", indexes=(Index.of("n"),))
            await provider.declare(own)
            await import_archive(provider, tmp_path / "a.zip")
            assert await provider.declared("todos") == own
            await import_archive(provider, tmp_path / "a.zip", "overwrite")
            assert await provider.declared("todos") != own

    asyncio.run(check())


def test_an_unreadable_document_is_named_and_in_nobodys_way(tmp_path: Path) -> None:
    """A document that is corrupt in the source is missing from the archive, which says so."""

    class Damaged(InMemoryProvider):
        async def _query(self, queries: Sequence[Query]) -> list[Page]:
            pages = await super()._query(queries)
            broken = CorruptItemError("the bytes are no JSON", collection="todos", item_id="x")
            return [Page(items=page.items, cursor=page.cursor, corrupt=(broken,)) for page in pages]

    async def check() -> None:
        async with Damaged() as provider:
            await provider.write([Put("todos", {"id": "1"})])
            manifest = await export_archive(provider, tmp_path / "a.zip")
        assert manifest.collections[0].count == 1
        assert "todos/x" in manifest.collections[0].unreadable[0]
        async with InMemoryProvider() as provider:
            report = await import_archive(provider, tmp_path / "a.zip")
        assert report.created == {"todos": 1}
        assert "todos/x" in report.problems[0].reason

    asyncio.run(check())


KILLED_IMPORT = """
import asyncio, os, signal, sys
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.transfer.archive import import_archive

async def main():
    async with SQLiteProvider(sys.argv[2]) as provider:
        die = lambda done: os.kill(os.getpid(), signal.SIGKILL)
        await import_archive(provider, sys.argv[1], on_progress=die)

asyncio.run(main())
"""


def test_a_killed_import_goes_on(tmp_path: Path) -> None:
    """What a killed import brought in is unchanged for the next, which brings in the rest."""
    archive, path = tmp_path / "a.zip", tmp_path / "b.db"

    async def make() -> None:
        async with InMemoryProvider() as provider:
            await provider.put_items("todos", [{"id": f"{n}"} for n in range(1_300)])
            await export_archive(provider, archive)

    async def again() -> None:
        async with SQLiteProvider(path) as provider:
            report = await import_archive(provider, archive)
            assert report.unchanged["todos"] >= 500
            assert report.unchanged["todos"] + report.created["todos"] == 1_300

    asyncio.run(make())
    child = subprocess.run(
        [sys.executable, "-c", KILLED_IMPORT, str(archive), str(path)], check=False
    )
    assert child.returncode == -signal.SIGKILL
    asyncio.run(again())


# --- the file ----------------------------------------------------------------------------------


class Unplugged(InMemoryProvider):
    """Goes away in the middle of an export."""

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        if queries[0].cursor is not None:
            raise TransportError("the network is gone")
        return await super()._query(queries)


def test_a_failed_export_leaves_what_was_there(tmp_path: Path) -> None:
    """An export that fails leaves the old archive and no temporary file."""

    async def check() -> None:
        path = tmp_path / "a.zip"
        path.write_bytes(b"the old one")
        async with Unplugged() as provider:
            await provider.create_items("todos", [{"n": number} for number in range(300)])
            with pytest.raises(TransportError):
                await export_archive(provider, path, overwrite=True)

    asyncio.run(check())
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    assert (tmp_path / "a.zip").read_bytes() == b"the old one"


def test_a_cancelled_export_leaves_nothing(tmp_path: Path) -> None:
    """Cancelling an export removes what it wrote so far."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            await provider.create_items("todos", [{"n": number} for number in range(300)])
            tasks: list[asyncio.Task[Any]] = []

            def cancel(_: int) -> None:
                tasks[0].cancel()

            export = export_archive(provider, tmp_path / "a.zip", on_progress=cancel)
            tasks.append(asyncio.create_task(export))
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]

    asyncio.run(check())
    assert list(tmp_path.iterdir()) == []


KILLED = """
import asyncio, os, signal, sys
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.transfer.archive import export_archive

async def main():
    async with InMemoryProvider() as provider:
        await provider.create_items("todos", [{"n": number} for number in range(300)])
        die = lambda done: os.kill(os.getpid(), signal.SIGKILL)
        await export_archive(provider, sys.argv[1], overwrite=True, on_progress=die)

asyncio.run(main())
"""


def test_a_killed_export_leaves_what_was_there(tmp_path: Path) -> None:
    """A process that dies while exporting has not touched the old archive."""
    path = tmp_path / "a.zip"
    path.write_bytes(b"the old one")
    child = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"the old one"
    leftovers = {each.name for each in tmp_path.iterdir()} - {"a.zip"}
    assert all(name.startswith(".a.zip.") and name.endswith(".tmp") for name in leftovers)


def test_an_archive_is_not_replaced_unasked_and_private(tmp_path: Path) -> None:
    """An existing file stays unless told otherwise; only the owner may read an archive."""

    async def check() -> None:
        path = tmp_path / "a.zip"
        await example(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with InMemoryProvider() as provider:
            with pytest.raises(InvalidArgumentError, match="overwrite=True"):
                await export_archive(provider, path)
            assert (await verify_archive(path)).count == 3
            await export_archive(provider, path, overwrite=True)
        assert (await verify_archive(path)).count == 0

    asyncio.run(check())


def test_progress_counts_documents(tmp_path: Path) -> None:
    """Both ways tell how many documents were dealt with, ending with all of them."""

    async def check() -> None:
        async with InMemoryProvider() as provider, InMemoryProvider() as target:
            await provider.create_items("todos", [{"n": number} for number in range(1200)])
            out: list[int] = []
            back: list[int] = []
            await export_archive(provider, tmp_path / "a.zip", on_progress=out.append)
            await import_archive(target, tmp_path / "a.zip", on_progress=back.append)
        for seen in (out, back):
            assert seen == sorted(set(seen))
            assert len(seen) > 1
            assert seen[-1] == 1200

    asyncio.run(check())


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    """A malformed name, the SDK's own collections, a missing file or mode: all clear errors."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            for name in ("Bad Name", ".sdk"):
                with pytest.raises(InvalidArgumentError):
                    await export_archive(provider, tmp_path / "a.zip", [name])
            with pytest.raises(InvalidArgumentError, match="no archive at"):
                await verify_archive(tmp_path / "none.zip")
            with pytest.raises(InvalidArgumentError, match="create-only"):
                await import_archive(provider, tmp_path / "none.zip", "replace")  # type: ignore[arg-type]
            with pytest.raises(StorageError, match="No such file"):
                await export_archive(provider, tmp_path / "none" / "a.zip")

    asyncio.run(check())


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Twenty times the documents take no more memory, neither out nor in."""

    class Endless(InMemoryProvider):
        """Makes its documents when they are asked for, and forgets what is written."""

        count = 0

        async def _collections(self, scope: str | None) -> list[str]:
            return ["todos"]

        async def _query(self, queries: Sequence[Query]) -> list[Page]:
            query = queries[0]
            start = int(query.cursor or 0)
            end = min(start + query.limit, self.count)
            items = [
                Item("todos", str(n), "1", json.dumps({"id": str(n), "t": f"{n}" * 20}).encode())
                for n in range(start, end)
            ]
            return [Page(items=items, cursor=str(end) if end < self.count else None)]

        async def _write(self, batch: Sequence[Any]) -> list[Item | None]:
            return [Item(put.collection, put.id, "1", put.body) for put in batch]

    async def peak_of(count: int, path: Path) -> tuple[int, int]:
        provider = Endless()
        provider.count = count
        async with provider:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            await export_archive(provider, path)
            exported = tracemalloc.get_traced_memory()[1] - before
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            report = await import_archive(provider, path)
            imported = tracemalloc.get_traced_memory()[1] - before
        assert report.created == {"todos": count}
        return exported, imported

    async def check() -> None:
        await peak_of(100, tmp_path / "warm.zip")
        small = await peak_of(2_000, tmp_path / "small.zip")
        large = await peak_of(20_000, tmp_path / "large.zip")
        for few, many in zip(small, large, strict=True):
            # Ten times the documents; how far pages are read ahead differs from run to run.
            assert many < few * 1.6, (small, large)

    tracemalloc.start()
    try:
        asyncio.run(check())
    finally:
        tracemalloc.stop()
