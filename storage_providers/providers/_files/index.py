"""The index beside the files: a SQLite file that answers queries and can always be made anew.

It holds every document twice over: a row of the SQL engine's, and a row in `files` that tells
which file it came from and how that file looked, so that files changed by hand are found. The
files are the truth; rows change under the lock that guards the files.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from storage_providers._clock import Clock
from storage_providers.protocol import CollectionSpec, Item
from storage_providers.providers import _sql
from storage_providers.providers._files.names import original
from storage_providers.providers._files.reader import Found
from storage_providers.providers._sql.write import clear_rows
from storage_providers.providers._sqlite.session import Session

__all__ = ["FileIndex", "FileRow", "IndexGoneError", "Written", "index_errors"]

SCHEMA: Final = 1
"""Number of this layout of the index. An index of another number is made anew."""

BUSY_SECONDS: Final = 30.0
"""How long SQLite waits for another process; only opening and checkpoints ever do."""


_BROKEN: Final = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_SCHEMA,
}

_CREATE: Final = (
    "CREATE TABLE files (collection TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL, "
    "stamp INTEGER NOT NULL, version TEXT NOT NULL, problem TEXT, path TEXT, "
    "PRIMARY KEY (collection, name)) WITHOUT ROWID",
    "CREATE INDEX problems ON files (collection) WHERE problem IS NOT NULL",
    f"PRAGMA user_version={SCHEMA}",
)
_PUT_FILE: Final = (
    "INSERT OR REPLACE INTO files (collection,name,id,stamp,version) VALUES (?,?,?,?,?)"
)
_PUT_PROBLEM: Final = (
    "INSERT OR REPLACE INTO files (collection,name,id,stamp,version,problem,path) "
    "VALUES (?,?,?,?,?,?,?)"
)

_TOUCH_FILE: Final = "UPDATE files SET stamp=? WHERE collection=? AND name=?"

_Rows: TypeAlias = "dict[tuple[str, bool], list[tuple[Any, ...]]]"


class IndexGoneError(Exception):
    """The index was deleted or replaced, or is of no use; open it anew.

    Attributes:
        is_broken: Whether what is there must be deleted first.
    """

    def __init__(self, *, is_broken: bool = False) -> None:
        super().__init__("the index is gone")
        self.is_broken = is_broken


@contextmanager
def index_errors() -> Generator[None]:
    """Tell a broken index, which is made anew, from what SQLite reports for other reasons.

    Raises:
        IndexGoneError: The index is damaged or not ours.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _BROKEN or str(error).startswith("no such "):
            raise IndexGoneError(is_broken=True) from error
        raise


class FileRow(NamedTuple):
    """One row of `files`: a document's file as it was when it was indexed."""

    item_id: str
    stamp: int
    version: str
    damaged: bool


class Written(NamedTuple):
    """A document that was just written: its file's name without suffix, and how it looks."""

    item: Item
    name: str
    stamp: int
    expires_at_ms: int | None


