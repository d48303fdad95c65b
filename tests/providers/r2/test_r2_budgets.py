"""What each operation costs, counted where the requests arrive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest

from storage_providers.estimates import Workload
from storage_providers.protocol import CollectionSpec, Index
from storage_providers.providers._objects.entries import IndexKeys, new_token
from storage_providers.providers._objects.keys import FolderLayout
from storage_providers.providers.r2 import CloudflareR2Provider
from storage_providers.testing.conformance import ManualClock
from tests import copying
from tests.servers.fault_proxy import FaultProxy
from tests.servers.moto import MotoS3
from tests.servers.r2 import moto_place

MANY = 10_000
INDEXES = (Index.of("-n"), Index.of("status"))
SETTLED_SECONDS = 3600.0
"""Far longer than it takes until every process knows of an index."""

Work = Callable[[CloudflareR2Provider], Awaitable[Any]]


class Gate:
    """A bucket of the local S3, the proxy that counts, and the clock that providers go by."""

    def __init__(self, moto: MotoS3, bucket: str, proxy: FaultProxy) -> None:
        self.place = moto_place(moto, bucket, endpoint=proxy.endpoint)
        self.time = ManualClock()
        self._moto = moto
        self._proxy = proxy

    def cost(self, work: Work, *, collection: str = "t", before: Work | None = None) -> Any:
        """How many requests of each kind this takes; what is declared is known already."""

        async def run() -> Mapping[str, int]:
            async with self.place.open(self.time.clock) as provider:
                await provider.declared(collection)
                if before is not None:
                    await before(provider)
                self._proxy.clear()
                await work(provider)
                return self._proxy.counts

        return asyncio.run(run())

    def index(self, collection: str = "t") -> None:
        """Declare indexes and bring them to where queries use them."""

        async def run() -> None:
            async with self.place.open(self.time.clock) as provider:
                await provider.declare(CollectionSpec(collection=collection, indexes=INDEXES))
                self.time.advance(SETTLED_SECONDS)
                await provider.build_indexes(collection)

        asyncio.run(run())

    def fill(self, count: int, *, collection: str = "t", indexes: tuple[Index, ...] = ()) -> None:
        """Put many documents and their index entries into the bucket, without any request."""
        layout = FolderLayout(self.place.prefix, service="R2", max_key_bytes=1024)
        kept = [IndexKeys(layout, collection, index) for index in indexes]
        objects: dict[str, bytes] = {}
        for number in range(count):
            each = document(number)
            token = new_token(self.time.clock)
            for keys in kept:
                objects.update(dict.fromkeys(keys.entries_of(each, each["id"], token), b""))
            objects[self.place.key(collection, each["id"])] = json.dumps(each).encode()
        self._moto.plant(self.place.bucket, objects)


def document(number: int) -> dict[str, Any]:
    """One of many."""
    return {"id": f"d{number:05}", "n": number, "status": "open" if number % 2 else "done"}


@pytest.fixture
def gate(moto: MotoS3, moto_bucket: str, moto_proxy: FaultProxy) -> Gate:
    """An empty bucket."""
    return Gate(moto, moto_bucket, moto_proxy)


@pytest.fixture(scope="module")
def many(moto: MotoS3, moto_gate: FaultProxy) -> Iterator[Gate]:
    """A bucket with 10,000 documents, whose indexes are ready."""
    bucket = moto.make_bucket()
    full = Gate(moto, bucket, moto_gate)
    full.index()
    full.fill(MANY, indexes=INDEXES)
    yield full
    moto.drop_bucket(bucket)


# --- one document ------------------------------------------------------------------------------


async def create(provider: CloudflareR2Provider) -> None:
    """One create."""
    await provider.create_item("t", document(1))


def test_create(gate: Gate) -> None:
    """A create is one put, and one more for each index."""
    assert gate.cost(create) == {"PUT": 1}


def test_create_with_indexes(gate: Gate) -> None:
    """A create is one put, and one more for each index."""
    gate.index()
    assert gate.cost(create) == {"PUT": 1 + len(INDEXES)}


def test_read(gate: Gate) -> None:
    """A read is one request, whether there is a document or not."""
    assert gate.cost(lambda provider: provider.read_item("t", "d00001"), before=create) == {
        "GET": 1
    }
    assert gate.cost(lambda provider: provider.read_item("t", "none")) == {"GET": 1}


def test_replace(gate: Gate) -> None:
    """Without indexes, a replacement is one put."""
    changed = {**document(1), "n": 7}
    assert gate.cost(lambda provider: provider.put_item("t", changed), before=create) == {"PUT": 1}


def test_replace_with_indexes(gate: Gate) -> None:
    """With indexes: the old one is read, entries and document are put, old entries go together."""
    gate.index()
    changed = {**document(1), "n": 7, "status": "late"}
    cost = gate.cost(lambda provider: provider.put_item("t", changed), before=create)
    assert cost == {"GET": 1, "PUT": 1 + len(INDEXES), "DELETE_MANY": 1}


def test_update(gate: Gate) -> None:
    """An update reads and puts."""
    cost = gate.cost(lambda provider: provider.update_item("t", "d00001", {"n": 2}), before=create)
    assert cost == {"GET": 1, "PUT": 1}


def test_delete(gate: Gate) -> None:
    """Without indexes, a delete is one request."""
    cost = gate.cost(lambda provider: provider.delete_item("t", "d00001"), before=create)
    assert sum(cost.values()) == 1


# --- many --------------------------------------------------------------------------------------


def test_a_page_by_id(many: Gate) -> None:
    """A page of 100 in the order of ids is one listing and its documents, wherever it is."""
    pages: list[Any] = []

    async def page(provider: CloudflareR2Provider) -> None:
        cursor = pages[-1].cursor if pages else None
        pages.append(await provider.list_items("t", limit=100, cursor=cursor))

    for first in (0, 100):
        assert many.cost(page) == {"LIST": 1, "GET": 100}
        assert [item.id for item in pages[-1].items] == [f"d{first + n:05}" for n in range(100)]
        assert pages[-1].statistics.requests == 101


def test_the_newest_by_an_index(many: Gate) -> None:
    """The newest 20 of 10,000 are one listing of the index and 20 documents."""
    pages: list[Any] = []

    async def newest(provider: CloudflareR2Provider) -> None:
        pages.append(await provider.list_items("t", order_by="-n", limit=20))

    assert many.cost(newest) == {"LIST": 1, "GET": 20}
    assert [item.document["n"] for item in pages[0].items] == [MANY - 1 - n for n in range(20)]


def test_versions(many: Gate) -> None:
    """The versions of 10,000 documents are ten listings, and no document is read."""
    seen: list[str] = []

    async def walk(provider: CloudflareR2Provider) -> None:
        cursor: str | None = None
        while True:
            page = await provider.versions("t", cursor)
            seen.extend(entry.id for entry in page.entries)
            cursor = page.cursor
            if cursor is None:
                return

    assert many.cost(walk) == {"LIST": MANY // 1000}
    assert seen == [f"d{number:05}" for number in range(MANY)]


def test_count(many: Gate) -> None:
    """Counting 10,000 documents is ten listings."""
    counted: list[int] = []

    async def count(provider: CloudflareR2Provider) -> None:
        counted.append(await provider.count_items("t"))

    assert many.cost(count) == {"LIST": MANY // 1000}
    assert counted == [MANY]


@pytest.mark.parametrize("indexed", [False, True])
def test_delete_many(gate: Gate, indexed: bool) -> None:
    """A thousand documents are deleted by two requests at most."""
    if indexed:
        gate.index()
    gate.fill(1001, indexes=INDEXES if indexed else ())
    ids = [document(number)["id"] for number in range(1000)]
    cost = gate.cost(lambda provider: provider.delete_items("t", ids))
    assert sum(cost.values()) <= 2
    left: list[Any] = []

    async def look(provider: CloudflareR2Provider) -> None:
        left.extend([item.id async for item in provider.find_items("t")])

    gate.cost(look)
    assert left == ["d01000"]


# --- estimates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("indexes", [0, len(INDEXES)])
def test_what_a_copy_was_said_to_cost(gate: Gate, indexes: int) -> None:
    """Requests of copying to and from here are as estimated, and those of every other work."""
    if indexes:
        gate.index()
    documents = [document(number) for number in range(90)]
    changed = [{**each, "status": "late", "n": each["n"] + 5_000} for each in documents]
    size = {"indexes": indexes, "page_documents": 40, "batch_documents": 40}
    for work, action in copying.works(documents, changed, **size):
        counted = gate.cost(action)
        said = gate.place.open().estimate(work)
        assert sum(counted.values()) == said.requests - 1, work  # The declaration is known.
        charged = copying.charges(said)
        assert counted.get("GET", 0) == charged["Class B operations"] - 1
        assert counted.get("PUT", 0) + counted.get("LIST", 0) == charged.get(
            "Class A operations", 0
        )


def test_prices(gate: Gate) -> None:
    """A million documents put are 4.50 $, read 0.36 $ and their listing, removed nothing."""
    provider = gate.place.open()
    assert provider.estimate(Workload(documents_created=1_000_000)).usd == pytest.approx(4.50)
    read = provider.estimate(Workload(documents_read=1_000_000, page_documents=500))
    assert read.usd == pytest.approx(0.36 + 2_000 * 4.5e-6, rel=1e-3)
    assert provider.estimate(Workload(documents_deleted=1_000_000)).usd < 1e-6
