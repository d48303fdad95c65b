"""The productivity tool's folder, file by file."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import JsonObject, LegacyProblem, LegacyRecord
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.transfer.legacy import ValetFolder, _folder
from tests.transfer.valet_folders import write_folder

TASK: JsonObject = {
    "id": "00000000-0000-4000-8000-000000000001",
    "content": "Write tests",
    "priority": "high",
    "category": "Work",
    "completed": True,
    "created": "2025-07-15T19:26:38.300Z",
    "due": "2025-07-20",
    "notes": ["n1"],
    "updated_at": "2025-07-16T08:00:00.000Z",
    "completed_at": "2025-07-16T09:00:00.000Z",
}
PLANNER: JsonObject = {
    "date": "2025-07-15",
    "type": "planner",
    "sections": {
        "tasks": "- [ ] a\n\n- [x] b",
        "data_stash": "d",
        "ongoing_summary": "s",
        "personal_reminders": "- r1\n- r2",
    },
    "metadata": {
        "keywords": ["daily", "planner", "2025-07-15"],
        "created": "2025-07-15T19:26:38.321Z",
        "updated": "2025-07-15T19:31:19.258Z",
    },
}


def todo_json(*tasks: Any, **fields: Any) -> bytes:
    """`_global_todo.json`."""
    head = {"version": "1.0.0", "updated": "2025-07-15T19:26:38.300Z", **fields}
    return json.dumps({**head, "tasks": tasks}).encode()


def read(root: Path, files: dict[str, bytes]) -> tuple[dict[str, JsonObject], list[LegacyProblem]]:
    """Read a folder: documents by `collection/id`, and problems."""
    write_folder(root, files)

    async def collect() -> list[LegacyRecord | LegacyProblem]:
        return [entry async for entry in ValetFolder(root).records()]

    entries = asyncio.run(collect())
    documents = {
        f"{entry.collection}/{entry.document['id']}": entry.document
        for entry in entries
        if isinstance(entry, LegacyRecord)
    }
    return documents, [entry for entry in entries if isinstance(entry, LegacyProblem)]


def of(documents: dict[str, JsonObject], collection: str) -> list[JsonObject]:
    """The documents of one collection."""
    return [each for name, each in documents.items() if name.startswith(f"{collection}/")]


# --- todos -------------------------------------------------------------------------------------


def test_a_task_becomes_a_todo(tmp_path: Path) -> None:
    """Every field finds its place, and nothing else is in the document."""
    documents, problems = read(tmp_path, {"_global_todo.json": todo_json(TASK)})
    assert problems == []
    assert of(documents, "todos") == [
        {
            "id": TASK["id"],
            "content": "Write tests",
            "status": "completed",
            "priority": "high",
            "category": "Work",
            "due": "2025-07-20",
            "notes": ["n1"],
            "createdAt": "2025-07-15T19:26:38.300Z",
            "updatedAt": "2025-07-16T08:00:00.000Z",
            "completedAt": "2025-07-16T09:00:00.000Z",
        }
    ]


def test_wrong_shapes_are_reported_and_kept(tmp_path: Path) -> None:
    """A task with odd values is imported as far as it goes; what is no task keeps its place."""
    odd = {
        **TASK,
        "content": 7,
        "priority": "urgent",
        "completed": "yes",
        "notes": {"a": 1},
        "x": 1,
    }
    documents, problems = read(tmp_path, {"_global_todo.json": todo_json(odd, "text", None)})
    todo = of(documents, "todos")[0]
    assert (todo["content"], todo["priority"], todo["status"]) == ("", "medium", "pending")
    kept = {note["path"][0]: note.get("was") for note in todo["legacy"]["corrections"]}
    assert kept == {
        "content": 7,
        "priority": "urgent",
        "completed": "yes",
        "notes": {"a": 1},
        "x": 1,
    }
    assert documents["legacy_files/_global_todo.json"]["order"] == [
        TASK["id"],
        {"value": "text"},
        {"value": None},
    ]
    assert [problem.origin.rpartition(" ")[2] for problem in problems] == list("111123")
    assert "urgent" not in str(problems)


def test_ids_are_made_once_and_for_all(tmp_path: Path) -> None:
    """Tasks without an id, or with one that is taken, get the same new id at every reading."""
    anonymous = {**TASK, "id": None, "content": "anonymous"}
    files = {
        "_global_todo.json": todo_json(TASK, {**TASK, "content": "twin"}, anonymous, anonymous)
    }
    first, problems = read(tmp_path / "a", files)
    second, _ = read(tmp_path / "b", files)
    assert first == second
    assert sorted(todo["content"] for todo in of(first, "todos")) == [
        "Write tests",
        "anonymous",
        "anonymous",
        "twin",
    ]
    assert len(problems) == 3
    assert first[f"todos/{TASK['id']}"]["content"] == "Write tests"


def test_times_fall_back_on_what_is_nearest(tmp_path: Path) -> None:
    """A task without times has those of the list; a list without one, that of its file."""
    timeless = {"id": "t", "content": "c"}
    documents, _ = read(tmp_path / "a", {"_global_todo.json": todo_json(timeless)})
    assert documents["todos/t"]["createdAt"] == "2025-07-15T19:26:38.300Z"
    documents, _ = read(tmp_path / "b", {"_global_todo.json": todo_json(timeless, updated="?")})
    assert documents["todos/t"]["updatedAt"] == "2025-07-16T21:06:40.000Z"
    zoned = {"id": "t", "content": "c", "created": "2025-07-15T10:00:00+02:00"}
    documents, _ = read(tmp_path / "c", {"_global_todo.json": todo_json(zoned)})
    assert documents["todos/t"]["createdAt"] == "2025-07-15T08:00:00.000Z"


def test_the_markdown_list(tmp_path: Path) -> None:
    """Headings give priority and category, indented lines are notes, boxes are ticked or not."""
    text = (
        "\ufeff# Todo\r\n\r\n## High Priority\r\n- [ ] one\r\n  - a note\r\n  more\r\n"
        "## Ongoing/Recurring\r\n* [X] two\r\n## Someday/Maybe\r\n- [ ] three\r\nprose\r\n"
        "## Low Priority\r\n- [x] one\r\n## Errands\r\n- [ ] four\r\n"
    )
    documents, problems = read(tmp_path, {"_global_todo.md": text.encode()})
    assert problems == []
    todos = of(documents, "todos")
    assert [
        (todo["content"], todo["status"], todo["priority"], todo.get("category"), todo["notes"])
        for todo in todos
    ] == [
        ("one", "pending", "high", None, ["a note", "more"]),
        ("two", "completed", "medium", "Ongoing/Recurring", []),
        ("three", "pending", "low", "Someday/Maybe", []),
        ("one", "completed", "low", None, []),
        ("four", "pending", "medium", "Errands", []),
    ]
    assert len({todo["id"] for todo in todos}) == 5
    assert documents["legacy_files/_global_todo.md"]["text"] == text


def test_the_newer_list_has_a_todo_of_both(tmp_path: Path) -> None:
    """A todo that is in both generations is imported once, with what the newer one knows."""
    files = {
        "_global_todo.json": todo_json(TASK),
        "_global_todo.md": b"- [ ] Write  tests\n- [ ] Write tests\n- [ ] Other\n",
    }
    documents, _ = read(tmp_path, files)
    todos = of(documents, "todos")
    assert sorted(todo["content"] for todo in todos) == ["Other", "Write tests", "Write tests"]
    assert documents["legacy_files/_global_todo.md"]["order"][0] == TASK["id"]


def test_what_is_whole_of_a_cut_list_is_imported(tmp_path: Path) -> None:
    """Of a list cut short, whole tasks become todos, half a task does not, the file is kept."""
    whole = todo_json(TASK, {**TASK, "id": "second"}, {**TASK, "id": "third"})
    cut = whole[: whole.index(b"third") + 40]
    documents, problems = read(tmp_path, {"_global_todo.json": cut})
    assert [todo["id"] for todo in of(documents, "todos")] == [TASK["id"], "second"]
    assert documents["legacy_files/_global_todo.json"]["text"] == cut.decode()
    assert [problem.origin for problem in problems] == ["_global_todo.json"]
    assert "2 whole todos" in problems[0].reason
    assert "Write tests" not in problems[0].reason


# --- days --------------------------------------------------------------------------------------


def test_a_planner_becomes_a_document(tmp_path: Path) -> None:
    """Sections become fields; a planner as the tool writes it needs nothing kept aside."""
    documents, problems = read(
        tmp_path, {"days/2025-07-15-planner.json": json.dumps(PLANNER).encode()}
    )
    assert problems == []
    assert documents == {
        "daily_planners/2025-07-15": {
            "id": "2025-07-15",
            "date": "2025-07-15",
            "tasks": [
                {"content": "a", "status": "pending"},
                {"content": "b", "status": "completed"},
            ],
            "data_stash": "d",
            "ongoing_summary": "s",
            "reflections": "",
            "personal_reminders": ["r1", "r2"],
            "createdAt": "2025-07-15T19:26:38.321Z",
            "updatedAt": "2025-07-15T19:31:19.258Z",
        }
    }


def test_a_journal_becomes_a_document(tmp_path: Path) -> None:
    """Sections with a field fill it, every other one is an entry; keywords are kept."""
    journal = {
        "date": "2025-07-15",
        "type": "journal",
        "sections": {
            "reflections": "r",
            "personal_reminders": "",
            "dreams": "of sheep",
            "mood": "calm",
            "lessons": "- one\n- two",
        },
        "metadata": {**PLANNER["metadata"], "keywords": ["sheep"]},
    }
    documents, _ = read(tmp_path, {"days/2025-07-15-journal.json": json.dumps(journal).encode()})
    document = documents["daily_journals/2025-07-15"]
    assert document["entries"] == [
        {"section": "reflections", "content": "r"},
        {"section": "dreams", "content": "of sheep"},
    ]
    assert (document["mood"], document["lessons"]) == ("calm", ["one", "two"])
    assert {"path": ["metadata", "keywords"], "was": ["sheep"]}.items() <= document["legacy"][
        "corrections"
    ][0].items()


def test_unknown_sections_are_there_to_be_read(tmp_path: Path) -> None:
    """A planner's section without a field of its own is in `sections`; odd ones are reported."""
    planner = {**PLANNER, "sections": {"meeting": "notes", "tasks": ["no", "text"]}}
    documents, problems = read(
        tmp_path, {"days/2025-07-15-planner.json": json.dumps(planner).encode()}
    )
    assert documents["daily_planners/2025-07-15"]["sections"] == {"meeting": "notes"}
    assert "section 'tasks' is not text" in problems[0].reason


