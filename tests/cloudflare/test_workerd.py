"""D1 and Workers KV over REST, against the services of workerd."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.cloudflare.d1 import D1Database, D1Databases, SqlValue
from storage_providers.cloudflare.errors import D1StatementError, SqlFailure
from storage_providers.cloudflare.kv import (
    KVEntry,
    KVFound,
    KVNamespace,
    KVNamespaces,
    KVTransport,
)
from storage_providers.errors import (
    AuthenticationError,
    ConfigurationError,
    DocumentTooLargeError,
    InvalidArgumentError,
    ItemExistsError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
)
from storage_providers.resilience import Effect, RetryPolicy
from tests.servers.emulator import Emulator

FAST = pytest.mark.parametrize("fast", [True, False], ids=["aiohttp", "httpx"])

HOSTILE_KEYS = (
    *("plain", "a/b c", "é:ü!%3F", "..x", "...", "a/../b", "./x", "q?x=1&y#z", "+plus", "日本"),
    *("%2F", "%252F", "%", "a%20b", "semi;colon", "ti~lde", "b\\s", "x" * 512, "é" * 256),
    *("[1]", "{a}", "a|b", "'\"", "<>", "^`", "@=&,$", "tab\there", "line\nbreak", "\x7f", "😀"),
)


@asynccontextmanager
async def open_client(
    emulator: Emulator, *, fast: bool = True, **options: Any
) -> AsyncGenerator[CloudflareClient, None]:
    """A client of the emulator on one of the two transports."""
    known = emulator.known
    settings: dict[str, Any] = {
        "base_url": known.api,
        "rate_limit": None,
        "retry": RetryPolicy(base_delay_seconds=0, min_rate_limited_delay_seconds=0),
        "token": known.token,
        **options,
    }
    with pytest.MonkeyPatch.context() as patch:
        if not fast:
            patch.setitem(sys.modules, "httpx_aiohttp", None)
        async with CloudflareClient(known.account, **settings) as client:
            yield client


def on_kv(
    emulator: Emulator, test: Callable[[KVNamespace], Awaitable[None]], *, fast: bool = True
) -> None:
    """Run a test on an empty namespace."""
    known = emulator.known
    emulator.empty_namespace(known.namespaces[0])

    async def main() -> None:
        async with open_client(emulator, fast=fast) as client:
            await test(KVNamespace(client, known.namespaces[0]))

    asyncio.run(main())


def on_d1(
    emulator: Emulator,
    test: Callable[[D1Database], Awaitable[None]],
    *,
    fast: bool = True,
) -> None:
    """Run a test on an empty database."""
    known = emulator.known
    emulator.empty_database(known.databases[0])

    async def main() -> None:
        async with open_client(emulator, fast=fast) as client:
            await test(D1Database(client, known.databases[0]))

    asyncio.run(main())


# --- Workers KV --------------------------------------------------------------------------------


@FAST
def test_keys_and_values_come_back_as_they_were(cloudflare: Emulator, fast: bool) -> None:
    """Whatever characters a key has and whatever bytes a value has, alone and in bulk."""

    async def test(kv: KVNamespace) -> None:
        for key in HOSTILE_KEYS:
            value = b"\x00\xff" + key.encode()
            await kv.put(KVEntry(key=key, value=value, metadata={"key": key}))
            assert await kv.get(key) == value, key
            assert await kv.get_metadata(key) == {"key": key}
        names = [each.name for each in (await kv.list_keys()).keys]
        assert names == sorted(HOSTILE_KEYS, key=str.encode)
        assert await kv.delete_many(HOSTILE_KEYS) == []
        assert (await kv.list_keys()).keys == []
        entries = [KVEntry(key=key, value=f"«{key}»", metadata=key) for key in HOSTILE_KEYS]
        assert await kv.put_many(entries) == []
        found = await kv.get_many([*HOSTILE_KEYS, "absent", HOSTILE_KEYS[0]])
        assert found.pop("absent") is None
        assert found == {key: KVFound(f"«{key}»", key) for key in HOSTILE_KEYS}

    on_kv(cloudflare, test, fast=fast)


@FAST
@pytest.mark.parametrize("value", [b"", b"x", b"a" * 1_000_000, bytes(range(256)) * 100])
def test_values_of_every_size(cloudflare: Emulator, fast: bool, value: bytes) -> None:
    """Nothing at all, and much, alone with and without metadata, and in bulk as bytes."""

    async def test(kv: KVNamespace) -> None:
        await kv.put(KVEntry(key="alone", value=value))
        await kv.put(KVEntry(key="described", value=value, metadata="--storage-providers"))
        await kv.put_many([KVEntry(key="bulk", value=value)])
        for key in ("alone", "described", "bulk"):
            assert await kv.get(key) == value
        assert await kv.get_metadata("described") == "--storage-providers"
        assert await kv.get_metadata("alone") is None
        assert await kv.get_metadata("absent") is None
        assert await kv.get("absent") is None

    on_kv(cloudflare, test, fast=fast)


def test_a_boundary_that_the_value_holds_is_not_used(cloudflare: Emulator) -> None:
    """The form around a value with metadata can't be ended by the value."""

    async def test(kv: KVNamespace) -> None:
        value = (
            b'\r\n--storage-providers\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n1'
        )
        await kv.put(KVEntry(key="k", value=value + b"-x", metadata={"a": 1}))
        assert await kv.get("k") == value + b"-x"
        assert await kv.get_metadata("k") == {"a": 1}

    on_kv(cloudflare, test)


