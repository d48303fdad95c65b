"""The stores of other frameworks, each in the way that costs it least."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from benchmarks.suites.agents._ours import Contestant, Said

__all__ = ["PEERS", "Peer"]


class Peer(NamedTuple):
    """A store to compare with.

    Attributes:
        title: Its name.
        distribution: What to install.
        open: Opens it in a folder.
        how: What it does here, in words.
    """

    title: str
    distribution: str
    open: Callable[[Path], AbstractAsyncContextManager[Contestant]]
    how: str


# --- LangGraph: checkpoints --------------------------------------------------------------------


class _Saver:
    """A checkpoint for each turn, with the whole conversation."""

    def __init__(self, saver: Any) -> None:
        from langgraph.checkpoint.base import empty_checkpoint

        self._saver = saver
        self._empty = empty_checkpoint
        self._talks: dict[str, tuple[dict[str, Any], list[dict[str, str]]]] = {}

    async def begin(self, threads: Iterable[str]) -> None:
        for thread in threads:
            config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
            self._talks[thread] = config, []

    async def save(self, thread: str, batch: Sequence[Said]) -> None:
        config, messages = self._talks[thread]
        messages = [*messages, *_items(batch)]
        version = f"{len(messages):032}"
        checkpoint = {
            **self._empty(),
            "channel_values": {"messages": messages},
            "channel_versions": {"messages": version},
        }
        metadata: dict[str, Any] = {"source": "loop", "step": len(messages), "parents": {}}
        config = await self._saver.aput(config, checkpoint, metadata, {"messages": version})
        self._talks[thread] = config, messages

    async def newest(self, thread: str, count: int) -> Sequence[str]:
        config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
        found = await self._saver.aget_tuple(config)
        messages = found.checkpoint["channel_values"]["messages"]
        return [message["content"] for message in messages[-count:]]


@asynccontextmanager
async def _open_saver(folder: Path) -> AsyncGenerator[Contestant]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with AsyncSqliteSaver.from_conn_string(str(folder / "saver.db")) as saver:
        yield _Saver(saver)


# --- LangGraph: items of a store ---------------------------------------------------------------


class _Store:
    """An item for each message, in the namespace of its thread."""

    def __init__(self, store: Any) -> None:
        from langgraph.store.base import PutOp

        self._store = store
        self._put = PutOp

    async def begin(self, threads: Iterable[str]) -> None:
        pass

    async def save(self, thread: str, batch: Sequence[Said]) -> None:
        namespace = ("threads", thread)
        self._store.batch(
            self._put(namespace, said.id, item)
            for said, item in zip(batch, _items(batch), strict=True)
        )

    async def newest(self, thread: str, count: int) -> Sequence[str]:
        found = self._store.search(("threads", thread), limit=count)
        return [item.value["content"] for item in reversed(found)]


@asynccontextmanager
async def _open_store(folder: Path) -> AsyncGenerator[Contestant]:
    from langgraph.store.sqlite import SqliteStore  # pyright: ignore[reportMissingTypeStubs]

    path = folder / "store.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    with SqliteStore.from_conn_string(str(path)) as store:
        store.setup()
        yield _Store(store)


# --- the OpenAI Agents SDK ---------------------------------------------------------------------


class _Session:
    """A row for each item; as many sessions as save at the same time."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._free: list[Any] = []

    async def begin(self, threads: Iterable[str]) -> None:
        pass

    async def save(self, thread: str, batch: Sequence[Said]) -> None:
        with self._of(thread) as session:
            await session.add_items(_items(batch))

    async def newest(self, thread: str, count: int) -> Sequence[str]:
        with self._of(thread) as session:
            return [item["content"] for item in await session.get_items(limit=count)]

    @contextmanager
    def _of(self, thread: str) -> Generator[Any]:
        session = self._free.pop() if self._free else self._make()
        session.session_id = thread
        try:
            yield session
        finally:
            self._free.append(session)

    def close(self) -> None:
        for session in self._free:
            session.close()


@asynccontextmanager
async def _open_session(folder: Path) -> AsyncGenerator[Contestant]:
    from agents import SQLiteSession

    sessions = _Session(lambda: SQLiteSession("none", folder / "session.db"))
    try:
        yield sessions
    finally:
        sessions.close()


# --- Agno --------------------------------------------------------------------------------------


class _Runs:
    """A run for each turn."""

    def __init__(self, database: Any) -> None:
        self._database = database

    async def begin(self, threads: Iterable[str]) -> None:
        from agno.session import AgentSession

        for thread in threads:
            session = AgentSession(session_id=thread, agent_id="gardener", user_id="user-7")
            self._database.upsert_session(session, deserialize=False)

    async def save(self, thread: str, batch: Sequence[Said]) -> None:
        run = {"run_id": batch[0].id, "agent_id": "gardener", "messages": _items(batch)}
        self._database.upsert_run(run, thread, user_id="user-7")

    async def newest(self, thread: str, count: int) -> Sequence[str]:
        runs = -(-count // 10)
        found = self._database.get_session(thread, deserialize=False, runs_limit=runs)
        messages = [message for run in found["runs"] for message in run["messages"]]
        return [message["content"] for message in messages[-count:]]


@asynccontextmanager
async def _open_runs(folder: Path) -> AsyncGenerator[Contestant]:
    from agno.db.sqlite import SqliteDb

    database = SqliteDb(db_file=str(folder / "agno.db"))
    try:
        yield _Runs(database)
    finally:
        database.close()


def _items(batch: Sequence[Said]) -> list[dict[str, str]]:
    return [{"id": said.id, "role": said.role, "content": said.text} for said in batch]


PEERS: Final = tuple(
    Peer(title, distribution, cast("Any", opened), how)
    for title, distribution, opened, how in (
        (
            "LangGraph's AsyncSqliteSaver",
            "langgraph-checkpoint-sqlite",
            _open_saver,
            "a checkpoint of the whole thread",
        ),
        (
            "LangGraph's SqliteStore",
            "langgraph-checkpoint-sqlite",
            _open_store,
            "an item for each message",
        ),
        ("OpenAI Agents' SQLiteSession", "openai-agents", _open_session, "a row for each item"),
        ("Agno's SqliteDb", "agno", _open_runs, "a run with all messages of a save"),
    )
)
