"""Whether the place of a provider is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from storage_providers.layers import below_layers

if TYPE_CHECKING:
    from storage_providers.base import Provider
    from storage_providers.providers.hybrid import HybridProvider

__all__ = ["missing_path", "nearest_folder"]


def missing_path(provider: Provider) -> str | None:
    """The folder or file that a provider would have to make first.

    Args:
        provider: Any provider.
    """
    own = below_layers(provider)
    while own.name == "hybrid":
        # What the fallback needs is made when it is opened: its documents are copies.
        own = below_layers(cast("HybridProvider", own).primary)
    path = getattr(own, "root", None) or getattr(own, "path", None)
    if own.name == "dual-write":
        # The target may be made by a migration; the source is there before it.
        return missing_path(getattr(own, "source"))  # noqa: B009
    if not isinstance(path, str) or path == ":memory:" or Path(path).exists():
        return None
    return path


def nearest_folder(path: str) -> tuple[str, bool]:
    """The folder above a path that is there, and whether something may be made in it.

    Args:
        path: What is not there.
    """
    folder = Path(path).absolute().parent
    while not folder.exists():
        folder = folder.parent
    return str(folder), folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
