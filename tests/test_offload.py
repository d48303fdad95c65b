"""The layer Offload: what leaves documents, where it goes, how it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_providers._json import JsonObject, encode_object, merge_patch
from storage_providers.base import Provider
from storage_providers.errors import (
    BatchError,
    ConfigurationError,
    DocumentTooLargeError,
    InvalidArgumentError,
    ItemNotFoundError,
    ProviderClosedError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.layers import Layer, Offload, Scope, compose
from storage_providers.layers._offload.layout import Layout, join
from storage_providers.protocol import (
    Capabilities,
    CollectionSpec,
    Delete,
    IfVersion,
    Item,
    Patch,
    Put,
    Query,
    Write,
)
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.faults import Recorder
from storage_providers.testing.strategies import documents, json_values, merge_patches
from tests.test_conformance import WeakProvider

T = TypeVar("T")
LARGE = "large \u20ac " * 100
"""Text that leaves."""


class Place:
    """A provider of documents and one of objects, both recorded, with an Offload between.

    Attributes:
        main: The documents' provider.
        objects: The objects' provider.
        below: What the layer asks of the documents' provider.
        beside: What the layer asks of the objects' provider.
        top: The whole.
    """

    def __init__(
        self, main: Provider | None = None, objects: Provider | None = None, **options: Any
    ) -> None:
        self.main = InMemoryProvider() if main is None else main
        self.objects = InMemoryProvider() if objects is None else objects
        self.below, self.beside = Recorder(), Recorder()
        self.aside = compose(self.beside, provider=self.objects)
        self.options = {"over_bytes": 100, **options}
        self.layer = self.offload()
        self.top = compose(self.layer, self.below, provider=self.main)

    def offload(self) -> Offload:
        """A layer on these objects, with the options as they are now."""
        return Offload(objects=self.aside, **self.options)

    def quiet(self) -> None:
        """Forget what was recorded."""
        self.below.calls.clear()
        self.beside.calls.clear()

    async def object_ids(self) -> list[str]:
        """The ids of all objects."""
        return [
            entry.id
            for name in await self.objects.collections()
            for entry in (await self.objects.versions(name)).entries
        ]


Play = Callable[[Place], Awaitable[None]]


def run(play: Play, **options: Any) -> None:
    """Play on an open place."""

    async def playing() -> None:
        place = Place(**options)
        async with place.top:
            await play(place)

    asyncio.run(playing())


async def read(provider: Provider, item_id: str = "a", collection: str = "todos") -> Item:
    """The item, which is there."""
    item = await provider.read_item(collection, item_id)
    assert item is not None
    return item


# --- what leaves ---------------------------------------------------------------------------------


def test_a_large_field_is_in_the_other_provider_and_in_every_answer() -> None:
    """Below, the rest stays to be searched; above, nothing shows."""
    document = {"content": LARGE, "id": "a", "status": "pending", "n": 1.0}

    async def play(place: Place) -> None:
        top = place.top
        (stored,) = await top.write([Put("todos", document)])
        below = await read(place.main)
        assert below.document == {"id": "a", "status": "pending", "n": 1.0}
        assert (below.encoding, LARGE.encode() in (below.payload or b"")) == ("offload", False)
        page = await top.list_items("todos", where={"status": "pending"}, order_by="-n")
        (found,) = [item async for item in top.find_items("todos")]
        for item in (stored, await read(top), *page.items, found):
            assert item is not None
            assert item.body == encode_object(document)
            assert (item.version, item.encoding, item.payload) == (below.version, None, None)
        (name,) = await place.objects.collections("offloaded")
        assert name.startswith("offloaded/")
        assert name.endswith("/todos")
        assert await place.main.collections() == await top.collections() == ["todos"]

    run(play, fields="content")


def test_small_fields_and_small_documents_stay() -> None:
    """Nothing is asked of the other provider, and the document is as without the layer."""

    async def play(place: Place) -> None:
        await place.top.put_item("todos", {"id": "a", "content": "small", "other": LARGE})
        assert (await read(place.main)).encoding is None
        assert (await read(place.top)).document["other"] == LARGE
        assert place.beside.verbs == ["connect"]

    run(play, fields="content")


def test_whole_documents_leave_but_for_what_is_kept() -> None:
    """Managed fields and those named stay; inside objects too."""
    document = {
        "meta": {"a": 1, "status": "x", "deep": {"b": [1, 2]}},
        "id": "a",
        "text": LARGE,
        "expiresAt": "2099-01-01T00:00:00.000Z",
        "status": {"any": True},
    }

    async def play(place: Place) -> None:
        await place.top.write([Put("todos", document), Put("todos", {"id": "b", "text": "s"})])
        assert (await read(place.main)).document == {
            "meta": {"status": "x"},
            "id": "a",
            "expiresAt": "2099-01-01T00:00:00.000Z",
            "status": {"any": True},
        }
        assert (await read(place.top)).body == encode_object(document)
        assert (await read(place.main, "b")).document == {"id": "b", "text": "s"}
        found = await place.top.list_items("todos", where={"meta.status": "x"})
        assert [item.id for item in found.items] == ["a"]

    run(play, keep=("status", "meta.status"))


def test_a_document_only_leaves_if_it_becomes_smaller() -> None:
    """A record of where things are takes some two hundred bytes itself."""

    async def play(place: Place) -> None:
        await place.top.put_item("todos", {"id": "a", "content": "x" * 30})
        assert (await read(place.main)).encoding is None
        assert place.beside.verbs == ["connect"]

    run(play, fields="content", over_bytes=1)


def test_payloads_of_layers_above_leave_too() -> None:
    """Encrypted or compressed documents are small below, and come back with their encoding."""
    payload = bytes(range(256)) * 10

    async def play(place: Place) -> None:
        put = Put("todos", {"id": "a", "n": 1}, encoding="zstd", payload=payload)
        await place.top.write([put])
        below = await read(place.main)
        assert len(below.payload or b"") < 300
        for item in (await read(place.top), (await place.top.list_items("todos")).items[0]):
            assert (item.encoding, item.payload) == ("zstd", payload)
        projected = (await place.top.list_items("todos", fields=["n"])).items[0]
        assert (projected.document, projected.payload) == ({"id": "a", "n": 1}, payload)
        with pytest.raises(UnsupportedOperationError, match="encoded as 'zstd'"):
            await place.top.update_item("todos", "a", {"n": 2})

    run(play, fields="content")


def test_nobody_can_pass_off_a_document_as_offloaded() -> None:
    """What others call by the layer's own encoding comes back as theirs."""

    async def play(place: Place) -> None:
        await place.top.put_item("secrets", {"id": "s", "content": LARGE})
        record = (await read(place.main, "s", "secrets")).payload
        for body in ({"id": "a", "n": 1}, {"id": "a", "content": LARGE}):
            (stored,) = await place.top.write(
                [Put("todos", body, encoding="offload", payload=record)]
            )
            item = await read(place.top)
            assert stored == item
            assert (item.document, item.encoding, item.payload) == (body, "offload", record)

    run(play, fields="content")


