"""Importing while others write, on providers of every kind, with documents of every quality."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from storage_providers import _importing
from storage_providers.errors import (
    BatchError,
    CorruptItemError,
    OutcomeUnknownError,
    StorageError,
    TransportError,
)
from storage_providers.protocol import (
    Address,
    Capabilities,
    CollectionSpec,
    Item,
    JsonObject,
    LegacyProblem,
    LegacyRecord,
    Put,
    Write,
)
from storage_providers.providers.in_memory import InMemoryProvider

OLD, NEW = "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"


def todo(item_id: str, updated: str = OLD, **fields: Any) -> JsonObject:
    """A document with a time."""
    return {"id": item_id, **fields, "createdAt": OLD, "updatedAt": updated}


class Source:
    """A legacy source of the given entries."""

    name = "test"

    def __init__(self, *entries: JsonObject | LegacyRecord | LegacyProblem) -> None:
        self._entries = entries

    async def records(self) -> AsyncIterator[LegacyRecord | LegacyProblem]:
        """The entries; documents go to `todos`."""
        for number, entry in enumerate(self._entries):
            yield (
                LegacyRecord(collection="todos", document=entry, origin=f"entry {number}")
                if isinstance(entry, dict)
                else entry
            )


class Meddling(InMemoryProvider):
    """Before each write, something else happens to the store."""

    def __init__(self, meddle: Callable[[Meddling], None]) -> None:
        super().__init__()
        self.meddle = meddle
        self.writes = 0

    def plant(self, document: JsonObject) -> None:
        """What another writer stores."""
        put = Put("todos", document)
        self._last_version += 1
        self._stored["todos"][put.id] = Item("todos", put.id, str(self._last_version), put.body)

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        self.writes += 1
        self.meddle(self)
        return await super()._write(batch)


class OneByOne(InMemoryProvider):
    """Not atomic: each write lands or fails on its own."""

    conditional = True

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(conditional_write=self.conditional)

    def fate(self, write: Write) -> StorageError | None:
        """An error instead of a write."""
        return None

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        results: list[Item | StorageError | None] = []
        for write in batch:
            error = self.fate(write)
            try:
                if error is not None:
                    raise error
                results += await super()._write([write])
            except StorageError as failure:
                failure.index = None
                results.append(failure)
        failures = [result for result in results if isinstance(result, StorageError)]
        if failures and len(batch) == 1:
            raise failures[0]
        if failures:
            raise BatchError(f"{len(failures)} writes failed", results=results)
        return [result for result in results if not isinstance(result, StorageError)]


def test_each_document_is_counted_once() -> None:
    """New, older, equal and newer documents: created, updated, unchanged, kept."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            await provider.write(
                [
                    Put("todos", todo("older", OLD, n=1)),
                    Put("todos", todo("equal", NEW, n=1)),
                    Put("todos", {"updatedAt": NEW, "n": 1, "id": "reordered", "createdAt": OLD}),
                    Put("todos", todo("newer", NEW, n=1)),
                ]
            )
            entries = (
                todo("new"),
                todo("older", NEW, n=2),
                todo("equal", NEW, n=1),
                todo("reordered", NEW, n=1),
                todo("newer", OLD, n=2),
                LegacyProblem(origin="there", reason="broken"),
            )
            seen: list[int] = []
            report = await provider.migrate_legacy_data(Source(*entries), on_progress=seen.append)
            assert report.created == {"todos": 1}
            assert report.updated == {"todos": 1}
            assert report.unchanged == {"todos": 2}
            assert report.kept == {"todos": 1}
            assert report.problems == [LegacyProblem(origin="there", reason="broken")]
            assert seen == [6]
            item = await provider.read_item("todos", "newer")
            assert item is not None
            assert item.document["n"] == 1

    asyncio.run(check())


