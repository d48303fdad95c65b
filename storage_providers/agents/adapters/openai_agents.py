"""The OpenAI Agents SDK's `Session` on any `StorageProvider`.

Needs: `pip install 'storage-providers[openai-agents]'`. The SDK itself is not loaded here: it takes
whatever has the methods of its `Session`.

```python
session = ProviderSession("user-7", provider)
await Runner.run(agent, "What did I ask you yesterday?", session=session)
```
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from storage_providers._clock import SYSTEM_CLOCK, Clock, format_timestamp
from storage_providers.agents.adapters._common import require, segment, warn_corrupt
from storage_providers.errors import (
    InvalidArgumentError,
    ItemNotFoundError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    Delete,
    IfVersion,
    Item,
    JsonObject,
    Put,
    Query,
    StorageProvider,
    check_collection,
)

if TYPE_CHECKING:
    from agents.items import TResponseInputItem
    from agents.memory.session_settings import SessionSettings

__all__ = ["ProviderSession"]

MAX_ITEMS: Final = 100
"""Items of one document. Ours: reading the newest few must not read a whole conversation."""

MAX_BYTES: Final = 1_000_000
"""JSON of the items of one document, bytes, unless it is a single item. Ours: it fits D1."""

PAGE: Final = 500
"""Documents asked for at once when all are wanted. Ours."""


class ProviderSession:
    """Keeps the items of one conversation on a provider.

    What one `add_items` adds is one document, so it is there whole or not at all (beyond 100
    items or 1 MB: several, whole together where the provider has `atomic_batch`), and writers at
    the same moment lose nothing. Documents are ordered by the time of their writing, and after
    everything that this session has read before; several in one process never share a time.

    Args:
        session_id: Any text that names the conversation.
        provider: Where items are kept, open while the session is used. It is not closed.
        collection: Name of the collection, for all sessions together.
        session_settings: The SDK's own: how many items are fetched unless a limit is given.
        clock: What time it is.

    Raises:
        UnsupportedOperationError: The provider is not `strongly_consistent` or has no
            `conditional_write`: the next turn would not see the last one.
        InvalidArgumentError: The session's id is empty, or the collection's name malformed.
    """

    def __init__(
        self,
        session_id: str,
        provider: StorageProvider,
        *,
        collection: str = "openai_sessions",
        session_settings: SessionSettings | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        require(provider, type(self).__name__, "strongly_consistent", "conditional_write")
        check_collection(collection)
        if not session_id:
            raise InvalidArgumentError("a session's id is at least one character")
        self.session_id = session_id
        self.session_settings = session_settings
        self.provider = provider
        self._collection = collection
        self._prefix = f"{segment(session_id)}."
        self._clock = clock
        self._seen_ms = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.session_id!r}, {self.provider!r})"

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """The conversation, oldest first.

        Args:
            limit: Only the newest so many; `None`: as many as the session's settings say.

        A document that can't be read is left out with a `CorruptItemWarning`.

        Raises:
            InvalidArgumentError: The limit is negative.
            StorageError: The provider failed.
        """
        settings = self.session_settings
        most = settings.limit if limit is None and settings is not None else limit
        if most is not None and most < 0:
            raise InvalidArgumentError(f"limit is {most}, the least is 0")
        newest_first: list[TResponseInputItem] = []
        if most != 0:
            async for document in self._newest(most):
                newest_first += reversed(_items_of(document))
                if most is not None and len(newest_first) >= most:
                    break
        return newest_first[:most][::-1]

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Add items to the end.

        Raises:
            InvalidDocumentError: An item is not JSON; nothing was added.
            DocumentTooLargeError: An item is larger than the provider takes.
            BatchError: Without `atomic_batch`: some documents of a long list did not land.
            OutcomeUnknownError: The connection broke after sending; read before repeating.
            StorageError: The provider failed.
        """
        if not items:
            return
        self._seen_ms = now = max(self._clock.stamp_ms(), self._seen_ms + 1)
        turn = f"{self._prefix}{now:012x}-{secrets.token_hex(8)}"
        stamp = format_timestamp(now)
        puts = [
            Put(
                self._collection,
                {
                    "id": f"{turn}.{number:05}",
                    "sessionId": self.session_id,
                    "items": part,
                    "createdAt": stamp,
                    "updatedAt": stamp,
                },
            )
            for number, part in enumerate(self._parts(cast("Sequence[Mapping[str, Any]]", items)))
        ]
        await self.provider.write(puts)

    async def pop_item(self) -> TResponseInputItem | None:
        """Remove the newest item and return it; two callers never get the same one.

        Returns:
            The item, or `None` if there is none.

        Raises:
            StorageError: The provider failed.
        """
        while (document := await anext(self._newest(1), None)) is not None:
            items = _items_of(document)
            if not items:  # what a pop that was killed left behind
                await self.provider.write([Delete(document.collection, document.id)])
            elif await self._shorten(document, items[:-1]):
                return items[-1]
        return None

    async def clear_session(self) -> None:
        """Remove every item.

        Raises:
            StorageError: The provider failed; what is left can be cleared again.
        """
        query = Query(
            self._collection, {"id": {"$prefix": self._prefix}}, limit=PAGE, fields=("id",)
        )
        while True:
            page = (await self.provider.query([query]))[0]
            ids = [item.id for item in page.items]
            ids += [error.item_id for error in page.corrupt if error.item_id]
            if ids:
                await self.provider.write([Delete(self._collection, each) for each in ids])
            if page.cursor is None:
                return

    # --- helpers ---------------------------------------------------------------------------------

    async def _newest(self, wanted: int | None) -> AsyncIterator[Item]:
        """The documents of the session, newest first, as few at once as may be enough."""
        query = Query(
            self._collection,
            {"id": {"$prefix": self._prefix}},
            order_by=("-id",),
            limit=PAGE if wanted is None else min(wanted, PAGE),
        )
        while True:
            page = (await self.provider.query([query]))[0]
            warn_corrupt(page.corrupt)
            for item in page.items:
                written = item.id[len(self._prefix) :].partition("-")[0]
                self._seen_ms = max(self._seen_ms, int(written, 16))
                yield item
            if page.cursor is None:
                return
            query = msgspec.structs.replace(query, cursor=page.cursor)

    def _parts(self, items: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
        """The items of one document after the other."""
        limit = self.provider.capabilities.max_document_bytes
        most = MAX_BYTES if limit is None else min(MAX_BYTES, limit // 2)
        part: list[Mapping[str, Any]] = []
        size = 0
        for item in items:
            more = _size(item)
            if part and (len(part) >= MAX_ITEMS or size + more > most):
                yield part
                part, size = [], 0
            part.append(item)
            size += more
        yield part

    async def _shorten(self, item: Item, left: list[TResponseInputItem]) -> bool:
        """Take the last item out of a document, if nobody else changed it."""
        capabilities, same = self.provider.capabilities, IfVersion(item.version)
        removal = Delete(item.collection, item.id, same)
        with suppress(VersionMismatchError, ItemNotFoundError):
            if not left and capabilities.conditional_delete:
                await self.provider.write([removal])
                return True
            document: JsonObject = {**item.document, "items": left}
            document["updatedAt"] = format_timestamp(self._clock.stamp_ms())
            await self.provider.write([Put(item.collection, document, same)])
            if not left:  # an empty document is not added to any more, so it can go
                await self.provider.write([Delete(item.collection, item.id)])
            return True
        return False


def _items_of(document: Item) -> list[TResponseInputItem]:
    return cast("list[TResponseInputItem]", document.document["items"])


def _size(item: Mapping[str, Any]) -> int:
    try:
        return len(msgspec.json.encode(item))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return 0  # not JSON: `Put` names the field
