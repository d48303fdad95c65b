"""Cases: scopes and names of collections."""

from __future__ import annotations

from typing import Final

import pytest

from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import (
    Address,
    Clear,
    CollectionSpec,
    Delete,
    Index,
    Patch,
    Put,
    Query,
    Write,
)
from storage_providers.testing._harness import THINGS, Scene, case, cases

SCOPES: Final = (
    "a",
    "A",
    "aa",
    "a%",
    "a_",
    "ab",
    "a*",
    "a?",
    "[a]",
    "a'b",
    'a"b',
    "a\\b",
    "a.b",
    ".a",
    "...",
    "a:b",
    "a b",
    " a",
    "a%2Fb",
    "a/b",
    "a/b/c",
    "b/a",
    "é",
    "e\u0301",
    "日本",
    "😀",
    "things",
    "user-7",
    "CON",
)
"""Scopes that differ, though patterns, paths or file systems may take some for others."""


def scoped_names(longest: int) -> list[str]:
    """The collection in no scope, in each of `SCOPES` and in two of the longest scopes."""
    scopes = (*SCOPES, "x" * longest, "x" * (longest - 1) + "y")
    return [THINGS, *(f"{scope}/{THINGS}" for scope in scopes)]


WRONG_NAMES: Final[dict[str, str]] = {
    "empty": "",
    "upper case": "Things",
    "hyphen first": "-things",
    "too long": "a" * 65,
    "space": "a b",
    "accent": "é",
    "newline": "things\n",
    "nul": "a\x00",
    "dot": ".",
    "dots": "..",
    "slash at the end": "u/",
    "slash at the beginning": "/things",
    "two slashes": "u//things",
    "scope up": "../things",
    "scope up inside": "u/../things",
    "scope here": "./things",
    "scope with a newline": "u\n/things",
    "scope with nul": "u\x00/things",
    "scope too long": "x" * 257 + "/things",
    "surrogate": "\ud800/things",
    "invisible": "u\u200b/things",
}

WRONG_SCOPES: Final[dict[str, str]] = {
    "empty": "",
    "slash": "/",
    "slash at the end": "u/",
    "slash at the beginning": "/u",
    "two slashes": "u//v",
    "here": ".",
    "up": "..",
    "up inside": "u/..",
    "newline": "u\n",
    "nul": "u\x00",
    "too long": "x" * 257,
    "surrogate": "\ud800",
}

NAMES: Final = (
    "_",
    "0",
    "a-b",
    "a.b",
    "a_b",
    "a" * 64,
    "a" * 63 + "b",
    "con",
    "index",
    "select",
    "sqlite_master",
    "_cf_kv",
    "things.json",
    "a.",
)
"""Names the contract allows, though some systems keep them for themselves."""


