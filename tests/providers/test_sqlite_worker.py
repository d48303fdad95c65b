"""SQLiteProvider's threads: group commit, cancellation, closing, locks, full disks, errors."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from storage_providers.errors import (
    ConfigurationError,
    CorruptItemError,
    DeadlineExceededError,
    DocumentTooLargeError,
    ItemExistsError,
    OutcomeUnknownError,
    PermissionDeniedError,
    ProviderClosedError,
    StorageError,
    StorageFullError,
    TransportError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    Address,
    CollectionSpec,
    Index,
    Item,
    Patch,
    Put,
    Query,
)
from storage_providers.providers import sqlite as sqlite_module
from storage_providers.providers._sqlite.errors import translated
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.conformance import ManualClock


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; one that hangs fails."""

    async def limited() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(limited())


class Gate:
    """Holds the writing thread still, so that jobs pile up behind it."""

    def __init__(self, provider: SQLiteProvider) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()
        self._job = provider._writer.submit(self._wait, None)

    def _wait(self, _: None) -> None:
        self._entered.set()
        assert self._open.wait(30)

    async def entered(self) -> None:
        """Until the thread stands at the gate."""
        await asyncio.to_thread(self._entered.wait, 30)

    async def open(self) -> None:
        """Let it go on."""
        self._open.set()
        await self._job


def commits(provider: SQLiteProvider) -> list[str]:
    """A growing list of the transactions that the writing connection begins and ends."""
    seen: list[str] = []
    provider._writer.connection.set_trace_callback(
        lambda sql: seen.append(sql) if sql in ("COMMIT", "BEGIN IMMEDIATE", "ROLLBACK") else None
    )
    return seen


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_waiting_writes_share_a_commit(tmp_path: Path) -> None:
    """Sixty writes that wait together are one transaction, each with its own result or error."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            taken = await provider.put_item("t", {"id": "taken", "n": 0})
            gate = Gate(provider)
            await gate.entered()
            seen = commits(provider)
            good = [
                asyncio.ensure_future(provider.put_item("t", {"id": f"{n}", "n": n}))
                for n in range(60)
            ]
            bad = asyncio.ensure_future(provider.create_item("t", {"id": "taken"}))
            stale = asyncio.ensure_future(
                provider.write([Put("t", {"id": "new"}), Patch("t", "absent", {"a": 1})])
            )
            await settle()
            await gate.open()
            items = await asyncio.gather(*good)
            with pytest.raises(ItemExistsError):
                await bad
            with pytest.raises(StorageError) as caught:
                await stale
            assert caught.value.index == 1
            # What the batch that failed had done is undone with all others, which are done again.
            again = ["BEGIN IMMEDIATE", "COMMIT"]
            assert seen == ["COMMIT", "BEGIN IMMEDIATE", "ROLLBACK", *again]
            assert await provider.read_items("t", [f"{n}" for n in range(60)]) == items
            assert await provider.read_item("t", "taken") == taken
            assert await provider.read_item("t", "new") is None

    run(scenario())


def test_batches_that_go_well_share_a_commit(tmp_path: Path) -> None:
    """Batches that wait together are one transaction without savepoints, which cost a third."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            await provider.put_item("t", {"id": "here"})
            gate = Gate(provider)
            await gate.entered()
            seen: list[str] = []
            provider._writer.connection.set_trace_callback(lambda sql: seen.append(sql.split()[0]))
            batches = [
                asyncio.ensure_future(
                    provider.write([Put("t", {"id": f"{n}"}), Patch("t", "here", {f"{n}": n})])
                )
                for n in range(5)
            ]
            await settle()
            await gate.open()
            await asyncio.gather(*batches)
            transaction = ["BEGIN", *["INSERT", "UPDATE"] * 5, "COMMIT"]
            assert seen == ["COMMIT", *transaction]
            found = await provider.read_item("t", "here")
            assert found is not None
            assert found.document == {**found.document, **{f"{n}": n for n in range(5)}}

    run(scenario())


