"""Answers that are not of R2: of a proxy, a login page, another service. None is taken for data."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from storage_providers import CloudflareR2Provider, open_provider
from storage_providers.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    StorageError,
    TransportError,
)
from storage_providers.providers._r2 import client as client_module
from storage_providers.providers._r2.config import R2Config
from storage_providers.providers._r2.provisioning import provision
from storage_providers.resilience import NotSentError
from tests.providers.r2.r2_driver import Scripted, answer, opened, put_of
from tests.servers.moto import MotoS3

PAGE = b"<html><body>Not here</body></html>"
ACCOUNT = "0123456789abcdef0123456789abcdef"


def test_a_page_that_is_not_found_is_no_missing_object() -> None:
    """A 404 without a code of S3 is another's: nothing is known, so nothing is answered."""

    async def main() -> None:
        async with (
            Scripted(answer(404, body=PAGE)) as server,
            opened(server.endpoint) as store,
        ):
            for call in (store.get(["k"]), store.delete(["k"]), store.put([put_of()])):
                with pytest.raises(ConfigurationError, match=r"'bucket' is not at http://127.+404"):
                    await call
            with pytest.raises(ConfigurationError, match="endpoint_url"):
                await provision(store, dry_run=False)

    asyncio.run(main())


def test_a_missing_object_is_none() -> None:
    """The service names what is missing."""

    async def main() -> None:
        async with (
            Scripted(answer(404, "NoSuchKey")) as server,
            opened(server.endpoint) as store,
        ):
            assert await store.get(["k"]) == [None]
            assert await store.delete(["k"]) == [None]

    asyncio.run(main())


def test_a_page_is_no_object_and_no_bucket() -> None:
    """A 200 that names no version was not the service's; a put that met it may have landed."""

    async def main() -> None:
        async with (
            Scripted(answer(200, body=PAGE)) as server,
            opened(server.endpoint, attempts=2) as store,
        ):
            (found,) = await store.get(["k"])
            assert type(found) is TransportError
            assert "no ETag" in str(found)
            (stored,) = await store.put([put_of()])
            assert type(stored) is OutcomeUnknownError
            with pytest.raises(TransportError, match="no S3 service"):
                await provision(store, dry_run=True)

    asyncio.run(main())


def test_a_refusal_to_remove_something_else_is_not_passed_over() -> None:
    """It may be said of a key of ours, written in another way."""
    told = b"<DeleteResult><Error><Key>B</Key><Code>AccessDenied</Code></Error></DeleteResult>"

    async def main() -> None:
        async with (
            Scripted(answer(200, body=told)) as server,
            opened(server.endpoint, attempts=1) as store,
        ):
            results = await store.delete(["a", "b"])
            assert [type(each) for each in results] == [OutcomeUnknownError] * 2
            assert "other keys" in str(results[0])

    asyncio.run(main())


def test_who_could_not_be_reached_is_named() -> None:
    """The address is what is wrong most often."""

    async def main() -> None:
        async with Scripted() as server:
            endpoint = server.endpoint
        async with opened(endpoint, attempts=1) as store:
            (found,) = await store.get(["k"])
            assert isinstance(found, NotSentError)
            assert endpoint in str(found)

    asyncio.run(main())


# --- names of buckets --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["my.bucket", "a.b", "a" * 63, "1.2.3", "a-.b"])
def test_names_of_s3(name: str) -> None:
    """Other servers' buckets may have dots."""
    config = R2Config(
        bucket=name,
        endpoint_url="https://s3.example",
        access_key_id="key",
        secret_access_key="secret",
    )
    config.check_reachable()
    assert config.bucket == name


@pytest.mark.parametrize("name", ["a..b", ".ab", "ab.", "a" * 64, "192.168.5.4", "A.b", "a_b", ""])
def test_names_that_s3_refuses(name: str) -> None:
    """They are refused here, with what a name is."""
    with pytest.raises(ConfigurationError, match="3 to 63"):
        R2Config(bucket=name, endpoint_url="https://s3.example")


def test_names_on_r2_have_no_dots() -> None:
    """The message says where they may."""
    with pytest.raises(ConfigurationError, match=r"no dots.*endpoint_url"):
        CloudflareR2Provider(
            "my.bucket", account_id=ACCOUNT, access_key_id="key", secret_access_key="secret"
        )


@pytest.mark.parametrize("path", ["/bucket", "/bucket/", "/storage/v1/s3/bucket"])
def test_the_address_of_the_bucket_is_no_endpoint(path: str) -> None:
    """The dashboard shows it; objects would be stored in a folder of the bucket's name."""
    with pytest.raises(ConfigurationError, match="leave that out"):
        CloudflareR2Provider(
            "bucket",
            endpoint_url=f"https://s3.example{path}",
            access_key_id="key",
            secret_access_key="secret",
        )


def test_a_bucket_with_dots(moto: MotoS3) -> None:
    """By its URL, from making it to reading and listing."""

    async def main() -> None:
        provider = open_provider(
            f"r2://my.dotted.bucket/p?endpoint_url={moto.endpoint}",
            access_key_id="key",
            secret_access_key="secret",
        )
        assert isinstance(provider, CloudflareR2Provider)
        assert [each.state for each in await provider.provision()] == ["made"]
        async with provider:
            await provider.create_item("todos", {"id": "a"})
            assert [item.id for item in (await provider.list_items("todos")).items] == ["a"]
            with pytest.raises(StorageError):
                await provider.create_item("todos", {"id": "a"})
            await provider.delete_item("todos", "a")

    asyncio.run(main())
    moto.drop_bucket("my.dotted.bucket")


# --- what boto is given, and what it reads by itself --------------------------------------------


@pytest.mark.parametrize("name", ["access_key_id", "secret_access_key", "session_token"])
@pytest.mark.parametrize("value", ["key\n", "a key", "a\r\nX-Own: header", "k\u00e9y", "\udcff"])
def test_credentials_that_no_header_holds(name: str, value: str) -> None:
    """They are refused at once, and not shown."""
    given: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=f"{name} holds") as caught:
        R2Config(bucket="bucket", endpoint_url="https://s3.example", **given)
    assert value not in str(caught.value)


@pytest.mark.parametrize("region", ["", "a b", "x\ny", "-a", "a-", "123", "a" * 64])
def test_regions(region: str) -> None:
    """Those that botocore would not take."""
    with pytest.raises(ConfigurationError, match="region is"):
        R2Config(bucket="bucket", endpoint_url="https://s3.example", region=region)


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_DEFAULTS_MODE", "bogus"), ("AWS_S3_US_EAST_1_REGIONAL_ENDPOINT", "bogus")],
)
def test_what_is_wrong_in_botos_own_variables(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """It is an error of ours, which says where to look."""
    monkeypatch.setenv(name, value)

    async def main() -> None:
        async with Scripted() as server:
            with pytest.raises(ConfigurationError, match="AWS_"):
                async with opened(server.endpoint):
                    pass

    asyncio.run(main())


def test_acceleration_in_botos_own_file_is_not_for_us(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is for AWS alone, and has nothing to do with the endpoint that is given."""
    own = tmp_path / "config"
    own.write_text("[default]\ns3 =\n    use_accelerate_endpoint = true\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(own))
    # Boto's session, which has read its file, is kept.
    client_module._session.cache_clear()

    async def main() -> None:
        async with (
            Scripted(answer(404, "NoSuchKey")) as server,
            opened(server.endpoint) as store,
        ):
            assert await store.get(["k"]) == [None]

    try:
        asyncio.run(main())
    finally:
        client_module._session.cache_clear()
