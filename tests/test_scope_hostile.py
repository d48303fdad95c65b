"""Two scopes and the whole on one provider, under hostile names, ids, conditions and cursors."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage_providers._json import JsonObject
from storage_providers.base import Provider
from storage_providers.errors import InvalidArgumentError
from storage_providers.filters import compile_where, parse_where
from storage_providers.layers import Scope, compose
from storage_providers.protocol import (
    Address,
    Clear,
    CollectionSpec,
    Delete,
    Put,
    Query,
)
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.testing.strategies import documents, wheres

AWKWARD_PAIRS = (
    ("user-7", "user-8"),
    ("user-7", "user-70"),
    ("a", "A"),
    ("é", "e\u0301"),
    ("%", "_"),
    ("*", "?"),
    ("a", "a "),
    ("...", ".a"),
    ("todos", "todo"),
    ("a:b", "a"),
    ("'", '"'),
    ("[a]", "a"),
    ("😀", "\ufffd"),
    ("x" * 256, "x" * 255),
)
"""Scopes that patterns, prefixes or foldings may take for each other."""

any_scope = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1, max_size=20
).filter(lambda scope: scope not in (".", "..") and scope.isprintable())
pairs = st.sampled_from(AWKWARD_PAIRS) | st.lists(
    any_scope, min_size=2, max_size=2, unique=True
).map(lambda scopes: (scopes[0], scopes[1]))

NAMES = (
    "todos",
    "todos",
    ".own",
    "a/todos",
    "{0}/todos",
    "{1}/todos",
    "{1}/.own",
    "{0}/{1}/todos",
    "../todos",
    "/todos",
    "//todos",
    "./todos",
    "todos/",
    "..",
    "../{1}/todos",
    "/{1}/todos",
    "{1}/../{0}/todos",
    "{1}//todos",
    "{1}\\todos",
    "..\\{1}/todos",
    "{1}\x00/todos",
    "{1}\n/todos",
    "",
    "Todos",
)
"""Names of collections, legal and not; `{0}` and `{1}` stand for the two scopes."""

IDS = ("a", "b", "../a", "/", "user-8/todos/a", "a/../../b", "%2e%2e/a", "..", "A", "\x01", "*")
ACTORS = 3


class Step(NamedTuple):
    """What one of the three does."""

    actor: int
    verb: str
    name: str
    document: JsonObject
    where: JsonObject
    pick: int


VERBS = (
    *("put", "put", "put", "delete", "clear", "read", "list", "list"),
    *("count", "versions", "collections", "declare", "declared", "cursor", "cursor"),
)
steps = st.builds(
    Step,
    st.integers(0, ACTORS - 1),
    st.sampled_from(VERBS),
    st.sampled_from(NAMES) | st.text(max_size=6).map(lambda text: f"{text}/todos"),
    documents(st.sampled_from(IDS)),
    st.just({}) | wheres(),
    st.integers(0, 1000),
)


class Cursor(NamedTuple):
    """A cursor and what it belongs to."""

    kind: str
    full: str
    where: JsonObject
    text: str


def is_legal(name: str, room: int) -> bool:
    """The rules for names, said another way than the contract's own check says them."""
    *scope, last = name.split("/")
    return (
        re.fullmatch(r"[a-z0-9_.][a-z0-9_.-]{0,63}", last) is not None
        and last.strip(".") != ""
        and last.isascii()
        and all(part not in ("", ".", "..") and part.isprintable() for part in scope)
        and len("/".join(scope).encode()) <= room
    )


