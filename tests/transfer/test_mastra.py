"""What Mastra stored, read into the agent store: from its file, its D1 tables and its KV keys.

Files and tables are made here with the columns of `TABLE_SCHEMAS` in
packages/core/src/storage/constants.ts of github.com/mastra-ai/mastra (read 2026-11), keys with the
layout of its package stores/cloudflare.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage_providers._clock import SYSTEM_CLOCK
from storage_providers.agents import AgentStore
from storage_providers.base import Provider
from storage_providers.cloudflare.kv import KVEntry
from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import LegacyProblem, LegacyRecord, LegacySource
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.transfer.legacy import (
    MastraD1,
    MastraFile,
    MastraKV,
    import_legacy_data,
    legacy_kind,
)
from tests.agents.places import kv_on
from tests.providers.d1.local import LocalD1
from tests.providers.kv.memory_namespace import MemoryNamespace

T1, T2, T3 = (f"2026-03-0{day}T10:00:00.000Z" for day in (1, 2, 3))

SCHEMA = """
CREATE TABLE mastra_threads (id TEXT PRIMARY KEY NOT NULL, resourceId TEXT NOT NULL,
    title TEXT NOT NULL, metadata TEXT, createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL);
CREATE TABLE mastra_messages (id TEXT PRIMARY KEY NOT NULL, thread_id TEXT NOT NULL,
    content TEXT NOT NULL, role TEXT NOT NULL, type TEXT NOT NULL, createdAt TEXT NOT NULL,
    resourceId TEXT);
CREATE TABLE mastra_resources (id TEXT PRIMARY KEY NOT NULL, workingMemory TEXT, metadata TEXT,
    createdAt TEXT NOT NULL, updatedAt TEXT NOT NULL);
CREATE TABLE mastra_workflow_snapshot (workflow_name TEXT, run_id TEXT, resourceId TEXT,
    snapshot TEXT, createdAt TEXT, updatedAt TEXT, PRIMARY KEY (workflow_name, run_id));
CREATE TABLE mastra_scorers (id TEXT PRIMARY KEY NOT NULL, scorerId TEXT, traceId TEXT,
    spanId TEXT, runId TEXT, scorer TEXT, score REAL, reason TEXT, metadata TEXT, input TEXT,
    output TEXT, entityType TEXT, entity TEXT, entityId TEXT, source TEXT, resourceId TEXT,
    threadId TEXT, createdAt TEXT, updatedAt TEXT);
CREATE TABLE mastra_evals (input TEXT, output TEXT, result TEXT, agent_name TEXT,
    metric_name TEXT, instructions TEXT, test_info TEXT, global_run_id TEXT, run_id TEXT,
    created_at TEXT, createdAt TEXT);
CREATE TABLE mastra_ai_spans (traceId TEXT NOT NULL, spanId TEXT NOT NULL, parentSpanId TEXT,
    name TEXT NOT NULL, scope TEXT, spanType TEXT NOT NULL, attributes TEXT, metadata TEXT,
    links TEXT, input TEXT, output TEXT, error TEXT, startedAt TEXT NOT NULL, endedAt TEXT,
    createdAt TEXT NOT NULL, updatedAt TEXT, isEvent INTEGER NOT NULL,
    PRIMARY KEY (traceId, spanId));
CREATE TABLE mastra_traces (id TEXT PRIMARY KEY NOT NULL, parentSpanId TEXT, name TEXT NOT NULL,
    traceId TEXT NOT NULL, scope TEXT NOT NULL, kind INTEGER NOT NULL, attributes TEXT,
    status TEXT, events TEXT, links TEXT, other TEXT, startTime INTEGER NOT NULL,
    endTime INTEGER NOT NULL, createdAt TEXT NOT NULL);
