"""Files as a person meets them: layout, hand edits, broken files, the index, backups, expiry."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from storage_providers._clock import Clock
from storage_providers.errors import (
    BatchError,
    ConfigurationError,
    CorruptItemError,
    InvalidDocumentError,
    ItemExistsError,
    ItemNotFoundError,
    StorageError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    IF_PRESENT,
    Address,
    CollectionSpec,
    Delete,
    Index,
    Patch,
    Put,
    Write,
)
from storage_providers.providers._files import commit as _file_commit
from storage_providers.providers._files import mending as _file_mending
from storage_providers.providers._files import scan as _file_scan
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.testing.conformance import ManualClock

SDK = ".storage-providers"


def play(root: Path, body: Callable[[LocalFileProvider], Awaitable[None]], **options: Any) -> None:
    """Run a test's coroutine on a connected provider."""

    async def run() -> None:
        async with LocalFileProvider(root, **{"fsync": False, **options}) as provider:
            await body(provider)

    asyncio.run(run())


async def ids(provider: LocalFileProvider, collection: str = "todos", **question: Any) -> list[str]:
    """The ids a query finds."""
    return [item.id for item in (await provider.list_items(collection, **question)).items]


def names_in(folder: Path) -> list[str]:
    """What a folder holds, sorted."""
    return sorted(path.name for path in folder.iterdir())


def test_a_document_is_an_indented_file(tmp_path: Path) -> None:
    """Keys keep their order, the text its letters, and the last line ends."""

    async def body(provider: LocalFileProvider) -> None:
        document = {"id": "a", "z": 1.0, "a": ["é", {"n": None}], "empty": {}}
        await provider.write([Put("user-7/todos", document)])
        text = (tmp_path / "user-7/todos/a.json").read_text()
        assert text == json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    play(tmp_path, body)


def test_the_constructor_touches_nothing(tmp_path: Path) -> None:
    """Only connect makes the folder."""
    provider = LocalFileProvider(tmp_path / "deep" / "root")
    assert not (tmp_path / "deep").exists()
    asyncio.run(provider.connect())
    assert (tmp_path / "deep" / "root" / SDK).is_dir()


