"""Records read straight from stored JSON are those that are read from the document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers._json import encode_object
from storage_providers.agents import Message, Resource, Score, Span, Thread, WorkflowRun
from storage_providers.agents._wire import Record
from storage_providers.errors import InvalidDocumentError

MODELS: tuple[type[Record], ...] = (Message, Thread, Resource, WorkflowRun, Score, Span)

WHEN = "2026-12-01T04:00:00.123Z"
WHOLE: Mapping[type[Record], dict[str, Any]] = {
    Message: {
        "id": "m",
        "threadId": "t",
        "resourceId": "r",
        "role": "user",
        "type": "v2",
        "content": {"format": 2, "parts": [{"type": "text", "text": "1"}], "content": "1"},
        "position": f"{WHEN}-1",
    },
    Thread: {"id": "t", "resourceId": "r", "title": "null", "metadata": {"a": [1]}},
    Resource: {"id": "r", "workingMemory": "{}"},
    WorkflowRun: {"id": "w:r", "workflowName": "w", "runId": "r", "snapshot": {}, "status": "x"},
    Score: {"id": "s", "scorerId": "c", "score": 1, "input": {"extra": 1}},
    Span: {
        "id": "t:s",
        "traceId": "t",
        "spanId": "s",
        "startedAt": WHEN,
        "root": "root",
        "endOrder": WHEN,
        "status": "SUCCESS",
    },
}
BODIES = {
    model: encode_object({**document, "createdAt": WHEN, "updatedAt": WHEN})
    for model, document in WHOLE.items()
}


@pytest.mark.parametrize("model", MODELS)
def test_what_the_store_writes_is_read_at_once(model: type[Record]) -> None:
    """Every field that the store writes is known, those that it keeps for itself included."""
    record = model.from_body(BODIES[model])
    assert record == model.from_document(msgspec.json.decode(BODIES[model]))
    assert record is not None
    assert record.extra == {}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["newField", "extra", "thread_id", ""])
@pytest.mark.parametrize("value", [{}, {"a": 1}, None])
def test_what_a_model_does_not_know(model: type[Record], name: str, value: object) -> None:
    """It is left to the careful way, which keeps it."""
    document = {**msgspec.json.decode(BODIES[model]), name: value}
    assert model.from_body(encode_object(document)) is None
    assert model.from_document(document).extra == {name: value}


@pytest.mark.parametrize(
    "content", ["text", ["part"], None, {"new": 1}, {"extra": {}}, {"format": "2"}, {"parts": 1}]
)
def test_contents_of_other_forms(content: object) -> None:
    """A content that is not of format 2, or has more, is left to the careful way too."""
    document = {**msgspec.json.decode(BODIES[Message]), "content": content}
    assert Message.from_body(encode_object(document)) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"id":1}', b'{"id":"\xff"}', b"[" * 5000])
def test_bodies_that_are_no_record(body: bytes) -> None:
    """Nothing is raised: the careful way says what is wrong."""
    assert all(model.from_body(body) is None for model in MODELS)


_VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.just(WHEN)
_ANY = st.recursive(
    _VALUES,
    lambda each: (
        st.lists(each, max_size=2) | st.dictionaries(st.text(max_size=3), each, max_size=2)
    ),
    max_leaves=4,
)


@given(st.data())
def test_both_ways_agree(data: st.DataObject) -> None:
    """Whatever a document holds, the quick way gives the same record or none."""
    model = data.draw(st.sampled_from(MODELS))
    document: dict[str, Any] = msgspec.json.decode(BODIES[model])
    names = st.sampled_from(sorted([*document, "extra", "metadata", "tags", "new", "endedAt"]))
    document |= data.draw(st.dictionaries(names, _ANY, max_size=3))
    try:
        careful = model.from_document(document)
    except InvalidDocumentError:
        careful = None
    quick = model.from_body(encode_object(document))
    assert quick is None or quick == careful
