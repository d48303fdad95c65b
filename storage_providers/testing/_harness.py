"""What the conformance cases stand on: the place under test, the clock, and what a case needs."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias, cast

import msgspec
import pytest

from storage_providers._clock import Clock
from storage_providers.errors import BatchError, StorageError
from storage_providers.protocol import (
    Capabilities,
    Item,
    JsonObject,
    Put,
    StorageProvider,
    Write,
)

__all__ = [
    "THINGS",
    "Backend",
    "CaseCounts",
    "ManualClock",
    "Requirement",
    "Scene",
    "case",
    "cases",
    "count_cases",
    "exactly",
]

THINGS: Final = "things"
"""The collection most cases use."""

TESTABLE_DOCUMENT_BYTES: Final = 30_000_000
"""A limit on documents above this is not tested by a document of that size, bytes."""

CASE_SECONDS: Final = 120.0
"""A case that takes longer hangs, and fails."""


class ManualClock:
    """Time that stands still until it is turned.

    Attributes:
        clock: What to give to a provider.
        seconds: The time now, seconds since 1970.
    """

    def __init__(self, seconds: float = 1_769_860_800.0) -> None:
        self.seconds = seconds
        self.clock = Clock(source=lambda: self.seconds)

    def advance(self, seconds: float) -> None:
        """Turn the clock, forwards or backwards."""
        self.seconds += seconds


class Backend(ABC):
    """One place where a provider under test keeps its data; each case gets a new, empty one.

    Attributes:
        can_reopen: `open` called again, after the first provider was closed, finds the same data.
        can_share: Two providers from `open` may be open at once, on the same data.
        can_plant: `plant` works.
    """

    can_reopen: ClassVar[bool] = False
    can_share: ClassVar[bool] = False
    can_plant: ClassVar[bool] = False

    @abstractmethod
    async def open(self, clock: Clock) -> StorageProvider:
        """Make a provider on this place's data; the case connects and disconnects it."""

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        """Put raw bytes where the provider keeps this document, past all of its checks.

        The case calls it while no provider of this place is open, or while one is idle.
        """
        raise NotImplementedError(f"{type(self).__name__} says can_plant, but has no plant()")

    async def close(self) -> None:
        """Clean up after the case."""


class Scene:
    """One case being played: the provider, its clock and its place.

    Attributes:
        backend: The place.
        clock: The time the provider sees.
        provider: The provider under test.
    """

    def __init__(self, backend: Backend, provider: StorageProvider, clock: ManualClock) -> None:
        self.backend = backend
        self.clock = clock
        self.provider = provider
        self._others: list[StorageProvider] = []

    @property
    def capabilities(self) -> Capabilities:
        """What the provider under test declares."""
        return self.provider.capabilities

    async def reopen(self) -> StorageProvider:
        """Close the provider and open another on the same data, which takes its place."""
        await self.provider.disconnect()
        self.provider = await self.backend.open(self.clock.clock)
        await self.provider.connect()
        return self.provider

    async def another(self) -> StorageProvider:
        """Open a second provider on the same data."""
        other = await self.backend.open(self.clock.clock)
        self._others.append(other)
        await other.connect()
        return other

    async def close(self) -> None:
        """Close every provider and the place."""
        try:
            for provider in (self.provider, *self._others):
                await provider.disconnect()
        finally:
            await self.backend.close()

    # --- shorthands of the cases ---------------------------------------------------------------

    async def fill(self, *documents: Mapping[str, Any], collection: str = THINGS) -> list[Item]:
        """Store documents verbatim."""
        return await self.write(*(Put(collection, document) for document in documents))

    async def write(self, *batch: Write) -> list[Item]:
        """Write a batch; the results are typed as the items they are where a put or patch is."""
        results: list[Any] = await self.provider.write(batch)
        return results

    async def document(self, item_id: str, collection: str = THINGS) -> JsonObject | None:
        """The document with this id, if there is one."""
        item = await self.provider.read_item(collection, item_id)
        return None if item is None else item.document

    async def ids(
        self,
        where: Mapping[str, Any] | None = None,
        order_by: str | Sequence[str] = (),
        collection: str = THINGS,
    ) -> list[str]:
        """The ids of all matching documents, in order."""
        found = self.provider.find_items(collection, where=where, order_by=order_by)
        return [item.id async for item in found]

    async def everything(self, collection: str = THINGS) -> dict[str, JsonObject]:
        """All documents of a collection by id."""
        return {item.id: item.document async for item in self.provider.find_items(collection)}

    async def refused(self, error_type: type[StorageError], *batch: Write) -> StorageError:
        """Write a batch that must fail with this error, at least for one of its writes.

        Returns:
            The error; on providers without atomic batches the first of a `BatchError`.
        """
        raised = await self._raised(batch)
        if isinstance(raised, BatchError):
            assert not self.capabilities.atomic_batch, "atomic providers raise the error itself"
            assert len(batch) > 1, "a single write raises the error itself"
            assert len(raised.results) == len(batch), raised.results
            raised = raised.errors[0]
        assert raised is not None, f"the batch was accepted instead of {error_type.__name__}"
        assert isinstance(raised, error_type), repr(raised)
        return raised

    async def _raised(self, batch: Sequence[Write]) -> StorageError | None:
        try:
            await self.provider.write(batch)
        except StorageError as error:
            return error
        return None


