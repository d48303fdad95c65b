"""A batch of writes as one batch of statements, and its results."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from storage_providers.cloudflare.d1 import D1Result
from storage_providers.cloudflare.errors import GUARD
from storage_providers.errors import DocumentTooLargeError
from storage_providers.protocol import (
    ANY,
    Clear,
    Delete,
    IfVersion,
    Item,
    Patch,
    Put,
    Write,
)
from storage_providers.providers._d1.bound import (
    LIST_BYTES,
    MAX_TEXT_BYTES,
    encoded,
    in_lists,
    joined,
)
from storage_providers.providers._sql import Dialect, Statement, live, table_of
from storage_providers.providers._sql.write import Shape, clear_rows, patch_row, put_sql

__all__ = [
    "DAY_MS",
    "LANDED",
    "MAX_DOCUMENT_BYTES",
    "Batch",
    "bodies_of",
    "fence",
    "items_of",
    "make_landed",
    "plan",
]

MAX_DOCUMENT_BYTES: Final = MAX_TEXT_BYTES - 10_000
"""Largest document with its payload, bytes; id, scope and version take some of a row, too."""

LANDED: Final = 0
"""The guard that says that this batch landed before."""

DAYS: Final = 4
"""Tables of tokens, one for each day in turn: today's and those of a day before and after, for
clocks that differ, and one to drop."""

DAY_MS: Final = 86_400_000

_FENCE: Final = "!"
"""Before a token: the batch may not land any more. No token begins so."""


class Batch(NamedTuple):
    """A batch of writes as statements.

    Attributes:
        writes: The writes.
        version: The token of everything written.
        statements: In order; the first keeps the token.
        patches: For the statements that return patched documents, by their position: the
            collection and, where rows hold the body alone, the number of the one patch.
        numbers: The numbers of the patches, by collection and id.
    """

    writes: Sequence[Write]
    version: str
    statements: list[Statement]
    patches: dict[int, tuple[str, int | None]]
    numbers: dict[tuple[str, str], int]


class _Numbered(NamedTuple):
    number: int
    write: Any


def plan(
    writes: Sequence[Write],
    version: str,
    now_ms: int,
    limits: Mapping[str, int | None],
    dialect: Dialect,
) -> Batch:
    """Make the statements of a batch: its token, the guards, the writes, the guards of results.

    Args:
        writes: At most one per document.
        version: A token that was never given out before.
        now_ms: Documents that expire then or earlier are absent, epoch ms.
        limits: Largest document of each collection, bytes; for patches.
        dialect: What D1 wants.

    Raises:
        DocumentTooLargeError: An encoded document does not fit a row.
        UnsupportedOperationError: The batch does not fit one call.
    """
    by_collection: dict[str, list[_Numbered]] = {}
    for number, write in enumerate(writes):
        by_collection.setdefault(write.collection, []).append(_Numbered(number, write))
    batch = Batch(writes, version, [_landed(version, now_ms)], {}, {})
    judged = [
        statement
        for collection, found in by_collection.items()
        for statement in _judge(collection, found, now_ms)
    ]
    for start in range(0, len(judged), JUDGED_TOGETHER):
        batch.statements.append(_guard(judged[start : start + JUDGED_TOGETHER]))
    for collection, found in by_collection.items():
        puts = [each for each in found if isinstance(each.write, Put)]
        batch.statements.extend(_puts(collection, puts, version, dialect))
        patches = [each for each in found if isinstance(each.write, Patch)]
        _patch(batch, collection, patches, now_ms, dialect)
        batch.statements.extend(_judge_sizes(collection, patches, limits.get(collection)))
        batch.statements.extend(_removals(collection, found))
    return batch


# --- landed ------------------------------------------------------------------------------------


def make_landed(now_ms: int) -> list[Statement]:
    """Make today's table of tokens, and drop that of the day before yesterday.

    Dropping a table costs no rows, and removing rows does.
    """
    return [
        Statement(f"DROP TABLE IF EXISTS {_landed_table(now_ms - 2 * DAY_MS)}"),
        Statement(
            f"CREATE TABLE IF NOT EXISTS {_landed_table(now_ms)} "
            "(token TEXT PRIMARY KEY) WITHOUT ROWID"
        ),
    ]


def _landed(token: str, now_ms: int) -> Statement:
    """Keep a batch's token, and fail as the guard `LANDED` if it is there, or fenced off."""
    table = _landed_table(now_ms)
    return Statement(
        f"INSERT INTO {table} (token) SELECT CASE WHEN EXISTS (SELECT 1 FROM {table} "
        f"WHERE token IN (?1,?2)) THEN json_extract('{{}}','{GUARD}{LANDED}') ELSE ?1 END",
        (token, _FENCE + token),
    )


