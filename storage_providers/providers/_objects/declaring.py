"""Declarations, kept beside the data, and the states of indexes: building, ready, dropped.

A declaration is a document of the SDK's own collection `.declarations` of the same scope. Every
process reads it again after `DECLARATION_REFRESH_SECONDS`, so for that long, and for as long as a
write is in flight, some writers go by the old one. Hence an index is

- *building* from its declaration on: whoever knows of it keeps its entries, nobody asks it. After
  `SETTLE_SECONDS` all writers know; what is older is filled in, and then it is
- *ready*: queries use it;
- *dropped* when it is declared no longer: nobody asks it, but for `SETTLE_SECONDS` writers still
  keep its entries, for those who do not know yet that it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from storage_providers._clock import Clock, format_timestamp, parse_timestamp
from storage_providers.base import DECLARATION_REFRESH_SECONDS
from storage_providers.errors import (
    ConflictError,
    CorruptItemError,
    RateLimitedError,
    StorageError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    CollectionSpec,
    IfVersion,
    Index,
    check_collection,
)
from storage_providers.providers._objects import Metadata, ObjectPut, ObjectStore
from storage_providers.providers._objects.entries import (
    IndexKeys,
    index_name,
    new_token,
    token_time_ms,
)
from storage_providers.providers._objects.keys import Layout
from storage_providers.resilience import Timing

__all__ = [
    "RETRY_SECONDS",
    "SETTLE_SECONDS",
    "SKEW_SECONDS",
    "WRITE_SECONDS",
    "Declaration",
    "Declarations",
    "DeclaredIndex",
    "IndexRecord",
    "IndexState",
    "retry_seconds",
]

DECLARATIONS: Final = ".declarations"
"""The collection of declarations, one in each scope."""

WRITE_SECONDS: Final = 180
"""A document lands at most this long after its writer looked at the declaration, or never. Ours:
writers plan anew after 60 s; the rest is for the request, its retries and delays on the way."""

SKEW_SECONDS: Final = 60
"""How far the clocks of two machines may be apart. Ours."""

SETTLE_SECONDS: Final = DECLARATION_REFRESH_SECONDS + WRITE_SECONDS + SKEW_SECONDS
"""How long after a change of the declaration every write goes by it."""

ATTEMPTS: Final = 20
"""How often a change of a declaration is tried when others change it at the same moment."""


RETRY_SECONDS: Final = 30
"""How long a write that lost a race is tried again. Ours, as in `modify_item`."""

FIRST_WAIT_SECONDS: Final = 0.05
"""Bound of the first wait after a lost race; it doubles up to `MAX_WAIT_SECONDS`. Ours."""

MAX_WAIT_SECONDS: Final = 2.0
"""Largest bound of a wait after a lost race. Ours."""

RATE_LIMITED_SECONDS: Final = 1.0
"""Shortest wait after a refusal for the rate. Source: R2 takes one write a second per key
(Cloudflare docs, r2/platform/limits, 2026-11)."""


def retry_seconds(error: StorageError, attempt: int, jitter: float) -> float | None:
    """How long to wait before a write that did not land is tried again.

    Args:
        error: Why it did not land.
        attempt: How often it was tried.
        jitter: A random number from 0 to 1.

    Returns:
        Seconds; `None`: trying again is no use, or not safe.
    """
    wait = jitter * min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(attempt - 1, 10))
    if isinstance(error, ConflictError):
        return wait
    if isinstance(error, RateLimitedError):
        return max(RATE_LIMITED_SECONDS, error.retry_after_seconds or 0.0) + wait
    return None


class IndexState(Enum):
    """How far an index is."""

    BUILDING = "building"
    READY = "ready"
    DROPPED = "dropped"


class IndexRecord(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """What a declaration says of an index beside its spec.

    Attributes:
        index: The index.
        state: How far it is.
        since: When it was declared or dropped, ISO 8601.
        done: Key of the last document that the back-fill has been at.
    """

    index: Index
    state: IndexState
    since: str
    done: str | None = None

    def settled(self, now_ms: int, settle_seconds: float) -> bool:
        """Whether every write goes by it."""
        return now_ms >= parse_timestamp(self.since) + settle_seconds * 1000


class Declaration(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A declaration as it is kept.

    Attributes:
        id: Name of the collection, without its scope.
        spec: What is declared.
        indexes: The indexes by their names in keys, also those just dropped.
        builder: Who fills indexes in, so that no other does it too.
        until: Until when it may be taken to be at it, ISO 8601.
    """

    id: str
    spec: CollectionSpec
    indexes: dict[str, IndexRecord] = {}
    builder: str | None = None
    until: str | None = None


class DeclaredIndex(NamedTuple):
    """An index whose entries are to be kept.

    Attributes:
        keys: Where its entries are.
        ready: Whether queries may use it.
    """

    keys: IndexKeys
    ready: bool


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Declaration).decode


