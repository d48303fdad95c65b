"""The plan of a migration, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from storage_providers.cli._errors import ExitCode
from storage_providers.cli._output import print_facts, print_rows
from storage_providers.cli._session import Session
from storage_providers.protocol import JsonObject

if TYPE_CHECKING:
    from storage_providers.estimates import Estimate
    from storage_providers.transfer.migration import MigrationPlan

__all__ = ["plan_facts", "print_plan", "say_obstacles", "say_who_writes", "size"]

PHASES = {
    "source": "source: nothing is moved yet",
    "dual": "dual: both sides are written, the source is read",
    "switching": "switching: the side that is read is changing",
    "target": "target: both sides are written, the target is read",
    "done": "done: only the target is used",
}


def plan_facts(plan: MigrationPlan) -> JsonObject:
    """The plan as JSON, with its sums.

    Args:
        plan: The plan.
    """
    estimates = _estimates(plan)
    return {
        **msgspec.to_builtins(plan),
        "documents": plan.documents,
        "sizeBytes": plan.size_bytes,
        "requests": sum(each.requests for each in estimates),
        "usd": sum(each.usd for each in estimates),
        "canBegin": not plan.obstacles,
    }


def print_plan(session: Session, plan: MigrationPlan) -> None:
    """Print what would move, what it costs, and the steps.

    Args:
        session: The run of the command.
        plan: The plan.
    """
    rows: list[JsonObject] = [
        {
            "collection": each.collection,
            "documents": each.documents,
            "bytes": each.size_bytes,
            "there": each.there,
        }
        for each in plan.collections
    ]
    print_rows(rows, session.note)
    facts: dict[str, object] = {
        "phase": PHASES[plan.phase],
        "documents": f"{plan.documents:,}, about {size(plan.size_bytes)}",
    }
    for each in plan.costs:
        facts[f"{each.side}, {each.provider}"] = _cost(each.estimate)
    estimates = _estimates(plan)
    facts["together"] = (
        f"{sum(each.requests for each in estimates):,} calls, "
        f"{_dollars(sum(each.usd for each in estimates))} (copying and one comparison; no "
        "allowances taken off)"
    )
    bases = dict.fromkeys(each.basis for each in estimates if each.charges)
    if bases:
        facts["prices"] = "; ".join(bases)
    facts["steps"] = "backup, dual-write, backfill, verify, cut-over; later, by itself, clean-up"
    print_facts(facts)
    for note in plan.notes:
        session.note(f"note: {note}")


def say_who_writes(session: Session, plan: MigrationPlan, lease_seconds: float) -> None:
    """Say what programs that write must do meanwhile.

    Args:
        session: The run of the command.
        plan: The plan.
        lease_seconds: What they must have as well.
    """
    session.note(
        "Every program that writes to the source must use both sides from now on, by "
        "DualWriteProvider or the URL dual-write:?source=URL&target=URL with "
        f"lease_seconds={lease_seconds:g}, or be stopped: what it writes past them is not moved."
    )
    if not plan.live:
        session.note(
            "One side can't compare and set: from dual-write to clean-up these programs get an "
            "UnsupportedOperationError for every write; they can read."
        )


def say_obstacles(session: Session, obstacles: Sequence[str]) -> None:
    """Report why it can't begin; the command ends with the exit code of a conflict.

    Args:
        session: The run of the command.
        obstacles: Each on one line.
    """
    for each in obstacles:
        session.fail(ExitCode.CONFLICT, f"it can't begin: {each}")


def size(count: int) -> str:
    """A number of bytes as people say it.

    Args:
        count: Bytes.
    """
    if count < 1000:
        return f"{count} bytes"
    amount = count / 1000
    for unit in ("kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:,.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def _estimates(plan: MigrationPlan) -> list[Estimate]:
    return [each.estimate for each in plan.costs if each.estimate is not None]


def _cost(estimate: Estimate | None) -> str:
    if estimate is None:
        return "this provider can't tell"
    if not estimate.requests:
        return "no calls, nothing billed"
    charges = ", ".join(f"{each.count:,} {each.unit}" for each in estimate.charges)
    return f"{estimate.requests:,} calls; {charges or 'nothing billed'}; {_dollars(estimate.usd)}"


def _dollars(usd: float) -> str:
    if not usd:
        return "$0"
    return "less than $0.01" if usd < 0.005 else f"about ${usd:,.2f}"
