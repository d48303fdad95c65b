"""Calls of the REST API: processor time of this process, beside a bare `httpx.AsyncClient`."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks._harness import Run, Sample
from benchmarks.suites.cloudflare._server import served
from storage_providers.resilience import Effect, RateLimit, map_bounded

if TYPE_CHECKING:
    import httpx

    from storage_providers.cloudflare.d1 import D1Database

__all__ = ["call_alone", "calls_at_once", "calls_without_aiohttp", "large_answers", "own_share"]

ACCOUNT = "a" * 32
AT_ONCE = 16
BARE = "httpx.AsyncClient().post(…, json=…) and .json(), with its own settings"
STATEMENT = "SELECT id, body FROM todos WHERE id = ? -- " + "x" * 950
VALUES = ["id-1"]


async def calls_at_once(run: Run) -> None:
    """Sixteen calls in flight, a statement of 1 KB each."""
    await _against_bare(run, f"a call of 1 KB, {AT_ONCE} at once", goal=0.4)


async def call_alone(run: Run) -> None:
    """One call after the other."""
    await _against_bare(run, "a call of 1 KB, one after the other", goal=None, at_once=1)


async def large_answers(run: Run) -> None:
    """Answers of a thousand rows."""
    await _against_bare(
        run, f"1,000 rows of 300 B, {AT_ONCE} at once", goal=None, database="large", calls=100
    )


async def calls_without_aiohttp(run: Run) -> None:
    """The same where `httpx-aiohttp` is not installed."""
    name = f"a call of 1 KB, {AT_ONCE} at once, without aiohttp"
    await _against_bare(run, name, goal=None, fast=False)


async def own_share(run: Run) -> None:
    """What the client adds to the transport it uses."""
    name = f"a call of 1 KB, {AT_ONCE} at once, beside its transport"
    if not _installed("httpx_aiohttp"):
        run.missing(
            name, "httpx-aiohttp is not installed", unit="ms", goal=None, higher_is_better=False
        )
        return
    import httpx
    import httpx_aiohttp

    with served() as base:
        transport = httpx_aiohttp.AiohttpTransport(verify=False, limits=_limits())
        content = b'{"sql":"' + STATEMENT.encode() + b'","params":["id-1"]}'

        async def carry() -> None:
            request = httpx.Request(
                "POST", _address(base, "small"), headers=_HEADERS, content=content
            )
            response = await transport.handle_async_request(request)
            await response.aread()

        async with _ours(base, "small", fast=True) as ours:
            await run.compare(
                name,
                _cost(ours, _calls(run), AT_ONCE),
                _cost(carry, _calls(run), AT_ONCE),
                unit="ms",
                against="the same request given to httpx-aiohttp's transport by hand",
                goal=None,
            )
        await transport.aclose()


# --- contestants -------------------------------------------------------------------------------

_HEADERS = {"authorization": "Bearer token", "content-type": "application/json"}


async def _against_bare(
    run: Run,
    name: str,
    *,
    goal: float | None,
    at_once: int = AT_ONCE,
    database: str = "small",
    calls: int = 400,
    fast: bool = True,
) -> None:
    if not _installed("httpx"):
        run.missing(name, "httpx is not installed", unit="ms", goal=goal, higher_is_better=False)
        return
    import httpx

    number = _calls(run, calls)
    with served() as base:
        async with httpx.AsyncClient() as client, _ours(base, database, fast=fast) as ours:

            async def bare() -> None:
                body = {"sql": STATEMENT, "params": VALUES}
                answer = await client.post(_address(base, database), headers=_HEADERS, json=body)
                answer.json()

            await run.compare(
                name,
                _cost(ours, number, at_once),
                _cost(bare, number, at_once),
                unit="ms",
                against=BARE,
                goal=goal,
                rounds=11,
            )


@asynccontextmanager
async def _ours(
    base: str, database: str, *, fast: bool
) -> AsyncGenerator[Callable[[], Awaitable[object]], None]:
    from storage_providers.cloudflare.client import CloudflareClient
    from storage_providers.cloudflare.d1 import D1Database

    # Counted as ever, but by more calls than are made.
    client = CloudflareClient(
        ACCOUNT,
        f"token {database} {fast}".replace(" ", "-"),
        base_url=base,
        concurrency=AT_ONCE,
        rate_limit=RateLimit(calls=10_000_000),
    )
    with _without("httpx_aiohttp", when=not fast):
        await client.connect()
    try:
        yield _call_of(D1Database(client, database))
    finally:
        await client.disconnect()


def _call_of(database: D1Database) -> Callable[[], Awaitable[object]]:
    return lambda: database.raw([(STATEMENT, VALUES)], effect=Effect.READ)


def _cost(call: Callable[[], Awaitable[object]], calls: int, at_once: int) -> Sample:
    """Processor seconds of this process for each call."""

    async def sample() -> float:
        began = time.process_time()
        await map_bounded(lambda _: call(), range(calls), limit=at_once)
        return (time.process_time() - began) / calls

    return sample


def _calls(run: Run, calls: int = 400) -> int:
    return run.size(calls, 20)


def _address(base: str, database: str) -> str:
    return f"{base}/accounts/{ACCOUNT}/d1/database/{database}/raw"


def _limits() -> httpx.Limits:
    import httpx

    return httpx.Limits(max_connections=AT_ONCE)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@contextmanager
def _without(module: str, *, when: bool) -> Generator[None]:
    """Have an import fail, as where it is not installed."""
    if not when:
        yield
        return
    modules: dict[str, Any] = sys.modules
    kept = modules.get(module)
    modules[module] = None
    try:
        yield
    finally:
        if kept is None:
            del modules[module]
        else:
            modules[module] = kept
