"""The layer Scope: names in, names out, and what must not come out."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from storage_providers import _writes
from storage_providers.base import Provider
from storage_providers.collection import Collection
from storage_providers.errors import (
    BatchError,
    ConfigurationError,
    CorruptItemError,
    CorruptItemWarning,
    InvalidArgumentError,
    ItemExistsError,
    ProviderClosedError,
    StorageError,
    TransportError,
    VersionMismatchError,
)
from storage_providers.layers import Call, Layer, Scope, compose
from storage_providers.protocol import (
    IF_PRESENT,
    Address,
    Clear,
    CollectionSpec,
    Delete,
    IfVersion,
    Index,
    Item,
    Patch,
    Put,
    Query,
    Write,
)
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.faults import Fail, Faults, Recorder
from tests.test_layers import CALLS, Empty

Play = Callable[[Provider, Provider], Awaitable[None]]


def run(play: Play, *layers: Layer, provider: Provider | None = None) -> None:
    """Play on a provider and the scope `user-7` of it, with other layers between."""

    async def playing() -> None:
        inner = InMemoryProvider() if provider is None else provider
        async with inner:
            await play(inner, compose(Scope("user-7"), *layers, provider=inner))

    asyncio.run(playing())


def scoped(scope: str, provider: Provider) -> Provider:
    """A scope of a provider."""
    return compose(Scope(scope), provider=provider)


# --- names ---------------------------------------------------------------------------------------


def test_documents_are_stored_under_the_scope_and_come_back_without_it() -> None:
    """In items, pages, projections, declarations, listings of names, and reprs."""

    async def play(whole: Provider, mine: Provider) -> None:
        created = await mine.create_item("todos", {"id": "a", "n": 1})
        stored = await whole.read_item("user-7/todos", "a")
        assert stored is not None
        assert (stored.collection, stored.body) == ("user-7/todos", created.body)
        page = await mine.list_items("todos", fields=["n"])
        spec = CollectionSpec(collection="todos", indexes=(Index.of("n"),))
        await mine.declare(spec)
        assert await mine.declared("todos") == spec
        declared = await whole.declared("user-7/todos")
        assert declared == CollectionSpec(collection="user-7/todos", indexes=(Index.of("n"),))
        assert await whole.declared("todos") is None
        items = [
            created,
            await mine.read_item("todos", "a"),
            await mine.update_item("todos", "a", {"n": 2}),
            await mine.modify_item("todos", "a", lambda document: document),
            *page.items,
        ]
        assert [item and item.collection for item in items] == ["todos"] * 5
        assert "user-7" not in repr([items, page, mine])
        assert await mine.collections() == ["todos"]
        assert await whole.collections() == ["user-7/todos"]

    run(play)


def test_the_scope_nearest_the_provider_comes_first() -> None:
    """So a scope put on a scope can't leave it, however it is written."""

    async def play(whole: Provider, _: Provider) -> None:
        organisation = scoped("org-1", whole)
        stepwise = scoped("user-7", organisation)
        at_once = compose(Scope("user-7"), Scope("org-1"), provider=whole)
        await stepwise.create_item("todos", {"id": "a"})
        assert await whole.collections() == ["org-1/user-7/todos"]
        assert await organisation.collections() == ["user-7/todos"]
        assert await stepwise.collections() == ["todos"]
        item = await at_once.read_item("todos", "a")
        assert item is not None
        assert item.collection == "todos"
        with pytest.raises(ItemExistsError, match=r"^memory\.write todos/a: "):
            await at_once.create_item("todos", {"id": "a"})
        assert repr(at_once) == "Scope > Scope > memory"

    run(play)


def test_scopes_inside_are_listed_as_they_look_from_inside() -> None:
    """And the SDK's own collections stay inside, unlisted."""

    async def play(whole: Provider, mine: Provider) -> None:
        for name in ("todos", "work/todos", "user-7/todos", "user-8/todos", ".own"):
            await mine.put_item(name, {"id": "mine"})
        for name in ("todos", "user-70/todos", "user-8/todos", ".own", "user/todos"):
            await whole.put_item(name, {"id": "other"})
        assert await mine.collections() == [
            "todos",
            "user-7/todos",
            "user-8/todos",
            "work/todos",
        ]
        assert await mine.collections("user-8") == ["user-8/todos"]
        assert await mine.collections("user-70") == []
        with pytest.raises(InvalidArgumentError, match=r"scope '\.\./user-8' has a part"):
            await mine.collections("../user-8")
        for name in ("todos", "user-7/todos", "user-8/todos", ".own"):
            assert [item.id async for item in mine.find_items(name)] == ["mine"]
        assert [item.id async for item in whole.find_items("user-7/.own")] == ["mine"]
        assert await mine.count_items("user-70/todos") == 0

    run(play)