class World:
    """The provider, its three views, and what must be in it."""

    def __init__(self, provider: Provider, scopes: tuple[str, str]) -> None:
        self.scopes = scopes
        self.prefixes = ("", *(f"{scope}/" for scope in scopes))
        self.views = (provider, *(compose(Scope(scope), provider=provider) for scope in scopes))
        self.stored: defaultdict[str, dict[str, JsonObject]] = defaultdict(dict)
        self.declared: dict[str, int] = {}
        self.cursors: list[Cursor] = []

    async def take(self, step: Step) -> None:
        """Do one thing to the provider and to the model, and compare."""
        name = step.name
        for position, scope in enumerate(self.scopes):
            name = name.replace(f"{{{position}}}", scope)
        room = 256 if step.actor == 0 else 256 - len(self.prefixes[step.actor].encode())
        act: Callable[[Step, Provider, str, str], Awaitable[None]]
        act = getattr(self, f"do_{step.verb}")
        playing = act(step, self.views[step.actor], name, self.prefixes[step.actor] + name)
        if step.verb in ("collections", "cursor") or is_legal(name, max(room, 0)):
            await playing
            return
        with pytest.raises(InvalidArgumentError) as caught:
            await playing
        assert caught.value.collection in (None, name)

    async def do_put(self, step: Step, view: Provider, name: str, full: str) -> None:
        """Store a document."""
        item = (await view.write([Put(name, step.document)]))[0]
        assert item is not None
        assert (item.collection, item.id) == (name, step.document["id"])
        self.stored[full][item.id] = step.document

    async def do_delete(self, step: Step, view: Provider, name: str, full: str) -> None:
        """Remove a document."""
        item_id = str(step.document["id"])
        assert await view.write([Delete(name, item_id)]) == [None]
        self.stored[full].pop(item_id, None)

    async def do_clear(self, step: Step, view: Provider, name: str, full: str) -> None:
        """Remove all documents."""
        assert await view.write([Clear(name)]) == [None]
        self.stored[full].clear()

    async def do_read(self, step: Step, view: Provider, name: str, full: str) -> None:
        """Read every id there is anywhere."""
        items = await view.read([Address(name, item_id) for item_id in IDS])
        assert {item.id: item.document for item in items if item} == self.stored[full]
        assert all(item is None or item.collection == name for item in items)

    async def do_list(self, step: Step, view: Provider, name: str, full: str) -> None:
        """List what matches, page by page, keeping the cursors."""
        seen: list[str] = []
        cursor: str | None = None
        while True:
            query = Query(name, step.where, limit=1, cursor=cursor, total=True)
            page = (await view.query([query]))[0]
            assert page.total == len(self.matching(full, step.where))
            assert all(item.collection == name for item in page.items)
            seen += [item.id for item in page.items]
            cursor = page.cursor
            if cursor is None:
                break
            self.cursors.append(Cursor("query", full, step.where, cursor))
        assert seen == self.matching(full, step.where)

    async def do_count(self, step: Step, view: Provider, name: str, full: str) -> None:
        """Count what matches."""
        assert await view.count_items(name, where=step.where) == len(
            self.matching(full, step.where)
        )

    async def do_versions(self, step: Step, view: Provider, name: str, full: str) -> None:
        """List ids, keeping the cursor."""
        page = await view.versions(name)
        assert {entry.id for entry in page.entries} == set(self.stored[full])
        page = await view.versions(name, None, 1)
        if page.cursor is not None:
            self.cursors.append(Cursor("versions", full, {}, page.cursor))

    async def do_collections(self, step: Step, view: Provider, name: str, full: str) -> None:
        """Name the collections."""
        prefix = self.prefixes[step.actor]
        there = {name for name, held in self.stored.items() if held} | set(self.declared)
        visible = (each for each in there if not each.rpartition("/")[2].startswith("."))
        expected = sorted(each.removeprefix(prefix) for each in visible if each.startswith(prefix))
        assert await view.collections() == expected
        scope = name.rpartition("/")[0]
        if is_legal(f"{scope}/x", max(256 - len(prefix.encode()), 0)):
            inside = [each for each in expected if each.startswith(f"{scope}/")]
            assert await view.collections(scope) == inside
        else:
            with pytest.raises(InvalidArgumentError):
                await view.collections(scope)

    async def do_declare(self, step: Step, view: Provider, name: str, full: str) -> None:
        """Declare something that tells declarations apart."""
        size = 1_000_000 + step.pick
        await view.declare(CollectionSpec(collection=name, max_document_bytes=size))
        self.declared[full] = size

    async def do_declared(self, step: Step, view: Provider, name: str, full: str) -> None:
        """Ask what is declared."""
        spec = await view.declared(name)
        size = self.declared.get(full)
        expected = (
            None if size is None else CollectionSpec(collection=name, max_document_bytes=size)
        )
        assert spec == expected

    async def do_cursor(self, step: Step, view: Provider, name: str, full: str) -> None:
        """Try a cursor that somebody got, on a collection of one's own."""
        if not self.cursors:
            return
        cursor = self.cursors[step.pick % len(self.cursors)]
        name = "todos" if step.pick % 3 == 0 else cursor.full.removeprefix(self.prefixes[1])
        room = 256 if step.actor == 0 else 256 - len(self.prefixes[step.actor].encode())
        mine = is_legal(name, max(room, 0)) and self.prefixes[step.actor] + name == cursor.full
        try:
            if cursor.kind == "query":
                query = Query(name, cursor.where, limit=1, cursor=cursor.text)
                found = {item.id for item in (await view.query([query]))[0].items}
            else:
                page = await view.versions(name, cursor.text)
                found = {entry.id for entry in page.entries}
        except InvalidArgumentError:
            assert not mine
        else:
            assert mine
            assert found <= set(self.stored[cursor.full])

    def matching(self, full: str, where: JsonObject) -> list[str]:
        """The ids of the documents that match, in order."""
        matches = compile_where(parse_where(where))
        return sorted(key for key, document in self.stored[full].items() if matches(document))

    async def compare(self) -> None:
        """Everything each view shows is what it must show."""
        for actor, view in enumerate(self.views):
            prefix = self.prefixes[actor]
            for full, held in list(self.stored.items()):
                if full.startswith(prefix):
                    name = full.removeprefix(prefix)
                    shown = {item.id: item.document async for item in view.find_items(name)}
                    assert shown == held
            await self.do_collections(Step(actor, "", "", {}, {}, 0), view, "", "")


