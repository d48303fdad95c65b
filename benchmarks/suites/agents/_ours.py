"""The agent store as a contestant, and what every contestant does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from storage_providers import LocalFileProvider, Provider, SQLiteProvider
from storage_providers.agents import AgentStore, Message, Thread

__all__ = ["Contestant", "Ours", "Said", "open_files", "open_sqlite", "said"]


class Said(NamedTuple):
    """A message: unique, and about as long as people's are."""

    id: str
    role: str
    text: str


class Contestant(Protocol):
    """Keeps conversations."""

    async def begin(self, threads: Iterable[str]) -> None:
        """Make what a thread needs before its first message."""
        ...

    async def save(self, thread: str, batch: Sequence[Said]) -> None:
        """Add messages to the end of a thread."""
        ...

    async def newest(self, thread: str, count: int) -> Sequence[str]:
        """Texts of the newest messages of a thread, oldest of them first."""
        ...


def said(thread: str, begin: int, count: int) -> list[Said]:
    """The messages of a thread from a place on."""
    return [
        Said(
            f"{thread}-{number:06}",
            "assistant" if number % 2 else "user",
            f"{number} in {thread}: " + "how often do ferns want water, and is rain enough? " * 3,
        )
        for number in range(begin, begin + count)
    ]


class Ours:
    """`AgentStore` on a provider; messages get ids of the store's."""

    def __init__(self, provider: Provider) -> None:
        self.store = AgentStore(provider)

    async def begin(self, threads: Iterable[str]) -> None:
        for thread in threads:
            await self.store.threads.save(Thread(id=thread, resource_id="user-7"))

    async def save(self, thread: str, batch: Sequence[Said]) -> None:
        await self.store.messages.save(
            Message.of(text, role=role, thread_id=thread, resource_id="user-7")
            for _, role, text in batch
        )

    async def newest(self, thread: str, count: int) -> Sequence[str]:
        return [message.text for message in await self.store.messages.newest(thread, count)]


@asynccontextmanager
async def open_sqlite(folder: Path) -> AsyncGenerator[Ours]:
    """On SQLite, as it comes: `synchronous=FULL`."""
    async with SQLiteProvider(folder / "ours.db") as provider:
        yield Ours(provider)


@asynccontextmanager
async def open_files(folder: Path) -> AsyncGenerator[Ours]:
    """On files, each forced to the medium; without looking for edits by hand now and then."""
    async with LocalFileProvider(folder / "files", rescan_seconds=None) as provider:
        yield Ours(provider)
