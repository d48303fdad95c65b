"""`python -m benchmarks SUITE [--json] [--quick] [--only TEXT] [--folder FOLDER]`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import pkgutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from benchmarks import suites
from benchmarks._harness import Case, Row, Run
from benchmarks._machine import machine, versions


def main(arguments: list[str] | None = None) -> int:
    """Run one suite. Returns 0, also when goals are missed: the figures are the result."""
    options = _parser().parse_args(arguments)
    if options.list or options.suite is None:
        for name in suite_names():
            print(f"{name:10} {(_suite(name).__doc__ or '').splitlines()[0]}")
        return 0
    if options.suite not in suite_names():
        print(f"no suite {options.suite!r}; there are: {', '.join(suite_names())}", file=sys.stderr)
        return 2
    known = _suite(options.suite).CASES
    cases = [case for case in known if not options.only or options.only in case.__name__]
    if not cases:
        names = ", ".join(case.__name__ for case in known)
        print(f"no case of {options.suite!r} holds {options.only!r}: {names}", file=sys.stderr)
        return 2
    result = asyncio.run(measure(options, cases))
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
    else:
        _print_summary(result["rows"])
    return 0


def suite_names() -> list[str]:
    """Every suite there is."""
    return sorted(module.name for module in pkgutil.iter_modules(suites.__path__))


async def measure(options: argparse.Namespace, cases: Sequence[Case]) -> dict[str, Any]:
    """Measure cases of a suite, in order, and return the object that `--json` prints."""
    suite = _suite(options.suite)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=options.folder) as folder:
        facts = machine(Path(folder))
        peers = versions(suite.PEERS)
        if not options.json:
            _print_header(options, facts, peers)
        run = Run(
            Path(folder),
            quick=options.quick,
            report=_note_progress if options.json else _print_row,
        )
        for case in cases:
            await case(run)
    return {"suite": options.suite, "machine": facts, "versions": peers, "rows": run.rows}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suite", nargs="?", help="which suite; without one, they are listed")
    parser.add_argument("--list", action="store_true", help="list the suites")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--quick", action="store_true", help="small and short, to see that it works; not to compare"
    )
    parser.add_argument("--only", metavar="TEXT", help="only the cases whose name holds this")
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure")
    return parser


def _suite(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.suites.{name}")


# --- printing ----------------------------------------------------------------------------------


def _print_header(
    options: argparse.Namespace,
    facts: dict[str, str | int | float],
    peers: dict[str, str | None],
) -> None:
    print(f"suite {options.suite}{' (quick: the figures mean nothing)' if options.quick else ''}")
    print("  ".join(f"{key}: {value}" for key, value in facts.items()))
    print("  ".join(f"{name} {version or '(not installed)'}" for name, version in peers.items()))
    print()
    print(f"{'':46} {'ours':>18}  {'ratio':>7} {'spread':>15}  {'goal':>7}")


def _print_row(row: Row) -> None:
    value = "-" if row.value is None else f"{row.value:,.4g} {row.unit}"
    ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
    spread = "" if row.spread is None else f"{row.spread[0]:.3g} to {row.spread[1]:.3g}"
    goal = "" if row.goal is None else f"{'≥' if row.higher_is_better else '≤'} {row.goal:g}"
    print(f"{row.name:46} {value:>18}  {ratio:>7} {spread:>15}  {goal:>7}  {_verdict(row)}")
    print(f"    against {row.reference}", flush=True)


def _verdict(row: Row) -> str:
    if row.ratio is None:
        return "NOT MEASURED"
    return {True: "met", False: "MISSED", None: ""}[row.met]


def _note_progress(row: Row) -> None:
    """With `--json` standard output is the object's alone."""
    print(f"{row.name}: {row.ratio} {_verdict(row)}", file=sys.stderr, flush=True)


def _print_summary(rows: list[Row]) -> None:
    met, missed = (sum(row.met is verdict for row in rows) for verdict in (True, False))
    unmeasured = sum(row.ratio is None for row in rows)
    print(f"\n{met} goals met, {missed} missed, {unmeasured} rows not measured")


if __name__ == "__main__":
    sys.exit(main())
