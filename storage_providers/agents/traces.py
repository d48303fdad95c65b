"""Traces: what happened in a run, span by span."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from storage_providers._json import JsonObject
from storage_providers.agents._asking import Question, ask, batches, iterate
from storage_providers.agents._pages import (
    PerPage,
    equals,
    listed,
    read_all,
    record_of,
    required,
)
from storage_providers.agents._place import Change, Key, Known, Place, removal
from storage_providers.agents._tables import ROOT, SPANS, compound_id
from storage_providers.agents._upkeep import Retention, expired_traces
from storage_providers.agents._wire import Record, iso
from storage_providers.agents.models import Listed
from storage_providers.errors import InvalidArgumentError, StorageError
from storage_providers.protocol import Item

__all__ = ["Span", "SpanStatus", "Trace", "TraceOrder", "Traces", "with_orders"]

SpanStatus: TypeAlias = Literal["ERROR", "RUNNING", "SUCCESS"]
TraceOrder: TypeAlias = Literal["-startedAt", "startedAt", "-endedAt", "endedAt"]

OPEN: Final = "9999-12-31T23:59:59.999Z"
"""Where a span that has not ended stands among ends: behind all others."""

TOGETHER: Final = 100
"""Traces deleted together. Ours."""

AT_ONCE: Final = 1000
"""Spans written or deleted in one batch. Ours."""


class Span(Record, kw_only=True):
    """A step of a trace, and the time it took.

    Attributes:
        trace_id: The trace.
        span_id: The span.
        parent_span_id: The span it is part of; `None`: it is the root of its trace.
        name: What was done.
        scope: Who recorded it.
        span_type: A word about its kind: `agent_run`, `model_generation`, `tool_call`, …
        attributes: What there is to know about such a step.
        metadata: Whatever belongs to it.
        tags: Words to find it by.
        links: Other spans that it has to do with.
        input: What went in.
        output: What came out.
        error: What went wrong.
        is_event: Whether it is a moment, without duration.
        started_at: When it began.
        ended_at: When it ended; `None`: it has not.
        created_at: When it was stored first.
        updated_at: When it was last stored.
    """

    hidden: ClassVar[frozenset[str]] = frozenset({"id", "root", "endOrder", "status"})

    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    name: str = ""
    scope: Any = None
    span_type: str | None = None
    attributes: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None
    links: list[Any] | None = None
    input: Any = None
    output: Any = None
    error: Any = None
    is_event: bool | None = None
    started_at: datetime
    ended_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def status(self) -> SpanStatus:
        """How it went: `ERROR` with an error, `RUNNING` without an end, else `SUCCESS`."""
        if self.error is not None:
            return "ERROR"
        return "RUNNING" if self.ended_at is None else "SUCCESS"

    @property
    def duration_seconds(self) -> float | None:
        """How long it took; `None`: it has not ended."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()


class Trace(msgspec.Struct, kw_only=True):
    """All spans of a trace.

    Attributes:
        trace_id: The trace.
        spans: Its spans, by their beginning.
        corrupt: Those that can't be read, and why.
    """

    trace_id: str
    spans: list[Span]
    corrupt: tuple[StorageError, ...] = ()

    @property
    def root(self) -> Span | None:
        """The span that is part of no other; `None`: it was not stored, or deleted."""
        return next((span for span in self.spans if span.parent_span_id is None), None)

    def children(self, span_id: str | None) -> list[Span]:
        """The spans that are part of one; `None`: those that are part of none that is here."""
        known = {span.span_id for span in self.spans}
        return [
            span
            for span in self.spans
            if (span.parent_span_id if span.parent_span_id in known else None) == span_id
        ]


