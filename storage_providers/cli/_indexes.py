"""Commands for indexes that a provider keeps itself: `reindex`, `gc`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from storage_providers.cli._options import CollectionsArgument, JsonOption
from storage_providers.cli._output import print_json, print_rows
from storage_providers.cli._progress import progress_bar
from storage_providers.cli._session import Session, command
from storage_providers.errors import UnsupportedOperationError
from storage_providers.layers import below_layers, stored_name
from storage_providers.maintenance import Indexing
from storage_providers.protocol import JsonObject, Query

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["indexing", "register"]

PANEL = "Check"


def register(app: typer.Typer) -> None:
    """Add these commands to the application.

    Args:
        app: The application.
    """
    command(
        app,
        "reindex",
        examples=(
            "storage-providers -u r2://valet-data/user-7 reindex",
            "storage-providers reindex todos --json",
        ),
        panel=PANEL,
    )(reindex)
    command(
        app,
        "gc",
        examples=(
            "storage-providers -u r2://valet-data/user-7 gc",
            "storage-providers gc sessions --remove-expired",
        ),
        panel=PANEL,
    )(collect)


def indexing(provider: Provider) -> Indexing | None:
    """What keeps its indexes itself, below layers, if it does; it goes by `stored_name`.

    Args:
        provider: The provider, with or without layers.
    """
    own = below_layers(provider)
    return own if isinstance(own, Indexing) else None


def _required(provider: Provider) -> Indexing:
    engine = indexing(provider)
    if engine is None:
        raise UnsupportedOperationError(
            f"{below_layers(provider).name} keeps no indexes that need care: each is up to date "
            "with every write"
        )
    return engine


async def reindex(
    session: Session, collections: CollectionsArgument = None, as_json: JsonOption = False
) -> None:
    """Write the index entries that are missing, where other programs write documents too.

    It can be stopped at any time and begun again; what is there is left alone.
    """
    async with session.open() as provider:
        engine = _required(provider)
        rows: list[JsonObject] = []
        for name in await _names(provider, collections):
            page = (await provider.query([Query(name, limit=0, total=True)]))[0]
            with progress_bar(f"indexing {name}", page.total) as on_progress:
                report = await engine.reindex(stored_name(provider, name), _whole(on_progress))
            rows.append(_row(name, report))
    _print(session, rows, as_json)


async def collect(
    session: Session,
    collections: CollectionsArgument = None,
    remove_expired: Annotated[
        bool,
        typer.Option(
            "--remove-expired",
            help="Also remove expired documents. Only while nobody else writes: a service without "
            "conditional deletes can't tell a renewed one.",
            show_default=False,
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the index entries that interrupted writes and dropped indexes left behind.

    No query needs them, they only cost room. It can be stopped at any time and begun again.
    """
    async with session.open() as provider:
        engine = _required(provider)
        rows: list[JsonObject] = []
        for name in await _names(provider, collections):
            with progress_bar(f"cleaning {name}") as on_progress:
                report = await engine.gc(
                    stored_name(provider, name),
                    remove_expired=remove_expired,
                    on_progress=_whole(on_progress),
                )
            rows.append(_row(name, report))
    _print(session, rows, as_json)


async def _names(provider: Provider, chosen: list[str] | None) -> list[str]:
    return list(dict.fromkeys(chosen)) if chosen else await provider.collections()


def _whole(report: Callable[[int], None]) -> Callable[[int], None]:
    """Progress that only grows: parts done at once may finish in any order."""
    most = 0

    def tell(done: int) -> None:
        nonlocal most
        most = max(most, done)
        report(most)

    return tell


def _row(name: str, report: object) -> JsonObject:
    facts = msgspec.to_builtins(report)
    if isinstance(facts, dict):
        return {"collection": name, **facts}
    return {"collection": name} if facts is None else {"collection": name, "documents": facts}


def _print(session: Session, rows: list[JsonObject], as_json: bool) -> None:
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, session.note)
    if not rows:
        session.note("no collections yet")
