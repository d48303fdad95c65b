"""A service that keeps objects in memory as R2 does, whose every request a test can hold or lose.

R2's semantics: conditions of puts are judged atomically; keys are folded to NFC, and listings show
the form uploaded last; a version is the MD5 of the content, so the same content has the same
version again; listings are strongly consistent, of at most 1,000 lines, in the order of UTF-8.
"""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from functools import partial
from typing import ClassVar, NamedTuple, TypeVar

from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers._requests import count_request
from storage_providers._resilience.timing import SYSTEM_TIMING, Timing
from storage_providers.errors import (
    ConflictError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    TransportError,
)
from storage_providers.protocol import IF_ABSENT, Capabilities, IfVersion
from storage_providers.providers._objects import (
    Listing,
    Metadata,
    ObjectEntry,
    ObjectLimits,
    ObjectPut,
    StoredObject,
)
from storage_providers.providers._objects.keys import FolderLayout
from storage_providers.providers._objects.provider import ObjectProvider
from storage_providers.testing.conformance import ManualClock

R = TypeVar("R")

LIMITS = ObjectLimits(
    service="memory",
    max_key_bytes=1024,
    conditional_put=True,
    list_page=1000,
    delete_batch=1000,
    starts_anywhere=True,
)


class Fate(Enum):
    """What happens to a request."""

    DONE = "done"
    """It is carried out and answered."""
    REFUSED = "refused"
    """It is refused for the rate: nothing is carried out."""
    BROKEN = "broken"
    """It never arrives, and the sender knows."""
    ANSWER_LOST = "answer lost"
    """It is carried out, but the answer is lost."""
    LOST = "lost"
    """It never arrives, but the sender can't know."""
    DELAYED = "delayed"
    """It is on its way until the test lets it arrive by `arrive`; the sender gave up on it."""


class Request(NamedTuple):
    """One request, as a test sees it before it arrives.

    Attributes:
        kind: `get`, `put`, `delete` or `list`.
        key: The object's key, or the prefix.
        condition: Of a put.
    """

    kind: str
    key: str
    condition: object = None

    @property
    def is_entry(self) -> bool:
        """Whether it is about an index entry."""
        return "/.indexes/" in f"/{self.key}"


Keys = list[str]
Entries = list[ObjectEntry]
Gate = Callable[[Request], Awaitable[Fate]]


class _Kept(NamedTuple):
    listed: str
    data: bytes
    metadata: Metadata
    version: str


class MemoryStore:
    """Objects in memory.

    Args:
        limits: What the service accepts.
        gate: Asked before each request of one object or page; decides its fate.

    Attributes:
        objects: What is kept, by its folded key.
        calls: Calls by method, as a service with bulk requests would count them.
        requests: Requests of one object or page, by kind.
        on_their_way: Requests that were delayed, in the order of sending.
        answered: Told of each request, its fate and what came of it.
    """

    def __init__(self, limits: ObjectLimits = LIMITS, gate: Gate | None = None) -> None:
        self._limits = limits
        self.gate = gate
        self.objects: dict[str, _Kept] = {}
        self.calls: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.on_their_way: list[Callable[[], object]] = []
        self.answered: Callable[[Request, Fate, object], None] = lambda *_: None

    @property
    def limits(self) -> ObjectLimits:
        """What the service accepts."""
        return self._limits

    def arrive(self, position: int = 0) -> None:
        """Let a delayed request arrive."""
        self.on_their_way.pop(position)()

    def plant(self, key: str, data: bytes) -> None:
        """Put bytes there as another program would."""
        self._keep(ObjectPut(key=key, data=data))

    def keys(self, prefix: str = "") -> Keys:
        """The keys with a prefix, in order."""
        return [key for key in self._sorted() if key.startswith(prefix)]

    # --- the seam ------------------------------------------------------------------------------

    async def get(self, keys: Sequence[str]) -> list[StoredObject | StorageError | None]:
        """Read objects."""
        self.calls["get"] += 1
        return [await self._send(Request("get", key), partial(self._found, key)) for key in keys]

    async def put(self, objects: Sequence[ObjectPut]) -> list[str | StorageError]:
        """Store objects."""
        self.calls["put"] += 1
        results: list[str | StorageError] = []
        for each in objects:
            assert self._limits.conditional_put or not _conditional(each)
            assert len(each.key.encode()) <= self._limits.max_key_bytes
            request = Request("put", each.key, each.condition)
            results.append(await self._send(request, partial(self._keep, each)))
        return results

    async def delete(self, keys: Sequence[str]) -> list[StorageError | None]:
        """Remove objects; by batches, each of which is one request."""
        results: list[StorageError | None] = []
        for start in range(0, len(keys), self._limits.delete_batch):
            self.calls["delete"] += 1
            results += [
                await self._send(Request("delete", key), partial(self._remove, key))
                for key in keys[start : start + self._limits.delete_batch]
            ]
        return results

    async def list(
        self,
        prefix: str,
        *,
        after: str = "",
        cursor: str | None = None,
        limit: int | None = None,
        delimiter: str | None = None,
    ) -> Listing:
        """List a page."""
        self.calls["list"] += 1
        assert not after or self._limits.starts_anywhere
        most = self._limits.list_page if limit is None else limit
        assert 1 <= most <= self._limits.list_page
        start = after if cursor is None else cursor.removeprefix("cursor:")
        result = await self._send(
            Request("list", prefix), partial(self._listing, prefix, start, most, delimiter)
        )
        if isinstance(result, StorageError):
            raise result
        return result

    # --- carrying out --------------------------------------------------------------------------

    async def _send(self, request: Request, act: Callable[[], R]) -> R | StorageError:
        self.requests[request.kind] += 1
        count_request()
        fate = Fate.DONE if self.gate is None else await self.gate(request)
        result = self._met(request, fate, act)
        self.answered(request, fate, result)
        return result

    def _met(self, request: Request, fate: Fate, act: Callable[[], R]) -> R | StorageError:
        """What comes of a request that meets its fate."""
        match fate:
            case Fate.DONE:
                return act()
            case Fate.REFUSED:
                return RateLimitedError("too many requests for this key")
            case Fate.BROKEN:
                return TransportError("not sent")
            case Fate.ANSWER_LOST:
                act()
            case Fate.DELAYED:
                self.on_their_way.append(act)
            case Fate.LOST:
                pass
        if request.kind in ("get", "list"):
            return TransportError("no answer")
        return OutcomeUnknownError("the answer was lost")

    def _found(self, key: str) -> StoredObject | None:
        kept = self.objects.get(_folded(key))
        if kept is None:
            return None
        return StoredObject(
            key=kept.listed, version=kept.version, data=kept.data, metadata=kept.metadata
        )

    def _keep(self, put: ObjectPut) -> str | StorageError:
        folded = _folded(put.key)
        current = self.objects.get(folded)
        if put.condition is IF_ABSENT and current is not None:
            return ConflictError("it exists")
        if isinstance(put.condition, IfVersion) and (
            current is None or current.version != put.condition.version
        ):
            return ConflictError("it has another version")
        version = hashlib.md5(put.data).hexdigest()
        self.objects[folded] = _Kept(put.key, put.data, put.metadata, version)
        return version

    def _remove(self, key: str) -> None:
        self.objects.pop(_folded(key), None)

    def _sorted(self) -> Keys:
        return sorted((kept.listed for kept in self.objects.values()), key=str.encode)

    def _listing(self, prefix: str, start: str, limit: int, delimiter: str | None) -> Listing:
        keys = self._sorted()
        keys = keys[bisect_right(keys, start.encode(), key=str.encode) :] if start else keys
        entries, folders, last = Entries(), Keys(), ""
        for key in keys:
            if not key.startswith(prefix):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter or "\x00")
            folder = prefix + head + found if delimiter and found else None
            if folder is not None and (folder == start or folder in folders[-1:]):
                continue
            if len(entries) + len(folders) == limit:
                return Listing(entries=entries, folders=folders, cursor=f"cursor:{last}")
            if folder is not None:
                folders.append(folder)
            else:
                entries.append(ObjectEntry(key, self.objects[_folded(key)].version))
            last = folder if folder is not None else key
        return Listing(entries=entries, folders=folders)


