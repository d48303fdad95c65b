"""A call that did not succeed: what is known of it, a rule, and the error that the rule makes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from storage_providers.errors import (
    DocumentTooLargeError,
    OutcomeUnknownError,
    StorageError,
    TransportError,
)
from storage_providers.resilience import Effect

__all__ = [
    "GUARD",
    "SHOWN",
    "D1StatementError",
    "Refusal",
    "Rule",
    "Service",
    "SqlFailure",
    "entries",
    "make_error",
]

GUARD: Final = "sp-guard-"
"""What a statement puts before a number into an error of its own making; see `D1StatementError`."""

Service: TypeAlias = Literal["api", "kv", "d1", "r2", "vectorize", "ai"]
"""Whose answer it is."""

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
    "exhausted",
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


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a call that did not succeed, beside the service's errors.

    Attributes:
        service: Whose answer it is.
        effect: What the call was to do.
        status: The HTTP status; 0 where there is none (bindings).
        ray: The `cf-ray` header, which Cloudflare's support asks for.
        retry_after_seconds: How long the service asks to wait.
        now_ms: Milliseconds since 1970, to count to midnight by.
    """

    service: Service
    effect: Effect
    status: int = 0
    ray: str = ""
    retry_after_seconds: float | None = None
    now_ms: int = 0


# --- rules -------------------------------------------------------------------------------------

DAY_MS: Final = 86_400_000
"""Milliseconds of a day: daily allowances begin anew at 00:00 UTC."""

LONGEST_MESSAGE: Final = 4_000
"""Characters of the service's message that are looked at. Ours."""

LONGEST_SHOWN: Final = 200
"""Characters of the service's message that are shown. Ours."""

SHOWN: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"authentication (?:error|failed)\.?",
        r"invalid (?:api |access )?token",
        r"invalid request headers",
        r"missing x-auth-key, x-auth-email or authorization headers",
        r"unauthorized to access requested resource",
        r"internal error; reference = \w{1,80}",
        r"(?:\w+ )*\w+: '(?:key|namespace) not found'",
        r"D1 DB is overloaded\. [a-z .]{1,100}",
        r"(?:more than \d+ requests per \d+ seconds reached\. )?please wait and consider throttling"
        r" your request speed\.?",
    )
)
"""Messages of the service that hold nothing of ours, in whole."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer means. What is left empty fits everything.

    Attributes:
        error: The error it becomes.
        says: What happened, and what to do about it.
        service: Whose answer.
        codes: Which numbers.
        low: The lowest HTTP status.
        high: The highest HTTP status.
        message: What the message holds, as a regular expression without regard to case. The group
            `name` is what is to blame, `guard` the guard that spoke, `size` and `limit` bytes.
        kind: Why D1 refused the statement.
        until_midnight: Whether waiting helps only after 00:00 UTC.
        maybe_landed: Whether a write may have been carried out all the same, and trying again at
            once would not help.
        source: Where that was learnt.
    """

    error: type[StorageError]
    says: str
    service: Service | None = None
    codes: tuple[int, ...] = ()
    low: int = 0
    high: int = 999
    message: str = ""
    kind: SqlFailure | None = None
    until_midnight: bool = False
    maybe_landed: bool = False
    source: str = ""

    def fits(self, refusal: Refusal, code: int, message: str) -> bool:
        """Whether it is about this answer."""
        return (
            (self.service is None or self.service == refusal.service)
            and (not self.codes or code in self.codes)
            and self.low <= refusal.status <= self.high
            and (not self.message or re.search(self.message, message, re.IGNORECASE) is not None)
        )


# --- making errors -----------------------------------------------------------------------------


def entries(errors: Sequence[Any] | None) -> list[tuple[int, str]]:
    """Number and message of each of an envelope's errors; at least one pair, and few."""
    found: list[tuple[int, str]] = []
    for each in list(errors or ())[:8]:
        if isinstance(each, dict):
            entry = cast("dict[str, Any]", each)
            code, message = entry.get("code"), entry.get("message")
            if isinstance(code, str) and code.isascii() and code.isdigit():
                code = int(code[:9])
            known = isinstance(code, int) and not isinstance(code, bool)
            text = message[:LONGEST_MESSAGE] if isinstance(message, str) else ""
            found.append((cast(int, code) if known else 0, text))
    return found or [(0, "")]


def make_error(
    rule: Rule, refusal: Refusal, code: int, message: str, body: str | None = None
) -> StorageError:
    text = f"{rule.says} ({_facts(refusal, code, message, body)})"
    named = re.search(rule.message, message, re.IGNORECASE) if rule.message else None
    groups = {} if named is None else named.groupdict()
    if rule.maybe_landed and refusal.effect is not Effect.READ:
        return OutcomeUnknownError(f"{text}; it may have landed, read before repeating")
    if rule.kind is not None:
        guard = groups.get("guard")
        return D1StatementError(
            text,
            kind=rule.kind,
            guard=None if guard is None else int(guard),
            name=groups.get("name"),
            code=code,
            status=refusal.status,
        )
    if rule.error is DocumentTooLargeError:
        size, limit = (int(groups.get(name) or 0) for name in ("size", "limit"))
        return DocumentTooLargeError(text, size_bytes=size, limit_bytes=limit)
    if issubclass(rule.error, TransportError):
        return rule.error(text, retry_after_seconds=_wait(rule, refusal))
    return rule.error(text)


def _wait(rule: Rule, refusal: Refusal) -> float | None:
    if rule.until_midnight:
        return (DAY_MS - refusal.now_ms % DAY_MS) / 1000
    return refusal.retry_after_seconds


def _facts(refusal: Refusal, code: int, message: str, body: str | None) -> str:
    facts = [f"HTTP {refusal.status}"] if refusal.status else []
    if code:
        facts.append(f"code {code}")
    if body is not None:
        facts.append(body)
    if re.fullmatch(r"[0-9A-Za-z-]{1,40}", refusal.ray):
        facts.append(f"cf-ray {refusal.ray}")
    if message:
        plain = " ".join(message.split())
        if len(plain) <= LONGEST_SHOWN and any(each.fullmatch(plain) for each in SHOWN):
            facts.append(f"it says: {plain}")
        else:
            facts.append(f"its message of {len(message)} characters is kept back")
    return ", ".join(facts) or "without a reason"
