# ruff: noqa: PGH003 - pyright's own ignore stands behind mypy's
"""Read by mypy and pyright alone: the public names keep their types through the lazy import."""

from __future__ import annotations

from typing import assert_type

import storage_providers
from storage_providers import (
    InMemoryProvider,
    Item,
    Layer,
    Page,
    Provider,
    StorageProvider,
    compose,
)


async def main() -> None:
    """Uses the names as a program does."""
    provider: StorageProvider = InMemoryProvider()
    assert_type(await provider.read_item("todos", "plants"), Item | None)
    assert_type(await provider.list_items("todos"), Page)
    assert_type(await provider.update_item("todos", "plants", {"done": True}), Item)
    assert_type([item async for item in provider.find_items("todos")], list[Item])
    assert_type(compose(Layer(), provider=InMemoryProvider()), Provider)
    assert_type(storage_providers.__version__, str)
    # A misspelt name is an error, not `Any`: if it were, this ignore would be unused.
    print(storage_providers.InMemoryProvidr)  # type: ignore[attr-defined]  # pyright: ignore
