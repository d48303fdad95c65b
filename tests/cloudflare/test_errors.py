"""Every rule of the table is met by an answer, and every answer becomes the error it should."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from storage_providers.cloudflare import _refusals
from storage_providers.cloudflare import errors as table
from storage_providers.cloudflare.errors import (
    FALLBACKS,
    NO_ENVELOPE,
    RULES,
    D1StatementError,
    Refusal,
    Rule,
    Service,
    SqlFailure,
    error_of,
)
from storage_providers.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    DocumentTooLargeError,
    InvalidArgumentError,
    ItemExistsError,
    ItemNotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    StorageError,
    StorageFullError,
    TransportError,
    UnsupportedOperationError,
)
from storage_providers.resilience import Effect

NOW_MS = 47 * 3_600_000
"""An hour before midnight, UTC."""


class Case(NamedTuple):
    """An answer of a service, and the error that it is to become."""

    service: Service
    status: int
    code: int
    message: str
    error: type[StorageError]
    kind: SqlFailure | None = None


THROTTLED = "More than 1200 requests per 300 seconds reached. Please wait and consider throttling "
INTERNAL = "internal error; reference = e_PVSMDp_4052de8290884726940584d42f9c98d7"
KV_LENGTH = "put: 'UTF-8 encoded length of 600 exceeds key length limit of 512.'"

SAID: tuple[tuple[str, SqlFailure], ...] = (
    ("bad JSON path: 'sp-guard-17': SQLITE_ERROR", "guard"),
    ("JSON path error near 'sp-guard-17': SQLITE_ERROR", "guard"),
    ("no such table: c_todos: SQLITE_ERROR", "no_such_table"),
    ("no such table: c_todos:text at offset 14: SQLITE_ERROR", "no_such_table"),
    ("no such column: nope at offset 7: SQLITE_ERROR", "no_such_column"),
    ("table t has no column named x: SQLITE_ERROR", "no_such_column"),
    ('table "c_todos" already exists at offset 13: SQLITE_ERROR', "already_exists"),
    ("duplicate column name: x: SQLITE_ERROR", "already_exists"),
    ("UNIQUE constraint failed: c_todos.scope, c_todos.id: SQLITE_CONSTRAINT", "constraint"),
    ("CHECK constraint failed: positive: SQLITE_CONSTRAINT", "constraint"),
    ("FOREIGN KEY constraint failed: SQLITE_CONSTRAINT", "constraint"),
    ("malformed JSON: SQLITE_ERROR", "malformed_json"),
    ("bad JSON path: '$.a[': SQLITE_ERROR", "malformed_json"),
    ('near "selec": syntax error at offset 0: SQLITE_ERROR', "syntax"),
    ("incomplete input: SQLITE_ERROR", "syntax"),
    ("string or blob too big: SQLITE_TOOBIG", "too_big"),
    ("statement too long: SQLITE_TOOBIG", "too_big"),
    ("Expression tree is too large (maximum depth 100): SQLITE_ERROR", "too_big"),
    ("too many terms in compound SELECT: SQLITE_ERROR", "too_big"),
    ("too many SQL variables at offset 0: SQLITE_ERROR", "too_many_values"),
    ("not authorized: SQLITE_AUTH", "not_allowed"),
    ("To execute a transaction, please use the state.storage.transaction()", "not_allowed"),
    ("D1 DB storage operation exceeded timeout which caused object to be reset.", "exhausted"),
    ("D1 DB exceeded its CPU time limit and was reset.", "exhausted"),
    ("D1 DB's isolate exceeded its memory limit and was reset.", "exhausted"),
    ("datatype mismatch: SQLITE_MISMATCH", "other"),
)
SQL: tuple[Case, ...] = tuple(
    Case("d1", status, code, message, D1StatementError, kind)
    for status, code in ((400, 7500), (500, 7500), (200, 7500), (0, 0))
    for message, kind in SAID
)

CASES: tuple[Case, ...] = (
    *SQL,
    Case("d1", 400, 7500, "something nobody has seen", D1StatementError, "other"),
    # The same number, but a passing fault.
    Case("d1", 500, 7500, INTERNAL, TransportError),
    Case("d1", 400, 7500, INTERNAL, TransportError),
    Case("d1", 200, 7500, INTERNAL, TransportError),
    Case("d1", 500, 7500, "something nobody has seen", TransportError),
    Case("d1", 500, 7500, "Network connection lost.", TransportError),
    Case("d1", 0, 0, "D1_ERROR: Network connection lost.", TransportError),
    Case("d1", 500, 7500, "D1 storage caused object to be reset.", TransportError),
    Case("d1", 500, 7500, "D1 DB reset because its code was updated.", TransportError),
    Case("d1", 500, 7500, "Internal error while starting up D1 DB storage", TransportError),
    Case(
        "d1",
        400,
        7500,
        "Cannot resolve D1 DB due to transient issue on remote node.",
        TransportError,
    ),
    Case("d1", 400, 7500, "database is locked: SQLITE_BUSY", TransportError),
    Case(
        "d1",
        429,
        7500,
        "D1 DB is overloaded. Requests queued for too long.",
        RateLimitedError,
    ),
    Case("d1", 400, 7500, "D1 DB is overloaded. Too many requests queued.", RateLimitedError),
    Case("d1", 400, 7500, "database or disk is full: SQLITE_FULL", StorageFullError),
    Case("d1", 400, 7500, "Exceeded maximum DB size", StorageFullError),
    Case("d1", 400, 7400, "The request is malformed", InvalidArgumentError),
    Case(
        "d1",
        403,
        7403,
        "The given account is not valid or is not authorized to access this service",
        PermissionDeniedError,
    ),
    Case("d1", 401, 7403, "", PermissionDeniedError),
    Case("d1", 404, 7404, "The database nope could not be found", ConfigurationError),
    Case("d1", 400, 7502, "Database with name 'x' already exists", ItemExistsError),
    *(
        Case(service, status, 10000, "Authentication error", AuthenticationError)
        for service in ("api", "kv", "d1", "r2", "vectorize", "ai")
        for status in (200, 400, 401, 403)
    ),
    *(
        Case(service, status, 9106, "Missing X-Auth-Key", AuthenticationError)
        for service in ("api", "kv", "d1")
        for status in (400, 401, 403)
    ),
    Case("api", 401, 10000, "", AuthenticationError),
    Case("api", 403, 10000, "", AuthenticationError),
    Case("api", 401, 1000, "Invalid API Token", AuthenticationError),
    Case("api", 400, 6003, "Invalid request headers", AuthenticationError),
    Case("api", 403, 9109, "Invalid access token", AuthenticationError),
    Case("api", 403, 9109, "Unauthorized to access requested resource", PermissionDeniedError),
    # The same number for other things.
    Case("kv", 429, 10000, "rate limited: 1 write per second per key", RateLimitedError),
    Case("kv", 500, 10000, "Authentication service is down", TransportError),
    Case("vectorize", 400, 10000, "bad", InvalidArgumentError),
    Case("api", 404, 7003, "Could not route to /accounts/x", ConfigurationError),
    Case("api", 400, 7003, "Could not route to /accounts/x", ConfigurationError),
    Case("api", 404, 7000, "No route for that URI", ConfigurationError),
    *(
        Case(service, status, code, f"{THROTTLED}your request speed", RateLimitedError)
        for service in ("api", "kv", "d1")
        for status, code in ((429, 971), (429, 10000), (200, 1), (403, 10000))
    ),
    Case("kv", 429, 971, "", RateLimitedError),
    Case("kv", 400, 971, "", RateLimitedError),
    Case("kv", 404, 10009, "get: 'key not found'", ItemNotFoundError),
    Case("kv", 404, 10013, "list keys: 'namespace not found'", ConfigurationError),
    Case("kv", 400, 10014, "create namespace: 'a namespace with …'", ItemExistsError),
    Case("kv", 429, 10000, "KV put() limit exceeded for the day.", RateLimitedError),
    Case("kv", 413, 10033, "Value length of 9 exceeds limit of 8.", DocumentTooLargeError),
    Case("kv", 400, 10033, "Metadata length of 9 exceeds limit of 8.", DocumentTooLargeError),
    Case("kv", 413, 10033, "", DocumentTooLargeError),
    Case("kv", 414, 10033, KV_LENGTH, InvalidArgumentError),
    Case("kv", 400, 10033, KV_LENGTH, InvalidArgumentError),
    Case("kv", 414, 10033, "", InvalidArgumentError),
    Case("kv", 400, 10033, "Invalid expiration_ttl of 10.", InvalidArgumentError),
    Case("r2", 404, 10006, "The specified bucket does not exist.", ConfigurationError),
    Case("r2", 404, 10007, "The specified key does not exist.", ItemNotFoundError),
    Case("r2", 400, 10048, "", InvalidArgumentError),
    Case("r2", 429, 10058, "", RateLimitedError),
    Case("vectorize", 400, 40023, "vectorize.upstream_error - failed", InvalidArgumentError),
    Case("vectorize", 500, 40023, "vectorize.upstream_error", TransportError),
    Case("ai", 429, 3036, "", RateLimitedError),
    Case("ai", 429, 3040, "", RateLimitedError),
    Case("ai", 408, 3007, "", TransportError),
    Case("ai", 408, 3008, "", TransportError),
    Case("ai", 413, 3006, "", DocumentTooLargeError),
    Case("ai", 400, 3003, "", InvalidArgumentError),
    Case("ai", 400, 5004, "", InvalidArgumentError),
    Case("ai", 400, 5007, "No such model x or task", ConfigurationError),
    Case("ai", 404, 3042, "", ConfigurationError),
    Case("ai", 405, 5019, "", ConfigurationError),
    Case("ai", 403, 3023, "", PermissionDeniedError),
    Case("ai", 403, 5018, "", PermissionDeniedError),
    # Nothing but the status is known.
    Case("api", 302, 1, "", ConfigurationError),
    Case("api", 400, 1, "", InvalidArgumentError),
    Case("api", 401, 1, "", AuthenticationError),
    Case("api", 403, 1, "", PermissionDeniedError),
    Case("api", 404, 1, "", ConfigurationError),
    Case("api", 405, 1, "", UnsupportedOperationError),
    Case("api", 408, 1, "", TransportError),
    Case("api", 409, 1, "", ConflictError),
    Case("api", 413, 1, "", DocumentTooLargeError),
    Case("api", 422, 1, "", InvalidArgumentError),
    Case("api", 425, 1, "", TransportError),
    Case("api", 429, 1, "", RateLimitedError),
    Case("api", 500, 1, "", TransportError),
    Case("api", 524, 0, "", TransportError),
    Case("api", 200, 1, "", TransportError),
)


def refusal(case: Case, effect: Effect = Effect.READ) -> Refusal:
    """The call that the case answers."""
    return Refusal(
        service=case.service, effect=effect, status=case.status, ray="8f00-AMS", now_ms=NOW_MS
    )


def answered(case: Case, effect: Effect = Effect.READ) -> StorageError:
    """The error that the case becomes."""
    entry = {"code": case.code, "message": case.message}
    return error_of(refusal(case, effect), [entry])


@pytest.mark.parametrize("number", range(len(CASES)))
def test_an_answer_becomes_its_error(number: int) -> None:
    """Exactly the class that was meant, with what support asks for in the message."""
    case = CASES[number]
    error = answered(case)
    assert type(error) is case.error
    if case.kind is not None:
        assert isinstance(error, D1StatementError)
        assert (error.kind, error.code, error.status) == (case.kind, case.code, case.status)
    text = str(error)
    assert "\n" not in text
    assert "cf-ray 8f00-AMS" in text
    assert case.status == 0 or f"HTTP {case.status}" in text
    assert case.code == 0 or f"code {case.code}" in text


def test_every_rule_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """Walking the table: each rule decides about at least one answer above, and has a source."""
    used: list[Rule] = []
    make = _refusals.make_error

    def note(rule: Rule, *arguments: Any) -> StorageError:
        used.append(rule)
        return make(rule, *arguments)

    monkeypatch.setattr(table, "make_error", note)
    for case in CASES:
        answered(case)
    for status in (302, 429, 502):
        error_of(Refusal(service="kv", effect=Effect.READ, status=status), body="12 bytes")
    for rule in (*RULES, *FALLBACKS, *NO_ENVELOPE):
        assert any(each is rule for each in used), rule
        assert rule.source
        assert rule.says
        assert (rule.kind is not None) == (rule.error is D1StatementError)


def test_the_statement_error_names_what_spoke() -> None:
    """The guard's number and the name of a table come out of the message, nothing else does."""
    error = answered(SQL[0])
    assert isinstance(error, D1StatementError)
    assert error.guard == 17
    table_error = answered(SQL[2])
    assert isinstance(table_error, D1StatementError)
    assert (table_error.name, table_error.guard) == ("c_todos", None)
    columns = answered(Case("d1", 400, 7500, SQL[8].message, D1StatementError))
    assert isinstance(columns, D1StatementError)
    assert columns.name == "c_todos.scope, c_todos.id"


