"""Models of the productivity collections, for `Collection`.

```python
todos = Collection(provider, "todos", Todo)
await todos.create(Todo(content="Call the dentist", due="2026-02-01"))
```

A document may hold more than its model knows: fields of a newer program, or `legacy`, where the
import keeps what has no field of its own. `Collection` leaves them as they are when it changes a
document. Names on disk are the attributes' names, but for the times (`createdAt`, `updatedAt`,
`completedAt`, `archivedAt`).
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

__all__ = [
    "ArchivedDay",
    "DailyJournal",
    "DailyPlanner",
    "JournalEntry",
    "PlannedTask",
    "Priority",
    "Todo",
    "TodoStatus",
    "UserSettings",
]

TodoStatus: TypeAlias = Literal["pending", "in_progress", "completed"]
"""Where a todo stands."""
Priority: TypeAlias = Literal["high", "medium", "low"]
"""How much a todo matters."""

_WIRE_NAMES: Final = {
    "archived_at": "archivedAt",
    "completed_at": "completedAt",
    "created_at": "createdAt",
    "updated_at": "updatedAt",
}


class Todo(msgspec.Struct, kw_only=True, rename=_WIRE_NAMES):
    """Something to do.

    Attributes:
        id: Made when the todo is stored, unless given.
        content: What to do.
        status: Where it stands.
        priority: How much it matters.
        category: A free word, such as `Work`.
        due: The day, `YYYY-MM-DD`.
        notes: What else there is to say.
        created_at: When it was stored first, ISO 8601.
        updated_at: When it was last changed.
        completed_at: When it was done.
    """

    id: str | None = None
    content: str
    status: TodoStatus = "pending"
    priority: Priority = "medium"
    category: str | None = None
    due: str | None = None
    notes: list[str] = []
    created_at: str | None = None
    updated_at: str | None = None
    completed_at: str | None = None


class PlannedTask(msgspec.Struct, kw_only=True):
    """A line of a day's plan.

    Attributes:
        content: What it says.
        status: Where it stands; `None` for a line that is no task.
    """

    content: str = ""
    status: TodoStatus | None = None


class DailyPlanner(msgspec.Struct, kw_only=True, rename=_WIRE_NAMES):
    """The plan of one day.

    Attributes:
        id: The day, `YYYY-MM-DD`.
        date: The day again.
        tasks: What is planned.
        data_stash: Whatever has to be put down for the moment.
        ongoing_summary: What happened so far.
        reflections: What to make of it.
        personal_reminders: What not to forget.
        sections: Sections of other names, by name.
        created_at: When it was stored first, ISO 8601.
        updated_at: When it was last changed.
    """

    id: str
    date: str
    tasks: list[PlannedTask] = []
    data_stash: str | dict[str, Any] = ""
    ongoing_summary: str = ""
    reflections: str = ""
    personal_reminders: list[str] = []
    sections: dict[str, str] = {}
    created_at: str | None = None
    updated_at: str | None = None


class JournalEntry(msgspec.Struct, kw_only=True):
    """A piece of a day's journal.

    Attributes:
        section: The heading it stands under.
        content: Its text.
    """

    section: str = "reflections"
    content: str = ""


class DailyJournal(msgspec.Struct, kw_only=True, rename=_WIRE_NAMES):
    """The journal of one day.

    Attributes:
        id: The day, `YYYY-MM-DD`.
        date: The day again.
        entries: What was written.
        mood: How the day felt.
        highlights: What was good.
        challenges: What was hard.
        lessons: What to remember.
        created_at: When it was stored first, ISO 8601.
        updated_at: When it was last changed.
    """

    id: str
    date: str
    entries: list[JournalEntry] = []
    mood: str = ""
    highlights: list[str] = []
    challenges: list[str] = []
    lessons: list[str] = []
    created_at: str | None = None
    updated_at: str | None = None


class ArchivedDay(msgspec.Struct, kw_only=True, rename=_WIRE_NAMES):
    """A day as it was when it was archived.

    `storage_providers.transfer.legacy` reads its files: `archived_planner`, `archived_journal`.

    Attributes:
        id: The day, `YYYY-MM-DD`.
        date: The day again.
        files: The files of the day, word for word, by kind (`planner`, `journal`).
        archived_at: When it was archived, ISO 8601.
        created_at: When it was stored first.
        updated_at: When it was last changed.
    """

    id: str
    date: str
    files: dict[str, str] = {}
    archived_at: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class UserSettings(msgspec.Struct, kw_only=True, rename=_WIRE_NAMES):
    """Preferences, in one document with the id `settings`.

    Attributes:
        id: Always `settings`, unless a program keeps several.
        version: Version of the settings' layout.
        user: Who it is: `name`, `timezone`.
        mcp: The tool server.
        embeddings: Search by meaning.
        daily_routine: Times of the day.
        language_integration: By language: `enabled`, `level`, `frequency`.
        tools: By tool.
        preferences: Everything else.
        created_at: When they were stored first, ISO 8601.
        updated_at: When they were last changed.
    """

    id: str = "settings"
    version: str | None = None
    user: dict[str, Any] = {}
    mcp: dict[str, Any] = {}
    embeddings: dict[str, Any] = {}
    daily_routine: dict[str, Any] = {}
    language_integration: dict[str, Any] = {}
    tools: dict[str, Any] = {}
    preferences: dict[str, Any] = {}
    created_at: str | None = None
    updated_at: str | None = None