class Declarations:
    """The declarations of one store.

    Args:
        store: Where they are.
        layout: Under which keys.
        clock: The time.
        timing: How to wait.
        settle_seconds: How long after a change every write goes by it.
    """

    def __init__(
        self,
        store: ObjectStore,
        layout: Layout,
        clock: Clock,
        timing: Timing,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._timing = timing
        self._kept: dict[str, tuple[Declaration, str]] = {}
        self.settle_seconds = settle_seconds

    def key(self, collection: str) -> str:
        """The key of a collection's declaration."""
        scope, name = check_collection(collection)
        home = f"{scope}/{DECLARATIONS}" if scope else DECLARATIONS
        return self._layout.document(home, name)

    async def load(self, collection: str) -> Declaration | None:
        """What is kept about a collection: one request.

        Raises:
            CorruptItemError: It can't be read.
        """
        return (await self._load(collection))[0]

    def forget(self, collection: str) -> None:
        """What is kept about a collection was removed."""
        self._kept.pop(collection, None)

    async def _load(self, collection: str) -> tuple[Declaration | None, str | None]:
        key = self.key(collection)
        (found,) = await self._store.get([key])
        if isinstance(found, StorageError):
            raise found
        # What the service tells may be older than what this process wrote itself.
        own, version = self._kept.get(collection, (None, ""))
        made_ms = token_time_ms(version) if own is not None else None
        if made_ms is not None:
            age_ms = self._clock.now_ms() - made_ms
            if age_ms > self._store.limits.staleness_seconds * 1000:
                del self._kept[collection]
            elif found is None or found.version < version:
                return own, version
        if found is None:
            return None, None
        try:
            return _decode(found.data), found.version
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CorruptItemError(
                f"{key}: not a declaration as this SDK keeps it ({error}); mend it, or delete it "
                "and declare the collection anew",
                collection=collection,
                source=key,
            ) from None

    async def change(
        self, collection: str, change: Callable[[Declaration | None], Declaration | None]
    ) -> Declaration | None:
        """Replace a declaration by what a function makes of it, losing nobody else's change.

        Args:
            collection: The collection.
            change: Takes what is kept and returns what to keep; `None`: leave it. It is called
                again if another process was faster.

        Returns:
            What is kept now.

        Raises:
            ConflictError: Others kept changing it.
            TransportError: The service could not be reached, or others used up its rate.
        """
        attempt = 0
        while True:
            before, version = await self._load(collection)
            after = change(before)
            if after is None or after == before:
                return before
            condition = IF_ABSENT if version is None else IfVersion(version)
            put = ObjectPut(
                key=self.key(collection),
                data=_encode(after),
                metadata=Metadata(token=new_token(self._clock)),
            )
            if self._store.limits.conditional_put:
                put = msgspec.structs.replace(put, condition=condition)
            (result,) = await self._store.put([put])
            if isinstance(result, str):
                if self._store.limits.staleness_seconds:
                    self._kept[collection] = after, result
                return after
            attempt += 1
            wait = retry_seconds(result, attempt, self._timing.jitter())
            if wait is None or attempt == ATTEMPTS:
                raise result
            await self._timing.sleep(wait)

    async def declare(self, spec: CollectionSpec) -> Declaration:
        """Keep a declaration.

        Indexes that stay keep their state; new ones are to be built; dropped ones are kept up
        until every process knows.
        """
        name = check_collection(spec.collection)[1]

        def declared(before: Declaration | None) -> Declaration:
            known = {} if before is None else before.indexes
            return Declaration(
                id=name,
                spec=spec,
                indexes=self._records(spec, known),
                builder=None if before is None else before.builder,
                until=None if before is None else before.until,
            )

        kept = await self.change(spec.collection, declared)
        assert kept is not None
        return kept

    def _records(
        self, spec: CollectionSpec, known: Mapping[str, IndexRecord]
    ) -> dict[str, IndexRecord]:
        now_ms = self._clock.now_ms()
        now = format_timestamp(now_ms)
        records: dict[str, IndexRecord] = {}
        for index in spec.indexes:
            name = index_name(index)
            record = known.get(name)
            if record is None or record.state is IndexState.DROPPED:
                record = IndexRecord(index=index, state=IndexState.BUILDING, since=now)
            records[name] = record
        for name, record in known.items():
            if name in records:
                continue
            if record.state is not IndexState.DROPPED:
                records[name] = IndexRecord(index=record.index, state=IndexState.DROPPED, since=now)
            elif not record.settled(now_ms, self.settle_seconds):
                records[name] = record
        return records

    def indexes_of(
        self, collection: str, declaration: Declaration | None
    ) -> tuple[DeclaredIndex, ...]:
        """The indexes whose entries are to be kept, in the order of their declaration."""
        if declaration is None:
            return ()
        now_ms = self._clock.now_ms()
        return tuple(
            DeclaredIndex(
                IndexKeys(self._layout, collection, record.index),
                record.state is IndexState.READY,
            )
            for record in declaration.indexes.values()
            if record.state is not IndexState.DROPPED
            or not record.settled(now_ms, self.settle_seconds)
        )