def fence(batch: Batch, now_ms: int) -> list[Statement]:
    """See whether a batch landed, and keep attempts of it that are still on their way from landing.

    The last statement but one returns a row if it landed.
    """
    table = _landed_table(now_ms)
    return [
        # It was made by the batch that was refused, and so is gone with it.
        *make_landed(now_ms),
        Statement(f"SELECT token FROM {table} WHERE token=?1", (batch.version,)),
        Statement(f"INSERT OR IGNORE INTO {table} (token) VALUES (?1)", (_FENCE + batch.version,)),
    ]


def _landed_table(now_ms: int) -> str:
    return f"sp_landed_{now_ms // DAY_MS % DAYS}"


# --- guards ------------------------------------------------------------------------------------

JUDGED_TOGETHER: Final = 40
"""Collections whose conditions one statement judges. Ours: each takes some 500 bytes of it."""


def _guard(found: Sequence[Statement]) -> Statement:
    """Fail if statements find the numbers of writes, with the least of them in the message."""
    sql, values = joined(found, len(found))
    # A JSON path that does not begin with `$` is an error, which quotes it.
    return Statement(
        f"SELECT json_extract('{{}}','{GUARD}'||n) FROM (SELECT min(n) AS n FROM ({sql})) "
        "WHERE n IS NOT NULL",
        values,
    )


def _judge(collection: str, found: Iterable[_Numbered], now_ms: int) -> Iterator[Statement]:
    """Find the first write of a collection whose condition does not hold."""
    table, scope = table_of(collection)
    elements: list[bytes] = []
    for number, write in found:
        if isinstance(write, Clear) or write.condition is ANY:
            continue
        condition = write.condition
        version = condition.version if isinstance(condition, IfVersion) else None
        name = "if_version" if isinstance(condition, IfVersion) else condition.value
        elements.append(encoded([number + 1, write.id, name, version, isinstance(write, Patch)]))
    for text in in_lists(elements):
        yield Statement(
            "SELECT json_extract(e.value,'$[0]') AS n "
            f"FROM json_each(?2) AS e LEFT JOIN {table} AS d ON d.scope=?1 "
            f"AND d.id=json_extract(e.value,'$[1]') AND {live(str(now_ms))} WHERE "
            "CASE json_extract(e.value,'$[2]') WHEN 'if_absent' THEN d.rid IS NOT NULL "
            "WHEN 'if_present' THEN d.rid IS NULL "
            "ELSE d.version IS NOT json_extract(e.value,'$[3]') END "
            "OR (json_extract(e.value,'$[4]') AND (d.encoding IS NOT NULL "
            "OR ifnull(substr(d.body,1,1),'')<>'{' OR NOT json_valid(d.body))) "
            "ORDER BY e.key LIMIT 1",
            (scope, text),
        )


# --- puts --------------------------------------------------------------------------------------


def _puts(
    collection: str, puts: Iterable[_Numbered], version: str, dialect: Dialect
) -> Iterator[Statement]:
    """Store documents whose conditions hold."""
    table, scope = table_of(collection)
    elements: list[bytes] = []
    for number, put in puts:
        payload = _payload(put, number)
        element: list[Any] = [put.id, put.body.decode()]
        if put.expires_at_ms is not None or payload is not None:
            element += [put.expires_at_ms, put.encoding, payload]
        raw = encoded(element)
        if len(raw) < LIST_BYTES:
            elements.append(raw)
            continue
        shape = Shape("any", payload is not None, put.expires_at_ms is not None)
        values: list[Any] = [scope, version, put.id, put.body.decode()]
        values += [] if payload is None else [put.encoding, payload]
        values += [] if put.expires_at_ms is None else [put.expires_at_ms]
        yield Statement(put_sql(table, shape, dialect), tuple(values))
    for text in in_lists(elements):
        yield Statement(
            f"INSERT INTO {table} (scope,version,id,body,expires_at,encoding,payload) "
            f"SELECT ?1,?2,{_members(5)} FROM json_each(?3) AS e WHERE true "
            "ON CONFLICT (scope,id) DO UPDATE SET version=excluded.version,body=excluded.body,"
            "expires_at=excluded.expires_at,encoding=excluded.encoding,payload=excluded.payload",
            (scope, version, text),
        )


