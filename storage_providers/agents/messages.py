"""Messages: save, read, list, change and delete what was said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

import msgspec

from storage_providers._clock import format_timestamp
from storage_providers._json import JsonObject
from storage_providers.agents._asking import Answer, Question, ask
from storage_providers.agents._bumps import Bumps
from storage_providers.agents._content import MessageContent
from storage_providers.agents._pages import (
    PerPage,
    checked_page,
    each,
    equals,
    page_of,
    record_of,
)
from storage_providers.agents._place import Change, Known, Place
from storage_providers.agents._tables import MESSAGES, THREADS
from storage_providers.agents._windows import add_windows
from storage_providers.agents._wire import iso
from storage_providers.agents.models import Include, Listed, Message
from storage_providers.errors import (
    InvalidArgumentError,
    ItemNotFoundError,
    StorageError,
)
from storage_providers.protocol import Item

__all__ = ["Between", "Messages"]

BLANK: Final = "threadId must be a non-empty string or array of non-empty strings"


class Between(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time, with its ends unless they are excluded.

    Attributes:
        start: Nothing before it.
        end: Nothing after it.
        start_exclusive: Nor what is at the start itself.
        end_exclusive: Nor what is at the end itself.
    """

    start: datetime | None = None
    end: datetime | None = None
    start_exclusive: bool = False
    end_exclusive: bool = False

    @property
    def low(self) -> str | None:
        """Where it begins among places, which are a time and what follows."""
        if self.start is None:
            return None
        return iso(self.start) + ("~" if self.start_exclusive else "")

    @property
    def high(self) -> str | None:
        """Where it ends among them."""
        return None if self.end is None else iso(self.end) + ("" if self.end_exclusive else "~")


