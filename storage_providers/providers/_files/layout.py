"""Where everything of a root lies.

```
{root}/{scope/}{collection}/{id}.json          documents, yours to read and edit
{root}/.storage-providers/
    lock                                       held while writing
    temp/                                      files being written; empty otherwise
    index/                                     answers queries; may be deleted at any time
    collections/{scope/}{collection}.json      what was declared
    folders/{name}.json                        the whole name of a folder whose name was too long
    backups/{scope/}{collection}/{id}/…        replaced and deleted documents, if asked for
```
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec

from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import check_collection, is_inside
from storage_providers.providers._files.names import (
    ENCODED_SUFFIX,
    PLAIN_SUFFIX,
    file_stem,
    folder_name,
    is_hashed,
    original,
)

__all__ = ["SDK_FOLDER", "Layout", "foreign_name", "is_document", "row_name"]

SDK_FOLDER: Final = ".storage-providers"
"""The SDK's own folder in a root. No collection and no scope has a folder beginning with a dot."""

_GITIGNORE: Final = b"/lock\n/temp/\n/index/\n/.gitignore\n"
_FOREIGN: Final = re.compile(r"\\u(dc[89a-f][0-9a-f])")
_DOCUMENT: Final = re.compile(r"(?s).+(?:\.json|\.encoded)")


class Layout:
    """The paths of one root.

    Args:
        root: The root's absolute path.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.sdk = os.path.join(root, SDK_FOLDER)
        self.lock = os.path.join(self.sdk, "lock")
        self.temp = os.path.join(self.sdk, "temp")
        self.index = os.path.join(self.sdk, "index")
        self.folder = lru_cache(maxsize=4096)(self._folder)

    def own_folders(self) -> tuple[str, ...]:
        """The folders that have to be there, the outermost first."""
        return self.root, self.sdk, self.temp, self.index

    def write_gitignore(self) -> None:
        """Keep what is not data out of version control, unless that was decided already.

        Raises:
            OSError: The system does not let us.
        """
        path = os.path.join(self.sdk, ".gitignore")
        if not os.path.exists(path):
            with open(path, "wb") as file:
                file.write(_GITIGNORE)

    # --- from names to paths -------------------------------------------------------------------

    def _folder(self, collection: str) -> str:
        return os.path.join(self.root, *_parts(collection))

    def document(self, collection: str, item_id: str) -> str:
        """The path of a document's file without its suffix."""
        return f"{self.folder(collection)}{os.sep}{file_stem(item_id)}"

    def declaration(self, collection: str) -> str:
        """The path of what is declared about a collection."""
        return os.path.join(self.sdk, "collections", *_parts(collection)) + PLAIN_SUFFIX

    def backups(self, collection: str, item_id: str) -> str:
        """The folder of a document's backups."""
        return self.backups_of_file(collection, file_stem(item_id))

    def backups_of_file(self, collection: str, stem: str) -> str:
        """The folder of the backups of a file, by its name without suffix."""
        return os.path.join(self.sdk, "backups", *_parts(collection), stem)

    def folder_notes(self, collection: str) -> dict[str, bytes]:
        """Notes to keep of folders whose names don't hold the whole name: path and bytes."""
        return {
            os.path.join(self.sdk, "folders", name + PLAIN_SUFFIX): msgspec.json.encode(part)
            for part, name in zip(collection.split("/"), _parts(collection), strict=True)
            if is_hashed(name)
        }

    # --- from paths to names -------------------------------------------------------------------

    def part_of(self, folder: str) -> str | None:
        """The scope part or collection a folder's name stands for; `None`: it is not ours."""
        if folder.startswith("."):
            return None
        part = original(folder)
        if is_hashed(folder):
            try:
                with open(os.path.join(self.sdk, "folders", folder + PLAIN_SUFFIX), "rb") as file:
                    part = msgspec.json.decode(file.read(), type=str)
            except (OSError, msgspec.MsgspecError):
                return None
        return part if part and folder_name(part) == folder else None

    def collections(self, scope: str | None = None) -> Iterator[str]:
        """Every collection whose folder holds a document's file or that is declared.

        Args:
            scope: Only those of this scope and of the scopes inside it.
        """
        parts = () if scope is None else _parts(scope)
        prefix = "" if scope is None else f"{scope}/"
        folder = os.path.join(self.root, *parts)
        notes = os.path.join(self.sdk, "collections", *parts)
        for names in (
            self._walk(folder, prefix, is_note=False),
            self._walk(notes, prefix, is_note=True),
        ):
            # The scope's folder may be a collection's as well, which lies outside of the scope.
            yield from (name for name in names if is_inside(name, scope))

    def _walk(self, folder: str, scope: str, *, is_note: bool) -> Iterator[str]:
        has_documents = False
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if not _DOCUMENT.fullmatch(entry.name):
                        if entry.is_dir():
                            folders.append(entry.name)
                    elif is_note:
                        part = self.part_of(entry.name.removesuffix(PLAIN_SUFFIX))
                        if part and _is_collection(scope + part):
                            yield scope + part
                    else:
                        has_documents = True
        except (FileNotFoundError, NotADirectoryError):
            return
        if has_documents and scope and _is_collection(scope[:-1]):
            yield scope[:-1]
        for name in folders:
            part = self.part_of(name)
            if part is not None:
                yield from self._walk(
                    os.path.join(folder, name), f"{scope}{part}/", is_note=is_note
                )


@lru_cache(maxsize=4096)
def _parts(collection: str) -> tuple[str, ...]:
    return tuple(folder_name(part) for part in collection.split("/"))


def _is_collection(collection: str) -> bool:
    try:
        check_collection(collection)
    except InvalidArgumentError:
        return False
    return True


def is_document(name: str) -> bool:
    """Whether a file's name is that of a document, as far as the name tells."""
    return name.endswith((PLAIN_SUFFIX, ENCODED_SUFFIX)) and not name.startswith(".")


def row_name(stem: str) -> str:
    """The name under which a file is indexed: NFC, and what is no Unicode spelled out."""
    if stem.isascii():
        return stem
    return unicodedata.normalize("NFC", stem).encode(errors="backslashreplace").decode()


def foreign_name(name: str) -> str | None:
    """What `row_name` was given, if that was no valid Unicode."""
    stem = _FOREIGN.sub(lambda match: chr(int(match[1], 16)), name)
    return None if stem == name else stem