@pytest.mark.parametrize("effect", [Effect.WRITE, Effect.IDEMPOTENT_WRITE])
def test_a_write_that_ran_out_of_time_may_have_landed(effect: Effect) -> None:
    """A database that was reset in the middle does not say what became of a write."""
    case = next(case for case in SQL if case.kind == "exhausted")
    assert type(answered(case, effect)) is OutcomeUnknownError
    constraint = next(case for case in SQL if case.kind == "constraint")
    assert type(answered(constraint, effect)) is D1StatementError


@pytest.mark.parametrize(
    "case",
    [
        Case("kv", 429, 10000, "KV put() limit exceeded for the day.", RateLimitedError),
        Case("ai", 429, 3036, "", RateLimitedError),
    ],
)
def test_daily_allowances_come_back_at_midnight(case: Case) -> None:
    """Waiting less does not help, whatever `Retry-After` says, and the error says how long."""
    error = answered(case)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_seconds == 3600


def test_sizes_are_read_from_the_message() -> None:
    """A value that is too large says how large it was and what is accepted."""
    message = "put: 'Value length of 26214401 exceeds limit of 26214400.'"
    error = answered(Case("kv", 413, 10033, message, DocumentTooLargeError))
    assert isinstance(error, DocumentTooLargeError)
    assert (error.size_bytes, error.limit_bytes) == (26_214_401, 26_214_400)


def test_the_first_error_that_is_known_decides() -> None:
    """Errors that say nothing are passed over; one of several decides."""
    entries = [{"code": 1, "message": "?"}, {"code": "10014"}, {"code": 7403}]
    kv = Refusal(service="kv", effect=Effect.READ, status=400)
    assert type(error_of(kv, entries)) is ItemExistsError


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Authentication error", True),
        (INTERNAL, True),
        (f"{THROTTLED}your request speed", True),
        ("get: 'key not found'", True),
        ("get: 'the key about my divorce not found'", False),
        ("Authentication error for my divorce", False),
        ("Could not route to /accounts/x/storage/kv/values/my-divorce", False),
        ("x" * 5_000, False),
    ],
)
def test_the_services_words_are_shown_where_they_are_its_own(message: str, shown: bool) -> None:
    """A message that may quote keys or values is kept back; the error says that there was one."""
    services: tuple[Service, ...] = ("api", "kv", "d1")
    for service in services:
        text = str(answered(Case(service, 400, 1, message, StorageError)))
        assert (message in text) is shown
        assert ("is kept back" in text) is not shown
        assert "divorce" not in text
        assert len(text) < 400
