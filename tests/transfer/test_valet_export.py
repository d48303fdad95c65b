"""Writing the productivity tool's folder: edits come out, nothing else changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from storage_providers.errors import InvalidArgumentError, StorageError
from storage_providers.protocol import Put
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.transfer.legacy import ValetExport, ValetFolder, export_valet
from tests.transfer.test_valet_folder import PLANNER, TASK, todo_json
from tests.transfer.valet_folders import equal_data, read_folder, write_folder

Change = Callable[[InMemoryProvider], Awaitable[Any]]


def exported(
    root: Path, files: dict[str, bytes], *changes: Change
) -> tuple[dict[str, bytes], ValetExport]:
    """Import a folder, change what is stored, export: the files and the report."""

    async def go() -> ValetExport:
        write_folder(root / "in", files)
        async with InMemoryProvider() as provider:
            await provider.migrate_legacy_data(ValetFolder(root / "in"))
            for change in changes:
                await change(provider)
            return await export_valet(provider, root / "out")

    report = asyncio.run(go())
    return read_folder(root / "out"), report


def tasks_of(files: dict[str, bytes]) -> list[Any]:
    """The tasks of the exported list."""
    tasks: list[Any] = json.loads(files["_global_todo.json"])["tasks"]
    return tasks


def test_an_edit_changes_its_task_alone(tmp_path: Path) -> None:
    """The edited task says the new things, keeps what it had beside, and its place."""
    odd = {**TASK, "priority": "urgent", "estimate": 3}
    other = {**TASK, "id": "other"}
    files, report = exported(
        tmp_path,
        {"_global_todo.json": todo_json(odd, "odd entry", other, note="mine")},
        lambda p: p.update_item("todos", TASK["id"], {"content": "Write more tests"}),
    )
    edited, entry, last = tasks_of(files)
    assert {**edited, "updated_at": odd["updated_at"]} == {**odd, "content": "Write more tests"}
    assert edited["updated_at"] > odd["updated_at"]
    assert (entry, last) == ("odd entry", other)
    head = json.loads(files["_global_todo.json"])
    assert (head["note"], head["updated"]) == ("mine", edited["updated_at"])
    assert report.documents == {"todos": 2}


def test_an_edit_goes_before_what_was_kept(tmp_path: Path) -> None:
    """A value that was kept because it fits no field gives way when the field is set."""
    odd = {**TASK, "priority": "urgent"}
    files, _ = exported(
        tmp_path,
        {"_global_todo.json": todo_json(odd)},
        lambda p: p.update_item("todos", TASK["id"], {"priority": "low", "status": "pending"}),
    )
    assert tasks_of(files)[0]["priority"] == "low"
    assert tasks_of(files)[0]["completed"] is False


def test_new_and_deleted_todos(tmp_path: Path) -> None:
    """New todos are at the end of the list, deleted ones are gone; the rest keeps its order."""
    files, _ = exported(
        tmp_path,
        {"_global_todo.json": todo_json(TASK, {**TASK, "id": "second"}, {**TASK, "id": "a"})},
        lambda p: p.delete_item("todos", "second"),
        lambda p: p.create_item("todos", {"id": "0new", "content": "n", "due": "2026-01-01"}),
    )
    assert [task["id"] for task in tasks_of(files)] == [TASK["id"], "a", "0new"]
    assert tasks_of(files)[2].keys() >= set(TASK) - {"updated_at", "completed_at"}


def test_edited_markdown_todos_move_to_the_newer_list(tmp_path: Path) -> None:
    """A todo of the markdown list that is edited or deleted leaves it, its notes too."""
    text = b"# T\r\n## High Priority\r\n- [ ] one\r\n  note\r\n- [ ] two\r\n- [ ] three\r\nend"

    async def edit(provider: InMemoryProvider) -> None:
        todos = {item.document["content"]: item.id async for item in provider.find_items("todos")}
        await provider.update_item("todos", todos["one"], {"status": "completed"})
        await provider.delete_item("todos", todos["two"])

    files, _ = exported(tmp_path, {"_global_todo.md": text}, edit)
    assert files["_global_todo.md"] == b"# T\r\n## High Priority\r\n- [ ] three\r\nend"
    (task,) = tasks_of(files)
    assert (task["content"], task["completed"], task["notes"]) == ("one", True, ["note"])


def test_an_edited_twin_leaves_the_older_list(tmp_path: Path) -> None:
    """A todo of both lists that is edited in one does not come back from the other."""
    files, _ = exported(
        tmp_path,
        {"_global_todo.json": todo_json(TASK), "_global_todo.md": b"- [ ] Write tests\n"},
        lambda p: p.update_item("todos", TASK["id"], {"content": "Write docs"}),
    )
    assert files["_global_todo.md"] == b""
    assert [task["content"] for task in tasks_of(files)] == ["Write docs"]


def test_a_broken_list_stays_until_it_says_less(tmp_path: Path) -> None:
    """A cut list comes out as it was; once a todo is edited, a whole one stands beside it."""
    cut = todo_json(TASK)[:-2]
    assert exported(tmp_path / "a", {"_global_todo.json": cut})[0] == {"_global_todo.json": cut}
    files, _ = exported(
        tmp_path / "b",
        {"_global_todo.json": cut},
        lambda p: p.update_item("todos", TASK["id"], {"content": "edited"}),
    )
    assert files["_global_todo.json.broken"] == cut
    assert tasks_of(files)[0]["content"] == "edited"


def test_days_in_older_and_broken_files(tmp_path: Path) -> None:
    """An edited day comes out as JSON beside the markdown or broken file it was read from."""
    cut = json.dumps(PLANNER).encode()[:-20]
    before = {
        "days/2025-07-14.md": b"## Tasks\n- [ ] a\n",
        "days/2025-07-15-planner.json": cut,
        "days/2025-07-16-planner.json": b"nonsense",
    }
    change = {"ongoing_summary": "edited"}
    files, _ = exported(
        tmp_path,
        before,
        lambda p: p.update_item("daily_planners", "2025-07-14", change),
        lambda p: p.update_item("daily_planners", "2025-07-15", change),
        lambda p: p.create_item("daily_planners", {"id": "2025-07-16", **change}),
    )
    assert files["days/2025-07-14.md"] == before["days/2025-07-14.md"]
    assert files["days/2025-07-15-planner.json.broken"] == cut
    assert files["days/2025-07-16-planner.json.broken"] == b"nonsense"
    for day in ("14", "15", "16"):
        written = json.loads(files[f"days/2025-07-{day}-planner.json"])
        assert written["sections"]["ongoing_summary"] == "edited"
    assert len(files) == 6


def test_deleted_days_do_not_come_back(tmp_path: Path) -> None:
    """The file of a day that was deleted is not written."""
    files, _ = exported(
        tmp_path,
        {"days/2025-07-14.md": b"## Tasks\n- [ ] a\n", "settings.json": b"{}"},
        lambda p: p.delete_item("daily_planners", "2025-07-14"),
    )
    assert files.keys() == {"settings.json"}


def test_what_the_layout_can_not_hold_goes_round(tmp_path: Path) -> None:
    """Fields that the tool does not know survive an export and an import.

    The times of settings alone do not: their file has none, and files change theirs by copying.
    """
    planner = {
        "id": "2025-07-15",
        "date": "2025-07-15",
        "tasks": [{"content": "a\nb", "status": "in_progress", "estimate": 3}],
        "data_stash": {"any": ["thing"]},
        "personal_reminders": ["- [ ] odd", " "],
        "mine": None,
        "weather": {"wind": 3},
        "expiresAt": "2999-01-01T00:00:00.000Z",
    }
    journal = {
        "id": "2025-07-15",
        "date": "2025-07-15",
        "entries": [{"content": "x", "at": "08:00"}, {"content": "y", "section": "dreams"}],
        "highlights": ["one\ntwo"],
    }

    async def check() -> None:
        async with InMemoryProvider() as provider, InMemoryProvider() as other:
            await provider.put_item("daily_planners", planner)
            await provider.put_item("daily_journals", journal)
            await provider.put_item("user_settings", {"id": "settings", "user": {"name": "S"}})
            await export_valet(provider, tmp_path / "out")
            report = await other.migrate_legacy_data(ValetFolder(tmp_path / "out"))
            assert report.problems == []
            for collection, item_id in (
                ("daily_planners", "2025-07-15"),
                ("daily_journals", "2025-07-15"),
                ("user_settings", "settings"),
            ):
                before = await provider.read_item(collection, item_id)
                after = await other.read_item(collection, item_id)
                assert before is not None
                assert after is not None
                times = {"createdAt", "updatedAt"} if collection == "user_settings" else set()
                wanted = {
                    name: value
                    for name, value in before.document.items()
                    if value is not None and name not in times
                }
                assert {name: after.document.get(name) for name in wanted} == wanted

    asyncio.run(check())


def test_documents_without_a_place_are_reported(tmp_path: Path) -> None:
    """An id that is no date, or a path that leads out of the folder, is not written."""
    evil = {"kind": "unknown", "text": "x"}
    files, report = exported(
        tmp_path,
        {"notes.txt": b"n"},
        lambda p: p.create_item("daily_planners", {"id": "../../evil"}),
        lambda p: p.create_item("user_settings", {"id": "second"}),
        lambda p: p.write(
            [
                Put("legacy_files", {"id": path.replace("\x00", "0"), "path": path, **evil})
                for path in ("../evil", "/evil", "a/../../evil", "a//b", "a\x00")
            ]
        ),
        lambda p: p.create_item("legacy_files", {"id": "no path"}),
        lambda p: p.create_item("legacy_files", {"id": "x", "path": "x", "kind": "unknown"}),
    )
    assert files == {"notes.txt": b"n"}
    assert (
        list(tmp_path.iterdir()) == [tmp_path / "in", tmp_path / "out"]
        or len(list(tmp_path.iterdir())) == 2
    )
    assert len(report.problems) == 9


def test_a_folder_with_files_is_refused_unless_told(tmp_path: Path) -> None:
    """Nothing is mixed with what is there, unless the caller says so."""

    async def check() -> None:
        (tmp_path / "mine.txt").write_text("mine")
        async with InMemoryProvider() as provider:
            await provider.create_item("todos", {"content": "a"})
            with pytest.raises(InvalidArgumentError, match="not empty"):
                await export_valet(provider, tmp_path)
            seen: list[int] = []
            await export_valet(provider, tmp_path, overwrite=True, on_progress=seen.append)
            assert seen == [1]

    asyncio.run(check())
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "_global_todo.json"}


def test_a_folder_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    """The system's refusal names the file."""

    async def check() -> None:
        (tmp_path / "file").write_text("")
        async with InMemoryProvider() as provider:
            await provider.create_item("todos", {"content": "a"})
            with pytest.raises(StorageError, match="File exists"):
                await export_valet(provider, tmp_path / "file")

    asyncio.run(check())


def test_the_example_folder_goes_round(tmp_path: Path) -> None:
    """The demo's folder, of all generations and with broken files, comes out as it went in."""
    from examples.valet_data import make_valet_data

    make_valet_data(tmp_path / "made", todos=80, days=40)
    before = read_folder(tmp_path / "made")
    make_valet_data(tmp_path / "again", todos=80, days=40)
    assert read_folder(tmp_path / "again") == before
    files, report = exported(tmp_path, before)
    assert report.problems == []
    assert files.keys() == before.keys()
    assert [path for path in before if not equal_data(before[path], files[path])] == []
