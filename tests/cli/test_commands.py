"""What each command prints, changes and ends with."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

TODOS = [
    {"id": "a", "content": "Water the plants", "status": "pending", "due": "2026-03-01"},
    {"id": "b", "content": "File taxes", "status": "pending", "due": "2026-02-01"},
    {"id": "c", "content": "Sleep", "status": "completed", "tags": ["home"]},
]


@pytest.fixture
def todos(cli: Cli) -> Cli:
    """A storage with three todos."""
    cli("put", "todos", stdin="".join(json.dumps(todo) + "\n" for todo in TODOS))
    return cli


def documents(text: str) -> list[dict[str, object]]:
    """The documents of JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


# --- put ---------------------------------------------------------------------------------------


def test_put_prints_the_id_and_nothing_else(cli: Cli) -> None:
    """The id that was made can be captured by a script; the note goes to stderr."""
    result = cli("put", "todos", '{"content": "x"}')
    item_id = result.out.strip()
    assert json.loads(cli("get", "todos", item_id).out)["content"] == "x"
    assert "stored, version" in result.err


@pytest.mark.parametrize("form", ["argument", "file", "stdin", "dash"])
def test_put_takes_a_document_from_anywhere(cli: Cli, form: str) -> None:
    """An argument, a file, stdin, or `-`."""
    text = '{\n "id": "x",\n "n": 1\n}'
    Path("x.json").write_text(text)
    arguments = {"argument": [text], "file": ["--file", "x.json"], "stdin": [], "dash": ["-"]}
    cli("put", "things", *arguments[form], stdin=text if form in ("stdin", "dash") else "")
    assert json.loads(cli("get", "things", "x").out)["n"] == 1


def test_put_create_refuses_what_exists(todos: Cli) -> None:
    """`--create` ends with the code for conflicts and changes nothing."""
    result = todos("put", "todos", '{"id": "a", "content": "other"}', "--create", code=4)
    assert result.out == ""
    assert "todos/a" in result.err
    assert json.loads(todos("get", "todos", "a").out)["content"] == "Water the plants"


def test_put_if_version(todos: Cli) -> None:
    """A document is only replaced while it has the version that was seen."""
    seen = json.loads(todos("get", "todos", "a", "--with-version").out)
    changed = json.dumps({**seen["document"], "content": "first"})
    todos("put", "todos", changed, "--if-version", seen["version"])
    todos("put", "todos", changed, "--if-version", seen["version"], code=4)
    todos("put", "todos", "--if-version", "x", stdin='{"id":"a"}\n{"id":"b"}', code=2)
    todos("put", "todos", changed, "--if-version", "x", "--create", code=2)


def test_put_many(cli: Cli) -> None:
    """More documents than one batch holds are stored and counted."""
    lines = "".join(f'{{"id":"{number:05}","n":{number}}}\n' for number in range(1203))
    result = cli("put", "many", stdin=lines)
    assert len(result.out.splitlines()) == 1203
    assert "1203 documents stored" in result.err
    assert cli("count", "many").out == "1203\n"


def test_put_says_how_far_it_came(cli: Cli) -> None:
    """Broken input in the second batch: the first is stored, and it is said so."""
    lines = "".join(f'{{"id":"{number}"}}\n' for number in range(500))
    result = cli("put", "many", stdin=lines + '{"id": \n', code=2)
    assert "500 documents were stored, then:" in result.err
    assert "stdin, line 501" in result.err
    assert cli("count", "many").out == "500\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["todos", "{'id': 1}"], "not JSON: line 1, column 2"),
        (["todos", '{"id": ""}'], "id"),
        (["todos", '{"id": 7}'], "id"),
        (["todos", "[1]"], "holds a JSON number"),
        (["Todos", "{}"], "'Todos' is not a collection name"),
        (["todos", "{}", "--file", "x"], "not both"),
    ],
)
def test_put_refuses_with_one_line(cli: Cli, arguments: list[str], complaint: str) -> None:
    """A user's mistake is one line on stderr and the code for wrong usage."""
    result = cli("put", *arguments, code=2)
    assert complaint in result.err
    assert len(result.err.splitlines()) == 1
    assert result.out == ""


