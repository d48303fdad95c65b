"""What all tests share."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from storage_providers.testing.conformance import ManualClock

if TYPE_CHECKING:
    from tests.servers.described import Description
    from tests.servers.emulator import Emulator
    from tests.servers.fault_proxy import FaultProxy
    from tests.servers.moto import MotoS3

# The same examples on every run and every machine: a failure found once is found again.
settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("fixed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector the tens of thousands of tests, which live until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def manual_clock() -> ManualClock:
    """Time that the test turns; `manual_clock.clock` is what a provider takes."""
    return ManualClock()


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """A local Cloudflare, one for all tests of a process; `cloudflare` gives it clean."""
    from tests.servers.emulator import Emulator

    try:
        running = Emulator()
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def description() -> Description | None:
    """The API's own description, where there is one; `tests.servers.described` says where."""
    from tests.servers.described import DESCRIPTION, Description, is_there

    return Description(DESCRIPTION) if is_there() else None


@pytest.fixture
def cloudflare(emulator: Emulator, description: Description | None) -> Iterator[Emulator]:
    """The local Cloudflare without faults, with its usual settings, its log empty.

    What is called through it, and what it answers, is held to the API's description.
    """
    emulator.reset()
    with nullcontext() if description is None else description.holding(emulator.known.api):
        yield emulator


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoS3]:
    """A local S3, one for all tests of a process."""
    from tests.servers.moto import MotoS3

    running = MotoS3()
    yield running
    running.stop()


@pytest.fixture
def moto_bucket(moto: MotoS3) -> Iterator[str]:
    """The name of an empty bucket on the local S3."""
    name = moto.make_bucket()
    yield name
    moto.drop_bucket(name)


@pytest.fixture(scope="session")
def moto_gate(moto: MotoS3) -> Iterator[FaultProxy]:
    """A proxy before the local S3; `moto_proxy` gives it clean."""
    from tests.servers.fault_proxy import FaultProxy

    with FaultProxy(moto.host, moto.port) as proxy:
        yield proxy


@pytest.fixture
def moto_proxy(moto_gate: FaultProxy) -> Iterator[FaultProxy]:
    """A proxy before the local S3, without faults and with nothing counted."""
    moto_gate.clear()
    yield moto_gate
    moto_gate.clear()
