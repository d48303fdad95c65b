"""What a batch of writes does: guards, lost answers, limits; on a stand-in that has D1's limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from storage_providers.errors import (
    CorruptItemError,
    DocumentTooLargeError,
    ItemExistsError,
    ItemNotFoundError,
    OutcomeUnknownError,
    StorageError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    IF_PRESENT,
    Clear,
    CollectionSpec,
    Delete,
    IfVersion,
    Index,
    Patch,
    Put,
)
from storage_providers.providers.d1 import D1Provider
from storage_providers.testing.conformance import ManualClock
from tests.providers.d1.local import LocalD1, local_provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")


def run(play: Callable[[D1Provider, LocalD1], Awaitable[T]]) -> T:
    """Play a scene on a new, empty database."""

    async def scene() -> T:
        async with opened() as (provider, database):
            return await play(provider, database)

    return asyncio.run(scene())


@asynccontextmanager
async def opened(clock: ManualClock | None = None) -> AsyncIterator[tuple[D1Provider, LocalD1]]:
    """A provider on a new, empty database."""
    database = LocalD1(":memory:")
    try:
        provider = local_provider(database, clock=(clock or ManualClock()).clock)
        async with provider:
            yield provider, database
    finally:
        database.close()


# --- guards ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "error_type"),
    [
        (Put("t", {"id": "there"}, IF_ABSENT), ItemExistsError),
        (Put("t", {"id": "gone"}, IF_PRESENT), ItemNotFoundError),
        (Put("t", {"id": "there"}, IfVersion("old")), VersionMismatchError),
        (Patch("t", "gone", {"n": 1}), ItemNotFoundError),
        (Patch("t", "there", {"n": 1}, IfVersion("old")), VersionMismatchError),
        (Delete("t", "gone", IF_PRESENT), ItemNotFoundError),
        (Delete("t", "there", IfVersion("old")), VersionMismatchError),
        (Patch("u/t", "encoded", {"n": 1}), UnsupportedOperationError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
@pytest.mark.parametrize("place", [0, 1, 40])
def test_a_failed_condition_is_named_and_nothing_lands(
    bad: Put | Patch | Delete, error_type: type[StorageError], place: int
) -> None:
    """Wherever it stands in the batch: `index`, collection and id say which write it was."""

    async def play(provider: D1Provider, _: LocalD1) -> None:
        (there,) = await provider.put_items("t", [{"id": "there", "n": 0}])
        await provider.write([Put("u/t", {"id": "encoded"}, encoding="x", payload=b"\x00")])
        batch: list[Any] = [Put("t", {"id": f"new {n}"}, IF_ABSENT) for n in range(place)]
        batch += [bad, Put("other", {"id": "a"}), Clear("u/other"), Patch("t", "absent", {})]
        with pytest.raises(error_type) as caught:
            await provider.write(batch)
        error = caught.value
        assert (error.index, error.collection, error.item_id) == (place, bad.collection, bad.id)
        if isinstance(error, VersionMismatchError):
            assert (error.expected_version, error.actual_version) == ("old", there.version)
        assert await provider.read_item("t", "new 0") is None
        assert await provider.read_item("other", "a") is None

    run(play)


def test_a_conflict_costs_one_more_read() -> None:
    """The guard stops the batch, one read says why."""

    async def play(provider: D1Provider, database: LocalD1) -> None:
        await provider.create_item("t", {"id": "a"})
        before = len(database.calls)
        with pytest.raises(ItemExistsError):
            await provider.create_item("t", {"id": "a"})
        assert len(database.calls) == before + 2

    run(play)


def test_what_was_in_the_way_may_be_gone_when_it_is_looked_at() -> None:
    """Then the batch is sent again, and lands."""

    async def play(provider: D1Provider, database: LocalD1) -> None:
        other = local_provider(database, clock=ManualClock().clock)
        await provider.create_item("t", {"id": "a", "n": 1})

        async def remove() -> None:
            async with other:
                await other.delete_item("t", "a")

        database.after[len(database.calls)] = remove
        item = await provider.create_item("t", {"id": "a", "n": 2})
        assert item == await provider.read_item("t", "a")
        assert item.document["n"] == 2

    run(play)


def test_an_expired_document_is_not_in_the_way() -> None:
    """Conditions are judged by the provider's clock, inside the batch."""

    async def play() -> None:
        clock = ManualClock()
        async with opened(clock) as (provider, _):
            old = await provider.create_item("t", {"id": "a", "expiresAt": "2026-01-31T12:00:01Z"})
            clock.advance(2)
            with pytest.raises(VersionMismatchError) as caught:
                await provider.put_item("t", {"id": "a"}, if_version=old.version)
            assert caught.value.actual_version is None
            with pytest.raises(ItemNotFoundError):
                await provider.update_item("t", "a", {"n": 1})
            assert (await provider.create_item("t", {"id": "a"})).version != old.version

    asyncio.run(play())