# --- get ---------------------------------------------------------------------------------------


def test_get_several(todos: Cli) -> None:
    """Found documents are printed, missing ones reported with a code of their own."""
    result = todos("get", "todos", "a", "zzz", "c", "--jsonl", code=3)
    assert [document["id"] for document in documents(result.out)] == ["a", "c"]
    assert "todos/zzz: no such document" in result.err


# --- update ------------------------------------------------------------------------------------


def test_update_merges(todos: Cli) -> None:
    """Named fields change, null removes one, the others stay."""
    todos("update", "todos", "a", '{"status": "completed", "due": null}')
    document = json.loads(todos("get", "todos", "a").out)
    assert document["status"] == "completed"
    assert document["content"] == "Water the plants"
    assert "due" not in document


def test_update_reads_a_file(todos: Cli) -> None:
    """`@FILE` is the changes in a file."""
    Path("changes.json").write_text('{"n": 1}')
    todos("update", "todos", "a", "@changes.json")
    todos("update", "todos", "a", "@absent.json", code=3)
    assert json.loads(todos("get", "todos", "a").out)["n"] == 1


def test_update_of_nothing(todos: Cli) -> None:
    """Changing what does not exist is not found; another version is a conflict."""
    assert "todos/zzz" in todos("update", "todos", "zzz", "{}", code=3).err
    todos("update", "todos", "a", "{}", "--if-version", "zzz", code=4)
    todos("update", "todos", "a", '{"id": "other"}', code=2)


# --- rm ----------------------------------------------------------------------------------------


def test_rm_needs_a_yes(todos: Cli) -> None:
    """Without anybody to ask, nothing is removed unless `--yes` says so."""
    assert "--yes" in todos("rm", "todos", "a", code=2).err
    assert todos("count", "todos").out == "3\n"
    result = todos("rm", "todos", "a", "b", "zzz", "--yes")
    assert "removed 2 documents" in result.err
    assert "todos/zzz: no such document" in result.err
    assert todos("count", "todos").out == "1\n"


def test_rm_all(todos: Cli) -> None:
    """`--all` empties one collection and no other."""
    todos("put", "user-7/todos", '{"id": "mine"}')
    assert "removed 3 documents" in todos("rm", "todos", "--all", "--yes").err
    assert todos("count", "todos").out == "0\n"
    assert todos("count", "user-7/todos").out == "1\n"


def test_rm_if_version(todos: Cli) -> None:
    """A document that was changed meanwhile stays."""
    todos("rm", "todos", "a", "--if-version", "zzz", "-y", code=4)
    assert todos("count", "todos").out == "3\n"


@pytest.mark.parametrize("arguments", [[], ["a", "--all"], ["a", "b", "--if-version", "1"]])
def test_rm_is_told_one_thing(todos: Cli, arguments: list[str]) -> None:
    """Ids or `--all`, and a version for one document only."""
    todos("rm", "todos", *arguments, "--yes", code=2)
    assert todos("count", "todos").out == "3\n"


# --- ls, query, count --------------------------------------------------------------------------


def test_ls_counts_collections(todos: Cli) -> None:
    """Every collection with its number of documents, in any format."""
    todos("put", "user-7/notes", '{"id": "n"}')
    assert documents(todos("ls").out) == [
        {"collection": "todos", "documents": 3, "damaged": 0},
        {"collection": "user-7/notes", "documents": 1, "damaged": 0},
    ]
    assert "collection,documents,damaged\ntodos,3,0\n" in todos("ls", "--format", "csv").out
    table = todos("ls", "--format", "table").out.splitlines()
    assert table[0].split() == ["collection", "documents", "damaged"]
    assert table[2].split() == ["todos", "3", "0"]


