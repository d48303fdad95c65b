"""HybridProvider in outages: what the fallback answers and takes, what the primary gets back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from storage_providers.base import Provider
from storage_providers.conflicts import Conflict, PolicyName
from storage_providers.errors import (
    AuthenticationError,
    BatchError,
    ConfigurationError,
    DeadlineExceededError,
    DocumentTooLargeError,
    InvalidArgumentError,
    ItemExistsError,
    ItemNotFoundError,
    OutcomeUnknownError,
    ProviderClosedError,
    RateLimitedError,
    StorageError,
    TransportError,
    VersionMismatchError,
)
from storage_providers.layers import Call, Layer, compose
from storage_providers.protocol import (
    IF_ABSENT,
    IF_PRESENT,
    Address,
    Clear,
    CollectionSpec,
    Delete,
    IfVersion,
    Patch,
    Put,
)
from storage_providers.providers.hybrid import HybridEvent, HybridProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.resilience import CircuitOpenError
from storage_providers.testing.conformance import ManualClock
from storage_providers.testing.faults import Cancel, Fail, Fault, Faults, LoseAnswer, Sleep

T = TypeVar("T")


class Line(Layer):
    """The network before a primary: while `down`, every call fails, opening it too."""

    name = "line"

    def __init__(self) -> None:
        super().__init__()
        self.down: Callable[[], BaseException] | None = None
        self.calls: list[str] = []

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        if call.verb != "disconnect":
            self.calls.append(call.verb)
            if self.down is not None:
                raise self.down()
        return await proceed()


def gone() -> BaseException:
    """The error of an outage."""
    return TransportError("no route to the primary")


class World:
    """A hybrid of two dicts, and the handles to all of its parts."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.time = ManualClock()
        self.line = Line()
        self.faults = Faults()
        self.broken = Faults()
        self.primary = InMemoryProvider(clock=self.time.clock)
        self.fallback = InMemoryProvider(clock=self.time.clock)
        self.events: list[HybridEvent] = []
        self.folder = folder
        self.options = {"retry_seconds": 0, **options}
        self.hybrid = self.make()

    def make(self) -> HybridProvider:
        """A hybrid on the same data."""
        self.behind: Provider = compose(self.line, self.faults, provider=self.primary)
        return self._hybrid(compose(self.broken, provider=self.fallback))

    def again(self) -> HybridProvider:
        """Another hybrid on the same sides and journal."""
        return self._hybrid(compose(Layer(), provider=self.fallback))

    def _hybrid(self, fallback: Provider) -> HybridProvider:
        return HybridProvider(
            primary=self.behind,
            fallback=fallback,
            journal=self.folder / "journal.db",
            on_event=self.events.append,
            sleep=never,
            **self.options,
        )

    def cut(self, error: Callable[[], BaseException] = gone) -> None:
        """Begin an outage."""
        self.line.down = error

    def mend(self) -> None:
        """End it."""
        self.line.down = None

    async def put(self, **fields: Any) -> None:
        """Put the one document through the hybrid."""
        await self.hybrid.put_item("things", {"id": "a", **fields})

    async def there(self, item_id: str = "a") -> dict[str, Any] | None:
        """What the primary itself holds, without times."""
        return plain(await self.primary.read_item("things", item_id))

    async def seen(self, item_id: str = "a") -> dict[str, Any] | None:
        """What the hybrid shows, without times."""
        return plain(await self.hybrid.read_item("things", item_id))


def plain(item: Any) -> dict[str, Any] | None:
    """A document without id and times."""
    if item is None:
        return None
    return {k: v for k, v in item.document.items() if k not in ("id", "createdAt", "updatedAt")}


def counted(document: dict[str, Any]) -> dict[str, Any]:
    """One more."""
    return {**document, "n": document["n"] + 1}


async def never(_: float) -> None:
    """Wait until cancelled: nothing happens in the background unless a test lets it."""
    await asyncio.Event().wait()


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[World]:
    """A world whose sides are open, so that looking at them is always possible."""
    world = World(folder, **options)
    await world.primary.connect()
    await world.fallback.connect()
    async with world.hybrid:
        yield world


UNAVAILABLE: list[Callable[[], BaseException]] = [
    gone,
    lambda: DeadlineExceededError("late"),
    lambda: RateLimitedError("slow down"),
    lambda: CircuitOpenError("open"),
]


# --- which side answers ------------------------------------------------------------------------


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


# --- writes of an outage -----------------------------------------------------------------------


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


# --- outcomes that are not known ---------------------------------------------------------------


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


# --- conflicts ---------------------------------------------------------------------------------


