"""Layers: complete, in the order written, and never bypassed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

import pytest

from storage_providers.base import Provider
from storage_providers.errors import ConfigurationError, ProviderClosedError, TransportError
from storage_providers.layers import Call, Layer, compose
from storage_providers.protocol import (
    Address,
    Capabilities,
    CollectionSpec,
    JsonObject,
    LegacyRecord,
    Put,
    Query,
    StorageProvider,
)
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing.faults import Fail, Faults, Recorder

T = TypeVar("T")


class Empty:
    """A legacy source of one document."""

    name = "one"

    async def records(self) -> Any:
        """The document."""
        yield LegacyRecord(
            collection="things",
            document={"id": "legacy", "updatedAt": "2026-01-01T00:00:00.000Z"},
            origin="one.json",
        )


async def drain(provider: StorageProvider) -> None:
    """Iterate over everything."""
    async for _ in provider.find_items("things"):
        pass


def same(document: JsonObject) -> JsonObject:
    """The document as it is."""
    return document


CALLS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "read": lambda p: p.read([Address("things", "a")]),
    "write": lambda p: p.write([Put("things", {"id": "w"})]),
    "query": lambda p: p.query([Query("things")]),
    "versions": lambda p: p.versions("things"),
    "collections": lambda p: p.collections(),
    "declare": lambda p: p.declare(CollectionSpec(collection="things")),
    "declared": lambda p: p.declared("things"),
    "create_item": lambda p: p.create_item("things", {}),
    "create_items": lambda p: p.create_items("things", [{}]),
    "read_item": lambda p: p.read_item("things", "a"),
    "read_items": lambda p: p.read_items("things", ["a"]),
    "update_item": lambda p: p.update_item("things", "a", {"n": 1}),
    "update_items": lambda p: p.update_items("things", {"a": {"n": 1}}),
    "modify_item": lambda p: p.modify_item("things", "a", same),
    "put_item": lambda p: p.put_item("things", {"id": "a"}),
    "put_items": lambda p: p.put_items("things", [{"id": "a"}]),
    "delete_item": lambda p: p.delete_item("things", "zz"),
    "delete_items": lambda p: p.delete_items("things", ["zz"]),
    "list_items": lambda p: p.list_items("things"),
    "find_items": drain,
    "count_items": lambda p: p.count_items("things"),
    "clear_collection": lambda p: p.clear_collection("others"),
    "migrate_legacy_data": lambda p: p.migrate_legacy_data(Empty()),
}
LIFETIME = {"connect", "disconnect"}


def public_coroutines(of: type) -> set[str]:
    """Names of what callers can await on a class."""
    return {
        name
        for name, value in inspect.getmembers(of)
        if not name.startswith("_")
        and (inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value))
    }


def test_the_table_names_every_public_call() -> None:
    """A method added to the base must be added here, and so be seen by a recording layer."""
    assert public_coroutines(Provider) == set(CALLS) | LIFETIME


def test_every_verb_has_its_twin_in_the_layer() -> None:
    """What the base does not derive, `Layer` defines itself; what it derives, `Layer` leaves."""
    waist = LIFETIME | {
        "read",
        "write",
        "query",
        "versions",
        "collections",
        "declare",
        "declared",
    }
    own = {name for name in vars(Layer) if inspect.iscoroutinefunction(vars(Layer)[name])}
    public = {name for name in own if not name.startswith("_")}
    assert public == waist | {"around"}
    assert {f"_{name}" for name in waist - LIFETIME} <= own
    assert Provider.__abstractmethods__ <= set(dir(Layer))
    assert not Layer.__abstractmethods__


@pytest.mark.parametrize("name", CALLS)
def test_a_recorder_sees_every_public_call(name: str) -> None:
    """Above and below other layers, and the same calls on both."""

    async def play() -> tuple[list[str], list[str]]:
        upper, lower = Recorder(), Recorder()
        async with compose(upper, Layer(), lower, provider=InMemoryProvider()) as provider:
            await provider.put_item("things", {"id": "a"})
            upper.calls.clear()
            lower.calls.clear()
            await CALLS[name](provider)
            return upper.verbs, lower.verbs

    above, below = asyncio.run(play())
    assert above
    assert above == below


def test_lifetime_passes_through() -> None:
    """Connecting and disconnecting are calls too, and reach the provider."""

    async def play() -> list[str]:
        recorder, inner = Recorder(), InMemoryProvider()
        async with compose(recorder, provider=inner):
            assert await inner.collections() == []
        with pytest.raises(ProviderClosedError):
            await inner.collections()
        return recorder.verbs

    assert asyncio.run(play()) == ["connect", "disconnect"]


class Named(Layer):
    """Notes when calls enter and leave."""

    name: ClassVar[str] = "named"

    def __init__(self, label: str, notes: list[str]) -> None:
        super().__init__()
        self.label = label
        self.notes = notes

    async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
        """Note both ends of a call."""
        self.notes.append(f"> {self.label} {call.verb}")
        result = await proceed()
        self.notes.append(f"< {self.label} {call.verb}")
        return result


def test_layers_are_met_in_the_order_written() -> None:
    """The first is the outermost."""
    notes: list[str] = []
    seen: list[str] = []

    async def play() -> None:
        layers = Named("a", notes), Named("b", notes)
        async with compose(*layers, provider=InMemoryProvider()) as provider:
            notes.clear()
            await provider.collections()
            seen.extend(notes)

    asyncio.run(play())
    assert seen == ["> a collections", "> b collections", "< b collections", "< a collections"]


def test_around_may_answer_and_repeat() -> None:
    """`proceed` may be awaited never, or again after a failure."""

    class Twice(Layer):
        async def around(self, call: Call, proceed: Callable[[], Awaitable[T]]) -> T:
            try:
                return await proceed()
            except TransportError:
                return await proceed()

    async def play() -> None:
        faults = Faults(Fail("write"))
        async with compose(Twice(), faults, provider=InMemoryProvider()) as provider:
            await provider.create_item("things", {"id": "a"})
        assert faults.struck == {"Fail": 1}

    asyncio.run(play())


def test_capabilities_are_transformed_from_inside_out() -> None:
    """What a layer takes away stays away, and the base holds callers to it."""

    class Weaker(Layer):
        def transform(self, capabilities: Capabilities) -> Capabilities:
            return Capabilities(atomic_batch=capabilities.atomic_batch)

    provider = compose(Layer(), Weaker(), provider=InMemoryProvider())
    assert provider.capabilities == Capabilities(atomic_batch=True)


def test_a_layer_is_used_once() -> None:
    """And one that wraps nothing yet says so."""
    layer = Layer()
    with pytest.raises(ConfigurationError, match="compose"):
        _ = layer.capabilities
    compose(layer, provider=InMemoryProvider())
    with pytest.raises(ConfigurationError, match="in use"):
        compose(layer, provider=InMemoryProvider())


def test_the_chain_is_printed() -> None:
    """Outermost first, down to the provider; without layers it is the provider itself."""
    inner = InMemoryProvider()
    assert compose(provider=inner) is inner
    assert repr(compose(Recorder(), Layer(), provider=inner)) == "Recorder > Layer > memory"


def test_errors_name_the_provider_inside() -> None:
    """A layer does not rename where it happened, and a call shows no arguments."""

    async def play() -> None:
        async with compose(Layer(), provider=InMemoryProvider()) as provider:
            with pytest.raises(ValueError, match=r"memory\.query things"):
                await provider.list_items("things", limit=-1)

    asyncio.run(play())
    assert "secret" not in repr(Call("read", ("secret",)))