OUTSIDE = ("../x", "/x", "../user-8/todos", "/user-8/todos", "a/../../user-8/todos", "./x", "..")


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("verb", ["read", "put", "delete", "clear", "query", "versions", "declare"])
def test_no_name_leads_outside(name: str, verb: str) -> None:
    """They are refused by every verb before the provider is asked, and shown as they were given."""
    calls: dict[str, Callable[[Provider], Awaitable[Any]]] = {
        "read": lambda p: p.read([Address("todos", "a"), Address(name, "a")]),
        "put": lambda p: p.write([Put("todos", {"id": "b"}), Put(name, {"id": "a"})]),
        "delete": lambda p: p.write([Delete(name, "a")]),
        "clear": lambda p: p.write([Clear(name)]),
        "query": lambda p: p.query([Query("todos"), Query(name)]),
        "versions": lambda p: p.versions(name),
        "declare": lambda p: p.declare(CollectionSpec(collection=name)),
    }
    recorder = Recorder()

    async def play(whole: Provider, mine: Provider) -> None:
        with pytest.raises(InvalidArgumentError) as caught:
            await calls[verb](mine)
        assert "user-7" not in str(caught.value)
        assert str(caught.value).startswith("scope.")
        assert recorder.verbs == []
        assert await whole.collections() == []

    run(play, recorder)


@pytest.mark.parametrize(
    "scope",
    ["", ".", "..", "a/b", "/", "a/", "a\nb", "\x00", "\u200b", "\ud800", "x" * 257, "é" * 129],
)
def test_what_is_no_scope(scope: str) -> None:
    """It is refused when the layer is made."""
    with pytest.raises(InvalidArgumentError, match="scope"):
        Scope(scope)


@pytest.mark.parametrize("scope", [None, 7, b"user-7", ["user-7"]])
def test_a_scope_is_text(scope: Any) -> None:
    """Nothing else is taken for it, not even None."""
    with pytest.raises(InvalidArgumentError, match="text"):
        Scope(scope)


@pytest.mark.parametrize(
    "scope", ["...", ".a", "a b", " ", "é", "e\u0301", "日本", "😀", "a:b", "%", "\\", "x" * 256]
)
def test_what_is_a_scope(scope: str) -> None:
    """Any other printable text, and it is kept as it is."""

    async def play(whole: Provider, _: Provider) -> None:
        await scoped(scope, whole).create_item("todos", {"id": "a"})
        assert await whole.collections() == [f"{scope}/todos"]

    run(play)


def test_room_for_scopes_shrinks_with_each() -> None:
    """`max_scope_bytes` says what is left, and a scope that does not fit is refused at once."""
    inner = InMemoryProvider()
    layer = scoped("é" * 100, inner)
    assert layer.capabilities.max_scope_bytes == 256 - 201
    assert scoped("x" * 55, layer).capabilities.max_scope_bytes == 0
    with pytest.raises(ConfigurationError, match="56 bytes, where 55 are left"):
        scoped("x" * 56, layer)
    full = scoped("x" * 256, inner)
    assert full.capabilities.max_scope_bytes == 0
    with pytest.raises(ConfigurationError, match="0 are left"):
        scoped("x", full)


