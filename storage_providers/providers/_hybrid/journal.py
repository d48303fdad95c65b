"""The journal: what the fallback took in the primary's place, on disk until the primary has it.

A SQLite database of its own. A commit is on the medium when it returns, so what was promised
survives a kill and a power cut; several processes may use one journal at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from storage_providers.conflicts import ConflictRecord, Stored
from storage_providers.errors import ConfigurationError, StorageError
from storage_providers.protocol import Address, Delete, Patch, Put
from storage_providers.providers._files.writer import os_error
from storage_providers.providers._hybrid.effects import Known, after_write, live
from storage_providers.providers._sqlite.worker import WritingWorker

__all__ = ["Draft", "Entry", "Facts", "Journal", "Taken"]

FORMAT: Final = 1
"""Version of the layout below, kept in the database."""

BUSY_SECONDS: Final = 30.0
"""How long to wait for another process that is writing to the journal."""

WINDOW_ENTRIES: Final = 200
WINDOW_BYTES: Final = 8_000_000
"""What is replayed at once, at most; one entry always is. Ours."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, collection TEXT NOT NULL, id TEXT NOT NULL,
    certain INTEGER NOT NULL, before BLOB, after BLOB, at_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS journal_document ON journal (collection, id, seq);
CREATE TABLE IF NOT EXISTS conflicts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, collection TEXT NOT NULL, id TEXT NOT NULL,
    state TEXT NOT NULL, record BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS conflicts_document ON conflicts (collection, id, state);
