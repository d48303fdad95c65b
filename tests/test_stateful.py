"""Every provider beside the reference, under invented sequences of calls."""

from __future__ import annotations

import itertools
from pathlib import Path

from storage_providers._clock import Clock
from storage_providers.layers import Layer, compose
from storage_providers.protocol import StorageProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.conformance import Backend
from storage_providers.testing.stateful import run_against_reference


class MemoryBackend(Backend):
    """A dict."""

    async def open(self, clock: Clock) -> StorageProvider:
        return InMemoryProvider(clock=clock)


class SQLiteBackend(Backend):
    """A database file."""

    can_reopen = True

    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self, clock: Clock) -> StorageProvider:
        return SQLiteProvider(self.path, clock=clock, synchronous="NORMAL")


class LocalFileBackend(Backend):
    """A folder."""

    can_reopen = True

    def __init__(self, root: Path) -> None:
        self.root = root

    async def open(self, clock: Clock) -> StorageProvider:
        return LocalFileProvider(self.root, clock=clock, fsync=False)


class StackBackend(Backend):
    """A database in memory behind layers."""

    async def open(self, clock: Clock) -> StorageProvider:
        return compose(Layer(), Layer(), provider=SQLiteProvider(":memory:", clock=clock))


def test_the_reference_agrees_with_itself() -> None:
    """The machine itself is sound: two references never differ."""
    run_against_reference(MemoryBackend)


def test_sqlite_is_the_reference(tmp_path: Path) -> None:
    """A database file does what the reference does."""
    numbers = itertools.count()
    run_against_reference(lambda: SQLiteBackend(tmp_path / f"{next(numbers)}.db"))


def test_local_file_is_the_reference(tmp_path: Path) -> None:
    """A folder of files does what the reference does."""
    numbers = itertools.count()
    run_against_reference(lambda: LocalFileBackend(tmp_path / f"{next(numbers)}"))


def test_a_stack_is_the_reference() -> None:
    """Layers that pass everything through change nothing."""
    run_against_reference(StackBackend)
