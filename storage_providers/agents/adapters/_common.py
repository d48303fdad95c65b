"""What the adapters share: ids for names of any kind, stamps, and refusals."""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
from collections.abc import Iterable
from importlib import import_module
from typing import Final

from storage_providers._clock import SYSTEM_CLOCK, format_timestamp
from storage_providers.errors import (
    CorruptItemWarning,
    StorageError,
    UnsupportedOperationError,
)
from storage_providers.protocol import JsonObject, StorageProvider

__all__ = [
    "digest",
    "need",
    "raise_corrupt",
    "require",
    "segment",
    "stamps",
    "warn_corrupt",
]

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{0,40}", re.ASCII)

NEEDED: Final = {
    "strongly_consistent": "a read must see the write before it",
    "conditional_write": "writers at the same moment must not lose each other's work",
}


def need(module: str, who: str, extra: str) -> None:
    """Load a framework's module, or fail with advice where it is not installed.

    Raises:
        ImportError: Naming the extra to install.
    """
    try:
        import_module(module)
    except ImportError as error:
        advice = f"{who} needs: pip install 'storage-providers[{extra}]'"
        raise ImportError(advice, name=module) from error


def require(provider: StorageProvider, who: str, *names: str) -> None:
    """Refuse a provider that can't carry an adapter.

    Raises:
        UnsupportedOperationError: Naming the first capability that is missing, and why it matters.
    """
    for name in names:
        if not getattr(provider.capabilities, name):
            raise UnsupportedOperationError(
                f"{who} needs a provider with {name}, which {provider.name} has not: {NEEDED[name]}"
            )


def digest(text: str) -> str:
    """A name of 33 characters for text of any kind: `~` and 160 bits of its SHA-256."""
    hashed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:20]
    return "~" + base64.b32encode(hashed).decode().lower()


def segment(text: str, plain: re.Pattern[str] = _PLAIN) -> str:
    """One part of an id: plain text as it is, other or longer text by its digest.

    No plain text begins with `~` or holds a full stop, so parts joined by `.` stay apart.
    """
    return text if plain.fullmatch(text) else digest(text)


def stamps() -> JsonObject:
    """`createdAt` and `updatedAt` of a document that is new."""
    now = format_timestamp(SYSTEM_CLOCK.stamp_ms())
    return {"createdAt": now, "updatedAt": now}


def warn_corrupt(corrupt: Iterable[StorageError]) -> None:
    """Report documents that can't be read, where the others are listed all the same."""
    for error in corrupt:
        warnings.warn(str(error), CorruptItemWarning, stacklevel=3)


def raise_corrupt(corrupt: Iterable[StorageError]) -> None:
    """Raise the first report of a document that can't be read, if there is one."""
    for error in corrupt:
        raise error
