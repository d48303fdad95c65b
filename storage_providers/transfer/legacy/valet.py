"""Reads the folder of the productivity tool, all generations of it.

| file | becomes |
|---|---|
| `_global_todo.json`, `_global_todo.md` | `todos` |
| `days/2025-07-15-planner.json`, `…-planner.md`, `days/2025-07-15.md` | `daily_planners` |
| `days/2025-07-15-journal.json`, `…-journal.md` | `daily_journals` |
| `archive/2025-07-15.json` | `archived_days` |
| `settings.json` | `user_settings` |
| everything else, and whatever can't be rebuilt from documents | `legacy_files`, byte for byte |

Where generations overlap, the newest that can be read makes the document and the others are kept
as they are. What has no field of its own is in a document's `legacy`; the exporter
(`storage_providers.transfer.legacy.valet_export`) puts all of it back.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from storage_providers._clock import format_timestamp, parse_timestamp
from storage_providers._json import JsonObject
from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import LegacyProblem, LegacyRecord
from storage_providers.transfer.legacy import _markdown
from storage_providers.transfer.legacy._corrections import difference
from storage_providers.transfer.legacy._folder import (
    LegacyFile,
    Refused,
    file_document,
    read_file,
    walk,
)
from storage_providers.transfer.legacy._salvage import Parsed, decode_text, parse_json
from storage_providers.transfer.legacy._shape import as_list, as_object
from storage_providers.transfer.legacy._valet_mapping import (
    KINDS,
    SETTINGS_ID,
    Kind,
    Made,
    derived_id,
    is_date,
    to_document,
    usable_id,
)

__all__ = ["LEGACY_FILES", "TODO_JSON", "TODO_MARKDOWN", "ValetFolder"]

LEGACY_FILES: Final = "legacy_files"
"""The collection of files that are kept whole."""
TODO_JSON: Final = "_global_todo.json"
TODO_MARKDOWN: Final = "_global_todo.md"

_DAY: Final = re.compile(
    r"days/(?P<date>\d{4}-\d\d-\d\d)(?:-(?P<kind>planner|journal))?\.(?P<form>json|md)"
)
_ARCHIVE: Final = re.compile(r"archive/(?P<date>\d{4}-\d\d-\d\d)\.json")

Entry = LegacyRecord | LegacyProblem


class ValetFolder:
    """The productivity tool's folder as a source for `Provider.migrate_legacy_data`.

    It may be the root of the very `LocalFileProvider` that imports it: the collections that the
    provider makes in there are told from the tool's own folders `days` and `archive`.

    Times of documents are those in the files. Where a file has none, they are the file's date in
    its name, or the time it was last written; such documents never replace one that exists.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def name(self) -> str:
        """`valet` and the folder's name."""
        return f"valet {self.path.name}"

    def __repr__(self) -> str:
        return f"ValetFolder({str(self.path)!r})"

    async def records(self) -> AsyncIterator[Entry]:
        """Every document, and every piece that could not become one, with the reason.

        Raises:
            InvalidArgumentError: There is no such folder.
        """
        if not await asyncio.to_thread(self.path.is_dir):
            raise InvalidArgumentError(f"there is no folder {self.path}")
        entries = self._entries()
        while chunk := await asyncio.to_thread(_take, entries, 100):
            for entry in chunk:
                yield entry

    def _entries(self) -> Iterator[Entry]:
        found = dict(walk(self.path))
        yield from self._todos(found)
        for path in list(found):
            file = read_file(path, found[path])
            if isinstance(file, Refused):
                yield LegacyProblem(origin=file.path, reason=file.reason)
            elif match := _DAY.fullmatch(path):
                yield from self._day(file, match, found)
            elif match := _ARCHIVE.fullmatch(path):
                yield from read_object(file, KINDS["archive"], match["date"])
            elif path == "settings.json":
                yield from read_object(file, KINDS["settings"], SETTINGS_ID)
            else:
                yield keep_file(file, "unknown")

    def _todos(self, found: dict[str, Path]) -> Iterator[Entry]:
        listed = TodoList()
        for path, read in ((TODO_JSON, listed.read_json), (TODO_MARKDOWN, listed.read_markdown)):
            if path in found:
                file = read_file(path, found.pop(path))
                if isinstance(file, Refused):
                    yield LegacyProblem(origin=file.path, reason=file.reason)
                else:
                    yield from read(file)

    def _day(
        self, file: LegacyFile, match: re.Match[str], found: dict[str, Path]
    ) -> Iterator[Entry]:
        name = match["kind"] or "planner"
        generations = _generations(match["date"], name)
        if not is_date(match["date"]) or file.path not in generations:
            yield keep_file(file, "unknown")
            return
        for newer in generations:
            if newer == file.path:
                break
            if newer in found and self._readable(newer, found[newer]):
                yield keep_file(file, "superseded", newer)
                return
        read = read_object if match["form"] == "json" else read_markdown_day
        yield from read(file, KINDS[name], match["date"])

    def _readable(self, path: str, where: Path) -> bool:
        """Whether a newer generation makes the document, so that an older one must not."""
        file = read_file(path, where)
        if isinstance(file, Refused):
            return False
        if path.endswith(".md"):
            return decode_text(file.data)[1] is None
        return _object(parse_json(file.data)) is not None


