"""Files that appear complete or not at all."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage_providers.errors import PermissionDeniedError, StorageError, StorageFullError
from storage_providers.protocol import Put
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.transfer._files import write_file
from storage_providers.transfer.archive import export_archive, import_archive


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EROFS, PermissionDeniedError),
        (errno.EACCES, PermissionDeniedError),
        (errno.EIO, StorageError),
    ],
)
def test_a_full_or_failing_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[StorageError]
) -> None:
    """The error says what happened and where; the old file is whole, and no other is there."""
    target = tmp_path / "file"
    write_file(target, b"old")

    def fail(_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)

    async def export() -> None:
        async with InMemoryProvider() as provider:
            await export_archive(provider, target, overwrite=True)

    attempts: list[Callable[[], None]] = [
        lambda: write_file(target, b"new"),
        lambda: asyncio.run(export()),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError, match=str(target)) as caught:
            attempt()
        assert type(caught.value) is expected
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert target.read_bytes() == b"old"


def test_an_archive_goes_between_all_kinds_of_providers(tmp_path: Path) -> None:
    """Indented files, rows and memory hold the same documents after a trip through archives."""
    documents: list[dict[str, Any]] = [
        {"id": "a/b:c", "text": "line\nbreak \u2028 and \x7f", "n": 2**53 + 1, "f": 1.0},
        {"id": "É", "deep": {"list": [[], {}, None, True, -0.5]}},
    ]

    async def check() -> None:
        async with (
            LocalFileProvider(tmp_path / "files") as files,
            SQLiteProvider(tmp_path / "rows.db") as rows,
            InMemoryProvider() as memory,
        ):
            await files.write([Put("user-7/things", document) for document in documents])
            await export_archive(files, tmp_path / "1.zip")
            await import_archive(rows, tmp_path / "1.zip")
            await export_archive(rows, tmp_path / "2.zip")
            await import_archive(memory, tmp_path / "2.zip")
            for provider in (files, rows, memory):
                items = [item.document async for item in provider.find_items("user-7/things")]
                assert [repr(sorted(item.items())) for item in items] == [
                    repr(sorted(document.items())) for document in documents
                ]

    asyncio.run(check())
