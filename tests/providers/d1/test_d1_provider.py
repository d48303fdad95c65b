"""D1Provider: how it is made, what it knows of tables and declarations, time travel, bindings."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from storage_providers import errors
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.cloudflare.d1 import D1Result
from storage_providers.errors import (
    ConfigurationError,
    PermissionDeniedError,
    TransportError,
    UnsupportedOperationError,
)
from storage_providers.maintenance import Check
from storage_providers.protocol import Clear, CollectionSpec, Index, Put
from storage_providers.providers._d1 import database as knowledge
from storage_providers.providers._d1 import provisioning
from storage_providers.providers.d1 import D1Provider
from storage_providers.resilience import BreakerPolicy, Effect, RetryPolicy
from storage_providers.testing.conformance import ManualClock
from tests.providers.d1.local import LocalD1, local_provider
from tests.providers.d1.workerd import client_of, raw
from tests.servers.emulator import Emulator

ACCOUNT, DATABASE, TOKEN = "a" * 32, "00000000-0000-4000-8000-000000000001", "secret-token-xyz"


# --- making one --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({}, "database_id is missing"),
        ({"database_id": DATABASE}, "account_id is missing"),
        ({"database_id": DATABASE, "account_id": ACCOUNT}, "token is missing"),
        (
            {"database_id": "../x", "account_id": ACCOUNT, "token": TOKEN},
            "database_id is not an id",
        ),
        ({"database_id": DATABASE, "account_id": "", "token": TOKEN}, "account_id is not an id"),
        ({"binding": object(), "token": TOKEN}, "leave out token"),
        ({"database_id": DATABASE, "database_name": "x"}, "leave one of them"),
        (
            {"database_name": "../x", "account_id": ACCOUNT, "token": TOKEN},
            "database_name is not a name",
        ),
        (
            {
                "database_id": DATABASE,
                "account_id": ACCOUNT,
                "token": TOKEN,
                "base_url": "http://a.example",
            },
            "plain http",
        ),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments: dict[str, Any], advice: str) -> None:
    """With the name of the argument, and without the token."""
    with pytest.raises(ConfigurationError, match=advice) as caught:
        D1Provider(**arguments)
    assert TOKEN not in str(caught.value)


def test_a_client_excludes_account_and_token() -> None:
    """They are the client's."""
    client = CloudflareClient(account_id=ACCOUNT, token=TOKEN)
    with pytest.raises(ConfigurationError, match="leave them out"):
        D1Provider(client=client, database_id=DATABASE, token=TOKEN)
    with pytest.raises(ConfigurationError, match="its retry already"):
        D1Provider(client=client, database_id=DATABASE, retry=RetryPolicy())


def test_retries_are_as_told(cloudflare: Emulator) -> None:
    """A passing fault is tried again as often as the provider was told, and no more."""
    known = cloudflare.known

    async def scene(attempts: int) -> int:
        cloudflare.reset()
        cloudflare.fault(".*/raw", times=None, status=503, code=10001, message="down")
        provider = D1Provider(
            account_id=known.account,
            database_id=known.databases[0],
            token=known.token,
            base_url=known.api,
            retry=RetryPolicy(attempts=attempts, base_delay_seconds=0, max_delay_seconds=0),
        )
        async with provider:
            with pytest.raises(TransportError):
                await provider.read_item("t", "a")
        return len(cloudflare.log())

    assert [asyncio.run(scene(attempts)) for attempts in (1, 2, 4)] == [1, 2, 4]


class ReadOnly(LocalD1):
    """A token that may read."""

    async def raw(self, statements: Any, **options: Any) -> list[D1Result]:
        if options["effect"] is not Effect.READ:
            raise PermissionDeniedError("not allowed")
        return await super().raw(statements, **options)


def test_rights_are_tried_one_by_one(manual_clock: ManualClock) -> None:
    """With a token that only reads, writing fails, reading does not, and the advice is said."""

    async def scene(transport: LocalD1, write: bool) -> list[Check]:
        async with local_provider(transport, clock=manual_clock.clock) as provider:
            return await provisioning.check_rights(provider, write=write)

    reading, full = ReadOnly(":memory:"), LocalD1(":memory:")
    checks = asyncio.run(scene(reading, True))
    assert [(check.name, check.ok) for check in checks] == [
        ("list", True),
        ("read", True),
        ("write", False),
        ("delete", False),
    ]
    assert checks[2].advice is not None
    assert "D1: Edit" in checks[2].advice
    assert [check.name for check in asyncio.run(scene(full, False))] == ["list", "read"]
    assert full.connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    assert all(check.ok for check in asyncio.run(scene(full, True)))
    for database in (reading, full):
        database.close()


