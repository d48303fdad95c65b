"""Writing: what leaves the documents of a batch is stored first, then the documents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from storage_providers.base import Provider
from storage_providers.errors import BatchError, StorageError
from storage_providers.layers._offload.objects import Objects
from storage_providers.layers._offload.patching import Patcher, Plan, lost_race
from storage_providers.layers._offload.record import ENCODING, Record, Reference
from storage_providers.layers._offload.splitting import Rule, encoded, same_object
from storage_providers.layers._offload.store import Store
from storage_providers.protocol import Item, Put, Write

__all__ = ["Writer"]

PATCH_SECONDS: Final = 30.0
"""How long a patch is tried again after others changed its document. As `modify_item`."""


class Writer:
    """Carries out batches.

    Args:
        inner: Where the documents go.
        objects: Where what leaves them goes.
        store: The layer's own document.
        patcher: Deals with patches.
        rule: What leaves.
        namespace: Makes the scope of all objects from the store's token.
    """

    def __init__(
        self,
        inner: Provider,
        objects: Objects,
        store: Store,
        patcher: Patcher,
        *,
        rule: Rule,
        namespace: Callable[[str], str],
    ) -> None:
        self._inner = inner
        self._objects = objects
        self._store = store
        self._patcher = patcher
        self._rule = rule
        self._namespace = namespace

    async def write(
        self,
        batch: Sequence[Write],
        deadline: float | None = None,
        refused: frozenset[int] = frozenset(),
    ) -> list[Item | None]:
        """Carry out a batch, its patches again and again if need be.

        Args:
            batch: The writes.
            deadline: Until when to try, by the loop's time.
            refused: Patches that were refused as they are; if they are sent so again, and refused
                again, it was not because somebody had split the document.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATCH_SECONDS if deadline is None else deadline
        plans = {at: Plan(write) for at, write in enumerate(batch) if isinstance(write, Put)}
        ready: dict[int, Put] = {}
        attempt = 0
        while True:
            patched = await self._patcher.plans(batch)
            wanted, stuck = {**plans, **patched}, refused - patched.keys()
            # What the puts leave is stored once, however often the patches are tried.
            new = {at: plan for at, plan in wanted.items() if at not in ready}
            stored = {**ready, **dict(zip(new, await self._stored(new), strict=True))}
            ready = {at: stored[at] for at in plans}
            below = [stored.get(at, write) for at, write in enumerate(batch)]
            try:
                items = await self._inner.write(below)
                return [_whole(wanted.get(at), item) for at, item in enumerate(items)]
            except BatchError as error:
                results = _outcomes(wanted, error.results)
                raced = [at for at in _lost_races(batch, results) if at not in stuck]
                if not raced or loop.time() >= deadline:
                    raise _batch_error(results) from error
                await self._pause(attempt)
                sent = frozenset(n for n, at in enumerate(raced) if at not in patched)
                return await self._again(batch, results, raced, deadline, sent)
            except StorageError as error:
                at = 0 if len(batch) == 1 else error.index
                if at is None or at in stuck or not lost_race(batch[at], error):
                    raise
                if loop.time() >= deadline:
                    raise
                refused = frozenset({at} - patched.keys())
            await self._pause(attempt)
            attempt += 1

    async def _again(
        self,
        batch: Sequence[Write],
        results: list[Item | StorageError | None],
        raced: Sequence[int],
        deadline: float,
        refused: frozenset[int],
    ) -> list[Item | None]:
        """Try patches again whose documents others changed, where the rest of the batch landed."""
        outcomes: Sequence[Item | StorageError | None]
        try:
            outcomes = await self.write([batch[at] for at in raced], deadline, refused)
        except BatchError as error:
            outcomes = error.results
        except StorageError as error:
            outcomes = [error] * len(raced)
        for at, outcome in zip(raced, outcomes, strict=True):
            if isinstance(outcome, StorageError):
                outcome.index = at
            results[at] = outcome
        if any(isinstance(result, StorageError) for result in results):
            raise _batch_error(results)
        return [result for result in results if not isinstance(result, StorageError)]

    async def _pause(self, attempt: int) -> None:
        await asyncio.sleep(self._inner.clock.jitter() * min(0.25, 0.001 * 2**attempt))

    async def _stored(self, plans: dict[int, Plan]) -> list[Put]:
        """Store what leaves, in one batch; the puts for what stays, in order."""
        halves = [self._rule.halves(plan.put) for plan in plans.values()]
        scope = ""
        if any(half.content for half in halves):
            scope = self._namespace((await self._store.prepare()).token)
        puts: list[Put] = []
        objects: list[tuple[Reference, str, bytes]] = []
        for (put, before), half in zip(plans.values(), halves, strict=True):
            below = put
            if half.content:
                known = same_object(before, half.content)
                collection = f"{scope}/{put.collection}"
                reference = known or self._objects.refer(collection, put.id, half.content)
                split = encoded(put, half.stays, self._rule.record(put, half, reference))
                if split.size_bytes < put.size_bytes:
                    below = split
                    if known is None:
                        objects.append((reference, put.id, half.content))
            if below is put and put.encoding == ENCODING:
                # Somebody's own encoding of this name must not read as ours.
                below = encoded(put, put.body, Record(None, 0, ENCODING, False, self._rule.layout))
            puts.append(below)
        if objects:
            await self._objects.store(objects)
        return puts


def _whole(plan: Plan | None, item: Item | None) -> Item | None:
    """A result as it looks from above."""
    if item is None or plan is None:
        return item
    put = plan.put
    return Item(item.collection, item.id, item.version, put.body, put.encoding, put.payload)


def _outcomes(
    plans: Mapping[int, Plan], results: Sequence[Item | StorageError | None]
) -> list[Item | StorageError | None]:
    """What became of a batch, as it looks from above."""
    return [
        result if isinstance(result, StorageError) else _whole(plans.get(at), result)
        for at, result in enumerate(results)
    ]


def _lost_races(
    batch: Sequence[Write], results: Sequence[Item | StorageError | None]
) -> Iterator[int]:
    """Where the patches are whose documents others changed."""
    for at, (write, result) in enumerate(zip(batch, results, strict=True)):
        if lost_race(write, result):
            yield at


def _batch_error(results: Sequence[Item | StorageError | None]) -> BatchError:
    errors = [result for result in results if isinstance(result, StorageError)]
    return BatchError(
        f"{len(errors)} of {len(results)} writes were not done, the others were; first: "
        f"{errors[0]}",
        results=results,
    )
