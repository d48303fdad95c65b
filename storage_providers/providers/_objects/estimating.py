"""What work on objects takes: how many are listed, read, put and removed, by how many calls."""

from __future__ import annotations

import msgspec

from storage_providers.estimates import Workload, calls_for
from storage_providers.providers._objects import ObjectLimits
from storage_providers.providers._objects.writing import CHUNK, READ_BEFORE_DELETE

__all__ = ["Operations", "operations_of"]


class Operations(msgspec.Struct, kw_only=True):
    """What a service is asked for.

    Attributes:
        requests: Calls, of all kinds.
        lists: Pages of listings, each a call.
        gets: Objects read.
        puts: Objects stored, index entries among them.
        deletes: Objects removed, likewise.
    """

    requests: int = 0
    lists: int = 0
    gets: int = 0
    puts: int = 0
    deletes: int = 0


def operations_of(
    workload: Workload, limits: ObjectLimits, carried_bytes: int | None = None
) -> Operations:
    """What work takes, the reading of the collection's declaration included.

    Args:
        workload: The work.
        limits: What the service takes in one call.
        carried_bytes: Listings carry documents up to this size; `None`: they carry none.
    """
    work = _Work(workload, limits)
    work.get(1, 1)
    work.list(workload.documents_listed, looks_on=False)
    work.list(workload.documents_read, looks_on=limits.starts_anywhere)
    if carried_bytes is None or workload.document_bytes > carried_bytes:
        work.get(workload.documents_read, workload.page)
    work.get(workload.documents_fetched, workload.batch)
    work.write(workload.documents_created, replaces=False)
    work.write(workload.documents_put, replaces=True)
    work.remove(workload.documents_deleted)
    return work.done


class _Work:
    def __init__(self, workload: Workload, limits: ObjectLimits) -> None:
        self._workload = workload
        self._limits = limits
        self.done = Operations()

    def list(self, count: int, *, looks_on: bool) -> None:
        """Pages; a full one of a query ends only where the next line is known."""
        page, lines = self._workload.page, self._limits.list_page
        full = max(0, -(-count // page) - 1)
        lists = full * -(-(page + looks_on) // lines) + -(-(count - full * page) // lines)
        self.done.lists += lists
        self.done.requests += lists

    def get(self, count: int, together: int) -> None:
        self.done.gets += count
        self.done.requests += calls_for(count, together, self._limits.get_batch)

    def write(self, count: int, *, replaces: bool) -> None:
        """Read what must be known, put entries, put documents, remove entries that were there."""
        limits, indexes = self._limits, self._workload.indexes
        reads = bool(indexes) if replaces else not limits.conditional_put
        together = min(self._workload.batch, CHUNK if reads else max(CHUNK, limits.put_batch))
        if reads:
            self.get(count, together)
        self._put(count * indexes, together * indexes)
        self._put(count, together)
        if replaces:
            self._delete(count * indexes, together * indexes)

    def remove(self, count: int) -> None:
        """Remove documents; entries too where few are removed together, else they are left."""
        indexes, batch = self._workload.indexes, min(self._workload.batch, CHUNK)
        self._delete(count, batch)
        if not indexes:
            return
        few, last = READ_BEFORE_DELETE * self._limits.get_batch, count % batch
        read = (count - last if batch <= few else 0) + (last if last <= few else 0)
        self.get(read, batch)
        self._delete(read * indexes, batch * indexes)

    def _put(self, count: int, together: int) -> None:
        self.done.puts += count
        if count:
            self.done.requests += calls_for(count, together, self._limits.put_batch)

    def _delete(self, count: int, together: int) -> None:
        self.done.deletes += count
        if count:
            self.done.requests += calls_for(count, together, self._limits.delete_batch)
