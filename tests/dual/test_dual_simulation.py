"""Random programs of writers and runners that stall and die: nothing that was promised is lost."""

from __future__ import annotations

import os

import pytest

from storage_providers.transfer.migration import Migration
from tests.dual.simulation import LEASE_SECONDS, play
from tests.resilience.virtual import run

SEEDS = int(os.environ.get("DUAL_SEEDS", "60"))
FIRST = int(os.environ.get("DUAL_FIRST_SEED", "0"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_nothing_promised_is_lost_by_a_migration(seed: int) -> None:
    """The target has every write that was acknowledged, once; then the sides are alike."""

    async def main() -> None:
        world = await play(seed)
        await world.check(world.target)
        migration = Migration(
            source=world.source,
            target=world.target,
            lease_seconds=LEASE_SECONDS,
            clock=world.clock,
        )
        await migration.verify(repair=True)
        found = await migration.verify()
        assert found.difference_count == 0
        await world.alike()

    run(main())