class ScopeCases:
    """No scope sees, counts or clears what is another's."""

    @case()
    async def test_scopes_are_apart(self, scene: Scene) -> None:
        """The same ids in the same collection of many scopes are different documents."""
        names = scoped_names(scene.capabilities.max_scope_bytes)
        for position, name in enumerate(names):
            await scene.fill({"id": "a", "n": position}, {"id": f"{position}"}, collection=name)
        assert await scene.provider.collections() == sorted(names)
        for position, name in enumerate(names):
            assert await scene.everything(name) == {
                "a": {"id": "a", "n": position},
                f"{position}": {"id": f"{position}"},
            }, name
            assert await scene.provider.count_items(name) == 2
            versions = await scene.provider.versions(name)
            assert sorted(entry.id for entry in versions.entries) == sorted(["a", f"{position}"])
            assert await scene.ids({"id": {"$in": ["0", f"{position}", "99"]}}, (), name) == [
                f"{position}"
            ]

    @case()
    async def test_clearing_one_scope(self, scene: Scene) -> None:
        """Clear and delete reach exactly their own scope."""
        names = scoped_names(scene.capabilities.max_scope_bytes)
        for name in names:
            await scene.fill({"id": "a"}, {"id": "b"}, collection=name)
        left = set(names)
        for name in names[::3]:
            await scene.provider.clear_collection(name)
            left.discard(name)
            await scene.provider.delete_item(name, "a")
        assert await scene.provider.collections() == sorted(left)
        for name in names:
            assert await scene.provider.count_items(name) == (2 if name in left else 0), name

    @case()
    async def test_an_index_of_one_scope_leaves_others_alone(self, scene: Scene) -> None:
        """Declaring, redeclaring and dropping in one scope changes no answer in another."""
        for name in (THINGS, "a/things", "b/things"):
            await scene.fill(*({"id": f"{n}", "v": -n} for n in range(3)), collection=name)
        spec = CollectionSpec(collection="a/things", indexes=(Index.of("v"),))
        await scene.provider.declare(spec)
        await scene.provider.declare(
            CollectionSpec(collection="b/things", indexes=(Index.of("v"), Index.of("-v")))
        )
        await scene.provider.declare(CollectionSpec(collection="b/things"))
        for name in (THINGS, "a/things", "b/things"):
            assert await scene.ids({"v": {"$lte": -1}}, "v", name) == ["2", "1"]
        assert await scene.provider.declared("a/things") == spec
        assert await scene.provider.declared(THINGS) is None

    @case()
    async def test_longest_scope(self, scene: Scene) -> None:
        """One byte more than `max_scope_bytes` is refused, also when parts or letters hide it."""
        longest = scene.capabilities.max_scope_bytes
        await scene.fill({"id": "a"}, collection="x" * longest + "/things")
        for scope in ("y" * (longest + 1), "y/" + "y" * (longest - 1), "é" * (longest // 2 + 1)):
            name = f"{scope}/things"
            for attempt in (
                scene.provider.read([Address(name, "a")]),
                scene.provider.write([Put(name, {"id": "a"})]),
                scene.provider.write([Clear(name)]),
                scene.provider.query([Query(name)]),
                scene.provider.versions(name),
                scene.provider.declare(CollectionSpec(collection=name)),
                scene.provider.declared(name),
            ):
                with pytest.raises(InvalidArgumentError, match=str(longest)):
                    await attempt
        assert await scene.provider.collections() == ["x" * longest + "/things"]

    @cases(WRONG_NAMES)
    async def test_wrong_names_are_refused(self, scene: Scene, value: str) -> None:
        """By every verb, before anything happens."""
        provider = scene.provider
        batch: list[Write] = [Put(THINGS, {"id": "x"}), Put(value, {"id": "a"})]
        batches: list[list[Write]] = [
            batch,
            [Patch(value, "a", {"n": 1})],
            [Delete(value, "a")],
            [Clear(value)],
        ]
        for wrong in batches:
            with pytest.raises(InvalidArgumentError):
                await provider.write(wrong)
        for attempt in (
            provider.read([Address(THINGS, "x"), Address(value, "a")]),
            provider.query([Query(THINGS), Query(value)]),
            provider.versions(value),
            provider.declare(CollectionSpec(collection=value)),
            provider.declared(value),
            provider.create_item(value, {"id": "a"}),
            provider.clear_collection(value),
            provider.count_items(value),
        ):
            with pytest.raises(InvalidArgumentError):
                await attempt
        assert await provider.collections() == []

    @case()
    async def test_names_that_others_keep_for_themselves(self, scene: Scene) -> None:
        """Every allowed name is a collection of its own."""
        for position, name in enumerate(NAMES):
            await scene.provider.declare(CollectionSpec(collection=name, indexes=(Index.of("n"),)))
            await scene.fill({"id": "a", "n": position}, collection=name)
        assert await scene.provider.collections() == sorted(NAMES)
        for position, name in enumerate(NAMES):
            assert await scene.ids({"n": position}, "n", name) == ["a"]
            assert await scene.provider.count_items(name) == 1

    @case()
    async def test_naming_the_collections_of_one_scope(self, scene: Scene) -> None:
        """Those of the scope and of the scopes inside it, with their whole names, and no others."""
        names = scoped_names(scene.capabilities.max_scope_bytes)
        # A collection is called as the scope is, and others lie in and beside it.
        names += ["a", "user-7", "a/a", "a/other", "user-7/a/b/c/things"]
        for name in names[::2]:
            await scene.fill({"id": "1"}, collection=name)
        for name in names[1::2]:
            await scene.provider.declare(CollectionSpec(collection=name))
        await scene.fill({"id": "1"}, collection="a/.own")
        scopes = {name.rpartition("/")[0] for name in names} - {""}
        for scope in (*scopes, "user-7/a", "user-7/a/b", "user", "b", "nobody", "a/things", "%"):
            inside = [name for name in names if name.startswith(f"{scope}/")]
            assert await scene.provider.collections(scope) == sorted(inside), scope
        assert await scene.provider.collections(None) == sorted(names)

    @case()
    async def test_the_collections_of_a_scope_follow_its_documents(self, scene: Scene) -> None:
        """What is cleared is not named; a declaration alone is enough."""
        await scene.fill({"id": "a"}, collection="u/things")
        await scene.fill({"id": "a"}, collection="v/things")
        assert await scene.provider.collections("u") == ["u/things"]
        await scene.provider.clear_collection("u/things")
        assert await scene.provider.collections("u") == []
        await scene.provider.declare(CollectionSpec(collection="u/w/declared"))
        assert await scene.provider.collections("u") == ["u/w/declared"]
        assert await scene.provider.collections("v") == ["v/things"]

    @cases(WRONG_SCOPES)
    async def test_wrong_scopes_are_refused(self, scene: Scene, value: str) -> None:
        """Naming collections takes the scopes that names may have, and no pattern or path."""
        await scene.fill({"id": "a"}, collection="u/things")
        with pytest.raises(InvalidArgumentError):
            await scene.provider.collections(value)

    @case()
    async def test_the_sdks_own_collections_are_hidden(self, scene: Scene) -> None:
        """Names that begin with a dot work and are not listed, in scopes neither."""
        for name in (".own", "u/.own"):
            await scene.fill({"id": "a", "in": name}, collection=name)
            await scene.provider.declare(CollectionSpec(collection=name, indexes=(Index.of("in"),)))
        await scene.fill({"id": "a"})
        assert await scene.provider.collections() == [THINGS]
        for name in (".own", "u/.own"):
            assert await scene.document("a", name) == {"id": "a", "in": name}
            assert await scene.ids({"in": name}, (), name) == ["a"]

    @case()
    async def test_collections_follow_their_documents(self, scene: Scene) -> None:
        """A collection is listed while it holds documents or is declared."""
        await scene.fill({"id": "a"}, collection="u/things")
        await scene.fill({"id": "a"}, collection="others")
        assert await scene.provider.collections() == ["others", "u/things"]
        await scene.provider.delete_item("u/things", "a")
        assert await scene.provider.collections() == ["others"]
        await scene.provider.declare(CollectionSpec(collection="declared"))
        await scene.provider.clear_collection("others")
        assert await scene.provider.collections() == ["declared"]
