"""An S3 server of moto in a thread, and buckets on it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

__all__ = ["MotoS3"]

ACCOUNT: Final = "123456789012"
"""The account that moto gives to everybody."""


class MotoS3:
    """A running server. It takes any credentials.

    Attributes:
        endpoint: Its address.
    """

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self._numbers = itertools.count()
        self._backend = s3_backends[ACCOUNT]["aws"]

    @property
    def host(self) -> str:
        """Its host."""
        return str(urlsplit(self.endpoint).hostname)

    @property
    def port(self) -> int:
        """Its port."""
        return int(urlsplit(self.endpoint).port or 0)

    def make_bucket(self) -> str:
        """Make an empty bucket; returns its name."""
        name = f"bucket-{next(self._numbers)}"
        self._backend.create_bucket(name, region_name="us-east-1")
        return name

    def drop_bucket(self, name: str) -> None:
        """Remove a bucket and what is in it."""
        bucket = self._backend.buckets[name]
        for key in list(bucket.keys):
            bucket.keys.pop(key)
        self._backend.delete_bucket(name)

    def plant(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Put objects into a bucket without any request."""
        for key, data in objects.items():
            self._backend.put_object(bucket, key, data)

    def keys(self, bucket: str) -> list[str]:
        """The keys that are in a bucket, in order."""
        return sorted(self._backend.buckets[bucket].keys.keys())

    def data(self, bucket: str, key: str) -> bytes:
        """The bytes of an object."""
        return bytes(self._backend.buckets[bucket].keys[key].value)

    def stop(self) -> None:
        """End it."""
        self._server.stop()