def test_puts_of_one_document_in_a_round(tmp_path: Path) -> None:
    """Each has a version of its own and the last one stays, also where statements are shared."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            await provider.put_item("t", {"id": "other"})
            gate = Gate(provider)
            await gate.entered()
            puts = [
                asyncio.ensure_future(
                    provider.put_item("new" if n % 7 == 3 else "t", {"id": f"{n % 4}", "n": n})
                )
                for n in range(40)
            ]
            await settle()
            await gate.open()
            items = await asyncio.gather(*puts)
            assert [item.document["n"] for item in items] == list(range(40))
            # A version that two states share would let a stale write through.
            states = {(item.collection, item.id, item.version) for item in items}
            assert len(states) == 40
            last = {(item.collection, item.id): item for item in items}
            for (collection, item_id), item in last.items():
                assert await provider.read_item(collection, item_id) == item

    run(scenario())


def test_later_writes_of_a_round_see_earlier_ones(tmp_path: Path) -> None:
    """Two conditional writes of one version in one round: the first wins, the second is told."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            item = await provider.put_item("t", {"id": "a", "n": 0})
            gate = Gate(provider)
            await gate.entered()
            writes = [
                asyncio.ensure_future(
                    provider.put_item("t", {"id": "a", "n": n}, if_version=item.version)
                )
                for n in (1, 2)
            ]
            await settle()
            await gate.open()
            first, second = await asyncio.gather(*writes, return_exceptions=True)
            assert isinstance(first, Item)
            assert isinstance(second, VersionMismatchError)
            assert (second.expected_version, second.actual_version) == (item.version, first.version)
            assert await provider.read_item("t", "a") == first

    run(scenario())


def test_a_cancelled_write_hangs_nobody(tmp_path: Path) -> None:
    """Its task ends at once, the write happens or not, and the others of the round return."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            gate = Gate(provider)
            await gate.entered()
            doomed = asyncio.ensure_future(provider.put_item("t", {"id": "doomed"}))
            other = asyncio.ensure_future(provider.put_item("t", {"id": "other"}))
            await settle()
            doomed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await doomed
            await gate.open()
            await other
            found = await provider.read_item("t", "doomed")
            assert found is None or found.document["id"] == "doomed"

    run(scenario())


def test_disconnect_finishes_what_was_begun(tmp_path: Path) -> None:
    """Writes under way when the provider is closed are answered and on the medium."""

    async def scenario() -> None:
        provider = SQLiteProvider(tmp_path / "a.db")
        await provider.connect()
        await provider.declared("t")
        gate = Gate(provider)
        await gate.entered()
        writes = [asyncio.ensure_future(provider.put_item("t", {"id": f"{n}"})) for n in range(20)]
        await settle()
        closing = asyncio.ensure_future(provider.disconnect())
        await settle()
        await gate.open()
        await closing
        items = await asyncio.gather(*writes)
        with pytest.raises(ProviderClosedError):
            provider._writer.submit(lambda _: None, None)
        assert not any(thread.name.startswith("sqlite-") for thread in threading.enumerate())
        async with SQLiteProvider(tmp_path / "a.db") as again:
            assert await again.read_items("t", [f"{n}" for n in range(20)]) == items
        assert not (tmp_path / "a.db-wal").exists()

    run(scenario())


def test_two_loops_use_one_provider(tmp_path: Path) -> None:
    """Each loop gets its own answers, though one thread does the work of both."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:

            async def work(who: str) -> None:
                for n in range(50):
                    item = await provider.put_item("t", {"id": f"{who}{n}"})
                    assert await provider.read_item("t", f"{who}{n}") == item

            other = asyncio.to_thread(lambda: asyncio.run(work("b")))
            await asyncio.gather(work("a"), other)
            assert await provider.count_items("t") == 100

    run(scenario())


def test_reads_of_one_round_are_each_their_own(tmp_path: Path) -> None:
    """Reads answered together: present, absent, twice the same, another scope, no such table."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            await provider.put_item("t", {"id": "a", "n": 1})
            await provider.put_item("u/t", {"id": "a", "n": 2})
            names = [("t", "a"), ("t", "b"), ("u/t", "a"), ("t", "a"), ("none", "a"), ("v/t", "a")]
            found = await asyncio.gather(*(provider.read_item(*name) for name in names))
            numbers = [None if item is None else item.document["n"] for item in found]
            assert numbers == [1, None, 2, 1, None, None]
            first, twin = found[0], found[3]
            assert first is not None
            assert twin is not None
            first.document["n"] = 7
            assert twin.document["n"] == 1

    run(scenario())


def test_a_locked_database_is_a_deadline(tmp_path: Path) -> None:
    """Another program's transaction: the error says how long was waited; reading still works."""

    async def scenario() -> None:
        path = tmp_path / "a.db"
        async with SQLiteProvider(path, busy_timeout_seconds=0.05) as provider:
            await provider.put_item("t", {"id": "a"})
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DeadlineExceededError, match=r"0\.05 seconds") as caught:
                await provider.put_item("t", {"id": "b"})
            assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
            assert caught.value.retryable
            with pytest.raises(DeadlineExceededError):
                await provider.put_items("t", [{"id": f"{n}"} for n in range(100)])
            assert await provider.read_item("t", "a") is not None
            other.execute("ROLLBACK")
            await provider.put_item("t", {"id": "b"})
            assert await provider.count_items("t") == 2
            other.close()

    run(scenario())