def test_an_open_circuit_is_said(cloudflare: Emulator) -> None:
    """After many failures calls are held back, and the check says since when and why."""
    cloudflare.fault(".*/raw", times=None, status=503, code=10001, message="down")

    async def scene() -> Check:
        breaker = BreakerPolicy(consecutive_failures=2, minimum_outage_seconds=0)
        client = client_of(cloudflare, breaker=breaker, retry=RetryPolicy(attempts=1))
        database_id = cloudflare.known.databases[0]
        async with client, D1Provider(database_id=database_id, client=client) as provider:
            for _ in range(2):
                with pytest.raises(TransportError):
                    await provider.read_item("t", "a")
            cloudflare.clear_faults()
            return (await provider.checks())[-1]

    check = asyncio.run(scene())
    assert (check.name, check.ok) == ("circuit", False)
    assert "unavailable for" in check.detail


def test_nothing_shows_the_token() -> None:
    """Neither the provider's repr nor what hangs on it."""
    provider = D1Provider(account_id=ACCOUNT, database_id=DATABASE, token=TOKEN)
    assert repr(provider) == "d1"
    assert TOKEN not in repr(vars(provider))


def test_a_missing_library_is_named_with_the_extra() -> None:
    """Importing costs nothing; making one says what to install."""
    program = (
        "import sys; sys.modules['httpx'] = None\n"
        "from storage_providers.providers.d1 import D1Provider\n"
        "try:\n    D1Provider(account_id='a', database_id='b', token='c')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == (
        "ConfigurationError D1Provider needs: pip install 'storage-providers[cloudflare]'\n"
    )


def test_a_borrowed_client_stays_open(cloudflare: Emulator) -> None:
    """Two providers share one; it is closed by whoever made it."""

    async def scene() -> None:
        cloudflare.empty_database(cloudflare.known.databases[0])
        client = client_of(cloudflare)
        for _ in range(2):
            async with D1Provider(
                database_id=cloudflare.known.databases[0], client=client
            ) as provider:
                await provider.put_item("t", {"id": "a"})
        await client.disconnect()

    asyncio.run(scene())


def test_a_wrong_database_and_a_wrong_token(cloudflare: Emulator) -> None:
    """Each is an error of its own."""
    known = cloudflare.known

    async def scene(database: str, token: str) -> None:
        client = CloudflareClient(account_id=ACCOUNT, token=token, base_url=known.api)
        async with client, D1Provider(database_id=database, client=client) as provider:
            await provider.read_item("t", "a")

    with pytest.raises(ConfigurationError, match="no such database"):
        asyncio.run(scene("00000000-0000-4000-8000-0000000000ff", known.token))
    with pytest.raises(errors.AuthenticationError):
        asyncio.run(scene(known.databases[0], "wrong-token-00000"))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "message",
    [
        "Network connection lost.",
        "internal error; reference = 0123456789abcdef",
        "D1 DB storage caused object to be reset.",
        "D1 DB reset because its code was updated.",
    ],
)
def test_a_passing_fault_is_passed_over(cloudflare: Emulator, message: str, after: bool) -> None:
    """Whether the batch had been carried out or not: it is sent again, and lands once."""

    async def scene() -> None:
        cloudflare.empty_database(cloudflare.known.databases[0])
        client = client_of(cloudflare)
        provider = D1Provider(database_id=cloudflare.known.databases[0], client=client)
        async with client, provider:
            await provider.create_item("t", {"id": "a", "n": 0})
            cloudflare.clear_log()
            cloudflare.fault("POST .*/raw", status=500, code=7500, message=message, after=after)
            item = await provider.create_item("t", {"id": "b"})
            assert len(cloudflare.log()) == 2
            assert await provider.read_item("t", "b") == item

            def count(document: dict[str, Any]) -> dict[str, Any]:
                return {**document, "n": document["n"] + 1}

            read = {"status": 500, "code": 7500, "message": message}
            cloudflare.fault("POST .*/raw", times=1, **read)
            modified = await provider.modify_item("t", "a", count)
            assert modified.document["n"] == 1

    asyncio.run(scene())


