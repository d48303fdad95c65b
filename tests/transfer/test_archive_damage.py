"""Damaged and hostile archives: refused with a reason, before anything is written."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from storage_providers.errors import CorruptArchiveError
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.transfer.archive import ArchiveLimits, import_archive, verify_archive
from tests.transfer.archives import example

Members = dict[str, bytes]


def rewrite(path: Path, change: Callable[[Members], None]) -> None:
    """Rewrite an archive with its members changed, as an attacker would: all sums fit."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def manifest_with(members: Members, **fields: Any) -> None:
    """Change fields of the manifest."""
    manifest = json.loads(members["manifest.json"])
    manifest.update(fields)
    members["manifest.json"] = json.dumps(manifest).encode()


def entry_with(members: Members, **fields: Any) -> None:
    """Change fields of the first collection in the manifest."""
    manifest = json.loads(members["manifest.json"])
    manifest["collections"][0].update(fields)
    members["manifest.json"] = json.dumps(manifest).encode()


def lines_with(members: Members, data: bytes) -> None:
    """Replace the documents of the first collection, with sums that fit."""
    members["collections/todos.jsonl"] = data
    entry_with(
        members,
        sizeBytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        count=data.count(b"\n"),
    )


def cut_short(members: Members) -> None:
    """End the documents in the middle of a line."""
    lines_with(members, b'{"id":"1","document":{"id":"1"}}')
    entry_with(members, count=1)


def twice(members: Members) -> None:
    """Name a collection twice."""
    manifest = json.loads(members["manifest.json"])
    manifest["collections"].append(manifest["collections"][0])
    members["manifest.json"] = json.dumps(manifest).encode()


HOSTILE: dict[str, tuple[Callable[[Members], Any], str]] = {
    "no manifest": (lambda m: m.pop("manifest.json"), "no manifest.json"),
    "manifest is no JSON": (lambda m: m.update({"manifest.json": b"{"}), "damaged"),
    "manifest is a list": (lambda m: m.update({"manifest.json": b"[]"}), "damaged"),
    "another format": (lambda m: manifest_with(m, format="other"), "not that of an archive"),
    "a newer version": (lambda m: manifest_with(m, formatVersion=2), "format version is 2"),
    "unknown fields": (lambda m: manifest_with(m, more=1), "unknown field"),
    "a changed document": (
        lambda m: m.update(
            {"collections/todos.jsonl": m["collections/todos.jsonl"].replace(b'"n":1', b'"n":7')}
        ),
        "checksum",
    ),
    "a missing document": (lambda m: entry_with(m, count=3), "the manifest says 3"),
    "another length": (lambda m: entry_with(m, sizeBytes=1), "the manifest says 1"),
    "a missing member": (lambda m: m.pop("collections/todos.jsonl"), "is missing"),
    "an unknown member": (lambda m: m.update({"more.txt": b""}), "is not in the manifest"),
    "a path upwards": (lambda m: m.update({"../../etc/passwd": b"x"}), "is not in the manifest"),
    "an absolute path": (lambda m: m.update({"/etc/passwd": b"x"}), "is not in the manifest"),
    "a member elsewhere": (lambda m: entry_with(m, member="../todos"), "names the member"),
    "the SDK's own collection": (
        lambda m: entry_with(m, collection=".sdk", member="collections/.sdk.jsonl"),
        "names the member",
    ),
    "a bad collection": (lambda m: entry_with(m, collection="../x"), "scope '..'"),
    "a collection twice": (twice, "twice"),
    "another's declaration": (
        lambda m: entry_with(m, spec={"collection": "other"}),
        "another collection's",
    ),
    "a line that is no JSON": (lambda m: lines_with(m, b"nonsense\n"), "line 1"),
    "a document that is no object": (
        lambda m: lines_with(m, b'{"id":"1","document":[1]}\n'),
        "line 1",
    ),
    "another id inside": (
        lambda m: lines_with(m, b'{"id":"1","document":{"id":"2"}}\n'),
        "another id",
    ),
    "an id with U+0000": (
        lambda m: lines_with(m, b'{"id":"\\u0000","document":{"id":"\\u0000"}}\n'),
        "U\\+0000",
    ),
    "an encoding without payload": (
        lambda m: lines_with(m, b'{"id":"1","document":{"id":"1"},"encoding":"x"}\n'),
        "go together",
    ),
    "a wrong expiry": (
        lambda m: lines_with(m, b'{"id":"1","document":{"id":"1","expiresAt":"soon"}}\n'),
        "expiresAt",
    ),
    "unknown keys in a line": (
        lambda m: lines_with(m, b'{"id":"1","document":{"id":"1"},"more":1}\n'),
        "unknown field",
    ),
    "a line cut short": (
        cut_short,
        "cut short",
    ),
    "deep nesting": (
        lambda m: lines_with(
            m, b'{"id":"1","document":{"id":"1","a":' + b"[" * 5000 + b"]" * 5000 + b"}}\n"
        ),
        "line 1",
    ),
}


