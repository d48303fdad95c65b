"""What writes cost, what they leave behind, and what they say when something befalls them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from storage_providers.errors import (
    BatchError,
    CorruptItemError,
    DeadlineExceededError,
    DocumentTooLargeError,
    InvalidDocumentError,
    ItemExistsError,
    ItemNotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    TransportError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    IF_PRESENT,
    CollectionSpec,
    Delete,
    IfVersion,
    Index,
    JsonObject,
    Patch,
    Put,
    Write,
)
from storage_providers.providers._objects.provider import ObjectProvider
from storage_providers.testing.conformance import ManualClock
from tests.objects.memory_store import (
    LIMITS,
    Fate,
    Fates,
    MemoryObjects,
    MemoryStore,
    Request,
    documents_deleted,
    documents_put,
    entries_put,
    objects,
    turning,
)

THINGS = "things"
SOON = "2026-01-31T12:00:05.000Z"  # The clock begins five seconds earlier.


class Quiet(MemoryObjects):
    """Indexes are due at once; nothing goes on in the background."""

    settle_seconds = 0.0
    builds_in_background = False


class Place:
    """A store, a clock, and a provider on both.

    Attributes:
        store: The store.
        clock: The clock.
        provider: The provider.
    """

    def __init__(self, *, conditional: bool = True) -> None:
        self.clock = ManualClock()
        limits = msgspec.structs.replace(LIMITS, conditional_put=conditional)
        self.store = MemoryStore(limits)
        self.provider = self.another()

    def another(self) -> ObjectProvider:
        """A second provider on the same store."""
        return objects(self.store, self.clock.clock, timing=turning(self.clock), kind=Quiet)

    async def index(self, *indexes: Index) -> None:
        """Declare indexes and make them ready."""
        await self.provider.declare(CollectionSpec(collection=THINGS, indexes=indexes))
        await self.provider.build_indexes(THINGS)
        assert all(index.ready for index in await self.provider.indexes(THINGS))

    def entries(self) -> list[str]:
        """All index entries."""
        return self.store.keys(f".indexes/{THINGS}/")

    async def cost(self, work: Coroutine[Any, Any, object]) -> dict[str, int]:
        """The calls that some work makes."""
        self.store.calls.clear()
        self.store.requests.clear()
        await work
        return dict(self.store.calls)

    async def assert_tidy(self) -> None:
        """Each document has its entries, and there is no other."""
        needed: list[str] = []
        async for item in self.provider.find_items(THINGS):
            for index in await self.provider.indexes(THINGS):
                tail = index.keys.id_key(item.id)
                values = index.keys.values_of(item.document)
                needed += [index.keys.folder + each + tail for each in values]
        assert sorted(key[:-22] for key in self.entries()) == sorted(needed)


@asynccontextmanager
async def place(*indexes: Index, conditional: bool = True) -> AsyncGenerator[Place, None]:
    """A connected place with ready indexes."""
    found = Place(conditional=conditional)
    async with found.provider:
        if indexes:
            await found.index(*indexes)
        assert len(await found.provider.indexes(THINGS)) == len(indexes)
        yield found


def played(body: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test of a coroutine."""

    def test() -> None:
        asyncio.run(body())

    test.__doc__ = body.__doc__
    test.__name__ = body.__name__
    return test


STATUS = Index(("status",))
DUE = Index(("status", "-due"))
TAGS = Index(("tags",), each=True)
TASK: JsonObject = {"id": "a", "status": "open", "due": 3, "tags": ["x", "y"]}


# --- what it costs -----------------------------------------------------------------------------


@played
async def test_budgets_without_indexes() -> None:
    """One request a write; a patch reads first; a condition on a version just read needs none."""
    async with place() as p:
        things = p.provider
        assert await p.cost(things.create_item(THINGS, {"id": "a"})) == {"put": 1}
        assert await p.cost(things.put_item(THINGS, {"id": "a", "n": 1})) == {"put": 1}
        assert await p.cost(things.update_item(THINGS, "a", {"n": 2})) == {"get": 1, "put": 1}
        item = await things.read_item(THINGS, "a")
        assert item is not None
        put = Put(THINGS, {"id": "a", "n": 3}, IfVersion(item.version))
        assert await p.cost(things.write([put])) == {"put": 1}
        assert await p.cost(things.delete_item(THINGS, "a")) == {"delete": 1}
        many: list[JsonObject] = [{"id": f"{n}"} for n in range(1000)]
        assert await p.cost(things.put_items(THINGS, many)) == {"put": 4}
        assert p.store.requests == {"put": 1000}
        ids = [f"{n}" for n in range(1000)]
        assert await p.cost(things.delete_items(THINGS, ids)) == {"delete": 1}