def test_one_layer_is_enough() -> None:
    """A second one, also with others between, is refused: one names all the fields."""
    top = compose(Scope("user-7"), Offload(objects=InMemoryProvider()), provider=InMemoryProvider())
    with pytest.raises(ConfigurationError, match="an Offload already"):
        compose(Offload(objects=InMemoryProvider()), provider=top)


paths = st.lists(st.sampled_from(["a", "b", "c", "a.b", "b.a.c", "a.b.c"]), max_size=4, unique=True)
layouts = paths.map(lambda names: Layout(keep=tuple(names))) | paths.filter(bool).map(
    lambda names: Layout(fields=tuple(names))
)
nested = st.recursive(
    json_values(max_leaves=3),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c", "x"]), inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(
    st.sampled_from(["a", "b", "c", "x", "id", "createdAt"]), nested, max_size=6
)


@given(bodies, layouts, st.integers(0, 40))
@settings(max_examples=400)
def test_two_halves_are_the_whole(body: JsonObject, layout: Layout, over_bytes: int) -> None:
    """Byte for byte; the half that leaves is no larger, and what stays is what may be asked for."""
    whole = encode_object(body)
    halves = layout.split(whole, over_bytes)
    if halves is not None:
        stays, leaves = halves
        assert join(stays, leaves) == whole
        assert len(leaves) <= len(whole)


