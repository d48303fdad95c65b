"""D1 and Workers KV over REST: what workerd never answers, and how few calls are made."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from storage_providers._requests import tallied
from storage_providers.cloudflare import kv as kv_module
from storage_providers.cloudflare.d1 import D1Database, D1Databases
from storage_providers.cloudflare.kv import KVEntry, KVFound, KVNamespace, KVNamespaces
from storage_providers.errors import (
    ConfigurationError,
    InvalidArgumentError,
    OutcomeUnknownError,
    TransportError,
)
from storage_providers.resilience import Effect
from tests.cloudflare.service import CLOSE, Opened, Request, client, failed, ok, run

NAMESPACE = "f" * 32
DATABASE = "00000000-0000-4000-8000-000000000001"


def entry(rows: list[list[Any]] | None = None, **meta: Any) -> dict[str, Any]:
    """One entry of D1's answer."""
    table = {"columns": ["a"], "rows": rows or []}
    return {"results": table, "success": True, "meta": meta}


def kv_of(opened: Opened) -> KVNamespace:
    """The namespace behind a client."""
    return KVNamespace(opened.client, NAMESPACE)


def d1_of(opened: Opened) -> D1Database:
    """The database behind a client."""
    return D1Database(opened.client, DATABASE)


# --- D1 ----------------------------------------------------------------------------------------


def test_the_form_of_a_batch() -> None:
    """One statement goes alone, several as a batch; values keep their types."""

    async def main() -> None:
        async with client(ok([entry()]), ok([entry(), entry()])) as opened:
            await d1_of(opened).raw([("SELECT ?", ["x"])])
            await d1_of(opened).raw([("SELECT 1", ()), ("SELECT ?, ?", [True, None])])
            alone, batch = opened.service.requests
            assert alone.path.endswith(f"/d1/database/{DATABASE}/raw")
            assert alone.json == {"sql": "SELECT ?", "params": ["x"]}
            assert batch.json == {
                "batch": [{"sql": "SELECT 1"}, {"sql": "SELECT ?, ?", "params": [1, None]}]
            }

    run(main())


def test_what_an_answer_tells() -> None:
    """Counts are read where they are told, whatever else comes with them."""
    meta: dict[str, Any] = {
        "changes": 2,
        "rows_read": 3.0,
        "rows_written": 4,
        "last_row_id": 5,
        "duration": 0.25,
        "size_after": 4096,
        "served_by_region": "WEUR",
        "timings": {"sql_duration_ms": 1},
        "total_attempts": 1,
    }

    async def main() -> None:
        bare = {"success": True, "results": {"columns": [], "rows": []}}
        async with client(ok([entry([[1]], **meta), bare])) as opened:
            told, untold = await d1_of(opened).raw([("x", ()), ("y", ())])
            assert (told.columns, told.rows) == (["a"], [[1]])
            assert (told.changes, told.rows_read, told.rows_written) == (2, 3, 4)
            assert (told.last_row_id, told.duration_ms, told.size_after_bytes) == (5, 0.25, 4096)
            assert (untold.changes, untold.last_row_id, untold.size_after_bytes) == (0, None, None)

    run(main())


@pytest.mark.parametrize(
    "answer",
    [[entry()], [entry()] * 3, [], [entry(), {"success": False, "results": None}]],
    ids=["few", "many", "none", "failed"],
)
@pytest.mark.parametrize(
    ("effect", "error"),
    [(Effect.READ, TransportError), (Effect.WRITE, OutcomeUnknownError)],
)
def test_results_that_do_not_fit_the_statements(
    answer: list[Any], effect: Effect, error: type[Exception]
) -> None:
    """They are not matched by guessing: a write may have landed, a read has no answer."""

    async def main() -> None:
        async with client(ok(answer)) as opened:
            with pytest.raises(error) as caught:
                await d1_of(opened).raw([("x", ()), ("y", ())], effect=effect)
            assert type(caught.value) is error

    run(main())


