"""The client of aioboto3, set up for R2 through its public options and event hooks.

Per request the hooks change three things; `Call` says with what, so that on a borrowed client they
leave alone every call that is not ours:

- the address: botocore evaluates its rules for endpoints anew for every key, so it is asked for
  one constant key, and the request then gets its own;
- the body is bytes and not a file, so that botocore asks for no `100 Continue`, which R2 does not
  send and which costs a round trip, and it goes out once (see `body`);
- answers that are long or hold times are read by us.

Its own retries are off, since only `Resilience` knows what may be repeated.

Botocore logs at DEBUG: requests with their bodies, signatures and session tokens, and answers. For
our calls these lines are dropped, so that no level of logging shows them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any, Final, Protocol, cast

from storage_providers._secrets import Secret
from storage_providers.errors import ConfigurationError
from storage_providers.providers._r2.answers import NotThisAnswerError
from storage_providers.providers._r2.config import R2Config
from storage_providers.providers._r2.errors import misconfigured

__all__ = ["ANY_KEY", "CALL", "Call", "S3Client", "client_of", "hook", "unhook"]

ANY_KEY: Final = "-"
"""The key that botocore is told."""

USER_AGENT: Final = "storage-providers"
"""Fixed, because botocore would put it together anew for every request."""

_OPERATIONS: Final = ("PutObject", "GetObject", "HeadObject", "DeleteObject")
"""The ones with a key in their address."""

_ALL: Final = (*_OPERATIONS, "DeleteObjects", "ListObjectsV2")
_HOOK_ID: Final = "storage-providers-r2"
_TALKATIVE: Final = ("botocore.auth", "botocore.endpoint", "botocore.parsers")


class Call:
    """What one request needs beside the parameters that botocore takes.

    Attributes:
        url: Where it goes; `None`: where botocore sends it.
        body: What it carries, if botocore is not told.
        read: Reads the answer's body in botocore's place.
        answer: What `read` returned.
    """

    __slots__ = ("answer", "body", "read", "url")

    def __init__(
        self,
        url: str | None = None,
        body: bytes | None = None,
        read: Callable[[bytes], object] | None = None,
    ) -> None:
        self.url = url
        self.body = body
        self.read = read
        self.answer: object = None


CALL: Final[ContextVar[Call | None]] = ContextVar("storage_providers_r2_call", default=None)
"""The request that is being made; `None`: none of ours."""


class S3Client(Protocol):
    """What is used of aioboto3's client."""

    meta: Any

    async def put_object(self, **arguments: object) -> dict[str, Any]: ...
    async def get_object(self, **arguments: object) -> dict[str, Any]: ...
    async def head_object(self, **arguments: object) -> dict[str, Any]: ...
    async def delete_object(self, **arguments: object) -> dict[str, Any]: ...
    async def delete_objects(self, **arguments: object) -> dict[str, Any]: ...
    async def list_objects_v2(self, **arguments: object) -> dict[str, Any]: ...


# --- making one --------------------------------------------------------------------------------


async def client_of(config: R2Config) -> AbstractAsyncContextManager[S3Client]:
    """A client for a bucket, not yet open.

    Args:
        config: The bucket and how to reach it.

    Returns:
        The client, to be entered on the loop that it shall work on.

    Raises:
        ConfigurationError: What boto reads from its own files and variables is not valid.
    """
    # A quarter of a second of importing and of reading descriptions of the service.
    session = await asyncio.to_thread(_session)
    options = import_module("aiobotocore.config").AioConfig(
        signature_version="s3v4",
        # The second, lest ~/.aws/config asks for what no endpoint of one's own has.
        s3={"addressing_style": "path", "use_accelerate_endpoint": False},
        # Its default sends bodies over https in signed pieces, which R2 refuses.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=config.concurrency,
        connect_timeout=config.connect_timeout_seconds,
        read_timeout=config.read_timeout_seconds,
        retries={"total_max_attempts": 1, "mode": "standard"},
        parameter_validation=False,
        user_agent=USER_AGENT,
    )
    endpoint = config.endpoint()
    client: object = session.client(
        "s3",
        region_name=config.region,
        endpoint_url=endpoint,
        # Reading the certificates that this machine trusts takes longer than many requests.
        verify=False if endpoint.startswith("http://") else None,
        aws_access_key_id=_plain(config.access_key_id),
        aws_secret_access_key=_plain(config.secret_access_key),
        aws_session_token=_plain(config.session_token),
        config=options,
    )
    return cast("AbstractAsyncContextManager[S3Client]", client)


