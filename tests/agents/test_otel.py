"""The OpenTelemetry exporter, with the SDK's own processors."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from storage_providers.agents import AgentStore, Span, Trace
from storage_providers.agents.otel import AgentSpanExporter
from storage_providers.layers import compose
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.faults import Fail, Faults


def record(exporter: AgentSpanExporter) -> None:
    """A trace of three spans, of which one fails."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("app")
    with tracer.start_as_current_span("run", attributes={"model": "m", "list": [1, 2]}):
        with tracer.start_as_current_span("call") as span:
            span.add_event("asked", {"n": 1})
        with (
            pytest.raises(ValueError, match="no such tool"),
            tracer.start_as_current_span("tool"),
        ):
            raise ValueError("no such tool")
    provider.shutdown()


def test_spans_are_written(tmp_path: Path) -> None:
    """With parents, attributes, events and errors; the trace is listed."""
    path = tmp_path / "traces.db"
    record(AgentSpanExporter(SQLiteProvider(path)))

    async def look() -> tuple[list[Span], Trace | None]:
        async with SQLiteProvider(path) as provider:
            traces = AgentStore(provider).traces
            roots = (await traces.list(name="run", scope="app", attributes={"model": "m"})).items
            return roots, await traces.get(roots[0].trace_id)

    (root,), trace = asyncio.run(look())
    assert trace is not None
    assert sorted(span.name for span in trace.spans) == ["call", "run", "tool"]
    # Both may have begun in the same millisecond.
    call, tool = sorted(trace.children(root.span_id), key=lambda span: span.name)
    assert root.attributes == {"model": "m", "list": [1, 2]}
    assert (call.status, tool.status) == ("SUCCESS", "ERROR")
    assert call.extra["events"][0]["name"] == "asked"
    assert tool.error["exception.message"] == "no such tool"
    assert call.duration_seconds is not None


def test_inside_a_running_loop(tmp_path: Path) -> None:
    """Exporting blocks nobody but its thread."""

    async def play() -> None:
        await asyncio.to_thread(record, AgentSpanExporter(SQLiteProvider(tmp_path / "t.db")))

    asyncio.run(play())


def test_a_failed_export_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """As failed, and in the log without contents."""
    faults = Faults(Fail("write", call=None))
    exporter = AgentSpanExporter(compose(faults, provider=SQLiteProvider(":memory:")))
    provider = TracerProvider()
    with provider.get_tracer("app").start_as_current_span("secret") as span:
        pass
    assert exporter.export([span]) is SpanExportResult.FAILURE  # type: ignore[list-item]
    assert "1 spans were not written (TransportError)" in caplog.text
    assert "secret" not in caplog.text
    exporter.shutdown()
    exporter.shutdown()
    assert exporter.export([]) is SpanExportResult.FAILURE