# --- cursors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "sqlite", "files"])
def test_cursors_belong_to_their_scope(kind: str, tmp_path: Path) -> None:
    """One made in a scope is refused in another and outside, though the documents are the same."""
    providers: dict[str, Callable[[], Provider]] = {
        "memory": InMemoryProvider,
        "sqlite": lambda: SQLiteProvider(":memory:"),
        "files": lambda: LocalFileProvider(tmp_path, fsync=False),
    }

    async def play(whole: Provider, mine: Provider) -> None:
        theirs = scoped("user-8", whole)
        views = (whole, mine, theirs)
        for view in views:
            await view.put_items("todos", [{"id": "a"}, {"id": "b"}])
        for view in views:
            page = await view.list_items("todos", limit=1)
            versions = await view.versions("todos", None, 1)
            rest = await view.list_items("todos", limit=1, cursor=page.cursor)
            assert [item.id for item in rest.items] == ["b"]
            assert len((await view.versions("todos", versions.cursor)).entries) == 1
            for other in views:
                if other is not view:
                    with pytest.raises(InvalidArgumentError, match="cursor") as caught:
                        await other.list_items("todos", limit=1, cursor=page.cursor)
                    assert "user-" not in str(caught.value)
                    with pytest.raises(InvalidArgumentError, match="cursor"):
                        await other.versions("todos", versions.cursor)

    run(play, provider=providers[kind]())


# --- errors --------------------------------------------------------------------------------------


def test_conflicts_name_the_collection_as_the_caller_knows_it() -> None:
    """With versions, index and provider kept, and without the inner error in tow."""

    async def play(_: Provider, mine: Provider) -> None:
        await mine.put_item("todos", {"id": "a"})
        batch: list[Write] = [
            Put("others", {"id": "x"}),
            Patch("todos", "a", {"n": 1}, IfVersion("old")),
        ]
        with pytest.raises(VersionMismatchError) as caught:
            await mine.write(batch)
        error = caught.value
        assert (error.collection, error.item_id, error.index) == ("todos", "a", 1)
        assert (error.expected_version, error.provider) == ("old", "memory")
        assert error.actual_version is not None
        assert str(error) == "memory.write todos/a: the document was changed"
        assert error.__context__ is None
        shown = "".join(traceback.format_exception(error))
        assert "in_memory.py" in shown
        assert "user-7/" not in shown
        assert await mine.count_items("others") == 0

    run(play)


class Failing(Layer):
    """Answers every write, query and listing of names with one error."""

    def __init__(self, error: StorageError) -> None:
        super().__init__()
        self.error = error

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        raise self.error

    async def _collections(self, scope: str | None) -> list[str]:
        raise self.error


async def failure(answer: Awaitable[object]) -> StorageError:
    """The error that a call fails with."""
    with pytest.raises(StorageError) as caught:
        await answer
    return caught.value


def test_a_batch_error_is_mapped_with_its_results_and_what_it_quotes() -> None:
    """Items, errors, and the message that repeats one of them."""
    first = CorruptItemError("broken", collection="user-7/todos", item_id="a", index=0)
    item = Item("user-7/todos", "b", "1", b'{"id":"b"}')
    other = CorruptItemError("broken", collection="user-8/todos", item_id="secret", source="there")
    batch = BatchError(f"2 of 4 failed; first: {first}", results=[first, item, None, other])

    async def play(_: Provider, mine: Provider) -> None:
        error = await failure(mine.write([Delete("todos", "a")]))
        assert isinstance(error, BatchError)
        assert error.message == "2 of 4 failed; first: todos/a: broken"
        assert error.args == (error.message,)
        mapped, kept, nothing, hidden = error.results
        assert isinstance(mapped, CorruptItemError)
        assert isinstance(kept, Item)
        assert isinstance(hidden, CorruptItemError)
        assert (mapped.collection, mapped.item_id, mapped.index) == ("todos", "a", 0)
        assert (kept.collection, kept.body, nothing) == ("todos", item.body, None)
        assert (hidden.collection, hidden.item_id, hidden.source) == (None, None, None)
        assert "user-8" not in f"{hidden}{hidden!r}{error}{error!r}"

    run(play, Failing(batch))


def test_a_batch_error_of_a_folder_is_mapped(tmp_path: Path) -> None:
    """As a provider without atomic batches raises it."""

    async def play(_: Provider, mine: Provider) -> None:
        await mine.put_item("todos", {"id": "a"})
        writes: list[Write] = [Put("todos", {"id": "b"}), Delete("todos", "x", IF_PRESENT)]
        error = await failure(mine.write(writes))
        assert isinstance(error, BatchError)
        assert "todos/x" in str(error)
        assert "user-7" not in str(error)
        assert [type(each).__name__ for each in error.results] == ["Item", "ItemNotFoundError"]
        assert [each and each.collection for each in error.results] == ["todos", "todos"]

    run(play, provider=LocalFileProvider(tmp_path, fsync=False))


