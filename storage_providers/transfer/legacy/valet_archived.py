"""Looks into archived days, whose files are kept word for word."""

from __future__ import annotations

from typing import Any

import msgspec

from storage_providers.transfer.legacy._salvage import parse_json
from storage_providers.transfer.legacy._shape import as_object
from storage_providers.transfer.legacy._valet_mapping import KINDS
from storage_providers.valet import ArchivedDay, DailyJournal, DailyPlanner

__all__ = ["archived_journal", "archived_planner"]


def archived_planner(day: ArchivedDay) -> DailyPlanner | None:
    """The plan of an archived day, if it was archived and something of it can be read."""
    document = _document(day, "planner")
    return None if document is None else msgspec.convert(document, DailyPlanner)


def archived_journal(day: ArchivedDay) -> DailyJournal | None:
    """The journal of an archived day, if it was archived and something of it can be read."""
    document = _document(day, "journal")
    return None if document is None else msgspec.convert(document, DailyJournal)


def _document(day: ArchivedDay, name: str) -> dict[str, Any] | None:
    if name not in day.files:
        return None
    found = as_object(parse_json(day.files[name].encode()).value)
    fallback = day.archived_at or f"{day.id}T00:00:00.000Z"
    return KINDS[name].read(found, day.id, fallback).document if found else None
