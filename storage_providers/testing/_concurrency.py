"""Cases: several tasks at once, and tasks that are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from storage_providers.errors import (
    ItemExistsError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    JsonObject,
    Put,
    StorageProvider,
)
from storage_providers.testing._harness import THINGS, Scene, case


class ConcurrencyCases:
    """Many tasks of one process at once."""

    @case("conditional_write")
    async def test_increments_are_not_lost(self, scene: Scene) -> None:
        """20 tasks incrementing the same documents with `modify_item`: every increment counts."""
        await scene.fill({"id": "a", "n": 0}, {"id": "b", "n": 0})

        def increment(document: JsonObject) -> Mapping[str, Any]:
            return {**document, "n": document["n"] + 1}

        async def work() -> None:
            for _ in range(3):
                await scene.provider.modify_item(THINGS, "a", increment)
                await scene.provider.modify_item(THINGS, "b", increment)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(work())
        everything = await scene.everything()
        assert (everything["a"]["n"], everything["b"]["n"]) == (60, 60)

    @case("conditional_write", "share")
    async def test_two_providers_lose_nothing(self, scene: Scene) -> None:
        """Increments and patches of different fields through two providers all count."""
        other = await scene.another()
        await scene.fill({"id": "a", "n": 0})

        def increment(document: JsonObject) -> Mapping[str, Any]:
            return {**document, "n": document["n"] + 1}

        async def work(provider: StorageProvider, number: int) -> None:
            for _ in range(3):
                await provider.modify_item(THINGS, "a", increment)
                await provider.update_item(THINGS, "a", {f"field {number}": number})

        async with asyncio.TaskGroup() as tasks:
            for number in range(10):
                tasks.create_task(work((scene.provider, other)[number % 2], number))
        document = await scene.document("a")
        assert document is not None
        assert document["n"] == 30
        assert all(document[f"field {number}"] == number for number in range(10))

    @case("conditional_write")
    async def test_updates_of_different_fields_all_count(self, scene: Scene) -> None:
        """30 tasks each setting a field of one document at once."""
        await scene.fill({"id": "a"})
        async with asyncio.TaskGroup() as tasks:
            for n in range(30):
                tasks.create_task(scene.provider.update_item(THINGS, "a", {f"f{n}": n}))
        document = await scene.document("a")
        assert document is not None
        assert {f"f{n}": n for n in range(30)}.items() <= document.items()

    @case("conditional_write")
    async def test_one_create_wins(self, scene: Scene) -> None:
        """Of 20 creates of one id exactly one succeeds; the others say it exists."""
        results = await asyncio.gather(
            *(scene.provider.create_item(THINGS, {"id": "a", "n": n}) for n in range(20)),
            return_exceptions=True,
        )
        losers = [result for result in results if isinstance(result, ItemExistsError)]
        winners = [result for result in results if not isinstance(result, BaseException)]
        assert (len(winners), len(losers)) == (1, 19)
        assert await scene.provider.read_item(THINGS, "a") == winners[0]

    @case("conditional_write")
    async def test_one_replacement_wins(self, scene: Scene) -> None:
        """Of 20 puts with the same `if_version` exactly one succeeds."""
        (item,) = await scene.fill({"id": "a"})
        results = await asyncio.gather(
            *(
                scene.provider.put_item(THINGS, {"id": "a", "n": n}, if_version=item.version)
                for n in range(20)
            ),
            return_exceptions=True,
        )
        losers = [result for result in results if isinstance(result, VersionMismatchError)]
        assert len(losers) == 19

    @case("conditional_delete")
    async def test_one_delete_wins(self, scene: Scene) -> None:
        """Of 10 deletes with the same `if_version` exactly one succeeds."""
        (item,) = await scene.fill({"id": "a"})
        results = await asyncio.gather(
            *(scene.provider.delete_item(THINGS, "a", if_version=item.version) for _ in range(10)),
            return_exceptions=True,
        )
        assert results.count(None) == 1
        assert sum(isinstance(result, VersionMismatchError) for result in results) == 9

    @case()
    async def test_each_concurrent_write_has_its_own_outcome(self, scene: Scene) -> None:
        """Writes at the same moment succeed or fail each by itself."""
        await scene.fill(*({"id": f"{n}"} for n in range(0, 40, 2)))
        results = await asyncio.gather(
            *(scene.provider.create_item(THINGS, {"id": f"{n}", "new": 1}) for n in range(40)),
            return_exceptions=True,
        )
        for n, result in enumerate(results):
            assert isinstance(result, ItemExistsError) == (n % 2 == 0), n
        assert await scene.provider.count_items(THINGS, where={"new": 1}) == 20

    @case("atomic_batch")
    async def test_no_reader_sees_half_a_batch(self, scene: Scene) -> None:
        """Two documents that every batch writes alike are alike to every reader."""
        await scene.fill({"id": "a", "n": 0}, {"id": "b", "n": 0})
        done = asyncio.Event()

        async def write() -> None:
            for n in range(1, 30):
                await scene.fill({"id": "a", "n": n}, {"id": "b", "n": n})
            done.set()

        async def watch() -> None:
            while not done.is_set():
                read = await scene.provider.read_items(THINGS, ["a", "b"])
                assert len({item.document["n"] for item in read if item is not None}) == 1
                listed = (await scene.provider.list_items(THINGS)).items
                assert len({item.document["n"] for item in listed}) == 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch())
            tasks.create_task(watch())
            tasks.create_task(write())

    @case()
    async def test_a_cancelled_write_leaves_the_provider_usable(self, scene: Scene) -> None:
        """Cancelled after any number of steps, the document is the old or the new one."""
        await scene.fill({"id": "a", "n": 0})
        outcomes: set[int] = set()
        for steps in range(12):
            task = asyncio.create_task(scene.write(Put(THINGS, {"id": "a", "n": steps + 1})))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await _finish(task)
            document = await scene.document("a")
            assert document is not None
            outcomes.add(document["n"])
            assert document["n"] <= steps + 1
            (item,) = await scene.fill({"id": "b", "n": steps})
            assert await scene.provider.read_item(THINGS, "b") == item

    @case()
    async def test_cancelled_reads_leave_the_provider_usable(self, scene: Scene) -> None:
        """Reads and queries cancelled among others do not disturb these."""
        await scene.fill(*({"id": f"{n:03}"} for n in range(200)))

        async def ask(number: int) -> int:
            if number % 2:
                return len((await scene.provider.list_items(THINGS, limit=500)).items)
            return len(await scene.provider.read_items(THINGS, [f"{n:03}" for n in range(200)]))

        work = [asyncio.create_task(ask(number)) for number in range(20)]
        await asyncio.sleep(0)
        for task in work[::3]:
            task.cancel()
        results = await asyncio.gather(*work, return_exceptions=True)
        assert all(result == 200 for n, result in enumerate(results) if n % 3)
        assert await scene.provider.count_items(THINGS) == 200


async def _finish(task: asyncio.Task[Any]) -> None:
    """Wait for a cancelled task; one that was done before counts as cancelled as well."""
    await task
    raise asyncio.CancelledError
