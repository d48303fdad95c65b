"""Trying each right on a place of objects, and looking how far indexes are."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from storage_providers import CollectionSpec, Index
from storage_providers._clock import Clock
from storage_providers.errors import StorageError
from storage_providers.maintenance import Check
from storage_providers.protocol import ANY, IfVersion
from storage_providers.providers._objects import ObjectPut
from storage_providers.providers._objects.checking import (
    check_indexes,
    check_rights,
    index_states,
)
from storage_providers.providers._objects.keys import FolderLayout
from storage_providers.testing.conformance import ManualClock
from tests.objects.memory_store import Fate, MemoryStore, Request, objects


def tried(store: MemoryStore, *, write: bool = True) -> dict[str, Check]:
    """What `check_rights` reports, by name."""
    layout = FolderLayout("app", service="memory", max_key_bytes=1024)
    checks = asyncio.run(check_rights(store, layout, Clock(), write=write))
    return {check.name: check for check in checks}


class Blind(MemoryStore):
    """A service that looks at no condition."""

    def _keep(self, put: ObjectPut) -> str | StorageError:
        return super()._keep(msgspec.structs.replace(put, condition=ANY))


class HalfBlind(MemoryStore):
    """A service that looks at no version where there is nothing, as MinIO once did."""

    def _keep(self, put: ObjectPut) -> str | StorageError:
        if put.key not in self.objects and isinstance(put.condition, IfVersion):
            put = msgspec.structs.replace(put, condition=ANY)
        return super()._keep(put)


def test_every_right_is_tried_and_nothing_stays() -> None:
    """Five checks in their order; the place is as it was."""
    store = MemoryStore()
    store.plant("app/todos/a.json", b"{}")
    checks = tried(store)
    assert list(checks) == ["list", "read", "write", "conditions", "delete"]
    assert all(check.ok and check.advice is None for check in checks.values())
    assert store.keys() == ["app/todos/a.json"]


def test_without_writing_nothing_is_sent_that_changes() -> None:
    """Only listing and reading are tried."""
    store = MemoryStore()
    assert list(tried(store, write=False)) == ["list", "read"]
    assert set(store.requests) == {"list", "get"}


@pytest.mark.parametrize(
    ("kind", "fate", "bad"),
    [
        ("put", Fate.BROKEN, {"write": "TransportError"}),
        ("put", Fate.ANSWER_LOST, {"write": "OutcomeUnknownError"}),
        ("list", Fate.BROKEN, {"list": "TransportError", "write": "TransportError"}),
        ("get", Fate.REFUSED, {"read": "RateLimitedError", "write": "RateLimitedError"}),
        ("delete", Fate.BROKEN, {"delete": "TransportError"}),
    ],
)
def test_a_right_that_is_missing(kind: str, fate: Fate, bad: dict[str, str]) -> None:
    """What fails is named with its error; whatever may have landed is removed."""

    async def gate(request: Request) -> Fate:
        return fate if request.kind == kind else Fate.DONE

    store = MemoryStore(gate=gate)
    checks = tried(store)
    assert {name: check.error for name, check in checks.items() if not check.ok} == bad
    assert store.keys() == [] or kind == "delete"


@pytest.mark.parametrize("service", [Blind, HalfBlind])
def test_a_service_without_conditions_is_found_out(service: type[MemoryStore]) -> None:
    """A server that accepts what it should refuse would lose changes, so it fails the check."""
    store = service()
    checks = tried(store)
    assert not checks["conditions"].ok
    assert "If-Match" in checks["conditions"].detail
    assert store.keys() == []


def test_an_interrupted_trial_is_removed() -> None:
    """Ctrl-C while it is being read back: the trial object goes all the same."""

    async def play() -> list[str]:
        reached = asyncio.Event()

        async def gate(request: Request) -> Fate:
            if request.kind == "list" and request.key.endswith(".json"):
                reached.set()
                await asyncio.Event().wait()
            return Fate.DONE

        store = MemoryStore(gate=gate)
        layout = FolderLayout("", service="memory", max_key_bytes=1024)
        task = asyncio.create_task(check_rights(store, layout, Clock(), write=True))
        await reached.wait()
        assert len(store.keys()) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return store.keys()

    assert asyncio.run(play()) == []


def test_states_of_indexes(manual_clock: ManualClock) -> None:
    """Declared ones in their order with how far they are, then those that were dropped."""

    async def play() -> None:
        provider = objects(MemoryStore(), manual_clock.clock)
        async with provider:
            assert await index_states(provider, "todos") == []
            first, second = Index.of("status", "-due"), Index.of("tags", each=True)
            await provider.declare(CollectionSpec(collection="todos", indexes=(first, second)))
            states = await index_states(provider, "todos")
            assert [(each.index, each.state) for each in states] == [
                ("status,-due", "building"),
                ("each(tags)", "building"),
            ]
            await provider.declare(CollectionSpec(collection="todos", indexes=(second,)))
            states = await index_states(provider, "todos")
            assert [(each.index, each.state) for each in states] == [
                ("each(tags)", "building"),
                ("status,-due", "dropped"),
            ]

    asyncio.run(play())


def test_indexes_that_nobody_builds(manual_clock: ManualClock) -> None:
    """Building is worth a warning at once, and after an hour the command that builds."""

    async def play() -> None:
        store = MemoryStore()
        provider = objects(store, manual_clock.clock)
        async with provider:
            assert (await check_indexes(provider)).detail == "0 ready, 0 building"
            spec = CollectionSpec(collection="todos", indexes=(Index.of("due"),))
            await provider.declare(spec)
            store.plant(".declarations/Not Ours.json", b"{}")
            now = await check_indexes(provider)
            assert now.ok
            assert "todos due" in now.detail
            assert "queries read every document" in str(now.advice)
            manual_clock.advance(7200)
            assert "declare todos --wait" in str((await check_indexes(provider)).advice)

    asyncio.run(play())


def test_a_damaged_declaration_is_a_failed_check(manual_clock: ManualClock) -> None:
    """What is kept about indexes may be damaged; the check says where."""

    async def play() -> Check:
        store = MemoryStore()
        store.plant(".declarations/todos.json", b"[")
        async with objects(store, manual_clock.clock) as provider:
            return await check_indexes(provider)

    check = asyncio.run(play())
    assert not check.ok
    assert check.error == "CorruptItemError"
    assert ".declarations/todos.json" in check.detail
