"""Tokens, keys and contents stay out of errors, reprs and the log, whatever happens."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Coroutine, Iterator
from typing import Any

import msgspec
import pytest

from storage_providers._secrets import Secret
from storage_providers.cloudflare._http import Reply
from storage_providers.cloudflare.client import Answer, CloudflareClient, RawAnswer
from storage_providers.cloudflare.d1 import D1Database, D1Result
from storage_providers.cloudflare.kv import (
    KVEntry,
    KVFound,
    KVKey,
    KVKeyPage,
    KVNamespace,
)
from storage_providers.errors import ConfigurationError, StorageError
from storage_providers.resilience import Effect, RetryPolicy
from tests.cloudflare.service import (
    ACCOUNT,
    CLOSE,
    RESET,
    STALL,
    TOKEN,
    TRANSPORTS,
    Action,
    Records,
    client,
    cut,
    failed,
    ok,
    reply,
    run,
)

CONTENT = "the-content-of-a-document"
KEY = "key-with-a-value-of-a-document"
QUOTED = f"near '{CONTENT}': {KEY} Bearer {TOKEN}"

TROUBLE: dict[str, Action] = {
    "close": CLOSE,
    "reset": RESET,
    "stall": STALL,
    "cut": cut(reply(200, CONTENT.encode() * 50)[:-7]),
    "html": reply(502, f"<p>{QUOTED}</p>".encode(), "text/html"),
    "kind": reply(502, b"x", f"text/{CONTENT}; {TOKEN}"),
    "form": ok({"something": CONTENT}),
    "redirect": reply(302, CONTENT.encode(), location=f"http://127.0.0.1/{KEY}?{TOKEN}"),
    "ray": failed(500, 1, QUOTED, cf_ray=QUOTED),
    "encoding": reply(200, CONTENT.encode(), content_encoding=CONTENT),
    "gzip": reply(200, CONTENT.encode(), content_encoding="gzip"),
    "success": reply(200, msgspec.json.encode({"success": False, "result": CONTENT})),
    **{
        f"{status} {code}": failed(status, code, QUOTED)
        for status in (400, 401, 403, 404, 405, 409, 413, 429, 500)
        for code in (971, 7400, 7403, 7404, 7500, 9106, 10000, 10009, 10013, 10014)
    },
}


def everything_of(error: BaseException) -> Iterator[str]:
    """All that can be read off an error and off what led to it."""
    seen: set[int] = set()
    left: list[BaseException] = [error]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield from (str(each), repr(each), repr(each.args), repr(vars(each)))
        yield from getattr(each, "__notes__", ())
        left.extend(more for more in (each.__cause__, each.__context__) if more is not None)
    yield "".join(traceback.format_exception(error))


def assert_silent(texts: Iterator[str]) -> None:
    """None of them holds what nobody may see."""
    for text in texts:
        for secret in (TOKEN, CONTENT, KEY):
            assert secret not in text.replace("\\", "")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_error_and_no_log_record_holds_them(transport: str) -> None:
    """Every error there is, at the deepest log level, on every transport."""
    records = Records()
    root = logging.getLogger()
    level = root.level
    root.addHandler(records)
    root.setLevel(logging.DEBUG)

    async def main() -> None:
        for name, action in TROUBLE.items():
            async with client(
                action, transport=transport, retry=RetryPolicy(attempts=1), deadline_seconds=9.0
            ) as opened:
                found: list[StorageError] = []
                kv = KVNamespace(opened.client, "abc")
                d1 = D1Database(opened.client, "abc")
                calls: list[Coroutine[Any, Any, object]] = [
                    kv.get(KEY),
                    kv.put(KVEntry(key=KEY, value=CONTENT, metadata=CONTENT)),
                    kv.list_keys(prefix=KEY),
                    kv.put_many([KVEntry(key=KEY, value=CONTENT)]),
                    d1.raw([(f"SELECT '{CONTENT}'", [CONTENT])]),
                ]
                for call in calls:
                    try:
                        await call
                    except StorageError as error:
                        found.append(error)
                assert found, name
                for each in found:
                    assert_silent(everything_of(each))

    try:
        run(main())
    finally:
        root.removeHandler(records)
        root.setLevel(level)
    if transport.startswith("borrowed"):
        # httpx's own client logs every request; of ours it keeps the address to itself.
        assert any("HTTP Request: PUT http://127.0.0.1/… " in line for line in records.lines)
    else:
        assert not any("HTTP Request" in line for line in records.lines)
    assert_silent(iter(records.lines))


def test_a_lent_client_still_logs_its_own_requests() -> None:
    """What somebody else sends with their client is logged as ever."""
    records = Records()
    logger = logging.getLogger("httpx")
    logger.addHandler(records)
    level = logger.level
    logger.setLevel(logging.INFO)

    async def main() -> None:
        import httpx

        async with client(ok()) as opened, httpx.AsyncClient() as own:
            lent = CloudflareClient(
                ACCOUNT, TOKEN, base_url=opened.service.address, http=own, rate_limit=None
            )
            async with lent:
                await lent.request("GET", "ours", effect=Effect.READ)
                await own.get(f"{opened.service.address}/theirs")

    try:
        run(main())
    finally:
        logger.removeHandler(records)
        logger.setLevel(level)
    assert ["ours" in line for line in records.lines] == [False, False]
    assert ["theirs" in line for line in records.lines] == [False, True]


@pytest.mark.parametrize(
    "value",
    [
        CloudflareClient(ACCOUNT, Secret(TOKEN), rate_limit=None),
        Answer({"a": CONTENT}, {"cursor": CONTENT}, 1),
        RawAnswer(CONTENT.encode(), {"x": CONTENT}),
        Reply(200, {"x": CONTENT}, CONTENT.encode()),
        D1Result(columns=["a"], rows=[[CONTENT]]),
        KVEntry(key=KEY, value=CONTENT, metadata=CONTENT),
        KVFound(CONTENT, CONTENT),
        KVKey(KEY, 1, CONTENT),
        KVKeyPage([KVKey(KEY)], CONTENT),
    ],
    ids=lambda value: type(value).__name__,
)
def test_reprs_are_silent(value: object) -> None:
    """Neither `repr` nor what rich shows instead holds them, nor the account in full."""
    shown = [repr(value), str(value)]
    rich = getattr(value, "__rich_repr__", None)
    shown += [repr(rich())] if rich else []
    assert_silent(iter(shown))
    assert not any(ACCOUNT in text for text in shown)
    if isinstance(value, CloudflareClient):
        assert_silent(iter([repr(vars(value))]))


@pytest.mark.parametrize("token", ["", " ", f"{TOKEN}\n", f"{TOKEN} x", "tökén", f"{TOKEN}\x00"])
def test_a_wrong_token_is_not_shown(token: str) -> None:
    """A malformed token is refused at once, by an error that does not hold it."""
    with pytest.raises(ConfigurationError, match="token") as caught:
        CloudflareClient(ACCOUNT, token)
    assert_silent(everything_of(caught.value))


def test_the_budget_does_not_hold_the_token() -> None:
    """What is shared in the process is known by a digest."""
    from storage_providers._resilience import budget

    made = CloudflareClient(ACCOUNT, TOKEN)
    assert_silent(iter([repr(list(budget._known)), repr(vars(made._budget))]))