def test_bulk_calls_are_few(cloudflare: Emulator) -> None:
    """A thousand pairs are one call to write, ten to read, one to list and one to remove."""

    async def test(kv: KVNamespace) -> None:
        entries = [KVEntry(key=f"k{i:04}", value=str(i), metadata=i) for i in range(1_000)]
        keys = [entry.key for entry in entries]
        cloudflare.clear_log()
        assert await kv.put_many(entries) == []
        found = await kv.get_many(keys)
        assert found == {f"k{i:04}": KVFound(str(i), i) for i in range(1_000)}
        page = await kv.list_keys()
        assert [(each.name, each.metadata) for each in page.keys] == list(
            zip(keys, range(1_000), strict=True)
        )
        assert page.cursor is None
        assert await kv.delete_many(keys) == []
        calls = [(each.method, each.path.rpartition("/")[2]) for each in cloudflare.log()]
        assert calls == [
            ("PUT", "bulk"),
            *[("POST", "get")] * 10,
            ("GET", "keys"),
            ("POST", "delete"),
        ]

    on_kv(cloudflare, test)


def test_listing_in_pages(cloudflare: Emulator) -> None:
    """Pages follow each other by cursor, under a prefix that needs encoding."""

    async def test(kv: KVNamespace) -> None:
        await kv.put_many([KVEntry(key=f"a&b/{i:03}", value="") for i in range(25)])
        await kv.put(KVEntry(key="other", value=""))
        names: list[str] = []
        cursor: str | None = None
        sizes: list[int] = []
        while True:
            page = await kv.list_keys(prefix="a&b/", limit=10, cursor=cursor)
            names += [each.name for each in page.keys]
            sizes.append(len(page.keys))
            if (cursor := page.cursor) is None:
                break
        assert names == [f"a&b/{i:03}" for i in range(25)]
        assert sizes == [10, 10, 5]

    on_kv(cloudflare, test)


def test_expiration(cloudflare: Emulator) -> None:
    """A moment in the far future is kept and listed; one too near is refused."""

    async def test(kv: KVNamespace) -> None:
        await kv.put_many([KVEntry(key="a", value="", expiration=2_000_000_000)])
        await kv.put(KVEntry(key="b", value="", expiration=2_000_000_000))
        listed = {each.name: each.expiration for each in (await kv.list_keys()).keys}
        assert listed == {"a": 2_000_000_000, "b": 2_000_000_000}
        with pytest.raises(InvalidArgumentError):
            await kv.put(KVEntry(key="c", value="", expiration=1))

    on_kv(cloudflare, test)


def test_what_kv_refuses(cloudflare: Emulator) -> None:
    """Too large, too long, too fast, not there: each has its own error."""

    async def test(kv: KVNamespace) -> None:
        with pytest.raises(DocumentTooLargeError) as caught:
            await kv.put(KVEntry(key="k", value="", metadata="y" * 1_100))
        assert (caught.value.size_bytes, caught.value.limit_bytes) == (1_102, 1_024)
        with pytest.raises(DocumentTooLargeError):
            await kv.put(KVEntry(key="k", value=b"x" * (25 * 1024 * 1024 + 1)))
        for key in ("", ".", "..", "x" * 513, "é" * 257, "\ud800"):
            for call in (kv.get(key), kv.get_many([key]), kv.delete_many([key])):
                with pytest.raises(InvalidArgumentError):
                    await call
        for limit in (9, 1_001):
            with pytest.raises(InvalidArgumentError):
                await kv.list_keys(limit=limit)
        cloudflare.configure(kvWriteLimitMs=1_000)
        await kv.put(KVEntry(key="hot", value="1"))
        with pytest.raises(RateLimitedError):
            await kv.put(KVEntry(key="hot", value="2"))

    on_kv(cloudflare, test)