@played
async def test_a_condition_on_a_version_of_another_process_is_read_first() -> None:
    """It may have expired, which the service does not know of; afterwards it is known."""
    async with place() as p, p.another() as other:
        item = await other.create_item(THINGS, {"id": "a"})
        put = Put(THINGS, {"id": "a", "n": 1}, IfVersion(item.version))
        assert await p.cost(p.provider.write([put])) == {"get": 1, "put": 1}
        (found,) = await p.provider.read_items(THINGS, ["a"])
        assert found is not None
        again = Put(THINGS, {"id": "a", "n": 2}, IfVersion(found.version))
        assert await p.cost(p.provider.write([again])) == {"put": 1}


@played
async def test_budgets_with_indexes() -> None:
    """A new document and one entry each; a replacement reads, and removes in one call."""
    async with place(STATUS, DUE, TAGS) as p:
        things = p.provider
        assert await p.cost(things.create_item(THINGS, TASK)) == {"put": 2}
        assert p.store.requests == {"put": 5}
        changed = {**TASK, "status": "done", "tags": ["z"]}
        expected = {"get": 1, "put": 2, "delete": 1}
        assert await p.cost(things.put_item(THINGS, changed)) == expected
        assert p.store.requests == {"get": 1, "put": 4, "delete": 4}
        assert await p.cost(things.update_item(THINGS, "a", {"due": 9})) == expected
        await p.assert_tidy()
        assert await p.cost(things.delete_item(THINGS, "a")) == {"get": 1, "delete": 2}
        assert p.entries() == []


@played
async def test_many_deletes_leave_their_entries_to_gc() -> None:
    """Up to 32 deletes of a batch read what they remove; more cost one call, and gc the rest."""
    async with place(STATUS) as p:
        ids = [f"{n:03}" for n in range(66)]
        await p.provider.put_items(THINGS, [{"id": each, "status": "open"} for each in ids])
        few, many = ids[:32], ids[32:65]
        expected = {"get": 1, "delete": 2}
        assert await p.cost(p.provider.delete_items(THINGS, few)) == expected
        assert len(p.entries()) == 34
        assert await p.cost(p.provider.delete_items(THINGS, many)) == {"delete": 1}
        assert len(p.entries()) == 34
        found = await p.provider.list_items(THINGS, where={"status": "open"})
        assert [item.id for item in found.items] == ["065"]
        p.clock.advance(601)
        assert (await p.provider.gc(THINGS)).entries_removed == 33
        await p.assert_tidy()


@played
async def test_a_batch_goes_through_its_phases_together() -> None:
    """However many writes of whatever kind: one call to read, two to put, three to remove."""
    async with place(STATUS) as p:
        await p.provider.put_items(THINGS, [{"id": f"{n}", "status": "open"} for n in range(9)])
        batch: list[Write] = [
            Put(THINGS, {"id": "0", "status": "done"}),
            Put(THINGS, {"id": "new", "status": "done"}, IF_ABSENT),
            Patch(THINGS, "1", {"status": "done"}),
            Patch(THINGS, "2", {"status": None}),
            Delete(THINGS, "3"),
            Delete(THINGS, "absent"),
        ]
        assert await p.cost(p.provider.write(batch)) == {"get": 1, "put": 2, "delete": 2}
        await p.assert_tidy()


@played
async def test_large_documents_are_sent_in_slices() -> None:
    """No document waits to be sent until many megabytes before it are through."""
    async with place() as p:
        text = "x" * 10_000_000
        documents = [{"id": f"{n}", "text": text} for n in range(4)]
        assert await p.cost(p.provider.put_items(THINGS, documents)) == {"put": 2}


# --- conditions and expiry ---------------------------------------------------------------------


@pytest.mark.parametrize("indexes", [(), (STATUS,)], ids=["plain", "indexed"])
def test_expired_documents_are_in_nobodys_way(indexes: tuple[Index, ...]) -> None:
    """They can be created anew, and are gone for every other condition, also where unread."""

    async def play() -> None:
        async with place(*indexes) as p:
            document = {"id": "a", "status": "old", "expiresAt": SOON}
            (item,) = await p.provider.write([Put(THINGS, document)])
            assert item is not None
            p.clock.advance(5)
            for provider in (p.provider, p.another()):
                await provider.connect()
                with pytest.raises(VersionMismatchError) as caught:
                    await provider.write([Put(THINGS, {"id": "a"}, IfVersion(item.version))])
                assert caught.value.actual_version is None
                with pytest.raises(ItemNotFoundError):
                    await provider.write([Put(THINGS, {"id": "a"}, IF_PRESENT)])
                with pytest.raises(ItemNotFoundError):
                    await provider.update_item(THINGS, "a", {"n": 1})
            await p.provider.create_item(THINGS, {"id": "a", "status": "new"})
            with pytest.raises(ItemExistsError):
                await p.provider.create_item(THINGS, {"id": "a"})
            await p.assert_tidy()

    asyncio.run(play())