class Traces:
    """Spans, and the traces that they make.

    Args:
        place: Where they are.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    # --- writing -------------------------------------------------------------------------------

    async def save(self, spans: Span | Iterable[Span]) -> None:
        """Store spans, creating them or replacing what is there but for their `created_at`.

        They are written 1,000 at once.

        Args:
            spans: One, or several of any traces.

        Raises:
            InvalidArgumentError: One names no trace or span; nothing was written.
            InvalidDocumentError: One is not storable JSON.
            BatchError: Without `atomic_batch`: some could not be written.
            OutcomeUnknownError: The connection broke after sending; saving again is safe.
        """
        drafts: dict[Key, JsonObject] = {}
        for span in [spans] if isinstance(spans, Span) else spans:
            key = self._key(span.trace_id, span.span_id)
            drafts[key] = {**span.to_document(), "id": key[1]}

        def plan(known: Known) -> list[Change]:
            return [self._change(key, old, drafts[key]) for key, old in known.items()]

        keys = list(drafts)
        for start in range(0, len(keys), AT_ONCE):
            await self._place.change(keys[start : start + AT_ONCE], plan, guess=True)

    async def update(self, trace_id: str, span_id: str, changes: Mapping[str, Any]) -> Span | None:
        """Set fields of a span: its end, its output, its error.

        Args:
            trace_id: The trace.
            span_id: The span.
            changes: Fields to set, under the names that documents use; `None` removes one. Dates
                may be datetimes.

        Returns:
            The span as stored; `None` if there is no such span.

        Raises:
            InvalidDocumentError: A change does not fit a span; nothing was written.
            OutcomeUnknownError: The connection broke after sending; updating again is safe.
        """
        updated = await self.update_many({(trace_id, span_id): changes})
        return updated[0] if updated else None

    async def update_many(self, changes: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[Span]:
        """Set fields of spans in one batch: `{(trace_id, span_id): changes}`; else as `update`.

        Spans that are not there are passed over.
        """
        wanted = {self._key(*names): _wire(fields) for names, fields in changes.items()}

        def plan(known: Known) -> list[Change]:
            found: list[Change] = []
            for key, old in known.items():
                if old is None:
                    continue
                merged = {**old.document, **wanted[key]}
                new = {name: value for name, value in merged.items() if value is not None}
                Span.from_document(new)
                found.append(self._change(key, old, new))
            return found

        written = await self._place.change(list(wanted), plan)
        return [record_of(Span, item) for item in written.values() if item is not None]

    def _change(self, key: Key, old: Item | None, document: JsonObject) -> Change:
        before: JsonObject = {} if old is None else old.document
        now = self._place.stamp(before.get("updatedAt"))
        new = {"createdAt": now, **document, "updatedAt": now}
        new["createdAt"] = before.get("createdAt", new["createdAt"])
        return Change(key=key, old=old, new=with_orders(new))

    # --- reading -------------------------------------------------------------------------------

    async def get(self, trace_id: str) -> Trace | None:
        """Read a trace with all its spans.

        Args:
            trace_id: The trace.

        Returns:
            The trace, or `None` if it has no span.

        Raises:
            InvalidArgumentError: The id is blank.
            TransportError: The provider could not be reached.
        """
        answer = await ask(self._place, _spans_of(required(trace_id, "traceId")))
        spans, corrupt = read_all(Span, answer.items)
        if not spans and not corrupt and not answer.corrupt:
            return None
        return Trace(trace_id=trace_id, spans=spans, corrupt=(*answer.corrupt, *corrupt))

    async def get_span(self, trace_id: str, span_id: str) -> Span | None:
        """Read one span.

        Args:
            trace_id: The trace.
            span_id: The span.

        Returns:
            The span, or `None` if there is none.

        Raises:
            CorruptItemError: What is stored can't be decoded.
            InvalidDocumentError: What is stored is no span.
        """
        item = await self._place.read_one(*self._key(trace_id, span_id))
        return None if item is None else record_of(Span, item)

    async def list(
        self,
        *,
        name: str | None = None,
        scope: str | None = None,
        span_type: str | None = None,
        status: SpanStatus | None = None,
        attributes: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order_by: TraceOrder = "-startedAt",
        page: int = 0,
        per_page: PerPage = 20,
        total: bool = False,
    ) -> Listed[Span]:
        """List a page of traces, by their root spans.

        Args:
            name: Only those of this name.
            scope: Only those of this scope.
            span_type: Only those of this type.
            status: Only those with this status.
            attributes: Only those whose attributes have all of these, each equal.
            metadata: The same of their metadata.
            since: Only those that began then or later.
            until: Only those that began before then.
            order_by: By what; `-endedAt` has those that have not ended first.
            page: Which page, from 0.
            per_page: Traces on a page; `False`: all of them.
            total: Whether to count those on all pages. Where nothing can be queried, that takes a
                call for each 1,000 more.

        Returns:
            The page, of root spans.

        Raises:
            InvalidArgumentError: A number is negative, or a value can't be compared.
            TransportError: The provider could not be reached.
        """
        wanted = {"name": name, "scope": scope, "spanType": span_type, "status": status}
        conditions: builtins.list[JsonObject] = [{k: v} for k, v in wanted.items() if v is not None]
        conditions += equals("attributes", attributes) + equals("metadata", metadata)
        low, high = (None if each is None else iso(each) for each in (since, until))
        by_end = order_by.removeprefix("-") == "endedAt"
        if not by_end and order_by.removeprefix("-") != "startedAt":
            raise InvalidArgumentError(
                f"traces are listed by startedAt or endedAt, not by {order_by!r}"
            )
        if by_end:
            conditions += [{"startedAt": {"$gte": low}}] if low else []
            conditions += [{"startedAt": {"$lt": high}}] if high else []
            low = high = None
        question = Question(
            table=SPANS,
            order=SPANS.order("ended" if by_end else "root"),
            lists=(ROOT,),
            oldest_first=not order_by.startswith("-"),
            low=low,
            high=high,
            where={"$and": conditions} if conditions else None,
            total=total,
        )
        return await listed(self._place, Span, question, page, per_page)

    # --- deleting ------------------------------------------------------------------------------

    async def delete(self, trace_ids: str | Sequence[str]) -> int:
        """Delete traces with all their spans; what is absent is not an error.

        Args:
            trace_ids: One, or several.

        Returns:
            How many spans were deleted.

        Raises:
            StorageError: The provider failed; what was deleted until then stays so.
        """
        ids = [trace_ids] if isinstance(trace_ids, str) else trace_ids
        wanted, deleted = tuple(required(each, "traceId") for each in ids), 0
        for start in range(0, len(wanted), TOGETHER):
            some = wanted[start : start + TOGETHER]
            question = msgspec.structs.replace(_spans_of(*some), ids_only=True)
            async for found, _ in batches(iterate(self._place, question)):
                changes = [removal(SPANS, each) for each in found]
                await self._place.apply(changes)
                deleted += len(changes)
        return deleted

    async def prune(
        self,
        *,
        older_than: timedelta | datetime | None = None,
        keep: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Delete traces whose root span began long ago, whole; and old spans without a root.

        It may be interrupted and called again.

        Args:
            older_than: What is older goes: a span of time, or a moment.
            keep: How many of the newest traces stay, however old.
            on_progress: Told how many spans are deleted so far.

        Returns:
            How many spans were deleted.

        Raises:
            InvalidArgumentError: Neither is given, or one is negative.
            StorageError: The provider failed; what was deleted until then stays so.
        """
        deleted = 0
        retention = Retention(older_than=older_than, keep=keep)
        async for trace_ids, _ in batches(expired_traces(self._place, retention), TOGETHER):
            deleted += await self.delete(trace_ids)
            if on_progress is not None and trace_ids:
                on_progress(deleted)
        return deleted

    def _key(self, trace_id: str, span_id: str) -> Key:
        trace, span = required(trace_id, "traceId"), required(span_id, "spanId")
        return SPANS, compound_id(trace, span, self._place.capabilities.max_id_bytes)


def with_orders(document: JsonObject) -> JsonObject:
    """A span's document with the fields that orders need, as its others say.

    Raises:
        InvalidDocumentError: It is no span.
    """
    new = {name: value for name, value in document.items() if name not in ("root", "endOrder")}
    new["status"] = Span.from_document(new).status
    if new.get("parentSpanId") is None:
        new |= {"root": ROOT, "endOrder": new.get("endedAt", OPEN)}
    return new


def _wire(fields: Mapping[str, Any]) -> JsonObject:
    return {
        name: iso(value) if isinstance(value, datetime) else value for name, value in fields.items()
    }


def _spans_of(*trace_ids: str) -> Question:
    order = SPANS.order("trace")
    return Question(table=SPANS, order=order, lists=trace_ids, oldest_first=True)
