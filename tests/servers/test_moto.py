"""The local S3 is as R2 is where it matters: conditions of racing puts are judged one by one."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor

from tests.servers.moto import MotoS3

# It is not verified, but without one moto takes a request for that of a browser.
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/auto/s3/aws4_request"}


def put(moto: MotoS3, path: str, body: bytes, **headers: str) -> tuple[int, str]:
    """Send one put; returns the status and the new version."""
    connection = http.client.HTTPConnection(moto.host, moto.port, timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("PUT", path, body, {**SIGNED, **named})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["ETag"] or ""
    finally:
        connection.close()


def test_one_of_many_racing_creates_wins(moto: MotoS3, moto_bucket: str) -> None:
    """Whatever their number, one put that must be the first succeeds."""
    with ThreadPoolExecutor(16) as pool:
        for number in range(10):
            path = f"/{moto_bucket}/key-{number}"
            racing = [pool.submit(put, moto, path, b"%d" % n, If_None_Match="*") for n in range(16)]
            statuses = sorted(each.result()[0] for each in racing)
            assert statuses == [200] + [412] * 15


def test_one_of_many_racing_replacements_wins(moto: MotoS3, moto_bucket: str) -> None:
    """Of several puts that replace the same version one succeeds."""
    path = f"/{moto_bucket}/key"
    _, version = put(moto, path, b"first")
    with ThreadPoolExecutor(16) as pool:
        for turn in range(10):
            racing = [
                pool.submit(
                    put, moto, f"/{moto_bucket}/key", b"%d %d" % (turn, n), If_Match=version
                )
                for n in range(16)
            ]
            results = [each.result() for each in racing]
            assert sorted(status for status, _ in results) == [200] + [412] * 15
            (version,) = [new for status, new in results if status == 200]


def test_what_was_planted_is_served(moto: MotoS3, moto_bucket: str) -> None:
    """Objects put behind the server's back are there as if they had been sent."""
    moto.plant(moto_bucket, {"a/b.json": b"1"})
    assert moto.keys(moto_bucket) == ["a/b.json"]
    assert put(moto, f"/{moto_bucket}/a/b.json", b"2", If_None_Match="*")[0] == 412
    assert put(moto, f"/{moto_bucket}/c", b"3")[0] == 200
    assert moto.data(moto_bucket, "c") == b"3"