async def _conflict(world: World, *, here: dict[str, Any], there: dict[str, Any] | None) -> None:
    """One document, changed in an outage and elsewhere."""
    await world.put(n=1, m=1)
    world.cut()
    world.time.advance(1)
    await world.hybrid.update_item("things", "a", here)
    world.time.advance(1)
    if there is None:
        await world.primary.delete_item("things", "a")
    else:
        await world.primary.update_item("things", "a", there)
    world.mend()
    await world.hybrid.replay()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("merge", {"n": 2, "m": 3}),
        ("newest", {"n": 1, "m": 3}),
        ("primary", {"n": 1, "m": 3}),
        ("fallback", {"n": 2, "m": 1}),
        ("keep_both", {"n": 1, "m": 3}),
    ],
)
@pytest.mark.parametrize("keep", ["primary", "fallback"])
def test_a_change_made_elsewhere_is_settled_logged_and_undone(
    tmp_path: Path, policy: PolicyName, expected: Any, keep: Literal["primary", "fallback"]
) -> None:
    """By each policy; either side can be brought back, and both sides agree afterwards."""

    async def play() -> None:
        async with opened(tmp_path, policy=policy) as world:
            await _conflict(world, here={"n": 2}, there={"m": 3})
            assert await world.there() == expected
            assert plain(await world.fallback.read_item("things", "a")) == expected
            (record,) = await world.hybrid.conflicts()
            assert (record.number, record.policy, record.state) == (1, policy, "settled")
            kept = await world.primary.count_items("things")
            assert kept == (2 if policy == "keep_both" else 1)
            await world.hybrid.undo_conflict(1, keep=keep)
            back = {"n": 1, "m": 3} if keep == "primary" else {"n": 2, "m": 1}
            assert await world.there() == back
            assert await world.primary.count_items("things") == 1
            assert [each.state for each in await world.hybrid.conflicts()] == ["undone"]
            with pytest.raises(InvalidArgumentError, match="undone"):
                await world.hybrid.undo_conflict(1, keep=keep)
            with pytest.raises(ItemNotFoundError):
                await world.hybrid.undo_conflict(2, keep=keep)
            world.cut()
            assert await world.seen() == back

    asyncio.run(play())


def test_what_was_changed_since_is_not_undone(tmp_path: Path) -> None:
    """A later change is not thrown away by undoing an earlier conflict."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await _conflict(world, here={"n": 2}, there={"m": 3})
            await world.put(n=9)
            with pytest.raises(VersionMismatchError, match="since the conflict"):
                await world.hybrid.undo_conflict(1, keep="primary")
            assert await world.there() == {"n": 9}

    asyncio.run(play())


def test_a_deletion_elsewhere_is_a_conflict(tmp_path: Path) -> None:
    """A document changed in the outage stands, and undoing deletes it again."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await _conflict(world, here={"n": 2}, there=None)
            assert await world.there() == {"n": 2, "m": 1}
            await world.hybrid.undo_conflict(1, keep="primary")
            assert await world.there() is None

    asyncio.run(play())


def test_an_unknown_base_is_a_conflict(tmp_path: Path) -> None:
    """A document put over one that was never seen: the newer stands, the other is in the log."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.primary.put_item("things", {"id": "a", "old": 1})
            world.time.advance(1)
            world.cut()
            await world.put(new=1)
            world.mend()
            assert await world.seen() == {"new": 1}
            (record,) = await world.hybrid.conflicts()
            assert not record.conflict.base_known
            assert record.conflict.primary is not None
            assert record.conflict.primary.document["old"] == 1

    asyncio.run(play())


def test_a_function_of_your_own_settles(tmp_path: Path) -> None:
    """It sees all three documents; when it fails, nothing is lost, and it is asked again."""

    async def play() -> None:
        broken = True

        def mine(conflict: Conflict) -> dict[str, Any]:
            if broken:
                raise KeyError("secret")
            assert conflict.base is not None
            assert conflict.primary is not None
            assert conflict.fallback is not None
            sides = (conflict.primary, conflict.fallback)
            gained = sum(side.document["n"] - conflict.base.document["n"] for side in sides)
            return {**conflict.primary.document, "n": conflict.base.document["n"] + gained}

        async with opened(tmp_path, policy=mine) as world:
            with pytest.raises(ConfigurationError, match="'mine' raised KeyError") as caught:
                await _conflict(world, here={"n": 4}, there={"n": 11})
            assert "secret" not in str(caught.value)
            assert await world.seen() == {"n": 4, "m": 1}
            broken = False
            assert await world.seen() == {"n": 14, "m": 1}
            assert (await world.hybrid.conflicts())[0].policy == "mine"

    asyncio.run(play())


def test_the_same_change_on_both_sides_is_none(tmp_path: Path) -> None:
    """Two devices that made the same of it agree."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.cut()
            await world.put(n=2)
            taken = await world.hybrid.read_item("things", "a")
            assert taken is not None
            await world.primary.write([Put("things", taken.document)])
            world.mend()
            await world.hybrid.replay()
            assert await world.hybrid.conflicts() == []

    asyncio.run(play())


