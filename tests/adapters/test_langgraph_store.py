"""The LangGraph store: its own semantics, held to `InMemoryStore` where that is well-defined."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from storage_providers._clock import SYSTEM_CLOCK
from storage_providers.agents.adapters.langgraph import ProviderStore
from storage_providers.errors import (
    InvalidArgumentError,
    InvalidDocumentError,
    UnsupportedOperationError,
)
from storage_providers.protocol import Item, Write
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing.conformance import ManualClock
from tests.adapters.counting import Counted, counted_d1, counted_kv
from tests.adapters.places import EVERYWHERE, Place

Work = Callable[[ProviderStore], Awaitable[None]]

SOME = ("memory", "files", "sqlite", "d1", "r2", "kv")


def play(work: Work, place: Place | None = None, **options: Any) -> None:
    """Do something with a store, in memory unless a place is given."""

    async def main() -> None:
        if place is None:
            async with InMemoryProvider() as provider:
                await work(ProviderStore(provider, **options))
        else:
            async with place.open() as provider:
                await work(ProviderStore(provider, **options))

    asyncio.run(main())


# --- items ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", EVERYWHERE, indirect=True)
def test_an_item_is_put_read_replaced_and_deleted(place: Place) -> None:
    """`created_at` stays when an item is replaced, `updated_at` moves on."""

    async def work(store: ProviderStore) -> None:
        assert await store.aget(("users", "7"), "prefs") is None
        await store.aput(("users", "7"), "prefs", {"theme": "dark", "n": 1})
        first = await store.aget(("users", "7"), "prefs")
        assert first is not None
        assert (first.namespace, first.key) == (("users", "7"), "prefs")
        assert first.value == {"theme": "dark", "n": 1}
        await store.aput(("users", "7"), "prefs", {"theme": "light"})
        second = await store.aget(("users", "7"), "prefs")
        assert second is not None
        assert second.value == {"theme": "light"}
        assert second.created_at == first.created_at
        assert second.updated_at > first.updated_at
        await store.adelete(("users", "7"), "prefs")
        await store.adelete(("users", "7"), "prefs")
        assert await store.aget(("users", "7"), "prefs") is None

    play(work, place)


@pytest.mark.parametrize("place", ["memory", "files", "sqlite", "d1", "kv"], indirect=True)
def test_names_of_any_kind_stay_apart(place: Place) -> None:
    """Keys may hold anything, labels anything but a full stop, and both may be long."""
    labels = ("a", "A", "a:b", "~", "%2e", "a/b", "🙂", "x" * 120, "x" * 121, "é")
    keys = ("", "..k", "a.b", "🙂 %/:", "~k", "y" * 300, "y" * 301)

    async def work(store: ProviderStore) -> None:
        names = [((one, two), key) for one in labels[:6] for two in labels[8:] for key in keys]
        await store.abatch([PutOp(name, key, {"at": [*name, key]}) for name, key in names])
        found = await store.abatch([GetOp(name, key) for name, key in names])
        for (name, key), item in zip(names, found, strict=True):
            assert item is not None
            assert (item.namespace, item.key) == (name, key)  # type: ignore[union-attr]
            assert item.value == {"at": [*name, key]}  # type: ignore[union-attr]
        for one in labels[:6]:
            assert len(await store.asearch((one,), limit=1000)) == len(labels[8:]) * len(keys)
        deep = ("x" * 120, "x" * 121, "x" * 90)
        await store.aput(deep, "k", {})
        for depth in range(4):
            hits = await store.asearch(deep[:depth], limit=1000)
            assert (deep, "k") in [(hit.namespace, hit.key) for hit in hits]
        assert await store.asearch((*deep, "more")) == []
        listed = await store.alist_namespaces(limit=1000)
        assert listed == sorted({name for name, _ in names} | {deep})

    play(work, place)


def test_bad_names_and_values_are_refused() -> None:
    """Before anything is stored, also when operations are given past the usual methods."""

    async def work(store: ProviderStore) -> None:
        for bad in ((), ("a.b",), ("",), ("langgraph", "x"), ("a\x00",)):
            with pytest.raises(InvalidNamespaceError):
                await store.aput(bad, "k", {})
        with pytest.raises(InvalidNamespaceError):
            await store.abatch([PutOp(("a.b",), "k", {})])
        with pytest.raises(InvalidDocumentError, match=r"field 'value\.when'"):
            await store.aput(("a",), "k", {"when": object()})
        with pytest.raises(InvalidArgumentError, match="ttl is 0 minutes"):
            await store.aput(("a",), "k", {}, ttl=0)
        with pytest.raises(InvalidArgumentError, match="limit is -1"):
            await store.asearch(("a",), limit=-1)
        assert await store.asearch(()) == []

    play(work)


def test_values_come_back_as_they_were() -> None:
    """Text that looks like JSON, a number or a date is that text; what we call fields is free."""
    value: dict[str, Any] = {
        "json": '{"a": 1}',
        "number": "1.0",
        "date": "2026-01-01T00:00:00.000Z",
        "none": None,
        "id": "x",
        "expiresAt": "never",
        "createdAt": 7,
        "deep": {"list": [1, 2.5, True, None, {"a": []}]},
    }

    async def work(store: ProviderStore) -> None:
        await store.aput(("a",), "k", value)
        item = await store.aget(("a",), "k")
        assert item is not None
        assert item.value == value

    play(work)


# --- batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", SOME, indirect=True)
def test_reads_of_a_batch_see_what_was_before_it(place: Place) -> None:
    """Results stand in the order of the operations; of two puts of one item the last counts."""

    async def work(store: ProviderStore) -> None:
        await store.aput(("a",), "k", {"n": 1})
        results = await store.abatch(
            [
                PutOp(("a",), "k", {"n": 2}),
                GetOp(("a",), "k"),
                SearchOp(("a",)),
                PutOp(("a",), "k", {"n": 3}),
                PutOp(("a",), "gone", {"n": 3}),
                PutOp(("a",), "gone", None),
                ListNamespacesOp(),
                GetOp(("a",), "none"),
            ]
        )
        assert results[0] is None
        assert results[1].value == {"n": 1}  # type: ignore[union-attr]
        assert [hit.value for hit in results[2]] == [{"n": 1}]  # type: ignore[union-attr]
        assert results[6] == [("a",)]
        assert results[7] is None
        found = await store.asearch(("a",))
        assert [(hit.key, hit.value) for hit in found] == [("k", {"n": 3})]

    play(work, place)


def test_calls_on_d1(tmp_path: Path) -> None:
    """One call for all that a batch gets, one for its searches, one for its puts."""

    async def main() -> None:
        async with counted_d1(tmp_path) as (provider, cost):
            store = ProviderStore(provider)
            await store.aput(("a",), "first", {})
            many = [PutOp(("a", str(number % 50)), str(number), {}) for number in range(1500)]
            assert await cost(store.abatch(many)) == 2
            assert await cost(store.aput(("a",), "k", {})) == 2
            assert await cost(store.adelete(("a",), "k")) == 1
            assert await cost(store.abatch([GetOp(op.namespace, op.key) for op in many])) == 1
            assert await cost(store.asearch(("a",), filter={"n": {"$gt": 1}}, limit=10)) == 1
            searches = [SearchOp(("a", str(number))) for number in range(20)]
            assert await cost(store.abatch(searches)) == 1
            assert await cost(store.alist_namespaces()) == 2
            await store.aput(("t",), "k", {}, ttl=5)
            assert await cost(store.aget(("t",), "k")) == 2
            assert await cost(store.aget(("t",), "k", refresh_ttl=False)) == 1

    asyncio.run(main())


def test_calls_on_kv() -> None:
    """Bulk calls: one for 100 that are read, 10,000 that are put, 1,000 that are listed."""

    async def main() -> None:
        async with counted_kv("langgraph_store") as (provider, cost):
            store = ProviderStore(provider)
            many = [PutOp(("a", str(number % 50)), str(number), {}) for number in range(1500)]
            assert await cost(store.abatch(many)) == {"get": 15, "put": 1}
            assert await cost(store.aput(("a",), "k", {})) == {"get": 1, "put": 1}
            assert await cost(store.aget(("a",), "k")) == {"get": 1}
            gets = [GetOp(op.namespace, op.key) for op in many]
            assert await cost(store.abatch(gets)) == {"get": 15}
            assert await cost(store.asearch(("a", "1"), limit=10)) == {"list": 1}
            assert await cost(store.asearch(("a",), limit=10)) == {"list": 2}
            assert await cost(store.alist_namespaces()) == {"list": 2}
            assert await cost(store.adelete(("a",), "k")) == {"delete": 1}
            await store.aput(("t",), "k", {}, ttl=5)
            assert await cost(store.aget(("t",), "k")) == {"get": 2, "put": 1}

    asyncio.run(main())


def test_requests_on_r2(r2_counted: Counted) -> None:
    """One for each item that is read, two for each that is put."""

    async def main() -> None:
        async with r2_counted as (provider, cost):
            store = ProviderStore(provider)
            await store.aput(("a",), "first", {})
            many = [PutOp(("a", str(number % 3)), str(number), {}) for number in range(12)]
            assert await cost(store.abatch(many)) == {"GET": 12, "PUT": 12}
            gets = [GetOp(op.namespace, op.key) for op in many]
            assert await cost(store.abatch(gets)) == {"GET": 12}
            assert await cost(store.asearch(("a", "1"), limit=2)) == {"LIST": 2, "GET": 4}
            assert await cost(store.alist_namespaces()) == {"LIST": 1}
            assert await cost(store.adelete(("a",), "first")) == {"DELETE": 1}
            await store.aput(("t",), "k", {}, ttl=5)
            assert await cost(store.aget(("t",), "k")) == {"GET": 2, "PUT": 1}

    asyncio.run(main())


# --- search --------------------------------------------------------------------------------------

VALUES: tuple[dict[str, Any], ...] = (
    {"kind": "a", "n": 1, "tags": ["x", "y"], "by": {"name": "Ada", "age": 36}},
    {"kind": "a", "n": 2.5, "tags": [], "by": {"name": "Bo"}},
    {"kind": "b", "n": 3, "flag": True, "by": {}},
    {"kind": "b", "n": 10, "flag": False, "dotted.key": 1},
    {"kind": None, "n": -1, "by": None, "": "empty"},
    {"n": 2**53 + 1, "back\\slash": "v"},
)
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"kind": "a"},
    {"kind": {"$eq": "b"}},
    {"kind": {"$ne": "a"}},
    {"kind": None},
    {"n": {"$gt": 1, "$lte": 3}},
    {"n": {"$gte": 2.5}},
    {"n": {"$lt": 0}},
    {"kind": "a", "n": 1},
    {"by": {"name": "Ada"}},
    {"by": {"name": "Ada", "age": {"$gt": 30}}},
    {"by": {}},
    {"by": {"name": {"$ne": "Ada"}}, "kind": "a"},
    {"tags": ["x", "y"]},
    {"tags": []},
    {"tags": ("x", "y")},
    {"tags": {"$ne": []}},
    {"flag": True},
    {"dotted.key": 1},
    {"back\\slash": "v"},
    {"": "empty"},
)


@pytest.mark.parametrize("place", ["memory", "files", "sqlite", "d1", "kv"], indirect=True)
def test_filters_agree_with_langgraphs_own_store(place: Place) -> None:
    """Each filter finds what `InMemoryStore` finds, newest first, by pages."""
    own = InMemoryStore()

    async def work(store: ProviderStore) -> None:
        for number, value in enumerate(VALUES):
            for one in (own, store):
                await one.aput(("f", "ab"[number % 2]), str(number), value)
                await one.aput(("fx",), str(number), value)
        for asked in FILTERS:
            for prefix in (("f",), ("f", "a")):
                wanted = await own.asearch(prefix, filter=asked, limit=100)
                found = await store.asearch(prefix, filter=asked, limit=100)
                keys = sorted((hit.key for hit in wanted), reverse=True)
                assert [hit.key for hit in found] == keys, asked
                paged = [
                    hit.key
                    for offset in range(len(keys))
                    for hit in await store.asearch(prefix, filter=asked, limit=1, offset=offset)
                ]
                assert paged == keys

    play(work, place)


def test_an_unknown_operator_is_refused() -> None:
    """A misspelt operator is no field."""

    async def work(store: ProviderStore) -> None:
        with pytest.raises(ValueError, match=r"\$above"):
            await store.asearch(("a",), filter={"n": {"$above": 1}})

    play(work)


def test_search_goes_through_many() -> None:
    """Where the provider can't answer the whole filter, its pages are followed."""

    async def work(store: ProviderStore) -> None:
        values = [
            {"tags": ["x"] if number % 100 == 0 else [], "n": number} for number in range(2500)
        ]
        await store.abatch(
            [PutOp(("a",), f"{number:04}", value) for number, value in enumerate(values)]
        )
        found = await store.asearch(("a",), filter={"tags": ["x"]}, limit=5, offset=18)
        assert [hit.value["n"] for hit in found] == [600, 500, 400, 300, 200]

    play(work)


