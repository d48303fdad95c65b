"""Verifying: every document of both sides is compared, while programs go on writing.

Both sides are listed in order of the ids and walked side by side, so memory stays flat. What seems
to differ is looked at again at both sides, since it may just have been written; what still does is
a difference.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, Literal, TypeAlias

import msgspec

from storage_providers._clock import format_timestamp
from storage_providers.base import Provider
from storage_providers.conflicts import Stored
from storage_providers.errors import MigrationError, StorageError
from storage_providers.protocol import Address, Item
from storage_providers.providers._dual.following import differences, results_of
from storage_providers.providers._dual.membership import LATE_LEASES
from storage_providers.providers._dual.records import notes_of
from storage_providers.providers._dual.state import Seen
from storage_providers.providers._hybrid.effects import is_same
from storage_providers.transfer._migration.copying import pages
from storage_providers.transfer._migration.pair import Pair, Progress
from storage_providers.transfer._migration.running import Verified
from storage_providers.transfer._migration.switching import Silent, settle_notes, writers_heard

__all__ = ["Comparison", "Difference", "verify"]

TOLD_EVERY: Final = 500
"""Documents between two reports of the progress."""

LOOKED_AT: Final = 2000
"""Documents looked at again at once; as they may just have been written, that takes a while."""

DIFFERENCES_KEPT: Final = 1000
"""Differences that are named one by one; more are counted."""

LOOKS: Final = 20
"""How often what seems to differ is looked at before it is a difference, over two leases."""

_GONE: Final = "gone"

Kind: TypeAlias = Literal["missing", "different", "extra", "unreadable"]


class Difference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A document that the sides hold otherwise.

    Attributes:
        collection: Its collection.
        id: Its id.
        kind: `missing`: the side that leads has it alone. `extra`: the other has it alone.
            `different`: both have it, with other contents. `unreadable`: the side that leads can't
            give it.
    """

    collection: str
    id: str
    kind: Kind


class Comparison(msgspec.Struct, kw_only=True, rename="camel"):
    """What a comparison found.

    Attributes:
        documents: Documents that were compared.
        collections: Collections that were compared.
        difference_count: Differences that are left.
        differences: Which, the first of them.
        repaired: Differences that were repaired.
        unreadable_count: Of those that are left, how many the side that leads can't give.
    """

    documents: int = 0
    collections: int = 0
    difference_count: int = 0
    differences: list[Difference] = []
    repaired: int = 0
    unreadable_count: int = 0

    def differs(self, address: Address, kind: Kind) -> None:
        """Note a difference."""
        self.difference_count += 1
        self.unreadable_count += kind == "unreadable"
        if len(self.differences) < DIFFERENCES_KEPT:
            self.differences.append(
                Difference(collection=address.collection, id=address.id, kind=kind)
            )


async def verify(
    pair: Pair, seen: Seen, *, repair: bool = False, total: int | None = None
) -> tuple[Comparison, Verified | None]:
    """Compare everything.

    Args:
        pair: Both sides.
        seen: The state, in which both sides are kept alike.
        repair: Whether the follower is brought to where the leader is.
        total: How many documents there are, for the progress.

    Returns:
        What was found; and what to keep of it, if the sides are alike.

    Raises:
        MigrationError: The phase changed meanwhile.
        StorageError: A side failed.
    """
    silent: Silent = await writers_heard(pair, seen, acknowledged=False)
    await pair.sleep(pair.staleness_seconds)
    await settle_notes(pair, seen, keep=True)
    walk = _Walk(pair, seen, repair=repair, total=total)
    leader, follower = walk.following.leader, walk.following.follower
    for name in sorted({*await leader.collections(), *await follower.collections()}):
        await walk.collection(name)
    if (await pair.seen()).state.epoch != seen.state.epoch:
        raise MigrationError("the phase of the migration changed meanwhile; verify again")
    if walk.found.difference_count:
        return walk.found, None
    at = format_timestamp(pair.clock.now_ms())
    documents = walk.found.documents
    return walk.found, Verified(
        epoch=seen.state.epoch, documents=documents, at=at, silent=sorted(silent)
    )


