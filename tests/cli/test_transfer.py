"""Import, export and verify; and damage beside good documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.valet_data import make_valet_data
from tests.cli.conftest import Cli


@pytest.fixture
def valet(tmp_path: Path) -> Path:
    """A small legacy folder, broken files included."""
    folder = tmp_path / "valet-data"
    make_valet_data(folder, todos=20, days=8)
    return folder


def test_a_legacy_folder_there_and_back(cli: Cli, valet: Path, tmp_path: Path) -> None:
    """Dry run, import, import again, export: reports on stdout, problems on stderr."""
    dry = cli("import", str(valet), "--dry-run", "--json", code=5)
    expected = json.loads(dry.out)["created"]
    assert "dry run" in dry.err
    assert "there is nothing at" in cli("ls", code=6).err  # A dry run makes nothing.
    first = cli("import", str(valet), "--json", code=5)
    report = json.loads(first.out)
    assert report["created"] == expected
    assert len(first.err.splitlines()) == len(report["problems"]) > 0
    assert int(cli("count", "todos").out) == expected["todos"] >= 20
    again = json.loads(cli("import", str(valet), "--json", code=5).out)
    assert again["created"] == again["updated"] == {}
    assert again["unchanged"] == expected
    table = cli("import", str(valet), "--from", "valet", code=5).out.splitlines()
    assert table[0].split() == ["collection", "created", "updated", "unchanged", "kept"]
    back = tmp_path / "back"
    cli("export", str(back), "--as", "valet")
    exported = json.loads((back / "_global_todo.json").read_text())
    assert exported == json.loads((valet / "_global_todo.json").read_text())


def test_an_archive_there_and_back(cli: Cli, tmp_path: Path) -> None:
    """What was exported is verified and comes back exactly, in each mode."""
    cli("put", "todos", '{"id": "a", "n": 1}')
    cli("put", "user-7/todos", '{"id": "b"}')
    before = cli("get", "todos", "a").out
    archive = tmp_path / "backup.zip"
    result = cli("export", str(archive), "--json")
    assert [entry["count"] for entry in json.loads(result.out)["collections"]] == [1, 1]
    assert "--overwrite" in cli("export", str(archive), code=2).err
    cli("export", str(archive), "todos", "user-7/todos", "--overwrite")
    assert "is whole: 2 documents" in cli("verify", str(archive)).err
    cli("update", "todos", "a", '{"n": 2}')
    assert "nothing was changed" in cli("import", str(archive)).err
    cli("import", str(archive), "--mode", "newest-wins")
    assert json.loads(cli("get", "todos", "a").out)["n"] == 2
    cli("import", str(archive), "--mode", "overwrite", "-c", "todos")
    assert cli("get", "todos", "a").out == before
    cli("rm", "user-7/todos", "--all", "-y")
    report = cli("import", str(archive), "--dry-run").out
    assert [line.split()[:2] for line in report.splitlines()[2:]] == [
        ["todos", "0"],
        ["user-7/todos", "1"],
    ]
    cli("import", str(archive), "-c", "absent", code=2)


def test_one_user_there_and_back(cli: Cli, tmp_path: Path) -> None:
    """One scope is exported alone, restored from a larger archive, and comes back as another's."""
    for name in ("todos", "user-7/todos", "user-7/cache", "user-77/todos"):
        cli("put", name, '{"id": "a"}')
    one, whole = tmp_path / "one.zip", tmp_path / "whole.zip"
    exported = cli("export", str(one), "--scope", "user-7", "--exclude", "*/cache", "--json")
    held = json.loads(exported.out)["collections"]
    assert [entry["collection"] for entry in held] == ["user-7/todos"]
    cli("export", str(whole))
    report = cli("import", str(whole), "--scope", "user-7", "--into", "restored", "--json")
    assert json.loads(report.out)["created"] == {"restored/cache": 1, "restored/todos": 1}
    assert (
        "nothing of that is selected" in cli("import", str(whole), "--scope", "user-9", code=2).err
    )
    assert "name that with scope" in cli("import", str(whole), "--into", "x", code=2).err
    cli("export", str(tmp_path / "v"), "--as", "valet", "--scope", "user-7", code=2)
    nobody = tmp_path / "nobody.zip"
    assert "no archive was written" in cli("export", str(nobody), "--scope", "user-9", code=3).err
    assert not nobody.exists()


