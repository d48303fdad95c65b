"""The kinds of legacy data that can be brought in, and how each is recognised.

A kind is one entry in `LEGACY_KINDS`: what it looks like on disk, how its source is made, what to
declare for its collections. Whoever adds one needs nothing else; both commands find it here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from storage_providers.agents import AgentStore
from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import ImportReport, LegacySource
from storage_providers.transfer.legacy.mastra import MastraFile, is_mastra_file
from storage_providers.transfer.legacy.valet import TODO_JSON, TODO_MARKDOWN, ValetFolder
from storage_providers.valet import declare_all

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = [
    "LEGACY_KINDS",
    "LegacyKind",
    "count_records",
    "fitting_kinds",
    "import_legacy_data",
    "legacy_kind",
]


class LegacyKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of legacy data.

    Attributes:
        name: What it is called on the command line.
        what: What it is, for people.
        signs: What it is recognised by, for people: any of these.
        fits: Whether a path that exists looks like it; reads no more than it must.
        source: Makes the source of a path, for a provider: ids may be as long as it takes them.
        declare: Called after the import: declares indexes and text fields for its collections,
            those excepted that are declared already, and makes what else they need.
    """

    name: str
    what: str
    signs: str
    fits: Callable[[Path], bool]
    source: Callable[[Path, Provider], LegacySource]
    declare: Callable[[Provider], Awaitable[object]]


_VALET_FILES: Final = (TODO_JSON, TODO_MARKDOWN)
_VALET_FOLDERS: Final = ("days", "archive")


def _is_valet(path: Path) -> bool:
    return any((path / name).is_file() for name in _VALET_FILES) or any(
        (path / name).is_dir() for name in _VALET_FOLDERS
    )


LEGACY_KINDS: Final = (
    LegacyKind(
        name="valet",
        what="the folder of the productivity tool",
        signs=f"{', '.join(_VALET_FILES)}, or a folder {' or '.join(_VALET_FOLDERS)}",
        fits=_is_valet,
        source=lambda path, _: ValetFolder(path),
        declare=lambda provider: declare_all(provider, keep_existing=True),
    ),
    LegacyKind(
        name="mastra",
        what="the LibSQL or SQLite file of Mastra",
        signs="a SQLite file with tables such as mastra_threads",
        fits=is_mastra_file,
        source=lambda path, provider: MastraFile(
            path, max_id_bytes=provider.capabilities.max_id_bytes
        ),
        # Declares, and makes the orders where the provider answers no queries.
        declare=lambda provider: AgentStore(provider).reindex(),
    ),
)
"""All of them, in the order in which they are tried."""


def fitting_kinds(path: str | PathLike[str]) -> list[LegacyKind]:
    """The kinds that a path looks like.

    Args:
        path: A file or folder.
    """
    place = Path(path)
    return [kind for kind in LEGACY_KINDS if place.exists() and kind.fits(place)]


def legacy_kind(path: str | PathLike[str], name: str | None = None) -> LegacyKind:
    """The kind of legacy data at a path.

    Args:
        path: A file or folder.
        name: The kind, where it is known; without, it is recognised.

    Raises:
        InvalidArgumentError: There is nothing, there is no such kind, or the path looks like none
            or like several; the message says what was looked for.
    """
    names = ", ".join(kind.name for kind in LEGACY_KINDS)
    if name is not None:
        for kind in LEGACY_KINDS:
            if kind.name == name:
                return kind
        raise InvalidArgumentError(f"{name!r} is no kind of legacy data; there are {names}")
    if not Path(path).exists():
        raise InvalidArgumentError(f"there is nothing at {path}")
    found = fitting_kinds(path)
    if len(found) == 1:
        return found[0]
    if found:
        like = " and ".join(kind.name for kind in found)
        raise InvalidArgumentError(
            f"{path} looks like {like}; name the kind (--from on the command line)"
        )
    looked = "; ".join(f"{kind.name} ({kind.what}): {kind.signs}" for kind in LEGACY_KINDS)
    raise InvalidArgumentError(
        f"{path} looks like no legacy data that is known. Looked for {looked}. If it is that all "
        "the same, name the kind (--from on the command line)"
    )


async def count_records(source: LegacySource) -> int:
    """Read a source once, to know how many documents and problems there are.

    Args:
        source: The source, which can be read again.
    """
    count = 0
    async for _ in source.records():
        count += 1
    return count


async def import_legacy_data(
    provider: Provider,
    path: str | PathLike[str],
    kind: str | None = None,
    *,
    dry_run: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Bring in legacy data of any kind, and declare what its collections need.

    Repeating it changes nothing; stopped on the way, it goes on when it is called again.

    Args:
        provider: Where to.
        path: A file or folder.
        kind: What it is; without, it is recognised.
        dry_run: Only report.
        on_progress: Told after each batch how many records were dealt with so far.

    Returns:
        What was created, updated, left as it was, and what could not be read and why.

    Raises:
        InvalidArgumentError: It is not recognised.
        StorageError: The provider failed; what was imported until then stays.
    """
    found = await asyncio.to_thread(legacy_kind, path, kind)
    report = await provider.migrate_legacy_data(
        found.source(Path(path), provider), dry_run=dry_run, on_progress=on_progress
    )
    if not dry_run:
        await found.declare(provider)
    return report