def _generations(day: str, kind: str) -> list[str]:
    """The files that can hold a day, newest generation first."""
    files = [f"days/{day}-{kind}.json", f"days/{day}-{kind}.md"]
    return [*files, f"days/{day}.md"] if kind == "planner" else files


def _take(entries: Iterator[Entry], count: int) -> list[Entry]:
    taken: list[Entry] = []
    for entry in entries:
        taken.append(entry)
        if len(taken) == count:
            break
    return taken


# --- one file, one document --------------------------------------------------------------------


def read_object(file: LegacyFile, kind: Kind, item_id: str) -> Iterator[Entry]:
    """A JSON file that holds one document."""
    if kind is not KINDS["settings"] and not is_date(item_id):
        yield keep_file(file, "unknown")
        return
    parsed = parse_json(file.data)
    reason, value = parsed.reason, _object(parsed)
    if value is None:
        reason = reason or f"it holds a JSON {type(parsed.value).__name__}, not an object"
        yield keep_file(file, "broken", reason)
        yield LegacyProblem(origin=file.path, reason=f"{reason}; kept whole in {LEGACY_FILES}")
        return
    fallback = _day_time(item_id) or file.modified
    made = to_document(kind, value, item_id, fallback)
    if reason is not None:
        made.document.setdefault("legacy", {})["source"] = file.path
        yield keep_file(file, "source", reason)
        yield LegacyProblem(
            origin=file.path,
            reason=f"{reason}; what is whole was imported, the file is kept in {LEGACY_FILES}",
        )
    yield from _made(made, kind.collection, file.path)


def read_markdown_day(file: LegacyFile, kind: Kind, item_id: str) -> Iterator[Entry]:
    """A markdown file that holds one day."""
    text, flaw = decode_text(file.data)
    if flaw is not None:
        yield keep_file(file, "broken", flaw)
        yield LegacyProblem(origin=file.path, reason=f"{flaw}; kept whole in {LEGACY_FILES}")
        return
    day: JsonObject = {"date": item_id, "sections": _markdown.sections(text)}
    made = kind.read(day, item_id, f"{item_id}T00:00:00.000Z")
    made.document["legacy"] = {"source": file.path}
    yield keep_file(file, "source")
    yield from _made(made, kind.collection, file.path)


def keep_file(file: LegacyFile, kind: str, reason: str | None = None) -> LegacyRecord:
    """The record that keeps a whole file."""
    document = file_document(file, kind)
    if reason is not None:
        document["reason"] = reason
    return LegacyRecord(collection=LEGACY_FILES, document=document, origin=file.path)


def _made(made: Made, collection: str, origin: str) -> Iterator[Entry]:
    yield LegacyRecord(
        collection=collection, document=made.document, origin=origin, dated=made.dated
    )
    for remark in made.remarks:
        yield LegacyProblem(
            origin=origin, reason=f"{remark}; the rest was imported, this is kept aside"
        )


def _object(parsed: Parsed) -> JsonObject | None:
    """The object a file holds; an empty rest of a broken file counts for nothing."""
    value = as_object(parsed.value)
    return value if value or (parsed.reason is None and parsed.value == {}) else None


def _day_time(item_id: str) -> str | None:
    return f"{item_id}T00:00:00.000Z" if is_date(item_id) else None


# --- the todo list -----------------------------------------------------------------------------


