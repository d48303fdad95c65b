"""Changing the phase, while other processes write.

Whoever changes it waits until every writer has acknowledged the new phase, rests, or has not been
heard of for several leases. A change of the leader goes by way of `switching`, in which nobody
writes: what deletions and failed copies left uncertain is settled there.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, TypeAlias

import msgspec

from storage_providers.errors import ConflictError, MigrationError, StorageError
from storage_providers.protocol import Address
from storage_providers.providers._dual.membership import SILENT_LEASES
from storage_providers.providers._dual.records import Note, Writer, notes_of, remove, writers_of
from storage_providers.providers._dual.state import (
    MigrationState,
    Phase,
    Seen,
    Side,
    before_switching,
)
from storage_providers.transfer._migration.pair import Pair

__all__ = [
    "Silent",
    "break_off",
    "change_phase",
    "changed",
    "settle_notes",
    "switch_leader",
    "writers_heard",
]

Silent: TypeAlias = "frozenset[tuple[str, int]]"
"""Writers that are not heard of: their ids, with their last beats."""

POLL_LEASES: Final = 0.05
"""How often the records of writers are looked at, in leases."""


async def change_phase(pair: Pair, seen: Seen, phase: Phase) -> Seen:
    """Change the phase without changing who leads, and wait for every writer.

    Raises:
        MigrationError: Another process changed it.
    """
    state = msgspec.structs.replace(
        seen.state, phase=phase, migration=seen.state.migration or pair.clock.new_id()
    )
    seen = await changed(pair, seen, state)
    silent = await writers_heard(pair, seen, acknowledged=True)
    await remove(pair.home(seen.state), [writer for writer, _ in silent])
    return seen


async def switch_leader(pair: Pair, seen: Seen, phase: Phase, leader: Side, known: Silent) -> Seen:
    """Change who leads, with no write under way.

    Args:
        pair: Both sides.
        seen: The state, in which both sides are written.
        phase: The phase to come.
        leader: The side that leads then.
        known: Writers that were not heard of when the sides were last compared.

    Raises:
        MigrationError: A writer ended without a word since the sides were compared, or another
            process changed the phase. What was is again.
    """
    begun_ms = pair.clock.now_ms()
    seen = await changed(pair, seen, msgspec.structs.replace(seen.state, phase="switching"))
    try:
        silent = await writers_heard(pair, seen, acknowledged=True)
        if not silent <= known:
            raise MigrationError(
                f"{len(silent - known)} writing process(es) ended without signing off since the "
                "sides were compared, so something of theirs may be at one side alone; verify "
                "again"
            )
        # Readers look at the phase once a lease.
        waited = (pair.clock.now_ms() - begun_ms) / 1000
        if waited < pair.lease_seconds:
            await pair.sleep(pair.lease_seconds - waited)
        await settle_notes(pair, seen)
        home = pair.home(seen.state)
        state = msgspec.structs.replace(seen.state, phase=phase, leader=leader)
        seen = await changed(pair, seen, state)
    except BaseException:
        await asyncio.shield(_switch_back(pair, seen))
        raise
    await remove(home, [writer for writer, _ in silent])
    return seen


async def break_off(pair: Pair, seen: Seen) -> None:
    """End a switch, with the leader that was.

    Raises:
        MigrationError: Another process changed the phase.
    """
    if seen.state.phase == "switching":
        await changed(pair, seen, before_switching(seen.state))


async def _switch_back(pair: Pair, begun: Seen) -> None:
    # Where it can't be done, writers that wait do it themselves.
    with contextlib.suppress(StorageError):
        seen = await pair.seen()
        if seen.state.epoch == begun.state.epoch:
            await break_off(pair, seen)


async def changed(pair: Pair, seen: Seen, state: MigrationState) -> Seen:
    """Change the state.

    Raises:
        MigrationError: Another process did.
    """
    try:
        return await pair.states.change(seen, state)
    except ConflictError as error:
        raise MigrationError(
            "another process changed the phase of the migration; look at its status"
        ) from error


async def writers_heard(pair: Pair, seen: Seen, *, acknowledged: bool) -> Silent:
    """Wait until every writer was heard of.

    Args:
        pair: Both sides.
        seen: The state.
        acknowledged: Wait until each has acknowledged the phase; without, until each has beaten
            once more.

    Returns:
        Those that were not heard of for several leases.
    """
    beats: dict[str, tuple[int, int]] = {}
    while True:
        asked_ms = pair.clock.now_ms()
        waiting: list[Writer] = []
        silent: set[tuple[str, int]] = set()
        writers = await writers_of(pair.home(seen.state))
        answered_ms = pair.clock.now_ms()
        for writer in writers:
            beat, since_ms = beats.get(writer.id, (writer.beat, answered_ms))
            heard = writer.epoch >= seen.state.epoch if acknowledged else writer.beat != beat
            if heard or not writer.active:
                continue
            if writer.beat != beat:
                since_ms = answered_ms
            beats[writer.id] = (writer.beat if acknowledged else beat, since_ms)
            patience = SILENT_LEASES * max(writer.lease_seconds, pair.lease_seconds)
            if asked_ms - since_ms >= patience * 1000:
                silent.add((writer.id, writer.beat))
            else:
                waiting.append(writer)
        if not waiting:
            return frozenset(silent)
        await pair.sleep(pair.lease_seconds * POLL_LEASES)


async def settle_notes(pair: Pair, seen: Seen, *, keep: bool = False) -> int:
    """Look again at every document that is noted.

    Args:
        pair: Both sides.
        seen: The state.
        keep: Whether the notes stay, because writes go on.

    Returns:
        How many were otherwise at the follower.
    """
    following = pair.following(seen.state)
    home = pair.home(seen.state)
    notes: list[Note] = [note async for note in notes_of(home)]
    addresses: dict[Address, None] = dict.fromkeys(
        address for note in notes for address in note.addresses
    )
    changed = await following.bring_anew(list(addresses))
    if following.doubts:
        raise MigrationError(
            f"the {seen.state.follower} does not take {len(following.doubts)} documents that the "
            f"{seen.state.leader} has; verify names them"
        )
    if not keep and notes:
        await remove(home, [note.id for note in notes])
    return changed