def test_markdown_days(tmp_path: Path) -> None:
    """Headings become sections, in all three forms of a markdown day."""
    files = {
        "days/2025-07-13.md": b"# Day\n\n## Tasks\n- [x] a\n\n## Reflections\nfine\n",
        "days/2025-07-14-planner.md": b"intro\n## Ongoing Summary\nbusy\n## Own Thing\nx\n",
        "days/2025-07-14-journal.md": b"## Mood\ncalm\n## Reflections\nr\n",
    }
    documents, problems = read(tmp_path, files)
    assert problems == []
    oldest = documents["daily_planners/2025-07-13"]
    assert (oldest["tasks"], oldest["reflections"]) == (
        [{"content": "a", "status": "completed"}],
        "fine",
    )
    planner = documents["daily_planners/2025-07-14"]
    assert (planner["ongoing_summary"], planner["sections"]) == (
        "busy",
        {"preamble": "intro", "own_thing": "x"},
    )
    assert documents["daily_journals/2025-07-14"]["mood"] == "calm"
    assert planner["updatedAt"] == "2025-07-14T00:00:00.000Z"
    assert len(of(documents, "legacy_files")) == 3


def test_the_newest_readable_generation_makes_the_document(tmp_path: Path) -> None:
    """JSON goes before markdown, but not if nothing of it can be read; the other file is kept."""
    good, bad = json.dumps(PLANNER).encode(), b"\x00\x00garbage"
    markdown = b"## Ongoing Summary\nfrom markdown\n"
    documents, _ = read(
        tmp_path / "a",
        {"days/2025-07-15-planner.json": good, "days/2025-07-15-planner.md": markdown},
    )
    assert documents["daily_planners/2025-07-15"]["ongoing_summary"] == "s"
    kept = documents["legacy_files/days/2025-07-15-planner.md"]
    assert (kept["kind"], kept["reason"]) == ("superseded", "days/2025-07-15-planner.json")
    documents, problems = read(
        tmp_path / "b",
        {"days/2025-07-15-planner.json": bad, "days/2025-07-15-planner.md": markdown},
    )
    assert documents["daily_planners/2025-07-15"]["ongoing_summary"] == "from markdown"
    assert documents["legacy_files/days/2025-07-15-planner.json"]["kind"] == "broken"
    assert len(problems) == 1