class Meanwhile(Fault):
    """Something else happens between an answer and its arrival."""

    def __init__(self, verb: str, work: Callable[[], Awaitable[object]]) -> None:
        super().__init__(verb)
        self.work = work

    async def strike(self, call: Call, proceed: Callable[[], Awaitable[T]], sleep: Sleep) -> T:
        """Carry the call out, then the other."""
        answer = await proceed()
        await self.work()
        return answer


def test_a_change_during_the_replay_is_seen(tmp_path: Path) -> None:
    """Made between the replay's read and its write: compare-and-set meets it, and it is merged."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1, m=1)
            world.cut()
            await world.hybrid.update_item("things", "a", {"n": 2})
            world.mend()
            change = world.primary.update_item("things", "a", {"m": 3})
            world.faults.script.append(Meanwhile("read", lambda: change))
            await world.hybrid.replay()
            assert await world.there() == {"n": 2, "m": 3}
            assert [each.state for each in await world.hybrid.conflicts()] == ["settled"]

    asyncio.run(play())


def test_a_settled_conflict_does_not_hide_what_was_written_after_it(tmp_path: Path) -> None:
    """The outage returns between two windows: the fallback still shows the last write."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1, m=1)
            await world.hybrid.fill()
            world.cut()
            await world.hybrid.update_item("things", "a", {"n": 2})
            await world.hybrid.put_items("others", [{"id": f"o{each}"} for each in range(200)])
            await world.hybrid.update_item("things", "a", {"n": 3})
            await world.primary.update_item("things", "a", {"m": 3})
            world.mend()
            world.faults.script.append(Fail("read", call=2))
            with pytest.raises(TransportError):
                await world.hybrid.replay()
            assert (await world.hybrid.status()).pending == 2
            assert await world.there() == {"n": 2, "m": 3}
            world.cut()
            assert await world.hybrid.count_items("things", where={"n": 3}) == 1
            assert await world.seen() == {"n": 3, "m": 1}
            world.mend()
            await world.hybrid.replay()
            assert await world.there() == {"n": 3, "m": 3}

    asyncio.run(play())


def test_what_the_primary_refuses_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    """A document it never takes goes to the log, where it is kept; what follows is replayed."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.cut()
            await world.put(n="x" * 500)
            await world.hybrid.put_item("things", {"id": "b", "n": 2})
            world.mend()
            await world.primary.declare(CollectionSpec(collection="things", max_document_bytes=200))
            await world.hybrid.replay()
            assert await world.there("a") == {"n": 1}
            assert await world.there("b") == {"n": 2}
            assert await world.seen("a") == {"n": 1}
            (record,) = await world.hybrid.conflicts()
            assert (record.state, record.error) == ("refused", DocumentTooLargeError.__name__)
            assert record.conflict.fallback is not None
            assert record.conflict.fallback.document["n"] == "x" * 500
            status = await world.hybrid.status()
            assert (status.pending, status.refused) == (0, 1)

    asyncio.run(play())


def test_a_copy_that_the_primary_refuses_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    """A document to keep beside, too large by its longer id, is kept in the log alone."""

    async def play() -> None:
        async with opened(tmp_path, policy="keep_both") as world:
            item = await world.hybrid.put_item("things", {"id": "a", "n": 1, "m": 1})
            limit = len(item.body)
            await world.primary.declare(
                CollectionSpec(collection="things", max_document_bytes=limit)
            )
            world.cut()
            await world.hybrid.update_item("things", "a", {"n": 2})
            await world.primary.update_item("things", "a", {"m": 3})
            world.mend()
            await world.hybrid.replay()
            (record,) = await world.hybrid.conflicts()
            assert (record.state, record.error) == ("settled", DocumentTooLargeError.__name__)
            assert await world.there() == {"n": 1, "m": 3}
            await world.hybrid.undo_conflict(1, keep="fallback")
            assert await world.there() == {"n": 2, "m": 1}

    asyncio.run(play())


def test_a_primary_that_refuses_everything_keeps_the_outage_going(tmp_path: Path) -> None:
    """Wrong credentials at the replay: what was taken stays readable and in the journal."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            world.cut()
            await world.put(n=1)
            world.cut(lambda: AuthenticationError("expired"))
            assert await world.seen() == {"n": 1}
            with pytest.raises(AuthenticationError):
                await world.hybrid.replay()
            status = await world.hybrid.status()
            assert (status.pending, status.error) == (1, "AuthenticationError")
            world.mend()
            assert await world.seen() == {"n": 1}
            assert await world.there() == {"n": 1}

    asyncio.run(play())


# --- order -------------------------------------------------------------------------------------


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
                primary=slow, fallback=world.fallback, journal=tmp_path / "other.db"
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


# --- lifetime and reports ----------------------------------------------------------------------


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
            await _conflict(world, here={"n": "secret one"}, there={"n": "secret two"})
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
