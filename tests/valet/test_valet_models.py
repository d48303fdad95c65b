"""The models of the productivity collections, on the documents that the import makes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from examples.valet_data import make_valet_data
from storage_providers.base import Provider
from storage_providers.collection import Collection
from storage_providers.errors import InvalidDocumentError
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.transfer.legacy import ValetFolder, archived_journal, archived_planner
from storage_providers.valet import (
    VALET_COLLECTIONS,
    ArchivedDay,
    DailyJournal,
    DailyPlanner,
    JournalEntry,
    PlannedTask,
    Todo,
    UserSettings,
    declare_all,
)

MODELS: dict[str, type[msgspec.Struct]] = {
    "todos": Todo,
    "daily_planners": DailyPlanner,
    "daily_journals": DailyJournal,
    "archived_days": ArchivedDay,
    "user_settings": UserSettings,
}


async def filled(provider: Provider, folder: Path) -> None:
    """Import the example folder."""
    make_valet_data(folder, todos=60, days=45)
    await declare_all(provider)
    await provider.migrate_legacy_data(ValetFolder(folder))


def test_every_imported_document_fits_its_model(tmp_path: Path) -> None:
    """Typed listings leave nothing out."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            await filled(provider, tmp_path)
            for name, model in MODELS.items():
                page = await Collection(provider, name, model).list(limit=1000)
                assert page.corrupt == ()
                assert len(page.items) == await provider.count_items(name) > 0

    asyncio.run(check())


def test_a_model_round_trip_keeps_what_it_does_not_know() -> None:
    """Changing a typed value leaves unknown fields and `legacy` as they are."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            document = {
                "id": "2025-01-01",
                "date": "2025-01-01",
                "tasks": [{"content": "a", "status": "pending", "estimate": 3}],
                "legacy": {"corrections": [{"path": ["x"], "was": 1}]},
                "future": {"field": True},
            }
            await provider.create_item("daily_planners", document)
            planners = Collection(provider, "daily_planners", DailyPlanner)

            def change(planner: DailyPlanner) -> DailyPlanner:
                planner.tasks[0].status = "completed"
                return planner

            await planners.modify("2025-01-01", change)
            stored = await provider.read_item("daily_planners", "2025-01-01")
            assert stored is not None
            for name in ("legacy", "future"):
                assert stored.document[name] == document[name]
            assert stored.document["tasks"] == [
                {"content": "a", "status": "completed", "estimate": 3}
            ]

    asyncio.run(check())


def test_names_on_disk_are_those_of_the_collections() -> None:
    """Times are camelCase, all other names are as the attributes'."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            todos = Collection(provider, "todos", Todo)
            made = await todos.create(Todo(content="c", completed_at="2026-01-01T00:00:00.000Z"))
            stored = await provider.read_item("todos", made.id)
            assert stored is not None
            assert stored.document.keys() == {
                "id", "content", "status", "priority", "category", "due", "notes",
                "createdAt", "updatedAt", "completedAt",
            }  # fmt: skip
            planners = Collection(provider, "daily_planners", DailyPlanner)
            await planners.create(
                DailyPlanner(id="2026-01-01", date="2026-01-01", tasks=[PlannedTask(content="x")])
            )
            day = await provider.read_item("daily_planners", "2026-01-01")
            assert day is not None
            assert {"data_stash", "ongoing_summary", "personal_reminders"} <= day.document.keys()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("model", "document", "field"),
    [
        (Todo, {"id": "1", "content": "c", "status": "done"}, "status"),
        (Todo, {"id": "1", "content": 7}, "content"),
        (DailyJournal, {"id": "1", "date": "d", "entries": [{"content": 1}]}, "entries"),
    ],
)
def test_wrong_values_name_the_field(model: Any, document: dict[str, Any], field: str) -> None:
    """A document that does not fit is refused, with the field."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            await provider.create_item("any", document)
            with pytest.raises(InvalidDocumentError, match=field):
                await Collection(provider, "any", model).read("1")

    asyncio.run(check())


def test_archived_days_can_be_looked_into(tmp_path: Path) -> None:
    """The files of an archived day read as the planner and journal they were."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            await filled(provider, tmp_path)
            days = (await Collection(provider, "archived_days", ArchivedDay).list()).items
            planner = next(
                archived_planner(day.value) for day in days if "planner" in day.value.files
            )
            assert planner is not None
            current = await Collection(provider, "daily_planners", DailyPlanner).read(planner.id)
            assert current is not None
            assert planner == current.value
            journal = next(
                archived_journal(day.value) for day in days if "journal" in day.value.files
            )
            assert journal is not None
            assert isinstance(journal.entries[0], JournalEntry)

    asyncio.run(check())
    broken = ArchivedDay(id="2025-01-01", date="2025-01-01", files={"planner": "{"})
    assert (archived_planner(broken), archived_journal(broken)) == (None, None)


def test_declared_indexes_answer_the_usual_questions(tmp_path: Path) -> None:
    """Open todos by due date and a search in journals are answered by an index."""

    async def check() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            await filled(provider, tmp_path / "in")
            await declare_all(provider, scope="user-7")
            assert await provider.declared("user-7/todos") is not None
            page = await provider.list_items("todos", where={"status": "pending"}, order_by="due")
            assert page.statistics.full_scan is False
            found = await provider.list_items(
                "daily_journals", where={"$text": "walked river"}, total=True
            )
            assert found.total
            assert "river" in str(found.items[0].document)

    asyncio.run(check())


def test_providers_without_full_text_get_the_indexes() -> None:
    """Text fields are only declared where they work."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            await declare_all(provider)
            for spec in VALET_COLLECTIONS:
                declared = await provider.declared(spec.collection)
                assert declared is not None
                assert (declared.indexes, declared.text_fields) == (spec.indexes, ())

    asyncio.run(check())
