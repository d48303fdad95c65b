"""The suite `agents` compares both of ours with every peer that is installed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from benchmarks.__main__ import main
from benchmarks._machine import installed
from benchmarks.suites.agents._ours import open_files, open_sqlite, said
from benchmarks.suites.agents._peers import PEERS, Peer


def test_every_row_is_there_with_its_goal(capsys: pytest.CaptureFixture[str]) -> None:
    """In small: each peer, saving in two ways and reading, and the pages of a long thread."""
    assert main(["agents", "--quick", "--json"]) == 0
    result = msgspec.json.decode(capsys.readouterr().out)
    assert {"langgraph-checkpoint-sqlite", "openai-agents", "agno"} <= set(result["versions"])
    rows = result["rows"]
    against = [row for row in rows if row["goal"] == 1]
    assert len(against) == 3 * 2 * len(PEERS)
    for row in against:
        (peer,) = (peer for peer in PEERS if row["name"].endswith(peer.title))
        assert row["higher_is_better"]
        if installed(peer.distribution) is None:
            assert row["ratio"] is None
            assert "not installed" in row["reference"]
        else:
            assert row["ratio"] > 0
            assert peer.how in row["reference"]
    paged = [row for row in rows if row["goal"] == 1.25]
    assert len(paged) == len(rows) - len(against) == 4
    assert not any(row["higher_is_better"] for row in paged)


@pytest.mark.parametrize("opened", [open_sqlite, open_files], ids=["SQLite", "LocalFile"])
def test_ours_reads_what_it_saved(opened: type[object], tmp_path: Path) -> None:
    """The contestants are compared by doing the same: the newest are those that were said last."""
    peer = Peer("ours", "storage-providers", opened, "")  # type: ignore[arg-type]
    assert asyncio.run(_newest(peer, tmp_path)) == [each.text for each in said("b", 20, 20)]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.title)
def test_each_peer_reads_what_it_saved(peer: Peer, tmp_path: Path) -> None:
    """So do the peers, from the right thread; one of them tells times only by the second."""
    if installed(peer.distribution) is None:
        pytest.skip(f"{peer.distribution} is not installed")
    newest = asyncio.run(_newest(peer, tmp_path))
    if peer.title == "LangGraph's SqliteStore":
        assert set(newest) <= {each.text for each in said("b", 0, 40)}
        assert len(newest) == 20
    else:
        assert newest == [each.text for each in said("b", 20, 20)]


async def _newest(peer: Peer, folder: Path) -> list[str]:
    async with peer.open(folder) as contestant:
        await contestant.begin(["a", "b"])
        for begin in range(0, 40, 10):
            for thread in ("a", "b"):
                await contestant.save(thread, said(thread, begin, 10))
        return list(await contestant.newest("b", 20))
