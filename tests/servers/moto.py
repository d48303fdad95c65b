"""An S3 server of moto in a thread, and buckets on it."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["MotoS3"]

ACCOUNT: Final = "123456789012"
"""The account that moto gives to everybody."""

_NUMBERS = itertools.count()
"""Names of buckets: all servers of a process share what they hold."""


class MotoS3:
    """A running server. It takes any credentials.

    Requests are carried out one at a time: moto itself looks at a put's condition and then stores,
    so that of several racing puts more than one could succeed, which R2 does not allow.

    Attributes:
        host: Its host.
        port: Its port.
    """

    def __init__(self) -> None:
        # Its line for every request would stand among the logs that tests look at.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._app = DomainDispatcherApplication(create_backend_app)
        self._turn = threading.Lock()
        self._server = make_server(
            "127.0.0.1", 0, self._serve, threaded=True, request_handler=MotoRequestHandler
        )
        self.host, self.port = "127.0.0.1", self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        self._backend = s3_backends[ACCOUNT]["aws"]

    def _serve(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        with self._turn:
            return list(self._app(environ, start))

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://{self.host}:{self.port}"

    def make_bucket(self, name: str = "") -> str:
        """Make an empty bucket; returns its name, which is invented if none is given."""
        name = name or f"bucket-{next(_NUMBERS)}"
        with self._turn:
            self._backend.create_bucket(name, region_name="us-east-1")
        return name

    def drop_bucket(self, name: str) -> None:
        """Remove a bucket and what is in it."""
        with self._turn:
            bucket = self._backend.buckets[name]
            for key in list(bucket.keys):
                bucket.keys.pop(key)
            self._backend.delete_bucket(name)

    def plant(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Put objects into a bucket without any request."""
        with self._turn:
            for key, data in objects.items():
                self._backend.put_object(bucket, key, data)

    def keys(self, bucket: str) -> list[str]:
        """The keys that are in a bucket, in order."""
        with self._turn:
            return sorted(self._backend.buckets[bucket].keys.keys())

    def data(self, bucket: str, key: str) -> bytes:
        """The bytes of an object."""
        with self._turn:
            return bytes(self._backend.buckets[bucket].keys[key].value)

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
