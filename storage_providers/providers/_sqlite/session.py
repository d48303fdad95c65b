"""The SQL engine on one `sqlite3` connection, without a thread or a loop of its own.

`SQLiteProvider` runs it on worker threads; whoever keeps a SQLite file beside something else uses
it directly. Transactions are the caller's: `write` and `declare` expect one to be open.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import msgspec

from storage_providers._clock import Clock
from storage_providers.errors import (
    BatchError,
    CorruptItemError,
    InvalidArgumentError,
    StorageError,
)
from storage_providers.protocol import (
    Address,
    Clear,
    CollectionSpec,
    Condition,
    Delete,
    Item,
    ItemVersion,
    Page,
    Patch,
    Put,
    Query,
    QueryStatistics,
    VersionPage,
    Write,
    check_collection,
)
from storage_providers.providers import _sql
from storage_providers.providers._sql import query as _sql_query
from storage_providers.providers._sql import schema as _sql_schema
from storage_providers.providers._sql import write as _sql_write
from storage_providers.providers._sql.query import Access
from storage_providers.providers._sql.rows import (
    BrokenRowsError,
    MissingSideTableError,
    are_documents,
    is_document,
)
from storage_providers.providers._sqlite.rows import is_malformed, missing_table

__all__ = ["BrokenRowsError", "MissingSideTableError", "Session", "missing_table"]

ROWS_TOGETHER: Final = (50, 10)
"""Documents that one statement stores. Beyond this nothing is gained."""

PLANS_KEPT: Final = 512
"""Statements whose plan is remembered for `Page.statistics`."""


class Session:
    """One connection and what may be asked of it.

    Args:
        connection: In autocommit mode (`isolation_level=None`). It stays the caller's.
        clock: Judges expiry.
        new_version: Makes the version tokens; none may ever repeat.
    """

    def __init__(
        self, connection: sqlite3.Connection, clock: Clock, new_version: Callable[[], str]
    ) -> None:
        self.connection = connection
        self.dialect = _sql.Dialect(cuts_text_at_nul=sqlite3.sqlite_version_info < (3, 45))
        self._execute = connection.execute
        self._now_ms = clock.now_ms
        self._new_version = new_version
        self._plans: dict[str, tuple[str | None, bool]] = {}
        self._reads: dict[str, tuple[str, str]] = {}
        connection.create_function("sp_is_document", 1, is_document, deterministic=True)

    # --- reads ---------------------------------------------------------------------------------

    def read_one(self, address: Address) -> Item | None:
        """Read one document.

        Raises:
            CorruptItemError: What is stored is not a JSON object.
        """
        collection, item_id = address.collection, address.id
        known = self._reads.get(collection)
        if known is None:
            known = self._prepare_read(collection)
        try:
            row = self._execute(known[0], (known[1], item_id, self._now_ms())).fetchone()
        except sqlite3.OperationalError as error:
            if missing_table(error) is None:
                raise
            return None
        if row is None:
            return None
        body = row[2]
        if not is_document(body):
            raise self.corrupt(collection, item_id)
        return Item(collection, item_id, row[1], body, row[3], row[4])

    def read(self, addresses: Sequence[Address]) -> list[Item | None]:
        """Read documents, in order.

        Raises:
            CorruptItemError: The one document asked for is not a JSON object.
            BatchError: Some of several are not.
        """
        if len(addresses) == 1:
            return [self.read_one(addresses[0])]
        with self._snapshot():
            results = self.read_many(addresses)
        corrupt = sum(isinstance(result, StorageError) for result in results)
        if corrupt:
            raise BatchError(
                f"{corrupt} of {len(addresses)} documents can't be read; the others are in "
                "'results'",
                results=results,
            )
        return cast("list[Item | None]", results)

    def read_many(self, addresses: Sequence[Address]) -> list[Item | CorruptItemError | None]:
        """Read documents, in order, by one statement for each collection.

        One that is no JSON object is an error in its place.
        """
        ids: dict[str, list[str]] = {}
        for address in addresses:
            ids.setdefault(address.collection, []).append(address.id)
        found: dict[str, dict[str, tuple[Any, ...]]] = {}
        for collection, wanted in ids.items():
            table, scope = _sql.table_of(collection)
            sql = _sql.read_items(table, self.dialect)
            text = msgspec.json.encode(wanted).decode()
            try:
                rows = self._execute(sql, (scope, self._now_ms(), text)).fetchall()
            except sqlite3.OperationalError as error:
                if missing_table(error) is None:
                    raise
                rows = []
            found[collection] = {row[0]: row for row in rows}
        results: list[Item | CorruptItemError | None] = []
        for address in addresses:
            collection, item_id = address.collection, address.id
            row = found[collection].get(item_id)
            if row is None:
                results.append(None)
            elif is_document(row[2]):
                results.append(Item(collection, item_id, row[1], row[2], row[3], row[4]))
            else:
                results.append(self.corrupt(collection, item_id))
        return results

    def _prepare_read(self, collection: str) -> tuple[str, str]:
        if len(self._reads) > 4096:
            self._reads.clear()
        table, scope = _sql.table_of(collection)
        self._reads[collection] = _sql.read_item(table, self.dialect), scope
        return self._reads[collection]

    def corrupt(self, collection: str, item_id: str) -> CorruptItemError:
        """The error that says a document is no JSON object."""
        table, scope = _sql.table_of(collection)
        return CorruptItemError(
            "what is stored is not a JSON object; put the document anew or delete it",
            collection=collection,
            item_id=item_id,
            source=f"table {table}, scope {scope!r}, id {item_id!r}",
        )

    @contextmanager
    def _snapshot(self) -> Generator[None]:
        """Several statements that see one state."""
        if self.connection.in_transaction:
            yield
            return
        self._execute("BEGIN")
        try:
            yield
        finally:
            self._execute("ROLLBACK")

    # --- writes --------------------------------------------------------------------------------

    def write(self, batch: Sequence[Write], limits: Mapping[str, int | None]) -> list[Item | None]:
        """Apply a batch inside the open transaction: wholly, or not at all with an error.

        That takes a savepoint, for which SQLite copies each page that the batch changes: a third
        of what a batch of ten costs.

        Args:
            batch: The writes, at most one per document.
            limits: Largest document per collection, bytes; for patches.

        Raises:
            StorageError: The write named by its `index` failed.
        """
        try:
            return self._in_savepoint(batch, limits)
        except sqlite3.OperationalError as error:
            if missing_table(error) is None:
                raise
        self._create_tables(batch)
        return self._in_savepoint(batch, limits)

    def write_alone(
        self, batch: Sequence[Write], limits: Mapping[str, int | None]
    ) -> list[Item | None]:
        """Apply a batch in a transaction of its own; as `write`, but faster for a large batch.

        A savepoint would have SQLite copy every page that the batch changes.
        """
        for last_attempt in (False, True):
            self._execute("BEGIN IMMEDIATE")
            try:
                results = self.apply(batch, limits)
                self._execute("COMMIT")
                return results
            except BaseException as error:
                if self.connection.in_transaction:
                    self._execute("ROLLBACK")
                missing = isinstance(error, sqlite3.OperationalError) and missing_table(error)
                if not missing or last_attempt:
                    raise
            self._create_tables(batch)
        raise AssertionError

    def put_together(self, puts: Sequence[Put]) -> list[Item]:
        """Apply unconditional puts of several callers, by few statements.

        When it raises, some may have been applied; each can be applied again by itself.

        Args:
            puts: The puts in order; a document may come several times.

        Raises:
            sqlite3.Error: Some of them can't be applied.
        """
        items: list[Item | None] = []
        distinct: dict[tuple[str, str], Put] = {}
        for put in puts:
            if (put.collection, put.id) in distinct:
                # Puts of one statement share a version, and these two differ.
                items += self.apply(list(distinct.values()), {})
                distinct.clear()
            distinct[put.collection, put.id] = put
        items += self.apply(list(distinct.values()), {})
        return cast("list[Item]", items)

    def _create_tables(self, batch: Sequence[Write]) -> None:
        for table in {_sql.table_of(write.collection)[0] for write in batch}:
            for sql in _sql.create_table(table):
                self._execute(sql)

    def _in_savepoint(
        self, batch: Sequence[Write], limits: Mapping[str, int | None]
    ) -> list[Item | None]:
        if len(batch) == 1:
            return self.apply(batch, limits)
        self._execute("SAVEPOINT batch")
        try:
            results = self.apply(batch, limits)
        except BaseException:
            if self.connection.in_transaction:
                self._execute("ROLLBACK TO batch")
                self._execute("RELEASE batch")
            raise
        self._execute("RELEASE batch")
        return results

    def apply(self, batch: Sequence[Write], limits: Mapping[str, int | None]) -> list[Item | None]:
        """Apply a batch inside the open transaction, which has to be undone if it fails.

        Raises:
            StorageError: The write named by its `index` failed; those before it are done.
            sqlite3.Error: Some could not be applied; a table may not be there yet.
        """
        now = self._now_ms()
        # One version for the whole batch: it names each document once at most.
        version = self._new_version()
        results: list[Item | None] = []
        for key, run in itertools.groupby(batch, _run_key):
            if key is not None:
                puts = cast("list[Put]", list(run))
                results += self._put(puts, version, now, index=len(results))
                continue
            for write in run:
                try:
                    results.append(self._change(write, version, now, limits))
                except StorageError as error:
                    error.collection, error.index = write.collection, len(results)
                    error.item_id = None if isinstance(write, Clear) else write.id
                    raise
        return results

    def _put(self, puts: list[Put], version: str, now: int, *, index: int) -> list[Item]:
        """Puts of one shape into one collection, by one statement."""
        collection, shape = puts[0].collection, _sql_write.shape_of(puts[0])
        table, scope = _sql.table_of(collection)
        sql = _sql_write.put_sql(table, shape, self.dialect)
        values, changed, start = _sql_write.put_values, 0, 0
        if shape.condition in ("any", "if_absent"):
            # Running a statement costs more than a row of it.
            for rows in ROWS_TOGETHER:
                many = _sql_write.put_sql(table, shape, self.dialect, rows)
                while start + rows <= len(puts):
                    row = values(puts[start : start + rows], shape, scope, version, now)
                    changed += self._execute(many, row).rowcount
                    start += rows
        for put in puts[start:]:
            changed += self._execute(sql, values([put], shape, scope, version, now)).rowcount
        if changed != len(puts):
            self._raise_first_conflict(puts, version, now, index)
        return [
            Item(collection, put.id, version, put.body, put.encoding, put.payload) for put in puts
        ]

    def _raise_first_conflict(
        self, puts: Sequence[Put], version: str, now: int, index: int
    ) -> None:
        for position, put in enumerate(puts, index):
            found = self._look_at(put, now)
            if found is None or found[0] != version:
                error = _sql_write.conflict(put, found) or StorageError(
                    "the row was not written, though nothing stands in its way"
                )
                error.collection, error.item_id, error.index = put.collection, put.id, position
                raise error

    def _change(
        self, write: Write, version: str, now: int, limits: Mapping[str, int | None]
    ) -> Item | None:
        if isinstance(write, Patch):
            return self._patch(write, version, now, limits.get(write.collection))
        if isinstance(write, Delete):
            if self._execute(*_sql_write.delete_row(write, now)).rowcount != 1:
                error = _sql_write.conflict(write, self._look_at(write, now))
                if error is not None:
                    raise error
        else:
            self._execute(*_sql_write.clear_rows(write.collection))
        return None

    def _patch(self, patch: Patch, version: str, now: int, limit_bytes: int | None) -> Item:
        statement = _sql_write.patch_row(patch, version, now, limit_bytes, dialect=self.dialect)
        try:
            rows = self._execute(*statement).fetchall()
            if not rows:
                raise _sql_write.conflict(
                    patch, self._look_at(patch, now), limit_bytes
                ) or StorageError("the row was not patched, though nothing stands in its way")
        except sqlite3.OperationalError as error:
            if is_malformed(error):
                raise self.corrupt(patch.collection, patch.id) from error
            raise
        return Item(patch.collection, patch.id, version, rows[0][0])

    def _look_at(
        self, write: Put | Patch | Delete, now: int
    ) -> tuple[str, str | None, int | None] | None:
        rows = self._execute(*_sql_write.look_at(write, now)).fetchall()
        return rows[0] if rows else None

    def collect_expired(self, limit: int) -> int:
        """Remove up to `limit` expired documents of each table; returns how many."""
        removed = 0
        for table in self._tables():
            statement = _sql_write.collect_expired(table, self._now_ms(), limit)
            removed += self._execute(*statement).rowcount
        return removed

    # --- queries -------------------------------------------------------------------------------

    def query(self, query: Query, access: Access) -> Page:
        """Answer a query.

        Args:
            query: The question.
            access: What the collection's declaration offers.

        Raises:
            MissingSideTableError: `access` is out of date.
            BrokenRowsError: Rows that are no JSON objects are in the way.
            InvalidArgumentError: `where`, order or cursor is malformed.
            UnsupportedOperationError: `$text` without declared text fields.
        """
        now = self._now_ms()
        select = _sql_query.compile_query(query, access, now, dialect=self.dialect)
        try:
            return self._answer(query, select)
        except sqlite3.OperationalError as error:
            table = missing_table(error)
            if table is not None and table != _sql.table_of(query.collection)[0].strip('"'):
                raise MissingSideTableError from error
            if table is not None:
                return Page(total=0 if query.total else None, statistics=_NOTHING_READ)
            if is_malformed(error):
                raise BrokenRowsError from error
            raise

    def _answer(self, query: Query, select: _sql_query.Select) -> Page:
        total: int | None = None
        if len(select.stages) == 1 and select.total is None:
            rows = self._execute(*select.stages[0]).fetchall()
        else:
            with self._snapshot():
                rows = self._rows(select)
                if select.total is not None:
                    total = self._execute(*select.total).fetchone()[0]
        collection, more = query.collection, bool(rows) and len(rows) == select.rows_wanted
        if more:
            rows.pop()
        if not are_documents([row[2] for row in rows]):
            raise BrokenRowsError
        items = [
            Item(collection, item_id, version, body, encoding, payload)
            for item_id, version, body, encoding, payload in rows
        ]
        corrupt: tuple[CorruptItemError, ...] = ()
        if query.cursor is None and not query.offset:
            broken = self._execute(*_sql.list_broken(collection)).fetchall()
            corrupt = tuple(self.corrupt(collection, item_id) for (item_id,) in broken)
        statement = select.stages[0] if select.stages else select.total
        return Page(
            items=items,
            cursor=_sql_query.next_cursor(query, items[-1], self.dialect) if more else None,
            total=total,
            corrupt=corrupt,
            statistics=self._statistics(statement) if statement else _NOTHING_READ,
        )

    def set_aside_broken(self, collection: str) -> list[tuple[str, str]]:
        """Take rows that are no JSON objects out of the way, inside the open transaction.

        Their bytes are kept in the table `sp_broken`.

        Returns:
            Scope and id of each that was not known yet.
        """
        table, _ = _sql.table_of(collection)
        for sql in _sql.create_table(table):
            self._execute(sql)
        found: list[tuple[str, str]] = []
        for statement in _sql.set_aside_broken(table, _sql.NO_DOCUMENT):
            found += self._execute(*statement).fetchall()
        return found

    def _rows(self, select: _sql_query.Select) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for stage in select.stages:
            rows += self._execute(*stage).fetchall()
            if len(rows) >= select.rows_wanted:
                del rows[select.rows_wanted :]
                break
        return rows

    def _statistics(self, statement: _sql.Statement) -> QueryStatistics:
        plan = self._plans.get(statement.sql)
        if plan is None:
            if len(self._plans) >= PLANS_KEPT:
                self._plans.clear()
            plan = self._plans[statement.sql] = self._explain(statement)
        index, full_scan = plan
        return QueryStatistics(index=index, full_scan=full_scan)

    def _explain(self, statement: _sql.Statement) -> tuple[str | None, bool]:
        """The declared index a statement uses, and whether it reads the whole collection."""
        rows = self._execute(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)
        return _sql_schema.read_plan(statement.sql, [row[-1] for row in rows.fetchall()])

    # --- listings ------------------------------------------------------------------------------

    def versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage:
        """List ids and versions in the order of ids."""
        if cursor is not None and not cursor.startswith(">"):
            raise InvalidArgumentError("the cursor is damaged; begin again without one")
        limit = min(limit, 2**62)
        after = "" if cursor is None else cursor[1:]
        try:
            rows = self._execute(*_sql.list_versions(collection, after, limit + 1)).fetchall()
        except sqlite3.OperationalError as error:
            if missing_table(error) is None:
                raise
            return VersionPage()
        entries = [ItemVersion(item_id, version) for item_id, version in rows[:limit]]
        return VersionPage(
            entries=entries, cursor=f">{entries[-1].id}" if len(rows) > limit else None
        )

    def collections(self, scope: str | None = None) -> list[str]:
        """Name the collections that hold documents or are declared, the SDK's own left out.

        Args:
            scope: Only those of this scope and of the scopes inside it.
        """
        found: set[str] = set()
        with self._snapshot():
            # Every collection that was declared has a table.
            for table in self._tables():
                name = table.strip('"')[2:]
                if name.startswith("."):
                    continue
                owners = self._execute(*_sql.list_scopes(table, scope)).fetchall()
                owners += self._rows_if_any(_sql.list_declared_scopes(name, scope))
                found.update(f"{owner}/{name}" if owner else name for (owner,) in owners)
        return list(found)

    def _tables(self) -> list[str]:
        return [_sql.quoted(name) for (name,) in self._execute(*_sql.list_tables()).fetchall()]

    # --- declarations --------------------------------------------------------------------------

    def declared(self, collection: str) -> CollectionSpec | None:
        """What is declared about a collection."""
        scope, name = check_collection(collection)
        rows = self._declarations(name, scope)
        return msgspec.json.decode(rows[0][2], type=CollectionSpec) if rows else None

    def declare(self, spec: CollectionSpec) -> None:
        """Keep a declaration and make what it asks for, inside the open transaction."""
        try:
            self._declare(spec)
        except sqlite3.OperationalError as error:
            if not is_malformed(error):
                raise
            self.set_aside_broken(spec.collection)
            self._declare(spec)
        self._plans.clear()

    def erase(self, collection: str) -> None:
        """Remove a collection and what is declared about it, inside the open transaction."""
        table, _ = _sql.table_of(collection)
        for sql in (_sql.CREATE_DECLARATIONS, *_sql.create_table(table)):
            self._execute(sql)
        for statement in _sql.erase_rows(collection):
            self._execute(*statement)
        self._migrate(collection, check_collection(collection)[1])
        self._plans.clear()

    def _declare(self, spec: CollectionSpec) -> None:
        scope, name = check_collection(spec.collection)
        text = msgspec.json.encode(spec).decode()
        self._execute("SAVEPOINT declare")
        try:
            self._execute(_sql.CREATE_DECLARATIONS)
            self._execute(*_sql.write_declaration(name, scope, text))
            self._migrate(spec.collection, name)
        except BaseException:
            if self.connection.in_transaction:
                self._execute("ROLLBACK TO declare")
                self._execute("RELEASE declare")
            raise
        self._execute("RELEASE declare")

    def _migrate(self, collection: str, name: str) -> None:
        table, _ = _sql.table_of(collection)
        for sql in _sql.create_table(table):
            self._execute(sql)
        specs = [
            msgspec.json.decode(text, type=CollectionSpec)
            for _, _, text in self._declarations(name)
        ]
        existing = self._execute(*_sql_schema.existing_objects(collection)).fetchall()
        names = [object_name for (object_name,) in existing]
        for statement in _sql_schema.migrate(collection, specs, names):
            self._execute(*statement)

    def _declarations(
        self, name: str | None = None, scope: str | None = None
    ) -> list[tuple[str, str, str]]:
        return self._rows_if_any(_sql.read_declarations(name, scope))

    def _rows_if_any(self, statement: _sql.Statement) -> list[Any]:
        """The rows of a table that may not be there yet."""
        try:
            return self._execute(*statement).fetchall()
        except sqlite3.OperationalError as error:
            if missing_table(error) is None:
                raise
            return []


_NOTHING_READ: Final = QueryStatistics(full_scan=False)


def _run_key(write: Write) -> tuple[str, Condition, str | None, bool] | None:
    """Puts with the same key that stand together have one shape; `None`: not a put."""
    if isinstance(write, Put):
        return write.collection, write.condition, write.encoding, write.expires_at_ms is None
    return None
