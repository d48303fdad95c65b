"""Versions and the names of collections, from listings alone."""

from __future__ import annotations

import pytest

from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import Index
from storage_providers.providers._objects import listing
from storage_providers.testing.strategies import AWKWARD_IDS
from tests.objects.planting import THINGS, Bucket, numbered, played

# --- versions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 1000, 5000])
@played
async def test_versions_of_awkward_ids(limit: int) -> None:
    """Every id once, whatever else is in the folder."""
    bucket = Bucket()
    bucket.plant(*({"id": item_id} for item_id in AWKWARD_IDS))
    for name in ("deeper/x.json", "a-/b.json", "readme.txt", "%zzz.json", ".json", "~/y.json"):
        bucket.put(f"{THINGS}/{name}", b"{}")
    async with bucket.provider as provider:
        found: dict[str, str] = {}
        cursor, seen = None, 0
        while True:
            page = await provider.versions(THINGS, cursor, limit)
            assert len(page.entries) <= limit
            assert page.entries
            found |= {entry.id: entry.version for entry in page.entries}
            seen += len(page.entries)
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == len(AWKWARD_IDS)
        assert set(found) == set(AWKWARD_IDS)
        items = await provider.read_items(THINGS, found)
        assert [item.version for item in items if item] == list(found.values())


@played
async def test_versions_show_what_is_damaged_too() -> None:
    """A copy has to know that there is something it could not copy."""
    bucket = Bucket()
    bucket.put(f"{THINGS}/broken.json", b"{")
    async with bucket.provider as provider:
        assert [entry.id for entry in (await provider.versions(THINGS)).entries] == ["broken"]
        with pytest.raises(InvalidArgumentError):
            await listing.versions(provider, THINGS, "no cursor", 10)


@played
async def test_versions_of_nothing() -> None:
    """An empty collection, and one in whose folder there are only deeper ones."""
    bucket = Bucket()
    bucket.plant(*numbered(3), collection="things/inner")
    async with bucket.provider as provider:
        assert (await provider.versions(THINGS)).entries == []
        assert (await provider.versions("absent")).entries == []
        assert await provider.count_items(THINGS) == 0


# --- collections -------------------------------------------------------------------------------

NAMES = [
    "things",
    "things/things",
    "things/inner/things",
    "user-7/things",
    "user-70/things",
    "user-7/work/todos",
    "user-7/work",
    "Ünï cödé/things",
    ".hidden/things",
    "%/things",
    "e\u0301/things",
    "é/things",
    "a.json/things",
    "things.json/b",
]


@pytest.mark.parametrize("prefix", ["", "app", "app/data"])
@played
async def test_collections_of_every_scope(prefix: str) -> None:
    """Those that hold documents or are declared; of all scopes, or of one and those inside it."""
    bucket = Bucket(Index.of("v"), prefix=prefix)
    for name in NAMES:
        bucket.plant({"id": "a", "v": 1}, {"id": "b/c", "v": 2}, collection=name)
    bucket.declare("declared")
    bucket.declare("user-7/declared")
    bucket.declare("only/declared/here")
    bucket.declare("things")
    declared = ["declared", "user-7/declared", "only/declared/here"]
    for foreign in (
        "Upper Case/x.json",
        "todos/readme.txt",
        "empty/",
        ".git/x.json",
        "%zzz/y/x.json",
        "-dash/x.json",
        "x.json",
        "pictures/2026/a.png",
        "user-7/-what/x.json",
    ):
        bucket.put(bucket.layout.prefix + foreign, b"{}")
    if prefix:
        bucket.put("outside/x.json", b"{}")
        bucket.put(prefix + "lication/x.json", b"{}")
    async with bucket.provider as provider:
        everything = sorted([*NAMES, *declared])
        assert await provider.collections() == everything
        for scope in ("user-7", "things", "user-7/work", "only", "absent", "é", "%", ".hidden"):
            inside = [name for name in everything if name.startswith(f"{scope}/")]
            assert await provider.collections(scope) == inside, scope


@played
async def test_a_collection_in_the_longest_scope() -> None:
    """Its folder is looked at though no scope could be so long."""
    bucket = Bucket()
    name = "s" * 256 + "/things"
    bucket.plant({"id": "a"}, collection=name)
    async with bucket.provider as provider:
        assert await provider.collections() == [name]


@played
async def test_collections_cost_listings_only() -> None:
    """One for each folder and each thousand of documents."""
    bucket = Bucket()
    for number in range(20):
        bucket.plant({"id": "a"}, collection=f"user-{number}/things")
    bucket.plant(*numbered(2500))
    async with bucket.provider as provider:
        assert len(await provider.collections()) == 21
        assert bucket.asked == {"list": 1 + 20 * 2 + 3}
        bucket.forget()
        assert await provider.collections("user-7") == ["user-7/things"]
        assert bucket.asked == {"list": 2}
