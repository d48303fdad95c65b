"""Eight processes on one document of one D1: nothing is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from storage_providers._clock import Clock
from tests.providers.d1.workerd import WorkerdBackend
from tests.servers.emulator import Emulator

PROCESSES = 8
TIMES = 50

CHANGE = """
import asyncio, sys
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.providers.d1 import D1Provider

async def main(base, account, token, database, who, times):
    client = CloudflareClient(account_id=account, token=token, base_url=base, rate_limit=None)
    async with client, D1Provider(database_id=database, client=client) as provider:
        def increment(document):
            document["count"] += 1
            return document

        for n in range(times):
            await provider.modify_item("t", "shared", increment, deadline_seconds=120)
            await provider.update_item("t", "shared", {who: n + 1})

asyncio.run(main(*sys.argv[1:6], int(sys.argv[6])))
"""


def test_eight_processes_lose_no_change(cloudflare: Emulator) -> None:
    """Each counts the same document up and sets a field of its own, fifty times."""

    async def scene() -> dict[str, int]:
        backend = WorkerdBackend(cloudflare)
        async with await backend.open(Clock()) as provider:
            await provider.create_item("t", {"id": "shared", "count": 0})
            await asyncio.to_thread(work)
            item = await provider.read_item("t", "shared")
        await backend.close()
        assert item is not None
        return item.document

    def work() -> None:
        known = cloudflare.known
        place = [known.api, known.account, known.token, known.databases[0]]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", CHANGE, *place, f"p{n}", str(TIMES)],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            )
            for n in range(PROCESSES)
        ]
        assert [process.wait(timeout=300) for process in processes] == [0] * PROCESSES

    document = asyncio.run(scene())
    assert document["count"] == PROCESSES * TIMES
    fields = {key: value for key, value in document.items() if key.startswith("p")}
    assert fields == {f"p{n}": TIMES for n in range(PROCESSES)}
