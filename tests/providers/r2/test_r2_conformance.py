"""The contract on R2: every case of the conformance suite on two servers, on good and bad days."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases
from tests.servers.emulator import Emulator
from tests.servers.fault_proxy import FaultProxy
from tests.servers.moto import MotoS3
from tests.servers.r2 import ROUGH, R2Backend, moto_place, on_workerd
from tests.test_conformance import EXPECTED

BAD_SHARE = 0.05
"""Of the requests of a bad day that break."""


LEFT_OUT: Any = None
"""In a case's place: it is not played here."""


def some(test: Any, *wanted: str) -> Any:
    """A case that is made of many, with only these of them."""
    (marked,) = test.pytestmark
    named = dict(zip(marked.kwargs["ids"], marked.args[1], strict=True))
    chosen = [named[each] for each in wanted]

    @pytest.mark.parametrize("value", chosen, ids=wanted)
    def fewer(self: object, backend: Backend, value: object) -> None:
        test(self, backend, value)

    fewer.__name__, fewer.__doc__ = test.__name__, test.__doc__
    fewer.requirement = msgspec.structs.replace(  # type: ignore[attr-defined]
        test.requirement, tests=len(chosen)
    )
    return fewer


def but(test: Any, left_out: Callable[[str, Any], bool]) -> Any:
    """A case that is made of many, without those whose name and value this says."""
    arguments = test.pytestmark[0]
    named = zip(arguments.kwargs["ids"], arguments.args[1], strict=True)
    return some(test, *(name for name, value in named if not left_out(name, value)))


class OnAServer(ProviderConformance):
    """Every case that makes a difference to a server.

    Cases that ask the engine one thing in many ways, thousands of requests of the same kind, are
    played whole on a store in memory (tests/objects) and by a few examples here.
    """

    test_where = some(
        ProviderConformance.test_where, "text", "gt", "in", "contains in text", "missing path"
    )
    test_indexes_change_no_answer = LEFT_OUT
    test_pages_make_up_the_whole = some(
        ProviderConformance.test_pages_make_up_the_whole, "ending in id"
    )
    test_offsets_agree_with_pages = some(
        ProviderConformance.test_offsets_agree_with_pages, "same value"
    )
    test_find_items_goes_over_all_pages = LEFT_OUT


class TestMoto(OnAServer):
    """On moto."""

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


class TestBadDay(OnAServer):
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

    # Thousands of requests that meet no other faults than those of the other cases.
    test_a_large_batch = LEFT_OUT
    test_cancelled_reads_leave_the_provider_usable = LEFT_OUT
    test_imports_of_many_documents = LEFT_OUT

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


@pytest.mark.parametrize(
    ("suite", "run"),
    [(ProviderConformance, 696), (TestMoto, 597), (TestWorkerd, 591), (TestBadDay, 587)],
)
def test_no_case_disappears_unnoticed(suite: type[ProviderConformance], run: int) -> None:
    """The counts are these; whoever adds a case or a capability changes them."""
    counts = count_cases(suite, R2Backend())
    assert (counts.run, counts.not_applicable) == (run, LACKS)


def test_what_is_left_out_is_played_in_memory() -> None:
    """All cases together are as many as the reference has."""
    total, lacking = EXPECTED["memory"]
    counts = count_cases(ProviderConformance, R2Backend())
    assert counts.run + sum(counts.not_applicable.values()) == total + sum(lacking.values())