"""


def content(text: str, **more: Any) -> str:
    """A content of format 2, as Mastra writes it."""
    return json.dumps({"format": 2, "parts": [{"type": "text", "text": text}], **more})


def thread(item_id: str, **more: Any) -> dict[str, Any]:
    """A row of `mastra_threads`."""
    row = {"id": item_id, "resourceId": "u", "title": "", "createdAt": T1, "updatedAt": T2}
    return row | more


def message(item_id: str, **more: Any) -> dict[str, Any]:
    """A row of `mastra_messages`."""
    row = {"id": item_id, "thread_id": "t", "content": content(item_id), "role": "user"}
    return {**row, "type": "v2", "createdAt": T1, "resourceId": "u", **more}


def fill(path: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]], schema: str = SCHEMA) -> Path:
    """A file in Mastra's schema with some rows."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema)
        for table, some in rows.items():
            for row in some:
                names = ", ".join(f'"{name}"' for name in row)
                marks = ", ".join("?" * len(row))
                connection.execute(
                    f"INSERT INTO {table} ({names}) VALUES ({marks})",
                    list(row.values()),
                )
        connection.commit()
    return path


def read(source: LegacySource) -> tuple[dict[str, dict[str, Any]], list[LegacyProblem]]:
    """The documents of a source by id, and its problems."""

    async def main() -> tuple[dict[str, dict[str, Any]], list[LegacyProblem]]:
        documents: dict[str, dict[str, Any]] = {}
        problems: list[LegacyProblem] = []
        async for entry in source.records():
            if isinstance(entry, LegacyRecord):
                documents[entry.document["id"]] = entry.document
            else:
                problems.append(entry)
        return documents, problems

    return asyncio.run(main())


WHOLE: dict[str, list[dict[str, Any]]] = {
    "mastra_threads": [
        thread("t", title="Plants", metadata='{"a": [1]}'),
        thread("a:b/%é🙂", resourceId="v"),
    ],
    "mastra_messages": [
        message("m2", createdAt=T2),
        message("m:1", content="Hello", type="text"),
        message("m0", content='{"not": "content"}', type="text"),
        message("m3", thread_id="a:b/%é🙂", resourceId="v", createdAt=T3),
    ],
    "mastra_resources": [
        {"id": "u", "workingMemory": '{"x": 1}', "createdAt": T1, "updatedAt": T2}
    ],
    "mastra_workflow_snapshot": [
        {
            "workflow_name": "w:x",
            "run_id": "r1",
            "resourceId": "u",
            "snapshot": '{"status": "suspended", "context": {"s": {"output": 1}}}',
            "createdAt": T1,
            "updatedAt": T2,
        }
    ],
    "mastra_scorers": [
        {
            "id": "s1",
            "scorerId": "tone",
            "runId": "r1",
            "score": 0.5,
            "scorer": '{"name": "Tone"}',
            "input": "42",
            "output": '[{"text": "x"}]',
            "entityId": "bot",
            "createdAt": T1,
            "updatedAt": T2,
        }
    ],
    "mastra_evals": [
        {
            "input": "q",
            "output": "a",
            "result": '{"score": 0.9, "info": {"reason": "good"}}',
            "agent_name": "bot",
            "metric_name": "bias",
            "instructions": "Be kind",
            "global_run_id": "g",
            "run_id": "r2",
            "created_at": T1,
        }
    ],
    "mastra_ai_spans": [
        {
            "traceId": "tr",
            "spanId": "sp",
            "name": "run",
            "spanType": "agent_run",
            "attributes": '{"model": "m"}',
            "input": "plain",
            "startedAt": T1,
            "endedAt": T2,
            "createdAt": T1,
            "isEvent": 0,
        }
    ],
    "mastra_traces": [
        {
            "id": "old",
            "traceId": "otr",
            "parentSpanId": "",
            "name": "step",
            "scope": "lib",
            "kind": 1,
            "status": '{"code": 2, "message": "no"}',
            "startTime": 1772359200000000,
            "endTime": 1772359201500000,
            "createdAt": T1,
        }
    ],
}


