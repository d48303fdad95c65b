"""Cases: opening, closing and opening again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from storage_providers.errors import (
    ItemExistsError,
    ProviderClosedError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    Address,
    CollectionSpec,
    Put,
    Query,
    StorageProvider,
)
from storage_providers.testing._harness import THINGS, Scene, case, cases

VERBS: Final[dict[str, Callable[[StorageProvider], Awaitable[Any]]]] = {
    "read": lambda provider: provider.read([Address(THINGS, "a")]),
    "read nothing": lambda provider: provider.read([]),
    "write": lambda provider: provider.write([Put(THINGS, {"id": "a"})]),
    "write nothing": lambda provider: provider.write([]),
    "query": lambda provider: provider.query([Query(THINGS)]),
    "versions": lambda provider: provider.versions(THINGS),
    "collections": lambda provider: provider.collections(),
    "collections of a scope": lambda provider: provider.collections("u"),
    "declare": lambda provider: provider.declare(CollectionSpec(collection=THINGS)),
    "declared": lambda provider: provider.declared(THINGS),
    "create_item": lambda provider: provider.create_item(THINGS, {"id": "a"}),
    "read_item": lambda provider: provider.read_item(THINGS, "a"),
    "update_item": lambda provider: provider.update_item(THINGS, "a", {"n": 1}),
    "modify_item": lambda provider: provider.modify_item(THINGS, "a", lambda found: found),
    "put_item": lambda provider: provider.put_item(THINGS, {"id": "a"}),
    "delete_item": lambda provider: provider.delete_item(THINGS, "a"),
    "list_items": lambda provider: provider.list_items(THINGS),
    "find_items": lambda provider: anext(provider.find_items(THINGS)),
    "count_items": lambda provider: provider.count_items(THINGS),
    "clear_collection": lambda provider: provider.clear_collection(THINGS),
}


class LifetimeCases:
    """New, open, closed: three states, and nothing in between."""

    @cases(VERBS, connect=False)
    async def test_before_connecting(
        self, scene: Scene, value: Callable[[StorageProvider], Awaitable[Any]]
    ) -> None:
        """Every verb of a new provider says to connect first."""
        if not _can(scene, value):
            return
        with pytest.raises(ProviderClosedError, match="connect"):
            await value(scene.provider)

    @cases(VERBS)
    async def test_after_disconnecting(
        self, scene: Scene, value: Callable[[StorageProvider], Awaitable[Any]]
    ) -> None:
        """Every verb of a closed provider says so, whatever it did before."""
        if not _can(scene, value):
            return
        await scene.provider.create_item(THINGS, {"id": "a"})
        await scene.provider.declared(THINGS)
        await scene.provider.disconnect()
        with pytest.raises(ProviderClosedError, match="closed"):
            await value(scene.provider)

    @case(connect=False)
    async def test_connecting_twice_and_closing_twice(self, scene: Scene) -> None:
        """Doing either again changes nothing; opening after closing is refused."""
        await scene.provider.connect()
        await scene.fill({"id": "a"})
        await scene.provider.connect()
        assert await scene.ids() == ["a"]
        await scene.provider.disconnect()
        await scene.provider.disconnect()
        with pytest.raises(ProviderClosedError, match="reopen"):
            await scene.provider.connect()

    @case(connect=False)
    async def test_closing_what_was_never_open(self, scene: Scene) -> None:
        """It is harmless, and final."""
        await scene.provider.disconnect()
        with pytest.raises(ProviderClosedError):
            await scene.provider.connect()

    @case(connect=False)
    async def test_async_with(self, scene: Scene) -> None:
        """The block has an open provider, and leaves a closed one when it raises, too."""
        with pytest.raises(ZeroDivisionError):
            await _fail_inside(scene.provider)
        with pytest.raises(ProviderClosedError):
            await scene.provider.read_item(THINGS, "a")

    @case(connect=False)
    async def test_connecting_from_several_tasks(self, scene: Scene) -> None:
        """Tasks that connect at once all find it open."""

        async def connect_and_write(number: int) -> None:
            await scene.provider.connect()
            await scene.provider.put_item(THINGS, {"id": f"{number}"})

        async with asyncio.TaskGroup() as tasks:
            for number in range(5):
                tasks.create_task(connect_and_write(number))
        assert len(await scene.ids()) == 5

    @case("reopen")
    async def test_data_survives_reopening(self, scene: Scene) -> None:
        """Documents, versions and scopes are there again, and versions still serve."""
        items = await scene.fill({"id": "a", "v": 1.0}, {"id": "b/../c", "v": [2**70]})
        await scene.fill({"id": "a"}, collection="u/things")
        await scene.reopen()
        assert await scene.provider.read_items(THINGS, ["a", "b/../c"]) == items
        assert (await scene.provider.list_items(THINGS)).items == items
        assert await scene.provider.collections() == [THINGS, "u/things"]
        entries = (await scene.provider.versions(THINGS)).entries
        assert {entry.id: entry.version for entry in entries} == {
            item.id: item.version for item in items
        }
        if scene.capabilities.conditional_write:
            await scene.provider.update_item(THINGS, "a", {"n": 1}, if_version=items[0].version)
            await scene.reopen()
            with pytest.raises(VersionMismatchError):
                await scene.provider.update_item(THINGS, "a", {"n": 2}, if_version=items[0].version)

    @case("reopen")
    async def test_versions_are_new_after_reopening(self, scene: Scene) -> None:
        """A provider opened later gives no version a second time."""
        seen: list[str] = []
        for n in range(4):
            (item,) = await scene.fill({"id": "a", "n": n})
            seen.append(item.version)
            await scene.reopen()
        assert len(set(seen)) == 4

    @case("share", "strongly_consistent")
    async def test_two_providers_see_each_other(self, scene: Scene) -> None:
        """What one wrote, patched or removed the other reads and lists at once."""
        other = await scene.another()
        (item,) = await scene.fill({"id": "a", "n": 1})
        assert await other.read_item(THINGS, "a") == item
        assert (await other.list_items(THINGS, where={"n": 1})).items == [item]
        changed = await other.update_item(THINGS, "a", {"n": 2})
        assert await scene.provider.read_item(THINGS, "a") == changed
        assert await scene.ids({"n": 2}) == ["a"]
        with pytest.raises(ItemExistsError):
            await other.create_item(THINGS, {"id": "a"})
        await scene.provider.delete_item(THINGS, "a")
        assert await other.read_item(THINGS, "a") is None
        assert await other.count_items(THINGS) == 0
        assert await other.collections() == []


def _can(scene: Scene, call: Callable[[StorageProvider], Awaitable[Any]]) -> bool:
    """Whether the provider has this verb at all; what it lacks is refused open or closed."""
    return scene.capabilities.conditional_write or call is not VERBS["modify_item"]


async def _fail_inside(provider: StorageProvider) -> None:
    async with provider as opened:
        assert opened is provider
        await opened.put_item(THINGS, {"id": "a"})
        raise ZeroDivisionError
