"""JSON as it is stored: nothing lost, nothing accepted that would be."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict, UserDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers._json import (
    MAX_DEPTH,
    decode_object,
    encode_object,
    merge_patch,
    project,
)
from storage_providers.errors import InvalidDocumentError
from storage_providers.protocol import JsonObject
from storage_providers.testing._harness import exactly
from storage_providers.testing.strategies import documents, merge_patches


class Color(enum.StrEnum):
    """Text that is an enumeration."""

    RED = "red"


def nested(depth: int) -> Any:
    """That many lists in each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@given(documents(nul=True))
def test_documents_come_back_to_the_bit(document: JsonObject) -> None:
    """Encoding and decoding change no value, kind or order of fields."""
    body = encode_object(document)
    assert exactly(decode_object(body), document)
    assert list(decode_object(body)) == list(document)
    assert exactly(json.loads(body), document)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, (2,)), [1, [2]]),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (UserDict({"a": 1}), {"a": 1}),
        (Color.RED, "red"),
    ],
)
def test_what_is_json_in_other_clothes(value: Any, plain: Any) -> None:
    """Tuples, other mappings and text enumerations are stored as what they are."""
    assert exactly(decode_object(encode_object({"v": value})), {"v": plain})


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (math.nan, "v"),
        ({"a": [1, {"b": math.inf}]}, "v.a.1.b"),
        (b"x", "v"),
        ([{1, 2}], "v.0"),
        ({1: 2}, "v"),
        ("\ud800", "v"),
        ({"\ud800": 1}, "v"),
        (object(), "v"),
    ],
)
def test_what_is_no_json_is_refused_by_its_field(value: Any, field: str) -> None:
    """The error names the field and the kind of value, never the value."""
    with pytest.raises(InvalidDocumentError) as caught:
        encode_object({"id": "a", "v": value})
    assert caught.value.field == field
    assert "\ud800" not in str(caught.value)


def test_depth_has_a_limit() -> None:
    """As deep as the limit is stored; deeper is refused, however deep, naming the limit."""
    assert decode_object(encode_object({"v": nested(MAX_DEPTH - 1)}))
    for depth in (MAX_DEPTH, MAX_DEPTH + 1, 5_000, 100_000):
        with pytest.raises(InvalidDocumentError, match=str(MAX_DEPTH)):
            encode_object({"v": nested(depth)})


def test_a_document_that_holds_itself_is_refused() -> None:
    """It is as deep as can be."""
    document: JsonObject = {"id": "a"}
    document["self"] = document
    with pytest.raises(InvalidDocumentError):
        encode_object(document)


def test_wide_documents_are_not_deep() -> None:
    """Many brackets beside each other are fine."""
    document = {"v": [[] for _ in range(5_000)], "w": "[" * 5_000}
    assert decode_object(encode_object(document)) == document


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"1", b"null", b'{"a":', b'{"a":1}x', b"\xff", b'{"a":"\xff"}', b"[" * 100_000],
)
def test_broken_bytes_are_a_value_error_without_content(raw: bytes) -> None:
    """Whatever is stored, decoding gives an object or a `ValueError`."""
    with pytest.raises(ValueError, match="JSON"):
        decode_object(raw)


@given(documents(), merge_patches())
def test_merge_patch_changes_neither_argument(target: JsonObject, changes: JsonObject) -> None:
    """The result is new where it differs, and holds what the changes say."""
    before = encode_object(target), encode_object(changes)
    merged = merge_patch(target, changes)
    assert (encode_object(target), encode_object(changes)) == before
    for key, change in changes.items():
        if change is None:
            assert key not in merged
        elif not isinstance(change, dict):
            assert merged[key] == change
    for key in target.keys() - changes.keys():
        assert merged[key] == target[key]


@given(documents(), merge_patches())
def test_merge_patch_twice_is_once(target: JsonObject, changes: JsonObject) -> None:
    """Applying a patch again changes nothing."""
    once = merge_patch(target, changes)
    assert exactly(merge_patch(once, changes), once)


@given(documents(), st.lists(st.sampled_from(["a", "b", "c"]).map(lambda name: (name,))))
def test_projection_of_fields(document: JsonObject, paths: list[tuple[str, ...]]) -> None:
    """Exactly the named fields that are there, and `id`."""
    wanted = {"id", *(path[0] for path in paths)}
    expected = {key: value for key, value in document.items() if key in wanted}
    assert exactly(project(document, paths), expected)