class FileIndex:
    """One connection to the index. Each thread has its own.

    Args:
        folder: Where the index lies; nothing else may be in it.
        clock: Judges expiry.
    """

    def __init__(self, folder: str, clock: Clock) -> None:
        self._folder = folder
        self._path = os.path.join(folder, "index.sqlite")
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._tables: set[str] = set()
        self.identity: tuple[int, int] | None = None
        self.session: Session

    # --- lifetime ------------------------------------------------------------------------------

    def open(self, *, create: bool) -> None:
        """Open the index, and with `create` make it first if it is not there or of no use.

        Raises:
            IndexGoneError: It is not there, or of no use, and `create` is false.
            sqlite3.Error: It can't be made.
        """
        try:
            self._open(create=create)
        except sqlite3.Error:
            self.close()
            if not create:
                raise IndexGoneError from None
        except IndexGoneError:
            self.close()
            if not create:
                raise
        else:
            return
        self.remove()
        self._open(create=True)

    def _open(self, *, create: bool) -> None:
        if not os.path.exists(self._path):
            if not create:
                raise IndexGoneError
            os.makedirs(self._folder, exist_ok=True)
        connection = self._connection = sqlite3.connect(
            self._path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            cached_statements=512,
            check_same_thread=False,
        )
        connection.execute("PRAGMA journal_mode=WAL")
        # What a power failure takes from the index, the files' stamps bring back.
        connection.execute("PRAGMA synchronous=NORMAL")
        # KiB. A scan touches every page; 16 MB of them were no faster than these.
        connection.execute("PRAGMA cache_size=-4000")
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if schema == 0 and create:
            with self._transaction(connection):
                for sql in _CREATE:
                    connection.execute(sql)
        elif schema != SCHEMA:
            raise IndexGoneError
        status = os.stat(self._path)
        self.identity = status.st_dev, status.st_ino
        self.session = Session(connection, self._clock, _no_version)
        self._tables.clear()

    def close(self) -> None:
        """Close the connection; doing it again changes nothing."""
        connection, self._connection = self._connection, None
        self.identity = None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def remove(self) -> None:
        """Delete the index, whoever has it open; they notice before their next query."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def check(self) -> None:
        """Make sure that this connection is to the index that is there now.

        Raises:
            IndexGoneError: It was deleted or made anew.
        """
        try:
            status = os.stat(self._path)
        except OSError:
            raise IndexGoneError from None
        if self.identity != (status.st_dev, status.st_ino):
            raise IndexGoneError

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection."""
        if self._connection is None:
            raise IndexGoneError
        return self._connection

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing of what is written inside."""
        with self._transaction(self.connection):
            yield

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Generator[None]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._tables.clear()
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    # --- looking -------------------------------------------------------------------------------

    def row(self, collection: str, name: str) -> FileRow | None:
        """What the index knows of a document's file."""
        found = self.connection.execute(
            "SELECT id,stamp,version,problem IS NOT NULL FROM files WHERE collection=? AND name=?",
            (collection, name),
        ).fetchone()
        return None if found is None else FileRow(*found)

    def rows(self, collection: str, names: Collection[str]) -> dict[str, FileRow]:
        """What the index knows of some documents' files, by their names without suffix."""
        found = self.connection.execute(
            "SELECT f.name,f.id,f.stamp,f.version,f.problem IS NOT NULL FROM json_each(?2) AS j "
            "CROSS JOIN files AS f ON f.collection=?1 AND f.name=j.value",
            (collection, msgspec.json.encode(list(names)).decode()),
        )
        return {name: FileRow(*row) for name, *row in found}

    def differing(self, collection: str, stamps: dict[str, int]) -> list[str]:
        """Of some files, those that are not indexed as they look now.

        Args:
            collection: Their collection.
            stamps: How they look now, by their names without suffix.
        """
        rows = self.connection.execute(
            "SELECT j.key FROM json_each(?2) AS j LEFT JOIN files AS f "
            "ON f.collection=?1 AND f.name=j.key WHERE f.stamp IS NOT j.value",
            (collection, msgspec.json.encode(stamps).decode()),
        )
        return [name for (name,) in rows]

    def count_files(self, collection: str) -> int:
        """How many files of a collection are indexed."""
        (count,) = self.connection.execute(
            "SELECT count(*) FROM files WHERE collection=?", (collection,)
        ).fetchone()
        return int(count)

    def names(self, collection: str, after: str, limit: int) -> list[str]:
        """Names of a collection's indexed files, in order, after one."""
        rows = self.connection.execute(
            "SELECT name FROM files WHERE collection=? AND name>? ORDER BY name LIMIT ?",
            (collection, after, limit),
        )
        return [name for (name,) in rows]

    def is_prepared(self, collection: str, spec: CollectionSpec | None) -> bool:
        """Whether the index has what a declaration asks for."""
        name = _sql.table_of(collection)[0].strip('"')
        found = self.connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type='table' AND name=?", (name,)
        ).fetchone()
        nothing = CollectionSpec(collection=collection)
        known = self.session.declared(collection) or nothing
        return found is not None and known == (spec or nothing)

    def problems(self, collection: str) -> list[tuple[str, str, str]]:
        """The damaged files of a collection: id, path and what is wrong."""
        return self.connection.execute(
            "SELECT id,path,problem FROM files INDEXED BY problems "
            "WHERE collection=? AND problem IS NOT NULL ORDER BY id",
            (collection,),
        ).fetchall()

    def expired(self, collection: str, limit: int) -> list[tuple[str, str]]:
        """Ids and versions of documents of a collection that have expired."""
        table, scope = _sql.table_of(collection)
        return self.connection.execute(
            f"SELECT id,version FROM {table} WHERE expires_at<=? AND scope=? LIMIT ?",
            (self._clock.now_ms(), scope, limit),
        ).fetchall()

    # --- changing, inside a transaction --------------------------------------------------------

    def put_all(self, written: Sequence[Written]) -> None:
        """Index documents that were just written."""
        files: list[tuple[Any, ...]] = []
        rows: _Rows = {}
        for item, name, stamp, expires_at_ms in written:
            files.append((item.collection, name, item.id, stamp, item.version))
            self._add_row(rows, item, expires_at_ms)
        self.connection.executemany(_PUT_FILE, files)
        self._insert(rows)

    def put_found(self, collection: str, found: Mapping[str, Found]) -> None:
        """Index what was found in files, damaged or not.

        Args:
            collection: Their collection.
            found: What they hold, by their names without suffix.
        """
        known = self.rows(collection, found)
        touched: list[tuple[int, str, str]] = []
        files: list[tuple[Any, ...]] = []
        rows: _Rows = {}
        for name, each in found.items():
            row = known.get(name)
            if row is not None and row == (each.item_id, row.stamp, each.version, each.damaged):
                touched.append((each.stamp, collection, name))
                continue
            file = (collection, name, each.item_id, each.stamp, each.version)
            if each.content is None:
                self.delete(collection, name)
                self.connection.execute(_PUT_PROBLEM, (*file, each.problem, each.path))
                continue
            files.append(file)
            self._add_row(rows, each.item(collection), each.content.expires_at_ms)
        self.connection.executemany(_TOUCH_FILE, touched)
        self.connection.executemany(_PUT_FILE, files)
        self._insert(rows)

    def put_problem(self, collection: str, name: str, path: str, problem: str, stamp: int) -> None:
        """Index a file that can't even be read."""
        self.delete(collection, name)
        row = (collection, name, original(name) or name, stamp, "", problem, path)
        self.connection.execute(_PUT_PROBLEM, row)

    def delete(self, collection: str, name: str) -> None:
        """Forget a file and its document."""
        known = self.row(collection, name)
        if known is None:
            return
        where = (collection, name)
        self.connection.execute("DELETE FROM files WHERE collection=? AND name=?", where)
        # A damaged file may claim the id of a good one, whose document stays.
        if not known.damaged:
            table, scope = self._table(collection)
            self.connection.execute(
                f"DELETE FROM {table} WHERE scope=? AND id=?", (scope, known.item_id)
            )

    def clear(self, collection: str) -> None:
        """Forget every file of a collection."""
        self._table(collection)
        self.connection.execute("DELETE FROM files WHERE collection=?", (collection,))
        self.connection.execute(*clear_rows(collection))

    def prepare(self, collection: str, spec: CollectionSpec | None) -> None:
        """Make the tables of a collection and what is declared about it, unless it is there."""
        self._table(collection)
        nothing = CollectionSpec(collection=collection)
        if (self.session.declared(collection) or nothing) != (spec or nothing):
            self.session.declare(spec or nothing)

    def _table(self, collection: str) -> tuple[str, str]:
        table, scope = _sql.table_of(collection)
        if table not in self._tables:
            for sql in _sql.create_table(table):
                self.connection.execute(sql)
            self._tables.add(table)
        return table, scope

    def _add_row(self, rows: _Rows, item: Item, expires_at_ms: int | None) -> None:
        table, scope = self._table(item.collection)
        row: tuple[Any, ...] = (scope, item.id, item.body.decode(), item.version)
        # Binding None costs more than all other values of a row: plain documents go without.
        is_plain = item.encoding is None and expires_at_ms is None
        if not is_plain:
            row += (item.encoding, item.payload, expires_at_ms)
        rows.setdefault((table, is_plain), []).append(row)

    def _insert(self, rows: _Rows) -> None:
        for (table, is_plain), values in rows.items():
            self.connection.executemany(_put_row(table, is_plain=is_plain), values)


@lru_cache(maxsize=1024)
def _put_row(table: str, *, is_plain: bool) -> str:
    """The statement that stores a document in the engine's table, whatever is there."""
    others = "NULL,NULL,NULL" if is_plain else "?,?,?"
    columns = ("body", "version", "encoding", "payload", "expires_at")
    changes = ",".join(f"{name}=excluded.{name}" for name in columns)
    return (
        f"INSERT INTO {table} (scope,id,{','.join(columns)}) VALUES (?,?,?,?,{others}) "
        f"ON CONFLICT (scope,id) DO UPDATE SET {changes}"
    )


def _no_version() -> str:
    raise AssertionError("a version is the hash of a file; the index is never asked for one")
