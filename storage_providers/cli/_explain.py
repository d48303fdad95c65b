"""What a query cost and how it was answered: `query --explain`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from storage_providers.cli._output import emit, print_facts
from storage_providers.layers import below_layers, stored_name
from storage_providers.protocol import JsonObject, Page, Query

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["Explanation", "explain", "print_explanation"]


@runtime_checkable
class _Planning(Protocol):
    """A provider that says beforehand how it would answer."""

    async def explain(self, query: Query) -> object:
        """Its plan, a struct."""
        ...


class Explanation(msgspec.Struct, kw_only=True):
    """How a query was answered.

    Attributes:
        collection: What was asked.
        items: Documents that came.
        more: Whether there are more.
        total: All that match, if that was asked.
        pages: Calls of the provider.
        index: The index that answered, `None` if none did.
        full_scan: Whether every document was looked at; `None`: not known.
        documents_read: Documents that were read; `None`: not known.
        requests: Calls to a remote service.
        milliseconds: How long it took.
        plan: What the provider had planned, where it says so.
    """

    collection: str
    items: int = 0
    more: bool = False
    total: int | None = None
    pages: int = 0
    index: str | None = None
    full_scan: bool | None = None
    documents_read: int | None = None
    requests: int = 0
    milliseconds: float = 0.0
    plan: JsonObject | None = None


async def explain(provider: Provider, question: Query, pages: AsyncIterable[Page]) -> Explanation:
    """Run a query for what it costs, and let its documents go.

    Args:
        provider: Where it is asked.
        question: The query.
        pages: Its answers.

    Returns:
        The costs of all pages together.
    """
    found = Explanation(collection=question.collection)
    own = below_layers(provider)
    if isinstance(own, _Planning):
        name = stored_name(provider, question.collection)
        stored = msgspec.structs.replace(question, collection=name)
        found.plan = msgspec.to_builtins(await own.explain(stored))
    started = time.perf_counter()
    async for page in pages:
        _add(found, page)
    found.milliseconds = round((time.perf_counter() - started) * 1000, 1)
    return found


def _add(found: Explanation, page: Page) -> None:
    statistics = page.statistics
    found.items += len(page.items)
    found.more = page.cursor is not None
    found.total = page.total if page.total is not None else found.total
    found.requests += statistics.requests
    if found.pages == 0:
        found.index, found.full_scan = statistics.index, statistics.full_scan
        found.documents_read = statistics.documents_read
    else:
        # Pages of one query may be answered in different ways: say the dearest.
        if statistics.full_scan or found.full_scan is None:
            found.full_scan = statistics.full_scan
        if found.documents_read is not None and statistics.documents_read is not None:
            found.documents_read += statistics.documents_read
    found.pages += 1


def print_explanation(found: Explanation, *, as_text: bool) -> None:
    """Print it on stdout.

    Args:
        found: What was found out.
        as_text: For people, a line a fact; else one JSON object.
    """
    if not as_text:
        emit(msgspec.json.encode(found).decode() + "\n")
        return
    facts: dict[str, object] = msgspec.to_builtins(found)
    del facts["plan"]
    facts.update((f"plan.{name}", value) for name, value in (found.plan or {}).items())
    print_facts(facts)
