"""Writes the productivity collections back as the productivity tool's folder.

What was imported and not changed since comes out as it went in: JSON files with equal data, all
other files byte for byte. What was created or edited comes out in the tool's newest generation.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from storage_providers._json import JsonObject
from storage_providers.errors import CorruptItemError, InvalidArgumentError
from storage_providers.protocol import LegacyProblem, LegacyRecord
from storage_providers.transfer._files import translated, write_file
from storage_providers.transfer.legacy import _markdown
from storage_providers.transfer.legacy._corrections import corrected
from storage_providers.transfer.legacy._folder import LegacyFile, raw_bytes
from storage_providers.transfer.legacy._salvage import decode_text
from storage_providers.transfer.legacy._shape import as_list, as_object
from storage_providers.transfer.legacy._valet_mapping import (
    KINDS,
    SETTINGS_ID,
    is_date,
    to_object,
)
from storage_providers.transfer.legacy.valet import (
    LEGACY_FILES,
    TODO_JSON,
    TODO_MARKDOWN,
    TodoList,
    read_markdown_day,
    read_object,
    todo_head,
    todo_of_line,
)

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["ValetExport", "export_valet"]

BROKEN_SUFFIX: Final = ".broken"
_canonical = msgspec.json.Encoder(order="sorted").encode


class ValetExport(msgspec.Struct, kw_only=True):
    """What an export wrote.

    Attributes:
        files: Files written.
        documents: Documents in them, per collection.
        problems: Documents that the folder has no place for, and why.
    """

    files: int = 0
    documents: dict[str, int] = {}
    problems: list[LegacyProblem] = []


async def export_valet(
    provider: Provider,
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> ValetExport:
    """Write the productivity collections as a folder that the tool can read.

    Args:
        provider: Where the documents are.
        path: The folder; it is made if it is not there.
        overwrite: Whether the folder may hold files; those of the same names are replaced.
        on_progress: Told after each file how many were written so far.

    Returns:
        What was written, and what the folder has no place for.

    Raises:
        InvalidArgumentError: The folder is not empty.
        StorageError: The provider failed, or a file can't be written.
    """
    export = _Export(provider, Path(path), on_progress)
    await asyncio.to_thread(export.prepare, overwrite)
    await export.days()
    await export.kept_files()
    await export.todos()
    return export.report


class _Export:
    """One export: what was written so far, and what waits for its file."""

    def __init__(
        self, provider: Provider, root: Path, on_progress: Callable[[int], None] | None
    ) -> None:
        self.report = ValetExport()
        self._provider = provider
        self._root = root
        self._on_progress = on_progress
        self._written: set[str] = set()
        self._sources: dict[str, tuple[str, str]] = {}
        self._lists: dict[str, JsonObject] = {}

    def prepare(self, overwrite: bool) -> None:
        with translated(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            if not overwrite and next(self._root.iterdir(), None) is not None:
                raise InvalidArgumentError(
                    f"the folder {self._root} is not empty; choose another or pass overwrite=True"
                )

    # --- what becomes a file of its own --------------------------------------------------------

    async def days(self) -> None:
        """Planners, journals, archives and settings."""
        for name in ("planner", "journal", "archive", "settings"):
            kind = KINDS[name]
            async for item in self._provider.find_items(
                kind.collection, on_corrupt=self._unreadable
            ):
                document = item.document
                source = _legacy(document).get("source")
                if _file_name(name, item.id) is None:
                    self._problem(kind.collection, item.id, "its id is not one the folder can hold")
                elif isinstance(source, str) and source not in self._sources:
                    self._sources[source] = name, item.id
                else:
                    await self._write_document(name, document)

    async def kept_files(self) -> None:
        """Files that were kept whole, and the documents that were read from them."""
        async for item in self._provider.find_items(LEGACY_FILES, on_corrupt=self._unreadable):
            document = item.document
            path, data = document.get("path"), raw_bytes(document)
            if not isinstance(path, str):
                self._problem(LEGACY_FILES, item.id, "it names no path")
            elif document.get("kind") == "todos":
                self._lists[path] = document
            elif data is None:
                self._problem(LEGACY_FILES, item.id, "it holds no content")
            elif document.get("kind") != "source":
                await self._write_raw(document, data)
            elif path in self._sources:
                await self._write_source(document, data, *self._sources.pop(path))
        for name, item_id in self._sources.values():
            current = await self._provider.read_item(KINDS[name].collection, item_id)
            if current is not None:
                await self._write_document(name, current.document)

    async def _write_source(self, file: JsonObject, data: bytes, name: str, item_id: str) -> None:
        kind = KINDS[name]
        item = await self._provider.read_item(kind.collection, item_id)
        if item is None:
            return
        path = str(file["path"])
        read = read_markdown_day if path.endswith(".md") else read_object
        original = LegacyFile(path, data, str(file.get("createdAt", "")))
        unchanged = any(
            isinstance(entry, LegacyRecord)
            and entry.collection == kind.collection
            and _equal(entry.document, item.document)
            for entry in read(original, kind, item_id)
        )
        if unchanged:
            self._count(kind.collection)
        else:
            await self._write_document(name, item.document)
        await self._write_raw(file, data)

    # --- the todo lists ------------------------------------------------------------------------

    async def todos(self) -> None:
        """Both generations of the todo list; what was edited moves to the newer one."""
        todos: dict[str, JsonObject] = {}
        async for item in self._provider.find_items("todos", on_corrupt=self._unreadable):
            todos[item.id] = item.document
        self._count("todos", len(todos))
        remaining = dict(todos)
        if (file := self._lists.pop(TODO_MARKDOWN, None)) is not None:
            await self._write_raw(file, _unedited_lines(file, todos, remaining))
        file = self._lists.pop(TODO_JSON, None)
        data = raw_bytes(file) if file is not None else None
        if file is not None and data is not None:
            if _still_read_from(data, file, remaining):
                await self._write_raw(file, data)
                return
            await self._write_raw(file, data, suffix=BROKEN_SUFFIX)
        if file is not None or remaining:
            await self._write_json(TODO_JSON, _todo_object(file or {}, remaining))

    # --- writing -------------------------------------------------------------------------------

    async def _write_document(self, name: str, document: JsonObject) -> None:
        path = _file_name(name, str(document["id"]))
        assert path is not None
        await self._write_json(path, to_object(KINDS[name], document))
        self._count(KINDS[name].collection)

    async def _write_json(self, path: str, value: JsonObject) -> None:
        if path in self._written:
            aside = self._free(path + BROKEN_SUFFIX)
            await asyncio.to_thread(os.replace, self._root / path, self._root / aside)
            self._written.add(aside)
        # Formatted as the tool does, so that most files come out with the same bytes, too.
        await self._write(path, msgspec.json.format(msgspec.json.encode(value), indent=2))

    async def _write_raw(self, file: JsonObject, data: bytes, suffix: str = "") -> None:
        path = str(file["path"])
        if isinstance(file.get("pathBase64"), str):
            path = os.fsdecode(base64.b64decode(file["pathBase64"]))
        if not _stays_inside(path):
            self._problem(LEGACY_FILES, str(file["id"]), "its path leads out of the folder")
            return
        await self._write(self._free(path + suffix), data)

    async def _write(self, path: str, data: bytes) -> None:
        self._written.add(path)
        await asyncio.to_thread(_write_into, self._root / path, data)
        self.report.files += 1
        if self._on_progress is not None:
            self._on_progress(self.report.files)

    def _free(self, path: str) -> str:
        while path in self._written:
            path += BROKEN_SUFFIX
        return path

    def _count(self, collection: str, count: int = 1) -> None:
        counts = self.report.documents
        counts[collection] = counts.get(collection, 0) + count

    def _problem(self, collection: str, item_id: str, reason: str) -> None:
        self.report.problems.append(
            LegacyProblem(origin=f"{collection}/{item_id}", reason=f"{reason}; not exported")
        )

    def _unreadable(self, error: CorruptItemError) -> None:
        self.report.problems.append(
            LegacyProblem(origin=f"{error.collection}/{error.item_id}", reason=str(error))
        )


def _write_into(path: Path, data: bytes) -> None:
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data)


def _file_name(name: str, item_id: str) -> str | None:
    """The file of a document in the newest generation; `None` if there is none for its id."""
    if name == "settings":
        return "settings.json" if item_id == SETTINGS_ID else None
    if not is_date(item_id):
        return None
    return f"archive/{item_id}.json" if name == "archive" else f"days/{item_id}-{name}.json"


def _stays_inside(path: str) -> bool:
    if "\x00" in path or (os.name == "nt" and ("\\" in path or ":" in path)):
        return False
    return all(part not in ("", ".", "..") for part in path.split("/"))


def _legacy(document: JsonObject) -> JsonObject:
    return as_object(document.get("legacy"))


def _equal(left: JsonObject, right: JsonObject) -> bool:
    return _canonical(left) == _canonical(right)


def _unedited_lines(
    file: JsonObject, todos: dict[str, JsonObject], remaining: dict[str, JsonObject]
) -> bytes:
    """The markdown list without the todos that were edited or deleted since.

    Todos whose lines stay are taken out of `remaining`, unless the newer list has them too.
    """
    data = raw_bytes(file) or b""
    text = decode_text(data)[0]
    lines: list[str | None] = list(text.splitlines(keepends=True))
    for line, item_id in zip(_markdown.todo_lines(text), as_list(file.get("order")), strict=False):
        todo = todos.get(item_id)
        if todo is not None and _legacy(todo).get("source") == TODO_MARKDOWN:
            times = {"createdAt": todo.get("createdAt"), "updatedAt": todo.get("updatedAt")}
            if _equal(todo_of_line(line, item_id, "") | times, todo):
                remaining.pop(item_id, None)
                continue
        elif todo is not None and str(todo.get("content", "")).split() == line.content.split():
            continue
        for number in range(line.first, line.last + 1):
            lines[number] = None
    if None not in lines:
        return data
    return "".join(line for line in lines if line is not None).encode(json.detect_encoding(data))


def _still_read_from(data: bytes, file: JsonObject, remaining: dict[str, JsonObject]) -> bool:
    """Whether a broken todo list still says all there is to say."""
    original = LegacyFile(str(file["path"]), data, str(file.get("createdAt", "")))
    read = {
        entry.document["id"]: entry.document
        for entry in TodoList().read_json(original)
        if isinstance(entry, LegacyRecord) and entry.collection == "todos"
    }
    return read.keys() == remaining.keys() and all(
        _equal(document, remaining[item_id]) for item_id, document in read.items()
    )


def _todo_object(file: JsonObject, remaining: dict[str, JsonObject]) -> JsonObject:
    """`_global_todo.json`: the todos in the order they had, new ones at the end."""
    tasks: list[Any] = []
    times: list[str] = []
    waiting = dict(remaining)
    for place in as_list(file.get("order")):
        if isinstance(place, dict):
            tasks.append(as_object(cast("object", place)).get("value"))
        elif place in waiting:
            todo = waiting.pop(place)
            times.append(str(todo.get("updatedAt", "")))
            tasks.append(to_object(KINDS["todo"], todo))
    for todo in sorted(
        waiting.values(), key=lambda todo: (str(todo.get("createdAt", "")), str(todo["id"]))
    ):
        times.append(str(todo.get("updatedAt", "")))
        tasks.append(to_object(KINDS["todo"], todo))
    head = todo_head(max(times, default=str(file.get("createdAt", ""))))
    corrected(head, as_list(_legacy(file).get("corrections")))
    return {**head, "tasks": tasks}
