"""Bringing the index up to what some files are now, after they were changed by hand."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from storage_providers.errors import StorageError
from storage_providers.providers._files.index import FileIndex
from storage_providers.providers._files.layout import foreign_name
from storage_providers.providers._files.names import PLAIN_SUFFIX
from storage_providers.providers._files.reader import Found, find
from storage_providers.providers._files.writer import stamp_of

__all__ = ["mend"]

MEND_FILES: Final = 2000
MEND_BYTES: Final = 4_000_000
MEND_SECONDS: Final = 0.25
"""When so many changed files were read, so much of them, or for so long, other writers have their
turn at the lock. Usually it is the number, after 0.05 s."""


def mend(index: FileIndex, collection: str, folder: str, names: Sequence[str]) -> Sequence[str]:
    """Bring the rows of some files up to what the files are, in one turn.

    Args:
        index: The index, in a transaction; whoever calls holds the lock.
        collection: Name of the collection.
        folder: Its folder.
        names: Names of files without suffix, whether they are still there or not.

    Returns:
        Those left for another turn, after other writers had theirs.
    """
    names = sorted(names)  # In the order of the rows: neighbours share a page.
    done = size_bytes = 0
    found: dict[str, Found] = {}
    until = time.monotonic() + MEND_SECONDS
    for name in names[:MEND_FILES]:
        done += 1
        each = _look(index, collection, folder, name)
        if each is not None:
            found[name] = each
            size_bytes += each.size_bytes
        if size_bytes >= MEND_BYTES or time.monotonic() >= until:
            break
    index.put_found(collection, found)
    return names[done:]


def _look(index: FileIndex, collection: str, folder: str, name: str) -> Found | None:
    """What a file holds; if it can't be read or is gone, the index is told at once."""
    path = f"{folder}{os.sep}{name}"
    try:
        found = find(path)
    except StorageError as error:
        stamp = 0
        with suppress(OSError):
            stamp = stamp_of(os.stat(path + PLAIN_SUFFIX))
        index.put_problem(collection, name, path + PLAIN_SUFFIX, error.message, stamp)
        return None
    if found is not None:
        return found
    foreign = foreign_name(name)
    if foreign is not None and os.path.exists(os.path.join(folder, foreign + PLAIN_SUFFIX)):
        index.put_problem(
            collection,
            name,
            path + PLAIN_SUFFIX,
            "the file's name is not valid Unicode; rename it",
            stamp_of(os.stat(os.path.join(folder, foreign + PLAIN_SUFFIX))),
        )
        return None
    index.delete(collection, name)
    return None
