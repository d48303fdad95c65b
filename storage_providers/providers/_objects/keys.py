"""Where documents are: `{prefix/}{scope/}{collection}/{id}.json`, and in what order keys list.

Names stand in keys as they are, so that people and other programs find them. A name that a key
can't hold safely (a `/`, control characters, text that is not NFC, characters newer than Unicode
14.0) is written with a leading `%` and `sortable_text`, so no two names share a key, whatever a
service folds: R2 normalises keys to NFC (Cloudflare docs, r2/reference/unicode-interoperability,
2026-11).

Listings are in the byte order of keys, which is the order of ids but for two things that
`_objects.walk` makes good:

- Names with a leading `%` stand together, before the others, in their own order.
- `task.json` stands behind `task-1.json`, because `.` sorts behind `-`: a document whose id is the
  beginning of another's may come later than its turn (`earlier_ids`).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final, Protocol

from storage_providers.errors import ConfigurationError, InvalidArgumentError
from storage_providers.protocol import check_collection
from storage_providers.providers._objects.characters import is_unsafe

__all__ = [
    "ESCAPED",
    "SUFFIX",
    "FolderLayout",
    "Layout",
    "earlier_ids",
    "is_plain",
    "read_sortable_text",
    "sortable_text",
]

SUFFIX: Final = ".json"
"""What the key of a document ends with."""

ESCAPED: Final = "%"
"""What the key's part of a name begins with that can't stand in a key as it is."""

INDEXES: Final = ".indexes"
"""The folder of index entries, beside the collections of its scope."""

_UNSORTED = re.compile(r"[^0-z]")
_END: Final = "!"


def sortable_text(text: str) -> str:
    """Text in ASCII that sorts as the text does by code point, and says where it ends.

    `0` to `z` stand for themselves. Bytes of UTF-8 below them become `-XX`, bytes above `~XX`, in
    hexadecimal. `!` ends it and sorts before everything else.
    """
    return _UNSORTED.sub(lambda found: _escaped(found[0]), text) + _END


@lru_cache(maxsize=4096)
def _escaped(character: str) -> str:
    return "".join(f"{'-' if byte < 0x30 else '~'}{byte:02X}" for byte in character.encode())


def read_sortable_text(encoded: str) -> tuple[str, str]:
    """The text that `sortable_text` was given, and what follows its end.

    Raises:
        ValueError: It is not such text.
    """
    body, end, rest = encoded.partition(_END)
    plain = re.sub(r"(?:[-~][0-9A-F]{2})+", lambda found: _unescaped(found[0]), body)
    if not end or sortable_text(plain) != body + end:
        raise ValueError("not a name as this SDK writes it")
    return plain, rest


def _unescaped(run: str) -> str:
    return bytes(int(run[at + 1 : at + 3], 16) for at in range(0, len(run), 3)).decode()


@lru_cache(maxsize=4096)
def is_plain(name: str) -> bool:
    """Whether a name stands in a key as it is."""
    return not (
        name.startswith(ESCAPED)
        or "/" in name
        or unicodedata.normalize("NFC", name) != name
        or any(map(is_unsafe, name))
    )


def _part(name: str, *, plain: bool) -> str:
    return name if plain else ESCAPED + sortable_text(name)


def earlier_ids(last_name: str) -> list[str]:
    """Ids that sort before some of a listing though their keys come after it, shortest first.

    Args:
        last_name: What follows the folder in the last key, or folder, of a listing that goes on.

    Returns:
        The beginnings of it whose keys sort after it: `task` of `task-1.json` and `task.a.json`.
    """
    return [
        last_name[:at]
        for at in range(1, len(last_name))
        if last_name[at:] < SUFFIX and is_plain(last_name[:at])
    ]


class Layout(Protocol):
    """Under which keys a driver keeps things, as the engine sees it.

    Attributes:
        prefix: What all keys begin with.
        delimiter: What folders end with.
        suffix: What the keys of documents end with.
        in_id_order: Whether documents are listed in the order of their ids.
    """

    prefix: str
    delimiter: str
    suffix: str
    in_id_order: bool

    def check(self, key: str, what: str) -> str:
        """The key, if the service accepts one so long; see `FolderLayout.check`."""
        ...

    def folder(self, collection: str) -> str:
        """Where the documents of a collection are; ends with `delimiter`."""
        ...

    def index_folder(self, collection: str, index: str = "") -> str:
        """Where the entries of an index are, or of all of the collection's."""
        ...

    def document(self, collection: str, item_id: str) -> str:
        """The key of a document; see `FolderLayout.document`."""
        ...

    def beginning(self, folder: str, text: str) -> str:
        """What the keys of the ids of a collection begin with that begin with a text."""
        ...

    def id_at(self, folder: str, key: str) -> str | None:
        """The id of the document at a key of its collection's folder.

        Returns:
            The id, or `None` if it is no document's key.

        Raises:
            ValueError: It looks like a document's, but is not one that this SDK reads.
        """
        ...

    def stray_place(self, name: str) -> str:
        """Where a name that is no id's, behind the folder, stands among `value_key`s of ids."""
        ...