def test_search_by_meaning_is_refused_or_handed_on() -> None:
    """Without something that searches by meaning, a query is an error and not ignored."""
    asked: list[SearchOp] = []

    async def meaning(op: SearchOp) -> Sequence[tuple[tuple[str, ...], str, float]]:
        asked.append(op)
        return [(("a",), "two", 0.9), (("a",), "gone", 0.8), (("a",), "one", 0.5)]

    async def refused(store: ProviderStore) -> None:
        with pytest.raises(UnsupportedOperationError, match="a search with a query needs"):
            await store.asearch(("a",), query="what I like")

    async def answered(store: ProviderStore) -> None:
        await store.abatch([PutOp(("a",), "one", {"n": 1}), PutOp(("a",), "two", {"n": 2})])
        found = await store.asearch(("a",), query="what I like", limit=3)
        assert [(hit.key, hit.score) for hit in found] == [("two", 0.9), ("one", 0.5)]
        assert [(op.query, op.limit) for op in asked] == [("what I like", 3)]

    play(refused)
    play(answered, meaning=meaning)


# --- namespaces ----------------------------------------------------------------------------------

NAMESPACES = (
    ("a",),
    ("a", "b"),
    ("a", "b", "c"),
    ("a", "c"),
    ("b", "x", "v1"),
    ("b", "y", "v1"),
    ("b", "y", "v2"),
    ("ab",),
)
CONDITIONS: tuple[tuple[tuple[str, tuple[str, ...]], ...], ...] = (
    (),
    (("prefix", ("a",)),),
    (("prefix", ("*", "b")),),
    (("suffix", ("v1",)),),
    (("suffix", ("y", "*")),),
    (("prefix", ("b",)), ("suffix", ("v1",))),
    (("prefix", ("a", "b", "c", "d")),),
    (("prefix", ()), ("suffix", ())),
)


