"""The same two transports inside a Worker, on objects that behave like the runtime's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from storage_providers.cloudflare.bindings import D1Binding, KVBinding
from storage_providers.cloudflare.d1 import D1Transport
from storage_providers.cloudflare.errors import D1StatementError
from storage_providers.cloudflare.kv import KVEntry, KVFound, KVKey, KVTransport
from storage_providers.errors import (
    DocumentTooLargeError,
    InvalidArgumentError,
    OutcomeUnknownError,
    RateLimitedError,
    TransportError,
)
from storage_providers.resilience import Effect, Resilience, RetryPolicy
from tests.cloudflare.runtime import Database, JsDict, Namespace, worker

QUICK = RetryPolicy(base_delay_seconds=0, min_rate_limited_delay_seconds=0)
CONTENT = "the-content-of-a-document"


def on_d1(database: Database, test: Callable[[D1Transport], Awaitable[None]]) -> None:
    """Run a test inside a Worker with a database."""

    async def main() -> None:
        await test(D1Binding(database, resilience=Resilience("D1", retry=QUICK)))

    with worker():
        asyncio.run(main())
    database.connection.close()


def on_kv(namespace: Namespace, test: Callable[[KVTransport], Awaitable[None]]) -> None:
    """Run a test inside a Worker with a namespace."""

    async def main() -> None:
        await test(KVBinding(namespace, resilience=Resilience("KV", retry=QUICK)))

    with worker():
        asyncio.run(main())


# --- D1 ----------------------------------------------------------------------------------------


def test_a_batch_is_one_call_and_one_transaction() -> None:
    """Results have rows in the order of their columns, and counts."""
    database = Database()

    async def test(d1: D1Transport) -> None:
        made, filled, rows, nothing = await d1.raw(
            [
                ("CREATE TABLE t (id INTEGER PRIMARY KEY, v UNIQUE)", ()),
                ("INSERT INTO t (v) VALUES (?), (?)", ["é", None]),
                ("SELECT v, id FROM t ORDER BY id", ()),
                ("SELECT v FROM t WHERE 0", ()),
            ]
        )
        assert made.rows == nothing.rows == []
        assert (filled.changes, filled.last_row_id, filled.rows_written) == (2, 2, 2)
        assert (rows.columns, rows.rows) == (["v", "id"], [["é", 1], [None, 2]])
        assert (rows.rows_read, rows.duration_ms, rows.size_after_bytes) == (2, 0.1, 8192)
        assert database.calls == 1
        with pytest.raises(D1StatementError) as caught:
            await d1.raw(
                [("INSERT INTO t (v) VALUES (1)", ()), ("INSERT INTO t (v) VALUES ('é')", ())]
            )
        assert (caught.value.kind, caught.value.name) == ("constraint", "t.v")
        (count,) = await d1.raw([("SELECT count(*) AS n FROM t", ())], effect=Effect.READ)
        assert count.rows == [[2]]

    on_d1(database, test)


def test_guards_speak_through_bindings_too() -> None:
    """The number of a guard comes out of the runtime's message."""

    async def test(d1: D1Transport) -> None:
        with pytest.raises(D1StatementError) as caught:
            await d1.raw([("SELECT json_extract('{}', 'sp-guard-7')", ())])
        assert (caught.value.kind, caught.value.guard) == ("guard", 7)

    on_d1(Database(), test)


@pytest.mark.parametrize("value", [b"x", float("nan"), 2**53 + 1])
def test_what_can_not_be_bound_is_refused_alike(value: Any) -> None:
    """The rules are those of the REST API, so that a program can move."""
    database = Database()

    async def test(d1: D1Transport) -> None:
        with pytest.raises(InvalidArgumentError):
            await d1.raw([("SELECT ?", [value])])
        assert database.calls == 0

    on_d1(database, test)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("effect", "calls"), [(Effect.READ, 2), (Effect.IDEMPOTENT_WRITE, 2), (Effect.WRITE, 1)]
)
def test_a_passing_fault(after: bool, effect: Effect, calls: int) -> None:
    """It is tried again where that is safe, and else said to be unknown."""
    database = Database()
    database.faults = [("D1_ERROR: Network connection lost.", after)]

    async def test(d1: D1Transport) -> None:
        if effect is Effect.WRITE:
            with pytest.raises(OutcomeUnknownError):
                await d1.raw([("SELECT 1 AS one", ())], effect=effect)
        else:
            (result,) = await d1.raw([("SELECT 1 AS one", ())], effect=effect)
            assert result.rows == [[1]]
        assert database.calls == calls

    on_d1(database, test)


def test_contents_stay_out_of_the_errors() -> None:
    """What JavaScript threw is not kept, not even behind the error."""
    database = Database()

    async def test(d1: D1Transport) -> None:
        with pytest.raises(D1StatementError) as caught:
            await d1.raw([(f"SELEC '{CONTENT}'", ()), ("x", [CONTENT])])
        error = caught.value
        assert error.__cause__ is error.__context__ is None
        assert CONTENT not in f"{error!r}{vars(error)}{traceback.format_exception_only(error)}"

    on_d1(database, test)


def test_errors_of_our_own_are_not_taken_for_the_services() -> None:
    """A mistake in Python stays what it is."""

    async def test(d1: D1Transport) -> None:
        with pytest.raises(AttributeError):
            await d1.raw([("SELECT 1", ())])

    on_d1(Database(), lambda _: test(D1Binding(object())))  # type: ignore[arg-type]


# --- Workers KV --------------------------------------------------------------------------------


