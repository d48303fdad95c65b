"""Where a migration stands, kept with the data, so that every process sees it.

Each side holds a copy. The one at the *home* counts: it is changed by compare-and-set, and when the
home moves, the old one is told first. So a copy that calls its own side the home is the current
one, and one that names the other side leads there.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal, TypeAlias

import msgspec

from storage_providers._clock import Clock, format_timestamp
from storage_providers.base import Provider
from storage_providers.errors import (
    ConfigurationError,
    ConflictError,
    StorageError,
    TransportError,
)
from storage_providers.protocol import ANY, IF_ABSENT, Address, Condition, IfVersion, Item, Put

__all__ = [
    "OWN",
    "Copy",
    "MigrationState",
    "Phase",
    "Seen",
    "Side",
    "StateStore",
    "before_switching",
    "is_strong",
]

Side: TypeAlias = Literal["source", "target"]
Phase: TypeAlias = Literal["source", "dual", "switching", "target", "done"]

OWN: Final = ".migration"
"""The collection of a migration's own records, at both sides; no listing names it."""

_STATE_ID: Final = "state"


class MigrationState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a migration stands.

    Attributes:
        migration: Its id; empty before one began.
        epoch: Grows with every change.
        phase: `source`: nothing is moved. `dual`: both sides are written, the source is read.
            `switching`: no writes are taken, for the moment in which the leader changes. `target`:
            both are written, the target is read. `done`: only the target is used.
        leader: The side that is read, and that conditions are judged by.
        home: The side whose copy of this counts.
        live: Whether writes are taken while both sides are written. Not where one of them can't
            compare and set.
        begun: The epoch since which both sides are written; what was copied since counts.
        changed_at: When it was changed last, ISO 8601.
    """

    migration: str = ""
    epoch: int = 0
    phase: Phase = "source"
    leader: Side = "source"
    home: Side = "source"
    live: bool = True
    begun: int = 0
    changed_at: str | None = None

    @property
    def follower(self) -> Side:
        """The other side."""
        return "target" if self.leader == "source" else "source"

    @property
    def follows(self) -> bool:
        """Whether the follower is kept as the leader is."""
        return self.phase in ("dual", "switching", "target")

    @property
    def takes_writes(self) -> bool:
        """Whether programs may write, except for the moment of switching."""
        return self.live or not self.follows


def before_switching(state: MigrationState) -> MigrationState:
    """The state in which a switch is not begun: both sides are written, and the leader is read."""
    phase: Phase = "dual" if state.leader == "source" else "target"
    return msgspec.structs.replace(state, phase=phase)


class Copy(MigrationState, frozen=True, kw_only=True, rename="camel"):
    """A side's copy of the state, as the document that it is.

    Attributes:
        id: Always `state`.
        side: Which side it was made for.
    """

    id: str = _STATE_ID
    side: Side


class Seen(msgspec.Struct, frozen=True):
    """A state as it was read.

    Attributes:
        state: The state.
        version: Of the copy at its home; `None`: there is none yet.
    """

    state: MigrationState
    version: str | None = None


def is_strong(provider: Provider) -> bool:
    """Whether a side can compare and set, and shows at once what was written."""
    able = provider.capabilities
    return able.conditional_write and able.strongly_consistent


class StateStore:
    """Reads and changes the state of one migration.

    Args:
        source: The side that documents come from.
        target: The side that they go to.
        clock: Time.

    Raises:
        ConfigurationError: Neither side can compare and set.
    """

    def __init__(self, source: Provider, target: Provider, clock: Clock) -> None:
        self.sides: dict[Side, Provider] = {"source": source, "target": target}
        self._clock = clock
        if not is_strong(source) and not is_strong(target):
            raise ConfigurationError(
                f"neither {source.name} nor {target.name} can compare and set, so nobody could "
                "tell all processes at once how far a migration is; move by an archive: export, "
                "then import"
            )

    @property
    def is_live(self) -> bool:
        """Whether programs may write during a migration between these sides."""
        return all(is_strong(side) for side in self.sides.values())

    def home_of(self, leader: Side) -> Side:
        """The side whose copy counts while this side leads: the leader itself, if it can do it."""
        if is_strong(self.sides[leader]):
            return leader
        return "target" if leader == "source" else "source"

    @property
    def _start(self) -> MigrationState:
        return MigrationState(home=self.home_of("source"), live=self.is_live)

    async def read(self, known: MigrationState | None = None) -> Seen:
        """Read the current state.

        Args:
            known: What was last seen: its home is asked, and the other side only if it moved.

        Raises:
            ConfigurationError: The sides are those of another migration that is under way.
            TransportError: A side that has to be asked can't be reached.
        """
        if known is not None:
            copy = await self._copy(known.home)
            if copy is not None and copy.state.home == known.home:
                return copy
        asked = (self._copy("source"), self._copy("target"))
        both = await asyncio.gather(*asked, return_exceptions=True)
        found: dict[Side, Seen] = {}
        failures: list[BaseException] = []
        settled = False
        for side, answer in zip(self.sides, both, strict=True):
            if isinstance(answer, BaseException):
                failures.append(answer)
            elif answer is not None:
                found[side] = answer
                settled |= answer.state.home == side
            elif side == "source" == self._start.home:
                settled = True  # It has had a copy since a migration began.
        for failure in failures:
            if not settled or not isinstance(failure, TransportError):
                raise failure
        return self._current(found)

    def _current(self, found: dict[Side, Seen]) -> Seen:
        if not found:
            return Seen(self._start)
        newest = max(found.values(), key=lambda copy: copy.state.epoch)
        at_home = found.get(newest.state.home)
        return Seen(newest.state, None if at_home is None else at_home.version)

    async def _copy(self, side: Side) -> Seen | None:
        """The copy of one side; `None`: there is none."""
        (item,) = await self.sides[side].read([Address(OWN, _STATE_ID)])
        if item is None:
            return None
        copy = _decoded(item)
        if copy.side != side and copy.phase in ("source", "done"):
            return Seen(self._start, item.version)  # The other way round, and over.
        if copy.side != side:
            raise ConfigurationError(
                f"a migration is under way in which this {side} is the {copy.side}; name the "
                "sides as that migration does"
            )
        return Seen(_bare(copy), item.version)

    async def change(self, seen: Seen, new: MigrationState) -> Seen:
        """Replace the state, if it is still the one that was seen.

        Args:
            seen: What was read.
            new: What is to be; its epoch and its time are set.

        Returns:
            The state as it is now.

        Raises:
            ConflictError: Somebody else changed it.
            StorageError: A side failed. The state may be changed all the same; read it.
        """
        epoch = seen.state.epoch + 1
        new = msgspec.structs.replace(
            new,
            epoch=epoch,
            begun=seen.state.begun if seen.state.follows else epoch,
            home=self.home_of(new.leader),
            changed_at=format_timestamp(self._clock.now_ms()),
        )
        old_home = seen.state.home
        condition = IF_ABSENT if seen.version is None else IfVersion(seen.version)
        version = await self._put(old_home, new, condition)
        if new.home == old_home:
            return Seen(new, version)
        return await self.settle(new)

    async def settle(self, state: MigrationState) -> Seen:
        """Give the new home its copy, unless it has a later one; whoever finds it missing may."""
        for _ in range(2):
            copy = await self._copy(state.home)
            if copy is not None and copy.state.epoch >= state.epoch:
                return copy
            condition = IF_ABSENT if copy is None else IfVersion(copy.version or "")
            try:
                return Seen(state, await self._put(state.home, state, condition))
            except ConflictError:
                continue
        return await self.read()

    async def tell_source(self, state: MigrationState) -> None:
        """Leave at the source, too, that the migration is done."""
        await self._put("source", state, ANY)

    async def _put(self, side: Side, state: MigrationState, condition: Condition) -> str:
        fields = {name: getattr(state, name) for name in MigrationState.__struct_fields__}
        document = msgspec.to_builtins(Copy(side=side, **fields))
        (item,) = await self.sides[side].write([Put(OWN, document, condition)])
        assert item is not None
        return item.version


def _decoded(item: Item) -> Copy:
    try:
        return item.decode(Copy)
    except StorageError as error:
        raise ConfigurationError(
            f"the record of the migration can't be read ({error.message}); a newer version may "
            "have made it"
        ) from error


def _bare(copy: Copy) -> MigrationState:
    fields = {name: getattr(copy, name) for name in MigrationState.__struct_fields__}
    return MigrationState(**fields)
