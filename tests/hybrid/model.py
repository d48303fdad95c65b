"""What may have become of documents that are written in outages, from two sides, by the dying.

A document's history is two lines from what both sides had: `here`, what was written through
hybrids, and `there`, what others did to the primary. What was acknowledged is sure; what a dying
process did, or what raised `OutcomeUnknownError`, may have happened or not. A state is the document
as text, or `None`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from storage_providers.conflicts import ConflictRecord, Stored
from tests.hybrid.worker import plain

__all__ = ["History", "Op", "plain_stored", "run"]

State: TypeAlias = "str | None"


class Op(NamedTuple):
    """One write.

    `sure`: it was acknowledged. `kind`: `put`, `create`, `patch`, `append` or `delete`.
    """

    kind: str
    value: Any
    sure: bool = True

    def of(self, state: State) -> set[State]:
        """What it makes of a state; nothing where it would have been refused."""
        fields = None if state is None else json.loads(state)
        match self.kind:
            case "put":
                fields = dict(self.value)
            case "create" if fields is None:
                fields = dict(self.value)
            case "patch" if fields is not None:
                fields = {k: v for k, v in {**fields, **self.value}.items() if v is not None}
            case "append" if fields is not None:
                fields["log"] = [*fields.get("log", []), self.value]
            case "delete":
                fields = None
            case _:
                return set()
        return {None if fields is None else json.dumps(fields, sort_keys=True)}


def run(states: Iterable[State], ops: Iterable[Op]) -> set[State]:
    """Every state that these writes may lead to."""
    found = set(states)
    for op in ops:
        after = {new for state in found for new in op.of(state)}
        found = after if op.sure else found | after
    return found


def _on_the_way(states: Iterable[State], ops: list[Op]) -> set[State]:
    """The states after each of them, and before."""
    return {state for k in range(len(ops) + 1) for state in run(states, ops[:k])}


def plain_stored(stored: Stored | None) -> State:
    """A state out of the log of conflicts."""
    return None if stored is None else plain(stored.document)


class History:
    """One document between two moments when both sides were the same.

    Args:
        state: What it was then at the primary.
        copies: What the fallback may hold besides: what others change, and what a killed process
            wrote, is there once it was read or written again.
    """

    def __init__(self, state: State = None, copies: Iterable[State] = ()) -> None:
        self.here0: set[State] = {state}
        self.there0: set[State] = {state}
        self.copies: set[State] = set(copies)
        self.here: list[Op] = []
        self.there: list[Op] = []

    @property
    def seen(self) -> set[State]:
        """What a hybrid may show."""
        return run(self.here0, self.here)

    @property
    def ever(self) -> set[State]:
        """What it may have been at any moment."""
        return _on_the_way(self.here0, self.here)

    def mirrored(self) -> None:
        """Both sides are the same: it was read or written while the primary answered."""
        self.copies.clear()

    def begin_outage(self) -> None:
        """From here on the fallback is what is seen."""
        self.here0 |= self.copies

    def after(self, state: State) -> History:
        """What follows, once it is known what is at the primary."""
        is_copied = bool(self.here) and self.here[-1].sure
        return History(state, () if is_copied else self.copies | self.ever)

    def explains(self, final: State, records: list[ConflictRecord]) -> bool:
        """Whether this may have ended so, with these conflicts in the log."""
        return self._explains(final, records, self.here0, self.here, self.there0)

    def _explains(
        self,
        final: State,
        records: list[ConflictRecord],
        start: set[State],
        here: list[Op],
        others: set[State],
        line: set[State] | None = None,
    ) -> bool:
        """`line`: what the journal goes on from where it was not seen what a conflict left."""
        if not records:
            return self._without_conflict(final, start, here, others)
        line = start if line is None else line | start
        conflict, kept = records[0].conflict, plain_stored(records[0].resolution.stored)
        theirs = _on_the_way(others, self.there) | _on_the_way(start, here)
        if plain_stored(conflict.primary) not in theirs:
            return False
        return any(
            plain_stored(conflict.fallback) in (mine := run(line, here[:k]))
            and self._explains(final, records[1:], {kept}, here[k:], {kept}, mine)
            for k in range(len(here) + 1)
        )

    def _without_conflict(
        self, final: State, start: set[State], here: list[Op], others: set[State]
    ) -> bool:
        """Only where the primary was all the time what a write through a hybrid left."""
        if others == start and len(others) == 1 and not self._is_first(start):
            return final in run(start, here)  # After a conflict, which had all that others did.
        theirs = run(others, self.there)
        for k in range(len(here) + 1):
            # Nothing was taken in the outage; what came after it followed what others did.
            if final in run(theirs, here[k:]):
                return True
            if k < len(here) and here[k].sure:
                break
        return final in run(start, here) and bool(theirs & _on_the_way(start, here))

    def _is_first(self, start: set[State]) -> bool:
        return start is self.here0
