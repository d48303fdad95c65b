"""What Cloudflare's answers mean, in one table."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from storage_providers.errors import StorageError

__all__ = ["GUARD", "D1StatementError", "SqlFailure"]

GUARD: Final = "sp-guard-"
"""What a statement puts before a number into an error of its own making; see `D1StatementError`."""

SqlFailure: TypeAlias = Literal[
    "guard",
    "no_such_table",
    "no_such_column",
    "already_exists",
    "constraint",
    "malformed_json",
    "syntax",
    "too_big",
    "too_many_values",
    "not_allowed",
    "timeout",
    "other",
]
"""Why D1 refused a statement, as far as its message tells."""


class D1StatementError(StorageError):
    """D1 refused a statement, so nothing of the batch was written.

    The database's own words may quote values, so only what is known to be harmless is kept.

    Attributes:
        kind: Why.
        guard: The number after `GUARD` in the database's message: a statement that fails on
            purpose (`json_extract('{}', 'sp-guard-17')`) says so which of them it was.
        name: The table, column or constraint that is to blame, if the message names one.
        code: Cloudflare's number, 0 where there is none (bindings).
        status: The HTTP status, 0 where there is none (bindings).
    """

    def __init__(
        self,
        message: str = "",
        *,
        kind: SqlFailure = "other",
        guard: int | None = None,
        name: str | None = None,
        code: int = 0,
        status: int = 0,
    ) -> None:
        super().__init__(message)
        self.kind: SqlFailure = kind
        self.guard = guard
        self.name = name
        self.code = code
        self.status = status
