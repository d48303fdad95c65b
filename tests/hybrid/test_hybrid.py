"""HybridProvider: order between copies and writes, lifetime, reports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from storage_providers.errors import (
    AuthenticationError,
    ConfigurationError,
    ProviderClosedError,
)
from storage_providers.layers import Call, Layer, compose
from storage_providers.protocol import (
    Address,
)
from storage_providers.providers.hybrid import HybridEvent, HybridProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing.faults import Fail
from tests.hybrid.world import Line, World, clash, gone, never, opened, plain

T = TypeVar("T")


# --- order ---------------------------------------------------------------------------------------


def test_a_read_does_not_leave_an_old_copy_over_a_write(tmp_path: Path) -> None:
    """A read that was answered before a write and is copied after it is not copied."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.hybrid._mirror.forget([Address("things", "a")])
            answered, go = asyncio.Event(), asyncio.Event()

            class Slow(Layer):
                async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
                    answer = await proceed()
                    if call.verb == "read":
                        answered.set()
                        await go.wait()
                    return answer

            slow = compose(Slow(), provider=world.primary)
            other = HybridProvider(
                primary=slow, fallback=world.fallback, journal=tmp_path / "journal.db"
            )
            async with other:
                reading = asyncio.create_task(other.read_item("things", "a"))
                await answered.wait()
                await other.put_item("things", {"id": "a", "n": 2})
                go.set()
                assert plain(await reading) == {"n": 1}
                assert plain(await world.fallback.read_item("things", "a")) == {"n": 2}

    asyncio.run(play())


def test_a_write_does_not_overtake_one_in_the_journal(tmp_path: Path) -> None:
    """Of two at once the first meets the outage; the second follows it all the same."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=0)
            world.faults.script.append(Fail("write"))
            await asyncio.gather(world.put(n=1), world.put(n=2))
            assert (await world.hybrid.status()).pending == 2
            assert await world.seen() == {"n": 2}
            assert await world.there() == {"n": 2}
            assert await world.hybrid.conflicts() == []

    asyncio.run(play())


def test_a_second_hybrid_sees_the_outage_of_the_first(tmp_path: Path) -> None:
    """Two on one journal: pending writes are read and continued by either, and replayed once."""

    async def play() -> None:
        async with opened(tmp_path) as world, world.again() as second:
            await world.put(n=1, m=1)
            world.cut()
            await world.hybrid.update_item("things", "a", {"n": 2})
            await second.update_item("things", "a", {"m": 2})
            assert await world.seen() == {"n": 2, "m": 2}
            world.mend()
            assert plain(await second.read_item("things", "a")) == {"n": 2, "m": 2}
            assert await world.there() == {"n": 2, "m": 2}
            assert await world.hybrid.conflicts() == []

    asyncio.run(play())


def test_expired_documents_are_nothing_in_an_outage(tmp_path: Path) -> None:
    """A document that expires while it is pending is neither shown nor a conflict."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.cut()
            await world.put(n=2, expiresAt="2026-01-31T12:00:10.000Z")
            world.time.advance(11)
            assert await world.seen() is None
            world.mend()
            await world.hybrid.replay()
            assert await world.there() is None
            assert await world.hybrid.conflicts() == []

    asyncio.run(play())


# --- lifetime and reports ------------------------------------------------------------------------


def test_it_opens_without_the_primary(tmp_path: Path) -> None:
    """A program that starts in an outage reads and writes; the primary is opened later."""

    async def play() -> None:
        world = World(tmp_path)
        async with world.hybrid:
            await world.put(n=1)
        world = World(tmp_path)
        world.cut()
        async with world.hybrid:
            await world.put(n=2)
            assert await world.seen() == {"n": 2}
            world.mend()
            assert await world.seen() == {"n": 2}
            assert await world.there() == {"n": 2}
        with pytest.raises(ProviderClosedError):
            await world.primary.read_item("things", "a")

    asyncio.run(play())


def test_a_side_that_is_open_is_borrowed(tmp_path: Path) -> None:
    """It stays open when the hybrid is closed."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            pass
        assert await world.primary.read_item("things", "a") is None
        assert await world.fallback.read_item("things", "a") is None

    asyncio.run(play())


def test_a_primary_that_refuses_to_open_is_not_an_outage(tmp_path: Path) -> None:
    """Wrong credentials are heard at once, and everything is closed again."""

    async def play() -> None:
        world = World(tmp_path)
        world.cut(lambda: AuthenticationError("wrong"))
        with pytest.raises(AuthenticationError):
            await world.hybrid.connect()
        with pytest.raises(ProviderClosedError):
            await world.fallback.read_item("things", "a")

    asyncio.run(play())


@pytest.mark.parametrize(
    "wrong",
    [
        {"degraded_writes": "all"},
        {"retry_seconds": -1},
        {"retry_seconds": float("nan")},
        {"policy": "oldest"},
        {"journal": ":memory:"},
        {"journal": ""},
    ],
    ids=["writes", "seconds", "nan", "policy", "memory", "no file"],
)
def test_wrong_arguments_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Before anything is opened."""
    options = {"journal": tmp_path / "journal.db", **wrong}
    with pytest.raises(ConfigurationError):
        HybridProvider(primary=InMemoryProvider(), fallback=InMemoryProvider(), **options)


def test_one_provider_is_not_two(tmp_path: Path) -> None:
    """Both sides being the same is refused."""
    side = InMemoryProvider()
    with pytest.raises(ConfigurationError, match="same provider"):
        HybridProvider(primary=side, fallback=side, journal=tmp_path / "journal.db")


def test_doctor_hears_of_everything(tmp_path: Path) -> None:
    """Both sides, the journal and the copies; what waits has advice."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            checks = {check.name: check for check in await world.hybrid.checks()}
            assert {name: check.ok for name, check in checks.items()} == dict.fromkeys(
                ("primary", "fallback", "journal", "copies"), True
            )
            assert checks["copies"].advice == "run fill() once"
            await world.hybrid.fill()
            world.cut()
            await world.put(n=1)
            checks = {check.name: check for check in await world.hybrid.checks()}
            assert not checks["primary"].ok
            assert checks["primary"].error == "TransportError"
            assert checks["journal"].detail.startswith("1 writes wait")
            assert checks["copies"].advice is None

    asyncio.run(play())


def test_no_content_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Outage, conflict and recovery are logged without a word of any document."""
    caplog.set_level(logging.DEBUG)

    async def play() -> None:
        async with opened(tmp_path) as world:
            await clash(world, here={"n": "secret one"}, there={"n": "secret two"})
            assert "secret" not in repr(world.events) + repr(await world.hybrid.conflicts())

    asyncio.run(play())
    assert "hybrid: degraded" in caplog.text
    assert "hybrid: conflict" in caplog.text
    assert "secret" not in caplog.text


def test_a_listener_that_fails_changes_nothing(tmp_path: Path) -> None:
    """What was done stands."""

    async def play() -> None:
        def fail(_: HybridEvent) -> None:
            raise ValueError

        sides = InMemoryProvider(), InMemoryProvider()
        line = Line()
        hybrid = HybridProvider(
            primary=compose(line, provider=sides[0]),
            fallback=sides[1],
            journal=tmp_path / "journal.db",
            on_event=fail,
            sleep=never,
        )
        async with hybrid:
            line.down = gone
            await hybrid.put_item("things", {"id": "a"})
            assert (await hybrid.status()).pending == 1

    asyncio.run(play())
