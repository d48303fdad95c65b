"""The layer Offload when something goes wrong: crashes, lost answers, damage, orphans."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.errors import (
    BatchError,
    CorruptItemError,
    CorruptItemWarning,
    InvalidArgumentError,
    OutcomeUnknownError,
    StorageError,
    TransportError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.layers import Layer, Offload, Scope, compose
from storage_providers.layers._offload import upkeep
from storage_providers.layers._offload.objects import made_at_ms, owner_of
from storage_providers.layers.offload import Collected
from storage_providers.protocol import Address, Capabilities, Delete, Item, Put, Write
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.r2 import CloudflareR2Provider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.conformance import ManualClock
from storage_providers.testing.faults import Cancel, Fail, Faults, LoseAnswer, Recorder
from tests.test_conformance import WeakProvider

if TYPE_CHECKING:
    from tests.servers.moto import MotoS3

LARGE = "large \u20ac " * 100
HOUR = 3600.0


class Place:
    """Documents, objects, and a layer with a clock that is turned by hand.

    Attributes:
        clock: The time.
        main: The documents' provider.
        objects: The objects' provider.
        layer: The layer.
        top: The whole.
    """

    def __init__(
        self, *between: Layer, main: Provider | None = None, aside: Sequence[Layer] = ()
    ) -> None:
        self.clock = ManualClock()
        self.main = InMemoryProvider(clock=self.clock.clock) if main is None else main
        self.objects = InMemoryProvider(clock=self.clock.clock)
        self.layer = self.offload(*aside)
        self.top = compose(self.layer, *between, provider=self.main)

    def offload(self, *aside: Layer) -> Offload:
        """Another layer on the same objects."""
        objects = compose(*aside, provider=self.objects)
        return Offload(objects=objects, over_bytes=100, fields="content")

    async def addresses(self) -> list[Address]:
        """Where all objects are."""
        return [
            Address(name, entry.id)
            for name in await self.objects.collections()
            for entry in (await self.objects.versions(name)).entries
        ]

    async def put(self, *ids: str, text: str = LARGE, collection: str = "todos") -> None:
        """Put documents that are split."""
        await self.top.put_items(collection, [{"id": each, "content": text} for each in ids])

    async def text(self, item_id: str, collection: str = "todos") -> str | None:
        """What a document holds."""
        item = await self.top.read_item(collection, item_id)
        return None if item is None else item.document["content"]


Play = Callable[[Place], Awaitable[None]]


def run(play: Play, *between: Layer, **options: Any) -> None:
    """Play on an open place."""

    async def playing() -> None:
        place = Place(*between, **options)
        async with place.top:
            await play(place)

    asyncio.run(playing())


# --- crashes and lost answers --------------------------------------------------------------------


@pytest.mark.parametrize("item_id", ["new", "old"])
def test_a_crash_between_the_two_writes_leaves_an_orphan(item_id: str) -> None:
    """The document is what it was, and the object goes with the next collection."""
    faults = Faults()

    async def play(place: Place) -> None:
        await place.put("old", text="before" * 100)
        faults.script.append(Fail("write"))
        with pytest.raises(TransportError):
            await place.put(item_id)
        assert await place.text(item_id) == (None if item_id == "new" else "before" * 100)
        assert len(await place.addresses()) == 2
        place.clock.advance(2 * HOUR)
        assert await place.layer.collect() == Collected(objects=2, removed=1)
        assert await place.text("old") == "before" * 100

    run(play, faults)


def test_a_lost_answer_of_the_document_is_an_unknown_outcome() -> None:
    """Whatever happened, what is there is whole; and it is not told that it failed."""
    faults = Faults()

    async def play(place: Place) -> None:
        await place.put("a", text="before" * 100)
        faults.script.append(LoseAnswer("write"))
        with pytest.raises(OutcomeUnknownError):
            await place.put("a")
        assert await place.text("a") == LARGE
        place.clock.advance(2 * HOUR)
        assert (await place.layer.collect()).removed == 1
        assert await place.text("a") == LARGE

    run(play, faults)


def test_a_lost_answer_of_the_objects_is_no_unknown_outcome() -> None:
    """No document was written, so the write may simply be tried again."""
    faults = Faults()

    async def play(place: Place) -> None:
        await place.put("a")
        faults.script.append(LoseAnswer("write"))
        with pytest.raises(TransportError, match="no document was written") as caught:
            await place.put("a", "b", text="after" * 100)
        assert caught.value.retryable
        assert not isinstance(caught.value, OutcomeUnknownError)
        assert (await place.text("a"), await place.text("b")) == (LARGE, None)
        await place.put("a", "b", text="after" * 100)
        assert await place.text("b") == "after" * 100

    run(play, aside=[faults])


def test_objects_that_can_not_be_stored_stop_the_batch() -> None:
    """By the error of the first; no document of the batch is written."""
    failing = Faults()
    boom = BatchError("1 of 2", results=[None, TransportError("the bucket is on fire")])

    async def play(place: Place) -> None:
        await place.put("a")
        failing.script.append(Fail("write", error=lambda: boom))
        with pytest.raises(TransportError, match="the bucket is on fire"):
            await place.put("b", "c")
        assert await place.main.count_items("todos") == 1

    run(play, aside=[failing])


@pytest.mark.parametrize("after", [False, True])
def test_a_cancelled_write_leaves_whole_documents(after: bool) -> None:
    """Old or new, and never one without its object."""
    faults = Faults()

    async def play(place: Place) -> None:
        await place.put("a", text="before" * 100)
        faults.script.append(Cancel("write", after=after))
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(place.put("a"))
        assert await place.text("a") == (LARGE if after else "before" * 100)

    run(play, faults)


def test_any_failures_leave_whole_documents() -> None:
    """Three hundred writes, deletes and collections with failures and lost answers everywhere."""
    above = Faults.seeded(5, fail=0.15, lose_answer=0.15)
    aside = Faults.seeded(6, fail=0.1, lose_answer=0.1)

    async def play(place: Place) -> None:
        may_be: dict[str, set[str | None]] = {f"{n}": {None} for n in range(5)}
        above.script, script = [], above.script
        aside.script, other = [], aside.script
        for step in range(300):
            item_id, text = f"{step % 5}", f"{step} " * 60
            above.script, aside.script = script, other
            try:
                if step % 7 == 6:
                    await place.top.delete_item("todos", item_id)
                    may_be[item_id] = {None}
                elif step % 3:
                    await place.put(item_id, text=text)
                    may_be[item_id] = {text}
                else:
                    await place.layer.collect(older_than_seconds=0)
            except OutcomeUnknownError:
                may_be[item_id] |= {None if step % 7 == 6 else text}
            except StorageError:
                pass
            above.script = aside.script = []
            place.clock.advance(1)
            assert await place.text(item_id) in may_be[item_id]
        await place.layer.collect(older_than_seconds=0)
        assert len(await place.addresses()) == await place.main.count_items("todos")

    run(play, above, aside=[aside])


# --- damage --------------------------------------------------------------------------------------


async def lose(place: Place, address: Address) -> None:
    """The object is gone."""
    await place.objects.write([Delete(address.collection, address.id)])


async def overwrite(place: Place, address: Address, content: bytes, encoding: str) -> None:
    """The object holds something else."""
    document = {"id": address.id}
    await place.objects.write(
        [Put(address.collection, document, encoding=encoding, payload=content)]
    )


async def changed(place: Place, address: Address) -> None:
    """One letter of the object is another."""
    (item,) = await place.objects.read([address])
    assert item is not None
    assert item.payload is not None
    await overwrite(place, address, item.payload.replace(b"l", b"L", 1), "offloaded")


DAMAGE: dict[str, tuple[Callable[[Place, Address], Awaitable[None]], str]] = {
    "missing": (lose, "is missing"),
    "shorter": (lambda p, a: overwrite(p, a, b"{}", "offloaded"), "holds 2 bytes instead of"),
    "emptied": (lambda p, a: overwrite(p, a, b"", "offloaded"), "holds 0 bytes"),
    "changed": (changed, "holds other bytes"),
    "another's": (lambda p, a: overwrite(p, a, b"{}", "zstd"), "holds something else"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_object_is_an_error_that_names_it(kind: str) -> None:
    """Never an empty field; the other documents and the other fields can be read."""
    damage, reason = DAMAGE[kind]

    async def play(place: Place) -> None:
        await place.put("bad")
        (address,) = await place.addresses()
        await place.put("good")
        await damage(place, address)
        with pytest.raises(CorruptItemError, match=reason) as caught:
            await place.text("bad")
        error = caught.value
        assert (error.collection, error.item_id, error.operation) == ("todos", "bad", "read")
        assert repr(address.id) in str(error)
        assert error.source == f"memory: {address.collection}/{address.id}"
        assert LARGE[:10] not in str(error)
        with pytest.raises(BatchError) as several:
            await place.top.read_items("todos", ["good", "bad", "none"])
        good, bad, nothing = several.value.results
        assert isinstance(good, Item)
        assert isinstance(bad, CorruptItemError)
        assert (good.document["content"], nothing) == (LARGE, None)
        page = await place.top.list_items("todos", total=True)
        assert ([item.id for item in page.items], page.total) == (["good"], 2)
        assert [each.item_id for each in page.corrupt] == ["bad"]
        with pytest.warns(CorruptItemWarning, match=reason):
            assert len([item async for item in place.top.find_items("todos")]) == 1
        assert len((await place.top.list_items("todos", fields=["createdAt"])).items) == 2
        with pytest.raises(CorruptItemError, match=reason):
            await place.top.update_items("todos", {"good": {"n": 1}, "bad": {"n": 1}})
        await place.put("bad")
        assert await place.text("bad") == LARGE

    run(play)


def test_a_damaged_record_is_an_error() -> None:
    """As when somebody wrote below the layer."""

    async def play(place: Place) -> None:
        for payload in (b"", b"no json\n", b'{"object":5}\n'):
            put = Put("todos", {"id": "a"}, encoding="offload", payload=payload)
            await place.main.write([put])
            with pytest.raises(CorruptItemError, match="record"):
                await place.text("a")

    run(play)


def test_the_layers_own_document_damaged() -> None:
    """Named, with what to do; nothing is written to another place."""

    async def play(place: Place) -> None:
        await place.main.write([Put(".offload", {"id": "store", "token": 5})])
        with pytest.raises(CorruptItemError, match="restore this document") as caught:
            await place.put("a")
        assert (caught.value.collection, caught.value.item_id) == (".offload", "store")
        assert await place.addresses() == []

    run(play)


class Overtaken(Layer):
    """Lets somebody act just before objects are read."""

    name: ClassVar[str] = "overtaken"

    def __init__(self) -> None:
        super().__init__()
        self.acts: list[Callable[[], Awaitable[Any]]] = []

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        if self.acts:
            await self.acts.pop(0)()
        return await super()._read(addresses)


@pytest.mark.parametrize("times", [1, 4, 5])
def test_a_reader_whose_object_is_collected_meanwhile_reads_again(times: int) -> None:
    """Documents replaced while they are read are read as they are now; with an end to it."""
    overtaken = Overtaken()

    async def play(place: Place) -> None:
        layer = place.offload()
        other = compose(layer, provider=place.main)
        numbers = itertools.count()

        async def replace() -> None:
            text = f"{next(numbers)}" + LARGE
            await other.put_item("todos", {"id": "a", "content": text})
            place.clock.advance(1)
            await layer.collect(older_than_seconds=0)

        async def listed() -> str | None:
            page = await place.top.list_items("todos", limit=1)
            return str(page.items[0].document["content"])

        await place.put("a", "b")
        asks: list[Callable[[], Awaitable[str | None]]] = [partial(place.text, "a"), listed]
        for ask in asks:
            overtaken.acts = [replace] * times
            if times == 5:
                with pytest.raises(TransportError, match="5 times"):
                    await ask()
            else:
                assert await ask() == f"{next(numbers) - 1}" + LARGE

        async def delete() -> None:
            await other.delete_item("todos", "b")
            await place.objects.clear_collection((await place.objects.collections())[0])

        overtaken.acts = [delete]
        assert await place.text("b") is None

    run(play, aside=[overtaken])


def test_an_object_that_is_not_to_be_seen_yet_is_no_damage() -> None:
    """Where answers may be old, it is asked to wait; after that time it is missing."""

    class Slow(InMemoryProvider):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(strongly_consistent=False, staleness_seconds=60)

    async def play() -> None:
        clock = ManualClock()
        objects, main = Slow(clock=clock.clock), InMemoryProvider(clock=clock.clock)
        layer = Offload(objects=objects, over_bytes=100, fields="content")
        async with compose(layer, provider=main) as top:
            assert not top.capabilities.strongly_consistent
            assert top.capabilities.staleness_seconds == 60
            await top.put_item("todos", {"id": "a", "content": LARGE})
            await objects.clear_collection((await objects.collections())[0])
            clock.advance(10)
            with pytest.raises(TransportError, match="not to be seen yet") as caught:
                await top.read_item("todos", "a")
            assert (caught.value.retryable, caught.value.retry_after_seconds) == (True, 50)
            clock.advance(50)
            with pytest.raises(CorruptItemError, match="is missing"):
                await top.read_item("todos", "a")
            with pytest.raises(InvalidArgumentError, match="the least here is 120"):
                await layer.collect(older_than_seconds=100)

    asyncio.run(play())


# --- orphans -------------------------------------------------------------------------------------


def test_collecting_removes_what_no_document_refers_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of replaced, deleted, cleared and expired documents, in any scope, page by page."""
    monkeypatch.setattr(upkeep, "OBJECTS_TOGETHER", 3)

    async def play(place: Place) -> None:
        assert await place.layer.collect() == Collected()
        names = [f"{n}" for n in range(7)]
        await place.put(*names)
        await place.put(*names[:5], text="again" * 100)
        await place.put("x", "y" * 512, "a:b", "\u20ac" * 170, collection="user-7/notes")
        await place.put("x", "y" * 512, text="again" * 100, collection="user-7/notes")
        await place.put("c", "d", collection="cleared")
        await place.top.clear_collection("cleared")
        await place.top.delete_items("todos", ["0", "1"])
        soon = "2026-01-31T12:00:10.000Z"
        await place.top.put_item("todos", {"id": "e", "content": LARGE, "expiresAt": soon})
        assert await place.layer.collect() == Collected(objects=21, young=21)
        place.clock.advance(2 * HOUR)
        await place.put("6", text="young" * 100)
        reported: list[int] = []
        report = await place.layer.collect(on_progress=reported.append)
        # Seven replaced, two deleted, two cleared, one expired, and the old of the young one.
        assert report == Collected(objects=22, removed=13, young=1)
        assert reported == sorted(reported)
        assert reported[-1] == 22
        assert len(await place.addresses()) == 9
        texts = [await place.text(f"{n}") for n in range(7)]
        assert texts == [None, None, *["again" * 100] * 3, LARGE, "young" * 100]
        for item_id in ("x", "y" * 512):
            assert await place.text(item_id, "user-7/notes") == "again" * 100
        assert await place.text("a:b", "user-7/notes") == LARGE
        assert await place.layer.collect() == Collected(objects=9, young=1)

    run(play)


