"""What became of a put: every row of the tables at the top of `_r2.putting`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from storage_providers._requests import tallied
from storage_providers.errors import (
    ConflictError,
    DeadlineExceededError,
    ItemExistsError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    VersionMismatchError,
)
from storage_providers.protocol import ANY, IF_ABSENT, IF_PRESENT, Condition, IfVersion
from storage_providers.providers._objects import Metadata, ObjectPut
from storage_providers.providers._r2.client import Call, S3Client
from storage_providers.resilience import NotSentError
from tests.providers.r2.r2_driver import Scripted, answer, opened, put_of
from tests.servers.fault_proxy import Answer, Drop, FaultProxy
from tests.servers.moto import MotoS3

OK = answer(200, ETag='"v-new"')
REFUSED = answer(412, "PreconditionFailed")
LIMITED = answer(429, "TooManyRequests", Retry_After="1")
BROKEN = answer(500, "InternalError")
LOST = None
OURS = answer(200, ETag='"v-ours"', x_amz_meta_token="t1")
OTHERS = answer(200, ETag='"v-other"', x_amz_meta_token="t2")
FOREIGN = answer(200, ETag='"v-foreign"')
STILL = answer(200, ETag='"v1"', x_amz_meta_token="t0")
ABSENT = answer(404)
DENIED = answer(403)

VERSION = IfVersion("v1")

CASES: list[tuple[str, Condition, list[bytes | None], Any, str]] = [
    # name, condition, answers, what comes of it, what was sent
    ("stored", IF_ABSENT, [OK], "v-new", "PUT"),
    ("exists", IF_ABSENT, [REFUSED], ItemExistsError, "PUT"),
    ("another version", VERSION, [REFUSED], VersionMismatchError, "PUT"),
    ("gone, as AWS says it", VERSION, [answer(404, "NoSuchKey")], VersionMismatchError, "PUT"),
    ("limited, then stored", IF_ABSENT, [LIMITED, OK], "v-new", "PUT PUT"),
    ("limited, then exists", IF_ABSENT, [LIMITED, REFUSED], ItemExistsError, "PUT PUT"),
    ("limited for good", VERSION, [LIMITED] * 3, RateLimitedError, "PUT PUT PUT"),
    (
        "a conflict of requests, as AWS says it",
        VERSION,
        [answer(409, "ConditionalRequestConflict"), OK],
        "v-new",
        "PUT PUT",
    ),
    ("lost, then stored", VERSION, [LOST, OK], "v-new", "PUT PUT"),
    ("5xx, then stored", IF_ABSENT, [BROKEN, OK], "v-new", "PUT PUT"),
    ("lost, refused, ours", IF_ABSENT, [LOST, REFUSED, OURS], "v-ours", "PUT PUT HEAD"),
    ("5xx, refused, ours", VERSION, [BROKEN, REFUSED, OURS], "v-ours", "PUT PUT HEAD"),
    ("lost, 404, ours", VERSION, [LOST, answer(404, "NoSuchKey"), OURS], "v-ours", "PUT PUT HEAD"),
    (
        "lost, limited, refused, ours",
        IF_ABSENT,
        [LOST, LIMITED, REFUSED, OURS],
        "v-ours",
        "PUT PUT PUT HEAD",
    ),
    (
        "lost, refused, another's",
        IF_ABSENT,
        [LOST, REFUSED, OTHERS],
        OutcomeUnknownError,
        "PUT PUT HEAD",
    ),
    (
        "lost, refused, a stranger's",
        VERSION,
        [LOST, REFUSED, FOREIGN],
        OutcomeUnknownError,
        "PUT PUT HEAD",
    ),
    (
        "lost, refused, absent",
        IF_ABSENT,
        [LOST, REFUSED, ABSENT],
        OutcomeUnknownError,
        "PUT PUT HEAD",
    ),
    (
        "lost, refused, as before",
        VERSION,
        [LOST, REFUSED, STILL],
        OutcomeUnknownError,
        "PUT PUT HEAD",
    ),
    (
        "lost, refused, no answer",
        VERSION,
        [LOST, REFUSED, DENIED],
        OutcomeUnknownError,
        "PUT PUT HEAD",
    ),
    ("never an answer, ours", IF_ABSENT, [LOST, LOST, BROKEN, OURS], "v-ours", "PUT PUT PUT HEAD"),
    (
        "never an answer, as before",
        VERSION,
        [LOST, LOST, LOST, STILL],
        OutcomeUnknownError,
        "PUT PUT PUT HEAD",
    ),
    (
        "never an answer, absent",
        IF_ABSENT,
        [LOST, LOST, LOST, ABSENT],
        OutcomeUnknownError,
        "PUT PUT PUT HEAD",
    ),
    (
        "lost, then limited for good, ours",
        VERSION,
        [LOST, LIMITED, LIMITED, OURS],
        "v-ours",
        "PUT PUT PUT HEAD",
    ),
    ("unconditional, lost, then stored", ANY, [LOST, OK], "v-new", "PUT PUT"),
    (
        "unconditional, never an answer, ours",
        ANY,
        [LOST, LOST, LOST, OURS],
        "v-ours",
        "PUT PUT PUT HEAD",
    ),
    (
        "unconditional, never an answer, another's",
        ANY,
        [LOST, LOST, LOST, OTHERS],
        OutcomeUnknownError,
        "PUT PUT PUT HEAD",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_every_row(case: tuple[str, Condition, list[bytes | None], Any, str]) -> None:
    """The result is the one that the table names, by the requests that it names and no others."""
    _, condition, answers, outcome, sent = case

    async def main() -> None:
        async with Scripted(*answers) as server, opened(server.endpoint, attempts=3) as store:
            with tallied() as tally:
                (result,) = await store.put([put_of(condition=condition)])
            if isinstance(outcome, str):
                assert result == outcome
            else:
                assert type(result) is outcome
            assert " ".join(server.methods) == sent
            assert tally.requests == len(server.methods)

    asyncio.run(main())


def test_without_a_token_a_doubtful_put_stays_unknown() -> None:
    """There is nothing to recognise it by, so nothing is asked."""

    async def main() -> None:
        async with Scripted(LOST, REFUSED) as server, opened(server.endpoint) as store:
            (result,) = await store.put([put_of(token=None, condition=IF_ABSENT)])
            assert type(result) is OutcomeUnknownError
            assert server.methods == ["PUT", "PUT"]

    asyncio.run(main())


@pytest.mark.parametrize("data", [b"{}", b""], ids=["a document", "an empty object"])
def test_a_put_on_a_kept_connection_is_not_sent_twice_unseen(data: bytes) -> None:
    """Aiohttp would send a PUT again by itself when a kept connection breaks."""

    async def main() -> None:
        async with (
            Scripted(answer(404, "NoSuchKey"), LOST, OK) as server,
            opened(server.endpoint, attempts=1, concurrency=1) as store,
        ):
            assert await store.get(["warm"]) == [None]
            (result,) = await store.put([put_of(data=data, token=None)])
            assert type(result) is OutcomeUnknownError
            assert server.methods == ["GET", "PUT"]

    asyncio.run(main())


def test_a_reset_connection_may_have_carried_out_the_put() -> None:
    """Aiobotocore calls it an endpoint that can't be connected to, which would be `not sent`."""

    async def main() -> None:
        async with (
            Scripted(Scripted.RESET) as server,
            opened(server.endpoint, attempts=1) as store,
        ):
            (result,) = await store.put([put_of(token=None)])
            assert type(result) is OutcomeUnknownError

    asyncio.run(main())