@played
async def test_a_conflict_names_the_version_that_is_there() -> None:
    """Found out by one read, after the service refused."""
    async with place() as p, p.another() as other:
        item = await p.provider.create_item(THINGS, {"id": "a"})
        newer = await other.put_item(THINGS, {"id": "a", "n": 1})
        put = Put(THINGS, {"id": "a", "n": 2}, IfVersion(item.version))
        p.store.calls.clear()
        with pytest.raises(VersionMismatchError) as caught:
            await p.provider.write([put])
        assert p.store.calls == {"put": 1, "get": 1}
        assert caught.value.expected_version == item.version
        assert caught.value.actual_version == newer.version
        await other.delete_item(THINGS, "a")
        with pytest.raises(VersionMismatchError) as caught:
            await p.provider.write([put])
        assert caught.value.actual_version is None


@played
async def test_a_store_without_conditions_reads_first() -> None:
    """As true as it can be there: `IF_ABSENT` looks, nothing is judged by the service."""
    async with place(STATUS, conditional=False) as p:
        assert not p.provider.capabilities.conditional_write
        await p.provider.create_item(THINGS, TASK)
        with pytest.raises(ItemExistsError):
            await p.provider.create_item(THINGS, TASK)
        await p.provider.update_item(THINGS, "a", {"status": "done"})
        await p.assert_tidy()
        with pytest.raises(UnsupportedOperationError):
            await p.provider.update_item(THINGS, "a", {}, if_version="1")


# --- what befalls writes -----------------------------------------------------------------------


@pytest.mark.parametrize(("fate", "landed"), [(Fate.ANSWER_LOST, True), (Fate.LOST, False)])
def test_a_lost_answer_leaves_the_entries(fate: Fate, landed: bool) -> None:
    """Whether the document landed is not known, so nothing that it may need is removed."""

    async def play() -> None:
        async with place(STATUS) as p:
            await p.provider.create_item(THINGS, TASK)
            p.store.gate = Fates(documents_put, fate)
            with pytest.raises(OutcomeUnknownError) as caught:
                await p.provider.put_item(THINGS, {"id": "a", "status": "done"})
            assert (caught.value.collection, caught.value.item_id) == (THINGS, "a")
            assert len(p.entries()) == 2
            status = "done" if landed else "open"
            found = await p.provider.list_items(THINGS, where={"status": status})
            assert [item.id for item in found.items] == ["a"]
            p.clock.advance(601)
            assert (await p.provider.gc(THINGS)).entries_removed == 1
            await p.assert_tidy()

    asyncio.run(play())


@pytest.mark.parametrize("fate", [Fate.ANSWER_LOST, Fate.LOST, Fate.BROKEN])
def test_an_entry_that_can_not_be_put_keeps_the_document_back(fate: Fate) -> None:
    """Then nothing was written for certain, which is what the error says."""

    async def play() -> None:
        async with place(STATUS) as p:
            p.store.gate = Fates(entries_put, fate)
            with pytest.raises(TransportError) as caught:
                await p.provider.create_item(THINGS, TASK)
            assert not isinstance(caught.value, OutcomeUnknownError)
            assert caught.value.retryable
            assert p.entries() == []
            assert await p.provider.read_item(THINGS, "a") is None
            await p.provider.create_item(THINGS, TASK)

    asyncio.run(play())


@played
async def test_a_write_that_failed_is_not_waited_for() -> None:
    """One entry can't be put, another is refused for the rate: trying that again is of no use."""
    async with place(TAGS) as p:
        p.store.gate = Fates(entries_put, Fate.BROKEN, Fate.REFUSED)
        began = p.clock.seconds
        with pytest.raises(TransportError, match="not sent") as caught:
            await p.provider.create_item(THINGS, TASK)
        assert not isinstance(caught.value, RateLimitedError)
        assert p.clock.seconds == began
        assert p.entries() == []


