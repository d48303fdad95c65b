"""The command `provision`: makes what a provider needs on its service, and tries it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from storage_providers.cli._checks import note_failures, print_checks
from storage_providers.cli._options import JsonOption
from storage_providers.cli._output import print_json, print_rows
from storage_providers.cli._session import Session, command
from storage_providers.layers import below_layers
from storage_providers.maintenance import Check, Checkable, Provision, Provisionable

if TYPE_CHECKING:
    from storage_providers.base import Provider
    from storage_providers.protocol import JsonObject

__all__ = ["register"]


class Report(msgspec.Struct):
    """What `provision` did.

    Attributes:
        provisions: What is needed, with what became of it.
        checks: What was tried afterwards.
    """

    provisions: list[Provision]
    checks: list[Check]


def register(app: typer.Typer) -> None:
    """Add this command to the application.

    Args:
        app: The application.
    """
    command(
        app,
        "provision",
        examples=(
            "storage-providers provision r2://valet-data/user-7 --dry-run",
            "storage-providers provision r2://valet-data/user-7",
            "storage-providers provision d1://valet-data",
            "storage-providers provision --json",
        ),
        panel="Check",
    )(provision)


async def provision(
    session: Session,
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL]",
            help="What to make ready; without it, what --url or the settings name.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Make nothing, only say what is there.", show_default=False),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make what a provider needs on its service, a bucket or a database, and try each right on it.

    Doing it again changes nothing. Making a bucket needs a token with admin rights; using it does
    not. A D1 database is made by its name.
    """
    if place is not None:
        session.url = place
    provider = session.provider()
    own = below_layers(provider)
    if not isinstance(own, Provisionable):
        report = Report([], [])
        session.note(f"{own.name} needs nothing: its first write makes what is missing")
    else:
        report = Report(await own.provision(dry_run=dry_run), [])
        if not dry_run and isinstance(own, Checkable):
            report.checks = await _try_it(provider, own)
    if as_json:
        print_json(report)
    else:
        rows: list[JsonObject] = [msgspec.to_builtins(each) for each in report.provisions]
        print_rows(rows, session.note)
        print_checks(report.checks)
    if report.provisions:
        _conclude(session, report, dry_run)


async def _try_it(provider: Provider, own: Checkable) -> list[Check]:
    async with provider:
        return await own.checks(write=True)


def _conclude(session: Session, report: Report, dry_run: bool) -> None:
    made = sum(each.state == "made" for each in report.provisions)
    missing = sum(each.state == "missing" for each in report.provisions)
    if dry_run:
        session.note(f"dry run: {missing} to be made, nothing was")
    else:
        session.note(f"{made} made, {len(report.provisions) - made} there already")
    note_failures(session, report.checks)