@given(
    documents(st.just("a")),
    st.lists(merge_patches(), max_size=3),
    layouts,
    st.none() | st.binary(max_size=600),
)
@settings(max_examples=150, deadline=None)
def test_what_was_put_comes_back(
    document: JsonObject, patches: list[JsonObject], layout: Layout, payload: bytes | None
) -> None:
    """After any patches, from reads and listings, and as it would be without the layer."""
    document = {**document, "x": "x" * 300}

    async def play(place: Place) -> None:
        encoding = None if payload is None else "zstd"
        put = Put("todos", document, encoding=encoding, payload=payload)
        await place.top.write([put])
        expected, results = put.document, list[Item | None]()
        for patch in patches if payload is None else []:
            results = await place.top.write([Patch("todos", "a", patch)])
            expected = merge_patch(expected, patch)
        page = await place.top.list_items("todos")
        for item in (*results, await read(place.top), *page.items):
            assert item is not None
            assert item.body == encode_object(expected)
            assert (item.encoding, item.payload) == (encoding, payload)

    run(play, fields=layout.fields, keep=layout.keep)


# --- what it costs -------------------------------------------------------------------------------


def test_one_call_for_all_objects_of_a_batch_or_page() -> None:
    """However many documents; and none where no large field is asked for."""

    async def play(place: Place) -> None:
        top = place.top
        await top.put_item("todos", {"id": "first", "content": LARGE})
        place.quiet()
        await top.put_items("todos", [{"id": f"{n}", "content": LARGE} for n in range(50)])
        assert place.beside.verbs == ["write"]
        assert place.below.verbs.count("write") == 1
        place.quiet()
        assert len((await top.list_items("todos")).items) == 51
        assert place.beside.verbs == ["read"]
        place.quiet()
        await top.read_items("todos", [f"{n}" for n in range(50)])
        assert place.beside.verbs == ["read"]
        place.quiet()
        page = await top.list_items("todos", fields=["createdAt"])
        assert set(page.items[0].document) == {"id", "createdAt"}
        await top.count_items("todos")
        await top.versions("todos")
        await top.delete_items("todos", ["1", "2"])
        assert place.beside.calls == []
        page = await top.list_items("todos", fields=["content"], limit=1)
        assert set(page.items[0].document) == {"id", "content"}
        await top.clear_collection("todos")
        assert place.beside.verbs == ["read"]

    run(play, fields="content")


def test_what_came_back_is_remembered_if_asked() -> None:
    """As much as was allowed, the longest unused forgotten first."""
    size = len(encode_object({"id": 0, "content": LARGE, "createdAt": 0, "updatedAt": 0}))

    async def play(place: Place) -> None:
        await place.top.put_items("todos", [{"id": f"{n}", "content": LARGE} for n in range(3)])
        place.quiet()
        await place.top.read_items("todos", ["2", "1"])
        assert place.beside.calls == []
        await place.top.read_items("todos", ["1", "0", "2"])
        (call,) = place.beside.calls
        assert len(call.arguments[0]) == 1
        await read(place.top, "0")
        assert len(place.beside.calls) == 1

    run(play, fields="content", cache_bytes=2 * size)


def test_a_patch_beside_the_large_fields_stores_no_object() -> None:
    """The document keeps the object it has."""

    async def play(place: Place) -> None:
        await place.top.put_item("todos", {"id": "a", "content": LARGE, "n": 1})
        place.quiet()
        item = await place.top.update_item("todos", "a", {"n": 2})
        assert (item.document["content"], item.document["n"]) == (LARGE, 2)
        assert place.beside.verbs == ["read"]
        await place.top.update_item("todos", "a", {"new": {"x": 1}})
        assert (await read(place.top)).document["new"] == {"x": 1}
        assert len(await place.object_ids()) == 1
        await place.top.update_item("todos", "a", {"content": LARGE + "!"})
        await place.top.update_item("todos", "a", {"content": LARGE + "?"})
        assert (await read(place.top)).document["content"] == LARGE + "?"
        assert len(await place.object_ids()) == 3

    run(play, fields="content")


# --- patches -------------------------------------------------------------------------------------


def test_patches_split_and_mend_documents() -> None:
    """One that makes a document large, one that makes it small again."""

    async def play(place: Place) -> None:
        await place.top.put_item("todos", {"id": "a", "content": "small"})
        await place.top.update_item("todos", "a", {"content": LARGE})
        assert (await read(place.main)).encoding == "offload"
        item = await place.top.update_item("todos", "a", {"content": None, "n": 1})
        assert (await read(place.main)).encoding is None
        assert "content" not in item.document
        assert (await read(place.top)).document["n"] == 1
        with pytest.raises(ItemNotFoundError):
            await place.top.update_item("todos", "none", {"content": LARGE})

    run(play, fields="content")


