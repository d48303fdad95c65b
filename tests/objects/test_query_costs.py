"""What queries on objects cost: requests, counted; what they hold; what they leave behind."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from storage_providers._requests import count_request
from storage_providers.errors import StorageError, TransportError
from storage_providers.protocol import ANY, Index, Item, Query
from storage_providers.providers._objects import (
    Listing,
    ObjectEntry,
    ObjectLimits,
    StoredObject,
)
from storage_providers.providers._objects.documents import to_object
from storage_providers.resilience import CONCURRENCY
from tests.objects.memory_store import LIMITS, Fate, MemoryStore, Request, objects
from tests.objects.planting import THINGS, Bucket, clock, flat, numbered, pages, played, token

DUE = Index.of("-due")
STATUS_DUE = Index.of("status", "-due")


def todos(count: int) -> list[dict[str, Any]]:
    """Documents of three states, each due at its own time."""
    return [
        {**document, "status": "abc"[document["n"] % 3], "due": 100_000 - document["n"]}
        for document in numbered(count)
    ]


async def first(bucket: Bucket, **arguments: Any) -> Any:
    """The first page, requests counted from here on."""
    await bucket.provider.declared(THINGS)
    bucket.forget()
    return await bucket.provider.list_items(THINGS, **arguments)


# --- by id -------------------------------------------------------------------------------------


@played
async def test_a_page_by_id_is_one_listing_and_its_documents() -> None:
    """The first page, the following ones, and no declaration is looked at."""
    bucket = Bucket()
    bucket.plant(*numbered(2500))
    async with bucket.provider as provider:
        cursor = None
        for number in range(3):
            bucket.forget()
            page = await provider.list_items(THINGS, limit=100, cursor=cursor)
            assert [item.document["n"] for item in page.items] == list(
                range(number * 100, number * 100 + 100)
            )
            assert bucket.asked == {"list": 1, "get": 100}
            statistics = page.statistics
            assert (statistics.requests, statistics.documents_read) == (101, 100)
            assert (statistics.index, statistics.full_scan) == (None, False)
            cursor = page.cursor


@played
async def test_going_over_a_whole_collection_by_id() -> None:
    """A listing for each page, a read for each document, and no more."""
    bucket = Bucket()
    bucket.plant(*numbered(2500))
    async with bucket.provider as provider:
        assert len([item async for item in provider.find_items(THINGS, page_size=500)]) == 2500
        assert bucket.asked == {"list": 5, "get": 2500}


@played
async def test_going_over_uuids_probes_little() -> None:
    """Ids as the SDK makes them hold dashes, which sort before `.`: a few probes a page at most."""
    bucket = Bucket()
    ids = sorted(clock().new_id() for _ in range(1000))
    bucket.plant(*({"id": item_id} for item_id in ids))
    async with bucket.provider as provider:
        assert [item.id async for item in provider.find_items(THINGS, page_size=100)] == ids
        assert bucket.asked["list"] == 10
        assert bucket.asked["get"] <= 1000 + 10 * 4


@played
async def test_escaped_ids_cost_a_second_listing_only_where_they_are() -> None:
    """Paths as ids are listed apart; once they are all passed, cursors remember it."""
    bucket = Bucket()
    bucket.plant(*({"id": f"a/{number:03}"} for number in range(150)), *numbered(300))
    async with bucket.provider as provider:
        found = await pages(provider, Query(THINGS, limit=50))
        assert flat(found) == sorted(flat(found))
        assert len(flat(found)) == 450
        assert bucket.asked["get"] == 450
        assert bucket.asked["list"] <= 9 + 9


@played
async def test_descending_by_id_reads_only_the_page() -> None:
    """All keys are listed, and only the last documents read."""
    bucket = Bucket()
    bucket.plant(*numbered(2500))
    async with bucket.provider as provider:
        page = await provider.list_items(THINGS, limit=10, order_by="-id")
        assert [item.document["n"] for item in page.items] == list(range(2499, 2489, -1))
        assert bucket.asked == {"list": 3, "get": 10}


@played
async def test_one_id_is_one_read() -> None:
    """By equality; several ids are as many reads; other conditions change nothing."""
    bucket = Bucket(STATUS_DUE)
    bucket.declare()
    bucket.plant(*todos(200))
    async with bucket.provider as provider:
        page = await provider.list_items(THINGS, where={"id": "00007"})
        assert ([item.id for item in page.items], bucket.asked) == (["00007"], {"get": 1})
        bucket.forget()
        where = {"id": {"$in": ["00009", "absent", "00003"]}, "status": "a"}
        page = await provider.list_items(THINGS, where=where, order_by="-due", total=True)
        assert [item.id for item in page.items] == ["00003", "00009"]
        assert (page.total, bucket.asked) == (2, {"get": 3})
        bucket.forget()
        nothings: list[Any] = [7, "", {"$in": []}, {"$gt": 5}]
        for nothing in nothings:
            assert (await provider.list_items(THINGS, where={"id": nothing})).items == []
        assert bucket.asked == {}


@played
async def test_ids_between_bounds_are_listed_from_there() -> None:
    """By prefix and by range: a listing, one for escaped ids, and the documents in it."""
    bucket = Bucket()
    bucket.plant(*numbered(5000))
    async with bucket.provider as provider:
        await provider.declared(THINGS)
        bucket.forget()
        page = await provider.list_items(THINGS, where={"id": {"$prefix": "0300"}})
        assert [item.document["n"] for item in page.items] == list(range(3000, 3010))
        assert bucket.asked == {"list": 2, "get": 10}
        bucket.forget()
        where = {"id": {"$gte": "04000", "$lt": "04005"}}
        assert (await provider.count_items(THINGS, where=where)) == 5
        assert bucket.asked == {"list": 2, "get": 5}


# --- by index ----------------------------------------------------------------------------------


@played
async def test_the_newest_of_ten_thousand() -> None:
    """One listing of as many entries as are needed, and their documents."""
    bucket = Bucket(DUE, STATUS_DUE)
    bucket.declare()
    bucket.plant(*todos(10_000))
    async with bucket.provider:
        page = await first(bucket, order_by="-due", limit=20)
        assert [item.document["n"] for item in page.items] == list(range(20))
        assert bucket.asked == {"list": 1, "get": 20}
        assert page.statistics.index == "-due"
        page = await first(bucket, order_by="-due", limit=20, cursor=page.cursor)
        assert [item.document["n"] for item in page.items] == list(range(20, 40))
        assert bucket.asked == {"list": 1, "get": 20}
        question: dict[str, Any] = {"where": {"status": "b"}, "order_by": "-due", "limit": 20}
        page = await first(bucket, **question)
        assert [item.document["n"] for item in page.items] == list(range(1, 61, 3))
        assert bucket.asked == {"list": 1, "get": 20}
        assert (page.statistics.index, page.statistics.full_scan) == ("status,-due", False)
        page = await first(bucket, **question, cursor=page.cursor)
        assert bucket.asked == {"list": 1, "get": 20}
        where = {"status": {"$in": ["b", "c"]}, "due": {"$lt": 99_000}}
        page = await first(bucket, where=where, order_by="-due", limit=4)
        assert [item.document["n"] for item in page.items] == [1001, 1003, 1004, 1006]
        assert bucket.asked == {"list": 2, "get": 4}


@played
async def test_an_index_against_its_direction_reads_only_the_page() -> None:
    """The oldest, though the index lists the newest first: entries are gone through, not read."""
    bucket = Bucket(DUE)
    bucket.declare()
    bucket.plant(*todos(3000))
    async with bucket.provider:
        page = await first(bucket, order_by="due", limit=20)
        assert [item.document["n"] for item in page.items] == list(range(2999, 2979, -1))
        assert bucket.asked == {"list": 3, "get": 20}


@played
async def test_conditions_on_keys_spare_reads() -> None:
    """What an entry's other fields tell is judged before a document is read."""
    bucket = Bucket(Index.of("status", "n"))
    bucket.declare()
    bucket.plant(*todos(3000))
    async with bucket.provider:
        page = await first(bucket, where={"n": {"$gte": 2990}}, total=True)
        assert [item.document["n"] for item in page.items] == list(range(2990, 3000))
        assert bucket.asked == {"list": 3, "get": 10}
        where = {"status": {"$in": [f"{n}" for n in range(40)] + ["b"]}, "n": {"$lt": 9}}
        page = await first(bucket, where=where)
        assert [item.document["n"] for item in page.items] == [1, 4, 7]
        assert bucket.asked == {"list": 3, "get": 3}


