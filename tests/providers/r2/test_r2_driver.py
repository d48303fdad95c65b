"""The driver for R2: verbs, limits, what goes over the wire, secrets, clients of others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aioboto3  # type: ignore[import-untyped]
import pytest
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]

from storage_providers import CloudflareR2Provider
from storage_providers._requests import tallied
from storage_providers._secrets import Secret
from storage_providers.errors import (
    AuthenticationError,
    ConfigurationError,
    CorruptItemError,
    DocumentTooLargeError,
    InvalidArgumentError,
    ProviderClosedError,
    StorageError,
    TransportError,
)
from storage_providers.providers._objects import Metadata, ObjectPut
from storage_providers.providers._r2 import R2Config, R2Store, objects
from tests.providers.r2.r2_driver import NO_WAITING, Scripted, answer, config, opened, put_of
from tests.servers.moto import MotoS3

OK = answer(200, ETag='"v"')
HOSTILE = ["a/ü +%&#?=.json", "a/../x", "a//b", "a/\x01\x1f.json", "a/<&>'\".json", "a/日本.json"]


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoS3]:
    """An S3 server."""
    server = MotoS3()
    yield server
    server.stop()


# --- verbs -------------------------------------------------------------------------------------


def test_objects_come_back_as_they_were_put(moto: MotoS3) -> None:
    """Bytes, metadata and version; one entry per key, in order, nothing where nothing is."""
    bucket = moto.make_bucket()
    puts = [
        put_of("a.json", b'{"a":1}'),
        ObjectPut(
            key="b.json",
            data=b"{}\x00\xff",
            metadata=Metadata(token="t", encoding="gzip", visible_bytes=2),
        ),
        put_of("empty", b""),
        put_of("large", b"x" * 3_000_000),
    ]

    async def main() -> None:
        async with opened(moto.endpoint, bucket) as store:
            versions = await store.put(puts)
            found = await store.get(["large", "none", "a.json", "b.json", "empty"])
            assert found[1] is None
            by_key = {each.key: each for each in found if not isinstance(each, StorageError | None)}
            for put, version in zip(puts, versions, strict=True):
                stored = by_key[put.key]
                assert (stored.data, stored.metadata, stored.version) == (
                    put.data,
                    put.metadata,
                    version,
                )
                assert '"' not in stored.version

    asyncio.run(main())


def test_hostile_keys_reach_their_own_object(moto: MotoS3) -> None:
    """Whatever a key holds, it is written, read, listed and removed under that name."""
    bucket = moto.make_bucket()

    async def main() -> None:
        async with opened(moto.endpoint, bucket) as store:
            await store.put([put_of(key, key.encode()) for key in HOSTILE])
            assert moto.keys(bucket) == sorted(HOSTILE)
            found = await store.get(HOSTILE)
            assert [each.data for each in found if not isinstance(each, StorageError | None)] == [
                key.encode() for key in HOSTILE
            ]
            listed = await store.list("a/")
            assert [entry.key for entry in listed.entries] == sorted(HOSTILE)
            assert await store.delete([*HOSTILE, "none", HOSTILE[0]]) == [None] * 8
            assert moto.keys(bucket) == []

    asyncio.run(main())


def test_listings_page_start_anywhere_and_fold(moto: MotoS3) -> None:
    """Prefix, start, limit, cursor and delimiter; lines carry keys and versions."""
    bucket = moto.make_bucket()
    keys = [f"n/{number:03}" for number in range(25)]
    moto.plant(bucket, dict.fromkeys([*keys, "n/sub/1", "o/1", "top"], b"x"))

    async def main() -> None:
        async with opened(moto.endpoint, bucket) as store:
            seen: list[str] = []
            cursor = None
            for limit in (10, 10, 10):
                with tallied() as tally:
                    page = await store.list("n/", limit=limit, cursor=cursor)
                assert tally.requests == 1
                seen += [entry.key for entry in page.entries]
                cursor = page.cursor
            assert cursor is None
            assert seen == [*keys, "n/sub/1"]
            after = await store.list("n/", after="n/022")
            assert [entry.key for entry in after.entries] == ["n/023", "n/024", "n/sub/1"]
            folded = await store.list("", delimiter="/")
            assert folded.folders == ["n/", "o/"]
            assert [entry.key for entry in folded.entries] == ["top"]
            (read,) = await store.get(["top"])
            assert not isinstance(read, StorageError | None)
            assert folded.entries[0].version == read.version
            assert (await store.list("nothing/")).entries == []

    asyncio.run(main())


def test_deletes_go_a_thousand_at_a_time(moto: MotoS3) -> None:
    """2,500 keys are three requests, and one key is one."""
    bucket = moto.make_bucket()
    keys = [f"{number}" for number in range(2_500)]
    moto.plant(bucket, dict.fromkeys(keys, b"x"))

    async def main() -> None:
        async with opened(moto.endpoint, bucket) as store:
            with tallied() as tally:
                assert await store.delete(keys) == [None] * len(keys)
            assert tally.requests == 3
            assert await store.delete(["one"]) == [None]
            assert await store.delete([]) == []
            assert moto.keys(bucket) == []

    asyncio.run(main())


def test_a_stranger_s_object_reads_fine(moto: MotoS3) -> None:
    """An object without our metadata has no token."""
    bucket = moto.make_bucket()
    moto.plant(bucket, {"theirs": b"text"})

    async def main() -> None:
        async with opened(moto.endpoint, bucket) as store:
            (found,) = await store.get(["theirs"])
            assert not isinstance(found, StorageError | None)
            assert (found.data, found.metadata) == (b"text", Metadata())

    asyncio.run(main())


@pytest.mark.parametrize("visible", ["x", "-1", "5", "1.0", "", "9" * 30])
def test_metadata_that_can_t_be_true_is_a_corrupt_item(visible: str) -> None:
    """`visible-bytes` has to be a number up to the object's size; other objects are unaffected."""

    async def main() -> None:
        bad = answer(200, body=b"1234", ETag='"v"', x_amz_meta_visible_bytes=visible)
        good = answer(200, body=b"1234", ETag='"v"', x_amz_meta_visible_bytes="4")
        async with Scripted(bad, good) as server, opened(server.endpoint, concurrency=1) as store:
            broken, fine = await store.get(["k1", "k2"])
            assert isinstance(broken, CorruptItemError)
            assert broken.source == "k1"
            assert not isinstance(fine, StorageError | None)
            assert fine.metadata.visible_bytes == 4

    asyncio.run(main())


