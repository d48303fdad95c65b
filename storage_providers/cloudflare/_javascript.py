"""Errors of the runtime of a Worker, for all bindings."""

from __future__ import annotations

import importlib
from typing import cast

__all__ = ["javascript_error"]


def javascript_error() -> type[Exception]:
    """What the runtime's errors are in Python; outside of it, nothing is."""
    try:
        found = importlib.import_module("pyodide.ffi").JsException
    except ImportError:
        return _NeverRaised
    return cast("type[Exception]", found)


class _NeverRaised(Exception):  # noqa: N818 - it is none
    pass
