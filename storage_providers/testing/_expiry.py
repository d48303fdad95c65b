"""Cases: expiry by the injected clock, encoded documents, and full-text search."""

from __future__ import annotations

from typing import Final

import pytest

from storage_providers.errors import (
    InvalidArgumentError,
    InvalidDocumentError,
    ItemNotFoundError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    Clear,
    CollectionSpec,
    Delete,
    IfVersion,
    Index,
    JsonObject,
    Patch,
    Put,
)
from storage_providers.testing._harness import THINGS, Scene, case, cases

SOON: Final = "2026-01-31T12:00:10.000Z"
"""Ten seconds after the clock's start."""

FORMS: Final[dict[str, str]] = {
    "canonical": SOON,
    "no milliseconds": "2026-01-31T12:00:10Z",
    "offset": "2026-01-31T14:30:10.000+02:30",
    "microseconds": "2026-01-31T12:00:10.000999Z",
    "no zone is UTC": "2026-01-31T12:00:10",
    "space": "2026-01-31 12:00:10.000Z",
    "compact": "20260131T120010Z",
}

PAYLOADS: Final[dict[str, bytes]] = {
    "empty": b"",
    "all bytes": bytes(range(256)),
    "json": b'{"id":"not this"}',
    "nul": b"\x00",
    "large": bytes(range(256)) * 1200,
}


class ExpiryCases:
    """Expired documents are never read, queried or in the way."""

    @case()
    async def test_expired_documents_are_gone(self, scene: Scene) -> None:
        """From reads, queries, totals and counts; others stay."""
        await scene.fill({"id": "a", "expiresAt": SOON}, {"id": "b"})
        scene.clock.advance(9.999)
        assert await scene.ids() == ["a", "b"]
        scene.clock.advance(0.001)
        assert await scene.document("a") is None
        read = await scene.provider.read_items(THINGS, ["a", "b"])
        assert [item and item.id for item in read] == [None, "b"]
        page = await scene.provider.list_items(THINGS, total=True, order_by="-id")
        assert ([item.id for item in page.items], page.total) == (["b"], 1)
        assert await scene.provider.count_items(THINGS, where={"id": {"$in": ["a", "b"]}}) == 1

    @cases(FORMS)
    async def test_forms_of_time(self, scene: Scene, value: str) -> None:
        """Every ISO 8601 form counts to the millisecond, and is stored as it was given."""
        (item,) = await scene.fill({"id": "a", "expiresAt": value})
        assert item.document["expiresAt"] == value
        await scene.fill({"id": "b"})
        await scene.write(Patch(THINGS, "b", {"expiresAt": value}))
        scene.clock.advance(9.999)
        assert await scene.ids() == ["a", "b"]
        scene.clock.advance(0.001)
        assert await scene.ids() == []

    @case()
    async def test_expired_is_absent_to_conditions(self, scene: Scene) -> None:
        """It is not in the way of a create, and its old fields don't come back."""
        (old,) = await scene.fill({"id": "a", "old": 1, "expiresAt": SOON})
        scene.clock.advance(10)
        with pytest.raises(ItemNotFoundError):
            await scene.provider.update_item(THINGS, "a", {"n": 1, "expiresAt": None})
        if scene.capabilities.conditional_write:
            with pytest.raises(VersionMismatchError) as caught:
                await scene.write(Put(THINGS, {"id": "a"}, IfVersion(old.version)))
            assert caught.value.actual_version is None
            with pytest.raises(ItemNotFoundError):
                await scene.provider.modify_item(THINGS, "a", lambda document: document)
        if scene.capabilities.conditional_delete:
            with pytest.raises(VersionMismatchError):
                await scene.write(Delete(THINGS, "a", IfVersion(old.version)))
        await scene.provider.delete_item(THINGS, "a")
        created = await scene.provider.create_item(THINGS, {"id": "a"})
        assert created.document.keys() == {"id", "createdAt", "updatedAt"}
        assert await scene.ids() == ["a"]

    @case()
    async def test_a_create_takes_the_place_at_once(self, scene: Scene) -> None:
        """`IF_ABSENT` replaces an expired document without any delete before it."""
        await scene.fill({"id": "a", "old": 1, "expiresAt": SOON})
        scene.clock.advance(10)
        (item,) = await scene.write(Put(THINGS, {"id": "a", "new": 1}, IF_ABSENT))
        assert item.document == {"id": "a", "new": 1}
        scene.clock.advance(-5)
        assert await scene.document("a") == {"id": "a", "new": 1}

    @case()
    async def test_an_expiry_can_be_moved_and_removed(self, scene: Scene) -> None:
        """By patch and by put."""
        await scene.fill(*({"id": name, "expiresAt": SOON} for name in "abcd"))
        await scene.write(
            Patch(THINGS, "a", {"expiresAt": "2026-01-31T12:00:20.000Z"}),
            Patch(THINGS, "b", {"expiresAt": None}),
            Put(THINGS, {"id": "c"}),
            Patch(THINGS, "d", {"n": 1}),
        )
        scene.clock.advance(10)
        assert await scene.ids() == ["a", "b", "c"]
        assert "expiresAt" not in (await scene.document("b") or {})
        scene.clock.advance(10)
        assert await scene.ids() == ["b", "c"]

    @case()
    async def test_far_and_past_expiries(self, scene: Scene) -> None:
        """The ends of the calendar: what is past is gone at once, what is far stays."""
        await scene.fill(
            {"id": "first", "expiresAt": "0001-01-01T00:00:00.000Z"},
            {"id": "epoch", "expiresAt": "1970-01-01T00:00:00.000Z"},
            {"id": "past", "expiresAt": "2026-01-31T11:59:59.999Z"},
            {"id": "far", "expiresAt": "9999-12-31T23:59:59.999Z"},
            {"id": "null", "expiresAt": None},
        )
        assert await scene.ids() == ["far", "null"]
        scene.clock.advance(1e9)
        assert await scene.ids() == ["far", "null"]

    @case()
    async def test_expired_documents_can_be_cleared(self, scene: Scene) -> None:
        """Clear and put leave nothing of them, whatever the clock says later."""
        await scene.fill({"id": "a", "expiresAt": SOON}, {"id": "b", "expiresAt": SOON})
        scene.clock.advance(10)
        await scene.write(Clear(THINGS))
        scene.clock.advance(-10)
        assert await scene.ids() == []
        assert (await scene.provider.versions(THINGS)).entries == []

    @case("reopen")
    async def test_expiry_survives_reopening(self, scene: Scene) -> None:
        """It is kept with the document."""
        await scene.fill({"id": "a", "expiresAt": SOON}, {"id": "b"})
        scene.clock.advance(10)
        await scene.reopen()
        assert await scene.ids() == ["b"]
        assert await scene.document("a") is None

    @case()
    async def test_expiry_with_indexes(self, scene: Scene) -> None:
        """Indexed and array queries leave expired documents out as well."""
        await scene.provider.declare(
            CollectionSpec(collection=THINGS, indexes=(Index.of("v"), Index.of("tags", each=True)))
        )
        document: JsonObject = {"v": 1, "tags": ["x"]}
        await scene.fill({"id": "a", "expiresAt": SOON, **document}, {"id": "b", **document})
        scene.clock.advance(10)
        assert await scene.ids({"v": 1}, "v") == ["b"]
        assert await scene.ids({"tags": {"$contains": "x"}}) == ["b"]


