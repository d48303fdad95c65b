"""D1: what a provider needs of it (`D1Transport`), and that over the REST API."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import msgspec

from storage_providers.cloudflare._checks import checked_id
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.errors import InvalidArgumentError, OutcomeUnknownError, TransportError
from storage_providers.resilience import Deadline, Effect

__all__ = [
    "D1Bookmark",
    "D1Database",
    "D1DatabaseInfo",
    "D1Databases",
    "D1Location",
    "D1Result",
    "D1Transport",
    "SqlStatement",
    "SqlValue",
    "check_statements",
]

MAX_EXACT_INTEGER: Final = 2**53
"""Numbers reach D1 as JavaScript's, exact up to here. Source: Cloudflare docs, d1/worker-api, type
conversion (read 2026-11)."""

MAX_VALUES: Final = 100
"""Bound values of one statement. Source: Cloudflare docs, d1/platform/limits (read 2026-11)."""

SqlValue: TypeAlias = "str | int | float | None"
"""What can be bound. There is no form for bytes: bind their hexadecimal text to `unhex(?)`."""

SqlStatement: TypeAlias = "tuple[str, Sequence[SqlValue]]"
"""One statement and its bound values."""

D1Location: TypeAlias = Literal["wnam", "enam", "weur", "eeur", "apac", "oc"]
"""Where a database had best be. Source: the Python SDK of Cloudflare, 5.9.0."""


class D1Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one statement returned.

    Attributes:
        columns: Names of the columns. Over the REST API also where there are no rows; a Worker's
            binding knows them only from rows, and keeps one of several columns with one name.
        rows: The rows; integers beyond 2**53 have lost digits on their way, so select them as text.
        rows_read: Rows looked at, which is what D1 charges for.
        rows_written: Rows and index entries written, likewise.
        changes: Rows changed, those changed by triggers and in the tables behind full text among
            them.
        last_row_id: Row number of the last row inserted, if there is one.
        duration_ms: Time inside the database, milliseconds.
        size_after_bytes: Size of the database afterwards, `None` where it is not told.
    """

    columns: list[str] = []
    rows: list[list[Any]] = []
    rows_read: int = 0
    rows_written: int = 0
    changes: int = 0
    last_row_id: int | None = None
    duration_ms: float = 0.0
    size_after_bytes: int | None = None

    def __repr__(self) -> str:
        return f"D1Result({len(self.rows)} rows, changes={self.changes})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # msgspec's own, which rich prefers to the repr, would show the rows.
        return [("columns", self.columns), ("changes", self.changes)]


class D1Transport(Protocol):
    """One database, however it is reached."""

    async def raw(
        self,
        statements: Sequence[SqlStatement],
        *,
        effect: Effect = Effect.WRITE,
        operation: str = "",
        deadline: Deadline | None = None,
    ) -> list[D1Result]:
        """Run statements in order as one transaction: all of them land, or none.

        Args:
            statements: At least one, each a single SQL statement with at most 100 bound values.
            effect: Whether the batch may be repeated when no answer came.
            operation: A name for reports.
            deadline: The operation's budget; without one the call has its own.

        Returns:
            One result for each statement, in order.

        Raises:
            D1StatementError: A statement was refused and everything rolled back; `kind` says why
                and `guard` names the guard that spoke.
            InvalidArgumentError: A value can't be bound: bytes, NaN, an integer beyond 2**53; or
                there are too many.
            ConfigurationError: There is no such database.
            AuthenticationError: The token is missing, wrong or expired.
            PermissionDeniedError: The token does not allow this.
            RateLimitedError: The database or the account is over its limit.
            StorageFullError: The database is full.
            OutcomeUnknownError: The connection broke after sending; read before repeating.
            TransportError: The service could not be reached or did not answer properly.
        """
        ...


class D1DatabaseInfo(msgspec.Struct, frozen=True, kw_only=True, rename={"id": "uuid"}):
    """A database of the account.

    Attributes:
        id: Its id, which is the one thing that other calls take.
        name: Its name.
        created_at: When it was made, as the service writes it.
        file_size: Its size, bytes, if told.
        num_tables: How many tables it has, if told.
        running_in_region: Where its primary is, if told.
    """

    id: str
    name: str
    created_at: str | None = None
    file_size: float | None = None
    num_tables: float | None = None
    running_in_region: str | None = None


class D1Bookmark(msgspec.Struct, frozen=True, kw_only=True):
    """A state of a database that it can be put back to.

    Attributes:
        bookmark: The state.
        previous_bookmark: After putting it back: the state before, so that this can be undone.
    """

    bookmark: str
    previous_bookmark: str | None = None


