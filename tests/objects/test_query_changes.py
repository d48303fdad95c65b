"""Pages while others write, and between one request and the next."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_providers.protocol import Index, Query
from tests.objects.memory_store import Fate, Request
from tests.objects.planting import THINGS, Bucket, flat, numbered, pages, played

ORDERS: list[tuple[str, ...]] = [(), ("-id",), ("v",), ("-v",), ("v", "-id"), ("w", "-v")]


class Busy:
    """Others, who write between any two requests: to their own documents only.

    Args:
        bucket: Where.
        seed: What they do.
    """

    def __init__(self, bucket: Bucket, seed: int) -> None:
        self._bucket = bucket
        self._random = random.Random(seed)
        self._present: dict[str, dict[str, Any]] = {}
        self._left = 100  # Their garbage makes every page longer.

    async def __call__(self, request: Request) -> Fate:
        """Write, then let the request through, late at times."""
        if self._left and self._random.random() < 0.4:
            self._left -= 1
            self._write()
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        return Fate.DONE

    def _write(self) -> None:
        name = (
            self._random.choice(["", "0", "1", "2-", "3.", "a/"]) + f"x{self._random.randrange(9)}"
        )
        old = self._present.pop(name, None)
        if old is not None and self._random.random() < 0.4:
            self._bucket.remove(name)
        else:
            document = {
                "id": name,
                "v": self._random.randrange(5),
                "w": self._random.choice([None, 1, "x"]),
                "tags": self._random.choice([["x"], "x", []]),
            }
            self._bucket.plant(document)
            self._present[name] = document
        # Their old entries stay as garbage: their collecting is not what is tested here.


@settings(max_examples=100)
@given(
    st.integers(0, 10_000),
    st.sampled_from(ORDERS),
    st.sampled_from([1, 2, 3, 7, 50]),
    st.sampled_from(
        [(), (Index.of("v"),), (Index.of("-v"),), (Index.of("v", "-id"), Index.of("w", "-v"))]
    ),
    st.sampled_from(
        [None, {"v": {"$gte": 0}}, {"v": {"$in": [0, 1, 2, 3, 4]}}, {"tags": {"$contains": "x"}}]
    ),
)
def test_what_stays_comes_exactly_once(
    seed: int,
    order_by: tuple[str, ...],
    limit: int,
    indexes: tuple[Index, ...],
    where: dict[str, Any] | None,
) -> None:
    """In its place in the order, whatever is written between any two requests."""
    asyncio.run(_stays(seed, order_by, limit, indexes, where))


async def _stays(
    seed: int,
    order_by: tuple[str, ...],
    limit: int,
    indexes: tuple[Index, ...],
    where: dict[str, Any] | None,
) -> None:
    bucket = Bucket(*indexes, Index.of("tags", each=True))
    bucket.declare()
    names = ["0-", "0", "0.a", "0/", "1", "10", "a/b", "a", "a-b", "z", "é", "%", "~", "3.x.json"]
    stays = [
        {"id": name, "v": number % 5, "w": [None, 1, "x"][number % 3], "tags": ["x", name]}
        for number, name in enumerate(names)
    ]
    bucket.plant(*stays)
    async with bucket.provider as provider:
        query = Query(THINGS, where, order_by, limit)
        expected = flat(await pages(provider, query))
        assert sorted(expected) == sorted(names)
        bucket.store.gate = Busy(bucket, seed)
        found = await pages(provider, query)
        for page in found:
            # The same document twice on one page would be two versions of it.
            assert len({item.id for item in page.items}) == len(page.items)
        assert [item_id for item_id in flat(found) if item_id in names] == expected


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("limit", [1, 4, 30])
@played
async def test_documents_that_go_before_they_are_read(
    order_by: tuple[str, ...], limit: int
) -> None:
    """Listed and then gone: they are simply not there, and the page is full all the same."""
    bucket = Bucket(Index.of("v"), Index.of("w", "-v"))
    bucket.declare()
    bucket.plant(*({**each, "v": each["n"] % 4, "w": each["n"] % 3} for each in numbered(30)))

    async def remove(request: Request) -> Fate:
        name = request.key.removeprefix(f"{THINGS}/").removesuffix(".json")
        if request.kind == "get" and name.isdigit() and int(name) % 3 == 0:
            bucket.remove(name)
        return Fate.DONE

    bucket.store.gate = remove
    async with bucket.provider as provider:
        found = await pages(provider, Query(THINGS, None, order_by, limit))
        expected = {f"{number:05}" for number in range(30) if number % 3}
        assert set(flat(found)) == expected
        assert len(flat(found)) == len(expected)
        assert all(len(page.items) == limit for page in found[:-2])


@played
async def test_expired_documents_are_passed_over_and_known() -> None:
    """A collection in which documents expire has no page too many."""
    bucket = Bucket(Index.of("v"))
    bucket.declare()
    past, coming = "1970-01-02T00:00:00.000Z", "2100-01-01T00:00:00.000Z"
    bucket.plant(
        {"id": "a", "v": 1, "expiresAt": coming},
        {"id": "b", "v": 2},
        {"id": "c", "v": 3, "expiresAt": past},
        {"id": "d", "v": 4, "expiresAt": past},
    )
    async with bucket.provider as provider:
        for order in ORDERS[:4]:
            first = await provider.list_items(THINGS, limit=1, order_by=order)
            rest = await provider.list_items(THINGS, limit=1, order_by=order, cursor=first.cursor)
            assert sorted(flat([first, rest])) == ["a", "b"]
            assert rest.cursor is None
        assert await provider.count_items(THINGS, where={"v": {"$gt": 0}}) == 2
        page = await provider.list_items(THINGS, total=True)
        assert page.total == 2
        # By listings alone it can't be told.
        assert await provider.count_items(THINGS) == 4


@played
async def test_pages_whose_plan_changes() -> None:
    """Cursors go on when an index becomes ready between pages, or is dropped."""
    bucket = Bucket(Index.of("v"), Index.of("w", "v"))
    bucket.plant(*({**each, "v": each["n"] % 5, "w": 1} for each in numbered(40)))
    for query in (
        Query(THINGS, None, ("v",), 3),
        Query(THINGS, {"w": 1}, (), 3),
        Query(THINGS, {"w": 1}, ("-v",), 3, total=True),
        Query(THINGS, {"w": 1}, ("id",), 3),
    ):
        async with bucket.provider.__class__(bucket.store, bucket.layout) as provider:
            expected = flat(await pages(provider, query))
        assert len(expected) == 40
        found, cursor, step = list[str](), None, 0
        while True:
            if step % 2:
                bucket.declare()
            else:
                bucket.store._remove(bucket.provider.declarations.key(THINGS))
            async with bucket.provider.__class__(bucket.store, bucket.layout) as provider:
                page = await provider.list_items(
                    THINGS,
                    where=query.where,
                    order_by=query.order_by,
                    limit=3,
                    cursor=cursor,
                    total=step % 3 == 0,
                )
            found += flat([page])
            cursor, step = page.cursor, step + 1
            if cursor is None:
                break
        assert found == expected
        bucket.store._remove(bucket.provider.declarations.key(THINGS))
