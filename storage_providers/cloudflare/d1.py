"""D1: what a provider needs of it (`D1Transport`), and that over the REST API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from storage_providers.resilience import Deadline, Effect

__all__ = [
    "D1Result",
    "D1Transport",
    "SqlStatement",
    "SqlValue",
]

SqlValue: TypeAlias = "str | int | float | None"
"""What can be bound. There is no form for bytes: bind their hexadecimal text to `unhex(?)`."""

SqlStatement: TypeAlias = "tuple[str, Sequence[SqlValue]]"
"""One statement and its bound values."""


class D1Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one statement returned.

    Attributes:
        columns: Names of the columns, also where there are no rows.
        rows: The rows; integers beyond 2**53 have lost digits on their way, so select them as text.
        rows_read: Rows looked at, which is what D1 charges for.
        rows_written: Rows and index entries written, likewise.
        changes: Rows changed, those changed by triggers among them.
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
            InvalidArgumentError: A value can't be bound: bytes, NaN, an integer beyond 2**53.
            ConfigurationError: There is no such database.
            AuthenticationError: The token is missing, wrong or expired.
            PermissionDeniedError: The token does not allow this.
            RateLimitedError: The database or the account is over its limit.
            OutcomeUnknownError: The connection broke after sending; read before repeating.
            TransportError: The service could not be reached or did not answer properly.
        """
        ...
