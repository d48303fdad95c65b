"""Keys of Workers KV: `[{prefix}:][@{scope}:]{collection}:{id}`.

A `:` stands only between these parts, a scope always begins with `@`, an index's entries stand
behind a `~`; no collection begins with either. So no two things share a key, whatever they are
called, and what belongs to one collection begins alike and with nothing else.

Names stand in keys as they are but for a few ASCII characters, which are written so that keys sort
as the names do, by code point:

| in a name | in a key |
|---|---|
| U+0001 to U+0020 (controls, the space), `!` | `!01` to `!20`, `!21` |
| `:` and `;` | `;0` and `;1` |
| `~` | `~0` |
| U+007F to U+009F (controls) | `~17F` to `~19F` |
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from storage_providers.errors import ConfigurationError, InvalidArgumentError
from storage_providers.protocol import check_collection
from storage_providers.providers._objects.keys import sortable_text

__all__ = ["INDEXES", "KVLayout", "key_text", "read_key_text"]

DELIMITER: Final = ":"
SCOPE: Final = "@"
INDEXES: Final = "~"
"""What stands before the keys of index entries: behind those of all documents, so that the names
of collections are listed without them."""

MAX_KEY_BYTES: Final = 512
"""Longest key, bytes of UTF-8. Source: Cloudflare docs, kv/platform/limits (read 2026-11)."""

_PREFIX_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", re.ASCII)
_UNSAFE = re.compile("[\x00-!:;~\x7f-\x9f]")
_ESCAPE = re.compile(r"!([0-9A-F]{2})|;([01])|~(0|1[0-9A-F]{2})")


def key_text(text: str) -> str:
    """A name as it stands in keys: safe, and sorted as the name is."""
    return _UNSAFE.sub(lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    if character <= "!":
        return f"!{ord(character):02X}"
    if character in ":;":
        return f";{':;'.index(character)}"
    return "~0" if character == "~" else f"~1{ord(character):02X}"


def read_key_text(part: str) -> str:
    """The name that stands in a key.

    Raises:
        ValueError: This SDK writes no name so.
    """
    text = _ESCAPE.sub(_unescaped, part)
    if key_text(text) != part:
        raise ValueError("not a name as this SDK writes it")
    return text


def _unescaped(found: re.Match[str]) -> str:
    low, colon, high = found.groups()
    if low is not None:
        return chr(int(low, 16))
    if colon is not None:
        return ":;"[int(colon)]
    return "~" if high == "0" else chr(int(high[1:], 16))


class KVLayout:
    """Under which keys documents and index entries are; a `Layout` of the engine.

    Args:
        prefix: What all keys begin with, without the `:` at its end; may be empty.

    Raises:
        ConfigurationError: The prefix has a part that is empty or holds other characters than
            letters, digits, `_`, `.`, `-` and `/`.
    """

    delimiter = DELIMITER
    suffix = ""
    in_id_order = True

    def __init__(self, prefix: str = "") -> None:
        parts = prefix.split(DELIMITER) if prefix else []
        for part in parts:
            if not _PREFIX_PART.fullmatch(part):
                raise ConfigurationError(
                    f"the prefix {prefix!r} has a part between ':' that is not of letters, digits, "
                    "'_', '.', '-' and '/', beginning with a letter, a digit or '_'"
                )
        self.prefix = "".join(part + DELIMITER for part in parts)
        self._folders = lru_cache(maxsize=4096)(self._folder)

    def check(self, key: str, what: str) -> str:
        """The key, if KV accepts one so long.

        Raises:
            InvalidArgumentError: It is too long.
        """
        size = len(key) if key.isascii() else len(key.encode())
        if size > MAX_KEY_BYTES:
            raise InvalidArgumentError(
                f"the key of {what} is {size} bytes, KV accepts {MAX_KEY_BYTES}; use a shorter id, "
                "scope or prefix"
            )
        return key

    # --- folders -------------------------------------------------------------------------------

    def scope_folder(self, scope: str) -> str:
        """Where the collections of a scope are; `""` is no scope."""
        return self.prefix + _scope(scope)

    def folder(self, collection: str) -> str:
        """Where the documents of a collection are; ends with `:`."""
        return self._folders(collection)

    def _folder(self, collection: str) -> str:
        scope, name = check_collection(collection)
        return f"{self.prefix}{_scope(scope)}{name}{DELIMITER}"

    def index_folder(self, collection: str, index: str = "") -> str:
        """Where the entries of an index are, or of all of the collection's; ends with `:`."""
        scope, name = check_collection(collection)
        folder = f"{self.prefix}{INDEXES}{_scope(scope)}{name}{DELIMITER}"
        return f"{folder}{index}{DELIMITER}" if index else folder

    def collection_in(self, key: str) -> str | None:
        """The name, without its scope, of the collection that a key belongs to, or its folder."""
        rest = key[len(self.prefix) :].removeprefix(INDEXES)
        if rest.startswith(SCOPE):
            rest = rest.partition(DELIMITER)[2]
        name, delimiter, _ = rest.partition(DELIMITER)
        return name if delimiter else None

    def address_of(self, key: str) -> tuple[str, str, str] | None:
        """The scope, the collection and the id that a document's key tells.

        Returns:
            Them, or `None`: it is not the key of a document of this SDK.
        """
        scope, parts = "", key[len(self.prefix) :].split(DELIMITER)
        try:
            if parts[0].startswith(SCOPE):
                scope = read_key_text(parts.pop(0)[len(SCOPE) :])
                if not scope:
                    return None
            if len(parts) != 2 or not parts[1]:
                return None
            return scope, parts[0], read_key_text(parts[1])
        except ValueError:
            return None

    # --- documents -----------------------------------------------------------------------------

    def document(self, collection: str, item_id: str) -> str:
        """The key of a document.

        Raises:
            InvalidArgumentError: It would be longer than KV accepts.
        """
        return self.check(self._folders(collection) + key_text(item_id), "the document")

    def beginning(self, folder: str, text: str) -> str:
        """What the keys of the ids of a collection begin with that begin with a text."""
        return folder + key_text(text)

    def id_at(self, folder: str, key: str) -> str | None:
        """The id of the document at a key of its collection's folder.

        Returns:
            The id, or `None` if it is no document's key: another prefix may begin as a collection.

        Raises:
            ValueError: It looks like a document's, but this SDK writes no such key.
        """
        name = key[len(folder) :]
        return read_key_text(name) if name and DELIMITER not in name else None

    def stray_place(self, name: str) -> str:
        """Where a name that is no id's, behind the folder, stands among `value_key`s of ids."""
        return "2" + sortable_text(name)


def _scope(scope: str) -> str:
    return f"{SCOPE}{key_text(scope)}{DELIMITER}" if scope else ""
