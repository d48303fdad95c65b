"""Mastra's tables, and what becomes of their rows in the collections of the agent store.

Source of names and types: `TABLE_SCHEMAS` in packages/core/src/storage/constants.ts of
github.com/mastra-ai/mastra (read 2026-11), with those of earlier versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

from storage_providers._json import JsonObject
from storage_providers.agents import Message, Resource, Score, Span, Thread, WorkflowRun
from storage_providers.agents._tables import (
    MESSAGES,
    RESOURCES,
    RUNS,
    SCORES,
    SPANS,
    THREADS,
    compound_id,
)
from storage_providers.agents._wire import Record
from storage_providers.agents.traces import with_orders
from storage_providers.agents.workflows import run_document
from storage_providers.errors import InvalidDocumentError, StorageError
from storage_providers.protocol import LegacyProblem, LegacyRecord
from storage_providers.transfer.legacy._mastra_values import content_of, json_of, time_of
from storage_providers.transfer.legacy._shape import as_object

__all__ = ["MASTRA_TABLES", "MastraTable", "record_of"]

UNDATED: Final = "1970-01-01T00:00:00.000Z"
"""What stands where a row has no time at all."""

PLACED_BYTES: Final = 24
"""How much of a message's id orders those of one millisecond. Ours: more than a UUID needs."""


class MastraTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table of Mastra's.

    Attributes:
        name: Its name.
        collection: Where its rows go.
        model: What a row becomes.
        finish: Makes the document of a row whose values are read; it may change the row.
        names: Columns that are called otherwise in documents.
        json: Columns that hold objects or lists.
        any: Columns that hold any JSON, or text as it is.
        times: Columns that hold times.
    """

    name: str
    collection: str
    model: type[Record]
    finish: Callable[[JsonObject, int], JsonObject]
    names: Mapping[str, str] = {}
    json: frozenset[str] = frozenset({"metadata"})
    any: frozenset[str] = frozenset()
    times: frozenset[str] = frozenset({"createdAt", "updatedAt"})


def record_of(
    table: MastraTable, row: Mapping[str, Any], origin: str, max_id_bytes: int
) -> LegacyRecord | LegacyProblem:
    """The document of a row, or why there is none.

    Args:
        table: The table.
        row: Its values by column; those that are null count as absent, and ids that are empty, as
            those of columns that were added later.
        origin: Where the row is, for reports.
        max_id_bytes: How long an id may be that is made of two.
    """
    try:
        values = _values(table, row)
        dated = not {"createdAt", "updatedAt"}.isdisjoint(values)
        made = table.finish(values, max_id_bytes)
        hidden = {name: made[name] for name in table.model.hidden if name in made}
        document = {**table.model.from_document(made).to_document(), **hidden}
        _require(document, "id")
    except StorageError as error:
        return LegacyProblem(origin=origin, reason=_reason(error))
    first = document.setdefault("createdAt", document.get("updatedAt", UNDATED))
    document.setdefault("updatedAt", first)
    if table.collection == MESSAGES.collection:
        document["position"] = _position(document)
    return LegacyRecord(collection=table.collection, document=document, origin=origin, dated=dated)


def _reason(error: StorageError) -> str:
    field = error.field if isinstance(error, InvalidDocumentError) else None
    return str(error) if field is None or repr(field) in str(error) else f"{field!r}: {error}"


def _values(table: MastraTable, row: Mapping[str, Any]) -> JsonObject:
    values: JsonObject = {}
    for column, value in row.items():
        absent = value is None or (value == "" and column.endswith("Id"))
        read = None if absent else _value(table, column, value)
        if read is not None:
            values[table.names.get(column, column)] = read
    return values


def _value(table: MastraTable, column: str, value: object) -> Any:
    if column in table.times:
        return time_of(value, column)
    if column in table.json or column in table.any:
        return json_of(value, column, strict=column in table.json)
    if isinstance(value, bytes) and column != "content":
        raise InvalidDocumentError(f"it holds {len(value)} bytes", field=column)
    return value


def _require(document: JsonObject, *fields: str) -> None:
    for field in fields:
        value = document.get(field)
        if isinstance(value, int) and not isinstance(value, bool):
            document[field] = str(value)
        elif not isinstance(value, str) or not value:
            raise InvalidDocumentError("it is missing", field=field)


def _position(message: JsonObject) -> str:
    """Its place in the thread: the time, then the id in digits, which sort as the id does."""
    head = str(message["id"]).encode()[:PLACED_BYTES]
    digits = "".join(f"{byte:03}" for byte in head).ljust(3 * PLACED_BYTES, "0")
    return f"{message['createdAt']}-{digits}"


# --- what becomes of rows ----------------------------------------------------------------------


def _as_it_is(row: JsonObject, _: int) -> JsonObject:
    _require(row, "id")
    return row


def _thread(row: JsonObject, _: int) -> JsonObject:
    _require(row, "id")
    # What was written before there were resources belongs to none.
    row.setdefault("resourceId", "")
    return row


def _message(row: JsonObject, _: int) -> JsonObject:
    _require(row, "id", "threadId")
    row["content"] = content_of(row.get("content", ""), str(row.get("type", "")))
    return row


def _run(row: JsonObject, max_id_bytes: int) -> JsonObject:
    _require(row, "workflowName", "runId")
    workflow, run = row["workflowName"], row["runId"]
    if not isinstance(row.get("snapshot"), dict):
        raise InvalidDocumentError("it is no object", field="snapshot")
    item_id = compound_id(workflow, run, max_id_bytes)
    row.pop("status", None)
    return row | run_document(item_id, workflow, run, row["snapshot"])


def _evaluation(row: JsonObject, _: int) -> JsonObject:
    """A row of the table before `mastra_scorers`; it has no id."""
    result = as_object(row.get("result"))
    told = as_object(result.get("info"))
    content = msgspec.json.encode(row, order="sorted")
    made = {
        "id": f"eval-{hashlib.blake2b(content, digest_size=16).hexdigest()}",
        "score": result.get("score"),
        "reason": told.get("reason"),
        "entityType": "AGENT" if "entityId" in row else None,
        "createdAt": row.pop("created_at", None),
    }
    return {name: value for name, value in made.items() if value is not None} | row


def _span(row: JsonObject, max_id_bytes: int) -> JsonObject:
    _require(row, "traceId", "spanId")
    if "isEvent" in row:
        row["isEvent"] = bool(row["isEvent"])
    row.setdefault("startedAt", row.get("createdAt", UNDATED))
    item_id = compound_id(row["traceId"], row["spanId"], max_id_bytes)
    return with_orders({**row, "id": item_id})


def _old_span(row: JsonObject, max_id_bytes: int) -> JsonObject:
    """A row of the table before `mastra_ai_spans`, in OpenTelemetry's words."""
    if "status" in row:
        status = row["otelStatus"] = row.pop("status")
        # OpenTelemetry's StatusCode.ERROR.
        if cast("object", as_object(status).get("code")) == 2:
            row["error"] = status
    return _span(row, max_id_bytes)