def test_a_lasting_fault_is_not_tried_again(cloudflare: Emulator) -> None:
    """The same number with another message; nothing of the message is shown."""

    async def scene() -> None:
        cloudflare.empty_database(cloudflare.known.databases[0])
        client = client_of(cloudflare)
        provider = D1Provider(database_id=cloudflare.known.databases[0], client=client)
        async with client, provider:
            await provider.create_item("t", {"id": "a"})
            cloudflare.clear_log()
            cloudflare.fault(
                "POST .*/raw",
                times=None,
                status=400,
                code=7500,
                message='near "the-diary": syntax error at offset 9: SQLITE_ERROR',
            )
            with pytest.raises(errors.StorageError) as caught:
                await provider.put_item("t", {"id": "a"})
            assert "the-diary" not in str(caught.value)
            assert not caught.value.retryable
            assert len(cloudflare.log()) == 1

    asyncio.run(scene())


# --- tables and declarations -------------------------------------------------------------------


def test_dropped_tables_are_made_anew() -> None:
    """Somebody restored the database to before they were made: the next write makes them."""

    async def scene() -> None:
        database = LocalD1(":memory:")
        async with local_provider(database, clock=ManualClock().clock) as provider:
            await provider.write([Put("t", {"id": "a"}), Put("u", {"id": "a"})])
            for table in ("c_t", "c_u", "sp_declarations", *(f"sp_landed_{n}" for n in range(4))):
                database.connection.execute(f"DROP TABLE IF EXISTS {table}")
            assert await provider.read_item("t", "a") is None
            await provider.write([Put("t", {"id": "b"}), Clear("u")])
            assert await provider.read_item("t", "b") is not None
            database.connection.execute("DROP TABLE c_t")
            assert (await provider.list_items("t")).items == []
            database.connection.execute("DROP TABLE sp_declarations")
            await provider.declare(CollectionSpec(collection="t", indexes=(Index.of("n"),)))
            assert await provider.count_items("t") == 0
        database.close()

    asyncio.run(scene())


def test_a_declaration_changed_meanwhile_is_noticed() -> None:
    """What another process builds or drops between looking and building is not undone."""

    async def scene() -> None:
        database, clock = LocalD1(":memory:"), ManualClock()
        mine = local_provider(database, clock=clock.clock)
        other = local_provider(database, clock=clock.clock)
        async with mine, other:
            await other.declare(CollectionSpec(collection="u/t", indexes=(Index.of("a"),)))
            await mine.declared("t")
            number = len(database.calls)

            async def declare() -> None:
                await other.declare(
                    CollectionSpec(collection="u/t", indexes=(Index.of("tags", each=True),))
                )

            database.after[number] = declare
            await mine.declare(CollectionSpec(collection="t", text_fields=("v",)))
            await mine.put_items("u/t", [{"id": "a", "tags": ["x"]}])
            await mine.put_items("t", [{"id": "a", "v": "plants"}])
            assert await other.count_items("u/t", where={"tags": {"$contains": "x"}}) == 1
            assert await mine.count_items("t", where={"$text": "plants"}) == 1
            names = [
                row[0] for row in database.connection.execute("SELECT name FROM sqlite_master")
            ]
            assert not [name for name in names if ":by:a" in name]
            assert [name for name in names if ":each:tags" in name]
        database.close()

    asyncio.run(scene())


def test_a_dropped_index_is_noticed_by_queries() -> None:
    """A query on what another process dropped is asked again with what is declared now."""

    async def scene() -> None:
        database, clock = LocalD1(":memory:"), ManualClock()
        mine = local_provider(database, clock=clock.clock)
        other = local_provider(database, clock=clock.clock)
        async with mine, other:
            await mine.declare(
                CollectionSpec(
                    collection="t", indexes=(Index.of("tags", each=True),), text_fields=("v", "w")
                )
            )
            await mine.put_item("t", {"id": "a", "tags": ["x"], "v": "plants"})
            await other.declare(CollectionSpec(collection="t"))
            assert await mine.count_items("t", where={"tags": {"$contains": "x"}}) == 1
            with pytest.raises(UnsupportedOperationError):
                await mine.count_items("t", where={"$text": "plants"})
        database.close()

    asyncio.run(scene())


