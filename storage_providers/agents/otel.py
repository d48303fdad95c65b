"""An OpenTelemetry exporter that writes spans into an agent store.

Needs: `pip install 'storage-providers[otel]'`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from storage_providers.agents.store import AgentStore
from storage_providers.agents.traces import Span
from storage_providers.errors import ConfigurationError, StorageError

try:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import StatusCode
except ImportError as error:
    raise ConfigurationError(
        "AgentSpanExporter needs: pip install 'storage-providers[otel]'"
    ) from error

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from storage_providers.base import Provider

__all__ = ["AgentSpanExporter"]

TIMEOUT_SECONDS: Final = 60.0
"""How long one export may take. Ours."""

_LOGGER = logging.getLogger("storage_providers")

T = TypeVar("T")


class AgentSpanExporter(SpanExporter):
    """Writes the spans that OpenTelemetry collects into `traces` of an agent store.

    It has a thread and a connection of its own, so it may be called from anywhere: give it to a
    `BatchSpanProcessor`. A failed export is logged, without contents, and counted as failed.

    Args:
        provider: Where traces are: a provider that is not open. It is opened here, at the first
            export, and closed by `shutdown`.
        timeout_seconds: How long one export may take.
    """

    def __init__(self, provider: Provider, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._provider = provider
        self._store = AgentStore(provider)
        self._timeout = timeout_seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="AgentSpanExporter", daemon=True
        )
        self._closed = False
        self._thread.start()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write spans, and wait until they are written."""
        if self._closed:
            return SpanExportResult.FAILURE
        try:
            self._run(self._save([span_of(span) for span in spans]))
        except (StorageError, TimeoutError) as error:
            _LOGGER.warning(
                "%s: %d spans were not written (%s)",
                self._provider.name,
                len(spans),
                type(error).__name__,
            )
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the provider and end the thread."""
        if self._closed:
            return
        self._closed = True
        try:
            self._run(self._provider.disconnect())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(self._timeout)
            self._loop.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return True

    async def _save(self, spans: list[Span]) -> None:
        await self._provider.connect()
        await self._store.traces.save(spans)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(self._timeout)


def span_of(span: ReadableSpan) -> Span:
    """A span of OpenTelemetry as one of the store."""
    context = span.get_span_context()
    assert context is not None
    scope = span.instrumentation_scope
    more: dict[str, Any] = {"kind": span.kind.name}
    if span.events:
        more["events"] = [
            {
                "name": event.name,
                "time": _moment(event.timestamp).isoformat(),
                "attributes": _plain(event.attributes),
            }
            for event in span.events
        ]
    return Span(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_span_id=None if span.parent is None else f"{span.parent.span_id:016x}",
        name=span.name,
        scope=None if scope is None else scope.name,
        attributes=_plain(span.attributes) or None,
        metadata={"resource": _plain(span.resource.attributes)},
        links=[
            {"traceId": f"{link.context.trace_id:032x}", "spanId": f"{link.context.span_id:016x}"}
            for link in span.links
        ]
        or None,
        error=_error(span),
        started_at=_moment(span.start_time or 0),
        ended_at=None if span.end_time is None else _moment(span.end_time),
        extra=more,
    )


def _error(span: ReadableSpan) -> dict[str, Any] | None:
    """What went wrong: the status, with what an exception said."""
    if span.status.status_code is not StatusCode.ERROR:
        return None
    found: dict[str, Any] = {"message": span.status.description or "error"}
    for event in span.events:
        if event.name == "exception":
            found |= _plain(event.attributes)
    return found


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


def _plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Attributes as JSON has them: sequences are lists, bytes are text."""
    return {name: _value(value) for name, value in (attributes or {}).items()}


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, tuple):
        return list(cast("tuple[object, ...]", value))
    return value
