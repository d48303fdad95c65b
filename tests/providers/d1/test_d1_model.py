"""D1 beside the reference, under invented sequences of calls."""

from __future__ import annotations

from hypothesis import settings

from storage_providers.testing.stateful import QUICK, run_against_reference
from tests.providers.d1.workerd import FaultyBackend, WorkerdBackend
from tests.servers.emulator import Emulator

EXAMPLES = settings(QUICK, max_examples=10, stateful_step_count=20)


def test_d1_is_the_reference(cloudflare: Emulator) -> None:
    """The D1 of workerd does what the reference does."""
    run_against_reference(lambda: WorkerdBackend(cloudflare), profile=EXAMPLES)


def test_d1_is_the_reference_while_connections_break(cloudflare: Emulator) -> None:
    """Calls that fail and answers that are lost change nothing."""
    fewer = settings(EXAMPLES, max_examples=5)
    run_against_reference(lambda: FaultyBackend(cloudflare), profile=fewer)
