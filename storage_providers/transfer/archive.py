"""Archives: any set of collections in one file, and back.

An archive is a zip file: one JSONL member a collection (a document a line, with its id and, if a
layer encoded it, its payload), and `manifest.json` with counts, checksums and declarations.
It is written and read in a stream, so memory stays flat whatever it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

import storage_providers
from storage_providers import _checks
from storage_providers._clock import format_timestamp
from storage_providers._importing import Candidate, Importer, ImportMode
from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import CollectionSpec, ImportReport, Page, Put
from storage_providers.transfer._ahead import one_ahead
from storage_providers.transfer._archive_file import (
    ArchivedCollection,
    ArchiveLimits,
    ArchiveManifest,
    ArchiveReader,
    ArchiveWriter,
)
from storage_providers.transfer._selection import Selected, Selection, selection_of

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = [
    "ArchiveLimits",
    "ArchiveManifest",
    "ArchivedCollection",
    "ImportMode",
    "Selection",
    "chosen_collections",
    "export_archive",
    "import_archive",
    "read_manifest",
    "select_entries",
    "verify_archive",
]

FIRST_PAGE: Final = 100
MAX_PAGE: Final = 1000
PAGE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of a page; its size follows from that of the page before. Two are held at once."""

_MODES: Final = ("create-only", "overwrite", "newest-wins")