def test_a_full_disk_fails_only_what_does_not_fit(tmp_path: Path) -> None:
    """Of a round's writes the large one fails, the small ones land, the old document stays."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            old = await provider.put_item("t", {"id": "large", "v": 1})
            await provider.put_items("t", [{"id": f"{n}"} for n in range(5)])
            pages = provider._writer.connection.execute("PRAGMA page_count").fetchone()[0]
            provider._writer.connection.execute(f"PRAGMA max_page_count={pages + 4}")
            gate = Gate(provider)
            await gate.entered()
            # More than FEW_PUTS, so that they share a statement at first.
            writes = [
                asyncio.ensure_future(provider.put_item("t", {"id": item_id, "v": value}))
                for item_id, value in [
                    *((f"{n}", 1) for n in range(5)),
                    ("large", "x" * 100_000),
                    *((f"{n}", 2) for n in range(5)),
                ]
            ]
            batch = asyncio.ensure_future(
                provider.put_items("t", [{"id": f"b{n}", "v": "x" * 5_000} for n in range(40)])
            )
            await settle()
            await gate.open()
            results = await asyncio.gather(*writes, return_exceptions=True)
            large = results.pop(5)
            assert all(isinstance(result, Item) for result in results)
            assert isinstance(large, StorageFullError)
            assert isinstance(large.__cause__, sqlite3.OperationalError)
            with pytest.raises(StorageFullError):
                await batch
            assert await provider.read_item("t", "large") == old
            assert await provider.read_items("t", [f"{n}" for n in range(5)]) == results[5:]
            assert await provider.count_items("t") == 6

    run(scenario())


def test_a_read_only_database_keeps_the_old_document(tmp_path: Path) -> None:
    """A write that is not allowed says so and changes nothing."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            old = await provider.put_item("t", {"id": "a", "v": 1})
            provider._writer.connection.execute("PRAGMA query_only=ON")
            with pytest.raises(PermissionDeniedError, match="SQLITE_READONLY"):
                await provider.put_item("t", {"id": "a", "v": 2})
            assert await provider.read_item("t", "a") == old

    run(scenario())


def test_large_batches_are_whole_or_nothing(tmp_path: Path) -> None:
    """The first failing write is named, whatever statement it shared, and nothing is left."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            await provider.put_item("other", {"id": "x"})
            await provider.create_item("t", {"id": "137"})
            puts = [Put("t", {"id": f"{n}"}, IF_ABSENT) for n in range(200)]
            with pytest.raises(ItemExistsError) as caught:
                await provider.write([Put("new", {"id": "first"}), *puts])
            error = caught.value
            assert (error.index, error.collection, error.item_id) == (138, "t", "137")
            assert await provider.count_items("t") == 1
            assert await provider.read_item("new", "first") is None
            assert await provider.collections() == ["other", "t"]
            items = await provider.write([Put("fresh", put.document, IF_ABSENT) for put in puts])
            addresses = [Address("fresh", put.id) for put in puts]
            assert await provider.read(addresses) == items

    run(scenario())


def test_expired_documents_are_collected(tmp_path: Path, manual_clock: ManualClock) -> None:
    """Their rows go away while something else is written, at most once a minute."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db", clock=manual_clock.clock) as provider:
            await provider.declare(CollectionSpec(collection="t", default_ttl_seconds=10))
            await provider.put_items("t", [{"id": f"{n}"} for n in range(5)])
            manual_clock.advance(30)
            assert await provider.count_items("t") == 0
            assert len((await provider.versions("t")).entries) == 5
            manual_clock.advance(31)
            await provider.put_item("u", {"id": "a"})
            await provider.put_item("u", {"id": "b"})
            assert (await provider.versions("t")).entries == []

    run(scenario())


def test_a_declaration_dropped_by_another_process(tmp_path: Path) -> None:
    """A query that counted on its side table asks again without it."""

    async def scenario() -> None:
        path = tmp_path / "a.db"
        spec = CollectionSpec(collection="t", indexes=(Index.of("tags", each=True),))
        async with SQLiteProvider(path) as mine, SQLiteProvider(path) as theirs:
            await mine.put_item("t", {"id": "a", "tags": ["x"]})
            await mine.declare(spec)
            where = {"tags": {"$contains": "x"}}
            page = await mine.list_items("t", where=where)
            assert page.statistics.index == "tags"
            await theirs.declare(CollectionSpec(collection="t"))
            page = await mine.list_items("t", where=where, total=True)
            assert ([item.id for item in page.items], page.total) == (["a"], 1)
            assert page.statistics.index is None
            assert page.statistics.full_scan

    run(scenario())