class Messages:
    """What was said in threads.

    Args:
        place: Where they are, with their threads.
        bumps: Who notes when a thread was touched.
    """

    def __init__(self, place: Place, bumps: Bumps) -> None:
        self._place = place
        self._bumps = bumps

    # --- writing -------------------------------------------------------------------------------

    async def save(self, messages: Iterable[Message]) -> list[Message]:
        """Store messages, creating them or replacing those with the same id.

        A message that is in another thread already moves. Those with equal times keep the order in
        which they are saved. All are checked before anything is written; the batch is atomic where
        the provider has `atomic_batch`, else saving again completes it.

        Args:
            messages: The messages, each with its thread and resource. Without an id they get one.

        Returns:
            The messages as stored, in the order given.

        Raises:
            InvalidArgumentError: One has no thread or resource, or a malformed id; nothing was
                written.
            InvalidDocumentError: One is not storable JSON; nothing was written.
            ItemNotFoundError: There is no such thread; nothing was written.
            BatchError: Without `atomic_batch`: some could not be written.
            OutcomeUnknownError: The connection broke after sending; saving again is safe.
        """
        drafts, order = self._drafts(messages)
        if not drafts:
            return []
        threads = list(dict.fromkeys(str(d.document["threadId"]) for d in drafts.values()))
        left: dict[str, None] = {}

        def plan(known: Known) -> list[Change]:
            changes: list[Change] = []
            for thread_id in threads:
                _require(known, thread_id)
            for item_id, draft in drafts.items():
                change = draft.change(item_id, known.get((MESSAGES, item_id)))
                changes.append(change)
                if change.old is not None:
                    left[str(change.old.document.get("threadId"))] = None
            return [*changes, *self._bumps.planned(known, threads)]

        # An id of our own is nobody's yet. That a thread is gone, its bump tells.
        named = [(MESSAGES, item_id) for item_id, draft in drafts.items() if draft.named]
        own = [(MESSAGES, item_id) for item_id, draft in drafts.items() if not draft.named]
        kept = [(THREADS, thread_id) for thread_id in threads]
        guess = not named and self._bumps.are_with_batches and self._place.remembers(kept)
        written = await self._place.change([*named, *kept], plan, absent=own, guess=guess)
        await self._bumps.landed(threads)
        await self._bumps.touch([each for each in left if each not in threads])
        return [_message(written[MESSAGES, item_id]) for item_id in order]

    def _drafts(self, messages: Iterable[Message]) -> tuple[dict[str, _Draft], list[str]]:
        """Messages on their way in, by id, and the ids in the order given."""
        clock, given = self._place.clock, list(messages)
        stamp_ms, lot = clock.stamp_ms(), int(clock.jitter() * 9999)
        now = format_timestamp(stamp_ms)
        own = iter(clock.new_ids(sum(not message.id for message in given)))
        drafts: dict[str, _Draft] = {}
        order: list[str] = []
        for position, message in enumerate(given):
            _check(message, position)
            document = {"createdAt": now, **message.to_document(), "updatedAt": now}
            document["id"] = item_id = message.id or next(own)
            drafts.pop(item_id, None)  # Said twice: the last counts, at its place.
            number = f"{stamp_ms:013}{position:06}{lot:04}"
            document["position"] = f"{document['createdAt']}-{number}"
            drafts[item_id] = _Draft(document, number, bool(message.id))
            order.append(item_id)
        return drafts, order

    async def update(self, changes: Mapping[str, Mapping[str, Any]]) -> list[Message]:
        """Change some fields of messages.

        `content` is merged field by field, and its `metadata` too; all else replaces. Another
        `threadId` moves the message. Without `conditional_write` what others change at the same
        moment may be lost.

        Args:
            changes: By the message's id, the fields to set, under the names that documents use.
                Ids that are not there are passed over.

        Returns:
            The messages that were changed, as stored.

        Raises:
            InvalidDocumentError: A change does not fit a message; nothing was written.
            ItemNotFoundError: There is no such thread to move to; nothing was written.
            BatchError: Without `atomic_batch`: some could not be written.
            OutcomeUnknownError: The connection broke after sending; updating again is safe.
        """
        if not changes:
            return []
        stamp_ms = self._place.clock.stamp_ms()
        targets = dict.fromkeys(
            str(each["threadId"]) for each in changes.values() if "threadId" in each
        )
        touched: dict[str, None] = {}

        def plan(known: Known) -> list[Change]:
            for thread_id in targets:
                _require(known, thread_id)
            found: list[Change] = []
            for position, (item_id, fields) in enumerate(changes.items()):
                old = known[MESSAGES, item_id]
                if old is None:
                    continue
                number = f"{stamp_ms:013}{position:06}0000"
                new = _changed(old, fields, format_timestamp(stamp_ms), number)
                touched[str(old.document.get("threadId"))] = None
                touched[str(new["threadId"])] = None
                found.append(Change(key=(MESSAGES, item_id), old=old, new=new))
            return found

        keys = [(MESSAGES, item_id) for item_id in changes]
        written = await self._place.change([*keys, *((THREADS, each) for each in targets)], plan)
        await self._bumps.touch(touched)
        return [_message(item) for item in written.values()]

    async def delete(self, message_ids: Iterable[str]) -> None:
        """Delete messages; those that are absent are not an error.

        Args:
            message_ids: Their ids.

        Raises:
            BatchError: Without `atomic_batch`: some could not be deleted.
            OutcomeUnknownError: The connection broke after sending; deleting again is safe.
        """
        keys = [(MESSAGES, item_id) for item_id in dict.fromkeys(message_ids)]
        found = dict(zip(keys, await self._place.read(keys), strict=True))
        changes = [
            Change(key=key, old=old if isinstance(old, Item) else None, new=None)
            for key, old in found.items()
            if old is not None
        ]
        if not changes:
            return
        touched = dict.fromkeys(
            str(change.old.document.get("threadId")) for change in changes if change.old is not None
        )
        await self._place.apply(changes)
        await self._bumps.touch(touched)

    # --- reading -------------------------------------------------------------------------------

    async def get(self, message_ids: Iterable[str]) -> list[Message]:
        """Read messages by their ids.

        Args:
            message_ids: Their ids.

        Returns:
            Those that are there, in the order given.

        Raises:
            CorruptItemError: What is stored of one can't be decoded.
            InvalidDocumentError: What is stored of one is no message.
        """
        keys = [(MESSAGES, item_id) for item_id in dict.fromkeys(message_ids)]
        found: list[Message] = []
        for result in await self._place.read(keys):
            if isinstance(result, StorageError):
                raise result
            if result is not None:
                found.append(_message(result))
        return found

    async def newest(self, thread_id: str, count: int) -> list[Message]:
        """Read the newest messages of a thread, oldest of them first.

        Args:
            thread_id: The thread.
            count: How many.

        Returns:
            The messages.

        Raises:
            InvalidArgumentError: The thread's id is blank or the count negative.
            CorruptItemError: What is stored of one can't be decoded.
        """
        found = await self.list(thread_id, newest_first=True, per_page=count)
        for error in found.corrupt:
            raise error
        return found.items[::-1]

    async def list(
        self,
        thread_id: str | Sequence[str] | None = None,
        *,
        resource_id: str | None = None,
        include: Sequence[Include] = (),
        between: Between = Between(),  # noqa: B008
        metadata: Mapping[str, Any] | None = None,
        newest_first: bool = False,
        page: int = 0,
        per_page: PerPage = 40,
        total: bool = False,
    ) -> Listed[Message]:
        """List a page of messages of a thread, of several, or of a resource.

        Args:
            thread_id: The thread or threads.
            resource_id: Only those of this resource; without a thread: in all its threads.
            include: Messages to have beside the page, with those around them in their own
                threads; unknown ids are passed over. The page with these, each once, is in order.
            between: Only those of this time.
            metadata: Only those whose `content.metadata` has all of these, each equal.
            newest_first: In which order.
            page: Which page, from 0.
            per_page: Messages on a page; `False`: all; 0: only those of `include`.
            total: Whether to count those on all pages, without `include`. Where nothing can be
                queried, that takes a call for each 1,000 more.

        Returns:
            The page.

        Raises:
            InvalidArgumentError: A thread's id is blank, or neither thread nor resource is given,
                or a number is negative.
            TransportError: The provider could not be reached.
        """
        checked_page(page, per_page)
        question = _question(thread_id, resource_id, between, metadata)
        question = msgspec.structs.replace(question, oldest_first=not newest_first)
        if per_page == 0 and per_page is not False:
            answer = Answer(items=[], total=0)
        else:
            if per_page is not False:
                limits = {"limit": per_page, "offset": page * per_page}
                question = msgspec.structs.replace(question, **limits)
            counted = total or bool(include)
            answer = await ask(self._place, msgspec.structs.replace(question, total=counted))
        if include:
            await add_windows(self._place, answer, question, include)
        if not total:
            answer.total = None
        return page_of(Message, answer, page, per_page=per_page)

    def iterate(
        self,
        thread_id: str,
        *,
        newest_first: bool = False,
        between: Between = Between(),  # noqa: B008
        on_corrupt: Callable[[StorageError], None] | None = None,
    ) -> AsyncIterator[Message]:
        """Iterate over all messages of a thread, holding one page at a time.

        Oldest first, where nothing can be queried, the ids of the whole thread are held: about
        100 bytes for each message.

        Args:
            thread_id: The thread.
            newest_first: In which order.
            between: Only those of this time.
            on_corrupt: Told of each that can't be read; without it, the error is raised.

        Returns:
            The messages, in order.

        Raises:
            InvalidArgumentError: The thread's id is blank.
        """
        question = _question(thread_id, None, between, None)
        question = msgspec.structs.replace(question, oldest_first=not newest_first)
        return each(self._place, Message, question, on_corrupt)