def test_equal_is_equal_as_json() -> None:
    """Python holds 1, 1.0 and true to be equal; an import does not."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            await provider.write([Put("todos", todo("a", OLD, n=1))])
            report = await provider.migrate_legacy_data(Source(todo("a", NEW, n=True)))
            assert report.updated == {"todos": 1}

    asyncio.run(check())


def test_guessed_times_never_win() -> None:
    """A document without times of its own replaces nothing, however new its file is."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            await provider.write(
                [Put("todos", todo("same", n=1)), Put("todos", todo("other", n=1))]
            )
            records = [
                LegacyRecord(collection="todos", document=document, origin="o", dated=False)
                for document in (todo("same", NEW, n=1), todo("other", NEW, n=2))
            ]
            report = await provider.migrate_legacy_data(Source(*records))
            assert (report.unchanged, report.kept) == ({"todos": 1}, {"todos": 1})

    asyncio.run(check())


def test_bad_documents_do_not_stop_the_others() -> None:
    """Too large, badly named or not JSON: reported with the origin, and the rest is stored."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            await provider.declare(CollectionSpec(collection="todos", max_document_bytes=200))
            report = await provider.migrate_legacy_data(
                Source(
                    todo("good"),
                    todo("large", text="x" * 300),
                    todo("x" * 600),
                    todo("nan", n=float("nan")),
                    {"no": "id"},
                    LegacyRecord(collection="Bad Name", document=todo("a"), origin="entry 5"),
                    todo("also good"),
                )
            )
            assert report.created == {"todos": 2}
            assert [problem.origin for problem in report.problems] == [
                f"entry {number}" for number in range(1, 6)
            ]
            assert "limit is 200" in report.problems[0].reason
            assert "600 bytes" in report.problems[1].reason
            assert "'n'" in report.problems[2].reason

    asyncio.run(check())


def test_others_may_write_meanwhile() -> None:
    """A document that appears or changes during the import is compared again."""

    def meddle(provider: Meddling) -> None:
        if provider.writes == 1:
            provider.plant(todo("appears older", OLD, by="them"))
        if provider.writes == 2:
            provider.plant(todo("appears newer", "2027-01-01T00:00:00.000Z", by="them"))
        if provider.writes == 3:
            provider.plant(todo("changes", NEW, by="them"))

    async def check() -> None:
        async with Meddling(meddle) as provider:
            provider.plant(todo("changes", OLD, by="nobody"))
            report = await provider.migrate_legacy_data(
                Source(
                    *(
                        todo(name, NEW, by="us")
                        for name in ("appears older", "appears newer", "changes", "quiet")
                    )
                )
            )
            assert report.created == {"todos": 1}
            assert report.updated == {"todos": 1}
            assert report.kept == {"todos": 2}
            assert report.problems == []
            by = {item.id: item.document["by"] async for item in provider.find_items("todos")}
            assert by == {
                "appears older": "us",
                "appears newer": "them",
                "changes": "them",
                "quiet": "us",
            }

    asyncio.run(check())


def test_a_document_that_never_rests_is_given_up() -> None:
    """After a bounded number of rounds the document is a problem, and the others are stored."""

    def meddle(provider: Meddling) -> None:
        provider.plant(todo("restless", OLD, n=provider.writes))

    async def check() -> None:
        async with Meddling(meddle) as provider:
            provider.plant(todo("restless", OLD, n=0))
            report = await provider.migrate_legacy_data(
                Source(todo("quiet"), todo("restless", NEW))
            )
            assert report.created == {"todos": 1}
            assert [problem.origin for problem in report.problems] == ["entry 1"]
            assert f"{_importing.MAX_ROUNDS} times" in report.problems[0].reason
            assert provider.writes == _importing.MAX_ROUNDS + 1

    asyncio.run(check())


def test_without_atomic_batches_each_write_counts_for_itself() -> None:
    """Of a batch that failed in part, what landed is counted and the rest is dealt with."""

    class Flaky(OneByOne):
        tries = 0

        def fate(self, write: Write) -> StorageError | None:
            self.tries += 1
            if write.collection == "todos" and isinstance(write, Put) and write.id == "unsure":
                return None if self.tries > 4 else self.landed(write)
            return None

        def landed(self, put: Put) -> StorageError:
            self._stored["todos"][put.id] = Item("todos", put.id, "77", put.body)
            return OutcomeUnknownError("the connection broke")

    async def check() -> None:
        async with Flaky() as provider:
            await provider.write([Put("todos", todo("there", NEW, n=1))])
            provider.tries = 0
            report = await provider.migrate_legacy_data(
                Source(todo("a"), todo("unsure"), todo("b"), todo("there", OLD, n=2))
            )
            assert report.created == {"todos": 3}
            assert report.kept == {"todos": 1}
            assert (report.unchanged, report.problems) == ({}, [])

    asyncio.run(check())


def test_without_conditions_documents_are_written_all_the_same() -> None:
    """A provider that can't hold conditions gets unconditional writes."""

    class Plain(OneByOne):
        conditional = False

    async def check() -> None:
        async with Plain() as provider:
            await provider.write([Put("todos", todo("a", OLD, n=1))])
            report = await provider.migrate_legacy_data(
                Source(todo("a", NEW, n=2), todo("b"), todo("c"))
            )
            assert (report.created, report.updated) == ({"todos": 2}, {"todos": 1})

    asyncio.run(check())