@pytest.mark.parametrize("kind", ["memory", "files", "sqlite"])
def test_concurrent_changes_lose_nothing(kind: str, tmp_path: Any) -> None:
    """Patches, functions and batches at once, each to its own field of one split document."""
    make: dict[str, Callable[[], Provider]] = {
        "memory": InMemoryProvider,
        "files": lambda: LocalFileProvider(tmp_path, fsync=False),
        "sqlite": lambda: SQLiteProvider(":memory:"),
    }

    async def play(place: Place) -> None:
        top = place.top
        await top.put_items("todos", [{"id": "a", "content": LARGE, "n": 0}, {"id": "b"}])
        async with asyncio.TaskGroup() as group:
            for n in range(8):
                group.create_task(top.update_item("todos", "a", {f"f{n}": n, "content": LARGE * 2}))
                group.create_task(
                    top.modify_item("todos", "a", lambda held: {**held, "n": held["n"] + 1})
                )
                group.create_task(top.update_items("todos", {"b": {f"g{n}": n}, "a": {f"g{n}": n}}))
        document = (await read(top)).document
        assert document["n"] == 8
        assert document["content"] == LARGE * 2
        assert {name: document[name] for name in document if name[0] in "fg"} == {
            f"{letter}{n}": n for n in range(8) for letter in "fg"
        }

    run(play, main=make[kind](), fields="content")


def test_conditions_hold() -> None:
    """On what the caller saw, whatever the document is stored as."""

    async def play(place: Place) -> None:
        top = place.top
        first = await top.put_item("todos", {"id": "a", "content": LARGE})
        second = await top.put_item("todos", {"id": "a", "content": LARGE, "n": 1})
        with pytest.raises(VersionMismatchError) as caught:
            await top.update_item("todos", "a", {"n": 2}, if_version=first.version)
        assert caught.value.actual_version == second.version
        with pytest.raises(VersionMismatchError):
            await top.put_item("todos", {"id": "a", "content": LARGE}, if_version=first.version)
        with pytest.raises(VersionMismatchError):
            await top.delete_item("todos", "a", if_version=first.version)
        item = await top.update_item("todos", "a", {"n": 2}, if_version=second.version)
        await top.put_item("todos", item.document, if_version=item.version)
        assert (await read(top)).document["n"] == 2

    run(play, fields="content")


def test_a_batch_that_is_refused_changes_no_document() -> None:
    """On a provider with atomic batches; the error says which write it was."""

    async def play(place: Place) -> None:
        top = place.top
        await top.put_items("todos", [{"id": "a", "content": LARGE}, {"id": "b"}])
        batch: list[Write] = [
            Put("todos", {"id": "c", "content": LARGE}),
            Patch("todos", "a", {"n": 1}),
            Patch("todos", "b", {"n": 1}, IfVersion("none")),
        ]
        with pytest.raises(VersionMismatchError) as caught:
            await top.write(batch)
        assert (caught.value.index, caught.value.item_id) == (2, "b")
        assert "n" not in (await read(top)).document
        assert await top.count_items("todos") == 2

    run(play, fields="content")


class Interfering(Layer):
    """Does something to the document just before the first write that patches it."""

    name: ClassVar[str] = "interfering"

    def __init__(self, act: Callable[[Provider], Awaitable[Any]]) -> None:
        super().__init__()
        self.act: Callable[[Provider], Awaitable[Any]] | None = act

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        if self.act is not None and any(
            isinstance(write, Patch) or isinstance(write.condition, IfVersion)
            for write in batch
            if isinstance(write, Put | Patch)
        ):
            act, self.act = self.act, None
            await act(self.inner)
        return await super()._write(batch)


