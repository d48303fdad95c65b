"""What a store wrote itself lately, so that whoever wrote something finds it.

KV may answer for a minute as if a write had not happened, also that there is no such key, which
whoever creates a document has just asked. So each store remembers its own writes for that long and
corrects answers that are older: tokens tell which of two documents is the later. What another
wrote meanwhile counts if it is later; that another *removed* a document can't be told from an old
answer, and is seen when the minute is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from storage_providers._clock import Clock
from storage_providers.providers._objects import ObjectEntry, StoredObject
from storage_providers.providers._objects.entries import token_time_ms
from storage_providers.resilience import Timing

__all__ = ["OwnWrites"]

MAX_BYTES: Final = 32_000_000
"""Documents are remembered up to this size together, the latest ones. Ours."""

OVERHEAD_BYTES: Final = 500
"""What remembering a key costs beside the document, about. Ours."""


SEEN: Final = 10_000
"""Keys of which the version that was read last is remembered. Ours."""


class _Write(NamedTuple):
    stored: StoredObject | None
    made_ms: int
    until: float
    size_bytes: int
    before: frozenset[str]
    """Versions known to be older."""


class OwnWrites:
    """The writes of one store.

    Args:
        clock: The time that tokens go by.
        timing: The time that they are remembered by, which nobody sets back.
        seconds: How long they are remembered; 0: not at all.
    """

    def __init__(self, clock: Clock, timing: Timing, seconds: float) -> None:
        self._clock = clock
        self._timing = timing
        self._keep_seconds = seconds
        self._writes: dict[str, _Write] = {}
        self._seen: dict[str, str] = {}
        self._size_bytes = 0

    def __bool__(self) -> bool:
        return self._keep_seconds > 0

    def put(self, stored: StoredObject) -> None:
        """An object was stored."""
        self._remember(stored.key, stored)

    def removed(self, key: str) -> None:
        """An object was removed."""
        self._remember(key, None)

    def _remember(self, key: str, stored: StoredObject | None) -> None:
        if not self:
            return
        last = self._writes.get(key)
        before = frozenset[str]() if last is None else last.before
        if last is not None and last.stored is not None:
            before |= {last.stored.version}
        if key in self._seen:
            before |= {self._seen.pop(key)}
        if stored is not None:
            before -= {stored.version}
        self._forget(key)
        size_bytes = OVERHEAD_BYTES + (0 if stored is None else len(stored.data))
        until = self._timing.monotonic() + self._keep_seconds
        self._writes[key] = _Write(stored, self._clock.now_ms(), until, size_bytes, before)
        self._size_bytes += size_bytes
        self._prune()

    def _forget(self, key: str) -> None:
        write = self._writes.pop(key, None)
        if write is not None:
            self._size_bytes -= write.size_bytes

    def _prune(self) -> None:
        now = self._timing.monotonic()
        while self._writes:
            key, oldest = next(iter(self._writes.items()))
            if now <= oldest.until and self._size_bytes <= MAX_BYTES:
                return
            self._forget(key)

    def _see(self, key: str, version: str) -> None:
        if not self or not version:
            return
        self._seen.pop(key, None)
        if len(self._seen) >= SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = version

    def corrected(self, key: str, found: StoredObject | None) -> StoredObject | None:
        """What is to be taken for the truth where the service answers this."""
        self._prune()
        write = self._writes.get(key)
        version = None if found is None else found.version
        self._see(key, version or "")
        return found if write is None or _is_later(version, write) else write.stored

    def corrected_lines(
        self, prefix: str, lines: Sequence[ObjectEntry], after: str, last: str | None
    ) -> list[ObjectEntry]:
        """The lines of a listing as they should be.

        Args:
            prefix: What is listed.
            lines: As the service listed them.
            after: The last key before them.
            last: The last key that they can tell about; `None`: there is no end.
        """
        self._prune()
        known = {line.key: line for line in lines}
        for line in lines:
            self._see(line.key, line.version)
        for key, write in self._here(prefix, after, last):
            if key in known and _is_later(known[key].version, write):
                continue
            known.pop(key, None)
            if write.stored is not None:
                known[key] = ObjectEntry(key, write.stored.version, write.stored)
        return sorted(known.values(), key=lambda line: line.key)

    def _here(self, prefix: str, after: str, last: str | None) -> Iterable[tuple[str, _Write]]:
        return (
            (key, write)
            for key, write in self._writes.items()
            if key.startswith(prefix) and key > after and (last is None or key <= last)
        )


def _is_later(version: str | None, write: _Write) -> bool:
    """Whether a version that the service tells is later than a write of our own.

    `None`: it tells that there is nothing; `""`, or no token: another program wrote it.
    """
    if version is None:
        return False
    own = "" if write.stored is None else write.stored.version
    if version and version == own:
        return True
    if version in write.before:
        return False
    made_ms = token_time_ms(version) if version else None
    if made_ms is None:
        # What a program without tokens wrote is what was there before it was removed, more likely
        # than not; and what was put in place of ours.
        return write.stored is not None
    return version > own if token_time_ms(own or "x") is not None else made_ms > write.made_ms