@pytest.mark.parametrize(
    "options", [{"backup_limit": 0}, {"rescan_seconds": -1}, {"lock_timeout_seconds": -0.1}]
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    """The message names the argument and its value."""
    with pytest.raises(ConfigurationError, match=f"{next(iter(options))} is "):
        LocalFileProvider(tmp_path, **options)


def test_awkward_ids_scopes_and_collections_keep_apart(tmp_path: Path) -> None:
    """Ids that look like paths, devices or each other come back, in reads, queries, versions."""
    awkward = [
        "..",
        "../x",
        "/etc",
        "a\\b",
        "A",
        "a",
        "CON",
        "con",
        "\u00e9",
        "e\u0301",
        "x.json",
        ".",
        "ß",
    ]
    awkward += ["n" * 300, "N" * 300, "n" * 300 + "1", "日本 語", "a:b", " a ", "a.", "%41"]

    async def body(provider: LocalFileProvider) -> None:
        scopes = ["", "a.json/", "Con/x/", "日本/", f"{'s' * 250}/", f"{'é' * 120}/"]
        for scope in scopes:
            await provider.put_items(f"{scope}c", [{"id": each} for each in awkward])
        for scope in scopes:
            collection = f"{scope}c"
            items = await provider.read_items(collection, awkward)
            assert [item.id if item else None for item in items] == awkward
            assert sorted(await ids(provider, collection)) == sorted(awkward)
            entries = (await provider.versions(collection)).entries
            assert sorted(entry.id for entry in entries) == sorted(awkward)
        assert await provider.collections() == sorted(f"{scope}c" for scope in scopes)
        await provider.put_item("c/d", {"id": "in a scope named like a collection"})
        assert len(await ids(provider, "c")) == len(awkward)

    play(tmp_path / "root", body)
    assert names_in(tmp_path) == ["root"]
    # What the index forgot, the files still tell.
    shutil.rmtree(tmp_path / "root" / SDK / "index")
    play(tmp_path / "root", lambda provider: expect_ids(provider, "c", awkward))


async def expect_ids(provider: LocalFileProvider, collection: str, wanted: list[str]) -> None:
    """The collection holds these ids and no damaged files."""
    page = await provider.list_items(collection, limit=1000)
    assert page.corrupt == ()
    assert sorted(item.id for item in page.items) == sorted(wanted)


# --- hand edits --------------------------------------------------------------------------------


def test_edits_by_hand_are_read_at_once_and_found_by_queries(tmp_path: Path) -> None:
    """A read by id sees the file itself and mends the index, whatever the clock says."""

    async def body(provider: LocalFileProvider) -> None:
        item = await provider.put_item("todos", {"id": "a", "status": "open"})
        assert await ids(provider, where={"status": "open"}) == ["a"]
        path = tmp_path / "todos/a.json"
        path.write_text(path.read_text().replace("open", "done"))
        seen = await provider.read_item("todos", "a")
        assert seen is not None
        assert seen.document["status"] == "done"
        assert seen.version != item.version
        assert await ids(provider, where={"status": "done"}) == ["a"]
        with pytest.raises(VersionMismatchError):
            await provider.put_item("todos", {"id": "a"}, if_version=item.version)

    play(tmp_path, body, rescan_seconds=None)


def test_files_changed_by_hand_are_found_when_the_time_is_up(tmp_path: Path) -> None:
    """Edited, added and removed files show in queries after rescan_seconds, not before."""
    clock = ManualClock()

    async def body(provider: LocalFileProvider) -> None:
        await provider.put_items("todos", [{"id": each, "n": 1} for each in "abc"])
        assert await ids(provider) == ["a", "b", "c"]
        (tmp_path / "todos/a.json").write_text('{"id": "a", "n": 2}')
        (tmp_path / "todos/b.json").unlink()
        (tmp_path / "todos/new.json").write_text('{"n": 2}')
        assert await ids(provider) == ["a", "b", "c"]
        clock.advance(3.9)
        assert await ids(provider) == ["a", "b", "c"]
        clock.advance(1.2)
        assert await ids(provider) == ["a", "c", "new"]
        assert await ids(provider, where={"n": 2}) == ["a", "new"]
        entries = (await provider.versions("todos")).entries
        items = await provider.read_items("todos", ["a", "c", "new"])
        assert [e.version for e in entries] == [item.version for item in items if item]

    play(tmp_path, body, clock=clock.clock)


def test_a_query_shortly_before_the_time_is_up_scans_for_the_next_one(tmp_path: Path) -> None:
    """It does not wait for the scan itself, so frequent queries are never held up."""
    clock = ManualClock()

    async def body(provider: LocalFileProvider) -> None:
        await fill(provider, "a")
        (tmp_path / "todos/b.json").write_text("{}")
        clock.advance(4.5)
        assert await ids(provider) == ["a"]
        await asyncio.gather(*provider._scanning.values())
        assert await ids(provider) == ["a", "b"]

    play(tmp_path, body, clock=clock.clock)


def test_files_changed_while_nobody_looks_are_found_at_open(tmp_path: Path) -> None:
    """The first query of a newly opened provider knows every change."""
    play(tmp_path, lambda p: fill(p, "abc"), rescan_seconds=None)
    (tmp_path / "todos/a.json").unlink()
    (tmp_path / "todos/d.json").write_text('{"id": "d"}')

    async def body(provider: LocalFileProvider) -> None:
        assert await ids(provider) == ["b", "c", "d"]

    play(tmp_path, body, rescan_seconds=None)


async def fill(provider: LocalFileProvider, names: str) -> None:
    """Store small documents and index them."""
    await provider.put_items("todos", [{"id": each, "n": 1} for each in names])
    assert len(await ids(provider)) == len(names)


def test_an_edit_in_the_same_moment_and_of_the_same_size_is_found(tmp_path: Path) -> None:
    """Rewriting a file in place right after it was written or indexed leaves a trace."""

    async def body(provider: LocalFileProvider) -> None:
        path = tmp_path / "todos/a.json"
        for n in range(1, 9):
            await provider.put_item("todos", {"id": "a", "n": 0})
            with path.open("r+") as file:
                text = file.read().replace('"n": 0', f'"n": {n}')
                file.seek(0)
                file.write(text)
            await provider.refresh()
            assert await ids(provider, where={"n": n}) == ["a"]
            with path.open("r+") as file:
                file.write(text.replace(f'"n": {n}', '"n": 9'))
            await provider.refresh("todos")
            assert await ids(provider, where={"n": 9}) == ["a"]

    play(tmp_path, body, rescan_seconds=None)


def test_a_removed_folder_and_a_removed_document_are_gone(tmp_path: Path) -> None:
    """Reads see it at once, queries after a refresh; writing makes the folder anew."""

    async def body(provider: LocalFileProvider) -> None:
        await fill(provider, "ab")
        (tmp_path / "todos/a.json").unlink()
        assert await provider.read_item("todos", "a") is None
        assert await ids(provider) == ["b"]
        shutil.rmtree(tmp_path / "todos")
        await provider.refresh()
        await provider.refresh("todos")
        assert await ids(provider) == []
        await fill(provider, "c")

    play(tmp_path, body, rescan_seconds=None)


def test_an_added_file_without_id_takes_the_one_its_name_says(tmp_path: Path) -> None:
    """Such a document can be read, queried by id and changed like any other."""
    (tmp_path / "todos").mkdir()
    (tmp_path / "todos/by hand%21.json").write_bytes(b'\xef\xbb\xbf{"n": 1}\r\n')

    async def body(provider: LocalFileProvider) -> None:
        assert await ids(provider, where={"id": "by hand!"}) == []
        page = await provider.list_items("todos")
        assert "rename the file" in str(page.corrupt[0])
        (tmp_path / "todos/by hand%21.json").rename(tmp_path / "todos/by hand!.json")
        item = await provider.read_item("todos", "by hand!")
        assert item is not None
        assert item.document == {"id": "by hand!", "n": 1}
        await provider.refresh()
        assert await ids(provider, where={"id": "by hand!"}) == ["by hand!"]
        patched = await provider.update_item("todos", "by hand!", {"m": 2})
        assert patched.document["n"] == 1
        assert (await provider.list_items("todos")).corrupt == ()

    play(tmp_path, body)


def test_other_files_in_the_folder_are_nobodys_business(tmp_path: Path) -> None:
    """Notes, hidden files, folders and backups of editors are no documents."""
    folder = tmp_path / "todos"
    (folder / "sub.json").mkdir(parents=True)
    for name in ("README.md", ".hidden.json", ".DS_Store", "a.json~", "a.json.bak"):
        (folder / name).write_text("{")

    async def body(provider: LocalFileProvider) -> None:
        await fill(provider, "a")
        assert (await provider.list_items("todos")).corrupt == ()
        await provider.clear_collection("todos")
        assert await provider.count_items("todos") == 0
        assert {"README.md", ".hidden.json", "a.json~"} <= set(names_in(folder))

    play(tmp_path, body)


# --- broken files ------------------------------------------------------------------------------

BROKEN = {
    "empty": b"",
    "truncated": b'{"id": "bad", "text": "sec',
    "a list": b"[1]",
    "not UTF-8": b'{"id": "bad", "n": "\xff"}',
    "trailing": b'{"id": "bad"} {}',
    "another id": b'{"id": "other"}',
    "id is no text": b'{"id": 7}',
    "bad expiry": b'{"id": "bad", "expiresAt": "soon"}',
    "huge number": b'{"id": "bad", "n": 1e999}',
    "deep": b'{"id": "bad", "n": ' + b"[" * 300 + b"]" * 300 + b"}",
    "deeper": b'{"id": "bad", "n": ' + b"[" * 9000 + b"]" * 9000 + b"}",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named_and_in_nobodys_way(tmp_path: Path, raw: bytes) -> None:
    """Reading names the file, listings go on without it and name it, a put replaces it."""
    path = tmp_path / "todos/bad.json"

    async def body(provider: LocalFileProvider) -> None:
        await fill(provider, "ab")
        path.write_bytes(raw)
        with pytest.raises(CorruptItemError) as caught:
            await provider.read_item("todos", "bad")
        assert caught.value.source == str(path)
        assert "sec" not in str(caught.value).replace("section", "")
        with pytest.raises(BatchError) as several:
            await provider.read_items("todos", ["a", "bad"])
        assert [type(each).__name__ for each in several.value.results] == [
            "Item",
            "CorruptItemError",
        ]
        page = await provider.list_items("todos", limit=1)
        assert [error.source for error in page.corrupt] == [str(path)]
        assert [error.item_id for error in page.corrupt] == ["bad"]
        rest = await provider.list_items("todos", limit=1, cursor=page.cursor)
        assert rest.corrupt == ()
        assert [item.id for item in (*page.items, *rest.items)] == ["a", "b"]
        with pytest.raises(CorruptItemError):
            await provider.update_item("todos", "bad", {"n": 1})
        with pytest.raises(ItemExistsError):
            await provider.create_item("todos", {"id": "bad"})
        assert path.read_bytes() == raw
        await provider.put_item("todos", {"id": "bad"})
        assert await ids(provider) == ["a", "b", "bad"]
        assert (await provider.list_items("todos")).corrupt == ()

    play(tmp_path, body)


def test_a_broken_file_can_be_deleted_or_mended_by_hand(tmp_path: Path) -> None:
    """Either way it is no longer reported."""

    async def body(provider: LocalFileProvider) -> None:
        await fill(provider, "ab")
        for name in "ab":
            (tmp_path / f"todos/{name}.json").write_text("{")
        await provider.refresh()
        assert len((await provider.list_items("todos")).corrupt) == 2
        await provider.delete_item("todos", "a")
        (tmp_path / "todos/b.json").write_text('{"id": "b"}')
        await provider.refresh()
        page = await provider.list_items("todos")
        assert page.corrupt == ()
        assert [item.id for item in page.items] == ["b"]

    play(tmp_path, body)


def test_an_unusual_file_name_is_reported_not_hidden(tmp_path: Path) -> None:
    """A name that is no Unicode, and a copy under a second name, are named as damaged."""
    (tmp_path / "todos").mkdir()
    (tmp_path / "todos" / os.fsdecode(b"\xff.json")).write_bytes(b"{}")

    async def body(provider: LocalFileProvider) -> None:
        await provider.put_item("todos", {"id": "Aa"})
        shutil.copy(tmp_path / "todos/Aa^1.json", tmp_path / "todos/Aa.json")
        await provider.refresh()
        page = await provider.list_items("todos")
        assert [item.id for item in page.items] == ["Aa"]
        assert len(page.corrupt) == 2
        (tmp_path / "todos/Aa.json").unlink()
        await provider.refresh()
        assert await ids(provider) == ["Aa"]
        assert len((await provider.list_items("todos")).corrupt) == 1

    play(tmp_path, body)


# --- the index ---------------------------------------------------------------------------------


def test_the_index_may_be_deleted_while_it_is_open(tmp_path: Path) -> None:
    """Folder or file, before a query, a write or a scan: everything is found all the same."""

    async def body(provider: LocalFileProvider) -> None:
        await provider.declare(CollectionSpec(collection="todos", indexes=(Index.of("n"),)))
        await fill(provider, "ab")
        shutil.rmtree(tmp_path / SDK / "index")
        assert await ids(provider, where={"n": 1}) == ["a", "b"]
        (tmp_path / SDK / "index/index.sqlite").unlink()
        await provider.put_item("todos", {"id": "c", "n": 1})
        page = await provider.list_items("todos", where={"n": 1})
        assert [item.id for item in page.items] == ["a", "b", "c"]
        assert page.statistics.index == "n"
        shutil.rmtree(tmp_path / SDK / "index")
        await provider.refresh()
        assert len((await provider.versions("todos")).entries) == 3
        shutil.rmtree(tmp_path / SDK)
        await provider.put_item("todos", {"id": "d", "n": 1})
        assert await ids(provider) == ["a", "b", "c", "d"]

    play(tmp_path, body, rescan_seconds=None)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "other schema", "foreign"])