def play(make: Callable[[], Provider], scopes: tuple[str, str], script: list[Step]) -> None:
    """Run a script on a new provider."""

    async def run() -> None:
        async with make() as provider:
            world = World(provider, scopes)
            for step in script:
                await world.take(step)
            await world.compare()

    asyncio.run(run())


def put(actor: int, name: str, item_id: str = "a") -> Step:
    """A step that stores a document which tells who stored it."""
    return Step(actor, "put", name, {"id": item_id, "by": actor}, {}, 0)


def other(actor: int, verb: str, name: str, pick: int = 0) -> Step:
    """A step that does something else with the document `a`."""
    return Step(actor, verb, name, {"id": "a"}, {}, pick)


FORGED: list[Any] = [
    put(1, "todos"),
    put(1, "todos", "b"),
    put(2, "todos"),
    put(0, "todos"),
    other(1, "list", "todos"),
    other(1, "versions", "todos"),
    *(other(actor, "cursor", "", pick) for actor in range(ACTORS) for pick in range(6)),
    other(2, "clear", "todos"),
    other(2, "delete", "../{0}/todos"),
    other(2, "clear", "/{0}/todos"),
    other(2, "clear", "{0}/todos"),
]
"""A cursor of one scope tried by all, and attempts to clear another's collection."""


@settings(max_examples=300)
@given(pairs, st.lists(steps, max_size=30))
@example(("user-7", "user-8"), FORGED)
def test_nothing_leaks_between_scopes_of_the_reference(
    scopes: tuple[str, str], script: list[Step]
) -> None:
    """Each view does what a provider of its own would do, whatever the others do."""
    play(InMemoryProvider, scopes, script)


@settings(max_examples=60)
@given(pairs, st.lists(steps, max_size=25))
@example(("user-7", "user-8"), FORGED)
def test_nothing_leaks_between_scopes_of_a_database(
    scopes: tuple[str, str], script: list[Step]
) -> None:
    """Nor where all scopes share one table."""
    play(lambda: SQLiteProvider(":memory:"), scopes, script)