@played
async def test_entries_that_can_not_be_removed_are_left() -> None:
    """The write has landed and says so; the garbage is collected some day."""
    async with place(STATUS) as p:
        await p.provider.create_item(THINGS, TASK)
        p.store.gate = Fates(lambda r: r.kind == "delete", Fate.BROKEN)
        item = await p.provider.update_item(THINGS, "a", {"status": "done"})
        assert item.document["status"] == "done"
        assert len(p.entries()) == 2


@pytest.mark.parametrize("picked", [documents_put, entries_put, documents_deleted])
def test_a_refusal_for_the_rate_is_waited_for(picked: Callable[[Request], bool]) -> None:
    """A second at least each time, and nothing is left behind."""

    async def play() -> None:
        async with place(STATUS) as p:
            await p.provider.create_item(THINGS, TASK)
            p.store.gate = Fates(picked, Fate.REFUSED, Fate.REFUSED)
            began = p.clock.seconds
            if picked is documents_deleted:
                await p.provider.delete_item(THINGS, "a")
            else:
                await p.provider.update_item(THINGS, "a", {"status": "done"})
            assert p.clock.seconds - began >= 2
            await p.assert_tidy()

    asyncio.run(play())


@played
async def test_a_rate_that_stays_too_high_is_an_error() -> None:
    """After half a minute; nothing was written and nothing is left behind."""
    async with place(STATUS) as p:
        p.store.gate = Fates(documents_put, *[Fate.REFUSED] * 100)
        began = p.clock.seconds
        with pytest.raises(RateLimitedError):
            await p.provider.create_item(THINGS, TASK)
        assert 25 < p.clock.seconds - began <= 30
        assert p.store.objects.keys() == {f".declarations/{THINGS}.json"}


@played
async def test_a_race_that_is_never_won_is_a_conflict() -> None:
    """Who is always overtaken gives up after half a minute, and has written nothing."""
    async with place(STATUS) as p:
        await p.provider.create_item(THINGS, TASK)
        count = 0

        async def overtake(request: Request) -> Fate:
            nonlocal count
            if documents_put(request):
                count += 1
                p.clock.advance(0.5)
                p.store.plant(request.key, b'{"id":"a","n":%d}' % count)
            return Fate.DONE

        p.store.gate = overtake
        with pytest.raises(VersionMismatchError, match="kept changing"):
            await p.provider.update_item(THINGS, "a", {"status": "done"})
        p.store.gate = None
        assert count > 10
        assert (await p.provider.read_items(THINGS, ["a"]))[0] is not None
        statuses = [key.partition("/2")[2][:4] for key in p.entries()]
        assert statuses == ["open"]  # Of the document that another program wrote over.


@played
async def test_only_what_lost_a_race_is_repeated() -> None:
    """The others of a batch are written once."""
    async with place(STATUS) as p:
        documents = [{"id": f"{n}", "status": "open"} for n in range(5)]
        await p.provider.put_items(THINGS, documents)

        async def overtake(request: Request) -> Fate:
            if documents_put(request) and request.key == "things/3.json":
                p.store.gate = None
                p.store.plant(request.key, b'{"id":"3","n":7}')
            return Fate.DONE

        p.store.gate = overtake
        changes = {f"{n}": {"status": "done"} for n in range(5)}
        await p.cost(p.provider.update_items(THINGS, changes))
        assert p.store.calls == {"get": 2, "put": 3, "delete": 1}
        item = await p.provider.read_item(THINGS, "3")
        assert item is not None
        assert (item.document["n"], item.document["status"]) == (7, "done")


@played
async def test_each_write_of_a_batch_has_its_outcome() -> None:
    """What landed, what did not and why, and what is not known."""
    async with place(STATUS) as p:
        await p.provider.put_items(THINGS, [{"id": "a"}, {"id": "b"}, {"id": "lost"}])
        p.store.plant("things/broken.json", b"{")
        p.store.gate = Fates(
            lambda r: documents_put(r) and r.key == "things/lost.json", Fate.ANSWER_LOST
        )
        with pytest.raises(BatchError) as caught:
            await p.provider.write(
                [
                    Put(THINGS, {"id": "a", "n": 1}),
                    Put(THINGS, {"id": "b"}, IF_ABSENT),
                    Patch(THINGS, "absent", {"n": 1}),
                    Patch(THINGS, "broken", {"n": 1}),
                    Put(THINGS, {"id": "lost", "n": 1}),
                    Delete(THINGS, "c"),
                ]
            )
        results = caught.value.results
        assert [type(result).__name__ for result in results] == [
            "Item",
            "ItemExistsError",
            "ItemNotFoundError",
            "CorruptItemError",
            "OutcomeUnknownError",
            "NoneType",
        ]
        for position, item_id in ((1, "b"), (2, "absent"), (3, "broken"), (4, "lost")):
            error = results[position]
            assert isinstance(error, StorageError)
            assert (error.item_id, error.index) == (item_id, position)
        corrupt = results[3]
        assert isinstance(corrupt, CorruptItemError)
        assert corrupt.source == "things/broken.json"


