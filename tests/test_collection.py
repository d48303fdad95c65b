"""Typed views of a collection: every kind of model, both ways, on the in-memory provider."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, NotRequired, TypedDict, TypeVar, cast

import msgspec
import pydantic
import pytest
from pydantic.alias_generators import to_camel

from storage_providers._clock import Clock
from storage_providers._overlay import overlay
from storage_providers.collection import Collection, TypedItem, TypedPage
from storage_providers.errors import (
    BatchError,
    CorruptItemError,
    CorruptItemWarning,
    InvalidArgumentError,
    InvalidDocumentError,
    ItemExistsError,
    ItemNotFoundError,
    StorageError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import Capabilities, Index, Item, Page, Put, StorageProvider, Write
from storage_providers.providers.in_memory import InMemoryProvider

R = TypeVar("R")

SECRET = "hunter2-content"  # a value that no error may show
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Priority(Enum):
    """How urgent a todo is."""

    HIGH = "high"
    LOW = "low"


class Step(msgspec.Struct, rename="camel"):
    """A part of a todo."""

    text: str
    is_done: bool = False


class Todo(msgspec.Struct, rename="camel", kw_only=True):
    """A model with every managed field, camelCase in documents."""

    id: str | None = None
    content: Annotated[str, msgspec.Meta(min_length=1)]
    due_date: datetime | None = None
    priority: Priority = Priority.LOW
    steps: list[Step] = []
    labels: dict[str, int] = {}
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Note(msgspec.Struct):
    """A model without any of the fields that the SDK manages."""

    text: str


class StrictNote(msgspec.Struct, forbid_unknown_fields=True):
    """A model that accepts no other field."""

    text: str


class Tree(msgspec.Struct):
    """A model that holds itself."""

    kind: Literal["a", "b"] = "a"
    child: Tree | None = None


class PydanticStep(pydantic.BaseModel):
    """As `Step`."""

    model_config = pydantic.ConfigDict(alias_generator=to_camel, populate_by_name=True)

    text: str
    is_done: bool = False


class PydanticTodo(pydantic.BaseModel):
    """As `Todo`, with a rule about two fields."""

    model_config = pydantic.ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str | None = None
    content: str = pydantic.Field(min_length=1)
    due_date: datetime | None = None
    priority: Priority = Priority.LOW
    steps: list[PydanticStep] = []
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @pydantic.model_validator(mode="after")
    def _high_needs_due(self) -> PydanticTodo:
        if self.priority is Priority.HIGH and self.due_date is None:
            raise ValueError(f"{self.content} has no due date")
        return self


@dataclass
class DataTodo:
    """A model that can not rename its fields."""

    content: str
    notes: list[str] = field(default_factory=list)
    id: str | None = None
    created_at: datetime | None = None


class DictTodo(TypedDict):
    """A typed dict."""

    content: str
    done: NotRequired[bool]


def with_provider(
    body: Callable[[InMemoryProvider], Awaitable[R]], provider: InMemoryProvider | None = None
) -> R:
    """Run `body` with an open in-memory provider."""

    async def main() -> R:
        async with provider or InMemoryProvider() as opened:
            return await body(opened)

    return asyncio.run(main())


async def stored(provider: StorageProvider, collection: str, item_id: str) -> dict[str, Any]:
    """The document as the provider holds it."""
    item = await provider.read_item(collection, item_id)
    assert item is not None
    return item.document


def assert_silent(error: BaseException) -> None:
    """No error, nor what it hangs on, shows the secret value."""
    assert SECRET not in "".join(traceback.format_exception(error))
    assert SECRET not in str(error)
    assert SECRET not in repr(error)
    assert SECRET not in repr(error.__context__)


# --- every kind of model -----------------------------------------------------------------------

MODELS: list[tuple[Any, Any]] = [
    (Todo, Todo(content="a", due_date=NOON)),
    (PydanticTodo, PydanticTodo(content="a", due_date=NOON)),
]


@pytest.mark.parametrize(("model", "value"), MODELS, ids=["msgspec", "pydantic"])
def test_camel_case_model_round_trip(model: Any, value: Any) -> None:
    """Documents are camelCase with the contract's times; attributes are snake_case datetimes."""

    async def body(provider: InMemoryProvider) -> None:
        todos: Collection[Any] = Collection(provider, "todos", model)
        created = await todos.create(value)
        document = await stored(provider, "todos", created.id)
        assert document["dueDate"] == "2026-01-31T12:00:00.000Z"
        assert document["priority"] == "low"
        assert document["id"] == created.id == created.value.id
        assert created.value.due_date == NOON
        assert created.value.created_at == datetime.fromisoformat(document["createdAt"])
        assert created.value.updated_at.tzinfo is not None
        read = await todos.read(created.id)
        assert read == created
        assert isinstance(created.value, model)

    with_provider(body)