@cache
def _session() -> Any:
    import_module("storage_providers.providers._r2.body")
    exceptions = import_module("botocore.exceptions")
    try:
        basis = import_module("aiobotocore.session").AioSession()
        loader = basis.get_component("data_loader")
        loader.load_service_model("s3", "service-2")
        loader.load_service_model("s3", "endpoint-rule-set-1")
        for name in ("endpoints", "partitions"):
            loader.load_data(name)
        return import_module("aioboto3").Session(botocore_session=basis)
    except exceptions.BotoCoreError as error:
        raise misconfigured(error) from error


def _plain(secret: Secret | str | None) -> str | None:
    return secret.reveal() if isinstance(secret, Secret) else secret


def check_borrowed(client: S3Client, concurrency: int) -> None:
    """See whether a client that others made can be used.

    Args:
        client: The client.
        concurrency: How many requests shall be in flight.

    Raises:
        ConfigurationError: It has fewer connections, tries again on its own, or adds checksums
            that R2 refuses.
    """
    options = client.meta.config
    retries: dict[str, object] = options.retries or {}
    if options.max_pool_connections < concurrency:
        raise ConfigurationError(
            f"the client has {options.max_pool_connections} connections for {concurrency} requests "
            "at once; give it max_pool_connections or lower concurrency"
        )
    if retries.get("total_max_attempts") != 1:
        raise ConfigurationError(
            "the client tries again on its own, which the store can't see; make it with "
            "retries={'total_max_attempts': 1}"
        )
    if options.request_checksum_calculation != "when_required":
        raise ConfigurationError(
            "the client adds checksums that R2 refuses; make it with "
            "request_checksum_calculation='when_required'"
        )


# --- hooks -------------------------------------------------------------------------------------


def hook(client: S3Client) -> None:
    """Let the hooks work on a client, for as many stores as share it."""
    events = client.meta.events
    for operation in _OPERATIONS:
        _last(events, f"before-call.s3.{operation}", _before_call)
    _last(events, "before-send.s3.PutObject", _before_send)
    for operation in _ALL:
        events.register_first(
            f"before-parse.s3.{operation}",
            _before_parse,
            unique_id=f"{_HOOK_ID}-before-parse-{operation}",
            unique_id_uses_count=True,
        )
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_SILENT)


def _last(events: Any, name: str, handler: Callable[..., object]) -> None:
    events.register_last(name, handler, unique_id=f"{_HOOK_ID}-{name}", unique_id_uses_count=True)


def unhook(client: S3Client) -> None:
    """Undo one `hook`."""
    events = client.meta.events
    for name in (*(f"before-call.s3.{each}" for each in _OPERATIONS), "before-send.s3.PutObject"):
        events.unregister(name, unique_id=f"{_HOOK_ID}-{name}", unique_id_uses_count=True)
    for operation in _ALL:
        events.unregister(
            f"before-parse.s3.{operation}",
            unique_id=f"{_HOOK_ID}-before-parse-{operation}",
            unique_id_uses_count=True,
        )


def _before_call(params: MutableMapping[str, Any], **_: object) -> None:
    call = CALL.get()
    if call is None:
        return
    if call.url is not None:
        params["url"] = call.url
    if call.body is not None:
        params["body"] = call.body


def _before_send(request: Any, **_: object) -> None:
    call = CALL.get()
    # botocore drops an empty body, and with it the guard against sending it twice.
    if call is not None and call.body == b"":
        request.body = call.body


def _before_parse(response_dict: MutableMapping[str, Any], **_: object) -> None:
    call = CALL.get()
    if call is None:
        return
    # Nobody reads it, and parsing it takes a fifth of the time of a read.
    response_dict["headers"].pop("last-modified", None)
    if call.read is None or response_dict["status_code"] != 200:
        return
    try:
        call.answer = call.read(response_dict["body"])
    except NotThisAnswerError:
        return
    response_dict["body"] = b""


class _Silent(logging.Filter):
    """Drops what botocore logs about calls of ours: it shows bodies, signatures and tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        return CALL.get() is None


_SILENT: Final = _Silent()
