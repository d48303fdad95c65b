"""What a service says about waiting, read from its response headers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

__all__ = ["RateLimitHeaders", "read_headers", "retry_after_seconds"]

EPOCH_FLOOR_SECONDS = 1e9
"""A reset above this is a moment since 1970 (2001 or later), below it a duration. Ours."""

_MEMBER = re.compile(r";\s*(?P<name>[rt])\s*=\s*(?P<value>\d+)")
"""A parameter of the `RateLimit` field: `"default";r=50;t=30`.

Source: IETF draft-ietf-httpapi-ratelimit-headers; Cloudflare docs,
fundamentals/api/reference/limits (read 2026-11).
"""


class RateLimitHeaders(msgspec.Struct, frozen=True):
    """What the headers of one response say.

    Attributes:
        remaining: Calls left until the limit.
        reset_seconds: When there are more.
        retry_after_seconds: How long to wait before the next call.
    """

    remaining: int | None = None
    reset_seconds: float | None = None
    retry_after_seconds: float | None = None


def read_headers(headers: Mapping[str, str], now_ms: int) -> RateLimitHeaders:
    """Read what a response says about rates, in any of the spellings in use.

    These are `x-ratelimit-remaining` and `x-ratelimit-reset`, the same without `x-`, the IETF
    draft's `ratelimit: "name";r=…;t=…`, and `retry-after`. Names are compared without regard to
    case, and what can't be understood counts as not said.

    Args:
        headers: The response's headers.
        now_ms: Milliseconds since 1970; the response's own `date` goes before it.

    Returns:
        The numbers.
    """
    found = {key.lower(): value for key, value in headers.items()}
    now = _now(found, now_ms)
    remaining = _number(found.get("x-ratelimit-remaining") or found.get("ratelimit-remaining"))
    reset = _duration(found.get("x-ratelimit-reset") or found.get("ratelimit-reset"), now)
    for listed, wait in _structured(found.get("ratelimit", "").split(",")):
        # Several limits hold at once: the one with the fewest calls left decides.
        if remaining is None or listed < remaining:
            remaining, reset = listed, wait
    return RateLimitHeaders(
        remaining=None if remaining is None else int(remaining),
        reset_seconds=reset,
        retry_after_seconds=_duration(found.get("retry-after"), now),
    )


def retry_after_seconds(headers: Mapping[str, str], now_ms: int) -> float | None:
    """How long `Retry-After` asks to wait, in seconds; `None` where it does not say.

    Args:
        headers: The response's headers; names are compared without regard to case.
        now_ms: Milliseconds since 1970; the response's own `date` goes before it.

    Returns:
        Seconds, 0 for a moment that is past.
    """
    return read_headers(headers, now_ms).retry_after_seconds


def _structured(members: Iterable[str]) -> Iterable[tuple[float, float | None]]:
    for member in members:
        values = {match["name"]: float(match["value"]) for match in _MEMBER.finditer(member)}
        if "r" in values:
            yield values["r"], values.get("t")


def _now(found: Mapping[str, str], now_ms: int) -> float:
    # Read by the service's own clock, ours may be wrong by more than the wait.
    served = _moment(found.get("date"))
    return now_ms / 1000 if served is None else served


def _duration(text: str | None, now: float) -> float | None:
    number = _number(text)
    if number is None:
        moment = _moment(text)
        return None if moment is None else max(0.0, moment - now)
    return max(0.0, number - now) if number > EPOCH_FLOOR_SECONDS else number


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
