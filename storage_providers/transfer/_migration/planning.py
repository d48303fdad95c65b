"""The plan: what would move, how much of it, what it costs, and what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from storage_providers.base import Provider
from storage_providers.estimates import Estimate, Estimating, Workload
from storage_providers.layers import below_layers
from storage_providers.protocol import Query
from storage_providers.providers._dual.state import MigrationState, Phase, Side, is_strong
from storage_providers.transfer._migration.copying import MAX_PAGE, PAGE_BYTES
from storage_providers.transfer._migration.pair import Pair

__all__ = ["DONE", "CollectionPlan", "MigrationPlan", "SideCost", "counts_of", "plan"]

SAMPLE: Final = 100
"""Documents of each collection that are looked at to estimate its size."""

QUESTIONS: Final = 50
"""Collections counted in one call."""


DONE: Final = (
    "the migration from this source to this target is done; to go back, name the sides the other "
    "way round"
)


class CollectionPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One collection.

    Attributes:
        collection: Its name.
        documents: How many it holds at the source.
        there: How many the target has under the same name.
        size_bytes: About how large they are together; exact for up to 100 documents.
        indexes: Indexes declared.
        full_text: Whether text fields are declared.
    """

    collection: str
    documents: int
    there: int
    size_bytes: int
    indexes: int
    full_text: bool = False

    @property
    def document_bytes(self) -> int:
        """One document on average."""
        return -(-self.size_bytes // max(1, self.documents))


class SideCost(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the copy and one comparison cost at one side.

    Attributes:
        side: Which.
        provider: Its name.
        estimate: Calls and charges; `None`: this provider can't tell.
    """

    side: Side
    provider: str
    estimate: Estimate | None


class MigrationPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a migration would do.

    Attributes:
        phase: Where it is.
        live: Whether programs may write while it is under way.
        collections: What would move.
        costs: What it costs at each side.
        notes: What to know before: what the target lacks, what is refused meanwhile.
        obstacles: Why it can't begin; empty: it can.
    """

    phase: Phase
    live: bool
    collections: list[CollectionPlan]
    costs: list[SideCost]
    notes: list[str]
    obstacles: list[str]

    @property
    def documents(self) -> int:
        """Documents of all collections."""
        return sum(each.documents for each in self.collections)

    @property
    def size_bytes(self) -> int:
        """About how large they are together."""
        return sum(each.size_bytes for each in self.collections)


async def counts_of(provider: Provider, names: Sequence[str]) -> dict[str, int]:
    """How many documents each collection holds."""
    counts: dict[str, int] = {}
    for start in range(0, len(names), QUESTIONS):
        some = names[start : start + QUESTIONS]
        pages = await provider.query([Query(name, limit=0, total=True) for name in some])
        counts |= {name: page.total or 0 for name, page in zip(some, pages, strict=True)}
    return counts


async def plan(pair: Pair, state: MigrationState, *, begun: bool) -> MigrationPlan:
    """Look at both sides without writing anything.

    Args:
        pair: Both sides.
        state: The state now.
        begun: Whether what the target holds may be of this migration.
    """
    leader, follower = pair.side(state.leader), pair.side(state.follower)
    names = await leader.collections()
    counts = await counts_of(leader, names)
    there = await counts_of(follower, names)
    collections: list[CollectionPlan] = []
    for name in names:
        size = await _size_of(leader, name, counts[name])
        spec = await leader.declared(name)
        collections.append(
            CollectionPlan(
                collection=name,
                documents=counts[name],
                there=there[name],
                size_bytes=size,
                indexes=0 if spec is None else len(spec.indexes),
                full_text=spec is not None and bool(spec.text_fields),
            )
        )
    obstacles = _obstacles(state, collections, begun=begun)
    notes = await _notes(leader, follower, names, state)
    return MigrationPlan(
        phase=state.phase,
        live=state.live,
        collections=collections,
        costs=[_cost(pair, side, state, collections) for side in pair.states.sides],
        notes=notes,
        obstacles=obstacles,
    )


async def _size_of(provider: Provider, name: str, documents: int) -> int:
    if not documents:
        return 0
    (page,) = await provider.query([Query(name, limit=SAMPLE)])
    size = sum(len(item.body) + len(item.payload or b"") for item in page.items)
    return round(size / max(1, len(page.items)) * documents)


def _cost(
    pair: Pair, side: Side, state: MigrationState, collections: Sequence[CollectionPlan]
) -> SideCost:
    """Reading everything at the source and writing it at the target, then reading both once."""
    provider = pair.side(side)
    own = below_layers(provider)
    if not isinstance(own, Estimating):
        return SideCost(side=side, provider=provider.name, estimate=None)
    work = [
        Workload(
            documents_read=each.documents * (2 if side == state.leader else 1),
            documents_created=0 if side == state.leader else each.documents,
            document_bytes=each.document_bytes,
            indexes=each.indexes,
            full_text=each.full_text,
            page_documents=MAX_PAGE,
            batch_documents=MAX_PAGE,
            bytes_at_once=PAGE_BYTES,
        )
        for each in collections
    ]
    estimate = Estimate.together(own.estimate(each) for each in work)
    return SideCost(side=side, provider=provider.name, estimate=estimate)


def _obstacles(
    state: MigrationState, collections: Sequence[CollectionPlan], *, begun: bool
) -> list[str]:
    found: list[str] = []
    if state.phase == "done":
        found.append(DONE)
    full = [each for each in collections if each.there]
    if state.phase == "source" and full and not begun:
        count = sum(each.there for each in full)
        names = ", ".join(each.collection for each in full[:5]) + (" …" if full[5:] else "")
        found.append(
            f"the target holds {count} documents already, in {names}; empty it, use another prefix "
            "or scope, or allow it: then what only the target has counts as a difference"
        )
    return found


async def _notes(
    leader: Provider, follower: Provider, names: Sequence[str], state: MigrationState
) -> list[str]:
    ours, theirs = leader.capabilities, follower.capabilities
    notes: list[str] = []
    if not state.live:
        weak = " and ".join(side.name for side in (leader, follower) if not is_strong(side))
        notes.append(
            f"{weak} can't compare and set: from dual-write to clean-up no writes are taken; reads "
            "go on"
        )
    if ours.text_search and not theirs.text_search:
        declared = [await leader.declared(name) for name in names]
        count = sum(1 for spec in declared if spec is not None and spec.text_fields)
        if count:
            notes.append(f"{follower.name} has no full-text search; {count} collections use it")
    limit, other = theirs.max_document_bytes, ours.max_document_bytes
    if limit is not None and (other is None or other > limit):
        notes.append(f"{follower.name} takes documents of up to {limit:,} bytes; larger are named")
    if theirs.max_id_bytes < ours.max_id_bytes:
        notes.append(f"{follower.name} takes ids of up to {theirs.max_id_bytes} bytes")
    return notes