def test_pairs_come_back_as_they_were() -> None:
    """Alone as bytes, many as text with metadata."""
    namespace = Namespace()

    async def test(kv: KVTransport) -> None:
        entries = [
            KVEntry(key="text", value="é", metadata={"a": 1}, expiration=2_000_000_000),
            KVEntry(key="bytes", value=b"\x00\xff"),
            KVEntry(key="empty", value=""),
        ]
        assert await kv.put_many(entries) == []
        assert await kv.get("bytes") == b"\x00\xff"
        assert await kv.get("empty") == b""
        assert await kv.get("absent") is None
        assert await kv.get_many(["text", "empty", "absent", "text"]) == {
            "text": KVFound("é", {"a": 1}),
            "empty": KVFound(""),
            "absent": None,
        }
        page = await kv.list_keys()
        assert page.keys == [
            KVKey("bytes"),
            KVKey("empty"),
            KVKey("text", 2_000_000_000, {"a": 1}),
        ]
        assert await kv.delete_many(["text", "absent", "bytes"]) == []
        assert [each.name for each in (await kv.list_keys()).keys] == ["empty"]

    on_kv(namespace, test)


def test_reading_many_takes_few_calls() -> None:
    """A hundred keys go into one call."""
    namespace = Namespace()

    async def test(kv: KVTransport) -> None:
        keys = [f"k{i}" for i in range(250)]
        assert await kv.get_many(keys) == dict.fromkeys(keys)
        assert namespace.calls == ["getWithMetadata"] * 3

    on_kv(namespace, test)


def test_listing_in_pages_inside_a_worker() -> None:
    """By the runtime's own cursor, to the end and no further."""

    async def test(kv: KVTransport) -> None:
        await kv.put_many([KVEntry(key=f"p/{i:02}", value="") for i in range(25)])
        await kv.put_many([KVEntry(key="q", value="")])
        names: list[str] = []
        cursor: str | None = None
        while True:
            page = await kv.list_keys(prefix="p/", limit=10, cursor=cursor)
            names += [each.name for each in page.keys]
            if (cursor := page.cursor) is None:
                break
        assert names == [f"p/{i:02}" for i in range(25)]

    on_kv(Namespace(), test)


def test_a_pair_that_fails_is_named() -> None:
    """After it was tried as often as other calls; the others are written."""
    slow = "KV PUT failed: 429 Too Many Requests"
    namespace = Namespace(a=[slow], b=[slow] * 9)

    async def test(kv: KVTransport) -> None:
        entries = [KVEntry(key=key, value="") for key in "abc"]
        assert await kv.put_many(entries) == ["b"]
        assert sorted(namespace.stored) == ["a", "c"]
        with pytest.raises(RateLimitedError):
            await kv.put_many([KVEntry(key="b", value="")])

    on_kv(namespace, test)


@pytest.mark.parametrize(
    ("thrown", "error"),
    [
        ("KV PUT failed: 413 Value length of 9 exceeds limit of 8.", DocumentTooLargeError),
        ("KV PUT failed: 400 Invalid expiration of 1.", InvalidArgumentError),
        ("KV PUT failed: 500 Internal Server Error", TransportError),
        ("KV PUT failed: 503 Service Unavailable", TransportError),
        ("Network connection lost.", TransportError),
    ],
)
def test_what_the_runtime_throws(thrown: str, error: type[Exception]) -> None:
    """Its messages have a status, and become what the REST API's answers become."""

    async def test(kv: KVTransport) -> None:
        with pytest.raises(error):
            await kv.put_many([KVEntry(key="k", value=CONTENT)])

    on_kv(Namespace(k=[thrown] * 9), test)


@pytest.mark.parametrize("key", ["", ".", "..", "x" * 513, "\ud800"])
def test_keys_are_checked_alike(key: str) -> None:
    """A key that the REST API refuses is refused here, before any call."""
    namespace = Namespace()

    async def test(kv: KVTransport) -> None:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: kv.get(key),
            lambda: kv.get_many([key]),
            lambda: kv.put_many([KVEntry(key=key, value="")]),
            lambda: kv.delete_many([key]),
        ]
        for call in calls:
            with pytest.raises(InvalidArgumentError):
                await call()
        for limit in (9, 1_001):
            with pytest.raises(InvalidArgumentError):
                await kv.list_keys(limit=limit)
        assert namespace.calls == []

    on_kv(namespace, test)


# --- around ------------------------------------------------------------------------------------


def test_older_runtimes_hand_out_proxies() -> None:
    """What has `to_py` is turned into Python's own."""

    class Proxy:
        def __init__(self, value: Any) -> None:
            self.value = value

        def to_py(self) -> Any:
            return self.value

    class Old(Database):
        async def batch(self, statements: list[Any]) -> Any:
            return Proxy([dict(each) for each in await super().batch(statements)])

    async def test(d1: D1Transport) -> None:
        (result,) = await d1.raw([("SELECT 1 AS one", ())])
        assert result.rows == [[1]]

    on_d1(Old(), test)
    assert JsDict(a=1).a == 1


def test_bindings_need_no_http_library() -> None:
    """A Worker without httpx can import and use them."""
    program = (
        "import sys\nsys.modules['httpx'] = None\nsys.modules['aiohttp'] = None\n"
        "import asyncio\n"
        "from storage_providers.cloudflare.bindings import KVBinding\n"
        "from tests.cloudflare.runtime import Namespace\n"
        "print(asyncio.run(KVBinding(Namespace()).get('x')))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.strip() == b"None"
