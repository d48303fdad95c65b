"""The markdown that the tool and its users wrote: checkboxes, bullets, sections under headings."""

from __future__ import annotations

import re
from typing import Any, Literal, cast

import msgspec

from storage_providers._json import JsonObject
from storage_providers.transfer.legacy._shape import as_list, as_object

__all__ = [
    "TodoLine",
    "planned_tasks",
    "reminders",
    "render_reminders",
    "render_tasks",
    "sections",
    "todo_lines",
]

Priority = Literal["high", "medium", "low"]

_BULLET = re.compile(r"[ \t]*[-*+][ \t]+")
_CHECKBOX = re.compile(r"(?P<indent>[ \t]*)[-*+][ \t]+\[(?P<mark>[ xX])\](?:[ \t]+(?P<text>.*))?")
_HEADING = re.compile(r"#{2,6}[ \t]+(?P<title>.*?)[ \t#]*")
_PRIORITIES: dict[str, tuple[Priority, str | None]] = {
    "high priority": ("high", None),
    "medium priority": ("medium", None),
    "low priority": ("low", None),
    "ongoing/recurring": ("medium", "Ongoing/Recurring"),
    "someday/maybe": ("low", "Someday/Maybe"),
}


class TodoLine(msgspec.Struct, frozen=True, kw_only=True):
    """One checkbox of a markdown todo list.

    Attributes:
        first: Its line, counted from 0.
        last: The last line that belongs to it.
        content: Its text.
        completed: Whether it is ticked.
        priority: From the heading it stands under.
        category: From the heading, if that says more than a priority.
        notes: Indented lines under it.
    """

    first: int
    last: int
    content: str
    completed: bool
    priority: Priority = "medium"
    category: str | None = None
    notes: list[str] = []


def todo_lines(text: str) -> list[TodoLine]:
    """Every checkbox of a markdown todo list, with what stands under it."""
    found: list[TodoLine] = []
    priority: Priority = "medium"
    category: str | None = None
    open_item = False
    for number, line in enumerate(text.splitlines()):
        if heading := _HEADING.fullmatch(line):
            title = heading["title"].strip()
            priority, category = _PRIORITIES.get(title.lower(), ("medium", title or None))
            open_item = False
        elif box := _CHECKBOX.fullmatch(line):
            found.append(
                TodoLine(
                    first=number,
                    last=number,
                    content=(box["text"] or "").strip(),
                    completed=box["mark"] != " ",
                    priority=priority,
                    category=category,
                )
            )
            open_item = True
        elif open_item and line[:1] in (" ", "\t") and line.strip():
            item = found[-1]
            found[-1] = msgspec.structs.replace(
                item, last=number, notes=[*item.notes, _without_bullet(line)]
            )
        else:
            open_item = False
    return found


def sections(text: str) -> dict[str, str]:
    """The sections of a day: text under `##` headings, by the heading in snake_case.

    What stands before the first heading is the section `preamble`, without the title.
    """
    parts: dict[str, list[str]] = {}
    current = parts.setdefault("preamble", [])
    for line in text.splitlines():
        heading = re.fullmatch(r"##[ \t]+(.*?)[ \t#]*", line)
        if heading:
            name = re.sub(r"\W+", "_", heading[1].lower()).strip("_") or "untitled"
            current = parts.setdefault(name, [])
        elif not (current is parts["preamble"] and line.startswith("# ")):
            current.append(line)
    found = {name: "\n".join(lines).strip() for name, lines in parts.items()}
    if not found["preamble"]:
        del found["preamble"]
    return found


def planned_tasks(markdown: str) -> list[JsonObject]:
    """Every line with text as a task; lines with a checkbox have a `status`."""
    tasks: list[JsonObject] = []
    for line in markdown.splitlines():
        if box := _CHECKBOX.fullmatch(line):
            status = "pending" if box["mark"] == " " else "completed"
            tasks.append({"content": (box["text"] or "").strip(), "status": status})
        elif line.strip():
            tasks.append({"content": _without_bullet(line)})
    return tasks


def render_tasks(tasks: Any) -> str:
    """The tasks as the tool writes them."""
    lines: list[str] = []
    for task in as_list(tasks):
        if isinstance(task, dict):
            fields = as_object(cast("object", task))
            content, status = str(fields.get("content", "")), fields.get("status")
            box = "" if status is None else "[x] " if status == "completed" else "[ ] "
            lines.append(f"- {box}{content}")
        else:
            lines.append(f"- {task}")
    return "\n\n".join(lines)


def reminders(markdown: str) -> list[str]:
    """Every line with text, without its bullet."""
    return [_without_bullet(line) for line in markdown.splitlines() if line.strip()]


def render_reminders(lines: Any) -> str:
    """The lines as a list."""
    return "\n".join(f"- {line}" for line in as_list(lines))


def _without_bullet(line: str) -> str:
    return _BULLET.sub("", line, count=1).strip()
