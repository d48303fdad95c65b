"""Conflicts of a hybrid: settled, logged, undone; and what the primary refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from storage_providers.conflicts import Conflict, PolicyName
from storage_providers.errors import (
    AuthenticationError,
    ConfigurationError,
    DocumentTooLargeError,
    InvalidArgumentError,
    ItemNotFoundError,
    TransportError,
    VersionMismatchError,
)
from storage_providers.layers import Call
from storage_providers.protocol import (
    CollectionSpec,
    Put,
)
from storage_providers.testing.faults import Fail, Fault, Sleep
from tests.hybrid.world import clash, opened, plain

T = TypeVar("T")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("merge", {"n": 2, "m": 3}),
        ("newest", {"n": 1, "m": 3}),
        ("primary", {"n": 1, "m": 3}),
        ("fallback", {"n": 2, "m": 1}),
        ("keep_both", {"n": 1, "m": 3}),
    ],
)
@pytest.mark.parametrize("keep", ["primary", "fallback"])
def test_a_change_made_elsewhere_is_settled_logged_and_undone(
    tmp_path: Path, policy: PolicyName, expected: Any, keep: Literal["primary", "fallback"]
) -> None:
    """By each policy; either side can be brought back, and both sides agree afterwards."""

    async def play() -> None:
        async with opened(tmp_path, policy=policy) as world:
            await clash(world, here={"n": 2}, there={"m": 3})
            assert await world.there() == expected
            assert plain(await world.fallback.read_item("things", "a")) == expected
            (record,) = await world.hybrid.conflicts()
            assert (record.number, record.policy, record.state) == (1, policy, "settled")
            kept = await world.primary.count_items("things")
            assert kept == (2 if policy == "keep_both" else 1)
            await world.hybrid.undo_conflict(1, keep=keep)
            back = {"n": 1, "m": 3} if keep == "primary" else {"n": 2, "m": 1}
            assert await world.there() == back
            assert await world.primary.count_items("things") == 1
            assert [each.state for each in await world.hybrid.conflicts()] == ["undone"]
            with pytest.raises(InvalidArgumentError, match="undone"):
                await world.hybrid.undo_conflict(1, keep=keep)
            with pytest.raises(ItemNotFoundError):
                await world.hybrid.undo_conflict(2, keep=keep)
            world.cut()
            assert await world.seen() == back

    asyncio.run(play())


def test_what_was_changed_since_is_not_undone(tmp_path: Path) -> None:
    """A later change is not thrown away by undoing an earlier conflict."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await clash(world, here={"n": 2}, there={"m": 3})
            await world.put(n=9)
            with pytest.raises(VersionMismatchError, match="since the conflict"):
                await world.hybrid.undo_conflict(1, keep="primary")
            assert await world.there() == {"n": 9}

    asyncio.run(play())


def test_a_deletion_elsewhere_is_a_conflict(tmp_path: Path) -> None:
    """A document changed in the outage stands, and undoing deletes it again."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await clash(world, here={"n": 2}, there=None)
            assert await world.there() == {"n": 2, "m": 1}
            await world.hybrid.undo_conflict(1, keep="primary")
            assert await world.there() is None

    asyncio.run(play())


def test_an_unknown_base_is_a_conflict(tmp_path: Path) -> None:
    """A document put over one that was never seen: the newer stands, the other is in the log."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.primary.put_item("things", {"id": "a", "old": 1})
            world.time.advance(1)
            world.cut()
            await world.put(new=1)
            world.mend()
            assert await world.seen() == {"new": 1}
            (record,) = await world.hybrid.conflicts()
            assert not record.conflict.base_known
            assert record.conflict.primary is not None
            assert record.conflict.primary.document["old"] == 1

    asyncio.run(play())


def test_a_function_of_your_own_settles(tmp_path: Path) -> None:
    """It sees all three documents; when it fails, nothing is lost, and it is asked again."""

    async def play() -> None:
        broken = True

        def mine(conflict: Conflict) -> dict[str, Any]:
            if broken:
                raise KeyError("secret")
            assert conflict.base is not None
            assert conflict.primary is not None
            assert conflict.fallback is not None
            sides = (conflict.primary, conflict.fallback)
            gained = sum(side.document["n"] - conflict.base.document["n"] for side in sides)
            return {**conflict.primary.document, "n": conflict.base.document["n"] + gained}

        async with opened(tmp_path, policy=mine) as world:
            with pytest.raises(ConfigurationError, match="'mine' raised KeyError") as caught:
                await clash(world, here={"n": 4}, there={"n": 11})
            assert "secret" not in str(caught.value)
            assert await world.seen() == {"n": 4, "m": 1}
            broken = False
            assert await world.seen() == {"n": 14, "m": 1}
            assert (await world.hybrid.conflicts())[0].policy == "mine"

    asyncio.run(play())