class _Walk:
    """One walk along both sides."""

    def __init__(self, pair: Pair, seen: Seen, *, repair: bool, total: int | None) -> None:
        self._pair = pair
        self._seen = seen
        self._repair = repair
        self._total = total
        self.following = pair.following(seen.state)
        self.found = Comparison()

    async def collection(self, name: str) -> None:
        """Compare one collection."""
        broken: set[str] = set()
        ours = _in_order(self.following.leader, name, broken)
        theirs = _in_order(self.following.follower, name, broken)
        suspects: list[Address] = []
        async for item_id, left, right in _side_by_side(ours, theirs):
            self.found.documents += left is not None
            if item_id not in broken and not _is_alike(left, right):
                suspects.append(Address(name, item_id))
            if len(suspects) == LOOKED_AT:
                await self._look_again(suspects)
                suspects = []
            if self.found.documents % TOLD_EVERY == 0:
                self._tell(name)
        suspects += [Address(name, item_id) for item_id in sorted(broken)]
        if suspects:
            await self._look_again(suspects)
        self.found.collections += 1
        self._tell(name)

    def _tell(self, name: str) -> None:
        self._pair.tell(
            Progress(step="verify", done=self.found.documents, total=self._total, detail=name)
        )

    async def _look_again(self, suspects: list[Address]) -> None:
        """Sort out what was just being written, and what a deletion left behind."""
        ours = await results_of(self.following.leader, suspects)
        theirs = await results_of(self.following.follower, suspects)
        for address, item in ours.items():
            if isinstance(item, StorageError):
                self.found.differs(address, "unreadable")
        left = differences(ours, theirs)
        if left and self._repair:
            brought = await self.following.bring_anew(left)
            left = list(self.following.doubts)
            self.following.doubts.clear()
            self.found.repaired += brought - len(left)
        elif left:
            left = await self._still(left)
        for address in left:
            kind: Kind = "different"
            if ours[address] is None:
                kind = "extra"
            elif theirs[address] is None:
                kind = "missing"
            self.found.differs(address, kind)

    async def _still(self, left: list[Address]) -> list[Address]:
        """What the follower keeps having otherwise, for as long as a writer may take.

        What a deletion left behind is put right; what the follower gets meanwhile is under way.
        """
        noted = {
            address
            async for note in notes_of(self._pair.home(self._seen.state))
            for address in note.addresses
        }
        loose = [each for each in left if each in noted or Address(each.collection, "") in noted]
        await self.following.bring_anew(loose)
        kept: dict[Address, str | None] | None = None
        for _ in range(LOOKS if self._seen.state.live else 1):
            ours = await results_of(self.following.leader, left)
            theirs = await results_of(self.following.follower, left)
            versions = {each: _version(theirs[each]) for each in differences(ours, theirs)}
            kept = {
                address: version
                for address, version in versions.items()
                if kept is None or kept.get(address, _GONE) == version
            }
            left = list(kept)
            if not left:
                break
            await self._pair.sleep(self._pair.lease_seconds * LATE_LEASES / LOOKS)
        return left


def _version(there: Item | StorageError | None) -> str | None:
    return there.version if isinstance(there, Item) else None


def _is_alike(left: Item | None, right: Item | None) -> bool:
    if left is None or right is None:
        return left is right
    return is_same(Stored.of(left), Stored.of(right))


async def _in_order(provider: Provider, collection: str, broken: set[str]) -> AsyncGenerator[Item]:
    """The documents of a collection by their ids; `broken` gets those that can't be read."""
    async for page, _ in pages(provider, collection):
        broken.update(each.item_id for each in page.corrupt if each.item_id is not None)
        for item in page.items:
            yield item


async def _side_by_side(
    ours: AsyncGenerator[Item], theirs: AsyncGenerator[Item]
) -> AsyncGenerator[tuple[str, Item | None, Item | None]]:
    """Two listings as one: each id with what either side has."""
    left, right = await anext(ours, None), await anext(theirs, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.id < right.id):
            assert left is not None
            yield left.id, left, None
            left = await anext(ours, None)
        elif left is None or right.id < left.id:
            yield right.id, None, right
            right = await anext(theirs, None)
        else:
            yield left.id, left, right
            left, right = await anext(ours, None), await anext(theirs, None)
