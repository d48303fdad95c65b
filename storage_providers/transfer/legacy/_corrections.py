"""What is left of a legacy object when a document has taken its share.

`difference(original, rebuilt)` notes where a document, written back to the legacy layout, would
not give the original: unknown keys, other spellings, missing fields. `corrected` applies the notes,
but only where the document still says what it said then; an edit goes before the notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from storage_providers._json import JsonObject

__all__ = ["corrected", "difference"]

_MISSING = object()
_canonical = msgspec.json.Encoder(order="sorted").encode


def difference(original: JsonObject, rebuilt: JsonObject) -> list[JsonObject]:
    """The notes: `{"path", "was"?, "now"?}`, without `was` or `now` where the key is absent."""
    notes: list[JsonObject] = []
    _compare(original, rebuilt, [], notes)
    return notes


def corrected(rebuilt: JsonObject, notes: Sequence[Any]) -> JsonObject:
    """Put the original's values back wherever the rebuilt ones are those of then.

    `rebuilt` is changed in place. Notes that are malformed are passed over.
    """
    for note in notes:
        if not isinstance(note, dict):
            continue
        known = cast(JsonObject, note)
        path = known.get("path")
        if not isinstance(path, list) or not path:
            continue
        steps = [str(step) for step in cast("list[object]", path)]
        target: Any = rebuilt
        for step in steps[:-1]:
            target = cast(JsonObject, target).get(step) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            continue
        parent = cast(JsonObject, target)
        if _same(parent.get(steps[-1], _MISSING), known.get("now", _MISSING)):
            if "was" in known:
                parent[steps[-1]] = known["was"]
            else:
                parent.pop(steps[-1], None)
    return rebuilt


def _compare(old: JsonObject, new: JsonObject, path: list[str], notes: list[JsonObject]) -> None:
    for key in [*old, *(key for key in new if key not in old)]:
        was, now = old.get(key, _MISSING), new.get(key, _MISSING)
        if _same(was, now):
            continue
        here = [*path, key]
        if isinstance(was, dict) and isinstance(now, dict):
            _compare(cast(JsonObject, was), cast(JsonObject, now), here, notes)
            continue
        note: JsonObject = {"path": here}
        if was is not _MISSING:
            note["was"] = was
        if now is not _MISSING:
            note["now"] = now
        notes.append(note)


def _same(left: Any, right: Any) -> bool:
    if left is _MISSING or right is _MISSING:
        return left is right
    # Python holds 1, 1.0 and true to be equal; as JSON they differ.
    return _canonical(left) == _canonical(right)
