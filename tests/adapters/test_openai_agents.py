"""The OpenAI Agents SDK's session: order, newest N, pops, and many writers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage
from agents.memory import Session, SessionSettings, SQLiteSession

from storage_providers.agents.adapters.openai_agents import ProviderSession
from storage_providers.errors import (
    InvalidArgumentError,
    InvalidDocumentError,
    UnsupportedOperationError,
)
from storage_providers.protocol import Capabilities, StorageProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing.conformance import ManualClock
from tests.adapters.counting import Counted, counted_d1
from tests.adapters.places import CONSISTENT, Place

ROOT = Path(__file__).parents[2]


def said(*texts: str) -> list[Any]:
    """Items of a conversation."""
    return [{"role": "user", "content": text} for text in texts]


def texts(items: list[Any]) -> list[str]:
    """What was said."""
    return [item["content"] for item in items]


def play(work: Callable[[StorageProvider], Awaitable[None]], place: Place | None = None) -> None:
    """Do something with a provider, in memory unless a place is given."""

    async def main() -> None:
        if place is None:
            async with InMemoryProvider() as provider:
                await work(provider)
        else:
            async with place.open() as provider:
                await work(provider)

    asyncio.run(main())


@pytest.mark.parametrize("place", CONSISTENT, indirect=True)
def test_a_conversation(place: Place) -> None:
    """Items stand in their order, the newest can be had or taken, and all can be cleared."""

    async def work(provider: StorageProvider) -> None:
        session, other = ProviderSession("a:b/🙂", provider), ProviderSession("a", provider)
        assert isinstance(session, Session)
        assert await session.get_items() == []
        assert await session.pop_item() is None
        await session.add_items([])
        await session.add_items(said("1", "2", "3"))
        await other.add_items(said("other"))
        await session.add_items(said("4"))
        assert texts(await session.get_items()) == ["1", "2", "3", "4"]
        for limit, wanted in ((0, []), (1, ["4"]), (2, ["3", "4"]), (9, ["1", "2", "3", "4"])):
            assert texts(await session.get_items(limit)) == wanted
        popped = [await session.pop_item() for _ in range(3)]
        assert texts(popped) == ["4", "3", "2"]
        await session.add_items(said("5"))
        assert texts(await session.get_items()) == ["1", "5"]
        await session.clear_session()
        assert await session.get_items() == []
        assert texts(await other.get_items()) == ["other"]

    play(work, place)


def test_the_same_as_the_sdks_own() -> None:
    """A random conversation reads as one in the SDK's `SQLiteSession`."""
    import random

    rng = random.Random(5)

    async def work(provider: StorageProvider) -> None:
        own, session = SQLiteSession("s"), ProviderSession("s", provider)
        for turn in range(150):
            if rng.random() < 0.3:
                assert await session.pop_item() == await own.pop_item()
            else:
                items = said(*(f"{turn}.{part}" for part in range(rng.randrange(1, 5))))
                await own.add_items(items)
                await session.add_items(items)
            for limit in (None, 0, 1, 7, 1000):
                assert await session.get_items(limit) == await own.get_items(limit)
        own.close()

    play(work)


def test_items_come_back_as_they_were() -> None:
    """Whatever JSON an item is; what is not is refused and nothing added."""
    items: list[Any] = [
        {"type": "function_call", "arguments": '{"a": 1}', "id": "x", "n": 1.0, "none": None},
        {"content": [{"type": "text", "text": "2026-01-01"}], "expiresAt": "no"},
        {},
    ]
    broken: list[Any] = [{"content": object()}]

    async def work(provider: StorageProvider) -> None:
        session = ProviderSession("s", provider)
        await session.add_items(items)
        assert await session.get_items() == items
        with pytest.raises(InvalidDocumentError, match=r"field 'items\.1\.content'"):
            await session.add_items(said("ok") + broken)
        assert await session.get_items() == items

    play(work)


def test_the_settings_limit() -> None:
    """The SDK's settings say how much is read, a limit says it for once, and none is negative."""

    async def work(provider: StorageProvider) -> None:
        session = ProviderSession("s", provider, session_settings=SessionSettings(limit=2))
        await session.add_items(said("1", "2", "3"))
        assert texts(await session.get_items()) == ["2", "3"]
        assert texts(await session.get_items(3)) == ["1", "2", "3"]
        with pytest.raises(InvalidArgumentError, match="limit is -1"):
            await session.get_items(-1)
        with pytest.raises(InvalidArgumentError, match="at least one character"):
            ProviderSession("", provider)

    play(work)


@pytest.mark.parametrize("place", ["memory", "sqlite", "d1"], indirect=True)
def test_long_lists_and_large_items(place: Place) -> None:
    """They become several documents and are one list all the same."""

    async def work(provider: StorageProvider) -> None:
        session = ProviderSession("s", provider)
        many = said(*(str(number) for number in range(1234)))
        large = said(*(character * 700_000 for character in "abc"))
        await session.add_items(many)
        await session.add_items(large)
        assert await session.get_items() == many + large
        assert await session.get_items(4) == [*many[-1:], *large]
        assert await session.pop_item() == large[-1]
        assert await provider.count_items("openai_sessions") == 13 + 2

    play(work, place)


