"""From the productivity tool's objects to documents, and back.

Every kind has a pair of functions: `…_document` makes a document of a legacy object, `…_object`
writes a document the way the newest generation of the tool does. What a document has no field for
is kept in its field `legacy` (see `_corrections`); what the legacy layout has no place for goes
into the object's key `storageProviders`, so neither direction loses anything.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date
from typing import Final, cast

import msgspec

from storage_providers._clock import format_timestamp, parse_timestamp
from storage_providers._json import JsonObject
from storage_providers.protocol import check_id
from storage_providers.transfer.legacy import _markdown
from storage_providers.transfer.legacy._corrections import corrected, difference
from storage_providers.transfer.legacy._shape import as_list, as_object

__all__ = [
    "KINDS",
    "Kind",
    "Made",
    "derived_id",
    "is_date",
    "to_document",
    "to_object",
    "usable_id",
]

EXTRA: Final = "storageProviders"
"""Key of a legacy object for fields of the document that the legacy layout has no place for."""
SETTINGS_ID: Final = "settings"

_NAMESPACE: Final = uuid.UUID("5f0c3a52-7d0e-5f7e-9a0f-3d1f6a9c2b44")
_MANAGED: Final = frozenset({"id", "createdAt", "updatedAt", "expiresAt", "legacy", EXTRA})
_STATUSES: Final = ("pending", "in_progress", "completed")
_PRIORITIES: Final = ("high", "medium", "low")
_canonical = msgspec.json.Encoder(order="sorted").encode


class Made(msgspec.Struct, kw_only=True):
    """A document made of a legacy object.

    Attributes:
        document: The document.
        dated: Whether its times are its own.
        remarks: What did not fit a field and was kept aside.
    """

    document: JsonObject
    dated: bool = True
    remarks: list[str] = []


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of document.

    Attributes:
        collection: Where the documents go.
        read: Makes a document of an object, its id and a time to fall back on.
        write: Writes a document as the newest generation of the tool does.
    """

    collection: str
    read: Callable[[JsonObject, str, str], Made]
    write: Callable[[JsonObject], JsonObject]


def to_document(kind: Kind, original: JsonObject, item_id: str, fallback: str) -> Made:
    """Make a document that gives `original` again when it is written back.

    Args:
        kind: What the object is.
        original: The legacy object.
        item_id: The id the document gets.
        fallback: A time for documents that have none of their own, ISO 8601.
    """
    made = kind.read(original, item_id, fallback)
    for name, value in as_object(original.get(EXTRA)).items():
        if name not in ("id", "legacy") and (name != "expiresAt" or _time(value)):
            made.document[name] = value
    notes = difference(original, _written(kind, made.document, fallback))
    if notes:
        made.document["legacy"] = {"corrections": notes}
    return made


def to_object(kind: Kind, document: JsonObject) -> JsonObject:
    """Write a document back to the legacy layout, with everything it holds."""
    written = _written(kind, document, str(document.get("createdAt", "")))
    return corrected(written, as_list(as_object(document.get("legacy")).get("corrections")))


def _written(kind: Kind, document: JsonObject, fallback: str) -> JsonObject:
    written = kind.write(document)
    back = kind.read(written, str(document["id"]), fallback).document
    lost = {
        name: value
        for name, value in document.items()
        if name not in ("id", "legacy")
        and value is not None
        and (name not in back or _canonical(back[name]) != _canonical(value))
    }
    if lost:
        written[EXTRA] = lost
    return written


def derived_id(*parts: str) -> str:
    """The id of something that has none: the same every time it is read."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join(parts)))


def is_date(text: str) -> bool:
    """Whether `text` is a day such as 2026-01-31."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


# --- todos -------------------------------------------------------------------------------------


def usable_id(value: object) -> str | None:
    """The id of a legacy object, if documents can have it."""
    try:
        return check_id(value, 512)
    except ValueError:
        return None