def test_an_error_from_elsewhere_says_nothing_about_it() -> None:
    """The type stays, with what may be done about it; names and places go."""
    error = CorruptItemError(
        "/data/user-8/todos/x.json is broken",
        collection="user-8/todos",
        item_id="x",
        source="/data",
    )

    async def play(_: Provider, mine: Provider) -> None:
        seen = await failure(mine.write([Delete("todos", "a")]))
        assert isinstance(seen, CorruptItemError)
        assert "outside of this scope" in str(seen)
        assert (seen.collection, seen.item_id, seen.source) == (None, None, None)
        assert "user-8" not in repr(vars(seen)) + repr(seen)
        # What looked at every scope to name the collections may have failed in any.
        error.collection = None
        seen = await failure(mine.collections())
        assert "user-8" not in f"{seen}{seen!r}{vars(seen)}"
        assert isinstance(seen, CorruptItemError)

    run(play, Failing(error))


def test_naming_the_collections_asks_for_this_scope_alone() -> None:
    """So it costs what the scope holds, not what the provider holds."""
    recorder = Recorder()

    async def play(_: Provider, mine: Provider) -> None:
        recorder.calls.clear()
        await mine.collections()
        await mine.collections("work")
        assert recorder.calls == [
            Call("collections", ("user-7",)),
            Call("collections", ("user-7/work",)),
        ]

    run(play, recorder)


@pytest.mark.parametrize("error", [TransportError("no answer"), ProviderClosedError("closed")])
def test_naming_the_collections_fails_with_the_reason(error: StorageError) -> None:
    """Where it can't hold a name, as when the provider can't be reached."""

    async def play(_: Provider, mine: Provider) -> None:
        assert (await failure(mine.collections())).message == error.message

    run(play, Failing(error))


def test_an_error_raised_to_several_scopes_reads_right_in_each() -> None:
    """A provider may raise one object to all who wait; nobody's view of it changes it."""

    class OddError(StorageError):
        """One that can't be made again from its message."""

        def __init__(self, number: int, *, cause: Exception) -> None:
            super().__init__(f"odd {number}", collection="user-7/user-7/todos")
            self.number = number
            self.__cause__ = cause

    shared = OddError(7, cause=OSError("the reason"))

    async def play(whole: Provider, mine: Provider) -> None:
        theirs = compose(Scope("user-8"), Failing(shared), provider=whole)
        for _ in range(2):
            seen = await failure(mine.write([Delete("user-7/todos", "a")]))
            assert isinstance(seen, OddError)
            assert (seen.collection, seen.number) == ("user-7/todos", 7)
            assert seen.__cause__ is shared.__cause__
            assert (await failure(theirs.write([Delete("todos", "a")]))).collection is None
        assert shared.collection == "user-7/user-7/todos"
        assert shared.message == "odd 7"

    run(play, Failing(shared))


def test_corrupt_documents_are_named_without_the_scope(tmp_path: Path) -> None:
    """In `Page.corrupt`, in warnings and when read; the path in it says where the file is."""
    broken = tmp_path / "user-7" / "todos" / "bad.json"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"{")

    async def play(whole: Provider, mine: Provider) -> None:
        await mine.put_item("todos", {"id": "good"})
        (corrupt,) = (await mine.list_items("todos")).corrupt
        assert (corrupt.collection, corrupt.item_id) == ("todos", "bad")
        assert corrupt.source == str(broken)
        assert (await failure(mine.read_item("todos", "bad"))).collection == "todos"
        with pytest.warns(CorruptItemWarning, match=r"^todos/bad: "):
            assert [item.id async for item in mine.find_items("todos")] == ["good"]
        assert (await scoped("user-8", whole).list_items("todos")).corrupt == ()

    run(play, provider=LocalFileProvider(tmp_path, fsync=False))