@pytest.mark.parametrize("start", [LARGE, "small"])
@pytest.mark.parametrize("then", [LARGE + "!", "small!", None])
def test_a_patch_that_others_overtake_is_tried_again(start: str, then: str | None) -> None:
    """Though its document was split, mended, changed or removed in between."""

    async def playing() -> None:
        main, objects = InMemoryProvider(), InMemoryProvider()

        def layer() -> Offload:
            return Offload(objects=objects, over_bytes=100, fields="content")

        async def act(inner: Provider) -> None:
            other = compose(layer(), provider=inner)
            if then is None:
                await other.delete_item("todos", "a")
            else:
                await other.put_item("todos", {"id": "a", "content": then})

        async with objects, main:
            await compose(layer(), provider=main).put_item("todos", {"id": "a", "content": start})
            top = compose(layer(), Interfering(act), provider=main)
            if then is None:
                with pytest.raises(ItemNotFoundError):
                    await top.update_item("todos", "a", {"n": 1})
            else:
                item = await top.update_item("todos", "a", {"n": 1})
                assert (item.document["content"], item.document["n"]) == (then, 1)
                assert (await read(top)).document == item.document

    asyncio.run(playing())


def test_without_conditional_writes_split_documents_are_not_patched() -> None:
    """It is said before anything is written; small ones are patched as the provider does it."""

    async def play(place: Place) -> None:
        top = place.top
        await top.put_items("todos", [{"id": "a", "content": LARGE}, {"id": "b", "content": "s"}])
        with pytest.raises(UnsupportedOperationError, match="lacks; put it whole") as caught:
            await top.update_items("todos", {"b": {"n": 1}, "a": {"n": 1}})
        assert (caught.value.item_id, caught.value.index) == ("a", 1)
        assert "n" not in (await read(top, "b")).document
        await top.update_item("todos", "b", {"n": 1})
        assert (await read(top)).document["content"] == LARGE
        with pytest.raises(BatchError):
            await top.update_items("todos", {"b": {"n": 2}, "none": {"n": 1}})
        assert (await read(top, "b")).document["n"] == 2

    run(play, main=WeakProvider(), fields="content")


@pytest.mark.parametrize("main", [InMemoryProvider, WeakProvider])
def test_patches_that_a_provider_never_takes_are_not_tried_for_long(
    main: type[InMemoryProvider],
) -> None:
    """A refusal that has nothing to do with what left is told at the second attempt."""

    class Stubborn(Layer):
        async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
            if len(batch) > 1 and not self.capabilities.atomic_batch:
                results = [
                    UnsupportedOperationError("no patches here", index=at)
                    if isinstance(write, Patch)
                    else None
                    for at, write in enumerate(batch)
                ]
                raise BatchError("some failed", results=results)
            for index, write in enumerate(batch):
                if isinstance(write, Patch):
                    raise UnsupportedOperationError("no patches here", index=index)
            return await super()._write(batch)

    async def playing() -> None:
        recorder = Recorder()
        layer = Offload(objects=InMemoryProvider(), over_bytes=100, fields="content")
        async with compose(layer, recorder, Stubborn(), provider=main()) as top:
            await top.put_item("todos", {"id": "a"})
            await top.put_item("todos", {"id": "c"})
            with pytest.raises(UnsupportedOperationError, match="no patches here"):
                await top.update_item("todos", "a", {"n": 1})
            assert recorder.verbs.count("write") == 4
            patches = [Patch("todos", item_id, {"n": 1}) for item_id in ("a", "c")]
            batch: list[Write] = [Delete("todos", "b"), *patches]
            with pytest.raises((UnsupportedOperationError, BatchError), match="no patches here"):
                await top.write(batch)
            assert recorder.verbs.count("write") == 6

    asyncio.run(playing())


# --- what can't be asked -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        {"where": {"content": "x"}},
        {"where": {"$or": [{"n": 1}, {"$not": {"content.a": {"$exists": True}}}]}},
        {"order_by": "-content"},
    ],
)
def test_a_field_that_leaves_is_not_searched(ask: dict[str, Any]) -> None:
    """Refused by name, also while no document is large, before anything is asked."""

    async def play(place: Place) -> None:
        await place.top.put_item("todos", {"id": "a", "content": "x"})
        place.quiet()
        with pytest.raises(UnsupportedOperationError, match=r"content.*leaves documents") as caught:
            await place.top.list_items("todos", **ask)
        assert (caught.value.collection, caught.value.operation) == ("todos", "query")
        assert "query" not in place.below.verbs

    run(play, fields="content")


