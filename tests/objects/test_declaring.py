"""Declarations: who knows what when, and how an index becomes ready and is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from storage_providers.errors import ConflictError, CorruptItemError, InvalidDocumentError
from storage_providers.protocol import CollectionSpec, Delete, Index, Put
from storage_providers.providers._objects import building
from storage_providers.providers._objects.declaring import (
    SETTLE_SECONDS,
    Declaration,
    IndexState,
)
from storage_providers.providers._objects.entries import index_name
from storage_providers.providers._objects.provider import ObjectProvider
from storage_providers.testing.conformance import ManualClock
from tests.objects.memory_store import (
    LIMITS,
    Fate,
    Fates,
    MemoryObjects,
    MemoryStore,
    Request,
    documents_put,
    objects,
    turning,
)

THINGS = "things"
KEY = ".declarations/things.json"
STATUS = Index(("status",))
DUE = Index(("-due",))


class Foreground(MemoryObjects):
    """Nothing goes on in the background."""

    builds_in_background = False


class Place:
    """A store with a clock, and any number of processes on it.

    Attributes:
        store: The store.
        clock: The clock of all.
    """

    def __init__(self, page: int = 1000) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(msgspec.structs.replace(LIMITS, list_page=page))

    @asynccontextmanager
    async def process(
        self, kind: type[ObjectProvider] = Foreground
    ) -> AsyncGenerator[ObjectProvider, None]:
        """An open provider."""
        timing = turning(self.clock)
        async with objects(self.store, self.clock.clock, timing=timing, kind=kind) as provider:
            assert isinstance(provider, ObjectProvider)
            yield provider

    def kept(self) -> Declaration:
        """The declaration as it is kept."""
        return msgspec.json.decode(self.store.objects[KEY].data, type=Declaration)

    def states(self) -> dict[str, IndexState]:
        """The states of the indexes, by their fields."""
        return {
            ",".join(record.index.fields): record.state for record in self.kept().indexes.values()
        }


def declared(*indexes: Index) -> CollectionSpec:
    """A declaration."""
    return CollectionSpec(collection=THINGS, indexes=indexes)


async def index_used(
    provider: ObjectProvider, status: str = "open"
) -> tuple[str | None, list[str]]:
    """The index that answers a query, and the ids it finds."""
    page = await provider.list_items(THINGS, where={"status": status})
    return page.statistics.index, [item.id for item in page.items]


def test_an_index_is_built_when_every_writer_knows_it() -> None:
    """A writer goes by an old declaration for a minute; what it writes then is found all the same.

    The back-fill waits until no such write can be on its way, however impatient it is asked.
    """

    async def play() -> None:
        place = Place()
        async with place.process() as first, place.process() as second:
            await second.create_item(THINGS, {"id": "before", "status": "open"})
            began = place.clock.seconds
            await first.declare(declared(STATUS))
            place.clock.advance(59)
            await second.create_item(THINGS, {"id": "meanwhile", "status": "open"})
            assert place.store.keys(".indexes/") == []  # It knows nothing of the index yet.
            assert await index_used(first) == (None, ["before", "meanwhile"])
            place.clock.advance(2)
            await second.create_item(THINGS, {"id": "later", "status": "open"})
            assert len(place.store.keys(".indexes/")) == 1
            seen: list[int] = []
            await first.build_indexes(THINGS, seen.append)
            assert place.clock.seconds - began >= SETTLE_SECONDS
            assert seen == [3]
            assert await index_used(first) == ("status", ["before", "later", "meanwhile"])
            place.clock.advance(60)
            assert await index_used(second) == ("status", ["before", "later", "meanwhile"])

    asyncio.run(play())


def test_a_late_write_of_one_who_does_not_know_is_found() -> None:
    """Sent by a writer with the oldest knowledge, and so late on its way as is reckoned with."""

    async def play() -> None:
        place = Place()
        async with place.process() as first, place.process() as second:
            await second.create_item(THINGS, {"id": "a", "status": "open"})
            await first.declare(declared(STATUS))
            place.clock.advance(59)
            place.store.gate = Fates(documents_put, Fate.DELAYED)
            with pytest.raises(Exception, match="lost"):
                await second.put_item(THINGS, {"id": "late", "status": "open"})
            place.clock.advance(180)
            place.store.arrive()
            await first.build_indexes(THINGS)
            assert await index_used(first) == ("status", ["a", "late"])

    asyncio.run(play())


def test_a_dropped_index_is_kept_up_for_those_who_still_use_it() -> None:
    """A reader goes by an old declaration for a minute, and misses nothing meanwhile."""

    async def play() -> None:
        place = Place()
        async with place.process() as first, place.process() as second:
            await first.declare(declared(STATUS))
            await first.build_indexes(THINGS)
            assert await index_used(second) == ("status", [])
            await first.declare(declared())
            assert place.states() == {"status": IndexState.DROPPED}
            place.clock.advance(58)
            await first.create_item(THINGS, {"id": "a", "status": "open"})
            assert await index_used(second) == ("status", ["a"])
            assert await index_used(first) == (None, ["a"])
            place.clock.advance(2)
            assert await index_used(second) == (None, ["a"])
            place.clock.advance(SETTLE_SECONDS)
            await first.create_item(THINGS, {"id": "b", "status": "open"})
            assert len(place.store.keys(".indexes/")) == 1
            await first.declare(declared(DUE))
            assert place.states() == {"-due": IndexState.BUILDING}

    asyncio.run(play())


def test_an_index_declared_again_is_built_again() -> None:
    """What was written meanwhile has no entries; others that stay keep their state."""

    async def play() -> None:
        place = Place()
        async with place.process() as provider:
            await provider.declare(declared(STATUS, DUE))
            await provider.build_indexes(THINGS)
            await provider.declare(declared(DUE))
            assert place.states() == {"-due": IndexState.READY, "status": IndexState.DROPPED}
            await provider.declare(declared(DUE, STATUS))
            assert place.states() == {"-due": IndexState.READY, "status": IndexState.BUILDING}
            assert [index.ready for index in await provider.indexes(THINGS)] == [True, False]
            began = place.clock.seconds
            await provider.build_indexes(THINGS)
            assert place.clock.seconds - began >= SETTLE_SECONDS
            assert place.states() == {"-due": IndexState.READY, "status": IndexState.READY}

    asyncio.run(play())


def test_the_state_is_asked_once_a_minute() -> None:
    """Writes and queries cost no request for it in between."""

    async def play() -> None:
        place = Place()
        async with place.process() as provider:
            await provider.declare(declared(STATUS))
            place.store.calls.clear()
            for _ in range(5):
                await provider.indexes(THINGS)
            assert place.store.calls == {}
            place.clock.advance(60)
            await provider.indexes(THINGS)
            await provider.declared(THINGS)
            assert place.store.calls == {"get": 1}

    asyncio.run(play())


def test_two_who_declare_at_once_lose_nothing() -> None:
    """Each change is a compare-and-set; a refusal for the rate is waited for."""

    async def play() -> None:
        place = Place()
        async with place.process() as first, place.process() as second:
            await first.declare(declared(STATUS))

            async def overtake(request: Request) -> Fate:
                if request.kind == "put" and request.key == KEY:
                    place.store.gate = Fates(lambda r: r.kind == "put", Fate.REFUSED, Fate.REFUSED)
                    await second.declare(declared(STATUS, DUE))
                return Fate.DONE

            place.store.gate = overtake
            began = place.clock.seconds
            await first.declare(declared(DUE))
            assert place.clock.seconds - began >= 2
            assert place.kept().spec == declared(DUE)
            assert place.states() == {"-due": IndexState.BUILDING, "status": IndexState.DROPPED}

    asyncio.run(play())


def test_a_change_that_never_gets_through_is_an_error() -> None:
    """Others kept changing it."""

    async def play() -> None:
        place = Place()
        async with place.process() as provider:
            await provider.declare(declared(STATUS))
            count = 0

            async def overtake(request: Request) -> Fate:
                nonlocal count
                if request.kind == "put":
                    count += 1
                    kept = msgspec.structs.replace(place.kept(), builder=str(count))
                    place.store.plant(KEY, msgspec.json.encode(kept))
                return Fate.DONE

            place.store.gate = overtake
            with pytest.raises(ConflictError):
                await provider.declare(declared(DUE))
            assert count == 20

    asyncio.run(play())


def test_a_damaged_declaration_is_named() -> None:
    """Nothing is written as if there were no indexes."""

    async def play() -> None:
        place = Place()
        async with place.process() as provider:
            place.store.plant(KEY, b'{"id":"things"')
            with pytest.raises(CorruptItemError) as caught:
                await provider.put_item(THINGS, {"id": "a"})
            assert caught.value.source == KEY
            assert place.store.keys(f"{THINGS}/") == []

    asyncio.run(play())


# --- the back-fill -----------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("at", range(24))
def test_a_back_fill_goes_on_where_it_stopped(at: int) -> None:
    """Killed at any request, another process finishes it, and does not begin anew each time."""

    async def play() -> None:
        place = Place(page=2)
        async with place.process() as first, place.process() as second:
            documents = [{"id": f"{n}", "status": "open"} for n in range(9)]
            await first.put_items(THINGS, documents)
            await first.declare(declared(STATUS))
            place.clock.advance(SETTLE_SECONDS)
            count = 0

            async def gate(_: Request) -> Fate:
                nonlocal count
                count += 1
                if count > at:
                    raise Killed
                return Fate.DONE

            place.store.gate = gate
            with pytest.raises(Killed):
                await first.build_indexes(THINGS)
            place.store.gate = None
            record = place.kept().indexes[index_name(STATUS)]
            assert record.state is IndexState.BUILDING
            done = 0 if record.done is None else int(record.done[7]) + 1
            began, seen = place.clock.seconds, list[int]()
            await second.build_indexes(THINGS, seen.append)
            # The one who was killed may have told that it is at it.
            assert place.clock.seconds - began <= building.LEASE_SECONDS + 10
            assert seen[-1] == 9 - done
            assert place.kept().builder is None
            assert await index_used(second) == ("status", [f"{n}" for n in range(9)])

    asyncio.run(play())


def test_one_process_at_a_time_fills_in() -> None:
    """The other waits, as long as there is progress."""

    async def play() -> None:
        place = Place(page=2)
        async with place.process() as first, place.process() as second:
            await first.put_items(THINGS, [{"id": f"{n}"} for n in range(8)])
            await first.declare(declared(STATUS))
            place.clock.advance(SETTLE_SECONDS)

            async def gate(_: Request) -> Fate:
                await asyncio.sleep(0)
                return Fate.DONE

            place.store.gate = gate
            place.store.requests.clear()
            seen: list[list[int]] = [[], []]
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(first.build_indexes(THINGS, seen[0].append))
                tasks.create_task(second.build_indexes(THINGS, seen[1].append))
            assert sorted(seen) == [[], [2, 4, 6, 8]]
            assert len(place.store.keys(".indexes/")) == 8

    asyncio.run(play())


def test_an_index_dropped_during_the_back_fill_is_not_made_ready() -> None:
    """Nor is one that was declared anew meanwhile: it begins anew."""

    async def play() -> None:
        place = Place(page=2)
        async with place.process() as first, place.process() as second:
            await first.put_items(THINGS, [{"id": f"{n}", "status": "open"} for n in range(6)])
            await first.declare(declared(STATUS))
            place.clock.advance(SETTLE_SECONDS)

            async def again(request: Request) -> Fate:
                if request.kind == "list":
                    place.store.gate = None
                    await second.declare(declared())
                    place.clock.advance(1)
                    await second.declare(declared(STATUS))
                return Fate.DONE

            place.store.gate = again
            assert await first._builder.step(THINGS, None) == 0
            record = place.kept().indexes[index_name(STATUS)]
            assert (record.state, record.done) == (IndexState.BUILDING, None)

    asyncio.run(play())


def test_a_value_too_long_for_a_new_index() -> None:
    """The document is named, and the index is not ready until it was mended."""

    async def play() -> None:
        place = Place()
        async with place.process() as provider:
            documents = [{"id": "a", "status": "x" * 1000}, {"id": "b", "status": "open"}]
            await provider.put_items(THINGS, documents)
            await provider.declare(declared(STATUS))
            with pytest.raises(InvalidDocumentError, match="'status' is too long") as caught:
                await provider.build_indexes(THINGS)
            assert (caught.value.collection, caught.value.item_id) == (THINGS, "a")
            assert place.states() == {"status": IndexState.BUILDING}
            await provider.put_item(THINGS, {"id": "a", "status": "open"})
            await provider.build_indexes(THINGS)
            assert await index_used(provider) == ("status", ["a", "b"])

    asyncio.run(play())


def test_what_can_not_be_read_has_no_entries() -> None:
    """Broken documents and files of other kinds are passed over."""

    async def play() -> None:
        place = Place()
        async with place.process() as provider:
            for name in ("broken.json", "%wrong.json", "notes.txt", "deeper/a.json"):
                place.store.plant(f"{THINGS}/{name}", b"{")
            place.store.plant(f"{THINGS}/other.json", b'\xef\xbb\xbf{\n  "status": "open"\n}')
            await provider.declare(declared(STATUS))
            await provider.build_indexes(THINGS)
            assert len(place.store.keys(".indexes/")) == 1
            assert await index_used(provider) == ("status", ["other"])

    asyncio.run(play())


# --- in the background -------------------------------------------------------------------------


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something is so."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come about")


def test_an_open_provider_builds_what_it_comes_across() -> None:
    """Also an index that another process declared; it ends with the provider."""

    async def play() -> None:
        place = Place()
        async with place.process() as first:
            await first.put_items(THINGS, [{"id": "a", "status": "open"}])
            await first.declare(declared(STATUS))
        async with place.process(MemoryObjects) as second:
            before = asyncio.all_tasks()
            await second.declared(THINGS)
            await until(lambda: place.states() == {"status": IndexState.READY})
            await until(lambda: asyncio.all_tasks() <= before)
            assert await index_used(second) == ("status", ["a"])
        async with place.process(MemoryObjects) as third:
            await third.declare(declared(DUE))
        assert len(asyncio.all_tasks()) == 1
        assert place.states()["-due"] is IndexState.BUILDING

    asyncio.run(play())


def test_a_failure_in_the_background_is_told_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By the name of the error alone; calls are not disturbed."""

    async def play() -> None:
        place = Place()
        async with place.process() as first:
            await first.put_items(THINGS, [{"id": "a", "status": "the diary" * 200}])
            await first.declare(declared(STATUS))
        async with place.process(MemoryObjects) as second:
            await second.declared(THINGS)
            await until(lambda: len(caplog.records) >= 9)
            waits = [record.args[-1] for record in caplog.records if isinstance(record.args, tuple)]
            assert waits[:3] == [60, 120, 240]
            assert waits[-1] == 3600
            assert "the diary" not in caplog.text
            assert "building the indexes of things failed (InvalidDocumentError)" in caplog.text
            await second.write([Delete(THINGS, "a"), Put(THINGS, {"id": "b", "status": "open"})])
            await until(lambda: place.states() == {"status": IndexState.READY})

    asyncio.run(play())


def test_requests_in_the_background_are_no_query_s() -> None:
    """A query that comes across an index counts its own requests alone."""

    async def play() -> None:
        place = Place()
        async with place.process() as first:
            await first.put_items(THINGS, [{"id": f"{n}"} for n in range(20)])
            await first.declare(declared(STATUS))
        place.clock.advance(SETTLE_SECONDS)

        async def gate(_: Request) -> Fate:
            await asyncio.sleep(0)
            return Fate.DONE

        place.store.gate = gate
        async with place.process(MemoryObjects) as second:
            page = await second.list_items(THINGS, limit=1)
            assert page.statistics.requests <= 4

    asyncio.run(play())
