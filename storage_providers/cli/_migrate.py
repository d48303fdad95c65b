"""The commands `migrate plan`, `run` and `resume`: everything moves, while programs go on."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from pathlib import Path
from time import localtime, strftime
from typing import TYPE_CHECKING, Annotated

import typer

from storage_providers.cli import _migrate_after
from storage_providers.cli._errors import ExitCode, UsageError
from storage_providers.cli._migrate_plan import (
    plan_facts,
    print_plan,
    say_obstacles,
    say_who_writes,
    size,
)
from storage_providers.cli._migrate_sides import (
    FromOption,
    JsonOption,
    LeaseOption,
    ReportOption,
    Sides,
    ToOption,
)
from storage_providers.cli._options import YesOption
from storage_providers.cli._output import print_json
from storage_providers.cli._session import Session, command
from storage_providers.errors import MigrationError

if TYPE_CHECKING:
    from storage_providers.transfer.migration import Migration, MigrationPlan, MigrationReport

__all__ = ["add_to"]

PROBLEMS_SHOWN = 20

RateOption = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="N",
        min=0.001,
        help="Documents copied a second at most; without it, as many as it goes.",
        show_default=False,
    ),
]
RepairOption = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Bring documents that differ to what the side that is read has.",
        show_default=False,
    ),
]
AllowOption = Annotated[
    bool,
    typer.Option(
        "--allow-documents",
        help="Begin although the target holds documents. What it alone has is a difference.",
        show_default=False,
    ),
]
StopOption = Annotated[
    bool,
    typer.Option("--no-cut-over", help="Stop when both sides are found alike.", show_default=False),
]


def add_to(group: typer.Typer) -> None:
    """Add these commands to the group `migrate`.

    Args:
        group: The group.
    """
    command(
        group,
        "plan",
        examples=(
            "storage-providers migrate plan --from file:./data --to r2://valet-data",
            "storage-providers migrate plan --from sqlite:agents.db --to d1://agents --json",
        ),
        panel="Move",
    )(plan)
    command(
        group,
        "run",
        examples=(
            "storage-providers migrate run --from file:./data --to r2://valet-data",
            "storage-providers migrate run --from file:./data --to d1://agents --no-cut-over",
            "storage-providers migrate run --from file:./data --to d1://agents --yes "
            "--report moved.json",
        ),
        panel="Move",
    )(run)
    command(
        group,
        "resume",
        examples=("storage-providers migrate resume --from file:./data --to r2://valet-data",),
        panel="Move",
    )(resume)
    _migrate_after.add_to(group)


async def plan(
    session: Session,
    from_: FromOption = None,
    to: ToOption = None,
    allow_documents: AllowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what would move, what it costs, and what stands in the way; write nothing.

    The exit code is 0 if it can begin, and 4 if not.
    """
    async with Sides(session, from_, to).open(dry_run=True) as migration:
        found = await migration.plan(allow_documents=allow_documents)
        if as_json:
            print_json(plan_facts(found))
        else:
            print_plan(session, found)
        say_obstacles(session, found.obstacles)


PlanOnlyOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Only show the plan; write nothing.", show_default=False),
]
BackupOption = Annotated[
    Path | None,
    typer.Option(
        "--backup",
        metavar="FILE",
        help="The archive that is made first; without it, "
        "before-migration-YYYYMMDD-HHMM.zip in the current folder.",
        show_default=False,
    ),
]
NoBackupOption = Annotated[
    bool, typer.Option("--no-backup", help="Do without.", show_default=False)
]


