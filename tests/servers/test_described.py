"""The API's description is there or its absence is said, and it can find what departs from it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from storage_providers.cloudflare._http import Reply
from storage_providers.cloudflare.d1 import D1Database, D1Databases
from storage_providers.cloudflare.kv import KVEntry, KVNamespace
from tests.providers.d1.workerd import client_of
from tests.servers.described import DESCRIPTION, Description, Exchange
from tests.servers.emulator import Emulator

RAW = "http://x/client/v4/accounts/0/d1/database/00000000-0000-4000-8000-000000000001/raw"
META = {"duration": 0.1, "changes": 0, "rows_read": 1, "rows_written": 0}


@pytest.fixture
def held(description: Description | None) -> Description:
    """The description."""
    if description is None:
        place = f"../{'/'.join(DESCRIPTION.parts[-3:])}"
        pytest.skip(f"calls are not held to the API's description: no {place}, or no openapi-core")
    return description


def exchange(sent: Any, result: Any, *, url: str = RAW, **envelope: Any) -> Exchange:
    """A call of D1 and its answer."""
    whole = {"success": True, "errors": [], "messages": [], "result": result, **envelope}
    headers = {"content-type": "application/json"}
    reply = Reply(200, headers, json.dumps(whole).encode())
    return Exchange("POST", url, list(headers.items()), json.dumps(sent).encode(), reply)


def test_what_is_as_described_passes(held: Description) -> None:
    """A statement and its rows."""
    result = [{"results": {"columns": ["1"], "rows": [[1]]}, "success": True, "meta": META}]
    assert held.faults_of(exchange({"sql": "SELECT 1"}, result)) == []
    assert held.faults_of(exchange({"batch": [{"sql": "SELECT 1"}]}, result)) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (exchange({"statement": "SELECT 1"}, []), "the call: "),
        (exchange([{"sql": "SELECT 1"}], []), "the call: "),
        (exchange({"sql": "SELECT 1"}, {"rows": []}), "the answer 200: result breaks 'type'"),
        (exchange({"sql": "SELECT 1"}, [], success="yes"), "the answer 200: success"),
        (exchange({"sql": "SELECT 1"}, [], errors=[{"code": "a"}]), "the answer 200: errors/0"),
        (exchange({"sql": "SELECT 1"}, [], url=RAW.replace("raw", "rows")), "PathNotFound"),
    ],
)
def test_what_departs_is_found(held: Description, found: Exchange, words: str) -> None:
    """In calls, answers and addresses, without repeating what they hold."""
    faults = "; ".join(held.faults_of(found))
    assert words in faults
    assert "SELECT" not in faults


def test_a_departure_fails_the_test_that_made_it(held: Description, cloudflare: Emulator) -> None:
    """Calls to the local Cloudflare are held to it, unless the test itself chose the answer."""

    async def call(path: str) -> None:
        async with client_of(cloudflare) as client:
            await client._http.send(
                "GET",
                f"{cloudflare.known.api}/{path}",
                [("authorization", f"Bearer {cloudflare.known.token}")],
                None,
            )

    with (
        pytest.raises(AssertionError, match="PathNotFound"),
        held.holding(cloudflare.known.api),
    ):
        asyncio.run(call("nowhere"))
    cloudflare.fault("nowhere", raw="broken")
    with held.holding(cloudflare.known.api):
        asyncio.run(call("nowhere"))


def test_what_the_client_calls_is_described(held: Description, cloudflare: Emulator) -> None:
    """Everything that D1 and Workers KV are used for; the fixture holds it to the description."""
    known = cloudflare.known

    async def play() -> None:
        async with client_of(cloudflare) as client:
            databases, kv = D1Databases(client), KVNamespace(client, known.namespaces[0])
            d1 = D1Database(client, known.databases[0])
            assert await databases.find("database-1")
            await d1.info()
            await d1.raw([("SELECT ?, ?, ?", ["a", 1, None]), ("SELECT 1 WHERE 0", [])])
            await d1.raw([("SELECT ?", ["a"])])
            await d1.restore(bookmark=(await d1.bookmark()).bookmark)
            await kv.put_many([KVEntry(key="a", value="1", metadata={"m": "x"})])
            await kv.put_many([KVEntry(key="b", value=b"\xff")])
            await kv.put(KVEntry(key="c/d", value="1"))
            assert await kv.get_many(["a", "none"])
            await kv.get_metadata("a")
            await kv.get("none")
            await kv.list_keys(prefix="a", limit=10)
            await kv.delete_many(["a", "b", "c/d"])

    with held.holding(known.api):
        asyncio.run(play())
    namespace, database = known.namespaces[0], known.databases[0]
    assert {
        "GET d1/database",
        *(f"{line.replace('*', f'd1/database/{database}')}" for line in ("GET *", "POST */raw")),
        f"GET d1/database/{database}/time_travel/bookmark",
        f"POST d1/database/{database}/time_travel/restore",
        f"PUT storage/kv/namespaces/{namespace}/bulk",
        f"POST storage/kv/namespaces/{namespace}/bulk/get",
        f"POST storage/kv/namespaces/{namespace}/bulk/delete",
        f"GET storage/kv/namespaces/{namespace}/keys",
        f"GET storage/kv/namespaces/{namespace}/metadata/a",
    } <= held.routes
