"""Cases: keyset pages while others write, cursors, and paging through versions."""

from __future__ import annotations

from typing import Any, Final

import pytest

from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import JsonObject, Page, Patch
from storage_providers.testing._harness import THINGS, Scene, case, cases
from storage_providers.testing._queries import POPULATION

ORDERS: Final[dict[str, tuple[str, ...]]] = {
    "id": (),
    "descending id": ("-id",),
    "kinds": ("v",),
    "kinds descending": ("-v",),
    "same value": ("same",),
    "same value descending": ("-same",),
    "mixed directions": ("same", "-v"),
    "other directions": ("-v", "same"),
    "ending in id": ("-v", "id"),
    "nested": ("-v.w", "v"),
}

BROKEN_CURSORS: Final[dict[str, str]] = {
    "empty": "",
    "nonsense": "nonsense",
    "not base64": "§§§",
    "spaces": "   ",
    "base64 of nonsense": "bm9uc2Vuc2U",
    "json of another shape": "W10",
    "long": "A" * 10_000,
    "nul": "\x00",
    "surrogate": "\ud800",
}


async def pages(scene: Scene, limit: int, **arguments: Any) -> list[Page]:
    """Every page of a listing."""
    found = [await scene.provider.list_items(THINGS, limit=limit, **arguments)]
    while found[-1].cursor is not None:
        assert len(found) < 1000, "the listing does not end"
        found.append(
            await scene.provider.list_items(
                THINGS, limit=limit, cursor=found[-1].cursor, **arguments
            )
        )
    return found


def ids_of(found: list[Page]) -> list[str]:
    """The ids on these pages, in order."""
    return [item.id for page in found for item in page.items]


