"""Cases: full-text search on collections declared with `text_fields`."""

from __future__ import annotations

from typing import Final

import pytest

from storage_providers.errors import (
    InvalidDocumentError,
    UnsupportedOperationError,
)
from storage_providers.protocol import (
    Clear,
    CollectionSpec,
    JsonObject,
    Patch,
    Put,
)
from storage_providers.testing._harness import THINGS, Scene, case, cases

SOON: Final = "2026-01-31T12:00:10.000Z"
"""Ten seconds after the clock's start."""


class TextCases:
    """`$text` on collections declared with `text_fields`."""

    @case("text_search")
    async def test_text_search(self, scene: Scene) -> None:
        """A document matches when every word occurs in its declared fields, in any of them."""
        await _declare_text(scene)
        await scene.fill(*TEXTS)
        for words, expected in {
            "garden": ["1", "2"],
            "GARDEN": ["1", "2"],
            "garden water": ["1"],
            "water garden": ["1"],
            "tomatoes roof": ["2"],
            "hidden": [],
            "gard": [],
            "nothing": [],
        }.items():
            assert await scene.ids({"$text": words}) == expected, words
        assert await scene.provider.count_items(THINGS, where={"$text": "garden"}) == 2

    @case("text_search")
    async def test_text_search_among_conditions(self, scene: Scene) -> None:
        """`$text` combines with other conditions, order, pages and totals."""
        await _declare_text(scene)
        await scene.fill(*TEXTS)
        assert await scene.ids({"$text": "garden", "n": 2}) == ["2"]
        assert await scene.ids({"$or": [{"$text": "garden"}, {"n": 3}]}, "-n") == ["3", "2", "1"]
        assert await scene.ids({"$not": {"$text": "garden"}}) == ["3", "4"]
        assert await scene.ids({"$and": [{"$text": "garden"}, {"$text": "water"}]}) == ["1"]
        page = await scene.provider.list_items(
            THINGS, where={"$text": "garden"}, order_by="-n", limit=1, total=True
        )
        assert ([item.id for item in page.items], page.total) == (["2"], 2)
        page = await scene.provider.list_items(
            THINGS, where={"$text": "garden"}, order_by="-n", cursor=page.cursor
        )
        assert [item.id for item in page.items] == ["1"]

    @case("text_search")
    async def test_text_search_follows_changes(self, scene: Scene) -> None:
        """Puts, patches, deletes, clears and expiry are at once in what is found."""
        await scene.fill(TEXTS[0])
        await _declare_text(scene)
        assert await scene.ids({"$text": "garden"}) == ["1"]
        await scene.write(Patch(THINGS, "1", {"title": "Orchard"}), Put(THINGS, TEXTS[1]))
        assert await scene.ids({"$text": "garden"}) == ["2"]
        assert await scene.ids({"$text": "orchard water"}) == ["1"]
        await scene.provider.delete_item(THINGS, "2")
        assert await scene.ids({"$text": "garden"}) == []
        await scene.fill({"id": "5", "title": "garden", "expiresAt": SOON})
        assert await scene.ids({"$text": "garden"}) == ["5"]
        scene.clock.advance(10)
        assert await scene.ids({"$text": "garden"}) == []
        await scene.write(Clear(THINGS))
        assert await scene.ids({"$text": "orchard"}) == []

    @cases(
        {
            "quotes": '"garden',
            "quote in the middle": 'gar"den',
            "apostrophe": "gar'den",
            "or": "garden OR nothing",
            "not": "garden NOT water",
            "near": "NEAR(garden water)",
            "star": "gard*",
            "minus": "garden -water",
            "column": "title:garden",
            "caret": "^garden",
            "parentheses": "(garden",
            "plus": "garden + water",
            "only signs": "*** --- (((",
            "braces": "{title} : garden",
        },
        "text_search",
    )
    async def test_search_operators_are_words(self, scene: Scene, value: str) -> None:
        """What a search engine may take for operators is text: no error, no wider match."""
        await _declare_text(scene)
        await scene.fill(*TEXTS)
        found = await scene.ids({"$text": value})
        assert set(found) <= {"1", "2"}
        if "nothing" in value or "NOT" in value or "NEAR" in value or "gard*" in value:
            assert found == []

    @case("text_search")
    async def test_text_search_keeps_scopes_apart(self, scene: Scene) -> None:
        """Each scope is declared and searched for itself."""
        await _declare_text(scene)
        await _declare_text(scene, "u/things")
        await scene.fill(TEXTS[0])
        await scene.fill(TEXTS[1], collection="u/things")
        assert await scene.ids({"$text": "garden"}) == ["1"]
        assert await scene.ids({"$text": "garden"}, (), "u/things") == ["2"]
        with pytest.raises(UnsupportedOperationError):
            await scene.ids({"$text": "garden"}, (), "v/things")

    @case("text_search")
    async def test_text_search_needs_a_declaration(self, scene: Scene) -> None:
        """Without `text_fields`, or after they were dropped, `$text` is refused."""
        await scene.fill(*TEXTS)
        with pytest.raises(UnsupportedOperationError):
            await scene.ids({"$text": "garden"})
        await _declare_text(scene)
        assert await scene.ids({"$text": "garden"}) == ["1", "2"]
        await scene.provider.declare(CollectionSpec(collection=THINGS, text_fields=("note",)))
        assert await scene.ids({"$text": "garden"}) == []
        assert await scene.ids({"$text": "hidden"}) == ["3"]
        await scene.provider.declare(CollectionSpec(collection=THINGS))
        with pytest.raises(UnsupportedOperationError):
            await scene.ids({"$text": "garden"})

    @case("text_search", "reopen")
    async def test_text_search_survives_reopening(self, scene: Scene) -> None:
        """Declaration and index are kept with the data."""
        await _declare_text(scene)
        await scene.fill(*TEXTS)
        await scene.reopen()
        assert await scene.ids({"$text": "garden water"}) == ["1"]
        with pytest.raises(InvalidDocumentError):
            Put(THINGS, {"id": 1})


TEXTS: Final[tuple[JsonObject, ...]] = (
    {"id": "1", "n": 1, "title": "Garden plan", "body": {"text": "water the roses"}},
    {"id": "2", "n": 2, "title": "Roof garden", "body": {"text": "tomatoes, mostly"}},
    {"id": "3", "n": 3, "title": "Kitchen", "note": "hidden"},
    {"id": "4", "n": 4, "title": None, "body": "no object"},
)


async def _declare_text(scene: Scene, collection: str = THINGS) -> None:
    await scene.provider.declare(
        CollectionSpec(collection=collection, text_fields=("title", "body.text"))
    )
