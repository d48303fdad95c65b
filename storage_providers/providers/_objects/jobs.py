"""One write on its way: what must be known for it, and what is to be stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from storage_providers._json import encode_object, merge_patch
from storage_providers.errors import (
    CorruptItemError,
    DocumentTooLargeError,
    InvalidDocumentError,
    ItemExistsError,
    ItemNotFoundError,
    StorageError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    Condition,
    Delete,
    IfVersion,
    Item,
    JsonObject,
    Patch,
    Put,
    expiry_of,
)
from storage_providers.providers._objects import ObjectPut, StoredObject
from storage_providers.providers._objects.declaring import DeclaredIndex
from storage_providers.providers._objects.documents import to_item, to_object, token_of
from storage_providers.providers._objects.entries import new_token

if TYPE_CHECKING:
    from storage_providers.providers._objects.provider import ObjectProvider

__all__ = ["PLAN_SECONDS", "Job", "entries_of", "entries_there"]

PLAN_SECONDS: Final = 60
"""A write that is not sent so long after it was begun is planned anew. Ours."""


class Job:
    """One write on its way through the phases, perhaps several times.

    Args:
        provider: Where it goes.
        position: Its place in the batch.
        write: The write.
        with_entries: Whether a delete reads the document, to remove its entries.

    Attributes:
        position: Its place in the batch.
        write: The write.
        key: Where the document is.
        result: What came of it, once it is done.
        done: Whether it is.
        planned: The entries of the document as it is to be put now.
        put: The document as it is to be put now; `None`: nothing is.
        expires_at_ms: When that expires, milliseconds since 1970; `None`: never.
        replaced: The entries of the document that is there now.
        sent: Entries that were sent, whatever became of them.
        stored: Those of them that are known to be stored.
        has_lost: Whether a condition did not hold, so that what is there must be read.
        again: Why it is to be tried again after a while.
        times_late: How often it took too long.
    """

    __slots__ = (
        "_begun",
        "_item",
        "_provider",
        "_token",
        "_with_entries",
        "again",
        "done",
        "expires_at_ms",
        "has_lost",
        "key",
        "planned",
        "position",
        "put",
        "replaced",
        "result",
        "sent",
        "stored",
        "times_late",
        "write",
    )

    def __init__(
        self,
        provider: ObjectProvider,
        position: int,
        write: Put | Patch | Delete,
        *,
        with_entries: bool,
    ) -> None:
        self.position = position
        self.write = write
        self.key = provider.layout.document(write.collection, write.id)
        self.result: Item | StorageError | None = None
        self.done = False
        self.planned: list[str] = []
        self.put: ObjectPut | None = None
        self.expires_at_ms: int | None = None
        self.replaced: list[str] = []
        self.sent: set[str] = set()
        self.stored: set[str] = set()
        self.has_lost = False
        self.again: StorageError | None = None
        self.times_late = 0
        self._provider = provider
        self._with_entries = with_entries
        self._item: Item | None = None
        self._token = ""
        self._begun = (0.0, 0)

    def finish(self, result: Item | StorageError | None) -> None:
        """This came of it."""
        self.result, self.done, self.again = result, True, None

    def landed(self, version: str) -> None:
        """The document was stored."""
        item = self._item
        assert item is not None
        item.version = version
        self._provider.remember_expiry(self.key, version, self.expires_at_ms)
        self.finish(item)

    # --- time ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a round: its token is as old as what is known of declarations from here on."""
        self.again = None
        self.put = None
        if not self._token:
            self._token, self._begun = new_token(self._provider.clock), self._now()

    def age_seconds(self) -> float:
        """How long ago it was begun."""
        seconds, now_ms = self._now()
        return max(seconds - self._begun[0], (now_ms - self._begun[1]) / 1000)

    def begin_anew(self) -> None:
        """It took too long: it gets a new token and is to be planned anew."""
        self._token = ""
        self.times_late += 1

    def _now(self) -> tuple[float, int]:
        # Both clocks: the one may stand still while a machine sleeps, the other be set back.
        return self._provider.timing.monotonic(), self._provider.clock.now_ms()

    # --- planning ------------------------------------------------------------------------------

    def must_read(self, indexes: Sequence[DeclaredIndex]) -> bool:
        """Whether what is there must be known first."""
        write = self.write
        if isinstance(write, Delete):
            return bool(indexes) and self._with_entries
        if self.has_lost or isinstance(write, Patch):
            return True
        match write.condition:
            case IfVersion(version):
                return bool(indexes) or not self._provider.known_alive(self.key, version)
            case condition if condition is IF_ABSENT:
                return not self._provider.store.limits.conditional_put
            case condition:
                return bool(indexes) or condition is not ANY

    def plan(
        self, indexes: Sequence[DeclaredIndex], stored: StoredObject | None, *, has_read: bool
    ) -> None:
        """Decide what is to be stored.

        Args:
            indexes: The indexes of its collection.
            stored: What is there.
            has_read: Whether that is known.

        Raises:
            StorageError: Its condition does not hold, or a patch can't be applied.
        """
        current = _Current(self._provider, self.write, stored)
        self.replaced = (
            []
            if stored is None or current.item is None
            else entries_there(indexes, current.item, stored)
        )
        if isinstance(self.write, Delete):
            return
        condition = _condition(self.write.condition, current) if has_read else self.write.condition
        self._item = item = self._new_item(self.write, current)
        self.planned = entries_of(indexes, item.document, item.id, self._token) if indexes else []
        if not self._provider.store.limits.conditional_put:
            condition = ANY
        self.expires_at_ms = (
            self.write.expires_at_ms if isinstance(self.write, Put) else expiry_of(item.document)
        )
        self.put = to_object(self.key, item, self._token, condition, self.expires_at_ms)

    def _new_item(self, write: Put | Patch, current: _Current) -> Item:
        if isinstance(write, Put):
            return Item(write.collection, write.id, "", write.body, write.encoding, write.payload)
        item = current.item
        if item is None:
            assert current.problem is not None
            raise current.problem
        if item.encoding is not None:
            raise UnsupportedOperationError(
                f"the document is encoded as {item.encoding!r}; patch it through the layer "
                "that wrote it"
            )
        body = encode_object(merge_patch(item.document, write.changes))
        limit = self._provider.size_limit(write.collection)
        if limit is not None and len(body) > limit:
            raise DocumentTooLargeError(
                f"the patched document is {len(body)} bytes, the limit is {limit}",
                size_bytes=len(body),
                limit_bytes=limit,
            )
        return Item(write.collection, write.id, "", body)