def test_what_can_not_be_opened(tmp_path: Path) -> None:
    """No database, no folder, a folder: each error names the path and what to do."""

    async def refused(path: Path | str) -> StorageError:
        provider = SQLiteProvider(path)
        with pytest.raises(StorageError) as caught:
            await provider.connect()
        await provider.disconnect()
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        return caught.value

    async def scenario() -> None:
        (tmp_path / "text.db").write_text(
            "This is no database at all, but a page of plain text." * 9
        )
        error = await refused(tmp_path / "text.db")
        assert isinstance(error, ConfigurationError)
        assert "not a SQLite database" in str(error)
        error = await refused(tmp_path / "absent" / "a.db")
        assert isinstance(error, ConfigurationError)
        assert str(tmp_path / "absent") in str(error)
        error = await refused(tmp_path)
        assert isinstance(error, ConfigurationError)
        assert not any(thread.name.startswith("sqlite-") for thread in threading.enumerate())

    run(scenario())


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": ""},
        {"path": "a.db", "synchronous": "OFF"},
        {"path": "a.db", "busy_timeout_seconds": -1},
    ],
)
def test_wrong_arguments(arguments: dict[str, Any]) -> None:
    """They are refused at once, before anything is opened."""
    with pytest.raises(ConfigurationError):
        SQLiteProvider(**arguments)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_BUSY, DeadlineExceededError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, DeadlineExceededError),
        (sqlite3.SQLITE_LOCKED, DeadlineExceededError),
        (sqlite3.SQLITE_FULL, StorageFullError),
        (sqlite3.SQLITE_READONLY, PermissionDeniedError),
        (sqlite3.SQLITE_READONLY_DIRECTORY, PermissionDeniedError),
        (sqlite3.SQLITE_PERM, PermissionDeniedError),
        (sqlite3.SQLITE_AUTH, PermissionDeniedError),
        (sqlite3.SQLITE_CANTOPEN, PermissionDeniedError),
        (sqlite3.SQLITE_NOTADB, ConfigurationError),
        (sqlite3.SQLITE_CORRUPT, CorruptItemError),
        (sqlite3.SQLITE_TOOBIG, DocumentTooLargeError),
        (sqlite3.SQLITE_IOERR_READ, TransportError),
        (sqlite3.SQLITE_IOERR_WRITE, TransportError),
        (sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknownError),
        (sqlite3.SQLITE_INTERNAL, StorageError),
    ],
)
def test_result_codes(tmp_path: Path, code: int, expected: type[StorageError]) -> None:
    """Every result code has its error."""
    error = sqlite3.OperationalError("something")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_SOMETHING"
    assert type(translated(error, str(tmp_path / "a.db"), 1.5)) is expected


def test_durability_is_as_asked(tmp_path: Path) -> None:
    """WAL and `synchronous` are set on the connection that writes; reading cannot write."""

    async def scenario() -> None:
        levels = {"NORMAL": 1, "FULL": 2, "EXTRA": 3}
        for name, level in levels.items():
            async with SQLiteProvider(tmp_path / f"{name}.db", synchronous=name) as provider:  # type: ignore[arg-type]
                writer, reader = provider._writer.connection, provider._reader.connection
                assert writer.execute("PRAGMA synchronous").fetchone() == (level,)
                assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
                with pytest.raises(sqlite3.OperationalError):
                    reader.execute("CREATE TABLE t (a)")

    run(scenario())


def test_a_query_that_never_settles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that stay broken whatever is done end in an error, not in a loop."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            await provider.put_item("t", {"id": "a"})
            monkeypatch.setattr(
                "storage_providers.providers._sqlite.session.are_documents", lambda _: False
            )
            with pytest.raises(TransportError, match=f"{sqlite_module.ATTEMPTS} times"):
                await provider.query([Query("t")])

    run(scenario())


def test_a_fault_of_ours_hangs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in a round itself is raised to all who wait, and the next round works."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            await provider.put_item("t", {"id": "a"})
            with monkeypatch.context() as broken:
                broken.setattr(type(provider._reader), "_perform", _raise)
                broken.setattr(type(provider._writer), "_perform", _raise)
                calls = [provider.read_item("t", "a"), provider.put_item("t", {"id": "b"})]
                results = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(result) for result in results] == [ZeroDivisionError] * 2
            assert await provider.read_item("t", "a") is not None
            assert await provider.read_item("t", "b") is None
            await provider.put_item("t", {"id": "b"})

    run(scenario())


def _raise(*_: object) -> None:
    raise ZeroDivisionError


def test_a_fault_between_rounds_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Collecting expired documents may fail without ending the writing thread."""

    async def scenario() -> None:
        async with SQLiteProvider(tmp_path / "a.db") as provider:
            monkeypatch.setattr(provider._writer, "after_round", _raise)
            await provider.put_item("t", {"id": "a"})
            await provider.put_item("t", {"id": "b"})

    run(scenario())
    assert "between rounds" in caplog.text
