"""The base class: what it checks, caches and derives, seen from an author's side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from storage_providers.errors import (
    DocumentTooLargeError,
    InvalidArgumentError,
    InvalidDocumentError,
    ProviderClosedError,
    RateLimitedError,
    TransportError,
    VersionMismatchError,
)
from storage_providers.layers import compose
from storage_providers.protocol import (
    Address,
    CollectionSpec,
    Delete,
    IfVersion,
    Item,
    JsonObject,
    Put,
    Query,
    Write,
)
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing.conformance import ManualClock
from storage_providers.testing.faults import Faults, LoseAnswer, Recorder
from tests.resilience.virtual import run


class Counting(InMemoryProvider):
    """Counts what reaches the author's own methods."""

    name: ClassVar[str] = "counting"

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock.clock)
        self.seen: list[str] = []
        self.fail_connect = 0

    async def _connect(self) -> None:
        self.seen.append("connect")
        await asyncio.sleep(0)
        if self.fail_connect:
            self.fail_connect -= 1
            raise TransportError("no answer")

    async def _disconnect(self) -> None:
        self.seen.append("disconnect")

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        self.seen.append("read")
        return await super()._read(addresses)

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        self.seen.append("write")
        return await super()._write(batch)

    async def _declare(self, spec: CollectionSpec) -> None:
        self.seen.append("declare")
        await super()._declare(spec)

    async def _declared(self, collection: str) -> CollectionSpec | None:
        self.seen.append("declared")
        return await super()._declared(collection)


def test_authors_are_asked_only_what_was_checked(manual_clock: ManualClock) -> None:
    """Malformed arguments and empty batches never reach the author's methods."""

    async def play() -> None:
        async with Counting(manual_clock) as provider:
            provider.seen.clear()
            for attempt in (
                provider.read([Address("things", "")]),
                provider.write([Put("Things", {"id": "a"})]),
                provider.write([Delete("things", "x" * 513)]),
                provider.query([Query("things", limit=-1)]),
            ):
                with pytest.raises(InvalidArgumentError):
                    await attempt
            assert await provider.write([]) == []
            assert "write" not in provider.seen
            assert "read" not in provider.seen

    asyncio.run(play())


def test_declarations_are_asked_for_once_a_minute(manual_clock: ManualClock) -> None:
    """Writes look a declaration up once, then from memory for 60 seconds."""

    async def play() -> None:
        async with Counting(manual_clock) as provider:
            for _ in range(3):
                await provider.create_item("things", {})
            assert provider.seen.count("declared") == 1
            manual_clock.advance(59)
            await provider.declared("things")
            assert provider.seen.count("declared") == 1
            manual_clock.advance(2)
            await provider.declared("things")
            assert provider.seen.count("declared") == 2
            manual_clock.advance(-3600)
            await provider.declared("things")
            assert provider.seen.count("declared") == 3, "a clock turned back trusts no memory"

    asyncio.run(play())


def test_declaring_the_same_costs_nothing(manual_clock: ManualClock) -> None:
    """Only a declaration that differs is passed on."""

    async def play() -> None:
        async with Counting(manual_clock) as provider:
            spec = CollectionSpec(collection="things", default_ttl_seconds=1.0)
            for _ in range(3):
                await provider.declare(spec)
            assert provider.seen.count("declare") == 1
            await provider.declare(CollectionSpec(collection="things"))
            assert provider.seen.count("declare") == 2

    asyncio.run(play())


def test_a_failed_connect_can_be_tried_again(manual_clock: ManualClock) -> None:
    """The provider stays new, says where it failed, and opens once it works."""

    async def play() -> None:
        provider = Counting(manual_clock)
        provider.fail_connect = 1
        with pytest.raises(TransportError, match=r"counting\.connect: no answer"):
            await provider.connect()
        with pytest.raises(ProviderClosedError, match="not connected"):
            await provider.collections()
        await provider.connect()
        assert await provider.collections() == []
        await provider.disconnect()
        assert provider.seen == ["connect", "connect", "disconnect"]

    asyncio.run(play())


def test_connecting_and_closing_at_once_happens_in_order(manual_clock: ManualClock) -> None:
    """A provider closed while it opens ends closed, and what was opened is closed."""

    async def play() -> None:
        provider = Counting(manual_clock)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(provider.connect())
            await asyncio.sleep(0)
            tasks.create_task(provider.disconnect())
        assert provider.seen == ["connect", "disconnect"]
        with pytest.raises(ProviderClosedError):
            await provider.connect()

    asyncio.run(play())


def test_modify_gives_up_at_its_deadline(manual_clock: ManualClock) -> None:
    """When others always come first, the last conflict is raised once the deadline passed."""

    class Contested(Counting):
        async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
            (write,) = batch
            if isinstance(write, Put) and isinstance(write.condition, IfVersion):
                await super()._write([Put("things", {"id": "a", "n": len(self.seen)})])
            return await super()._write(batch)

    async def play() -> int:
        calls = 0

        def change(document: JsonObject) -> JsonObject:
            nonlocal calls
            calls += 1
            return document

        async with Contested(manual_clock) as provider:
            await provider.create_item("things", {"id": "a"})
            with pytest.raises(VersionMismatchError):
                await provider.modify_item("things", "a", change, deadline_seconds=0.02)
        return calls

    assert asyncio.run(play()) > 1