# --- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("put", "error", "words"),
    [
        (put_of("k" * 1025), InvalidArgumentError, "1025 bytes long, R2 accepts 1 to 1024"),
        (put_of("ü" * 513), InvalidArgumentError, "1026 bytes"),
        (put_of(""), InvalidArgumentError, "0 bytes"),
        (put_of("a\ud800"), InvalidArgumentError, "surrogate"),
        (put_of(token="t" * 8_188), InvalidArgumentError, "8193 bytes, R2 accepts 8192"),
        (put_of(token="t\r\nx-evil: 1"), InvalidArgumentError, "header"),
        (put_of(token="ü"), InvalidArgumentError, "header"),
    ],
)
def test_limits_are_kept_before_a_byte_moves(
    put: ObjectPut, error: type[StorageError], words: str
) -> None:
    """Too long is refused here, with the numbers."""

    async def main() -> None:
        async with Scripted(OK) as server, opened(server.endpoint) as store:
            refused, fine = await store.put([put, put_of("k" * 1024, token="t" * 8_187)])
            assert type(refused) is error
            assert words in str(refused)
            assert fine == "v"
            assert len(server.seen) == 1
            if put.key != "a.json":
                (found,) = await store.get([put.key])
                (removed,) = await store.delete([put.key])
                assert type(found) is type(removed) is error

    asyncio.run(main())


