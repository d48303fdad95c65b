"""The names of collections, from listings: KV can't list folders, so all keys are gone through."""

from __future__ import annotations

from typing import Final

from storage_providers.cloudflare.kv import KVTransport
from storage_providers.protocol import is_inside
from storage_providers.providers._kv.layout import INDEXES, KVLayout
from storage_providers.providers._kv.store import KVStore
from storage_providers.providers._objects.declaring import DECLARATIONS
from storage_providers.providers._objects.listing import is_collection
from storage_providers.resilience import map_bounded

__all__ = ["collections"]

_INSIDE: Final = (":", "/")
"""What follows a scope in keys: its collections, or the next part of a longer scope."""


async def collections(store: KVStore, layout: KVLayout, scope: str | None) -> list[str]:
    """The collections that hold documents or are declared, of a scope and those inside it.

    One request for 1,000 documents in each namespace; index entries stand behind them and are not
    gone through.
    """
    beginnings = [layout.prefix]
    if scope is not None:
        folder = layout.scope_folder(scope)[:-1]
        beginnings = [folder + behind for behind in _INSIDE]
    namespaces = dict.fromkeys([store.namespace, *store.own.values()])
    looks = [(namespace, each) for namespace in namespaces for each in beginnings]
    found = await map_bounded(lambda look: _names(store, layout, *look), looks)
    return [name for name in set[str]().union(*found) if is_inside(name, scope)]


async def _names(
    store: KVStore, layout: KVLayout, namespace: KVTransport, beginning: str
) -> set[str]:
    names, cursor = set[str](), None
    while True:
        page = await store.list_in(namespace, beginning, cursor=cursor)
        for line in page.entries:
            if line.key.startswith(layout.prefix + INDEXES):
                return names
            name = _name(layout, line.key)
            if name is not None:
                names.add(name)
        cursor = page.cursor
        if cursor is None:
            return names


def _name(layout: KVLayout, key: str) -> str | None:
    """The collection of a key; of a declaration, the one that is declared."""
    address = layout.address_of(key)
    if address is None:
        return None
    scope, name, item_id = address
    if name == DECLARATIONS:
        name = item_id
    full = f"{scope}/{name}" if scope else name
    return full if "/" not in name and is_collection(full) else None