async def refuses(path: Path, match: str, limits: ArchiveLimits | None = None) -> None:
    """Neither verifying nor importing accepts the archive, and nothing is written."""
    with pytest.raises(CorruptArchiveError, match=match):
        await verify_archive(path, limits=limits)
    async with InMemoryProvider() as provider:
        with pytest.raises(CorruptArchiveError, match=match):
            await import_archive(provider, path, limits=limits)
        assert await provider.collections() == []


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused(tmp_path: Path, name: str) -> None:
    """What does not fit the manifest, or is no document, is refused before anything is written."""
    change, match = HOSTILE[name]

    async def check() -> None:
        path = tmp_path / "a.zip"
        await example(path)
        rewrite(path, change)
        await refuses(path, match)

    asyncio.run(check())


def test_a_rewritten_archive_is_accepted(tmp_path: Path) -> None:
    """The tool that makes the hostile ones makes good ones, too."""

    async def check() -> None:
        path = tmp_path / "a.zip"
        await example(path)
        rewrite(path, lambda members: lines_with(members, b'{"id":"1","document":{"id":"1"}}\n'))
        assert (await verify_archive(path)).count == 2

    asyncio.run(check())


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    """Wherever a byte is flipped or the file ends early, nothing wrong is imported."""

    async def check() -> None:
        path = tmp_path / "a.zip"
        await example(path)
        good = path.read_bytes()
        manifest = await verify_archive(path)
        for position in range(0, len(good), 3):
            path.write_bytes(
                good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :]
            )
            with suppress(CorruptArchiveError):
                # Bytes without a meaning, such as a time of day, may differ.
                assert await verify_archive(path) == manifest
        for end in range(0, len(good), 7):
            path.write_bytes(good[:end])
            with pytest.raises(CorruptArchiveError):
                await verify_archive(path)

    asyncio.run(check())


def test_bombs_are_refused(tmp_path: Path) -> None:
    """A member that grows too much, or all of them together, is refused unread."""

    async def check() -> None:
        path = tmp_path / "a.zip"
        await example(path)
        bomb = b'{"id":"1","document":{"id":"1","a":"' + b"0" * 30_000_000 + b'"}}\n'
        rewrite(path, lambda members: lines_with(members, bomb))
        assert path.stat().st_size < 100_000
        await refuses(path, "raise ArchiveLimits.max_ratio")
        await refuses(
            path,
            "raise ArchiveLimits.max_bytes",
            ArchiveLimits(max_ratio=2000, max_bytes=1_000_000),
        )
        assert (await verify_archive(path, limits=ArchiveLimits(max_ratio=2000))).count == 2

    asyncio.run(check())


def test_tricks_of_the_zip_format_are_refused(tmp_path: Path) -> None:
    """Duplicate, overlapping, encrypted or strangely packed members are none of ours."""

    async def check() -> None:
        path = tmp_path / "a.zip"
        await example(path)
        good = path.read_bytes()
        with (
            zipfile.ZipFile(path, "a") as archive,
            pytest.warns(UserWarning, match="Duplicate name"),
        ):
            archive.writestr("manifest.json", b"{}")
        await refuses(path, "two members named")

        with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
            archive.writestr("manifest.json", b"{}")
        await refuses(path, "packed in a way")

        directory = good.index(b"PK\x01\x02")
        encrypted = bytearray(good)
        encrypted[directory + 8] |= 1
        path.write_bytes(encrypted)
        await refuses(path, "encrypted")

        second = good.index(b"PK\x01\x02", directory + 4)
        overlapping = bytearray(good)
        (offset,) = struct.unpack_from("<I", good, directory + 42)
        struct.pack_into("<I", overlapping, second + 42, offset)
        path.write_bytes(overlapping)
        await refuses(path, "overlaps")

    asyncio.run(check())
