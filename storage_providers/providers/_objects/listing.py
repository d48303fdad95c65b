"""Listings that read no documents: versions, the names of collections, how many there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import (
    ItemVersion,
    VersionPage,
    check_collection,
    check_id,
    check_scope,
)
from storage_providers.providers._objects import ObjectEntry, ObjectStore
from storage_providers.providers._objects.building import read_all
from storage_providers.providers._objects.candidates import PLACE
from storage_providers.providers._objects.declaring import DECLARATIONS
from storage_providers.providers._objects.keys import FolderLayout, Layout
from storage_providers.providers._objects.pages import Pages
from storage_providers.resilience import map_bounded

if TYPE_CHECKING:
    from storage_providers.providers._objects.provider import ObjectProvider

__all__ = ["collections", "count", "is_collection", "versions"]

_MARK = ">"
"""What cursors of `versions` begin with; the name of the last key follows."""


async def versions(
    provider: ObjectProvider, collection: str, cursor: str | None, limit: int
) -> VersionPage:
    """A page of ids and versions, in the order of keys.

    Names that this SDK does not write have no id and are left out; queries name them.

    Raises:
        InvalidArgumentError: The cursor is damaged.
    """
    if cursor is not None and not cursor.startswith(_MARK):
        raise InvalidArgumentError("the cursor is damaged; begin again without one")
    layout, store = provider.layout, provider.store
    folder = layout.folder(collection)
    name = "" if cursor is None else cursor[len(_MARK) :]
    place = ""
    if not store.limits.starts_anywhere:
        place, _, name = name.partition(PLACE)
        if place and not re.match("[0-9]{1,4}:", place):
            raise InvalidArgumentError("the cursor is damaged; begin again without one")
    after = folder + name if name else ""
    pages = Pages(store, folder, after=after, size=limit, delimiter=layout.delimiter, place=place)
    found: list[tuple[str, ObjectEntry]] = []
    more, place = False, ""
    while len(found) < limit and not pages.ended:
        lines = await pages.next()
        for at, entry in enumerate(lines.entries):
            item_id = _id_at(layout, folder, entry.key)
            if item_id is not None:
                found.append((item_id, entry))
                place = lines.places[at] + PLACE if lines.places else ""
            if len(found) == limit:
                more = not pages.ended or at + 1 < len(lines.entries)
                break
    return VersionPage(
        entries=await _versions(store, found),
        cursor=_MARK + place + found[-1][1].key[len(folder) :] if more else None,
    )


async def _versions(
    store: ObjectStore, found: Sequence[tuple[str, ObjectEntry]]
) -> list[ItemVersion]:
    """Ids with versions; what the listing does not tell is read."""
    unknown = [entry.key for _, entry in found if not entry.version]
    told: dict[str, str] = {}
    if unknown:
        for key, stored in zip(unknown, await read_all(store, unknown), strict=True):
            if stored is not None:
                told[key] = stored.version
    return [
        ItemVersion(item_id, entry.version or told[entry.key])
        for item_id, entry in found
        if entry.version or entry.key in told
    ]


async def count(provider: ObjectProvider, collection: str) -> int:
    """How many documents a collection has, expired ones that were not collected among them."""
    layout = provider.layout
    folder = layout.folder(collection)
    pages, found = Pages(provider.store, folder, delimiter=layout.delimiter), 0
    while not pages.ended:
        for entry in (await pages.next()).entries:
            found += _id_at(layout, folder, entry.key) is not None
    return found


async def collections(provider: ObjectProvider, scope: str | None) -> list[str]:
    """The collections that hold documents or are declared, of a scope and those inside it.

    Folders that are no collection's and no scope's are other programs' own and left out.
    """
    names: set[str] = set()
    # A folder, as a scope; the scope it lies in is what the collection of that name belongs to.
    level = [scope or ""]
    while level:
        found = await map_bounded(lambda each: _look(provider, each), level)
        names.update(name for inside, _ in found for name in inside)
        level = [inner for _, scopes in found for inner in scopes]
    outside = scope or None
    return [name for name in names if name != outside]


async def _look(provider: ObjectProvider, scope: str) -> tuple[list[str], list[str]]:
    """Look into the folder of a scope, which may be a collection's too.

    Returns:
        Collections: the one whose folder this is, and those declared in the scope; and the scopes
        right inside it.
    """
    layout = _folders(provider)
    folder = layout.scope_folder(scope)
    inside = f"{scope}/" if scope else ""
    may_be_one = is_collection(scope) and layout.folder(scope) == folder
    names, scopes, declared = list[str](), list[str](), False
    pages = Pages(provider.store, folder, delimiter="/")
    while not pages.ended:
        lines = await pages.next()
        if may_be_one and any(_id_at(layout, folder, entry.key) for entry in lines.entries):
            names.append(scope)
            may_be_one = False
        for each in lines.folders:
            name = each[len(folder) : -1]
            declared = declared or name == DECLARATIONS
            part = _scope_part(layout, name)
            inner = inside + (part or "")
            # In the longest scope there is, a collection's folder is no scope's.
            if part is not None and (_is_scope(inner) or is_collection(inner)):
                scopes.append(inner)
    if declared:
        names += await _declared(provider, inside)
    return names, scopes


async def _declared(provider: ObjectProvider, inside: str) -> list[str]:
    """The collections that are declared in a scope."""
    layout = _folders(provider)
    folder = layout.folder(inside + DECLARATIONS)
    pages, names = Pages(provider.store, folder, delimiter="/"), list[str]()
    while not pages.ended:
        for entry in (await pages.next()).entries:
            name = _id_at(layout, folder, entry.key)
            if name is not None and "/" not in name and is_collection(inside + name):
                names.append(inside + name)
    return names


def _id_at(layout: Layout, folder: str, key: str) -> str | None:
    """The id of the document at a key; `None`: there is none that this SDK reads."""
    try:
        item_id = layout.id_at(folder, key)
        return None if item_id is None else check_id(item_id)
    except ValueError:
        return None


def _folders(provider: ObjectProvider) -> FolderLayout:
    """The layout; a provider with another one finds its collections in another way."""
    assert isinstance(provider.layout, FolderLayout)
    return provider.layout


def _scope_part(layout: FolderLayout, name: str) -> str | None:
    """The part of a scope that a folder stands for; `None`: it is the SDK's own, or nobody's."""
    try:
        part = None if name.startswith(".") else layout.scope_part(name)
    except ValueError:
        return None
    return None if part is None or "/" in part else part


def _is_scope(scope: str) -> bool:
    try:
        check_scope(scope)
    except InvalidArgumentError:
        return False
    return True


def is_collection(name: str) -> bool:
    """Whether it is a collection's name, and not one of the SDK's own."""
    try:
        return not check_collection(name)[1].startswith(".")
    except InvalidArgumentError:
        return False
