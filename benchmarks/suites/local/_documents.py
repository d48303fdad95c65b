"""The documents that the suite stores: todos of about 300 bytes, the same on every run."""

from __future__ import annotations

from typing import Any

__all__ = ["due_days", "todo", "todos"]

_TAGS = ("home", "garden", "work", "health", "money", "travel", "reading")


def todo(number: int) -> dict[str, Any]:
    """One todo. Numbers far apart may share a due day, as real ones do."""
    return {
        "id": f"todo-{number:07}",
        "title": f"Water the plants on balcony {number}",
        "status": ("pending", "pending", "done")[number % 3],
        "priority": number % 5,
        "due": due_days(number),
        "tags": [_TAGS[number % 7], _TAGS[number // 7 % 7]],
        "notes": "The soil first, then the leaves; the cactus only every other week.",
        "createdAt": "2026-01-01T08:00:00.000Z",
        "updatedAt": "2026-01-01T08:00:00.000Z",
    }


def due_days(number: int) -> str:
    """A due day within thirty years; neighbours in number are not neighbours in time."""
    day = number * 7919 % 10_080
    return f"{2026 + day // 336}-{day // 28 % 12 + 1:02}-{day % 28 + 1:02}"


def todos(first: int, count: int) -> list[dict[str, Any]]:
    """Several todos, numbered on."""
    return [todo(number) for number in range(first, first + count)]