def test_dataclass_gets_the_managed_fields_under_snake_case() -> None:
    """A dataclass can't rename: its `created_at` is the document's `createdAt`."""

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "todos", DataTodo)
        created = await todos.create(DataTodo("a", ["n"]))
        document = await stored(provider, "todos", created.id)
        assert set(document) == {"id", "content", "notes", "createdAt", "updatedAt"}
        assert created.value.created_at == datetime.fromisoformat(document["createdAt"])
        changed = await todos.modify(created.id, lambda todo: replace(todo, content="b"))
        assert changed.value.content == "b"
        assert changed.value.created_at == created.value.created_at
        with pytest.raises(InvalidArgumentError, match="documents call it 'createdAt'"):
            await todos.list(order_by="-created_at")

    with_provider(body)


def test_typed_dict_and_plain_dict() -> None:
    """A TypedDict is validated; without a model documents pass as they are."""

    async def body(provider: InMemoryProvider) -> None:
        typed = Collection(provider, "todos", DictTodo)
        created = await typed.create({"content": "a"}, item_id="1")
        assert created.value == {"content": "a"}
        with pytest.raises(InvalidDocumentError) as caught:
            await typed.create(cast(DictTodo, {"content": SECRET, "done": "yes"}))
        assert caught.value.field == "done"
        plain = Collection(provider, "todos")
        assert (await plain.create({"id": None, "x": 1}, item_id="2")).id == "2"
        assert len((await plain.create({})).id) == 36
        read = await plain.read("1")
        assert read is not None
        assert read.value["content"] == "a"
        assert read.value["createdAt"].endswith("Z")
        with pytest.raises(InvalidDocumentError) as nan:
            await plain.create({"a": {"b": float("nan")}})
        assert nan.value.field == "a.b"
        updated = await plain.update("1", {"content": None, "x": 1})
        assert "content" not in updated.value

    with_provider(body)


@pytest.mark.parametrize("model", [Note, StrictNote])
def test_models_without_the_managed_fields(model: Any) -> None:
    """A model that lacks `id` and the times works, also when it forbids unknown fields."""

    async def body(provider: InMemoryProvider) -> None:
        notes: Collection[Any] = Collection(provider, "notes", model)
        first = await notes.create(model(text="a"))
        second = await notes.create(model(text="b"), item_id="chosen")
        assert second.id == "chosen"
        assert first.id != second.id
        assert [item.value.text for item in (await notes.list()).items] == ["a", "b"]
        assert (
            await notes.modify("chosen", lambda note: model(text=note.text * 2))
        ).value.text == "bb"
        assert (await notes.put(model(text="c"), item_id="chosen")).value.text == "c"

    with_provider(body)


def test_tagged_union() -> None:
    """Structs told apart by their tag share a collection."""

    class Created(msgspec.Struct, tag="created", tag_field="kind"):
        by: str

    class Removed(msgspec.Struct, tag="removed", tag_field="kind"):
        reason: str

    async def body(provider: InMemoryProvider) -> None:
        events: Collection[Created | Removed] = Collection(
            provider, "events", cast(Any, Created | Removed)
        )
        await events.create(Created("me"), item_id="1")
        await events.create(Removed("old"), item_id="2")
        assert [type(item.value) for item in (await events.list()).items] == [Created, Removed]
        await provider.put_item("events", {"id": "3", "kind": SECRET})
        with pytest.raises(InvalidDocumentError) as caught:
            await events.read("3")
        assert caught.value.field == "kind"
        assert_silent(caught.value)

    with_provider(body)


