"""What the driver for R2 costs and how fast it is, beside aioboto3's client as it comes."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

from benchmarks._harness import Case, Run, timed
from benchmarks.suites.r2._contestants import (
    BUCKET,
    KEYS,
    bare_client,
    canned_server,
    cpu_of,
    many,
    our_store,
)
from benchmarks.suites.r2._server import DOCUMENT
from storage_providers.providers._objects import Metadata, ObjectPut

__all__ = ["CASES", "PEERS"]

PEERS = ("aioboto3", "aiobotocore", "botocore", "aiohttp")

TASKS = 32
WRITERS = 64
DELAY_SECONDS = 0.020
WRITE = "0192f0c3a7e57a7f8d3b4c5d6e7f8091"


def _puts(keys: list[str]) -> list[ObjectPut]:
    return [ObjectPut(key=key, data=DOCUMENT, metadata=Metadata(token=WRITE)) for key in keys]


async def put_cpu(run: Run) -> None:
    """CPU of a put of 1 KB, 32 in flight, every key another."""
    count = run.size(400, 64)
    async with (
        canned_server() as endpoint,
        our_store(endpoint, TASKS) as store,
        bare_client(endpoint) as client,
    ):
        ours, theirs = cycle(KEYS), cycle(KEYS)

        async def put() -> None:
            await store.put(_puts(list(islice(ours, count))))

        async def bare_put(key: str) -> None:
            await client.put_object(
                Bucket=BUCKET,
                Key=key,
                Body=DOCUMENT,
                ContentType="application/json",
                Metadata={"token": WRITE},
            )

        async def bare() -> None:
            await many(bare_put, list(islice(theirs, count)), TASKS)

        await run.compare(
            f"R2: put of 1 KB, {TASKS} in flight, CPU",
            cpu_of(put, count),
            cpu_of(bare, count),
            unit="ms/put",
            against="put_object of the default client, the same 1 KB, as many tasks",
            goal=0.9,
        )


async def get_cpu(run: Run) -> None:
    """CPU of a read of 1 KB, 32 in flight, every key another."""
    count = run.size(400, 64)
    async with (
        canned_server() as endpoint,
        our_store(endpoint, TASKS) as store,
        bare_client(endpoint) as client,
    ):
        ours, theirs = cycle(KEYS), cycle(KEYS)

        async def get() -> None:
            found = await store.get(list(islice(ours, count)))
            assert all(each.data == DOCUMENT for each in found)

        async def bare_get(key: str) -> None:
            answer: dict[str, Any] = await client.get_object(Bucket=BUCKET, Key=key)
            async with answer["Body"] as body:
                assert await body.read() == DOCUMENT

        async def bare() -> None:
            await many(bare_get, list(islice(theirs, count)), TASKS)

        await run.compare(
            f"R2: read of 1 KB, {TASKS} in flight, CPU",
            cpu_of(get, count),
            cpu_of(bare, count),
            unit="ms/read",
            against="get_object of the default client and its body, as many tasks",
            goal=0.9,
        )


async def list_cpu(run: Run) -> None:
    """CPU of a page of 1,000 keys."""
    pages = run.size(4, 2)
    async with (
        canned_server() as endpoint,
        our_store(endpoint, TASKS) as store,
        bare_client(endpoint) as client,
    ):

        async def ours() -> None:
            for _ in range(pages):
                assert len((await store.list("notes/")).entries) == 1000

        async def bare() -> None:
            for _ in range(pages):
                answer = await client.list_objects_v2(Bucket=BUCKET, Prefix="notes/")
                assert len(answer["Contents"]) == 1000

        await run.compare(
            "R2: page of 1,000 keys, CPU",
            cpu_of(ours, pages),
            cpu_of(bare, pages),
            unit="ms/page",
            against="list_objects_v2 of the default client, the same page",
            goal=0.4,
        )


async def put_throughput(run: Run) -> None:
    """Puts by 64 writers where every answer takes 20 ms longer."""
    count = run.size(640, 64)
    async with canned_server(DELAY_SECONDS) as endpoint, bare_client(endpoint) as client:
        theirs = cycle(KEYS)

        async def bare_put(key: str) -> None:
            await client.put_object(Bucket=BUCKET, Key=key, Body=DOCUMENT)

        async def bare() -> None:
            await many(bare_put, list(islice(theirs, count // 4)), WRITERS)

        for concurrency, goal in ((WRITERS, 5.0), (TASKS, None)):
            async with our_store(endpoint, concurrency) as store:
                ours = cycle(KEYS)

                async def put(store: Any = store, ours: Any = ours) -> None:
                    async def one(key: str) -> None:
                        (version,) = await store.put(_puts([key]))
                        assert isinstance(version, str)

                    await many(one, list(islice(ours, count)), WRITERS)

                await run.compare(
                    f"R2: {WRITERS} writers, 20 ms away, concurrency {concurrency}",
                    timed(put, count),
                    timed(bare, count // 4),
                    unit="ms/put",
                    against=f"put_object of the default client by {WRITERS} tasks",
                    goal=goal,
                    higher_is_better=True,
                    rounds=7,
                )


CASES: tuple[Case, ...] = (put_cpu, get_cpu, list_cpu, put_throughput)
