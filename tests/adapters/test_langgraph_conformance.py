"""LangGraph's own conformance cases for checkpoint savers, base and extended, on every place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES

from storage_providers.agents.adapters.langgraph import ProviderSaver
from tests.adapters.places import CONSISTENT, Place

CASES = {
    "put": 17,
    "put_writes": 10,
    "get_tuple": 10,
    "list": 16,
    "delete_thread": 5,
    "delete_for_runs": 7,
    "copy_thread": 8,
    "prune": 8,
}
"""How many cases there are of each capability, so that none is left out unnoticed."""


@pytest.mark.parametrize("capability", CASES)
@pytest.mark.parametrize("place", CONSISTENT, indirect=True)
def test_every_case_passes(place: Place, capability: str) -> None:
    """The capability is found, and all its cases pass."""

    @checkpointer_test(name=f"ProviderSaver on {place.name}")
    async def make() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        async with place.open() as provider:
            yield ProviderSaver(provider)

    report = asyncio.run(validate(make, capabilities={capability}))
    result = report.results[capability]
    assert result.failures == []
    assert (result.detected, result.tests_passed) == (True, CASES[capability])


def test_no_capability_is_left_out() -> None:
    """What the kit knows is what is tested."""
    assert set(CASES) == {capability.value for capability in ALL_CAPABILITIES}