class PagingCases:
    """Nothing is skipped or repeated."""

    @cases(ORDERS)
    async def test_pages_make_up_the_whole(self, scene: Scene, value: tuple[str, ...]) -> None:
        """Pages of any size, put together, are the listing in one piece."""
        await scene.fill(*({**document, "same": 1} for document in POPULATION))
        whole = ids_of([await scene.provider.list_items(THINGS, limit=1000, order_by=value)])
        assert sorted(whole) == sorted(str(document["id"]) for document in POPULATION)
        for limit in (1, 2, 7, len(whole), len(whole) + 1):
            found = await pages(scene, limit, order_by=value)
            assert ids_of(found) == whole, f"pages of {limit}"
            assert all(len(page.items) == limit for page in found[:-1])

    @cases(ORDERS)
    async def test_offsets_agree_with_pages(self, scene: Scene, value: tuple[str, ...]) -> None:
        """An offset passes over as many items of the same order."""
        await scene.fill(*({**document, "same": 1} for document in POPULATION))
        whole = await scene.ids(order_by=value)
        for offset in (0, 1, 5, len(whole) - 1, len(whole), len(whole) + 5):
            page = await scene.provider.list_items(THINGS, limit=3, offset=offset, order_by=value)
            assert ids_of([page]) == whole[offset : offset + 3]
            if page.cursor is not None:
                rest = await scene.provider.list_items(
                    THINGS, limit=1000, cursor=page.cursor, order_by=value
                )
                assert ids_of([rest]) == whole[offset + 3 :]

    @case()
    async def test_the_last_page_has_no_cursor(self, scene: Scene) -> None:
        """A listing that fits on its page ends there, and one of nothing too."""
        await scene.fill({"id": "a"}, {"id": "b"})
        assert (await scene.provider.list_items(THINGS, limit=3)).cursor is None
        assert (await scene.provider.list_items(THINGS, where={"v": 1})).cursor is None
        assert (await scene.provider.list_items(THINGS, limit=1)).cursor is not None

    @cases({"by id": (), "by value": ("v",), "descending": ("-v",)})
    async def test_paging_while_others_write(self, scene: Scene, value: tuple[str, ...]) -> None:
        """Documents whose sort key stays come exactly once, whatever is written meanwhile."""
        await scene.fill(*({"id": f"{n:02}", "v": n // 3} for n in range(30)))
        page = await scene.provider.list_items(THINGS, limit=5, order_by=value)
        seen = ids_of([page])
        step = 0
        while page.cursor is not None:
            # The very item the cursor stands on goes, others come before and behind it, and
            # one not seen yet changes without moving.
            await scene.provider.delete_item(THINGS, seen[-1])
            await scene.fill({"id": f"00-{step}", "v": -1}, {"id": f"99-{step}", "v": 99})
            unseen = next((n for n in range(30) if f"{n:02}" not in seen), None)
            if unseen is not None:
                await scene.write(Patch(THINGS, f"{unseen:02}", {"touched": step}))
            page = await scene.provider.list_items(
                THINGS, limit=5, order_by=value, cursor=page.cursor
            )
            seen += ids_of([page])
            step += 1
            assert step < 100
        stayed = [item_id for item_id in seen if "-" not in item_id]
        assert sorted(stayed) == [f"{n:02}" for n in range(30)]
        assert len(set(seen)) == len(seen)

    @case()
    async def test_paging_while_documents_expire(self, scene: Scene) -> None:
        """Documents that expire between pages drop out; the others all come."""
        expiry = {"expiresAt": "2026-01-31T12:00:30.000Z"}
        await scene.fill(*({"id": f"{n}", **(expiry if n % 2 else {})} for n in range(10)))
        page = await scene.provider.list_items(THINGS, limit=4)
        scene.clock.advance(31)
        rest = await scene.provider.list_items(THINGS, limit=10, cursor=page.cursor)
        assert ids_of([page, rest]) == ["0", "1", "2", "3", "4", "6", "8"]

    @case()
    async def test_cursor_with_where_and_another_limit(self, scene: Scene) -> None:
        """Conditions hold on every page, and the size may change from page to page."""
        await scene.fill(*({"id": f"{n:02}", "v": n % 3} for n in range(30)))
        question: JsonObject = {"where": {"v": {"$ne": 1}}, "order_by": ("-v",)}
        whole = await scene.ids(question["where"], question["order_by"])
        page = await scene.provider.list_items(THINGS, limit=1, **question)
        seen = ids_of([page])
        for limit in (3, 2, 100):
            page = await scene.provider.list_items(
                THINGS, limit=limit, cursor=page.cursor, **question
            )
            seen += ids_of([page])
        assert (seen, page.cursor) == (whole, None)

    @case()
    async def test_cursors_belong_to_their_query(self, scene: Scene) -> None:
        """A cursor with another collection, scope, order or `where` is refused."""
        for collection in (THINGS, "others", "u/things"):
            await scene.fill({"id": "a", "v": 1}, {"id": "b", "v": 1}, collection=collection)
        page = await scene.provider.list_items(THINGS, limit=1, where={"v": 1}, order_by="v")
        assert page.cursor is not None
        for collection, where, order_by in (
            ("others", {"v": 1}, "v"),
            ("u/things", {"v": 1}, "v"),
            (THINGS, {"v": 2}, "v"),
            (THINGS, None, "v"),
            (THINGS, {"v": 1}, "-v"),
            (THINGS, {"v": 1}, ()),
            (THINGS, {"v": 1}, ("v", "w")),
        ):
            with pytest.raises(InvalidArgumentError):
                await scene.provider.list_items(
                    collection, where=where, order_by=order_by, cursor=page.cursor
                )
        again = await scene.provider.list_items(
            THINGS, where={"v": 1}, order_by="v", cursor=page.cursor
        )
        assert ids_of([again]) == ["b"]

    @cases(BROKEN_CURSORS)
    async def test_broken_cursors_are_refused(self, scene: Scene, value: str) -> None:
        """They are never taken for the beginning or the end."""
        await scene.fill({"id": "a"}, {"id": "b"})
        with pytest.raises(InvalidArgumentError):
            await scene.provider.list_items(THINGS, cursor=value)

    @case()
    async def test_cut_cursors_are_refused(self, scene: Scene) -> None:
        """A cursor that lost its end or its beginning is refused, or still means the same."""
        await scene.fill({"id": "a"}, {"id": "b"})
        cursor = (await scene.provider.list_items(THINGS, limit=1)).cursor
        assert cursor is not None
        for damaged in (cursor[:-4], cursor[4:], cursor[: len(cursor) // 2], cursor + "AAAA"):
            with pytest.raises(InvalidArgumentError):
                await scene.provider.list_items(THINGS, cursor=damaged)

    # --- find_items ----------------------------------------------------------------------------

    @case()
    async def test_find_items_goes_over_all_pages(self, scene: Scene) -> None:
        """Every match comes once, in order, whatever the page size."""
        await scene.fill(*({"id": f"{n:03}", "v": -n} for n in range(101)))
        for page_size in (1, 10, 100, 101, 500):
            found = scene.provider.find_items(
                THINGS, where={"v": {"$lte": -1}}, order_by="v", page_size=page_size
            )
            assert [item.id async for item in found] == [f"{n:03}" for n in range(100, 0, -1)]

    @case()
    async def test_find_items_while_removing_what_it_yields(self, scene: Scene) -> None:
        """A loop that removes, changes or adds as it goes sees each document once."""
        await scene.fill(*({"id": f"{n:02}"} for n in range(20)))
        seen: list[str] = []
        async for item in scene.provider.find_items(THINGS, page_size=3):
            seen.append(item.id)
            await scene.provider.delete_item(THINGS, item.id)
        assert seen == [f"{n:02}" for n in range(20)]
        assert await scene.ids() == []

    @case()
    async def test_find_items_may_be_left_early(self, scene: Scene) -> None:
        """Leaving the loop leaves the provider usable."""
        await scene.fill(*({"id": f"{n}"} for n in range(5)))
        async for item in scene.provider.find_items(THINGS, page_size=2):
            if item.id == "2":
                break
        assert len(await scene.ids()) == 5

    @case()
    async def test_find_items_refuses_a_page_size_of_nothing(self, scene: Scene) -> None:
        """A page size of 0 would never end or find nothing; it is refused."""
        await scene.fill({"id": "a"})
        for page_size in (0, -1):
            found = scene.provider.find_items(THINGS, page_size=page_size)
            with pytest.raises(InvalidArgumentError):
                await anext(found)

    # --- versions ------------------------------------------------------------------------------

    @case()
    async def test_versions_page_through_all(self, scene: Scene) -> None:
        """Every id comes once with the version reads give, over pages of any size."""
        items = await scene.fill(*(POPULATION))
        await scene.fill({"id": "elsewhere"}, collection="u/things")
        expected = {item.id: item.version for item in items}
        for limit in (1, 2, 7, len(expected), 1000):
            entries: list[tuple[str, str]] = []
            cursor: str | None = None
            for _ in range(100):
                page = await scene.provider.versions(THINGS, cursor, limit)
                assert len(page.entries) <= limit
                entries += [(entry.id, entry.version) for entry in page.entries]
                cursor = page.cursor
                if cursor is None:
                    break
            assert cursor is None
            assert len(entries) == len(expected)
            assert dict(entries) == expected

    @case()
    async def test_versions_while_others_write(self, scene: Scene) -> None:
        """Documents that stay come exactly once while others come and go."""
        await scene.fill(*({"id": f"{n:02}"} for n in range(20)))
        page = await scene.provider.versions(THINGS, None, 4)
        seen = [entry.id for entry in page.entries]
        gone: set[str] = set()
        while page.cursor is not None:
            gone.add(seen[-1])
            await scene.provider.delete_item(THINGS, seen[-1])
            await scene.fill({"id": f"new {len(seen)}"})
            page = await scene.provider.versions(THINGS, page.cursor, 4)
            seen += [entry.id for entry in page.entries]
            assert len(seen) < 200
        assert len(set(seen)) == len(seen)
        assert {f"{n:02}" for n in range(20)} <= set(seen)

    @cases({"nonsense": "nonsense", "empty": "", "nul": "\x00"})
    async def test_broken_version_cursors_are_refused(self, scene: Scene, value: str) -> None:
        """They are never taken for the beginning or the end."""
        await scene.fill({"id": "a"}, {"id": "z"})
        with pytest.raises(InvalidArgumentError):
            await scene.provider.versions(THINGS, value)

    @case()
    async def test_version_cursors_are_the_collections_own(self, scene: Scene) -> None:
        """One of another collection, or of the same in another scope, is refused."""
        names = [THINGS, "others", "u/things", "v/things"]
        cursors: dict[str, str | None] = {}
        for name in names:
            await scene.fill({"id": "a"}, {"id": "b"}, collection=name)
            cursors[name] = (await scene.provider.versions(name, None, 1)).cursor
        for name in names:
            page = await scene.provider.versions(name, cursors[name], 1)
            assert len(page.entries) == 1
            for other in set(names) - {name}:
                with pytest.raises(InvalidArgumentError, match="cursor"):
                    await scene.provider.versions(other, cursors[name], 1)

    @cases({"zero": 0, "negative": -1})
    async def test_version_limits(self, scene: Scene, value: int) -> None:
        """The least is 1."""
        with pytest.raises(InvalidArgumentError, match=str(value)):
            await scene.provider.versions(THINGS, None, value)
