"""One request at a time to one bucket, on one long-lived client: `Sender`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any, Final, TypeVar
from urllib.parse import quote

from storage_providers._requests import count_request
from storage_providers.errors import ProviderClosedError, StorageError
from storage_providers.providers._r2.client import (
    CALL,
    Call,
    S3Client,
    check_borrowed,
    client_of,
    hook,
    unhook,
)
from storage_providers.providers._r2.config import R2Config
from storage_providers.providers._r2.errors import Refusal, broken, misconfigured, refused
from storage_providers.providers._r2.objects import checked_key
from storage_providers.resilience import Timing

__all__ = ["Sender"]

T = TypeVar("T")

_NOTHING: Final = ("NoSuchKey", "NotFound")
"""Codes of a 404 that mean that there is no such object. Only a HEAD's answer can have none: of
another, it is not the service that speaks, and nothing is known of the object."""

_BODY: Final = "storage_providers.providers._r2.body"


class Sender:
    """Holds the client and makes single requests, each once.

    Args:
        config: The bucket and how to reach it.
        client: A client to borrow; without one, it makes its own.
        timing: Time.

    Attributes:
        config: The bucket and how to reach it.
        timing: Time.
        base: The address of the bucket, with a `/` at its end; once it is open.

    Raises:
        ConfigurationError: aioboto3, credentials or the endpoint are missing or wrong, or the
            client can't be used.
    """

    def __init__(self, config: R2Config, client: S3Client | None, timing: Timing) -> None:
        if client is None:
            config.check_reachable()
        else:
            check_borrowed(client, config.concurrency)
        self.config = config
        self._borrowed = client
        self.timing = timing
        self._client: S3Client | None = None
        self._closing = AsyncExitStack()

    @property
    def is_open(self) -> bool:
        """Whether requests can be made."""
        return self._client is not None

    async def open(self) -> None:
        """Make the client, on the running loop. No request is sent.

        Raises:
            ConfigurationError: What boto reads from its own files and variables is not valid.
        """
        async with AsyncExitStack() as opening:
            self._body: type[bytes] = (await asyncio.to_thread(import_module, _BODY)).Body
            self._exceptions: Any = import_module("botocore.exceptions")
            client = self._borrowed
            if client is None:
                try:
                    client = await opening.enter_async_context(await client_of(self.config))
                except self._exceptions.BotoCoreError as error:
                    raise misconfigured(error) from error
            hook(client)
            opening.callback(unhook, client)
            self.base = f"{str(client.meta.endpoint_url).rstrip('/')}/{self.config.bucket}/"
            # What is in flight has a connection: without this, some would wait for one in vain.
            self._room = asyncio.Semaphore(self.config.concurrency)
            self._client = client
            self._closing = opening.pop_all()

    async def close(self) -> None:
        """Close the client, unless it is borrowed; doing it again changes nothing."""
        self._client = None
        await self._closing.aclose()

    @property
    def endpoint(self) -> str:
        """The address of the service; once it is open."""
        return self.base.removesuffix(f"/{self.config.bucket}/")

    def url(self, key: str) -> str:
        """The address of an object.

        Args:
            key: Its key.

        Returns:
            The address, every character that is not plain percent-encoded.

        Raises:
            InvalidArgumentError: R2 does not accept the key.
            ProviderClosedError: Nothing is open.
        """
        if self._client is None:
            raise ProviderClosedError("the store is not open")
        return self.base + quote(checked_key(key), safe="/~")

    def body(self, data: bytes) -> bytes:
        """The bytes of one attempt at a put: they go out once."""
        return self._body(data)

    async def send(self, call: Call, make: Callable[[S3Client], Awaitable[T]], **options: T) -> T:
        """Send one request, once, when a connection is free.

        Args:
            call: What the hooks need to know.
            make: Makes it, and reads the whole answer.
            options: `absent`: what to return where there is no such object.

        Returns:
            What `make` returned.

        Raises:
            StorageError: What the answer stands for, or how the connection broke.
        """
        if self._client is None:
            raise ProviderClosedError("the store is not open")
        async with self._room:
            count_request()
            restore = CALL.set(call)
            try:
                return await make(self._client)
            except self._exceptions.ClientError as error:
                refusal = self._refusal(error, len(call.body or b""))
                if "absent" in options and _is_absent(refusal, error):
                    return options["absent"]
                raise refused(refusal) from error
            except StorageError:
                raise
            except Exception as error:
                known = broken(error, self.endpoint)
                if known is None:
                    raise
                raise known from error
            finally:
                CALL.reset(restore)

    def refused_key(self, code: str) -> StorageError:
        """The error of one key among several that were to be deleted."""
        return refused(Refusal(0, code, {}, self.config.bucket, now_ms=self.timing.now_ms()))

    def _refusal(self, error: Any, size_bytes: int) -> Refusal:
        told: dict[str, Any] = error.response
        meta: dict[str, Any] = told.get("ResponseMetadata", {})
        status = int(meta.get("HTTPStatusCode", 0))
        code = str(told.get("Error", {}).get("Code", ""))
        return Refusal(
            status=status,
            code="" if code == str(status) else code,
            headers=meta.get("HTTPHeaders", {}),
            bucket=self.config.bucket,
            size_bytes=size_bytes,
            now_ms=self.timing.now_ms(),
            endpoint=self.endpoint,
        )


def _is_absent(refusal: Refusal, error: Any) -> bool:
    """Whether the service says that there is no such object."""
    if refusal.status != 404:
        return False
    is_head = error.operation_name == "HeadObject"
    return refusal.code in _NOTHING or (is_head and not refusal.code)
