"""Walking over documents in the order of ids, whatever stands in their folder."""

from __future__ import annotations

import asyncio

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import Query
from storage_providers.providers._objects.candidates import (
    EVERY_ID,
    Candidate,
    InKeyOrder,
    Source,
    Stranger,
)
from storage_providers.providers._objects.entries import LAST, value_key
from storage_providers.providers._objects.keys import earlier_ids
from storage_providers.providers._objects.pages import Pages
from storage_providers.providers._objects.spans import Span
from storage_providers.providers._objects.walk import ById
from storage_providers.testing.strategies import ids
from tests.objects.memory_store import LIMITS, MemoryStore
from tests.objects.planting import THINGS, Bucket, flat, numbered, pages, played

STRANGERS = (
    "%zzz.json",
    "%é.json",
    "%a!.json",
    "%a!b.json",
    "%.json",
    "%~~~.json",
    "%-00!.json",
    "\x7f.json",
    "tab\there.json",
)
"""Names that look like documents' and are none."""

relatives = st.text(st.sampled_from("ab -.j~!%/é$&z"), min_size=1, max_size=4)


async def rest_of(source: Source) -> list[Candidate | Stranger]:
    """All that a source proposes."""
    found: list[Candidate | Stranger] = []
    while (each := await source.next()) is not None:
        found.append(each)
    return found


def bucket_of(names: list[str], list_page: int) -> Bucket:
    """Documents with these ids, listed in small pages; folders and files among them."""
    limits = msgspec.structs.replace(LIMITS, list_page=list_page)
    bucket = Bucket(store=MemoryStore(limits))
    bucket.plant(*({"id": name} for name in names))
    for name in ("a-/deeper.json", "b/x/y.json", "a-readme.txt", "0/0.json", "~"):
        bucket.put(f"{THINGS}/{name}", b"{}")
    return bucket


@settings(max_examples=300)
@given(
    st.lists(relatives | ids(max_bytes=100), max_size=25, unique=True),
    st.sampled_from([1, 2, 3, 5, 1000]),
    relatives,
)
def test_ids_come_in_order_once(names: list[str], list_page: int, start: str) -> None:
    """From the beginning and behind any id, with pages that end anywhere."""
    bucket = bucket_of(names, list_page)

    async def walk(span: Span) -> list[str]:
        source = ById(bucket.store, bucket.layout, THINGS, span=span)
        found = [each for each in await rest_of(source) if isinstance(each, Candidate)]
        places = [each.place for each in found]
        assert places == sorted(set(places))
        assert all(each.id in names or each.probe for each in found)
        return [each.id for each in found if each.id in names]

    assert asyncio.run(walk(EVERY_ID)) == sorted(names)
    behind = Span(value_key(start) + LAST, EVERY_ID.stop)
    assert asyncio.run(walk(behind)) == sorted(name for name in names if name > start)
    before = Span(EVERY_ID.start, value_key(start))
    assert asyncio.run(walk(before)) == sorted(name for name in names if name < start)


@settings(max_examples=200)
@given(
    st.lists(relatives | ids(max_bytes=100), max_size=25, unique=True),
    st.sampled_from([1, 2, 3, 1000]),
    st.integers(1, 4),
)
def test_a_walk_goes_on_where_it_stopped(names: list[str], list_page: int, step: int) -> None:
    """What a candidate says of the rest, a new walk behind it relies on."""
    bucket = bucket_of(names, list_page)

    async def walk() -> list[str]:
        found, span, rest = list[str](), EVERY_ID, ""
        while True:
            source = ById(bucket.store, bucket.layout, THINGS, span=span, size=1, rest=rest)
            for _ in range(step):
                each = await source.next()
                if each is None:
                    return found
                assert isinstance(each, Candidate)
                span, rest = Span(each.place + LAST, EVERY_ID.stop), each.rest
                found += [each.id] if each.id in names else []

    assert asyncio.run(walk()) == sorted(names)


@settings(max_examples=200)
@given(st.lists(relatives, max_size=25, unique=True), st.sampled_from([1, 2, 1000]))
def test_key_order_proposes_the_same(names: list[str], list_page: int) -> None:
    """The cheapest walk misses and repeats nothing."""
    bucket = bucket_of(names, list_page)
    found = asyncio.run(rest_of(InKeyOrder(bucket.store, bucket.layout, THINGS)))
    assert sorted(each.id for each in found if isinstance(each, Candidate)) == sorted(names)


def test_what_is_listed_too_late_is_known() -> None:
    """Ids whose key comes after that of an id which sorts behind them."""
    assert earlier_ids("task-1.json") == ["task"]
    assert earlier_ids("task.a.json") == ["task"]
    assert earlier_ids("task.json") == []
    assert earlier_ids("task.z.json") == []
    assert earlier_ids("0192-ab-cd.json") == ["0192", "0192-ab"]
    assert earlier_ids("a-1/") == ["a"]
    assert earlier_ids("") == []


@played
async def test_a_probe_that_is_there_is_found() -> None:
    """The page ends between `task-…` and `task`, whose turn is before all of these."""
    bucket = Bucket()
    names = ["task", *(f"task-{number:02}" for number in range(30)), "task.a", "task.z", "taska"]
    bucket.plant(*({"id": name} for name in names))
    async with bucket.provider as provider:
        for limit in (1, 2, 3, 5, 40):
            assert flat(await pages(provider, Query(THINGS, limit=limit))) == names
        bucket.remove("task")
        for limit in (1, 2, 3, 5, 40):
            assert flat(await pages(provider, Query(THINGS, limit=limit))) == names[1:]


