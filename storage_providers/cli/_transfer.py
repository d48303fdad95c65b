"""Commands that move collections: `export`, `import`, `verify`."""

from __future__ import annotations

import errno
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from storage_providers.cli._errors import ExitCode, UsageError
from storage_providers.cli._legacy import import_with_progress
from storage_providers.cli._options import (
    CollectionsArgument,
    DryRunOption,
    JsonOption,
    ScopeOption,
)
from storage_providers.cli._output import print_json, print_rows
from storage_providers.cli._progress import progress_bar
from storage_providers.cli._reports import print_import
from storage_providers.cli._session import Session, command
from storage_providers.protocol import ImportReport, JsonObject, Query

if TYPE_CHECKING:
    from storage_providers.base import Provider
    from storage_providers.transfer.archive import ArchiveManifest, ImportMode, Selection

__all__ = ["register"]

PANEL = "Move"


class Kind(StrEnum):
    """What is on the other side."""

    ARCHIVE = "archive"
    VALET = "valet"


class Mode(StrEnum):
    """What becomes of a document that exists and differs."""

    CREATE_ONLY = "create-only"
    OVERWRITE = "overwrite"
    NEWEST_WINS = "newest-wins"


def register(app: typer.Typer) -> None:
    """Add these commands to the application.

    Args:
        app: The application.
    """
    command(
        app,
        "import",
        examples=(
            "storage-providers -u file:./data import ~/valet-data --dry-run",
            "storage-providers -u sqlite:agents.db import backup.zip",
            "storage-providers import backup.zip -c todos --mode newest-wins",
            "storage-providers import backup.zip --scope user-7 --into restored-user-7",
        ),
        panel=PANEL,
    )(import_)
    command(
        app,
        "export",
        examples=(
            "storage-providers -u file:./data export backup.zip",
            "storage-providers export todos.zip todos user-7/todos",
            "storage-providers export user-7.zip --scope user-7 --exclude '*/cache'",
            "storage-providers export ~/valet-copy --as valet",
        ),
        panel=PANEL,
    )(export)
    command(app, "verify", examples=("storage-providers verify backup.zip",), panel=PANEL)(verify)


ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="NAME",
        help="Leave out this collection, or those that fit a pattern: '*/cache'. Can be repeated.",
        show_default=False,
    ),
]


# --- import ------------------------------------------------------------------------------------


SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="An archive, or a folder or file of legacy data.",
        show_default=False,
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="KIND",
        help="What it is: archive, or a kind of legacy data: valet or mastra. Without it, "
        "it is recognised.",
        show_default=False,
    ),
]
ModeOption = Annotated[
    Mode | None,
    typer.Option(
        help="What becomes of documents of an archive that exist and differ: they stay "
        "(create-only, without this option), are replaced, or the newer one wins. "
        "Legacy data is always newest-wins.",
        show_default=False,
    ),
]
CollectionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--collection",
        "-c",
        metavar="NAME",
        help="Only this collection of an archive. Can be repeated.",
        show_default=False,
    ),
]
IntoOption = Annotated[
    str | None,
    typer.Option(
        "--into",
        metavar="SCOPE",
        help="The scope that the collections of --scope come back in; '' for none.",
        show_default=False,
    ),
]


