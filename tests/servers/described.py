"""What the API's own description (OpenAPI) says of calls of the REST API and their answers.

Every call that the tests make through `CloudflareClient` at the local Cloudflare is held to it, so
that neither the client nor the emulator departs from what is published. The description is not part
of the project: where it does not lie beside the checkout, nothing is checked, and a test says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

from storage_providers.cloudflare._http import Http, Reply

__all__ = ["DESCRIPTION", "Description", "Exchange", "is_there"]

DESCRIPTION: Final = Path(__file__).parents[3] / "shared" / "emulator" / "openapi-subset.json"
"""Where the description lies, if it does."""

NOT_DESCRIBED: Final = ("/tokens/verify",)
"""Ends of paths that the description leaves out."""

_ID: Final = re.compile(r"[0-9a-f-]{32,36}")
"""An account, a namespace or a database."""

HOST: Final = "http://cloudflare"
BASE: Final = "/client/v4"


def is_there() -> bool:
    """Whether calls can be checked: there is a description, and what reads it."""
    return DESCRIPTION.exists() and find_spec("openapi_core") is not None


class Exchange:
    """A call and its answer.

    Args:
        method: The HTTP method.
        url: The whole address.
        headers: The call's headers.
        content: The call's body.
        reply: The answer.
    """

    def __init__(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        content: bytes | None,
        reply: Reply,
    ) -> None:
        parts = urlsplit(url)
        self.method = method
        self.path = BASE + parts.path.partition(BASE)[2]
        self.query = parse_qsl(parts.query, keep_blank_values=True)
        self.headers = dict(headers)
        self.content = content
        self.reply = reply

    @property
    def sends_json(self) -> bool:
        """Whether the call's body is JSON."""
        return self.headers.get("content-type") == "application/json"

    def shape(self) -> object:
        """What tells this exchange from others as far as a description goes, nearly."""
        query = tuple((name, value if value.isdigit() else "") for name, value in self.query)
        sent = _shape_of(self.content) if self.sends_json else self.headers.get("content-type", "")
        path = (each for each in self.path.split("/")[:9] if not _ID.fullmatch(each))
        return self.method, *path, query, sent, self.reply.status, _shape_of(self.reply.content)


class _Request:
    """An exchange's call, as openapi-core wants it."""

    host_url = HOST

    def __init__(self, exchange: Exchange) -> None:
        from openapi_core.datatypes import RequestParameters
        from werkzeug.datastructures import Headers, ImmutableMultiDict

        self.path = exchange.path
        self.method = exchange.method.lower()
        self.body = exchange.content
        self.content_type = exchange.headers.get("content-type", "application/octet-stream")
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(exchange.query), header=Headers(exchange.headers)
        )


class _Response:
    """An exchange's answer, as openapi-core wants it."""

    def __init__(self, exchange: Exchange) -> None:
        from werkzeug.datastructures import Headers

        self.data = exchange.reply.content
        self.status_code = exchange.reply.status
        self.content_type = exchange.reply.headers.get("content-type", "")
        self.headers = Headers(dict(exchange.reply.headers))


class Description:
    """A description that exchanges are held to.

    Args:
        path: The file.

    Attributes:
        routes: What was checked so far, as `METHOD path` with the parameters' names in the path.
    """

    def __init__(self, path: Path) -> None:
        from openapi_core import Config, OpenAPI

        spec: dict[str, Any] = json.loads(path.read_bytes())
        spec["servers"] = [{"url": HOST + BASE}]
        # Whether it is a good description is not ours to say, and takes seconds.
        self._api = OpenAPI.from_dict(spec, config=Config(spec_validator_cls=None))
        self._seen: set[object] = set()
        self.routes: set[str] = set()

    def faults_of(self, exchange: Exchange) -> list[str]:
        """What in an exchange departs from the description; nothing of its values is repeated.

        The body of a call that was refused may be anything: refusing it was right.
        """
        from openapi_core.exceptions import OpenAPIError

        request: Any = _Request(exchange)
        line = f"{exchange.method} {exchange.path}"
        faults: list[str] = []
        # It asks for a body with some DELETEs, which Cloudflare's own clients don't send either.
        without_body = exchange.content is None and exchange.method != "DELETE"
        if exchange.reply.status < 400 and (exchange.sends_json or without_body):
            try:
                self._api.validate_request(request)
            except OpenAPIError as error:
                faults.append(f"{line}, the call: {_why(error)}")
        if not exchange.reply.content and exchange.reply.status == 200:
            return faults  # A value of Workers KV that is empty, which the library takes for none.
        try:
            response: Any = _Response(exchange)
            self._api.validate_response(request, response)
        except OpenAPIError as error:
            faults.append(f"{line}, the answer {exchange.reply.status}: {_why(error)}")
        return faults

    @contextmanager
    def holding(self, api: str) -> Generator[None]:
        """Hold every call to one base address to the description, at the end of the block.

        Exchanges alike were checked once before; those that a test made up are left out.

        Args:
            api: The base address.
        """
        original, kept = Http.send, list[Exchange]()

        async def send(
            self: Http, method: str, url: str, headers: Any, content: bytes | None
        ) -> Reply:
            reply = await original(self, method, url, headers, content)
            if url.startswith(api) and "emulated-fault" not in reply.headers:
                kept.append(Exchange(method, url, headers, content, reply))
            return reply

        with patch.object(Http, "send", send):
            yield
        faults: list[str] = []
        for exchange in kept:
            if exchange.path.endswith(NOT_DESCRIBED):
                continue
            self.routes.add(f"{exchange.method} {'/'.join(exchange.path.split('/')[5:])}")
            shape = exchange.shape()
            if shape not in self._seen:
                self._seen.add(shape)
                faults += self.faults_of(exchange)
        assert not faults, "not as the API's description says: " + "; ".join(faults)


def _shape_of(content: bytes | None) -> object:
    """The kinds of values in JSON, each kind of an array's members once."""
    try:
        return _kinds(json.loads(content or b"null"))
    except ValueError:
        return "no JSON"


def _kinds(value: Any) -> object:
    if isinstance(value, dict):
        return frozenset((name, _kinds(each)) for name, each in value.items())
    if isinstance(value, list):
        return frozenset(map(_kinds, value))
    return type(value).__name__


def _why(error: BaseException) -> str:
    """The rule that was broken and where, without the value."""
    cause: Any = error.__cause__ or error
    problems = getattr(cause, "schema_errors", None)
    if not problems:
        return type(cause).__name__
    return ", ".join(
        f"{'/'.join(map(str, problem.absolute_path)) or 'the whole'} breaks {problem.validator!r}"
        for problem in problems
    )
