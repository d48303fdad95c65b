"""Which side of a hybrid answers, with what, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from storage_providers.errors import (
    AuthenticationError,
    BatchError,
    DeadlineExceededError,
    InvalidArgumentError,
    ItemNotFoundError,
    RateLimitedError,
    StorageError,
    TransportError,
    VersionMismatchError,
)
from storage_providers.protocol import CollectionSpec
from storage_providers.providers.hybrid import HybridEvent
from storage_providers.resilience import CircuitOpenError
from tests.hybrid.world import gone, opened, plain

T = TypeVar("T")


UNAVAILABLE: list[Callable[[], BaseException]] = [
    gone,
    lambda: DeadlineExceededError("late"),
    lambda: RateLimitedError("slow down"),
    lambda: CircuitOpenError("open"),
]


@pytest.mark.parametrize("error", UNAVAILABLE, ids=["lost", "late", "limited", "open"])
def test_the_fallback_answers_when_the_primary_is_unavailable(
    tmp_path: Path, error: Callable[[], BaseException]
) -> None:
    """Transport errors, deadlines, rates and open circuits are outages."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.cut(error)
            assert await world.seen() == {"n": 1}

    asyncio.run(play())


@pytest.mark.parametrize(
    "error",
    [
        lambda: AuthenticationError("wrong"),
        lambda: ItemNotFoundError("none"),
        lambda: VersionMismatchError("changed"),
        lambda: InvalidArgumentError("bad"),
    ],
    ids=["credentials", "not found", "version", "argument"],
)
def test_refusals_are_no_outages(tmp_path: Path, error: Callable[[], StorageError]) -> None:
    """What the primary answers, the caller hears; the fallback stays out of it."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.cut(error)
            with pytest.raises(type(error())):
                await world.seen()
            with pytest.raises(type(error())):
                await world.put(n=2)
            world.mend()
            assert await world.there() == {"n": 1}
            assert (await world.hybrid.status()).pending == 0

    asyncio.run(play())


def test_reads_mirror_and_misses_raise(tmp_path: Path) -> None:
    """What was read is there in an outage; what never was raises the primary's own error."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.primary.put_item("things", {"id": "a", "n": 1})
            await world.primary.put_item("things", {"id": "b", "n": 2})
            assert await world.seen("a") == {"n": 1}
            world.cut()
            assert await world.seen("a") == {"n": 1}
            with pytest.raises(TransportError, match="no route to the primary"):
                await world.seen("b")
            with pytest.raises(BatchError) as caught:
                await world.hybrid.read_items("things", ["a", "b"])
            found, missed = caught.value.results
            assert plain(found) == {"n": 1}
            assert isinstance(missed, TransportError)
            for call in (
                world.hybrid.list_items("things"),
                world.hybrid.versions("things"),
                world.hybrid.collections(),
                world.hybrid.count_items("things"),
            ):
                with pytest.raises(TransportError, match="no route"):
                    await call
            assert world.events == [HybridEvent("degraded", detail="TransportError")]

    asyncio.run(play())


def test_queries_mirror_what_they_find(tmp_path: Path) -> None:
    """A page that was listed can be read in an outage; a projection is not taken for a document."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            for name in "abc":
                await world.primary.put_item("things", {"id": name, "n": 1, "m": 2})
            await world.hybrid.list_items("things", where={"id": "a"}, fields=["n"])
            await world.hybrid.list_items("things", where={"id": "b"})
            world.cut()
            assert await world.seen("b") == {"n": 1, "m": 2}
            with pytest.raises(TransportError):
                await world.seen("a")

    asyncio.run(play())


def test_what_was_deleted_elsewhere_is_gone_once_it_is_read(tmp_path: Path) -> None:
    """A miss at the primary removes the copy, so an outage does not bring a document back."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            await world.primary.delete_item("things", "a")
            assert await world.seen() is None
            assert await world.fallback.read_item("things", "a") is None

    asyncio.run(play())


def test_a_filled_fallback_answers_everything(tmp_path: Path) -> None:
    """Misses, queries, counts, versions and names, with versions of the fallback's own."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.hybrid.declare(CollectionSpec(collection="things", max_document_bytes=999))
            for number in range(1200):
                await world.primary.put_item("things", {"id": f"{number:04}", "n": number})
            await world.fallback.put_item("things", {"id": "old"})
            await world.fallback.put_item("others", {"id": "old"})
            told: list[int] = []
            filled = await world.hybrid.fill(on_progress=told.append)
            assert (filled.collections, filled.documents, filled.removed) == (1, 1200, 2)
            assert told == [500, 1000, 1200]
            world.cut()
            assert await world.seen("no") is None
            assert await world.hybrid.count_items("things", where={"n": {"$lt": 7}}) == 7
            assert await world.hybrid.collections() == ["things"]
            assert len([item async for item in world.hybrid.find_items("things")]) == 1200
            page = await world.hybrid.versions("things", limit=2)
            more = await world.hybrid.versions("things", page.cursor, limit=2)
            assert [each.id for each in (*page.entries, *more.entries)] == [
                *("0000", "0001"),
                *("0002", "0003"),
            ]
            item = await world.hybrid.read_item("things", "0000")
            assert item is not None
            assert item.version == page.entries[0].version
            # The SDK's own collections are named by nobody, so nobody knows that they are whole.
            with pytest.raises(TransportError):
                await world.hybrid.read_item(".own", "no")
            assert (await world.hybrid.status()).complete

    asyncio.run(play())


def test_cursors_are_of_one_side(tmp_path: Path) -> None:
    """A listing begun before an outage raises the primary's error; one begun in it goes on."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            for name in "abc":
                await world.hybrid.put_item("things", {"id": name})
            await world.hybrid.fill()
            page = await world.hybrid.list_items("things", limit=1)
            world.cut()
            with pytest.raises(TransportError):
                await world.hybrid.list_items("things", limit=1, cursor=page.cursor)
            with pytest.raises(InvalidArgumentError):
                await world.hybrid.list_items("things", limit=1, cursor="nonsense")
            page = await world.hybrid.list_items("things", limit=1)
            page = await world.hybrid.list_items("things", limit=1, cursor=page.cursor)
            assert [item.id for item in page.items] == ["b"]
            world.mend()
            page = await world.hybrid.list_items("things", limit=1, cursor=page.cursor)
            assert [item.id for item in page.items] == ["c"]
            versions = await world.hybrid.versions("things", limit=2)
            assert [each.version[:2] for each in versions.entries] == ["p.", "p."]

    asyncio.run(play())
