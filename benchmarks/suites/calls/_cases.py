"""The operations, and how many calls of each service they may take."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeAlias

from benchmarks._harness import Run
from benchmarks.suites.calls._places import INDEXES, Place, d1_place, document, kv_place, r2_place

__all__ = ["calls_of_d1", "calls_of_kv", "calls_of_r2"]

FULL: Final = 10_000
MANY: Final = 1_000
PAGE: Final = 100
NEWEST: Final = 20

Operation: TypeAlias = "tuple[str, str, int, Callable[[], Awaitable[object]]]"
"""Its name, its collection, what its budget grows with, and the operation."""

Budgets: TypeAlias = "Mapping[str, Callable[[int], int]]"
"""Calls that an operation may take, by its name; the argument is how many it is about."""


def _pages(count: int, size: int) -> int:
    return -(-count // size)


D1_BUDGETS: Final[Budgets] = {
    name: lambda _: 1
    for name in (
        "create one",
        "put one",
        "update one",
        "read one",
        "read 100",
        "read 1,000",
        "put 1,000 new, 2 indexes",
        "put 1,000 again, 2 indexes",
        "page of 100 by id",
        "newest 20 of 10,000 by an index",
        "count what an index finds among 10,000",
        "clear 10,000",
    )
}
"""Whatever an operation is about, it is one call."""

R2_BUDGETS: Final[Budgets] = {
    "create one": lambda _: 1,
    "put one": lambda _: 1,
    "update one": lambda _: 2,
    "read one": lambda _: 1,
    "read 100": lambda count: count,
    "read 1,000": lambda count: count,
    # The old document, the new one, an entry for each index; old entries go a thousand at once.
    "put 1,000 new, 2 indexes": lambda count: count * (2 + len(INDEXES)),
    "put 1,000 again, 2 indexes": lambda count: (
        count * (2 + len(INDEXES)) + _pages(count * len(INDEXES), 1_000)
    ),
    "page of 100 by id": lambda count: 1 + count,
    "newest 20 of 10,000 by an index": lambda count: 1 + count,
    "count what an index finds among 10,000": lambda count: _pages(count, 1_000) + count,
    "clear 10,000": lambda count: 2 * _pages(count, 1_000) + _pages(count * len(INDEXES), 1_000),
}
"""An object is a call; a listing is one for each 1,000 keys, and so is removing."""


KV_BUDGETS: Final[Budgets] = {
    "create one": lambda _: 2,
    "put one": lambda _: 1,
    "update one": lambda _: 2,
    "read one": lambda _: 1,
    "read 100": lambda count: _pages(count, 100),
    "read 1,000": lambda count: _pages(count, 100),
    # The old documents, the entries, the documents, and the old entries where there are some.
    "put 1,000 new, 2 indexes": lambda count: _pages(count, 100) + 2,
    "put 1,000 again, 2 indexes": lambda count: _pages(count, 100) + 3,
    "page of 100 by id": lambda _: 1,
    "newest 20 of 10,000 by an index": lambda count: 1 + _pages(count, 100),
    "count what an index finds among 10,000": lambda count: (
        _pages(count, 1_000) + _pages(count, 100)
    ),
    "clear 10,000": lambda count: (
        _pages(count, 1_000)
        + _pages(count * len(INDEXES), 1_000)
        + _pages(count * (1 + len(INDEXES)), 10_000)
    ),
}
"""A listing is a call for each 1,000 keys and holds small documents; reading is one for each 100,
writing and removing one for each 10,000."""


async def calls_of_kv(run: Run) -> None:
    """Calls of the REST API of Workers KV."""
    await _measure(run, "KV", kv_place, KV_BUDGETS)


async def calls_of_d1(run: Run) -> None:
    """Calls of D1's REST API."""
    await _measure(run, "D1", d1_place, D1_BUDGETS)


async def calls_of_r2(run: Run) -> None:
    """Requests to R2's S3 API."""
    await _measure(run, "R2", r2_place, R2_BUDGETS)


async def _measure(
    run: Run,
    service: str,
    opened: Callable[[], AbstractAsyncContextManager[Place]],
    budgets: Budgets,
) -> None:
    async with opened() as place:
        async for name, collection, size, work in operations(run, place):
            calls = await place.count(collection, work)
            budget = budgets[name](size)
            run.add(
                f"{service}: {name}",
                [calls],
                [budget],
                unit="calls",
                against=f"its budget, {budget:,} calls",
                goal=1,
            )


async def operations(run: Run, place: Place) -> AsyncGenerator[Operation]:
    """Every operation, in an order in which each finds what it needs."""
    provider, many, full = place.provider, run.size(MANY, 40), run.size(FULL, 200)
    page, newest = min(PAGE, many), min(NEWEST, many)

    yield "create one", "one", 1, lambda: provider.create_item("one", document(0))
    yield "put one", "one", 1, lambda: provider.put_item("one", document(0, 1))
    yield "update one", "one", 1, lambda: provider.update_item("one", "d00000", {"n": 7})
    yield "read one", "one", 1, lambda: provider.read_item("one", "d00000")

    await place.index("many")
    new = [document(number) for number in range(many)]
    again = [document(number, 1) for number in range(many)]
    ids = [each["id"] for each in new]
    yield "put 1,000 new, 2 indexes", "many", many, lambda: provider.put_items("many", new)
    yield "put 1,000 again, 2 indexes", "many", many, lambda: provider.put_items("many", again)
    yield "read 100", "many", page, lambda: provider.read_items("many", ids[:page])
    yield "read 1,000", "many", many, lambda: provider.read_items("many", ids)

    await place.index("full")
    await place.fill("full", full)
    yield "page of 100 by id", "full", page, lambda: provider.list_items("full", limit=page)
    yield (
        "newest 20 of 10,000 by an index",
        "full",
        newest,
        lambda: provider.list_items("full", order_by="-n", limit=newest),
    )
    yield (
        "count what an index finds among 10,000",
        "full",
        full // 2,
        lambda: provider.count_items("full", where={"status": "open"}),
    )
    yield "clear 10,000", "full", full, lambda: provider.clear_collection("full")
