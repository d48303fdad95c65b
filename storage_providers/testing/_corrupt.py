"""Cases: what lies broken where the provider keeps it is reported, and in nobody's way."""

from __future__ import annotations

import warnings
from typing import Final

import pytest

from storage_providers.errors import BatchError, CorruptItemError, CorruptItemWarning
from storage_providers.protocol import Address, Clear, CollectionSpec, Index
from storage_providers.testing._harness import THINGS, Scene, case, cases
from storage_providers.testing._paging import ids_of, pages

CONTENT: Final = "the-diary"

BROKEN: Final[dict[str, bytes]] = {
    "empty": b"",
    "truncated": b'{"id":"broken","v":"the-diary',
    "half a string": b'{"id":"broken","v":"the-diary","w":{"x":[1,2',
    "an array": b'["the-diary"]',
    "a number": b"17",
    "null": b"null",
    "not utf-8": b'{"id":"broken","v":"the-diary\xff\xfe"}',
    "not json": b"the-diary",
    "two documents": b'{"id":"broken"}{"id":"the-diary"}',
    "zeros": b"\x00" * 64,
    "far too deep": b'{"id":"broken","v":' + b"[" * 5000 + b"]" * 5000 + b"}",
}


class CorruptCases:
    """Needs `plant` of the backend."""

    @cases(BROKEN, "plant")
    async def test_reading_broken_bytes(self, scene: Scene, value: bytes) -> None:
        """Read alone it is an error that names the place and no content."""
        await _plant(scene, value)
        with pytest.raises(CorruptItemError) as caught:
            await scene.provider.read_item(THINGS, "broken")
        error = caught.value
        assert (error.collection, error.item_id, error.operation) == (THINGS, "broken", "read")
        assert error.source
        assert CONTENT not in str(error) + repr(error) + repr(error.__cause__)

    @cases(BROKEN, "plant")
    async def test_reading_broken_bytes_among_others(self, scene: Scene, value: bytes) -> None:
        """Read among others, `BatchError.results` holds the others."""
        good, other = await _plant(scene, value)
        with pytest.raises(BatchError) as caught:
            await scene.provider.read(
                [
                    Address(THINGS, "good"),
                    Address(THINGS, "broken"),
                    Address(THINGS, "absent"),
                    Address("u/things", "good"),
                ]
            )
        first, broken, absent, last = caught.value.results
        assert (first, absent, last) == (good, None, other)
        assert isinstance(broken, CorruptItemError)
        assert broken.item_id == "broken"
        assert caught.value.errors == (broken,)
        assert CONTENT not in str(caught.value) + repr(caught.value)

    @cases(BROKEN, "plant")
    async def test_listing_past_broken_bytes(self, scene: Scene, value: bytes) -> None:
        """Pages of any size hold the others, and name the broken one exactly once."""
        await _plant(scene, value)
        await scene.fill({"id": "another", "v": 2}, {"id": "zzz", "v": 3})
        for limit in (1, 2, 3, 100):
            found = await pages(scene, limit)
            assert ids_of(found) == ["another", "good", "zzz"]
            (error,) = [error for page in found for error in page.corrupt]
            assert (error.collection, error.item_id) == (THINGS, "broken")
            assert error.source
            assert CONTENT not in repr(found) + str(error)
        other = await scene.provider.list_items("u/things")
        assert other.corrupt == ()

    @cases(BROKEN, "plant")
    async def test_conditions_past_broken_bytes(self, scene: Scene, value: bytes) -> None:
        """Conditions and order are answered for the others, and so when an index is declared.

        A provider may refuse to index a broken document, naming it.
        """
        await _plant(scene, value)
        await scene.fill({"id": "another", "v": 2})
        for _ in range(2):
            for where in ({"v": {"$gte": 1}}, {"v": {"$exists": True}}, {"id": {"$ne": "x"}}):
                page = await scene.provider.list_items(
                    THINGS, where=where, order_by="-v", total=True
                )
                assert [item.id for item in page.items] == ["another", "good"], where
                # Whether a document matches that can't be read is for no engine to say.
                assert page.total in (2, 3), where
            assert await scene.provider.count_items(THINGS, where={"v": 1}) == 1
            try:
                spec = CollectionSpec(collection=THINGS, indexes=(Index.of("v"),))
                await scene.provider.declare(spec)
            except CorruptItemError as error:
                if error.item_id != "broken":
                    raise

    @cases({"truncated": BROKEN["truncated"], "an array": BROKEN["an array"]}, "plant")
    async def test_find_items_past_broken_bytes(self, scene: Scene, value: bytes) -> None:
        """`find_items` yields the others, and warns or tells once."""
        await _plant(scene, value)
        await scene.fill(*({"id": f"{n}"} for n in range(5)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ids = [item.id async for item in scene.provider.find_items(THINGS, page_size=2)]
        assert ids == ["0", "1", "2", "3", "4", "good"]
        told = [each for each in caught if issubclass(each.category, CorruptItemWarning)]
        assert len(told) == 1
        assert "broken" in str(told[0].message)
        errors: list[CorruptItemError] = []
        found = scene.provider.find_items(THINGS, page_size=2, on_corrupt=errors.append)
        assert len([item async for item in found]) == 6
        assert [error.item_id for error in errors] == ["broken"]

    @cases(BROKEN, "plant")
    async def test_broken_bytes_can_be_replaced(self, scene: Scene, value: bytes) -> None:
        """A put makes a good document of it; the report ends."""
        await _plant(scene, value)
        item = await scene.provider.put_item(THINGS, {"id": "broken", "v": 1})
        assert await scene.provider.read_item(THINGS, "broken") == item
        page = await scene.provider.list_items(THINGS)
        assert [each.id for each in page.items] == ["broken", "good"]
        assert page.corrupt == ()

    @cases(BROKEN, "plant")
    async def test_broken_bytes_can_be_removed(self, scene: Scene, value: bytes) -> None:
        """By delete and by clear."""
        await _plant(scene, value)
        await scene.provider.delete_item(THINGS, "broken")
        assert await scene.provider.read_item(THINGS, "broken") is None
        assert (await scene.provider.list_items(THINGS)).corrupt == ()
        await scene.backend.plant(THINGS, "broken", value)
        await scene.write(Clear(THINGS))
        page = await scene.provider.list_items(THINGS)
        assert (page.items, page.corrupt) == ([], ())

    @cases({"truncated": BROKEN["truncated"], "an array": BROKEN["an array"]}, "plant")
    async def test_broken_bytes_are_not_patched(self, scene: Scene, value: bytes) -> None:
        """Changing a broken document is an error that says so; the others can be changed."""
        await _plant(scene, value)
        with pytest.raises(CorruptItemError) as caught:
            await scene.provider.update_item(THINGS, "broken", {"n": 1})
        assert caught.value.item_id == "broken"
        if scene.capabilities.conditional_write:
            with pytest.raises(CorruptItemError):
                await scene.provider.modify_item(THINGS, "broken", lambda document: document)
        await scene.provider.update_item(THINGS, "good", {"n": 1})
        assert (await scene.document("good") or {})["n"] == 1

    @case("plant", "reopen")
    async def test_broken_bytes_do_not_hinder_opening(self, scene: Scene) -> None:
        """A place with broken documents opens, and says what is broken."""
        await _plant(scene, BROKEN["truncated"])
        await scene.reopen()
        page = await scene.provider.list_items(THINGS)
        assert [item.id for item in page.items] == ["good"]
        assert [error.item_id for error in page.corrupt] == ["broken"]

    @case("plant")
    async def test_planted_good_bytes_are_a_document(self, scene: Scene) -> None:
        """The back door itself works: valid JSON put there by hand is read and found."""
        await _plant(scene, b'{"id": "broken",\n  "v": 7}')
        assert await scene.document("broken") == {"id": "broken", "v": 7}


async def _plant(scene: Scene, raw: bytes) -> list[object]:
    """Two good documents, and one of these bytes."""
    (good,) = await scene.fill({"id": "good", "v": 1})
    (other,) = await scene.fill({"id": "good"}, collection="u/things")
    await scene.backend.plant(THINGS, "broken", raw)
    return [good, other]
