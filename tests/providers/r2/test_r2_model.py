"""R2 beside the reference, under invented sequences of calls."""

from __future__ import annotations

from hypothesis import settings

from storage_providers.testing.conformance import Backend
from storage_providers.testing.stateful import QUICK, run_against_reference
from tests.servers.moto import MotoS3
from tests.servers.r2 import R2Backend, moto_place

EXAMPLES = settings(QUICK, max_examples=10, stateful_step_count=20)


def test_r2_is_the_reference(moto: MotoS3) -> None:
    """A bucket does what the reference does."""
    buckets: list[str] = []

    def make() -> Backend:
        buckets.append(moto.make_bucket())
        return R2Backend(moto_place(moto, buckets[-1]))

    try:
        run_against_reference(make, profile=EXAMPLES)
    finally:
        for bucket in buckets:
            moto.drop_bucket(bucket)
