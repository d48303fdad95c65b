"""The same 100,000 todos in every place that is asked for a page of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._harness import Run
from benchmarks.suites.local._documents import todos
from storage_providers import CollectionSpec, Index, LocalFileProvider, SQLiteProvider

__all__ = ["BY_DUE", "corpus_size", "documents_of", "filled_database", "filled_folder"]

BY_DUE = CollectionSpec(collection="todos", indexes=(Index.of("due"),))


def corpus_size(run: Run) -> int:
    """How many documents there are."""
    return run.size(100_000, 300)


def documents_of(run: Run) -> list[dict[str, Any]]:
    """All of them, in memory."""
    return todos(0, corpus_size(run))


async def filled_database(run: Run) -> Path:
    """A database of all documents, made the first time it is asked for."""
    path = run.folder / "corpus.db"
    if not path.exists():
        async with SQLiteProvider(path) as provider:
            await provider.declare(BY_DUE)
            for first in range(0, corpus_size(run), 5000):
                await provider.put_items("todos", todos(first, min(5000, corpus_size(run))))
    return path


async def filled_folder(run: Run, size: int | None = None) -> Path:
    """A folder of documents whose index is up to date, made the first time it is asked for.

    The files are written by hand and without fsync, which is quicker; the provider finds them.
    """
    size = size or corpus_size(run)
    path = run.folder / f"corpus-{size}"
    if not path.exists():
        await asyncio.to_thread(_write_files, path / "todos", todos(0, size))
        async with LocalFileProvider(path) as provider:
            await provider.declare(BY_DUE)
            assert await provider.count_items("todos") == size
    return path


def _write_files(folder: Path, documents: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True)
    for document in documents:
        content = msgspec.json.format(msgspec.json.encode(document), indent=2)
        (folder / f"{document['id']}.json").write_bytes(content + b"\n")
