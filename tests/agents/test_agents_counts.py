"""How many cases of the agent store each provider plays, held fixed."""

from __future__ import annotations

from pathlib import Path

from storage_providers.testing.agents import AgentStoreConformance
from storage_providers.testing.conformance import Backend, count_cases
from tests.agents.places import MemoryKVBackend
from tests.agents.test_attachments import OffloadedBackend
from tests.hybrid.test_hybrid_conformance import DatabaseAndFiles, MemoryPair
from tests.providers.d1.test_d1_local import LocalBackend
from tests.providers.test_local_file_conformance import FileBackend as FolderBackend
from tests.providers.test_sqlite import FileBackend
from tests.servers.r2 import R2Backend
from tests.test_conformance import MemoryBackend, WeakBackend

ANSWERS = {"needs the absence of native_query": 2}
CONDITIONS = {"needs the absence of conditional_write": 1}
ALONE = {"needs plant": 2, "needs reopen": 1, "needs share": 3}
DATABASE = (142, {**ANSWERS, **CONDITIONS})
EXPECTED = {
    "memory": (138, {**CONDITIONS, **ALONE}),
    "weak": (132, {"needs conditional_write": 7, **ALONE}),
    "sqlite": DATABASE,
    "files": DATABASE,
    "d1": DATABASE,
    "hybrid": DATABASE,
    "hybrid memory": (138, {**CONDITIONS, **ALONE}),
    "offloaded": (136, {**ANSWERS, **CONDITIONS, **ALONE}),
    "kv": (137, {"needs conditional_write": 8}),
    "r2": (144, CONDITIONS),
}
"""Tests that run and, by reason, tests that do not apply."""


def test_no_case_disappears_unnoticed(tmp_path: Path) -> None:
    """Whoever adds a case or a capability changes these counts."""
    places: dict[str, Backend] = {
        "memory": MemoryBackend(),
        "weak": WeakBackend(),
        "sqlite": FileBackend(tmp_path),
        "files": FolderBackend(tmp_path / "root"),
        "d1": LocalBackend(tmp_path),
        "hybrid": DatabaseAndFiles(tmp_path),
        "hybrid memory": MemoryPair(tmp_path),
        "offloaded": OffloadedBackend(),
        "kv": MemoryKVBackend(),
        "r2": R2Backend(),
    }
    counts = {name: count_cases(AgentStoreConformance, place) for name, place in places.items()}
    shown = {name: (each.run, each.not_applicable) for name, each in counts.items()}
    assert shown == EXPECTED
    assert len({each.run + sum(each.not_applicable.values()) for each in counts.values()}) == 1