# --- lost answers ------------------------------------------------------------------------------


def counted(document: dict[str, Any]) -> dict[str, Any]:
    """One more."""
    return {**document, "n": document["n"] + 1}


async def put_if(provider: D1Provider) -> Any:
    """Replace what was read."""
    item = await provider.read_item("t", "a")
    assert item is not None
    return await provider.put_item("t", {"id": "a", "n": 7}, if_version=item.version)


async def delete_if(provider: D1Provider) -> None:
    """Remove what was read."""
    item = await provider.read_item("t", "a")
    assert item is not None
    await provider.delete_item("t", "a", if_version=item.version)


WRITES: dict[str, Callable[[D1Provider], Awaitable[Any]]] = {
    "create": lambda provider: provider.create_item("t", {"id": "new"}),
    "put": lambda provider: provider.put_item("t", {"id": "a", "n": 5}),
    "put if": put_if,
    "patch": lambda provider: provider.update_item("t", "a", {"m": 1}),
    "patches": lambda provider: provider.update_items("t", {"a": {"m": 1}, "b": {"m": 2}}),
    "delete": lambda provider: provider.delete_item("t", "a"),
    "delete if": delete_if,
    "clear": lambda provider: provider.clear_collection("t"),
    "modify": lambda provider: provider.modify_item("t", "a", counted),
    "several": lambda provider: provider.write(
        [Put("t", {"id": "new"}, IF_ABSENT), Delete("t", "a", IF_PRESENT), Patch("t", "b", {})]
    ),
}


async def everything(provider: D1Provider) -> dict[str, Any]:
    """Documents without their times."""
    return {
        item.id: {key: value for key, value in item.document.items() if not key.endswith("At")}
        async for item in provider.find_items("t")
    }


@pytest.mark.parametrize("faults", [["after"], ["before", "after"], ["after", "before"]])
@pytest.mark.parametrize("name", WRITES)
def test_a_lost_answer_is_recognised(name: str, faults: list[str]) -> None:
    """The write is reported as the success it was, with what was stored, and happened once."""

    async def play(provider: D1Provider, database: LocalD1) -> tuple[Any, dict[str, Any]]:
        await provider.write([Put("t", {"id": "a", "n": 0}), Put("t", {"id": "b", "n": 0})])
        if faults_now:
            # What is read before the write is answered.
            reads = 1 if name in ("put if", "delete if", "modify") else 0
            database.faults = ["ok"] * reads + faults_now
        found = await WRITES[name](provider)
        assert database.faults == []
        for item in found if isinstance(found, list) else [found]:
            if item is not None:
                assert item == await provider.read_item("t", item.id)
        return found, await everything(provider)

    faults_now: list[str] = []
    _, expected = run(play)
    faults_now = list(faults)
    _, actual = run(play)
    assert actual == expected


@pytest.mark.parametrize("name", ["put", "patch", "delete", "clear", "modify", "create"])
def test_a_lost_answer_undoes_nobody_elses_write(name: str) -> None:
    """What others wrote between the write and its repetition stays: it is not done twice."""

    async def play(provider: D1Provider, database: LocalD1) -> None:
        await provider.write([Put("t", {"id": "a", "n": 0}), Put("t", {"id": "b", "n": 0})])
        other = local_provider(database, clock=ManualClock().clock)
        newer = [Put("t", {"id": "a", "n": 100}), Put("t", {"id": "new", "n": 100})]

        async def overwrite() -> None:
            async with other:
                await other.write(newer)

        reads = 1 if name == "modify" else 0
        database.faults = ["ok"] * reads + ["after"]
        database.after[len(database.calls) + reads] = overwrite
        await WRITES[name](provider)
        found = await everything(provider)
        assert found["a"] == {"id": "a", "n": 100}
        assert found["new"] == {"id": "new", "n": 100}

    run(play)


def test_an_attempt_that_arrives_late_does_nothing() -> None:
    """Neither after the batch landed, nor after it was said that nothing was written."""

    async def play(provider: D1Provider, database: LocalD1) -> None:
        await provider.create_item("t", {"id": "a", "n": 0})
        database.faults = ["late"]
        await provider.put_item("t", {"id": "a", "n": 1})
        await provider.put_item("t", {"id": "a", "n": 2})
        assert "sp-guard-0" in database.arrive()
        database.faults = ["late"]
        with pytest.raises(ItemExistsError):
            await provider.create_item("t", {"id": "a", "n": 3})
        await provider.delete_item("t", "a")
        # Now its condition would hold.
        assert "sp-guard-0" in database.arrive()
        assert await provider.read_item("t", "a") is None

    run(play)


