"""Reading one document's file: what is there, which document it is, and what is wrong with it."""

from __future__ import annotations

import os
import stat
import time
import unicodedata
from typing import Final

from storage_providers.errors import CorruptItemError
from storage_providers.protocol import Item
from storage_providers.providers._bodies import with_id
from storage_providers.providers._files.format import Content, parse, version_of
from storage_providers.providers._files.names import (
    ENCODED_SUFFIX,
    PLAIN_SUFFIX,
    file_stem,
    is_hashed,
    original,
)
from storage_providers.providers._files.writer import os_error, stamp_of

__all__ = ["Found", "corrupt_file", "find"]

RACY_NS: Final = 2_000_000_000
"""Coarsest file times in use, nanoseconds (FAT: 2 s). A file changed within that long before it is
looked at may be changed again without its times showing it, so it is looked at once more."""

_OPEN: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Found:
    """What a document's file holds.

    Attributes:
        path: The file.
        item_id: The document's id; of a damaged file, what its name says.
        version: The document's version.
        stamp: Tells later whether the file was touched; 0 if it must be looked at again.
        content: What the file holds; `None` if it is damaged.
        problem: What is wrong with it; `None`: nothing.
        size_bytes: How large the file is.
    """

    __slots__ = ("content", "item_id", "path", "problem", "size_bytes", "stamp", "version")

    def __init__(self, path: str, stem: str, raw: bytes, stamp: int) -> None:
        self.path = path
        self.stamp = stamp
        self.size_bytes = len(raw)
        self.version = version_of(raw)
        self.content: Content | None = None
        self.problem: str | None = None
        named = original(stem)
        self.item_id = named or stem
        try:
            content = parse(raw, encoded=path.endswith(ENCODED_SUFFIX))
            self.content = self._checked(content, stem, named)
        except ValueError as error:
            self.problem = str(error)

    def _checked(self, content: Content, stem: str, named: str | None) -> Content:
        item_id = named if content.item_id is None else content.item_id
        if item_id is None:
            raise ValueError("it has no 'id' and its shortened name does not tell it")
        if file_stem(item_id) != stem:
            if not is_hashed(stem) and named is not None and item_id == named:
                raise ValueError(
                    f"a document with this id is kept in {file_stem(item_id)!r}; rename the file"
                )
            raise ValueError("the 'id' inside is not the one its name says; change one of them")
        self.item_id = item_id
        if content.item_id is None:
            return content._replace(item_id=item_id, body=with_id(content.body, item_id))
        return content

    @property
    def damaged(self) -> bool:
        """Whether the file holds no document."""
        return self.content is None

    def expired(self, now_ms: int) -> bool:
        """Whether the document has expired."""
        return (
            self.content is not None
            and self.content.expires_at_ms is not None
            and self.content.expires_at_ms <= now_ms
        )

    def item(self, collection: str) -> Item:
        """The document as an item.

        Raises:
            CorruptItemError: The file is damaged.
        """
        if self.content is None:
            raise self.corrupt(collection)
        _, body, encoding, payload, _ = self.content
        return Item(collection, self.item_id, self.version, body, encoding, payload)

    def corrupt(self, collection: str) -> CorruptItemError:
        """The error that names the file and what is wrong with it."""
        return corrupt_file(collection, self.item_id, self.path, self.problem or "")


def corrupt_file(collection: str, item_id: str, path: str, problem: str) -> CorruptItemError:
    """The error that names a damaged file and what is wrong with it."""
    return CorruptItemError(
        f"{path}: {problem}; mend the file, put the document anew or delete it",
        collection=collection,
        item_id=item_id,
        source=path,
    )


def find(path: str) -> Found | None:
    """Read the file of a document; a plain one counts if there are both.

    Args:
        path: Its path without the suffix.

    Returns:
        What is there; `None` if nothing is.

    Raises:
        StorageError: The system does not let us read it.
    """
    for suffix in (PLAIN_SUFFIX, ENCODED_SUFFIX):
        try:
            read = _read(path + suffix)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise os_error(error, path + suffix) from error
        if read is not None:
            raw, stamp = read
            stem = path.rpartition(os.sep)[2]
            if not stem.isascii():
                stem = unicodedata.normalize("NFC", stem)
            return Found(path + suffix, stem, raw, stamp)
    return None


def _read(path: str) -> tuple[bytes, int] | None:
    file = os.open(path, _OPEN)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return None
        chunks: list[bytes] = []
        size_bytes = 0
        while chunk := os.read(file, max(status.st_size + 1, 4096)):
            chunks.append(chunk)
            size_bytes += len(chunk)
            if len(chunk) == size_bytes == status.st_size:
                break  # A second read that says that this was the end costs as much as the first.
    finally:
        os.close(file)
    is_racy = time.time_ns() - status.st_mtime_ns < RACY_NS
    return b"".join(chunks), 0 if is_racy else stamp_of(status)