async def check_store(provider: Provider) -> None:
    """What the agent store says of `WHOLE`."""
    async with AgentStore(provider) as store:
        plants = await store.threads.get("t")
        assert plants is not None
        assert (plants.title, plants.metadata) == ("Plants", {"a": [1]})
        found = await store.messages.list("t", total=True)
        assert [each.id for each in found.items] == ["m0", "m:1", "m2"]
        assert [each.text for each in found.items] == ['{"not": "content"}', "Hello", "m2"]
        assert found.total == 3
        assert [each.id for each in await store.messages.newest("a:b/%é🙂", 5)] == ["m3"]
        assert [each.id for each in (await store.threads.list(resource_id="v")).items] == [
            "a:b/%é🙂"
        ]
        resource = await store.resources.get("u")
        assert resource is not None
        assert resource.working_memory == '{"x": 1}'
        assert (await store.workflows.load("w:x", "r1") or {})["status"] == "suspended"
        assert len((await store.workflows.list(status="suspended")).items) == 1
        (tone,) = (await store.scores.list(scorer_id="tone")).items
        assert (tone.input, tone.output, tone.extra["scorer"]) == (
            "42",
            [{"text": "x"}],
            {"name": "Tone"},
        )
        (bias,) = (await store.scores.list(entity_id="bot", scorer_id="bias")).items
        assert (bias.score, bias.reason, bias.run_id) == (0.9, "good", "r2")
        assert bias.extra["instructions"] == "Be kind"
        roots = (await store.traces.list()).items
        assert {(root.span_id, root.status) for root in roots} == {
            ("sp", "SUCCESS"),
            ("old", "ERROR"),
        }
        old = await store.traces.get_span("otr", "old")
        assert old is not None
        assert old.duration_seconds == 1.5
        assert old.extra["otelStatus"]["code"] == 2


def in_keys(rows: Mapping[str, Sequence[Mapping[str, Any]]], prefix: str = "") -> MemoryNamespace:
    """The same rows as KV has them: one value each, with `threadId` instead of `thread_id`.

    Keys of resources and scores are their ids alone. Of scores every object is JSON once more.
    """
    namespace = MemoryNamespace()

    def put(key: str, value: object) -> None:
        namespace.entries[key] = KVEntry(key=key, value=json.dumps(value))

    for table, some in rows.items():
        put(f"{prefix}schema:{table}", {"id": {"type": "text"}})
        for number, row in enumerate(some):
            value = dict(row)
            key = f"{prefix}{table}:{value.get('id', number)}"
            if table == "mastra_messages":
                thread_id = value["threadId"] = value.pop("thread_id")
                key = f"{prefix}{table}:{thread_id}:{value['id']}"
                # What several saves at once leave of the order: an entry of three.
                order = [{"id": value["id"], "score": 0}]
                put(f"{prefix}{table}:{thread_id}:messages", order)
            elif table == "mastra_workflow_snapshot":
                key = f"{prefix}{table}:{value['workflow_name']}:{value['run_id']}"
            elif table in ("mastra_resources", "mastra_scorers"):
                key = value["id"]
            put(key, value)
    return namespace


@pytest.mark.parametrize("kind", ["file", "d1", "kv", "kv-prefix"])
@pytest.mark.parametrize("where", ["memory", "sqlite", "kv", "local"])
def test_the_store_has_all_of_it(kind: str, where: str, tmp_path: Path) -> None:
    """From each source into places that answer queries and one that does not; again: no change."""
    path = fill(tmp_path / "mastra.db", WHOLE)
    source: LegacySource = MastraFile(path)
    if kind == "d1":
        source = MastraD1(LocalD1(path))
    elif kind == "kv":
        source = MastraKV(in_keys(WHOLE))
    elif kind == "kv-prefix":
        source = MastraKV(in_keys(WHOLE, "dev_:"), prefix="dev_")

    async def main() -> None:
        async with place(where, tmp_path) as provider:
            report = await provider.migrate_legacy_data(source)
            assert report.problems == []
            assert sum(report.created.values()) == 12
            await AgentStore(provider).reindex()
            again = await provider.migrate_legacy_data(source)
            assert again.unchanged == report.created
            assert (again.created, again.updated, again.kept) == ({}, {}, {})
            await check_store(provider)

    asyncio.run(main())


def place(where: str, tmp_path: Path) -> Provider:
    """A provider, with native queries or without."""
    if where == "memory":
        return InMemoryProvider()
    if where == "sqlite":
        return SQLiteProvider(tmp_path / "agents.db")
    if where == "local":
        return LocalFileProvider(tmp_path / "agents")
    return kv_on(MemoryNamespace(), SYSTEM_CLOCK)


