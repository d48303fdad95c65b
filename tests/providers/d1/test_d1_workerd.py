"""D1Provider on the D1 of workerd: the contract, alone and amid broken connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases
from tests.providers.d1.test_d1_local import LocalBackend
from tests.providers.d1.workerd import FaultyBackend, WorkerdBackend
from tests.providers.on_a_server import OnAServer, OnBadDays
from tests.servers.emulator import Emulator


class TestWorkerd(OnAServer):
    """The contract."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return WorkerdBackend(cloudflare)


NOT_APPLICABLE = {
    "needs the absence of atomic_batch": 2,
    "needs the absence of conditional_delete": 2,
    "needs the absence of conditional_write": 3,
    "needs the absence of text_search": 2,
}
"""Cases of the suite that do not apply to D1, by reason."""


class TestBrokenLine(OnBadDays):
    """The contract, while a third of the calls break before or after it is carried out."""

    @pytest.fixture
    def backend(self, cloudflare: Emulator) -> Backend:
        return FaultyBackend(cloudflare)


def test_no_case_disappears_unnoticed(cloudflare: Emulator, tmp_path: Path) -> None:
    """Whoever adds a case or a capability changes these counts; the stand-in plays every case."""
    everything = count_cases(ProviderConformance, LocalBackend(tmp_path))
    assert (everything.run, everything.not_applicable) == (735, NOT_APPLICABLE)
    assert count_cases(ProviderConformance, WorkerdBackend(cloudflare)) == everything
    assert count_cases(TestWorkerd, WorkerdBackend(cloudflare)).run == 636
    assert count_cases(TestBrokenLine, FaultyBackend(cloudflare)).run == 314
