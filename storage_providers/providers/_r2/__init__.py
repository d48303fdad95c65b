"""The driver for Cloudflare R2: the seam of `_objects`, on R2's S3 interface.

| module | holds |
|---|---|
| `_r2.config` | which bucket, where, with which credentials: checked at once |
| `_r2.client` | the client of aioboto3, set up for R2 through its public options and event hooks |
| `_r2.body` | the bytes of a put, which are sent once and never shown |
| `_r2.answers` | listings and deletions as XML, read by what they say that is of use here |
| `_r2.errors` | what R2 and the connection say, as errors of the SDK |
| `_r2.objects` | objects as puts and answers of S3, and R2's limits |
| `_r2.sending` | one request at a time |
| `_r2.putting` | puts, and the truth about those whose answer was lost |
| `_r2.deleting` | deletions in batches |
| `_r2.store` | `R2Store`: get, put, delete, list |

Neither this package nor `_r2.store` loads aioboto3; that happens when a store is opened.
"""

from __future__ import annotations

from storage_providers.providers._r2.config import R2Config
from storage_providers.providers._r2.store import R2Store

__all__ = ["R2Config", "R2Store"]
