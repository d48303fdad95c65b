"""The archive as a file: a zip of JSONL members and a manifest, written and read in a stream.

Reading trusts nothing: names, sizes, ratios and checksums are compared before a line is handed on.
"""

from __future__ import annotations

import hashlib
import struct
import threading
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

import msgspec

from storage_providers.errors import (
    CorruptArchiveError,
    DocumentTooLargeError,
    InvalidArgumentError,
    StorageError,
)
from storage_providers.protocol import CollectionSpec, Item, Put, check_collection, check_id
from storage_providers.transfer._files import PendingFile, translated

__all__ = [
    "ArchiveLimits",
    "ArchiveManifest",
    "ArchiveReader",
    "ArchiveWriter",
    "ArchivedCollection",
]

FORMAT: Final = "storage-providers-archive"
FORMAT_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024
MAX_LINE_BYTES: Final = 256 * 1024 * 1024
"""Longest line, bytes: one document with its payload. It has to fit into memory."""
BLOCK_BYTES: Final = 64 * 1024
"""Bytes that are unpacked at once. Ours."""
CHUNK_BYTES: Final = 4 * 1024 * 1024
CHUNK_LINES: Final = 500

_UNESCAPED = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-.")
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, ValueError)


class ArchiveLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive may grow to when it is unpacked; beyond, it is taken for a bomb.

    Attributes:
        max_bytes: All members together, unpacked, bytes.
        max_ratio: Unpacked bytes for each packed one, in members over `free_bytes`. Text of
            documents reaches 5 to 50; the format allows 1,032.
        free_bytes: Members up to this size, unpacked, may have any ratio.
    """

    max_bytes: int = 1024**4
    max_ratio: float = 400.0
    free_bytes: int = 16 * 1024 * 1024


class ArchivedCollection(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """One collection in an archive.

    Attributes:
        collection: Its name, with its scope if it has one.
        member: Where in the zip its documents are.
        count: Documents.
        size_bytes: Length of the member, unpacked.
        sha256: Checksum of the member, unpacked, in hexadecimal.
        spec: What was declared about the collection.
        unreadable: Documents that could not be read when the archive was made, and why; they are
            not in it.
    """

    collection: str
    member: str
    count: int
    size_bytes: int
    sha256: str
    spec: CollectionSpec | None = None
    unreadable: tuple[str, ...] = ()


class ArchiveManifest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What an archive holds.

    Attributes:
        format: Always `storage-providers-archive`.
        format_version: Version of the layout.
        sdk_version: Version of this package that wrote it.
        created_at: When, ISO 8601.
        provider: Name of the provider it was made from.
        collections: The collections, sorted by name.
    """

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    sdk_version: str
    created_at: str
    provider: str
    collections: tuple[ArchivedCollection, ...]

    @property
    def count(self) -> int:
        """Documents of all collections."""
        return sum(entry.count for entry in self.collections)

    @property
    def size_bytes(self) -> int:
        """Bytes of all members, unpacked."""
        return sum(entry.size_bytes for entry in self.collections)


