"""A hybrid beside a model: outages and lost answers at random, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from storage_providers.errors import (
    ItemNotFoundError,
    OutcomeUnknownError,
    TransportError,
)
from storage_providers.layers import compose
from storage_providers.providers.hybrid import HybridProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing.conformance import ManualClock
from storage_providers.testing.faults import Fault, Faults

T = TypeVar("T")

IDS = ("a", "b", "c")
FIELDS = ("x", "y")
_ids = st.sampled_from(IDS)
_fields = st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 3), max_size=2)
_changes = st.dictionaries(
    st.sampled_from(FIELDS), st.none() | st.integers(0, 3), min_size=1, max_size=2
)


async def never(_: float) -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


class HybridMachine(RuleBasedStateMachine):
    """One program through two hybrids of the same sides, while the primary comes and goes."""

    folders = itertools.count()
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.time = ManualClock()
        self.place = self.folder / str(next(self.folders))
        self.place.mkdir()
        self.primary = InMemoryProvider(clock=self.time.clock)
        self.fallback = InMemoryProvider(clock=self.time.clock)
        self.model: dict[str, dict[str, int]] = {}
        self.run(self.primary.connect())
        self.run(self.fallback.connect())
        self.script: list[Fault] = []
        self.hybrids = [self.open(), self.open()]

    def open(self) -> HybridProvider:
        """A hybrid as another process would have it."""
        faults = Faults()
        faults.script = self.script
        hybrid = HybridProvider(
            primary=compose(faults, provider=self.primary),
            fallback=self.fallback,
            journal=self.place / "journal.db",
            retry_seconds=0,
            sleep=never,
        )
        self.run(hybrid.connect())
        return hybrid

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await in this machine's loop."""
        return self.runner.run(work)

    def teardown(self) -> None:
        """The primary comes back for good: it must be as the model is."""
        try:
            self.script.clear()
            self.run(self.hybrids[0].replay())
            self.same_as_model()
            assert self.run(self.hybrids[0].conflicts()) == []
            for hybrid in self.hybrids:
                self.run(hybrid.disconnect())
        finally:
            self.runner.close()

    def same_as_model(self) -> None:
        """Compare the primary's documents with the model."""
        found = {each: self.run(self.primary.read_item("things", each)) for each in IDS}
        for item_id, item in found.items():
            there = None if item is None else self.plain(item.document)
            assert there == self.model.get(item_id), item_id

    @staticmethod
    def plain(document: dict[str, Any]) -> dict[str, int]:
        """The fields alone."""
        return {name: document[name] for name in FIELDS if name in document}

    @initialize()
    def fill(self) -> None:
        """Both know that there is nothing."""
        self.run(self.hybrids[0].fill())

    # --- the network ---------------------------------------------------------------------------

    @rule(seed=st.integers(0, 999), lose=st.booleans())
    def flicker(self, seed: int, lose: bool) -> None:
        """Calls fail at random, some after they were carried out."""
        again = Faults.seeded(seed, fail=0.3, lose_answer=0.2 if lose else 0.0)
        self.script[:] = again.script

    @rule()
    def cut(self) -> None:
        """Every call fails."""
        self.script[:] = Faults.seeded(0, fail=1.0).script

    @rule()
    def mend(self) -> None:
        """Every call works."""
        self.script.clear()

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        """One process ends and begins anew."""
        self.run(self.hybrids[which].disconnect())
        self.hybrids[which] = self.open()

    # --- the program ---------------------------------------------------------------------------

    def write(self, item_id: str, after: dict[str, int] | None, work: Any) -> None:
        """Carry out one write and have the model follow."""
        self.time.advance(0.01)
        try:
            self.run(work)
        except TransportError as error:
            # The journal takes what asks for no condition, so none of these is left unknown.
            if isinstance(error, OutcomeUnknownError):
                raise
        else:
            self.model.pop(item_id, None)
            if after is not None:
                self.model[item_id] = after

    @rule(which=st.integers(0, 1), item_id=_ids, fields=_fields)
    def put(self, which: int, item_id: str, fields: dict[str, int]) -> None:
        """Put a document."""
        hybrid = self.hybrids[which]
        self.write(item_id, fields, hybrid.put_item("things", {"id": item_id, **fields}))

    @rule(which=st.integers(0, 1), item_id=_ids)
    def delete(self, which: int, item_id: str) -> None:
        """Delete one."""
        self.write(item_id, None, self.hybrids[which].delete_item("things", item_id))

    @rule(which=st.integers(0, 1), item_id=_ids, changes=_changes)
    def update(self, which: int, item_id: str, changes: dict[str, int | None]) -> None:
        """Change some fields."""
        before = self.model.get(item_id)
        work = self.hybrids[which].update_item("things", item_id, changes)
        if before is None:
            try:
                self.run(work)
            except (ItemNotFoundError, TransportError):
                return
            raise AssertionError("a document that is not there was changed")
        merged = {**before, **changes}
        after = {name: value for name, value in merged.items() if value is not None}
        self.write(item_id, after, work)

    @rule(which=st.integers(0, 1), item_id=_ids)
    def read(self, which: int, item_id: str) -> None:
        """Read one: what was acknowledged, or an error."""
        try:
            item = self.run(self.hybrids[which].read_item("things", item_id))
        except TransportError:
            return
        found = None if item is None else self.plain(item.document)
        assert found == self.model.get(item_id)

    @rule(which=st.integers(0, 1))
    def query(self, which: int) -> None:
        """List all: what was acknowledged, or an error."""
        try:
            page = self.run(self.hybrids[which].list_items("things"))
        except TransportError:
            return
        found = {item.id: self.plain(item.document) for item in page.items}
        for item_id in IDS:
            assert found.get(item_id) == self.model.get(item_id)


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """Random programs in random outages: the primary ends as the model, without any conflict."""

    class Machine(HybridMachine):
        folder = tmp_path

    run_state_machine_as_test(
        Machine,
        settings=settings(
            derandomize=True,
            deadline=None,
            database=None,
            max_examples=60,
            stateful_step_count=30,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
