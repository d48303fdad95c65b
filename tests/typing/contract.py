"""Read by mypy and pyright alone: the contract and the test kit keep their types."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

import msgspec

from storage_providers import (
    ANY,
    IF_ABSENT,
    Address,
    Capabilities,
    CollectionSpec,
    Condition,
    Delete,
    IfVersion,
    ImportReport,
    InMemoryProvider,
    Item,
    JsonObject,
    Layer,
    LegacyRecord,
    Page,
    Patch,
    Presence,
    Provider,
    Put,
    Query,
    StorageProvider,
    VersionPage,
    Write,
    compose,
)
from storage_providers.testing.conformance import CaseCounts, ProviderConformance
from storage_providers.testing.faults import Fail, Faults, Recorder


class Todo(msgspec.Struct):
    """A type to decode to."""

    id: str


class Source:
    """A legacy source by its shape alone."""

    name = "source"

    async def records(self) -> AsyncIterator[LegacyRecord]:
        """Nothing."""
        for record in list[LegacyRecord]():
            yield record


async def verbs(provider: StorageProvider) -> None:
    """The four verbs and what stands beside them."""
    batch: list[Write] = [
        Put("todos", {"id": "a"}, IF_ABSENT),
        Patch("todos", "b", {"n": None}, IfVersion("1")),
        Delete("todos", "c"),
    ]
    assert_type(await provider.write(batch), list[Item | None])
    assert_type(await provider.read([Address("todos", "a")]), list[Item | None])
    assert_type(await provider.query([Query("todos")]), list[Page])
    assert_type(await provider.versions("todos"), VersionPage)
    assert_type(await provider.collections(), list[str])
    assert_type(await provider.collections("user-7"), list[str])
    assert_type(await provider.declared("todos"), CollectionSpec | None)
    assert_type(provider.capabilities, Capabilities)
    assert_type(await provider.migrate_legacy_data(Source()), ImportReport)
    conditions: list[Condition] = [ANY, IF_ABSENT, IfVersion("1")]
    assert_type(conditions[0], Presence | IfVersion)


async def friendly(provider: Provider) -> None:
    """The friendly face."""
    item = await provider.create_item("todos", {"title": "x"})
    assert_type(item.document, JsonObject)
    assert_type(item.decode(Todo), Todo)
    assert_type(item.payload, bytes | None)
    assert_type(await provider.create_items("todos", [{}]), list[Item])
    assert_type(await provider.read_items("todos", ["a"]), list[Item | None])
    assert_type(await provider.modify_item("todos", "a", lambda document: document), Item)
    assert_type(await provider.count_items("todos"), int)
    assert_type(await provider.list_items("todos", order_by=["a", "-b"], fields=["a"]), Page)
    async with provider as opened:
        assert_type(opened, Provider)
    # A name where a mapping belongs is an error.
    await provider.create_item("todos", "title")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def layers() -> None:
    """Layers and the test kit."""
    recorder = Recorder()
    stack = compose(recorder, Faults(Fail("write")), Layer(), provider=InMemoryProvider())
    assert_type(stack, Provider)
    assert_type(recorder.verbs, list[str])
    assert_type(ProviderConformance(), ProviderConformance)
    assert_type(CaseCounts(1, {}).run, int)
    compose(InMemoryProvider(), provider=InMemoryProvider())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
