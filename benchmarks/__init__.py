"""Benchmarks: what the SDK costs beside the same work written by hand.

`python -m benchmarks SUITE` measures one suite; `docs/performance.md` tells how to read it.
"""