def test_strict_pydantic_and_computed_times() -> None:
    """`extra="forbid"` does not trip over the managed fields; own serialisers are respected."""

    class Entry(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        at: datetime
        day: datetime

        @pydantic.field_serializer("day", when_used="json")
        def _day(self, value: datetime) -> str:
            return value.date().isoformat()

    async def body(provider: InMemoryProvider) -> None:
        entries = Collection(provider, "entries", Entry)
        item = await entries.create(Entry(at=NOON, day=NOON))
        document = await stored(provider, "entries", item.id)
        assert document["at"] == "2026-01-31T12:00:00.000Z"
        assert document["day"] == "2026-01-31"
        await provider.put_item("entries", {**document, "id": "odd", "other": 1})
        with pytest.raises(InvalidDocumentError) as caught:
            await entries.read("odd")
        assert caught.value.field == "other"

    with_provider(body)


def test_pydantic_dataclass() -> None:
    """A pydantic dataclass is validated by pydantic."""

    @pydantic.dataclasses.dataclass
    class Point:
        x: int = pydantic.Field(ge=0)

    async def body(provider: InMemoryProvider) -> None:
        points = Collection(provider, "points", Point)
        item = await points.create(Point(x=1))
        assert item.value == Point(x=1)
        with pytest.raises(InvalidDocumentError) as caught:
            await points.update(item.id, {"x": -1})
        assert caught.value.field == "x"
        assert "greater than or equal to 0" in str(caught.value)

    with_provider(body)


def test_times_of_other_zones_and_none() -> None:
    """Datetimes become UTC to the millisecond, rounded down; without a zone they are UTC."""

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "todos", Todo)
        east = datetime(2026, 1, 31, 13, 0, 0, 1999, tzinfo=timezone(timedelta(hours=1)))
        item = await todos.create(Todo(content="a", due_date=east))
        assert (await stored(provider, "todos", item.id))["dueDate"] == "2026-01-31T12:00:00.001Z"
        local = datetime.fromisoformat("1969-12-31T23:59:00")
        naive = await todos.create(Todo(content="a", due_date=local))
        assert (await stored(provider, "todos", naive.id))["dueDate"] == "1969-12-31T23:59:00.000Z"

    with_provider(body)


def test_created_at_given_is_kept_and_updated_at_is_set() -> None:
    """`createdAt` of the value survives, `updatedAt` is the provider's."""

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "todos", Todo)
        item = await todos.create(Todo(content="a", created_at=NOON, updated_at=NOON))
        assert item.value.created_at == NOON
        assert item.value.updated_at != NOON

    with_provider(body)


@pytest.mark.parametrize("model", [int, list, "Todo", 5])
def test_what_can_not_be_a_model(model: Any) -> None:
    """A class without fields is refused at once."""
    provider = InMemoryProvider()
    if model in (int, list):
        collection: Collection[Any] = Collection(provider, "x", model)
        with pytest.raises(InvalidDocumentError, match="not an object"):
            asyncio.run(collection.create(model()))
    else:
        with pytest.raises(InvalidArgumentError, match="can't be a collection's model"):
            Collection(provider, "x", model)


def test_array_like_struct_is_refused() -> None:
    """A Struct that encodes as an array is no document."""

    class Pair(msgspec.Struct, array_like=True):
        a: int

    with pytest.raises(InvalidArgumentError, match="array_like"):
        Collection(InMemoryProvider(), "pairs", Pair)
    with pytest.raises(InvalidArgumentError, match="not a collection name"):
        Collection(InMemoryProvider(), "Pairs", Note)


# --- validation --------------------------------------------------------------------------------

MISFITS = [
    ({"content": 5}, "content"),
    ({}, "content"),
    ({"content": ""}, "content"),
    ({"content": "a", "priority": SECRET}, "priority"),
    ({"content": "a", "dueDate": SECRET}, "dueDate"),
    ({"content": "a", "steps": [{"text": "x"}, {"text": [SECRET]}]}, "steps.1.text"),
    ({"content": "a", "steps": [{"isDone": True}]}, "steps.0.text"),
]


