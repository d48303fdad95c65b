"""Why a batch was refused, from one more read."""

from __future__ import annotations

from collections.abc import Mapping

from storage_providers.cloudflare.errors import D1StatementError
from storage_providers.errors import DocumentTooLargeError, StorageError
from storage_providers.protocol import Clear, Delete, Patch, Put
from storage_providers.providers._d1.asking import corrupt
from storage_providers.providers._d1.bound import encoded, in_lists
from storage_providers.providers._d1.database import Database
from storage_providers.providers._d1.writing import MAX_DOCUMENT_BYTES, Batch
from storage_providers.providers._sql import Statement, table_of
from storage_providers.providers._sql.write import conflict, look_at
from storage_providers.resilience import Effect

__all__ = ["explain"]


async def explain(
    database: Database,
    batch: Batch,
    limits: Mapping[str, int | None],
    refused: D1StatementError,
    now_ms: int,
) -> StorageError | None:
    """The error of the write that a guard named, or `None` if nothing stands in its way any more.

    Args:
        database: Where to look.
        batch: What was refused.
        limits: Largest document of each collection, bytes.
        refused: How.
        now_ms: Documents that expire then or earlier are absent, epoch ms.

    Returns:
        The error, with its `index`; `None` also where it was no guard.
    """
    if refused.kind == "too_big":
        return await _too_big(database, batch, limits)
    if refused.guard is None:
        return None
    index = refused.guard - 1
    write = batch.writes[index]
    assert not isinstance(write, Clear), "a clear has no condition"
    limit = limits.get(write.collection)
    failed = await _explain(database, write, limit, now_ms)
    if failed is not None:
        failed.collection, failed.item_id, failed.index = write.collection, write.id, index
    return failed


async def _explain(
    database: Database, write: Put | Patch | Delete, limit_bytes: int | None, now_ms: int
) -> StorageError | None:
    try:
        (result,) = await database.run([look_at(write, now_ms)], Effect.READ, "write")
    except D1StatementError as error:
        if error.kind == "no_such_table":
            return conflict(write, None)
        if error.kind == "malformed_json":
            return corrupt(write.collection, write.id)
        raise
    found = None
    if result.rows:
        version, encoding, size = result.rows[0]
        found = version, encoding, None if size is None else int(size)
    return conflict(write, found, limit_bytes)


async def _too_big(
    database: Database, batch: Batch, limits: Mapping[str, int | None]
) -> StorageError | None:
    """The patch that made a document larger than a row of D1: its size can only be estimated."""
    patches: dict[str, list[str]] = {}
    for collection, item_id in batch.numbers:
        patches.setdefault(collection, []).append(item_id)
    statements: list[Statement] = []
    for collection, ids in patches.items():
        table, scope = table_of(collection)
        statements += [
            Statement(
                "SELECT ?3 AS collection,id,length(CAST(body AS BLOB)) AS size "
                f"FROM {table} WHERE scope=?1 AND id IN (SELECT value FROM json_each(?2))",
                (scope, text, collection),
            )
            for text in in_lists(map(encoded, ids))
        ]
    if not statements:
        return None
    worst: DocumentTooLargeError | None = None
    for result in await database.run(statements, Effect.READ, "write"):
        for collection, item_id, old in result.rows:
            index = batch.numbers[collection, item_id]
            patch = batch.writes[index]
            assert isinstance(patch, Patch)
            size = len(patch.body) + int(old or 0)
            if worst is None or size > worst.size_bytes:
                limit = limits.get(collection) or MAX_DOCUMENT_BYTES
                worst = DocumentTooLargeError(
                    f"the patched document would have up to {size} bytes, the limit is {limit}",
                    collection=collection,
                    item_id=item_id,
                    index=index,
                    size_bytes=size,
                    limit_bytes=limit,
                )
    return worst
