"""The command `migrate legacy`: data that other programs left, into any provider."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from storage_providers.cli._errors import UsageError
from storage_providers.cli._options import DryRunOption, JsonOption
from storage_providers.cli._progress import progress_bar
from storage_providers.cli._reports import print_import
from storage_providers.cli._session import Session, command
from storage_providers.protocol import ImportReport

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["add_to", "import_with_progress"]


def add_to(group: typer.Typer) -> None:
    """Add the command `legacy` to the group `migrate`.

    Args:
        group: The group.
    """
    command(
        group,
        "legacy",
        examples=(
            "storage-providers migrate legacy ~/valet-data --to sqlite:valet.db --dry-run",
            "storage-providers migrate legacy ~/valet-data --to r2://valet-data",
            "storage-providers migrate legacy ~/old --from valet --to file:./data --json",
        ),
        panel="Move",
    )(legacy)


async def legacy(
    session: Session,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="The folder or file of legacy data.", show_default=False
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="URL",
            help="Where to; without it, what --url or the settings name.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="KIND",
            help="What it is: valet or mastra. Without it, it is recognised.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring in what another program left, with indexes and text fields for its collections.

    Doing it again changes nothing; stopped on the way, it goes on. What can't be read is named, and
    the rest is imported. The legacy data stays as it is.
    """
    if to is not None and session.url not in (None, to):
        raise UsageError("--to and --url name two places; use one of them")
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    session.url = to if to is not None else session.url
    async with session.open(create=True, dry_run=dry_run) as provider:
        report = await import_with_progress(provider, path, kind, dry_run)
    print_import(session, report, as_json)


async def import_with_progress(
    provider: Provider, path: Path, kind: str | None, dry_run: bool
) -> ImportReport:
    """Import legacy data; on a terminal a bar shows how much, how fast and how long.

    Args:
        provider: Where to.
        path: The folder or file.
        kind: What it is; `None`: it is recognised.
        dry_run: Whether nothing is written.

    Raises:
        InvalidArgumentError: It is not recognised.
        StorageError: The provider failed.
    """
    from storage_providers.transfer.legacy import count_records, import_legacy_data, legacy_kind

    found = legacy_kind(path, kind)
    # Counting is reading it all once more: only for someone who looks at the bar.
    total = await count_records(found.source(path, provider)) if sys.stderr.isatty() else None
    with progress_bar("importing", total) as on_progress:
        return await import_legacy_data(
            provider, path, found.name, dry_run=dry_run, on_progress=on_progress
        )
