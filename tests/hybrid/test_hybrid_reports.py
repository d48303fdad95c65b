"""What a hybrid counts and tells, whose documents it takes over, and what other processes do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from storage_providers.errors import ConfigurationError, TransportError
from storage_providers.layers import Call, compose
from storage_providers.protocol import IF_ABSENT, CollectionSpec, Put
from storage_providers.providers.hybrid import METRICS, HybridCounts, HybridProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing.faults import Fail, Faults, Recorder
from tests.hybrid.world import World, clash, opened, plain

# --- counts ------------------------------------------------------------------------------------


def test_everything_is_counted(tmp_path: Path) -> None:
    """Answers, refusals, writes taken and brought over, conflicts: each under its own name."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1, m=1)
            await world.hybrid.fill()
            assert (await world.hybrid.status()).counts == HybridCounts()
            world.cut()
            await world.hybrid.read_items("things", ["a", "b"])
            await world.hybrid.list_items("things")
            await world.hybrid.versions("things")
            await world.hybrid.collections()
            with pytest.raises(TransportError):
                await world.hybrid.read_item(".own", "x")
            with pytest.raises(TransportError):
                await world.hybrid.list_items(".own")
            with pytest.raises(TransportError):
                await world.hybrid.write([Put("things", {"id": "c"}, IF_ABSENT)])
            await world.hybrid.update_item("things", "a", {"n": 2})
            await world.primary.update_item("things", "a", {"m": 2})
            await world.hybrid.put_item("things", {"id": "big", "n": "x" * 500})
            await world.primary.declare(CollectionSpec(collection="things", max_document_bytes=200))
            counts = (await world.hybrid.status()).counts
            assert counts == HybridCounts(outages=1, reads=2, queries=3, unanswered=3, journaled=2)
            world.mend()
            await world.hybrid.replay()
            counts = (await world.hybrid.status()).counts
            assert (counts.replayed, counts.conflicts, counts.refused) == (2, 1, 1)

    asyncio.run(play())


def test_every_metric_has_a_value_and_no_content(tmp_path: Path) -> None:
    """The table names each number once; values are whole numbers, and keys nobody's names."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await clash(world, here={"n": "secret"}, there={"n": "other"})
            world.cut()
            await world.put(n="secret")
            found = (await world.hybrid.status()).metrics()
            assert list(found) == [metric.name for metric in METRICS]
            assert len({metric.name for metric in METRICS}) == len(METRICS)
            assert found["hybrid.journal.pending"] == 1
            assert found["hybrid.degraded"] == 1
            assert found["hybrid.conflicts"] == 1
            assert found["hybrid.outages"] == 2
            counted = {metric.field for metric in METRICS if metric.kind == "counter"}
            assert counted == set(HybridCounts.__struct_fields__)
            assert "things" not in repr(found)

    asyncio.run(play())


# --- whose documents -----------------------------------------------------------------------------


def of_two(folder: Path, primary: Any, fallback: Any, **options: Any) -> HybridProvider:
    """A hybrid of these sides."""
    return HybridProvider(
        primary=primary, fallback=fallback, journal=folder / "journal.db", **options
    )


def test_somebody_elses_documents_are_not_taken_over(tmp_path: Path) -> None:
    """A fallback that holds documents before the journal is there is refused, and stays whole."""

    async def play() -> None:
        primary, fallback = InMemoryProvider(), InMemoryProvider()
        await primary.connect()
        await fallback.connect()
        await fallback.put_item("mine", {"id": "a"})
        with pytest.raises(ConfigurationError, match="holds documents already"):
            await of_two(tmp_path, primary, fallback).connect()
        assert await fallback.read_item("mine", "a") is not None
        async with of_two(tmp_path, primary, fallback, adopt_fallback=True) as hybrid:
            assert await hybrid.read_item("mine", "a") is None
        # From now on they are the hybrid's, and nothing need be said again.
        await fallback.put_item("mine", {"id": "a"})
        async with of_two(tmp_path, primary, fallback) as hybrid:
            assert (await hybrid.fill()).removed == 1

    asyncio.run(play())


def test_filling_again_writes_only_what_differs(tmp_path: Path) -> None:
    """What is there already is not written again, and what another process spoilt is mended."""

    async def play() -> None:
        primary, fallback, seen = InMemoryProvider(), InMemoryProvider(), Recorder()
        await primary.connect()
        await fallback.connect()
        await primary.put_items("things", [{"id": f"d{n}", "n": n} for n in range(20)])
        async with of_two(tmp_path, primary, compose(seen, provider=fallback)) as hybrid:
            await hybrid.fill()
            assert written(seen.calls) == 20
            await fallback.write([Put("things", {"id": "d3", "n": "old"})])
            seen.calls.clear()
            await hybrid.fill()
            assert written(seen.calls) == 1
            assert plain(await fallback.read_item("things", "d3")) == {"n": 3}

    asyncio.run(play())


def written(calls: list[Call]) -> int:
    """How many writes there were in all calls."""
    return sum(len(call.arguments[0]) for call in calls if call.verb == "write")


def test_a_declaration_that_failed_at_one_side_is_made_again(tmp_path: Path) -> None:
    """Repeating it reaches both, wherever it failed."""

    async def play() -> None:
        for side in (0, 1):
            spec = CollectionSpec(collection=f"things-{side}", max_document_bytes=99)
            faults = Faults(), Faults()
            sides = InMemoryProvider(), InMemoryProvider()
            folder = tmp_path / str(side)
            behind = [compose(f, provider=p) for f, p in zip(faults, sides, strict=True)]
            async with of_two(folder, *behind, retry_seconds=0) as hybrid:
                faults[side].script.append(Fail("declare"))
                with pytest.raises(TransportError):
                    await hybrid.declare(spec)
                await hybrid.declare(spec)
                for provider in sides:
                    assert await provider.declared(spec.collection) == spec

    asyncio.run(play())


# --- other tasks and processes -------------------------------------------------------------------


def test_a_replay_waits_for_the_one_in_the_background(tmp_path: Path) -> None:
    """Asked for while another task of this process is at it, it is no error."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            world.cut()
            await world.hybrid.put_items("things", [{"id": f"d{n}"} for n in range(450)])
            world.mend()
            done = await asyncio.gather(*(world.hybrid.replay() for _ in range(3)))
            assert sum(done) == 450
            assert await world.primary.count_items("things") == 450

    asyncio.run(play())


