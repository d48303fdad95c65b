"""Where adapters are tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.places import Place, place_of


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place of the kind that the test names."""
    return place_of(request.param, tmp_path, request)
