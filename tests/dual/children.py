"""Programs of their own on two sides: one writes, one migrates and is killed on the way.

python -m tests.dual.children writer|runner ARGUMENTS
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from storage_providers.base import Provider
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.errors import (
    ItemNotFoundError,
    OutcomeUnknownError,
    StorageError,
    VersionMismatchError,
)
from storage_providers.layers import Call, Layer, compose
from storage_providers.providers.d1 import D1Provider
from storage_providers.providers.dual_write import DualWriteProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.r2 import CloudflareR2Provider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.resilience import RetryPolicy, Timing
from storage_providers.transfer.migration import Migration

T = TypeVar("T")

LEASE_SECONDS = 0.5
SHARED = 5
"""Documents that every writer counts up."""


def opened(place: dict[str, Any]) -> Provider:
    """The provider of a place."""
    options = dict(place)
    kind = options.pop("kind")
    if kind == "file":
        return LocalFileProvider(options["path"])
    if kind == "sqlite":
        return SQLiteProvider(options["path"])
    if kind == "r2":
        quick = Timing(sleep=lambda seconds: asyncio.sleep(seconds / 10))
        return CloudflareR2Provider(options.pop("bucket"), timing=quick, **options)
    client = CloudflareClient(
        account_id=options["account"],
        token=options["token"],
        base_url=options["base_url"],
        rate_limit=None,
        retry=RetryPolicy(base_delay_seconds=0.01),
    )
    return Owning(client).wrap(D1Provider(database_id=options["database"], client=client))


class Owning(Layer):
    """Opens and closes a client with its provider."""

    def __init__(self, client: CloudflareClient) -> None:
        super().__init__()
        self.client = client

    async def connect(self) -> None:
        await self.client.connect()
        await super().connect()

    async def disconnect(self) -> None:
        await super().disconnect()
        await self.client.disconnect()


class Dying(Layer):
    """Ends the process at one of its calls: before it, or when nobody has heard of it yet."""

    left = 0

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        self._pass()
        answer = await proceed()
        self._pass()
        return answer

    @staticmethod
    def _pass() -> None:
        Dying.left -= 1
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def tell(*words: object) -> None:
    """Say something to who started us."""
    print(json.dumps(words), flush=True)


async def write(arguments: dict[str, Any]) -> None:
    """Write until told to stop; say of each write what became of it."""
    who, chance = arguments["who"], random.Random(arguments["who"])
    stop = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    pair = DualWriteProvider(
        source=opened(arguments["source"]),
        target=opened(arguments["target"]),
        lease_seconds=LEASE_SECONDS,
    )
    async with pair:
        tell("ready")
        turn = 0
        while not stop.done():
            turn += 1
            await _write_once(pair, who, turn, chance)
            await asyncio.sleep(arguments["pause_seconds"])
    tell("end")


async def _write_once(pair: DualWriteProvider, who: str, turn: int, chance: random.Random) -> None:
    shared = f"shared{chance.randrange(SHARED)}"
    own = f"{who}-{turn % 20}"
    is_shared = turn % 2 == 0
    try:
        if is_shared:
            token = f"{who}-{turn}"
            await pair.modify_item(
                "things",
                shared,
                lambda found: {**found, "by": [*found["by"], token]},
                deadline_seconds=60,
            )
        elif chance.random() < 0.3:
            await pair.delete_item("things", own)
            turn = 0
        else:
            await pair.put_item("things", {"id": own, "turn": turn})
    except OutcomeUnknownError:
        tell("maybe", shared if is_shared else own, turn, who)
    except (VersionMismatchError, ItemNotFoundError, StorageError) as error:
        tell("failed", type(error).__name__, str(error))
    else:
        tell("done", shared if is_shared else own, turn, who)


async def migrate(arguments: dict[str, Any]) -> None:
    """Carry the migration on, dying at one call if that is asked for."""
    Dying.left = arguments["calls"]
    source, target = (
        compose(Dying(), provider=opened(arguments[side])) for side in ("source", "target")
    )
    migration = Migration(source=source, target=target, lease_seconds=LEASE_SECONDS)
    async with migration:
        status = await migration.run()
    tell(status.phase)


if __name__ == "__main__":
    asyncio.run({"writer": write, "runner": migrate}[sys.argv[1]](json.loads(sys.argv[2])))
