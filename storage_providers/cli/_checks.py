"""What was tried, printed; for `doctor` and `provision`."""

from __future__ import annotations

from collections.abc import Sequence

from storage_providers.cli._errors import exit_code_named
from storage_providers.cli._output import emit
from storage_providers.cli._session import Session
from storage_providers.cli._text import visible
from storage_providers.maintenance import Check

__all__ = ["note_failures", "print_checks"]


def print_checks(checks: Sequence[Check]) -> None:
    """Print a line for each check: `ok`, `warn` where it deserves a look, `FAILED`.

    Args:
        checks: What was tried.
    """
    for check in checks:
        state = "FAILED" if not check.ok else "ok    " if check.advice is None else "warn  "
        advice = "" if check.advice is None else f"; {check.advice}"
        emit(visible(f"{state}  {check.name}: {check.detail}{advice}") + "\n")


def note_failures(session: Session, checks: Sequence[Check]) -> None:
    """Say how many failed, and let the command end with the highest of their codes.

    Args:
        session: The command's run.
        checks: What was tried.
    """
    failed = [check for check in checks if not check.ok]
    if failed:
        codes = (exit_code_named(check.error) for check in failed)
        session.exit_code = max(session.exit_code, *codes)
        session.note(f"{len(failed)} of {len(checks)} checks failed")
