"""Reads a folder that other programs wrote: regular files only, of a sensible size."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes

import msgspec

from storage_providers._clock import format_timestamp
from storage_providers._json import JsonObject

__all__ = ["SDK_FOLDER", "LegacyFile", "Refused", "file_document", "raw_bytes", "read_file", "walk"]

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Largest file that is read, bytes. The tool's own files are a few kilobytes."""
MAX_ID_BYTES = 512
SDK_FOLDER = ".storage-providers"
"""What `LocalFileProvider` keeps in its root; the folders beside it are its collections."""

LEGACY_FOLDERS = frozenset({"days", "archive"})
"""The folders of the legacy layout."""


class LegacyFile(msgspec.Struct, frozen=True):
    """One file of the folder.

    Attributes:
        path: Its path in the folder, with `/`; bytes that are no UTF-8 are written as `%xx`.
        data: Its content.
        modified: When it was last written, ISO 8601.
        raw_path: Its path in bytes, where `path` can't be that.
    """

    path: str
    data: bytes
    modified: str
    raw_path: bytes | None = None


class Refused(msgspec.Struct, frozen=True):
    """Something in the folder that is not read, and why."""

    path: str
    reason: str


def walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Everything in the folder that is not a folder: its path in there and where it is, sorted.

    Where a `LocalFileProvider` has its root in the folder itself, its collections are beside the
    legacy files; they are passed over. Elsewhere its root is handed on like a file.
    """
    pending = [(root, "")]
    while pending:
        folder, prefix = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            # Handed on as if it were a file, so that reading it says what is wrong.
            yield prefix.rstrip("/"), folder
            continue
        if any(entry.name == SDK_FOLDER for entry in entries):
            if prefix:
                yield prefix.rstrip("/"), folder
                continue
            entries = [
                entry
                for entry in entries
                if entry.name in LEGACY_FOLDERS or not entry.is_dir(follow_symlinks=False)
            ]
        inner: list[tuple[Path, str]] = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append((Path(entry.path), f"{prefix}{entry.name}/"))
            else:
                yield prefix + entry.name, Path(entry.path)
        pending += reversed(inner)


def read_file(path: str, where: Path) -> LegacyFile | Refused:
    """Read one file, unless it is something else or too large."""
    shown, raw_path = path, None
    try:
        path.encode()
    except UnicodeEncodeError:
        raw_path = os.fsencode(path)
        shown = quote_from_bytes(raw_path, safe="/ !#$&'()+,;=@[]{}~^")
    if path and (where / SDK_FOLDER).is_dir():
        return Refused(shown, "it is the root of a LocalFileProvider, which is no legacy data")
    if where.is_symlink():
        return Refused(shown, "it is a symbolic link, which is not followed")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(where, flags | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                return Refused(shown, "it is not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                return Refused(
                    shown, f"it is {status.st_size} bytes, the limit is {MAX_FILE_BYTES}"
                )
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return Refused(shown, f"it can't be read: {error.strerror}")
    if len(data) > MAX_FILE_BYTES:
        return Refused(shown, f"it grew beyond the limit of {MAX_FILE_BYTES} bytes")
    modified = format_timestamp(max(status.st_mtime_ns, 0) // 1_000_000)
    return LegacyFile(shown, data, modified, raw_path)


def file_document(file: LegacyFile, kind: str, *, keep: bool = True) -> JsonObject:
    """The document that stands for a file, with its content if `keep`."""
    item_id = file.path
    if len(item_id.encode()) > MAX_ID_BYTES or "\x00" in item_id:
        item_id = "sha256-" + hashlib.sha256(item_id.encode()).hexdigest()
    document: JsonObject = {"id": item_id, "path": file.path, "kind": kind}
    if file.raw_path is not None:
        document["pathBase64"] = base64.b64encode(file.raw_path).decode()
    if keep:
        try:
            document["text"] = file.data.decode()
        except UnicodeDecodeError:
            document["base64"] = base64.b64encode(file.data).decode()
    document["createdAt"] = document["updatedAt"] = file.modified
    return document


def raw_bytes(document: JsonObject) -> bytes | None:
    """The content that `file_document` kept."""
    if isinstance(document.get("text"), str):
        return str(document["text"]).encode()
    if isinstance(document.get("base64"), str):
        return base64.b64decode(document["base64"])
    return None
