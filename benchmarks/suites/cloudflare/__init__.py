"""What a call of Cloudflare's REST API costs this machine, beside a bare httpx client."""

from __future__ import annotations

from benchmarks._harness import Case
from benchmarks.suites.cloudflare._calls import (
    call_alone,
    calls_at_once,
    calls_without_aiohttp,
    large_answers,
    own_share,
)

__all__ = ["CASES", "PEERS"]

PEERS = ("httpx", "httpx-aiohttp", "aiohttp")

CASES: tuple[Case, ...] = (
    calls_at_once,
    call_alone,
    large_answers,
    calls_without_aiohttp,
    own_share,
)
