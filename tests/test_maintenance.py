"""What providers may offer beside the contract: the parts that are more than words."""

from __future__ import annotations

import pytest

from storage_providers.maintenance import check_clock

DATE = "Sat, 21 Nov 2026 09:30:00 GMT"
DATE_MS = 1_795_253_400_000


@pytest.mark.parametrize(
    ("sent", "received", "ok", "advised", "words"),
    [
        (0, 200, True, False, "0.0 s apart"),
        (-4_900, -4_800, True, False, "4.8 s apart"),
        (-30_000, 900, True, False, "0.0 s apart"),
        (7_500, 7_600, True, True, "6.5 s ahead of"),
        (-7_500, -7_000, True, True, "7.0 s behind"),
        (900_999, 901_500, True, True, "900.0 s ahead of"),
        (901_000, 901_500, False, True, "900.0 s ahead of"),
        (-4_000_000, -3_600_000, False, True, "3,600.0 s behind"),
    ],
)
def test_clocks(sent: int, received: int, ok: bool, advised: bool, words: str) -> None:
    """The least difference that fits the answer counts: a slow answer is no skew."""
    check = check_clock(DATE, DATE_MS + sent, DATE_MS + received)
    assert (check.ok, check.advice is not None) == (ok, advised)
    assert words in check.detail


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_service_that_tells_no_time(date: str | None) -> None:
    """Without a date there is nothing to compare, and nothing wrong."""
    check = check_clock(date, 0, 0)
    assert check.ok
    assert "does not tell" in check.detail