class _Line(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One document of a member: its JSON as it is, and its payload in base64."""

    id: str
    document: msgspec.Raw
    encoding: str | None = None
    payload: bytes | None = None


class _Header(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a manifest that every version has."""

    format: str
    format_version: int


_encode = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(_Header).decode
_decode_line = msgspec.json.Decoder(_Line).decode
_decode_manifest = msgspec.json.Decoder(ArchiveManifest).decode


def member_name(collection: str) -> str:
    """Where a collection's documents are: no two share a name, on any file system."""
    escaped = "".join(
        chr(byte) if byte in _UNESCAPED else f"%{byte:02x}" for byte in collection.encode()
    )
    return f"collections/{escaped}.jsonl"


def encode_line(item: Item) -> bytes:
    """One line for one document.

    Raises:
        DocumentTooLargeError: It is longer than an archive may hold.
    """
    body = item.body
    if b"\n" in body or b"\r" in body:
        # Line breaks between JSON's tokens carry no meaning and would end the line.
        body = _encode(msgspec.json.decode(body))
    line = _encode(_Line(item.id, msgspec.Raw(body), item.encoding, item.payload)) + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise DocumentTooLargeError(
            f"document is {len(line)} bytes, an archive accepts {MAX_LINE_BYTES}",
            collection=item.collection,
            item_id=item.id,
            size_bytes=len(line),
            limit_bytes=MAX_LINE_BYTES,
        )
    return line


def _lines(member: IO[bytes]) -> Iterator[bytes]:
    """The lines of a member, with their ends; one that is too long is cut.

    Many times faster than `readline` of a member, which looks for each line's end in Python.
    """
    parts: list[bytes] = []
    size = 0
    while size <= MAX_LINE_BYTES and (block := member.read(BLOCK_BYTES)):
        first, *others = block.split(b"\n")
        parts.append(first)
        size += len(first)
        if others:
            yield b"".join(parts) + b"\n"
            *whole, last = others
            for line in whole:
                yield line + b"\n"
            parts, size = [last], len(last)
    if size:
        yield b"".join(parts)


class ArchiveWriter:
    """Writes one archive; nothing appears under its name before `finish`.

    The methods block and may be called from any thread, one after the other.

    Args:
        path: The archive's name.
        created_ms: The time given to its members, milliseconds since 1970.
        overwrite: Whether a file of this name is replaced.

    Raises:
        InvalidArgumentError: The file exists.
    """

    def __init__(self, path: Path, created_ms: int, overwrite: bool) -> None:
        if not overwrite and path.exists():
            raise InvalidArgumentError(f"{path} exists; choose another name or pass overwrite=True")
        # A cancelled export abandons the file while a worker thread may still be writing to it.
        self._lock = threading.Lock()
        moment = datetime.fromtimestamp(created_ms / 1000, UTC)
        self._date = (max(moment.year, 1980), *moment.timetuple()[1:6])
        self._pending = PendingFile(path)
        self._zip = zipfile.ZipFile(self._pending.stream, "w", zipfile.ZIP_DEFLATED)
        self._member: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._size = self._count = 0

    def begin(self, collection: str) -> None:
        """Open the member of a collection."""
        with self._lock, translated(self._pending.path):
            self._hash, self._size, self._count = hashlib.sha256(), 0, 0
            self._member = self._open(member_name(collection))

    def append(self, items: list[Item]) -> None:
        """Write documents to the open member."""
        with self._lock, translated(self._pending.path):
            assert self._member is not None
            # A call for each line would cost more than packing it.
            lines = b"".join(map(encode_line, items))
            self._member.write(lines)
            self._hash.update(lines)
            self._size += len(lines)
            self._count += len(items)

    def end(
        self, collection: str, spec: CollectionSpec | None, unreadable: tuple[str, ...]
    ) -> ArchivedCollection:
        """Close the member; returns what the manifest says about it."""
        with self._lock, translated(self._pending.path):
            assert self._member is not None
            self._member.close()
        return ArchivedCollection(
            collection=collection,
            member=member_name(collection),
            count=self._count,
            size_bytes=self._size,
            sha256=self._hash.hexdigest(),
            spec=spec,
            unreadable=unreadable,
        )

    def finish(self, manifest: ArchiveManifest) -> None:
        """Add the manifest and give the archive its name."""
        with self._lock:
            with translated(self._pending.path):
                with self._open(MANIFEST) as member:
                    member.write(msgspec.json.format(_encode(manifest), indent=2))
                self._zip.close()
            self._pending.commit()

    def abandon(self) -> None:
        """Remove what was written so far."""
        with self._lock:
            # The zip writes its end when it is closed, at the latest when it is collected.
            for part in (self._member, self._zip):
                with suppress(OSError, ValueError):
                    if part is not None:
                        part.close()
            self._pending.abandon()

    def _open(self, name: str) -> IO[bytes]:
        info = zipfile.ZipInfo(name, self._date)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        return self._zip.open(info, "w", force_zip64=True)


class ArchiveReader:
    """Reads one archive. The methods block; use one thread at a time.

    Args:
        path: The archive's name.
        limits: What it may grow to.

    Raises:
        CorruptArchiveError: It is damaged, hostile, of another format or of a newer version.
        InvalidArgumentError: There is no such file.
    """

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        self.path = path
        try:
            with translated(path):
                self._stream = path.open("rb")
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise InvalidArgumentError(f"there is no archive at {path}") from None
            raise
        try:
            with self._damage():
                self._zip = zipfile.ZipFile(self._stream)
                self._check_members(limits)
                self.manifest = self._read_manifest()
                self._check_manifest()
        except BaseException:
            self._stream.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def chunks(self, entry: ArchivedCollection) -> Iterator[list[Put]]:
        """The documents of a collection, some at a time, checked line by line.

        Raises:
            CorruptArchiveError: A line is damaged, or the member is not what the manifest says.
        """
        digest, count = hashlib.sha256(), 0
        chunk: list[Put] = []
        size = 0
        with self._damage(), self._zip.open(entry.member) as member:
            for line in _lines(member):
                count += 1
                digest.update(line)
                chunk.append(self._put(entry, line, count))
                size += len(line)
                if size >= CHUNK_BYTES or len(chunk) >= CHUNK_LINES:
                    yield chunk
                    chunk, size = [], 0
            if count != entry.count:
                raise self._corrupt(
                    f"{entry.member} holds {count} documents, the manifest says {entry.count}"
                )
            if digest.hexdigest() != entry.sha256:
                raise self._corrupt(f"{entry.member} does not have the checksum of the manifest")
        yield chunk

    def verify(self) -> None:
        """Read everything once.

        Raises:
            CorruptArchiveError: Something is damaged; the message says what.
        """
        for entry in self.manifest.collections:
            for _ in self.chunks(entry):
                pass

    def _put(self, entry: ArchivedCollection, line: bytes, number: int) -> Put:
        where = f"{entry.member} line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise self._corrupt(f"{where} is longer than {MAX_LINE_BYTES} bytes")
        if not line.endswith(b"\n"):
            raise self._corrupt(f"{where} is cut short")
        try:
            parsed = _decode_line(line)
            check_id(parsed.id)
            document = msgspec.json.decode(parsed.document, type=dict[str, object])
            if document.get("id") != parsed.id:
                raise self._corrupt(f"{where} gives its document another id")
            return Put(entry.collection, document, encoding=parsed.encoding, payload=parsed.payload)
        except CorruptArchiveError:
            raise
        except (msgspec.MsgspecError, StorageError, ValueError, RecursionError) as error:
            # The decoder's words name types and positions, never values.
            reason = error.message if isinstance(error, StorageError) else str(error)
            raise self._corrupt(f"{where}: {reason}") from None

    def _check_members(self, limits: ArchiveLimits) -> None:
        infos = sorted(self._zip.infolist(), key=lambda info: info.header_offset)
        names: set[str] = set()
        packed_end = 0
        for info in infos:
            name = info.orig_filename
            if name in names:
                raise self._corrupt(f"it holds two members named {name!r}")
            names.add(name)
            if info.flag_bits & 0x1:
                raise self._corrupt(f"{name!r} is encrypted; archives of ours are not")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._corrupt(f"{name!r} is packed in a way that archives of ours are not")
            if info.header_offset < packed_end:
                raise self._corrupt(f"{name!r} overlaps another member")
            packed_end = info.header_offset + info.compress_size
            ratio = info.file_size / max(info.compress_size, 1)
            if info.file_size > limits.free_bytes and ratio > limits.max_ratio:
                raise self._corrupt(
                    f"{name!r} grows {ratio:.0f}-fold, {limits.max_ratio:.0f} is allowed; if the "
                    "archive is yours, raise ArchiveLimits.max_ratio"
                )
        total = sum(info.file_size for info in infos)
        if total > limits.max_bytes:
            raise self._corrupt(
                f"it unpacks to {total} bytes, {limits.max_bytes} are allowed; if the archive is "
                "yours, raise ArchiveLimits.max_bytes"
            )

    def _read_manifest(self) -> ArchiveManifest:
        if MANIFEST not in self._zip.namelist():
            raise self._corrupt(f"it has no {MANIFEST}")
        size = self._zip.getinfo(MANIFEST).file_size
        if size > MAX_MANIFEST_BYTES:
            raise self._corrupt(f"{MANIFEST} is {size} bytes, {MAX_MANIFEST_BYTES} are allowed")
        raw = self._zip.read(MANIFEST)
        header = _decode_header(raw)
        if header.format != FORMAT:
            raise self._corrupt(f"its {MANIFEST} is not that of an archive of ours")
        if header.format_version != FORMAT_VERSION:
            raise self._corrupt(
                f"its format version is {header.format_version}, this SDK reads {FORMAT_VERSION}; "
                "use the SDK version that wrote it"
            )
        return _decode_manifest(raw)

    def _check_manifest(self) -> None:
        expected = {MANIFEST}
        for entry in self.manifest.collections:
            _, name = check_collection(entry.collection)
            if name.startswith(".") or entry.member != member_name(entry.collection):
                raise self._corrupt(f"its manifest names the member {entry.member!r}")
            if entry.member in expected:
                raise self._corrupt(f"its manifest names {entry.member!r} twice")
            expected.add(entry.member)
            if entry.spec is not None and entry.spec.collection != entry.collection:
                raise self._corrupt(f"the declaration of {entry.member!r} is another collection's")
        found = {info.orig_filename: info.file_size for info in self._zip.infolist()}
        for name in sorted(found.keys() ^ expected):
            verb = "is not in the manifest" if name in found else "is missing"
            raise self._corrupt(f"the member {name!r} {verb}")
        for entry in self.manifest.collections:
            if found[entry.member] != entry.size_bytes:
                raise self._corrupt(
                    f"{entry.member!r} is {found[entry.member]} bytes, the manifest says "
                    f"{entry.size_bytes}"
                )

    @contextmanager
    def _damage(self) -> Generator[None]:
        try:
            yield
        except CorruptArchiveError:
            raise
        except (*_DAMAGE, msgspec.MsgspecError, InvalidArgumentError, RuntimeError) as error:
            raise self._corrupt(f"it is damaged or not a zip file ({error})") from error
        except OSError as error:
            raise self._corrupt(f"it can't be read ({error.strerror})") from error

    def _corrupt(self, reason: str) -> CorruptArchiveError:
        return CorruptArchiveError(
            f"archive {self.path.name}: {reason}; nothing of it was imported"
        )
