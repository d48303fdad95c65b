"""JSON as the SDK stores it: encoding that loses nothing, decoding, merge patch, projection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import msgspec

from storage_providers.errors import InvalidDocumentError

__all__ = [
    "JsonObject",
    "JsonValue",
    "decode_object",
    "encode_object",
    "may_be_deep",
    "merge_patch",
    "project",
]

JsonValue: TypeAlias = "str | int | float | bool | list[Any] | dict[str, Any] | None"
JsonObject: TypeAlias = dict[str, Any]

MAX_DEPTH = 200
"""Deepest nesting of a document. SQLite refuses JSON deeper than 1,000 levels (sqlite.org/json1)
and Python's own recursion ends near there; 200 leaves room for patches and layers."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def encode_object(document: Mapping[str, Any]) -> bytes:
    """Encode a document as compact UTF-8 JSON that decodes to an equal document.

    Raises:
        InvalidDocumentError: Something in it is not JSON (a date, bytes, NaN, a key that is not
            text, …) or it is nested too deep; `field` says where.
    """
    try:
        body = _encode(document)
        # Comparing what comes back is the cheapest full check: msgspec turns NaN into null and
        # dates, bytes or sets into text and lists, and none of these compare equal.
        if _decode(body) == document and not may_be_deep(body):
            return body
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        pass
    # Slow path: either the culprit is found and named, or all that differs is harmless.
    plain = _plain(document, (), 0)
    return _encode(plain)


def may_be_deep(body: bytes) -> bool:
    """Whether JSON has brackets enough to be nested deeper than `MAX_DEPTH`."""
    return len(body) >= 2 * MAX_DEPTH and body.count(b"[") + body.count(b"{") > MAX_DEPTH


def _plain(value: object, path: tuple[str, ...], depth: int) -> Any:
    """Rebuild `value` from JSON's own types, or name the field that can't be."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise _not_json(path, f"{value} is not a JSON number")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _not_json(path, "text holds a lone surrogate and is not valid Unicode") from None
        return str(value)
    if depth >= MAX_DEPTH:
        raise _not_json(path[:3], f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        result: JsonObject = {}
        for key, member in cast("Mapping[object, object]", value).items():
            if not isinstance(key, str):
                raise _not_json(path, f"a key is {type(key).__name__}, JSON keys are text")
            _plain(key, path, depth)
            result[key] = _plain(member, (*path, key), depth + 1)
        return result
    if isinstance(value, list | tuple):
        members = cast("Sequence[object]", value)
        return [
            _plain(member, (*path, str(position)), depth + 1)
            for position, member in enumerate(members)
        ]
    raise _not_json(path, f"{type(value).__name__} is not a JSON type; convert it first")


def _not_json(path: tuple[str, ...], reason: str) -> InvalidDocumentError:
    field = ".".join(path) or None
    where = f"field {field!r}: " if field else ""
    return InvalidDocumentError(f"{where}{reason}", field=field)


def decode_object(body: bytes | str) -> JsonObject:
    """Decode a JSON object.

    Raises:
        ValueError: Not JSON, or not an object. The message holds no content.
    """
    try:
        value = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"holds a JSON {type(value).__name__}, not an object")
    return cast(JsonObject, value)


def merge_patch(target: Mapping[str, Any], changes: Mapping[str, Any]) -> JsonObject:
    """Apply a JSON Merge Patch (RFC 7396), changing neither argument.

    `None` removes a field, objects merge, all else replaces.
    """
    merged = dict(target)
    for key, change in changes.items():
        if change is None:
            merged.pop(key, None)
        elif isinstance(change, Mapping):
            old = merged.get(key)
            base = cast(JsonObject, old) if isinstance(old, dict) else {}
            merged[key] = merge_patch(base, cast("Mapping[str, Any]", change))
        else:
            merged[key] = change
    return merged


def project(document: JsonObject, paths: Sequence[tuple[str, ...]]) -> JsonObject:
    """The `id` and the named fields of a document, nested as they were; absent ones stay away."""
    result: JsonObject = {"id": document["id"]} if "id" in document else {}
    for path in paths:
        source: Any = document
        for step in path:
            if not isinstance(source, dict) or step not in source:
                break
            source = cast(JsonObject, source)[step]
        else:
            target = result
            for step in path[:-1]:
                inner = target.get(step)
                if not isinstance(inner, dict):
                    inner = target[step] = {}
                target = cast(JsonObject, inner)
            target[path[-1]] = source
    return result
