"""Whatever the folder looks like: nothing is lost, and importing again changes nothing."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from storage_providers.protocol import LegacyRecord, Put
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.transfer.legacy import ValetFolder, export_valet
from tests.transfer.valet_folders import equal_data, read_folder, valet_folders, write_folder


@settings(max_examples=150)
@given(valet_folders())
def test_what_goes_in_comes_out(files: dict[str, bytes]) -> None:
    """An import and an export give the same files, and a second import finds nothing to do."""

    async def check(root: Path) -> None:
        write_folder(root / "in", files)
        async with InMemoryProvider() as provider:
            first = await provider.migrate_legacy_data(ValetFolder(root / "in"))
            again = await provider.migrate_legacy_data(ValetFolder(root / "in"))
            export = await export_valet(provider, root / "out")
        assert (first.updated, first.kept, first.unchanged) == ({}, {}, {})
        assert again.unchanged == first.created
        assert (again.created, again.updated, again.kept) == ({}, {}, {})
        assert again.problems == first.problems
        assert not any("Error" in problem.reason for problem in first.problems)
        assert export.problems == []
        exported = read_folder(root / "out")
        assert exported.keys() == files.keys()
        for path, data in files.items():
            assert equal_data(data, exported[path]), path

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(Path(folder)))


@settings(max_examples=80)
@given(valet_folders(), st.data())
def test_edits_survive_a_second_import_and_the_export(
    files: dict[str, bytes], data: st.DataObject
) -> None:
    """An edited todo is kept when the folder is imported again, and the export carries it."""

    async def check(root: Path) -> None:
        write_folder(root / "in", files)
        async with InMemoryProvider() as provider, InMemoryProvider() as other:
            await provider.migrate_legacy_data(ValetFolder(root / "in"))
            todos = (await provider.list_items("todos")).items
            new = await provider.create_item(
                "todos", {"content": "new", "status": "pending", "tags": ["a"]}
            )
            edited = {new.id: new.document}
            if todos:
                chosen = data.draw(st.sampled_from(todos))
                changes = {"content": "edited", "status": "in_progress", "colour": "red"}
                item = await provider.update_item("todos", chosen.id, changes)
                edited[item.id] = item.document
            report = await provider.migrate_legacy_data(ValetFolder(root / "in"))
            assert report.kept.get("todos", 0) == len(edited) - 1
            await export_valet(provider, root / "out")
            await other.migrate_legacy_data(ValetFolder(root / "out"))
            for item_id, document in edited.items():
                there = await other.read_item("todos", item_id)
                if there is None or there.document["content"] != document["content"]:
                    # Its original had no id of its own that documents can have, or another todo
                    # without one goes by it now that it is alone with that content.
                    found = await other.list_items("todos", where={"content": "edited"})
                    assert len(found.items) == 1
                    there = found.items[0]
                for name in ("content", "status", "colour", "tags"):
                    assert there.document.get(name) == document.get(name)
            assert await other.count_items("todos") == await provider.count_items("todos")

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(Path(folder)))


@settings(max_examples=30)
@given(valet_folders())
def test_a_dry_run_foretells_the_import(files: dict[str, bytes]) -> None:
    """A dry run writes nothing and reports what the import then does."""

    async def check(root: Path) -> None:
        write_folder(root, files)
        async with InMemoryProvider() as provider:
            dry = await provider.migrate_legacy_data(ValetFolder(root), dry_run=True)
            assert await provider.collections() == []
            wet = await provider.migrate_legacy_data(ValetFolder(root))
        assert dry.dry_run
        assert (dry.created, dry.problems) == (wet.created, wet.problems)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(Path(folder)))


@settings(max_examples=30)
@given(valet_folders())
def test_every_record_can_be_stored(files: dict[str, bytes]) -> None:
    """No record is one that the contract refuses, and no two share an address."""

    async def check(root: Path) -> None:
        write_folder(root, files)
        seen: set[tuple[str, str]] = set()
        async for record in ValetFolder(root).records():
            if isinstance(record, LegacyRecord):
                put = Put(record.collection, record.document)
                assert (put.collection, put.id) not in seen
                seen.add((put.collection, put.id))

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(Path(folder)))
