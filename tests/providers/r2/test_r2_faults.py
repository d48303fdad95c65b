"""What comes of requests that break: before they are carried out, after, and midway."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from storage_providers.errors import (
    BatchError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    TransportError,
)
from storage_providers.providers._r2.store import ATTEMPTS
from storage_providers.providers.r2 import CloudflareR2Provider
from storage_providers.resilience import Timing
from tests.servers.emulator import Emulator
from tests.servers.fault_proxy import Answer, Break, Cut, Drop, FaultProxy, Shorten, Stall
from tests.servers.moto import MotoS3
from tests.servers.r2 import R2Place, moto_place, on_workerd, s3_error

BEFORE: dict[str, Break] = {
    "dropped": Drop(),
    "500": s3_error(500, "InternalError"),
    "503": s3_error(503, "ServiceUnavailable"),
    "503 with a time": s3_error(503, "SlowDown", Retry_After="2"),
    "429": s3_error(429, "TooManyRequests"),
    "no XML": Answer(502, {"Content-Type": "text/html"}, b"<html>bad gateway</html>"),
}
"""Faults after which nothing was carried out."""

AFTER: dict[str, Break] = {
    "dropped": Drop(after=True),
    "500": s3_error(500, "InternalError", after=True),
    "503": s3_error(503, "ServiceUnavailable", after=True),
}
"""Faults after which everything was carried out."""

MIDWAY: dict[str, Break] = {"cut": Cut(), "cut at once": Cut(0)}
"""Damaged answers."""

SILENT = {**BEFORE, **AFTER}

Work = Callable[[CloudflareR2Provider], Awaitable[Any]]


class Bench:
    """A bucket behind a proxy; time that only a provider's waits turn, and these waits."""

    def __init__(self, place: R2Place, proxy: FaultProxy) -> None:
        self.place = place
        self.proxy = proxy
        self.waits: list[float] = []
        self.now = 1000.0

    def run(self, work: Work, *documents: dict[str, Any]) -> Any:
        """Do something with a provider, once these documents are stored and the proxy is clean."""

        async def wait(seconds: float) -> None:
            self.waits.append(seconds)
            self.now += seconds
            await asyncio.sleep(0)

        async def main() -> Any:
            timing = Timing(sleep=wait, monotonic=lambda: self.now)
            async with self.place.open(timing=timing) as provider:
                await provider.declared("t")
                for document in documents:
                    await provider.put_item("t", document)
                self.waits.clear()
                return await work(provider)

        return asyncio.run(main())


@pytest.fixture
def bench(moto: MotoS3, moto_bucket: str, moto_proxy: FaultProxy) -> Bench:
    """An empty bucket of moto behind a proxy."""
    return Bench(moto_place(moto, moto_bucket, endpoint=moto_proxy.endpoint), moto_proxy)


def named(faults: dict[str, Break]) -> pytest.MarkDecorator:
    """Run a test once for each fault."""
    return pytest.mark.parametrize("fault", list(faults.values()), ids=list(faults))


# --- what is tried again -----------------------------------------------------------------------


@named({**SILENT, **MIDWAY})
def test_reads_are_tried_again(bench: Bench, fault: Break) -> None:
    """A read that broke, whatever way, is sent again and gives the document."""

    async def read(provider: CloudflareR2Provider) -> Any:
        bench.proxy.clear()
        bench.proxy.break_next(fault, method="GET")
        return await provider.read_item("t", "a")

    item = bench.run(read, {"id": "a", "n": 1})
    assert item.document["n"] == 1
    assert bench.proxy.counts == {"GET": 2}


@named({**SILENT, **MIDWAY, "shortened": Shorten()})
def test_listings_are_tried_again(bench: Bench, fault: Break) -> None:
    """A listing that broke is sent again; it never ends early."""

    async def listed(provider: CloudflareR2Provider) -> Any:
        bench.proxy.clear()
        bench.proxy.break_next(fault, kind="LIST")
        return [entry.id for entry in (await provider.versions("t")).entries]

    assert bench.run(listed, {"id": "a"}, {"id": "b"}) == ["a", "b"]
    assert bench.proxy.counts == {"LIST": 2}


@named(SILENT)
def test_creates_are_tried_again(bench: Bench, fault: Break) -> None:
    """A create whose answer was lost is recognised as its own, not taken for another's."""

    async def create(provider: CloudflareR2Provider) -> Any:
        bench.proxy.break_next(fault, method="PUT")
        item = await provider.create_item("t", {"id": "a", "n": 1})
        return item == await provider.read_item("t", "a")

    assert bench.run(create)


@named(SILENT)
def test_puts_are_tried_again(bench: Bench, fault: Break) -> None:
    """A put without a condition is sent again."""

    async def put(provider: CloudflareR2Provider) -> Any:
        bench.proxy.break_next(fault, method="PUT")
        item = await provider.put_item("t", {"id": "a", "n": 2})
        return item == await provider.read_item("t", "a")

    assert bench.run(put, {"id": "a", "n": 1})


