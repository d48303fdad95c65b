"""Commands that list: `ls`, `query`, `count`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from storage_providers._json import encode_object
from storage_providers.cli._errors import UsageError
from storage_providers.cli._explain import explain, print_explanation
from storage_providers.cli._options import (
    CollectionArgument,
    CursorOption,
    FieldsOption,
    FormatOption,
    OrderOption,
    ScopeOption,
    WhereOption,
    parse_fields,
    parse_object,
)
from storage_providers.cli._output import Format, emit, open_writer, resolve_format
from storage_providers.cli._progress import progress_bar
from storage_providers.cli._session import Session, command
from storage_providers.protocol import Item, JsonObject, Page, Query

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["register"]

PAGE_ITEMS = 500
DEFAULT_LIMIT = 100
PANEL = "Look"

LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit", "-n", min=0, help=f"At most so many ({DEFAULT_LIMIT}).", show_default=False
    ),
]
AllOption = Annotated[
    bool, typer.Option("--all", "-a", help="All documents, however many.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application.

    Args:
        app: The application.
    """
    command(
        app,
        "ls",
        examples=(
            "storage-providers -u file:./valet-data ls",
            "storage-providers ls todos --limit 20",
            "storage-providers ls --scope user-7",
            "storage-providers ls --format json",
        ),
        panel=PANEL,
    )(list_collections)
    command(
        app,
        "query",
        examples=(
            """storage-providers query todos --where '{"status": "pending"}' --order-by due""",
            """storage-providers query todos -w '{"due": {"$lt": "2026"}}' --fields due,content""",
            "storage-providers query todos --all --format csv > todos.csv",
            "storage-providers query todos --order-by=-updatedAt --limit 5 --total",
            """storage-providers query todos --where '{"status": "pending"}' --explain""",
        ),
        panel=PANEL,
    )(query)
    command(
        app,
        "count",
        examples=(
            "storage-providers count todos",
            """storage-providers count todos --where '{"status": {"$ne": "completed"}}'""",
        ),
        panel=PANEL,
    )(count)


async def list_collections(
    session: Session,
    collection: Annotated[
        str | None,
        typer.Argument(
            metavar="[COLLECTION]",
            help="List this collection's documents instead.",
            show_default=False,
        ),
    ] = None,
    limit: LimitOption = None,
    all_items: AllOption = False,
    scope: ScopeOption = None,
    output_format: FormatOption = None,
) -> None:
    """List the collections with their number of documents, or the documents of one."""
    if collection is not None:
        if scope is not None:
            raise UsageError(f"--scope lists collections; write {scope}/{collection} for one")
        request = _request(Query(collection), limit, all_items)
        async with session.open() as provider:
            await _print(session, provider, request, output_format)
        return
    async with session.open() as provider:
        names = await provider.collections(scope)
        pages = await provider.query([Query(name, limit=0, total=True) for name in names])
    for page in pages:
        _report_corrupt(session, page)
    columns = ("documents", "damaged")
    rows = [
        {"collection": name, "documents": page.total, "damaged": len(page.corrupt)}
        for name, page in zip(names, pages, strict=True)
    ]
    output = resolve_format(output_format)
    with open_writer(output, columns, session.note, key="collection") as writer:
        writer.write([Item("", str(row["collection"]), "", encode_object(row)) for row in rows])
    if not rows:
        session.note("no collections yet")


async def query(
    session: Session,
    collection: CollectionArgument,
    where: WhereOption = None,
    order_by: OrderOption = None,
    fields: FieldsOption = None,
    limit: LimitOption = None,
    all_items: AllOption = False,
    offset: Annotated[int, typer.Option(help="Pass over so many.", min=0, show_default=False)] = 0,
    cursor: CursorOption = None,
    total: Annotated[
        bool, typer.Option("--total", help="Also count all that match.", show_default=False)
    ] = False,
    output_format: FormatOption = None,
    explain_only: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Say what the answer cost, and by which index; print no documents.",
            show_default=False,
        ),
    ] = False,
) -> None:
    """List the documents that match conditions, in any order and format."""
    question = Query(
        collection,
        None if where is None else parse_object("--where", where),
        # The parser takes the = of `-o=-due`, natural as that is, for a part of the value.
        tuple(field.removeprefix("=") for field in order_by or ()),
        cursor=cursor,
        offset=offset,
        fields=parse_fields(fields),
        total=total,
    )
    request = _request(question, limit, all_items)
    async with session.open() as provider:
        if not explain_only:
            await _print(session, provider, request, output_format)
            return
        with progress_bar(f"reading {collection}"):
            found = await explain(provider, request.query, _pages(provider, request))
    print_explanation(found, as_text=resolve_format(output_format) is Format.TABLE)


async def count(
    session: Session, collection: CollectionArgument, where: WhereOption = None
) -> None:
    """Count the documents of a collection, or those that match conditions."""
    conditions: JsonObject | None = None if where is None else parse_object("--where", where)
    async with session.open() as provider:
        page = (await provider.query([Query(collection, conditions, limit=0, total=True)]))[0]
    emit(f"{page.total}\n")
    _report_corrupt(session, page)


class Request(msgspec.Struct):
    """A query and how much of its answer is wanted; `limit=None`: everything."""

    query: Query
    limit: int | None


def _request(question: Query, limit: int | None, everything: bool) -> Request:
    if everything and limit is not None:
        raise UsageError("--limit and --all contradict each other; leave one out")
    if limit is None and not everything:
        limit = DEFAULT_LIMIT
    return Request(question, limit)


async def _print(
    session: Session, provider: Provider, request: Request, asked: Format | None
) -> None:
    """Print an answer while it is read, then say what it left out."""
    question = request.query
    printed, total, cursor = 0, None, None
    with (
        open_writer(resolve_format(asked), question.fields, session.note) as writer,
        # A bar and results on one terminal would overwrite each other.
        progress_bar(
            f"reading {question.collection}", request.limit, enabled=not session.on_terminal
        ) as report,
    ):
        async for page in _pages(provider, request):
            _report_corrupt(session, page)
            writer.write(page.items)
            printed, cursor = printed + len(page.items), page.cursor
            total = page.total if page.total is not None else total
            report(printed)
    if total is not None:
        session.note(f"{total} match")
    if printed == 0 and request.limit != 0:
        session.note("no documents")
    if cursor is not None:
        session.note(f"{printed} shown, there are more: --all, or --cursor {cursor}")


async def _pages(provider: Provider, request: Request) -> AsyncGenerator[Page]:
    question, left = request.query, request.limit
    while True:
        size = PAGE_ITEMS if left is None else min(PAGE_ITEMS, left)
        page = (await provider.query([msgspec.structs.replace(question, limit=size)]))[0]
        yield page
        if left is not None:
            left -= len(page.items)
        if page.cursor is None or left == 0:
            return
        question = msgspec.structs.replace(question, cursor=page.cursor, offset=0, total=False)


def _report_corrupt(session: Session, page: Page) -> None:
    for error in page.corrupt:
        session.problem(error)
