"""What response headers say about waiting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers.resilience import RateLimitHeaders, read_headers, retry_after_seconds


def test_headers_in_every_spelling() -> None:
    """The names in use, dates by the service's own clock, and nonsense is not said."""
    assert read_headers({"X-RateLimit-Remaining": "7"}, 0).remaining == 7
    both = read_headers({"Ratelimit": '"default";r=50;t=30'}, 0)
    assert (both.remaining, both.reset_seconds) == (50, 30)
    dated = {
        "Date": "Sat, 21 Nov 2026 05:00:00 GMT",
        "retry-after": "Sat, 21 Nov 2026 05:01:00 GMT",
    }
    assert read_headers(dated, 0).retry_after_seconds == 60
    assert read_headers({"Retry-After": "soon"}, 0).retry_after_seconds is None


def test_the_tightest_of_several_limits_decides() -> None:
    """A moment since 1970 becomes a duration; what lies in the past is no wait."""
    said = read_headers({"RateLimit": '"a";r=50;t=30, "b";r=3;t=9'}, 0)
    assert said == RateLimitHeaders(3, 9.0, None)
    assert read_headers({"x-ratelimit-reset": "2000000060"}, 2_000_000_000_000).reset_seconds == 60
    assert retry_after_seconds({"Retry-After": "Sat, 21 Nov 2020 05:00:00 GMT"}, 2 * 10**12) == 0


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-1", "", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"]
)
def test_nonsense_is_not_said(text: str) -> None:
    """No number, no date: as if the header were not there."""
    assert retry_after_seconds({"Retry-After": text}, 0) is None


@given(st.dictionaries(st.sampled_from(["retry-after", "ratelimit", "date"]), st.text()))
def test_no_header_breaks_the_reader(headers: dict[str, str]) -> None:
    """Whatever a service sends, numbers are finite and not negative, or not said."""
    said = read_headers(headers, 0)
    for number in (said.remaining, said.reset_seconds, said.retry_after_seconds):
        assert number is None or 0 <= number < float("inf")