@pytest.mark.parametrize("model", [Todo, PydanticTodo])
@pytest.mark.parametrize(("document", "path"), MISFITS, ids=[str(n) for n in range(len(MISFITS))])
def test_misfit_names_the_field_never_the_value(
    model: Any, document: dict[str, Any], path: str
) -> None:
    """A stored document that does not fit is an error with a dotted path and no content."""

    async def body(provider: InMemoryProvider) -> None:
        await provider.put_item("todos", {"id": "1", "secret": SECRET, **document})
        with pytest.raises(InvalidDocumentError) as caught:
            await Collection(provider, "todos", model).read("1")
        error = caught.value
        assert (error.field, error.item_id, error.collection) == (path, "1", "todos")
        assert str(error).startswith(f"memory.read todos/1: field '{path}' is ")
        assert str(error).endswith(f"(model {model.__name__})")
        assert_silent(error)

    with_provider(body)


def test_misfit_inside_a_mapping_and_own_validators() -> None:
    """A path through a mapping has a star; a validator's message, which may quote, is left out."""

    async def body(provider: InMemoryProvider) -> None:
        await provider.put_item("todos", {"id": "1", "content": "a", "labels": {"k": SECRET}})
        with pytest.raises(InvalidDocumentError) as caught:
            await Collection(provider, "todos", Todo).read("1")
        assert caught.value.field == "labels.*"
        assert_silent(caught.value)
        await provider.put_item("todos", {"id": "2", "content": SECRET, "priority": "high"})
        with pytest.raises(InvalidDocumentError) as own:
            await Collection(provider, "todos", PydanticTodo).read("2")
        assert own.value.field is None
        assert "value_error" in str(own.value)
        assert_silent(own.value)

    with_provider(body)