@pytest.mark.parametrize("place", SOME, indirect=True)
def test_namespaces_agree_with_langgraphs_own_store(place: Place) -> None:
    """Conditions, depth and pages give what `InMemoryStore` gives."""
    own = InMemoryStore()

    async def work(store: ProviderStore) -> None:
        for one in (own, store):
            await one.abatch([PutOp(name, "k", {}) for name in NAMESPACES])
        for conditions in CONDITIONS:
            matches = tuple(MatchCondition(kind, path) for kind, path in conditions)  # type: ignore[arg-type]
            for depth in (None, 1, 2):
                for limit, offset in ((100, 0), (2, 1)):
                    op = ListNamespacesOp(matches or None, depth, limit, offset)
                    assert await store.abatch([op]) == await own.abatch([op]), op
        await store.adelete(("ab",), "k")
        assert ("ab",) not in await store.alist_namespaces()

    play(work, place)


# --- times to live -------------------------------------------------------------------------------


def test_a_time_to_live_begins_anew_with_each_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the store or the call says otherwise; after it nothing is found."""
    time = ManualClock()
    monkeypatch.setattr(SYSTEM_CLOCK, "now_ms", time.clock.now_ms)

    async def main() -> None:
        async with InMemoryProvider(clock=time.clock) as provider:
            store = ProviderStore(provider, ttl={"default_ttl": 10})
            await store.aput(("a",), "k", {})
            await store.aput(("a",), "ever", {}, ttl=None)
            for _ in range(3):
                time.advance(9 * 60)
                assert await store.aget(("a",), "k") is not None
            time.advance(9 * 60)
            assert len(await store.asearch(("a",))) == 2
            time.advance(9 * 60)
            assert await store.aget(("a",), "k", refresh_ttl=False) is not None
            time.advance(2 * 60)
            assert await store.aget(("a",), "k") is None
            assert [hit.key for hit in await store.asearch(("a",))] == ["ever"]
            strict = ProviderStore(provider, ttl={"refresh_on_read": False})
            await strict.aput(("b",), "k", {}, ttl=1)
            time.advance(40)
            assert await strict.aget(("b",), "k") is not None
            time.advance(40)
            assert await strict.aget(("b",), "k") is None

    asyncio.run(main())


class Removing(InMemoryProvider):
    """Somebody removes an item after it was read."""

    gone: tuple[str, str] | None = None

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        if self.gone is not None:
            self._stored[self.gone[0]].pop(self.gone[1])
            self.gone = None
        return await super()._write(batch)


def test_an_item_that_goes_while_it_is_read_is_no_error() -> None:
    """The others' times begin anew all the same."""

    async def main() -> None:
        async with Removing() as provider:
            store = ProviderStore(provider)
            await store.abatch([PutOp(("a",), key, {}, ttl=5) for key in "xyz"])
            provider.gone = "langgraph_store", "a..y"
            assert len(await store.asearch(("a",))) == 3
            assert [hit.key for hit in await store.asearch(("a",))] == ["z", "x"]

    asyncio.run(main())


# --- at random -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["memory", "sqlite", "d1"], indirect=True)
def test_random_batches_agree_with_langgraphs_own_store(place: Place) -> None:
    """A thousand operations in batches leave the same items."""
    own, rng = InMemoryStore(), random.Random(11)

    async def work(store: ProviderStore) -> None:
        for _ in range(100):
            ops = [
                PutOp(
                    ("n", rng.choice("abc")),
                    str(rng.randrange(9)),
                    rng.choice([None, {"n": rng.randrange(5)}]),
                )
                for _ in range(10)
            ]
            await own.abatch(ops)
            await store.abatch(ops)
            for label in "abc":
                wanted = await own.asearch(("n", label), limit=100)
                found = await store.asearch(("n", label), limit=100)
                assert {hit.key: hit.value for hit in found} == {
                    hit.key: hit.value for hit in wanted
                }

    play(work, place)
