"""What several versions of Mastra's stores wrote, read into the agent store.

The files in `mastra/` are dumps of what Mastra itself made of `mastra/make.mjs`. Of its KV store,
values are made here as `putKV` and `saveScore` in stores/cloudflare/src/kv/storage of
github.com/mastra-ai/mastra make them (read 2026-11).
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage_providers.agents import AgentStore
from storage_providers.cloudflare.kv import KVEntry
from storage_providers.protocol import LegacySource
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.transfer.legacy import (
    MastraD1,
    MastraFile,
    MastraKV,
    import_legacy_data,
)
from tests.providers.d1.local import LocalD1
from tests.providers.kv.memory_namespace import MemoryNamespace
from tests.transfer.test_mastra import T1, T2, fill, message, read, thread

DUMPS = Path(__file__).parent / "mastra"


def restored(name: str, folder: Path) -> Path:
    """A file as Mastra made it."""
    path = folder / "mastra.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DUMPS / f"{name}.sql").read_text())
    return path


@pytest.mark.parametrize("name", ["libsql-0.16.4", "libsql-1.23.1", "d1-1.0.1"])
def test_what_mastra_wrote(name: str, tmp_path: Path) -> None:
    """Whatever the version, by any of its SQL stores: text stays text, and JSON is JSON."""
    path = restored(name, tmp_path)
    source: LegacySource = MastraFile(path)
    if name.startswith("d1"):
        source = MastraD1(LocalD1(path), prefix="dev_")

    async def main() -> None:
        async with InMemoryProvider() as provider, AgentStore(provider) as store:
            report = await provider.migrate_legacy_data(source)
            assert report.problems == []
            await store.reindex()
            await check(store, with_spans=not name.startswith("d1"))
            (text, whole) = sorted(
                ((score.input, score.output) for score in (await store.scores.list()).items),
                key=str,
            )
            # The columns of LibSQL's first schema made a number of it.
            assert text == (42 if name == "libsql-0.16.4" else "42", "plain")
            assert whole == ({"q": 1}, [1])

    asyncio.run(main())


async def check(store: AgentStore, *, with_spans: bool) -> None:
    """What the agent store says of what `make.mjs` wrote."""
    plants = await store.threads.get("t")
    assert plants is not None
    assert (plants.resource_id, plants.title) == ("u", "Plants")
    assert plants.metadata == {"a": [1], "n": None}
    messages = await store.messages.newest("t", 5)
    assert [(each.id, each.role, each.text) for each in messages] == [
        ("m1", "user", '{"a": 1}'),
        ("m2", "assistant", "42"),
    ]
    assert messages[0].content.metadata == {"k": 1}
    resource = await store.resources.get("u")
    assert resource is not None
    assert (resource.working_memory, resource.metadata) == ('{"x": 1}', {"b": "c"})
    (run,) = (await store.workflows.list(status="suspended")).items
    assert (run.workflow_name, run.run_id, run.resource_id) == ("w", "r", "u")
    assert run.snapshot["context"] == {"s": {"output": [1, None]}}
    for score in (await store.scores.list(scorer_id="tone", run_id="r")).items:
        assert (score.score, score.entity_id, score.metadata) == (0.5, "bot", {"z": 1})
        assert score.extra["scorer"] == {"id": "tone", "name": "Tone"}
    if with_spans:
        trace = await store.traces.get("tr")
        assert trace is not None
        root, inner = trace.spans
        assert (root.status, root.attributes, root.input) == ("SUCCESS", {"model": "m"}, "plain")
        assert (inner.parent_span_id, inner.status, inner.output) == ("sp", "RUNNING", {"x": [1]})


def test_columns_that_were_added_later_are_empty(tmp_path: Path) -> None:
    """Rows from before have `''` there: no id, so a message is its thread's resource's."""
    rows = {"mastra_threads": [thread("t")], "mastra_messages": [message("m", resourceId="")]}
    documents, problems = read(MastraFile(fill(tmp_path / "m.db", rows)))
    assert problems == []
    assert documents["m"]["resourceId"] == "u"


SCORE = {
    "id": "8374ea5f",
    "scorerId": "tone",
    "score": 0.5,
    "runId": "r",
    "input": "42",
    "output": '{"text":"x"}',
    "scorer": '{"name":"Tone"}',
    "metadata": '{"z":1}',
    "reason": None,
    "createdAt": T1,
    "updatedAt": T1,
}
RESOURCE = {
    "id": "user:7",
    "workingMemory": "likes ferns",
    "metadata": '{"b":"c"}',
    "createdAt": T1,
    "updatedAt": T2,
}
RUN = {"workflow_name": "a:b", "run_id": "r", "snapshot": '{"status":"done"}', "createdAt": T1}


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("prefix", ["", "dev"])
def test_keys_without_a_table(prefix: str, wrapped: bool) -> None:
    """Scores and resources are under their ids; a run's resource may be in its key alone."""
    head = f"{prefix}:" if prefix else ""
    values: dict[str, dict[str, Any]] = {
        "8374ea5f": SCORE,
        "user:7": RESOURCE,
        f"{head}mastra_workflow_snapshot:a:b:r:user:7": RUN,
    }
    namespace = MemoryNamespace()
    for key, each in values.items():
        text = json.dumps(each)
        # What some versions of the client put: the body of the request.
        whole = json.dumps({"value": text, "metadata": ""}) if wrapped else text
        namespace.entries[key] = KVEntry(key=key, value=whole)
    documents, problems = read(MastraKV(namespace, prefix=prefix))
    assert problems == []
    score, resource, run = documents["8374ea5f"], documents["user:7"], documents["a%3Ab:r"]
    assert (score["input"], score["output"]) == ("42", {"text": "x"})
    assert (score["scorer"], score["metadata"]) == ({"name": "Tone"}, {"z": 1})
    assert (resource["workingMemory"], resource["metadata"]) == ("likes ferns", {"b": "c"})
    assert (run["resourceId"], run["status"]) == ("user:7", "done")


def test_keys_of_others_are_not_taken_for_records() -> None:
    """Another prefix, another id in the value, more fields than a resource has."""
    namespace = MemoryNamespace()
    for key, value in (
        ("prod:mastra_threads:t", {"id": "prod:mastra_threads:t"}),
        ("other", RESOURCE),
        ("todo", {"id": "todo", "content": "Water the ferns"}),
    ):
        namespace.entries[key] = KVEntry(key=key, value=json.dumps(value))
    documents, problems = read(MastraKV(namespace, prefix="dev"))
    assert documents == {}
    assert ["this and 2 more keys" in each.reason for each in problems] == [True]


def test_long_ids_are_found_in_the_store(tmp_path: Path) -> None:
    """What the provider takes as an id is one: no other than the store asks for."""
    rows = {
        "mastra_workflow_snapshot": [
            {"workflow_name": "w", "run_id": "r" * length, "snapshot": "{}", "createdAt": T1}
            for length in (150, 250, 2_000)
        ]
    }
    path = fill(tmp_path / "mastra.db", rows)

    async def main() -> None:
        async with SQLiteProvider(tmp_path / "agents.db") as provider:
            await import_legacy_data(provider, path)
            for length in (150, 250, 2_000):
                assert await AgentStore(provider).workflows.load("w", "r" * length) == {}

    asyncio.run(main())
