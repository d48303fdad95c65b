"""What the cases of the agent store stand on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from storage_providers.agents import AgentStore, Message, Thread
from storage_providers.testing._harness import Scene, Test, case, cases

__all__ = ["AWKWARD", "NOON", "Stage", "agent_case", "agent_cases", "at", "ids", "said"]

NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)

AWKWARD: Final[dict[str, str]] = {
    "colon": "thread:1:message",
    "slash": "a/b//c",
    "percent": "100%25%2F",
    "emoji": "🙂🙃",
    "quotes": 'it\'s "quoted"',
    "spaces": " leading and trailing ",
    "dots": "..",
    "the word messages": "messages",
    "a number": "17",
    "json": '{"id": 1}',
}
"""Ids that stores have stumbled over."""


def at(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def said(number: int, thread_id: str = "t", **more: Any) -> Message:
    """The message of a number: its id sorts as it does, and so does its time."""
    more = {"id": f"m{number:04}", "created_at": at(number), **more}
    more = {"resource_id": "u", **more}
    return Message.of(more.pop("content", f"says {number}"), thread_id=thread_id, **more)


def ids(records: Iterable[Any]) -> list[str]:
    """The ids of records."""
    return [record.id for record in records]


class Stage:
    """One case being played.

    Attributes:
        scene: The provider, its clock and its place.
        store: The store under test.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.store = AgentStore(scene.provider)
        self._stores = [self.store]

    async def another(self) -> AgentStore:
        """Another store, on a provider of its own on the same data."""
        self._stores.append(AgentStore(await self.scene.another()))
        return self._stores[-1]

    async def reopen(self) -> AgentStore:
        """Close the store and its provider, and open others on the same data."""
        await self.store.flush()
        self.store = AgentStore(await self.scene.reopen())
        self._stores = [self.store]
        return self.store

    async def close(self) -> None:
        """Let nothing wait."""
        for store in self._stores:
            await store.flush()

    # --- shorthands of the cases ---------------------------------------------------------------

    async def thread(self, thread_id: str = "t", **more: Any) -> Thread:
        """Save a thread."""
        fields: dict[str, Any] = {"resource_id": "u", **more}
        return await self.store.threads.save(Thread(id=thread_id, **fields))

    async def talk(self, count: int, thread_id: str = "t") -> list[Message]:
        """Save a thread and messages in it."""
        await self.thread(thread_id)
        first = 0 if thread_id == "t" else 1000
        messages = [said(first + number, thread_id) for number in range(count)]
        return await self.store.messages.save(messages)

    async def updated_at(self, thread_id: str = "t") -> datetime:
        """When a thread was last changed."""
        thread = await self.store.threads.get(thread_id)
        assert thread is not None
        assert thread.updated_at is not None
        return thread.updated_at


Body: TypeAlias = Callable[[Any, Stage], Coroutine[Any, Any, None]]
BodyWith: TypeAlias = Callable[[Any, Stage, Any], Coroutine[Any, Any, None]]


def agent_case(*needs: str, lacks: Iterable[str] = ()) -> Callable[[Body], Test]:
    """Make a test of a coroutine that takes a `Stage`; otherwise as `case`."""

    def decorate(body: Body) -> Test:
        async def play(self: object, scene: Scene) -> None:
            stage = Stage(scene)
            try:
                await body(self, stage)
            finally:
                await stage.close()

        return case(*needs, lacks=lacks)(_named(play, body))

    return decorate


def agent_cases(
    each: Mapping[str, object], *needs: str, lacks: Iterable[str] = ()
) -> Callable[[BodyWith], Test]:
    """Make one test for each value of a mapping, named by its key."""

    def decorate(body: BodyWith) -> Test:
        async def play(self: object, scene: Scene, value: Any) -> None:
            stage = Stage(scene)
            try:
                await body(self, stage, value)
            finally:
                await stage.close()

        return cases(each, *needs, lacks=lacks)(_named(play, body))

    return decorate


def _named(play: Any, body: Callable[..., Any]) -> Any:
    play.__name__, play.__qualname__ = body.__name__, body.__qualname__
    play.__module__, play.__doc__ = body.__module__, body.__doc__
    return play
