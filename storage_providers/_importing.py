"""Imports documents through the contract: what `migrate_legacy_data` and archives stand on.

Documents are compared and written in batches. What another writer changed between the comparison
and the write is read and compared again, and a document that can't be stored never stops the
others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from storage_providers._checks import size_limit
from storage_providers._clock import parse_timestamp
from storage_providers.errors import (
    BatchError,
    ConflictError,
    CorruptItemError,
    DocumentTooLargeError,
    InvalidArgumentError,
    InvalidDocumentError,
    OutcomeUnknownError,
    StorageError,
)
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    Address,
    IfVersion,
    ImportReport,
    Item,
    JsonObject,
    LegacyProblem,
    LegacySource,
    Put,
    check_collection,
    check_id,
)

if TYPE_CHECKING:
    from storage_providers._face import FriendlyFace

__all__ = ["Candidate", "ImportMode", "Importer", "import_legacy"]

ImportMode: TypeAlias = Literal["create-only", "overwrite", "newest-wins"]
"""What becomes of documents that exist: they stay, they are replaced, or the newer one wins."""

BATCH_DOCUMENTS = 500
"""Documents read, compared and written at once; the remote providers' batches hold as many."""
BATCH_BYTES = 8 * 1024 * 1024
"""A batch of large documents is sent earlier, so that memory stays flat."""
MAX_ROUNDS = 8
"""How often a document that others keep changing is compared anew before it is given up."""

_DOCUMENT_ERRORS = (
    CorruptItemError,
    DocumentTooLargeError,
    InvalidArgumentError,
    InvalidDocumentError,
)
_canonical = msgspec.json.Encoder(order="sorted").encode


class Candidate(msgspec.Struct, frozen=True):
    """A document that asks to be imported.

    Attributes:
        put: What would be written; the importer sets the condition.
        origin: Where it came from, for reports.
        dated: Whether its `updatedAt` is its own. Without, one that exists is never replaced by
            the rule that the newer wins.
    """

    put: Put
    origin: str
    dated: bool = True