def test_values_are_validated_before_they_are_written() -> None:
    """Msgspec does not check attributes that are set: the collection does, and nothing lands."""

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "todos", Todo)
        wrong = Todo(content="a")
        wrong.steps = cast(Any, [Step(text=cast(Any, [SECRET]))])
        for write in (todos.create, todos.put):
            with pytest.raises(InvalidDocumentError) as caught:
                await write(wrong)
            assert caught.value.field == "steps.0.text"
            assert_silent(caught.value)
        with pytest.raises(InvalidDocumentError) as second:
            await todos.create_many([Todo(content="fine"), wrong])
        assert second.value.index == 1
        typed = Collection(provider, "todos", PydanticTodo)
        broken = PydanticTodo.model_construct(content=cast(Any, [SECRET]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(InvalidDocumentError) as third:
                await typed.create(broken)
        assert third.value.field == "content"
        assert_silent(third.value)
        with pytest.raises(InvalidDocumentError, match="of type Note, the model is Todo"):
            await todos.create(cast(Any, Note("x")))
        assert await provider.count_items("todos") == 0

    with_provider(body)


def test_what_has_no_json_form_is_refused() -> None:
    """NaN, and objects that no codec knows, are named as not storable."""

    class Holder(msgspec.Struct):
        value: Any

    async def body(provider: InMemoryProvider) -> None:
        holders = Collection(provider, "holders", Holder)
        with pytest.raises(InvalidDocumentError) as caught:
            await holders.create(Holder(float("inf")))
        assert caught.value.field == "value"
        with pytest.raises(InvalidDocumentError, match="can't be stored"):
            await holders.create(Holder(object()))
        with pytest.raises(InvalidDocumentError, match="no JSON form"):
            await holders.list(where={"value": object()})

    with_provider(body)


def test_repr_shows_no_content() -> None:
    """Items, pages and collections can be logged."""
    item = TypedItem("1", "v", Note(SECRET))
    page = TypedPage(items=[item], cursor="c")
    assert SECRET not in repr(item) + repr(page)
    assert repr(item) == "TypedItem(Note, id='1', version='v')"
    assert repr(page) == "TypedPage(1 items, more)"
    assert (
        repr(Collection(InMemoryProvider(), "notes", Note)) == "Collection(memory, 'notes', Note)"
    )


# --- update and modify -------------------------------------------------------------------------

RICH = {
    "id": "1",
    "content": "a",
    "future": {"kept": [1, 2]},
    "dueDate": "2026-01-31T12:00:00.123456Z",
    "steps": [
        {"text": "one", "color": "red"},
        {"text": "two", "color": "blue"},
    ],
}


def test_modify_keeps_what_the_model_does_not_know() -> None:
    """Unknown fields stay at every depth, and untouched fields keep their stored form."""

    async def body(provider: InMemoryProvider) -> None:
        await provider.put_item("todos", RICH)
        todos = Collection(provider, "todos", Todo)

        def change(todo: Todo) -> Todo:
            todo.content = "b"
            todo.steps[1].is_done = True
            todo.steps.insert(0, Step(text="zero"))
            return todo

        item = await todos.modify("1", change)
        assert item.value.content == "b"
        document = await stored(provider, "todos", "1")
        assert document["future"] == {"kept": [1, 2]}
        assert document["dueDate"] == "2026-01-31T12:00:00.123456Z"
        assert document["steps"][1] == {"text": "one", "color": "red"}
        assert document["steps"][0] == {"text": "zero", "isDone": False}
        assert "priority" not in document, "a default that nobody changed is not written"

    with_provider(body)


def test_modify_is_repeated_when_others_write() -> None:
    """Sixteen increments at once all count, and fields that others add meanwhile stay."""

    class Counter(msgspec.Struct):
        count: int

    async def body(provider: InMemoryProvider) -> None:
        counters = Collection(provider, "counters", Counter)
        await counters.create(Counter(0), item_id="1")
        calls = 0

        async def interfere() -> None:
            await provider.update_item("counters", "1", {"added": True})

        def change(counter: Counter) -> Counter:
            nonlocal calls
            calls += 1
            return Counter(counter.count + 1)

        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(counters.modify("1", change))
            group.create_task(interfere())
        document = await stored(provider, "counters", "1")
        assert document["count"] == 16
        assert document["added"] is True
        assert calls >= 16

    with_provider(body)


def test_modify_refuses_another_id_a_misfit_and_a_missing_document() -> None:
    """A change that gives another id or leaves the model is refused before anything is written."""

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "todos", Todo)
        before = await todos.create(Todo(id="1", content="a"))

        def renamed(todo: Todo) -> Todo:
            todo.id = "2"
            return todo

        def emptied(todo: Todo) -> Todo:
            todo.content = ""
            return todo

        for change, path in ((renamed, "id"), (emptied, "content")):
            with pytest.raises(InvalidDocumentError) as caught:
                await todos.modify("1", change)
            assert caught.value.field == path
        forgotten = cast("Callable[[Todo], Todo]", lambda todo: None)
        with pytest.raises(InvalidDocumentError, match="of type NoneType, the model is Todo"):
            await todos.modify("1", forgotten)
        plain = Collection(provider, "todos")
        with pytest.raises(InvalidDocumentError, match="of type NoneType, the model is dict"):
            await plain.modify("1", cast(Any, forgotten))
        with pytest.raises(ItemNotFoundError):
            await todos.modify("absent", emptied)
        assert await todos.read("1") == before

    with_provider(body)


def test_update_validates_the_whole_result() -> None:
    """An update that would leave the model is refused, also by a rule about two fields."""

    async def body(provider: InMemoryProvider) -> None:
        await provider.put_item("todos", RICH)
        todos = Collection(provider, "todos", PydanticTodo)
        item = await todos.update("1", {"content": "b", "dueDate": NOON, "priority": Priority.HIGH})
        assert item.value.priority is Priority.HIGH
        assert item.value.due_date == NOON
        assert (await stored(provider, "todos", "1"))["future"] == {"kept": [1, 2]}
        before = await provider.read_item("todos", "1")
        for changes, path in (
            ({"content": None}, "content"),
            ({"steps": [{"text": 1}]}, "steps.0.text"),
            ({"dueDate": None}, None),
        ):
            with pytest.raises(InvalidDocumentError) as caught:
                await todos.update("1", changes)
            assert caught.value.field == path
        assert await provider.read_item("todos", "1") == before
        with pytest.raises(InvalidArgumentError, match="documents call it 'dueDate'"):
            await todos.update("1", {"due_date": NOON})
        with pytest.raises(ItemNotFoundError):
            await todos.update("absent", {"content": "x"})

    with_provider(body)


def test_update_and_delete_with_a_version() -> None:
    """`if_version` holds for update, put and delete; a wrong one changes nothing."""

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "todos", Todo)
        first = await todos.create(Todo(id="1", content="a"))
        second = await todos.update("1", {"content": "b"}, if_version=first.version)
        with pytest.raises(VersionMismatchError) as caught:
            await todos.update("1", {"content": "c"}, if_version=first.version)
        assert caught.value.actual_version == second.version
        with pytest.raises(VersionMismatchError):
            await todos.put(Todo(id="1", content="c"), if_version=first.version)
        with pytest.raises(VersionMismatchError):
            await todos.delete("1", if_version=first.version)
        assert await todos.read("1") == second
        await todos.delete("1", if_version=second.version)
        await todos.delete("1")
        assert await todos.read("1") is None
        with pytest.raises(VersionMismatchError):
            await todos.update("1", {"content": "c"}, if_version=first.version)

    with_provider(body)


