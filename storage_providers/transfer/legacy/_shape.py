"""Legacy data may be of any shape; these read it without minding."""

from __future__ import annotations

from typing import Any, cast

from storage_providers._json import JsonObject

__all__ = ["as_list", "as_object"]


def as_list(value: object) -> list[Any]:
    """A list as it is; nothing else has members."""
    return cast("list[object]", value) if isinstance(value, list) else []


def as_object(value: object) -> JsonObject:
    """An object as it is; nothing else has fields."""
    return cast(JsonObject, value) if isinstance(value, dict) else {}
