"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from storage_providers._json import JsonObject, decode_object
from storage_providers.cli._errors import UsageError
from storage_providers.cli._output import Format

__all__ = [
    "CollectionArgument",
    "CollectionsArgument",
    "CursorOption",
    "DryRunOption",
    "FieldsOption",
    "FormatOption",
    "IdArgument",
    "IfVersionOption",
    "JsonOption",
    "OrderOption",
    "ScopeOption",
    "WhereOption",
    "YesOption",
    "YesToNameOption",
    "parse_fields",
    "parse_object",
]

ScopeOption = Annotated[
    str | None,
    typer.Option(
        "--scope",
        help="Only collections of this scope and of those inside it: user-7.",
        show_default=False,
    ),
]
CollectionArgument = Annotated[
    str,
    typer.Argument(
        metavar="COLLECTION",
        help="Name of the collection, with its scope if it has one: todos, user-7/todos.",
        show_default=False,
    ),
]
CollectionsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[COLLECTION…]", help="Only these; without, all.", show_default=False),
]
IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Id of the document.", show_default=False)
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        "-w",
        metavar="JSON",
        help='Only documents that match, such as \'{"status": "pending"}\'; @FILE reads it.',
        show_default=False,
    ),
]
OrderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--order-by",
        "-o",
        metavar="FIELD",
        help="Sort by this field, with - in front from the largest down. Can be repeated.",
        show_default=False,
    ),
]
FieldsOption = Annotated[
    str | None,
    typer.Option(
        "--fields",
        metavar="A,B.C",
        help="Only these fields, beside the id.",
        show_default=False,
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        "-f",
        help="How to print. Without it: a table on a terminal, JSON lines elsewhere.",
        show_default=False,
    ),
]
CursorOption = Annotated[
    str | None,
    typer.Option("--cursor", help="Go on where a listing ended.", show_default=False),
]
IfVersionOption = Annotated[
    str | None,
    typer.Option(
        "--if-version",
        metavar="VERSION",
        help="Only if this is still the document's version.",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Write nothing, only report.", show_default=False)
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the report as JSON.", show_default=False)
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Do it without asking.", show_default=False)
]
YesToNameOption = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Do it without asking; needs --name.", show_default=False),
]


def parse_object(option: str, text: str) -> JsonObject:
    """Parse a JSON object given on the command line, or in a file as `@FILE`.

    Args:
        option: How the user knows it, for the error.
        text: What they wrote.

    Raises:
        UsageError: It is not a JSON object; the message says where it breaks.
        OSError: The file can't be read.
    """
    if text.startswith("@"):
        option, text = f"{option} {text}", Path(text[1:]).read_text(encoding="utf-8")
    try:
        return decode_object(text)
    except ValueError as error:
        raise UsageError(
            f'{option}: {error}; write a JSON object in single quotes: \'{{"field": "value"}}\''
        ) from None


def parse_fields(text: str | None) -> tuple[str, ...] | None:
    """Split `--fields` at its commas.

    Args:
        text: What the user wrote, if anything.

    Raises:
        UsageError: A name is empty.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError("--fields: a name is empty; write them as a,b,c.d")
    return names