def test_ls_of_nothing(cli: Cli) -> None:
    """An empty storage is empty, not an error."""
    cli("put", "todos", '{"id": "a"}')
    cli("rm", "todos", "a", "--yes")
    result = cli("ls")
    assert result.out == ""
    assert "no collections yet" in result.err
    assert json.loads(cli("ls", "--format", "json").out) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",),
        ("query", "todos"),
        ("count", "todos"),
        ("get", "todos", "a"),
        ("update", "todos", "a", '{"n": 1}'),
        ("rm", "todos", "a", "--yes"),
        ("edit", "todos", "a"),
        ("export", "all.zip"),
    ],
)
def test_a_place_that_is_not_there(cli: Cli, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A mistyped path is no empty storage, and is not made by asking."""
    before = set(tmp_path.rglob("*"))
    result = cli(*arguments, code=6)
    assert "there is nothing at" in result.err
    assert set(tmp_path.rglob("*")) == before


def test_ls_of_a_collection(todos: Cli) -> None:
    """With a name, its documents."""
    assert [document["id"] for document in documents(todos("ls", "todos").out)] == ["a", "b", "c"]
    assert "no documents" in todos("ls", "absent").err


def test_query(todos: Cli) -> None:
    """Conditions, order, fields and total together."""
    result = todos(
        *("query", "todos", "--where", '{"status": "pending"}', "--order-by", "due"),
        *("--fields", "due", "--total", "--limit", "1"),
    )
    assert documents(result.out) == [{"id": "b", "due": "2026-02-01"}]
    assert "2 match" in result.err
    assert "there are more" in result.err


def test_query_goes_on_where_it_ended(todos: Cli) -> None:
    """The cursor that the note names continues the listing."""
    first = todos("query", "todos", "--limit", "2", "--order-by", "-id")
    cursor = first.err.rsplit("--cursor ", 1)[1].strip()
    rest = todos("query", "todos", "--order-by", "-id", "--cursor", cursor)
    assert [item["id"] for item in documents(first.out + rest.out)] == ["c", "b", "a"]
    assert todos("query", "todos", "--cursor", "xx", code=2).out == ""


def test_query_all_spans_pages(cli: Cli) -> None:
    """`--all` and large limits go over page bounds, nothing twice."""
    cli("put", "many", stdin="".join(f'{{"id":"{number:05}"}}\n' for number in range(1203)))
    for arguments, expected in ((["--all"], 1203), (["--limit", "777"], 777), ([], 100)):
        result = cli("query", "many", *arguments)
        ids = [document["id"] for document in documents(result.out)]
        assert ids == [f"{number:05}" for number in range(expected)]
        assert ("there are more" in result.err) == (expected < 1203)
    assert cli("query", "many", "--offset", "1200", "--format", "json").out.count("id") == 3
    cli("query", "many", "--all", "--limit", "3", code=2)


@pytest.mark.parametrize("option", [["-o", "-due"], ["-o=-due"], ["--order-by=-due"]])
def test_query_descending(todos: Cli, option: list[str]) -> None:
    """A minus before the field is no option, whichever way it is written."""
    found = documents(todos("query", "todos", *option, "--limit", "1").out)
    assert found[0]["id"] == "a"


def test_query_csv(todos: Cli) -> None:
    """CSV of whole documents has every key of any of them."""
    rows = list(csv.DictReader(io.StringIO(todos("query", "todos", "-f", "csv", "--all").out)))
    assert [row["tags"] for row in rows] == ["", "", '["home"]']
    assert rows[0]["content"] == "Water the plants"


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("{'a': 1}", "--where"),
        ("[]", "--where"),
        ('{"a": {"$foo": 1}}', "$foo"),
        ('{"$text": "plants"}', "text"),
    ],
)
def test_wrong_where(todos: Cli, where: str, complaint: str) -> None:
    """A condition that is malformed or not supported is refused before anything is printed."""
    for name in ("query", "count"):
        result = todos(name, "todos", "--where", where, code=2)
        assert complaint in result.err
        assert result.out == ""


def test_count(todos: Cli) -> None:
    """All documents, or those that match."""
    assert todos("count", "todos").out == "3\n"
    Path("where.json").write_text('{"status": {"$ne": "completed"}}')
    assert todos("count", "todos", "--where", "@where.json").out == "2\n"


def test_ls_of_a_scope(cli: Cli) -> None:
    """Only its collections, by their whole names; a collection beside it is refused."""
    for name in ("todos", "user-7/todos", "user-7/work/notes", "user-70/todos"):
        cli("put", name, '{"id": "a"}')
    found = documents(cli("ls", "--scope", "user-7", "--format", "jsonl").out)
    assert [row["collection"] for row in found] == ["user-7/todos", "user-7/work/notes"]
    assert "user-7/todos" in cli("ls", "todos", "--scope", "user-7", code=2).err


# --- query --explain ---------------------------------------------------------------------------


def test_explain(todos: Cli) -> None:
    """Costs and index instead of documents, the same with and without a declared index."""
    question = ("query", "todos", "--where", '{"status": "pending"}', "--explain")
    before = json.loads(todos(*question).out)
    assert (before["items"], before["more"], before["pages"]) == (2, False, 1)
    assert (before["index"], before["full_scan"], before["requests"]) == (None, True, 0)
    todos("declare", "todos", "--index", "status")
    after = json.loads(todos(*question, "--total").out)
    assert (after["index"], after["full_scan"], after["total"]) == ("status", False, 2)
    assert "Water the plants" not in todos(*question).out


def test_explain_in_words(todos: Cli) -> None:
    """On a terminal, or asked for a table, a line a fact."""
    text = todos("query", "todos", "--limit", "1", "--explain", "--format", "table").out
    facts = dict(line.split(maxsplit=1) for line in text.splitlines() if line.count("  "))
    assert facts["items"] == "1"
    assert facts["more"] == "yes"
    assert facts["index"] == "–"


def test_explain_of_many_pages(cli: Cli) -> None:
    """The costs of all pages are added up."""
    cli("put", "many", stdin="".join(f'{{"id":"{number:05}"}}\n' for number in range(1203)))
    found = json.loads(cli("query", "many", "--all", "--explain").out)
    assert (found["items"], found["pages"], found["more"]) == (1203, 3, False)


# --- declare -----------------------------------------------------------------------------------


def test_declare(todos: Cli) -> None:
    """What is declared is shown, replaced as a whole, and can be taken back."""
    assert "nothing is declared" in todos("declare", "todos").err
    todos("declare", "todos", "--index", "status,-due", "--each", "tags", "--max-bytes", "500")
    spec = json.loads(todos("declare", "todos").out)
    assert spec["indexes"] == [
        {"fields": ["status", "-due"], "each": False},
        {"fields": ["tags"], "each": True},
    ]
    assert spec["max_document_bytes"] == 500
    assert "the limit is 500" in todos("put", "todos", f'{{"x": "{"y" * 600}"}}', code=1).err
    assert json.loads(todos("declare", "todos", "--nothing").out)["indexes"] == []
    todos("declare", "todos", "--nothing", "--ttl", "5", code=2)
    todos("declare", "todos", "--ttl", "-5", code=2)
    todos("declare", "todos", "--index", "a,,b", code=2)


# --- provision, reindex, gc --------------------------------------------------------------------


def test_provision_of_what_needs_nothing(cli: Cli, tmp_path: Path) -> None:
    """A folder and a database are made by the first write, not by `provision`."""
    before = set(tmp_path.rglob("*"))
    result = cli("provision")
    assert "its first write makes what is missing" in result.err
    assert json.loads(cli("provision", cli.url, "--json", "--dry-run").out) == {
        "provisions": [],
        "checks": [],
    }
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["reindex", "gc"])
def test_indexes_that_need_no_care(todos: Cli, command: str) -> None:
    """Where every write keeps the indexes, there is nothing to mend, and it is said."""
    assert "up to date with every write" in todos(command, code=2).err