class FolderLayout:
    """Keys as folders: what R2 uses.

    Args:
        prefix: What all keys begin with, without a `/` at its ends; may be empty.
        service: The service's name, for messages.
        max_key_bytes: Longest key, bytes of UTF-8.

    Raises:
        ConfigurationError: The prefix has a part that is empty, begins with `.` or holds
            characters that a key can't.
    """

    delimiter = "/"
    suffix = SUFFIX
    in_id_order = False

    def __init__(self, prefix: str, *, service: str, max_key_bytes: int) -> None:
        parts = prefix.split("/") if prefix else []
        for part in parts:
            if not part or part.startswith(".") or not part.isprintable() or not is_plain(part):
                raise ConfigurationError(
                    f"the prefix {prefix!r} has a part that is empty, begins with '.' or '%', or "
                    "holds characters that are not printable or not in NFC form"
                )
        self.prefix = "".join(f"{part}/" for part in parts)
        self._service = service
        self._max_key_bytes = max_key_bytes
        self._folders = lru_cache(maxsize=4096)(self._folder)

    def check(self, key: str, what: str) -> str:
        """The key, if the service accepts one so long.

        Args:
            key: The key.
            what: What it is the key of, for the message.

        Raises:
            InvalidArgumentError: It is too long.
        """
        size = len(key) if key.isascii() else len(key.encode())
        if size > self._max_key_bytes:
            raise InvalidArgumentError(
                f"the key of {what} is {size} bytes, {self._service} accepts "
                f"{self._max_key_bytes}; use a shorter id, scope or prefix"
            )
        return key

    # --- folders -------------------------------------------------------------------------------

    def scope_folder(self, scope: str) -> str:
        """Where the collections of a scope are; `""` is no scope. Ends with `/` unless empty."""
        return self.prefix + "".join(
            # The SDK's own folders begin with a dot, so no scope's may.
            _part(part, plain=is_plain(part) and not part.startswith(".")) + "/"
            for part in (scope.split("/") if scope else ())
        )

    def folder(self, collection: str) -> str:
        """Where the documents of a collection are; ends with `/`."""
        return self._folders(collection)

    def _folder(self, collection: str) -> str:
        scope, name = check_collection(collection)
        return f"{self.scope_folder(scope)}{name}/"

    def index_folder(self, collection: str, index: str = "") -> str:
        """Where the entries of an index are, or of all of the collection's; ends with `/`."""
        scope, name = check_collection(collection)
        folder = f"{self.scope_folder(scope)}{INDEXES}/{name}/"
        return f"{folder}{index}/" if index else folder

    def scope_part(self, folder_name: str) -> str:
        """The part of a scope that a folder's last part (without `/`) stands for.

        Raises:
            ValueError: This SDK writes no such folder.
        """
        part = folder_name
        if folder_name.startswith(ESCAPED):
            part, rest = read_sortable_text(folder_name[1:])
            if rest:
                raise ValueError("not a name as this SDK writes it")
        if _part(part, plain=is_plain(part) and not part.startswith(".")) != folder_name:
            raise ValueError("not a name as this SDK writes it")
        return part

    # --- documents -----------------------------------------------------------------------------

    def document(self, collection: str, item_id: str) -> str:
        """The key of a document.

        Raises:
            InvalidArgumentError: It would be longer than the service accepts.
        """
        part = _part(item_id, plain=is_plain(item_id))
        return self.check(self._folders(collection) + part + SUFFIX, "the document")

    def id_at(self, folder: str, key: str) -> str | None:
        """The id of the document at a key of its collection's folder.

        Returns:
            The id, or `None` if it is no document's key.

        Raises:
            ValueError: It looks like a document's, but is not one that this SDK reads.
        """
        name = key[len(folder) :]
        if not name.endswith(SUFFIX) or "/" in name:
            return None
        part = name[: -len(SUFFIX)]
        if part.startswith(ESCAPED):
            item_id, rest = read_sortable_text(part[1:])
            if rest or is_plain(item_id):
                raise ValueError("not a name as this SDK writes it")
            return item_id
        # Listings of R2 show the form that was uploaded last; its NFC form is the same object.
        part = unicodedata.normalize("NFC", part)
        if not part or not is_plain(part):
            raise ValueError("not a name as this SDK writes it")
        return part

    def beginning(self, folder: str, text: str) -> str:
        """What the keys of the ids of a collection begin with that begin with a text."""
        # Some stand in keys as they are, and others of the same beginning do not.
        return folder

    def stray_place(self, name: str) -> str:
        """Where a name that is no id's, behind the folder, stands among `value_key`s of ids."""
        if name.startswith(ESCAPED):
            return "2" + name[1:]
        return "2" + sortable_text(name.removesuffix(SUFFIX))

    def before_plain(self, folder: str, after_id: str) -> str:
        """A key behind which all plain ids that sort after `after_id` are listed."""
        safe = len(after_id)
        if not is_plain(after_id):
            nfc = unicodedata.normalize("NFC", after_id) == after_id
            for at, character in enumerate(after_id):
                if is_unsafe(character) or not (nfc or character.isascii()):
                    safe = at
                    break
        return folder + after_id[:safe]

    def before_escaped(self, folder: str, after_id: str | None) -> str:
        """A key behind which all other ids that sort after `after_id` are listed."""
        tail = "" if after_id is None else sortable_text(after_id)
        return folder + ESCAPED + tail
