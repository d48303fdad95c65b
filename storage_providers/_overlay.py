"""Carries a change of a typed value over to its document, keeping what the model does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from storage_providers._json import JsonObject

__all__ = ["overlay"]

Members = Sequence[Any]

_canonical = msgspec.json.Encoder(order="sorted").encode


def overlay(stored: Any, before: Any, after: Any) -> Any:
    """Apply to `stored` what differs between `before` and `after`.

    `before` is what the model made of `stored`, and `after` what it became. What did not change
    stays as it is stored, fields the model does not know included, at every depth. Members of a
    list are followed by equality, then by their `id`, then, in lists of one length, by position.

    Args:
        stored: The document, or a part of it.
        before: The same part as the model encodes it.
        after: The same part after the change.

    Returns:
        The new document, or part.
    """
    if _same(before, after):
        return stored
    if isinstance(stored, dict) and isinstance(before, dict) and isinstance(after, dict):
        return _objects(cast(JsonObject, stored), cast(JsonObject, before), cast(JsonObject, after))
    if isinstance(stored, list) and isinstance(before, list) and isinstance(after, list):
        members, seen = cast("Members", stored), cast("Members", before)
        if len(members) == len(seen):
            return _lists(members, seen, cast("Members", after))
    return cast(Any, after)


def _objects(stored: JsonObject, before: JsonObject, after: JsonObject) -> JsonObject:
    result = {key: value for key, value in stored.items() if key in after or key not in before}
    for key, value in after.items():
        if key not in before:
            result[key] = value
        elif key in stored:
            result[key] = overlay(stored[key], before[key], value)
        elif not _same(before[key], value):
            result[key] = value
    return result


def _lists(stored: Members, before: Members, after: Members) -> Members:
    """Pair the members of `after` with those of `before`, and overlay pair by pair."""
    partners: list[int | None] = [None] * len(after)
    free = dict.fromkeys(range(len(before)))
    same_length = len(before) == len(after)

    def pair(keys_before: Members, keys_after: Members) -> None:
        places: dict[Any, list[int]] = {}
        for position in reversed(free):
            if keys_before[position] is not None:
                places.setdefault(keys_before[position], []).append(position)
        for position, key in enumerate(keys_after):
            if partners[position] is None and places.get(key):
                partners[position] = places[key].pop()
                free.pop(cast(int, partners[position]))

    pair([_canonical(member) for member in before], [_canonical(member) for member in after])
    pair([_id_of(member) for member in before], [_id_of(member) for member in after])
    if same_length:
        for position in range(len(after)):
            without_id = _id_of(before[position]) is None and _id_of(after[position]) is None
            if partners[position] is None and position in free and without_id:
                partners[position] = position
    return [
        member if partner is None else overlay(stored[partner], before[partner], member)
        for member, partner in zip(after, partners, strict=True)
    ]


def _same(before: Any, after: Any) -> bool:
    """Whether both are the same JSON; `==` would take `1`, `1.0` and `true` for one."""
    return bool(_canonical(before) == _canonical(after))


def _id_of(member: Any) -> str | None:
    found = cast(JsonObject, member).get("id") if isinstance(member, dict) else None
    return found if isinstance(found, str) else None
