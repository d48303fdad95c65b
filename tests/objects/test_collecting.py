"""Removing what nobody needs, and putting what other programs left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from storage_providers.errors import (
    InvalidArgumentError,
    OutcomeUnknownError,
    ProviderClosedError,
    TransportError,
)
from storage_providers.protocol import Clear, CollectionSpec, Index, Put
from storage_providers.providers._objects import ObjectPut
from storage_providers.providers._objects.collecting import GRACE_SECONDS, GcReport
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
    objects,
    turning,
)

THINGS = "things"
STATUS = Index(("status",))
DUE = Index(("-due", "status"))
TAGS = Index(("tags",), each=True)
SOON = "2026-01-31T12:00:05.000Z"  # The clock begins five seconds earlier.


class Quiet(MemoryObjects):
    """Indexes are due at once; nothing goes on in the background."""

    settle_seconds = 0.0
    builds_in_background = False


class Place:
    """A store, a clock, and a provider on both."""

    def __init__(self, **limits: Any) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(msgspec.structs.replace(LIMITS, **limits))
        self.provider: ObjectProvider = objects(
            self.store, self.clock.clock, timing=turning(self.clock), kind=Quiet
        )

    async def index(self, *indexes: Index, collection: str = THINGS) -> None:
        """Declare indexes and make them ready."""
        await self.provider.declare(CollectionSpec(collection=collection, indexes=indexes))
        await self.provider.build_indexes(collection)

    async def leave(self, *documents: dict[str, Any], collection: str = THINGS) -> None:
        """Entries of documents that are not there any more."""
        for document in documents:
            before = dict(self.store.objects)
            await self.provider.write([Put(collection, document)])
            key = self.provider.layout.document(collection, document["id"])
            if key in before:
                self.store.objects[key] = before[key]
            else:
                del self.store.objects[key]

    def entries(self, collection: str = THINGS) -> list[str]:
        """Its index entries."""
        return self.store.keys(self.provider.layout.index_folder(collection))


@asynccontextmanager
async def place(**limits: Any) -> AsyncGenerator[Place, None]:
    """A connected place."""
    found = Place(**limits)
    async with found.provider:
        yield found


def played(body: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test of a coroutine."""

    def test() -> None:
        asyncio.run(body())

    test.__doc__ = body.__doc__
    test.__name__ = body.__name__
    return test


# --- gc ----------------------------------------------------------------------------------------


@played
async def test_only_what_is_old_is_judged() -> None:
    """To the second: what may belong to a write on its way stays, and is counted."""
    async with place() as p:
        await p.index(STATUS)
        await p.provider.create_item(THINGS, {"id": "a", "status": "open"})
        await p.leave({"id": "gone", "status": "open"}, {"id": "a", "status": "done"})
        p.clock.advance(GRACE_SECONDS)
        # The second write of "a" removed the entry of the first.
        assert len(p.entries()) == 2
        report = await p.provider.gc(THINGS)
        assert (report.entries_seen, report.entries_kept_young) == (2, 2)
        assert report.entries_removed == 0
        p.clock.advance(0.001)
        assert (await p.provider.gc(THINGS)).entries_removed == 2


@played
async def test_garbage_of_every_kind_is_removed() -> None:
    """Of documents gone, of values changed, of the same value twice; the needed entries stay."""
    async with place(list_page=3) as p:
        await p.index(STATUS, DUE, TAGS)
        await p.leave(
            {"id": "gone", "status": "open", "due": 1, "tags": ["x"]},
            {"id": "kept", "status": "done", "due": 2, "tags": ["x", "y"]},
            {"id": "kept", "status": "open", "due": 1, "tags": ["x"]},
        )
        document = {"id": "kept", "status": "open", "due": 1, "tags": ["x", "z"]}
        await p.provider.write([Put(THINGS, document)])
        needed = {
            key + each + keys.id_key("kept")
            for keys, _ in await p.provider.indexes(THINGS)
            for key in [keys.folder]
            for each in keys.values_of(document)
        }
        p.clock.advance(601)
        seen: list[int] = []
        before = len(p.entries())
        report = await p.provider.gc(THINGS, on_progress=seen.append)
        assert len(p.entries()) == 4 == len(needed)
        assert {key[:-22] for key in p.entries()} == needed
        assert report == GcReport(entries_seen=before, entries_removed=before - 4)
        assert seen == sorted(seen)
        assert seen[-1] == before
        assert len(seen) > 3
        assert await p.provider.gc(THINGS) == GcReport(entries_seen=4)