def test_of_whole_documents_only_what_is_kept_is_searched() -> None:
    """Managed fields and what is named, with what is inside."""

    async def play(place: Place) -> None:
        top = place.top
        await top.put_item("todos", {"id": "a", "meta": {"x": {"y": 1}}, "text": LARGE})
        for where in ({"meta.x.y": 1}, {"id": "a"}, {"createdAt": {"$gt": "2000"}}):
            assert await top.count_items("todos", where=where) == 1
        assert len((await top.list_items("todos", order_by=("updatedAt", "-meta.x"))).items) == 1
        for path in ("meta", "meta.z", "text", "status"):
            with pytest.raises(UnsupportedOperationError, match="keep="):
                await top.count_items("todos", where={path: 1})

    run(play, keep="meta.x")


def test_text_that_leaves_is_not_searched() -> None:
    """Neither declared nor, where it was declared before, asked for."""

    async def play(place: Place) -> None:
        top = place.top
        await top.put_item("todos", {"id": "a", "meta": {"content": LARGE}})
        for field in ("meta.content", "meta.content.x", "meta"):
            spec = CollectionSpec(collection="todos", text_fields=(field,))
            with pytest.raises(UnsupportedOperationError, match="text field"):
                await top.declare(spec)
            await place.main.declare(spec)
            other = compose(place.offload(), provider=place.main)
            with pytest.raises(UnsupportedOperationError, match="text field"):
                await other.count_items("todos", where={"$text": "large"})
        await top.declare(CollectionSpec(collection="notes", text_fields=("meta.title",)))
        await top.put_item("notes", {"id": "a", "meta": {"title": "Big", "content": LARGE}})
        (item,) = (await top.list_items("notes", where={"$text": "big"})).items
        assert item.document["meta"]["content"] == LARGE

    run(play, main=SQLiteProvider(":memory:"), fields="meta.content")


def test_an_earlier_rule_counts_until_documents_are_resettled() -> None:
    """A field that left earlier is refused after a restart with a rule that leaves it alone."""

    async def play(place: Place) -> None:
        await place.top.put_items(
            "todos", [{"id": "a", "content": LARGE, "notes": LARGE}, {"id": "b", "content": "c"}]
        )
        place.options["fields"] = ("notes",)
        layer = place.offload()
        top = compose(layer, provider=place.main)
        with pytest.raises(UnsupportedOperationError, match="'content'"):
            await top.count_items("todos", where={"content": LARGE})
        before = await read(top)
        reported: list[int] = []
        assert await layer.resettle(on_progress=reported.append) == 1
        assert (await read(top)).body == before.body
        assert reported == [1]
        assert await top.count_items("todos", where={"content": LARGE}) == 1
        assert set((await read(place.main)).document) >= {"content"}
        again = compose(place.offload(), provider=place.main)
        assert await again.count_items("todos", where={"content": "c"}) == 1
        assert await layer.resettle() == 0

    run(play, fields=("content", "notes"))


def test_the_layers_own_document_is_out_of_reach() -> None:
    """It says where objects are; nobody writes it through the layer."""

    async def play(place: Place) -> None:
        await place.top.put_item("todos", {"id": "a", "content": LARGE})
        with pytest.raises(InvalidArgumentError):
            await place.top.put_item(".offload", {"id": "store", "token": "x"})
        with pytest.raises(InvalidArgumentError):
            await place.top.clear_collection(".offload")
        await place.top.put_item(".own", {"id": "a", "content": LARGE})
        assert (await read(place.main, "a", ".own")).encoding is None

    run(play, fields="content")


# --- limits, scopes, lifetime --------------------------------------------------------------------


class Limited(InMemoryProvider):
    """A dict with limits."""

    name: ClassVar[str] = "limited"

    def __init__(self, **limits: Any) -> None:
        super().__init__()
        self.limits = limits

    @property
    def capabilities(self) -> Capabilities:
        """With these limits."""
        return Capabilities(conditional_write=True, atomic_batch=True, **self.limits)


def test_documents_may_be_as_large_as_objects() -> None:
    """Beyond what the documents' provider takes, up to what that of objects does."""

    async def play(place: Place) -> None:
        assert place.top.capabilities.max_document_bytes == 100_000 - 8_192
        assert place.top.capabilities.atomic_batch
        size = 100_000 - 8_192 - len(b'{"id":"a","content":""}')
        await place.top.write([Put("todos", {"id": "a", "content": "x" * size})])
        assert len((await read(place.top)).body) == 100_000 - 8_192
        place.quiet()
        for write in (
            Put("todos", {"id": "a", "content": "x" * (size + 1)}),
            Patch("todos", "a", {"more": 1}),
        ):
            with pytest.raises(DocumentTooLargeError) as caught:
                await place.top.write([write])
            assert caught.value.limit_bytes == 100_000 - 8_192
        assert "write" not in place.beside.verbs
        with pytest.raises(DocumentTooLargeError, match="1000"):
            await place.top.put_item("todos", {"id": "b", "content": LARGE, "n": "x" * 1000})

    run(
        play,
        main=Limited(max_document_bytes=1000),
        objects=Limited(max_document_bytes=100_000),
        fields="content",
    )


