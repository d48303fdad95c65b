"""The productivity collections: todos, planners, journals, archived days, settings."""

from storage_providers.valet.collections import VALET_COLLECTIONS, declare_all
from storage_providers.valet.models import (
    ArchivedDay,
    DailyJournal,
    DailyPlanner,
    JournalEntry,
    PlannedTask,
    Todo,
    UserSettings,
)

__all__ = [
    "VALET_COLLECTIONS",
    "ArchivedDay",
    "DailyJournal",
    "DailyPlanner",
    "JournalEntry",
    "PlannedTask",
    "Todo",
    "UserSettings",
    "declare_all",
]