def test_a_useless_index_is_made_anew(tmp_path: Path, damage: str) -> None:
    """Whatever lies where the index should be, opening and asking works."""
    play(tmp_path, lambda provider: fill(provider, "abc"))
    index = tmp_path / SDK / "index/index.sqlite"
    raw = index.read_bytes()
    if damage == "garbage":
        index.write_bytes(b"no database at all" * 100)
    elif damage == "truncated":
        index.write_bytes(raw[:5000])
    elif damage == "other schema":
        index.write_bytes(raw[:60] + b"\x00\x00\x00\x63" + raw[64:])
    else:
        index.write_bytes(b"")

    async def body(provider: LocalFileProvider) -> None:
        assert await ids(provider) == ["a", "b", "c"]

    play(tmp_path, body)


def test_an_index_damaged_while_it_is_open_is_made_anew(tmp_path: Path) -> None:
    """A query that meets the damage answers from a new index."""

    async def body(provider: LocalFileProvider) -> None:
        await fill(provider, "abc")
        connection = provider._committer._index.connection
        connection.execute("DROP TABLE files")
        assert await ids(provider) == ["a", "b", "c"]
        await provider.put_item("todos", {"id": "d"})
        assert await ids(provider) == ["a", "b", "c", "d"]

    play(tmp_path, body)