@played
async def test_array_members_are_found_by_their_index() -> None:
    """`$contains` reads what has the member, and documents whose field is text."""
    bucket = Bucket(Index.of("tags", each=True))
    bucket.declare()
    bucket.plant(
        *({"id": f"{n:04}", "tags": [f"t{n % 100}", "all", None]} for n in range(1000)),
        {"id": "text", "tags": "some t5 text"},
        {"id": "other", "tags": {"t5": 1}},
    )
    async with bucket.provider:
        page = await first(bucket, where={"tags": {"$contains": "t5"}})
        assert len(page.items) == 11
        assert bucket.asked == {"list": 2, "get": 11}
        assert page.statistics.index == "each(tags)"


@played
async def test_garbage_is_read_and_passed_over() -> None:
    """Entries of documents that are gone or changed cost a read each; the page is still full."""
    bucket = Bucket(DUE)
    bucket.declare()
    bucket.plant(*todos(100))
    for number in range(0, 20, 2):
        bucket.remove(f"{number:05}")
    async with bucket.provider:
        page = await first(bucket, order_by="-due", limit=20)
        assert [item.document["n"] for item in page.items] == [*range(1, 20, 2), *range(20, 30)]
        assert 30 < bucket.asked["get"] <= 30 + 10
        assert bucket.asked["list"] <= 2