def test_the_file_is_recognised(tmp_path: Path) -> None:
    """By its tables, whatever it is called; other databases and files are not it."""
    path = fill(tmp_path / "any name #1.sqlite", WHOLE)
    assert legacy_kind(path).name == "mastra"
    other = fill(tmp_path / "other.db", {}, "CREATE TABLE notes (id TEXT)")
    (tmp_path / "text.db").write_text("hello")
    for not_it in (other, tmp_path / "text.db"):
        with pytest.raises(InvalidArgumentError, match="mastra"):
            legacy_kind(not_it)
    with pytest.raises(InvalidArgumentError, match="none of Mastra's tables"):
        read(MastraFile(other))
    with pytest.raises(InvalidArgumentError, match="can't be read"):
        read(MastraFile(tmp_path / "text.db"))


def test_the_command_leaves_a_store_that_lists(tmp_path: Path) -> None:
    """Orders are made after the import where the provider answers no queries."""
    path = fill(tmp_path / "mastra.db", WHOLE)

    async def main() -> None:
        async with kv_on(MemoryNamespace(), SYSTEM_CLOCK) as provider:
            report = await import_legacy_data(provider, path)
            assert report.problems == []
            await check_store(provider)

    asyncio.run(main())


def test_odd_rows_are_problems_of_their_own(tmp_path: Path) -> None:
    """JSON cut short, no time, bytes, no id, no UTF-8: each is named, and the rest is imported."""
    rows: dict[str, list[dict[str, Any]]] = {
        "mastra_threads": [
            thread("cut", metadata='{"a": '),
            thread("time", createdAt="yesterday"),
            thread("bytes", title=b"\x00\x01"),
            thread(""),
            thread("good"),
        ],
        "mastra_messages": [
            message("cut2", content='{"format":2,"parts":[{"ty'),
            message("list", content="[1, 2"),
            message("fine"),
        ],
        "mastra_workflow_snapshot": [
            {"workflow_name": "w", "run_id": "r", "snapshot": "[]", "createdAt": T1}
        ],
    }
    path = fill(tmp_path / "m.db", rows)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE mastra_threads SET title = CAST(X'ff41' AS TEXT) WHERE id = 'good'"
        )
        connection.commit()
    documents, problems = read(MastraFile(path))
    assert documents.keys() == {"good", "list", "fine"}
    assert [each.origin for each in problems] == [
        *(f"mastra_threads row {number}" for number in range(1, 5)),
        "mastra_messages row 1",
        "mastra_workflow_snapshot row 1",
    ]
    for problem, word in zip(
        problems, ["metadata", "createdAt", "title", "id", "content", "snapshot"], strict=True
    ):
        assert word in problem.reason
        assert "yesterday" not in problem.reason

    async def main() -> None:
        async with InMemoryProvider() as provider:
            report = await provider.migrate_legacy_data(MastraFile(path))
            assert report.created == {"agent_messages": 2}
            assert len(report.problems) == 7

    asyncio.run(main())


def test_an_earlier_schema(tmp_path: Path) -> None:
    """Without other tables and without `resourceId`, messages belong to their thread's resource."""
    schema = """
    CREATE TABLE mastra_threads (id TEXT PRIMARY KEY, resourceId TEXT, title TEXT, metadata TEXT,
        createdAt TEXT, updatedAt TEXT, mood TEXT);
    CREATE TABLE mastra_messages (id TEXT PRIMARY KEY, thread_id TEXT, content TEXT, role TEXT,
        type TEXT, createdAt TEXT);
    """
    old = message(
        "m",
        content='[{"type": "text", "text": "Hi"}, {"type": "tool-call", '
        '"toolCallId": "c", "toolName": "f", "args": {}}]',
        type="tool-call",
    )
    del old["resourceId"]
    epoch = 1772359200123
    rows = {"mastra_threads": [thread("t", mood="{5}", createdAt=epoch)], "mastra_messages": [old]}
    documents, problems = read(MastraFile(fill(tmp_path / "m.db", rows, schema)))
    assert problems == []
    assert documents["m"]["resourceId"] == "u"
    call: dict[str, Any] = {"state": "call", "toolCallId": "c", "toolName": "f", "args": {}}
    assert documents["m"]["content"]["parts"] == [
        {"type": "text", "text": "Hi"},
        {"type": "tool-invocation", "toolInvocation": call},
    ]
    assert documents["t"]["mood"] == "{5}"
    assert documents["t"]["createdAt"] == "2026-03-01T10:00:00.123Z"
    keys = in_keys({"mastra_threads": rows["mastra_threads"], "mastra_messages": [old]})
    assert read(MastraKV(keys))[0]["m"]["resourceId"] == "u"