def test_declarations_lie_with_the_data_and_outlive_the_index(tmp_path: Path) -> None:
    """A file holds them; a new index has what they ask for; a broken one is named."""
    spec = CollectionSpec(
        collection="user/todos", indexes=(Index.of("status", "-due"),), text_fields=("title",)
    )

    async def declare(provider: LocalFileProvider) -> None:
        await provider.declare(spec)
        await provider.put_item("user/todos", {"id": "a", "status": "open", "title": "Buy milk"})

    play(tmp_path, declare)
    shutil.rmtree(tmp_path / SDK / "index")

    async def ask(provider: LocalFileProvider) -> None:
        assert await provider.declared("user/todos") == spec
        assert await ids(provider, "user/todos", where={"$text": "milk"}) == ["a"]
        page = await provider.list_items("user/todos", where={"status": "open"}, order_by="-due")
        assert page.statistics.index == "status,-due"

    play(tmp_path, ask)
    path = tmp_path / SDK / "collections/user/todos.json"
    path.write_text("{")

    async def broken(provider: LocalFileProvider) -> None:
        with pytest.raises(CorruptItemError) as caught:
            await provider.declared("user/todos")
        assert caught.value.source == str(path)

    play(tmp_path, broken)


def test_two_providers_see_each_others_writes_and_declarations(tmp_path: Path) -> None:
    """What one wrote, the other's next query finds without any scan."""

    async def body(first: LocalFileProvider) -> None:
        async with LocalFileProvider(tmp_path, rescan_seconds=None, fsync=False) as second:
            await fill(first, "a")
            assert await ids(second) == ["a"]
            await first.put_item("todos", {"id": "b"})
            assert await ids(second) == ["a", "b"]
            await second.delete_item("todos", "a")
            assert await ids(first) == ["b"]
            shutil.rmtree(tmp_path / SDK / "index")
            assert await ids(first) == ["b"]
            await first.put_item("todos", {"id": "c"})
            assert await ids(second) == ["b", "c"]

    play(tmp_path, body, rescan_seconds=None)


