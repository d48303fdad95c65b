"""The application: options before the command, and all commands."""

from __future__ import annotations

from typing import Annotated

import typer

from storage_providers import __version__
from storage_providers.cli import (
    _agents,
    _d1,
    _declare,
    _doctor,
    _edit,
    _erase,
    _hybrid,
    _indexes,
    _items,
    _listing,
    _migrate_group,
    _provision,
    _transfer,
)
from storage_providers.cli._errors import ExitCode
from storage_providers.cli._session import DebugOption, UrlOption

__all__ = ["app"]

app = typer.Typer(
    name="storage-providers",
    help="Look at, change and move collections of JSON documents, wherever they are kept.",
    epilog="Exit codes: "
    + ", ".join(f"{int(code)} {code.meaning}" for code in ExitCode)
    + ".\n\nResults go to stdout, everything else to stderr. NO_COLOR=1 prints without colours.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"storage-providers {__version__}")
        raise typer.Exit


@app.callback(no_args_is_help=True, invoke_without_command=False)
def options(
    context: typer.Context,
    url: UrlOption = None,
    debug: DebugOption = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and stop.",
            callback=_print_version,
            is_eager=True,
            show_default=False,
        ),
    ] = False,
) -> None:
    """Options before the command hold for it; they can also follow it."""
    context.obj = (url, debug)


for group in (
    *(_listing, _items, _edit, _declare),
    *(_transfer, _erase, _migrate_group),
    *(_doctor, _provision, _indexes, _d1, _hybrid),
    _agents,
):
    group.register(app)
