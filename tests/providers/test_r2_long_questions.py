"""Questions for values longer than a key: they are answered, and R2 is not asked wrongly."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from storage_providers import CloudflareR2Provider, CollectionSpec, Index
from storage_providers.providers._r2.objects import LIMITS, beginning_of
from tests.providers.r2.r2_driver import Scripted, answer, opened
from tests.servers.moto import MotoS3

NO_KEYS = (
    b"<ListBucketResult><EncodingType>url</EncodingType>"
    b"<IsTruncated>false</IsTruncated></ListBucketResult>"
)


class AtOnce(CloudflareR2Provider):
    """Builds indexes without waiting for other processes: there are none."""

    settle_seconds: ClassVar[float] = 0.0


@pytest.mark.parametrize(
    ("where", "order_by", "ids"),
    [
        ({"status": "x" * 50_000}, (), []),
        ({"status": {"$prefix": "é" * 1_000}}, (), []),
        ({"status": {"$gt": "a" * 50_000}}, (), ["a"]),
        ({"status": {"$lt": "z" * 50_000}}, "-status", ["a"]),
        ({"id": {"$prefix": "y" * 3_000}}, (), []),
        ({"id": {"$gt": "A" * 50_000}}, (), ["a"]),
        ({"id": {"$gt": "é" * 50_000}}, (), []),
    ],
)
def test_long_values(
    moto: MotoS3, moto_bucket: str, where: Any, order_by: str | tuple[()], ids: list[str]
) -> None:
    """With an index and without."""

    async def main() -> None:
        provider = AtOnce(
            moto_bucket,
            endpoint_url=moto.endpoint,
            access_key_id="key",
            secret_access_key="secret",
        )
        async with provider:
            for name in ("indexed", "plain"):
                await provider.put_item(name, {"id": "a", "status": "open"})
            indexes = (Index.of("status"), Index.of("-status"))
            await provider.declare(CollectionSpec(collection="indexed", indexes=indexes))
            await provider.build_indexes("indexed")
            for name in ("indexed", "plain"):
                page = await provider.list_items(name, where=where, order_by=order_by)
                assert [item.id for item in page.items] == ids

    asyncio.run(main())


def test_what_no_key_can_begin_with_is_not_asked_for() -> None:
    """And what a listing starts behind fits into a key."""

    async def main() -> None:
        async with (
            Scripted(answer(200, body=NO_KEYS)) as server,
            opened(server.endpoint) as store,
        ):
            limit = LIMITS.max_key_bytes
            assert (await store.list("x" * (limit + 1))).entries == []
            assert server.seen == []
            await store.list("x", after="x" * 5_000)
            (seen,) = server.seen
            (after,) = parse_qs(urlsplit(seen.target).query)["start-after"]
            assert after == "x" * limit

    asyncio.run(main())


def test_beginnings() -> None:
    """Nothing is cut in the middle of a character, and what fits is left alone."""
    limit = LIMITS.max_key_bytes
    assert beginning_of("é" * (limit // 2)) == "é" * (limit // 2)
    assert beginning_of("x" + "é" * limit) == "x" + "é" * (limit // 2 - 1)
    assert beginning_of("") == ""