class TodoList:
    """Reads both generations of the todo list, giving every todo an id of its own."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._by_content: dict[str, list[str]] = {}

    def read_json(self, file: LegacyFile) -> Iterator[Entry]:
        """`_global_todo.json`."""
        parsed = parse_json(file.data)
        value = as_object(parsed.value)
        tasks, reason = value.get("tasks"), parsed.reason
        if not isinstance(tasks, list):
            reason = reason or "it holds no list of tasks"
            yield keep_file(file, "broken", reason)
            yield LegacyProblem(origin=file.path, reason=f"{reason}; kept whole in {LEGACY_FILES}")
            return
        fallback = _iso(value.get("updated")) or file.modified
        order: list[Any] = []
        times: list[str] = []
        yield from self._tasks(file.path, as_list(value.get("tasks")), fallback, order, times)
        head = {name: member for name, member in value.items() if name != "tasks"}
        document = file_document(file, "todos", keep=reason is not None)
        document["order"] = order
        if reason is not None:
            document["reason"] = reason
            count = sum(isinstance(place, str) for place in order)
            yield LegacyProblem(
                origin=file.path,
                reason=f"{reason}; {count} whole todos were imported, the file is kept in "
                f"{LEGACY_FILES}",
            )
        else:
            document["createdAt"] = document["updatedAt"] = fallback
            latest = max(times, default=fallback)
            document["legacy"] = {"corrections": difference(head, todo_head(latest))}
        yield LegacyRecord(collection=LEGACY_FILES, document=document, origin=file.path)

    def _tasks(
        self, path: str, tasks: list[Any], fallback: str, order: list[Any], times: list[str]
    ) -> Iterator[Entry]:
        seen: Counter[str] = Counter()
        for number, task in enumerate(tasks, 1):
            origin = f"{path} task {number}"
            if not isinstance(task, dict):
                order.append({"value": task})
                yield LegacyProblem(
                    origin=origin,
                    reason=f"it is a JSON {type(task).__name__}, not an object; kept in place",
                )
                continue
            fields = as_object(cast("object", task))
            own_id = usable_id(fields.get("id"))
            item_id = own_id
            if own_id is None or own_id in self._taken:
                if own_id is None:
                    whole = msgspec.json.encode(fields, order="sorted").decode()
                    item_id = self._fresh(path, "content", whole, seen)
                    problem = "it has no id that documents can have"
                else:
                    item_id = self._fresh(path, "id", own_id, seen)
                    problem = "its id is an earlier task's"
                yield LegacyProblem(origin=origin, reason=f"{problem}; imported with id {item_id}")
            assert item_id is not None
            made = to_document(KINDS["todo"], fields, item_id, fallback)
            self._taken.add(item_id)
            self._by_content.setdefault(_folded(made.document["content"]), []).append(item_id)
            order.append(item_id)
            times.append(made.document["updatedAt"])
            yield from _made(made, "todos", origin)

    def read_markdown(self, file: LegacyFile) -> Iterator[Entry]:
        """`_global_todo.md`. Todos that the newer list has too are left to that."""
        text, flaw = decode_text(file.data)
        if flaw is not None:
            yield keep_file(file, "broken", flaw)
            yield LegacyProblem(origin=file.path, reason=f"{flaw}; kept whole in {LEGACY_FILES}")
            return
        order: list[str] = []
        seen: Counter[str] = Counter()
        for line in _markdown.todo_lines(text):
            twins = self._by_content.get(_folded(line.content))
            if twins:
                order.append(twins.pop(0))
                continue
            item_id = self._fresh(file.path, "line", line.content, seen)
            self._taken.add(item_id)
            order.append(item_id)
            yield LegacyRecord(
                collection="todos",
                document=todo_of_line(line, item_id, file.modified),
                origin=f"{file.path} line {line.first + 1}",
                dated=False,
            )
        document = file_document(file, "todos")
        document["order"] = order
        yield LegacyRecord(collection=LEGACY_FILES, document=document, origin=file.path)

    def _fresh(self, path: str, kind: str, text: str, seen: Counter[str]) -> str:
        while True:
            item_id = derived_id(path, kind, text, str(seen[text]))
            seen[text] += 1
            if item_id not in self._taken:
                return item_id


def todo_of_line(line: _markdown.TodoLine, item_id: str, modified: str) -> JsonObject:
    """The todo of a checkbox in a markdown list."""
    document: JsonObject = {
        "id": item_id,
        "content": line.content,
        "status": "completed" if line.completed else "pending",
        "priority": line.priority,
        "notes": line.notes,
        "createdAt": modified,
        "updatedAt": modified,
        "legacy": {"source": TODO_MARKDOWN},
    }
    if line.category is not None:
        document["category"] = line.category
    return document


def todo_head(latest: str) -> JsonObject:
    """What `_global_todo.json` holds beside its tasks."""
    return {"version": "1.0.0", "updated": latest}


def _folded(content: str) -> str:
    return " ".join(content.split())


def _iso(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return format_timestamp(parse_timestamp(value))
    except (ValueError, OverflowError):
        return None
