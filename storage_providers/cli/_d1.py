"""The commands `d1 bookmark` and `d1 restore`: a D1 database back to an earlier state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from storage_providers.cli._confirming import types_name
from storage_providers.cli._errors import ExitCode, UsageError
from storage_providers.cli._options import YesToNameOption
from storage_providers.cli._output import emit, print_json
from storage_providers.cli._session import Session, command
from storage_providers.cli._text import visible
from storage_providers.layers import below_layers

if TYPE_CHECKING:
    from storage_providers.base import Provider
    from storage_providers.cloudflare.d1 import D1DatabaseInfo
    from storage_providers.providers.d1 import D1Provider

__all__ = ["register"]

PANEL = "Check"


class Report(msgspec.Struct, omit_defaults=True):
    """What was done.

    Attributes:
        database: The database's name.
        database_id: Its id.
        bookmark: The state that was named, or gone back to.
        previous_bookmark: After going back: the state before, which leads back.
    """

    database: str
    database_id: str
    bookmark: str
    previous_bookmark: str | None = None


def register(app: typer.Typer) -> None:
    """Add these commands to the application, below `d1`.

    Args:
        app: The application.
    """
    group = typer.Typer(
        help="Go back in time with a Cloudflare D1 database.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    command(
        group,
        "bookmark",
        examples=(
            "storage-providers -u d1://valet-data d1 bookmark",
            "storage-providers -u d1://valet-data d1 bookmark --at 2026-11-20T18:00:00Z",
        ),
        panel=PANEL,
    )(bookmark)
    command(
        group,
        "restore",
        examples=(
            "storage-providers -u d1://valet-data d1 restore 00000085-0000024c-00004c6d-8e61117b",
            "storage-providers -u d1://valet-data d1 restore BOOKMARK --yes --name valet-data",
        ),
        panel=PANEL,
    )(restore)
    app.add_typer(group, name="d1", rich_help_panel=PANEL)


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print what was done as JSON.", show_default=False)
]


async def bookmark(
    session: Session,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help="The state of this moment of the last 30 days (7 on the free plan), such as "
            "2026-11-20T18:00:00Z; without it, the present.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the bookmark of a state of the database, which `d1 restore` goes back to."""
    provider = session.provider()
    database = _database_of(provider)
    async with provider:
        found = await database.bookmark(at)
        if as_json:
            info = await database.database_info()
            print_json(Report(info.name, info.id, found))
        else:
            emit(visible(found) + "\n")


BookmarkArgument = Annotated[
    str,
    typer.Argument(
        metavar="BOOKMARK", help="What `d1 bookmark` printed before.", show_default=False
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="The name that the database must have; nothing is done if it has another.",
        show_default=False,
    ),
]


async def restore(
    session: Session,
    bookmark: BookmarkArgument,
    name: NameOption = None,
    yes: YesToNameOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put the whole database back to an earlier state, in place. What came after is lost.

    You are asked to type the database's name first. What is printed at the end is the bookmark of
    the state before, which leads back.
    """
    if yes and name is None:
        raise UsageError("--yes needs --name with the database's name, so that it is the right one")
    provider = session.provider()
    database = _database_of(provider)
    async with provider:
        info = await database.database_info()
        if name is not None and name != info.name:
            raise UsageError(
                f"--name is {name!r}, but the database is {info.name!r}; nothing was done"
            )
        _warn(session, info, bookmark)
        if not yes and not types_name(info.name):
            session.fail(ExitCode.FAILED, "that is not its name; nothing was done")
            return
        previous = await database.restore(bookmark)
    if as_json:
        print_json(Report(info.name, info.id, bookmark, previous))
    else:
        session.note(f"{info.name} is as it was at {bookmark}; this leads back:")
        emit(visible(previous) + "\n")


def _database_of(provider: Provider) -> D1Provider:
    """The D1 database below layers."""
    from storage_providers.providers.d1 import D1Provider

    own = below_layers(provider)
    if not isinstance(own, D1Provider):
        raise UsageError(
            f"this is for Cloudflare D1, not for {own.name}; name a database, as in "
            "--url d1://valet-data"
        )
    return own


def _warn(session: Session, info: D1DatabaseInfo, bookmark: str) -> None:
    size = "" if info.file_size is None else f", {info.file_size:,.0f} bytes"
    session.note(f"The database {info.name} ({info.id}{size}) goes back to {bookmark}.")
    session.note(
        "Lost is what anyone has written to it since then: documents, indexes and tables, in every "
        "collection of every user, and those of other programs. Calls that run now are cut off."
    )
