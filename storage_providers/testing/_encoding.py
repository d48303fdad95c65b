"""Cases: documents that a layer turned into bytes, with their encoding beside them."""

from __future__ import annotations

from typing import Final

import pytest

from storage_providers.errors import (
    InvalidArgumentError,
    UnsupportedOperationError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    Patch,
    Put,
)
from storage_providers.testing._harness import THINGS, Scene, case, cases

SOON: Final = "2026-01-31T12:00:10.000Z"
"""Ten seconds after the clock's start."""

PAYLOADS: Final[dict[str, bytes]] = {
    "empty": b"",
    "all bytes": bytes(range(256)),
    "json": b'{"id":"not this"}',
    "nul": b"\x00",
    "large": bytes(range(256)) * 1200,
}


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
