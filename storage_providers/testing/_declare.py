"""Cases: declarations, limits, time to live, scopes and names."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest

from storage_providers.errors import (
    DocumentTooLargeError,
    InvalidArgumentError,
    InvalidDocumentError,
    UnsupportedOperationError,
)
from storage_providers.protocol import Clear, CollectionSpec, Delete, Index, Patch, Put
from storage_providers.testing._harness import THINGS, Scene, case, cases
from storage_providers.testing.strategies import FIELDS, escaped

WRONG_SPECS: Final[dict[str, dict[str, Any]]] = {
    "name": {"collection": "Wrong"},
    "index of nothing": {"indexes": (Index(()),)},
    "each of two": {"indexes": (Index.of("a", "b", each=True),)},
    "index twice": {"indexes": (Index.of("a"), Index.of("a"))},
    "index path": {"indexes": (Index.of("a..b"),)},
    "nul in a path": {"indexes": (Index.of("a\x00"),)},
    "one field twice": {"indexes": (Index.of("a", "-a"),)},
    "text path": {"text_fields": ("",)},
    "no time to live": {"default_ttl_seconds": 0},
    "negative time to live": {"default_ttl_seconds": -1.0},
    "nan": {"default_ttl_seconds": math.nan},
    "infinite": {"default_ttl_seconds": math.inf},
    "beyond the year 9999": {"default_ttl_seconds": 1e15},
    "no bytes": {"max_document_bytes": 0},
    "negative bytes": {"max_document_bytes": -5},
}


def _needs_json_escape(name: str) -> bool:
    return '"' in name or "\\" in name or not name.isprintable()


class DeclareCases:
    """What is kept about collections, beside their documents."""

    @case()
    async def test_declare_and_ask(self, scene: Scene) -> None:
        """A declaration is kept as given, for its exact collection and scope."""
        spec = CollectionSpec(
            collection=THINGS,
            indexes=(Index.of("a", "-b.c"), Index.of("tags", each=True)),
            default_ttl_seconds=60.5,
            max_document_bytes=10_000,
        )
        assert await scene.provider.declared(THINGS) is None
        await scene.provider.declare(spec)
        await scene.provider.declare(spec)
        assert await scene.provider.declared(THINGS) == spec
        assert await scene.provider.declared("u/things") is None
        assert await scene.provider.declared("others") is None
        assert await scene.provider.collections() == [THINGS]

    @case()
    async def test_declaring_again_replaces(self, scene: Scene) -> None:
        """The new declaration takes the place of the old; documents and answers stay."""
        await scene.provider.declare(CollectionSpec(collection=THINGS, indexes=(Index.of("v"),)))
        await scene.fill(*({"id": f"{n}", "v": -n} for n in range(5)))
        for indexes in ((Index.of("w"),), (Index.of("-v"), Index.of("v", "w")), ()):
            spec = CollectionSpec(collection=THINGS, indexes=indexes)
            await scene.provider.declare(spec)
            assert await scene.provider.declared(THINGS) == spec
            assert await scene.ids({"v": {"$lt": 0}}, "v") == ["4", "3", "2", "1"]

    @case()
    async def test_a_declaration_survives_clearing(self, scene: Scene) -> None:
        """Clearing removes documents alone."""
        spec = CollectionSpec(collection=THINGS, indexes=(Index.of("v"),))
        await scene.provider.declare(spec)
        await scene.fill({"id": "a"})
        await scene.write(Clear(THINGS))
        scene.clock.advance(61)
        assert await scene.provider.declared(THINGS) == spec
        assert await scene.provider.collections() == [THINGS]

    @case("reopen", "strongly_consistent")
    async def test_a_declaration_survives_reopening(self, scene: Scene) -> None:
        """It is kept with the data, limits and all."""
        spec = CollectionSpec(
            collection="u/things",
            indexes=(Index.of("v", "-w"),),
            default_ttl_seconds=1.5,
            max_document_bytes=200,
        )
        await scene.provider.declare(spec)
        provider = await scene.reopen()
        assert await provider.declared("u/things") == spec
        assert await provider.declared(THINGS) is None
        with pytest.raises(DocumentTooLargeError):
            await provider.create_item("u/things", {"v": "x" * 200})

    @case("share", "strongly_consistent")
    async def test_a_declaration_reaches_others_in_a_minute(self, scene: Scene) -> None:
        """Another provider on the same data holds writes to it after 60 seconds at most."""
        other = await scene.another()
        assert await other.declared(THINGS) is None
        spec = CollectionSpec(collection=THINGS, max_document_bytes=100)
        await scene.provider.declare(spec)
        scene.clock.advance(60)
        assert await other.declared(THINGS) == spec
        with pytest.raises(DocumentTooLargeError):
            await other.create_item(THINGS, {"v": "x" * 100})

    @cases(WRONG_SPECS)
    async def test_wrong_declarations_are_refused(
        self, scene: Scene, value: dict[str, Any]
    ) -> None:
        """Nothing is clamped or ignored, and nothing of it is kept."""
        arguments: dict[str, Any] = {"collection": THINGS, **value}
        with pytest.raises(InvalidArgumentError) as caught:
            await scene.provider.declare(CollectionSpec(**arguments))
        assert caught.value.operation == "declare"
        assert await scene.provider.declared(THINGS) is None

    @case(lacks=["text_search"])
    async def test_undeclared_text_fields(self, scene: Scene) -> None:
        """Without `text_search`, `text_fields` are refused."""
        with pytest.raises(UnsupportedOperationError):
            await scene.provider.declare(CollectionSpec(collection=THINGS, text_fields=("v",)))
        assert await scene.provider.declared(THINGS) is None

    @case()
    async def test_indexes_on_awkward_names(self, scene: Scene) -> None:
        """Fields that need escaping can be indexed, alone, by member and together."""
        names = [name for name in FIELDS if not _needs_json_escape(name)]
        await scene.fill(*({"id": f"{n}", **dict.fromkeys(names, n)} for n in range(4)))
        await scene.provider.declare(
            CollectionSpec(
                collection=THINGS,
                indexes=(
                    *(Index.of(escaped(name)) for name in names),
                    *(Index.of("-" + escaped(name), each=True) for name in names[:3]),
                    Index.of(*map(escaped, names)),
                ),
            )
        )
        for name in names:
            path = escaped(name)
            assert await scene.ids({path: {"$gte": 2}}, "-" + path) == ["3", "2"], name

    @cases({name: name for name in FIELDS if _needs_json_escape(name)})
    async def test_indexes_on_names_json_escapes(self, scene: Scene, value: str) -> None:
        """Fields that JSON itself escapes are indexed, or refused and nothing is kept."""
        await scene.fill(*({"id": f"{n}", value: n} for n in range(4)))
        spec = CollectionSpec(collection=THINGS, indexes=(Index.of(escaped(value)),))
        try:
            await scene.provider.declare(spec)
        except UnsupportedOperationError:
            assert await scene.provider.declared(THINGS) is None
        else:
            assert await scene.provider.declared(THINGS) == spec
        path = escaped(value)
        assert await scene.ids({path: {"$gte": 2}}, "-" + path) == ["3", "2"]

    # --- limits --------------------------------------------------------------------------------

    @case()
    async def test_a_declared_size_limit(self, scene: Scene) -> None:
        """Documents of exactly the limit pass, one byte more is refused with both numbers."""
        await scene.provider.declare(CollectionSpec(collection=THINGS, max_document_bytes=100))
        room = 100 - len(b'{"id":"a","v":""}')
        await scene.fill({"id": "a", "v": "x" * room})
        error = await scene.refused(
            DocumentTooLargeError, Put(THINGS, {"id": "a", "v": "y" * (room + 1)})
        )
        assert isinstance(error, DocumentTooLargeError)
        assert (error.size_bytes, error.limit_bytes) == (101, 100)
        assert (error.collection, error.item_id, error.index) == (THINGS, "a", 0)
        assert "101" in str(error)
        assert "100" in str(error)
        assert await scene.document("a") == {"id": "a", "v": "x" * room}
        await scene.fill({"id": "a", "v": "x" * 1000}, collection="u/things")

    @case()
    async def test_size_counts_bytes(self, scene: Scene) -> None:
        """Text counts by its UTF-8 bytes, and a payload counts too."""
        await scene.provider.declare(CollectionSpec(collection=THINGS, max_document_bytes=100))
        await scene.refused(DocumentTooLargeError, Put(THINGS, {"id": "a", "v": "€" * 40}))
        await scene.refused(
            DocumentTooLargeError, Put(THINGS, {"id": "a"}, encoding="x", payload=bytes(91))
        )
        await scene.write(Put(THINGS, {"id": "a"}, encoding="x", payload=bytes(90)))

    @case()
    async def test_a_patch_is_held_to_the_limit(self, scene: Scene) -> None:
        """The patched document counts, not the patch; a refused one changes nothing."""
        await scene.provider.declare(CollectionSpec(collection=THINGS, max_document_bytes=100))
        await scene.fill({"id": "a", "v": "x" * 60})
        error = await scene.refused(DocumentTooLargeError, Patch(THINGS, "a", {"w": "y" * 60}))
        assert isinstance(error, DocumentTooLargeError)
        assert (error.limit_bytes, error.item_id) == (100, "a")
        assert error.size_bytes > 100
        assert await scene.document("a") == {"id": "a", "v": "x" * 60}
        await scene.write(Patch(THINGS, "a", {"v": None, "w": "y" * 60}))
        assert await scene.document("a") == {"id": "a", "w": "y" * 60}

    @case("atomic_batch")
    async def test_one_large_document_refuses_the_batch(self, scene: Scene) -> None:
        """By put or by patch, at its position; nothing of the batch happens."""
        await scene.provider.declare(CollectionSpec(collection=THINGS, max_document_bytes=100))
        await scene.fill({"id": "a", "v": "x" * 60}, {"id": "gone"})
        for large in (Put(THINGS, {"id": "b", "v": "x" * 99}), Patch(THINGS, "a", {"w": "x" * 60})):
            with pytest.raises(DocumentTooLargeError) as caught:
                await scene.provider.write(
                    [Delete(THINGS, "gone"), Put("others", {"id": "c"}), large]
                )
            assert (caught.value.index, caught.value.item_id) == (2, large.id)
            assert await scene.ids() == ["a", "gone"]
            assert await scene.ids(collection="others") == []

    @case()
    async def test_a_limit_can_be_lifted(self, scene: Scene) -> None:
        """Larger documents than a new limit stay readable; declaring anew lifts it."""
        await scene.fill({"id": "a", "v": "x" * 500})
        await scene.provider.declare(CollectionSpec(collection=THINGS, max_document_bytes=100))
        assert await scene.document("a") == {"id": "a", "v": "x" * 500}
        await scene.refused(DocumentTooLargeError, Patch(THINGS, "a", {"w": 1}))
        await scene.provider.declare(CollectionSpec(collection=THINGS))
        await scene.write(Patch(THINGS, "a", {"w": 1}))

    @case("max_document_bytes")
    async def test_the_providers_own_limit(self, scene: Scene) -> None:
        """A document of `max_document_bytes` passes, one byte more is refused."""
        limit = scene.capabilities.max_document_bytes
        assert limit is not None
        room = limit - len(b'{"id":"a","v":""}')
        await scene.fill({"id": "a", "v": "x" * room})
        error = await scene.refused(
            DocumentTooLargeError, Put(THINGS, {"id": "b", "v": "x" * (room + 1)})
        )
        assert isinstance(error, DocumentTooLargeError)
        assert (error.size_bytes, error.limit_bytes) == (limit + 1, limit)
        await scene.refused(DocumentTooLargeError, Patch(THINGS, "a", {"w": 1}))
        assert await scene.ids() == ["a"]

    # --- default time to live ------------------------------------------------------------------

    @case()
    async def test_a_default_time_to_live(self, scene: Scene) -> None:
        """Documents made by the friendly face get `expiresAt`, unless they have their own."""
        await scene.provider.declare(CollectionSpec(collection=THINGS, default_ttl_seconds=60))
        provider = scene.provider
        created = await provider.create_item(THINGS, {"id": "created"})
        assert created.document["expiresAt"] == "2026-01-31T12:01:00.000Z"
        (put,) = await provider.put_items(THINGS, [{"id": "put"}])
        assert put.document["expiresAt"] == "2026-01-31T12:01:00.001Z"
        never = await provider.create_item(THINGS, {"id": "never", "expiresAt": None})
        assert never.document["expiresAt"] is None
        later = await provider.create_item(
            THINGS, {"id": "later", "expiresAt": "2026-02-01T00:00:00.000Z"}
        )
        assert later.document["expiresAt"] == "2026-02-01T00:00:00.000Z"
        await scene.fill({"id": "verbatim"})
        scene.clock.advance(30)
        updated = await provider.update_item(THINGS, "created", {"n": 1})
        assert updated.document["expiresAt"] == "2026-01-31T12:01:00.000Z"
        scene.clock.advance(31)
        assert await scene.ids() == ["later", "never", "verbatim"]

    @case()
    async def test_a_short_time_to_live(self, scene: Scene) -> None:
        """Fractions of a second count."""
        await scene.provider.declare(CollectionSpec(collection=THINGS, default_ttl_seconds=0.25))
        await scene.provider.create_item(THINGS, {"id": "a"})
        scene.clock.advance(0.2)
        assert await scene.ids() == ["a"]
        scene.clock.advance(0.1)
        assert await scene.ids() == []

    @case()
    async def test_modify_keeps_the_expiry(self, scene: Scene) -> None:
        """A changed document neither loses nor moves its `expiresAt` by itself."""
        if not scene.capabilities.conditional_write:
            return
        await scene.provider.declare(CollectionSpec(collection=THINGS, default_ttl_seconds=60))
        created = await scene.provider.create_item(THINGS, {"id": "a"})
        scene.clock.advance(10)
        item = await scene.provider.modify_item(THINGS, "a", lambda document: document)
        assert item.document["expiresAt"] == created.document["expiresAt"]

    @case()
    async def test_a_wrong_expiry_is_refused(self, scene: Scene) -> None:
        """By every verb, naming the field."""
        await scene.fill({"id": "a"})
        for wrong in ("soon", 1_700_000_000, True, "", {"$date": 1}, "2026-13-01"):
            for attempt in (
                scene.provider.create_item(THINGS, {"id": "b", "expiresAt": wrong}),
                scene.provider.put_item(THINGS, {"id": "a", "expiresAt": wrong}),
                scene.provider.update_item(THINGS, "a", {"expiresAt": wrong}),
            ):
                with pytest.raises(InvalidDocumentError) as caught:
                    await attempt
                assert caught.value.field == "expiresAt"
        assert await scene.everything() == {"a": {"id": "a"}}