def test_collecting_may_be_interrupted_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a failure or a cancellation; what was removed stays so, and nothing is lost."""
    monkeypatch.setattr(upkeep, "OBJECTS_TOGETHER", 2)
    faults = Faults()

    async def play(place: Place) -> None:
        names = [f"{n}" for n in range(6)]
        await place.put(*names)
        await place.put(*names, text="again" * 100)
        place.clock.advance(2 * HOUR)
        faults.script += [Fail("write", call=2), Cancel("versions", call=4)]
        with pytest.raises(TransportError):
            await place.layer.collect()
        assert 6 < len(await place.addresses()) < 12
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(place.layer.collect())
        await place.layer.collect()
        assert len(await place.addresses()) == 6
        assert [await place.text(name) for name in names] == ["again" * 100] * 6

    run(play, aside=[faults])


def test_others_at_the_same_provider_of_objects_are_left_alone() -> None:
    """Their objects, and whatever documents somebody keeps there."""

    async def play(place: Place) -> None:
        other = compose(place.offload(), provider=InMemoryProvider(clock=place.clock.clock))
        async with other:
            await other.put_item("todos", {"id": "a", "content": LARGE})
            await place.put("a")
            await place.objects.put_item("todos", {"id": "own"})
            mine = f"offloaded/{await token(place.main)}/todos"
            await place.objects.put_item(mine, {"id": "not an object"})
            await place.top.delete_item("todos", "a")
            place.clock.advance(2 * HOUR)
            report = await place.layer.collect()
            assert report == Collected(objects=2, removed=1, young=1)
            item = await other.read_item("todos", "a")
            assert item is not None
            assert item.document["content"] == LARGE
            assert await place.objects.count_items("todos") == 1
            assert await place.objects.count_items(mine) == 1

    run(play)


async def token(main: Provider) -> str:
    """What tells this data's objects from others'."""
    item = await main.read_item(".offload", "store")
    assert item is not None
    return str(item.document["token"])


def test_objects_of_documents_that_can_not_be_read_stay(tmp_path: Any) -> None:
    """Nobody knows what they refer to."""
    clock = ManualClock()
    files = LocalFileProvider(tmp_path, fsync=False, clock=clock.clock)

    async def play(place: Place) -> None:
        await place.put("a", "b", "c")
        (tmp_path / "todos" / "a.encoded").write_bytes(b"spoilt")
        await place.top.delete_item("todos", "c")
        clock.advance(2 * HOUR)
        assert await place.layer.collect() == Collected(objects=3, removed=1, unknown=1)
        assert len(await place.addresses()) == 2

    run(play, main=files)


def test_collecting_while_others_write_loses_nothing() -> None:
    """Every document that was put can be read, whatever is collected at the same time."""

    async def play(place: Place) -> None:
        async def write(item_id: str) -> None:
            for n in range(12):
                await place.put(item_id, text=f"{n} " * 100)
                await place.top.update_item("todos", item_id, {"n": n})
                place.clock.advance(1)
                assert await place.text(item_id) == f"{n} " * 100

        async def collect() -> None:
            for _ in range(25):
                await place.layer.collect(older_than_seconds=30)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for n in range(5):
                group.create_task(write(f"{n}"))
            group.create_task(collect())
        assert [await place.text(f"{n}") for n in range(5)] == ["11 " * 100] * 5

    run(play, Yielding(), aside=[Yielding()])


class Yielding(Layer):
    """Lets others run before every call."""

    async def around(self, call: Any, proceed: Callable[[], Awaitable[Any]]) -> Any:
        await asyncio.sleep(0)
        return await proceed()


def test_two_processes_agree_on_where_objects_go() -> None:
    """They begin at once, and each finds what the other wrote and collects its orphans."""

    async def play(place: Place) -> None:
        other = compose(place.offload(), Yielding(), provider=place.main)
        async with asyncio.TaskGroup() as group:
            group.create_task(place.put("a"))
            group.create_task(other.put_item("todos", {"id": "b", "content": LARGE}))
        assert len(await place.objects.collections("offloaded")) == 1
        assert await place.text("b") == LARGE

    run(play, Yielding())


def test_two_rules_that_come_at_once_are_both_kept() -> None:
    """Neither of two programs overwrites what the other needs to be known."""

    async def play(place: Place) -> None:
        def layer(*fields: str) -> Provider:
            offload = Offload(objects=place.objects, over_bytes=100, fields=fields)
            return compose(offload, Yielding(), provider=place.main)

        await place.put("a")
        async with asyncio.TaskGroup() as group:
            for name in ("x", "y", "z"):
                document = {"id": name, name: LARGE}
                group.create_task(layer(name).put_item("todos", document))
        for name in ("content", "x", "y", "z"):
            with pytest.raises(UnsupportedOperationError, match=f"'{name}'"):
                await layer("other").count_items("todos", where={name: "v"})

    run(play)


def test_objects_are_named_by_their_documents() -> None:
    """Where there is room; so a collection need not read them to know whose they are."""
    recorder = Recorder()

    async def play(place: Place) -> None:
        ids = ["a/b", "x" * (512 - 37)]
        await place.put(*ids)
        named = {address.id.rpartition(":")[0] for address in await place.addresses()}
        assert named == set(ids)
        recorder.calls.clear()
        await place.layer.collect(older_than_seconds=0)
        place.clock.advance(1)
        await place.layer.collect(older_than_seconds=0)
        assert set(recorder.verbs) == {"collections", "versions"}
        await place.put("y" * (512 - 36))
        assert "" in {address.id.rpartition(":")[0] for address in await place.addresses()}

    run(play, aside=[recorder])


def test_resettling_needs_conditional_writes_and_readable_documents() -> None:
    """It is refused, or fails with the earlier rules in force."""

    async def play(place: Place) -> None:
        with pytest.raises(UnsupportedOperationError, match="conditional_write"):
            await place.layer.resettle()

    run(play, main=WeakProvider())

    async def damaged(place: Place) -> None:
        await place.put("a")
        layer = Offload(objects=place.objects, over_bytes=100, fields="other")
        top = compose(layer, provider=place.main)
        await lose(place, (await place.addresses())[0])
        with pytest.raises(CorruptItemError):
            await layer.resettle()
        with pytest.raises(UnsupportedOperationError):
            await top.count_items("todos", where={"content": "x"})
        await place.top.delete_item("todos", "a")
        assert await layer.resettle() == 0
        assert await top.count_items("todos", where={"content": "x"}) == 0

    run(damaged)


def test_resettling_leaves_documents_that_others_change() -> None:
    """They did so by the rule in force."""

    class Conflicts(Layer):
        async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
            if any(write.collection == "todos" for write in batch):
                raise VersionMismatchError("the document was changed", index=0)
            return await super()._write(batch)

    async def play(place: Place) -> None:
        await place.put("a")
        layer = Offload(objects=place.objects, over_bytes=100, fields="other")
        compose(layer, Conflicts(), provider=place.main)
        assert await layer.resettle() == 0

    run(play)


def test_ids_of_objects() -> None:
    """They name their document if there is room, and when they were made."""
    clock = Clock(source=lambda: 1_700_000_000.5)
    made = clock.new_id()
    assert (owner_of(f"a:b:{made}"), owner_of(made)) == ("a:b", None)
    assert made_at_ms(f"x:{made}") == made_at_ms(made) == 1_700_000_000_500
    for wrong in ("", "x", f"x{made}", made[:-1], made.replace("-", "+"), "z" * 36, "0" * 36):
        with pytest.raises(ValueError, match=r"object|base 16"):
            made_at_ms(wrong)


def test_nothing_is_asked_twice_when_nothing_ever_left() -> None:
    """Queries look for earlier rules once a minute."""
    recorder = Recorder()

    async def play(place: Place) -> None:
        for _ in range(3):
            await place.top.list_items("todos")
        assert recorder.verbs.count("read") == 1
        place.clock.advance(61)
        await place.top.list_items("todos")
        assert recorder.verbs.count("read") == 2

    run(play, recorder)


def test_a_bucket_of_objects_beside_a_database(moto: MotoS3, moto_bucket: str) -> None:
    """Documents in SQLite and objects in R2: written, patched, read, damaged, collected."""
    clock = ManualClock()
    bucket = CloudflareR2Provider(
        moto_bucket,
        prefix="app",
        endpoint_url=moto.endpoint,
        access_key_id="key",
        secret_access_key="secret",
        clock=clock.clock,
    )

    async def play() -> None:
        layer = Offload(objects=bucket, over_bytes=100, fields="content")
        database = SQLiteProvider(":memory:", clock=clock.clock)
        async with compose(Scope("user-7"), layer, provider=database) as top:
            ids = ["a/b", "..", "\u20ac", "x" * 300]
            await top.put_items("todos", [{"id": each, "content": LARGE} for each in ids])
            await top.update_items("todos", {each: {"n": 1} for each in ids})
            texts = [item.document["content"] async for item in top.find_items("todos")]
            assert texts == [LARGE] * 4
            await top.update_item("todos", "..", {"content": "again" * 100})
            await top.delete_item("todos", "a/b")
            clock.advance(2 * HOUR)
            assert await layer.collect() == Collected(objects=5, removed=2)
            found = {item.id: item.document["content"] async for item in top.find_items("todos")}
            assert found == {"..": "again" * 100, "\u20ac": LARGE, "x" * 300: LARGE}
            keys = moto.keys(moto_bucket)
            assert len(keys) == 3
            assert all(key.startswith("app/offloaded/") and "/user-7/todos/" in key for key in keys)
            moto.plant(moto_bucket, {keys[0]: b"spoilt"})
            page = await top.list_items("todos")
            assert (len(page.items), len(page.corrupt)) == (2, 1)

    asyncio.run(play())
