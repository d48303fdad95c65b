"""Puts, patches and deletes: entries before the document, removal after it.

A batch goes through four phases, each one call of the store: what must be known is read; the index
entries of the new documents are put; the documents are put, with a condition on what was read; the
entries that nobody needs any more are removed. Whoever is killed on the way leaves entries to
collect, never a document that a query can't find:

- a document lands only after its entries did, and its token is in each of them;
- entries are removed by whoever replaced the document with their token, which then never is there
  again, or by the writer that knows for certain that its document did not land;
- a write that is not on its way within `PLAN_SECONDS` is planned anew, so the declaration it went
  by is never older than others reckon with, nor are its entries old enough to be collected.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar, cast

from storage_providers.errors import (
    BatchError,
    ConflictError,
    DeadlineExceededError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    TransportError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    Clear,
    Delete,
    IfVersion,
    Item,
    Patch,
    Put,
    Write,
)
from storage_providers.providers._objects import ObjectPut, StoredObject
from storage_providers.providers._objects.collecting import clear
from storage_providers.providers._objects.declaring import (
    RETRY_SECONDS,
    DeclaredIndex,
    retry_seconds,
)
from storage_providers.providers._objects.entries import new_token
from storage_providers.providers._objects.jobs import PLAN_SECONDS, Job, entries_of
from storage_providers.resilience import Deadline

if TYPE_CHECKING:
    from storage_providers.providers._objects.provider import ObjectProvider

__all__ = ["write"]

CHUNK: Final = 1000
"""Writes that go through the phases together. Source: R2 removes 1,000 objects a request."""

READ_BEFORE_DELETE: Final = 32
"""With more deletes in one collection of a batch, their entries are left to be collected; so many
times what one request reads. Ours."""

SLICE_BYTES: Final = 32_000_000
"""Documents are sent in slices of so many bytes, so that none waits long for the others. Ours."""

SLICE_DOCUMENTS: Final = 256
"""And of at most so many documents, if the service does not store more in a request. Ours."""

MEND_SECONDS: Final = 120
"""A document that was so long on its way gets its entries once more. Ours: `PLAN_SECONDS`, and the
60 s that a request may take with all its attempts."""

TIMES_LATE: Final = 3
"""How often a write that took longer than `PLAN_SECONDS` before it was sent is begun anew. Ours."""

_LOGGER = logging.getLogger("storage_providers")

T = TypeVar("T")


async def write(provider: ObjectProvider, batch: Sequence[Write]) -> list[Item | None]:
    """Carry out a batch, each write by itself.

    Raises:
        BatchError: Some of several failed.
        StorageError: The only write failed; or, before anything was sent, a key is too long.
    """
    jobs, chunk = await _jobs(provider, batch)
    for start in range(0, len(jobs), chunk):
        await _Chunk(provider, jobs[start : start + chunk]).run()
    results: list[Item | StorageError | None] = [None] * len(batch)
    for job in jobs:
        results[job.position] = job.result
    for position, each in enumerate(batch):
        if isinstance(each, Clear):
            try:
                await clear(provider, each.collection)
            except StorageError as error:
                results[position] = error
    return _outcome(batch, results)


async def _jobs(provider: ObjectProvider, batch: Sequence[Write]) -> tuple[list[Job], int]:
    """The writes, once it is known that all their keys fit, and how many of them go together."""
    limits = provider.store.limits
    chunk = max(CHUNK, limits.put_batch)
    deletes = Counter(write.collection for write in batch if isinstance(write, Delete))
    jobs: list[Job] = []
    for position, each in enumerate(batch):
        if isinstance(each, Clear):
            continue
        try:
            few = READ_BEFORE_DELETE * limits.get_batch
            with_entries = deletes[each.collection] <= few
            jobs.append(Job(provider, position, each, with_entries=with_entries))
            indexes = await provider.indexes(each.collection)
            if jobs[-1].must_read(indexes):
                chunk = CHUNK  # Reading more would take long.
            if indexes and isinstance(each, Put):
                entries_of(indexes, each.document, each.id, new_token(provider.clock))
        except StorageError as error:
            raise _placed(error, each, position) from None
    return jobs, chunk


def _outcome(
    batch: Sequence[Write], results: Sequence[Item | StorageError | None]
) -> list[Item | None]:
    errors = 0
    for position, result in enumerate(results):
        if isinstance(result, StorageError):
            _placed(result, batch[position], position)
            errors += 1
    if not errors:
        return cast("list[Item | None]", list(results))
    if len(batch) == 1:
        raise cast(StorageError, results[0])
    raise BatchError(
        f"{errors} of {len(batch)} writes failed; 'results' tells which, and what the others gave",
        results=results,
    )


def _placed(error: StorageError, write: Write, position: int) -> StorageError:
    error.collection, error.index = write.collection, position
    error.item_id = None if isinstance(write, Clear) else write.id
    return error


class _Chunk:
    """Writes that go through the phases together.

    Args:
        provider: Where they go.
        jobs: The writes.
    """

    def __init__(self, provider: ObjectProvider, jobs: Sequence[Job]) -> None:
        self._provider = provider
        self._store = provider.store
        self._jobs = jobs
        self._deadline: Deadline | None = None
        self._garbage: list[str] = []
        self._landed_late: list[Job] = []

    async def run(self) -> None:
        """Carry them out; each has its result then."""
        jobs, rounds = self._jobs, 0
        while jobs:
            await self._round(jobs)
            rounds += 1
            wait = self._wait_seconds(jobs, rounds)
            jobs = [job for job in jobs if not job.done]
            if wait:
                await self._provider.timing.sleep(wait)
        await self._mend()
        await self._sweep()

    def _wait_seconds(self, jobs: Iterable[Job], rounds: int) -> float:
        """How long to wait before the next round; who has no time for it is done."""
        timing, longest = self._provider.timing, 0.0
        if self._deadline is None:
            self._deadline = Deadline(RETRY_SECONDS, timing)
        for job in jobs:
            reason = job.again
            wait = None if reason is None else retry_seconds(reason, rounds, timing.jitter())
            if reason is None or wait is None:
                continue
            if wait >= self._deadline.remaining_seconds:
                self._fail(job, _late(job, reason))
            else:
                longest = max(longest, wait)
        return longest

    def _fail(self, job: Job, error: StorageError) -> None:
        """A write is known not to have landed, so nobody needs its entries."""
        self._garbage += job.sent
        job.finish(error)

    # --- the phases ----------------------------------------------------------------------------

    async def _round(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.begin()
        indexes: dict[str, tuple[DeclaredIndex, ...]] = {}
        try:
            for name in dict.fromkeys(job.write.collection for job in jobs):
                indexes[name] = await self._provider.indexes(name)
        except StorageError as error:
            for job in jobs:
                self._fail(job, copy.copy(error))
            return
        found = await self._read(
            [job for job in jobs if job.must_read(indexes[job.write.collection])]
        )
        for job in jobs:
            if not job.done:
                stored, has_read = found.get(job.key), job.key in found
                try:
                    job.plan(indexes[job.write.collection], stored, has_read=has_read)
                except StorageError as error:
                    self._fail(job, error)
        await self._put_entries([job for job in jobs if not job.done])
        ready = [job for job in jobs if not job.done and job.again is None]
        await self._put_documents([job for job in ready if job.put is not None])
        await self._delete_documents([job for job in ready if isinstance(job.write, Delete)])

    async def _read(self, jobs: Sequence[Job]) -> dict[str, StoredObject | None]:
        """What is there; a write whose document could not be read is done."""
        found: dict[str, StoredObject | None] = {}
        if jobs:
            results = await _each(self._store.get([job.key for job in jobs]), len(jobs))
            for job, result in zip(jobs, results, strict=True):
                if isinstance(result, StorageError):
                    self._fail(job, result)
                else:
                    found[job.key] = result
        return found

    async def _put_entries(self, jobs: Sequence[Job]) -> None:
        wanted = [(job, key) for job in jobs for key in job.planned if key not in job.stored]
        if not wanted:
            return
        for job, key in wanted:
            job.sent.add(key)
        results = await _each(
            self._store.put(
                [ObjectPut(key=key, expires_at_ms=job.expires_at_ms) for job, key in wanted]
            ),
            len(wanted),
        )
        for (job, key), result in zip(wanted, results, strict=True):
            if isinstance(result, str):
                job.stored.add(key)
            elif job.done:
                continue  # Another of its entries could not be put.
            elif isinstance(result, RateLimitedError):
                job.again = result
            else:
                self._fail(job, _unwritten(result))

    async def _put_documents(self, jobs: Sequence[Job]) -> None:
        most = max(SLICE_DOCUMENTS, self._store.limits.put_batch)
        for some in _slices(jobs, most):
            in_time = [job for job in some if not self._is_late(job)]
            puts = [cast(ObjectPut, job.put) for job in in_time]
            if puts:
                results = await _each(self._store.put(puts), len(puts))
                for job, result in zip(in_time, results, strict=True):
                    self._settle(job, result)

    def _is_late(self, job: Job) -> bool:
        if job.age_seconds() <= PLAN_SECONDS:
            return False
        job.begin_anew()
        if job.times_late > TIMES_LATE:
            self._fail(
                job,
                DeadlineExceededError(
                    f"reading and index entries took longer than {PLAN_SECONDS} s, so nothing was "
                    "written; write less in one batch",
                    deadline_seconds=PLAN_SECONDS,
                    attempts=job.times_late,
                ),
            )
        return True

    def _settle(self, job: Job, result: str | StorageError) -> None:
        """Take in what came of putting a document."""
        if isinstance(result, str):
            self._garbage += job.replaced
            self._garbage += job.sent.difference(job.planned)
            job.landed(result)
            if job.age_seconds() > MEND_SECONDS:
                self._landed_late.append(job)
        elif isinstance(result, ConflictError):
            # Where the caller asked for the condition, what is there now says whether it is final;
            # a second refusal means that others were faster again.
            if job.has_lost or not _is_callers(job.write):
                job.again = result
            job.has_lost = True
        elif isinstance(result, RateLimitedError):
            job.again = result
        else:
            # It may have landed, so its entries stay.
            self._garbage += job.sent.difference(job.planned)
            job.finish(result)

    async def _delete_documents(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        results = await _each(self._store.delete([job.key for job in jobs]), len(jobs))
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, RateLimitedError):
                job.again = result
                continue
            if result is None:
                self._garbage += job.replaced
            job.finish(result)

    async def _mend(self) -> None:
        """Put entries once more for documents that landed later than others reckon with.

        An index may have become ready meanwhile that they knew nothing of, and their entries may
        have been collected: a machine was asleep, or the service very slow.
        """
        entries: list[str] = []
        try:
            for name in {job.write.collection for job in self._landed_late}:
                self._provider.forget(name)
            for job in self._landed_late:
                item = cast(Item, job.result)
                # A token of now, or they could be collected as the first ones.
                token = new_token(self._provider.clock)
                indexes = await self._provider.indexes(item.collection)
                entries += entries_of(indexes, item.document, item.id, token)
            results = (
                await self._store.put([ObjectPut(key=key) for key in entries]) if entries else []
            )
        except StorageError as error:
            results = [error]
        errors = [result for result in results if isinstance(result, StorageError)]
        if errors:
            _LOGGER.warning(
                "%s: documents were on their way for more than %d s, and putting their index "
                "entries once more failed (%s); reindex %s",
                self._provider.name,
                MEND_SECONDS,
                type(errors[0]).__name__,
                ", ".join(sorted({job.write.collection for job in self._landed_late})),
            )

    async def _sweep(self) -> None:
        """Remove the entries that nobody needs any more; what stays is collected some day."""
        if not self._garbage:
            return
        results = await _each(self._store.delete(self._garbage), len(self._garbage))
        errors = [result for result in results if result is not None]
        if errors:
            _LOGGER.debug(
                "%s: %d index entries were left to be collected (%s)",
                self._provider.name,
                len(errors),
                type(errors[0]).__name__,
            )


def _slices(jobs: Sequence[Job], most: int) -> Iterable[list[Job]]:
    """So many documents together as are sent in one go."""
    some, size_bytes = list[Job](), 0
    for job in jobs:
        assert job.put is not None
        is_full = size_bytes + len(job.put.data) > SLICE_BYTES or len(some) == most
        if some and is_full:
            yield some
            some, size_bytes = [], 0
        some.append(job)
        size_bytes += len(job.put.data)
    if some:
        yield some


async def _each(call: Awaitable[list[T | StorageError]], count: int) -> list[T | StorageError]:
    """The outcomes of a call; an error of the whole call is that of each."""
    try:
        return await call
    except StorageError as error:
        # Each names its own write.
        return [copy.copy(error) for _ in range(count)]


def _is_callers(write: Put | Patch | Delete) -> bool:
    """Whether a conflict is one with the caller's own condition, so that it may be the answer."""
    return write.condition is IF_ABSENT or isinstance(write.condition, IfVersion)


def _unwritten(error: StorageError) -> StorageError:
    """The error of a write whose index entry was not stored: its document was not sent."""
    if not isinstance(error, OutcomeUnknownError):
        return error
    unwritten = TransportError(
        f"an index entry could not be stored, so nothing was written ({error.message}); try again"
    )
    unwritten.__cause__ = error
    return unwritten


def _late(job: Job, reason: StorageError) -> StorageError:
    """The error of a write that lost every race."""
    if not isinstance(reason, ConflictError):
        return reason
    condition = None if job.put is None else job.put.condition
    late = VersionMismatchError(
        f"others kept changing the document for {RETRY_SECONDS} s; nothing was written, try again",
        expected_version=condition.version if isinstance(condition, IfVersion) else None,
    )
    late.__cause__ = reason
    return late