async def run(
    session: Session,
    from_: FromOption = None,
    to: ToOption = None,
    dry_run: PlanOnlyOption = False,
    backup: BackupOption = None,
    no_backup: NoBackupOption = False,
    no_cut_over: StopOption = False,
    repair: RepairOption = False,
    rate: RateOption = None,
    allow_documents: AllowOption = False,
    lease_seconds: LeaseOption = None,
    report: ReportOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take every step up to the cut-over: the target is read then, and both sides are written.

    The source is kept until `migrate clean-up`; until then `migrate roll-back` leads back. It may
    be interrupted at any point, and goes on with `migrate resume`; run again, it changes nothing.
    """
    if backup is not None and no_backup:
        raise UsageError("--backup and --no-backup contradict each other")
    if dry_run:
        await plan(session, from_, to, allow_documents, as_json)
        return
    sides = Sides(session, from_, to, lease_seconds)
    archive = None if no_backup else _archive(backup)
    async with sides.open(create=True, report=report) as migration:
        found = await migration.plan(allow_documents=allow_documents)
        if found.phase in ("target", "done"):
            session.note("there is nothing left to do: the target is read already")
        elif await _may_begin(session, found, sides, archive, yes=yes, as_json=as_json):
            steps = migration.run(
                backup=archive,
                allow_documents=allow_documents,
                repair=repair,
                rate=rate,
                cut_over=not no_cut_over,
            )
            await _take(session, migration, steps)
        else:
            return
        done = await migration.report()
    _finish(session, done, sides, as_json)


async def _may_begin(
    session: Session,
    plan: MigrationPlan,
    sides: Sides,
    archive: Path | None,
    *,
    yes: bool,
    as_json: bool,
) -> bool:
    """Show the plan, and ask."""
    if not as_json:
        print_plan(session, plan)
    say_obstacles(session, plan.obstacles)
    if plan.obstacles:
        return False
    say_who_writes(session, plan, sides.lease_seconds)
    if archive is not None and plan.phase == "source":
        session.note(f"The backup goes to {archive}.")
    what = f"{plan.documents:,} documents, about {size(plan.size_bytes)}"
    if yes or session.confirm(f"Move {what}?"):
        return True
    session.note("nothing was done")
    return False


async def resume(
    session: Session,
    from_: FromOption = None,
    to: ToOption = None,
    no_cut_over: StopOption = False,
    repair: RepairOption = False,
    rate: RateOption = None,
    lease_seconds: LeaseOption = None,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a migration that was interrupted, up to the cut-over."""
    sides = Sides(session, from_, to, lease_seconds)
    async with sides.open(report=report) as migration:
        status = await migration.status()
        if status.phase == "source":
            raise MigrationError(
                f"no migration is under way between these sides; begin one: {sides.command('run')}"
            )
        if status.phase in ("target", "done"):
            session.note("there is nothing left to do: the target is read already")
        else:
            if status.running:
                session.note(
                    "a process is at it, or was killed; that is told within "
                    f"{3 * sides.lease_seconds:g} seconds …"
                )
            steps = migration.run(
                allow_documents=True, repair=repair, rate=rate, cut_over=not no_cut_over
            )
            await _take(session, migration, steps)
        done = await migration.report()
    _finish(session, done, sides, as_json)


async def _take(session: Session, migration: Migration, steps: Awaitable[object]) -> None:
    """Take steps, and name what the target does not get or has otherwise, however it ends."""
    try:
        await steps
    finally:
        for step in migration.steps:
            if step.backfilled is not None:
                reasons = [
                    f"{each.collection}{'' if each.id is None else f'/{each.id}'}: {each.reason}"
                    for each in step.backfilled.problems
                ]
                _name(session, "not copied: ", reasons, step.backfilled.problem_count)
        if migration.steps and (found := migration.steps[-1].compared) is not None:
            reasons = [f"{each.collection}/{each.id} is {each.kind}" for each in found.differences]
            _name(session, "differs: ", reasons, found.difference_count)


def _name(session: Session, what: str, reasons: Sequence[str], count: int) -> None:
    for reason in reasons[:PROBLEMS_SHOWN]:
        session.fail(ExitCode.DAMAGED, what + reason)
    if count > PROBLEMS_SHOWN:
        session.note(f"… and {count - PROBLEMS_SHOWN:,} more; --report names the first 1,000")


def _finish(session: Session, found: MigrationReport, sides: Sides, as_json: bool) -> None:
    """Say where it is, and what leads on and back, when the bars have ended."""
    if as_json:
        print_json(found)
        return
    status = found.status
    if status is None:
        return  # A side went away in this moment; everything was done.
    compared = [step.compared for step in found.steps if step.compared is not None]
    if compared:
        session.note(f"{compared[-1].documents:,} documents compared: both sides are alike")
    if status.phase == "dual":
        session.note(
            f"both sides are written, the source is read; next: {sides.command('cut-over')}"
        )
    elif status.phase == "target":
        session.note("both sides are written, the target is read; nothing is removed")
        session.note(f"back: {sides.command('roll-back')}")
        session.note(f"end it, and empty the source: {sides.command('clean-up')}")


def _archive(asked: Path | None) -> Path:
    """The file of the backup, which must not be there."""
    if asked is None:
        stem = f"before-migration-{strftime('%Y%m%d-%H%M', localtime())}"
        name, number = Path(f"{stem}.zip"), 2
        while name.exists():
            name, number = Path(f"{stem}-{number}.zip"), number + 1
        return name
    if asked.exists():
        raise UsageError(f"{asked} exists; choose another name for the backup")
    if not asked.absolute().parent.is_dir():
        raise UsageError(f"--backup: there is no folder {asked.absolute().parent}")
    return asked
