"""Whether the bucket is there and answers, and making it; for `provision` and `doctor`.

The bucket is looked for by a listing of one line and not by HeadBucket: a token for objects alone
may list in its bucket, but need not be allowed to look at the bucket itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, cast

import msgspec

from storage_providers.errors import (
    ConfigurationError,
    PermissionDeniedError,
    StorageError,
    TransportError,
)
from storage_providers.maintenance import Check, Provision, check_clock, error_name
from storage_providers.providers._objects import Listing
from storage_providers.providers._r2.answers import read_listing
from storage_providers.providers._r2.binding import R2Binding
from storage_providers.providers._r2.client import Call
from storage_providers.providers._r2.store import R2Store
from storage_providers.resilience import Attempt, Effect

__all__ = ["check_circuit", "check_service", "provision"]

EXISTS: Final = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists", "BucketConflict")
"""S3's codes for a bucket that another made meanwhile. Source: Cloudflare docs, r2/api/error-codes,
and AWS, S3 API reference, CreateBucket (read 2026-11)."""


NEEDS_REGION: Final = "IllegalLocationConstraintException"
"""S3's code where the region has to be named in the request too: everywhere on AWS but in
us-east-1, never on R2. Source: AWS, S3 API reference, CreateBucket (read 2026-11)."""


class _BucketClient(Protocol):
    """What is used of the client for whole buckets."""

    async def list_objects_v2(self, **arguments: object) -> dict[str, Any]: ...
    async def create_bucket(self, **arguments: object) -> dict[str, Any]: ...


class _Seen(msgspec.Struct):
    """What one request to the bucket told.

    Attributes:
        error: Why it did not answer as it should.
        date: The service's time, if it said it.
        sent_ms: When it was asked, by our clock.
        received_ms: When it answered.
    """

    error: StorageError | None
    date: str | None
    sent_ms: int
    received_ms: int

    @property
    def is_missing(self) -> bool:
        """Whether there is no such bucket at this endpoint."""
        return isinstance(self.error, ConfigurationError) and _code(self.error) == "NoSuchBucket"


def _response(error: BaseException | None) -> dict[str, Any]:
    """The service's answer that an error was made from."""
    cause = None if error is None else error.__cause__
    # Errors of connections have the attribute too, empty.
    return cast("dict[str, Any]", getattr(cause, "response", None) or {})


def _code(error: StorageError) -> str:
    return str(_response(error).get("Error", {}).get("Code", ""))


def _date(response: dict[str, Any]) -> str | None:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return cast("str | None", headers.get("date"))


@asynccontextmanager
async def _opened(store: R2Store) -> AsyncGenerator[None]:
    """The store open, and closed again if it was not."""
    if store.sender.is_open:
        yield
        return
    await store.open()
    try:
        yield
    finally:
        await store.close()


async def _look(store: R2Store) -> _Seen:
    now_ms = store.sender.timing.now_ms
    error: StorageError | None = None
    response: dict[str, Any] = {}
    sent_ms = now_ms()

    async def send(_: Attempt) -> dict[str, Any]:
        nonlocal sent_ms
        sent_ms = now_ms()
        call = Call(read=read_listing)
        answer = await store.sender.send(
            call,
            lambda client: cast(_BucketClient, client).list_objects_v2(
                Bucket=store.bucket, MaxKeys=1
            ),
        )
        if not isinstance(call.answer, Listing):
            raise TransportError("what answers is no S3 service: it sent no listing")
        return answer

    try:
        response = await store.resilience.call(send, effect=Effect.READ, operation="look")
    except StorageError as caught:
        error, response = caught, _response(caught)
    return _Seen(error, _date(response), sent_ms, now_ms())


# --- provision ---------------------------------------------------------------------------------


async def provision(store: R2Store, *, dry_run: bool) -> list[Provision]:
    """Make the bucket if it is not there; where, the endpoint says.

    Args:
        store: The bucket, open or not.
        dry_run: Only look.

    Raises:
        PermissionDeniedError: The token may not make buckets, or not look into this one.
        StorageError: It can't be reached, or the credentials are wrong.
    """
    what = f"bucket {store.bucket}"
    async with _opened(store):
        where = f"at {store.sender.endpoint}"
        seen = await _look(store)
        if seen.error is None:
            return [Provision(what=what, state="there", detail=where)]
        if not seen.is_missing:
            raise seen.error
        if dry_run:
            return [Provision(what=what, state="missing", detail=where)]
        made = await store.resilience.call(
            lambda _: _create(store), effect=Effect.IDEMPOTENT_WRITE, operation="create_bucket"
        )
        return [Provision(what=what, state="made" if made else "there", detail=where)]


async def _create(store: R2Store, *, name_region: bool = False) -> bool:
    """Make the bucket; False if another was faster."""
    arguments: dict[str, object] = {"Bucket": store.bucket}
    if name_region:
        region = store.sender.config.region
        arguments["CreateBucketConfiguration"] = {"LocationConstraint": region}
    try:
        await store.sender.send(
            Call(), lambda client: cast(_BucketClient, client).create_bucket(**arguments)
        )
    except PermissionDeniedError as error:
        raise PermissionDeniedError(
            f"the token may not make the bucket {store.bucket!r}; use one with 'Admin Read & "
            "Write' for this, or make the bucket in the dashboard"
        ) from error
    except StorageError as error:
        if _code(error) in EXISTS:
            return False
        if _code(error) != NEEDS_REGION or name_region:
            raise
    else:
        return True
    return await _create(store, name_region=True)


# --- checks ------------------------------------------------------------------------------------


async def check_service(store: R2Store) -> list[Check]:
    """See whether the bucket answers, and whether clocks agree.

    Args:
        store: The bucket, open.

    Returns:
        The check `bucket` and, if there was an answer, `clock`.
    """
    seen = await _look(store)
    if seen.error is None:
        took_ms = seen.received_ms - seen.sent_ms
        detail = f"{store.bucket} answers at {store.sender.endpoint} ({took_ms} ms)"
        bucket = Check(name="bucket", ok=True, detail=detail)
    else:
        unreachable = isinstance(seen.error, TransportError)
        bucket = Check(
            name="bucket",
            ok=False,
            detail=str(seen.error),
            advice=f"see whether {store.sender.endpoint} is right and can be reached"
            if unreachable
            else None,
            error=error_name(seen.error),
        )
        if seen.date is None:
            return [bucket]
    return [bucket, check_clock(seen.date, seen.sent_ms, seen.received_ms)]


def check_circuit(store: R2Store | R2Binding) -> Check:
    """See whether calls pass.

    Args:
        store: The bucket.
    """
    status = store.resilience.breaker.status
    if status.state == "closed":
        return Check(name="circuit", ok=True, detail="closed: calls are let through")
    since, probe = status.opened_for_seconds or 0.0, status.probe_in_seconds or 0.0
    return Check(
        name="circuit",
        ok=False,
        detail=f"{status.state}: R2 has been unavailable for {since:.1f} s (last: "
        f"{status.last_error}); one call probes it in {probe:.1f} s",
        error="TransportError",
    )
