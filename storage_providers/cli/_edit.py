"""The command `edit`: a document in the user's editor, saved by compare-and-set."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from storage_providers._json import JsonObject, decode_object
from storage_providers.cli._errors import UsageError
from storage_providers.cli._options import CollectionArgument, IdArgument
from storage_providers.cli._session import Session, command
from storage_providers.cli._text import indented_json
from storage_providers.errors import (
    ConflictError,
    ItemNotFoundError,
    UnsupportedOperationError,
)
from storage_providers.protocol import Item

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
        "edit",
        examples=(
            "storage-providers edit daily_journals 2026-01-31",
            "storage-providers edit todos ID --editor 'code --wait'",
        ),
        panel="Change",
    )(edit)


async def edit(
    session: Session,
    collection: CollectionArgument,
    item_id: IdArgument,
    editor: Annotated[
        str | None,
        typer.Option(
            "--editor",
            help="Command to edit with. Without it: $VISUAL, then $EDITOR, then vi.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Change a document in your editor.

    It is saved only if nobody else changed it meanwhile. Your text is kept in a file if that
    happened, or if it is not valid JSON.
    """
    async with session.open() as provider:
        item = await provider.read_item(collection, item_id)
        if item is None:
            raise ItemNotFoundError("no such document", collection=collection, item_id=item_id)
        if item.encoding is not None:
            raise UnsupportedOperationError(
                f"the document is encoded as {item.encoding!r}; edit it through the layer that "
                "wrote it",
                collection=collection,
                item_id=item_id,
            )
        folder = Path(tempfile.mkdtemp(prefix="storage-providers-edit-"))
        file = folder / "document.json"
        before = indented_json(item.body) + "\n"
        file.write_text(before, encoding="utf-8")
        done = False
        try:
            document = _edited(session, file, before, _editor_command(editor))
            if document is None:
                session.note("nothing changed")
                done = True
                return
            stored = await _save(session, provider, item, document)
            done = True
        finally:
            if done or _same(file, before):
                shutil.rmtree(folder, ignore_errors=True)
            else:
                session.note(f"your text is kept in {file}")
    session.note(f"stored, version {stored.version}")


def _editor_command(editor: str | None) -> list[str]:
    for text in (editor, os.environ.get("VISUAL"), os.environ.get("EDITOR")):
        if text and text.strip():
            return shlex.split(text)
    return ["vi"]


def _edited(session: Session, file: Path, before: str, editor: list[str]) -> JsonObject | None:
    """Let the user edit until the text is a document; `None` if it is as it was."""
    while True:
        _run_editor(editor, file)
        text = _read(file)
        if text.strip() == before.strip():
            return None
        try:
            return decode_object(text)
        except ValueError as error:
            problem = f"your text is {error}" if "JSON" in str(error) else str(error)
            if not sys.stdin.isatty() or not _again(session, problem):
                raise UsageError(f"{problem}; nothing was stored") from None


def _again(session: Session, problem: str) -> bool:
    session.note(problem)
    return session.confirm("Edit again?")


def _run_editor(editor: list[str], file: Path) -> None:
    # Ctrl-C belongs to the editor. With a handler of ours (SIG_IGN would be inherited) it neither
    # ends us nor is counted, and the text is not lost.
    handler = signal.signal(signal.SIGINT, _leave_it)
    try:
        code = subprocess.run([*editor, str(file)], check=False).returncode  # noqa: S603 # it is the user's own
    except FileNotFoundError:
        raise UsageError(
            f"there is no editor {editor[0]!r}; name one with --editor or EDITOR"
        ) from None
    finally:
        signal.signal(signal.SIGINT, handler)
    if code:
        raise UsageError(f"the editor {editor[0]!r} ended with code {code}; nothing was stored")


def _leave_it(_signal: int, _frame: object) -> None:
    """Do nothing about a Ctrl-C."""


def _same(file: Path, text: str) -> bool:
    try:
        return file.read_bytes() == text.encode()
    except OSError:
        return True  # There is nothing to keep.


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"your text can't be read ({error}); save it as UTF-8") from None


async def _save(session: Session, provider: Provider, item: Item, document: JsonObject) -> Item:
    """Store the edited document unless someone else changed it since it was read."""
    if document.get("id") != item.id:
        raise UsageError(f"the id must stay {item.id!r}; to make a copy, use put")
    if item.document.get("createdAt") is not None:
        document.setdefault("createdAt", item.document["createdAt"])
    if provider.capabilities.conditional_write:
        return await provider.put_item(item.collection, document, if_version=item.version)
    session.note(
        f"{provider.name} can't compare and set: a change made in this very moment by someone "
        "else would be overwritten"
    )
    now = await provider.read_item(item.collection, item.id)
    if now is None or now.version != item.version:
        raise ConflictError(
            "the document was changed or removed meanwhile",
            collection=item.collection,
            item_id=item.id,
        )
    return await provider.put_item(item.collection, document)
