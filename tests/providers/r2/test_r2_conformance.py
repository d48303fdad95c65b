"""The contract on R2: every case of the conformance suite on two servers, on good and bad days."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest

from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases
from tests.providers.on_a_server import LEFT_OUT, FewValues, OnAServer, OnBadDays, but
from tests.servers.emulator import Emulator
from tests.servers.fault_proxy import FaultProxy
from tests.servers.moto import MotoS3
from tests.servers.r2 import ROUGH, R2Backend, moto_place, on_workerd
from tests.test_conformance import EXPECTED

BAD_SHARE = 0.05
"""Of the requests of a bad day that break."""


class TestMoto(FewValues):
    """On moto, a second reading of S3, with the keys that workerd can't take."""

    # Thousands of requests of the same kind.
    test_a_large_batch = LEFT_OUT

    test_an_awkward_id_through_every_verb = (
        ProviderConformance.test_an_awkward_id_through_every_verb
    )

    @pytest.fixture
    def backend(self, moto: MotoS3, moto_bucket: str, request: pytest.FixtureRequest) -> Backend:
        return R2Backend(moto_place(moto, moto_bucket), name=request.node.name)


class TestWorkerd(OnAServer):
    """On workerd, as R2 itself runs."""

    # Thousands of requests, which take it ten times as long as moto; several processes at one
    # document are in test_r2_processes.
    test_a_large_batch = LEFT_OUT
    test_cancelled_reads_leave_the_provider_usable = LEFT_OUT
    test_imports_of_many_documents = LEFT_OUT
    test_increments_are_not_lost = LEFT_OUT

    # Miniflare finds no way for a key with a line separator; R2 takes any.
    test_an_awkward_id_through_every_verb = but(
        ProviderConformance.test_an_awkward_id_through_every_verb,
        lambda _, value: "\u2028" in value,
    )
    test_no_two_ids_are_one = LEFT_OUT

    @pytest.fixture
    def backend(self, cloudflare: Emulator, request: pytest.FixtureRequest) -> Iterator[Backend]:
        place = on_workerd(cloudflare)
        yield R2Backend(place, name=request.node.name)
        cloudflare.empty_bucket(place.bucket, place.prefix)


class TestBadDay(OnBadDays):
    """On moto, while one request in twenty breaks: before it is carried out, after, midway."""

    # A put whose answer is lost while others write the same document, or whose condition does not
    # hold then, has an outcome that nobody can know, and says so. These cases expect to know it.
    test_increments_are_not_lost = LEFT_OUT
    test_two_providers_lose_nothing = LEFT_OUT
    test_updates_of_different_fields_all_count = LEFT_OUT
    test_one_create_wins = LEFT_OUT
    test_one_replacement_wins = LEFT_OUT
    test_each_concurrent_write_has_its_own_outcome = LEFT_OUT
    test_version_conditions = but(
        ProviderConformance.test_version_conditions, lambda name, _: name == "put right absent"
    )

    @pytest.fixture
    def backend(
        self, moto: MotoS3, moto_proxy: FaultProxy, request: pytest.FixtureRequest
    ) -> Iterator[Backend]:
        # Named by the case, so that on every run the same requests break.
        number = zlib.crc32(request.node.name.encode())
        bucket = moto.make_bucket(f"case-{number}")
        moto_proxy.break_some(number, BAD_SHARE, *ROUGH)
        place = moto_place(moto, bucket, endpoint=moto_proxy.endpoint)
        yield R2Backend(place, name=request.node.name)
        moto_proxy.clear()
        moto.drop_bucket(bucket)


LACKS = {
    "needs atomic_batch": 10,
    "needs conditional_delete": 14,
    "needs max_document_bytes": 1,
    "needs text_search": 20,
    "needs the absence of conditional_write": 3,
}


def test_no_case_disappears_unnoticed() -> None:
    """The counts are these; whoever adds a case or a capability changes them."""
    everything = count_cases(ProviderConformance, R2Backend())
    assert (everything.run, everything.not_applicable) == (696, LACKS)
    suites = (TestMoto, TestWorkerd, TestBadDay)
    assert [count_cases(suite, R2Backend()).run for suite in suites] == [386, 591, 279]


def test_what_is_left_out_is_played_in_memory() -> None:
    """All cases together are as many as the reference has."""
    total, lacking = EXPECTED["memory"]
    counts = count_cases(ProviderConformance, R2Backend())
    assert counts.run + sum(counts.not_applicable.values()) == total + sum(lacking.values())
