"""The command `erase`: everything that is kept of one user or tenant, for good."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from storage_providers.cli._confirming import confirm_by_typing
from storage_providers.cli._errors import ExitCode
from storage_providers.cli._options import JsonOption
from storage_providers.cli._output import print_json, print_rows
from storage_providers.cli._progress import progress_bar
from storage_providers.cli._session import Session, command
from storage_providers.estimates import Estimate, Estimating, Workload
from storage_providers.layers import below_layers
from storage_providers.maintenance import Paired
from storage_providers.protocol import JsonObject

if TYPE_CHECKING:
    from storage_providers.base import Provider
    from storage_providers.transfer.erasing import ErasureReport

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this command to the application.

    Args:
        app: The application.
    """
    command(
        app,
        "erase",
        examples=(
            "storage-providers erase --scope user-7 --dry-run",
            "storage-providers erase --scope user-7",
            "storage-providers erase --scope user-7 --confirm user-7 --json",
        ),
        panel="Move",
    )(erase)


WholeScopeOption = Annotated[
    str,
    typer.Option(
        "--scope",
        help="What to erase, with all scopes inside it: user-7.",
        show_default=False,
    ),
]
CountOnlyOption = Annotated[
    bool, typer.Option("--dry-run", help="Remove nothing, only count.", show_default=False)
]
ConfirmOption = Annotated[
    str | None,
    typer.Option(
        "--confirm",
        metavar="SCOPE",
        help="The scope once more, instead of typing it.",
        show_default=False,
    ),
]


async def erase(
    session: Session,
    scope: WholeScopeOption,
    dry_run: CountOnlyOption = False,
    confirm: ConfirmOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove everything that is kept of one user or tenant, for good.

    Documents, declarations, index entries and backups go; what may remain elsewhere is named. Stop
    whoever writes to the scope first. Stopped on the way, it goes on when it is called again.
    """
    from storage_providers.transfer.erasing import erase_scope

    async with session.open() as provider:
        report = await erase_scope(provider, scope, dry_run=True)
        total = sum(report.removed.values())
        if dry_run or not report.removed:
            _print(session, report, as_json)
            _note_cost(session, provider, report)
            return
        counted = f"{total:,} documents in {len(report.removed):,} collections of {scope!r}"
        confirm_by_typing(f"Erase {counted}, for good?", scope, confirm, "--confirm")
        with progress_bar("erasing", total) as on_progress:
            report = await erase_scope(provider, scope, on_progress=on_progress)
    _print(session, report, as_json)
    _conclude(session, report)


def _conclude(session: Session, report: ErasureReport) -> None:
    """Say what may remain elsewhere, and what is there again."""
    for sentence in report.remains:
        session.note(f"remains: {sentence}")
    for name, count in report.left.items():
        session.fail(
            ExitCode.CONFLICT,
            f"{name}: {count:,} documents are there again; stop who writes them, and erase again",
        )
    if not report.left:
        session.note(f"erased {sum(report.removed.values()):,} documents of {report.scope!r}")


def _print(session: Session, report: ErasureReport, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        rows: list[JsonObject] = [
            {"collection": name, "documents": count}
            for name, count in sorted(report.removed.items())
        ]
        print_rows(rows, session.note)
    if not report.removed:
        session.note(f"nothing is kept of {report.scope!r}")


def _note_cost(session: Session, provider: Provider, report: ErasureReport) -> None:
    works = [
        Workload(documents_listed=count, documents_deleted=count)
        for count in report.removed.values()
    ]
    cost = Estimate.together(own.estimate(work) for own in _estimating(provider) for work in works)
    if cost.requests:
        session.note(
            f"erasing takes about {cost.requests:,} calls, {cost.usd:.2f} US dollars ({cost.basis})"
        )
    if report.removed:
        session.note("dry run: nothing was removed")


def _estimating(provider: Provider) -> Iterator[Estimating]:
    """Those that will be called and can tell what that costs: of a pair, both sides."""
    own = below_layers(provider)
    if isinstance(own, Paired):
        for side in own.sides.values():
            yield from _estimating(side)
    elif isinstance(own, Estimating):
        yield own
