"""Changing a declaration: what is declared and what is built, in one atomic call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from storage_providers.cloudflare.d1 import D1Result
from storage_providers.cloudflare.errors import GUARD
from storage_providers.protocol import CollectionSpec, Index, check_collection
from storage_providers.providers import _sql
from storage_providers.providers._sql import Statement
from storage_providers.providers._sql.schema import existing_objects, migrate

__all__ = ["CHANGED", "build", "drop_if_empty", "look"]

CHANGED: Final = 1
"""The guard that says that somebody else declared something meanwhile."""

_SHAPES: Final = (
    "SELECT DISTINCT json_extract(spec,'$.indexes') AS indexes,"
    "json_extract(spec,'$.text_fields') AS texts "
    f"FROM {_sql.DECLARATIONS} WHERE name=?1 AND scope<>?2"
)


def look(collection: str) -> list[Statement]:
    """Look at what other scopes declare of a collection's name, and at what its table has."""
    scope, name = check_collection(collection)
    return [
        Statement(f"{_SHAPES} ORDER BY 1,2", (name, scope)),
        existing_objects(collection),
    ]


def build(spec: CollectionSpec, seen: Sequence[D1Result]) -> list[Statement]:
    """Keep a declaration and make what it asks for, unless something changed since `look`.

    Args:
        spec: The declaration.
        seen: What `look` returned.
    """
    scope, name = check_collection(spec.collection)
    shapes, objects = (result.rows for result in seen)
    others = [
        CollectionSpec(
            collection=name,
            indexes=msgspec.json.decode(indexes or "[]", type=tuple[Index, ...]),
            text_fields=msgspec.json.decode(texts or "[]", type=tuple[str, ...]),
        )
        for indexes, texts in shapes
    ]
    names = sorted(object_name for (object_name,) in objects)
    shaped = "\n".join(f"{indexes or ''}\n{texts or ''}" for indexes, texts in shapes)
    return [
        _unless(
            "SELECT ifnull(indexes,'')||char(10)||ifnull(texts,'') AS line "
            f"FROM ({_SHAPES} ORDER BY 1,2)",
            (name, scope, shaped),
        ),
        _unless(
            "SELECT name AS line FROM sqlite_master WHERE tbl_name=?1 ORDER BY name",
            (_sql.table_of(name)[0].strip('"'), "\n".join(names)),
        ),
        _sql.write_declaration(name, scope, msgspec.json.encode(spec).decode()),
        *migrate(spec.collection, [spec, *others], names),
    ]


def _unless(lines: str, values: tuple[str, ...]) -> Statement:
    """Fail unless the lines that a statement finds are the last of the values."""
    return Statement(
        f"SELECT json_extract('{{}}','{GUARD}{CHANGED}') WHERE "
        f"(SELECT ifnull(group_concat(line,char(10)),'') FROM ({lines})) IS NOT ?{len(values)}",
        values,
    )


def drop_if_empty(table: str) -> list[Statement]:
    """Drop a table, or fail as `CHANGED` if it holds anything."""
    return [
        Statement(
            f"SELECT json_extract('{{}}','{GUARD}{CHANGED}') WHERE EXISTS (SELECT 1 FROM {table})"
        ),
        Statement(f"DROP TABLE {table}"),
    ]