def test_a_body_beyond_one_put_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a single PUT, lowered so that no gigabytes are made."""
    monkeypatch.setattr(objects, "MAX_OBJECT_BYTES", 10)

    async def main() -> None:
        async with Scripted(OK) as server, opened(server.endpoint) as store:
            (refused,) = await store.put([put_of(data=b"x" * 11)])
            assert isinstance(refused, DocumentTooLargeError)
            assert (refused.size_bytes, refused.limit_bytes) == (11, 10)
            assert server.seen == []

    asyncio.run(main())


# --- over the wire -----------------------------------------------------------------------------


def test_a_put_is_one_plain_request() -> None:
    """No checksum, no pieces, no wait for leave to continue; the path holds bucket and key."""

    async def main() -> None:
        async with Scripted(OK) as server, opened(server.endpoint) as store:
            encoded = Metadata(token="t", encoding="gzip", visible_bytes=1)
            await store.put([put_of("f/a b.json", b'{"a":1}')])
            await store.put([ObjectPut(key="b", data=b"xy", metadata=encoded)])
            await store.put([put_of("c", b"")])
            await store.put([put_of("d", b"z" * 700_000)])
            await store.delete(["one"])
            heads = [message.head.lower() for message in server.seen]
            for head in heads:
                for unwanted in (b"x-amz-checksum", b"aws-chunked", b"expect:", b"chunked"):
                    assert unwanted not in head
            assert heads[0].startswith(b"put /bucket/f/a%20b.json http/1.1")
            assert b"content-type: application/json" in heads[0]
            assert b"x-amz-meta-token: t1" in heads[0]
            assert b"/auto/s3/aws4_request" in heads[0]
            assert b"user-agent: storage-providers" in heads[0]
            assert b"content-type: application/octet-stream" in heads[1]
            assert b"x-amz-meta-encoding: gzip" in heads[1]
            assert b"x-amz-meta-visible-bytes: 1" in heads[1]
            assert b"content-length: 0" in heads[2]
            assert b"content-type" not in heads[2]
            assert server.seen[0].body == b'{"a":1}'
            assert server.seen[3].body == b"z" * 700_000

    asyncio.run(main())


def test_no_more_is_in_flight_than_there_are_connections() -> None:
    """Several calls at once share the store's connections; their tasks end with them."""

    async def main() -> None:
        async with Scripted(OK) as server, opened(server.endpoint, concurrency=3) as store:
            before = len(asyncio.all_tasks())
            puts = [put_of(str(number)) for number in range(20)]
            server.hold = asyncio.Event()
            both = [asyncio.create_task(store.put(puts)) for _ in range(2)]
            await server.has_seen(3)
            for _ in range(50):  # Time for a fourth to come, if there were one.
                await asyncio.sleep(0)
            assert (server.in_flight, len(server.seen)) == (3, 3)
            server.hold.set()
            for task in both:
                assert await task == ["v"] * 20
            assert (server.most_in_flight, len(server.seen)) == (3, 40)

            server.hold = asyncio.Event()
            waiting = asyncio.create_task(store.put(puts))
            await server.has_seen(43)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            # Beside the server's own, one for each connection that there ever was.
            assert len(asyncio.all_tasks()) - before <= server.connections

    asyncio.run(main())


@pytest.mark.parametrize(
    "said",
    [
        answer(200, body=b"x" * 10, ETag='"v"').replace(b": 10", b": 20") + Scripted.CUT,
        answer(200, body=b"", ETag='"v"').replace(b": 0", b": 20") + Scripted.CUT,
        b'HTTP/1.1 200 OK\r\nETag: "v"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'
        + Scripted.CUT,
    ],
    ids=["half", "none", "chunks"],
)
def test_a_body_that_is_cut_off_is_never_returned(said: bytes) -> None:
    """It is read again, and if it stays so, an error."""

    async def main() -> None:
        whole = answer(200, body=b"whole", ETag='"v"')
        async with Scripted(said, said, whole) as server, opened(server.endpoint) as store:
            (found,) = await store.get(["k"])
            assert not isinstance(found, StorageError | None)
            assert found.data == b"whole"
        async with Scripted(said) as server, opened(server.endpoint, attempts=2) as store:
            (lost,) = await store.get(["k"])
            assert type(lost) is TransportError
            assert server.methods[0] == "GET"

    asyncio.run(main())