def test_where_nobody_listens_nothing_was_sent() -> None:
    """A connection that was refused leaves no doubt."""

    async def main() -> None:
        async with Scripted(OK) as server:
            endpoint = server.endpoint
        async with opened(endpoint, attempts=2) as store:
            (result,) = await store.put([put_of()])
            assert type(result) is NotSentError
            assert store.resilience.breaker.status.last_error == "NotSentError"

    asyncio.run(main())


def test_a_put_that_never_got_a_connection_was_not_sent() -> None:
    """Time that ran out in the queue leaves no doubt."""

    async def main() -> None:
        async with (
            Scripted(OK) as server,
            opened(server.endpoint, concurrency=1, deadline_seconds=0.1, attempts=1) as store,
        ):
            taken, over = asyncio.Event(), asyncio.Event()

            async def keep(_: S3Client) -> None:
                taken.set()
                await over.wait()

            keeping = asyncio.create_task(store.sender.send(Call(), keep))
            await taken.wait()
            (late,) = await store.put([put_of()])
            assert type(late) is DeadlineExceededError
            over.set()
            await keeping
            assert server.seen == []

    asyncio.run(main())


def test_only_absence_and_versions_are_conditions() -> None:
    """What R2 is not asked to judge is refused before anything is sent."""

    async def main() -> None:
        async with Scripted(OK) as server, opened(server.endpoint) as store:
            (result,) = await store.put([put_of(condition=IF_PRESENT)])
            assert isinstance(result, StorageError)
            assert server.seen == []

    asyncio.run(main())