@played
async def test_much_garbage_where_keys_are_selected() -> None:
    """Entries are gone through again, for more, until the page is full."""
    bucket = Bucket(DUE)
    bucket.declare()
    bucket.plant(*todos(300))
    for number in range(100, 300):
        bucket.remove(f"{number:05}")
    async with bucket.provider:
        page = await first(bucket, order_by="due", limit=5)
        assert [item.document["n"] for item in page.items] == [99, 98, 97, 96, 95]
        page = await first(bucket, order_by="due", limit=100, cursor=page.cursor)
        assert [item.document["n"] for item in page.items] == list(range(94, -1, -1))
        assert page.cursor is None


@played
async def test_former_entries_of_a_document_do_not_hide_it() -> None:
    """Many entries of one document stand at the same place of an order that is not the index's."""
    bucket = Bucket(Index.of("status", "due"))
    bucket.declare()
    bucket.plant(*({"id": name, "status": "a", "due": 50} for name in "xyz"))
    for due in [*range(20), *range(60, 80)]:
        for key in bucket.entries({"id": "z", "status": "a", "due": due}, token()):
            bucket.put(key)
    async with bucket.provider as provider:
        query = Query(THINGS, {"status": "a"}, ("-id",), 1)
        assert flat(await pages(provider, query)) == ["z", "y", "x"]


@played
async def test_second_entries_count_once() -> None:
    """Of other writes of the same values; in pages and in totals."""
    bucket = Bucket(DUE, Index.of("-status"))
    bucket.declare()
    documents = todos(9)
    bucket.plant(*documents)
    for document in documents:
        for key in bucket.entries(document, token()):
            bucket.put(key)
    async with bucket.provider:
        page = await first(bucket, where={"status": "a"}, total=True)
        assert (len(page.items), page.total, bucket.asked["get"]) == (3, 3, 3)
        page = await first(bucket, order_by="-due", limit=4)
        assert [item.document["n"] for item in page.items] == [0, 1, 2, 3]
        assert bucket.asked["get"] == 4


@played
async def test_an_index_being_built_is_not_asked() -> None:
    """It may lack entries: everything is read instead."""
    bucket = Bucket(DUE, ready=False)
    bucket.declare()
    bucket.plant(*todos(50))
    async with bucket.provider:
        page = await first(bucket, order_by="-due", limit=5)
        assert [item.document["n"] for item in page.items] == list(range(5))
        statistics = page.statistics
        assert (statistics.index, statistics.full_scan) == (None, True)
        assert (statistics.requests, statistics.documents_read) == (51, 50)


# --- totals and versions -----------------------------------------------------------------------


@played
async def test_counting_without_conditions_lists_only() -> None:
    """A listing per thousand; a total beside a page too, unless the page shows all there is."""
    bucket = Bucket()
    bucket.plant(*numbered(2500))
    async with bucket.provider as provider:
        assert await provider.count_items(THINGS) == 2500
        assert bucket.asked == {"list": 3}
        bucket.forget()
        page = await provider.list_items(THINGS, limit=10, total=True)
        assert (page.total, bucket.asked) == (2500, {"list": 4, "get": 10})
        bucket.forget()
        page = await provider.list_items(THINGS, limit=2500, total=True)
        assert page.total == 2500
        assert bucket.asked["get"] == 2500
        bucket.forget()
        assert (await provider.list_items(THINGS, limit=0)).total is None
        assert bucket.asked == {}