def test_more_declarations_than_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then each is asked for by itself, and remembered for a minute."""
    monkeypatch.setattr(knowledge, "DECLARATIONS_READ", 3)

    async def scene() -> None:
        database, clock = LocalD1(":memory:"), ManualClock()
        mine = local_provider(database, clock=clock.clock)
        other = local_provider(database, clock=clock.clock)
        async with mine, other:
            specs = [
                CollectionSpec(collection=f"u{n}/t", default_ttl_seconds=n + 1) for n in range(6)
            ]
            for spec in specs:
                await mine.declare(spec)
            assert [await other.declared(spec.collection) for spec in specs] == specs
            assert await other.declared("x/t") is None
            calls = len(database.calls)
            clock.advance(59)
            assert [await other.declared(spec.collection) for spec in specs] == specs
            assert len(database.calls) == calls
            await other.put_item("u1/t", {"id": "a"})
            assert len(database.calls) == calls + 1
            assert len(database.calls[-1]) < 12
            clock.advance(2)
            assert await other.declared("u1/t") == specs[1]
            assert len(database.calls) == calls + 2
        database.close()

    asyncio.run(scene())


def test_tasks_that_begin_at_once_ask_once() -> None:
    """Twenty writes to twenty collections of a new process: one call for all declarations."""

    async def scene() -> None:
        database = LocalD1(":memory:")
        async with local_provider(database) as provider, asyncio.TaskGroup() as tasks:
            for n in range(20):
                tasks.create_task(provider.create_item(f"u{n}/t", {"id": "a"}))
        assert len(database.calls) == 21
        database.close()

    asyncio.run(scene())


def test_an_empty_collection_of_the_sdk_is_given_back() -> None:
    """Its table is dropped; one that holds something, or is the user's, stays."""

    async def scene() -> None:
        database = LocalD1(":memory:")
        async with local_provider(database) as provider:
            await provider.discard(".never")
            for name in (".probe", ".kept", "users"):
                await provider.put_item(name, {"id": "a"})
            await provider.delete_items(".probe", ["a"])
            await provider.clear_collection("users")
            for name in (".probe", ".kept", "users"):
                await provider.discard(name)
            names = [
                name
                for (name,) in database.connection.execute(
                    "SELECT name FROM sqlite_master WHERE type='table' AND name LIKE 'c_%'"
                )
            ]
            assert sorted(names) == ["c_.kept", "c_users"]
            await provider.put_item(".probe", {"id": "b"})
        database.close()

    asyncio.run(scene())


# --- time travel -------------------------------------------------------------------------------


def test_there_and_back(cloudflare: Emulator) -> None:
    """A state is named, in a database known by its name, and gone back to, and forth."""
    cloudflare.empty_database(cloudflare.known.databases[0])

    async def scene() -> None:
        client = client_of(cloudflare)
        async with client, D1Provider(database_name="database-1", client=client) as provider:
            info = await provider.database_info()
            assert (info.id, info.name) == (cloudflare.known.databases[0], "database-1")
            empty = await provider.bookmark()
            await provider.put_item("t", {"id": "a"})
            full = await provider.restore(empty)
            assert full > empty
            assert await provider.collections() == []
            await provider.put_item("t", {"id": "b"})
            await provider.restore(full)
            assert [item.id async for item in provider.find_items("t")] == ["a"]

    asyncio.run(scene())


def test_restoring_forgets_what_was_known(cloudflare: Emulator) -> None:
    """The call is the service's (workerd has none); afterwards tables are made anew."""
    database_id = cloudflare.known.databases[0]
    cloudflare.empty_database(database_id)
    seen: list[str] = []

    class Restoring(httpx.AsyncBaseTransport):
        def __init__(self) -> None:
            self.inner = httpx.AsyncHTTPTransport(verify=False)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "/time_travel/restore" not in request.url.path:
                return await self.inner.handle_async_request(request)
            seen.append(f"{request.method} {request.url.params['bookmark']}")
            await asyncio.to_thread(cloudflare.empty_database, database_id)
            result = {"bookmark": "b", "previous_bookmark": "c"}
            envelope = {"success": True, "result": result, "errors": [], "messages": []}
            return httpx.Response(200, json=envelope)

        async def aclose(self) -> None:
            await self.inner.aclose()

    async def scene() -> None:
        async with httpx.AsyncClient(transport=Restoring(), trust_env=False) as http:
            client = client_of(cloudflare, http=http)
            async with client, D1Provider(database_id=database_id, client=client) as provider:
                await provider.declare(CollectionSpec(collection="t", default_ttl_seconds=60))
                await provider.put_item("t", {"id": "a"})
                assert await provider.restore("earlier") == "c"
                assert await provider.declared("t") is None
                assert await provider.read_item("t", "a") is None
                await provider.put_item("t", {"id": "b"})

    asyncio.run(scene())
    assert seen == ["POST earlier"]


