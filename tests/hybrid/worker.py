"""One process of a hybrid that others share: does what it is told, and dies where it is told."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from storage_providers.errors import (
    ConflictError,
    ItemNotFoundError,
    OutcomeUnknownError,
    StorageError,
    TransportError,
)
from storage_providers.layers import Call, Layer, compose
from storage_providers.providers._hybrid.journal import Journal
from storage_providers.providers.hybrid import HybridProvider
from storage_providers.providers.sqlite import SQLiteProvider

__all__ = ["COLLECTION", "plain", "serve"]

T = TypeVar("T")

COLLECTION = "things"


def plain(document: dict[str, Any]) -> str:
    """A document without what differs each time, as text that can be compared."""
    hidden = ("id", "createdAt", "updatedAt")
    return json.dumps({k: v for k, v in document.items() if k not in hidden}, sort_keys=True)


class Death:
    """Kills this process for real after so many steps of its work."""

    left = 0

    @classmethod
    def step(cls) -> None:
        """One step: before or after a call of a side, or of the journal."""
        if cls.left > 0:
            cls.left -= 1
            if cls.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Layer):
    """A step before each call and after it was carried out."""

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        Death.step()
        answer = await proceed()
        Death.step()
        return answer


class Network(Layer):
    """What a file says of it, for every process: up, `down`, `lose` answers, or `flaky`."""

    def __init__(self, file: Path, seed: int) -> None:
        super().__init__()
        self.file = file
        self.chance = random.Random(seed)

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        if call.verb == "disconnect":
            return await proceed()
        state = self.file.read_text()
        if state == "flaky":
            state = self.chance.choices(["", "down", "lose"], [6, 2, 2])[0]
        if state == "down":
            raise TransportError("no route")
        if state != "lose":
            return await proceed()
        with suppress(StorageError):  # An error is an answer as well.
            await proceed()
        lost = OutcomeUnknownError if call.verb == "write" else TransportError
        raise lost("the answer was lost")


def _mortal_journal() -> None:
    """Steps around what the journal promises, too."""
    for name in ("append", "finish", "log", "doubt"):
        plain_method = getattr(Journal, name)

        async def method(self: Journal, *args: Any, _do: Any = plain_method, **named: Any) -> Any:
            Death.step()
            answer = await _do(self, *args, **named)
            Death.step()
            return answer

        setattr(Journal, name, method)


async def _never(_: float) -> None:
    await asyncio.Event().wait()


class Worker:
    """The commands."""

    def __init__(self, hybrid: HybridProvider) -> None:
        self.hybrid = hybrid

    async def put(self, item_id: str, fields: dict[str, Any]) -> str:
        return plain((await self.hybrid.put_item(COLLECTION, {"id": item_id, **fields})).document)

    async def create(self, item_id: str, fields: dict[str, Any]) -> str:
        document = {"id": item_id, **fields}
        return plain((await self.hybrid.create_item(COLLECTION, document)).document)

    async def patch(self, item_id: str, changes: dict[str, Any]) -> str:
        return plain((await self.hybrid.update_item(COLLECTION, item_id, changes)).document)

    async def append(self, item_id: str, token: int) -> str:
        def change(document: dict[str, Any]) -> dict[str, Any]:
            return {**document, "log": [*document.get("log", []), token]}

        return plain((await self.hybrid.modify_item(COLLECTION, item_id, change)).document)

    async def delete(self, item_id: str, _: None) -> None:
        await self.hybrid.delete_item(COLLECTION, item_id)

    async def read(self, item_id: str, _: None) -> str | None:
        item = await self.hybrid.read_item(COLLECTION, item_id)
        return None if item is None else plain(item.document)

    async def every(self, _: str, __: None) -> dict[str, str]:
        return {i.id: plain(i.document) async for i in self.hybrid.find_items(COLLECTION)}

    async def replay(self, _: str, __: None) -> int:
        return await self.hybrid.replay()

    async def fill(self, _: str, __: None) -> None:
        await self.hybrid.fill()

    async def pending(self, _: str, __: None) -> int:
        return (await self.hybrid.status()).pending

    async def records(self, _: str, after: int) -> list[Any]:
        return await self.hybrid.conflicts(after=after, limit=10_000)


async def _serve(connection: Connection, folder: Path, options: dict[str, Any], seed: int) -> None:
    _mortal_journal()
    network = Network(folder / "network", seed)
    primary = SQLiteProvider(folder / "primary.db", synchronous="NORMAL")
    fallback = SQLiteProvider(folder / "fallback.db", synchronous="NORMAL")
    async with HybridProvider(
        primary=compose(network, Mortal(), provider=primary),
        fallback=compose(Mortal(), provider=fallback),
        journal=folder / "journal.db",
        retry_seconds=0,
        sleep=_never,
        **options,
    ) as hybrid:
        worker = Worker(hybrid)
        connection.send("ready")
        while command := await asyncio.to_thread(connection.recv):
            name, item_id, value, Death.left = command
            try:
                answer = "ok", await getattr(worker, name)(item_id, value)
            except OutcomeUnknownError as error:
                answer = "unknown", str(error)
            except TransportError as error:
                answer = "unavailable", str(error)
            except (ConflictError, ItemNotFoundError) as error:
                answer = "refused", str(error)
            Death.left = 0
            connection.send(answer)


def serve(connection: Connection, folder: Path, options: dict[str, Any], seed: int) -> None:
    """Do what comes over the connection, until it says `None`.

    Args:
        connection: Commands come in as name, id, value and steps until death (0: none).
        folder: Where both sides, the journal and the network's state are.
        options: Of the hybrid.
        seed: For the network.
    """
    asyncio.run(_serve(connection, folder, options, seed))