def _payload(put: Put, number: int) -> str | None:
    """A payload as D1 keeps it: there is no way to bind bytes, and hexadecimal is longer."""
    if put.payload is None:
        return None
    text = base64.b64encode(put.payload).decode()
    size = len(put.body) + len(text)
    if size > MAX_DOCUMENT_BYTES:
        raise DocumentTooLargeError(
            f"the encoded document is {size} bytes as base64, D1 accepts {MAX_DOCUMENT_BYTES}; "
            "keep it in R2 or store less in one document",
            collection=put.collection,
            item_id=put.id,
            index=number,
            size_bytes=size,
            limit_bytes=MAX_DOCUMENT_BYTES,
        )
    return text


def _members(count: int) -> str:
    return ",".join(f"json_extract(e.value,'$[{place}]')" for place in range(count))


# --- patches -----------------------------------------------------------------------------------


def _patch(
    batch: Batch,
    collection: str,
    patches: Sequence[_Numbered],
    now_ms: int,
    dialect: Dialect,
) -> None:
    """Merge changes into documents whose conditions hold."""
    table, scope = table_of(collection)
    elements: list[bytes] = []
    for number, patch in patches:
        batch.numbers[collection, patch.id] = number
        raw = encoded([patch.id, patch.body.decode(), patch.sets_expiry, patch.expires_at_ms])
        if len(patches) > 1 and len(raw) < LIST_BYTES:
            elements.append(raw)
            continue
        batch.patches[len(batch.statements)] = collection, number
        batch.statements.append(patch_row(patch, batch.version, now_ms, None, dialect=dialect))
    for text in in_lists(elements):
        batch.patches[len(batch.statements)] = collection, None
        # An upsert and not UPDATE … FROM, for which SQLite would read the whole table.
        batch.statements.append(
            Statement(
                f"INSERT INTO {table} (scope,version,id,body,expires_at) SELECT d.scope,?2,d.id,"
                "json_patch(d.body,json_extract(e.value,'$[1]')),"
                "CASE WHEN json_extract(e.value,'$[2]') THEN json_extract(e.value,'$[3]') "
                f"ELSE d.expires_at END FROM json_each(?3) AS e CROSS JOIN {table} AS d "
                "WHERE d.scope=?1 AND d.id=json_extract(e.value,'$[0]') "
                "ON CONFLICT (scope,id) DO UPDATE SET version=excluded.version,"
                "body=excluded.body,expires_at=excluded.expires_at RETURNING id,body",
                (scope, batch.version, text),
            )
        )


def _judge_sizes(
    collection: str, patches: Sequence[_Numbered], limit_bytes: int | None
) -> Iterator[Statement]:
    """Fail if a patch made a document larger than it may be."""
    if limit_bytes is None:
        return
    table, scope = table_of(collection)
    for text in in_lists(encoded([number + 1, patch.id]) for number, patch in patches):
        found = Statement(
            "SELECT json_extract(e.value,'$[0]') AS n "
            f"FROM json_each(?2) AS e CROSS JOIN {table} AS d WHERE d.scope=?1 "
            "AND d.id=json_extract(e.value,'$[1]') "
            "AND length(CAST(d.body AS BLOB))>?3 ORDER BY e.key LIMIT 1",
            (scope, text, limit_bytes),
        )
        yield _guard([found])


# --- deletes, clears ---------------------------------------------------------------------------


def _removals(collection: str, found: Sequence[_Numbered]) -> Iterator[Statement]:
    """Remove documents whose conditions hold, or all."""
    table, scope = table_of(collection)
    ids = [encoded(each.write.id) for each in found if isinstance(each.write, Delete)]
    for text in in_lists(ids):
        yield Statement(
            f"DELETE FROM {table} WHERE scope=?1 AND id IN (SELECT value FROM json_each(?2))",
            (scope, text),
        )
    if any(isinstance(each.write, Clear) for each in found):
        yield clear_rows(collection)


# --- results -----------------------------------------------------------------------------------


def bodies_of(batch: Batch, results: Sequence[D1Result]) -> dict[int, str]:
    """The patched documents by their numbers, from the results of `batch.statements`."""
    bodies: dict[int, str] = {}
    for position, (collection, number) in batch.patches.items():
        rows = results[position].rows
        if number is not None:
            bodies.update((number, body) for (body,) in rows)
        else:
            bodies.update((batch.numbers[collection, item_id], body) for item_id, body in rows)
    return bodies


def items_of(batch: Batch, bodies: Mapping[int, str]) -> list[Item | None]:
    """The results of a batch, from the bodies of its patches by their numbers."""
    results: list[Item | None] = []
    for number, write in enumerate(batch.writes):
        match write:
            case Put(collection=collection, id=item_id, body=body):
                results.append(
                    Item(collection, item_id, batch.version, body, write.encoding, write.payload)
                )
            case Patch(collection=collection, id=item_id):
                results.append(Item(collection, item_id, batch.version, bodies[number].encode()))
            case _:
                results.append(None)
    return results
