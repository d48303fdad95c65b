"""Cases: messages are saved, changed and deleted."""

from __future__ import annotations

from typing import Any, Final

import pytest

from storage_providers.agents import Message, MessageContent
from storage_providers.errors import (
    InvalidArgumentError,
    InvalidDocumentError,
    ItemNotFoundError,
)
from storage_providers.testing._agents_harness import Stage, agent_case, agent_cases, at, ids, said

TEXTS: Final[dict[str, str]] = {
    "an object": '{"a": 1}',
    "an array": "[1, 2]",
    "a number": "17",
    "a large number": "12345678901234567890",
    "true": "true",
    "null": "null",
    "a date": "2026-01-31T12:00:00.000Z",
    "quoted": '"text"',
    "empty": "",
    "spaces": "  two  ",
    "lines": "one\ntwo\r\n",
    "emoji": "🙂\u2028",
}
"""Texts that look like something else."""


class MessageCases:
    """Saving, changing, deleting."""

    @agent_case()
    async def test_a_message_comes_back(self, stage: Stage) -> None:
        """With parts, metadata and attachments, and with fields that the models do not know."""
        await stage.thread()
        content = MessageContent(
            parts=[{"type": "text", "text": "Hello"}, {"type": "reasoning", "details": [1, None]}],
            content="Hello",
            metadata={"a": {"b": 1}},
            attachments=[{"name": "a.png", "contentType": "image/png", "url": "data:,x"}],
            extra={"toolInvocations": [{"state": "call"}]},
        )
        message = said(1, content=content, role="assistant", extra={"newField": 1})
        (saved,) = await stage.store.messages.save([message])
        (found,) = await stage.store.messages.get(["m0001"])
        assert found == saved
        assert (found.content, found.role, found.type) == (content, "assistant", "v2")
        assert (found.created_at, found.extra) == (at(1), {"newField": 1})

    @agent_cases(TEXTS)
    async def test_text_stays_text(self, stage: Stage, value: str) -> None:
        """Whatever it looks like."""
        await stage.thread()
        await stage.store.messages.save([said(1, content=value)])
        (found,) = (await stage.store.messages.list("t")).items
        assert found.text == found.content.content == value
        assert found.content.parts == [{"type": "text", "text": value}]

    @agent_case()
    async def test_a_content_of_format_1(self, stage: Stage) -> None:
        """Parts of tool calls and results become those of format 2."""
        await stage.thread()
        parts: list[dict[str, Any]] = [
            {"type": "text", "text": "Looking"},
            {"type": "tool-call", "toolCallId": "c", "toolName": "look", "args": {"q": 1}},
            {"type": "tool-result", "toolCallId": "c", "toolName": "look", "result": [1]},
        ]
        await stage.store.messages.save([said(1, content=parts)])
        (found,) = await stage.store.messages.get(["m0001"])
        assert found.content.format == 2
        assert found.text == "Looking"
        _, call, result = found.content.parts
        assert call["toolInvocation"]["state"] == "call"
        assert call["toolInvocation"]["args"] == {"q": 1}
        assert result["toolInvocation"] == {
            "state": "result",
            "toolCallId": "c",
            "toolName": "look",
            "result": [1],
        }

    @agent_case()
    async def test_no_messages_are_fine(self, stage: Stage) -> None:
        """Nothing happens."""
        assert await stage.store.messages.save([]) == []
        assert await stage.store.messages.update({}) == []
        await stage.store.messages.delete([])

    @agent_case()
    async def test_messages_without_id_or_time_get_them(self, stage: Stage) -> None:
        """And keep the order in which they were saved."""
        await stage.thread()
        unnamed = [Message.of(str(n), thread_id="t", resource_id="u") for n in range(12)]
        saved = await stage.store.messages.save(unnamed)
        assert len({*ids(saved)}) == 12
        assert all(message.created_at for message in saved)
        found = await stage.store.messages.list("t")
        assert [message.text for message in found.items] == [str(n) for n in range(12)]

    @agent_cases({"thread": {"thread_id": ""}, "blank": {"thread_id": " "}, "resource": {"r": ""}})
    async def test_all_or_nothing(self, stage: Stage, value: dict[str, str]) -> None:
        """One message without thread or resource rejects all."""
        await stage.thread()
        bad = said(2)
        bad.thread_id = value.get("thread_id", "t")
        bad.resource_id = value.get("r", "u")
        with pytest.raises(InvalidArgumentError) as caught:
            await stage.store.messages.save([said(1), bad, said(3)])
        assert caught.value.index == 1
        assert (await stage.store.messages.list("t", total=True)).total == 0

    @agent_case()
    async def test_what_is_not_json_rejects_all(self, stage: Stage) -> None:
        """Before anything is written."""
        await stage.thread()
        bad = said(2, content=MessageContent(metadata={"x": object()}))
        with pytest.raises(InvalidDocumentError):
            await stage.store.messages.save([said(1), bad])
        assert (await stage.store.messages.list("t", total=True)).total == 0

    @agent_case()
    async def test_a_thread_comes_before_its_messages(self, stage: Stage) -> None:
        """Otherwise no listing of threads would lead to them."""
        await stage.thread()
        with pytest.raises(ItemNotFoundError):
            await stage.store.messages.save([said(1), said(2, "absent")])
        assert await stage.store.messages.get(["m0001", "m0002"]) == []

    @agent_case()
    async def test_saving_again_replaces(self, stage: Stage) -> None:
        """At its place, with its first time."""
        await stage.talk(3)
        await stage.store.messages.save([said(1, content="new", created_at=at(500), role="tool")])
        found = await stage.store.messages.list("t", total=True)
        assert (ids(found.items), found.total) == (["m0000", "m0001", "m0002"], 3)
        assert (found.items[1].text, found.items[1].role) == ("new", "tool")
        assert found.items[1].created_at == at(1)

    @agent_case()
    async def test_said_twice_in_one_batch(self, stage: Stage) -> None:
        """The last one counts."""
        await stage.thread()
        await stage.store.messages.save([said(1, content="old"), said(2), said(1, content="new")])
        found = await stage.store.messages.list("t", total=True)
        assert (ids(found.items), found.total) == (["m0001", "m0002"], 2)
        assert found.items[0].text == "new"

    @agent_case()
    async def test_saving_into_another_thread_moves(self, stage: Stage) -> None:
        """The message is in the new thread only, and both were touched."""
        await stage.talk(3)
        await stage.talk(2, "other")
        await stage.store.flush()
        before = await stage.updated_at("t"), await stage.updated_at("other")
        await stage.store.messages.save([said(1, "other")])
        store = stage.store
        assert ids((await store.messages.list("t")).items) == ["m0000", "m0002"]
        listed = await store.messages.list("other", total=True)
        assert (ids(listed.items), listed.total) == (["m0001", "m1000", "m1001"], 3)
        assert await stage.updated_at("t") > before[0]
        assert await stage.updated_at("other") > before[1]

    @agent_case()
    async def test_moving_there_and_back(self, stage: Stage) -> None:
        """Nothing is lost on the way."""
        await stage.talk(2)
        await stage.thread("other")
        for _ in range(2):
            await stage.store.messages.save([said(1, "other")])
            await stage.store.messages.save([said(1, "t")])
        assert ids((await stage.store.messages.list("t")).items) == ["m0000", "m0001"]
        assert (await stage.store.messages.list("other", total=True)).total == 0

    @agent_case()
    async def test_equal_times_keep_the_order_of_saving(self, stage: Stage) -> None:
        """Within a batch and from batch to batch, whatever the ids."""
        await stage.thread()
        names = ["z", "a", "m", "b", "y"]
        for some in (names[:3], names[3:]):
            await stage.store.messages.save([said(0, id=name) for name in some])
        found = await stage.store.messages.list("t")
        assert ids(found.items) == names
        assert ids(await stage.store.messages.newest("t", 2)) == ["b", "y"]

    @agent_case()
    async def test_times_tell_the_order(self, stage: Stage) -> None:
        """Not the order of saving."""
        await stage.thread()
        for number in (3, 1, 2, 0):
            await stage.store.messages.save([said(number)])
        found = await stage.store.messages.list("t")
        assert ids(found.items) == ["m0000", "m0001", "m0002", "m0003"]

    @agent_case()
    async def test_every_change_touches_the_thread(self, stage: Stage) -> None:
        """Each time later than before; its other fields stay."""
        await stage.thread(title="kept", metadata={"a": 1})
        messages = stage.store.messages
        times = [await stage.updated_at()]
        await messages.save([said(1), said(2)])
        times.append(await stage.updated_at())
        await messages.save([said(1, content="again")])
        times.append(await stage.updated_at())
        await messages.update({"m0001": {"role": "system"}})
        times.append(await stage.updated_at())
        await messages.delete(["m0001"])
        times.append(await stage.updated_at())
        assert times == sorted({*times}), times
        assert len(times) == 5
        await stage.store.flush()
        assert await stage.updated_at() >= times[-1]
        thread = await stage.store.threads.get("t")
        assert thread is not None
        assert (thread.title, thread.metadata) == ("kept", {"a": 1})

    @agent_case()
    async def test_updating_merges_content(self, stage: Stage) -> None:
        """Field by field, its metadata too; other fields are replaced."""
        await stage.thread()
        content = MessageContent(
            parts=[{"type": "text", "text": "old"}], content="old", metadata={"a": 1, "b": {"x": 1}}
        )
        await stage.store.messages.save([said(1, content=content)])
        changes = {"role": "system", "content": {"metadata": {"b": {"y": 2}, "c": 3}}}
        (updated,) = await stage.store.messages.update({"m0001": changes, "absent": {"role": "x"}})
        assert updated.role == "system"
        assert updated.content.metadata == {"a": 1, "b": {"y": 2}, "c": 3}
        assert (updated.text, updated.content.parts) == ("old", content.parts)
        assert await stage.store.messages.get(["m0001", "absent"]) == [updated]

    @agent_case()
    async def test_updating_may_move(self, stage: Stage) -> None:
        """To a thread that is there."""
        await stage.talk(2)
        await stage.thread("other")
        await stage.store.messages.update({"m0000": {"threadId": "other"}})
        assert ids((await stage.store.messages.list("other")).items) == ["m0000"]
        assert ids((await stage.store.messages.list("t")).items) == ["m0001"]
        with pytest.raises(ItemNotFoundError):
            await stage.store.messages.update({"m0001": {"threadId": "absent"}})

    @agent_case()
    async def test_an_update_that_does_not_fit(self, stage: Stage) -> None:
        """Is refused, and changes nothing."""
        before = await stage.talk(2)
        with pytest.raises(InvalidDocumentError):
            await stage.store.messages.update({"m0000": {"role": "x"}, "m0001": {"role": 17}})
        assert (await stage.store.messages.list("t")).items == before

    @agent_case()
    async def test_deleting_messages(self, stage: Stage) -> None:
        """What is absent is passed over."""
        await stage.talk(4)
        await stage.store.messages.delete(["m0001", "absent", "m0003", "m0001"])
        found = await stage.store.messages.list("t", total=True)
        assert (ids(found.items), found.total) == (["m0000", "m0002"], 2)

    @agent_case()
    async def test_reading_by_ids(self, stage: Stage) -> None:
        """In the order given, from any thread, each once."""
        await stage.talk(3)
        await stage.talk(1, "other")
        found = await stage.store.messages.get(["m0002", "absent", "m1000", "m0000", "m0002"])
        assert ids(found) == ["m0002", "m1000", "m0000"]

    @agent_case()
    async def test_a_large_batch(self, stage: Stage) -> None:
        """More than any service takes as bound parameters, or reads in one call."""
        await stage.thread()
        await stage.store.messages.save([said(number) for number in range(105)])
        await stage.store.messages.save([said(number, content="x") for number in range(105)])
        found = await stage.store.messages.list("t", per_page=False, total=True)
        assert (found.total, found.has_more) == (105, False)
        assert ids(found.items) == [f"m{number:04}" for number in range(105)]
        assert {message.text for message in found.items} == {"x"}
        await stage.store.messages.delete([f"m{number:04}" for number in range(102)])
        assert (await stage.store.messages.list("t", total=True)).total == 3