class _Current:
    """The document that is there now.

    Attributes:
        stored: The object; `None` if there is none, or it was not read.
        item: The document; `None` if there is none or it can't be read.
        problem: Why it can't.
        live_version: Its version; `None` if there is none or it has expired.
    """

    __slots__ = ("item", "live_version", "problem", "stored")

    def __init__(
        self, provider: ObjectProvider, write: Put | Patch | Delete, stored: StoredObject | None
    ) -> None:
        self.stored = stored
        self.item: Item | None = None
        self.problem: CorruptItemError | None = None
        self.live_version = None if stored is None else stored.version
        if stored is None:
            return
        try:
            self.item, expires_at_ms = to_item(write.collection, write.id, stored)
        except CorruptItemError as error:
            self.problem = error
            return
        if provider.is_over(expires_at_ms):
            self.live_version = None


def _condition(asked: Condition, current: _Current) -> Condition:
    """What the service is to judge when what is there has been read.

    Raises:
        ItemExistsError: `IF_ABSENT` does not hold.
        ItemNotFoundError: `IF_PRESENT` does not hold.
        VersionMismatchError: `IfVersion` does not hold.
    """
    live_version = current.live_version
    if isinstance(asked, IfVersion):
        if live_version != asked.version:
            raise VersionMismatchError(
                "the document is gone" if live_version is None else "the document was changed",
                expected_version=asked.version,
                actual_version=live_version,
            )
    elif asked is IF_ABSENT:
        if live_version is not None:
            raise ItemExistsError("a document with this id exists already")
    elif asked is not ANY and live_version is None:
        raise ItemNotFoundError("no such document")
    # Whatever was asked: only what was read may be replaced, as its entries are removed then.
    return IF_ABSENT if current.stored is None else IfVersion(current.stored.version)


def entries_of(
    indexes: Iterable[DeclaredIndex], document: JsonObject, item_id: str, token: str
) -> list[str]:
    """The keys of a document's entries in all indexes.

    Raises:
        InvalidDocumentError: A value is too long to be indexed.
    """
    return [key for index in indexes for key in index.keys.entries_of(document, item_id, token)]


def entries_there(indexes: Iterable[DeclaredIndex], item: Item, stored: StoredObject) -> list[str]:
    """The keys under which the entries of a stored document are, as far as they can be."""
    keys: list[str] = []
    for index in indexes:
        try:
            keys += index.keys.entries_of(item.document, item.id, token_of(stored))
        except InvalidDocumentError:
            continue
    return keys