LISTED = (
    b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Contents><Key>a%2Bb+c</Key>"
    b"<ETag>&quot;v&quot;</ETag></Contents></ListBucketResult>"
)


@pytest.mark.parametrize(
    "body",
    [
        LISTED[:-9],
        b"",
        b"<html>wait</html>",
        LISTED.replace(b">false<", b">true<"),
        b"<Error><Code>InternalError</Code></Error>",
    ],
    ids=["cut", "empty", "another document", "no cursor", "an error"],
)
def test_a_listing_is_whole_or_an_error(body: bytes) -> None:
    """HTTP 200 alone says nothing: half a listing would hide documents."""

    async def main() -> None:
        said = answer(200, body=body)
        whole = answer(200, body=LISTED)
        async with Scripted(said, whole) as server, opened(server.endpoint) as store:
            (entry,) = (await store.list("")).entries
            assert (entry.key, entry.version) == ("a+b c", "v")
        async with Scripted(said) as server, opened(server.endpoint, attempts=2) as store:
            with pytest.raises(TransportError):
                await store.list("")

    asyncio.run(main())


def _deletion(*refused: tuple[str, str]) -> bytes:
    lines = "".join(
        f"<Error><Key>{key}</Key><Code>{code}</Code><Message>m</Message></Error>"
        for key, code in refused
    )
    text = (
        '<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Deleted><Key>a</Key>'
        f"</Deleted>{lines}</DeleteResult>"
    )
    return answer(200, body=text.encode())


def test_refused_keys_of_a_deletion_are_told_apart() -> None:
    """HTTP 200 with errors in it: some are tried again, alone, others are final."""

    async def main() -> None:
        first = _deletion(("b", "AccessDenied"), ("c", "InternalError"), ("d", "SlowDown"))
        answers = first, _deletion(("d", "SlowDown")), answer(204)
        async with Scripted(*answers) as server, opened(server.endpoint) as store:
            a, b, c, d = await store.delete(["a", "b", "c", "d"])
        assert a is None
        assert type(b).__name__ == "PermissionDeniedError"
        assert c is d is None
        assert server.methods == ["POST", "POST", "DELETE"]
        assert b"<Key>a</Key>" not in server.seen[1].body
        assert b"<Key>b</Key>" not in server.seen[1].body

    asyncio.run(main())


def test_wrong_credentials_concern_the_whole_call() -> None:
    """They are raised once, and what was not begun is not sent."""

    async def main() -> None:
        puts = [put_of(str(number)) for number in range(100)]
        bad = answer(401, "Unauthorized")
        async with Scripted(bad) as server, opened(server.endpoint, concurrency=4) as store:
            with pytest.raises(AuthenticationError):
                await store.put(puts)
            assert len(server.seen) <= 4
        async with Scripted(OK, bad) as server, opened(server.endpoint, concurrency=1) as store:
            results = await store.put(puts[:3])
            assert results[0] == "v"
            assert all(isinstance(result, AuthenticationError) for result in results[1:])
            assert results[1] is not results[2]
            assert len(server.seen) == 2

    asyncio.run(main())


# --- secrets -----------------------------------------------------------------------------------


def test_no_level_of_logging_shows_secrets_or_documents(caplog: pytest.LogCaptureFixture) -> None:
    """Boto logs bodies, signatures and tokens at DEBUG; of our calls nothing of that."""
    caplog.set_level(logging.DEBUG)
    secret_body = b'{"diary":"dear-diary"}'

    async def main() -> None:
        listing = answer(200, body=LISTED)
        stored = answer(200, body=secret_body, ETag='"v"')
        async with Scripted(OK, stored, listing, answer(403, "SignatureDoesNotMatch")) as server:
            async with opened(server.endpoint, session_token="session-token") as store:
                await store.put([put_of(data=secret_body)])
                await store.get(["k"])
                await store.list("")
                with pytest.raises(AuthenticationError) as raised:
                    await store.get(["k"])
                assert "very-secret" not in repr(raised.value)
            assert b"x-amz-security-token: session-token" in server.seen[0].head.lower()

    asyncio.run(main())
    told = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert caplog.records
    for word in ("very-secret", "session-token", "dear-diary", "Signature=", "AKIDEXAMPLE"):
        assert word not in told, word