def test_the_same_change_on_both_sides_is_none(tmp_path: Path) -> None:
    """Two devices that made the same of it agree."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.cut()
            await world.put(n=2)
            taken = await world.hybrid.read_item("things", "a")
            assert taken is not None
            await world.primary.write([Put("things", taken.document)])
            world.mend()
            await world.hybrid.replay()
            assert await world.hybrid.conflicts() == []

    asyncio.run(play())


class Meanwhile(Fault):
    """Something else happens between an answer and its arrival."""

    def __init__(self, verb: str, work: Callable[[], Awaitable[object]]) -> None:
        super().__init__(verb)
        self.work = work

    async def strike(self, call: Call, proceed: Callable[[], Awaitable[T]], sleep: Sleep) -> T:
        """Carry the call out, then the other."""
        answer = await proceed()
        await self.work()
        return answer


def test_a_change_during_the_replay_is_seen(tmp_path: Path) -> None:
    """Made between the replay's read and its write: compare-and-set meets it, and it is merged."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1, m=1)
            world.cut()
            await world.hybrid.update_item("things", "a", {"n": 2})
            world.mend()
            change = world.primary.update_item("things", "a", {"m": 3})
            world.faults.script.append(Meanwhile("read", lambda: change))
            await world.hybrid.replay()
            assert await world.there() == {"n": 2, "m": 3}
            assert [each.state for each in await world.hybrid.conflicts()] == ["settled"]

    asyncio.run(play())


def test_a_settled_conflict_does_not_hide_what_was_written_after_it(tmp_path: Path) -> None:
    """The outage returns between two windows: the fallback still shows the last write."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1, m=1)
            await world.hybrid.fill()
            world.cut()
            await world.hybrid.update_item("things", "a", {"n": 2})
            await world.hybrid.put_items("others", [{"id": f"o{each}"} for each in range(200)])
            await world.hybrid.update_item("things", "a", {"n": 3})
            await world.primary.update_item("things", "a", {"m": 3})
            world.mend()
            world.faults.script.append(Fail("read", call=2))
            with pytest.raises(TransportError):
                await world.hybrid.replay()
            assert (await world.hybrid.status()).pending == 2
            assert await world.there() == {"n": 2, "m": 3}
            world.cut()
            assert await world.hybrid.count_items("things", where={"n": 3}) == 1
            assert await world.seen() == {"n": 3, "m": 1}
            world.mend()
            await world.hybrid.replay()
            assert await world.there() == {"n": 3, "m": 3}

    asyncio.run(play())


def test_what_the_primary_refuses_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    """A document it never takes goes to the log, where it is kept; what follows is replayed."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            await world.put(n=1)
            world.cut()
            await world.put(n="x" * 500)
            await world.hybrid.put_item("things", {"id": "b", "n": 2})
            world.mend()
            await world.primary.declare(CollectionSpec(collection="things", max_document_bytes=200))
            await world.hybrid.replay()
            assert await world.there("a") == {"n": 1}
            assert await world.there("b") == {"n": 2}
            assert await world.seen("a") == {"n": 1}
            (record,) = await world.hybrid.conflicts()
            assert (record.state, record.error) == ("refused", DocumentTooLargeError.__name__)
            assert record.conflict.fallback is not None
            assert record.conflict.fallback.document["n"] == "x" * 500
            status = await world.hybrid.status()
            assert (status.pending, status.refused) == (0, 1)

    asyncio.run(play())


def test_a_copy_that_the_primary_refuses_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    """A document to keep beside, too large by its longer id, is kept in the log alone."""

    async def play() -> None:
        async with opened(tmp_path, policy="keep_both") as world:
            item = await world.hybrid.put_item("things", {"id": "a", "n": 1, "m": 1})
            limit = len(item.body)
            await world.primary.declare(
                CollectionSpec(collection="things", max_document_bytes=limit)
            )
            world.cut()
            await world.hybrid.update_item("things", "a", {"n": 2})
            await world.primary.update_item("things", "a", {"m": 3})
            world.mend()
            await world.hybrid.replay()
            (record,) = await world.hybrid.conflicts()
            assert (record.state, record.error) == ("settled", DocumentTooLargeError.__name__)
            assert await world.there() == {"n": 1, "m": 3}
            await world.hybrid.undo_conflict(1, keep="fallback")
            assert await world.there() == {"n": 2, "m": 1}

    asyncio.run(play())


def test_a_primary_that_refuses_everything_keeps_the_outage_going(tmp_path: Path) -> None:
    """Wrong credentials at the replay: what was taken stays readable and in the journal."""

    async def play() -> None:
        async with opened(tmp_path) as world:
            world.cut()
            await world.put(n=1)
            world.cut(lambda: AuthenticationError("expired"))
            assert await world.seen() == {"n": 1}
            with pytest.raises(AuthenticationError):
                await world.hybrid.replay()
            status = await world.hybrid.status()
            assert (status.pending, status.error) == (1, "AuthenticationError")
            world.mend()
            assert await world.seen() == {"n": 1}
            assert await world.there() == {"n": 1}

    asyncio.run(play())
