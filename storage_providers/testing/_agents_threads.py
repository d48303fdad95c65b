"""Cases: threads, and the resources they belong to."""

from __future__ import annotations

import asyncio

import pytest

from storage_providers.agents import Resource, Thread
from storage_providers.errors import InvalidArgumentError, ItemExistsError, ItemNotFoundError
from storage_providers.testing._agents_harness import (
    AWKWARD,
    Stage,
    agent_case,
    agent_cases,
    at,
    ids,
    said,
)


class ThreadCases:
    """Threads."""

    @agent_case()
    async def test_a_thread_comes_back(self, stage: Stage) -> None:
        """With its dates as dates, and with fields that the model does not know."""
        saved = await stage.store.threads.save(
            Thread(
                id="t",
                resource_id="u",
                title="2026-01-31",
                metadata={"n": 17, "text": "17", "none": None, "list": [1, {"a": "b"}]},
                created_at=at(0),
                updated_at=at(1),
                extra={"newField": {"x": [1]}},
            )
        )
        found = await stage.store.threads.get("t")
        assert found == saved
        assert found is not None
        assert (found.created_at, found.updated_at) == (at(0), at(1))
        assert found.metadata == {"n": 17, "text": "17", "none": None, "list": [1, {"a": "b"}]}
        assert (found.title, found.extra) == ("2026-01-31", {"newField": {"x": [1]}})

    @agent_case()
    async def test_a_thread_without_id_gets_one(self, stage: Stage) -> None:
        """And times."""
        saved = await stage.store.threads.save(Thread(resource_id="u"))
        assert saved.id
        assert saved.created_at is not None
        assert await stage.store.threads.get(saved.id) == saved

    @agent_case()
    async def test_no_thread_is_none(self, stage: Stage) -> None:
        """As is one that was deleted."""
        assert await stage.store.threads.get("absent") is None
        await stage.thread()
        await stage.store.threads.delete("t")
        assert await stage.store.threads.get("t") is None
        assert await stage.store.threads.delete("t") == 0

    @agent_case()
    async def test_saving_again_keeps_the_first_time(self, stage: Stage) -> None:
        """All else is replaced, and `updatedAt` never goes back."""
        first = await stage.thread(created_at=at(0), updated_at=at(10), metadata={"a": 1})
        again = await stage.thread(created_at=at(5), updated_at=at(7), title="new")
        assert first.created_at == again.created_at == at(0)
        assert (again.title, again.metadata, again.updated_at) == ("new", None, at(10))
        assert (await stage.store.threads.list(per_page=False)).items == [again]

    @agent_case()
    async def test_updating_merges_metadata(self, stage: Stage) -> None:
        """Shallowly; what is not given stays."""
        before = await stage.thread(title="old", metadata={"a": {"x": 1}, "b": 2})
        after = await stage.store.threads.update("t", metadata={"a": {"y": 2}, "c": 3})
        assert after.metadata == {"a": {"y": 2}, "b": 2, "c": 3}
        assert after.title == "old"
        assert before.updated_at is not None
        assert after.updated_at is not None
        assert after.updated_at > before.updated_at
        renamed = await stage.store.threads.update("t", title="new")
        assert (renamed.title, renamed.metadata) == ("new", after.metadata)

    @agent_case()
    async def test_updating_a_missing_thread_is_an_error(self, stage: Stage) -> None:
        """Nothing is created."""
        with pytest.raises(ItemNotFoundError):
            await stage.store.threads.update("absent", title="x")
        assert await stage.store.threads.get("absent") is None

    @agent_case("conditional_write")
    async def test_updates_at_once_all_count(self, stage: Stage) -> None:
        """Of metadata too, although it is one field."""
        await stage.thread()
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(stage.store.threads.update("t", metadata={f"k{number}": number}))
        thread = await stage.store.threads.get("t")
        assert thread is not None
        assert thread.metadata == {f"k{number}": number for number in range(5)}

    @agent_cases({"newest": ("-createdAt", "dcba"), "oldest": ("createdAt", "abcd")})
    async def test_listing_by_creation(self, stage: Stage, value: tuple[str, str]) -> None:
        """In both directions, in pages, with what there is on all pages."""
        order_by, wanted = value
        for number, name in enumerate("abcd"):
            await stage.thread(name, created_at=at(number), updated_at=at(10))
        found = ""
        for page in range(3):
            listed = await stage.store.threads.list(
                order_by=order_by,  # type: ignore[arg-type]
                page=page,
                per_page=2,
                total=True,
            )
            assert (listed.page, listed.per_page, listed.total) == (page, 2, 4)
            assert listed.has_more == (page < 1)
            found += "".join(ids(listed.items))
        assert found == wanted

    @agent_case()
    async def test_listing_by_last_change(self, stage: Stage) -> None:
        """What was touched last comes first; each is there once."""
        for name in "abc":
            await stage.thread(name)
        await stage.store.threads.update("a", title="touched")
        await stage.store.messages.save([said(1, "b")])
        await stage.store.flush()
        listed = await stage.store.threads.list(order_by="-updatedAt", total=True)
        assert (ids(listed.items), listed.total) == (["b", "a", "c"], 3)
        of_resource = await stage.store.threads.list(resource_id="u", order_by="updatedAt")
        assert ids(of_resource.items) == ["c", "a", "b"]

    @agent_case()
    async def test_listing_of_a_resource(self, stage: Stage) -> None:
        """Only its own, whatever else there is."""
        for number in range(6):
            await stage.thread(f"t{number}", resource_id=f"u{number % 2}", created_at=at(number))
        listed = await stage.store.threads.list(resource_id="u1", total=True)
        assert (ids(listed.items), listed.total) == (["t5", "t3", "t1"], 3)
        assert (await stage.store.threads.list(resource_id="u", total=True)).total == 0

    @agent_case()
    async def test_listing_by_metadata(self, stage: Stage) -> None:
        """All must be equal; a thread without metadata does not match."""
        await stage.thread("none")
        await stage.thread("one", metadata={"a": 1, "b": "x"})
        await stage.thread("both", metadata={"a": 1, "b": "y", "null": None})
        threads = stage.store.threads
        listed = await threads.list(metadata={"a": 1, "b": "y"}, total=True)
        assert (ids(listed.items), listed.total) == (["both"], 1)
        assert (await threads.list(metadata={"a": "1"})).items == []
        assert ids((await threads.list(metadata={"null": None})).items) == ["both"]
        of_resource = await threads.list(resource_id="u", metadata={"a": 1}, per_page=1, total=True)
        assert (of_resource.total, of_resource.has_more) == (2, True)

    @agent_case()
    async def test_listing_numbers_are_checked(self, stage: Stage) -> None:
        """None is clamped."""
        threads = stage.store.threads
        with pytest.raises(InvalidArgumentError, match="perPage must be >= 0"):
            await threads.list(per_page=-1)
        with pytest.raises(InvalidArgumentError, match="page must be >= 0"):
            await threads.list(page=-1)
        await stage.thread()
        empty = await threads.list(per_page=0, total=True)
        assert (empty.items, empty.total, empty.has_more) == ([], 0, False)
        everything = await threads.list(per_page=False, total=True)
        assert (everything.per_page, everything.has_more, everything.total) == (False, False, 1)

    @agent_case()
    async def test_iterating_over_threads(self, stage: Stage) -> None:
        """All of them, in order."""
        for number in range(7):
            await stage.thread(f"t{number}", created_at=at(number))
        found = [thread.id async for thread in stage.store.threads.iterate(order_by="createdAt")]
        assert found == [f"t{number}" for number in range(7)]

    @agent_case()
    async def test_deleting_takes_the_messages_along(self, stage: Stage) -> None:
        """Those of other threads stay."""
        await stage.talk(5)
        await stage.talk(2, "other")
        told: list[int] = []
        assert await stage.store.threads.delete("t", on_progress=told.append) == 5
        assert told[-1] == 5
        assert (await stage.store.messages.list("t", total=True)).total == 0
        assert await stage.store.messages.get(["m0000"]) == []
        assert (await stage.store.messages.list("other", total=True)).total == 2
        assert ids((await stage.store.threads.list()).items) == ["other"]

    @agent_case()
    async def test_a_copy_has_the_messages(self, stage: Stage) -> None:
        """With ids of their own, at the same times in the same order."""
        originals = await stage.talk(3)
        copy = await stage.store.threads.clone("t", new_id="copy", resource_id="v", title="copied")
        assert (copy.id, copy.resource_id, copy.title) == ("copy", "v", "copied")
        assert copy.metadata == {"clonedFrom": "t"}
        copied = (await stage.store.messages.list("copy", total=True)).items
        assert [m.text for m in copied] == [m.text for m in originals]
        assert [m.created_at for m in copied] == [m.created_at for m in originals]
        assert {m.resource_id for m in copied} == {"v"}
        assert not {*ids(copied)} & {*ids(originals)}
        assert (await stage.store.messages.list("t")).items == originals
        with pytest.raises(ItemExistsError):
            await stage.store.threads.clone("t", new_id="copy")
        with pytest.raises(ItemNotFoundError):
            await stage.store.threads.clone("absent")

    @agent_case()
    async def test_a_thread_moves_to_another_resource(self, stage: Stage) -> None:
        """With its messages, and is no longer the first one's."""
        await stage.talk(3)
        moved = await stage.store.threads.move("t", "v")
        assert moved.resource_id == "v"
        store = stage.store
        assert (await store.threads.list(resource_id="u")).items == []
        assert ids((await store.threads.list(resource_id="v")).items) == ["t"]
        assert (await store.messages.list(resource_id="u", total=True)).total == 0
        assert (await store.messages.list(resource_id="v", total=True)).total == 3

    @agent_cases(AWKWARD)
    async def test_awkward_ids(self, stage: Stage, value: str) -> None:
        """Of threads, resources and messages; none is taken for another."""
        await stage.thread(value, resource_id=value)
        await stage.thread("t")
        await stage.store.messages.save(
            [said(1, value, id=value, resource_id=value), said(2, "t", id="m")]
        )
        store = stage.store
        assert ids((await store.threads.list(resource_id=value)).items) == [value]
        assert ids((await store.messages.list(value)).items) == [value]
        assert ids(await store.messages.get([value])) == [value]
        assert ids((await store.messages.list("t")).items) == ["m"]
        await store.resources.save(Resource(id=value, working_memory=value))
        resource = await store.resources.get(value)
        assert resource is not None
        assert resource.working_memory == value
        await store.threads.delete(value)
        assert ids((await store.threads.list()).items) == ["t"]

    @agent_case()
    async def test_ids_as_long_as_the_provider_takes(self, stage: Stage) -> None:
        """Of threads, resources and messages at once."""
        longest = "x" * stage.scene.capabilities.max_id_bytes
        other = longest[:-1] + "y"
        for each in (longest, other):
            await stage.thread(each, resource_id=each)
            await stage.store.messages.save([said(1, each, id=each, resource_id=each)])
        assert ids((await stage.store.messages.list(longest)).items) == [longest]
        assert ids((await stage.store.threads.list(resource_id=other)).items) == [other]
        await stage.store.workflows.persist(longest, other, {"status": "running"})
        assert await stage.store.workflows.load(longest, other) == {"status": "running"}
        with pytest.raises(InvalidArgumentError):
            await stage.thread(longest + "x")

    @agent_case("reopen", "strongly_consistent")
    async def test_what_was_saved_is_there_later(self, stage: Stage) -> None:
        """In another process, with everything that was touched."""
        await stage.talk(3)
        before = await stage.updated_at()
        store = await stage.reopen()
        assert (await store.messages.list("t", total=True)).total == 3
        assert await stage.updated_at() == before