def test_many_rows_are_read_some_at_a_time(tmp_path: Path) -> None:
    """Pages of rows and of keys join without a gap, and equal times are ordered by id."""
    rows = [message(f"id-{number:04}-with-a-tail") for number in reversed(range(1205))]
    path = fill(tmp_path / "m.db", {"mastra_messages": rows})
    database = LocalD1(path)
    for source in (MastraD1(database), MastraKV(in_keys({"mastra_messages": rows}))):
        documents, problems = read(source)
        assert problems == []
        assert len(documents) == 1205
        placed = sorted(documents.values(), key=lambda each: each["position"])
        assert [each["id"] for each in placed] == sorted(documents)
    # The names, seven empty tables, and 13 pages.
    assert len(database.calls) == 1 + 7 + 13


def test_keys_of_others_are_counted_and_odd_values_named() -> None:
    """A broken value, a message called `messages`, and keys under another prefix."""
    namespace = in_keys({"mastra_messages": [message("m1"), message("m2")]})
    for key, value in (
        ("mastra_messages:t:broken", '{"id": "bro'),
        ("mastra_messages:u:messages", json.dumps({**message("messages"), "threadId": "u"})),
        ("prod_:mastra_threads:t", "{}"),
        ("zebra", "{}"),
    ):
        namespace.entries[key] = KVEntry(key=key, value=value)
    documents, problems = read(MastraKV(namespace))
    assert documents.keys() == {"m1", "m2", "messages"}
    assert [each.origin for each in problems] == [
        "mastra_messages:t:broken",
        "prod_:mastra_threads:t",
    ]
    assert "this and 1 more keys" in problems[1].reason


def test_jsonb_is_read_by_any_sqlite(tmp_path: Path) -> None:
    """LibSQL keeps JSON columns as JSONB; the bytes are those of `jsonb('…')` of SQLite 3.45."""
    # {"a":1} and {"a":[null,true,false,2.5,"x"]}, by the format's description.
    whole = {"t1": bytes.fromhex("4c17611331"), "cut": bytes.fromhex("4c176113")}
    whole["t2"] = bytes.fromhex("cc0d1761cb090001") + b"\x02\x352.5\x17x"
    rows = [thread(name, metadata=data) for name, data in whole.items()]
    documents, problems = read(MastraFile(fill(tmp_path / "m.db", {"mastra_threads": rows})))
    assert documents["t1"]["metadata"] == {"a": 1}
    assert documents["t2"]["metadata"] == {"a": [None, True, False, 2.5, "x"]}
    assert [each.origin for each in problems] == ["mastra_threads row 2"]


def test_a_damaged_file_gives_what_can_be_read(tmp_path: Path) -> None:
    """Pages overwritten in the middle of a table end that table, not the import."""
    rows = {
        "mastra_threads": [thread(f"t{number}", title="x" * 900) for number in range(400)],
        "mastra_resources": [{"id": "u", "createdAt": T1, "updatedAt": T1}],
    }
    path = fill(tmp_path / "m.db", rows)
    with closing(sqlite3.connect(path)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(path.read_bytes())
    at = data.index(b"t200u") // size * size
    data[at : at + size] = b"\xff" * size
    path.write_bytes(data)
    documents, problems = read(MastraFile(path))
    assert {"t0", "u"} <= documents.keys()
    assert [each.origin for each in problems] == ["mastra_threads"]
    assert "damaged" in problems[0].reason