# --- conditions, batches, encoded documents ----------------------------------------------------


def test_a_batch_says_write_by_write_what_landed(tmp_path: Path) -> None:
    """Conditions are each write's own; the others land."""

    async def body(provider: LocalFileProvider) -> None:
        assert not provider.capabilities.atomic_batch
        old = await provider.put_item("todos", {"id": "old"})
        batch: list[Write] = [
            Put("todos", {"id": "old"}, IF_ABSENT),
            Put("todos", {"id": "new"}, IF_ABSENT),
            Patch("todos", "gone", {"n": 1}),
            Delete("journals", "gone", IF_PRESENT),
        ]
        with pytest.raises(BatchError) as caught:
            await provider.write(batch)
        results = caught.value.results
        assert [type(each) for each in (results[0], results[2], results[3])] == [
            ItemExistsError,
            ItemNotFoundError,
            ItemNotFoundError,
        ]
        assert [error.index for error in caught.value.errors] == [0, 2, 3]
        assert results[1] == await provider.read_item("todos", "new")
        with pytest.raises(VersionMismatchError) as single:
            await provider.delete_item("todos", "old", if_version="x")
        assert single.value.actual_version == old.version
        assert single.value.index is None

    play(tmp_path, body)


def test_concurrent_writes_share_a_round_and_keep_their_own_errors(tmp_path: Path) -> None:
    """Many callers at once: each gets its result, writes to one document stay in order."""

    async def body(provider: LocalFileProvider) -> None:
        await provider.put_item("todos", {"id": "counter", "n": 0})

        async def increment() -> None:
            await provider.modify_item("todos", "counter", lambda old: {**old, "n": old["n"] + 1})

        async with asyncio.TaskGroup() as group:
            creations = [
                group.create_task(attempt(provider.create_item("todos", {"id": f"{n % 10}"})))
                for n in range(30)
            ]
            for _ in range(10):
                group.create_task(increment())
        kinds = [type(task.result()).__name__ for task in creations]
        assert kinds == ["Item"] * 10 + ["ItemExistsError"] * 20
        counter = await provider.read_item("todos", "counter")
        assert counter is not None
        assert counter.document["n"] == 10
        assert len(await ids(provider)) == 11

    play(tmp_path, body)


async def attempt(awaitable: Awaitable[Any]) -> object:
    """The result, or the error of the SDK."""
    try:
        return await awaitable
    except StorageError as error:
        return error


def test_an_encoded_document_is_one_file_with_a_readable_first_line(tmp_path: Path) -> None:
    """Its payload's bytes follow; it takes the place of a plain one and the reverse."""
    payload = bytes(range(256)) + b"\n\n"

    async def body(provider: LocalFileProvider) -> None:
        await provider.put_item("todos", {"id": "a", "n": 1})
        visible = {"id": "a", "n": 2}
        (stored,) = await provider.write([Put("todos", visible, encoding="zstd", payload=payload)])
        assert names_in(tmp_path / "todos") == ["a.encoded"]
        raw = (tmp_path / "todos/a.encoded").read_bytes()
        line, _, rest = raw.partition(b"\n")
        assert json.loads(line) == {"encoding": "zstd", "document": visible}
        assert rest == payload
        assert await provider.read_item("todos", "a") == stored
        page = await provider.list_items("todos", where={"n": 2})
        assert page.items == [stored]
        with pytest.raises(UnsupportedOperationError):
            await provider.update_item("todos", "a", {"n": 3})
        (tmp_path / "todos/a.encoded").write_bytes(line)
        with pytest.raises(CorruptItemError):
            await provider.read_item("todos", "a")
        await provider.put_item("todos", {"id": "a", "n": 4})
        assert names_in(tmp_path / "todos") == ["a.json"]

    play(tmp_path, body)


