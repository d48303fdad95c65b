"""`env.DB` and `env.KV` as a Python Worker gets them from workers-runtime-sdk 1.9.

What is mimicked: methods and their arguments, results as dicts with attributes, `None` for null,
buffers as memoryviews, and JavaScript's errors. The SQL is run by SQLite.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest


class JsException(Exception):  # noqa: N818 - its name there
    """An error that JavaScript threw."""


class JsDict(dict[str, Any]):
    """A dict whose keys are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


@contextmanager
def worker() -> Iterator[None]:
    """The module that Python in a Worker has."""
    module = ModuleType("pyodide.ffi")
    module.JsException = JsException  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyodide", ModuleType("pyodide"))
        patch.setitem(sys.modules, "pyodide.ffi", module)
        yield


class Prepared:
    """A statement."""

    def __init__(self, sql: str, values: tuple[Any, ...] = ()) -> None:
        self.sql = sql
        self.values = values

    def bind(self, *values: Any) -> Prepared:
        """With its values."""
        for value in values:
            if value is not None and type(value) not in (str, int, float, bool):
                raise JsException(f"D1_TYPE_ERROR: Type '{type(value)}' not supported for value")
        return Prepared(self.sql, values)


class Database:
    """`env.DB`; `faults` are thrown by the next calls, after they were carried out if so marked."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.calls = 0
        self.faults: list[tuple[str, bool]] = []

    def prepare(self, sql: str) -> Prepared:
        """A statement."""
        return Prepared(sql)

    async def batch(self, statements: list[Prepared]) -> list[JsDict]:
        """All of them, or none."""
        self.calls += 1
        fault, after = self.faults.pop(0) if self.faults else ("", False)
        if fault and not after:
            raise JsException(fault)
        self.connection.execute("BEGIN")
        try:
            results = [self._run(each) for each in statements]
        except sqlite3.Error as error:
            self.connection.execute("ROLLBACK")
            kind = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
            raise JsException(f"D1_ERROR: {error}: {kind}") from None
        self.connection.execute("COMMIT")
        if fault:
            raise JsException(fault)
        return results

    def _run(self, statement: Prepared) -> JsDict:
        before = self.connection.total_changes
        cursor = self.connection.execute(statement.sql, statement.values)
        columns = [each[0] for each in cursor.description or ()]
        rows = [JsDict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        changes = self.connection.total_changes - before
        meta = JsDict(
            changes=changes,
            last_row_id=cursor.lastrowid or 0,
            duration=0.1,
            rows_read=len(rows),
            rows_written=changes,
            size_after=8192,
            changed_db=changes > 0,
        )
        return JsDict(success=True, results=rows, meta=meta)


class Namespace:
    """`env.KV`; faults by key, so often."""

    def __init__(self, **faults: list[str]) -> None:
        self.stored: dict[str, tuple[bytes, Any, int | None]] = {}
        self.faults = faults
        self.calls: list[str] = []

    def _call(self, name: str, key: str = "") -> None:
        self.calls.append(name)
        if self.faults.get(key):
            raise JsException(self.faults[key].pop(0))

    async def get(self, key: str, options: Any = None) -> Any:
        """A value."""
        self._call("get", key)
        if key not in self.stored:
            return None
        value = self.stored[key][0]
        return memoryview(value) if options == "arrayBuffer" else value.decode(errors="replace")

    async def getWithMetadata(self, key: Any, options: Any = None) -> Any:  # noqa: N802
        """A value, or several, with their metadata."""
        if isinstance(key, list):
            self._call("getWithMetadata")
            assert len(key) <= 100
            assert options == "text"
            return {each: self._with_metadata(each) for each in key}
        return self._with_metadata(key)

    def _with_metadata(self, key: str) -> JsDict:
        value, metadata, _ = self.stored.get(key, (None, None, None))
        text = None if value is None else value.decode(errors="replace")
        return JsDict(value=text, metadata=metadata, cacheStatus=None)

    async def put(self, key: str, value: Any, options: Any = None) -> None:
        """Write a pair."""
        self._call("put", key)
        if not isinstance(value, str | bytes):
            raise TypeError(f"{type(value)} cannot be sent over RPC.")
        data = value.encode() if isinstance(value, str) else value
        options = options or {}
        assert set(options) <= {"metadata", "expiration", "expirationTtl"}
        self.stored[key] = data, options.get("metadata"), options.get("expiration")

    async def list(self, options: Any = None) -> JsDict:
        """A page of keys."""
        self._call("list")
        limit, prefix = options["limit"], options["prefix"]
        names = sorted(name for name in self.stored if name.startswith(prefix))
        rest = [name for name in names if name > options.get("cursor", "")]
        keys = []
        for name in rest[:limit]:
            _, metadata, expiration = self.stored[name]
            entry = JsDict(name=name)
            if metadata is not None:
                entry["metadata"] = metadata
            if expiration is not None:
                entry["expiration"] = expiration
            keys.append(entry)
        if len(rest) <= limit:
            return JsDict(keys=keys, list_complete=True, cacheStatus=None)
        return JsDict(keys=keys, list_complete=False, cursor=rest[limit - 1], cacheStatus=None)

    async def delete(self, key: str) -> None:
        """Remove a key."""
        self._call("delete", key)
        self.stored.pop(key, None)
