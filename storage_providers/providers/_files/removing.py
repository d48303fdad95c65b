"""Removing a collection for good: its folder, declaration and backups, when no document is left."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress

from storage_providers.providers._files.layout import Layout
from storage_providers.providers._files.writer import os_error

__all__ = ["discard", "erase"]


def discard(layout: Layout, collection: str) -> None:
    """Remove the folder of a collection if it is empty, and the backups of its documents.

    Args:
        layout: Where things are; whoever calls holds its lock.
        collection: Name of the collection.

    Raises:
        StorageError: The system does not let us.
    """
    folder, backups = layout.folder(collection), _backups(layout, collection)
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise os_error(error, folder) from error
        return
    if os.path.isdir(backups):
        shutil.rmtree(backups, ignore_errors=True)
        with suppress(OSError):  # There are other backups.
            os.rmdir(os.path.dirname(backups))


def erase(layout: Layout, collection: str) -> list[str]:
    """Remove the declaration, the backups and the empty folders of a collection.

    Args:
        layout: Where things are; whoever calls holds its lock.
        collection: Name of the collection.

    Returns:
        What remains, a sentence each.

    Raises:
        StorageError: The system does not let us.
    """
    folder, declaration = layout.folder(collection), layout.declaration(collection)
    backups = _backups(layout, collection)
    try:
        if os.path.isdir(backups):
            shutil.rmtree(backups)
        with suppress(FileNotFoundError):
            os.unlink(declaration)
    except OSError as error:
        raise os_error(error, str(error.filename or backups)) from error
    for path, top in (
        (folder, layout.root),
        (os.path.dirname(declaration), layout.sdk),
        (os.path.dirname(backups), layout.sdk),
    ):
        _remove_empty(path, top)
    return _remains(layout, collection)


def _remains(layout: Layout, collection: str) -> list[str]:
    remains = [
        f"the index {layout.index} keeps bytes of what was removed until they are overwritten; it "
        "may be deleted at any time, and is made anew"
    ]
    remains += [
        f"{note} keeps the whole name of a folder whose name was too long; delete it if nothing "
        "else is called so"
        for note in layout.folder_notes(collection)
        if os.path.exists(note)
    ]
    folder = layout.folder(collection)
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        others = sum(entry.is_file() for entry in entries)
        if others:
            remains.append(f"{others} files in {folder} are not documents and were left")
    return remains


def _backups(layout: Layout, collection: str) -> str:
    """The folder of all backups of a collection."""
    return os.path.dirname(layout.backups_of_file(collection, "x"))


def _remove_empty(path: str, top: str) -> None:
    """Remove a folder if it is empty, and then those around it, up to `top`."""
    while len(path) > len(top):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            return
        path = os.path.dirname(path)