# --- in a Worker -------------------------------------------------------------------------------


class FakeBinding:
    """`env.DB` of a Python Worker over the D1 of workerd; its rows are dictionaries.

    No Python Worker starts here, since its interpreter is downloaded at the first start.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._known = emulator.known

    def prepare(self, sql: str) -> FakeStatement:
        """A statement."""
        return FakeStatement(sql)

    async def batch(self, statements: list[FakeStatement]) -> list[Mapping[str, Any]]:
        """Run them as one transaction."""
        known = self._known
        address = f"{known.api}/accounts/{known.account}/d1/database/{known.databases[0]}/query"
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(
                address,
                headers={"Authorization": f"Bearer {known.token}"},
                json={"batch": [{"sql": each.sql, "params": each.values} for each in statements]},
            )
        envelope = answer.json()
        if not envelope["success"]:
            raise JsError(f"D1_ERROR: {envelope['errors'][0]['message']}")
        found: list[Mapping[str, Any]] = envelope["result"]
        return found


class FakeStatement:
    """A prepared statement."""

    def __init__(self, sql: str, values: tuple[Any, ...] = ()) -> None:
        self.sql = sql
        self.values = values

    def bind(self, *values: Any) -> FakeStatement:
        """The statement with its values."""
        return FakeStatement(self.sql, values)


class JsError(Exception):
    """What the runtime raises."""


def test_a_workers_binding(cloudflare: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same provider on `env.DB`: conditions, patches, queries, text, payloads."""
    from storage_providers.cloudflare import bindings

    monkeypatch.setattr(bindings, "javascript_error", lambda: JsError)

    async def scene() -> None:
        cloudflare.empty_database(cloudflare.known.databases[0])
        async with D1Provider(binding=FakeBinding(cloudflare)) as provider:
            await provider.declare(
                CollectionSpec(collection="t", indexes=(Index.of("n"),), text_fields=("v",))
            )
            items = await provider.create_items(
                "t", [{"id": f"{n}", "n": n, "v": "plants"} for n in range(5)]
            )
            assert await provider.read_items("t", [item.id for item in items]) == items
            with pytest.raises(errors.ItemExistsError):
                await provider.create_item("t", {"id": "1"})
            patched = await provider.update_item("t", "1", {"n": 2**53 + 1})
            assert await provider.read_item("t", "1") == patched
            page = await provider.list_items(
                "t", where={"$text": "plants"}, order_by="-n", limit=2, total=True
            )
            assert ([item.id for item in page.items], page.total) == (["1", "4"], 5)
            await provider.write([Put("t", {"id": "x"}, encoding="raw", payload=b"\x00\xff")])
            item = await provider.read_item("t", "x")
            assert item is not None
            assert item.payload == b"\x00\xff"
            assert await provider.collections() == ["t"]
            with pytest.raises(UnsupportedOperationError, match="binding"):
                await provider.bookmark()

    asyncio.run(scene())


# --- what lies in the tables -------------------------------------------------------------------


def test_the_tables_are_sqlites_own(cloudflare: Emulator) -> None:
    """Other programs find documents where SQLiteProvider's layout says."""

    async def scene() -> None:
        client = client_of(cloudflare)
        cloudflare.empty_database(cloudflare.known.databases[0])
        async with (
            client,
            D1Provider(database_id=cloudflare.known.databases[0], client=client) as provider,
        ):
            await provider.write([Put("u/t", {"id": "a", "n": 1.0})])

    asyncio.run(scene())
    (rows,) = raw(cloudflare, ("SELECT scope,id,body,typeof(expires_at) FROM c_t", []))
    assert rows == [["u", "a", '{"id":"a","n":1.0}', "null"]]