def test_of_two_files_of_one_document_the_plain_one_counts(tmp_path: Path) -> None:
    """So a crash between putting one in place and removing the other harms nothing."""

    async def body(provider: LocalFileProvider) -> None:
        await provider.put_item("todos", {"id": "a", "n": 1})
        header = b'{"encoding":"zstd","document":{"id":"a","n":2}}\nx'
        (tmp_path / "todos/a.encoded").write_bytes(header)
        await provider.refresh()
        item = await provider.read_item("todos", "a")
        assert item is not None
        assert item.encoding is None
        assert (await provider.list_items("todos")).items == [item]
        await provider.delete_item("todos", "a")
        assert names_in(tmp_path / "todos") == []
        assert await provider.read_item("todos", "a") is None

    play(tmp_path, body)


def test_a_patch_is_held_to_the_size_limit_and_to_json(tmp_path: Path) -> None:
    """The old document stays."""

    async def body(provider: LocalFileProvider) -> None:
        await provider.declare(CollectionSpec(collection="todos", max_document_bytes=150))
        item = await provider.put_item("todos", {"id": "a"})
        with pytest.raises(StorageError, match=r"\d+ bytes, the limit is 150"):
            await provider.update_item("todos", "a", {"text": "x" * 100})
        deep: Any = {}
        for _ in range(150):
            deep = {"d": deep}
        with pytest.raises(StorageError):
            await provider.update_item("todos", "a", {"d": deep})
        with pytest.raises(InvalidDocumentError):
            await provider.update_item("todos", "a", {"n": float("nan")})
        assert await provider.read_item("todos", "a") == item

    play(tmp_path, body)


# --- expiry ------------------------------------------------------------------------------------


def test_expired_documents_are_invisible_and_collected(tmp_path: Path) -> None:
    """They vanish from reads and queries at once, from the folder at the next scan."""
    clock = ManualClock()
    soon = "2026-01-31T12:00:10.000Z"

    async def body(provider: LocalFileProvider) -> None:
        await provider.write([Put("todos", {"id": each, "expiresAt": soon}) for each in "ab"])
        await provider.put_item("todos", {"id": "c"})
        assert await ids(provider) == ["a", "b", "c"]
        clock.advance(11)
        assert await provider.read_item("todos", "a") is None
        await provider.create_item("todos", {"id": "a"})
        (tmp_path / "todos/b.json").write_text('{"id": "b"}')
        assert await ids(provider) == ["a", "b", "c"]
        await provider.write([Put("todos", {"id": "d", "expiresAt": soon})])
        clock.advance(6)
        assert await ids(provider) == ["a", "b", "c"]
        assert sorted(names_in(tmp_path / "todos")) == ["a.json", "b.json", "c.json"]

    play(tmp_path, body, clock=clock.clock)


# --- backups -----------------------------------------------------------------------------------


def test_replaced_and_deleted_documents_are_kept_and_restored(tmp_path: Path) -> None:
    """The newest of each document, up to the limit, whatever kind of write replaced it."""

    async def body(provider: LocalFileProvider) -> None:
        await provider.put_item("u/todos", {"id": "A", "n": 0})
        assert await provider.list_backups("u/todos", "A") == []
        for n in range(1, 4):
            await provider.put_item("u/todos", {"id": "A", "n": n})
        await provider.update_item("u/todos", "A", {"n": 4})
        await provider.delete_item("u/todos", "A")
        backups = await provider.list_backups("u/todos", "A")
        kept = [await provider.read_backup("u/todos", "A", backup.name) for backup in backups]
        assert [item.document["n"] for item in kept] == [4, 3, 2]
        assert backups == sorted(backups, key=lambda backup: backup.replaced_at, reverse=True)
        assert all(backup.size_bytes > 0 for backup in backups)
        restored = await provider.restore_backup("u/todos", "A", backups[1].name)
        assert restored.document == kept[1].document
        assert restored.version == kept[1].version
        assert await provider.read_item("u/todos", "A") == restored
        with pytest.raises(ItemNotFoundError):
            await provider.restore_backup("u/todos", "A", "../../../x.json")

    play(tmp_path, body, enable_backup=True, backup_limit=3)


def test_backups_keep_broken_encoded_and_cleared_documents_too(tmp_path: Path) -> None:
    """Putting over a broken file loses nothing; a restored encoded document is whole."""
    sources: list[Path] = []

    async def body(provider: LocalFileProvider) -> None:
        await provider.write([Put("todos", {"id": "e"}, encoding="zstd", payload=b"\x00\n")])
        (tmp_path / "todos/b.json").write_text("{broken")
        await provider.put_item("todos", {"id": "b"})
        await provider.clear_collection("todos")
        (encoded,) = await provider.list_backups("todos", "e")
        restored = await provider.restore_backup("todos", "e", encoded.name)
        assert (restored.encoding, restored.payload) == ("zstd", b"\x00\n")
        _, broken = await provider.list_backups("todos", "b")
        with pytest.raises(CorruptItemError) as caught:
            await provider.restore_backup("todos", "b", broken.name)
        sources.append(Path(caught.value.source or ""))
        assert await ids(provider) == ["e"]

    play(tmp_path, body, enable_backup=True)
    assert sources[0].read_text() == "{broken"