def test_the_first_write_of_all_is_fenced_off_as_well() -> None:
    """The table of tokens was made by the very batch that was refused."""

    async def play(provider: D1Provider, database: LocalD1) -> None:
        await provider.declared("t")
        database.faults = ["late"]
        with pytest.raises(ItemNotFoundError):
            await provider.update_item("t", "a", {"n": 1})
        await provider.create_item("t", {"id": "a"})
        assert "sp-guard-0" in database.arrive()

    run(play)


def test_an_attempt_that_arrives_while_it_is_looked_for() -> None:
    """The batch is refused, then an earlier attempt of it lands after all: it is a success."""

    async def play(provider: D1Provider, database: LocalD1) -> None:
        await provider.create_item("t", {"id": "a", "n": 0})
        other = local_provider(database, clock=ManualClock().clock)

        async def remove() -> None:
            async with other:
                await other.delete_item("t", "a")
            assert database.arrive() == ""

        database.faults = ["late"]
        database.after[len(database.calls)] = remove
        item = await provider.create_item("t", {"id": "a", "n": 1})
        assert item == await provider.read_item("t", "a")
        assert item.document["n"] == 1

    run(play)


def test_a_patch_that_landed_on_a_document_that_is_gone() -> None:
    """Nothing can be returned for it, and nothing is made up."""

    async def play(provider: D1Provider, database: LocalD1) -> None:
        await provider.create_item("t", {"id": "a"})
        other = local_provider(database, clock=ManualClock().clock)

        async def remove() -> None:
            async with other:
                await other.delete_item("t", "a")

        database.faults = ["after"]
        database.after[len(database.calls)] = remove
        with pytest.raises(OutcomeUnknownError, match="landed"):
            await provider.update_item("t", "a", {"n": 1})

    run(play)


def test_answers_that_stay_lost_are_said_to_be() -> None:
    """After the last attempt nobody knows."""

    async def play(provider: D1Provider, database: LocalD1) -> None:
        await provider.create_item("t", {"id": "a"})
        database.faults = ["after"] * 3
        with pytest.raises(OutcomeUnknownError):
            await provider.put_item("t", {"id": "a", "n": 1})

    run(play)


def test_tokens_of_batches_do_not_pile_up() -> None:
    """Those of older days are dropped with their table, which costs no rows."""

    async def play() -> None:
        clock = ManualClock()
        async with opened(clock) as (provider, database):
            for _ in range(9):
                for n in range(5):
                    await provider.put_item("t", {"id": f"{n}"})
                clock.advance(86_400)
            tables = [
                name
                for (name,) in database.connection.execute(
                    "SELECT name FROM sqlite_master WHERE name LIKE 'sp_landed%'"
                )
                if not name.startswith("sqlite_")
            ]
            assert len(tables) == 2
            counts = [
                database.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in tables
            ]
            assert max(counts) == 5

    asyncio.run(play())


# --- limits ------------------------------------------------------------------------------------