class Importer:
    """Writes candidates batch by batch and counts what became of them.

    Args:
        provider: Where to.
        report: Receives the counts and problems; its `dry_run` says whether nothing is written.
        mode: What becomes of documents that exist.
        on_progress: Told after each batch how many documents were dealt with so far.

    Attributes:
        report: As given.
        mode: As given.
    """

    def __init__(
        self,
        provider: FriendlyFace,
        report: ImportReport,
        *,
        mode: ImportMode = "newest-wins",
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        self.report = report
        self.mode: ImportMode = mode
        self._provider = provider
        self._on_progress = on_progress
        self._batch: dict[Address, Candidate] = {}
        self._batch_bytes = 0
        self._limits: dict[str, int | None] = {}
        self._done = 0
        self._reported = 0

    async def add(self, candidate: Candidate) -> None:
        """Take a document; it is written with the batch it falls into.

        Raises:
            StorageError: The provider failed; what was imported until then stays.
        """
        put = candidate.put
        address = Address(put.collection, put.id)
        full = (
            len(self._batch) >= BATCH_DOCUMENTS or self._batch_bytes + put.size_bytes > BATCH_BYTES
        )
        if address in self._batch or (self._batch and full):
            await self.flush()
        try:
            await self._check(put)
        except StorageError as error:
            if not isinstance(error, _DOCUMENT_ERRORS):
                raise
            self.problem(candidate.origin, error)
            return
        self._batch[address] = candidate
        self._batch_bytes += put.size_bytes

    def problem(self, origin: str, reason: StorageError | str) -> None:
        """Report something that can't be imported; it counts as dealt with."""
        self.report.problems.append(LegacyProblem(origin=origin, reason=str(reason)))
        self._done += 1

    async def flush(self) -> None:
        """Write what was taken so far.

        Raises:
            StorageError: The provider failed; what was imported until then stays.
        """
        if self._reported == self._done and not self._batch:
            return
        batch, self._batch, self._batch_bytes = self._batch, {}, 0
        unsure: dict[Address, bool] = {}
        rounds = 0
        while batch:
            batch = await self._round(batch, unsure)
            rounds += 1
            if rounds == MAX_ROUNDS:
                for candidate in batch.values():
                    self.problem(
                        candidate.origin,
                        f"others changed the document {rounds} times in a row; import again",
                    )
                batch = {}
        self._reported = self._done
        if self._on_progress is not None:
            self._on_progress(self._done)

    async def _check(self, put: Put) -> None:
        """Find out what is wrong with a document before it can spoil a batch."""
        check_collection(put.collection, self._provider.capabilities.max_scope_bytes)
        check_id(put.id, self._provider.capabilities.max_id_bytes)
        if put.collection not in self._limits:
            spec = await self._provider.declared(put.collection)
            self._limits[put.collection] = size_limit(self._provider.capabilities, spec)
        limit = self._limits[put.collection]
        if limit is not None and put.size_bytes > limit:
            raise DocumentTooLargeError(
                f"document is {put.size_bytes} bytes, the limit is {limit}",
                collection=put.collection,
                item_id=put.id,
                size_bytes=put.size_bytes,
                limit_bytes=limit,
            )

    async def _round(
        self, batch: dict[Address, Candidate], unsure: dict[Address, bool]
    ) -> dict[Address, Candidate]:
        """Compare and write once; returns what was changed by others meanwhile."""
        writes: list[tuple[Address, Candidate, bool]] = []
        existing = await self._existing(batch)
        for address, item in existing.items():
            candidate = batch[address]
            verdict = self._verdict(candidate, item)
            if verdict in ("created", "updated"):
                self._set_condition(candidate.put, item)
                writes.append((address, candidate, item is None))
            elif address in unsure:
                # An earlier round wrote it without learning so.
                self._count("created" if unsure[address] else "updated", address)
            else:
                self._count(verdict, address)
        if self.report.dry_run:
            for address, _, is_new in writes:
                self._count("created" if is_new else "updated", address)
            return {}
        return await self._write(writes, unsure)

    async def _existing(self, batch: dict[Address, Candidate]) -> dict[Address, Item | None]:
        addresses = list(batch)
        results: tuple[Item | StorageError | None, ...]
        try:
            results = tuple(await self._provider.read(addresses))
        except BatchError as error:
            results = error.results
        except CorruptItemError as error:
            if len(addresses) > 1:
                raise
            results = (error,)
        existing: dict[Address, Item | None] = {}
        for address, result in zip(addresses, results, strict=True):
            if isinstance(result, _DOCUMENT_ERRORS):
                self.problem(batch[address].origin, f"what is stored can't be read: {result}")
            elif isinstance(result, StorageError):
                raise result
            else:
                existing[address] = result
        return existing

    def _verdict(self, candidate: Candidate, item: Item | None) -> str:
        if item is None:
            return "created"
        if _same(candidate, item):
            return "unchanged"
        if self.mode == "overwrite":
            return "updated"
        newer = (
            self.mode == "newest-wins"
            and candidate.dated
            and _updated_ms(candidate.put.document) > _updated_ms(item.document)
        )
        return "updated" if newer else "kept"

    def _set_condition(self, put: Put, item: Item | None) -> None:
        if not self._provider.capabilities.conditional_write:
            put.condition = ANY
        else:
            put.condition = IF_ABSENT if item is None else IfVersion(item.version)

    async def _write(
        self, writes: list[tuple[Address, Candidate, bool]], unsure: dict[Address, bool]
    ) -> dict[Address, Candidate]:
        again: dict[Address, Candidate] = {}
        while writes:
            results = await self._attempt([candidate.put for _, candidate, _ in writes])
            failure: StorageError | None = None
            for position, result in results.items():
                address, candidate, is_new = writes[position]
                if not isinstance(result, StorageError):
                    self._count("created" if is_new else "updated", address)
                elif isinstance(result, ConflictError | OutcomeUnknownError):
                    if isinstance(result, OutcomeUnknownError):
                        unsure[address] = is_new
                    again[address] = candidate
                elif isinstance(result, _DOCUMENT_ERRORS):
                    self.problem(candidate.origin, result)
                else:
                    failure = result
            if failure is not None:
                raise failure
            writes = [write for at, write in enumerate(writes) if at not in results]
        return again

    async def _attempt(self, puts: list[Put]) -> dict[int, Item | StorageError | None]:
        """Write once: what became of each by its position. Those not named were not tried."""
        try:
            return dict(enumerate(await self._provider.write(puts)))
        except BatchError as error:
            return dict(enumerate(error.results))
        except (ConflictError, *_DOCUMENT_ERRORS) as error:
            index = 0 if len(puts) == 1 else error.index
            if index is None:
                raise
            # The batch was refused as a whole because of this one; the others go again without.
            return {index: error}
        except OutcomeUnknownError as error:
            return dict.fromkeys(range(len(puts)), error)

    def _count(self, verdict: str, address: Address) -> None:
        counts: dict[str, int] = getattr(self.report, verdict)
        counts[address.collection] = counts.get(address.collection, 0) + 1
        self._done += 1


async def import_legacy(
    provider: FriendlyFace,
    source: LegacySource,
    *,
    dry_run: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Import every record of a source; see `Provider.migrate_legacy_data`."""
    report = ImportReport(source=source.name, dry_run=dry_run)
    importer = Importer(provider, report, on_progress=on_progress)
    async for record in source.records():
        if isinstance(record, LegacyProblem):
            importer.problem(record.origin, record.reason)
            continue
        try:
            put = Put(record.collection, record.document)
        except StorageError as error:
            importer.problem(record.origin, error)
            continue
        await importer.add(Candidate(put, record.origin, record.dated))
    await importer.flush()
    return report


def _same(candidate: Candidate, item: Item) -> bool:
    put = candidate.put
    if (put.encoding, put.payload) != (item.encoding, item.payload):
        return False
    if put.body == item.body:
        return True
    new, old = put.document, item.document
    if not candidate.dated:
        # Its times were guessed from the surroundings (a file's, say), which change by copying.
        new, old = _undated(new), _undated(old)
    return _canonical(new) == _canonical(old)


def _undated(document: JsonObject) -> JsonObject:
    return {
        name: value for name, value in document.items() if name not in ("createdAt", "updatedAt")
    }


def _updated_ms(document: dict[str, Any]) -> float:
    try:
        return parse_timestamp(document["updatedAt"])
    except (KeyError, TypeError, ValueError):
        return float("-inf")