class WeakProvider(InMemoryProvider):
    """Memory that claims it can't compare and set, as KV can't."""

    patches: ClassVar[int] = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(atomic_batch=False)

    async def _write(self, batch: Any) -> list[Item | None]:
        type(self).patches += sum(type(write).__name__ == "Patch" for write in batch)
        return await super()._write(batch)


def test_without_compare_and_set() -> None:
    """There an update is validated and sent as a patch, and modify is refused."""

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "todos", Todo)
        await provider.put_item("todos", RICH)
        WeakProvider.patches = 0
        item = await todos.update("1", {"content": "b"})
        assert (item.value.content, WeakProvider.patches) == ("b", 1)
        with pytest.raises(InvalidDocumentError):
            await todos.update("1", {"content": ""})
        assert WeakProvider.patches == 1
        with pytest.raises(ItemNotFoundError):
            await todos.update("absent", {"content": "b"})
        with pytest.raises(UnsupportedOperationError):
            await todos.modify("1", lambda todo: todo)

    with_provider(body, WeakProvider())


@pytest.mark.parametrize(
    ("stored_part", "before", "after", "expected"),
    [
        ({"a": 1, "x": 2}, {"a": 1}, {"a": 3}, {"a": 3, "x": 2}),
        ({"a": 1, "x": 2}, {"a": 1}, {}, {"x": 2}),
        ({}, {"a": 1}, {"a": 1, "b": 2}, {"b": 2}),
        ({}, {"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": 1}, {"a": True}, {"a": True}),
        ({"a": 1}, {"a": 1}, {"a": 1.0}, {"a": 1.0}),
        ({"o": {"k": 1, "x": 2}}, {"o": {"k": 1}}, {"o": None}, {"o": None}),
        (
            [{"id": "1", "x": 1}, {"id": "2", "x": 2}],
            [{"id": "1"}, {"id": "2"}],
            [{"id": "2", "n": 5}],
            [{"id": "2", "n": 5, "x": 2}],
        ),
        ([{"v": 1, "x": 1}], [{"v": 1}], [{"v": 2}], [{"v": 2, "x": 1}]),
        (
            [{"v": 1, "x": 1}, {"v": 1, "x": 2}],
            [{"v": 1}, {"v": 1}],
            [{"v": 1}],
            [{"v": 1, "x": 1}],
        ),
        ([1, 2, 2], [1, 2, 2], [2, 1], [2, 1]),
        (["a"], ["a"], ["a", "b"], ["a", "b"]),
        ([{"x": 1}], [{}], [], []),
        ([1, 2], [1], [3], [3]),
    ],
)
def test_overlay(stored_part: Any, before: Any, after: Any, expected: Any) -> None:
    """Only what changed is carried over, whatever the shapes."""
    result = overlay(stored_part, before, after)
    assert msgspec.json.encode(result, order="sorted") == msgspec.json.encode(
        expected, order="sorted"
    )


