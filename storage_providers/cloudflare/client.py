"""`CloudflareClient`: calls to Cloudflare's REST API. Nobody else reads its envelopes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    NamedTuple,
    Self,
    TypeAlias,
    TypeVar,
)
from urllib.parse import quote, urlencode

import msgspec

from storage_providers._requests import count_request
from storage_providers._secrets import Secret
from storage_providers.cloudflare._checks import (
    BASE_URL,
    checked_id,
    checked_token,
    checked_url,
    encoded,
    quoted,
)
from storage_providers.cloudflare._envelope import (
    Answer,
    RawAnswer,
    Refuse,
    next_cursor,
    next_page,
    read_bytes,
    read_envelope,
)
from storage_providers.cloudflare._http import Http, Phases, Reply, need_httpx
from storage_providers.cloudflare.errors import Refusal, Service, error_of
from storage_providers.errors import (
    InvalidArgumentError,
    ProviderClosedError,
    RateLimitedError,
    StorageError,
    TransportError,
)
from storage_providers.resilience import (
    SYSTEM_TIMING,
    Attempt,
    AttemptReport,
    BreakerPolicy,
    Deadline,
    Effect,
    RateBudget,
    RateLimit,
    RateLimitHeaders,
    Resilience,
    RetryPolicy,
    Timing,
    check_numbers,
    read_headers,
    shared_budget,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["BASE_URL", "Answer", "CloudflareClient", "Parameters", "RawAnswer", "quoted"]

T = TypeVar("T")

Parameters: TypeAlias = "Mapping[str, str | int | None]"
"""Parameters of a URL; those that are `None` are left out."""

CONCURRENCY: Final = 16
"""Calls in flight. Ours: with 50 ms a call they are 320 a second, and the API allows 200 from one
address; source: Cloudflare docs, fundamentals/api/reference/limits (read 2026-11)."""

RATE_LIMIT: Final = RateLimit()
"""What the API allows one token; `RateLimit` says it."""

READ_TIMEOUT_SECONDS: Final = 35.0
"""How long the service may be silent. Ours: D1 may work on a batch for 30 seconds; source:
Cloudflare docs, d1/platform/limits (read 2026-11)."""

_TIMED_HEADERS: Final = {"retry-after", "ratelimit-reset", "x-ratelimit-reset"}
_RATE_HEADERS: Final = (
    *_TIMED_HEADERS,
    *("ratelimit", "ratelimit-remaining", "x-ratelimit-remaining"),
)


class _Request(NamedTuple):
    method: str
    address: str
    content: bytes | None = None
    content_type: str = ""

    def headers(self, token: Secret) -> list[tuple[str, str]]:
        headers = [
            ("authorization", f"Bearer {token.reveal()}"),
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("user-agent", "storage-providers"),
        ]
        if self.content is not None:
            headers.append(("content-type", self.content_type))
        return headers


class _Call(NamedTuple):
    service: Service
    resource: str
    effect: Effect
    operation: str
    deadline: Deadline | None


_SERVICES: Final[Mapping[Service, str]] = {
    "api": "the Cloudflare API",
    "kv": "Workers KV",
    "d1": "D1",
    "r2": "R2",
    "vectorize": "Vectorize",
    "ai": "Workers AI",
}


# --- the client --------------------------------------------------------------------------------


class CloudflareClient:
    """One account's REST API, for everything of this SDK that calls it.

    It waits for its turn when the token's calls are used up, tries again what may be tried again,
    and raises the SDK's own errors. All clients of a process that use one token share its budget.

    Args:
        account_id: The account.
        token: An API token with the permissions that are needed.
        base_url: Where the API is; plain http only on this machine.
        http: A client to send with instead of one's own; it is never closed. Not one of
            httpx-aiohttp: aiohttp sends GET, PUT and DELETE again by itself when a connection
            breaks, which only a client that is made here prevents.
        connect_timeout_seconds: Longest wait for a connection.
        read_timeout_seconds: Longest silence of the service.
        write_timeout_seconds: Longest wait for the service to take what is sent.
        deadline_seconds: Budget of a call with all its attempts; `None` for no end.
        concurrency: Most calls in flight, and connections.
        rate_limit: What the service allows this token; `None` to send without counting.
        retry: How often and when to try again.
        breaker: When a service counts as down.
        timing: Time and chance.
        on_attempt: Told about every attempt, to count or measure calls.

    Raises:
        ConfigurationError: A value is malformed, or the extra `cloudflare` is not installed.
    """

    def __init__(
        self,
        account_id: str,
        token: Secret | str,
        *,
        base_url: str = BASE_URL,
        http: httpx.AsyncClient | None = None,
        connect_timeout_seconds: float = 5.0,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
        write_timeout_seconds: float = READ_TIMEOUT_SECONDS,
        deadline_seconds: float | None = 60.0,
        concurrency: int = CONCURRENCY,
        rate_limit: RateLimit | None = RATE_LIMIT,
        retry: RetryPolicy | None = None,
        breaker: BreakerPolicy | None = None,
        timing: Timing = SYSTEM_TIMING,
        on_attempt: Callable[[AttemptReport], None] | None = None,
    ) -> None:
        need_httpx("CloudflareClient")
        self.account_id = checked_id("account_id", account_id)
        self.base_url = checked_url(base_url)
        self.concurrency = concurrency
        self._token = checked_token(token)
        phases = Phases(
            connect=connect_timeout_seconds, read=read_timeout_seconds, write=write_timeout_seconds
        )
        check_numbers(phases, connect=0.001, read=0.001, write=0.001)
        check_numbers(self, concurrency=1)
        self._http = Http(self.base_url, borrowed=http, connections=concurrency, phases=phases)
        self._slots = asyncio.Semaphore(concurrency)
        self._timing = timing
        self._budget: RateBudget | None = None
        if rate_limit is not None:
            self._budget = shared_budget(
                self._token.reveal(), rate_limit, name="the Cloudflare API", timing=timing
            )
        self._retry, self._breaker, self._on_attempt = retry, breaker, on_attempt
        self._deadline_seconds = deadline_seconds
        self._resilience: dict[str, Resilience] = {}
        self.resilience(_SERVICES["api"])  # Refuses wrong numbers now, not at the first call.
        self._lifetime = asyncio.Lock()
        self._state = "new"

    def __repr__(self) -> str:
        return f"CloudflareClient({self.account_id[:4]}…, {self.base_url!r})"

    # --- lifetime ------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Get ready to call; nothing is sent. Doing it again while it is open changes nothing.

        Raises:
            ProviderClosedError: It has been closed; make a new one.
        """
        async with self._lifetime:
            if self._state == "closed":
                raise ProviderClosedError("cannot reopen a client once it has been closed")
            if self._state == "new":
                await self._http.open()
                self._state = "open"

    async def disconnect(self) -> None:
        """Close its connections for good; doing it again changes nothing."""
        async with self._lifetime:
            was_open, self._state = self._state == "open", "closed"
            if was_open:
                await self._http.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.disconnect()

    # --- calls ---------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        *,
        effect: Effect,
        as_type: Any = Any,
        params: Parameters | None = None,
        json: object = msgspec.UNSET,
        content: bytes | None = None,
        content_type: str = "application/json",
        service: Service = "api",
        resource: str = "",
        operation: str = "",
        deadline: Deadline | None = None,
    ) -> Answer:
        """Make one call and return what its envelope holds.

        Args:
            method: The HTTP method.
            path: Below the account; with a `/` in front, below the base URL. Percent-encoded.
            effect: What the call does, and so whether it may be repeated.
            as_type: What to decode `result` as.
            params: Parameters of the URL.
            json: The body, to be encoded as JSON.
            content: The body as it is; `content_type` says what it is.
            content_type: The body's type.
            service: Whose answers these are: the same number means different things.
            resource: Which of the service's things it is about; one of them can be down alone.
            operation: A name for reports.
            deadline: The operation's budget; without one the call has its own.

        Returns:
            The answer.

        Raises:
            AuthenticationError: The token is missing, wrong or expired.
            PermissionDeniedError: The token does not allow this.
            ConfigurationError: There is no such account, namespace or database; or the service
                answered with a redirect.
            InvalidArgumentError: The service finds the request malformed, or `json` is no JSON.
            RateLimitedError: The calls are used up, and the next is free too late.
            D1StatementError: D1 refused a statement.
            ItemNotFoundError: There is no such key.
            ItemExistsError: The name is taken.
            DocumentTooLargeError: A value is too large.
            OutcomeUnknownError: A write may have landed; read before repeating.
            TransportError: The service could not be reached or did not answer properly.
            ProviderClosedError: The client is not connected.
        """
        if json is not msgspec.UNSET:
            content = encoded(json)

        def read(reply: Reply, refuse: Refuse) -> Answer:
            return read_envelope(reply, as_type, refuse)

        return await self._call(
            _Request(method, self._address(path, params), content, content_type),
            read,
            _Call(service, resource, effect, operation, deadline),
        )

    async def request_bytes(
        self,
        method: str,
        path: str,
        *,
        effect: Effect = Effect.READ,
        params: Parameters | None = None,
        service: Service = "api",
        resource: str = "",
        operation: str = "",
        deadline: Deadline | None = None,
    ) -> RawAnswer:
        """Make a call whose success has no envelope; a failure has one.

        Args:
            method: As in `request`.
            path: As in `request`.
            effect: As in `request`.
            params: As in `request`.
            service: As in `request`.
            resource: As in `request`.
            operation: As in `request`.
            deadline: As in `request`.

        Returns:
            The body and the headers.

        Raises:
            StorageError: As in `request`.
        """
        return await self._call(
            _Request(method, self._address(path, params)),
            read_bytes,
            _Call(service, resource, effect, operation, deadline),
        )

    async def pages(
        self,
        path: str,
        *,
        by: Literal["page", "cursor"],
        params: Parameters | None = None,
        as_type: Any = Any,
        service: Service = "api",
        resource: str = "",
        operation: str = "",
        deadline: Deadline | None = None,
    ) -> AsyncGenerator[Answer, None]:
        """Follow a listing to its end, whichever way it has pages.

        With `by="page"` pages are counted, and the last is the one that `total_pages` or
        `total_count` says, or that is not full. With `by="cursor"` each page names the next in
        `cursor` or `cursors.after`; a page may be empty while there is a next.

        Args:
            path: As in `request`.
            by: How the listing has pages.
            params: Sent with every page; `page` or `cursor` begins elsewhere than at the first.
            as_type: What to decode each page as.
            service: As in `request`.
            resource: As in `request`.
            operation: As in `request`.
            deadline: The budget of the whole listing; without one, each page has its own.

        Yields:
            The pages.

        Raises:
            TransportError: A page names itself as the next one.
            StorageError: As in `request`.
        """
        sent: dict[str, str | int | None] = dict(params or {})
        while True:
            answer = await self.request(
                "GET",
                path,
                effect=Effect.READ,
                as_type=as_type,
                params=sent,
                service=service,
                resource=resource,
                operation=operation,
                deadline=deadline,
            )
            yield answer
            following = (
                next_cursor(answer.result_info) if by == "cursor" else next_page(answer, sent)
            )
            if following is None:
                return
            if following == sent.get(by):
                raise TransportError("a page of the listing names itself as the next one")
            sent[by] = following

    def resilience(self, name: str) -> Resilience:
        """Retries and the breaker of one service, or one thing of it; the budget is the token's."""
        found = self._resilience.get(name)
        if found is None:
            found = self._resilience[name] = Resilience(
                name,
                retry=self._retry,
                deadline_seconds=self._deadline_seconds,
                breaker=self._breaker,
                budget=self._budget,
                timing=self._timing,
                on_attempt=self._on_attempt,
            )
        return found

    def deadline(self, seconds: float | None = None) -> Deadline:
        """A budget to share between the calls of one operation."""
        return Deadline(self._deadline_seconds if seconds is None else seconds, self._timing)

    async def pause(self, number: int, deadline: Deadline | None = None) -> bool:
        """Wait before sending again what the service could not do within a call that succeeded.

        Args:
            number: How often it was sent.
            deadline: The operation's budget.

        Returns:
            Whether to send it again: there is time, and it was not sent too often.
        """
        retry = self.resilience(_SERVICES["api"]).retry
        delay = retry.delay_seconds(number, RateLimitedError(), self._timing.jitter())
        if number >= retry.attempts:
            return False
        if deadline is not None and delay >= deadline.remaining_seconds:
            return False
        await self._timing.sleep(delay)
        return True

    # --- helpers -------------------------------------------------------------------------------

    def _address(self, path: str, params: Parameters | None) -> str:
        if path.startswith("/"):
            address = f"{self.base_url}{path}"
        else:
            address = f"{self.base_url}/accounts/{self.account_id}/{path}"
        given = {key: value for key, value in (params or {}).items() if value is not None}
        if not given:
            return address
        try:
            return f"{address}?{urlencode(given, quote_via=quote)}"
        except UnicodeEncodeError:
            pass  # The error holds the text, so ours is raised out here.
        raise InvalidArgumentError("a parameter holds a lone surrogate and is not valid Unicode")

    async def _call(self, request: _Request, read: Callable[[Reply, Refuse], T], call: _Call) -> T:
        self._check_open()
        name = _SERVICES[call.service]
        resilience = self.resilience(f"{name} {call.resource}" if call.resource else name)
        deadline = self.deadline() if call.deadline is None else call.deadline

        async def send(_: Attempt) -> T:
            count_request()
            reply = await self._http.send(
                request.method, request.address, request.headers(self._token), request.content
            )
            return read(reply, self._refusing(call, reply, self._learn(reply)))

        # A place is kept through all attempts: a service in trouble gets fewer calls, not more.
        await self._take_place(deadline)
        try:
            return await resilience.call(
                send, effect=call.effect, operation=call.operation, deadline=deadline
            )
        finally:
            self._slots.release()

    def _check_open(self) -> None:
        if self._state != "open":
            raise ProviderClosedError(
                "the client is not connected; use 'async with client:' or 'await client.connect()'"
                if self._state == "new"
                else "the client has been closed"
            )

    def _refusing(self, call: _Call, reply: Reply, wait: float | None) -> Refuse:
        """What makes the error of a reply that says no."""

        def refuse(errors: Sequence[Any] | None, body: str | None) -> StorageError:
            refusal = Refusal(
                service=call.service,
                effect=call.effect,
                status=reply.status,
                ray=reply.headers.get("cf-ray", ""),
                retry_after_seconds=wait,
                now_ms=self._timing.now_ms(),
            )
            return error_of(refusal, errors, body=body)

        return refuse

    async def _take_place(self, deadline: Deadline) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(deadline.phase_seconds(None)):
                await self._slots.acquire()
        except TimeoutError:
            raise deadline.error(0) from None

    def _learn(self, reply: Reply) -> float | None:
        """Take what the response says about rates; how long it asks to wait."""
        get = reply.headers.get
        said = {name: value for name in _RATE_HEADERS if (value := get(name)) is not None}
        if not said:
            return None
        if said.keys() & _TIMED_HEADERS and (date := get("date")) is not None:
            said["date"] = date
        if self._budget is not None:
            found = self._budget.learn(said, reply.status)
        else:
            found = read_headers(said, self._timing.now_ms())
        return _asked_wait(found, reply.status)


def _asked_wait(said: RateLimitHeaders, status: int) -> float | None:
    if said.retry_after_seconds is not None:
        return said.retry_after_seconds
    return said.reset_seconds if status == 429 else None