class ResourceCases:
    """Resources."""

    @agent_case()
    async def test_a_resource_comes_back(self, stage: Stage) -> None:
        """With what it has."""
        saved = await stage.store.resources.save(
            Resource(id="u", working_memory='{"likes": "ferns"}', metadata={"a": 1})
        )
        assert await stage.store.resources.get("u") == saved
        assert saved.working_memory == '{"likes": "ferns"}'
        assert await stage.store.resources.get("absent") is None

    @agent_case()
    async def test_updating_creates_what_is_missing(self, stage: Stage) -> None:
        """And merges metadata."""
        resources = stage.store.resources
        first = await resources.update("u", working_memory="x", metadata={"a": 1, "b": 1})
        second = await resources.update("u", metadata={"b": 2})
        assert (second.working_memory, second.metadata) == ("x", {"a": 1, "b": 2})
        assert first.created_at == second.created_at
        assert first.updated_at is not None
        assert second.updated_at is not None
        assert second.updated_at > first.updated_at

    @agent_case()
    async def test_empty_working_memory_is_kept(self, stage: Stage) -> None:
        """It is a value."""
        await stage.store.resources.update("u", working_memory="x")
        await stage.store.resources.update("u", working_memory="")
        resource = await stage.store.resources.get("u")
        assert resource is not None
        assert resource.working_memory == ""

    @agent_case()
    async def test_saving_a_resource_again_keeps_its_first_time(self, stage: Stage) -> None:
        """The rest is replaced."""
        first = await stage.store.resources.save(Resource(id="u", metadata={"a": 1}))
        again = await stage.store.resources.save(Resource(id="u", created_at=at(99)))
        assert again.created_at == first.created_at
        assert again.metadata is None

    @agent_case("conditional_write")
    async def test_updates_of_a_resource_at_once_all_count(self, stage: Stage) -> None:
        """Also the first, which creates it."""
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(
                    stage.store.resources.update("u", metadata={f"k{number}": number})
                )
        resource = await stage.store.resources.get("u")
        assert resource is not None
        assert resource.metadata == {f"k{number}": number for number in range(5)}
