"""Writes of an outage: what is taken, and what becomes of those without an answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from storage_providers.errors import (
    BatchError,
    ItemExistsError,
    ItemNotFoundError,
    OutcomeUnknownError,
    TransportError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    IF_PRESENT,
    Clear,
    Delete,
    IfVersion,
    Patch,
    Put,
)
from storage_providers.providers.hybrid import HybridEvent, HybridProvider
from storage_providers.testing.faults import Cancel, Fail, LoseAnswer
from tests.hybrid.world import World, opened, plain

T = TypeVar("T")


# --- writes of an outage -------------------------------------------------------------------------


def test_an_outage_is_written_through_and_read_back(tmp_path: Path) -> None:
    """Puts, patches and deletes are taken, seen at once, and at the primary afterwards."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1, m=1)
            await world.hybrid.put_item("things", {"id": "b", "n": 1})
            world.cut()
            await world.hybrid.update_item("things", "a", {"n": 2})
            await world.hybrid.update_item("things", "a", {"m": None})
            await world.hybrid.delete_item("things", "b")
            await world.hybrid.put_item("things", {"id": "c", "n": 3})
            assert await world.seen("a") == {"n": 2}
            assert await world.seen("b") is None
            assert await world.seen("c") == {"n": 3}
            status = await world.hybrid.status()
            assert (status.degraded, status.pending, status.error) == (True, 4, "TransportError")
            assert await world.there("a") == {"n": 1, "m": 1}
            world.mend()
            assert await world.seen("a") == {"n": 2}
            assert [await world.there(each) for each in "abc"] == [{"n": 2}, None, {"n": 3}]
            status = await world.hybrid.status()
            assert (status.degraded, status.pending, status.conflicts) == (False, 0, 0)
            kinds = [event.kind for event in world.events]
            assert kinds == ["degraded", *["journaled"] * 4, "replayed", "recovered"]

    asyncio.run(play())


def test_stamps_and_bytes_arrive_as_they_were_taken(tmp_path: Path) -> None:
    """The primary gets the very document that was acknowledged, payload included."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            world.cut()
            put = Put("things", {"id": "a", "big": 2**70, "f": 1.0}, encoding="z", payload=b"\0\1")
            (taken,) = await world.hybrid.write([put])
            assert taken is not None
            world.mend()
            await world.hybrid.replay()
            there = await world.primary.read_item("things", "a")
            assert there is not None
            assert (there.body, there.encoding, there.payload) == (taken.body, "z", b"\0\1")

    asyncio.run(play())


@pytest.mark.parametrize(
    "write",
    [
        Put("things", {"id": "a"}, IF_ABSENT),
        Put("things", {"id": "a"}, IF_PRESENT),
        Put("things", {"id": "a"}, IfVersion("p.1")),
        Patch("things", "a", {"n": 2}, IfVersion("p.1")),
        Delete("things", "a", IF_PRESENT),
        Patch("things", "never seen", {"n": 2}),
        Clear("things"),
    ],
    ids=["create", "replace", "put", "patch", "delete", "unseen", "clear"],
)
def test_what_only_the_primary_knows_is_refused(tmp_path: Path, write: Any) -> None:
    """A condition, a patch of what is not there and a clear of what is not whole: its own error."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.cut()
            with pytest.raises(TransportError, match="no route"):
                await world.hybrid.write([write])
            assert (await world.hybrid.status()).pending == 0
            assert await world.seen() == {"n": 1}

    asyncio.run(play())