def test_what_was_read_stays_before_what_is_added() -> None:
    """Also where the clock of one machine is behind that of the other."""
    ahead, behind = ManualClock(), ManualClock()
    ahead.advance(3600)

    async def work(provider: StorageProvider) -> None:
        first = ProviderSession("s", provider, clock=ahead.clock)
        second = ProviderSession("s", provider, clock=behind.clock)
        await first.add_items(said("1"))
        await second.get_items(1)
        await second.add_items(said("2"))
        await second.add_items(said("3"))
        assert texts(await first.get_items()) == ["1", "2", "3"]

    play(work)


# --- many at once --------------------------------------------------------------------------------


class Unconditional(InMemoryProvider):
    """As R2: it judges no condition of a delete."""

    name: ClassVar[str] = "unconditional"

    @property
    def capabilities(self) -> Capabilities:
        """Conditions of puts alone."""
        return Capabilities(conditional_write=True)


@pytest.mark.parametrize("kind", [InMemoryProvider, Unconditional])
def test_pops_at_once_take_each_item_once(kind: type[InMemoryProvider]) -> None:
    """Also where a delete can't be conditional; what a killed pop left behind is passed over."""

    async def main() -> None:
        async with kind() as provider:
            session = ProviderSession("s", provider)
            for turn in range(10):
                await session.add_items(said(*(f"{turn} {part}" for part in range(3))))
            page = await provider.list_items("openai_sessions", order_by="-id", limit=1)
            left = {**page.items[0].document, "items": []}
            await provider.put_item("openai_sessions", left)
            popped: list[Any] = []

            async def pop() -> None:
                while (item := await ProviderSession("s", provider).pop_item()) is not None:
                    popped.append(item)

            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(pop())
            assert sorted(texts(popped)) == [
                f"{turn} {part}" for turn in range(9) for part in range(3)
            ]
            assert await provider.count_items("openai_sessions") == 0

    asyncio.run(main())


# --- costs, and the SDK itself -------------------------------------------------------------------


def test_calls_on_d1(tmp_path: Path) -> None:
    """Each operation's calls, whatever the length of the conversation."""

    async def main() -> None:
        async with counted_d1(tmp_path) as (provider, cost):
            session = ProviderSession("s", provider)
            await session.add_items(said("first"))
            for _ in range(100):
                assert await cost(session.add_items(said(*"0123456789"))) == 1
            assert await cost(session.get_items(20)) == 1
            assert await cost(session.get_items()) == 1
            assert await cost(session.pop_item()) == 2
            assert await cost(session.clear_session()) == 2

    asyncio.run(main())


def test_requests_on_r2(r2_counted: Counted) -> None:
    """Adding is one request; reading the newest is a listing and what it names."""

    async def main() -> None:
        async with r2_counted as (provider, cost):
            session = ProviderSession("s", provider)
            await session.add_items(said("first"))

            for _ in range(10):
                assert await cost(session.add_items(said(*"0123456789"))) == {"PUT": 1}
            assert sum((await cost(session.get_items(5))).values()) <= 1 + 5
            assert sum((await cost(session.pop_item())).values()) <= 4

    asyncio.run(main())


class Parrot(Model):
    """Answers with the number of items it was given, without any service."""

    async def get_response(self, *args: Any, **options: Any) -> ModelResponse:
        """One message."""
        from openai.types.responses import ResponseOutputMessage, ResponseOutputText

        given = args[1] if len(args) > 1 else options["input"]
        text = f"I know {len(given)} items"
        message = ResponseOutputMessage(
            id="m",
            role="assistant",
            status="completed",
            type="message",
            content=[ResponseOutputText(text=text, type="output_text", annotations=[])],
        )
        return ModelResponse(output=[message], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **options: Any) -> Any:
        """Not needed here."""
        raise NotImplementedError


@pytest.mark.parametrize("place", ["sqlite", "r2"], indirect=True)
def test_the_sdk_remembers(place: Place) -> None:
    """A run of the SDK finds what the runs before it said, also in another process's session."""

    async def work(provider: StorageProvider) -> None:
        agent = Agent(name="parrot", model=Parrot())
        quiet = RunConfig(tracing_disabled=True)
        for turn in range(3):
            session = ProviderSession("user-7", provider)
            result = await Runner.run(agent, f"hello {turn}", session=session, run_config=quiet)
            assert result.final_output == f"I know {2 * turn + 1} items"

    play(work, place)


def test_the_sdk_is_not_loaded() -> None:
    """A process that only reads or adds items need not wait seconds for it."""
    program = (
        "import sys; import storage_providers.agents.adapters.openai_agents\n"
        "print('agents' in sys.modules, 'openai' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False False\n"


@pytest.mark.parametrize("place", ["kv"], indirect=True)
def test_a_provider_that_answers_late_is_refused(place: Place) -> None:
    """On KV the next turn would not see the last one."""

    async def work(provider: StorageProvider) -> None:
        with pytest.raises(
            UnsupportedOperationError, match="ProviderSession needs a provider with strongly_cons"
        ):
            ProviderSession("s", provider)

    play(work, place)
