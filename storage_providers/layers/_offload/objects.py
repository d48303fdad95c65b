"""The objects that hold what left the documents: their names, writing, reading, remembering."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from storage_providers._clock import Clock, format_timestamp
from storage_providers.base import Provider
from storage_providers.errors import (
    BatchError,
    CorruptItemError,
    OutcomeUnknownError,
    StorageError,
    TransportError,
)
from storage_providers.layers._offload.record import Reference, digest_of
from storage_providers.protocol import Address, Item, JsonObject, Put

__all__ = ["OBJECT_ENCODING", "OWN_BYTES", "Objects", "made_at_ms", "owner_of"]

OBJECT_ENCODING: Final = "offloaded"
"""The encoding of every object."""

OWN_BYTES: Final = 8_192
"""Most bytes of an object that are not content: its id and its document's id, 512 bytes each where
JSON may take six for one, and a time. Ours."""

_UUID_CHARACTERS: Final = 36


class Missing(NamedTuple):
    """An object that can't be used, and why."""

    reason: str
    is_absent: bool


class Objects:
    """The objects at the provider of objects.

    Args:
        provider: Where they are.
        cache_bytes: How much content to remember, bytes. An object never changes, so what is
            remembered is never out of date.
    """

    def __init__(self, provider: Provider, cache_bytes: int) -> None:
        self.provider = provider
        self.clock: Clock = provider.clock
        self._cache_bytes = cache_bytes
        self._cached: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._cached_bytes = 0

    # --- writing -------------------------------------------------------------------------------

    def refer(self, collection: str, owner_id: str, content: bytes) -> Reference:
        """Make the reference of a new object; its id was never used before."""
        made = self.clock.new_id()
        name = f"{owner_id}:{made}"
        limit = self.provider.capabilities.max_id_bytes
        item_id = name if len(name.encode()) <= limit else made
        return Reference(collection, item_id, len(content), digest_of(content))

    async def store(self, contents: Iterable[tuple[Reference, str, bytes]]) -> None:
        """Store new objects, in one batch: reference, the document's id, content.

        Raises:
            StorageError: They may not all be there; no document refers to them.
        """
        puts: list[Put] = []
        contents = list(contents)
        for reference, owner_id, content in contents:
            created = format_timestamp(made_at_ms(reference.id))
            document: JsonObject = {"id": reference.id, "createdAt": created}
            if owner_of(reference.id) is None:
                document["document"] = owner_id
            puts.append(
                Put(reference.collection, document, encoding=OBJECT_ENCODING, payload=content)
            )
        try:
            await self.provider.write(puts)
        except BatchError as error:
            raise _not_begun(error.errors[0]) from error
        except OutcomeUnknownError as error:
            raise _not_begun(error) from error
        for reference, _, content in contents:
            self._remember(reference, content)

    # --- reading -------------------------------------------------------------------------------

    async def fetch(self, wanted: Sequence[Reference]) -> Mapping[Reference, bytes | Missing]:
        """Read objects, in one batch, and check what they hold.

        Raises:
            TransportError: They can't be reached.
        """
        found: dict[Reference, bytes | Missing] = {}
        asked: list[Reference] = []
        for reference in dict.fromkeys(wanted):
            content = self._recall(reference)
            if content is None:
                asked.append(reference)
            else:
                found[reference] = content
        if not asked:
            return found
        for reference, item in zip(asked, await self._read(asked), strict=True):
            checked = self._checked(reference, item)
            found[reference] = checked
            if isinstance(checked, bytes):
                self._remember(reference, checked)
        return found

    async def _read(self, references: Sequence[Reference]) -> Sequence[Item | StorageError | None]:
        addresses = [Address(reference.collection, reference.id) for reference in references]
        try:
            return await self.provider.read(addresses)
        except CorruptItemError as error:
            if len(addresses) > 1:
                raise
            return [error]
        except BatchError as error:
            for result in error.errors:
                if not isinstance(result, CorruptItemError):
                    raise result from error
            return error.results

    def _checked(self, reference: Reference, item: Item | StorageError | None) -> bytes | Missing:
        if item is None:
            self._refuse_if_young(reference)
            return Missing("is missing", is_absent=True)
        if isinstance(item, StorageError):
            return Missing("can't be read", is_absent=False)
        content = item.payload
        if content is None or item.encoding != OBJECT_ENCODING:
            return Missing("holds something else", is_absent=False)
        if len(content) != reference.size_bytes:
            size = f"holds {len(content)} bytes instead of {reference.size_bytes}"
            return Missing(size, is_absent=False)
        if digest_of(content) != reference.digest:
            return Missing("holds other bytes than were put there", is_absent=False)
        return content

    def _refuse_if_young(self, reference: Reference) -> None:
        """Where answers may be old, an object that is not to be seen yet is not missing."""
        capabilities = self.provider.capabilities
        age = (self.clock.now_ms() - made_at_ms(reference.id)) / 1000
        if not capabilities.strongly_consistent and age < capabilities.staleness_seconds:
            raise TransportError(
                f"an object made {age:.0f} s ago is not to be seen yet, {self.provider!r} may "
                f"take {capabilities.staleness_seconds:g} s; try again",
                retry_after_seconds=max(1.0, capabilities.staleness_seconds - age),
            )

    # --- remembering ---------------------------------------------------------------------------

    def _recall(self, reference: Reference) -> bytes | None:
        key = reference.collection, reference.id
        content = self._cached.get(key)
        if content is not None:
            self._cached.move_to_end(key)
        return content

    def _remember(self, reference: Reference, content: bytes) -> None:
        key = reference.collection, reference.id
        if len(content) > self._cache_bytes or key in self._cached:
            return
        self._cached[key] = content
        self._cached_bytes += len(content)
        while self._cached_bytes > self._cache_bytes:
            self._cached_bytes -= len(self._cached.popitem(last=False)[1])

    def forget(self) -> None:
        """Let go of everything remembered."""
        self._cached.clear()
        self._cached_bytes = 0


def owner_of(object_id: str) -> str | None:
    """The id of the document an object was made for; `None`: its own document says."""
    return object_id[: -_UUID_CHARACTERS - 1] or None


def made_at_ms(object_id: str) -> int:
    """When an object was made, milliseconds since 1970: its id ends in a UUIDv7.

    Raises:
        ValueError: It is no object's id.
    """
    made = object_id[-_UUID_CHARACTERS:]
    digits = made.replace("-", "")
    if len(made) != _UUID_CHARACTERS or len(digits) != 32 or digits[12] != "7":
        raise ValueError("not the id of an object")
    if len(object_id) > _UUID_CHARACTERS and object_id[-_UUID_CHARACTERS - 1] != ":":
        raise ValueError("not the id of an object")
    return int(digits[:12], 16)


def _not_begun(error: StorageError) -> StorageError:
    """An error of storing objects, as it reads for the documents: none of them was written."""
    if isinstance(error, OutcomeUnknownError):
        return TransportError(
            "the answer to storing what leaves the documents was lost; no document was written, "
            "try again",
            retry_after_seconds=error.retry_after_seconds,
        )
    return error
