"""Checksums in trailers, which botocore sends over TLS by default and R2 refuses."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from tests.servers.certificate import make_certificate
from tests.servers.emulator import Emulator
from tests.servers.r2 import R2Place


class Secure(NamedTuple):
    """A workerd that speaks TLS."""

    emulator: Emulator
    authority: Path


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """Start one."""
    files = make_certificate(tmp_path_factory.mktemp("tls"))
    options = ["--https-key", str(files.key), "--https-cert", str(files.certificate)]
    try:
        emulator = Emulator(*options, "--slots", "1")
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)
    yield Secure(emulator, files.certificate)
    emulator.stop()


async def put(secure: Secure, config: Config) -> None:
    """Put one object with botocore as it is configured."""
    known = secure.emulator.known
    arguments: dict[str, Any] = {
        "endpoint_url": known.s3,
        "region_name": "auto",
        "aws_access_key_id": known.access_key_id,
        "aws_secret_access_key": known.secret_access_key,
        "verify": str(secure.authority),
        "config": config,
    }
    async with get_session().create_client("s3", **arguments) as client:
        await client.put_object(Bucket=known.buckets[0], Key="a", Body=b"x")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_botocore_as_it_comes_is_refused(secure: Secure) -> None:
    """The default sends the body in chunks with a trailer, which workerd can't store."""
    with pytest.raises(ClientError) as raised:
        asyncio.run(put(secure, Config(retries={"max_attempts": 0})))
    # Its broken TLS connection is left to the collector, which is not to wait for another test.
    gc.collect()
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500


def test_the_provider_is_not(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider's own settings store, read and list over TLS."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(secure.authority))
    known = secure.emulator.known
    place = R2Place(
        known.s3,
        known.buckets[0],
        access_key_id=known.access_key_id,
        secret_access_key=known.secret_access_key,
    )

    async def use() -> list[Any]:
        async with place.open() as provider:
            await provider.create_item("things", {"id": "a", "n": 1})
            await provider.update_item("things", "a", {"n": 2})
            found = [item.document["n"] async for item in provider.find_items("things")]
            await provider.delete_item("things", "a")
            return [*found, await provider.read_item("things", "a")]

    assert asyncio.run(use()) == [2, None]