class _Draft(msgspec.Struct):
    """A message on its way in, as it is stored if it is new."""

    document: JsonObject
    number: str
    named: bool

    def change(self, item_id: str, old: Item | None) -> Change:
        """What saving it does: who was there keeps the time and, in the same thread, the place."""
        new = self.document
        if old is not None:
            before = old.document
            new = {**new, "createdAt": before.get("createdAt", new["createdAt"])}
            new["position"] = f"{new['createdAt']}-{self.number}"
            if before.get("threadId") == new["threadId"]:
                new["position"] = before.get("position", new["position"])
        # Whoever else saves the same at this moment says the same or is later: both may.
        return Change(key=(MESSAGES, item_id), old=old, new=new, guarded=False)


def _changed(old: Item, fields: Mapping[str, Any], now: str, number: str) -> JsonObject:
    """A message with some fields changed."""
    before = old.document
    new = {**before, **fields, "id": old.id, "updatedAt": now}
    if "content" in fields:
        content: Any = fields["content"]
        merged = MessageContent.of(before.get("content", "")).to_document()
        if isinstance(content, Mapping):
            given = dict(cast("Mapping[str, Any]", content))
            metadata: JsonObject = {
                **(merged.get("metadata") or {}),
                **(given.get("metadata") or {}),
            }
            merged |= given
            if metadata:
                merged["metadata"] = metadata
        else:
            merged |= MessageContent.of(content).to_document()
        new["content"] = merged
    if new["threadId"] != before.get("threadId"):
        new["position"] = f"{before.get('createdAt')}-{number}"
    Message.from_document(new)
    return new


def _check(message: Message, position: int) -> None:
    for name, value in (("threadId", message.thread_id), ("resourceId", message.resource_id)):
        if not value.strip():
            error = InvalidArgumentError(f"message {position} has no {name}; nothing was saved")
            error.index = position
            raise error


def _require(known: Known, thread_id: str) -> None:
    if known[THREADS, thread_id] is None:
        raise ItemNotFoundError(
            "no such thread; save it before its messages",
            collection=THREADS.collection,
            item_id=thread_id,
        )


def _message(item: Item | None) -> Message:
    assert item is not None
    return record_of(Message, item)


def _question(
    thread_id: str | Sequence[str] | None,
    resource_id: str | None,
    between: Between,
    metadata: Mapping[str, Any] | None,
) -> Question:
    threads = (thread_id,) if isinstance(thread_id, str) else tuple(thread_id or ())
    if thread_id is not None and not (threads and all(each.strip() for each in threads)):
        raise InvalidArgumentError(BLANK)
    conditions = equals("content.metadata", metadata)
    if threads:
        order, lists = MESSAGES.order("thread"), tuple(dict.fromkeys(threads))
        if resource_id is not None:
            conditions.append({"resourceId": resource_id})
    elif resource_id:
        order, lists = MESSAGES.order("resource"), (resource_id,)
    else:
        raise InvalidArgumentError(BLANK)
    return Question(
        table=MESSAGES,
        order=order,
        lists=lists,
        low=between.low,
        high=between.high,
        where={"$and": conditions} if conditions else None,
    )