class Limited(Counting):
    """Refuses the first writes of a version, as object stores do that are written to too often."""

    def __init__(self, clock: ManualClock, refusals: int, retry_after: float | None) -> None:
        super().__init__(clock)
        self.refusals = refusals
        self.retry_after = retry_after

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        (write,) = batch
        if isinstance(write, Put) and isinstance(write.condition, IfVersion) and self.refusals:
            self.refusals -= 1
            raise RateLimitedError("too often", retry_after_seconds=self.retry_after)
        return await super()._write(batch)


@pytest.mark.parametrize(("retry_after", "least"), [(None, 1.0), (0.2, 1.0), (4.0, 4.0)])
def test_modify_waits_when_a_document_is_written_too_often(
    manual_clock: ManualClock, retry_after: float | None, least: float
) -> None:
    """A refusal wrote nothing: it waits as long as asked, at least a second, and reads anew."""

    async def play() -> float:
        began = asyncio.get_running_loop().time()
        async with Limited(manual_clock, 2, retry_after) as provider:
            await provider.create_item("things", {"id": "a", "n": 0})
            item = await provider.modify_item("things", "a", lambda d: {**d, "n": d["n"] + 1})
            assert item.document["n"] == 1
            assert provider.seen.count("read") == 3
        return asyncio.get_running_loop().time() - began

    assert 2 * least <= run(play()) <= 2 * (least + 1)


def test_modify_does_not_wait_beyond_its_deadline(manual_clock: ManualClock) -> None:
    """A wait that would end after the deadline is not begun; the refusal is raised at once."""

    async def play() -> float:
        began = asyncio.get_running_loop().time()
        async with Limited(manual_clock, 9, 40.0) as provider:
            await provider.create_item("things", {"id": "a"})
            with pytest.raises(RateLimitedError):
                await provider.modify_item("things", "a", lambda document: document)
            assert provider.refusals == 8
        return asyncio.get_running_loop().time() - began

    assert run(play()) == 0


def test_modify_does_not_repeat_an_unknown_outcome(manual_clock: ManualClock) -> None:
    """A lost answer is raised at once: repeating could count an increment twice."""

    async def play() -> None:
        recorder, faults = Recorder(), Faults(LoseAnswer("write", call=2))
        inner = Counting(manual_clock)
        async with compose(recorder, faults, provider=inner) as provider:
            await provider.create_item("things", {"id": "a", "n": 0})
            with pytest.raises(TransportError) as caught:
                await provider.modify_item("things", "a", lambda d: {**d, "n": d["n"] + 1})
            assert not caught.value.retryable
            item = await provider.read_item("things", "a")
            assert item is not None
            assert item.document["n"] == 1
            assert recorder.verbs.count("write") == 2

    asyncio.run(play())


def test_stamps_are_shared_by_a_batch(manual_clock: ManualClock) -> None:
    """Documents stored together carry the same time; the next batch a later one."""

    async def play() -> None:
        async with Counting(manual_clock) as provider:
            first = await provider.create_items("things", [{}, {}])
            second = await provider.create_items("things", [{}])
            stamps = [item.document["updatedAt"] for item in (*first, *second)]
            assert stamps[0] == stamps[1] < stamps[2]

    asyncio.run(play())


def test_declarations_are_not_remembered_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a scope for each of many users memory stays bounded, and limits hold all the same."""
    monkeypatch.setattr("storage_providers.base.DECLARATIONS_KEPT", 5)

    async def scenario() -> None:
        async with InMemoryProvider() as provider:
            await provider.declare(CollectionSpec(collection="u0/t", max_document_bytes=20))
            for user in range(20):
                await provider.read_item(f"u{user}/t", "a")
                await provider.put_item(f"v{user}/t", {"id": "a"})
            assert len(provider._declarations) == 5
            with pytest.raises(DocumentTooLargeError):
                await provider.put_item("u0/t", {"id": "a"})

    asyncio.run(scenario())


def test_changes_that_are_no_object() -> None:
    """A list of changes, and a creation time that is none, are named and change nothing."""

    async def scenario() -> None:
        async with InMemoryProvider() as provider:
            item = await provider.create_item("t", {"id": "a"})
            wrong: Any = [1]
            with pytest.raises(InvalidDocumentError, match="not list"):
                await provider.update_item("t", "a", wrong)
            with pytest.raises(InvalidDocumentError, match="createdAt"):
                await provider.update_item("t", "a", {"createdAt": "soon"})
            with pytest.raises(InvalidDocumentError, match="createdAt"):
                await provider.modify_item("t", "a", lambda document: {**document, "createdAt": 7})
            assert await provider.read_item("t", "a") == item
            # None stands for "as it was", as it does when a document is created.
            kept = await provider.modify_item("t", "a", lambda _: {"createdAt": None})
            assert kept.document["createdAt"] == item.document["createdAt"]

    asyncio.run(scenario())


def test_no_order_may_be_said_as_none(manual_clock: ManualClock) -> None:
    """As for every other argument that is not given."""

    async def scenario() -> None:
        async with InMemoryProvider(clock=manual_clock.clock) as provider:
            await provider.put_items("t", ({"id": each} for each in "ba"))
            page = await provider.list_items("t", order_by=None)
            found = [item.id async for item in provider.find_items("t", order_by=None)]
            assert [item.id for item in page.items] == found == ["a", "b"]

    asyncio.run(scenario())