MASTRA_TABLES: Final = {
    table.name: table
    for table in (
        MastraTable(
            name="mastra_threads", collection=THREADS.collection, model=Thread, finish=_thread
        ),
        MastraTable(
            name="mastra_messages",
            collection=MESSAGES.collection,
            model=Message,
            finish=_message,
            names={"thread_id": "threadId"},
            json=frozenset(),
        ),
        MastraTable(
            name="mastra_resources",
            collection=RESOURCES.collection,
            model=Resource,
            finish=_as_it_is,
        ),
        MastraTable(
            name="mastra_workflow_snapshot",
            collection=RUNS.collection,
            model=WorkflowRun,
            finish=_run,
            names={"workflow_name": "workflowName", "run_id": "runId"},
            json=frozenset({"snapshot"}),
        ),
        MastraTable(
            name="mastra_scorers",
            collection=SCORES.collection,
            model=Score,
            finish=_as_it_is,
            json=frozenset({"metadata"}),
            any=frozenset(
                {
                    *("scorer", "preprocessStepResult", "extractStepResult", "analyzeStepResult"),
                    *("input", "output", "additionalContext", "requestContext"),
                    *("runtimeContext", "entity"),
                }
            ),
        ),
        MastraTable(
            name="mastra_evals",
            collection=SCORES.collection,
            model=Score,
            finish=_evaluation,
            names={"agent_name": "entityId", "metric_name": "scorerId", "run_id": "runId"},
            json=frozenset({"result", "test_info"}),
            times=frozenset({"createdAt", "created_at"}),
        ),
        MastraTable(
            name="mastra_ai_spans",
            collection=SPANS.collection,
            model=Span,
            finish=_span,
            json=frozenset({"metadata", "attributes", "links", "tags"}),
            any=frozenset({"scope", "input", "output", "error", "requestContext"}),
            times=frozenset({"createdAt", "updatedAt", "startedAt", "endedAt"}),
        ),
        MastraTable(
            name="mastra_traces",
            collection=SPANS.collection,
            model=Span,
            finish=_old_span,
            names={"id": "spanId", "startTime": "startedAt", "endTime": "endedAt"},
            json=frozenset({"attributes", "links", "events"}),
            any=frozenset({"status"}),
            times=frozenset({"createdAt", "startTime", "endTime"}),
        ),
    )
}
"""All that are imported, by name."""