def test_secrets_are_masked_in_every_repr() -> None:
    """Configuration, store and provider show where, not with what."""
    told = R2Config(
        bucket="bucket",
        account_id="0" * 32,
        access_key_id=Secret("AKIDEXAMPLE"),
        secret_access_key="very-secret",
        session_token="session-token",
    )
    provider = CloudflareR2Provider(
        "bucket",
        prefix="kept",
        account_id="0" * 32,
        access_key_id="AKIDEXAMPLE",
        secret_access_key="very-secret",
    )
    for shown in (repr(told), repr(R2Store(told)), repr(provider), str(told)):
        assert "bucket" in shown
        for word in ("AKIDEXAMPLE", "very-secret", "session-token"):
            assert word not in shown


# --- where it is -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({"account_id": "A" * 32}, f"https://{'a' * 32}.r2.cloudflarestorage.com"),
        (
            {"account_id": "a" * 32, "jurisdiction": "eu"},
            f"https://{'a' * 32}.eu.r2.cloudflarestorage.com",
        ),
        (
            {"account_id": "a" * 32, "jurisdiction": "fedramp"},
            f"https://{'a' * 32}.fedramp.r2.cloudflarestorage.com",
        ),
        ({"endpoint_url": "https://example.com/"}, "https://example.com"),
        ({"endpoint_url": "http://127.0.0.1:80/s3"}, "http://127.0.0.1:80/s3"),
        ({"endpoint_url": "http://[::1]:80"}, "http://[::1]:80"),
        ({"endpoint_url": "http://localhost:80"}, "http://localhost:80"),
    ],
)
def test_endpoints(given: dict[str, Any], endpoint: str) -> None:
    """Made from the account and its jurisdiction, or given."""
    assert R2Config(bucket="bucket", **given).endpoint() == endpoint


WHERE: dict[str, Any] = {"account_id": "a" * 32, "access_key_id": "k", "secret_access_key": "s"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"bucket": "No"}, "bucket is"),
        ({"bucket": "a/b"}, "bucket is"),
        ({"account_id": "short"}, "account_id"),
        ({"account_id": None}, "account_id"),
        ({"jurisdiction": "moon"}, "jurisdiction"),
        ({"endpoint_url": "https://example.com"}, "must not be"),
        ({"account_id": None, "endpoint_url": "http://example.com"}, "plain http"),
        ({"account_id": None, "endpoint_url": "ftp://example.com"}, "no URL"),
        ({"account_id": None, "endpoint_url": "https://u:p@example.com"}, "credentials"),
        ({"account_id": None, "endpoint_url": "https://example.com?x"}, "query"),
        ({"account_id": None, "endpoint_url": "https://example.com:x"}, "no URL"),
        ({"account_id": None, "endpoint_url": "https://exam ple.com"}, "no URL"),
        ({"access_key_id": None}, "no access_key_id"),
        ({"secret_access_key": ""}, "no secret_access_key"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 5000}, "concurrency"),
        ({"connect_timeout_seconds": 0}, "connect_timeout_seconds"),
        ({"read_timeout_seconds": float("nan")}, "read_timeout_seconds"),
        ({"deadline_seconds": float("inf")}, "deadline_seconds"),
        ({"deadline_seconds": 61}, "the most is 60"),
        ({"prefix": "../x"}, "prefix"),
    ],
)
def test_wrong_arguments_are_refused_at_once(given: dict[str, Any], words: str) -> None:
    """With the one to change, before anything is opened."""
    arguments = {"bucket": "bucket", **WHERE, **given}
    with pytest.raises(ConfigurationError, match=words) as raised:
        CloudflareR2Provider(**arguments)
    assert ":p@" not in str(raised.value)


