"""Imports legacy data through the contract; what `Provider.migrate_legacy_data` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from storage_providers.errors import BatchError, ConflictError, StorageError
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    Address,
    Condition,
    IfVersion,
    ImportReport,
    Item,
    LegacyProblem,
    LegacyRecord,
    LegacySource,
    Put,
)

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["import_legacy"]

BATCH_RECORDS = 500
"""Records read, compared and written at once; a batch of the remote providers holds as many."""


async def import_legacy(
    provider: Provider,
    source: LegacySource,
    *,
    dry_run: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Import every record of a source; see `Provider.migrate_legacy_data`."""
    report = ImportReport(source=source.name, dry_run=dry_run)
    batch: dict[Address, LegacyRecord] = {}
    done = 0

    async def flush() -> None:
        nonlocal done
        await _import_batch(provider, batch, report)
        done += len(batch)
        batch.clear()
        if on_progress is not None:
            on_progress(done)

    async for record in source.records():
        if isinstance(record, LegacyProblem):
            report.problems.append(record)
            continue
        address = Address(record.collection, str(record.document.get("id")))
        if address in batch or len(batch) >= BATCH_RECORDS:
            await flush()
        batch[address] = record
    await flush()
    return report


async def _import_batch(
    provider: Provider, batch: dict[Address, LegacyRecord], report: ImportReport
) -> None:
    """Import one batch; what others write meanwhile is read again and compared anew."""
    pending = dict(batch)
    while pending:
        existing = await provider.read(list(pending))
        puts: dict[Address, tuple[Put, bool]] = {}
        for (address, record), item in zip(list(pending.items()), existing, strict=True):
            try:
                put = _decide(provider, record, item, report)
            except StorageError as error:
                report.problems.append(LegacyProblem(origin=record.origin, reason=str(error)))
                put = None
            if put is None:
                del pending[address]
            else:
                puts[address] = put, item is None
        if not report.dry_run:
            await _write(provider, batch, puts, report)
        for address in list(puts):
            record, is_new = pending.pop(address), puts[address][1]
            _count(report.created if is_new else report.updated, record.collection)
        pending = {}


def _decide(
    provider: Provider, record: LegacyRecord, item: Item | None, report: ImportReport
) -> Put | None:
    condition: Condition = IF_ABSENT
    if item is not None:
        existing = item.document
        if existing == record.document:
            _count(report.unchanged, record.collection)
            return None
        if str(existing.get("updatedAt", "")) >= str(record.document.get("updatedAt", "")):
            _count(report.kept, record.collection)
            return None
        condition = IfVersion(item.version) if provider.capabilities.conditional_write else ANY
    return Put(record.collection, record.document, condition)


def _count(counts: dict[str, int], collection: str) -> None:
    counts[collection] = counts.get(collection, 0) + 1


async def _write(*args: object) -> None:
    raise NotImplementedError