@pytest.mark.parametrize(
    "options",
    [
        {"fields": ()},
        {"fields": "a", "keep": "b"},
        {"fields": "id"},
        {"fields": "createdAt.x"},
        {"over_bytes": 0},
        {"cache_bytes": -1},
        {"fields": "a..b"},
        {"within": "../x"},
        {"within": ""},
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any]) -> None:
    """When the layer is made."""
    with pytest.raises((ConfigurationError, InvalidArgumentError)):
        Offload(objects=InMemoryProvider(), **options)


def test_providers_that_do_not_go_together_are_refused() -> None:
    """When the layer is put on: documents of some size would fit neither, or names would not."""
    objects = InMemoryProvider()
    for layer, main in (
        (Offload(objects=objects, over_bytes=2000), Limited(max_document_bytes=1000)),
        (Offload(objects=Limited(max_document_bytes=9000), over_bytes=2000), objects),
        (Offload(objects=objects), objects),
        (Offload(objects=Limited(max_scope_bytes=20)), objects),
    ):
        with pytest.raises(ConfigurationError):
            compose(layer, provider=main)


def test_each_scope_has_its_objects_to_itself() -> None:
    """A scope over the layer stays one at the provider of objects; limits count from inside."""

    async def play(place: Place) -> None:
        room = place.top.capabilities.max_scope_bytes
        assert room == 256 - len("offloaded//") - 16
        for user in ("user-7", "user-8"):
            mine = compose(Scope(user), provider=place.top)
            await mine.put_item("todos", {"id": "a", "content": LARGE, "user": user})
            assert (await read(mine)).document["user"] == user
        names = await place.objects.collections()
        assert [name.split("/")[2:] for name in names] == [["user-7", "todos"], ["user-8", "todos"]]
        longest = "x" * room
        await place.top.put_item(f"{longest}/todos", {"id": "a", "content": LARGE})
        assert (await read(place.top, "a", f"{longest}/todos")).document["content"] == LARGE
        for attempt in (
            place.top.read_item(f"{longest}y/todos", "a"),
            place.top.query([Query(f"{longest}y/todos")]),
            place.top.declared(f"{longest}y/todos"),
        ):
            with pytest.raises(InvalidArgumentError, match=str(room)):
                await attempt

    run(play, fields="content")


def test_objects_are_opened_and_closed_with_the_layer() -> None:
    """Unless they are open already; then they stay open."""

    async def playing() -> None:
        owned, borrowed = InMemoryProvider(), InMemoryProvider()
        async with borrowed:
            for objects in (owned, borrowed):
                layer = Offload(objects=objects, over_bytes=100, fields="content")
                async with compose(layer, provider=InMemoryProvider()) as top:
                    await top.connect()
                    await top.put_item("todos", {"id": "a", "content": LARGE})
                    assert repr(top) == "Offload(memory) > memory"
            assert len(await borrowed.collections()) == 1
        with pytest.raises(ProviderClosedError):
            await owned.collections()

    asyncio.run(playing())


def test_objects_are_closed_when_the_other_provider_can_not_be_opened() -> None:
    """And a layer whose own objects can't be opened opens nothing."""

    async def playing() -> None:
        objects, main = InMemoryProvider(), InMemoryProvider()
        await main.connect()
        await main.disconnect()
        top = compose(Offload(objects=objects), provider=main)
        with pytest.raises(ProviderClosedError):
            await top.connect()
        for provider in (objects, top):
            with pytest.raises(ProviderClosedError):
                await provider.collections()
        fresh = InMemoryProvider()
        with pytest.raises(ProviderClosedError):
            await compose(Offload(objects=objects), provider=fresh).connect()
        with pytest.raises(ProviderClosedError, match="not connected"):
            await fresh.collections()

    asyncio.run(playing())