def test_namespaces(cloudflare: Emulator) -> None:
    """They can be made, found, listed and deleted; a title is taken once."""

    async def main() -> None:
        async with open_client(cloudflare) as client:
            spaces = KVNamespaces(client)
            made = await spaces.create("a title with ümlauts")
            try:
                with pytest.raises(ItemExistsError):
                    await spaces.create("a title with ümlauts")
                assert await spaces.find("a title with ümlauts") == made
                assert await spaces.find("a title") is None
                assert made in [each async for each in spaces.list()]
                kv: KVTransport = KVNamespace(client, made.id)
                assert await kv.get("x") is None
            finally:
                await spaces.delete(made.id)
            with pytest.raises(ConfigurationError, match="no such namespace"):
                await KVNamespace(client, made.id).get("x")
            with pytest.raises(ConfigurationError, match="no such namespace"):
                await spaces.delete(made.id)

    asyncio.run(main())


# --- D1 ----------------------------------------------------------------------------------------


@FAST
def test_a_batch_is_one_transaction(cloudflare: Emulator, fast: bool) -> None:
    """All of it lands, or nothing; results come in order, with columns also where none are."""

    async def test(d1: D1Database) -> None:
        made, filled, rows, nothing = await d1.raw(
            [
                ("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE, n REAL)", ()),
                ("INSERT INTO t (v, n) VALUES (?, ?), (?, ?)", ["é", 1.5, None, -3]),
                ("SELECT id, v, n, v FROM t ORDER BY id", ()),
                ("SELECT id, v FROM t WHERE 0", ()),
            ]
        )
        assert made.rows == []
        assert (filled.changes, filled.last_row_id) == (2, 2)
        assert filled.rows_written >= 2
        assert rows.columns == ["id", "v", "n", "v"]
        assert rows.rows == [[1, "é", 1.5, "é"], [2, None, -3, None]]
        assert rows.rows_read >= 2
        assert (nothing.columns, nothing.rows) == (["id", "v"], [])
        with pytest.raises(D1StatementError) as caught:
            await d1.raw(
                [
                    ("INSERT INTO t (v) VALUES (?)", ["new"]),
                    ("INSERT INTO t (v) VALUES (?)", ["é"]),
                ]
            )
        assert (caught.value.kind, caught.value.name) == ("constraint", "t.v")
        (count,) = await d1.raw([("SELECT count(*) FROM t", ())], effect=Effect.READ)
        assert count.rows == [[2]]

    on_d1(cloudflare, test, fast=fast)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (("SELECT * FROM nowhere", ()), "no_such_table"),
        (("SELECT x FROM t", ()), "no_such_column"),
        (("CREATE TABLE t (a)", ()), "already_exists"),
        (("INSERT INTO t VALUES (NULL)", ()), "constraint"),
        (("SELECT json('{')", ()), "malformed_json"),
        (("SELECT json_extract('{}', 'a')", ()), "malformed_json"),
        (("SELECT json_extract('{}', 'sp-guard-42')", ()), "guard"),
        (("SELEC 1", ()), "syntax"),
        (("SELECT (", ()), "syntax"),
        (("BEGIN", ()), "not_allowed"),
        (("SELECT " + "1+" * 200 + "1", ()), "too_big"),
        (("SELECT '" + "x" * 100_001 + "'", ()), "too_big"),
        (("SELECT abs(-9223372036854775808)", ()), "other"),
    ],
)
def test_what_d1_refuses(
    cloudflare: Emulator, statement: tuple[str, tuple[()]], kind: SqlFailure
) -> None:
    """The kinds are told apart by what workerd's SQLite really says."""

    async def test(d1: D1Database) -> None:
        await d1.raw([("CREATE TABLE t (a NOT NULL)", ())])
        with pytest.raises(D1StatementError) as caught:
            await d1.raw([("SELECT 1", ()), statement])
        assert caught.value.kind == kind, caught.value
        assert caught.value.guard == (42 if kind == "guard" else None)
        assert "xxx" not in str(caught.value)

    on_d1(cloudflare, test)


@pytest.mark.parametrize(
    "value",
    [b"bytes", float("nan"), float("inf"), 2**53 + 1, -(2**53) - 1, [1], {"a": 1}, Ellipsis],
    ids=repr,
)
def test_what_can_not_be_bound_is_not_sent(cloudflare: Emulator, value: Any) -> None:
    """A value that would not arrive as it is never leaves."""

    async def test(d1: D1Database) -> None:
        cloudflare.clear_log()
        with pytest.raises(InvalidArgumentError, match="value 2 of statement 1"):
            await d1.raw([("SELECT 1", ()), ("SELECT ?, ?", [1, value])])
        with pytest.raises(InvalidArgumentError, match="101 values"):
            await d1.raw([("SELECT 1", [1] * 101)])
        with pytest.raises(InvalidArgumentError, match="at least one"):
            await d1.raw([])
        assert cloudflare.log() == []

    on_d1(cloudflare, test)