@played
async def test_strangers_are_named_once() -> None:
    """Names that this SDK does not write, on the page where they stand, by any way to list."""
    bucket = Bucket()
    bucket.plant(*numbered(20), {"id": "a/b"}, {"id": "%z"}, {"id": "~"}, {"id": " "})
    for name in STRANGERS:
        bucket.put(f"{THINGS}/{name}", b'{"id": "x"}')
    keys = sorted(f"{THINGS}/{name}" for name in STRANGERS)
    async with bucket.provider as provider:
        for order in ((), ("-id",), ("n",), ("-n", "id")):
            for limit in (1, 3, 24, 100):
                for total in (False, True):
                    query = Query(THINGS, {"n": {"$ne": 99}}, order, limit, total=total)
                    found = await pages(provider, query)
                    assert len(flat(found)) == 24
                    named = sorted(str(e.source) for page in found for e in page.corrupt)
                    assert named == keys, (order, limit, total)
                    if total:
                        assert {page.total for page in found} == {24}
            found = await pages(provider, Query(THINGS, None, order, 5))
            assert sorted(str(e.source) for page in found for e in page.corrupt) == keys


@played
async def test_damaged_documents_are_named_once() -> None:
    """Each on one page, whatever the order and the size of pages; the others are all there."""
    bucket = Bucket()
    bucket.plant(*numbered(12))
    broken = ["00000", "00003", "00004", "00011", "a/b", "x"]
    for item_id in broken:
        bucket.put(bucket.layout.document(THINGS, item_id), b'{"half": ')
    wrong = bucket.layout.document(THINGS, "y")
    bucket.put(wrong, b'{"id": "another"}')
    async with bucket.provider as provider:
        for order in ((), ("-id",), ("n",), ("-n",)):
            for limit in (1, 2, 8, 100):
                for total in (False, True):
                    query = Query(THINGS, None, order, limit, total=total)
                    found = await pages(provider, query)
                    assert len(flat(found)) == 8
                    named = sorted(str(e.item_id) for page in found for e in page.corrupt)
                    assert named == [*broken, "y"], (order, limit, total)
                    for error in (e for page in found for e in page.corrupt):
                        assert error.__traceback__ is None
                        assert error.__context__ is None


@played
async def test_names_in_another_normal_form() -> None:
    """A document that was uploaded under a form other than NFC is found in the turn of its id."""
    for list_page in (1, 2, 3, 1000):
        limits = msgspec.structs.replace(LIMITS, list_page=list_page)
        bucket = Bucket(store=MemoryStore(limits))
        bucket.plant(*({"id": name} for name in ("a", "e", "f", "o", "z", "ü", "가", "é", "ö")))
        for name in ("e\u0301", "o\u0308", "\u1100\u1161"):
            bucket.put(f"{THINGS}/{name}.json", b"{}")
        whole = ["a", "e", "f", "o", "z", "é", "ö", "ü", "가"]
        async with bucket.provider as provider:
            for limit in (1, 2, 4, 100):
                found = await pages(provider, Query(THINGS, limit=limit))
                assert flat(found) == whole, (list_page, limit)
                assert not any(page.corrupt for page in found)
            found = await pages(provider, Query(THINGS, None, ("-id",), limit=2))
            assert flat(found) == whole[::-1]


@played
async def test_a_name_whose_turn_is_over_is_named() -> None:
    """The kelvin sign's NFC form `K` sorts long before it: nobody would see it come."""
    bucket = Bucket()
    bucket.plant({"id": "a"}, {"id": "z"})
    bucket.put(f"{THINGS}/\u212a.json", b"{}")
    async with bucket.provider as provider:
        found = await pages(provider, Query(THINGS, limit=1))
        assert flat(found) == ["a", "z"]
        assert [e.source for page in found for e in page.corrupt] == [f"{THINGS}/\u212a.json"]
        assert await provider.read_item(THINGS, "K") is not None


@played
async def test_cursors_with_their_marks_are_held_to_their_form() -> None:
    """Whatever is cut from or added to one is refused or means the same."""
    bucket = Bucket()
    bucket.plant(*numbered(20), {"id": "a/b"}, {"id": "0/1"})
    async with bucket.provider as provider:
        page = await provider.list_items(THINGS, limit=3)
        while page.cursor is not None:
            cursor, behind = page.cursor, await provider.list_items(THINGS, cursor=page.cursor)
            for damaged in (cursor[:-4], cursor[4:], cursor + "AAAA", cursor + "!!", "!", "~", "^"):
                try:
                    again = await provider.list_items(THINGS, cursor=damaged)
                except InvalidArgumentError:
                    continue
                assert flat([again]) == flat([behind])
            page = await provider.list_items(THINGS, limit=3, cursor=cursor)


@played
async def test_pages_grow_and_pass_over_lines_where_they_must() -> None:
    """Pages of a listing: larger ones follow, a start is kept where the service has none."""
    for anywhere in (True, False):
        limits = msgspec.structs.replace(LIMITS, starts_anywhere=anywhere)
        bucket = Bucket(store=MemoryStore(limits))
        bucket.plant(*numbered(2000))
        listing = Pages(bucket.store, f"{THINGS}/", after=f"{THINGS}/00099.json", size=10)
        sizes, keys = list[int](), list[str]()
        while not listing.ended:
            lines = await listing.next()
            sizes.append(len(lines.entries))
            keys += [entry.key for entry in lines.entries]
        assert keys == [f"{THINGS}/{number:05}.json" for number in range(100, 2000)]
        if anywhere:
            assert sizes == [10, 40, 160, 640, 1000, 50]
