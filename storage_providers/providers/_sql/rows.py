"""What a driver makes of rows: documents, or something that only looks like one."""

from __future__ import annotations

from typing import Final

import msgspec

from storage_providers._json import MAX_DEPTH, decode_object

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

_SHALLOW_BYTES: Final = 2 * MAX_DEPTH
"""Shorter JSON can't be nested too deep: every level takes two brackets."""

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
        if len(body) > _SHALLOW_BYTES and body.count(b"[") + body.count(b"{") > MAX_DEPTH:
            decode_object(body)
    except _BROKEN:
        return False
    return True


class MissingSideTableError(Exception):
    """A side table is gone: another process dropped the declaration that asked for it."""


def are_documents(bodies: list[bytes]) -> bool:
    """Whether all of these are as `is_document` asks; much faster than one by one."""
    joined = b"[" + b",".join(bodies) + b"]"
    # While all together have so few brackets, none is nested too deep.
    if (
        max(map(len, bodies), default=0) > _SHALLOW_BYTES
        and joined.count(b"[") + joined.count(b"{") > MAX_DEPTH
    ):
        return all(map(is_document, bodies))
    try:
        if not joined.isascii():
            joined.decode()
        return len(_check_objects(joined)) == len(bodies)
    except _BROKEN:
        return False
