"""What all tests share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from storage_providers.testing.conformance import ManualClock

# The same examples on every run and every machine: a failure found once is found again.
settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("fixed")


@pytest.fixture
def manual_clock() -> ManualClock:
    """Time that the test turns; `manual_clock.clock` is what a provider takes."""
    return ManualClock()