def test_time_travel() -> None:
    """A bookmark is asked for by time, and a restore takes one thing and is sent once."""

    async def main() -> None:
        async with client(
            ok({"bookmark": "b-1"}), ok({"bookmark": "b-1", "previous_bookmark": "b-2"}), CLOSE
        ) as opened:
            d1 = d1_of(opened)
            assert (await d1.bookmark("2026-11-01T00:00:00Z")).bookmark == "b-1"
            back = await d1.restore(bookmark="b-1")
            assert (back.bookmark, back.previous_bookmark) == ("b-1", "b-2")
            with pytest.raises(OutcomeUnknownError):
                await d1.restore(timestamp="2026-11-01T00:00:00Z")
            for arguments in ({}, {"bookmark": "a", "timestamp": "b"}):
                with pytest.raises(InvalidArgumentError, match="either"):
                    await d1.restore(**arguments)
            sent = [(each.method, each.query) for each in opened.service.requests]
            assert sent == [
                ("GET", {"timestamp": "2026-11-01T00:00:00Z"}),
                ("POST", {"bookmark": "b-1"}),
                ("POST", {"timestamp": "2026-11-01T00:00:00Z"}),
            ]

    run(main())


def test_making_a_database() -> None:
    """What is not asked for is not sent; a lost answer does not make two."""

    async def main() -> None:
        made = {"uuid": DATABASE, "name": "n", "created_at": "x", "version": "production"}
        async with client(ok(made), ok(made), CLOSE) as opened:
            databases = D1Databases(opened.client)
            assert (await databases.create("n")).id == DATABASE
            await databases.create("n", location="weur", jurisdiction="eu")
            with pytest.raises(OutcomeUnknownError):
                await databases.create("n")
            assert [each.json for each in opened.service.requests[:2]] == [
                {"name": "n"},
                {"name": "n", "primary_location_hint": "weur", "jurisdiction": "eu"},
            ]
            assert len(opened.service.requests) == 3

    run(main())


@pytest.mark.parametrize("wrong", ["", "a/b", "..", "a b", "ä", "x" * 65])
def test_ids_that_are_none(wrong: str) -> None:
    """They never become part of a path."""

    async def main() -> None:
        async with client(ok()) as opened:
            with pytest.raises(ConfigurationError, match="database_id"):
                D1Database(opened.client, wrong)
            with pytest.raises(ConfigurationError, match="namespace_id"):
                KVNamespace(opened.client, wrong)
            with pytest.raises(ConfigurationError, match="database_id"):
                await D1Databases(opened.client).delete(wrong)
            with pytest.raises(ConfigurationError, match="namespace_id"):
                await KVNamespaces(opened.client).delete(wrong)
            assert opened.service.requests == []

    run(main())


# --- Workers KV --------------------------------------------------------------------------------


class Bulk:
    """Answers bulk calls; keys in `refused` fail so often."""

    def __init__(self, **refused: int) -> None:
        self.refused = refused
        self.sent: list[list[str]] = []

    def __call__(self, request: Request) -> bytes:
        """One call."""
        keys = [each if isinstance(each, str) else each["key"] for each in request.json]
        self.sent.append(keys)
        failing = [key for key in keys if self.refused.get(key, 0) > 0]
        for key in failing:
            self.refused[key] -= 1
        done = len(keys) - len(failing)
        return ok({"successful_key_count": done, "unsuccessful_keys": failing})


@pytest.mark.parametrize("what", ["put", "delete"])
def test_only_the_keys_that_failed_are_sent_again(what: str) -> None:
    """After a wait, and so often as other calls are tried."""

    async def call(kv: KVNamespace, keys: str) -> list[str]:
        if what == "put":
            return await kv.put_many([KVEntry(key=key, value=key) for key in keys])
        return await kv.delete_many(list(keys))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        bulk = Bulk(b=1, d=2)
        async with client(bulk) as opened:
            began = loop.time()
            assert await call(kv_of(opened), "abcd") == []
            assert bulk.sent == [["a", "b", "c", "d"], ["b", "d"], ["d"]]
            assert loop.time() - began == pytest.approx(2, abs=0.5)
        stubborn = Bulk(b=99)
        async with client(stubborn) as opened:
            assert await call(kv_of(opened), "ab") == ["b"]
            assert stubborn.sent == [["a", "b"], ["b"], ["b"]]

    run(main())


