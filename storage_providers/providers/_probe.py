"""Whether documents may be written, read and removed: tried on any provider."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from storage_providers.base import Provider
from storage_providers.errors import StorageError
from storage_providers.maintenance import Transient
from storage_providers.protocol import Address, Delete, Put

__all__ = ["try_writing"]

PROBE_COLLECTION: Final = ".doctor"
"""Where the trial document goes."""


async def try_writing(provider: Provider) -> str:
    """Write a document, read and remove it; nothing of it stays behind.

    Args:
        provider: Without layers: a scope would have the document's folder inside its own.

    Returns:
        What was done, for a report.

    Raises:
        StorageError: Something of it failed.
    """
    item_id = f"probe-{provider.clock.new_id()}"
    try:
        await provider.write([Put(PROBE_COLLECTION, {"id": item_id})])
    except StorageError:
        with suppress(StorageError):  # The first error says more.
            await _clean_up(provider, item_id)
        raise
    try:
        found = await provider.read([Address(PROBE_COLLECTION, item_id)])
    finally:
        await _clean_up(provider, item_id)
    if found[0] is None and provider.capabilities.strongly_consistent:
        raise StorageError("a document that was just written is not there")
    return "a document was written, read and removed"


async def _clean_up(provider: Provider, item_id: str) -> None:
    await provider.write([Delete(PROBE_COLLECTION, item_id)])
    if isinstance(provider, Transient):
        await provider.discard(PROBE_COLLECTION)
