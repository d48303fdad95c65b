"""Kinds of legacy data: how they are recognised, and what is done with them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from examples.valet_data import make_valet_data
from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import LegacyProblem, LegacyRecord
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.transfer.legacy import (
    LEGACY_KINDS,
    _kinds,
    count_records,
    fitting_kinds,
    import_legacy_data,
    legacy_kind,
)


@pytest.mark.parametrize(
    ("made", "kinds"),
    [
        (["_global_todo.json"], ["valet"]),
        (["_global_todo.md"], ["valet"]),
        (["days/"], ["valet"]),
        (["archive/"], ["valet"]),
        (["settings.json", "notes.md"], []),
        (["_global_todo.json/"], []),
        ([], []),
    ],
)
def test_what_is_recognised(tmp_path: Path, made: list[str], kinds: list[str]) -> None:
    """Any of its own files or folders tells a kind; what any program might have does not."""
    for name in made:
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_text("{}")
    assert [kind.name for kind in fitting_kinds(tmp_path)] == kinds
    assert fitting_kinds(tmp_path / "absent") == []


def test_what_is_not_recognised_is_told_what_was_looked_for(tmp_path: Path) -> None:
    """The error names every kind with its signs; a known kind is taken at its word."""
    with pytest.raises(InvalidArgumentError) as caught:
        legacy_kind(tmp_path)
    for kind in LEGACY_KINDS:
        assert f"{kind.name} ({kind.what}): {kind.signs}" in str(caught.value)
    assert legacy_kind(tmp_path, "valet").name == "valet"
    with pytest.raises(InvalidArgumentError, match="there are valet"):
        legacy_kind(tmp_path, "velvet")
    with pytest.raises(InvalidArgumentError, match="nothing at"):
        legacy_kind(tmp_path / "absent")


class Notes:
    """Stands for another tool's data: a line of a file is a document."""

    name = "notes"

    def __init__(self, path: Path) -> None:
        self._path = path

    async def records(self) -> AsyncIterator[LegacyRecord | LegacyProblem]:
        """Every line, and one that is none."""
        for number, line in enumerate(self._path.read_text().splitlines()):
            yield LegacyRecord(
                collection="notes", document={"id": f"{number}", "t": line}, origin=f"{number}"
            )
        yield LegacyProblem(origin="the end", reason="torn off")


def test_another_kind_needs_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of somebody else's, a file this time, is recognised, imported and declared."""
    declared: list[str] = []

    async def declare(provider: object) -> None:
        declared.append(repr(provider))

    kind = msgspec.structs.replace(
        LEGACY_KINDS[0],
        name="notes",
        fits=lambda path: path.suffix == ".notes",
        source=lambda path, _: Notes(path),
        declare=declare,
    )
    monkeypatch.setattr(_kinds, "LEGACY_KINDS", (*LEGACY_KINDS, kind))
    (tmp_path / "my.notes").write_text("one\ntwo\n")

    async def main() -> None:
        async with InMemoryProvider() as provider:
            dry = await import_legacy_data(provider, tmp_path / "my.notes", dry_run=True)
            assert (dry.created, declared) == ({"notes": 2}, [])
            report = await import_legacy_data(provider, tmp_path / "my.notes")
            assert report.created == {"notes": 2}
            assert [problem.reason for problem in report.problems] == ["torn off"]
            assert len(declared) == 1
            assert await count_records(Notes(tmp_path / "my.notes")) == 3

    asyncio.run(main())
    (tmp_path / "days.notes").mkdir()
    (tmp_path / "days.notes" / "days").mkdir()
    with pytest.raises(InvalidArgumentError, match="looks like valet and notes"):
        legacy_kind(tmp_path / "days.notes")


KILLED = """
import asyncio, os, signal, sys
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.transfer.legacy import import_legacy_data

async def main():
    async with SQLiteProvider(sys.argv[2]) as provider:
        die = lambda done: os.kill(os.getpid(), signal.SIGKILL)
        await import_legacy_data(provider, sys.argv[1], on_progress=die)

asyncio.run(main())
"""


def test_a_killed_import_goes_on(tmp_path: Path) -> None:
    """What a killed run brought in is found unchanged by the next, which brings in the rest."""
    folder, path = tmp_path / "valet-data", tmp_path / "valet.db"
    make_valet_data(folder, todos=900, days=4)

    async def whole(at: Path) -> tuple[dict[str, int], dict[str, int]]:
        async with SQLiteProvider(at) as provider:
            report = await import_legacy_data(provider, folder)
            spec = await provider.declared("todos")
            assert spec is not None
            assert spec.text_fields
            return report.created, report.unchanged

    child = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    expected, _ = asyncio.run(whole(tmp_path / "other.db"))
    created, unchanged = asyncio.run(whole(path))
    assert sum(unchanged.values()) >= 500
    together = {
        name: created.get(name, 0) + unchanged.get(name, 0) for name in {*created, *unchanged}
    }
    assert together == expected