# --- batches and listings ----------------------------------------------------------------------


def test_batches() -> None:
    """The plural forms keep the order and name what failed."""

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "todos", Todo)
        created = await todos.create_many(Todo(id=str(n), content=f"t{n}") for n in range(3))
        assert [item.id for item in created] == ["0", "1", "2"]
        with pytest.raises(ItemExistsError):
            await todos.create_many([Todo(id="9", content="x"), Todo(id="0", content="x")])
        replaced = await todos.put_many([Todo(id="0", content="new")])
        assert replaced[0].value.content == "new"
        read = await todos.read_many(["2", "absent", "0"])
        assert [item and item.value.content for item in read] == ["t2", None, "new"]
        await provider.put_item("todos", {"id": "bad", "content": [SECRET]})
        with pytest.raises(BatchError) as caught:
            await todos.read_many(["0", "bad", "absent"])
        good, bad, absent = caught.value.results
        assert isinstance(good, Item)
        assert isinstance(bad, InvalidDocumentError)
        assert (bad.field, bad.item_id, bad.index, absent) == ("content", "bad", 1, None)
        assert_silent(caught.value)
        with pytest.raises(InvalidDocumentError):
            await todos.read_many(["bad"])
        await todos.delete_many(["0", "1", "absent"])
        assert await todos.count() == 2
        await todos.clear()
        assert await todos.count() == 0

    with_provider(body)


def test_misfits_are_not_in_the_way_of_a_listing() -> None:
    """A document that does not fit is reported on its page; the others are listed and counted."""

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "todos", Todo)
        for n in range(5):
            content: Any = [SECRET] if n in (1, 3) else f"t{n}"
            await provider.put_item("todos", {"id": str(n), "content": content})
        first = await todos.list(limit=3, total=True)
        assert [item.id for item in first.items] == ["0", "2"]
        assert first.total == 5
        assert [error.item_id for error in first.corrupt] == ["1"]
        second = await todos.list(limit=3, cursor=first.cursor)
        assert [item.id for item in second.items] == ["4"]
        assert [error.item_id for error in second.corrupt] == ["3"]
        assert second.cursor is None
        told: list[StorageError] = []
        found = [item.id async for item in todos.find(page_size=2, on_corrupt=told.append)]
        assert found == ["0", "2", "4"]
        assert [error.item_id for error in told] == ["1", "3"]
        with pytest.warns(CorruptItemWarning, match="field 'content'") as warned:
            assert len([item async for item in todos.find()]) == 3
        assert not any(SECRET in str(warning.message) for warning in warned)

    with_provider(body)


def test_query_values_and_names() -> None:
    """`where` takes datetimes and enums; an attribute's name is refused wherever it stands."""

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "todos", Todo)
        await todos.create(Todo(id="1", content="a", due_date=NOON, priority=Priority.HIGH))
        await todos.create(Todo(id="2", content="b", due_date=NOON + timedelta(days=1)))
        page = await todos.list(
            where={"dueDate": {"$lte": NOON}, "priority": {"$in": [Priority.HIGH]}},
            order_by="-dueDate",
        )
        assert [item.id for item in page.items] == ["1"]
        assert await todos.count(where={"dueDate": {"$gt": date(2026, 1, 31)}}) == 2
        for where in (
            {"due_date": 1},
            {"$and": [{"content": "a"}, {"$not": {"due_date": 1}}]},
            {"$or": [{"due_date": 1}]},
        ):
            with pytest.raises(InvalidArgumentError, match="documents call it 'dueDate'"):
                await todos.list(where=where)
        with pytest.raises(InvalidArgumentError, match="documents call it 'createdAt'"):
            await todos.list(order_by=["content", "-created_at"])
        with pytest.raises(TypeError, match="fields"):
            await cast(Any, todos).list(fields=["content"])

    with_provider(body)


