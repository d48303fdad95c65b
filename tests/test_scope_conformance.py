"""The whole contract inside a scope, on every embedded provider; no error shows its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.errors import BatchError, StorageError
from storage_providers.layers import Call, Layer, Scope, compose
from storage_providers.protocol import Item, Page, StorageProvider
from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases
from tests.providers.test_local_file_conformance import FileBackend as LocalFileBackend
from tests.providers.test_sqlite import FileBackend as SQLiteBackend
from tests.test_conformance import EXPECTED, MemoryBackend

T = TypeVar("T")
SCOPE = "user-7"


class Watch(Layer):
    """Fails the test when a result or an error carries another name than was asked for."""

    def __init__(self, place: str = "") -> None:
        super().__init__()
        self._place = place

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        """Look at what comes out."""
        asked = set(names_asked(call))
        try:
            result = await proceed()
        except StorageError as error:
            self._check(error, asked)
            raise
        for answer in cast("list[object]", result if isinstance(result, list) else [result]):
            if isinstance(answer, Item):
                assert answer.collection in asked
            elif isinstance(answer, Page):
                assert {item.collection for item in answer.items} <= asked
                for corrupt in answer.corrupt:
                    self._check(corrupt, asked)
        return result

    def _check(self, error: StorageError, asked: set[str]) -> None:
        assert error.collection is None or error.collection in asked
        if isinstance(error, BatchError):
            for result in error.results:
                if isinstance(result, StorageError):
                    self._check(result, asked)
                elif result is not None:
                    assert result.collection in asked
        # A path says where a file is, and is no name; a scope inside may be called as ours is.
        if not any(SCOPE in name for name in asked):
            for text in (str(error), repr(error)):
                shown = text.replace(self._place, "") if self._place else text
                assert SCOPE not in shown


def names_asked(call: Call) -> Iterator[str]:
    """The collections that a call's arguments name."""
    for argument in call.arguments:
        for part in (
            cast("list[Any]", argument) if isinstance(argument, list | tuple) else [argument]
        ):
            name = part if isinstance(part, str) else getattr(part, "collection", None)
            if name is not None:
                yield name


class ScopedBackend(Backend):
    """Another backend's place, seen through a scope and watched."""

    def __init__(self, inner: Backend, place: str = "") -> None:
        self.inner = inner
        self.place = place

    async def open(self, clock: Clock) -> StorageProvider:
        provider = cast(Provider, await self.inner.open(clock))
        return compose(Watch(self.place), Scope(SCOPE), provider=provider)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        await self.inner.plant(f"{SCOPE}/{collection}", item_id, raw)

    async def close(self) -> None:
        await self.inner.close()


class LastingBackend(ScopedBackend):
    """One whose place outlasts the provider."""

    can_reopen = True
    can_share = True
    can_plant = True


def memory() -> Backend:
    """A scope of a dict."""
    return ScopedBackend(MemoryBackend())


def sqlite(folder: Path) -> Backend:
    """A scope of a database file."""
    return LastingBackend(SQLiteBackend(folder))


def files(folder: Path) -> Backend:
    """A scope of a folder."""
    root = folder / "root"
    return LastingBackend(LocalFileBackend(root), f"{root}/{SCOPE}/")


class TestScopedMemory(ProviderConformance):
    """A scope of the reference does what the reference does."""

    @pytest.fixture
    def backend(self) -> Backend:
        return memory()


class TestScopedSQLite(ProviderConformance):
    """So does one of a database."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return sqlite(tmp_path)


class TestScopedLocalFile(ProviderConformance):
    """And one of a folder."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return files(tmp_path)


def test_a_scope_takes_no_case_away(tmp_path: Path) -> None:
    """As many cases run inside a scope as on the provider itself; those numbers are held fixed."""
    counts = {
        "memory": count_cases(TestScopedMemory, memory()),
        "sqlite": count_cases(TestScopedSQLite, sqlite(tmp_path)),
        "local file": count_cases(TestScopedLocalFile, files(tmp_path)),
    }
    shown = {name: (each.run, each.not_applicable) for name, each in counts.items()}
    assert shown == {name: EXPECTED[name] for name in counts}
    assert [each.run for each in counts.values()] == [636, 734, 726]