@pytest.mark.parametrize("others", [0, 1])
def test_a_failing_provider_is_not_a_problem_of_the_document(others: int) -> None:
    """When the provider fails, the import does; what landed before stays."""

    class Gone(OneByOne):
        def fate(self, write: Write) -> StorageError | None:
            return TransportError("unreachable") if getattr(write, "id", "") == "z" else None

    async def check() -> None:
        async with Gone() as provider:
            with pytest.raises(TransportError):
                await provider.migrate_legacy_data(
                    Source(*(todo(str(number)) for number in range(others)), todo("z"))
                )
            assert await provider.count_items("todos") == others

    asyncio.run(check())


def test_a_corrupt_document_is_left_alone() -> None:
    """What is stored but can't be read is reported and not written over."""

    class Damaged(InMemoryProvider):
        async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
            results: list[Item | StorageError | None] = [
                CorruptItemError("no JSON", collection="todos", item_id="bad")
                if address.id == "bad"
                else item
                for address, item in zip(addresses, await super()._read(addresses), strict=True)
            ]
            failures = [result for result in results if isinstance(result, StorageError)]
            if failures and len(addresses) == 1:
                raise failures[0]
            if failures:
                raise BatchError("one can't be read", results=results)
            return [result for result in results if not isinstance(result, StorageError)]

    async def check(*entries: JsonObject) -> None:
        async with Damaged() as provider:
            report = await provider.migrate_legacy_data(Source(*entries))
            assert report.created == ({"todos": 1} if len(entries) > 1 else {})
            assert [problem.origin for problem in report.problems] == ["entry 0"]

    asyncio.run(check(todo("bad")))
    asyncio.run(check(todo("bad"), todo("good")))


def test_the_same_document_twice_is_compared_with_itself() -> None:
    """A source that names a document twice imports the newer one."""

    async def check() -> None:
        async with InMemoryProvider() as provider:
            report = await provider.migrate_legacy_data(
                Source(todo("a", OLD, n=1), todo("a", NEW, n=2), todo("a", OLD, n=3))
            )
            assert (report.created, report.updated, report.kept) == (
                {"todos": 1},
                {"todos": 1},
                {"todos": 1},
            )

    asyncio.run(check())


def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No write holds more documents, or more bytes, than a batch may."""
    monkeypatch.setattr(_importing, "BATCH_DOCUMENTS", 10)
    monkeypatch.setattr(_importing, "BATCH_BYTES", 1000)
    batches: list[Sequence[Write]] = []

    class Recording(InMemoryProvider):
        async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
            batches.append(batch)
            return await super()._write(batch)

    async def check() -> None:
        async with Recording() as provider:
            small = (todo(f"s{number}") for number in range(25))
            large = (todo(f"l{number}", text="x" * 300) for number in range(6))
            report = await provider.migrate_legacy_data(Source(*small, *large))
            assert report.created == {"todos": 31}
        assert max(len(batch) for batch in batches) <= 10
        sizes = [sum(put.size_bytes for put in batch if isinstance(put, Put)) for batch in batches]
        assert max(sizes) <= 1000

    asyncio.run(check())