def test_declare() -> None:
    """Indexes are declared in short form, under the documents' names."""

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "user-7/todos", Todo)
        spec = await todos.declare(
            indexes=["priority", ("priority", "-dueDate"), Index.of("tags", each=True)],
            default_ttl_seconds=60,
        )
        assert spec.indexes[1] == Index(("priority", "-dueDate"))
        assert await todos.declared() == spec
        with pytest.raises(InvalidArgumentError, match="dueDate"):
            await todos.declare(indexes=["-due_date"])
        item = await todos.create(Todo(content="a"))
        assert "expiresAt" in await stored(provider, "user-7/todos", item.id)

    with_provider(body)


def test_ids_given_twice_must_agree() -> None:
    """`item_id` may repeat the value's id; ids are made by the provider's clock."""
    seen: list[int] = []

    def randomness(count: int) -> bytes:
        seen.append(count)
        return bytes(count)

    async def body(provider: InMemoryProvider) -> None:
        todos = Collection(provider, "todos", Todo)
        assert (await todos.create(Todo(id="1", content="a"), item_id="1")).id == "1"
        with pytest.raises(InvalidArgumentError, match="item_id"):
            await todos.put(Todo(id="1", content="a"), item_id="2")
        await todos.create(Todo(content="a"))
        assert seen, "the injected randomness made the id"

    with_provider(body, InMemoryProvider(clock=Clock(randomness=randomness)))


def test_encoded_documents_are_not_taken_for_the_whole() -> None:
    """What a layer encoded is reported, not read as if its visible part were the document."""

    async def body(provider: InMemoryProvider) -> None:
        writes: list[Write] = [
            Put("todos", {"id": "1", "content": "visible"}, encoding="zstd", payload=b"x")
        ]
        await provider.write(writes)
        todos = Collection(provider, "todos", Todo)
        with pytest.raises(CorruptItemError, match="encoded as 'zstd'"):
            await todos.read("1")
        assert len((await todos.list()).corrupt) == 1

    with_provider(body)


@pytest.mark.parametrize("model", [Todo, PydanticTodo, DataTodo, StrictNote, dict])
@pytest.mark.parametrize("body", [b'{"content": "hunter2', b"[1]", b'"\xff"'])
def test_broken_bytes_are_corrupt_not_misfits(model: Any, body: bytes) -> None:
    """Bytes that are no JSON object are `CorruptItemError` with every model, beside the others."""

    class Broken(InMemoryProvider):
        async def _read(self, addresses: Any) -> list[Item | None]:
            return [Item(address.collection, address.id, "1", body) for address in addresses]

        async def _query(self, queries: Any) -> list[Page]:
            return [Page(items=[Item(query.collection, "1", "1", body)]) for query in queries]

    async def read(provider: InMemoryProvider) -> None:
        todos: Collection[Any] = Collection(provider, "todos", model)
        with pytest.raises(CorruptItemError, match=r"memory\.read todos/1: ") as caught:
            await todos.read("1")
        assert "hunter2" not in str(caught.value)
        page = await todos.list()
        assert page.items == []
        assert isinstance(page.corrupt[0], CorruptItemError)

    with_provider(read, Broken())


def test_literal_and_deep_documents() -> None:
    """A literal that does not match is named; a document nested very deep does not crash."""

    async def body(provider: InMemoryProvider) -> None:
        trees = Collection(provider, "trees", Tree)
        deep: dict[str, Any] = {}
        for _ in range(90):
            deep = {"child": deep}
        await provider.put_item("trees", {"id": "1", **deep})
        item = await trees.read("1")
        assert item is not None
        await provider.put_item("trees", {"id": "2", "kind": SECRET})
        with pytest.raises(InvalidDocumentError) as caught:
            await trees.read("2")
        assert caught.value.field == "kind"
        assert_silent(caught.value)

    with_provider(body)


def test_pydantic_is_not_imported_for_other_models() -> None:
    """A program that uses Structs never pays for pydantic."""
    code = (
        "import sys, msgspec\n"
        "from storage_providers.collection import Collection\n"
        "from storage_providers.providers.in_memory import InMemoryProvider\n"
        "class Note(msgspec.Struct):\n    text: str\n"
        "Collection(InMemoryProvider(), 'notes', Note)\n"
        "assert not [name for name in sys.modules if name.startswith('pydantic')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