async def import_(
    session: Session,
    path: SourceArgument,
    kind: FromOption = None,
    mode: ModeOption = None,
    collection: CollectionOption = None,
    scope: ScopeOption = None,
    into: IntoOption = None,
    exclude: ExcludeOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring in the documents of an archive or of a folder of legacy data.

    Doing it again changes nothing. What can't be read is named, and the rest is imported.
    """
    _check_exists(path)
    is_archive = kind == Kind.ARCHIVE or (kind is None and _looks_like_an_archive(path))
    selection = _selection(collection, exclude, scope, into)
    if not is_archive and (mode or selection is not None):
        raise UsageError("--mode, --collection, --scope, --into and --exclude are for archives")
    async with session.open(create=True, dry_run=dry_run) as provider:
        if is_archive:
            report = await _import_archive(
                provider, path, (mode or Mode.CREATE_ONLY).value, selection, dry_run
            )
        else:
            report = await import_with_progress(provider, path, kind, dry_run)
    print_import(session, report, as_json)


def _looks_like_an_archive(path: Path) -> bool:
    from storage_providers.transfer.legacy import fitting_kinds

    return path.is_file() and not fitting_kinds(path)


def _selection(
    collections: list[str] | None,
    exclude: list[str] | None,
    scope: str | None,
    into: str | None = None,
) -> Selection | None:
    """What the options select; `None`: everything."""
    from storage_providers.transfer.archive import Selection

    selection = Selection(
        collections=tuple(dict.fromkeys(collections)) if collections else None,
        exclude=tuple(exclude or ()),
        scope=scope,
        into=into,
    )
    return None if selection == Selection() else selection


async def _import_archive(
    provider: Provider,
    path: Path,
    mode: ImportMode,
    selection: Selection | None,
    dry_run: bool,
) -> ImportReport:
    from storage_providers.transfer.archive import import_archive, read_manifest, select_entries

    entries = select_entries(await read_manifest(path), selection)
    total = sum(entry.count for entry in entries)
    with progress_bar("importing", total) as on_progress:
        return await import_archive(
            provider,
            path,
            mode,
            collections=selection,
            dry_run=dry_run,
            on_progress=on_progress,
        )


# --- export and verify -------------------------------------------------------------------------


TargetArgument = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="The archive (or folder) to write.", show_default=False),
]
AsOption = Annotated[Kind, typer.Option("--as", help="What to write.", show_default=True)]
OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what exists.", show_default=False),
]


async def export(
    session: Session,
    path: TargetArgument,
    collections: CollectionsArgument = None,
    scope: ScopeOption = None,
    exclude: ExcludeOption = None,
    kind: AsOption = Kind.ARCHIVE,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write collections to one archive with checksums, or back to the legacy layout."""
    if kind is Kind.VALET:
        if collections or scope is not None or exclude:
            raise UsageError("--as valet takes no collections: it writes all that have a place")
        await _export_valet(session, path, overwrite, as_json)
        return
    _check_writable(path, overwrite)
    from storage_providers.transfer.archive import chosen_collections, export_archive

    selection = _selection(collections, exclude, scope)
    async with session.open() as provider:
        names = await chosen_collections(provider, selection)
        if selection is not None and not names:
            session.fail(ExitCode.NOT_FOUND, "nothing fits the selection; no archive was written")
            return
        pages = await provider.query([Query(name, limit=0, total=True) for name in names])
        total = sum(page.total or 0 for page in pages)
        with progress_bar("exporting", total) as on_progress:
            manifest = await export_archive(
                provider, path, names, overwrite=overwrite, on_progress=on_progress
            )
    _print_manifest(session, manifest, as_json)
    session.note(f"{manifest.count} documents in {path}")


async def _export_valet(session: Session, path: Path, overwrite: bool, as_json: bool) -> None:
    from storage_providers.transfer.legacy.valet_export import export_valet

    async with session.open() as provider:
        with progress_bar("exporting") as on_progress:
            report = await export_valet(
                provider, path, overwrite=overwrite, on_progress=on_progress
            )
    if as_json:
        print_json(report)
    else:
        rows: list[JsonObject] = [
            {"collection": name, "documents": count}
            for name, count in sorted(report.documents.items())
        ]
        print_rows(rows, session.note)
    for problem in report.problems:
        session.fail(ExitCode.DAMAGED, f"{problem.origin}: {problem.reason}")
    session.note(f"{report.files} files in {path}")


async def verify(
    session: Session,
    path: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", help="The archive.", show_default=False)
    ],
    as_json: JsonOption = False,
) -> None:
    """Read an archive from end to end and compare it with its checksums."""
    from storage_providers.transfer.archive import verify_archive

    _check_exists(path)
    with progress_bar("verifying"):
        manifest = await verify_archive(path)
    _print_manifest(session, manifest, as_json)
    session.note(f"{path} is whole: {manifest.count} documents, made {manifest.created_at}")


def _print_manifest(session: Session, manifest: ArchiveManifest, as_json: bool) -> None:
    if as_json:
        print_json(manifest)
    else:
        rows: list[JsonObject] = [
            {
                "collection": entry.collection,
                "documents": entry.count,
                "bytes": entry.size_bytes,
                "sha256": entry.sha256[:16],
            }
            for entry in manifest.collections
        ]
        print_rows(rows, session.note)
    for entry in manifest.collections:
        for reason in entry.unreadable:
            session.fail(ExitCode.DAMAGED, f"not in the archive: {reason}")


def _check_writable(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; choose another name or add --overwrite")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.absolute().parent))


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