@named(SILENT)
def test_increments_count_once(bench: Bench, fault: Break) -> None:
    """A change whose answer was lost is made once, not twice."""

    async def modify(provider: CloudflareR2Provider) -> Any:
        def increment(document: dict[str, Any]) -> dict[str, Any]:
            return {**document, "n": document["n"] + 1}

        for skip in (0, 1):
            bench.proxy.break_next(fault, method="PUT", skip=skip)
        for _ in range(4):
            await provider.modify_item("t", "a", increment)
        item = await provider.read_item("t", "a")
        assert item is not None
        return item.document["n"]

    assert bench.run(modify, {"id": "a", "n": 1}) == 5


@named(SILENT)
def test_updates_are_tried_again(bench: Bench, fault: Break) -> None:
    """A merge whose answer was lost is there, whole."""

    async def update(provider: CloudflareR2Provider) -> Any:
        bench.proxy.break_next(fault, method="PUT")
        await provider.update_item("t", "a", {"m": 2})
        item = await provider.read_item("t", "a")
        assert item is not None
        return item.document["n"], item.document["m"]

    assert bench.run(update, {"id": "a", "n": 1}) == (1, 2)


@named(SILENT)
@pytest.mark.parametrize("count", [1, 3])
def test_deletes_are_tried_again(bench: Bench, fault: Break, count: int) -> None:
    """Deleting again what is already gone is no error."""
    documents = [{"id": f"{n}"} for n in range(count)]

    async def delete(provider: CloudflareR2Provider) -> Any:
        bench.proxy.break_next(fault, kind="DELETE_MANY")
        bench.proxy.break_next(fault, kind="DELETE")
        await provider.delete_items("t", [document["id"] for document in documents])
        return await provider.count_items("t")

    assert bench.run(delete, *documents) == 0


# --- how it is tried again ---------------------------------------------------------------------


def test_the_service_says_how_long_to_wait(bench: Bench) -> None:
    """`Retry-After` is waited for, the one of 429 and the one of 503."""

    async def read(provider: CloudflareR2Provider) -> None:
        bench.proxy.break_next(s3_error(429, "TooManyRequests", Retry_After="7"))
        await provider.read_item("t", "a")
        bench.proxy.break_next(s3_error(503, "SlowDown", Retry_After="9"))
        await provider.read_item("t", "a")

    bench.run(read, {"id": "a"})
    assert len(bench.waits) == 2
    assert bench.waits[0] >= 7
    assert bench.waits[1] >= 9


def test_a_refused_put_waits_a_second(bench: Bench) -> None:
    """A 429 that says no time is taken for R2's one write a second."""

    async def put(provider: CloudflareR2Provider) -> None:
        bench.proxy.break_next(s3_error(429, "TooManyRequests"), method="PUT")
        await provider.put_item("t", {"id": "a"})

    bench.run(put)
    assert max(bench.waits) >= 1


def test_too_long_a_wait_is_said_at_once(bench: Bench) -> None:
    """Whoever is told to come back in an hour hears of it."""

    async def read(provider: CloudflareR2Provider) -> None:
        bench.proxy.break_next(s3_error(429, "TooManyRequests", Retry_After="3600"))
        await provider.read_item("t", "a")

    with pytest.raises(RateLimitedError) as raised:
        bench.run(read)
    assert raised.value.retry_after_seconds == 3600
    assert bench.waits == []


@named(BEFORE)
def test_a_read_gives_up_in_the_end(bench: Bench, fault: Break) -> None:
    """The error names what happened; no request is sent more often than the policy says."""

    async def read(provider: CloudflareR2Provider) -> None:
        bench.proxy.clear()
        bench.proxy.break_next(fault, times=100)
        await provider.read_item("t", "a")

    with pytest.raises(TransportError) as raised:
        bench.run(read)
    # On a kept connection that breaks, aiohttp itself sends a read once more.
    sent_by_us = [each for each in bench.proxy.seen if each.broken is not None]
    assert len(sent_by_us) == (2 * ATTEMPTS if fault == Drop() else ATTEMPTS)
    assert raised.value.retryable


@named({**MIDWAY, "shortened": Shorten()})
def test_a_listing_never_ends_early(bench: Bench, fault: Break) -> None:
    """A listing whose every answer is damaged fails, it is not taken for a short or empty one."""

    async def listed(provider: CloudflareR2Provider) -> Any:
        bench.proxy.break_next(fault, kind="LIST", times=100)
        return await provider.versions("t")

    with pytest.raises(TransportError):
        bench.run(listed, {"id": "a"}, {"id": "b"})