# --- on a real store ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoS3]:
    """An S3 server."""
    server = MotoS3()
    yield server
    server.stop()


@pytest.fixture
def proxy(moto: MotoS3) -> Iterator[FaultProxy]:
    """A proxy before it."""
    with FaultProxy(moto.host, moto.port) as proxy:
        yield proxy


@pytest.mark.parametrize("landed", [True, False], ids=["carried out", "not carried out"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("first", ["create", "replace"])
@pytest.mark.parametrize("how", ["dropped", "500"])
def test_lost_answers_on_a_real_store(
    moto: MotoS3, proxy: FaultProxy, landed: bool, times: int, first: str, how: str
) -> None:
    """Whether the lost attempts were carried out or not, the put is stored, once, and known so."""
    bucket = moto.make_bucket()
    fault = Drop(after=landed) if how == "dropped" else Answer(500, after=landed)

    async def main() -> None:
        async with opened(proxy.endpoint, bucket) as store:
            condition: Condition = IF_ABSENT
            if first == "replace":
                (version,) = await store.put([put_of(token="t0")])
                assert isinstance(version, str)
                condition = IfVersion(version)
            proxy.break_next(fault, method="PUT", times=times)
            mine = ObjectPut(
                key="a.json",
                data=b'{"mine":true}',
                metadata=Metadata(token="mine"),
                condition=condition,
            )
            (stored,) = await store.put([mine])
            (found,) = await store.get(["a.json"])
            assert found is not None
            assert not isinstance(found, StorageError)
            assert (found.version, found.data, found.metadata.token) == (
                stored,
                mine.data,
                "mine",
            )

    asyncio.run(main())


def test_of_racing_creators_one_wins_whatever_breaks(moto: MotoS3, proxy: FaultProxy) -> None:
    """Each is told the truth: one stored, the others that there is one already, or unknown."""
    bucket = moto.make_bucket()
    proxy.break_some(7, 0.3, Drop(), Drop(after=True), Answer(500, after=True))

    async def main() -> None:
        async with opened(proxy.endpoint, bucket) as store:
            for key in ("a", "b", "c", "d"):
                puts = [
                    put_of(key, f'"{number}"'.encode(), f"{key}{number}", condition=IF_ABSENT)
                    for number in range(8)
                ]
                results = await store.put(puts)
                (found,) = await store.get([key])
                assert found is not None
                assert not isinstance(found, StorageError)
                for put, result in zip(puts, results, strict=True):
                    if put.data == found.data:
                        assert result == found.version
                    else:
                        assert isinstance(result, (ConflictError, OutcomeUnknownError))

    asyncio.run(main())
