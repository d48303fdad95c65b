"""What `doctor` asks of a place of objects: each right by itself, conditions, indexes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from storage_providers._clock import Clock, parse_timestamp
from storage_providers.errors import (
    ConflictError,
    InvalidArgumentError,
    StorageError,
    UnsupportedOperationError,
)
from storage_providers.maintenance import Check, IndexStatus, error_name
from storage_providers.protocol import ANY, IF_ABSENT, Condition, IfVersion, check_collection
from storage_providers.providers._objects import Metadata, ObjectPut, ObjectStore
from storage_providers.providers._objects.declaring import DECLARATIONS
from storage_providers.providers._objects.entries import index_name, new_token
from storage_providers.providers._objects.keys import Layout
from storage_providers.resilience import map_bounded

if TYPE_CHECKING:
    from storage_providers.providers._objects.provider import ObjectProvider

__all__ = ["check_indexes", "check_rights", "failed", "index_states"]

SCRATCH: Final = ".doctor"
"""The collection of trial objects; nothing of it stays."""

NO_VERSION: Final = "0" * 32
"""A version as R2's look, which no object has."""

LISTED_DECLARATIONS: Final = 200
"""Declarations whose indexes are looked at. Ours."""

LATE_MS: Final = 3_600_000
"""An index that has been building for longer is waiting for somebody to build it. Ours."""


def failed(name: str, error: StorageError, advice: str | None = None) -> Check:
    """The check that met an error.

    Args:
        name: What was tried.
        error: What came of it.
        advice: What to do, where the error does not say it.
    """
    return Check(name=name, ok=False, detail=str(error), advice=advice, error=error_name(error))


async def _tried(name: str, attempt: Callable[[], Awaitable[str]]) -> Check:
    started = time.perf_counter()
    try:
        detail = await attempt()
    except StorageError as error:
        return failed(name, error)
    took = (time.perf_counter() - started) * 1000
    return Check(name=name, ok=True, detail=f"{detail} ({took:.0f} ms)")


async def check_rights(
    store: ObjectStore, layout: Layout, clock: Clock, *, write: bool
) -> list[Check]:
    """Try listing, reading and, if wanted, writing, conditions and deleting, each by itself.

    Args:
        store: The service.
        layout: Under which keys.
        clock: Makes the trial object's name, which is never the same twice.
        write: Whether writing may be tried.

    Returns:
        What was tried. The trial object is gone, or the check `delete` says that it is not.
    """
    trial = _Trial(store, layout, clock)
    checks = [await _tried("list", trial.list), await _tried("read", trial.read_nothing)]
    if not write:
        return checks
    try:
        checks.append(await _tried("write", trial.write))
        if checks[-1].ok and store.limits.conditional_put:
            checks.append(await _tried("conditions", trial.conditions))
    finally:
        # Also after a failure, or Ctrl-C: it may have landed.
        checks.append(await _tried("delete", trial.delete))
    return checks