def test_a_batch_is_taken_write_by_write(tmp_path: Path) -> None:
    """What can be taken is; what can't is an error beside it."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            world.cut()
            with pytest.raises(BatchError) as caught:
                await world.hybrid.write(
                    [Put("things", {"id": "a"}), Put("things", {"id": "b"}, IF_ABSENT)]
                )
            taken, refused = caught.value.results
            assert plain(taken) == {}
            assert isinstance(refused, TransportError)
            world.mend()
            await world.hybrid.replay()
            assert await world.there("a") == {}
            assert await world.there("b") is None

    asyncio.run(play())


def test_conditions_can_be_judged_by_the_fallback(tmp_path: Path) -> None:
    """With `degraded_writes="journal"`: by its versions, and against the outage's own writes."""

    async def play() -> None:
        async with opened(tmp_path, degraded_writes="journal") as world:
            hybrid = world.hybrid
            before = await hybrid.put_item("things", {"id": "a", "n": 1})
            await hybrid.fill()
            world.cut()
            with pytest.raises(ItemExistsError):
                await hybrid.create_item("things", {"id": "a"})
            with pytest.raises(VersionMismatchError):
                await hybrid.update_item("things", "a", {"n": 9}, if_version=before.version)
            with pytest.raises(ItemNotFoundError):
                await hybrid.update_item("things", "no", {"n": 9})
            await hybrid.create_item("things", {"id": "b", "n": 1})
            await asyncio.gather(
                *(
                    hybrid.modify_item("things", "a", lambda d: {**d, "n": d["n"] + 1})
                    for _ in "xyz"
                )
            )
            assert await world.seen() == {"n": 4}
            during = await hybrid.read_item("things", "a")
            assert during is not None
            world.mend()
            await hybrid.replay()
            assert await world.there() == {"n": 4}
            with pytest.raises(VersionMismatchError) as caught:
                await hybrid.put_item("things", {"id": "a"}, if_version=during.version)
            assert caught.value.expected_version == during.version
            after = await hybrid.read_item("things", "a")
            assert after is not None
            assert caught.value.actual_version == after.version

    asyncio.run(play())


def test_a_cleared_collection_is_cleared_of_what_was_known(tmp_path: Path) -> None:
    """What another device made meanwhile survives a clear of the outage."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            for name in "abc":
                await world.hybrid.put_item("things", {"id": name, "n": 1})
            await world.hybrid.fill()
            world.cut()
            await world.hybrid.clear_collection("things")
            assert await world.hybrid.count_items("things") == 0
            await world.primary.put_item("things", {"id": "new", "n": 1})
            world.mend()
            assert [item.id async for item in world.hybrid.find_items("things")] == ["new"]

    asyncio.run(play())


def test_a_primary_that_just_failed_is_left_alone(tmp_path: Path) -> None:
    """For `retry_seconds` no call waits for it; the error says so."""

    async def play() -> None:
        async with opened(tmp_path, retry_seconds=5) as world:
            await world.put(n=1)
            world.cut()
            await world.seen()
            asked = len(world.line.calls)
            await world.put(n=2)
            with pytest.raises(TransportError, match=r"a moment ago \(TransportError: no route"):
                await world.seen("b")
            assert len(world.line.calls) == asked
            world.mend()
            assert await world.seen() == {"n": 2}
            assert await world.there() == {"n": 1}
            world.time.advance(5)
            assert await world.seen() == {"n": 2}
            assert await world.there() == {"n": 2}

    asyncio.run(play())


def test_the_background_replays_unasked(tmp_path: Path) -> None:
    """A program that writes and then does nothing more has its writes brought over."""

    async def play() -> None:
        turn, back = asyncio.Event(), asyncio.Event()

        def told(event: HybridEvent) -> None:
            if event.kind == "recovered":
                back.set()

        async def until_turned(_: float) -> None:
            await turn.wait()
            turn.clear()

        world = World(tmp_path)
        await world.primary.connect()
        hybrid = HybridProvider(
            primary=world.behind,
            fallback=world.fallback,
            journal=tmp_path / "journal.db",
            retry_seconds=0,
            sleep=until_turned,
            on_event=told,
        )
        async with hybrid:
            world.cut()
            await hybrid.put_item("things", {"id": "a", "n": 1})
            world.mend()
            turn.set()
            await back.wait()
            assert await world.there() == {"n": 1}

    asyncio.run(play())


# --- outcomes that are not known -----------------------------------------------------------------


@pytest.mark.parametrize("landed", [True, False])
def test_a_write_without_an_answer_lands_exactly_once(tmp_path: Path, landed: bool) -> None:
    """It is taken by the journal; the replay sees by the content whether it had landed."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1, log=["x"])
            lost = lambda: OutcomeUnknownError("cut off")  # noqa: E731
            world.faults.script.append(LoseAnswer("write") if landed else Fail("write", error=lost))
            await world.hybrid.update_item("things", "a", {"n": 2})
            assert await world.there() == {"n": 2 if landed else 1, "log": ["x"]}
            assert (await world.hybrid.status()).pending == 1
            assert await world.seen() == {"n": 2, "log": ["x"]}
            assert await world.there() == {"n": 2, "log": ["x"]}
            status = await world.hybrid.status()
            assert (status.pending, status.conflicts) == (0, 0)

    asyncio.run(play())


