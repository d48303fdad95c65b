"""The conformance suite on the reference and on layers, and every provider's counts held fixed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest

from storage_providers._clock import Clock
from storage_providers.errors import BatchError, StorageError
from storage_providers.layers import Layer, compose
from storage_providers.protocol import Capabilities, Item, StorageProvider, Write
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases
from storage_providers.testing.faults import Faults, Recorder


class MemoryBackend(Backend):
    """A dict."""

    async def open(self, clock: Clock) -> StorageProvider:
        return InMemoryProvider(clock=clock)


class LayeredBackend(Backend):
    """A dict behind layers that pass everything through."""

    async def open(self, clock: Clock) -> StorageProvider:
        layers = Recorder(), Layer(), Faults()
        return compose(*layers, provider=InMemoryProvider(clock=clock))


class WeakProvider(InMemoryProvider):
    """As a plain object store: no conditions, no atomic batches, a limit on documents."""

    name: ClassVar[str] = "weak"

    @property
    def capabilities(self) -> Capabilities:
        """Little."""
        return Capabilities(durable=False, max_document_bytes=1_000_000, max_id_bytes=99)

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        """Each write by itself."""
        results: list[Item | StorageError | None] = []
        for write in batch:
            try:
                results += await super()._write([write])
            except StorageError as error:
                if len(batch) == 1:
                    raise
                results.append(error)
        items = [result for result in results if not isinstance(result, StorageError)]
        if len(items) == len(results):
            return items
        raise BatchError(f"{len(results) - len(items)} writes failed", results=results)


class WeakBackend(Backend):
    """A dict that can do little."""

    async def open(self, clock: Clock) -> StorageProvider:
        return WeakProvider(clock=clock)


class LayeredSQLiteBackend(Backend):
    """A database in memory behind layers."""

    async def open(self, clock: Clock) -> StorageProvider:
        return compose(Layer(), Recorder(), provider=SQLiteProvider(":memory:", clock=clock))


class TestInMemory(ProviderConformance):
    """The reference itself."""

    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()


class TestLayered(ProviderConformance):
    """Layers that do nothing change nothing."""

    @pytest.fixture
    def backend(self) -> Backend:
        return LayeredBackend()


class TestLayeredSQLite(ProviderConformance):
    """Nor do they on a database."""

    @pytest.fixture
    def backend(self) -> Backend:
        return LayeredSQLiteBackend()


class TestWeak(ProviderConformance):
    """What is not declared is refused."""

    @pytest.fixture
    def backend(self) -> Backend:
        return WeakBackend()


def module_at(path: Path) -> ModuleType:
    """A test module by its file, so that the classes counted are the ones that run."""
    spec = importlib.util.spec_from_file_location(f"counted_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


PROVIDERS = Path(__file__).parent / "providers"
CONDITIONS_ARE_DECLARED = {
    "needs the absence of conditional_delete": 2,
    "needs the absence of conditional_write": 3,
}
CANNOT_REOPEN = {"needs plant": 72, "needs share": 3}
NO_SMALL_LIMIT = {"needs max_document_bytes": 1}
ATOMIC = {"needs the absence of atomic_batch": 2}
SEARCHES = {"needs the absence of text_search": 2}

MEMORY = (
    636,
    {
        **CONDITIONS_ARE_DECLARED,
        **CANNOT_REOPEN,
        **NO_SMALL_LIMIT,
        **ATOMIC,
        "needs reopen": 5,
        "needs text_search": 20,
    },
)
SQLITE_IN_MEMORY = (
    653,
    {
        **CONDITIONS_ARE_DECLARED,
        **CANNOT_REOPEN,
        **NO_SMALL_LIMIT,
        **ATOMIC,
        **SEARCHES,
        "needs reopen": 6,
    },
)
EXPECTED = {
    "memory": MEMORY,
    "layered": MEMORY,
    "weak": (
        587,
        {
            "needs atomic_batch": 10,
            "needs conditional_delete": 14,
            "needs conditional_write": 34,
            "needs plant": 72,
            "needs reopen": 5,
            "needs share": 2,
            "needs text_search": 20,
        },
    ),
    "layered sqlite": SQLITE_IN_MEMORY,
    "sqlite": (734, {**CONDITIONS_ARE_DECLARED, **NO_SMALL_LIMIT, **ATOMIC, **SEARCHES}),
    "sqlite in memory": SQLITE_IN_MEMORY,
    "local file": (
        726,
        {**CONDITIONS_ARE_DECLARED, **NO_SMALL_LIMIT, **SEARCHES, "needs atomic_batch": 10},
    ),
}
"""Tests that run and, by reason, tests that do not apply."""


def test_no_case_disappears_unnoticed(tmp_path: Path) -> None:
    """The counts of every provider are these; whoever adds a case or a capability changes them."""
    sqlite = module_at(PROVIDERS / "test_sqlite.py")
    files = module_at(PROVIDERS / "test_local_file_conformance.py")
    counts = {
        "memory": count_cases(TestInMemory, MemoryBackend()),
        "layered": count_cases(TestLayered, LayeredBackend()),
        "weak": count_cases(TestWeak, WeakBackend()),
        "layered sqlite": count_cases(TestLayeredSQLite, LayeredSQLiteBackend()),
        "sqlite": count_cases(sqlite.TestFile, sqlite.FileBackend(tmp_path)),
        "sqlite in memory": count_cases(sqlite.TestMemory, sqlite.MemoryBackend()),
        "local file": count_cases(files.TestLocalFile, files.FileBackend(tmp_path / "root")),
    }
    shown = {name: (each.run, each.not_applicable) for name, each in counts.items()}
    assert shown == EXPECTED
    assert len({each.run + sum(each.not_applicable.values()) for each in counts.values()}) == 1
