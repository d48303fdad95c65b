"""What Cloudflare's refusals mean: one table, `RULES`, and the errors made by it.

A number alone means nothing: D1's 7500 stands for a wrong statement and for a passing fault, and
10000 for a wrong token and for much else. So a rule may look at the service, the HTTP status, the
number and the message, and the first rule that fits decides.

The service's own words may quote keys, values and SQL. They choose the rule, and they are shown
only where they are known to hold nothing but the service's words and numbers (`SHOWN`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from storage_providers.cloudflare._refusals import (
    GUARD,
    SHOWN,
    D1StatementError,
    Refusal,
    Rule,
    Service,
    SqlFailure,
    entries,
    make_error,
)
from storage_providers.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    DocumentTooLargeError,
    InvalidArgumentError,
    ItemExistsError,
    ItemNotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    StorageError,
    StorageFullError,
    TransportError,
    UnsupportedOperationError,
)

__all__ = [
    "FALLBACKS",
    "GUARD",
    "NO_ENVELOPE",
    "RULES",
    "SHOWN",
    "D1StatementError",
    "Refusal",
    "Rule",
    "Service",
    "SqlFailure",
    "error_of",
]

# --- sources -----------------------------------------------------------------------------------

_WRANGLER = "cloudflare/workers-sdk, wrangler core/handle-errors.ts (read 2026-11)"
_LIMITS = "Cloudflare docs, fundamentals/api/reference/limits (read 2026-11)"
_EXPLORER = "cloudflare/workers-sdk, local-explorer (read 2026-11)"
_D1_DEBUG = "Cloudflare docs, d1/observability/debug-d1 (read 2026-11)"
_D1_RETRY = "Cloudflare docs, d1/best-practices/retry-queries (read 2026-11)"
_D1_SEEN = "workers-sdk issues 4636, 14731, 15449, 15553 (read 2026-11)"
_SQLITE = "SQLite's own messages, as workerd passes them on (seen in workerd, 2026-11)"
_AI = "Cloudflare docs, workers-ai/platform/errors (read 2026-11)"
_R2 = "Cloudflare docs, r2/api/error-codes (read 2026-11)"
_KV_SEEN = "workerd's binding of KV (seen 2026-11); the numbers of the API are not documented"
_SEEN = "answers quoted in public issues (read 2026-11)"

_REFUSED = (
    "the token was not accepted: it is wrong, expired, or without the permission for this; "
    "check the API token"
)
_NOT_ALLOWED = "the token does not allow this; give it the permission in the dashboard"
_ACCOUNT = "there is no such thing in this account; check the account id and the id or name"
_SLOW = "too many requests; wait before the next one"

# --- the table ---------------------------------------------------------------------------------

_REDIRECT = Rule(
    low=300,
    high=399,
    error=ConfigurationError,
    says="answered with a redirect, which is not followed, because the token would go with it; "
    "check base_url and the network's proxy",
    source="RFC 9110, section 15.4",
)

_D1_RULES: Final = (
    Rule(
        service="d1",
        codes=(7400,),
        error=InvalidArgumentError,
        says="D1 finds the request malformed",
        source=_D1_SEEN,
    ),
    Rule(
        service="d1",
        codes=(7403,),
        error=PermissionDeniedError,
        says="this account is not valid, or not the token's; " + _NOT_ALLOWED,
        source=_D1_SEEN,
    ),
    Rule(
        service="d1",
        codes=(7404,),
        error=ConfigurationError,
        says="there is no such database; check database_id and the account id",
        source=_D1_SEEN,
    ),
    Rule(
        service="d1",
        codes=(7502,),
        error=ItemExistsError,
        says="a database with this name exists already",
        source=_EXPLORER,
    ),
    Rule(
        service="d1",
        message=rf"{GUARD}(?P<guard>\d{{1,9}})(?!\d)",
        error=D1StatementError,
        kind="guard",
        says="a guard of the batch stopped it, and nothing was written",
        source="ours: see `GUARD`",
    ),
    Rule(
        service="d1",
        message=r"no such table: (?P<name>[\w.:,-]+?)(?= at offset|: SQLITE|$)",
        error=D1StatementError,
        kind="no_such_table",
        says="there is no such table",
        source=_SQLITE,
    ),
    Rule(
        service="d1",
        message=r"no such column: |has no column named ",
        error=D1StatementError,
        kind="no_such_column",
        says="there is no such column",
        source=_SQLITE,
    ),
    Rule(
        service="d1",
        message=r"(?:table|index|view|trigger) \S+ already exists|duplicate column name: ",
        error=D1StatementError,
        kind="already_exists",
        says="what was to be created exists already",
        source=_SQLITE,
    ),
    Rule(
        service="d1",
        message=r"(?:UNIQUE|NOT NULL|CHECK|FOREIGN KEY|PRIMARY KEY) constraint failed"
        r"(?:: (?P<name>\w+\.\w+(?:, \w+\.\w+)*|\w+)(?= at offset|: SQLITE|$))?|SQLITE_CONSTRAINT",
        error=D1StatementError,
        kind="constraint",
        says="a constraint failed",
        source=_SQLITE,
    ),
    Rule(
        service="d1",
        message=r"malformed JSON|bad JSON path|JSON path error|JSON cannot hold BLOB",
        error=D1StatementError,
        kind="malformed_json",
        says="a statement was given text that is no JSON, or a path that is none",
        source=_SQLITE,
    ),
    Rule(
        service="d1",
        message=r"syntax error|incomplete input|unrecognized token|no such function",
        error=D1StatementError,
        kind="syntax",
        says="a statement is not SQL that D1 understands",
        source=_SQLITE,
    ),
    Rule(
        service="d1",
        message=r"too many SQL variables|variable number must be",
        error=D1StatementError,
        kind="too_many_values",
        says="a statement has more bound values than the 100 that D1 accepts",
        source="Cloudflare docs, d1/platform/limits (read 2026-11); " + _SQLITE,
    ),
    Rule(
        service="d1",
        message=r"SQLITE_TOOBIG|string or blob too big|statement too long"
        r"|expression tree is too large|parser stack overflow|pattern too complex"
        r"|too many (?:terms|columns|attached|arguments|FROM)",
        error=D1StatementError,
        kind="too_big",
        says="a statement or value is larger than D1 accepts",
        source="Cloudflare docs, d1/platform/limits (read 2026-11); " + _SQLITE,
    ),
    Rule(
        service="d1",
        message=r"SQLITE_AUTH|to execute a transaction",
        error=D1StatementError,
        kind="not_allowed",
        says="D1 does not allow this statement",
        source=_SQLITE,
    ),
    Rule(
        service="d1",
        message=r"exceeded timeout|exceeded its memory limit|exceeded its CPU time limit"
        r"|SQLITE_INTERRUPT|SQLITE_NOMEM",
        error=D1StatementError,
        kind="exhausted",
        maybe_landed=True,
        says="the batch needed more time or memory than D1 gives it; make it smaller",
        source=_D1_DEBUG,
    ),
    Rule(
        service="d1",
        message=r"overloaded|Too many requests queued|Requests queued for too long",
        error=RateLimitedError,
        says="the database has more to do than it manages; send less at once",
        source=_D1_DEBUG,
    ),
    Rule(
        service="d1",
        message=r"Network connection lost|storage caused object to be reset"
        r"|reset because its code was updated|Cannot resolve D1 DB due to transient issue"
        r"|Can't read from request stream|Internal error while starting up D1 DB storage"
        r"|internal error|SQLITE_BUSY|SQLITE_LOCKED",
        error=TransportError,
        says="a passing fault of the database",
        source=f"{_D1_RETRY}; {_D1_SEEN}",
    ),
    Rule(
        service="d1",
        message=r"SQLITE_FULL|disk is full|exceeded maximum DB size",
        error=StorageFullError,
        says="the database is full; D1 holds 10 GB",
        source="Cloudflare docs, d1/platform/limits (read 2026-11); " + _SQLITE,
    ),
    Rule(
        service="d1",
        message=r"\bSQLITE_[A-Z]+|D1_(?:EXEC_)?ERROR|D1_TYPE_ERROR",
        error=D1StatementError,
        kind="other",
        says="the database refused a statement",
        source=_SQLITE,
    ),
    Rule(
        service="d1",
        codes=(7500,),
        low=400,
        high=499,
        error=D1StatementError,
        kind="other",
        says="the database refused a statement",
        source=_D1_SEEN,
    ),
)

_KV_RULES: Final = (
    Rule(
        service="kv",
        codes=(10009,),
        error=ItemNotFoundError,
        says="there is no such key",
        source=_EXPLORER,
    ),
    Rule(
        service="kv",
        codes=(10013,),
        error=ConfigurationError,
        says="there is no such namespace; check namespace_id and the account id",
        source=_EXPLORER,
    ),
    Rule(
        service="kv",
        codes=(10014,),
        error=ItemExistsError,
        says="a namespace with this title exists already",
        source=_EXPLORER,
    ),
    Rule(
        service="kv",
        low=400,
        high=499,
        message=r"limit exceeded for the day|daily .*limit",
        error=RateLimitedError,
        until_midnight=True,
        says="the free plan's operations of this day are used up, and come back at 00:00 UTC",
        source="Cloudflare docs, kv/platform/limits (read 2026-11); the wording was not verified",
    ),
    Rule(
        service="kv",
        low=400,
        high=499,
        message=r"(?:value|metadata) length of (?P<size>\d+) exceeds limit of (?P<limit>\d+)",
        error=DocumentTooLargeError,
        says="a value or its metadata is larger than Workers KV accepts",
        source=_KV_SEEN,
    ),
    Rule(
        service="kv",
        low=413,
        high=413,
        error=DocumentTooLargeError,
        says="a value or its metadata is larger than Workers KV accepts",
        source=_KV_SEEN,
    ),
    Rule(
        service="kv",
        low=400,
        high=499,
        message=r"exceeds key length limit|key name cannot|invalid expiration|out of range",
        error=InvalidArgumentError,
        says="a key or an expiration is not one that Workers KV accepts: keys have up to 512 bytes "
        "and expirations lie at least 60 seconds ahead",
        source=_KV_SEEN,
    ),
)

_R2_RULES: Final = (
    Rule(
        service="r2",
        codes=(10006,),
        error=ConfigurationError,
        says="there is no such bucket; check the bucket's name and the account id",
        source=_R2,
    ),
    Rule(
        service="r2",
        codes=(10007,),
        error=ItemNotFoundError,
        says="there is no such key",
        source=_R2,
    ),
    Rule(
        service="r2",
        codes=(10048,),
        error=InvalidArgumentError,
        says="the parts of an upload are not of equal size",
        source=_R2,
    ),
    Rule(service="r2", codes=(10058,), error=RateLimitedError, says=_SLOW, source=_R2),
)

_VECTORIZE_RULES: Final = (
    Rule(
        service="vectorize",
        codes=(40023,),
        low=400,
        high=499,
        error=InvalidArgumentError,
        says="Vectorize can't read what it was sent",
        source="cloudflare-typescript issue 2646 (read 2026-11)",
    ),
)

_AI_RULES: Final = (
    Rule(
        service="ai",
        codes=(3036,),
        error=RateLimitedError,
        until_midnight=True,
        says="the neurons of this day are used up, and come back at 00:00 UTC",
        source=_AI,
    ),
    Rule(
        service="ai",
        codes=(3040,),
        error=RateLimitedError,
        says="the model has no capacity left for now",
        source=_AI,
    ),
    Rule(
        service="ai",
        codes=(3007, 3008),
        error=TransportError,
        says="the model took too long or was cut off",
        source=_AI,
    ),
    Rule(
        service="ai",
        codes=(3006,),
        error=DocumentTooLargeError,
        says="the text is larger than the model accepts",
        source=_AI,
    ),
    Rule(
        service="ai",
        codes=(3003, 5004),
        error=InvalidArgumentError,
        says="the model can't read what it was sent",
        source=_AI,
    ),
    Rule(
        service="ai",
        codes=(5007, 3042, 5005, 5019),
        error=ConfigurationError,
        says="there is no such model, or it can't be called like this; check its name",
        source=_AI,
    ),
    Rule(
        service="ai",
        codes=(3023, 5018, 3041),
        error=PermissionDeniedError,
        says="this account may not use the model",
        source=_AI,
    ),
)

_COMMON_RULES: Final = (
    Rule(
        message=r"consider throttling",
        error=RateLimitedError,
        says="the token's calls are used up: 1,200 in five minutes",
        source=f"{_LIMITS}; lablabs/cloudflare-exporter issue 74",
    ),
    Rule(
        codes=(971,),
        error=RateLimitedError,
        says="the token's calls are used up: 1,200 in five minutes",
        source="reported with that message; the number was not verified",
    ),
    Rule(codes=(9106,), error=AuthenticationError, says=_REFUSED, source=_WRANGLER),
    Rule(
        message=r"unauthorized to access requested resource",
        low=400,
        high=403,
        error=PermissionDeniedError,
        says=_NOT_ALLOWED,
        source=_SEEN,
    ),
    # The status of a refused token is reported as 400, 401 and 403.
    Rule(codes=(10000,), low=401, high=401, error=AuthenticationError, says=_REFUSED, source=_SEEN),
    Rule(codes=(10000,), low=403, high=403, error=AuthenticationError, says=_REFUSED, source=_SEEN),
    Rule(
        low=200,
        high=403,
        message=r"\bauthenticat|\binvalid (?:api |access )?token|invalid request headers"
        r"|X-Auth-Key",
        error=AuthenticationError,
        says=_REFUSED,
        source=f"{_WRANGLER}; {_SEEN}",
    ),
    Rule(
        codes=(7000, 7003),
        low=200,
        high=404,
        error=ConfigurationError,
        says="there is no such address; check base_url, the account id and the other ids",
        source="cloudflare/api-schemas, common.yaml (read 2026-11)",
    ),
)

RULES: Final = (
    *(_REDIRECT, *_COMMON_RULES[:2]),
    *(*_D1_RULES, *_KV_RULES, *_R2_RULES, *_VECTORIZE_RULES, *_AI_RULES),
    *_COMMON_RULES[2:],
)
"""What is known; the first that fits decides."""

FALLBACKS: Final = (
    _REDIRECT,
    Rule(low=401, high=401, error=AuthenticationError, says=_REFUSED, source="RFC 9110"),
    Rule(low=403, high=403, error=PermissionDeniedError, says=_NOT_ALLOWED, source="RFC 9110"),
    Rule(low=404, high=404, error=ConfigurationError, says=_ACCOUNT, source="RFC 9110"),
    Rule(
        low=405,
        high=405,
        error=UnsupportedOperationError,
        says="the service does not offer this",
        source="RFC 9110",
    ),
    Rule(low=408, high=408, error=TransportError, says="it took too long", source="RFC 9110"),
    Rule(low=409, high=409, error=ConflictError, says="it exists already", source="RFC 9110"),
    Rule(
        low=413,
        high=413,
        error=DocumentTooLargeError,
        says="what was sent is larger than the service accepts",
        source="RFC 9110",
    ),
    Rule(low=425, high=425, error=TransportError, says="it came too early", source="RFC 8470"),
    Rule(low=429, high=429, error=RateLimitedError, says=_SLOW, source="RFC 6585"),
    Rule(
        low=400,
        high=499,
        error=InvalidArgumentError,
        says="the service finds the request wrong",
        source="RFC 9110",
    ),
    Rule(error=TransportError, says="the service failed", source="RFC 9110"),
)
"""What the HTTP status alone says, where nothing else is known; the last fits everything."""

NO_ENVELOPE: Final = (
    _REDIRECT,
    Rule(low=429, high=429, error=RateLimitedError, says=_SLOW, source="RFC 6585"),
    Rule(
        error=TransportError,
        says="something answered, but not the API: a proxy, or the service in trouble",
        source="ours",
    ),
)
"""What it means when the body is no envelope."""


# --- using it ----------------------------------------------------------------------------------


def error_of(
    refusal: Refusal, errors: Sequence[Any] | None = None, *, body: str | None = None
) -> StorageError:
    """The error for a call that did not succeed.

    Args:
        refusal: What is known of it.
        errors: The envelope's `errors`, whatever they hold.
        body: What came instead of an envelope, described without any of it.

    Returns:
        The error, for the caller to raise.
    """
    if body is not None:
        rule = next(rule for rule in NO_ENVELOPE if rule.fits(refusal, 0, ""))
        return make_error(rule, refusal, 0, "", body)
    found = entries(errors)
    for code, message in found:
        for rule in RULES:
            if rule.fits(refusal, code, message):
                return make_error(rule, refusal, code, message)
    code, message = found[0]
    rule = next(rule for rule in FALLBACKS if rule.fits(refusal, code, message))
    return make_error(rule, refusal, code, message)
