"""Time and ids: stamps that never repeat, ids that sort as they were made."""

from __future__ import annotations

import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers._clock import SYSTEM_CLOCK, Clock, format_timestamp, parse_timestamp

LAST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""


@given(st.integers(-62_135_596_800_000, LAST_MS))
def test_timestamps_come_back(epoch_ms: int) -> None:
    """Formatting and parsing are each other's inverse, from the year 1 to 9999."""
    text = format_timestamp(epoch_ms)
    assert parse_timestamp(text) == epoch_ms
    assert (len(text), text[-1], text[10]) == (24, "Z", "T")


@given(st.lists(st.integers(0, LAST_MS), min_size=2))
def test_timestamps_sort_as_text(moments: list[int]) -> None:
    """Text order is time order."""
    texts = [format_timestamp(moment) for moment in moments]
    assert sorted(texts) == [format_timestamp(moment) for moment in sorted(moments)]


@pytest.mark.parametrize(
    ("text", "epoch_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.9999Z", 999),
        ("1970-01-01", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_other_forms(text: str, epoch_ms: int) -> None:
    """ISO 8601 in other forms; without a zone it is UTC."""
    assert parse_timestamp(text) == epoch_ms


@pytest.mark.parametrize("text", ["", "now", "2026-02-30", "1700000000", "2026-01-01T25:00:00Z"])
def test_what_is_no_time(text: str) -> None:
    """Anything else is a `ValueError`."""
    with pytest.raises(ValueError, match=r"Invalid|range|must"):
        parse_timestamp(text)


def test_stamps_increase_whatever_the_clock_does() -> None:
    """Standing still, going back or jumping ahead, the next stamp is later."""
    seconds = iter([100.0, 100.0, 50.0, 100.0015, 200.0, 100.0])
    clock = Clock(source=lambda: next(seconds))
    assert [clock.stamp_ms() for _ in range(6)] == [
        100_000,
        100_001,
        100_002,
        100_003,
        200_000,
        200_001,
    ]


def test_stamps_of_many_threads_differ() -> None:
    """No two threads get the same millisecond."""
    clock = Clock(source=lambda: 1.0)
    stamps: list[int] = []

    def work() -> None:
        mine = [clock.stamp_ms() for _ in range(500)]
        stamps.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(stamps)) == 4000


def test_ids_are_uuids_of_version_7() -> None:
    """With the clock's time in front."""
    clock = Clock(source=lambda: 1_769_860_800.123)
    parsed = uuid.UUID(clock.new_id())
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == 1_769_860_800_123


@pytest.mark.parametrize("randomness", [b"\x00", b"\xff"])
def test_ids_sort_as_made(randomness: bytes) -> None:
    """Ten thousand within one millisecond, then with the clock turned back, all in order."""
    now = [1000.0]
    clock = Clock(source=lambda: now[0], randomness=lambda count: randomness * count)
    made = [clock.new_id() for _ in range(10_000)]
    now[0] = 500.0
    made += [clock.new_id() for _ in range(100)]
    now[0] = 2000.0
    made += [clock.new_id() for _ in range(100)]
    assert made == sorted(set(made))
    assert all(uuid.UUID(each).version == 7 for each in made)


@pytest.mark.parametrize("randomness", [b"\x00", b"\xff"])
def test_many_ids_at_once(randomness: bytes) -> None:
    """They are as those made one by one, with which they stay in order."""
    clock = Clock(source=lambda: 1000.0, randomness=lambda count: randomness * count)
    made = [clock.new_id(), *clock.new_ids(10_000), clock.new_id(), *clock.new_ids(0)]
    assert made == sorted(set(made))
    assert len(made) == 10_002
    parsed = [uuid.UUID(each) for each in made]
    assert {(each.version, each.variant) for each in parsed} == {(7, uuid.RFC_4122)}


def test_random_bits_of_an_id() -> None:
    """All 62 behind the counter come from the randomness, each from a bit of its own."""

    def bits(randomness: bytes) -> int:
        clock = Clock(source=lambda: 1.0, randomness=lambda _: randomness)
        return uuid.UUID(clock.new_id()).int & (1 << 62) - 1

    assert bits(b"\x00" * 10) == 0
    assert bits(b"\xff" * 10) == (1 << 62) - 1
    assert {bits((1 << n).to_bytes(10)) for n in range(62)} == {1 << n for n in range(62)}


def test_ids_of_the_system_differ() -> None:
    """Real randomness, real time."""
    assert len({SYSTEM_CLOCK.new_id() for _ in range(5000)}) == 5000


@pytest.mark.parametrize(("randomness", "jitter"), [(b"\x00", 0.0), (b"\xff", 1.0)])
def test_jitter_is_from_0_to_1(randomness: bytes, jitter: float) -> None:
    """Both ends included."""
    assert Clock(randomness=lambda count: randomness * count).jitter() == jitter