class EncodingCases:
    """Documents that a layer turned into bytes: encoding and payload beside the document."""

    @cases(PAYLOADS)
    async def test_payloads_come_back(self, scene: Scene, value: bytes) -> None:
        """Bytes, encoding and the visible document, from every verb that returns items."""
        document = {"id": "a", "v": 1.0}
        (item,) = await scene.write(Put(THINGS, document, encoding="zstd+x-1", payload=value))
        assert (item.encoding, item.payload) == ("zstd+x-1", value)
        assert item.document == document
        (plain,) = await scene.fill({"id": "b"})
        assert (plain.encoding, plain.payload) == (None, None)
        assert await scene.provider.read_items(THINGS, ["a", "b"]) == [item, plain]
        assert (await scene.provider.list_items(THINGS)).items == [item, plain]

    @case()
    async def test_queries_see_the_visible_document(self, scene: Scene) -> None:
        """`where`, order and fields work on it; the payload comes along."""
        await scene.write(
            Put(THINGS, {"id": "a", "v": 2}, encoding="x", payload=b'{"v":1,"w":1}'),
            Put(THINGS, {"id": "b", "v": 1}, encoding="x", payload=b"b"),
        )
        assert await scene.ids({"v": 1}) == ["b"]
        assert await scene.ids({"w": {"$exists": True}}) == []
        assert await scene.ids(order_by="v") == ["b", "a"]
        (item,) = (await scene.provider.list_items(THINGS, where={"v": 2}, fields=["w"])).items
        assert (item.document, item.encoding) == ({"id": "a"}, "x")
        assert item.payload == b'{"v":1,"w":1}'

    @case()
    async def test_encoded_documents_are_not_patched(self, scene: Scene) -> None:
        """A patch would leave the payload behind: it is refused, and so is modifying."""
        (item,) = await scene.write(Put(THINGS, {"id": "a"}, encoding="x", payload=b"p"))
        error = await scene.refused(UnsupportedOperationError, Patch(THINGS, "a", {"n": 1}))
        assert (error.collection, error.item_id) == (THINGS, "a")
        if scene.capabilities.conditional_write:
            with pytest.raises(UnsupportedOperationError):
                await scene.provider.modify_item(THINGS, "a", lambda document: document)
        assert await scene.provider.read_item(THINGS, "a") == item

    @case("atomic_batch")
    async def test_a_refused_patch_refuses_the_batch(self, scene: Scene) -> None:
        """With the position of the patch; nothing else of the batch happens."""
        await scene.write(Put(THINGS, {"id": "a"}, encoding="x", payload=b"p"))
        with pytest.raises(UnsupportedOperationError) as caught:
            await scene.write(Put(THINGS, {"id": "b"}), Patch(THINGS, "a", {"n": 1}))
        assert (caught.value.index, caught.value.item_id) == (1, "a")
        assert await scene.ids() == ["a"]

    @case()
    async def test_versions_count_the_payload(self, scene: Scene) -> None:
        """A change of the payload or its encoding alone is a change."""
        seen: list[str] = []
        for encoding, payload in (("x", b"1"), ("x", b"2"), ("y", b"2")):
            (item,) = await scene.write(
                Put(THINGS, {"id": "a"}, encoding=encoding, payload=payload)
            )
            seen.append(item.version)
        (item,) = await scene.fill({"id": "a"})
        seen.append(item.version)
        assert len(set(seen)) == 4
        (entry,) = (await scene.provider.versions(THINGS)).entries
        assert entry.version == seen[-1]

    @case()
    async def test_a_plain_put_drops_the_payload(self, scene: Scene) -> None:
        """And an encoded put replaces a plain document; expiry holds for both."""
        await scene.write(Put(THINGS, {"id": "a"}, encoding="x", payload=b"p"))
        await scene.fill({"id": "a", "n": 1})
        item = await scene.provider.read_item(THINGS, "a")
        assert item is not None
        assert (item.encoding, item.payload) == (None, None)
        await scene.write(Patch(THINGS, "a", {"n": 2}))
        await scene.write(Put(THINGS, {"id": "a", "expiresAt": SOON}, encoding="x", payload=b"q"))
        item = await scene.provider.read_item(THINGS, "a")
        assert item is not None
        assert item.payload == b"q"
        scene.clock.advance(10)
        assert await scene.ids() == []
        (item,) = await scene.write(Put(THINGS, {"id": "a"}, IF_ABSENT))
        assert (item.encoding, item.payload) == (None, None)

    @case()
    async def test_encoded_documents_are_removed_whole(self, scene: Scene) -> None:
        """After a delete or clear, a new document of the same id has no payload."""
        for _ in range(2):
            await scene.write(Put(THINGS, {"id": "a"}, encoding="x", payload=b"p"))
            await scene.provider.delete_item(THINGS, "a")
            assert await scene.document("a") is None
            await scene.write(Put(THINGS, {"id": "a"}, encoding="x", payload=b"p"))
            await scene.provider.clear_collection(THINGS)
            (item,) = await scene.fill({"id": "a"})
            assert (item.encoding, item.payload) == (None, None)

    @case("reopen")
    async def test_payloads_survive_reopening(self, scene: Scene) -> None:
        """Bytes, encoding and version."""
        (item,) = await scene.write(
            Put("u/things", {"id": "a/b"}, encoding="x", payload=bytes(range(256)))
        )
        await scene.reopen()
        assert await scene.provider.read_item("u/things", "a/b") == item

    @case()
    async def test_wrong_encodings_are_refused(self, scene: Scene) -> None:
        """Encoding and payload go together, and the name has its alphabet."""
        for encoding, payload in (("x", None), (None, b"")):
            with pytest.raises(InvalidArgumentError):
                Put(THINGS, {"id": "a"}, encoding=encoding, payload=payload)
        for name in ("", "X", "a b", "a/b", "a.b", "-a", "é", "a" * 65, "a\n"):
            with pytest.raises(InvalidArgumentError):
                Put(THINGS, {"id": "a"}, encoding=name, payload=b"")
        await scene.write(Put(THINGS, {"id": "a"}, encoding="a" * 64, payload=b""))
        assert await scene.ids() == ["a"]


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
