"""What a driver makes of rows: documents, or something that only looks like one."""

from __future__ import annotations

from typing import Final

import msgspec

from storage_providers._json import decode_object

__all__ = [
    "BrokenRowsError",
    "MissingSideTableError",
    "are_documents",
    "is_document",
]


class _AnyObject(msgspec.Struct):
    """Any JSON object: decoding to it checks the JSON and keeps nothing."""


_check_object = msgspec.json.Decoder(_AnyObject).decode
_check_objects = msgspec.json.Decoder(list[_AnyObject]).decode

_SURE_DEPTH: Final = 400
"""JSON nested no deeper can be decoded: Python goes 1,000 levels deep, of which the thread that
reads takes a few itself."""

_SHALLOW_BYTES: Final = 2 * _SURE_DEPTH
"""Shorter JSON can't be nested deeper than that: every level takes two brackets."""

_BROKEN: Final = (msgspec.MsgspecError, ValueError, RecursionError)


class BrokenRowsError(Exception):
    """A query met rows that are no JSON objects; `set_aside_broken`, then ask again."""


def is_document(body: bytes | None) -> bool:
    """Whether these bytes are a JSON object that can be decoded."""
    if body is None:
        return False
    try:
        _check_object(body)
        # What is passed over is not looked at closely: not its text, not its depth.
        if not body.isascii():
            body.decode()
        if _may_be_too_deep(body):
            decode_object(body)
    except _BROKEN:
        return False
    return True


def are_documents(bodies: list[bytes]) -> bool:
    """Whether all of these are as `is_document` asks; much faster than one by one."""
    joined = b"[" + b",".join(bodies) + b"]"
    try:
        if not joined.isascii():
            joined.decode()
        if len(_check_objects(joined)) != len(bodies):
            return False
    except _BROKEN:
        return False
    return all(is_document(body) for body in bodies if _may_be_too_deep(body))


def _may_be_too_deep(body: bytes) -> bool:
    return len(body) > _SHALLOW_BYTES and body.count(b"[") + body.count(b"{") > _SURE_DEPTH


class MissingSideTableError(Exception):
    """A side table is gone: another process dropped the declaration that asked for it."""
