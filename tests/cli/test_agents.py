"""The commands that show what an agent store holds."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage_providers.agents import AgentStore, Message, Span, Thread
from storage_providers.providers.sqlite import SQLiteProvider
from tests.cli.conftest import Cli

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def later(milliseconds: int) -> datetime:
    """A moment after the beginning."""
    return BEGIN + timedelta(milliseconds=milliseconds)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line on a database with a conversation, a run and a trace."""
    path = tmp_path / "agents.db"

    async def fill() -> None:
        async with SQLiteProvider(path) as provider, AgentStore(provider) as store:
            await store.threads.save(Thread(id="t", resource_id="u", title="Ferns"))
            await store.threads.save(Thread(id="other", resource_id="v"))
            said = [("user", "Water?"), ("assistant", "Soon.\nNot \x1b[31mnow.")]
            await store.messages.save(
                Message.of(
                    text,
                    thread_id="t",
                    resource_id="u",
                    role=role,
                    id=f"m{n}",
                    created_at=later(n * 1000),
                )
                for n, (role, text) in enumerate(said)
            )
            tool = [{"type": "tool-invocation", "toolInvocation": {"state": "call"}}]
            await store.messages.save(
                [Message.of(tool, thread_id="t", resource_id="u", id="m2", created_at=later(9000))]
            )
            await store.workflows.persist("w", "r", {"status": "suspended", "n": 1})
            spans = [
                Span(trace_id="x", span_id="a", name="run", started_at=BEGIN, ended_at=later(1500)),
                Span(
                    trace_id="x",
                    span_id="b",
                    parent_span_id="a",
                    name="think",
                    span_type="model",
                    started_at=later(1),
                    ended_at=later(900),
                ),
                Span(
                    trace_id="x",
                    span_id="c",
                    parent_span_id="b",
                    name="tool",
                    error={"m": 1},
                    started_at=later(2),
                    ended_at=later(3),
                ),
                Span(
                    trace_id="x",
                    span_id="d",
                    parent_span_id="a",
                    name="write",
                    started_at=later(901),
                ),
            ]
            await store.traces.save(spans)

    asyncio.run(fill())
    return Cli(f"sqlite:{path}")


def lines(text: str) -> list[dict[str, object]]:
    """JSON lines, read."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_thread_as_a_transcript(cli: Cli) -> None:
    """Who said what, when; controls of terminals are shown, not sent."""
    out = cli("threads", "show", "t").out
    assert out.startswith("Ferns  (u)\n")
    assert "user  2026-01-31 12:00:00\n  Water?\n" in out
    assert "assistant  2026-01-31 12:00:01\n  Soon.\n  Not " in out
    assert "\x1b" not in out
    assert "(tool-invocation)" in out


def test_a_trace_as_a_tree(cli: Cli) -> None:
    """With durations, kinds and errors."""
    assert cli("traces", "show", "x").out == (
        "run  1,500 ms\n├─ think  899 ms  model\n│  └─ tool  1 ms  ERROR\n└─ write  running\n"
    )


def test_listings(cli: Cli) -> None:
    """Newest first, a page at a time, and told when there is more."""
    listed = cli("threads", "list", "--limit", "1", "--format", "jsonl")
    assert [row["id"] for row in lines(listed.out)] == ["t"]
    assert "--page 1" in listed.err
    rest = cli("threads", "list", "--limit", "1", "--page", "1", "--format", "jsonl")
    assert [row["id"] for row in lines(rest.out)] == ["other"]
    assert rest.err == ""
    of = cli("threads", "list", "--resource", "v", "--format", "jsonl")
    assert [row["id"] for row in lines(of.out)] == ["other"]
    messages = cli("messages", "list", "t", "--limit", "2", "--format", "jsonl")
    assert [row["id"] for row in lines(messages.out)] == ["m2", "m1"]
    runs = cli("runs", "list", "--status", "suspended", "--format", "jsonl")
    (run,) = lines(runs.out)
    assert (run["id"], run["workflowName"], "snapshot" in run) == ("r", "w", False)
    (trace,) = lines(cli("traces", "list", "--status", "success", "--format", "jsonl").out)
    assert (trace["id"], trace["status"], trace["seconds"]) == ("x", "SUCCESS", 1.5)
    assert "nothing there" in cli("traces", "list", "--name", "absent").err


def test_single_records(cli: Cli) -> None:
    """As JSON."""
    assert json.loads(cli("messages", "show", "m0").out)["content"]["content"] == "Water?"
    assert json.loads(cli("runs", "show", "r").out)["snapshot"] == {"status": "suspended", "n": 1}
    assert json.loads(cli("runs", "show", "r", "--workflow", "w").out)["runId"] == "r"


def test_exports(cli: Cli) -> None:
    """As JSON lines that `batch_insert` takes again."""
    assert {row["id"] for row in lines(cli("threads", "export").out)} == {"t", "other"}
    messages = lines(cli("messages", "export", "t").out)
    assert [row["id"] for row in messages] == ["m0", "m1", "m2"]
    (run,) = lines(cli("runs", "export", "--workflow", "w").out)
    assert run["runId"] == "r"
    spans = lines(cli("traces", "export").out)
    assert [row["spanId"] for row in spans] == ["a", "b", "c", "d"]

    async def insert() -> int | None:
        async with SQLiteProvider(":memory:") as provider, AgentStore(provider) as store:
            await store.batch_insert("spans", spans)
            return (await store.traces.list(total=True)).total

    assert asyncio.run(insert()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("threads", "show", "absent"),
        ("messages", "show", "absent"),
        ("runs", "show", "absent"),
        ("traces", "show", "absent"),
        ("traces", "list", "--status", "fine"),
    ],
    ids=" ".join,
)
def test_what_is_not_there(cli: Cli, words: tuple[str, ...]) -> None:
    """Is told, and nothing else printed."""
    result = cli(*words, code=2)
    assert result.out == ""
    assert result.err
