"""Time and ids: the only place where the SDK looks at the clock or at randomness."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

__all__ = ["SYSTEM_CLOCK", "Clock", "format_timestamp", "parse_timestamp"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def format_timestamp(epoch_ms: int) -> str:
    """Format milliseconds since 1970 as the documents carry it: `2026-01-31T12:00:00.000Z`."""
    seconds, milliseconds = divmod(epoch_ms, 1000)
    return f"{_format_second(seconds)}.{milliseconds:03}Z"


# Every write is stamped, and most of a second's writes fall in the same second.
@lru_cache(maxsize=64)
def _format_second(epoch_seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=epoch_seconds)).isoformat().removesuffix("+00:00")


def parse_timestamp(text: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time; a time without a zone is UTC.

    Raises:
        ValueError: `text` is not an ISO 8601 time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND


class Clock:
    """Wall-clock time in milliseconds, and ids that sort by it.

    Args:
        source: Returns seconds since 1970. Tests pass one that they turn by hand.
        randomness: Returns that many random bytes.
    """

    def __init__(
        self,
        source: Callable[[], float] = time.time,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._source = source
        self._randomness = randomness
        self._lock = threading.Lock()
        self._last_stamp_ms = 0
        self._last_id_ms = 0
        self._id_counter = 0

    def now_ms(self) -> int:
        """The time now. Expiry is judged by this."""
        return int(self._source() * 1000)

    def stamp_ms(self) -> int:
        """A time for `createdAt` and `updatedAt`: never the same twice in one process."""
        with self._lock:
            self._last_stamp_ms = max(self.now_ms(), self._last_stamp_ms + 1)
            return self._last_stamp_ms

    def jitter(self) -> float:
        """A random number from 0 to 1, to spread retries."""
        return int.from_bytes(self._randomness(4)) / 0xFFFFFFFF

    def new_id(self) -> str:
        """A UUIDv7 (RFC 9562): ids made later in this process sort later.

        Also within one millisecond: its 12-bit `rand_a` counts, method 1 of section 6.2.
        """
        return self.new_ids(1)[0]

    def new_ids(self, count: int) -> list[str]:
        """As many ids as that, each later than the one before; faster than one by one."""
        randomness = self._randomness(2 + 8 * count)
        digits = randomness.hex()
        ids: list[str] = []
        with self._lock:
            now, prefix = int(self._source() * 1000), ""
            for at in range(2, len(randomness), 8):
                if now > self._last_id_ms:
                    # Starting in the lower half leaves room to count 2,048 ids a millisecond.
                    self._id_counter = int.from_bytes(randomness[:2]) & 0x7FF
                    self._last_id_ms, prefix = now, ""
                elif self._id_counter == 0xFFF:
                    self._last_id_ms, self._id_counter, prefix = self._last_id_ms + 1, 0, ""
                else:
                    self._id_counter += 1
                if not prefix:
                    milliseconds = f"{self._last_id_ms:012x}"
                    prefix = f"{milliseconds[:8]}-{milliseconds[8:]}-7"
                # Sixteen digits are random but for two bits, which name the variant.
                variant, rest = "89ab"[randomness[at] >> 4 & 3], digits[2 * at + 1 : 2 * at + 16]
                ids.append(f"{prefix}{self._id_counter:03x}-{variant}{rest[:3]}-{rest[3:]}")
        return ids


SYSTEM_CLOCK = Clock()
"""The clock of every provider that was not given another: one per process, so stamps differ."""
