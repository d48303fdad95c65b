"""Other places for documents, doing the same as well as they can."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["PageOf", "open_py_key_value", "open_tinydb"]

PageOf: TypeAlias = Callable[[str], Awaitable[list[dict[str, Any]]]]
"""Answers with the first 100 documents due on a day or later, by due day and id."""


def _order(document: dict[str, Any]) -> tuple[str, str]:
    return document["due"], document["id"]


@asynccontextmanager
async def open_tinydb(
    folder: Path, documents: list[dict[str, Any]]
) -> AsyncGenerator[PageOf, None]:
    """TinyDB with its own storage, filled by one insert."""
    from tinydb import TinyDB, where

    with TinyDB(folder / "tiny.json") as database:
        database.insert_multiple(documents)  # pyright: ignore[reportUnknownMemberType]

        async def ask(day: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = [
                dict(document) for document in database.search(where("due") >= day)
            ]
            return sorted(found, key=_order)[:100]

        yield ask


@asynccontextmanager
async def open_py_key_value(
    folder: Path, documents: list[dict[str, Any]]
) -> AsyncGenerator[PageOf, None]:
    """py-key-value's FileTreeStore. It can't list its keys, so it is told them."""
    from key_value.aio.stores.filetree import FileTreeStore

    # It holds nothing open, so there is nothing to close.
    store = FileTreeStore(data_directory=folder)
    # The first document shows where the store keeps files; the others are written beside it in its
    # own format, as storing 100,000 one by one takes minutes.
    await store.put(documents[0]["id"], documents[0], collection="todos")
    await asyncio.to_thread(_write_entries, folder, documents)
    keys = [document["id"] for document in documents]

    async def ask(day: str) -> list[dict[str, Any]]:
        values = await store.get_many(keys, collection="todos")
        found = [value for value in values if value is not None and value["due"] >= day]
        return sorted(found, key=_order)[:100]

    yield ask


def _write_entries(folder: Path, documents: list[dict[str, Any]]) -> None:
    first, *others = documents
    kept = next(folder.rglob(f"{first['id']}.json")).parent
    now = datetime.now(UTC).isoformat()
    for document in others:
        entry = {"created_at": now, "value": document, "version": 1}
        (kept / f"{document['id']}.json").write_text(json.dumps(entry, sort_keys=True))
