"""The store and the default client of aioboto3, each talking to a canned server."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks._harness import Sample

__all__ = ["BUCKET", "KEYS", "bare_client", "canned_server", "cpu_of", "many", "our_store"]

BUCKET = "bench"
UNCHECKED = "-"
KEYS = [f"notes/item-{number:06}.json" for number in range(20_000)]
"""More than any cache of botocore holds."""


@asynccontextmanager
async def canned_server(delay_seconds: float = 0.0) -> AsyncGenerator[str]:
    """Start a canned server in a process of its own; gives its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("_server.py")),
        str(delay_seconds),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def our_store(endpoint: str, concurrency: int) -> AsyncGenerator[Any]:
    """The driver, open."""
    from storage_providers.providers._r2 import R2Config, R2Store

    config = R2Config(
        bucket=BUCKET,
        endpoint_url=endpoint,
        access_key_id="key",
        secret_access_key=UNCHECKED,
        concurrency=concurrency,
    )
    store = R2Store(config)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def bare_client(endpoint: str) -> AsyncGenerator[Any]:
    """aioboto3's client as it comes."""
    session = import_module("aioboto3").Session()
    async with session.client(
        "s3",
        endpoint_url=endpoint,
        region_name="auto",
        aws_access_key_id="key",
        aws_secret_access_key=UNCHECKED,
    ) as client:
        yield client


def cpu_of(work: Callable[[], Awaitable[object]], operations: int) -> Sample:
    """The sample that takes the CPU time of this process for `work`, as `operations` operations."""

    async def sample() -> float:
        started = time.process_time()
        await work()
        return (time.process_time() - started) / operations

    return sample


async def many(call: Callable[[str], Awaitable[object]], keys: list[str], tasks: int) -> None:
    """Make a call for each key, by so many tasks."""
    waiting = iter(keys)

    async def worker() -> None:
        for key in waiting:
            await call(key)

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(worker())