def _read_todo(task: JsonObject, item_id: str, fallback: str) -> Made:
    remarks: list[str] = []
    created = _time(task.get("created"))
    completed = _time(task.get("completed_at"))
    updated = _time(task.get("updated_at")) or completed or created
    content, notes, priority = task.get("content"), task.get("notes"), task.get("priority")
    if not isinstance(content, str):
        remarks.append("'content' is not text")
    if not isinstance(task.get("completed", False), bool):
        remarks.append("'completed' is neither true nor false")
    if priority is not None and priority not in _PRIORITIES:
        remarks.append("'priority' is none of high, medium, low")
    if notes is not None and not _is_texts(notes):
        remarks.append("'notes' is not a list of texts")
    status = "completed" if task.get("completed") is True else "pending"
    if status == "pending" and task.get("status") == "in_progress":
        status = "in_progress"
    document: JsonObject = {
        "id": item_id,
        "content": content if isinstance(content, str) else "",
        "status": status,
        "priority": priority if priority in _PRIORITIES else "medium",
        "notes": notes if _is_texts(notes) else [notes] if isinstance(notes, str) else [],
        "createdAt": created or updated or fallback,
        "updatedAt": updated or fallback,
    }
    for name, value in (("category", task.get("category")), ("due", task.get("due"))):
        if isinstance(value, str):
            document[name] = value
    if completed is not None:
        document["completedAt"] = completed
    return Made(document=document, dated=updated is not None, remarks=remarks)


def _write_todo(document: JsonObject) -> JsonObject:
    created, updated = document.get("createdAt"), document.get("updatedAt")
    status = document.get("status")
    task: JsonObject = {
        "id": document["id"],
        "content": document.get("content", ""),
        "priority": document.get("priority", "medium"),
        "category": document.get("category") or "General",
        "completed": status == "completed",
        "created": created,
        "due": document.get("due"),
        "notes": document.get("notes", []),
    }
    if updated != created:
        task["updated_at"] = updated
    if document.get("completedAt") is not None:
        task["completed_at"] = document["completedAt"]
    if status == "in_progress":
        task["status"] = status
    return task


# --- days --------------------------------------------------------------------------------------

_PLANNER_TEXTS: Final = ("data_stash", "ongoing_summary", "reflections")
_PLANNER_SECTIONS: Final = ("tasks", "personal_reminders", *_PLANNER_TEXTS)
_JOURNAL_LISTS: Final = ("highlights", "challenges", "lessons")


def _read_planner(day: JsonObject, item_id: str, fallback: str) -> Made:
    parts, remarks = _sections(day)
    document: JsonObject = {
        "id": item_id,
        "date": item_id,
        "tasks": _markdown.planned_tasks(parts.get("tasks", "")),
        **{name: parts.get(name, "") for name in _PLANNER_TEXTS},
        "personal_reminders": _markdown.reminders(parts.get("personal_reminders", "")),
    }
    others = {name: text for name, text in parts.items() if name not in _PLANNER_SECTIONS}
    if others:
        document["sections"] = others
    return _dated(document, day, fallback, remarks)


def _write_planner(document: JsonObject) -> JsonObject:
    parts: JsonObject = {
        "tasks": _markdown.render_tasks(document.get("tasks")),
        "data_stash": _text(document.get("data_stash")),
        "ongoing_summary": _text(document.get("ongoing_summary")),
        "personal_reminders": _markdown.render_reminders(document.get("personal_reminders")),
    }
    if document.get("reflections"):
        parts["reflections"] = _text(document["reflections"])
    parts |= {
        name: _text(text)
        for name, text in as_object(document.get("sections")).items()
        if name not in _PLANNER_SECTIONS
    }
    return _day("planner", document, parts)


def _read_journal(day: JsonObject, item_id: str, fallback: str) -> Made:
    parts, remarks = _sections(day)
    document: JsonObject = {
        "id": item_id,
        "date": item_id,
        "entries": [
            {"section": name, "content": text}
            for name, text in parts.items()
            if text and name != "mood" and name not in _JOURNAL_LISTS
        ],
        "mood": parts.get("mood", ""),
        **{name: _markdown.reminders(parts.get(name, "")) for name in _JOURNAL_LISTS},
    }
    return _dated(document, day, fallback, remarks)