@played
async def test_entries_of_dropped_indexes_are_removed() -> None:
    """When no reader can be using them any more; those of other indexes stay."""

    class Slow(Quiet):
        settle_seconds = 300.0

    async with place() as p:
        p.provider = objects(p.store, p.clock.clock, timing=turning(p.clock), kind=Slow)
        async with p.provider:
            await p.index(STATUS, DUE)
            await p.provider.create_item(THINGS, {"id": "a", "status": "open"})
            p.clock.advance(601)
            await p.provider.declare(CollectionSpec(collection=THINGS, indexes=(DUE,)))
            assert (await p.provider.gc(THINGS)).entries_removed == 0
            p.clock.advance(301)
            assert (await p.provider.gc(THINGS)).entries_removed == 1
            (left,) = p.entries()
            assert left.startswith((await p.provider.indexes(THINGS))[0].keys.folder)


@played
async def test_entries_of_broken_documents_stay() -> None:
    """Mended, they may need them; and so does what is no entry of ours."""
    async with place() as p:
        await p.index(STATUS)
        await p.provider.create_item(THINGS, {"id": "a", "status": "open"})
        folder = (await p.provider.indexes(THINGS))[0].keys.folder
        p.store.plant(folder + "somebody's own", b"")
        p.store.plant(f"{THINGS}/a.json", b"{")
        p.clock.advance(601)
        report = await p.provider.gc(THINGS)
        assert (report.entries_seen, report.entries_removed) == (2, 0)


@played
async def test_gc_of_everything_goes_through_all_collections() -> None:
    """Those of scopes too; it reads each document named once a page."""
    async with place() as p:
        for collection in (THINGS, "u/things", "u/v/others"):
            await p.index(STATUS, collection=collection)
            await p.leave({"id": "gone", "status": "open"}, collection=collection)
            await p.provider.create_item(collection, {"id": "a", "status": "open"})
        p.clock.advance(601)
        report = await p.provider.gc()
        assert (report.entries_seen, report.entries_removed) == (6, 3)


@played
async def test_reading_what_is_named_is_bounded() -> None:
    """100 documents at a time, whatever the number of entries."""
    async with place() as p:
        await p.index(STATUS)
        await p.provider.put_items(THINGS, [{"id": f"{n:03}"} for n in range(250)])
        p.clock.advance(601)
        p.store.calls.clear()
        await p.provider.gc(THINGS)
        assert p.store.calls == {"list": 2, "get": 4}  # One of them is the declaration.


@played
async def test_expired_documents_are_removed_when_asked() -> None:
    """With their entries, whatever their age; never unasked."""
    async with place() as p:
        await p.index(STATUS)
        documents = [{"id": f"{n}", "status": "open", "expiresAt": SOON} for n in range(3)]
        await p.provider.put_items(THINGS, [*documents, {"id": "a", "status": "open"}])
        p.store.plant(f"{THINGS}/broken.json", b"{")
        p.clock.advance(5)
        assert (await p.provider.gc(THINGS)).documents_removed == 0
        report = await p.provider.gc(THINGS, remove_expired=True)
        assert (report.documents_removed, report.entries_removed) == (3, 3)
        assert p.store.keys(f"{THINGS}/") == ["things/a.json", "things/broken.json"]
        assert len(p.entries()) == 1


@played
async def test_gc_that_fails_says_where() -> None:
    """What was removed stays removed; nothing is removed on a guess."""
    async with place() as p:
        await p.index(STATUS)
        await p.leave({"id": "gone", "status": "open"})
        p.clock.advance(601)
        p.store.gate = Fates(lambda r: r.kind == "get" and r.key == "things/gone.json", Fate.BROKEN)
        with pytest.raises(TransportError) as caught:
            await p.provider.gc(THINGS)
        assert (caught.value.operation, caught.value.collection) == ("gc", THINGS)
        assert len(p.entries()) == 1
        with pytest.raises(InvalidArgumentError):
            await p.provider.gc("Wrong Name")
    with pytest.raises(ProviderClosedError):
        await p.provider.gc(THINGS)


# --- clearing ----------------------------------------------------------------------------------


@played
async def test_clearing_costs_a_listing_and_a_call_a_page() -> None:
    """Documents first, then entries that are old; young ones are left to be collected."""
    async with place() as p:
        await p.index(STATUS)
        documents = [{"id": f"{n}", "status": "open"} for n in range(1500)]
        await p.provider.put_items(THINGS, documents[:700])
        p.clock.advance(601)
        await p.provider.put_items(THINGS, documents[700:])
        p.store.calls.clear()
        await p.provider.clear_collection(THINGS)
        assert p.store.calls == {"list": 4, "delete": 4}
        assert p.store.keys(f"{THINGS}/") == []
        assert len(p.entries()) == 800
        assert (await p.provider.list_items(THINGS, where={"status": "open"})).items == []
        p.clock.advance(601)
        assert (await p.provider.gc(THINGS)).entries_removed == 800


@played
async def test_clearing_leaves_what_is_not_its_own() -> None:
    """Other scopes, files of other kinds, declarations and the rest of the bucket."""
    async with place() as p:
        await p.index(STATUS)
        await p.provider.create_item("things/things", {"id": "a"})
        await p.provider.create_item("things-2", {"id": "a"})
        p.store.plant("things/notes.txt", b"")
        p.store.plant("things/%wrong.json", b"{}")
        before = set(p.store.keys())
        await p.provider.create_item(THINGS, {"id": "a/b"})
        await p.provider.write([Clear(THINGS)])
        left = {key for key in p.store.objects if not key.startswith(".indexes/")}
        assert left == before - {"things/%wrong.json"}


