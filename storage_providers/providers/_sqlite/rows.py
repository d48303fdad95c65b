"""Errors of `sqlite3` that mean something else than failure."""

from __future__ import annotations

import sqlite3

__all__ = ["is_malformed", "missing_table"]


def missing_table(error: sqlite3.Error) -> str | None:
    """The table that an error says is not there."""
    message = str(error)
    prefix = "no such table: "
    return message[len(prefix) :] if message.startswith(prefix) else None


def is_malformed(error: sqlite3.Error) -> bool:
    """Whether an error says that SQLite met something that is no JSON."""
    return str(error) == "malformed JSON"