def test_no_backups_unless_asked_for(tmp_path: Path) -> None:
    """The default keeps nothing."""

    async def body(provider: LocalFileProvider) -> None:
        await fill(provider, "a")
        await provider.put_item("todos", {"id": "a"})
        await provider.delete_item("todos", "a")
        assert await provider.list_backups("todos", "a") == []
        assert not (tmp_path / SDK / "backups").exists()

    play(tmp_path, body)


# --- names of collections ----------------------------------------------------------------------


def test_collections_come_from_folders_and_declarations(tmp_path: Path) -> None:
    """Hidden folders, loose files and folders without documents are none; nor is the SDK's."""
    for folder in (".git/objects", "empty", "Not A Collection", "deep/er"):
        (tmp_path / folder).mkdir(parents=True)
    for path in (".git/x.json", "loose.json", "Not A Collection/x.json", "deep/er/x.json"):
        (tmp_path / path).write_text("{}")

    async def body(provider: LocalFileProvider) -> None:
        await provider.declare(CollectionSpec(collection="only.declared", default_ttl_seconds=5))
        await provider.put_item(".sdk", {"id": "x"})
        assert await provider.collections() == ["deep/er", "only.declared"]
        assert await provider.collections("deep") == ["deep/er"]
        assert (await provider.read([Address(".sdk", "x")]))[0] is not None

    play(tmp_path, body)


def test_a_clock_that_goes_back_does_not_stop_scans(tmp_path: Path) -> None:
    """After the clock was set back, queries look at the folder again."""
    clock = ManualClock()

    async def body(provider: LocalFileProvider) -> None:
        await fill(provider, "a")
        clock.advance(-3600)
        (tmp_path / "todos/b.json").write_text("{}")
        assert await ids(provider) == ["a", "b"]

    play(tmp_path, body, clock=Clock(source=lambda: clock.seconds))


# --- permissions -------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_a_replaced_file_keeps_its_permission_bits(tmp_path: Path) -> None:
    """Puts, patches and the encoded form of a document have the mode a person gave its file."""

    def mode(name: str) -> int:
        return (tmp_path / "todos" / name).stat().st_mode & 0o777

    async def body(provider: LocalFileProvider) -> None:
        await provider.put_items("todos", [{"id": each} for each in "abc"])
        usual = mode("a.json")
        for name, bits in (("a", 0o600), ("b", 0o664)):
            (tmp_path / f"todos/{name}.json").chmod(bits)
        await provider.put_items("todos", [{"id": each, "n": 1} for each in "abcd"])
        assert [mode(f"{each}.json") for each in "abcd"] == [0o600, 0o664, usual, usual]
        await provider.update_item("todos", "a", {"n": 2})
        assert mode("a.json") == 0o600
        await provider.write([Put("todos", {"id": "a"}, encoding="sealed", payload=b"\0")])
        assert names_in(tmp_path / "todos")[0] == "a.encoded"
        assert mode("a.encoded") == 0o600
        await provider.put_item("todos", {"id": "a"})
        assert mode("a.json") == 0o600
        assert names_in(tmp_path / SDK / "temp") == []

    before = os.umask(0o022)
    try:
        play(tmp_path, body)
    finally:
        os.umask(before)


# --- large folders -----------------------------------------------------------------------------


def many(folder: Path, count: int, text: str = "{}") -> None:
    """Make files by hand, their times too old to be looked at twice."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        path = folder / f"{n:05d}.json"
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))


def test_refresh_tells_how_far_it_is(tmp_path: Path) -> None:
    """The numbers grow to that of all files, whether these are indexed anew or only looked at."""
    many(tmp_path / "todos", 2600)
    many(tmp_path / "user-7/todos", 600)

    async def body(provider: LocalFileProvider) -> None:
        for _ in range(2):
            told: list[int] = []
            await provider.refresh(on_progress=told.append)
            assert told == sorted(set(told))
            assert told[-1] == 3200
            assert len(told) >= 3
        told = []
        await provider.refresh("user-7/todos", on_progress=told.append)
        assert told == [500, 600]
        told = []
        await provider.refresh("nothing", on_progress=told.append)
        assert told == [0]
        page = await provider.list_items("todos", limit=1, total=True)
        assert page.total == 2600

    play(tmp_path, body, rescan_seconds=None)


def test_what_is_raised_on_progress_ends_the_refresh_only(tmp_path: Path) -> None:
    """The scan serves a query too, which gets its answer; the refresh raises."""
    many(tmp_path / "todos", 1200)
    calls: list[int] = []

    def refuse(files: int) -> None:
        calls.append(files)
        raise ZeroDivisionError

    async def body(provider: LocalFileProvider) -> None:
        refreshed, found = await asyncio.gather(
            provider.refresh(on_progress=refuse),
            provider.list_items("todos", limit=1, total=True),
            return_exceptions=True,
        )
        assert isinstance(refreshed, ZeroDivisionError)
        assert not isinstance(found, BaseException)
        assert found.total == 1200
        assert len(calls) == 1

    play(tmp_path, body, rescan_seconds=None)


def test_the_making_of_a_large_index_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line with counts and seconds, and none when little or nothing was indexed."""
    many(tmp_path / "secret-name", 1001, '{"secret": "content"}')
    many(tmp_path / "few", 1000)

    async def body(provider: LocalFileProvider) -> None:
        await provider.refresh()
        await provider.refresh()

    with caplog.at_level(logging.INFO, logger="storage_providers"):
        play(tmp_path, body, rescan_seconds=None)
    (record,) = caplog.records
    said = r"indexed 1001 new, changed or removed files in \d+\.\d s; looked at 1001"
    assert re.fullmatch(said, record.getMessage())
    assert record.levelno == logging.INFO


