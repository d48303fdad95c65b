"""Threads: save, read, list, copy and delete conversations."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from storage_providers._json import JsonObject
from storage_providers.agents._asking import Question, batches, iterate
from storage_providers.agents._bumps import Bumps
from storage_providers.agents._pages import PerPage, each, equals, listed, record_of, required
from storage_providers.agents._place import Change, Key, Known, Place, removal
from storage_providers.agents._tables import MESSAGES, THREADS
from storage_providers.agents.models import Listed, Thread
from storage_providers.errors import (
    InvalidArgumentError,
    ItemExistsError,
    ItemNotFoundError,
    StorageError,
)
from storage_providers.protocol import Item

__all__ = ["ThreadOrder", "Threads"]

ThreadOrder: TypeAlias = Literal["-createdAt", "createdAt", "-updatedAt", "updatedAt"]

TOGETHER: Final = 100
"""Threads deleted together. Ours."""


class Threads:
    """Conversations, each with its messages.

    Args:
        place: Where they are.
        bumps: Who notes when a thread was touched.
    """

    def __init__(self, place: Place, bumps: Bumps) -> None:
        self._place = place
        self._bumps = bumps

    # --- one thread ----------------------------------------------------------------------------

    async def save(self, thread: Thread) -> Thread:
        """Store a thread, creating it or replacing what is there.

        `created_at` of a thread that exists stays; `updated_at` is set unless given, and is never
        earlier than it was.

        Args:
            thread: The thread. Without an id it gets one.

        Returns:
            The thread as stored.

        Raises:
            InvalidArgumentError: It has no `resource_id`, or its id is malformed.
            InvalidDocumentError: Its metadata is not storable JSON.
            OutcomeUnknownError: The connection broke after sending; saving again is safe.
        """
        required(thread.resource_id, "resourceId")
        document = thread.to_document()
        document["id"] = thread.id or self._place.clock.new_id()
        key = (THREADS, str(document["id"]))

        def plan(known: Known) -> list[Change]:
            old = known[key]
            before: JsonObject = {} if old is None else old.document
            now = self._place.stamp(before.get("updatedAt"))
            new = {"createdAt": now, "updatedAt": now, **document}
            if old is not None:
                new["createdAt"] = before.get("createdAt", now)
                new["updatedAt"] = max(new["updatedAt"], str(before.get("updatedAt", "")))
            return [Change(key=key, old=old, new=new)]

        written = await self._place.change([key], plan, guess=True)
        self._bumps.forget(key[1])
        return _thread(written[key])

    async def get(self, thread_id: str) -> Thread | None:
        """Read a thread.

        Args:
            thread_id: Its id.

        Returns:
            The thread, or `None` if there is none.

        Raises:
            CorruptItemError: What is stored can't be decoded.
            InvalidDocumentError: What is stored is no thread.
        """
        item = await self._place.read_one(THREADS, required(thread_id, "threadId"))
        return None if item is None else self._bumps.seen(_thread(item))

    async def update(
        self,
        thread_id: str,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        resource_id: str | None = None,
    ) -> Thread:
        """Change a thread's title or metadata, or give it to another resource.

        Without `conditional_write` what others change at the same moment may be lost. Messages
        keep the resource that they were saved with; `move` takes them along.

        Args:
            thread_id: The thread.
            title: Its new title; `None`: as it was.
            metadata: Fields to set in its metadata; the others stay.
            resource_id: Whose it is from now on.

        Returns:
            The thread as stored.

        Raises:
            ItemNotFoundError: There is no such thread.
            OutcomeUnknownError: The connection broke after sending; updating again is safe.
        """
        key = (THREADS, required(thread_id, "threadId"))

        def plan(known: Known) -> list[Change]:
            old = _existing(known[key], thread_id)
            new = dict(old.document)
            if title is not None:
                new["title"] = title
            if resource_id is not None:
                new["resourceId"] = required(resource_id, "resourceId")
            if metadata is not None:
                new["metadata"] = {**(new.get("metadata") or {}), **metadata}
            new["updatedAt"] = self._bumps.next(thread_id, new.get("updatedAt"))
            return [Change(key=key, old=old, new=new)]

        written = await self._place.change([key], plan)
        self._bumps.forget(thread_id)
        return _thread(written[key])

    # --- listing -------------------------------------------------------------------------------

    async def list(
        self,
        *,
        resource_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        order_by: ThreadOrder = "-createdAt",
        page: int = 0,
        per_page: PerPage = 100,
        total: bool = False,
    ) -> Listed[Thread]:
        """List a page of threads.

        Args:
            resource_id: Only those of this resource.
            metadata: Only those whose metadata has all of these, each equal.
            order_by: By what; `-` in front for newest first.
            page: Which page, from 0.
            per_page: Threads on a page; `False`: all of them.
            total: Whether to count those on all pages. Where nothing can be queried, that takes a
                call for each 1,000 more.

        Returns:
            The page.

        Raises:
            InvalidArgumentError: A number is negative, or a value can't be compared.
            TransportError: The provider could not be reached.
        """
        question = _question(resource_id, metadata, order_by)
        question = msgspec.structs.replace(question, total=total)
        found = await listed(self._place, Thread, question, page, per_page)
        found.items = [self._bumps.seen(thread) for thread in found.items]
        return found

    def iterate(
        self,
        *,
        resource_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        order_by: ThreadOrder = "-createdAt",
        on_corrupt: Callable[[StorageError], None] | None = None,
    ) -> AsyncIterator[Thread]:
        """Iterate over all threads that match, holding one page at a time.

        Args:
            resource_id: Only those of this resource.
            metadata: Only those whose metadata has all of these, each equal.
            order_by: By what; `-` in front for newest first.
            on_corrupt: Told of each that can't be read; without it, the error is raised.

        Returns:
            The threads, in order.
        """
        return each(self._place, Thread, _question(resource_id, metadata, order_by), on_corrupt)

    # --- with their messages -------------------------------------------------------------------

    async def delete(
        self,
        thread_ids: str | Sequence[str],
        *,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Delete threads with their messages; deleting what is absent is not an error.

        Messages go first, at most 1,000 at once, the threads last. What was interrupted goes on
        where it stopped when it is called again.

        Args:
            thread_ids: One thread, or several.
            on_progress: Told how many messages are deleted so far.

        Returns:
            How many messages were deleted.

        Raises:
            StorageError: The provider failed; what was deleted until then stays so.
        """
        ids = [thread_ids] if isinstance(thread_ids, str) else thread_ids
        wanted, deleted = [required(each, "threadId") for each in ids], 0
        # Of several lists kept apart, the entries would be held all at once.
        size = 1 if self._place.keeps_orders else TOGETHER
        for start in range(0, len(wanted), size):
            async for count in self._delete(wanted[start : start + size]):
                deleted += count
                if on_progress is not None:
                    on_progress(deleted)
        return deleted

    async def _delete(self, thread_ids: Sequence[str]) -> AsyncIterator[int]:
        """Delete threads; how many messages went with each batch."""
        keys = [(THREADS, thread_id) for thread_id in thread_ids]
        for thread_id in thread_ids:
            self._bumps.forget(thread_id)
        async with self._place.turn:
            threads = await self._place.read(keys) if self._place.keeps_orders else []
        olds = [each if isinstance(each, Item) else None for each in threads or [None] * len(keys)]
        last = [Change(key=key, old=old, new=None) for key, old in zip(keys, olds, strict=True)]
        question = msgspec.structs.replace(_messages(*thread_ids), ids_only=True)
        async for found, is_last in batches(iterate(self._place, question)):
            changes = [removal(MESSAGES, each) for each in found] + (last if is_last else [])
            await self._place.apply(changes)
            yield len(found)
        for thread_id in thread_ids:
            self._bumps.forget(thread_id)

    async def clone(
        self,
        thread_id: str,
        *,
        new_id: str | None = None,
        resource_id: str | None = None,
        title: str | None = None,
    ) -> Thread:
        """Copy a thread with its messages, which get new ids and keep their times and order.

        Args:
            thread_id: The thread to copy.
            new_id: The copy's id; made unless given.
            resource_id: Whose the copy is; the same as the thread's unless given.
            title: The copy's title; the same unless given.

        Returns:
            The copy. Its metadata names the thread it was made from, `clonedFrom`.

        Raises:
            ItemNotFoundError: There is no such thread.
            ItemExistsError: There is one with the new id already.
            StorageError: A message can't be read, or the provider failed: the copy may be there
                in part, and is deleted like any thread.
        """
        source = await self._required(thread_id)
        copy_id = new_id or self._place.clock.new_id()
        if new_id is not None and await self.get(new_id) is not None:
            raise ItemExistsError(
                "there is such a thread already", collection=THREADS.collection, item_id=new_id
            )
        copy = await self.save(
            Thread(
                id=copy_id,
                resource_id=resource_id or source.resource_id,
                title=source.title if title is None else title,
                metadata={**(source.metadata or {}), "clonedFrom": thread_id},
                extra=source.extra,
            )
        )
        fields = {"threadId": copy_id, "resourceId": copy.resource_id}
        await self._put_again(thread_id, fields, new_ids=True)
        return copy

    async def move(self, thread_id: str, resource_id: str) -> Thread:
        """Give a thread and all its messages to another resource.

        The thread is moved first; what was interrupted is completed by calling it again.

        Args:
            thread_id: The thread.
            resource_id: Whose it is from now on.

        Returns:
            The thread as stored.

        Raises:
            ItemNotFoundError: There is no such thread.
            StorageError: A message can't be read, or the provider failed.
        """
        thread = await self.update(thread_id, resource_id=resource_id)
        await self._put_again(thread_id, {"resourceId": resource_id}, new_ids=False)
        return thread

    async def _put_again(self, thread_id: str, fields: JsonObject, *, new_ids: bool) -> None:
        """Put the messages of a thread once more, with some fields changed."""
        question = msgspec.structs.replace(_messages(thread_id), oldest_first=True)
        async for found, _ in batches(iterate(self._place, question)):
            items = [_readable(each) for each in found]
            if new_ids:
                await self._copy(items, fields)
            else:
                await self._change([(MESSAGES, item.id) for item in items], fields)

    async def _copy(self, items: Iterable[Item], fields: JsonObject) -> None:
        changes: builtins.list[Change] = []
        for item in items:
            new_id = self._place.clock.new_id()
            new = {**item.document, **fields, "id": new_id}
            changes.append(Change(key=(MESSAGES, new_id), old=None, new=new))
        await self._place.apply(changes)

    async def _change(self, keys: Sequence[Key], fields: JsonObject) -> None:
        def plan(known: Known) -> builtins.list[Change]:
            return [
                Change(key=key, old=old, new={**old.document, **fields})
                for key, old in known.items()
                if old is not None
            ]

        await self._place.change(keys, plan)

    async def _required(self, thread_id: str) -> Thread:
        thread = await self.get(thread_id)
        if thread is None:
            raise ItemNotFoundError(
                "no such thread", collection=THREADS.collection, item_id=thread_id
            )
        return thread


def _thread(item: Item | None) -> Thread:
    assert item is not None
    return record_of(Thread, item)


def _readable(found: Item | StorageError) -> Item:
    if isinstance(found, StorageError):
        raise found
    return found


def _existing(item: Item | None, thread_id: str) -> Item:
    if item is None:
        raise ItemNotFoundError("no such thread", collection=THREADS.collection, item_id=thread_id)
    return item


def _messages(*thread_ids: str) -> Question:
    return Question(table=MESSAGES, order=MESSAGES.order("thread"), lists=thread_ids)


def _question(
    resource_id: str | None, metadata: Mapping[str, Any] | None, order_by: ThreadOrder
) -> Question:
    name = order_by.removeprefix("-").removesuffix("At")
    if name not in ("created", "updated"):
        raise InvalidArgumentError(
            f"threads are listed by createdAt or updatedAt, not by {order_by!r}"
        )
    conditions = equals("metadata", metadata)
    return Question(
        table=THREADS,
        order=THREADS.order(name if resource_id is None else f"resource_{name}"),
        lists=("" if resource_id is None else required(resource_id, "resourceId"),),
        oldest_first=not order_by.startswith("-"),
        where={"$and": conditions} if conditions else None,
    )
