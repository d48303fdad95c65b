"""Where adapters are tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.counting import Counted, counted_r2
from tests.adapters.places import Place, place_of
from tests.servers.fault_proxy import FaultProxy
from tests.servers.moto import MotoS3


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place of the kind that the test names."""
    return place_of(request.param, tmp_path, request)


@pytest.fixture
def r2_counted(moto: MotoS3, moto_bucket: str, moto_proxy: FaultProxy) -> Counted:
    """R2's provider on an empty bucket, opened by `async with`, and what counts its requests."""
    return counted_r2(moto, moto_bucket, moto_proxy)