def test_documents_up_to_the_limit() -> None:
    """Documents of nearly 2,000,000 bytes, whatever they are made of, among small ones."""

    async def play(provider: D1Provider, _: LocalD1) -> None:
        limit = provider.capabilities.max_document_bytes
        assert limit is not None
        room = limit - len('{"id":"a","v":""}')
        documents = [
            {"id": "a", "v": "x" * room},
            {"id": "b", "v": '"' * (room // 2)},
            {"id": "c", "v": "é" * (room // 2)},
            {"id": "d", "v": "small"},
        ]
        items = await provider.write([Put("t", document) for document in documents])
        assert await provider.read_items("t", ["a", "b", "c", "d"]) == items
        with pytest.raises(DocumentTooLargeError) as caught:
            await provider.write([Put("t", {"id": "a", "v": "x" * (room + 1)})])
        assert (caught.value.size_bytes, caught.value.limit_bytes) == (limit + 1, limit)

    run(play)


def test_payloads_up_to_the_limit() -> None:
    """Encoded documents count with their payload as base64; the numbers are told."""

    async def play(provider: D1Provider, _: LocalD1) -> None:
        fits = Put("t", {"id": "a"}, encoding="zstd", payload=bytes(range(256)) * 5_800)
        (item,) = await provider.write([fits])
        assert item is not None
        assert item.payload == fits.payload
        assert await provider.read_item("t", "a") == item
        large = Put("t", {"id": "b"}, encoding="zstd", payload=b"x" * 1_500_000)
        with pytest.raises(DocumentTooLargeError) as caught:
            await provider.write([fits, large])
        assert caught.value.size_bytes == 2_000_000 + len(large.body)
        assert (caught.value.index, caught.value.item_id) == (1, "b")

    run(play)


def test_a_patch_that_makes_a_document_too_large() -> None:
    """Over the declared limit, over ours, over what a row can hold: nothing is written."""

    async def play(provider: D1Provider, _: LocalD1) -> None:
        await provider.declare(CollectionSpec(collection="small", max_document_bytes=1_000))
        for collection, old, new in [
            ("small", 800, 300),
            ("t", 1_500_000, 494_000),
            ("t", 1_500_000, 1_200_000),
        ]:
            item = await provider.put_item(collection, {"id": "a", "v": "x" * old})
            await provider.put_item(collection, {"id": "b"})
            with pytest.raises(DocumentTooLargeError) as caught:
                await provider.write(
                    [Patch(collection, "b", {"n": 1}), Patch(collection, "a", {"w": "y" * new})]
                )
            error = caught.value
            assert error.size_bytes > error.limit_bytes
            assert (error.collection, error.item_id, error.index) == (collection, "a", 1)
            assert await provider.read_item(collection, "a") == item
            # A patch may replace something large.
            await provider.update_item(collection, "a", {"v": None, "w": "y" * (old - 10)})

    run(play)


def test_a_batch_that_does_not_fit_one_call_is_refused() -> None:
    """Before anything is sent, with the numbers: in parts it would not be atomic."""

    async def play(provider: D1Provider, database: LocalD1) -> None:
        await provider.put_item("t", {"id": "a"})
        before = len(database.calls)
        documents = [{"id": f"{n}", "v": "x" * 1_000_000} for n in range(11)]
        with pytest.raises(UnsupportedOperationError, match=r"D1 takes 10000000 in one call"):
            await provider.put_items("t", documents)
        assert len(database.calls) == before
        await provider.put_items("t", documents[:9])
        assert len(database.calls) == before + 1

    run(play)


def test_conditions_beyond_a_hundred_values() -> None:
    """Many texts in one `where` are one bound value; too many are refused with the numbers."""

    async def play(provider: D1Provider, _: LocalD1) -> None:
        await provider.put_items("t", [{"id": f"{n:03}", "v": f"v{n}"} for n in range(300)])
        several = {"$or": [{"v": f"v{n}"} for n in range(250)]}
        assert await provider.count_items("t", where=several) == 250
        among = {"v": {"$in": [f"v{n}" for n in range(5_000)]}}
        assert await provider.count_items("t", where=among) == 300
        with pytest.raises(UnsupportedOperationError, match="D1 takes 100000"):
            await provider.count_items("t", where={"$or": [{"v": f"{n}"} for n in range(2_000)]})
        with pytest.raises(UnsupportedOperationError, match="D1 takes 2000000"):
            await provider.count_items(
                "t", where={"v": {"$in": ["x" * 1_000] * 1 + [f"{n}" * 400 for n in range(10_000)]}}
            )

    run(play)


def test_large_integers_are_stored_and_compared_exactly() -> None:
    """JavaScript's numbers end at 2**53; ours do not."""

    async def play(provider: D1Provider, _: LocalD1) -> None:
        numbers = [2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**64, -1]
        await provider.put_items("t", [{"id": f"{n}", "n": n} for n in numbers])
        for indexed in (False, True):
            if indexed:
                await provider.declare(CollectionSpec(collection="t", indexes=(Index.of("n"),)))
            for n in numbers:
                page = await provider.list_items("t", where={"n": n})
                assert [item.document["n"] for item in page.items] == [n]
                ordered = sorted(numbers)
                below = await provider.list_items("t", where={"n": {"$lt": n}}, order_by="n")
                assert [item.document["n"] for item in below.items] == [
                    each for each in ordered if each < n
                ]
            item = await provider.update_item("t", "-1", {"m": 2**53 + 1})
            assert item.document["m"] == 2**53 + 1

    run(play)


def test_a_broken_document_is_not_patched() -> None:
    """The guard sees it and names it; the other writes of the batch do not land."""

    async def play(provider: D1Provider, database: LocalD1) -> None:
        await provider.put_item("t", {"id": "a"})
        database.connection.execute("UPDATE c_t SET body='{\"id\":'")
        with pytest.raises(CorruptItemError) as caught:
            await provider.write([Put("t", {"id": "b"}), Patch("t", "a", {"n": 1})])
        assert (caught.value.index, caught.value.item_id) == (1, "a")
        assert await provider.read_item("t", "b") is None

    run(play)
