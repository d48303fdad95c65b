"""The whole contract over an `Offload`, with something large in every document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, cast

import msgspec
import pytest

from storage_providers._clock import Clock
from storage_providers._json import encode_object
from storage_providers.base import Provider
from storage_providers.errors import BatchError, StorageError
from storage_providers.layers import Layer, Offload, compose
from storage_providers.protocol import Address, Item, Page, Put, Query, StorageProvider, Write
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases
from storage_providers.testing.strategies import FIELDS, escaped
from tests.providers.test_local_file_conformance import FileBackend as LocalFileBackend
from tests.providers.test_sqlite import FileBackend as SQLiteBackend
from tests.test_conformance import EXPECTED, MemoryBackend

T = TypeVar("T")

STUFFING: Final = "stuffing \u20ac" * 60
SEARCHED: Final = (
    *map(escaped, FIELDS),
    *("v", "w", "n", "in", "new", "same", "tags", "title", "note", "body.text"),
    *map(escaped, ("q'\"", "q\"'", "-x", "$v", "v.w", "v\\", "v') OR 1=1 --")),
)
"""The fields that the suite asks for."""


class Stuffed(Layer):
    """Puts something large into every document, and takes it out on the way back.

    Where a limit on documents is declared it does not: the case counts bytes.

    Attributes:
        stuffed: How many documents it stuffed.
    """

    name: ClassVar[str] = "stuffed"

    def __init__(self) -> None:
        super().__init__()
        self.stuffed = 0

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        stuffed: list[Write] = []
        for write in batch:
            spec = await self.declared(write.collection)
            limited = spec is not None and spec.max_document_bytes is not None
            can = isinstance(write, Put) and not limited
            stuffed.append(self._stuffed(write) if isinstance(write, Put) and can else write)
        try:
            return [emptied(item) for item in await super()._write(stuffed)]
        except BatchError as error:
            error.results = tuple(
                result if isinstance(result, StorageError) else emptied(result)
                for result in error.results
            )
            raise

    def _stuffed(self, put: Put) -> Put:
        self.stuffed += 1
        document = {"\u2026": STUFFING, **put.document}
        return Put(
            put.collection, document, put.condition, encoding=put.encoding, payload=put.payload
        )

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        try:
            return [emptied(item) for item in await super()._read(addresses)]
        except BatchError as error:
            error.results = tuple(
                result if isinstance(result, StorageError) else emptied(result)
                for result in error.results
            )
            raise

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        return [
            msgspec.structs.replace(
                page, items=[item for each in page.items if (item := emptied(each))]
            )
            for page in await super()._query(queries)
        ]


def emptied(item: Item | None) -> Item | None:
    """An item without what `Stuffed` put into it."""
    if item is None or not item.body.startswith('{"\u2026":'.encode()):
        return item
    document = item.document
    assert document.pop("\u2026") == STUFFING
    body = encode_object(document)
    return Item(item.collection, item.id, item.version, body, item.encoding, item.payload)


class OffloadBackend(Backend):
    """Another backend's place, with large fields somewhere else."""

    def __init__(
        self, inner: Backend, objects: Callable[[Clock], Provider], **options: Any
    ) -> None:
        self.inner = inner
        self.objects = objects
        self.options = options

    async def open(self, clock: Clock) -> StorageProvider:
        provider = cast(Provider, await self.inner.open(clock))
        offload = Offload(objects=self.objects(clock), over_bytes=100, **self.options)
        return compose(Stuffed(), offload, provider=provider)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        await self.inner.plant(collection, item_id, raw)

    async def close(self) -> None:
        await self.inner.close()


class LastingBackend(OffloadBackend):
    """One whose place outlasts the provider."""

    can_reopen = True
    can_share = True
    can_plant = True


def in_memory(clock: Clock) -> Provider:
    """Objects in a dict."""
    return InMemoryProvider(clock=clock)


def memory() -> Backend:
    """Documents and objects in two dicts, one field leaving."""
    return OffloadBackend(MemoryBackend(), in_memory, fields=("\u2026",))


def memory_whole() -> Backend:
    """The same, everything leaving but what is searched, and what came back remembered."""
    return OffloadBackend(MemoryBackend(), in_memory, keep=SEARCHED, cache_bytes=5_000)


def sqlite(folder: Path) -> Backend:
    """A database with its objects in a folder."""
    return LastingBackend(
        SQLiteBackend(folder),
        lambda clock: LocalFileProvider(folder / "objects", clock=clock, fsync=False),
        keep=SEARCHED,
    )


def files(folder: Path) -> Backend:
    """A folder with its objects in a database."""
    return LastingBackend(
        LocalFileBackend(folder / "root"),
        lambda clock: SQLiteProvider(folder / "objects.db", clock=clock),
        fields=("\u2026",),
    )


class TestOffloadMemory(ProviderConformance):
    """What leaves documents comes back."""

    @pytest.fixture
    def backend(self) -> Backend:
        return memory()


class TestOffloadMemoryWhole(ProviderConformance):
    """So do whole documents."""

    @pytest.fixture
    def backend(self) -> Backend:
        return memory_whole()


class TestOffloadSQLite(ProviderConformance):
    """From a folder into a database."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return sqlite(tmp_path)


class TestOffloadLocalFile(ProviderConformance):
    """And from a database into files, where batches are not atomic."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return files(tmp_path)


def test_no_case_disappears_unnoticed(tmp_path: Path) -> None:
    """As many cases run over the layer as on the provider itself."""
    counts = {
        "memory": count_cases(TestOffloadMemory, memory()),
        "sqlite": count_cases(TestOffloadSQLite, sqlite(tmp_path)),
        "local file": count_cases(TestOffloadLocalFile, files(tmp_path)),
    }
    shown = {name: (each.run, each.not_applicable) for name, each in counts.items()}
    assert shown == {name: EXPECTED[name] for name in counts}