def test_without_aioboto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """At construction, and not at the first request."""
    monkeypatch.setattr("storage_providers.providers._r2.config.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'storage-providers\[r2\]'"):
        CloudflareR2Provider("bucket", **WHERE)


def test_a_closed_store_says_so(moto: MotoS3) -> None:
    """Before it is opened and after it was closed, twice."""

    async def main() -> None:
        store = R2Store(config(moto.endpoint), timing=NO_WAITING)
        (unopened,) = await store.get(["k"])
        assert isinstance(unopened, ProviderClosedError)
        await store.open()
        await store.close()
        await store.close()
        with pytest.raises(ProviderClosedError):
            await store.list("")

    asyncio.run(main())


# --- borrowed clients --------------------------------------------------------------------------

GOOD = AioConfig(
    max_pool_connections=8,
    retries={"total_max_attempts": 1},
    request_checksum_calculation="when_required",
)


@asynccontextmanager
async def client_of(endpoint: str, options: AioConfig) -> AsyncGenerator[Any]:
    """A client of somebody else."""
    session = aioboto3.Session()
    async with session.client(
        "s3",
        endpoint_url=endpoint,
        region_name="auto",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=options,
    ) as client:
        yield client


def test_a_borrowed_client_is_left_as_it_was(moto: MotoS3) -> None:
    """Two stores share it; its owner's calls are its own, also after both are closed."""
    bucket = moto.make_bucket()

    async def main() -> None:
        async with client_of(moto.endpoint, GOOD) as client:
            borrowed: dict[str, Any] = {"client": client, "concurrency": 8}
            async with opened(moto.endpoint, bucket, **borrowed) as one:
                async with opened(moto.endpoint, bucket, **borrowed) as other:
                    await one.put([put_of("a")])
                    assert (await other.get(["a"]))[0] is not None
                    await client.put_object(Bucket=bucket, Key="b", Body=b"theirs")
                found = await client.get_object(Bucket=bucket, Key="b")
                async with found["Body"] as body:
                    assert await body.read() == b"theirs"
                assert "LastModified" in found
                assert len((await one.list("")).entries) == 2
            listed = await client.list_objects_v2(Bucket=bucket)
            assert [each["Key"] for each in listed["Contents"]] == ["a", "b"]
            assert moto.keys(bucket) == ["a", "b"]

    asyncio.run(main())


def test_certificates_are_read_where_they_matter(
    moto: MotoS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for plain http, which is taken of this machine only; https is checked against them."""
    read: list[object] = []

    def path_of(verify: object) -> None:
        read.append(verify)

    monkeypatch.setattr("aiobotocore.httpsession.get_cert_path", path_of)

    async def main(endpoint: str) -> None:
        async with opened(endpoint, bucket) as store:
            await store.get(["a"])  # Nobody answers at the second.

    bucket = moto.make_bucket()
    asyncio.run(main(moto.endpoint))
    assert read == []
    asyncio.run(main("https://127.0.0.1:9"))
    assert [bool(each) for each in read] == [True]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (GOOD.merge(AioConfig(max_pool_connections=7)), "7 connections for 8"),
        (AioConfig(max_pool_connections=8, request_checksum_calculation="when_required"), "again"),
        (AioConfig(max_pool_connections=8, retries={"total_max_attempts": 1}), "checksums"),
    ],
    ids=["connections", "retries", "checksums"],
)
def test_a_client_that_would_do_harm_is_refused(options: AioConfig, words: str) -> None:
    """Too few connections, retries of its own, checksums that R2 refuses."""

    async def main() -> None:
        async with client_of("http://127.0.0.1:9", options) as client:
            with pytest.raises(ConfigurationError, match=words):
                R2Store(config("http://127.0.0.1:9", concurrency=8), client=client)

    asyncio.run(main())