@named(MIDWAY)
def test_a_document_is_never_half(bench: Bench, fault: Break) -> None:
    """A document whose every answer is damaged fails, it is not taken for absent or corrupt."""

    async def read(provider: CloudflareR2Provider) -> Any:
        bench.proxy.break_next(fault, method="GET", times=100)
        return await provider.read_item("t", "a")

    with pytest.raises(TransportError):
        bench.run(read, {"id": "a", "n": 1})


@pytest.mark.parametrize("conditional", [False, True])
def test_a_write_that_may_have_landed_says_so(bench: Bench, conditional: bool) -> None:
    """When no answer ever comes, the outcome is unknown, and the document is there."""

    async def write(provider: CloudflareR2Provider) -> Any:
        bench.proxy.break_next(Drop(after=True), method="PUT", times=100)
        bench.proxy.break_next(Drop(), method="GET", times=100)
        bench.proxy.break_next(Drop(), method="HEAD", times=100)
        work = provider.create_item if conditional else provider.put_item
        with pytest.raises(OutcomeUnknownError):
            await work("t", {"id": "a", "n": 1})
        bench.proxy.clear()
        bench.now += 60  # By then the service counts as reachable again.
        return await provider.read_item("t", "a")

    assert bench.run(write).document["n"] == 1


def test_a_write_that_never_left_says_so(bench: Bench) -> None:
    """When the service refuses each time, nothing was written, and the error is retryable."""

    async def write(provider: CloudflareR2Provider) -> Any:
        bench.proxy.break_next(s3_error(429, "TooManyRequests"), method="PUT", times=1000)
        with pytest.raises(RateLimitedError):
            await provider.create_item("t", {"id": "a", "n": 1})
        bench.proxy.clear()
        return await provider.read_item("t", "a")

    assert bench.run(write) is None


def test_a_stalled_request_is_not_waited_for(bench: Bench) -> None:
    """No answer within the time-out is tried again, for a read and for a write."""
    place, proxy = bench.place, bench.proxy

    async def use() -> Any:
        timing = Timing(sleep=lambda _: asyncio.sleep(0))
        async with place.open(timing=timing, read_timeout_seconds=0.1) as provider:
            await provider.declared("t")
            proxy.break_next(Stall(after=True), method="PUT")
            proxy.break_next(Stall(), method="GET")
            created = await provider.create_item("t", {"id": "a"})
            return created == await provider.read_item("t", "a")

    assert asyncio.run(use())


# --- batches -----------------------------------------------------------------------------------


def test_a_batch_says_what_landed(bench: Bench) -> None:
    """Of several writes those that failed are named, and only those are not there."""

    async def write(provider: CloudflareR2Provider) -> Any:
        bench.proxy.break_next(s3_error(403, "AccessDenied"), path=r"/b\.json", times=100)
        with pytest.raises(BatchError) as raised:
            await provider.put_items("t", [{"id": "a"}, {"id": "b"}, {"id": "c"}])
        bench.proxy.clear()
        failed = [isinstance(result, StorageError) for result in raised.value.results]
        return failed, [item.id async for item in provider.find_items("t")]

    assert bench.run(write) == ([False, True, False], ["a", "c"])


def test_a_batch_of_deletes_says_what_did_not_go(bench: Bench) -> None:
    """An answer of 200 may name keys that could not be deleted."""
    key = bench.place.key("t", "b")
    body = (
        "<?xml version='1.0'?><DeleteResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
        f"<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        "</DeleteResult>"
    )

    async def delete(provider: CloudflareR2Provider) -> Any:
        answer = Answer(200, {"Content-Type": "application/xml"}, body.encode())
        bench.proxy.break_next(answer, kind="DELETE_MANY")
        with pytest.raises(BatchError) as raised:
            await provider.delete_items("t", ["a", "b", "c"])
        return [isinstance(result, StorageError) for result in raised.value.results]

    assert bench.run(delete, {"id": "a"}, {"id": "b"}, {"id": "c"}) == [False, True, False]


# --- the other server --------------------------------------------------------------------------


@named(SILENT)
def test_creates_are_recognised_on_workerd(cloudflare: Emulator, fault: Break) -> None:
    """What holds on moto holds where R2 itself judges the condition."""
    place = on_workerd(cloudflare)
    host, port = cloudflare.known.root.removeprefix("http://").split(":")
    with FaultProxy(host, int(port)) as proxy:
        endpoint = place.endpoint.replace(cloudflare.known.root, proxy.endpoint)
        bench = Bench(place._replace(endpoint=endpoint), proxy)

        async def create(provider: CloudflareR2Provider) -> Any:
            proxy.break_next(fault, method="PUT")
            item = await provider.create_item("t", {"id": "a", "n": 1})
            return item == await provider.read_item("t", "a")

        assert bench.run(create)
    cloudflare.empty_bucket(place.bucket, place.prefix)