def test_a_read_waits_for_what_is_on_its_way(tmp_path: Path) -> None:
    """While another task brings the journal over, a call sees what comes of it, conflicts too."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1, m=1)
            world.cut()
            await world.hybrid.update_item("things", "a", {"n": 2})
            await world.primary.update_item("things", "a", {"m": 2})
            world.mend()
            begun, go = asyncio.Event(), asyncio.Event()
            plain_around = world.line.around

            async def slow(_call: Call, proceed: Any) -> Any:
                world.line.around = plain_around  # type: ignore[method-assign]
                begun.set()
                await go.wait()
                return await proceed()

            world.line.around = slow  # type: ignore[method-assign, assignment]
            replaying = asyncio.create_task(world.hybrid.replay())
            await begun.wait()
            reading = asyncio.create_task(world.seen())
            await asyncio.sleep(0)
            go.set()
            assert await reading == {"n": 2, "m": 2}
            assert await replaying == 1

    asyncio.run(play())


async def _second(world: World) -> HybridProvider:
    second = world.again()
    await second.connect()
    return second


def test_a_slow_copy_does_not_cover_what_another_process_wrote_since(tmp_path: Path) -> None:
    """Both in the outage, of one document: queries show the later write, whoever is slower."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=0)
            await world.hybrid.fill()
            second = await _second(world)
            world.cut()
            await second.read_item("things", "a")

            class Slow(Faults):
                async def around(self, call: Call, proceed: Any) -> Any:
                    if call.verb == "write":
                        self.script.clear()
                        world.broken.around = plain_around  # type: ignore[method-assign]
                        await second.put_item("things", {"id": "a", "n": 2})
                    return await proceed()

            plain_around = world.broken.around
            slow = Slow()
            world.broken.around = slow.around  # type: ignore[method-assign]
            await world.put(n=1)
            page = await world.hybrid.list_items("things")
            assert [plain(item) for item in page.items] == [{"n": 2}]
            assert await world.seen() == {"n": 2}
            world.mend()
            await world.hybrid.replay()
            assert await world.there() == {"n": 2}
            await second.disconnect()

    asyncio.run(play())


def test_a_copy_does_not_cover_what_another_process_put_into_the_journal(tmp_path: Path) -> None:
    """The primary's answer to one process comes after the other's outage began."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=0)
            await world.hybrid.fill()
            cut_off = HybridProvider(
                primary=compose(Faults(Fail(call=None)), provider=world.primary),
                fallback=world.fallback,
                journal=tmp_path / "journal.db",
            )
            await cut_off.connect()
            plain_around = world.broken.around

            async def slow(call: Call, proceed: Any) -> Any:
                if call.verb == "write":
                    world.broken.around = plain_around  # type: ignore[method-assign]
                    await cut_off.put_item("things", {"id": "a", "n": 2})
                return await proceed()

            world.broken.around = slow  # type: ignore[method-assign]
            await world.put(n=1)
            assert plain(await world.fallback.read_item("things", "a")) == {"n": 2}
            assert plain(await cut_off.read_item("things", "a")) == {"n": 2}
            await cut_off.disconnect()

    asyncio.run(play())
