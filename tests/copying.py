"""Work on a collection `t`, done as estimates reckon with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from storage_providers.base import Provider
from storage_providers.estimates import Estimate, Workload
from storage_providers.protocol import ANY, IF_ABSENT, Address, Delete, Put, Write

__all__ = ["Work", "charges", "read_once", "works"]

Work: TypeAlias = tuple[Workload, Callable[[Provider], Awaitable[None]]]


def works(
    documents: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]], **size: Any
) -> list[Work]:
    """Every kind of work, in an order in which each finds what it needs.

    Args:
        documents: What is created, in the order of ids.
        changed: What takes their place, with other values in every index.
        size: What the workloads say beside how many there are.
    """
    many = len(documents)
    creation = Workload(documents_created=many, **size)
    reading = Workload(documents_read=many, **size)
    listing = Workload(documents_listed=many, **size)
    fetching = Workload(documents_fetched=many, **size)
    putting = Workload(documents_put=many, **size)
    deletion = Workload(documents_deleted=many, **size)
    creates = [Put("t", each, IF_ABSENT) for each in documents]
    puts = [Put("t", each, ANY) for each in changed]
    deletes = [Delete("t", each["id"]) for each in documents]
    return [
        (creation, lambda provider: _write(provider, creation, creates)),
        (reading, lambda provider: read_once(provider, reading)),
        (listing, lambda provider: _list_versions(provider, listing)),
        (fetching, lambda provider: _fetch(provider, fetching, documents)),
        (putting, lambda provider: _write(provider, putting, puts)),
        (deletion, lambda provider: _write(provider, deletion, deletes)),
    ]


def charges(estimate: Estimate) -> dict[str, int]:
    """What is billed, by unit."""
    return {charge.unit: charge.count for charge in estimate.charges}


async def read_once(provider: Provider, work: Workload) -> None:
    """Read the collection by pages."""
    seen, cursor = 0, None
    while True:
        page = await provider.list_items("t", limit=work.page, cursor=cursor)
        seen, cursor = seen + len(page.items), page.cursor
        if cursor is None:
            break
    assert seen == work.documents_read


async def _list_versions(provider: Provider, work: Workload) -> None:
    seen, cursor = 0, None
    while True:
        page = await provider.versions("t", cursor, work.page)
        seen, cursor = seen + len(page.entries), page.cursor
        if cursor is None:
            break
    assert seen == work.documents_listed


async def _fetch(provider: Provider, work: Workload, documents: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(documents), work.batch):
        wanted = [Address("t", each["id"]) for each in documents[start : start + work.batch]]
        assert all(await provider.read(wanted))


async def _write(provider: Provider, work: Workload, writes: Sequence[Write]) -> None:
    for start in range(0, len(writes), work.batch):
        await provider.write(writes[start : start + work.batch])