def test_an_outage_goes_on_from_a_write_without_an_answer(tmp_path: Path) -> None:
    """What landed is one of the outage's own states, also when more was written since."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.faults.script.append(LoseAnswer("write"))
            await world.put(n=2)
            world.cut()
            await world.hybrid.update_item("things", "a", {"n": 3})
            world.mend()
            assert await world.there() == {"n": 2}
            await world.hybrid.replay()
            assert await world.there() == {"n": 3}
            assert await world.hybrid.conflicts() == []

    asyncio.run(play())


@pytest.mark.parametrize("mode", ["unconditional", "journal"])
def test_a_condition_without_an_answer_stays_unknown(
    tmp_path: Path, mode: Literal["unconditional", "journal"]
) -> None:
    """Whether it held can't be told, so the error is raised, and the copy is not trusted."""

    async def play() -> None:
        async with opened(tmp_path, degraded_writes=mode) as world:
            before = await world.hybrid.put_item("things", {"id": "a", "n": 1})
            world.faults.script.append(LoseAnswer("write"))
            with pytest.raises(OutcomeUnknownError):
                await world.hybrid.put_item(
                    "things", {"id": "a", "n": 2}, if_version=before.version
                )
            world.cut()
            with pytest.raises(TransportError):
                await world.seen()
            assert (await world.hybrid.status()).doubts == 1
            world.mend()
            assert await world.seen() == {"n": 2}
            world.cut()
            assert await world.seen() == {"n": 2}
            assert (await world.hybrid.status()).doubts == 0

    asyncio.run(play())


def test_a_write_that_landed_is_not_refused_by_an_old_copy(tmp_path: Path) -> None:
    """Its answer was lost and the fallback lacks the document: that is no refusal, but unknown."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.hybrid.fill()
            await world.primary.put_item("things", {"id": "a", "n": 1})
            world.faults.script.append(LoseAnswer("write"))
            with pytest.raises(OutcomeUnknownError):
                await world.hybrid.update_item("things", "a", {"n": 2})
            assert await world.there() == {"n": 2}
            world.cut()
            with pytest.raises(TransportError):
                await world.seen()
            world.mend()
            assert await world.seen() == {"n": 2}

    asyncio.run(play())


def test_a_copy_that_fails_is_in_doubt_until_it_is_made(tmp_path: Path) -> None:
    """The write is acknowledged, as the primary has it; an outage does not show the old copy."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            await world.hybrid.fill()
            world.broken.script.append(Fail("write"))
            await world.put(n=2)
            world.cut()
            with pytest.raises(TransportError):
                await world.seen()
            with pytest.raises(TransportError):
                await world.hybrid.count_items("things")
            world.mend()
            await world.seen("another")
            world.cut()
            assert await world.seen() == {"n": 2}
            assert await world.hybrid.count_items("things") == 1

    asyncio.run(play())


def test_a_cancelled_write_leaves_no_old_copy_behind(tmp_path: Path) -> None:
    """It may have landed at the primary, so the copy is made anew."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.faults.script.append(Cancel("write", after=True))
            with pytest.raises(asyncio.CancelledError):
                await asyncio.create_task(world.put(n=2))
            world.cut()
            with pytest.raises(TransportError):
                await world.seen()
            world.mend()
            assert await world.seen() == {"n": 2}
            world.cut()
            assert await world.seen() == {"n": 2}

    asyncio.run(play())


def test_a_fallback_that_fails_in_an_outage_is_no_silent_loss(tmp_path: Path) -> None:
    """What the journal has is replayed; the caller hears that it may happen."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.cut()
            world.broken.script.append(Fail("write"))
            with pytest.raises(OutcomeUnknownError, match="put into the journal"):
                await world.put(n=2)
            assert await world.seen() == {"n": 2}
            world.mend()
            await world.hybrid.replay()
            assert await world.there() == {"n": 2}

    asyncio.run(play())
