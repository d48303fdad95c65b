"""The calls of the agent store, in a store that is full."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks._harness import Run

if TYPE_CHECKING:
    from tests.agents.budgets import Place, Spent

__all__ = ["agents_in_keys", "agents_in_tables"]

FULL: Final = 10_000
MANY: Final = 1_000


async def agents_in_tables(run: Run) -> None:
    """Calls of the agent store on D1."""
    from tests.agents.budgets import d1

    await _measure(run, "D1", d1)


async def agents_in_keys(run: Run) -> None:
    """Calls of the agent store on Workers KV."""
    from tests.agents.budgets import kv

    await _measure(run, "KV", kv)


async def _measure(run: Run, service: str, place: Place) -> None:
    from tests.agents.budgets import reading, writing

    full = run.size(FULL, 200)
    with tempfile.TemporaryDirectory() as folder:
        async with place(Path(folder)) as counted:
            await counted.fill(full)
            await _add(run, service, writing(counted, "agents", run.size(MANY, 40)), full)
            await _add(run, service, reading(counted, full), full)


async def _add(run: Run, service: str, spent: Spent, full: int) -> None:
    from tests.agents.budgets import BUDGETS

    async for name, calls in spent:
        budget = BUDGETS[service][name](full)
        run.add(
            f"{service}: agents: {name}",
            [calls],
            [budget],
            unit="calls",
            against=f"its budget, {budget:,} calls",
            goal=1,
        )
