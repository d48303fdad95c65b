"""What Cloudflare's own command line reads of what we wrote, and we of what it wrote."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from storage_providers.protocol import CollectionSpec, Index
from storage_providers.providers.d1 import D1Provider
from storage_providers.providers.kv import CloudflareKVProvider
from tests.providers.d1.workerd import client_of
from tests.servers.emulator import Emulator
from tests.servers.wrangler import wrangler

OURS = {"id": "ours", "title": "Grüße, 世界 & 'so'", "n": 2, "tags": ["a", {"b": None}]}
THEIRS = {"id": "theirs", "title": "it's theirs", "n": 1}


def test_d1(cloudflare: Emulator, tmp_path: Path) -> None:
    """A row is a document, in our tables: read by SQL, and found by an index when SQL wrote it."""
    database_id = cloudflare.known.databases[0]
    cloudflare.empty_database(database_id)

    async def write() -> None:
        async with (
            client_of(cloudflare) as client,
            D1Provider(database_id=database_id, client=client) as provider,
        ):
            spec = CollectionSpec(
                collection="todos", indexes=(Index.of("n"),), text_fields=("title",)
            )
            await provider.declare(spec)
            await provider.put_item("todos", OURS)

    async def read() -> tuple[list[str], list[str]]:
        async with (
            client_of(cloudflare) as client,
            D1Provider(database_id=database_id, client=client) as provider,
        ):
            page = await provider.list_items("todos", order_by="n")
            assert page.statistics.index == "n"
            assert page.items[0].document == THEIRS
            found = await provider.list_items("todos", where={"$text": "theirs"})
            return [item.id for item in page.items], [item.id for item in found.items]

    asyncio.run(write())
    body = json.dumps(THEIRS).replace("'", "''")
    said = wrangler(
        cloudflare,
        tmp_path,
        *("d1", "execute", "database-1", "--yes", "--json", "--command"),
        "SELECT scope, id, body FROM c_todos; INSERT INTO c_todos (scope, id, body, version) "
        f"VALUES ('', 'theirs', '{body}', 'by hand')",
    )
    (row,) = json.loads(said)[0]["results"]
    assert (row["scope"], row["id"]) == ("", "ours")
    document = json.loads(row["body"])
    assert {name: document[name] for name in OURS} == OURS
    assert asyncio.run(read()) == (["theirs", "ours"], ["theirs"])


def test_workers_kv(cloudflare: Emulator, tmp_path: Path) -> None:
    """A key is a document: read as text, and listed and read when wrangler put it."""
    namespace_id = cloudflare.known.namespaces[0]
    cloudflare.empty_namespace(namespace_id)

    async def write() -> None:
        async with (
            client_of(cloudflare) as client,
            CloudflareKVProvider(namespace_id=namespace_id, client=client) as provider,
        ):
            await provider.put_item("todos", OURS)

    async def read() -> list[str]:
        async with (
            client_of(cloudflare) as client,
            CloudflareKVProvider(namespace_id=namespace_id, client=client) as provider,
        ):
            found = await provider.read_item("todos", "theirs")
            assert found is not None
            assert found.document == THEIRS
            return [item.id async for item in provider.find_items("todos")]

    def key(command: str, *arguments: str) -> str:
        return wrangler(
            cloudflare, tmp_path, "kv", "key", command, *arguments, "--namespace-id", namespace_id
        )

    asyncio.run(write())
    document = json.loads(key("get", "todos:ours", "--text"))
    assert {name: document[name] for name in OURS} == OURS
    key("put", "todos:theirs", json.dumps(THEIRS))
    assert [each["name"] for each in json.loads(key("list"))] == ["todos:ours", "todos:theirs"]
    assert asyncio.run(read()) == ["ours", "theirs"]