# --- the REST API ------------------------------------------------------------------------------


class _Meta(msgspec.Struct, frozen=True):
    rows_read: float | None = None
    rows_written: float | None = None
    changes: float | None = None
    last_row_id: float | None = None
    duration: float | None = None
    size_after: float | None = None


class _Table(msgspec.Struct, frozen=True):
    columns: list[str] = []
    rows: list[list[Any]] = []


class _Entry(msgspec.Struct, frozen=True):
    results: _Table | None = None
    success: bool = True
    meta: _Meta | None = None


class _Named(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    primary_location_hint: str | None = None
    jurisdiction: str | None = None


class D1Database:
    """One database over the REST API, which always asks the primary.

    Args:
        client: The account; borrowed, connected and closed by whoever made it.
        database_id: The database.

    Raises:
        ConfigurationError: `database_id` is malformed.
    """

    def __init__(self, client: CloudflareClient, database_id: str) -> None:
        self.database_id = checked_id("database_id", database_id)
        self._client = client
        self._path = f"d1/database/{self.database_id}"

    def __repr__(self) -> str:
        return f"D1Database({self.database_id!r})"

    async def raw(
        self,
        statements: Sequence[SqlStatement],
        *,
        effect: Effect = Effect.WRITE,
        operation: str = "",
        deadline: Deadline | None = None,
    ) -> list[D1Result]:
        """Run statements in order as one transaction; see `D1Transport.raw`."""
        bodies = check_statements(statements)
        answer = await self._client.request(
            "POST",
            f"{self._path}/raw",
            # A statement alone needs no batch.
            json=bodies[0] if len(bodies) == 1 else {"batch": bodies},
            effect=effect,
            as_type=list[_Entry],
            service="d1",
            resource=self.database_id,
            operation=operation or "d1.raw",
            deadline=deadline,
        )
        entries = cast("list[_Entry]", answer.result)
        if len(entries) != len(bodies) or not all(entry.success for entry in entries):
            # Nothing tells which statement has which result, so what it did is not known either.
            text = f"D1 answered {len(bodies)} statements with {len(entries)} results"
            if effect is Effect.READ:
                raise TransportError(text)
            raise OutcomeUnknownError(f"{text}; it may have landed, read before repeating")
        return [_result(entry) for entry in entries]

    async def info(self) -> D1DatabaseInfo:
        """What the service says about the database.

        Raises:
            StorageError: As in `CloudflareClient.request`.
        """
        answer = await self._client.request(
            "GET",
            self._path,
            effect=Effect.READ,
            as_type=D1DatabaseInfo,
            service="d1",
            operation="d1.info",
        )
        return cast(D1DatabaseInfo, answer.result)

    async def bookmark(self, timestamp: str | None = None) -> D1Bookmark:
        """Name the state of the database, to put it back to later.

        Args:
            timestamp: A moment of the last 30 days (7 on the free plan), RFC 3339; now without it.

        Raises:
            StorageError: As in `CloudflareClient.request`.
        """
        answer = await self._client.request(
            "GET",
            f"{self._path}/time_travel/bookmark",
            params={"timestamp": timestamp},
            effect=Effect.READ,
            as_type=D1Bookmark,
            service="d1",
            operation="d1.bookmark",
        )
        return cast(D1Bookmark, answer.result)

    async def restore(
        self, *, bookmark: str | None = None, timestamp: str | None = None
    ) -> D1Bookmark:
        """Put the whole database back to an earlier state, in place: what came after is gone.

        The service allows ten in ten minutes. Calls in flight are cut off.

        Args:
            bookmark: The state; or
            timestamp: the moment, RFC 3339.

        Returns:
            The state now, and the one before, which leads back.

        Raises:
            InvalidArgumentError: Not exactly one of the two is given.
            StorageError: As in `CloudflareClient.request`.
        """
        if (bookmark is None) == (timestamp is None):
            raise InvalidArgumentError("restore takes either a bookmark or a timestamp")
        answer = await self._client.request(
            "POST",
            f"{self._path}/time_travel/restore",
            params={"bookmark": bookmark, "timestamp": timestamp},
            effect=Effect.WRITE,
            as_type=D1Bookmark,
            service="d1",
            operation="d1.restore",
        )
        return cast(D1Bookmark, answer.result)


class D1Databases:
    """The databases of an account.

    Args:
        client: The account; borrowed.
    """

    def __init__(self, client: CloudflareClient) -> None:
        self._client = client

    async def find(self, name: str) -> D1DatabaseInfo | None:
        """The database with exactly this name, `None` without one.

        Raises:
            StorageError: As in `CloudflareClient.request`.
        """
        async with aclosing(self.list(name=name)) as databases:
            async for database in databases:
                # The service's own filter takes every name that holds this one.
                if database.name == name:
                    return database
        return None

    async def list(self, *, name: str | None = None) -> AsyncGenerator[D1DatabaseInfo, None]:
        """Every database, or those whose name holds `name`.

        Raises:
            StorageError: As in `CloudflareClient.request`.
        """
        listing = self._client.pages(
            "d1/database",
            by="page",
            params={"name": name, "per_page": 100},
            as_type=list[D1DatabaseInfo],
            service="d1",
            operation="d1.list",
        )
        async with aclosing(listing) as pages:
            async for page in pages:
                for database in cast("Sequence[D1DatabaseInfo]", page.result):
                    yield database

    async def create(
        self,
        name: str,
        *,
        location: D1Location | None = None,
        jurisdiction: Literal["eu", "fedramp", "us"] | None = None,
    ) -> D1DatabaseInfo:
        """Make a database.

        Args:
            name: Its name, which no other database of the account has.
            location: Where it had best be; the service chooses otherwise.
            jurisdiction: Where it must stay; can't be changed.

        Raises:
            ItemExistsError: There is one with this name.
            OutcomeUnknownError: The connection broke; see whether it is there.
            StorageError: As in `CloudflareClient.request`.
        """
        answer = await self._client.request(
            "POST",
            "d1/database",
            json=_Named(name, location, jurisdiction),
            effect=Effect.WRITE,
            as_type=D1DatabaseInfo,
            service="d1",
            operation="d1.create",
        )
        return cast(D1DatabaseInfo, answer.result)

    async def delete(self, database_id: str) -> None:
        """Delete a database with all that is in it.

        Args:
            database_id: Its id, not its name.

        Raises:
            ConfigurationError: There is none, or the id is malformed.
            StorageError: As in `CloudflareClient.request`.
        """
        await self._client.request(
            "DELETE",
            f"d1/database/{checked_id('database_id', database_id)}",
            effect=Effect.WRITE,
            service="d1",
            operation="d1.delete",
        )


# --- helpers -----------------------------------------------------------------------------------


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    sql: str
    params: Sequence[SqlValue] = ()


def check_statements(statements: Sequence[SqlStatement]) -> Sequence[_Body]:
    """Statements as they are sent, if every value reaches D1 as it is.

    Raises:
        InvalidArgumentError: A value would not, there are too many, or there is no statement.
    """
    if not statements:
        raise InvalidArgumentError("a batch needs at least one statement")
    return [
        _Body(sql, _checked_values(values, position))
        for position, (sql, values) in enumerate(statements)
    ]


def _checked_values(values: Sequence[SqlValue], position: int) -> Sequence[SqlValue]:
    if len(values) > MAX_VALUES:
        raise InvalidArgumentError(
            f"statement {position} binds {len(values)} values, D1 accepts {MAX_VALUES}; "
            "pass a list as one JSON text to json_each(?)"
        )
    changed: list[SqlValue] | None = None
    for place, value in enumerate(values):
        # Nearly all of them are text.
        if type(value) is str or value is None:
            continue
        if isinstance(value, bool):
            changed = list(values) if changed is None else changed
            changed[place] = int(value)
        elif isinstance(value, int):
            if abs(value) > MAX_EXACT_INTEGER:
                raise _unbindable(position, place, "an integer beyond 2**53; bind its text")
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise _unbindable(position, place, "not a finite number")
        elif not isinstance(value, str):
            name = type(cast(object, value)).__name__
            raise _unbindable(position, place, f"{name}; bind text, hexadecimal for bytes")
    return values if changed is None else changed


def _unbindable(position: int, place: int, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"value {place + 1} of statement {position} is {what}")


def _result(entry: _Entry) -> D1Result:
    table, meta = entry.results or _Table(), entry.meta or _Meta()
    return D1Result(
        columns=table.columns,
        rows=table.rows,
        rows_read=int(meta.rows_read or 0),
        rows_written=int(meta.rows_written or 0),
        changes=int(meta.changes or 0),
        last_row_id=None if meta.last_row_id is None else int(meta.last_row_id),
        duration_ms=meta.duration or 0.0,
        size_after_bytes=None if meta.size_after is None else int(meta.size_after),
    )