def test_erasing_one_user(cli: Cli) -> None:
    """A dry run counts; the scope is typed, or given once more; the rest is untouched."""
    for name in ("todos", "user-7/todos", "user-7/work/notes", "user-77/todos"):
        cli("put", name, '{"id": "a"}\n{"id": "b"}')
    dry = cli("erase", "--scope", "user-7", "--dry-run", "--json")
    assert json.loads(dry.out)["removed"] == {"user-7/todos": 2, "user-7/work/notes": 2}
    assert "nothing was removed" in dry.err
    refused = cli("erase", "--scope", "user-7", code=2)
    assert "4 documents in 2 collections of 'user-7'" in refused.err
    assert "--confirm 'user-7'" in refused.err
    assert (
        "nothing was done" in cli("erase", "--scope", "user-7", "--confirm", "user-77", code=2).err
    )
    erased = cli("erase", "--scope", "user-7", "--confirm", "user-7")
    assert [line.split() for line in erased.out.splitlines()[2:]] == [
        ["user-7/todos", "2"],
        ["user-7/work/notes", "2"],
    ]
    assert "remains: " in erased.err
    assert "erased 4 documents of 'user-7'" in erased.err
    listed = cli("ls", "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["collection"] for line in listed] == ["todos", "user-77/todos"]
    assert "nothing is kept of 'user-7'" in cli("erase", "--scope", "user-7").err


def test_the_scope_is_typed_on_a_terminal(cli: Cli) -> None:
    """A terminal asks for the scope; anything else is refused."""
    cli("put", "user-7/todos", '{"id": "a"}')
    for typed, code in (("y\n", 2), ("user-7\n", 0)):
        result = cli.on_terminal(
            "erase", "--scope", "user-7", answers=[typed], question=b"to do it: "
        )
        assert result.code == code, result.out
    assert cli("count", "user-7/todos").out.strip() == "0"


def test_a_damaged_archive(cli: Cli, tmp_path: Path) -> None:
    """A flipped byte is found before anything is written; what is no archive is refused."""
    cli("put", "todos", stdin="".join(f'{{"id":"{number}"}}\n' for number in range(50)))
    archive = tmp_path / "backup.zip"
    cli("export", str(archive))
    data = bytearray(archive.read_bytes())
    data[100] ^= 0xFF
    archive.write_bytes(data)
    cli("rm", "todos", "--all", "-y")
    for arguments in (["verify", str(archive)], ["import", str(archive)]):
        result = cli(*arguments, code=5)
        assert result.out == ""
        assert len(result.err.splitlines()) == 1
    assert cli("count", "todos").out == "0\n"
    Path("text.zip").write_text("no archive")
    cli("verify", "text.zip", code=5)
    cli("verify", "absent.zip", code=3)
    cli("import", "absent", code=3)
    cli("export", "absent/backup.zip", code=3)
    cli("import", str(tmp_path), "--mode", "overwrite", code=2)


@pytest.mark.parametrize("cli", ["file"], indirect=True)
def test_damaged_documents_stand_beside_the_good(cli: Cli, tmp_path: Path) -> None:
    """A file broken by hand is named on stderr, and the code is 5; the others are printed."""
    cli("put", "todos", stdin='{"id":"a"}\n{"id":"b"}\n{"id":"c"}\n')
    (tmp_path / "data" / "todos" / "b.json").write_text('{"id": "b", ')
    result = cli("query", "todos", code=5)
    assert [json.loads(line)["id"] for line in result.out.splitlines()] == ["a", "c"]
    assert "b.json" in result.err
    assert json.loads(cli("ls", code=5).out)["damaged"] == 1
    assert cli("count", "todos", code=5).out == "2\n"
    got = cli("get", "todos", "a", "b", "c", "--jsonl", code=5)
    assert [json.loads(line)["id"] for line in got.out.splitlines()] == ["a", "c"]
    assert "b.json" in got.err
    assert "b.json" in cli("edit", "todos", "b", code=5).err
    exported = cli("export", "backup.zip", "--json", code=5)
    assert json.loads(exported.out)["collections"][0]["count"] == 2
    assert "not in the archive" in exported.err
    cli("rm", "todos", "b", "--yes")
    assert cli("count", "todos").out == "2\n"
