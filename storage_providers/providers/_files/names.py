r"""Names of files and folders for ids, scopes and collections: pure functions, no I/O.

Ids such as UUIDs, dates, slugs and addresses stay as they are. In all others

- upper-case ASCII letters are kept, and `^` with a hexadecimal mask of which letters they are
  ends the name, for file systems that ignore case: `README` is `README^3f`;
- `/ \ : * ? " < > | ~ % ^`, control characters, and a dot or space at either end become `%` and
  two hexadecimal digits a byte; so does the first letter of `con`, `nul`, `com1`, …, which Windows
  gives to devices;
- so do letters with several forms (é as e + accent, ß, ſ) and all beyond ASCII that is no letter
  or digit, for file systems that normalise Unicode. `café` (composed) and `日本` stay: every name
  is checked to come back from each folding a file system may do, so no two ids have names that
  fold to one;
- a name over 255 bytes becomes its beginning, `^^` and a hash of the id; the id is in the document.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Final, Literal, TypeAlias

__all__ = ["ENCODED_SUFFIX", "PLAIN_SUFFIX", "file_stem", "folder_name", "is_hashed", "original"]

PLAIN_SUFFIX: Final = ".json"
ENCODED_SUFFIX: Final = ".encoded"

MAX_NAME_BYTES: Final = 255
"""Longest file name, bytes. ext4, XFS, APFS, NTFS (there 255 UTF-16 units), read 2026-11."""

_HASH_MARK: Final = "^^"
_HASH_BYTES: Final = 16
_PREFIX_BYTES: Final = 120
"""What is kept of a name that is too long: enough to recognise it."""

_PLAIN: Final = re.compile(r"[a-z0-9_@+=,-][a-z0-9_@+=,. -]*", re.ASCII)
_KEPT_ASCII: Final = frozenset(
    chr(code) for code in range(0x20, 0x7F) if chr(code) not in '/\\:*?"<>|~%^'
)
_KEPT_CATEGORIES: Final = frozenset({"Ll", "Lo", "Nd"})
_ESCAPE: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+", re.ASCII)
_RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in range(10)}
)
"""Names that Windows gives to devices, whatever follows a dot. Source: Microsoft, "Naming Files,
Paths, and Namespaces" (read 2026-11)."""
_LOWER_ASCII: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_Form: TypeAlias = Literal["NFC", "NFD", "NFKC", "NFKD"]
_FORMS: Final[tuple[_Form, ...]] = ("NFC", "NFD", "NFKC", "NFKD")


@lru_cache(maxsize=8192)
def file_stem(item_id: str) -> str:
    """The name of a document's file without its suffix.

    Args:
        item_id: Any id the contract allows.

    Returns:
        A name of at most 255 bytes with either suffix, whose foldings no other id's name shares.
    """
    return _name(item_id, MAX_NAME_BYTES - len(ENCODED_SUFFIX))


@lru_cache(maxsize=1024)
def folder_name(part: str) -> str:
    """The name of the folder of a collection or of one part of a scope.

    It never ends in a document's suffix, so a folder can't stand where a file belongs.

    Args:
        part: A collection's name, or one part of a scope.

    Returns:
        A name of at most 255 bytes whose foldings no other part's name shares.
    """
    name = _name(part, MAX_NAME_BYTES)
    for suffix in (PLAIN_SUFFIX, ENCODED_SUFFIX):
        if name.translate(_LOWER_ASCII).endswith(suffix):
            return _fitting(
                part, f"{name[: -len(suffix)]}%2E{name[1 - len(suffix) :]}", MAX_NAME_BYTES
            )
    return name


def is_hashed(name: str) -> bool:
    """Whether a name holds only the beginning of its id."""
    return _HASH_MARK in name


def original(name: str) -> str | None:
    """The id or part that a name stands for.

    Args:
        name: A file's name without its suffix, or a folder's; in whatever Unicode form.

    Returns:
        What `file_stem` or `folder_name` was given; `None` if the name is hashed or damaged. Only
        a name that comes back from it, through `file_stem` or `folder_name`, is that id's own.
    """
    if is_hashed(name):
        return None
    text, _, mask = unicodedata.normalize("NFC", name).partition("^")
    try:
        # Unescaped before the mask is applied: it counts the letter of a reserved name too.
        plain = _ESCAPE.sub(lambda match: bytes.fromhex(match[0].replace("%", "")).decode(), text)
        return _with_case(plain, int(mask, 16)) if mask else plain
    except ValueError:
        return None


def _name(text: str, limit: int) -> str:
    if _PLAIN.fullmatch(text) and text[-1] not in ". " and text.partition(".")[0] not in _RESERVED:
        return _fitting(text, text, limit)
    characters = list(text)
    escaped = [_escaped(character) for character in characters]
    if characters[0] in ". ":
        escaped[0] = _percent(characters[0])
    if characters[-1] in ". ":
        escaped[-1] = _percent(characters[-1])
    if text.partition(".")[0].rstrip(" ").translate(_LOWER_ASCII) in _RESERVED:
        escaped[0] = _percent(characters[0].lower())
    name = "".join(escaped)
    if not name.isascii() and not _comes_back(name):
        name = "".join(part if part.isascii() else _percent(part) for part in escaped)
    mask = _case_mask(text)
    return _fitting(text, f"{name}^{mask:x}" if mask else name, limit)


def _fitting(text: str, name: str, limit: int) -> str:
    """The name, or its beginning and the hash of what it stands for if it is too long."""
    if len(name) * 4 <= limit or len(unicodedata.normalize("NFD", name).encode()) <= limit:
        return name
    digest = hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES).hexdigest()
    beginning = unicodedata.normalize("NFD", name).encode()[:_PREFIX_BYTES].decode(errors="ignore")
    return f"{unicodedata.normalize('NFC', beginning.partition('^')[0])}{_HASH_MARK}{digest}"


def _escaped(character: str) -> str:
    if character.isascii():
        return character if character in _KEPT_ASCII else _percent(character)
    # Unicode 3.2, which every Python carries, so that no later Python spells a name otherwise.
    if unicodedata.ucd_3_2_0.category(character) in _KEPT_CATEGORIES:
        return character if _comes_back(character) else _percent(character)
    return _percent(character)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _comes_back(name: str) -> bool:
    """Whether every folding of a name can be undone, but for the case of ASCII letters."""
    plain = name.translate(_LOWER_ASCII)
    return all(
        unicodedata.normalize("NFC", fold.casefold()) == plain
        for form in _FORMS
        for normal in (unicodedata.normalize(form, name),)
        for fold in (normal, normal.upper(), normal.casefold())
    )


def _case_mask(text: str) -> int:
    """Which of the ASCII letters are upper-case; bit 0 is the first letter."""
    mask, bit = 0, 1
    for character in text:
        if "a" <= character <= "z":
            bit <<= 1
        elif "A" <= character <= "Z":
            mask |= bit
            bit <<= 1
    return mask


def _with_case(text: str, mask: int) -> str:
    result: list[str] = []
    for character in text.translate(_LOWER_ASCII):
        if "a" <= character <= "z":
            result.append(character.upper() if mask & 1 else character)
            mask >>= 1
        else:
            result.append(character)
    return "".join(result)
