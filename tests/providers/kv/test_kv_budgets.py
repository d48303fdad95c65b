"""What each operation costs, counted at the service."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from storage_providers.estimates import Workload
from storage_providers.protocol import CollectionSpec, Index
from storage_providers.providers._kv.store import KVStore
from storage_providers.providers.kv import CloudflareKVProvider
from storage_providers.testing.conformance import ManualClock
from tests import copying
from tests.providers.kv.memory_namespace import MemoryNamespace
from tests.providers.kv.workerd import client_of, turning
from tests.servers.emulator import Emulator

MANY = 10_000
INDEXES = (Index.of("-n"), Index.of("status"))
SETTLED_SECONDS = 3600.0
"""Far longer than it takes until every process knows of an index."""

Work = Callable[[CloudflareKVProvider], Awaitable[Any]]


class Place:
    """The KV of the emulator, its log, and the clock that providers go by."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.namespace_id = emulator.known.namespaces[0]
        self.time = ManualClock()
        emulator.empty_namespace(self.namespace_id)

    def run(self, work: Work) -> Any:
        """Do something with a provider of its own."""

        async def play() -> Any:
            async with (
                client_of(self.emulator) as client,
                CloudflareKVProvider(
                    namespace_id=self.namespace_id,
                    client=client,
                    clock=self.time.clock,
                    timing=turning(self.emulator),
                ) as provider,
            ):
                return await work(provider)

        return asyncio.run(play())

    def clear_log(self) -> None:
        """Count from here on."""
        self.emulator.clear_log()

    def calls(self) -> Counter[str]:
        """The calls since then, by kind."""
        return Counter(kind_of(call.method, call.path) for call in self.emulator.log())

    def cost(self, work: Work, *, before: Work | None = None) -> Counter[str]:
        """How many calls of each kind this takes; what is declared is known already."""

        async def measured(provider: CloudflareKVProvider) -> Counter[str]:
            await provider.declared("t")
            if before is not None:
                await before(provider)
            self.clear_log()
            await work(provider)
            return self.calls()

        found: Counter[str] = self.run(measured)
        return found

    def index(self) -> None:
        """Declare indexes and bring them to where queries use them."""

        async def work(provider: CloudflareKVProvider) -> None:
            await provider.declare(CollectionSpec(collection="t", indexes=INDEXES))
            self.time.advance(SETTLED_SECONDS)
            await provider.build_indexes("t")

        self.run(work)


class LargePlace(Place):
    """A namespace in memory: the emulator stores but some hundred pairs a second."""

    def __init__(self) -> None:
        self.time = ManualClock()
        self.namespace = MemoryNamespace()

    def run(self, work: Work) -> Any:
        """Do something with a provider of its own."""

        async def play() -> Any:
            provider = CloudflareKVProvider(binding=object(), clock=self.time.clock)
            cast(KVStore, provider.store).namespace = self.namespace
            async with provider:
                return await work(provider)

        return asyncio.run(play())

    def clear_log(self) -> None:
        """Count from here on."""
        self.namespace.calls.clear()

    def calls(self) -> Counter[str]:
        """The calls since then, by kind."""
        return Counter(self.namespace.calls)


def kind_of(method: str, path: str) -> str:
    """`list`, `get`, `put` or `delete`."""
    tail = path.rpartition("/namespaces/")[2].partition("/")[2]
    kinds = {"keys": "list", "bulk/get": "get", "bulk": "put", "bulk/delete": "delete"}
    return kinds[tail] if method != "GET" or tail == "keys" else f"GET {tail}"


def document(number: int, **more: Any) -> dict[str, Any]:
    """One of many."""
    status = "open" if number % 4 else "done"
    return {"id": f"d{number:05}", "n": number, "status": status, **more}


def fill(count: int, **more: Any) -> Work:
    """Put many."""

    async def work(provider: CloudflareKVProvider) -> None:
        await provider.put_items("t", [document(number, **more) for number in range(count)])

    return work


@pytest.fixture
def place(cloudflare: Emulator) -> Place:
    """An empty namespace."""
    return Place(cloudflare)


@pytest.fixture
def large() -> Place:
    """An empty namespace for much."""
    return LargePlace()


@pytest.fixture(scope="module")
def many() -> Place:
    """A namespace with 10,000 small documents, whose indexes are ready."""
    full = LargePlace()
    full.index()
    full.run(fill(MANY))
    return full


# --- one document ------------------------------------------------------------------------------


async def create(provider: CloudflareKVProvider) -> None:
    """One create."""
    await provider.create_item("t", document(1))


async def put(provider: CloudflareKVProvider) -> None:
    """One put."""
    await provider.put_item("t", document(1, changed=True, status="late"))


def test_one_document(place: Place) -> None:
    """A create looks first; a put does not; an update reads; a read and a delete are one call."""
    assert place.cost(create) == {"get": 1, "put": 1}
    assert place.cost(put) == {"put": 1}
    assert place.cost(lambda p: p.update_item("t", "d00001", {"n": 2})) == {"get": 1, "put": 1}
    assert place.cost(lambda p: p.read_item("t", "d00001")) == {"get": 1}
    assert place.cost(lambda p: p.read_item("t", "none")) == {"get": 1}
    assert place.cost(lambda p: p.delete_item("t", "d00001")) == {"delete": 1}


def test_one_document_with_indexes(place: Place) -> None:
    """Read, entries, document, and the entries that it had: however many indexes there are."""
    place.index()
    assert place.cost(create) == {"get": 1, "put": 2}
    assert place.cost(put) == {"get": 1, "put": 2, "delete": 1}
    assert place.cost(lambda p: p.delete_item("t", "d00001")) == {"get": 1, "delete": 2}