def exactly(left: object, right: object) -> bool:
    """Whether two JSON values are equal, telling 1 from 1.0 and from true."""
    if isinstance(left, dict) and isinstance(right, dict):
        mine = cast("dict[str, object]", left)
        theirs = cast("dict[str, object]", right)
        return mine.keys() == theirs.keys() and all(
            exactly(value, theirs[key]) for key, value in mine.items()
        )
    if isinstance(left, list) and isinstance(right, list):
        members = cast("list[object]", left)
        others = cast("list[object]", right)
        return len(members) == len(others) and all(map(exactly, members, others))
    return _same_scalar(left, right)


def _same_scalar(left: Any, right: Any) -> bool:
    # The text tells -0.0 from 0.0, which are equal.
    return type(left) is type(right) and str(left) == str(right)


# --- cases -------------------------------------------------------------------------------------


class Requirement(msgspec.Struct, frozen=True):
    """What a case needs, and how many tests it makes.

    Attributes:
        needs: Capabilities, or of the backend `reopen`, `share`, `plant`, that must be there.
        lacks: Those that must not be there.
        tests: How many tests pytest makes of it.
        connect: Whether the case finds the provider connected.
    """

    needs: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    tests: int = 1
    connect: bool = True

    def unmet(self, capabilities: Capabilities, backend: Backend) -> str | None:
        """Why the case does not apply, or `None` if it does."""
        for name in self.needs:
            if not _has(name, capabilities, backend):
                return f"needs {name}"
        for name in self.lacks:
            if _has(name, capabilities, backend):
                return f"needs the absence of {name}"
        return None


def _has(name: str, capabilities: Capabilities, backend: Backend) -> bool:
    if name in ("reopen", "share", "plant"):
        return bool(getattr(backend, f"can_{name}"))
    if name == "max_document_bytes":
        limit = capabilities.max_document_bytes
        return limit is not None and limit <= TESTABLE_DOCUMENT_BYTES
    return bool(getattr(capabilities, name))


Body: TypeAlias = Callable[[Any, Scene], Coroutine[Any, Any, None]]
BodyWith: TypeAlias = Callable[[Any, Scene, Any], Coroutine[Any, Any, None]]
Test: TypeAlias = Callable[..., None]


def case(*needs: str, lacks: Iterable[str] = (), connect: bool = True) -> Callable[[Body], Test]:
    """Make a test of a coroutine that takes a `Scene`.

    Args:
        needs: Capabilities it needs, or `reopen`, `share`, `plant` of the backend.
        lacks: Capabilities that must be absent.
        connect: Whether it finds the provider connected.
    """
    requirement = Requirement(needs, tuple(lacks), 1, connect)

    def decorate(body: Body) -> Test:
        def test(self: object, backend: Backend) -> None:
            _run(lambda scene: body(self, scene), requirement, backend)

        return _named(test, body, requirement)

    return decorate


def cases(
    each: Mapping[str, object], *needs: str, lacks: Iterable[str] = (), connect: bool = True
) -> Callable[[BodyWith], Test]:
    """Make one test for each value of a mapping, named by its key; otherwise as `case`."""
    requirement = Requirement(needs, tuple(lacks), len(each), connect)

    def decorate(body: BodyWith) -> Test:
        @pytest.mark.parametrize("value", list(each.values()), ids=list(each))
        def test(self: object, backend: Backend, value: object) -> None:
            _run(lambda scene: body(self, scene, value), requirement, backend)

        return _named(test, body, requirement)

    return decorate


def _named(test: Test, body: Callable[..., Any], requirement: Requirement) -> Test:
    # Not functools.wraps: pytest would follow __wrapped__ and ask for a fixture `scene`.
    test.__name__, test.__qualname__ = body.__name__, body.__qualname__
    test.__module__, test.__doc__ = body.__module__, body.__doc__
    cast(Any, test).requirement = requirement
    return test


def _run(
    play: Callable[[Scene], Coroutine[Any, Any, None]], requirement: Requirement, backend: Backend
) -> None:
    reason = asyncio.run(_play(play, requirement, backend))
    if reason is not None:
        pytest.skip(f"not applicable: {reason}")


async def _play(
    play: Callable[[Scene], Coroutine[Any, Any, None]], requirement: Requirement, backend: Backend
) -> str | None:
    clock = ManualClock()
    scene = Scene(backend, await backend.open(clock.clock), clock)
    try:
        reason = requirement.unmet(scene.capabilities, backend)
        if reason is not None:
            return reason
        async with asyncio.timeout(CASE_SECONDS):
            if requirement.connect:
                await scene.provider.connect()
            await play(scene)
    finally:
        await scene.close()
    return None


class CaseCounts(msgspec.Struct, frozen=True):
    """How many tests of a suite a provider runs, and how many do not apply, by reason."""

    run: int
    not_applicable: dict[str, int]


def count_cases(suite: type, backend: Backend) -> CaseCounts:
    """Count the tests of a conformance class without running them.

    Args:
        suite: The class.
        backend: A place as its fixture makes them.

    Returns:
        The counts; hold them fixed in a test, so that no case disappears unnoticed.
    """

    async def ask() -> Capabilities:
        provider = await backend.open(ManualClock().clock)
        try:
            return provider.capabilities
        finally:
            await provider.disconnect()
            await backend.close()

    capabilities = asyncio.run(ask())
    run, not_applicable = 0, dict[str, int]()
    for name in dir(suite):
        requirement = getattr(getattr(suite, name), "requirement", None)
        if not name.startswith("test") or not isinstance(requirement, Requirement):
            continue
        reason = requirement.unmet(capabilities, backend)
        if reason is None:
            run += requirement.tests
        else:
            not_applicable[reason] = not_applicable.get(reason, 0) + requirement.tests
    return CaseCounts(run, not_applicable)
