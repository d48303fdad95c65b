"""What work on D1 costs."""

from __future__ import annotations

from typing import Final, NamedTuple

from storage_providers.estimates import Charge, Estimate, Workload, calls_for

__all__ = ["estimate"]

USD_READ: Final = 0.001
"""A million rows read, US dollars, on a paid plan beyond what it includes. Source: Cloudflare docs,
d1/platform/pricing (read 2026-11)."""

USD_WRITTEN: Final = 1.00
"""A million rows written, likewise."""

BASIS: Final = "D1's prices of 2026-11 on a paid plan; included rows are not taken off"


class _Rows(NamedTuple):
    """Rows of one document, as the service counts them. Measured on workerd (2026-11).

    Attributes:
        read: Rows read.
        written: Rows written: its own, its key where that is new.
        text_read: More rows read where text fields are declared.
        text_written: More rows written there: the old words go, the new ones come.
    """

    read: int
    written: int = 0
    text_read: int = 0
    text_written: int = 0


_LISTED: Final = _Rows(read=1)
_FETCHED: Final = _Rows(read=3)
_CREATED: Final = _Rows(read=2, written=2, text_read=2, text_written=1)
_PUT: Final = _Rows(read=2, written=1, text_read=3, text_written=2)
_DELETED: Final = _Rows(read=4, written=1, text_read=1, text_written=1)

_BATCH: Final = _Rows(read=3, written=1)
"""A batch's token, which tells later whether it landed."""


def estimate(workload: Workload) -> Estimate:
    """Calls and rows of work: a page is a call, and so is a batch.

    Args:
        workload: The work, on one collection.
    """
    page, batch, text = workload.page, workload.batch, int(workload.full_text)
    requests = read = written = 0
    for count, rows, together, indexes in (
        (workload.documents_listed, _LISTED, page, 0),
        (workload.documents_read, _LISTED, page, 0),
        (workload.documents_fetched, _FETCHED, batch, 0),
        (workload.documents_created, _CREATED, batch, workload.indexes),
        (workload.documents_put, _PUT, batch, workload.indexes),
        (workload.documents_deleted, _DELETED, batch, 0),
    ):
        calls = calls_for(count, together, together)
        requests += calls
        read += count * (rows.read + text * rows.text_read)
        written += count * (rows.written + indexes + text * rows.text_written)
        if rows.written:
            read += calls * _BATCH.read
            written += calls * _BATCH.written
    return Estimate(
        requests=requests,
        charges=Charge.needed(
            Charge.at("rows read", read, USD_READ), Charge.at("rows written", written, USD_WRITTEN)
        ),
        basis=BASIS,
    )
