"""Commands for single documents: `get`, `put`, `update`, `rm`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from storage_providers.cli._documents import given_documents
from storage_providers.cli._errors import ExitCode, UsageError
from storage_providers.cli._options import (
    CollectionArgument,
    IdArgument,
    IfVersionOption,
    YesOption,
    parse_object,
)
from storage_providers.cli._output import emit
from storage_providers.cli._progress import progress_bar
from storage_providers.cli._session import Session, command, interruptible
from storage_providers.cli._text import compact_json, indented_json, terminal_json, visible
from storage_providers.errors import BatchError, CorruptItemError, StorageError
from storage_providers.protocol import Item, JsonObject

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["register"]

BATCH_DOCUMENTS = 500
PANEL_LOOK = "Look"
PANEL_CHANGE = "Change"


def register(app: typer.Typer) -> None:
    """Add these commands to the application.

    Args:
        app: The application.
    """
    command(
        app,
        "get",
        examples=(
            "storage-providers get daily_planners 2026-01-31",
            "storage-providers get todos ID1 ID2 --jsonl",
            "storage-providers get todos ID --with-version | jq -r .version",
        ),
        panel=PANEL_LOOK,
    )(get)
    command(
        app,
        "put",
        examples=(
            """storage-providers put todos '{"content": "Water the plants"}'""",
            "storage-providers put todos --file todo.json --create",
            "storage-providers query todos --all --format jsonl | storage-providers put copies",
        ),
        panel=PANEL_CHANGE,
    )(put)
    command(
        app,
        "update",
        examples=("""storage-providers update todos ID '{"status": "completed", "due": null}'""",),
        panel=PANEL_CHANGE,
    )(update)
    command(
        app,
        "rm",
        examples=(
            "storage-providers rm todos ID1 ID2",
            "storage-providers rm todos --all --yes",
        ),
        panel=PANEL_CHANGE,
    )(remove)


IdsArgument = Annotated[
    list[str], typer.Argument(metavar="ID…", help="Ids of documents.", show_default=False)
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="Read it from this file; - is stdin.",
        show_default=False,
    ),
]


# --- get ---------------------------------------------------------------------------------------


async def get(
    session: Session,
    collection: CollectionArgument,
    ids: IdsArgument,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="One document a line.", show_default=False)
    ] = False,
    with_version: Annotated[
        bool,
        typer.Option(
            "--with-version",
            help="""Print {"version": …, "document": …}.""",
            show_default=False,
        ),
    ] = False,
) -> None:
    """Print documents by their ids, as JSON."""
    async with session.open() as provider:
        results = await _read(provider, collection, ids)
    for item_id, result in zip(ids, results, strict=True):
        if isinstance(result, StorageError):
            session.problem(result)
        elif result is None:
            session.fail(ExitCode.NOT_FOUND, f"{collection}/{item_id}: no such document")
        else:
            _print_item(session, result, jsonl=jsonl, with_version=with_version)


async def _read(
    provider: Provider, collection: str, ids: list[str]
) -> list[Item | StorageError | None]:
    """Read documents; those that are damaged come as their error."""
    try:
        return list(await provider.read_items(collection, ids))
    except CorruptItemError as error:
        if len(ids) == 1:
            return [error]
        raise
    except BatchError as error:
        if len(error.results) == len(ids):
            return [
                part.with_context(error.provider or "", error.operation or "")
                if isinstance(part, StorageError)
                else part
                for part in error.results
            ]
        raise


def _print_item(session: Session, item: Item, *, jsonl: bool, with_version: bool) -> None:
    body = item.body
    if with_version:
        body = msgspec.json.encode({"version": item.version, "document": msgspec.Raw(body)})
    text = compact_json(body) if jsonl else indented_json(body)
    emit(f"{terminal_json(text) if session.on_terminal else text}\n")
    if item.payload is not None:
        session.note(
            f"{item.collection}/{item.id}: {len(item.payload)} more bytes, encoded as "
            f"{item.encoding!r}, are not shown"
        )


# --- put and update ----------------------------------------------------------------------------


async def put(
    session: Session,
    collection: CollectionArgument,
    document: Annotated[
        str | None,
        typer.Argument(
            metavar="[DOCUMENT]",
            help="A JSON object; without it, or as -, documents are read from stdin.",
            show_default=False,
        ),
    ] = None,
    file: FileOption = None,
    create: Annotated[
        bool, typer.Option("--create", help="Refuse ids that exist already.", show_default=False)
    ] = False,
    if_version: IfVersionOption = None,
) -> None:
    """Store documents whole, creating or replacing them; prints their ids.

    A file or stdin may hold one document, an array of documents or JSON lines. Documents without
    an id get one.
    """
    if create and if_version is not None:
        raise UsageError("--create and --if-version contradict each other; leave one out")
    with given_documents(document, file) as documents:
        async with session.open(create=True) as provider:
            if if_version is None:
                await _store_all(session, provider, collection, documents, create)
                return
            with interruptible():
                only = list(documents)
            if len(only) != 1:
                raise UsageError(f"--if-version is for one document, there are {len(only)}")
            item = await provider.put_item(collection, only[0], if_version=if_version)
            _print_stored(session, [item])
            session.note(f"stored, version {item.version}")


async def _store_all(
    session: Session,
    provider: Provider,
    collection: str,
    documents: Iterable[JsonObject],
    create: bool,
) -> None:
    """Store documents batch by batch; says how far it came if one fails."""
    store = provider.create_items if create else provider.put_items
    iterator = iter(documents)
    done = 0
    items: list[Item] = []
    try:
        with progress_bar("storing", enabled=not session.on_terminal) as report:
            while batch := _next_batch(iterator):
                items = await store(collection, batch)
                _print_stored(session, items)
                done += len(items)
                report(done)
    except BatchError as error:
        landed = [result for result in error.results if isinstance(result, Item)]
        _print_stored(session, landed)
        session.note(f"{done + len(landed)} documents were stored, then:")
        raise
    except (StorageError, UsageError):
        if done:
            session.note(f"{done} documents were stored, then:")
        raise
    session.note(f"stored, version {items[0].version}" if done == 1 else f"{done} documents stored")


def _next_batch(documents: Iterator[JsonObject]) -> list[JsonObject]:
    with interruptible():
        return list(islice(documents, BATCH_DOCUMENTS))


async def update(
    session: Session,
    collection: CollectionArgument,
    item_id: IdArgument,
    changes: Annotated[
        str,
        typer.Argument(
            metavar="CHANGES",
            help="A JSON object with the fields to set; null removes one. @FILE reads it.",
            show_default=False,
        ),
    ],
    if_version: IfVersionOption = None,
) -> None:
    """Change some fields of a document and leave the others (JSON Merge Patch)."""
    parsed = parse_object("CHANGES", changes)
    async with session.open() as provider:
        item = await provider.update_item(collection, item_id, parsed, if_version=if_version)
    _print_stored(session, [item])
    session.note(f"stored, version {item.version}")


def _print_stored(session: Session, items: list[Item]) -> None:
    show = visible if session.on_terminal else str
    emit("".join(f"{show(item.id)}\n" for item in items))


# --- rm ----------------------------------------------------------------------------------------


async def remove(
    session: Session,
    collection: CollectionArgument,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID…]", help="Ids of documents.", show_default=False),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every document of it.", show_default=False)
    ] = False,
    if_version: IfVersionOption = None,
    yes: YesOption = False,
) -> None:
    """Remove documents for good, after asking."""
    if everything == bool(ids):
        raise UsageError("give the ids of what to remove, or --all")
    if if_version is not None and (everything or len(ids or ()) != 1):
        raise UsageError("--if-version is for one document")
    async with session.open() as provider:
        if everything:
            await _remove_all(session, provider, collection, yes)
            return
        chosen = list(dict.fromkeys(ids or ()))
        found = await _read(provider, collection, chosen)
        for item_id, item in zip(chosen, found, strict=True):
            if item is None:
                session.note(f"{collection}/{item_id}: no such document, nothing to remove")
        present = [item_id for item_id, item in zip(chosen, found, strict=True) if item is not None]
        if not present or not _confirmed(session, _named(collection, present), yes):
            return
        if if_version is not None:
            await provider.delete_item(collection, present[0], if_version=if_version)
        else:
            await provider.delete_items(collection, present)
        session.note(f"removed {_named(collection, present)}")


async def _remove_all(session: Session, provider: Provider, collection: str, yes: bool) -> None:
    number = await provider.count_items(collection)
    if _confirmed(session, f"all {number} documents of {collection}", yes):
        await provider.clear_collection(collection)
        session.note(f"removed {number} documents of {collection}")


def _named(collection: str, ids: list[str]) -> str:
    return f"{collection}/{ids[0]}" if len(ids) == 1 else f"{len(ids)} documents of {collection}"


def _confirmed(session: Session, what: str, yes: bool) -> bool:
    if yes or session.confirm(f"Remove {what}?"):
        return True
    session.fail(ExitCode.FAILED, "nothing was removed")
    return False
