"""LangGraph's store on a provider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
from langgraph.store.base import (
    BaseStore,
    GetOp,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchOp,
    TTLConfig,
    validate_op_namespace,
)

from storage_providers.agents.adapters._common import warn_corrupt
from storage_providers.agents.adapters._home import HomeLoop
from storage_providers.agents.adapters._langgraph.filters import SearchPlan, matches_path
from storage_providers.agents.adapters._langgraph.items import (
    Names,
    item_of,
    namespace_in,
    renewed,
    search_item,
    write_of,
)
from storage_providers.agents.adapters._langgraph.layout import PAGE
from storage_providers.errors import BatchError, ItemNotFoundError, UnsupportedOperationError
from storage_providers.protocol import (
    Address,
    Item,
    Page,
    Patch,
    Query,
    StorageProvider,
    check_collection,
)

__all__ = ["ProviderStore", "SearchByMeaning"]


class SearchByMeaning(Protocol):
    """Answers searches that have a `query`; what `ProviderStore` hands them to."""

    async def __call__(self, op: SearchOp) -> Sequence[tuple[tuple[str, ...], str, float]]:
        """Namespace, key and score of what `op` asks for, best first, its limit and offset kept."""
        ...


class ProviderStore(BaseStore):
    """Keeps a LangGraph store's items on a provider.

    A batch takes one call for all that it gets, one for all searches, one for all it puts; a put
    costs a read beside, so that `created_at` stays. Reads of a batch see what was there before.

    A time to live begins anew with every read and search, unless `ttl` or the call says
    otherwise. Items whose time is over are never returned, and removed by the provider itself.

    Searches find the newest first; a document that can't be read is left out of them with a
    `CorruptItemWarning`. The methods without await work as those
    of `ProviderSaver`.

    Args:
        provider: Where items are kept, open while the store is used. It is not closed.
        collection: Name of the collection.
        ttl: Defaults for times to live, in minutes.
        meaning: Answers searches that have a `query`; without it they are refused.

    Raises:
        InvalidArgumentError: The collection's name is malformed.
    """

    supports_ttl = True

    def __init__(
        self,
        provider: StorageProvider,
        *,
        collection: str = "langgraph_store",
        ttl: TTLConfig | None = None,
        meaning: SearchByMeaning | None = None,
    ) -> None:
        check_collection(collection)
        self.provider = provider
        self.ttl_config = ttl
        self._names = Names(collection, provider.capabilities.max_id_bytes)
        self._meaning = meaning
        self._home = HomeLoop()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.provider!r})"

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """As `abatch`."""
        return self._home.run(lambda: self.abatch(ops))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do several operations: first all that read, then all that write.

        Args:
            ops: The operations. Of several puts of one item the last counts.

        Returns:
            One result for each, in order; `None` for puts.

        Raises:
            UnsupportedOperationError: A search has a `query`, and nothing to answer it was given.
            InvalidNamespaceError: A label is empty or holds a full stop.
            InvalidDocumentError: A value is not JSON.
            StorageError: The provider failed.
        """
        self._home.enter()
        asked = list(ops)
        for op in asked:
            validate_op_namespace(op)
            if isinstance(op, SearchOp) and op.query and self._meaning is None:
                raise UnsupportedOperationError(
                    "a search with a query needs the argument 'meaning' of ProviderStore, "
                    "something that searches by meaning; leave the query out to filter"
                )
        stored = await self._read(asked)
        hits = await self._search([op for op in asked if isinstance(op, SearchOp)])
        results: list[Result] = []
        read: list[tuple[Item, bool]] = []
        for op in asked:
            result: Result = None
            if isinstance(op, GetOp):
                found = stored[self._names.id_of(op.namespace, op.key)]
                if found is not None:
                    read.append((found, op.refresh_ttl))
                    result = item_of(found)
            elif isinstance(op, SearchOp):
                some = hits.pop(0)
                read += [(item, op.refresh_ttl) for item, _ in some]
                result = [search_item(item, score) for item, score in some]
            elif isinstance(op, ListNamespacesOp):
                result = await self._namespaces(op)
            results.append(result)
        await self._refresh([item for item, wanted in read if wanted])
        await self._write([op for op in asked if isinstance(op, PutOp)], stored)
        return results

    # --- helpers ---------------------------------------------------------------------------------

    async def _read(self, ops: Sequence[Op]) -> Mapping[str, Item | None]:
        """What is stored under the names of all gets and puts."""
        ids = {
            self._names.id_of(op.namespace, op.key): None
            for op in ops
            if isinstance(op, GetOp) or (isinstance(op, PutOp) and op.value is not None)
        }
        addresses = [Address(self._names.collection, item_id) for item_id in ids]
        found = await self.provider.read(addresses) if addresses else []
        return dict(zip(ids, found, strict=True))

    async def _write(self, puts: Sequence[PutOp], stored: Mapping[str, Item | None]) -> None:
        last = {self._names.id_of(op.namespace, op.key): op for op in puts}
        if last:
            await self.provider.write(
                [write_of(self._names, op, stored.get(item_id)) for item_id, op in last.items()]
            )

    async def _refresh(self, items: Sequence[Item]) -> None:
        patches = {item.id: patch for item in items if (patch := renewed(item)) is not None}
        if not patches:
            return
        try:
            await self.provider.write(list(patches.values()))
        except (ItemNotFoundError, BatchError):
            for patch in patches.values():
                await self._refresh_one(patch)

    async def _refresh_one(self, patch: Patch) -> None:
        with suppress(ItemNotFoundError):  # removed since: there is nothing left to keep alive
            await self.provider.write([patch])

    async def _search(self, ops: Sequence[SearchOp]) -> list[list[tuple[Item, float | None]]]:
        """What searches find: one call for the first page of all that only filter."""
        plans = {
            number: SearchPlan.of(self._names, op)
            for number, op in enumerate(ops)
            if not (op.query and self._meaning)
        }
        pages = await self.provider.query([plan.query for plan in plans.values()]) if plans else []
        first = dict(zip(plans, pages, strict=True))
        found: list[list[tuple[Item, float | None]]] = []
        for number, op in enumerate(ops):
            if number in plans:
                items = await self._filtered(plans[number], first[number])
                found.append([(item, None) for item in items])
            else:
                found.append(await self._meant(op))
        return found

    async def _meant(self, op: SearchOp) -> list[tuple[Item, float | None]]:
        assert self._meaning is not None
        scored = await self._meaning(op)
        addresses = [
            Address(self._names.collection, self._names.id_of(namespace, key))
            for namespace, key, _ in scored
        ]
        found = await self.provider.read(addresses) if addresses else []
        pairs = zip(found, (score for *_, score in scored), strict=True)
        return [(item, score) for item, score in pairs if item is not None]

    async def _filtered(self, plan: SearchPlan, page: Page) -> list[Item]:
        found: list[Item] = []
        while True:
            warn_corrupt(page.corrupt)
            if plan.exact:
                return page.items
            found += filter(plan.accepts, page.items)
            if page.cursor is None or len(found) >= plan.end:
                return found[plan.offset : plan.end]
            query = msgspec.structs.replace(plan.query, cursor=page.cursor)
            page = (await self.provider.query([query]))[0]

    async def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        conditions = op.match_conditions or ()
        named = await (self._named() if self.provider.capabilities.native_query else self._listed())
        found = {
            namespace[: op.max_depth]
            for namespace in named
            if all(matches_path(condition, namespace) for condition in conditions)
        }
        return sorted(found)[op.offset : op.offset + op.limit]

    async def _named(self) -> set[tuple[str, ...]]:
        """All namespaces, by a query for nothing else."""
        found: set[tuple[str, ...]] = set()
        query = Query(self._names.collection, limit=PAGE, fields=("namespace",))
        while True:
            page = (await self.provider.query([query]))[0]
            warn_corrupt(page.corrupt)
            found |= {tuple(item.document["namespace"]) for item in page.items}
            if page.cursor is None:
                return found
            query = msgspec.structs.replace(query, cursor=page.cursor)

    async def _listed(self) -> set[tuple[str, ...]]:
        """All namespaces, by the ids alone; the few that ids don't show are read."""
        found: set[tuple[str, ...]] = set()
        hidden: list[Address] = []
        cursor: str | None = None
        while True:
            page = await self.provider.versions(self._names.collection, cursor, PAGE)
            for entry in page.entries:
                namespace = namespace_in(entry.id)
                if namespace is None:
                    hidden.append(Address(self._names.collection, entry.id))
                else:
                    found.add(namespace)
            cursor = page.cursor
            if cursor is None:
                break
        items = await self.provider.read(hidden) if hidden else []
        return found | {tuple(item.document["namespace"]) for item in items if item is not None}