@pytest.mark.parametrize("limit", ["MEND_FILES", "MEND_BYTES", "MEND_SECONDS"])
def test_writers_have_their_turn_while_a_folder_is_indexed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """The lock is given up after so many files, bytes or seconds, and nothing is left out."""
    many(tmp_path / "todos", 30)
    (tmp_path / "todos/00007.json").write_text("broken")
    monkeypatch.setattr(_file_mending, limit, 1 if limit != "MEND_SECONDS" else 0)
    turns: list[int] = []
    mend = _file_commit.Committer.mend

    def counted(self: Any, collection: str, names: Any) -> Any:
        left = mend(self, collection, names)
        turns.append(len(names) - len(left))
        return left

    monkeypatch.setattr(_file_commit.Committer, "mend", counted)

    async def body(provider: LocalFileProvider) -> None:
        async with LocalFileProvider(tmp_path, fsync=False, lock_timeout_seconds=1) as other:
            pause = asyncio.sleep

            async def write_meanwhile(seconds: float) -> None:
                if len(turns) == 1:
                    await provider.put_item("todos", {"id": "00029", "n": 1})
                    await other.put_item("todos", {"id": "new", "n": 1})
                await pause(0 * seconds)

            monkeypatch.setattr(asyncio, "sleep", write_meanwhile)
            page = await provider.list_items("todos", total=True)
        assert page.total == 30
        assert [error.item_id for error in page.corrupt] == ["00007"]
        assert await ids(provider, where={"n": 1}) == ["00029", "new"]
        assert turns == [1] * 30

    play(tmp_path, body, rescan_seconds=None)


def test_gathered_names_are_gone_through_in_bounded_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of more files than names are gathered is indexed whole, then found unchanged."""
    monkeypatch.setattr(_file_scan, "NAMES_GATHERED", 20)
    monkeypatch.setattr(_file_scan, "FILES_AT_ONCE", 10)
    many(tmp_path / "todos", 65)

    async def body(provider: LocalFileProvider) -> None:
        mended: list[int] = []
        mend = provider._committer.mend

        def counted(collection: str, names: Any) -> Any:
            mended.append(len(names))
            return mend(collection, names)

        monkeypatch.setattr(provider._committer, "mend", counted)
        assert len(await ids(provider, limit=100)) == 65
        assert mended == [20, 20, 20, 5]
        (tmp_path / "todos/00030.json").write_text('{"n": 1}')
        (tmp_path / "todos/00031.json").unlink()
        await provider.refresh()
        assert mended == [20, 20, 20, 5, 1, 1]
        assert len(await ids(provider, limit=100)) == 64
        assert await ids(provider, where={"n": 1}) == ["00030"]

    play(tmp_path, body, rescan_seconds=None)


def test_a_file_renamed_to_the_other_form_is_read_anew(tmp_path: Path) -> None:
    """The same bytes are a document under one suffix and damaged under the other."""

    async def body(provider: LocalFileProvider) -> None:
        await provider.write([Put("todos", {"id": "a"}, encoding="sealed", payload=b"\0")])
        assert await ids(provider) == ["a"]
        (tmp_path / "todos/a.encoded").rename(tmp_path / "todos/a.json")
        await provider.refresh()
        page = await provider.list_items("todos")
        assert page.items == []
        assert [error.item_id for error in page.corrupt] == ["a"]
        (tmp_path / "todos/a.json").rename(tmp_path / "todos/a.encoded")
        await provider.refresh()
        page = await provider.list_items("todos")
        assert [item.id for item in page.items] == ["a"]
        assert page.corrupt == ()

    play(tmp_path, body, rescan_seconds=None)