@played
async def test_versions_read_nothing() -> None:
    """Ten thousand are ten listings, in any order of calls."""
    bucket = Bucket()
    bucket.plant(*numbered(10_000))
    async with bucket.provider as provider:
        cursor, found = None, 0
        while True:
            page = await provider.versions(THINGS, cursor)
            found += len(page.entries)
            cursor = page.cursor
            if cursor is None:
                break
        assert (found, bucket.asked) == (10_000, {"list": 10})
        bucket.forget()
        assert len((await provider.versions(THINGS, None, 10_000)).entries) == 10_000
        assert bucket.asked == {"list": 10}


# --- bulk reads --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "calls"), [(100, 1), (500, 5), (250, 3)], ids=["one", "five", "three"]
)
@played
async def test_bulk_reads_are_full(limit: int, calls: int) -> None:
    """A service that reads 100 objects a request is asked for as many."""
    limits = msgspec.structs.replace(LIMITS, get_batch=100)
    bucket = Bucket(store=MemoryStore(limits))
    bucket.plant(*numbered(1000))
    async with bucket.provider as provider:
        page = await provider.list_items(THINGS, limit=limit)
        assert len(page.items) == limit
        assert bucket.store.calls["get"] == calls
        assert bucket.asked["get"] == limit


# --- memory ------------------------------------------------------------------------------------


class Live:
    """Which documents are in memory, and how many there were at most."""

    def __init__(self) -> None:
        self.counts = Counter[int]()
        self.most = 0

    def enter(self, number: int) -> None:
        """Some bytes of a document were made."""
        self.counts[number] += 1
        self.most = max(self.most, len(self.counts))

    def leave(self, number: int) -> None:
        """Some bytes of a document are gone."""
        self.counts[number] -= 1
        if not self.counts[number]:
            del self.counts[number]


class Tracked(bytes):
    """A document's bytes, or a part of them, that say when they come and go."""

    live: Live
    number: int

    @classmethod
    def of(cls, content: bytes, number: int, live: Live) -> Tracked:
        """Bytes of this document."""
        made = cls(content)
        made.live, made.number = live, number
        live.enter(number)
        return made

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return Tracked.of(found, self.number, self.live) if isinstance(key, slice) else found

    def __del__(self) -> None:
        self.live.leave(self.number)


class Endless:
    """A service with many documents that are made as they are read; it answers when it likes."""

    def __init__(self, count: int, live: Live) -> None:
        self.count = count
        self.live = live
        self.limits: ObjectLimits = LIMITS

    async def get(self, keys: Sequence[str]) -> list[StoredObject | StorageError | None]:
        """Read objects."""
        found: list[StoredObject | StorageError | None] = []
        for key in keys:
            count_request()
            if ".declarations/" in key:
                found.append(None)
                continue
            number = int(key[-11:-5])
            body = msgspec.json.encode({"id": f"{number:06}", "n": number * 7919 % self.count})
            item = Item(THINGS, "", "", body, "test", b"payload")
            put = to_object(key, item, "t", ANY)
            data = Tracked.of(put.data, number, self.live)
            found.append(StoredObject(key=key, version="v", data=data, metadata=put.metadata))
            del data
        for _ in range(hash(keys[0]) % 3):
            await asyncio.sleep(0)
        return found

    async def list(self, prefix: str, *, after: str = "", **_: Any) -> Listing:
        """List a page."""
        count_request()
        start = int(after[-11:-5]) + 1 if after.endswith(".json") else 0
        end = min(self.count, start + 1000)
        entries = [ObjectEntry(f"{prefix}{number:06}.json", "v") for number in range(start, end)]
        return Listing(entries=entries, cursor="more" if end < self.count else None)

    async def put(self, objects: Any) -> Any:
        """Not asked for."""
        raise NotImplementedError

    delete = put