@played
async def test_a_store_that_is_down_fails_each_write() -> None:
    """An error of the whole call is that of every write, each by its own name."""
    async with place() as p:

        class Down(MemoryStore):
            async def put(self, objects: object) -> list[str | StorageError]:
                raise TransportError("no answer")

        p.provider.store = Down()
        with pytest.raises(BatchError) as caught:
            await p.provider.put_items(THINGS, [{"id": "a"}, {"id": "b"}])
        assert [error.item_id for error in caught.value.errors] == ["a", "b"]
        with pytest.raises(TransportError):
            await p.provider.put_item(THINGS, {"id": "a"})


# --- before a byte moves -----------------------------------------------------------------------


@played
async def test_keys_that_do_not_fit_are_refused_at_once() -> None:
    """Of documents and of entries, with the numbers; the others of the batch are not written."""
    async with place(STATUS, DUE) as p:
        p.store.calls.clear()
        long_id = "/" * 200  # Six bytes of an entry's key for each, as it stands upside down.
        with pytest.raises(InvalidDocumentError, match=r"'status' is too long.* 1024"):
            await p.provider.put_items(THINGS, [{"id": "a"}, {"id": "b", "status": "é" * 170}])
        with pytest.raises(InvalidDocumentError, match="1024") as caught:
            await p.provider.put_items(THINGS, [{"id": "a"}, {"id": long_id}])
        assert caught.value.index == 1
        assert p.store.calls == {}


@played
async def test_patches_are_held_to_the_limits() -> None:
    """Size and length of keys are known only when it is read; then nothing is written."""
    async with place(STATUS) as p:
        spec = CollectionSpec(collection=THINGS, indexes=(STATUS,), max_document_bytes=900)
        await p.provider.declare(spec)
        await p.provider.create_item(THINGS, {"id": "a", "status": "open"})
        before = dict(p.store.objects)
        with pytest.raises(DocumentTooLargeError):
            await p.provider.update_item(THINGS, "a", {"n": "x" * 900})
        with pytest.raises(InvalidDocumentError):
            await p.provider.update_item(THINGS, "a", {"status": "~" * 400})
        assert p.store.objects == before


# --- time --------------------------------------------------------------------------------------


def sleepy(p: Place, picked: Callable[[Request], bool], *seconds: float) -> None:
    """Let some requests take long."""
    left = list(seconds)

    async def gate(request: Request) -> Fate:
        if left and picked(request):
            p.clock.advance(left.pop(0))
        return Fate.DONE

    p.store.gate = gate


@played
async def test_a_write_that_took_long_to_prepare_is_begun_anew() -> None:
    """With a new token and the declaration of now, so that nobody's reckoning is upset."""
    async with place(STATUS) as p:
        sleepy(p, entries_put, 61)
        await p.cost(p.provider.create_item(THINGS, TASK))
        assert p.store.requests == {"put": 3, "get": 1, "delete": 1}
        await p.assert_tidy()
        (kept,) = [kept for key, kept in p.store.objects.items() if key.startswith("things/")]
        assert kept.metadata.token == p.entries()[0][-22:]


@played
async def test_a_write_that_always_takes_long_is_given_up() -> None:
    """It says that nothing was written, and leaves nothing."""
    async with place(STATUS) as p:
        sleepy(p, entries_put, *[61] * 10)
        with pytest.raises(DeadlineExceededError) as caught:
            await p.provider.create_item(THINGS, TASK)
        assert caught.value.attempts == 4
        assert p.entries() == []
        assert await p.provider.read_item(THINGS, "a") is None


@played
async def test_a_document_that_lands_very_late_gets_its_entries_once_more() -> None:
    """In the indexes that are declared by then, which its writer did not know of."""
    async with place() as p, p.another() as other:

        async def gate(request: Request) -> Fate:
            if documents_put(request):
                p.store.gate = None
                await other.declare(CollectionSpec(collection=THINGS, indexes=(STATUS,)))
                await other.build_indexes(THINGS)
                p.clock.advance(1000)
            return Fate.DONE

        p.store.gate = gate
        await p.provider.create_item(THINGS, TASK)
        page = await other.list_items(THINGS, where={"status": "open"})
        assert page.statistics.index == "status"
        assert [item.id for item in page.items] == ["a"]
