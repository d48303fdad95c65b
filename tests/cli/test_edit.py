"""`edit`: nothing of the user's is lost, and nothing of anybody else's."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def editor(name: str, code: str) -> str:
    """An editor that does what `code` says to `path` and `text`."""
    script = Path(f"{name}.py")
    script.write_text(
        "import sys, os, signal, subprocess\nfrom pathlib import Path\n"
        f"path = Path(sys.argv[1])\ntext = path.read_text()\n{code}\n"
    )
    return shlex.join([sys.executable, str(script.absolute())])


REPLACE = "path.write_text(text.replace('before', 'after'))"


@pytest.fixture
def note(cli: Cli) -> Cli:
    """A storage with one note."""
    cli("put", "notes", '{"id": "n", "text": "before", "createdAt": "2020-01-01T00:00:00.000Z"}')
    return cli


def kept(err: str) -> Path:
    """The file that the message says the user's text is in."""
    return Path(err.split("your text is kept in ", 1)[1].splitlines()[0])


def stored(cli: Cli) -> dict[str, object]:
    """The note as it is."""
    document: dict[str, object] = json.loads(cli("get", "notes", "n").out)
    return document


@pytest.mark.parametrize("source", ["option", "VISUAL", "EDITOR"])
def test_the_document_is_saved(note: Cli, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """What the editor leaves is stored, whichever way it was named; `createdAt` stays."""
    command = editor("replace", REPLACE)
    if source == "option":
        monkeypatch.setenv("EDITOR", "false")
        note("edit", "notes", "n", "--editor", command)
    else:
        monkeypatch.setenv(source, command)
        note("edit", "notes", "n")
    document = stored(note)
    assert document["text"] == "after"
    assert document["createdAt"] == "2020-01-01T00:00:00.000Z"


def test_nothing_changed(note: Cli) -> None:
    """A text that is the same is not stored: the version stays."""
    before = note("get", "notes", "n", "--with-version").out
    result = note("edit", "notes", "n", "--editor", editor("look", "path.write_text(text + ' ')"))
    assert "nothing changed" in result.err
    assert note("get", "notes", "n", "--with-version").out == before


def test_a_conflict_keeps_both(note: Cli) -> None:
    """Someone else's change made meanwhile stays; the user's text is in a file."""
    other = note.command("update", "notes", "n", '{"other": 1}')
    command = editor("conflict", f"subprocess.run({other!r}, check=True)\n{REPLACE}")
    result = note("edit", "notes", "n", "--editor", command, code=4)
    assert stored(note)["other"] == 1
    assert stored(note)["text"] == "before"
    assert json.loads(kept(result.err).read_text())["text"] == "after"


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("path.write_text(text.replace('}', ''))", "not valid JSON"),
        ("path.write_text('[1]')", "not an object"),
        ("path.write_text('')", "not valid JSON"),
        ("path.write_bytes(b'\\xff\\xfe')", "can't be read"),
        ("path.write_text(text.replace('\"n\"', '\"m\"'))", "the id must stay 'n'"),
        (f"{REPLACE}\nsys.exit(3)", "ended with code 3"),
    ],
)
def test_a_text_that_cannot_be_stored_is_kept(note: Cli, code: str, complaint: str) -> None:
    """Broken JSON, another id, an editor that failed: nothing is stored, the text is kept."""
    result = note("edit", "notes", "n", "--editor", editor("broken", code), code=2)
    assert complaint in result.err
    assert kept(result.err).exists()
    assert stored(note)["text"] == "before"


def test_no_editor_and_no_document(note: Cli) -> None:
    """An editor that does not exist, or a document that does not, leaves nothing behind."""
    result = note("edit", "notes", "n", "--editor", "no-such-editor", code=2)
    assert "no-such-editor" in result.err
    assert "kept" not in result.err
    assert "notes/zzz" in note("edit", "notes", "zzz", code=3).err


def test_ctrl_c_belongs_to_the_editor(note: Cli) -> None:
    """A Ctrl-C pressed in the editor does not end the command or lose the text."""
    command = editor("interrupt", f"os.kill(os.getppid(), signal.SIGINT)\n{REPLACE}")
    child = note.start("edit", "notes", "n", "--editor", command)
    assert child.communicate(timeout=60)[1].startswith(b"stored, version")
    assert stored(note)["text"] == "after"


def test_a_mistake_can_be_mended(note: Cli) -> None:
    """On a terminal the user is asked whether to go on editing the same text."""
    code = "path.write_text(text + '}' if text.count('}') < 2 else text.replace('}', '', 1)"
    command = editor("mend", f"{code}.replace('before', 'after'))")
    result = note.on_terminal("edit", "notes", "n", "--editor", command, answers=["y\n"])
    assert "Edit again?" in result.out
    assert result.code == 0
    assert stored(note)["text"] == "after"
