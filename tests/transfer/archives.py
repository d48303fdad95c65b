"""An archive to test with."""

from __future__ import annotations

from pathlib import Path

from storage_providers.protocol import CollectionSpec, Index, Put
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.transfer.archive import export_archive


async def example(path: Path) -> None:
    """An archive with two collections, three documents and a declaration."""
    async with InMemoryProvider() as provider:
        await provider.declare(CollectionSpec(collection="todos", indexes=(Index.of("due"),)))
        await provider.write(
            [
                Put("todos", {"id": "1", "n": 1, "updatedAt": "2026-01-02T00:00:00.000Z"}),
                Put("todos", {"id": "2", "n": 2, "updatedAt": "2026-01-02T00:00:00.000Z"}),
                Put("user-7/notes", {"id": "n"}),
            ]
        )
        await export_archive(provider, path)
