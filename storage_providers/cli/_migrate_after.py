"""The commands of `migrate` for one step each: `status`, `verify`, `cut-over` and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from storage_providers.cli._confirming import types_name
from storage_providers.cli._errors import ExitCode, UsageError
from storage_providers.cli._migrate_plan import PHASES
from storage_providers.cli._migrate_sides import (
    FromOption,
    JsonOption,
    LeaseOption,
    ReportOption,
    Sides,
    ToOption,
)
from storage_providers.cli._options import YesOption, YesToNameOption
from storage_providers.cli._output import print_facts, print_json, print_rows
from storage_providers.cli._session import Session, command
from storage_providers.errors import MigrationError
from storage_providers.protocol import JsonObject, Query

if TYPE_CHECKING:
    from storage_providers.transfer.migration import Comparison, Migration, MigrationStatus

__all__ = ["add_to"]

SIDES = "--from file:./data --to r2://valet-data"


def add_to(group: typer.Typer) -> None:
    """Add these commands to the group `migrate`.

    Args:
        group: The group.
    """

    def add(name: str, *options: str) -> Any:
        lines = [f"storage-providers migrate {name} {SIDES}{each}" for each in ("", *options)]
        return command(group, name, examples=lines, panel="Move")

    add("status", " --json")(status)
    add("verify", " --repair")(verify)
    add("cut-over", " --yes")(cut_over)
    add("roll-back", " --repair --yes")(roll_back)
    add("clean-up", " --yes --name file:./data")(clean_up)


# --- status and verify -------------------------------------------------------------------------


async def status(
    session: Session, from_: FromOption = None, to: ToOption = None, as_json: JsonOption = False
) -> None:
    """Say where a migration is, and which step comes next."""
    sides = Sides(session, from_, to)
    async with sides.open() as migration:
        found = await migration.status()
    _print_status(found, as_json)


def _print_status(found: MigrationStatus, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    facts = {**msgspec.structs.asdict(found), "phase": PHASES[found.phase]}
    facts["copied"] = f"{found.copied:,}{', complete' if found.copy_complete else ''}"
    facts["programs may write"] = facts.pop("live")
    facts["next"] = facts.pop("following")
    del facts["copy_complete"]
    print_facts(facts)


RepairFollowerOption = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Bring the side that is not read to what the other has; what it alone has is "
        "removed from it.",
        show_default=False,
    ),
]


async def verify(
    session: Session,
    from_: FromOption = None,
    to: ToOption = None,
    repair: RepairFollowerOption = False,
    lease_seconds: LeaseOption = None,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every document of both sides, while programs go on writing.

    Differences are listed, the first 1,000 of them; if any are left, the exit code is 4.
    """
    sides = Sides(session, from_, to, lease_seconds)
    async with sides.open(again="verify", report=report) as migration:
        found = await migration.verify(repair=repair)
    if as_json:
        print_json(found)
    else:
        _print_differences(session, found)
    _judge(session, found)


def _print_differences(session: Session, found: Comparison) -> None:
    rows: list[JsonObject] = [
        {"document": f"{each.collection}/{each.id}", "is": each.kind} for each in found.differences
    ]
    print_rows(rows, session.note)
    if found.difference_count > len(rows):
        session.note(f"… and {found.difference_count - len(rows):,} more")


def _judge(session: Session, found: Comparison) -> None:
    if found.repaired:
        session.note(f"{found.repaired:,} documents were repaired")
    if found.unreadable_count:
        session.fail(ExitCode.DAMAGED, f"{found.unreadable_count:,} documents can't be read")
    if found.difference_count:
        session.fail(
            ExitCode.CONFLICT,
            f"{found.difference_count:,} of {found.documents:,} documents differ",
        )
    else:
        session.note(f"{found.documents:,} documents compared: both sides are alike")


# --- there and back ----------------------------------------------------------------------------