@pytest.mark.parametrize(
    "arguments",
    [
        {"order_by": "n", "limit": 10},
        {"order_by": "-n", "limit": 20, "offset": 5},
        {"where": {"n": {"$lt": 0}}, "limit": 10},
        {"where": {"n": {"$lt": 0}}, "order_by": "-n", "limit": 10, "total": True},
    ],
    ids=["sorted", "sorted descending", "by id with a condition", "counted"],
)
@played
async def test_a_scan_holds_few_documents(arguments: dict[str, Any]) -> None:
    """Of many documents no more are in memory than the page's and those on their way."""
    live = Live()
    count = 100_000 if arguments == {"order_by": "n", "limit": 10} else 10_000
    provider = objects(Endless(count, live), clock())  # type: ignore[arg-type]
    async with provider:
        page = await provider.list_items(THINGS, **arguments)
        assert page.statistics.documents_read == count
        assert page.statistics.requests == count + count // 1000 + 1
        kept = arguments.get("offset", 0) + arguments["limit"] + 1
        assert live.most <= kept + CONCURRENCY + 1
        gc.collect()
        assert len(live.counts) <= len(page.items) + 1
        if "where" not in arguments:
            assert len(page.items) == arguments["limit"]


# --- tasks -------------------------------------------------------------------------------------


class Held:
    """A gate that holds reads until it is told, and says when many wait."""

    def __init__(self, reads: int) -> None:
        self.free = reads
        self.open, self.busy = asyncio.Event(), asyncio.Event()
        self.waiting = 0

    async def __call__(self, request: Request) -> Fate:
        """Let so many reads through, hold the others."""
        if request.kind == "get" and request.key.startswith(THINGS):
            self.free -= 1
            if self.free < 0:
                self.waiting += 1
                if self.waiting == CONCURRENCY:
                    self.busy.set()
                await self.open.wait()
        return Fate.DONE


@pytest.mark.parametrize("order_by", [(), ("n",), ("-id",)], ids=["walk", "scan", "selected"])
@played
async def test_a_cancelled_query_leaves_no_task(order_by: tuple[str, ...]) -> None:
    """Nor does it send anything more."""
    bucket = Bucket()
    bucket.plant(*numbered(300))
    held = bucket.store.gate = Held(10)
    async with bucket.provider as provider:
        asking = asyncio.create_task(provider.list_items(THINGS, order_by=order_by, limit=200))
        await held.busy.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert asyncio.all_tasks() == {asyncio.current_task()}
        asked = bucket.asked
        held.open.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert bucket.asked == asked


@played
async def test_a_full_page_leaves_no_task() -> None:
    """What was read ahead with a condition is given up when the page is full."""
    bucket = Bucket()
    bucket.plant(*numbered(300))
    async with bucket.provider as provider:
        page = await provider.list_items(THINGS, where={"n": {"$ne": 3}}, limit=50)
        assert len(page.items) == 50
        assert asyncio.all_tasks() == {asyncio.current_task()}
        asked = bucket.asked
        await asyncio.sleep(0)
        assert bucket.asked == asked
        assert asked["get"] < 50 + CONCURRENCY


@pytest.mark.parametrize("order_by", [(), ("n",)], ids=["walk", "scan"])
@pytest.mark.parametrize("kind", ["get", "list"])
@played
async def test_a_failure_is_raised(order_by: tuple[str, ...], kind: str) -> None:
    """A read or listing that fails is an error, never a shorter answer; no task stays."""
    bucket = Bucket()
    bucket.plant(*numbered(50))
    seen = 0

    async def fail(request: Request) -> Fate:
        nonlocal seen
        seen += request.kind == kind and request.key.startswith(THINGS)
        return Fate.BROKEN if seen == (30 if kind == "get" else 1) else Fate.DONE

    bucket.store.gate = fail
    async with bucket.provider as provider:
        with pytest.raises(TransportError):
            await provider.list_items(THINGS, order_by=order_by)
        assert asyncio.all_tasks() == {asyncio.current_task()}


@played
async def test_a_stopped_iteration_sends_nothing_more() -> None:
    """Leaving `find_items` early leaves nothing under way."""
    bucket = Bucket()
    bucket.plant(*numbered(300))
    async with bucket.provider as provider:
        found = provider.find_items(THINGS, page_size=10)
        async for item in found:
            if item.id == "00004":
                break
        asked = bucket.asked
        assert asked == {"list": 1, "get": 10}
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert bucket.asked == asked
        await found.aclose()  # type: ignore[attr-defined]