def _write_journal(document: JsonObject) -> JsonObject:
    parts: JsonObject = {"reflections": "", "personal_reminders": ""}
    for entry in as_list(document.get("entries")):
        fields = as_object(entry) or {"content": entry}
        name, text = str(fields.get("section") or "reflections"), _text(fields.get("content"))
        parts[name] = f"{parts[name]}\n\n{text}" if parts.get(name) else text
    if document.get("mood"):
        parts["mood"] = _text(document["mood"])
    for name in _JOURNAL_LISTS:
        if document.get(name):
            parts[name] = _markdown.render_reminders(document[name])
    return _day("journal", document, parts)


def _sections(day: JsonObject) -> tuple[dict[str, str], list[str]]:
    if not isinstance(day.get("sections"), dict):
        return {}, ["'sections' is not an object"]
    parts, others = _texts(day["sections"])
    return parts, [f"section {name!r:.60} is not text" for name in others]


def _dated(document: JsonObject, day: JsonObject, fallback: str, remarks: list[str]) -> Made:
    metadata = as_object(day.get("metadata"))
    created, updated = _time(metadata.get("created")), _time(metadata.get("updated"))
    document["createdAt"] = created or updated or fallback
    document["updatedAt"] = updated or created or fallback
    if day.get("date", document["id"]) != document["id"]:
        remarks.append("'date' is not the date of the file's name")
    return Made(document=document, dated=bool(created or updated), remarks=remarks)


def _day(kind: str, document: JsonObject, parts: JsonObject) -> JsonObject:
    return {
        "date": document["id"],
        "type": kind,
        "sections": parts,
        "metadata": {
            "keywords": ["daily", kind, document["id"]],
            "created": document.get("createdAt"),
            "updated": document.get("updatedAt"),
        },
    }


# --- archives and settings ---------------------------------------------------------------------


def _read_archive(archive: JsonObject, item_id: str, fallback: str) -> Made:
    remarks: list[str] = []
    archived = _time(archive.get("archived_at"))
    files, others = _texts(archive.get("files"))
    if not isinstance(archive.get("files"), dict):
        remarks.append("'files' is not an object")
    remarks += [f"file {name!r:.60} is not text" for name in others]
    if archive.get("date", item_id) != item_id:
        remarks.append("'date' is not the date of the file's name")
    document: JsonObject = {
        "id": item_id,
        "date": item_id,
        "files": files,
        "createdAt": archived or fallback,
        "updatedAt": archived or fallback,
    }
    if archived is not None:
        document["archivedAt"] = archived
    return Made(document=document, dated=archived is not None, remarks=remarks)


def _write_archive(document: JsonObject) -> JsonObject:
    return {
        "date": document["id"],
        "archived_at": document.get("archivedAt") or document.get("createdAt"),
        "files": document.get("files", {}),
    }


def _read_settings(settings: JsonObject, item_id: str, fallback: str) -> Made:
    document: JsonObject = {"id": item_id}
    document |= {name: value for name, value in settings.items() if name not in _MANAGED}
    document |= {"createdAt": fallback, "updatedAt": fallback}
    return Made(document=document, dated=False)


def _write_settings(document: JsonObject) -> JsonObject:
    return {name: value for name, value in document.items() if name not in _MANAGED}


KINDS: Final = {
    "todo": Kind(collection="todos", read=_read_todo, write=_write_todo),
    "planner": Kind(collection="daily_planners", read=_read_planner, write=_write_planner),
    "journal": Kind(collection="daily_journals", read=_read_journal, write=_write_journal),
    "archive": Kind(collection="archived_days", read=_read_archive, write=_write_archive),
    "settings": Kind(collection="user_settings", read=_read_settings, write=_write_settings),
}
"""The kinds of documents by name."""


# --- values ------------------------------------------------------------------------------------


def _time(value: object) -> str | None:
    """A time the way documents carry it; `None` if it is none."""
    if not isinstance(value, str):
        return None
    try:
        return format_timestamp(parse_timestamp(value))
    except (ValueError, OverflowError):
        return None


def _texts(value: object) -> tuple[dict[str, str], list[str]]:
    """The members of an object that are text, and the names of those that are not."""
    members = as_object(value)
    texts = {name: text for name, text in members.items() if isinstance(text, str)}
    return texts, [name for name in members if name not in texts]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(member, str) for member in cast("list[object]", value)
    )