async def cut_over(
    session: Session,
    from_: FromOption = None,
    to: ToOption = None,
    lease_seconds: LeaseOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have the target read, and judge conditions, from now on; both sides are still written.

    Writers wait for about a lease. It needs a comparison that found both sides alike.
    """
    sides = Sides(session, from_, to, lease_seconds)
    async with sides.open(again="cut-over") as migration:
        found = await migration.status()
        if found.phase == "target":
            session.note("the target is read already")
        elif not yes and not session.confirm("From now on the target is read. Do it?"):
            session.note("nothing was done")
            return
        else:
            await migration.cut_over()
        _print_status(await migration.status(), as_json)


RepairSourceOption = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="If the target is read: bring the source to what it has first.",
        show_default=False,
    ),
]


async def roll_back(
    session: Session,
    from_: FromOption = None,
    to: ToOption = None,
    repair: RepairSourceOption = False,
    lease_seconds: LeaseOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go back one step: the source is read again; from there, it alone is written again."""
    sides = Sides(session, from_, to, lease_seconds)
    async with sides.open(again="roll-back") as migration:
        found = await migration.status()
        question = _BACK.get(found.phase)
        if question is None:
            raise MigrationError(f"there is nothing to go back to from the phase {found.phase!r}")
        if not yes and not session.confirm(f"{question} Do it?"):
            session.note("nothing was done")
            return
        await migration.roll_back(repair=repair)
        _print_status(await migration.status(), as_json)


_BACK = {
    "target": "Both sides are compared, then the source is read again.",
    "switching": "The side that is read stays the one it was.",
    "dual": "Writes go to the source alone again; what the target holds is kept, and not used.",
}


# --- the end -----------------------------------------------------------------------------------


NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="The source as --from names it; nothing is done if it is another.",
        show_default=False,
    ),
]


async def clean_up(
    session: Session,
    from_: FromOption = None,
    to: ToOption = None,
    name: NameOption = None,
    lease_seconds: LeaseOption = None,
    report: ReportOption = None,
    yes: YesToNameOption = False,
    as_json: JsonOption = False,
) -> None:
    """End a migration: compare once more, then remove every document of the source for good.

    You are asked to type the source's name first. Programs may name the target alone from then on.
    """
    if yes and name is None:
        raise UsageError("--yes needs --name with the source's name, so that it is the right one")
    sides = Sides(session, from_, to, lease_seconds)
    async with sides.open(again="clean-up", report=report) as migration:
        wanted = sides.name_of(migration.source)
        if name is not None and name != wanted:
            raise UsageError(f"--name is {name!r}, but the source is {wanted!r}; nothing was done")
        if not await _is_ready(session, migration):
            return
        await _warn(session, migration, wanted)
        if not yes and not types_name(wanted):
            session.fail(ExitCode.FAILED, "that is not its name; nothing was done")
            return
        cleaned = await migration.clean_up()
    if as_json:
        print_json(cleaned)
    else:
        session.note(
            f"{cleaned.documents:,} documents in {cleaned.collections} collections were removed; "
            "the target stands alone"
        )


async def _is_ready(session: Session, migration: Migration) -> bool:
    """Whether the target leads, and has everything."""
    found = await migration.status()
    if found.phase == "done":
        return True  # An earlier one was interrupted while it removed.
    if found.phase != "target":
        raise MigrationError(
            f"the source is still read (phase {found.phase!r}), so nothing is removed from it"
        )
    compared = await migration.verify()
    if compared.difference_count:
        _print_differences(session, compared)
    _judge(session, compared)
    return not compared.difference_count


async def _warn(session: Session, migration: Migration, name: str) -> None:
    names = await migration.source.collections()
    pages = await migration.source.query([Query(each, limit=0, total=True) for each in names])
    counts = {each: page.total or 0 for each, page in zip(names, pages, strict=True)}
    collections = ", ".join(f"{each} ({count:,})" for each, count in list(counts.items())[:20])
    more = f" and {len(counts) - 20} more collections" if len(counts) > 20 else ""
    session.note(
        f"Removed from {name} for good: {sum(counts.values()):,} documents: {collections}{more}."
    )
    session.note("There is no way back afterwards.")
