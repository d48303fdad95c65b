"""The two sides of a migration, and what every step needs of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.providers._dual.following import Following, Guard
from storage_providers.providers._dual.state import MigrationState, Seen, Side, StateStore

__all__ = ["Pair", "Progress", "Report", "Step"]

Step = Literal["backup", "dual-write", "backfill", "verify", "cut-over", "roll-back", "clean-up"]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a step is.

    Attributes:
        step: Which.
        done: Documents dealt with.
        total: How many there are; `None`: not known.
        detail: What is being done, such as the name of a collection.
    """

    step: Step
    done: int = 0
    total: int | None = None
    detail: str = ""


Report = Callable[[Progress], None]


async def _always() -> None:
    return None


class Pair:
    """Both sides, with the state of the migration between them.

    Args:
        source: Where documents come from.
        target: Where they go to.
        lease_seconds: As in `DualWriteProvider`, the same in every process.
        sleep: Waits; tests pass their own.
        clock: Time.
        report: Told how far each step is.
    """

    def __init__(
        self,
        source: Provider,
        target: Provider,
        *,
        lease_seconds: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Clock | None = None,
        report: Report | None = None,
    ) -> None:
        self.source = source
        self.target = target
        self.clock = source.clock if clock is None else clock
        self.lease_seconds = lease_seconds
        self.sleep = sleep
        self.states = StateStore(source, target, self.clock)
        self.is_watched = report is not None
        self.guard: Guard = _always
        self.tell: Report = report or (lambda progress: None)

    async def seen(self) -> Seen:
        """The state now."""
        return await self.states.read()

    def side(self, side: Side) -> Provider:
        """The provider of a side."""
        return self.states.sides[side]

    def home(self, state: MigrationState) -> Provider:
        """The side that keeps the records."""
        return self.side(state.home)

    def following(self, state: MigrationState) -> Following:
        """What brings the follower to where the leader is."""
        leader, follower = self.side(state.leader), self.side(state.follower)
        return Following(leader, follower, self.clock).under(self.guard)

    @property
    def staleness_seconds(self) -> float:
        """How old an answer of either side may be."""
        sides = self.states.sides.values()
        return max(
            0.0 if side.capabilities.strongly_consistent else side.capabilities.staleness_seconds
            for side in sides
        )
