"""The command `declare`: indexes, text fields, time to live and size limit of a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from storage_providers.cli._errors import UsageError
from storage_providers.cli._indexes import indexing
from storage_providers.cli._options import CollectionArgument
from storage_providers.cli._output import print_json
from storage_providers.cli._progress import progress_bar
from storage_providers.cli._session import Session, command
from storage_providers.layers import stored_name
from storage_providers.maintenance import IndexStatus
from storage_providers.protocol import CollectionSpec, Index

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this command to the application.

    Args:
        app: The application.
    """
    command(
        app,
        "declare",
        examples=(
            "storage-providers declare todos",
            "storage-providers declare todos --index status,due --index=-updatedAt --each tags",
            "storage-providers declare daily_journals --text entries --text mood",
            "storage-providers declare sessions --ttl 3600 --max-bytes 100000",
            "storage-providers -u r2://valet-data declare todos --index status,due --wait",
        ),
        panel="Change",
    )(declare)


IndexOption = Annotated[
    list[str] | None,
    typer.Option(
        "--index",
        metavar="A,-B",
        help="Index over these fields, - in front for descending. Can be repeated.",
        show_default=False,
    ),
]
EachOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD",
        help="Index over each member of this array, for $contains. Can be repeated.",
        show_default=False,
    ),
]
TextOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD", help="Search it with $text. Can be repeated.", show_default=False
    ),
]
TtlOption = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="New documents expire so much later.", show_default=False),
]
MaxBytesOption = Annotated[
    int | None,
    typer.Option(metavar="BYTES", help="Refuse larger documents.", show_default=False),
]
NothingOption = Annotated[
    bool, typer.Option("--nothing", help="Take the declaration back.", show_default=False)
]
WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Where indexes take time (r2:), wait until they are ready; some minutes.",
        show_default=False,
    ),
]


async def declare(
    session: Session,
    collection: CollectionArgument,
    index: IndexOption = None,
    each: EachOption = None,
    text: TextOption = None,
    ttl: TtlOption = None,
    max_bytes: MaxBytesOption = None,
    nothing: NothingOption = False,
    wait: WaitOption = False,
) -> None:
    """Declare indexes, text fields, time to live and size limit; without options, show them.

    A declaration replaces the one before: name everything that is to hold from now on.
    """
    spec = CollectionSpec(
        collection=collection,
        indexes=(
            *(Index(_names(fields)) for fields in index or ()),
            *(Index((field,), each=True) for field in each or ()),
        ),
        text_fields=tuple(text or ()),
        default_ttl_seconds=ttl,
        max_document_bytes=max_bytes,
    )
    empty = CollectionSpec(collection=collection)
    if nothing and spec != empty:
        raise UsageError("--nothing goes with no other option")
    async with session.open(create=True) as provider:
        before = await provider.declared(collection)
        if spec == empty and not nothing:
            if before is None:
                session.note(f"nothing is declared about {collection}")
            spec = before or empty
        else:
            with progress_bar(f"indexing {collection}"):
                await provider.declare(spec)
            session.note("declared" if before != spec else "declared already")
        await _show_indexes(session, provider, collection, wait)
    print_json(spec)


async def _show_indexes(session: Session, provider: Provider, collection: str, wait: bool) -> None:
    """Say how far its indexes are, where they take time; wait for them first, if asked to."""
    engine = indexing(provider)
    if engine is None:
        return
    name = stored_name(provider, collection)
    if wait:
        with progress_bar(f"building the indexes of {collection}") as on_progress:
            await engine.build_indexes(name, on_progress)
    _note_states(session, await engine.index_states(name))


def _note_states(session: Session, states: list[IndexStatus]) -> None:
    for each in states:
        session.note(f"index {each.index}: {each.state}, since {each.since}")
    if any(each.state == "building" for each in states):
        session.note(
            "until it is ready, queries read every document; a program that stays connected, or "
            "declare --wait, makes it ready"
        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))