class _Trial:
    """One trial object."""

    def __init__(self, store: ObjectStore, layout: Layout, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._prefix = layout.prefix
        self.key = layout.document(SCRATCH, f"probe-{clock.new_id()}")
        self._absent = layout.document(SCRATCH, f"probe-{clock.new_id()}")

    async def list(self) -> str:
        """List one line of what is there."""
        await self._store.list(self._prefix, limit=1)
        where = f"{self._prefix!r}" if self._prefix else "the whole bucket"
        return f"{where} may be listed"

    async def read_nothing(self) -> str:
        """Read what is not there: a refusal is not the same as nothing."""
        # Not the trial object: some services remember for a while that there is none.
        (found,) = await self._store.get([self._absent])
        if isinstance(found, StorageError):
            raise found
        return "objects may be read"

    async def write(self) -> str:
        """Write the trial object and find it, by reading and listing."""
        data = b'{"id":"probe"}'
        conditional = self._store.limits.conditional_put
        await self._put(self.key, data, IF_ABSENT if conditional else ANY)
        if self._store.limits.staleness_seconds:
            return "an object was written"
        (found,) = await self._store.get([self.key])
        if isinstance(found, StorageError):
            raise found
        if found is None or found.data != data:
            raise StorageError("an object that was just written is not there as it was written")
        listing = await self._store.list(self.key)
        if [entry.key for entry in listing.entries] != [self.key]:
            raise StorageError("an object that was just written is not listed")
        return "an object was written, read and listed"

    async def conditions(self) -> str:
        """See that the service judges conditions; one that does not loses concurrent writes."""
        # The last is what some servers forget: minio/minio issue 21526 (2025-08).
        for what, key, condition in (
            ("to be absent", self.key, IF_ABSENT),
            ("to have another version", self.key, IfVersion(NO_VERSION)),
            ("to be there", self._absent, IfVersion(NO_VERSION)),
        ):
            try:
                await self._put(key, b"{}", condition)
            except ConflictError:
                continue
            raise UnsupportedOperationError(
                f"a put was accepted that asked for the object {what}, which it was not: "
                "concurrent writers would lose changes; use a server that judges If-Match and "
                "If-None-Match"
            )
        return "conditions of puts are judged"

    async def _put(self, key: str, data: bytes, condition: Condition) -> None:
        metadata = Metadata(token=new_token(self._clock))
        put = ObjectPut(key=key, data=data, metadata=metadata, condition=condition)
        (result,) = await self._store.put([put])
        if isinstance(result, StorageError):
            raise result

    async def delete(self) -> str:
        """Remove what was written, or may have been, and see that it is gone."""
        keys = [self.key, self._absent]
        for error in await self._store.delete(keys):
            if error is not None:
                raise error
        if self._store.limits.staleness_seconds:
            return "the trial object is removed"
        for key, found in zip(keys, await self._store.get(keys), strict=True):
            if found is not None and not isinstance(found, StorageError):
                raise StorageError(f"the trial object {key!r} is still there; remove it")
        return "the trial object is removed"


# --- indexes -----------------------------------------------------------------------------------


async def index_states(provider: ObjectProvider, collection: str) -> list[IndexStatus]:
    """How far each index of a collection is, as it is kept now: one request.

    Args:
        provider: Where.
        collection: The collection, with its scope.

    Raises:
        CorruptItemError: The declaration can't be read.
    """
    declaration = await provider.declarations.load(collection)
    if declaration is None:
        return []
    wanted = [index_name(index) for index in declaration.spec.indexes]
    names = [*wanted, *(name for name in declaration.indexes if name not in wanted)]
    found: list[IndexStatus] = []
    for name in names:
        record = declaration.indexes.get(name)
        if record is not None:
            fields = ",".join(record.index.fields)
            found.append(
                IndexStatus(
                    index=f"each({fields})" if record.index.each else fields,
                    state=record.state.value,
                    since=record.since,
                )
            )
    return found


async def check_indexes(provider: ObjectProvider) -> Check:
    """Look how far the indexes of the collections outside of scopes are.

    Args:
        provider: Where.
    """
    try:
        states = await _all_states(provider)
    except StorageError as error:
        return failed("indexes", error)
    ready = sum(status.state == "ready" for _, status in states)
    building = [(name, status) for name, status in states if status.state == "building"]
    detail = f"{ready} ready, {len(building)} building"
    if not building:
        return Check(name="indexes", ok=True, detail=detail)
    named = ", ".join(f"{name} {status.index}" for name, status in building[:3])
    oldest = min(status.since for _, status in building)
    late = provider.clock.now_ms() - parse_timestamp(oldest) > LATE_MS
    advice = (
        f"nobody builds them: run 'storage-providers declare {building[0][0]} --wait'"
        if late
        else "queries read every document until they are ready"
    )
    return Check(
        name="indexes", ok=True, detail=f"{detail} ({named}, since {oldest})", advice=advice
    )


async def _all_states(provider: ObjectProvider) -> list[tuple[str, IndexStatus]]:
    folder = provider.layout.folder(DECLARATIONS)
    listing = await provider.store.list(folder, limit=LISTED_DECLARATIONS)
    names: list[str] = []
    for entry in listing.entries:
        with suppress(ValueError, InvalidArgumentError):  # Another program's object.
            name = provider.layout.id_at(folder, entry.key)
            if name is not None:
                names.append(check_collection(name)[1])
    found = await map_bounded(lambda name: index_states(provider, name), names)
    return [(name, status) for name, states in zip(names, found, strict=True) for status in states]
