"""What is said of a migration: where it is, and what was done."""

from __future__ import annotations

import msgspec

from storage_providers.providers._dual.state import MigrationState, Phase, Side
from storage_providers.transfer._migration.comparing import Comparison
from storage_providers.transfer._migration.copying import Backfilled
from storage_providers.transfer._migration.pair import Step

__all__ = ["Cleaned", "MigrationReport", "MigrationStatus", "StepReport", "following_step"]


class MigrationStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a migration is.

    Attributes:
        migration: Its id; empty: none began.
        phase: `source`, `dual`, `switching`, `target` or `done`; see `DualWriteProvider`.
        leader: The side that is read.
        live: Whether programs may write while it is under way.
        changed_at: When the phase changed last, ISO 8601.
        backup: The archive that was made, if one was.
        copied: Documents that the copy has looked at.
        copy_complete: Whether everything is copied.
        verified_at: When the sides were found alike in this phase; `None`: they were not.
        writers: Processes that may be writing now.
        to_settle: Notes of documents that are looked at again before the leader changes.
        running: Whether a process says that it carries the migration on.
        following: The step that comes next.
    """

    migration: str
    phase: Phase
    leader: Side
    live: bool
    changed_at: str | None
    backup: str | None
    copied: int
    copy_complete: bool
    verified_at: str | None
    writers: int
    to_settle: int
    running: bool
    following: Step | None


class Cleaned(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What clean-up removed.

    Attributes:
        collections: Collections of the source that were emptied.
        documents: Documents that were in them.
    """

    collections: int
    documents: int


class StepReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One step that was taken.

    Attributes:
        step: Which.
        began_at: When, ISO 8601.
        seconds: How long it took.
        error: Name of the error that ended it, if one did.
        backup: The archive that was made, and how many documents it holds.
        backfilled: What was copied.
        compared: What a comparison found.
        cleaned: What was removed.
    """

    step: Step
    began_at: str
    seconds: float
    error: str | None = None
    backup: tuple[str, int] | None = None
    backfilled: Backfilled | None = None
    compared: Comparison | None = None
    cleaned: Cleaned | None = None


class MigrationReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was done, to be kept.

    Attributes:
        source: Name of the provider that documents come from.
        target: Name of the one that they go to.
        sdk_version: Version of this package.
        steps: The steps that this object took, in order.
        status: Where the migration is; `None`: a side could not be asked.
    """

    source: str
    target: str
    sdk_version: str
    steps: list[StepReport]
    status: MigrationStatus | None


def following_step(state: MigrationState, *, complete: bool, alike: bool) -> Step | None:
    """The step that comes next.

    Args:
        state: The state.
        complete: Whether everything is copied.
        alike: Whether the sides were found alike in this phase.
    """
    if state.phase == "source":
        return "dual-write"
    if state.phase == "done":
        return None
    if state.phase == "target":
        return "clean-up" if alike else "verify"
    if not complete:
        return "backfill"
    return "cut-over" if alike else "verify"