@pytest.mark.parametrize("length", range(0, 370, 23))
def test_truncated_days_keep_whole_sections(tmp_path: Path, length: int) -> None:
    """Wherever a planner is cut, sections are whole or missing, and the file is kept."""
    whole = json.dumps(PLANNER, indent=2).encode()
    documents, problems = read(tmp_path, {"days/2025-07-15-planner.json": whole[:length]})
    assert len(problems) >= 1
    assert documents["legacy_files/days/2025-07-15-planner.json"]["text"].encode() == whole[:length]
    document = documents.get("daily_planners/2025-07-15")
    if document is not None:
        assert document["tasks"] in (
            [],
            [{"content": "a", "status": "pending"}, {"content": "b", "status": "completed"}],
        )
        assert document["ongoing_summary"] in ("", "s")
    else:
        assert b'"date": "2025-07-15"' not in whole[:length]


def test_half_overwritten_and_odd_files(tmp_path: Path) -> None:
    """A shorter file over a longer one counts; duplicate keys, NaN, deep or huge values do not."""
    whole = json.dumps(PLANNER).encode()
    for name, data, imported in (
        ("a", whole + b'tail of the old one"}', True),
        ("b", whole[:-1] + b',"type":"journal"}', False),
        ("c", whole[:-1] + b',"x":NaN}', False),
        ("d", whole[:-1] + b',"x":1e999}', False),
        ("e", whole[:-1] + b',"x":"\\ud800"}', False),
        ("f", whole[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", False),
        ("g", b"[1]", False),
        ("h", whole.decode().encode("utf-16"), True),
    ):
        documents, problems = read(tmp_path / name, {"days/2025-07-15-planner.json": data})
        assert ("daily_planners/2025-07-15" in documents) is imported, name
        assert bool(problems) is (name != "h"), name


# --- the rest ----------------------------------------------------------------------------------


def test_archives_keep_their_files_word_for_word(tmp_path: Path) -> None:
    """The JSON text inside an archive is not touched."""
    inner = '{\n  "date": "2025-07-15"}'
    archive = {
        "date": "2025-07-15",
        "archived_at": "2025-07-16T12:35:24.025Z",
        "files": {"planner": inner},
    }
    documents, problems = read(tmp_path, {"archive/2025-07-15.json": json.dumps(archive).encode()})
    assert problems == []
    assert documents["archived_days/2025-07-15"] == {
        "id": "2025-07-15",
        "date": "2025-07-15",
        "files": {"planner": inner},
        "archivedAt": "2025-07-16T12:35:24.025Z",
        "createdAt": "2025-07-16T12:35:24.025Z",
        "updatedAt": "2025-07-16T12:35:24.025Z",
    }


def test_settings_keep_their_shape(tmp_path: Path) -> None:
    """Preferences are fields; those that would clash with the document's own are kept aside."""
    settings = {"version": "1", "user": {"name": "Sam"}, "expiresAt": "soon", "id": 7}
    documents, _ = read(tmp_path, {"settings.json": json.dumps(settings).encode()})
    document = documents["user_settings/settings"]
    assert (document["user"], document["id"]) == ({"name": "Sam"}, "settings")
    assert "expiresAt" not in document


def test_unknown_files_are_kept_whole(tmp_path: Path) -> None:
    """Whatever else is in the folder is kept, as text or, if it is none, in base64."""
    name = os.fsdecode(b"odd-\xff.txt")
    files = {
        "notes.txt": b"text",
        "days/deep/x.bin": b"\xff\x00",
        "days/2025-13-01.md": b"x",
        name: b"y",
    }
    documents, problems = read(tmp_path, files)
    assert problems == []
    assert documents["legacy_files/notes.txt"]["text"] == "text"
    assert documents["legacy_files/days/deep/x.bin"]["base64"] == "/wA="
    assert documents["legacy_files/odd-%FF.txt"]["pathBase64"] == "b2RkLf8udHh0"
    assert {each["kind"] for each in of(documents, "legacy_files")} == {"unknown"}


def test_special_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links are not followed, pipes not opened, huge files not read: each has its reason."""
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    root = tmp_path / "in"
    (root / "days").mkdir(parents=True)
    (root / "link.txt").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "_global_todo.json").symlink_to(outside)
    os.mkfifo(root / "pipe")
    monkeypatch.setattr(_folder, "MAX_FILE_BYTES", 10)
    (root / "huge.json").write_bytes(b"x" * 11)
    documents, problems = read(root, {})
    assert documents == {}
    reasons = {problem.origin: problem.reason for problem in problems}
    assert reasons.keys() == {"_global_todo.json", "huge.json", "link.txt", "loop", "pipe"}
    assert "11 bytes, the limit is 10" in reasons["huge.json"]
    assert "symbolic link" in reasons["loop"]
    assert "not a regular file" in reasons["pipe"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """A wrong path is not taken for an empty folder."""
    with pytest.raises(InvalidArgumentError, match="no folder"):
        asyncio.run(anext(aiter(ValetFolder(tmp_path / "none").records())))  # type: ignore[arg-type]


def test_a_providers_own_files_are_not_legacy_data(tmp_path: Path) -> None:
    """A folder inside in which `LocalFileProvider` keeps documents is left out and named."""

    async def fill(root: Path) -> None:
        async with LocalFileProvider(root) as provider:
            await provider.create_item("todos", {"content": "c"})

    asyncio.run(fill(tmp_path / "in" / "store"))
    documents, problems = read(tmp_path / "in", {"notes.txt": b"n"})
    assert list(documents) == ["legacy_files/notes.txt"]
    assert [(problem.origin, "LocalFileProvider" in problem.reason) for problem in problems] == [
        ("store", True)
    ]


def test_the_folder_can_be_the_providers_own(tmp_path: Path) -> None:
    """Imported into itself: the same documents as elsewhere, and the old files stay untouched."""
    files = {
        "_global_todo.json": todo_json(TASK),
        "days/2025-07-15-planner.json": json.dumps(PLANNER).encode(),
        "days/2025-07-16-journal.json": b'{"date": "2025-07-1',
        "archive/2025-07-14.json": b"{}",
        "settings.json": b'{"version": "1"}',
        "notes.txt": b"n",
    }
    write_folder(tmp_path / "elsewhere", files)
    write_folder(tmp_path / "own", files)

    async def scenario() -> None:
        async with (
            LocalFileProvider(tmp_path / "target") as target,
            LocalFileProvider(tmp_path / "own") as own,
        ):
            expected = await target.migrate_legacy_data(ValetFolder(tmp_path / "elsewhere"))
            report = await own.migrate_legacy_data(ValetFolder(tmp_path / "own"))
            assert report.created == expected.created
            assert [p.reason for p in report.problems] == [p.reason for p in expected.problems]
            again = await own.migrate_legacy_data(ValetFolder(tmp_path / "own"))
            assert (again.created, again.updated) == ({}, {})
            assert again.unchanged == expected.created
            names = await own.collections()
            assert set(names) == {*(await target.collections()), "days", "archive"}

    asyncio.run(scenario())
    for path, data in files.items():
        assert (tmp_path / "own" / path).read_bytes() == data


def test_large_folders_are_read_in_good_time(tmp_path: Path) -> None:
    """A broken list of many tasks is salvaged in one pass, not one pass a task."""
    tasks = [{**TASK, "id": str(number)} for number in range(5_000)]
    started = time.perf_counter()
    documents, _ = read(tmp_path, {"_global_todo.json": todo_json(*tasks)[:-2]})
    assert len(of(documents, "todos")) == 5_000
    assert time.perf_counter() - started < 10