# --- cost and completeness -----------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
def test_each_call_is_one_call_of_the_provider(name: str) -> None:
    """Whatever is called; and all of it names this scope alone."""
    upper, lower = Recorder(), Recorder()

    async def play(whole: Provider, _: Provider) -> None:
        mine = compose(upper, Scope("user-7"), lower, provider=whole)
        await mine.put_item("things", {"id": "a"})
        upper.calls.clear()
        lower.calls.clear()
        await CALLS[name](mine)
        assert upper.verbs
        assert upper.verbs == lower.verbs
        for call in lower.calls:
            for argument in call.arguments:
                parts = argument if isinstance(argument, list | tuple) else [argument]
                for part in parts:
                    named = (
                        part if isinstance(part, str) else getattr(part, "collection", "user-7/")
                    )
                    assert f"{named}/".startswith("user-7/")

    run(play)


def test_nothing_is_encoded_or_copied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes and items under another name share their bytes."""
    put = Put("todos", {"id": "a", "expiresAt": "2099-01-01T00:00:00.000Z"}, IfVersion("1"))
    encoded = Put("todos", {"id": "a"}, encoding="zstd", payload=b"bytes")
    patch = Patch("todos", "a", {"n": 1, "expiresAt": None}, IfVersion("1"))

    def refuse(_: object) -> bytes:
        raise AssertionError("encoded again")

    monkeypatch.setattr(_writes, "encode_object", refuse)
    for write in (put, encoded, patch):
        renamed = write.renamed("user-7/todos")
        assert type(renamed) is type(write)
        assert renamed.collection == "user-7/todos"
        assert write.collection == "todos"
        for slot in set(type(write).__slots__) - {"collection"}:
            assert getattr(renamed, slot) is getattr(write, slot), slot
    delete = Delete("todos", "a", IF_PRESENT)
    assert delete.renamed("x/todos") == Delete("x/todos", "a", IF_PRESENT)
    assert Clear("todos").renamed("x/todos") == Clear("x/todos")
    item = Item("todos", "a", "1", b'{"id":"a"}', "zstd", b"bytes")
    assert item.renamed("x").body is item.body
    assert item.renamed("x").payload is item.payload
    assert item.renamed("todos") == item
    assert item.document is not item.renamed("todos").document


def test_the_usual_things_work_inside() -> None:
    """Batches over collections, encoded documents, imports, typed collections."""

    async def play(whole: Provider, mine: Provider) -> None:
        await mine.write([Put("a", {"id": "1"}), Put("b", {"id": "1"}, encoding="x", payload=b"p")])
        with pytest.raises(ItemExistsError):
            await mine.create_items("a", [{"id": "2"}, {"id": "1"}])
        assert await mine.count_items("a") == 1
        item = await mine.read_item("b", "1")
        assert item is not None
        assert (item.encoding, item.payload) == ("x", b"p")
        report = await mine.migrate_legacy_data(Empty())
        assert report.created == {"things": 1}
        todos: Collection[Any] = Collection(mine, "todos", dict)
        await todos.create({"id": "t"})
        assert await whole.count_items("user-7/todos") == 1
        await whole.put_item("a", {"id": "kept"})
        await mine.clear_collection("a")
        assert await whole.collections() == ["a", "user-7/b", "user-7/things", "user-7/todos"]

    run(play)


def test_many_users_at_once_share_one_provider() -> None:
    """Each counts only what is theirs."""

    async def play(whole: Provider, _: Provider) -> None:
        async def serve(user: int) -> None:
            mine = scoped(f"user-{user}", whole)
            await mine.put_item("counters", {"id": "n", "n": 0})
            for _ in range(user):
                await mine.modify_item("counters", "n", lambda held: {**held, "n": held["n"] + 1})

        async with asyncio.TaskGroup() as group:
            for user in range(20):
                group.create_task(serve(user))
        for user in range(20):
            item = await whole.read_item(f"user-{user}/counters", "n")
            assert item is not None
            assert item.document["n"] == user

    run(play, provider=SQLiteProvider(":memory:"))


def test_a_layer_inside_fails_through_the_scope() -> None:
    """Errors without a collection come through as they are, retryable or not."""

    async def play(_: Provider, mine: Provider) -> None:
        error = await failure(mine.read_item("todos", "a"))
        assert isinstance(error, TransportError)
        assert error.retryable
        assert error.message == "injected: read failed before it was sent"
        assert await mine.read_item("todos", "a") is None

    run(play, Faults(Fail("read")))