CREATE TABLE IF NOT EXISTS doubts (
    collection TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (collection, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

_encode = msgspec.msgpack.Encoder().encode
_decode_stored = msgspec.msgpack.Decoder(Stored).decode
_decode_record = msgspec.msgpack.Decoder(ConflictRecord).decode


class Draft(msgspec.Struct, frozen=True):
    """A write to take.

    Attributes:
        write: The write.
        seen: What the fallback holds; the journal's own last entry comes first.
        limit: Largest document of its collection, bytes.
    """

    write: Put | Patch | Delete
    seen: Known
    limit: int | None = None


class Taken(msgspec.Struct, frozen=True):
    """What was promised for a draft: this is what the document is now."""

    stored: Stored | None


class Entry(msgspec.Struct, frozen=True):
    """One write of an outage.

    Attributes:
        seq: Its place in the order.
        address: The document.
        before: What was there when it was made.
        after: What it made of it; `None`: nothing.
        at_ms: When, milliseconds since 1970.
    """

    seq: int
    address: Address
    before: Known
    after: Stored | None
    at_ms: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal knows about the whole.

    Attributes:
        pending: Writes that the primary does not have yet.
        oldest_ms: When the oldest of them was made, milliseconds since 1970.
        doubts: Documents whose copy at the fallback may be old.
        filled_ms: When the fallback was last filled; `None`: it is not complete.
        conflicts: Conflicts in the log.
        refused: Those of them that the primary does not take.
    """

    pending: int
    oldest_ms: int | None
    doubts: int
    filled_ms: int | None
    conflicts: int
    refused: int


class Journal:
    """The journal of one hybrid; every method may be called by several tasks at once.

    Args:
        path: The database file, made when it is not there.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    async def open(self) -> None:
        """Open it.

        Raises:
            ConfigurationError: It is no journal, or one of a later version.
            StorageError: It can't be opened.
        """
        describe = self.path, BUSY_SECONDS
        self._worker = WritingWorker("hybrid-journal", self._connection, describe)
        await self._worker.start()

    async def close(self) -> None:
        """Close it; what is pending stays on disk."""
        await self._worker.stop()

    def _connection(self) -> sqlite3.Connection:
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise os_error(error, self.path) from error
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if tables and "journal_document" not in tables:
                raise ConfigurationError(
                    f"{self.path} is the database of something else; give the journal a file of "
                    "its own"
                )
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found not in (0, FORMAT):
                raise ConfigurationError(
                    f"{self.path} is a journal of format {found}, this version knows {FORMAT}; "
                    "use the version that made it"
                )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(
                f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={FORMAT};COMMIT;"
            )
        except BaseException:
            connection.close()
            raise
        return connection

    # --- writes of an outage -------------------------------------------------------------------

    async def is_pending(self) -> bool:
        """Whether the primary lacks anything."""
        return await self._worker.submit(self._is_pending, None, special=True)

    def _is_pending(self, _: None) -> bool:
        return self._one("SELECT EXISTS (SELECT 1 FROM journal)") == 1

    async def has_work(self) -> tuple[bool, bool]:
        """Whether anything is pending, and whether any copy is in doubt."""
        return await self._worker.submit(self._has_work, None, special=True)

    def _has_work(self, _: None) -> tuple[bool, bool]:
        row = self._worker.connection.execute(
            "SELECT EXISTS (SELECT 1 FROM journal), EXISTS (SELECT 1 FROM doubts)"
        ).fetchone()
        return bool(row[0]), bool(row[1])

    async def append(self, drafts: Sequence[Draft], now_ms: int) -> list[Taken | StorageError]:
        """Take writes; when it returns they are on the medium.

        Each is judged by what the journal's last entry for its document says, else by what was
        seen; no other process comes between that and the taking.

        Returns:
            For each what became of its document, or why the write was not taken.
        """
        return await self._worker.submit(self._append, (drafts, now_ms))

    def _append(self, job: tuple[Sequence[Draft], int]) -> list[Taken | StorageError]:
        drafts, now_ms = job
        connection = self._worker.connection
        results: list[Taken | StorageError] = []
        connection.execute("SAVEPOINT taking")
        try:
            for draft in drafts:
                try:
                    results.append(Taken(self._take(draft, now_ms)))
                except StorageError as error:
                    error.collection, error.item_id = draft.write.collection, draft.write.id
                    results.append(error)
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK TO taking")
            raise
        finally:
            if connection.in_transaction:
                connection.execute("RELEASE taking")
        return results

    def _take(self, draft: Draft, now_ms: int) -> Stored | None:
        write = draft.write
        last = self._last(write.collection, write.id)
        known = draft.seen if last is None else Known(last.stored)
        known = Known(live(known.stored, now_ms), known.certain)
        after = after_write(write, known, draft.limit)
        self._worker.connection.execute(
            "INSERT INTO journal (collection, id, certain, before, after, at_ms) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                write.collection,
                write.id,
                known.certain,
                _packed(known.stored),
                _packed(after),
                now_ms,
            ),
        )
        return after

    def _last(self, collection: str, item_id: str) -> Taken | None:
        row = self._worker.connection.execute(
            "SELECT after FROM journal WHERE collection = ? AND id = ? ORDER BY seq DESC LIMIT 1",
            (collection, item_id),
        ).fetchone()
        return None if row is None else Taken(_unpacked(row[0]))

    async def last(self, addresses: Sequence[Address]) -> list[Taken | None]:
        """What was last promised for each document; `None` where nothing is pending."""
        return await self._worker.submit(self._last_of, addresses, special=True)

    def _last_of(self, addresses: Sequence[Address]) -> list[Taken | None]:
        return [self._last(address.collection, address.id) for address in addresses]

    async def later(self, seqs: dict[Address, int]) -> list[Address]:
        """Those documents that were written after these places in the order."""
        return await self._worker.submit(self._later, seqs, special=True)

    def _later(self, seqs: dict[Address, int]) -> list[Address]:
        sql = "SELECT 1 FROM journal WHERE collection = ? AND id = ? AND seq > ? LIMIT 1"
        ask = self._worker.connection.execute
        return [
            each
            for each, seq in seqs.items()
            if ask(sql, (each.collection, each.id, seq)).fetchone() is not None
        ]

    async def head(self, after_seq: int = 0) -> list[Entry]:
        """The first of the pending writes, in order, as many as are replayed at once."""
        return await self._worker.submit(self._head, after_seq, special=True)

    def _head(self, after_seq: int) -> list[Entry]:
        entries: list[Entry] = []
        size = 0
        rows = self._worker.connection.execute(
            "SELECT seq, collection, id, certain, before, after, at_ms FROM journal "
            "WHERE seq > ? ORDER BY seq LIMIT ?",
            (after_seq, WINDOW_ENTRIES),
        )
        for seq, collection, item_id, certain, before, after, at_ms in rows:
            size += len(before or b"") + len(after or b"")
            if entries and size > WINDOW_BYTES:
                break
            known = Known(_unpacked(before), bool(certain))
            address = Address(collection, item_id)
            entries.append(Entry(seq, address, known, _unpacked(after), at_ms))
        rows.close()
        return entries

    async def finish(self, seqs: Sequence[int], records: Sequence[ConflictRecord] = ()) -> None:
        """Forget writes that the primary has, and store what became of conflicts."""
        await self._worker.submit(self._finish, (seqs, records))

    def _finish(self, job: tuple[Sequence[int], Sequence[ConflictRecord]]) -> None:
        seqs, records = job
        self._worker.connection.executemany(
            "DELETE FROM journal WHERE seq = ?", [(seq,) for seq in seqs]
        )
        for record in records:
            self._store(record)

    # --- conflicts -----------------------------------------------------------------------------

    async def log(self, record: ConflictRecord) -> ConflictRecord:
        """Add a conflict to the log; returns it with its number."""
        return await self._worker.submit(self._log, record)

    def _log(self, record: ConflictRecord) -> ConflictRecord:
        conflict = record.conflict
        cursor = self._worker.connection.execute(
            "INSERT INTO conflicts (collection, id, state, record) VALUES (?, ?, ?, x'')",
            (conflict.collection, conflict.id, record.state),
        )
        numbered = msgspec.structs.replace(record, number=cursor.lastrowid or 0)
        self._store(numbered)
        return numbered

    def _store(self, record: ConflictRecord) -> None:
        self._worker.connection.execute(
            "UPDATE conflicts SET state = ?, record = ? WHERE number = ?",
            (record.state, _encode(record), record.number),
        )

    async def settling(self, addresses: Sequence[Address]) -> dict[Address, ConflictRecord]:
        """The conflicts of documents that were being settled when a process ended."""
        return await self._worker.submit(self._settling, addresses, special=True)

    def _settling(self, addresses: Sequence[Address]) -> dict[Address, ConflictRecord]:
        sql = (
            "SELECT record FROM conflicts WHERE collection = ? AND id = ? AND state = 'settling' "
            "ORDER BY number DESC LIMIT 1"
        )
        ask = self._worker.connection.execute
        rows = {each: ask(sql, (each.collection, each.id)).fetchone() for each in addresses}
        return {each: _decode_record(row[0]) for each, row in rows.items() if row is not None}

    async def records(self, after: int, limit: int) -> list[ConflictRecord]:
        """The log, in order of the numbers."""
        return await self._worker.submit(self._records, (after, limit), special=True)

    def _records(self, job: tuple[int, int]) -> list[ConflictRecord]:
        rows = self._worker.connection.execute(
            "SELECT record FROM conflicts WHERE number > ? ORDER BY number LIMIT ?", job
        ).fetchall()
        return [_decode_record(row[0]) for row in rows]

    async def forget(self, collection: str) -> int:
        """Remove what is known of a collection, unless anything of it is pending.

        Returns:
            Its writes that the primary does not have yet; unless 0, nothing was removed.
        """
        return await self._worker.submit(self._forget, collection)

    def _forget(self, collection: str) -> int:
        execute = self._worker.connection.execute
        sql = "SELECT count(*) FROM journal WHERE collection = ?"
        (pending,) = execute(sql, (collection,)).fetchone()
        if not pending:
            for table in ("conflicts", "doubts"):
                execute(f"DELETE FROM {table} WHERE collection = ?", (collection,))  # noqa: S608
        return int(pending)

    # --- copies in doubt, and the whole ----------------------------------------------------------

    async def doubt(self, addresses: Sequence[Address]) -> None:
        """Note that the fallback's copies of documents may be old; an empty id: of all."""
        await self._worker.submit(self._doubt, addresses)

    def _doubt(self, addresses: Sequence[Address]) -> None:
        self._worker.connection.executemany(
            "INSERT OR IGNORE INTO doubts VALUES (?, ?)",
            [(address.collection, address.id) for address in addresses],
        )

    async def trust(self, addresses: Sequence[Address]) -> None:
        """Note that the copies are right again."""
        await self._worker.submit(self._trust, addresses)

    def _trust(self, addresses: Sequence[Address]) -> None:
        self._worker.connection.executemany(
            "DELETE FROM doubts WHERE collection = ? AND id = ?",
            [(address.collection, address.id) for address in addresses],
        )

    async def doubts(self) -> set[Address]:
        """The documents in doubt."""
        return await self._worker.submit(self._doubts, None, special=True)

    def _doubts(self, _: None) -> set[Address]:
        rows = self._worker.connection.execute("SELECT collection, id FROM doubts").fetchall()
        return {Address(collection, item_id) for collection, item_id in rows}

    async def doubted(self, addresses: Sequence[Address]) -> set[Address]:
        """Those documents that are in doubt."""
        return await self._worker.submit(self._doubted, addresses, special=True)

    def _doubted(self, addresses: Sequence[Address]) -> set[Address]:
        sql = "SELECT 1 FROM doubts WHERE collection = ? AND id IN (?, '') LIMIT 1"
        ask = self._worker.connection.execute
        return {each for each in addresses if ask(sql, (each.collection, each.id)).fetchone()}

    async def is_doubted(self, collection: str) -> bool:
        """Whether any document of a collection is in doubt."""
        return await self._worker.submit(self._is_doubted, collection, special=True)

    def _is_doubted(self, collection: str) -> bool:
        sql = "SELECT 1 FROM doubts WHERE collection = ? LIMIT 1"
        return self._worker.connection.execute(sql, (collection,)).fetchone() is not None

    async def filled_ms(self) -> int | None:
        """When the fallback was last filled; `None`: it is not complete."""
        return await self._worker.submit(self._fact, "filled_ms", special=True)

    async def set_filled(self, at_ms: int) -> None:
        """Note that the fallback is complete."""
        await self._worker.submit(self._set_fact, ("filled_ms", at_ms))

    async def is_adopted(self) -> bool:
        """Whether what the fallback holds is known to be the hybrid's."""
        return await self._worker.submit(self._fact, "adopted", special=True) is not None

    async def adopt(self) -> None:
        """Note that what the fallback holds is the hybrid's."""
        await self._worker.submit(self._set_fact, ("adopted", 1))

    def _fact(self, name: str) -> int | None:
        row = self._worker.connection.execute(
            "SELECT value FROM facts WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else row[0]

    def _set_fact(self, fact: tuple[str, int]) -> None:
        self._worker.connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", fact)

    async def facts(self) -> Facts:
        """Counts, for reports."""
        return await self._worker.submit(self._facts, None, special=True)

    def _facts(self, _: None) -> Facts:
        oldest = self._one("SELECT at_ms FROM journal ORDER BY seq LIMIT 1")
        return Facts(
            pending=self._one("SELECT count(*) FROM journal") or 0,
            oldest_ms=oldest,
            doubts=self._one("SELECT count(*) FROM doubts") or 0,
            filled_ms=self._fact("filled_ms"),
            conflicts=self._one("SELECT count(*) FROM conflicts") or 0,
            refused=self._one("SELECT count(*) FROM conflicts WHERE state = 'refused'") or 0,
        )

    def _one(self, sql: str) -> int | None:
        row = self._worker.connection.execute(sql).fetchone()
        return None if row is None else row[0]


def _packed(stored: Stored | None) -> bytes | None:
    return None if stored is None else _encode(stored)


def _unpacked(raw: bytes | None) -> Stored | None:
    return None if raw is None else _decode_stored(raw)
