"""Patches of documents that are split, or would be: read, changed and put again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from storage_providers._json import merge_patch
from storage_providers.base import Provider
from storage_providers.errors import (
    DocumentTooLargeError,
    StorageError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.layers._offload.reading import Loaded, Reader
from storage_providers.layers._offload.record import Record
from storage_providers.layers._offload.splitting import Rule
from storage_providers.protocol import (
    IF_PRESENT,
    Address,
    IfVersion,
    Item,
    Patch,
    Put,
    Write,
)

__all__ = ["Patcher", "Plan", "lost_race"]


class Plan(NamedTuple):
    """One put that may be split.

    Attributes:
        put: What is to be stored.
        before: The record of the document that it replaces, if that is known for certain.
    """

    put: Put
    before: Record | None = None


class Patcher:
    """Turns patches into conditional puts where they can't be carried out below.

    Args:
        inner: Where the documents are.
        reader: Reads them whole.
        rule: What leaves.
        size_limit: Tells the largest document of a collection, bytes.
    """

    def __init__(
        self,
        inner: Provider,
        reader: Reader,
        rule: Rule,
        size_limit: Callable[[str], Awaitable[int | None]],
    ) -> None:
        self._inner = inner
        self._reader = reader
        self._rule = rule
        self._size_limit = size_limit

    async def plans(self, batch: Sequence[Write]) -> dict[int, Plan]:
        """What the patches of a batch become, by position; those left out go as they are.

        Raises:
            StorageError: A patch can't be carried out; its `index` says which.
        """
        patches = [(at, write) for at, write in enumerate(batch) if isinstance(write, Patch)]
        if not patches:
            return {}
        loaded = await self._reader.load([Address(each.collection, each.id) for _, each in patches])
        plans: dict[int, Plan] = {}
        for (at, patch), found in zip(patches, loaded, strict=True):
            try:
                plan = await self._plan(patch, found)
            except StorageError as error:
                error.collection, error.item_id, error.index = patch.collection, patch.id, at
                raise
            if plan is not None:
                plans[at] = plan
        return plans

    async def _plan(self, patch: Patch, found: Loaded) -> Plan | None:
        item, stored, record = found.result, found.stored, found.record
        if isinstance(item, StorageError) and record is not None:
            raise item
        if not isinstance(item, Item) or stored is None:
            return None
        if item.encoding is not None:
            raise UnsupportedOperationError(
                f"the document is encoded as {item.encoding!r}; patch it through the layer that "
                "wrote it"
            )
        is_conditional = self._inner.capabilities.conditional_write
        if record is not None and not is_conditional:
            raise UnsupportedOperationError(
                "the document is offloaded, and to patch it safely needs conditional_write, which "
                "this provider lacks; put it whole"
            )
        seen = IfVersion(stored.version)
        put = Put(patch.collection, merge_patch(item.document, patch.changes), seen)
        if record is None and not (is_conditional and self._rule.halves(put).content):
            return None
        if isinstance(patch.condition, IfVersion) and patch.condition != seen:
            raise VersionMismatchError(
                "the document was changed",
                expected_version=patch.condition.version,
                actual_version=stored.version,
            )
        await self._check_size(put)
        return Plan(put, record)

    async def _check_size(self, put: Put) -> None:
        limit = await self._size_limit(put.collection)
        if limit is not None and put.size_bytes > limit:
            raise DocumentTooLargeError(
                f"the patched document is {put.size_bytes} bytes, the limit is {limit}",
                size_bytes=put.size_bytes,
                limit_bytes=limit,
            )


def lost_race(write: Write, outcome: Item | StorageError | None) -> bool:
    """Whether a patch failed because somebody changed or split its document meanwhile."""
    if not isinstance(write, Patch):
        return False
    if isinstance(outcome, UnsupportedOperationError):
        return True
    return isinstance(outcome, VersionMismatchError) and write.condition is IF_PRESENT
