"""D1 without Cloudflare: `sqlite3` behind `D1Transport`, as strict as D1 where D1 is strict.

It stands for D1's answers, not for its service: one transaction a call, values and results as they
are after a trip through JSON, the limits of the documentation, and the messages of SQLite. What
workerd's D1 does is tested on workerd itself.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers._requests import count_request
from storage_providers.cloudflare.d1 import D1Result, D1Transport, SqlStatement
from storage_providers.cloudflare.errors import Refusal, error_of
from storage_providers.errors import OutcomeUnknownError, TransportError
from storage_providers.providers._d1.database import Database
from storage_providers.providers.d1 import D1Provider
from storage_providers.resilience import (
    Attempt,
    BreakerPolicy,
    Deadline,
    Effect,
    Resilience,
    RetryPolicy,
)

MAX_BOUND: Final = 100
MAX_STATEMENT_BYTES: Final = 100_000
MAX_TEXT_BYTES: Final = 2_000_000
MAX_DEPTH: Final = 100
MAX_TERMS: Final = 5
FORBIDDEN: Final = re.compile(
    r"\s*(BEGIN|SAVEPOINT|COMMIT|ROLLBACK|ATTACH|VACUUM)\b", re.IGNORECASE
)


class LocalD1:
    """One database file, or one in memory, as a `D1Transport`.

    Args:
        path: The file; two of these on one file are two clients of one database.

    Attributes:
        calls: The batches that arrived, as lists of SQL.
        faults: What happens to the next calls: `before` or `after` they are carried out the
            connection breaks; `late`: it breaks, and they arrive when `arrive` is called; `ok` or
            nothing: they are answered.
        after: What somebody else does once the call with this number was carried out.
    """

    def __init__(self, path: Path | str) -> None:
        self.calls: list[list[str]] = []
        self.faults: list[str] = []
        self.late: list[Sequence[SqlStatement]] = []
        self.after: dict[int, Callable[[], Awaitable[None]]] = {}
        self.connection = sqlite3.connect(path, isolation_level=None)
        # As JavaScript decodes what is no UTF-8.
        self.connection.text_factory = lambda raw: raw.decode(errors="replace")
        self.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_TEXT_BYTES)
        self.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, MAX_BOUND)
        self.connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, MAX_STATEMENT_BYTES)
        self.connection.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, MAX_DEPTH)
        self.connection.setlimit(sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, MAX_TERMS)
        self._resilience = Resilience(
            "local", retry=RetryPolicy(base_delay_seconds=0), breaker=BreakerPolicy()
        )

    async def raw(
        self,
        statements: Sequence[SqlStatement],
        *,
        effect: Effect = Effect.WRITE,
        operation: str = "",
        deadline: Deadline | None = None,
    ) -> list[D1Result]:
        """Run statements as one transaction, trying again as the client does."""

        async def send(_: Attempt) -> list[D1Result]:
            count_request()
            number = len(self.calls)
            fault = self.faults.pop(0) if self.faults else "ok"
            if fault == "before":
                raise TransportError("injected: the connection broke before anything was sent")
            if fault == "late":
                self.late.append(statements)
                raise OutcomeUnknownError("injected: the connection broke after sending")
            try:
                return self._answer(statements, effect)
            finally:
                if number in self.after:
                    await self.after.pop(number)()
                if fault == "after":
                    raise OutcomeUnknownError("injected: the connection broke after sending")

        return await self._resilience.call(send, effect=effect, operation=operation)

    def _answer(self, statements: Sequence[SqlStatement], effect: Effect) -> list[D1Result]:
        self.calls.append([sql for sql, _ in statements])
        try:
            return self._transaction(statements)
        except sqlite3.Error as error:
            message = f"{error}: SQLITE_ERROR"
            raise error_of(
                Refusal(service="d1", effect=effect, status=400),
                [{"code": 7500, "message": message}],
            ) from error

    def _transaction(self, statements: Sequence[SqlStatement]) -> list[D1Result]:
        assert statements, "D1 refuses an empty batch"
        # What is sent is JSON, and what comes back is.
        sent = msgspec.json.decode(msgspec.json.encode(list(statements)))
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            results = [self._run(sql, values) for sql, values in sent]
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        return results

    def _run(self, sql: str, values: Sequence[Any]) -> D1Result:
        assert not FORBIDDEN.match(sql), "D1 refuses statements about transactions"
        assert sql.count("?") >= len(values)
        before = self.connection.total_changes
        # D1 binds every number as floating point.
        numbers = [float(value) if isinstance(value, int) else value for value in values]
        cursor = self.connection.execute(sql, numbers)
        rows = [[_as_json(value) for value in row] for row in cursor.fetchall()]
        changes = self.connection.total_changes - before
        columns = [name for name, *_ in cursor.description or ()]
        return D1Result(columns=columns, rows=rows, rows_read=len(rows), changes=changes)

    def arrive(self) -> str:
        """Carry out the call that is late; returns what it failed with."""
        try:
            self._transaction(self.late.pop())
        except sqlite3.Error as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Close the database."""
        self.connection.close()


def _as_json(value: object) -> object:
    """A value as JavaScript writes it: no bytes, no integer beyond 2**53 with all its digits."""
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, int) and abs(value) > 2**53:
        return float(value)
    return value


def local_provider(transport: D1Transport, *, clock: Clock = SYSTEM_CLOCK) -> D1Provider:
    """The provider on such a transport."""
    provider = D1Provider(
        account_id="a" * 32,
        database_id="00000000-0000-4000-8000-000000000001",
        token="x" * 40,
        clock=clock,
    )
    provider._database = Database(transport, clock)
    return provider
