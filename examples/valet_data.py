"""Makes a folder as the productivity tool leaves it: every generation, some of it broken.

    python examples/valet_data.py valet-data

The same arguments give the same files, byte for byte and with the same times. All text is made up.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

__all__ = ["make_valet_data"]

_VERBS = ("Call", "Write to", "Review", "Plan", "Fix", "Order", "Clean", "Draft", "Book", "Sort")
_THINGS = (
    "the dentist",
    "the quarterly report",
    "the garden shed",
    "flights for März",
    "the team offsite",
    "a birthday cake 🎂",
    "the backup disk",
    "the onboarding notes",
    "the bike",
    "the tax papers",
    "Zoë's recommendation",
    "the kitchen shelf",
)
_MOODS = ("calm", "tired", "glad", "restless", "focused")
_CATEGORIES = ("General", "Work", "Home", "Health", "Learning")
_THOUGHTS = (
    "A quiet morning; two hours of real work before the first meeting.",
    "The review took longer than planned, but the hard question is settled.",
    "Walked home along the river. Slept well.",
    "Too many small things. Tomorrow one big one.",
    "Learnt that the old export never wrote the last page.",
    "Dinner with friends; nobody looked at a phone.",
)


def make_valet_data(
    folder: Path, *, todos: int = 300, days: int = 120, last_day: date = date(2025, 10, 31)
) -> None:
    """Fill a folder.

    Args:
        folder: Where; made if it is not there. Files of the same names are replaced.
        todos: Todos in the JSON list.
        days: How many days back planners and journals go.
        last_day: The newest of them.
    """
    maker = _Maker(folder, last_day)
    maker.todo_lists(todos)
    maker.days(days)
    maker.settings()
    maker.broken_files(days)


class _Maker:
    def __init__(self, folder: Path, last_day: date) -> None:
        self._folder = folder
        self._last_day = last_day
        self._random = random.Random(20251031)

    # --- todos ---------------------------------------------------------------------------------

    def todo_lists(self, count: int) -> None:
        tasks = [self._task(number) for number in range(count)]
        updated = self._time(self._last_day, 20)
        self._json(
            "_global_todo.json", {"version": "1.0.0", "updated": updated, "tasks": tasks}, updated
        )
        older = [task["content"] for task in tasks[:4]] + [
            "Learn the cello",
            "Repaint the balcony",
            "Water the plants",
            "Read all of Proust",
        ]
        headings = ("High Priority", "Medium Priority", "Low Priority", "Ongoing/Recurring")
        lines = ["# Global todo", ""]
        for position, heading in enumerate((*headings, "Someday/Maybe")):
            lines += [f"## {heading}", ""]
            for content in older[position::5]:
                lines.append(f"- [{'x' if position == 0 else ' '}] {content}")
            lines.append("")
        self._text("_global_todo.md", "\n".join(lines), self._time(self._day(400), 9))

    def _task(self, number: int) -> dict[str, Any]:
        draw = self._random
        age = draw.randrange(1, 180)
        created = self._time(self._day(age), draw.randrange(7, 20))
        done = draw.random() < 0.4
        due = self._day(age - draw.randrange(-20, 60)).isoformat() if draw.random() < 0.7 else None
        task: dict[str, Any] = {
            "id": str(uuid.UUID(int=draw.getrandbits(128), version=4)),
            "content": f"{draw.choice(_VERBS)} {draw.choice(_THINGS)} ({number + 1})",
            "priority": draw.choice(("high", "medium", "medium", "low")),
            "category": draw.choice(_CATEGORIES),
            "completed": done,
            "created": created,
            "due": due,
            "notes": draw.sample(_THOUGHTS, draw.randrange(3)) if draw.random() < 0.3 else [],
        }
        if done:
            finished = self._time(self._day(max(age - draw.randrange(1, 30), 0)), 18)
            task |= {"updated_at": finished, "completed_at": finished}
        if number % 60 == 11:
            task |= {"estimate_minutes": 45, "priority": "urgent"}
        if number % 3 == 0:
            task = dict(sorted(task.items()))
        return task

    # --- days ----------------------------------------------------------------------------------

    def days(self, count: int) -> None:
        for age in range(count):
            day = self._day(age)
            oldest, older = age > count - 6, age > count - 12
            if oldest:
                self._markdown_day(day, "")
            elif older:
                self._markdown_day(day, "-planner")
                self._markdown_day(day, "-journal")
            else:
                self._json_day(day, age)

    def _json_day(self, day: date, age: int) -> None:
        draw = self._random
        texts: dict[str, str] = {}
        if draw.random() < 0.9:
            planner = self._planner(day)
            texts["planner"] = self._json(
                f"days/{day}-planner.json", planner, planner["metadata"]["updated"]
            )
        if draw.random() < 0.75 or not texts:
            journal = self._journal(day)
            texts["journal"] = self._json(
                f"days/{day}-journal.json", journal, journal["metadata"]["updated"]
            )
        if age > 30 and draw.random() < 0.6:
            archived = self._time(day + timedelta(days=1), 6)
            archive = {"date": str(day), "archived_at": archived, "files": texts}
            self._json(f"archive/{day}.json", archive, archived)

    def _planner(self, day: date) -> dict[str, Any]:
        draw = self._random
        tasks = [
            f"- [{draw.choice(' x')}] {draw.choice(_VERBS)} {draw.choice(_THINGS)}"
            for _ in range(draw.randrange(1, 6))
        ]
        sections = {
            "tasks": "\n\n".join(tasks),
            "data_stash": f"Room {draw.randrange(100, 999)}" if draw.random() < 0.3 else "",
            "ongoing_summary": draw.choice(_THOUGHTS),
            "personal_reminders": f"- {draw.choice(_THINGS)}" if draw.random() < 0.5 else "",
        }
        if draw.random() < 0.1:
            sections["meeting_notes"] = "\n".join(draw.sample(_THOUGHTS, 2))
        return self._day_object(day, "planner", sections)

    def _journal(self, day: date) -> dict[str, Any]:
        draw = self._random
        sections = {
            "reflections": "\n\n".join(draw.sample(_THOUGHTS, 2)),
            "personal_reminders": "",
        }
        if draw.random() < 0.4:
            sections["mood"] = draw.choice(_MOODS)
            sections["highlights"] = f"- {draw.choice(_THOUGHTS)}"
        if draw.random() < 0.1:
            sections["dreams"] = draw.choice(_THOUGHTS)
        return self._day_object(day, "journal", sections)

    def _day_object(self, day: date, kind: str, sections: dict[str, str]) -> dict[str, Any]:
        return {
            "date": str(day),
            "type": kind,
            "sections": sections,
            "metadata": {
                "keywords": ["daily", kind, str(day)],
                "created": self._time(day, 7),
                "updated": self._time(day, 21),
            },
        }

    def _markdown_day(self, day: date, kind: str) -> None:
        draw = self._random
        if kind == "-journal":
            parts = {"Reflections": draw.choice(_THOUGHTS), "Gratitude": draw.choice(_THOUGHTS)}
        else:
            parts = {
                "Tasks": f"- [x] {draw.choice(_VERBS)} {draw.choice(_THINGS)}\n- [ ] Rest",
                "Ongoing Summary": draw.choice(_THOUGHTS),
                "Personal Reminders": f"- {draw.choice(_THINGS)}",
            }
        body = "\n\n".join(f"## {name}\n\n{text}" for name, text in parts.items())
        text = f"# {day}\n\n{body}\n"
        if draw.random() < 0.5:
            text = "\ufeff" + text.replace("\n", "\r\n")
        self._text(f"days/{day}{kind}.md", text, self._time(day, 21))

    # --- the rest ------------------------------------------------------------------------------

    def settings(self) -> None:
        settings = {
            "version": "1.2.0",
            "user": {"name": "Sam Example", "timezone": "Europe/Vienna"},
            "mcp": {"enabled": True, "port": 8787},
            "embeddings": {"model": "none", "dimensions": 384},
            "daily_routine": {"start": "07:00", "review": "20:30", "ratio": 1.0},
            "language_integration": {"de": {"enabled": True, "level": "B2", "frequency": 0.5}},
            "tools": {"calendar": {"enabled": False}},
            "preferences": {"theme": "dark", "weekStart": "monday"},
        }
        self._json("settings.json", settings, self._time(self._day(90), 12))

    def broken_files(self, days: int) -> None:
        """What is left when a program is stopped in the middle of writing in place."""
        whole = json.dumps(self._planner(self._day(-1)), indent=2, ensure_ascii=False)
        late = self._time(self._last_day, 22)
        self._text(f"days/{self._day(-1)}-planner.json", whole[: len(whole) * 2 // 3], late)
        tail = json.dumps(self._journal(self._day(-2)), indent=2, ensure_ascii=False)
        self._text(f"days/{self._day(-2)}-journal.json", tail + "\n  }\n}", late)
        self._text(f"days/{self._day(-3)}-planner.json", "", late)
        self._bytes(f"days/{self._day(-4)}-journal.md", b"# caf\xe9 in another encoding\n", late)
        self._text("archive/notes.txt", "Moved by hand.\n", late)
        self._bytes("days/.DS_Store", bytes(range(256)), late)
        duplicate = self._day(days - 8)
        self._json(
            f"days/{duplicate}-planner.json", self._planner(duplicate), self._time(duplicate, 21)
        )

    def _day(self, age: int) -> date:
        return self._last_day - timedelta(days=age)

    def _time(self, day: date, hour: int) -> str:
        draw = self._random
        moment = datetime(
            day.year, day.month, day.day, hour, draw.randrange(60), draw.randrange(60), tzinfo=UTC
        )
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{draw.randrange(1000):03}Z"

    def _json(self, path: str, value: Any, modified: str) -> str:
        text = json.dumps(value, indent=2, ensure_ascii=False)
        self._text(path, text, modified)
        return text

    def _text(self, path: str, text: str, modified: str) -> None:
        self._bytes(path, text.encode(), modified)

    def _bytes(self, path: str, data: bytes, modified: str) -> None:
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        seconds = datetime.fromisoformat(modified).timestamp()
        os.utime(target, (seconds, seconds))


def main() -> None:
    """Make the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where to make it, such as valet-data")
    parser.add_argument("--todos", type=int, default=300)
    parser.add_argument("--days", type=int, default=120)
    arguments = parser.parse_args()
    make_valet_data(arguments.folder, todos=arguments.todos, days=arguments.days)
    files = sum(path.is_file() for path in arguments.folder.rglob("*"))
    print(f"{arguments.folder}: {files} files")


if __name__ == "__main__":
    main()
