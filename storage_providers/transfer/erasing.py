"""Erasing one scope: everything that is kept of one user or tenant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from storage_providers.base import Provider
from storage_providers.layers import Layer, Offload, below_layers, stored_name
from storage_providers.maintenance import Erasable, Paired
from storage_providers.protocol import Delete, check_scope

__all__ = ["ErasureReport", "erase_scope"]

BATCH: Final = 1000
"""Documents listed and removed at once. Source: R2 removes 1,000 objects a request (Cloudflare
docs, r2/api/s3/api, read 2026-11)."""

ROUNDS: Final = 3
"""How often it is looked whether something new is there. Ours."""


class ErasureReport(msgspec.Struct, kw_only=True):
    """What became of a scope.

    Attributes:
        scope: The scope.
        dry_run: Whether nothing was removed.
        removed: Documents removed, by collection; in a dry run, those that would be. What only one
            side of a pair holds goes too, and only a dry run counts it.
        left: Documents that are there at the end, by collection: somebody is still writing.
        remains: Where something may remain that could not be removed, and how that goes.
    """

    scope: str
    dry_run: bool = False
    removed: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    left: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    remains: list[str] = msgspec.field(default_factory=list[str])


async def erase_scope(
    provider: Provider,
    scope: str,
    *,
    dry_run: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> ErasureReport:
    """Remove everything that a provider keeps of a scope and of the scopes inside it.

    Documents, damaged and expired ones among them, go a thousand at a time; then what is kept
    beside them: declarations, index entries, backups. Of two providers as one, both are erased, and
    what stands between them. At the end it is looked whether anything is there. Stopped or killed
    on the way, it goes on when it is called again. Nobody may be writing to the scope meanwhile.

    Args:
        provider: The provider, perhaps below layers.
        scope: The scope, such as `user-7`.
        dry_run: Only count.
        on_progress: Told after each batch how many documents were removed so far.

    Returns:
        What was removed, what is left, and where something may remain.

    Raises:
        InvalidArgumentError: The scope is malformed.
        StorageError: The provider failed; what was removed until then is gone.
    """
    check_scope(scope, provider.capabilities.max_scope_bytes)
    report = ErasureReport(scope=scope, dry_run=dry_run)
    if dry_run:
        report.removed = await _count(provider, scope)
        return report
    remains: dict[str, None] = {}
    for _ in range(ROUNDS):
        names = await _names(provider, scope)
        for name in names:
            await _remove_documents(provider, name, report, on_progress)
            remains |= dict.fromkeys(await _erase(provider, name))
        if not names:
            break
    if provider.capabilities.strongly_consistent:
        report.left = {
            name: count for name, count in (await _count(provider, scope)).items() if count
        }
    report.remains = list(remains)
    return report


async def _names(provider: Provider, scope: str) -> list[str]:
    """The collections of a scope; of a pair, those of one side alone among them."""
    names = set(await provider.collections(scope))
    own, stored = below_layers(provider), stored_name(provider, scope)
    if isinstance(own, Paired):
        prefix = stored.removesuffix(scope)
        for side in own.sides.values():
            names |= {name.removeprefix(prefix) for name in await _names(side, stored)}
    return sorted(names)


async def _count(provider: Provider, scope: str) -> dict[str, int]:
    """Documents by collection, damaged and expired ones among them."""
    return {name: await _count_at(provider, name) for name in await _names(provider, scope)}


async def _count_at(provider: Provider, collection: str) -> int:
    """Documents of a collection; of a pair, as many as the side has that has most."""
    own = below_layers(provider)
    if isinstance(own, Paired):
        stored = stored_name(provider, collection)
        return max([await _count_at(side, stored) for side in own.sides.values()])
    count, cursor = 0, None
    while True:
        page = await provider.versions(collection, cursor, BATCH)
        count, cursor = count + len(page.entries), page.cursor
        if cursor is None:
            return count


async def _remove_documents(
    provider: Provider,
    collection: str,
    report: ErasureReport,
    on_progress: Callable[[int], None] | None,
) -> None:
    cursor = None
    report.removed.setdefault(collection, 0)
    while True:
        # On by the cursor: a listing may be older than what was just removed.
        page = await provider.versions(collection, cursor, BATCH)
        if page.entries:
            await provider.write([Delete(collection, entry.id) for entry in page.entries])
            report.removed[collection] += len(page.entries)
            if on_progress is not None:
                on_progress(sum(report.removed.values()))
        cursor = page.cursor
        if cursor is None:
            return


async def _erase(provider: Provider, collection: str) -> list[str]:
    """Remove what is kept beside the documents; returns what remains."""
    remains: list[str] = []
    layer = provider
    while isinstance(layer, Layer):
        if isinstance(layer, Offload):
            remains.append(
                "objects that were offloaded are no document's any more; `collect()` of the layer "
                "Offload removes them, an hour from now"
            )
        layer = layer.inner
    own, stored = below_layers(provider), stored_name(provider, collection)
    if isinstance(own, Paired):
        for name, side in own.sides.items():
            remains += [f"{name}: {each}" for each in await _erase(side, stored)]
        return remains + await own.forget(stored)
    if isinstance(own, Erasable):
        return remains + await own.erase(stored)
    await provider.clear_collection(collection)
    return [
        *remains,
        f"{own.name} can't say what it keeps beside documents: declarations of the scope stay, and "
        "what else it holds (copies, journals, caches) is for you to remove",
    ]
