"""One database: what is sent together, and what is known of its tables."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from storage_providers._clock import Clock
from storage_providers.cloudflare.d1 import D1Result, D1Transport
from storage_providers.cloudflare.errors import D1StatementError
from storage_providers.errors import StorageError
from storage_providers.protocol import CollectionSpec
from storage_providers.providers import _sql
from storage_providers.providers._d1.bound import bound, check_call, encoded
from storage_providers.providers._d1.writing import DAY_MS, make_landed
from storage_providers.providers._sql import Statement
from storage_providers.providers._sql.rows import MissingSideTableError
from storage_providers.resilience import Effect

__all__ = ["Database", "Part", "Usage", "refusal"]

DECLARATIONS_READ: Final = 1_000
"""Most declarations that are read at once, and so known without asking. Ours."""

FRESH_MS: Final = 60_000
"""How long it is believed that the declarations are as they were read; as `Provider` does."""

REREAD_MS: Final = 30_000
"""From this age on they are read again beside whatever is sent."""


class Part(NamedTuple):
    """Statements that read one collection's table.

    Attributes:
        table: Quoted.
        statements: At least one.
    """

    table: str
    statements: Sequence[Statement]


class Usage(msgspec.Struct):
    """What a provider has cost so far.

    Attributes:
        calls: Batches of statements that were answered.
        rows_read: Rows looked at.
        rows_written: Rows and index entries written.
    """

    calls: int = 0
    rows_read: int = 0
    rows_written: int = 0


def refusal(error: StorageError) -> D1StatementError | None:
    """The statement that failed, also if an attempt before it may have landed."""
    cause = error if isinstance(error, D1StatementError) else error.__cause__
    return cause if isinstance(cause, D1StatementError) else None


class Database:
    """A D1 database as the engine sees it.

    Args:
        transport: How it is reached.
        clock: Judges how old what is known is.

    Attributes:
        tables: Quoted names of tables that are known to be there.
        usage: What was read and written so far.
    """

    def __init__(self, transport: D1Transport, clock: Clock) -> None:
        self.tables: set[str] = set()
        self.usage = Usage()
        self._transport = transport
        self._clock = clock
        self._specs: dict[tuple[str, str], CollectionSpec] = {}
        self._all_specs_known = False
        self._too_many_specs = False
        self._specs_read_ms = 0
        self._reading = asyncio.Lock()
        self._landed_day = -1

    # --- sending -------------------------------------------------------------------------------

    async def run(
        self, statements: Iterable[Statement], effect: Effect, operation: str
    ) -> list[D1Result]:
        """Run statements as one atomic call, reading the declarations beside them now and then.

        Raises:
            UnsupportedOperationError: They do not fit one call.
            StorageError: What the transport raises.
        """
        sent = [bound(statement) for statement in statements]
        check_call(sent)
        rereads = self._rereads()
        if rereads:
            sent.append(bound(_read_specs()))
        asked_ms = self._clock.now_ms()
        results = await self._transport.raw(sent, effect=effect, operation=operation)
        self.usage.calls += 1
        self.usage.rows_read += sum(result.rows_read for result in results)
        self.usage.rows_written += sum(result.rows_written for result in results)
        if rereads:
            self._keep_specs(results.pop(), asked_ms)
        return results

    async def ask(self, parts: Sequence[Part], operation: str) -> list[list[D1Result] | None]:
        """Read in one call; `None` for parts whose table is not there.

        A missing table makes the whole call fail. So what is missing costs a second call, and a
        third one if there are several tables.

        Raises:
            MissingSideTableError: A table beside a collection's is not there.
            StorageError: What the transport raises.
        """
        absent: set[str] = set()
        while True:
            present = [part for part in parts if part.table not in absent]
            if not present:
                return [None] * len(parts)
            statements = [statement for part in present for statement in part.statements]
            try:
                results = iter(await self.run(statements, Effect.READ, operation))
            except D1StatementError as error:
                absent |= await self._missing(error, {part.table for part in present})
                continue
            self.tables.update(part.table for part in present)
            return [
                None if part.table in absent else [next(results) for _ in part.statements]
                for part in parts
            ]

    async def _missing(self, error: D1StatementError, tables: set[str]) -> set[str]:
        """Which of the tables are missing, after one was."""
        if error.kind != "no_such_table":
            raise error
        name = _sql.quoted(error.name or "")
        if name == _DECLARATIONS_TABLE and name not in tables:
            self.forget()
            return set()
        if error.name is not None and name not in tables:
            raise MissingSideTableError from error
        self.tables -= tables
        if len(tables) == 1:
            return tables
        wanted = encoded([table.strip('"') for table in sorted(tables)]).decode()
        statement = Statement(
            "SELECT name FROM sqlite_master WHERE type='table' "
            "AND name IN (SELECT value FROM json_each(?1))",
            (wanted,),
        )
        (result,) = await self.run([statement], Effect.READ, "tables")
        return (tables - {_sql.quoted(found) for (found,) in result.rows}) | {name}

    def forget(self) -> bool:
        """Believe nothing about tables any more: some were dropped, or the database restored.

        Returns:
            Whether anything was believed; if not, making them all did not help.
        """
        believed = bool(self.tables) or self._landed_day >= 0
        self.tables.clear()
        self._landed_day = -1
        self._specs_read_ms, self._all_specs_known, self._too_many_specs = 0, False, False
        return believed

    # --- declarations --------------------------------------------------------------------------

    def _rereads(self) -> bool:
        if _DECLARATIONS_TABLE not in self.tables or not self._all_specs_known:
            return False
        age = self._clock.now_ms() - self._specs_read_ms
        return not 0 <= age < REREAD_MS

    def _keep_specs(self, result: D1Result, asked_ms: int) -> None:
        self._too_many_specs = len(result.rows) > DECLARATIONS_READ
        self._all_specs_known = not self._too_many_specs
        self._specs = {
            (name, scope): msgspec.json.decode(spec, type=CollectionSpec)
            for name, scope, spec in result.rows
        }
        self._specs_read_ms = asked_ms

    def known_spec(self, name: str, scope: str) -> tuple[CollectionSpec | None, int] | None:
        """What is declared, and when that was read, epoch ms; `None`: not known."""
        age = self._clock.now_ms() - self._specs_read_ms
        if not 0 <= age < FRESH_MS or not self._all_specs_known:
            return None
        return self._specs.get((name, scope)), self._specs_read_ms

    async def find_spec(self, name: str, scope: str) -> CollectionSpec | None:
        """What is declared, asking if it is not known."""
        if self._too_many_specs:
            return await self.read_spec(name, scope)
        # Tasks that begin at once: the first reads for all of them.
        async with self._reading:
            known = self.known_spec(name, scope)
            return await self.read_spec(name, scope) if known is None else known[0]

    async def read_spec(self, name: str, scope: str) -> CollectionSpec | None:
        """Read what is declared, and all other declarations with it unless there are too many."""
        one, asked_ms = _sql.read_declarations(name, scope), self._clock.now_ms()
        statements = [one] if self._too_many_specs else [one, _read_specs()]
        self._all_specs_known = False
        try:
            result, *others = await self.run(statements, Effect.READ, "declared")
        except D1StatementError as error:
            if error.kind != "no_such_table":
                raise
            self._specs, self._all_specs_known, self._specs_read_ms = {}, True, asked_ms
            return None
        self.tables.add(_DECLARATIONS_TABLE)
        for other in others:
            self._keep_specs(other, asked_ms)
        return msgspec.json.decode(result.rows[0][2], type=CollectionSpec) if result.rows else None

    def remember_spec(self, name: str, scope: str, spec: CollectionSpec) -> None:
        """What was just declared."""
        self._specs[name, scope] = spec

    # --- making tables -------------------------------------------------------------------------

    def missing_tables(self, collections: Iterable[str], now_ms: int) -> list[Statement]:
        """Make the tables that are not known to be there: of tokens, declarations, documents."""
        statements: list[Statement] = []
        if self._landed_day != now_ms // DAY_MS:
            statements += make_landed(now_ms)
        if _DECLARATIONS_TABLE not in self.tables:
            statements.append(Statement(_sql.CREATE_DECLARATIONS))
        for table in dict.fromkeys(_sql.table_of(name)[0] for name in collections):
            if table not in self.tables:
                statements += [Statement(sql) for sql in _sql.create_table(table)]
        return statements

    def made(self, collections: Iterable[str], now_ms: int) -> None:
        """Say that these tables are there now."""
        self._landed_day = now_ms // DAY_MS
        self.tables.add(_DECLARATIONS_TABLE)
        self.tables.update(_sql.table_of(name)[0] for name in collections)


_DECLARATIONS_TABLE: Final = _sql.quoted(_sql.DECLARATIONS)


def _read_specs() -> Statement:
    sql, _ = _sql.read_declarations()
    return Statement(f"{sql} LIMIT {DECLARATIONS_READ + 1}")