# --- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "calls"), [(100, 1), (101, 2), (1000, 10)])
def test_reading_many(place: Place, count: int, calls: int) -> None:
    """A hundred a call."""
    ids = [document(number)["id"] for number in range(count)]
    assert place.cost(lambda p: p.read_items("t", ids), before=fill(3)) == {"get": calls}


def test_putting_many(large: Place) -> None:
    """Ten thousand a call where nothing is to be read."""
    assert large.cost(fill(MANY)) == {"put": 1}


def test_putting_a_thousand_with_indexes(large: Place) -> None:
    """What is there is read by hundreds; all entries and all documents are a call each."""
    large.index()
    assert large.cost(fill(1000)) == {"get": 10, "put": 2}
    assert large.cost(fill(1000, status="late")) == {"get": 10, "put": 2, "delete": 1}


# --- queries -----------------------------------------------------------------------------------


def test_a_page_by_id(many: Place) -> None:
    """Small documents come with the listing, on every page."""

    async def pages(provider: CloudflareKVProvider) -> None:
        cursor, ids = None, list[str]()
        for _ in range(5):
            page = await provider.list_items("t", limit=100, cursor=cursor)
            ids += [item.id for item in page.items]
            cursor = page.cursor
        assert ids == [document(number)["id"] for number in range(500)]

    assert many.cost(pages) == {"list": 5}


def test_a_page_of_large_documents(place: Place) -> None:
    """What does not fit beside the key is read by hundreds."""
    large = fill(150, text="x" * 1100)
    assert place.cost(lambda p: p.list_items("t", limit=100), before=large) == {
        "list": 1,
        "get": 1,
    }


def test_documents_of_900_bytes_come_with_the_listing(place: Place) -> None:
    """Up to 900 bytes a document is beside its key, and not above."""

    async def fits(provider: CloudflareKVProvider) -> None:
        await provider.put_items("t", [{"id": f"{n:03}", "t": "x" * 780} for n in range(100)])

    assert place.cost(lambda p: p.list_items("t", limit=100), before=fits) == {"list": 1}


def test_the_newest_of_many(many: Place) -> None:
    """A part of a listing, and one read for the documents; the next page costs the same."""

    async def newest(provider: CloudflareKVProvider) -> None:
        cursor, found = None, list[int]()
        for _ in range(3):
            page = await provider.list_items("t", order_by="-n", limit=20, cursor=cursor)
            found += [item.document["n"] for item in page.items]
            cursor = page.cursor
        assert found == list(range(MANY - 1, MANY - 61, -1))

    assert many.cost(newest) == {"list": 3, "get": 3}


def test_counting(many: Place) -> None:
    """Keys alone without a condition; with an indexed one, its entries and what they name."""
    assert many.cost(lambda p: p.count_items("t")) == {"list": 10}

    async def count_done(provider: CloudflareKVProvider) -> None:
        assert await provider.count_items("t", where={"status": "done"}) == MANY // 4

    assert many.cost(count_done) == {"list": 3, "get": 25}


def test_an_unindexed_condition(many: Place) -> None:
    """All small documents are judged from the listing, without a read."""

    async def ask(provider: CloudflareKVProvider) -> None:
        page = await provider.list_items("t", where={"text": None, "id": {"$ne": "d00000"}})
        assert len(page.items) == 100
        page = await provider.list_items("t", order_by="text", limit=2)
        assert [item.id for item in page.items] == ["d00000", "d00001"]

    assert many.cost(ask) == {"list": 11}


def test_versions(many: Place) -> None:
    """A thousand a call, going on by the service's own cursor."""

    async def versions(provider: CloudflareKVProvider) -> None:
        cursor, seen = None, 0
        for _ in range(MANY // 1000):
            page = await provider.versions("t", cursor)
            seen, cursor = seen + len(page.entries), page.cursor
        assert (seen, cursor) == (MANY, None)

    assert many.cost(versions) == {"list": MANY // 1000}


def test_clearing_many(many: Place) -> None:
    """A listing a thousand and one removal, for documents and each index. The last of these."""
    many.time.advance(SETTLED_SECONDS)
    cost = many.cost(lambda p: p.clear_collection("t"))
    assert cost["list"] <= MANY // 1000 * (1 + len(INDEXES))
    assert cost["delete"] <= 1 + len(INDEXES)

    async def left(provider: CloudflareKVProvider) -> int:
        return await provider.count_items("t")

    assert many.run(left) == 0


# --- estimates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("indexes", [0, len(INDEXES)])
@pytest.mark.parametrize("text", ["", "x" * 1_100], ids=["small", "large"])
def test_what_a_copy_was_said_to_cost(large: Place, indexes: int, text: str) -> None:
    """Calls and keys of copying to and from here are as estimated, and those of each other work."""
    if indexes:
        large.index()
    documents = [document(number, text=text) for number in range(2_600)]
    changed = [{**each, "status": "late", "n": each["n"] + 5_000} for each in documents]
    size = {"document_bytes": 60 + len(text), "indexes": indexes}
    for work, action in copying.works(documents, changed, **size):
        counted = large.cost(action)
        said = CloudflareKVProvider(binding=object()).estimate(work)
        # The declaration is known already.
        assert sum(counted.values()) == said.requests - 1, work
        assert counted["list"] == copying.charges(said).get("list requests", 0)


def test_prices() -> None:
    """A million keys read are 0.50 $, written or deleted or pages listed 5 $."""
    provider = CloudflareKVProvider(binding=object())
    work = Workload(documents_created=1_000_000, documents_deleted=1_000_000)
    said = provider.estimate(work)
    assert copying.charges(said) == {
        "keys read": 1_000_001,
        "keys written": 1_000_000,
        "keys deleted": 1_000_000,
    }
    assert said.usd == pytest.approx(0.50 + 5 + 5, rel=1e-3)
