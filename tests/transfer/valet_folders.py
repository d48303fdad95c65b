"""Random folders of the productivity tool: all generations, whatever shape their data has."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from storage_providers.testing.strategies import json_values

TIMES = st.sampled_from(
    [
        "2025-07-15T19:26:38.300Z",
        "2025-07-16T08:00:00.000Z",
        "2025-07-16T08:00:00+02:00",
        "2025-07-16 08:00",
        "2025-07-16",
        "not a time",
        "",
        None,
        1752600000,
    ]
)
TEXT = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "a", "Write tests", "ünï 🎂", "- [ ] a\n\n- [x] b", "line\r\nline\u2028x"]
    ),
)
MARKDOWN = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "",
                "# Title",
                "## Tasks",
                "## High Priority",
                "## Low Priority",
                "## Someday/Maybe",
                "## Reflections",
                "## Mood",
                "## My Own",
                "##",
                "- [ ] a",
                "- [x] a",
                "- [ ] Write tests",
                "  - [X] nested",
                "  a note",
                "\ttab",
                "- bullet",
                "- [ ]",
                "prose",
            ]
        ),
        st.text(max_size=8),
    ),
    max_size=12,
)
DAYS = st.sampled_from(["2025-07-15", "2025-07-16", "2024-02-29", "2025-02-30"])
IDS = st.one_of(
    st.sampled_from(["t1", "t2", "", 7, None, "x" * 600, "a\x00b"]), st.uuids().map(str)
)
ANYTHING = json_values()


def maybe(draw: DrawFn, target: dict[str, Any], name: str, value: Any) -> None:
    """Set a field, to the right thing or to anything, or leave it out."""
    choice = draw(st.integers(0, 9))
    if choice < 8:
        target[name] = draw(value)
    elif choice == 8:
        target[name] = draw(ANYTHING)


@st.composite
def tasks(draw: DrawFn) -> Any:
    """One entry of the todo list."""
    if draw(st.integers(0, 9)) == 9:
        return draw(ANYTHING)
    task: dict[str, Any] = {}
    maybe(draw, task, "id", IDS)
    maybe(draw, task, "content", TEXT)
    maybe(draw, task, "priority", st.sampled_from(["high", "medium", "low", "urgent"]))
    maybe(draw, task, "category", st.sampled_from(["General", "Work", "", None]))
    maybe(draw, task, "completed", st.booleans())
    maybe(draw, task, "created", TIMES)
    maybe(draw, task, "due", st.sampled_from(["2025-07-20", None, "soon"]))
    maybe(draw, task, "notes", st.lists(TEXT, max_size=2))
    for name in ("updated_at", "completed_at"):
        if draw(st.booleans()):
            maybe(draw, task, name, TIMES)
    for name in draw(
        st.sets(st.sampled_from(["status", "expiresAt", "legacy", "storageProviders", "x"]))
    ):
        task[name] = draw(st.one_of(st.sampled_from(["in_progress", "completed"]), ANYTHING))
    return task


@st.composite
def todo_files(draw: DrawFn) -> Any:
    """`_global_todo.json`."""
    value: dict[str, Any] = {}
    maybe(draw, value, "version", st.sampled_from(["1.0.0", "2"]))
    maybe(draw, value, "updated", TIMES)
    maybe(draw, value, "tasks", st.lists(tasks(), max_size=5))
    if draw(st.booleans()):
        value["extra"] = draw(ANYTHING)
    return value


@st.composite
def day_files(draw: DrawFn) -> Any:
    """A planner or a journal."""
    names = st.sampled_from(
        [
            "tasks",
            "data_stash",
            "ongoing_summary",
            "personal_reminders",
            "reflections",
            "mood",
            "highlights",
            "dreams",
        ]
    )
    sections = draw(
        st.dictionaries(names, st.one_of(TEXT, MARKDOWN.map("\n".join), ANYTHING), max_size=6)
    )
    metadata: dict[str, Any] = {}
    maybe(draw, metadata, "keywords", st.lists(TEXT, max_size=2))
    maybe(draw, metadata, "created", TIMES)
    maybe(draw, metadata, "updated", TIMES)
    value: dict[str, Any] = {}
    maybe(draw, value, "date", DAYS)
    maybe(draw, value, "type", st.sampled_from(["planner", "journal"]))
    maybe(draw, value, "sections", st.just(sections))
    maybe(draw, value, "metadata", st.just(metadata))
    if draw(st.booleans()):
        value["weather"] = draw(ANYTHING)
    return value


@st.composite
def archive_files(draw: DrawFn) -> Any:
    """A file of `archive/`."""
    value: dict[str, Any] = {}
    maybe(draw, value, "date", DAYS)
    maybe(draw, value, "archived_at", TIMES)
    texts = st.one_of(TEXT, day_files().map(json.dumps))
    names = st.sampled_from(["planner", "journal", "other"])
    maybe(draw, value, "files", st.dictionaries(names, texts, max_size=3))
    return value


@st.composite
def json_bytes(draw: DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    """A JSON file: whole, oddly written, cut short or half overwritten."""
    value = draw(values)
    text = json.dumps(
        value, indent=draw(st.sampled_from([None, 2])), ensure_ascii=draw(st.booleans())
    )
    data = text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])), "surrogatepass")
    match draw(st.integers(0, 9)):
        case 0:
            return data[: draw(st.integers(0, len(data)))]
        case 1:
            return data + draw(st.sampled_from([b"}", b' "tail": 1}', b"\xff", b"\n\n"]))
        case 2:
            return draw(st.binary(max_size=20))
        case _:
            return data


@st.composite
def markdown_bytes(draw: DrawFn) -> bytes:
    """A markdown file, with either kind of line ends, perhaps with a byte order mark."""
    text = draw(st.sampled_from(["\n", "\r\n"])).join(draw(MARKDOWN))
    data = text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig"])))
    return data + draw(st.sampled_from([b"", b"\n", b"\xff", b"\x00"]))


@st.composite
def valet_folders(draw: DrawFn) -> dict[str, bytes]:
    """A folder: paths and contents."""
    files: dict[str, bytes] = {}
    if draw(st.booleans()):
        files["_global_todo.json"] = draw(json_bytes(todo_files()))
    if draw(st.booleans()):
        files["_global_todo.md"] = draw(markdown_bytes())
    for _ in range(draw(st.integers(0, 4))):
        day = draw(DAYS)
        kind = draw(st.sampled_from(["-planner", "-journal", ""]))
        form = draw(st.sampled_from(["json", "md"]))
        content = json_bytes(day_files()) if form == "json" else markdown_bytes()
        files[f"days/{day}{kind}.{form}"] = draw(content)
    for _ in range(draw(st.integers(0, 2))):
        files[f"archive/{draw(DAYS)}.json"] = draw(json_bytes(archive_files()))
    if draw(st.booleans()):
        settings = st.dictionaries(
            st.sampled_from(["version", "user", "id", "expiresAt", "legacy", "tools"]), ANYTHING
        )
        files["settings.json"] = draw(json_bytes(settings))
    for _ in range(draw(st.integers(0, 2))):
        name = draw(
            st.sampled_from(
                [
                    "notes.txt",
                    "days/x.json",
                    "a b/ö 🎂.bin",
                    ".hidden",
                    "days/2025-07-15.json.broken",
                ]
            )
        )
        files[name] = draw(st.binary(max_size=20))
    return files


def write_folder(root: Path, files: dict[str, bytes]) -> None:
    """Put the files on disk, with a fixed time."""
    root.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        os.utime(target, (1752700000, 1752700000))


def read_folder(root: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def strict(value: Any) -> str:
    """JSON in which 1, 1.0 and true differ, as they do in a file."""
    return json.dumps(value, sort_keys=True)


def equal_data(before: bytes, after: bytes) -> bool:
    """The same bytes, or the same JSON."""
    if before == after:
        return True
    try:
        return strict(json.loads(before)) == strict(json.loads(after))
    except ValueError:
        return False