@pytest.mark.parametrize(("position", "error"), [(0, TransportError), (2, OutcomeUnknownError)])
def test_clearing_that_fails_half_way(position: int, error: type[Exception]) -> None:
    """Nothing was removed, or that is not known; no entry of what is left is removed."""

    async def play() -> None:
        async with place(list_page=2, delete_batch=1) as p:
            await p.index(STATUS)
            await p.provider.put_items(THINGS, [{"id": f"{n}", "status": "x"} for n in range(5)])
            p.clock.advance(601)

            async def gate(request: Request) -> Fate:
                is_it = documents_deleted(request) and request.key >= f"things/{position}"
                return Fate.BROKEN if is_it else Fate.DONE

            p.store.gate = gate
            with pytest.raises(error) as caught:
                await p.provider.clear_collection(THINGS)
            assert type(caught.value) is error
            p.store.gate = None
            assert len(p.entries()) == 5
            found = await p.provider.list_items(THINGS, where={"status": "x"})
            assert [item.id for item in found.items] == [f"{n}" for n in range(position, 5)]
            await p.provider.clear_collection(THINGS)
            assert p.entries() == []

    asyncio.run(play())


@played
async def test_clearing_waits_when_it_is_refused_for_the_rate() -> None:
    """Only what was refused is sent again."""
    async with place() as p:
        await p.provider.put_items(THINGS, [{"id": f"{n}"} for n in range(5)])
        p.store.gate = Fates(lambda r: r.key == "things/3.json", Fate.REFUSED, Fate.REFUSED)
        p.store.requests.clear()
        began = p.clock.seconds
        await p.provider.clear_collection(THINGS)
        assert p.clock.seconds - began >= 2
        assert p.store.requests["delete"] == 7
        p.store.plant("things/a.json", b"{}")
        p.store.gate = Fates(documents_deleted, *[Fate.REFUSED] * 99)
        with pytest.raises(TransportError, match="too many"):
            await p.provider.clear_collection(THINGS)


# --- other programs' documents -----------------------------------------------------------------


@played
async def test_reindexing_finds_what_other_programs_wrote() -> None:
    """Once more after each of their changes; what was theirs before is collected."""
    async with place(list_page=2) as p:
        await p.index(STATUS, TAGS)
        for n in range(5):
            p.store.plant(f"things/{n}.json", b'{ "status": "open", "tags": ["x", %d] }' % n)
        assert (await p.provider.list_items(THINGS, where={"status": "open"})).items == []
        seen: list[int] = []
        assert await p.provider.reindex(THINGS, seen.append) == 5
        assert seen == [2, 4, 5]
        found = await p.provider.list_items(THINGS, where={"status": "open"})
        assert [item.id for item in found.items] == [f"{n}" for n in range(5)]
        assert len(p.entries()) == 15
        await p.provider.reindex(THINGS)
        assert len(p.entries()) == 15
        p.store.plant("things/1.json", b'{"status": "done"}')
        await p.provider.reindex(THINGS)
        found = await p.provider.list_items(THINGS, where={"status": "done"})
        assert [item.id for item in found.items] == ["1"]
        assert (await p.provider.gc(THINGS)).entries_removed == 3
        assert len(p.entries()) == 13


@played
async def test_a_document_of_another_program_is_replaced_with_its_entries() -> None:
    """The token of such a document is made of its version, so its entries are known."""
    async with place() as p:
        await p.index(STATUS)
        p.store.plant("things/a.json", b'{"status": "open"}')
        await p.provider.reindex(THINGS)
        await p.provider.update_item(THINGS, "a", {"status": "done"})
        assert len(p.entries()) == 1
        await p.provider.delete_item(THINGS, "a")
        assert p.entries() == []


@played
async def test_reindexing_mends_what_was_restored() -> None:
    """A document put back from a copy, with its metadata, as a bucket's tools do it."""
    async with place() as p:
        await p.index(STATUS)
        await p.provider.create_item(THINGS, {"id": "a", "status": "open"})
        (saved,) = await p.store.get(["things/a.json"])
        await p.provider.delete_item(THINGS, "a")
        assert saved is not None
        assert not isinstance(saved, Exception)
        await p.store.put([ObjectPut(key=saved.key, data=saved.data, metadata=saved.metadata)])
        assert (await p.provider.list_items(THINGS, where={"status": "open"})).items == []
        await p.provider.reindex(THINGS)
        found = await p.provider.list_items(THINGS, where={"status": "open"})
        assert [item.id for item in found.items] == ["a"]
        p.clock.advance(601)
        assert (await p.provider.gc(THINGS)).entries_removed == 0
