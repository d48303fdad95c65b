"""`Offload`: what is large in documents is kept by another provider, and comes back unasked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final, Self, TypeVar

import msgspec

from storage_providers import _checks
from storage_providers.base import Provider
from storage_providers.errors import (
    ConfigurationError,
    InvalidArgumentError,
    UnsupportedOperationError,
)
from storage_providers.layers._layer import Call
from storage_providers.layers._offload.layout import Layout
from storage_providers.layers._offload.pair import Pair
from storage_providers.layers._offload.patching import Patcher
from storage_providers.layers._offload.questions import (
    check_question,
    check_text_fields,
    is_partial,
    searches_text,
)
from storage_providers.layers._offload.reading import Reader
from storage_providers.layers._offload.splitting import Rule, is_own
from storage_providers.layers._offload.store import COLLECTION, Store
from storage_providers.layers._offload.upkeep import Collected, collect, resettle
from storage_providers.layers._offload.writing import Writer
from storage_providers.protocol import (
    Address,
    CollectionSpec,
    Item,
    Page,
    Query,
    Write,
)

__all__ = ["Collected", "Offload"]

T = TypeVar("T")

OVER_BYTES: Final = 100_000
"""From what size on fields and documents leave, bytes. Ours: a row of D1 takes 2,000,000, and a
page of 100 documents stays below 10 MB."""


class Offload(Pair):
    """Keeps what is large in documents with another provider, from where it comes back unasked.

    `compose(Offload(objects=bucket, fields=("content",)), provider=database)`: documents are in the
    database; a `content` whose JSON is larger than `over_bytes` is in the bucket. Without `fields`,
    a document that is larger than `over_bytes` leaves whole but for `id`, `createdAt`, `updatedAt`,
    `expiresAt` and the fields named in `keep`.

    What may leave is never searched: `where` and `order_by` on such a field are refused, large or
    not, and so is `$text` over it. Rules of earlier count as well, until `resettle`.

    The object is written first, then the document; it is never changed and gets a new id each time.
    So a crash leaves objects that no document refers to, never a document without its object; they,
    those of replaced and of deleted documents stay until `collect` removes them. What comes back is
    checked; an object that is missing or was changed is a `CorruptItemError` that names it.

    Args:
        objects: Where what is large goes. It is opened and closed with this layer unless it is
            open already; then it is borrowed.
        over_bytes: Larger ones leave, bytes of JSON.
        fields: Dotted paths of the fields that leave.
        keep: Dotted paths of the fields that stay, when there are no `fields`.
        within: The scope at `objects` under which everything is kept.
        cache_bytes: How much of what came back to remember, bytes.

    Raises:
        ConfigurationError: An argument is out of range, or `fields` and `keep` contradict.
        InvalidArgumentError: A path or `within` is malformed.
    """

    name: ClassVar[str] = "offload"

    def __init__(
        self,
        *,
        objects: Provider,
        over_bytes: int = OVER_BYTES,
        fields: str | Sequence[str] | None = None,
        keep: str | Sequence[str] = (),
        within: str = "offloaded",
        cache_bytes: int = 0,
    ) -> None:
        super().__init__(objects, within, cache_bytes)
        if over_bytes < 1 or cache_bytes < 0:
            raise ConfigurationError(
                f"over_bytes is {over_bytes} and cache_bytes {cache_bytes}; the least are 1 and 0"
            )
        layout = Layout(None if fields is None else _names(fields), _names(keep))
        layout.check()
        self._rule = Rule(layout, over_bytes)

    def wrap(self, provider: Provider) -> Self:
        """Put this layer on a provider, for good.

        Raises:
            ConfigurationError: It is on one already; or documents of some size would fit neither
                provider; or `objects` has no room for the scopes.
        """
        self._check_pair(provider, self._rule.over_bytes)
        super().wrap(provider)
        self._objects.clock = self.clock
        self._store = Store(provider, self._rule.layout)
        self._reader = Reader(provider, self._objects)
        patcher = Patcher(provider, self._reader, self._rule, self._size_limit)
        self._writer = Writer(
            provider,
            self._objects,
            self._store,
            patcher,
            rule=self._rule,
            namespace=self._namespace,
        )
        return self

    # --- the verbs -----------------------------------------------------------------------------

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        return await self._reader.read(addresses)

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        if any(write.collection == COLLECTION for write in batch):
            raise InvalidArgumentError(
                "this collection is where the layer keeps what it needs to know",
                collection=COLLECTION,
            )
        return await self._writer.write(batch)

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        layouts = await self._store.layouts()
        asked: list[Query] = []
        partial: list[bool] = []
        for query in queries:
            if not is_own(query.collection):
                check_question(query, layouts)
                if searches_text(query):
                    spec = await self.declared(query.collection)
                    fields = () if spec is None else spec.text_fields
                    check_text_fields(query.collection, fields, layouts)
            partial.append(is_partial(query, layouts))
            asked.append(query if partial[-1] else msgspec.structs.replace(query, fields=None))
        return await self._reader.ask(asked, partial)

    async def _declare(self, spec: CollectionSpec) -> None:
        if spec.text_fields and not is_own(spec.collection):
            layouts = await self._store.layouts()
            check_text_fields(spec.collection, spec.text_fields, layouts)
        await super()._declare(spec)

    # --- upkeep --------------------------------------------------------------------------------

    async def collect(
        self,
        *,
        older_than_seconds: float = 3600,
        on_progress: Callable[[int], None] | None = None,
    ) -> Collected:
        """Remove objects that no document refers to: of replaced, deleted and failed writes.

        It may be interrupted and repeated at any time, and run while others read and write.

        Args:
            older_than_seconds: Leave younger objects alone. Between the writing of an object and
                of its document nothing refers to it, so no write may take longer than this, on no
                machine, whatever its clock says.
            on_progress: Told after each batch how many objects were looked at so far.

        Returns:
            How many objects there were, and what became of them.

        Raises:
            InvalidArgumentError: `older_than_seconds` is less than twice the staleness of a
                provider that is not strongly consistent, or negative.
            StorageError: A provider failed; what was removed until then stays so.
        """
        self._check_open("collect")
        return await self.around(
            Call("collect", (older_than_seconds,)),
            lambda: self._collect(older_than_seconds, on_progress),
        )

    async def _collect(
        self, older_than_seconds: float, on_progress: Callable[[int], None] | None
    ) -> Collected:
        least = 2 * self.capabilities.staleness_seconds
        if not older_than_seconds >= least:
            raise InvalidArgumentError(
                f"older_than_seconds is {older_than_seconds}, the least here is {least:g}"
            )
        known = await self._store.fresh()
        if known is None:
            return Collected()
        before_ms = self.clock.now_ms() - round(older_than_seconds * 1000)
        namespace = self._namespace(known.token)
        return await collect(self._reader, self._objects, namespace, before_ms, on_progress)

    async def resettle(self, *, on_progress: Callable[[int], None] | None = None) -> int:
        """Put every document again that an earlier rule split, then forget that rule.

        After a change of `fields` or `keep`, so that fields which stay now can be searched. No
        program with the earlier rule may be running. It may be interrupted and repeated.

        Args:
            on_progress: Told after each batch how many documents were put so far.

        Returns:
            How many documents were put. They are stored verbatim, and get new versions.

        Raises:
            UnsupportedOperationError: The wrapped provider has no `conditional_write`.
            CorruptItemError: A document can't be read; the earlier rules stay in force.
            StorageError: A provider failed; what was put until then stays so.
        """
        self._check_open("resettle")
        return await self.around(Call("resettle"), lambda: self._resettle(on_progress))

    async def _resettle(self, on_progress: Callable[[int], None] | None) -> int:
        if not self.capabilities.conditional_write:
            raise UnsupportedOperationError("resettle needs conditional_write")
        layout = self._rule.layout
        count = await resettle(self.inner, self._reader, self._writer, layout, on_progress)
        if await self._store.fresh() is not None:
            await self._store.forget_others()
        return count

    # --- helpers -------------------------------------------------------------------------------

    async def _size_limit(self, collection: str) -> int | None:
        return _checks.size_limit(self.capabilities, await self.declared(collection))


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
