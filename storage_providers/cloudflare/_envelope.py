"""Envelopes: what the API wraps its answers in, and how its listings have pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeAlias, TypeVar, cast

import msgspec

from storage_providers.cloudflare._http import Reply
from storage_providers.errors import StorageError, TransportError

__all__ = [
    "Answer",
    "RawAnswer",
    "Refuse",
    "next_cursor",
    "next_page",
    "read_bytes",
    "read_envelope",
]

T = TypeVar("T")

Refuse: TypeAlias = "Callable[[Sequence[Any] | None, str | None], StorageError]"
"""Makes the error from an envelope's `errors`, or from a description of what came instead."""


# --- answers -----------------------------------------------------------------------------------


class Answer(msgspec.Struct, frozen=True):
    """What a call returned.

    Attributes:
        result: The envelope's `result`.
        result_info: What it says about pages.
        messages: How many messages came with it; their text is the service's own.
    """

    result: Any
    result_info: dict[str, Any] = {}
    messages: int = 0

    def __repr__(self) -> str:
        return f"Answer({type(self.result).__name__}, result_info={sorted(self.result_info)})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # msgspec's own, which rich prefers to the repr, would show the result.
        return [("result_info", sorted(self.result_info))]


class RawAnswer(msgspec.Struct, frozen=True):
    """A body that is no envelope: a value of Workers KV.

    Attributes:
        content: The bytes.
        headers: The response's headers.
    """

    content: bytes
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"RawAnswer({len(self.content)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("bytes", len(self.content))]


class _Envelope(msgspec.Struct, Generic[T], frozen=True):
    success: bool
    result: T = cast(T, None)
    errors: list[Any] | None = None
    messages: list[Any] | None = None
    result_info: dict[str, Any] | None = None


@lru_cache(maxsize=64)
def _decoder(as_type: Any) -> msgspec.json.Decoder[_Envelope[Any]]:
    # Some versions of pyright take the argument for a type that is written down here.
    return msgspec.json.Decoder(_Envelope[as_type])  # pyright: ignore[reportInvalidTypeForm]


_decode_any = msgspec.json.Decoder().decode


_KINDS = ("application/json", "application/xml", "text/html", "text/plain", "text/xml")


# --- reading -----------------------------------------------------------------------------------


def read_envelope(reply: Reply, as_type: Any, refuse: Refuse) -> Answer:
    try:
        envelope = _decoder(as_type).decode(reply.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # A failure's `result` may be anything; or it is no envelope at all.
        loose = _loose_envelope(reply)
        if loose is None:
            raise refuse(None, _described(reply)) from None
        if loose.success:
            raise TransportError(
                f"the service's answer has another form than expected (HTTP {reply.status})"
            ) from None
        envelope = loose
    if not envelope.success or 300 <= reply.status < 400:
        raise refuse(envelope.errors, None)
    return Answer(envelope.result, envelope.result_info or {}, len(envelope.messages or ()))


def _loose_envelope(reply: Reply) -> _Envelope[Any] | None:
    try:
        value = _decode_any(reply.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    members = cast("dict[str, Any]", value)
    success, errors = members.get("success"), members.get("errors")
    if not isinstance(success, bool):
        return None
    entries = cast("Sequence[Any]", errors) if isinstance(errors, list) else ()
    return _Envelope[Any](success, errors=list(entries))


def read_bytes(reply: Reply, refuse: Refuse) -> RawAnswer:
    if 200 <= reply.status < 300:
        return RawAnswer(reply.content, reply.headers)
    envelope = _loose_envelope(reply)
    if envelope is None:
        raise refuse(None, _described(reply))
    raise refuse(envelope.errors, None)


def _described(reply: Reply) -> str:
    """A body that can't be read, in words that hold nothing of it."""
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    return f"{len(reply.content)} bytes{f' of {kind}' if kind in _KINDS else ''}"


# --- pages -------------------------------------------------------------------------------------


def next_cursor(info: Mapping[str, Any]) -> str | None:
    """The cursor of the next page, `None` after the last."""
    cursors = info.get("cursors")
    cursor = info.get("cursor")
    if not cursor and isinstance(cursors, dict):
        cursor = cast("dict[str, Any]", cursors).get("after")
    if info.get("is_truncated") is False:
        return None
    return cursor if isinstance(cursor, str) and cursor else None


def next_page(answer: Answer, sent: Mapping[str, str | int | None]) -> int | None:
    info = answer.result_info
    page = int(info.get("page") or sent.get("page") or 1)
    result: object = answer.result
    count = len(cast("Sequence[Any]", result)) if isinstance(result, list) else 0
    size = int(info.get("per_page") or sent.get("per_page") or 0)
    pages, total = info.get("total_pages"), info.get("total_count")
    if count == 0:
        return None
    if isinstance(pages, int) and pages:
        return page + 1 if page < pages else None
    if isinstance(total, int) and size:
        return page + 1 if page * size < total else None
    return page + 1 if size and count >= size else None
