"""Documents as objects beside the reference, under invented sequences of calls."""

from __future__ import annotations

import pytest
from hypothesis import settings

from storage_providers.testing.conformance import Backend
from storage_providers.testing.stateful import QUICK, run_against_reference
from tests.objects.test_object_conformance import (
    IndexedBackend,
    ObjectBackend,
    ScopedBackend,
    UnconditionalBackend,
)


@pytest.mark.parametrize(
    "backend", [ObjectBackend, IndexedBackend, ScopedBackend, UnconditionalBackend]
)
def test_every_sequence_of_calls_ends_as_with_the_reference(backend: type[Backend]) -> None:
    """Plain, indexed, in a scope with short pages, and without conditions."""
    run_against_reference(backend, profile=settings(QUICK, max_examples=12))