async def export_archive(
    provider: Provider,
    path: str | PathLike[str],
    collections: Selected = None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> ArchiveManifest:
    """Write collections to an archive.

    The archive appears under its name when it is complete; an export that is cancelled or killed
    leaves what was there before. It is no snapshot: a document that is written meanwhile is in
    it as it was before or after.

    Args:
        provider: Where the documents are.
        path: The archive to write, in a folder that exists; only its owner may read it.
        collections: Names, with their scopes, or a `Selection`, such as that of one user's scope;
            `None`: all of them.
        overwrite: Whether an archive of this name is replaced.
        on_progress: Told after each page how many documents were written so far.

    Returns:
        What the archive holds. `unreadable` of a collection names documents that are damaged
        where they are stored and so not in the archive.

    Raises:
        InvalidArgumentError: A name is malformed, or the file exists.
        DocumentTooLargeError: A document is larger than a line may be.
        StorageError: The provider failed, or the file can't be written.
    """
    selection = selection_of(collections)
    names = await chosen_collections(provider, selection)
    now = provider.clock.now_ms()
    writer = await asyncio.to_thread(ArchiveWriter, Path(path), now, overwrite)
    try:
        entries: list[ArchivedCollection] = []
        done = 0
        for name in names:
            into = selection.renamed(name)
            entry = await _export_collection(provider, name, into, writer, done, on_progress)
            entries.append(entry)
            done += entry.count
        manifest = ArchiveManifest(
            sdk_version=storage_providers.__version__,
            created_at=format_timestamp(now),
            provider=provider.name,
            collections=tuple(entries),
        )
        await asyncio.to_thread(writer.finish, manifest)
    except BaseException:
        writer.abandon()
        raise
    return manifest


async def read_manifest(
    path: str | PathLike[str], *, limits: ArchiveLimits | None = None
) -> ArchiveManifest:
    """Read what an archive says it holds, without its documents; see `verify_archive`.

    Raises:
        CorruptArchiveError: Its members are not what its manifest says.
        InvalidArgumentError: There is no such file.
    """
    reader = await asyncio.to_thread(ArchiveReader, Path(path), limits or ArchiveLimits())
    reader.close()
    return reader.manifest


async def verify_archive(
    path: str | PathLike[str], *, limits: ArchiveLimits | None = None
) -> ArchiveManifest:
    """Read an archive from end to end and compare it with its checksums.

    Args:
        path: The archive.
        limits: What it may grow to when unpacked.

    Returns:
        What it holds.

    Raises:
        CorruptArchiveError: It is damaged, hostile, or of another format version.
        InvalidArgumentError: There is no such file.
    """
    reader = await asyncio.to_thread(ArchiveReader, Path(path), limits or ArchiveLimits())
    try:
        await asyncio.to_thread(reader.verify)
    finally:
        reader.close()
    return reader.manifest


async def import_archive(
    provider: Provider,
    path: str | PathLike[str],
    mode: ImportMode = "create-only",
    *,
    collections: Selected = None,
    dry_run: bool = False,
    on_progress: Callable[[int], None] | None = None,
    limits: ArchiveLimits | None = None,
) -> ImportReport:
    """Bring the documents of an archive into a provider, exactly as they were.

    The whole archive is verified before anything is written. Documents keep their `createdAt`
    and `updatedAt`; declarations are restored (with `create-only`, where there is none). Doing it
    again changes nothing.

    Args:
        provider: Where to.
        path: The archive.
        mode: What becomes of a document that exists and differs: `create-only` keeps it,
            `overwrite` replaces it, `newest-wins` replaces it if its `updatedAt` is older.
        collections: Names of collections in the archive, with their scopes, or a `Selection`, such
            as that of one user's scope, which can come back as another's; `None`: all.
        dry_run: Only verify, compare and report.
        on_progress: Told after each batch how many documents were dealt with so far.
        limits: What the archive may grow to when unpacked.

    Returns:
        What was created, updated, left as it was, and what could not be stored and why.

    Raises:
        CorruptArchiveError: It is damaged, hostile, or of another format version; nothing was
            written.
        InvalidArgumentError: There is no such file, mode, or collection in it, or nothing of the
            selection.
        StorageError: The provider failed; what was imported until then stays.
    """
    if mode not in _MODES:
        raise InvalidArgumentError(f"{mode!r} is no import mode; use one of {', '.join(_MODES)}")
    selection = selection_of(collections)
    reader = await asyncio.to_thread(ArchiveReader, Path(path), limits or ArchiveLimits())
    try:
        await asyncio.to_thread(reader.verify)
        report = ImportReport(source=f"archive {reader.path.name}", dry_run=dry_run)
        importer = Importer(provider, report, mode=mode, on_progress=on_progress)
        entries = select_entries(reader.manifest, selection)
        for entry in entries:
            await _restore_declaration(provider, entry, selection, importer)
        for entry in entries:
            for reason in entry.unreadable:
                importer.problem(entry.member, f"missing since the export: {reason}")
            await _import_collection(importer, reader, entry, selection.renamed(entry.collection))
        await importer.flush()
        return report
    finally:
        reader.close()


# --- exporting ---------------------------------------------------------------------------------


async def chosen_collections(provider: Provider, selected: Selected = None) -> list[str]:
    """The collections of a provider that are meant.

    Args:
        provider: Where they are.
        selected: Names, with their scopes, or a `Selection`; `None`: all of them.

    Raises:
        InvalidArgumentError: A name is malformed.
        StorageError: The provider failed.
    """
    selection = selection_of(selected)
    names: Iterable[str] | None = selection.collections
    if names is None:
        names = await provider.collections(selection.scope)
    return [name for name in names if selection.takes(name)]


async def _export_collection(
    provider: Provider,
    collection: str,
    into: str,
    writer: ArchiveWriter,
    done: int,
    on_progress: Callable[[int], None] | None,
) -> ArchivedCollection:
    unreadable: list[str] = []
    await asyncio.to_thread(writer.begin, into)
    async with aclosing(_pages(provider, collection)) as pages:
        async for page in pages:
            unreadable += [str(error) for error in page.corrupt]
            await asyncio.to_thread(writer.append, page.items)
            done += len(page.items)
            if on_progress is not None:
                on_progress(done)
    spec = await provider.declared(collection)
    if spec is not None:
        spec = msgspec.structs.replace(spec, collection=into)
    return await asyncio.to_thread(writer.end, into, spec, tuple(unreadable))


def _pages(provider: Provider, collection: str) -> AsyncGenerator[Page]:
    async def fetch(before: Page | None) -> Page | None:
        if before is None:
            return await provider.list_items(collection, limit=FIRST_PAGE)
        if before.cursor is None:
            return None
        size = sum(len(item.body) + len(item.payload or b"") for item in before.items)
        limit = min(MAX_PAGE, max(1, PAGE_BYTES * len(before.items) // max(size, 1)))
        return await provider.list_items(collection, limit=limit, cursor=before.cursor)

    return one_ahead(fetch)


# --- importing ---------------------------------------------------------------------------------


def select_entries(
    manifest: ArchiveManifest, selected: Selected = None
) -> list[ArchivedCollection]:
    """The collections of an archive that are meant.

    Args:
        manifest: What it holds.
        selected: Names, with their scopes, or a `Selection`; `None`: all.

    Raises:
        InvalidArgumentError: One is not there, or nothing is left.
    """
    selection = selection_of(selected)
    entries = {entry.collection: entry for entry in manifest.collections}
    names = list(entries) if selection.collections is None else selection.collections
    held = ", ".join(sorted(entries)) or "no collections"
    for name in names:
        if name not in entries:
            raise InvalidArgumentError(f"the archive holds {held}; there is no {name!r} in it")
    found = [entries[name] for name in names if selection.takes(name)]
    if names and not found:
        raise InvalidArgumentError(f"the archive holds {held}; nothing of that is selected")
    return found


async def _restore_declaration(
    provider: Provider, entry: ArchivedCollection, selection: Selection, importer: Importer
) -> None:
    if entry.spec is None:
        return
    spec = _restorable(provider, entry.spec, importer)
    spec = msgspec.structs.replace(spec, collection=selection.renamed(entry.collection))
    if importer.report.dry_run:
        return
    if importer.mode != "create-only" or await provider.declared(spec.collection) is None:
        await provider.declare(spec)


def _restorable(provider: Provider, spec: CollectionSpec, importer: Importer) -> CollectionSpec:
    """The declaration, without what this provider can't do, which is reported."""
    capabilities = provider.capabilities
    if spec.text_fields and not capabilities.text_search:
        importer.problem(
            f"declaration of {spec.collection}",
            f"{provider.name} has no text_search; declared without its text fields",
        )
        spec = msgspec.structs.replace(spec, text_fields=())
    _checks.check_spec(spec, capabilities)
    return spec


async def _import_collection(
    importer: Importer, reader: ArchiveReader, entry: ArchivedCollection, into: str
) -> None:
    number = 0
    async with aclosing(_chunks(reader, entry)) as chunks:
        async for chunk in chunks:
            for put in chunk:
                number += 1
                origin = f"{entry.member} line {number}"
                await importer.add(Candidate(put.renamed(into), origin))


def _chunks(reader: ArchiveReader, entry: ArchivedCollection) -> AsyncGenerator[list[Put]]:
    chunks = reader.chunks(entry)
    return one_ahead(lambda _: asyncio.to_thread(next, chunks, None))
