"""What a session makes of rows and of errors that mean something else than failure."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from storage_providers._json import MAX_DEPTH, decode_object

__all__ = [
    "BrokenRowsError",
    "MissingSideTableError",
    "are_documents",
    "is_document",
    "is_malformed",
    "missing_table",
]


class _AnyObject(msgspec.Struct):
    """Any JSON object: decoding to it checks the JSON and keeps nothing."""


_check_object = msgspec.json.Decoder(_AnyObject).decode
_check_objects = msgspec.json.Decoder(list[_AnyObject]).decode

_SHALLOW_BYTES: Final = 2 * MAX_DEPTH
"""Shorter JSON can't be nested too deep: every level takes two brackets."""


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
    except (ValueError, RecursionError):
        return False
    return True


class MissingSideTableError(Exception):
    """A side table is gone: another process dropped the declaration that asked for it."""


def missing_table(error: sqlite3.Error) -> str | None:
    """The table that an error says is not there."""
    message = str(error)
    prefix = "no such table: "
    return message[len(prefix) :] if message.startswith(prefix) else None


def is_malformed(error: sqlite3.Error) -> bool:
    """Whether an error says that SQLite met something that is no JSON."""
    return str(error) == "malformed JSON"


def are_documents(bodies: list[bytes]) -> bool:
    """Whether all of these are as `is_document` asks; much faster than one by one."""
    if max(map(len, bodies), default=0) > _SHALLOW_BYTES:
        return all(map(is_document, bodies))
    joined = b"[" + b",".join(bodies) + b"]"
    try:
        if not joined.isascii():
            joined.decode()
        return len(_check_objects(joined)) == len(bodies)
    except (ValueError, RecursionError):
        return False