def test_trouble_after_a_part_has_landed_is_about_the_rest() -> None:
    """Keys that were confirmed stay so when the call for the others fails."""

    async def main() -> None:
        bulk = Bulk(b=1)
        async with client(bulk, failed(500)) as opened:
            entries = [KVEntry(key=key, value="") for key in "ab"]
            assert await kv_of(opened).put_many(entries) == ["b"]
        async with client(failed(500)) as opened:
            with pytest.raises(OutcomeUnknownError):
                await kv_of(opened).put_many([KVEntry(key="a", value="")])

    run(main())


def test_pairs_that_need_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are as large as the service takes them, by number and by bytes, and miss nothing."""

    async def main() -> None:
        keys = [f"k{i:05}" for i in range(20_001)]
        bulk = Bulk()
        async with client(bulk) as opened:
            assert await kv_of(opened).delete_many(keys) == []
            assert sorted(map(len, bulk.sent)) == [1, 10_000, 10_000]
            assert sorted(key for part in bulk.sent for key in part) == keys
        monkeypatch.setattr(kv_module, "MAX_BULK_BYTES", 1_000)
        large = Bulk()
        async with client(large) as opened:
            entries = [KVEntry(key=f"k{i:02}", value="x" * 200) for i in range(10)]
            assert await kv_of(opened).put_many(entries) == []
            assert [len(each.body) < 1_000 for each in opened.service.requests] == [True] * 3
            assert sorted(key for part in large.sent for key in part) == [e.key for e in entries]

    run(main())


def test_nothing_to_do_is_no_call() -> None:
    """Empty lists cost nothing."""

    async def main() -> None:
        async with client(ok()) as opened:
            kv = kv_of(opened)
            with tallied() as tally:
                assert await kv.put_many([]) == []
                assert await kv.delete_many([]) == []
                assert await kv.get_many([]) == {}
            assert tally.requests == 0

    run(main())


def test_the_form_of_pairs() -> None:
    """Text goes as it is and bytes as base64; what is not given is not sent."""

    async def main() -> None:
        bulk = Bulk()
        async with client(bulk) as opened:
            await kv_of(opened).put_many(
                [
                    KVEntry(key="text", value="é"),
                    KVEntry(key="bytes", value=b"\xff"),
                    KVEntry(key="all", value="", metadata={"a": 1}, expiration=99),
                ]
            )
            assert opened.service.requests[0].json == [
                {"key": "text", "value": "é"},
                {"key": "bytes", "value": "/w==", "base64": True},
                {"key": "all", "value": "", "metadata": {"a": 1}, "expiration": 99},
            ]

    run(main())


def test_reading_many_finds_what_the_service_names() -> None:
    """Keys that the answer leaves out count as absent; each key is asked for once."""

    async def main() -> None:
        values = {"a": {"value": "1", "metadata": None}, "b": {"value": "", "expiration": 5}}
        async with client(ok({"values": {**values, "c": None}})) as opened:
            found = await kv_of(opened).get_many(["a", "b", "c", "d", "a"])
            assert found == {"a": KVFound("1"), "b": KVFound(""), "c": None, "d": None}
            assert opened.service.requests[0].json == {
                "keys": ["a", "b", "c", "d"],
                "type": "text",
                "withMetadata": True,
            }

    run(main())


def test_an_empty_page_may_be_followed_by_another() -> None:
    """Only an empty cursor ends a listing."""

    async def main() -> None:
        async with client(ok([], {"count": 0, "cursor": "next"}), ok([], {"cursor": ""})) as opened:
            kv = kv_of(opened)
            assert (await kv.list_keys(prefix="p")).cursor == "next"
            assert (await kv.list_keys(prefix="p", cursor="next")).cursor is None
            assert [each.query for each in opened.service.requests] == [
                {"prefix": "p", "limit": "1000"},
                {"prefix": "p", "limit": "1000", "cursor": "next"},
            ]

    run(main())


def test_a_value_that_looks_like_a_failure_is_a_value() -> None:
    """A stored envelope is what was stored."""
    stored = msgspec.json.encode({"success": False, "errors": [{"code": 10009}]})

    async def main() -> None:
        plain = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(stored) + stored
        async with client(plain, failed(404, 10009, "get: 'key not found'")) as opened:
            assert await kv_of(opened).get("k") == stored
            assert await kv_of(opened).get("k") is None

    run(main())
