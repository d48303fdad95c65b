"""A provider as the agent store's domains use it: reading, changing, and asking in orders."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Final, TypeAlias, cast

import msgspec

from storage_providers._clock import SYSTEM_CLOCK, Clock, format_timestamp, parse_timestamp
from storage_providers._json import JsonObject, merge_patch
from storage_providers.agents._tables import MESSAGES, Order, Table
from storage_providers.errors import (
    BatchError,
    ConflictError,
    CorruptItemError,
    ItemNotFoundError,
    StorageError,
)
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    Address,
    Capabilities,
    CollectionSpec,
    Delete,
    IfVersion,
    Item,
    Put,
    StorageProvider,
    Write,
)

__all__ = ["Change", "Key", "Known", "Place", "Plan", "patched", "removal"]

DEADLINE_SECONDS: Final = 30.0
"""No new attempt at a change is begun after this long. Ours, as `modify_item`."""

REMEMBERED: Final = 256
"""Documents of which the version is remembered, to change them without reading. Ours."""

REMEMBERED_BYTES: Final = 16_384
"""Larger documents are not remembered, bytes. Ours."""

Key: TypeAlias = "tuple[Table, str]"
Known: TypeAlias = "Mapping[Key, Item | None]"


class Change(msgspec.Struct, kw_only=True):
    """What becomes of one document.

    Attributes:
        key: Its table and id.
        old: What was there.
        new: What is to be there; `None`: nothing.
        guarded: Whether it must still be as it was. Where orders are kept apart it must anyway.
    """

    key: Key
    old: Item | None
    new: JsonObject | None
    guarded: bool = True


Plan: TypeAlias = "Callable[[Known], Sequence[Change]]"


class Place:
    """One provider, with what is known about it.

    Args:
        provider: Where documents are; borrowed.
    """

    def __init__(self, provider: StorageProvider) -> None:
        self.provider = provider
        self._declared = set[str]()
        self._remembered: OrderedDict[tuple[str, str], Item] = OrderedDict()
        self._turns = asyncio.Lock()

    def __repr__(self) -> str:
        return repr(self.provider)

    @property
    def capabilities(self) -> Capabilities:
        """What the provider can do."""
        return self.provider.capabilities

    @property
    def keeps_orders(self) -> bool:
        """Whether orders are documents of their own, because the provider answers no queries."""
        return not self.capabilities.native_query

    @property
    def clock(self) -> Clock:
        """The provider's time."""
        return cast("Clock", getattr(self.provider, "clock", SYSTEM_CLOCK))

    @property
    def turn(self) -> AbstractAsyncContextManager[None]:
        """For reading and writing what was read: without conditions, one after the other.

        So that at least the changes of this process don't overwrite each other.
        """
        return nullcontext() if self.capabilities.conditional_write else _held(self._turns)

    def stamp(self, after: str | None = None) -> str:
        """A time of now, later than another."""
        now = format_timestamp(self.clock.stamp_ms())
        if after is None or now > after:
            return now
        return format_timestamp(parse_timestamp(after) + 1)

    async def declare(self, table: Table, *orders: Order) -> None:
        """Declare the indexes of a table, and of orders that are asked for; others' stay.

        Whether a rare one is still declared is looked at each time: of two processes that declare
        different ones at the same moment, one overwrites the other.
        """
        rare = [order for order in orders if order.rare]
        if self.keeps_orders or (table.collection in self._declared and not rare):
            return
        spec = await self.provider.declared(table.collection)
        if spec is None:
            spec = CollectionSpec(collection=table.collection)
        missing = [index for index in table.indexes(*rare) if index not in spec.indexes]
        if missing:
            spec = msgspec.structs.replace(spec, indexes=(*spec.indexes, *missing))
            await self.provider.declare(spec)
        self._declared.add(table.collection)

    # --- reading -------------------------------------------------------------------------------

    async def read_one(self, table: Table, item_id: str) -> Item | None:
        """Read one document.

        Raises:
            CorruptItemError: It can't be read.
        """
        return (await self.provider.read((Address(table.collection, item_id),)))[0]

    async def read(self, keys: Iterable[Key]) -> list[Item | StorageError | None]:
        """Read documents in one batch: the item, why it can't be read, or `None`."""
        addresses = [Address(table.collection, item_id) for table, item_id in keys]
        if not addresses:
            return []
        try:
            return list(await self.provider.read(addresses))
        except BatchError as error:
            return list(error.results)
        except CorruptItemError as error:
            return [error]

    async def _known(self, keys: Sequence[Key]) -> dict[Key, Item | None]:
        found: dict[Key, Item | None] = {}
        for key, result in zip(keys, await self.read(keys), strict=True):
            if isinstance(result, StorageError):
                raise result
            found[key] = result
        return found

    # --- changing ------------------------------------------------------------------------------

    async def change(
        self,
        keys: Sequence[Key],
        plan: Plan,
        *,
        absent: Sequence[Key] = (),
        guess: bool = False,
    ) -> dict[Key, Item | None]:
        """Read documents, change them by a function, and again if others were faster.

        Args:
            keys: What the plan has to know, each once.
            plan: Takes what is there, gives what is to be.
            absent: What it is about besides and is not there: read only if the write fails.
            guess: Not to read first what this process wrote last, or never saw: taken for
                absent. Whether that is so, a condition of the write tells.

        Returns:
            What was written, `None` for what was removed.

        Raises:
            ConflictError: Others kept being faster.
            BatchError: Without `atomic_batch`: some of several writes failed.
            StorageError: The provider failed.
        """
        for table in dict.fromkeys(table for table, _ in (*keys, *absent)):
            await self.declare(table)
        async with self.turn:
            return await self._change(keys, plan, absent, guess=guess)

    async def apply(self, changes: Sequence[Change]) -> None:
        """Make changes that hang on nothing that would have to be read; otherwise as `change`."""
        await self.change([], lambda _: changes)

    async def _change(
        self, keys: Sequence[Key], plan: Plan, absent: Sequence[Key], *, guess: bool
    ) -> dict[Key, Item | None]:
        loop = asyncio.get_running_loop()
        deadline, attempt = loop.time() + DEADLINE_SECONDS, 0
        guess = guess and self.capabilities.conditional_write
        known: Known = {key: self._last(key) for key in keys} if guess else await self._known(keys)
        while True:
            changes = list(plan(known))
            try:
                return await self._commit(changes)
            except StorageError as error:
                attempt += 1
                if not _is_conflict(error) or loop.time() >= deadline:
                    raise
            await asyncio.sleep(self.clock.jitter() * min(0.25, 0.001 * 2**attempt))
            known = await self._known([*keys, *absent])

    async def _commit(self, changes: Sequence[Change]) -> dict[Key, Item | None]:
        able = self.capabilities
        writes = [self._write(change, able) for change in changes]
        before, gone = self._entries(changes)
        deletes = any(change.new is None for change in changes)
        after = gone if deletes else self._expired(gone)
        if not writes:
            return {}
        try:
            if able.atomic_batch or not able.conditional_write:
                # Without conditions nobody who comes second is kept out, so nothing is gained by
                # waiting for the entries: saving again puts them all again.
                items = await self.provider.write([*before, *writes, *after])
                items = items[len(before) : len(before) + len(writes)]
            else:
                if before:
                    await self.provider.write(before)
                items = await self.provider.write(writes)
                if after:
                    await self.provider.write(after)
        except StorageError:
            for change in changes:
                self._forget(change.key)
            raise
        results = dict(zip([change.key for change in changes], items, strict=True))
        for key, item in results.items():
            # A message is hardly ever saved again, and would push out its thread.
            if key[0] is not MESSAGES:
                self._remember(key, item)
        return results

    def _write(self, change: Change, able: Capabilities) -> Write:
        (table, item_id), old = change.key, change.old
        if change.new is None:
            return Delete(table.collection, item_id)
        # Where orders are kept apart, their entries hang on what was there.
        is_guarded = change.guarded or not able.native_query
        if not (is_guarded and able.conditional_write):
            return Put(table.collection, change.new, ANY)
        there = IF_ABSENT if old is None else IfVersion(old.version)
        return Put(table.collection, change.new, there)

    def _entries(self, changes: Sequence[Change]) -> tuple[Sequence[Put], Sequence[Delete]]:
        """Entries to put before the documents, and to remove after them."""
        puts: list[Put] = []
        deletes: list[Delete] = []
        for change in changes if self.keeps_orders else ():
            table, item_id = change.key
            old = table.entries(None if change.old is None else change.old.document)
            new = table.entries(change.new)
            wanted = new - old if self.capabilities.conditional_write else new
            puts += (self.entry(table, item_id, entry) for entry in sorted(wanted))
            deletes += (Delete(table.entries_in, entry) for entry in sorted(old - new))
        return puts, deletes

    def _expired(self, deletes: Sequence[Delete]) -> Sequence[Write]:
        """Entries that are over, instead of deletes: where what is put goes in one call together.

        The service removes them. A Delete is a call of its own, and comes too if a put failed.
        """
        able = self.capabilities
        if not able.native_ttl or able.conditional_write:
            return deletes
        now = format_timestamp(self.clock.now_ms())
        return [Put(each.collection, {"id": each.id, "expiresAt": now}) for each in deletes]

    def entry(self, table: Table, item_id: str, entry: str) -> Put:
        """Put an entry of a document."""
        now = format_timestamp(self.clock.now_ms())
        return Put(table.entries_in, {"id": entry, "of": item_id, "createdAt": now})

    # --- what was written last -----------------------------------------------------------------

    def remembers(self, keys: Iterable[Key]) -> bool:
        """Whether it is known what this process wrote last of all these."""
        return all((table.name, item_id) in self._remembered for table, item_id in keys)

    def _last(self, key: Key) -> Item | None:
        return self._remembered.get((key[0].name, key[1]))

    def _forget(self, key: Key) -> None:
        self._remembered.pop((key[0].name, key[1]), None)

    def forget_all(self) -> None:
        """Documents were removed that nobody named."""
        self._remembered.clear()

    def _remember(self, key: Key, item: Item | None) -> None:
        self._forget(key)
        if item is not None and len(item.body) <= REMEMBERED_BYTES:
            self._remembered[key[0].name, key[1]] = item
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)


@asynccontextmanager
async def _held(lock: asyncio.Lock) -> AsyncGenerator[None]:
    async with lock:
        yield


def removal(table: Table, found: Item | StorageError) -> Change:
    """Removing a document, also one that can't be read.

    Raises:
        StorageError: It does not say which document it is about.
    """
    if isinstance(found, Item):
        return Change(key=(table, found.id), old=found, new=None)
    if found.item_id is None:
        raise found
    return Change(key=(table, found.item_id), old=None, new=None)


def patched(old: Item, changes: JsonObject) -> JsonObject:
    """A document with some fields changed."""
    return merge_patch(old.document, changes)


def _is_conflict(error: StorageError) -> bool:
    if isinstance(error, BatchError):
        return all(_is_conflict(each) for each in error.errors)
    return isinstance(error, ConflictError | ItemNotFoundError)