def _folded(key: str) -> str:
    return unicodedata.normalize("NFC", key)


def _conditional(put: ObjectPut) -> bool:
    return put.condition is IF_ABSENT or isinstance(put.condition, IfVersion)


class MemoryObjects(ObjectProvider):
    """Documents as objects in memory."""

    name: ClassVar[str] = "objects"

    @property
    def capabilities(self) -> Capabilities:
        """As the store's."""
        return Capabilities(
            conditional_write=self.store.limits.conditional_put,
            max_document_bytes=50_000_000,
            max_id_bytes=200,
        )


class Immediate(MemoryObjects):
    """The same, whose indexes are due at once: as if no other process were open."""

    settle_seconds: ClassVar[float] = 0.0


def objects(
    store: MemoryStore,
    clock: Clock = SYSTEM_CLOCK,
    *,
    prefix: str = "",
    timing: Timing = SYSTEM_TIMING,
    kind: type[ObjectProvider] = MemoryObjects,
) -> ObjectProvider:
    """A provider on a store in memory."""
    layout = FolderLayout(
        prefix, service=store.limits.service, max_key_bytes=store.limits.max_key_bytes
    )
    return kind(store, layout, clock=clock, timing=timing)


def turning(clock: ManualClock) -> Timing:
    """Waiting that turns a clock by hand instead; no jitter, so that it can be reckoned with."""

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)
        await asyncio.sleep(0)

    return Timing(
        monotonic=lambda: clock.seconds,
        sleep=sleep,
        jitter=lambda: 0.0,
        now_ms=clock.clock.now_ms,
    )


class Fates:
    """Lets the first requests that a test picks meet a fate, and all others be carried out.

    Args:
        pick: Which requests.
        fates: What becomes of them, one after the other.
    """

    def __init__(self, pick: Callable[[Request], bool], *fates: Fate) -> None:
        self.pick = pick
        self.left = list(fates)

    async def __call__(self, request: Request) -> Fate:
        """The fate of a request."""
        await asyncio.sleep(0)
        return self.left.pop(0) if self.left and self.pick(request) else Fate.DONE


def documents_put(request: Request) -> bool:
    """Whether a request puts a document."""
    return request.kind == "put" and "/." not in f"/{request.key}"


def entries_put(request: Request) -> bool:
    """Whether a request puts an index entry."""
    return request.kind == "put" and request.is_entry


def documents_deleted(request: Request) -> bool:
    """Whether a request removes a document."""
    return request.kind == "delete" and "/." not in f"/{request.key}"
