"""Reports of imports, for people and for programs."""

from __future__ import annotations

from storage_providers.cli._errors import ExitCode
from storage_providers.cli._output import print_json, print_rows
from storage_providers.cli._session import Session
from storage_providers.protocol import ImportReport, JsonObject

__all__ = ["print_import"]


def print_import(session: Session, report: ImportReport, as_json: bool) -> None:
    """Print what became of every collection; problems go to stderr and set the exit code.

    Args:
        session: The run of the command.
        report: What was done.
        as_json: Whether a program reads it.
    """
    if as_json:
        print_json(report)
    else:
        names = sorted({*report.created, *report.updated, *report.unchanged, *report.kept})
        rows: list[JsonObject] = [
            {
                "collection": name,
                "created": report.created.get(name, 0),
                "updated": report.updated.get(name, 0),
                "unchanged": report.unchanged.get(name, 0),
                "kept": report.kept.get(name, 0),
            }
            for name in names
        ]
        print_rows(rows, session.note)
    for problem in report.problems:
        session.fail(ExitCode.DAMAGED, f"{problem.origin}: {problem.reason}")
    if report.dry_run:
        session.note("dry run: nothing was written")
    elif not (report.created or report.updated):
        session.note("nothing was changed: everything is there already")