def test_what_is_bound_arrives(cloudflare: Emulator) -> None:
    """Text of every kind, numbers to the last digit that JavaScript has, NULL, true and false."""
    values: list[SqlValue] = [
        "",
        "é😀",
        "a\x00b",
        "'; DROP TABLE t",
        0,
        -(2**53),
        2**53,
        0.1,
        -1e300,
        None,
    ]

    async def test(d1: D1Database) -> None:
        (result,) = await d1.raw([(f"SELECT {','.join('?' * len(values))}", values)])
        assert result.rows == [values]
        (flags,) = await d1.raw([("SELECT ?, ?", [True, False])])
        assert flags.rows == [[1, 0]]

    on_d1(cloudflare, test)


def test_a_batch_is_one_call(cloudflare: Emulator) -> None:
    """However many statements it has."""

    async def test(d1: D1Database) -> None:
        cloudflare.clear_log()
        results = await d1.raw([("SELECT ?", [number]) for number in range(500)])
        assert [result.rows for result in results] == [[[number]] for number in range(500)]
        assert [each.method for each in cloudflare.log()] == ["POST"]

    on_d1(cloudflare, test)


@pytest.mark.parametrize("effect", [Effect.WRITE, Effect.READ])
def test_an_answer_that_is_lost_after_the_commit(cloudflare: Emulator, effect: Effect) -> None:
    """A write that may have landed is not sent again, and says so."""

    async def test(d1: D1Database) -> None:
        await d1.raw([("CREATE TABLE t (a)", ())])
        cloudflare.fault("POST .*/raw", status=500, code=7500, message="internal error", after=True)
        insert = ("INSERT INTO t VALUES (1)", ())
        if effect is Effect.WRITE:
            with pytest.raises(OutcomeUnknownError):
                await d1.raw([insert], effect=effect)
        else:
            await d1.raw([insert], effect=effect)
        (count,) = await d1.raw([("SELECT count(*) FROM t", ())])
        assert count.rows == [[1 if effect is Effect.WRITE else 2]]

    on_d1(cloudflare, test)


def test_databases(cloudflare: Emulator) -> None:
    """They can be made, found, listed, looked at and deleted; a name is taken once."""

    async def main() -> None:
        async with open_client(cloudflare) as client:
            databases = D1Databases(client)
            made = await databases.create("made-here", location="weur")
            try:
                with pytest.raises(ItemExistsError):
                    await databases.create("made-here")
                assert await databases.find("made-here") == made
                assert await databases.find("made") is None
                assert made.id in [each.id async for each in databases.list()]
                d1 = D1Database(client, made.id)
                assert (await d1.info()).name == "made-here"
                assert (await d1.raw([("SELECT 1", ())]))[0].rows == [[1]]
                assert (await d1.bookmark()).bookmark
            finally:
                await databases.delete(made.id)
            with pytest.raises(ConfigurationError, match="no such database"):
                await D1Database(client, made.id).raw([("SELECT 1", ())])

    asyncio.run(main())


# --- the token ---------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["wrong", "x" * 200])
def test_a_wrong_token(cloudflare: Emulator, token: str) -> None:
    """Every service says the same of it."""

    async def main() -> None:
        known = cloudflare.known
        async with open_client(cloudflare, token=token) as client:
            for call in (
                KVNamespace(client, known.namespaces[0]).get("x"),
                KVNamespace(client, known.namespaces[0]).list_keys(),
                D1Database(client, known.databases[0]).raw([("SELECT 1", ())]),
            ):
                with pytest.raises(AuthenticationError):
                    await call

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 400, "code": 9106, "message": "Missing"}, AuthenticationError),
        ({"status": 429, "code": 971, "headers": {"retry-after": "100"}}, RateLimitedError),
        ({"status": 404, "code": 7003, "message": "Could not route"}, ConfigurationError),
    ],
)
def test_faults_of_the_emulator(
    cloudflare: Emulator, fault: dict[str, Any], error: type[StorageError]
) -> None:
    """What it is told to answer becomes the error that is meant."""

    async def test(kv: KVNamespace) -> None:
        cloudflare.fault("GET .*/values/", times=None, **fault)
        with pytest.raises(error):
            await kv.get("x")

    on_kv(cloudflare, test)
