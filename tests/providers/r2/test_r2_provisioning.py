"""Making the bucket, and looking whether it answers and clocks agree."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from storage_providers.errors import (
    AuthenticationError,
    PermissionDeniedError,
    StorageError,
    TransportError,
)
from storage_providers.maintenance import Check
from storage_providers.providers._r2 import R2Config, R2Store
from storage_providers.providers._r2.provisioning import (
    check_circuit,
    check_service,
    provision,
)
from storage_providers.resilience import Timing
from tests.servers.fault_proxy import Drop, FaultProxy
from tests.servers.moto import MotoS3
from tests.servers.r2 import NO_WAITING, s3_error

T = TypeVar("T")

ABSENT = "not-yet-there"


def store_at(
    endpoint: str, bucket: str = ABSENT, *, region: str = "auto", timing: Timing = NO_WAITING
) -> R2Store:
    """A store on a server."""
    config = R2Config(
        bucket=bucket,
        endpoint_url=endpoint,
        access_key_id="key",
        secret_access_key="secret",
        region=region,
    )
    return R2Store(config, timing=timing)


def opened(store: R2Store, work: Callable[[R2Store], Awaitable[T]]) -> T:
    """Do something with a store while it is open."""

    async def play() -> T:
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(play())


@pytest.mark.parametrize("region", ["auto", "us-east-1", "eu-central-1"])
def test_a_bucket_is_made_once(moto: MotoS3, region: str) -> None:
    """Looked for, made, found; regions that have to be named are."""

    async def play() -> list[str]:
        store = store_at(moto.endpoint, region=region)
        states: list[str] = []
        for dry_run in (True, False, False):
            (found,) = await provision(store, dry_run=dry_run)
            assert found.what == f"bucket {ABSENT}"
            assert moto.endpoint in found.detail
            states.append(found.state)
        return states

    try:
        assert asyncio.run(play()) == ["missing", "made", "there"]
    finally:
        moto.drop_bucket(ABSENT)


def test_a_store_that_is_open_stays_open(moto: MotoS3, moto_bucket: str) -> None:
    """Provisioning through a provider in use closes nothing."""

    async def play(store: R2Store) -> None:
        await provision(store, dry_run=False)
        assert (await store.list("")).entries == []

    opened(store_at(moto.endpoint, moto_bucket), play)


def test_another_was_faster(moto_proxy: FaultProxy) -> None:
    """A bucket that somebody makes between looking and making is there, not an error."""
    for code in ("BucketAlreadyOwnedByYou", "BucketConflict"):
        moto_proxy.break_next(s3_error(409, code), method="PUT")
        (found,) = asyncio.run(provision(store_at(moto_proxy.endpoint), dry_run=False))
        assert found.state == "there"


def test_a_lost_answer_is_no_second_bucket(moto: MotoS3, moto_proxy: FaultProxy) -> None:
    """The bucket was made though the answer was lost: it is there, and nothing failed."""
    moto_proxy.break_next(Drop(after=True), method="PUT")
    try:
        (found,) = asyncio.run(provision(store_at(moto_proxy.endpoint), dry_run=False))
        assert found.state in ("made", "there")
    finally:
        moto.drop_bucket(ABSENT)


@pytest.mark.parametrize(
    ("method", "status", "code", "error", "words"),
    [
        ("PUT", 403, "AccessDenied", PermissionDeniedError, "Admin Read & Write"),
        ("GET", 403, "AccessDenied", PermissionDeniedError, "Object Read & Write"),
        ("GET", 403, "SignatureDoesNotMatch", AuthenticationError, "secret_access_key"),
        ("GET", 401, "Unauthorized", AuthenticationError, "credentials"),
        ("PUT", 400, "TooManyBuckets", StorageError, "TooManyBuckets"),
    ],
)
def test_what_can_be_refused(
    moto_proxy: FaultProxy,
    method: str,
    status: int,
    code: str,
    error: type[StorageError],
    words: str,
) -> None:
    """Each refusal says what is missing; nothing is made."""
    moto_proxy.break_next(s3_error(status, code), method=method)
    with pytest.raises(error, match=words):
        asyncio.run(provision(store_at(moto_proxy.endpoint), dry_run=False))


# --- checks ------------------------------------------------------------------------------------


def checks(store: R2Store) -> dict[str, Check]:
    """What `check_service` reports, by name."""
    return {check.name: check for check in opened(store, check_service)}


def test_a_bucket_that_answers(moto: MotoS3, moto_bucket: str) -> None:
    """It says where, and that the clocks agree."""
    found = checks(store_at(moto.endpoint, moto_bucket))
    assert found["bucket"].ok
    assert moto.endpoint in found["bucket"].detail
    assert found["clock"].ok
    assert "agrees" in found["clock"].detail


def test_a_bucket_that_is_not_there(moto: MotoS3) -> None:
    """The check fails, and the service's clock is known all the same."""
    found = checks(store_at(moto.endpoint))
    assert found["bucket"].error == "ConfigurationError"
    assert "provision" in found["bucket"].detail
    assert "agrees" in found["clock"].detail


def test_a_service_that_is_not_reached(moto_proxy: FaultProxy) -> None:
    """There is nothing to say about its clock, and the address to look at is named."""
    moto_proxy.break_next(Drop(), times=99)
    found = checks(store_at(moto_proxy.endpoint))
    assert list(found) == ["bucket"]
    assert found["bucket"].error == "TransportError"
    assert moto_proxy.endpoint in str(found["bucket"].advice)


@pytest.mark.parametrize(
    ("turned_seconds", "ok", "advised"), [(2, True, False), (60, True, True), (-3600, False, True)]
)
def test_clocks_that_differ(
    moto: MotoS3, moto_bucket: str, turned_seconds: int, ok: bool, advised: bool
) -> None:
    """This machine's clock is compared with the answer's date, in numbers."""
    real = Timing().now_ms
    timing = Timing(now_ms=lambda: real() + turned_seconds * 1000)
    clock = checks(store_at(moto.endpoint, moto_bucket, timing=timing))["clock"]
    assert (clock.ok, clock.advice is not None) == (ok, advised)


def test_a_refused_signature_tells_the_time(moto_proxy: FaultProxy) -> None:
    """When requests are refused for their time, the answer's date still gives the difference."""
    date = "Sat, 31 Jan 2026 12:00:00 GMT"
    moto_proxy.break_next(s3_error(403, "RequestTimeTooSkewed", Date=date), method="GET", times=9)
    found = checks(store_at(moto_proxy.endpoint))
    assert found["bucket"].error == "AuthenticationError"
    assert not found["clock"].ok
    assert "ahead of the service's" in found["clock"].detail


def test_the_circuit(moto_proxy: FaultProxy, moto_bucket: str) -> None:
    """Closed at first; open when the service was found down, with since when and until when."""
    seconds = 0.0
    timing = Timing(monotonic=lambda: seconds, sleep=NO_WAITING.sleep)
    store = store_at(moto_proxy.endpoint, moto_bucket, timing=timing)
    assert check_circuit(store).ok

    async def play(store: R2Store) -> None:
        nonlocal seconds
        moto_proxy.break_next(Drop(), times=99)
        for _ in range(4):
            with pytest.raises(TransportError):
                await store.list("")
            seconds += 1.0

    opened(store, play)
    check = check_circuit(store)
    assert not check.ok
    assert "unavailable" in check.detail
