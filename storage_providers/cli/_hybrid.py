"""The commands below `hybrid`: what stands between two sides, and what became of conflicts."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
import typer

from storage_providers._clock import format_timestamp
from storage_providers.cli._errors import ExitCode, UsageError
from storage_providers.cli._options import JsonOption, YesOption
from storage_providers.cli._output import Format, open_writer, print_facts, print_json
from storage_providers.cli._progress import progress_bar
from storage_providers.cli._session import Session, command
from storage_providers.errors import ConfigurationError, ItemNotFoundError, TransportError
from storage_providers.layers import below_layers, stored_name
from storage_providers.maintenance import error_name
from storage_providers.protocol import Address, Item, JsonObject, Query

if TYPE_CHECKING:
    from storage_providers.base import Provider
    from storage_providers.conflicts import ConflictRecord, Stored
    from storage_providers.providers.hybrid import HybridProvider

__all__ = ["register"]

PANEL = "Check"
PAGE = 100

URL = "'hybrid:?primary=r2://valet-data&fallback=file:./copies&journal=journal.db'"

NumberArgument = Annotated[
    int, typer.Argument(metavar="NUMBER", help="Its number in the log.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application, below `hybrid`.

    Args:
        app: The application.
    """
    group = typer.Typer(
        help="Look after a primary and the fallback that stands in for it.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    for name, (function, examples) in _COMMANDS.items():
        command(group, name, examples=examples, panel=PANEL)(function)
    app.add_typer(group, name="hybrid", rich_help_panel=PANEL)


# --- status, fill, replay ------------------------------------------------------------------------


async def status(session: Session, as_json: JsonOption = False) -> None:
    """Say whether the primary answers, what it does not have yet, and how good the copies are."""
    async with _open(session) as (_, hybrid):
        error = await _try_primary(hybrid)
        found = await hybrid.status()
        facts: JsonObject = {
            "primary": _place(hybrid.primary),
            "fallback": _place(hybrid.fallback),
            "journal": hybrid.journal,
            "reachable": error is None,
            "error": error or found.error,
            "pending": found.pending,
            "oldest_pending": _when(found.oldest_pending_ms),
            "complete": found.complete,
            "filled": _when(found.filled_ms),
            "doubts": found.doubts,
            "conflicts": found.conflicts,
            "refused": found.refused,
        }
    _report(facts, as_json)


async def _try_primary(hybrid: HybridProvider) -> str | None:
    """Name of the error that the primary can't be reached with, if that is so."""
    from storage_providers.providers.hybrid import is_open

    if not is_open(hybrid.primary):
        found = (await hybrid.status()).error
        return found or "TransportError"
    try:
        await hybrid.primary.read([Address("hybrid_check", "none")])
    except TransportError as error:
        return error_name(error)
    return None


async def fill(
    session: Session,
    adopt: Annotated[
        bool,
        typer.Option(
            "--adopt",
            help="Take over documents that the fallback holds already: what the primary has "
            "otherwise is replaced, and what it lacks is removed.",
            show_default=False,
        ),
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy everything to the fallback, so that it answers queries and misses in an outage.

    It can be stopped at any time and begun again; what is there already is not written again.
    """
    if (
        adopt
        and not yes
        and not session.confirm(
            "Documents that the fallback holds and the primary lacks will be removed. Fill it?"
        )
    ):
        session.note("nothing was done")
        return
    async with _open(session, create=True, adopt=adopt) as (_, hybrid):
        total = await _count(hybrid) if sys.stderr.isatty() else None
        with progress_bar("filling", total) as on_progress:
            filled = await hybrid.fill(on_progress=on_progress)
    _report(msgspec.to_builtins(filled), as_json)
    if filled.corrupt:
        session.fail(
            ExitCode.DAMAGED, f"{filled.corrupt} damaged documents of the primary have no copy"
        )


async def _count(hybrid: HybridProvider) -> int:
    names = await hybrid.primary.collections()
    pages = await hybrid.primary.query([Query(name, limit=0, total=True) for name in names])
    return sum(page.total or 0 for page in pages)


async def replay(session: Session, as_json: JsonOption = False) -> None:
    """Bring what the fallback took to the primary now, and settle conflicts.

    It happens by itself as soon as a program uses the hybrid. It can be stopped at any time and
    begun again: what has arrived is not written again.
    """
    async with _open(session) as (_, hybrid):
        before = await hybrid.status()
        with progress_bar("replaying", before.pending) as on_progress:
            replayed = await hybrid.replay(on_progress=on_progress)
        after = await hybrid.status()
    refused = after.refused - before.refused
    facts: JsonObject = {
        "replayed": replayed,
        "conflicts": after.conflicts - before.conflicts - refused,
        "refused": refused,
    }
    _report(facts, as_json)
    if refused:
        session.fail(
            ExitCode.FAILED,
            f"the primary refused {refused} documents; the log keeps them: hybrid conflicts",
        )


# --- conflicts -----------------------------------------------------------------------------------


async def conflicts(
    session: Session,
    numbers: Annotated[
        list[int] | None,
        typer.Argument(metavar="[NUMBER…]", help="Only these; without, all.", show_default=False),
    ] = None,
    documents: Annotated[
        bool,
        typer.Option(
            "--documents",
            help="Also print what each side held, what both had before, and what was kept.",
            show_default=False,
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the log of conflicts, oldest first; without contents, unless they are asked for."""
    count = 0
    async with _open(session) as (provider, hybrid):
        prefix = stored_name(provider, "")
        form = Format.JSON if as_json else Format.JSONL if documents else Format.TABLE
        records = _records(hybrid, prefix, numbers)
        fields = None if documents else [*_ROW[1:]]
        with open_writer(form, fields, session.note, key="number") as writer:
            async for page in records:
                count += len(page)
                writer.write([_item(record, prefix, documents) for record in page])
    if not count and not as_json:
        session.note("no conflicts")


async def undo(
    session: Session,
    number: NumberArgument,
    keep: Annotated[
        Literal["primary", "fallback"],
        typer.Option("--keep", help="The side whose document is to stand.", show_default=False),
    ],
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put one side of a conflict in place of what the policy decided.

    Nothing is done if the document was changed since.
    """
    async with _open(session) as (provider, hybrid):
        prefix = stored_name(provider, "")
        record = await _record(hybrid, prefix, number)
        conflict = record.conflict
        name = f"{conflict.collection.removeprefix(prefix)}/{conflict.id}"
        effect = "is removed" if record.side(keep) is None else f"becomes what the {keep} had"
        if not yes and not session.confirm(f"{name} {effect}. Do it?"):
            session.note("nothing was done")
            return
        await hybrid.undo_conflict(number, keep=keep)
    if as_json:
        _report({"number": number, "kept": keep}, as_json=True)
    else:
        session.note(f"{name} {effect}")


_ROW = ("number", "collection", "id", "policy", "state", "when", "error")


async def _records(
    hybrid: HybridProvider, prefix: str, numbers: list[int] | None
) -> AsyncIterator[list[ConflictRecord]]:
    """The log, a page at a time, as far as it is of this part of the hybrid."""
    if numbers:
        yield [await _record(hybrid, prefix, number) for number in dict.fromkeys(numbers)]
        return
    after = 0
    while page := await hybrid.conflicts(after=after, limit=PAGE):
        after = page[-1].number
        yield [record for record in page if record.conflict.collection.startswith(prefix)]


async def _record(hybrid: HybridProvider, prefix: str, number: int) -> ConflictRecord:
    found = await hybrid.conflicts(after=number - 1, limit=1) if number > 0 else []
    for record in found:
        if record.number == number and record.conflict.collection.startswith(prefix):
            return record
    raise ItemNotFoundError(f"there is no conflict {number} in the log")


def _item(record: ConflictRecord, prefix: str, documents: bool) -> Item:
    """A record as a row."""
    conflict = record.conflict
    values = (
        record.number,
        conflict.collection.removeprefix(prefix),
        conflict.id,
        record.policy,
        record.state,
        _when(record.seen_ms),
        record.error,
    )
    row: JsonObject = dict(zip(_ROW, values, strict=True))
    if documents:
        row |= {
            "primary": _document(conflict.primary),
            "fallback": _document(conflict.fallback),
            "base": _document(conflict.base),
            "base_known": conflict.base_known,
            "kept": _document(record.resolution.stored),
            "beside": [_document(copy) for copy in record.resolution.copies],
        }
    return Item("", str(record.number), "", msgspec.json.encode(row))


def _document(stored: Stored | None) -> msgspec.Raw | None:
    return None if stored is None else msgspec.Raw(stored.body)


# --- helpers -------------------------------------------------------------------------------------


@asynccontextmanager
async def _open(
    session: Session, *, create: bool = False, adopt: bool = False
) -> AsyncGenerator[tuple[Provider, HybridProvider]]:
    """The provider, opened, and the hybrid below its layers."""
    hybrid = _hybrid_of(session.provider())
    if not create:
        _check_journal(hybrid.journal)
    options = {"adopt_fallback": True} if adopt else {}
    async with session.open(**options) as provider:
        yield provider, _hybrid_of(provider)


def _check_journal(path: str) -> None:
    """Refuse a journal that is not there: a mistyped path is no empty journal."""
    if not Path(path).exists():
        raise ConfigurationError(
            f"there is no journal at {path}; check the path; the first write through the hybrid "
            "makes it, and so does hybrid fill"
        )


def _hybrid_of(provider: Provider) -> HybridProvider:
    """The hybrid below layers."""
    from storage_providers.providers.hybrid import HybridProvider

    own = below_layers(provider)
    if not isinstance(own, HybridProvider):
        raise UsageError(
            f"this is for two providers as one, not for {own.name}; name both sides, as in "
            f"--url {URL}, or set STORAGE_PROVIDERS_PROVIDER=hybrid"
        )
    return own


def _place(side: Provider) -> str:
    """A side as people know it: what it is, and where if it is on this machine."""
    own = below_layers(side)
    path = getattr(own, "root", None) or getattr(own, "path", None)
    return f"{side!r} {path}" if isinstance(path, str) else f"{side!r}"


def _when(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_timestamp(at_ms)


def _report(facts: JsonObject, as_json: bool) -> None:
    """Print facts, a line each for people."""
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


_COMMANDS: Final[Mapping[str, tuple[Callable[..., Awaitable[None]], tuple[str, ...]]]] = {
    "status": (
        status,
        (f"storage-providers -u {URL} hybrid status", "storage-providers hybrid status --json"),
    ),
    "fill": (
        fill,
        ("storage-providers hybrid fill", "storage-providers hybrid fill --adopt --yes"),
    ),
    "replay": (
        replay,
        ("storage-providers hybrid replay", "storage-providers hybrid replay --json"),
    ),
    "conflicts": (
        conflicts,
        (
            "storage-providers hybrid conflicts",
            "storage-providers hybrid conflicts 3 --documents",
            "storage-providers hybrid conflicts --json",
        ),
    ),
    "undo": (
        undo,
        (
            "storage-providers hybrid undo 3 --keep fallback",
            "storage-providers hybrid undo 3 --keep primary --yes",
        ),
    ),
}
"""The commands with the ends of their help."""
