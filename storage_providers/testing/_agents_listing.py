"""Cases: messages are listed, in pages, windows and spans of time."""

from __future__ import annotations

from typing import Any, Final

import pytest

from storage_providers.agents import Between, Include, MessageContent
from storage_providers.errors import CorruptItemError, InvalidArgumentError
from storage_providers.testing._agents_harness import Stage, agent_case, agent_cases, at, ids, said

SPANS: Final[dict[str, tuple[Between, list[int]]]] = {
    "from": (Between(start=at(3)), [3, 4, 5]),
    "until": (Between(end=at(2)), [0, 1, 2]),
    "both": (Between(start=at(1), end=at(4)), [1, 2, 3, 4]),
    "without the start": (Between(start=at(1), end=at(4), start_exclusive=True), [2, 3, 4]),
    "without the end": (Between(start=at(1), end=at(4), end_exclusive=True), [1, 2, 3]),
    "one": (Between(start=at(2), end=at(2)), [2]),
    "a millisecond later": (Between(start=at(2.001), end=at(4)), [3, 4]),
    "nothing": (Between(start=at(2.1), end=at(2.2)), []),
}


class ListingCases:
    """Reading threads."""

    @agent_cases({"oldest first": False, "newest first": True})
    async def test_pages_make_up_the_whole(self, stage: Stage, value: bool) -> None:
        """Each message once, in order; `hasMore` and `total` are right on each page."""
        await stage.talk(7)
        await stage.talk(3, "other")
        found: list[str] = []
        for page in range(4):
            listed = await stage.store.messages.list(
                "t", page=page, per_page=3, newest_first=value, total=True
            )
            assert (listed.page, listed.per_page, listed.total) == (page, 3, 7)
            assert listed.has_more == (page < 2)
            found += ids(listed.items)
        assert found == sorted(found, reverse=value)
        assert len(found) == 7

    @agent_case()
    async def test_a_page_that_ends_with_the_thread(self, stage: Stage) -> None:
        """There is no more."""
        await stage.talk(4)
        listed = await stage.store.messages.list("t", page=1, per_page=2)
        assert (ids(listed.items), listed.has_more) == (["m0002", "m0003"], False)

    @agent_case()
    async def test_the_newest(self, stage: Stage) -> None:
        """Oldest of them first."""
        await stage.talk(5)
        assert ids(await stage.store.messages.newest("t", 2)) == ["m0003", "m0004"]
        assert len(await stage.store.messages.newest("t", 99)) == 5
        assert await stage.store.messages.newest("t", 0) == []
        assert await stage.store.messages.newest("absent", 3) == []

    @agent_case()
    async def test_no_page(self, stage: Stage) -> None:
        """`per_page=0` is empty, `False` is everything, and numbers are checked."""
        await stage.talk(3)
        messages = stage.store.messages
        empty = await messages.list("t", per_page=0, total=True)
        assert (empty.items, empty.total, empty.has_more) == ([], 0, False)
        whole = await messages.list("t", per_page=False, total=True)
        assert (len(whole.items), whole.per_page, whole.total) == (3, False, 3)
        assert whole.has_more is False
        with pytest.raises(InvalidArgumentError, match="perPage must be >= 0"):
            await messages.list("t", per_page=-1)
        with pytest.raises(InvalidArgumentError, match="page must be >= 0"):
            await messages.list("t", page=-1)

    @agent_cases({"empty": "", "blank": "  ", "none": [], "one of several": ["t", " "]})
    async def test_a_thread_has_a_name(self, stage: Stage, value: Any) -> None:
        """Blank ones are refused."""
        with pytest.raises(InvalidArgumentError, match="threadId must be a non-empty string"):
            await stage.store.messages.list(value)
        with pytest.raises(InvalidArgumentError, match="threadId must be a non-empty string"):
            await stage.store.messages.list()

    @agent_cases(SPANS)
    async def test_spans_of_time(self, stage: Stage, value: tuple[Between, list[int]]) -> None:
        """To the millisecond, with their ends or without; `total` counts what is in them."""
        between, wanted = value
        await stage.talk(6)
        expected = [f"m{number:04}" for number in wanted]
        listed = await stage.store.messages.list("t", between=between, per_page=2, total=True)
        assert ids(listed.items) == expected[:2]
        assert listed.total == len(wanted)
        newest = await stage.store.messages.list("t", between=between, newest_first=True)
        assert ids(newest.items) == expected[::-1]

    @agent_case()
    async def test_several_threads(self, stage: Stage) -> None:
        """In one order; each named twice counts once."""
        await stage.thread("a")
        await stage.thread("b")
        await stage.thread("c")
        await stage.store.messages.save([said(n, "abc"[n % 3]) for n in range(9)])
        listed = await stage.store.messages.list(["b", "a", "b"], per_page=4, total=True)
        assert ids(listed.items) == ["m0000", "m0001", "m0003", "m0004"]
        assert (listed.total, listed.has_more) == (6, True)
        rest = await stage.store.messages.list(["b", "a"], page=1, per_page=4)
        assert (ids(rest.items), rest.has_more) == (["m0006", "m0007"], False)

    @agent_case()
    async def test_by_resource(self, stage: Stage) -> None:
        """In all its threads, or in some."""
        for thread in "ab":
            await stage.thread(thread)
        await stage.store.messages.save(
            [said(n, "ab"[n % 2], resource_id=f"u{n % 3}") for n in range(12)]
        )
        messages = stage.store.messages
        listed = await messages.list(resource_id="u1", total=True)
        assert (ids(listed.items), listed.total) == (["m0001", "m0004", "m0007", "m0010"], 4)
        both = await messages.list("a", resource_id="u1", total=True)
        assert (ids(both.items), both.total) == (["m0004", "m0010"], 2)

    @agent_case()
    async def test_by_metadata(self, stage: Stage) -> None:
        """All must be equal; a message without does not match."""
        await stage.talk(1)
        contents = [MessageContent(metadata={"a": n % 2, "b.c": "x"}) for n in range(4)]
        await stage.store.messages.save(
            [said(n + 1, content=content) for n, content in enumerate(contents)]
        )
        wanted = {"a": 1, "b.c": "x"}
        listed = await stage.store.messages.list("t", metadata=wanted, total=True, per_page=1)
        assert (ids(listed.items), listed.total, listed.has_more) == (["m0002"], 2, True)

    @agent_case()
    async def test_windows(self, stage: Stage) -> None:
        """The page and the windows, each message once, in order."""
        await stage.talk(10)
        listed = await stage.store.messages.list(
            "t",
            per_page=2,
            newest_first=True,
            include=[Include("m0003", previous=2, next=1), Include("m0008", next=5)],
            total=True,
        )
        wanted = ["m0009", "m0008", "m0004", "m0003", "m0002", "m0001"]
        assert ids(listed.items) == wanted
        assert (listed.total, listed.has_more) == (10, True)

    @agent_case()
    async def test_windows_alone(self, stage: Stage) -> None:
        """Outside of any page, at the ends of a thread too."""
        await stage.talk(5)
        messages = stage.store.messages
        for target, wanted in (
            ("m0000", ["m0000", "m0001", "m0002"]),
            ("m0002", ["m0000", "m0001", "m0002", "m0003", "m0004"]),
            ("m0004", ["m0002", "m0003", "m0004"]),
        ):
            listed = await messages.list(
                "t", per_page=0, include=[Include(target, 2, 2)], total=True
            )
            assert (ids(listed.items), listed.total) == (wanted, 0)

    @agent_case()
    async def test_windows_of_other_threads(self, stage: Stage) -> None:
        """Around the message in its own thread; unknown ids are passed over."""
        await stage.talk(3)
        await stage.talk(5, "other")
        listed = await stage.store.messages.list(
            "t", include=[Include("m1002", 1, 1), Include("absent", 5, 5)], total=True
        )
        assert ids(listed.items) == ["m0000", "m0001", "m0002", "m1001", "m1002", "m1003"]
        assert (listed.total, listed.has_more) == (3, False)

    @agent_case()
    async def test_windows_that_cover_the_rest(self, stage: Stage) -> None:
        """Then there is no more."""
        await stage.talk(5)
        listed = await stage.store.messages.list(
            "t", per_page=2, include=[Include("m0003", 1, 1)], total=True
        )
        assert len(listed.items) == 5
        assert (listed.total, listed.has_more) == (5, False)
        some = await stage.store.messages.list("t", per_page=2, include=[Include("m0003")])
        assert (len(some.items), some.has_more, some.total) == (3, True, None)

    @agent_case()
    async def test_windows_go_by_time(self, stage: Stage) -> None:
        """Not by the order of saving."""
        await stage.thread()
        for number in (4, 0, 3, 1, 2):
            await stage.store.messages.save([said(number)])
        listed = await stage.store.messages.list("t", per_page=0, include=[Include("m0002", 1, 1)])
        assert ids(listed.items) == ["m0001", "m0002", "m0003"]

    @agent_cases({"oldest first": False, "newest first": True})
    async def test_iterating_over_a_thread(self, stage: Stage, value: bool) -> None:
        """Every message, in order, over several pages."""
        await stage.thread()
        await stage.store.messages.save([said(number) for number in range(105)])
        found = [m.id async for m in stage.store.messages.iterate("t", newest_first=value)]
        assert found == sorted((f"m{number:04}" for number in range(105)), reverse=value)

    @agent_case()
    async def test_iterating_while_others_write(self, stage: Stage) -> None:
        """What was there is met once."""
        await stage.talk(10)
        found: list[str] = []
        async for message in stage.store.messages.iterate("t", newest_first=True):
            found.append(message.id)
            if len(found) == 3:
                await stage.store.messages.save([said(500)])
        assert [each for each in found if each != "m0500"] == [f"m{9 - n:04}" for n in range(10)]

    @agent_case("plant", "strongly_consistent")
    async def test_a_broken_row_is_in_nobodys_way(self, stage: Stage) -> None:
        """It is named beside the others, and an error where it is asked for by its id."""
        await stage.talk(5)
        await stage.scene.backend.plant("agent_messages", "m0002", b'["no message"]')
        await stage.reopen()
        store = stage.store
        listed = await store.messages.list("t", total=True)
        assert ids(listed.items) == ["m0000", "m0001", "m0003", "m0004"]
        # A database may not know whose it was; an object store's entry still names it.
        named = [error.item_id for error in listed.corrupt]
        assert named == ["m0002"] or (not named and stage.scene.capabilities.native_query)
        with pytest.raises(CorruptItemError):
            await store.messages.get(["m0002"])
        await store.messages.delete(["m0002"])
        assert (await store.messages.list("t")).corrupt == ()

    @agent_case("plant", "strongly_consistent")
    async def test_a_row_that_does_not_fit_is_named(self, stage: Stage) -> None:
        """It is JSON, but no message: its listing says which, and holds the others."""
        await stage.talk(3)
        item = await stage.scene.provider.read_item("agent_messages", "m0001")
        assert item is not None
        broken = item.body.replace(b'"role":"user"', b'"role":17')
        await stage.scene.backend.plant("agent_messages", "m0001", broken)
        await stage.reopen()
        listed = await stage.store.messages.list("t")
        assert ids(listed.items) == ["m0000", "m0002"]
        (error,) = listed.corrupt
        assert error.item_id == "m0001"
        assert "17" not in str(error)
        # Deleting the thread takes it along.
        await stage.store.threads.delete("t")
        assert (await stage.store.messages.list("t", total=True)).total == 0
