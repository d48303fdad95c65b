"""The outage: what the fallback answers and takes while the primary can't be reached."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec

from storage_providers.base import Provider
from storage_providers.conflicts import Stored
from storage_providers.errors import (
    ConfigurationError,
    InvalidArgumentError,
    OutcomeUnknownError,
    StorageError,
    TransportError,
)
from storage_providers.protocol import (
    ANY,
    IF_PRESENT,
    Address,
    Clear,
    Delete,
    ItemVersion,
    Page,
    Patch,
    Put,
    Query,
    VersionPage,
    Write,
)
from storage_providers.providers._hybrid.effects import (
    FALLBACK,
    PRIMARY,
    Known,
    fallback_item,
    is_same,
    live,
)
from storage_providers.providers._hybrid.journal import Draft, Journal, Taken
from storage_providers.providers._hybrid.mirror import Mirror, write_of
from storage_providers.providers._hybrid.sending import Result, Results

__all__ = ["Degraded", "DegradedWrites"]

T = TypeVar("T")

DegradedWrites: TypeAlias = Literal["unconditional", "journal"]

PAGE: Final = 1000
"""Documents listed at once, where all of a collection are cleared. Ours."""


class Degraded:
    """Answers from the fallback, and takes writes into the journal.

    What it does not know it does not answer: it raises the primary's error.

    Args:
        hybrid: Tells the time and the largest document of a collection.
        fallback: Answers.
        journal: Takes.
        mirror: Knows which copies are in doubt.
        writes: Which writes are taken: those that ask for nothing, or all.

    Raises:
        ConfigurationError: `writes` is neither.
    """

    def __init__(
        self,
        hybrid: Provider,
        fallback: Provider,
        journal: Journal,
        mirror: Mirror,
        writes: DegradedWrites,
    ) -> None:
        if writes not in ("unconditional", "journal"):
            raise ConfigurationError(
                f"degraded_writes is {writes!r}; use 'unconditional' or 'journal'"
            )
        self._fallback = fallback
        self._journal = journal
        self._mirror = mirror
        self._takes_conditions = writes == "journal"
        self._now_ms = hybrid.clock.now_ms
        self._size_limit = hybrid.size_limit

    # --- reads ---------------------------------------------------------------------------------

    async def read(self, addresses: Sequence[Address], error: StorageError) -> Results:
        """What is known of each document; the primary's error where nothing is."""
        results: Results = []
        for address, known in zip(addresses, await self._known(addresses, error), strict=True):
            if not known.certain:
                results.append(error)
            elif known.stored is None:
                results.append(None)
            else:
                results.append(fallback_item(address.collection, address.id, known.stored))
        return results

    async def _known(self, addresses: Sequence[Address], error: StorageError) -> list[Known]:
        """What the journal promised, else what the fallback holds."""
        items = await _ask(self._fallback.read(addresses), error)
        # After the fallback: whatever it lacked by then is in the journal, or was replayed.
        promised = await self._journal.last(addresses)
        doubted = await self._mirror.doubted(addresses)
        complete = await self._journal.filled_ms() is not None
        known: list[Known] = []
        for address, item, taken in zip(addresses, items, promised, strict=True):
            if taken is not None:
                known.append(Known(live(taken.stored, self._now_ms())))
            elif address in doubted:
                known.append(Known(None, certain=False))
            elif item is not None:
                known.append(Known(Stored.of(item)))
            else:
                known.append(Known(None, certain=complete and not _is_own(address.collection)))
        return known

    async def check_complete(self, collections: Sequence[str], error: StorageError) -> None:
        """Raise the primary's error unless the fallback has all of these collections."""
        if await self._journal.filled_ms() is None or any(map(_is_own, collections)):
            raise error
        for collection in set(collections):
            if await self._mirror.is_doubted(collection):
                raise error

    async def query(self, queries: Sequence[Query], error: StorageError) -> list[Page]:
        """Ask the fallback, where it is complete."""
        await self.check_complete([query.collection for query in queries], error)
        asked: list[Query] = []
        for query in queries:
            if query.cursor is not None and not query.cursor.startswith(FALLBACK):
                _check_cursor(query.cursor, query.collection)
                raise error
            cursor = None if query.cursor is None else query.cursor.removeprefix(FALLBACK)
            # Whole documents: their versions are made from all they hold.
            asked.append(msgspec.structs.replace(query, cursor=cursor, fields=None))
        pages = await _ask(self._fallback.query(asked), error)
        return [
            msgspec.structs.replace(
                page,
                items=[fallback_item(i.collection, i.id, Stored.of(i)) for i in page.items],
                cursor=None if page.cursor is None else FALLBACK + page.cursor,
            )
            for page in pages
        ]

    async def versions(
        self, collection: str, cursor: str | None, limit: int, error: StorageError
    ) -> VersionPage:
        """Ids and versions, where the fallback is complete."""
        (page,) = await self.query([Query(collection, cursor=cursor, limit=limit)], error)
        entries = [ItemVersion(item.id, item.version) for item in page.items]
        return VersionPage(entries=entries, cursor=page.cursor)

    async def collections(self, scope: str | None, error: StorageError) -> list[str]:
        """The names, where the fallback is complete."""
        await self.check_complete((), error)
        return await _ask(self._fallback.collections(scope), error)

    # --- writes --------------------------------------------------------------------------------

    async def write(self, batch: Sequence[Write], errors: Mapping[int, StorageError]) -> Results:
        """Take writes that did not reach the primary; the caller holds their locks.

        Args:
            batch: The writes.
            errors: What became of each at the primary.

        Returns:
            For each its item, `None`, or why it was not taken.
        """
        results: Results = [errors[position] for position in range(len(batch))]
        wanted: dict[int, list[Put | Patch | Delete]] = {}
        for position, write in enumerate(batch):
            error = errors[position]
            if isinstance(write, Clear):
                try:
                    wanted[position] = list(await self._cleared(write.collection, error))
                except StorageError:
                    if isinstance(error, OutcomeUnknownError):
                        await self._mirror.doubt([Address(write.collection, "")])
            elif self._is_taken(write, error):
                wanted[position] = [write]
            elif isinstance(error, OutcomeUnknownError):
                await self._mirror.doubt([Address(write.collection, write.id)])
        await self._take(wanted, errors, results)
        return results

    def _is_taken(self, write: Put | Patch | Delete, error: StorageError) -> bool:
        if write.condition is ANY or (isinstance(write, Patch) and not _names_version(write)):
            return True
        # Whether its condition held can't be told when it may have landed.
        return self._takes_conditions and not isinstance(error, OutcomeUnknownError)

    async def _cleared(self, collection: str, error: StorageError) -> list[Delete]:
        """The deletes that empty a collection, of which all documents are known."""
        await self.check_complete([collection], error)
        deletes: list[Delete] = []
        cursor: str | None = None
        while True:
            query = Query(collection, limit=PAGE, cursor=cursor)
            (page,) = await _ask(self._fallback.query([query]), error)
            deletes += [Delete(collection, item.id) for item in page.items]
            cursor = page.cursor
            if cursor is None:
                return deletes

    async def _take(
        self,
        wanted: Mapping[int, Sequence[Put | Patch | Delete]],
        errors: Mapping[int, StorageError],
        results: Results,
    ) -> None:
        writes = [(position, write) for position, some in wanted.items() for write in some]
        addresses = [Address(write.collection, write.id) for _, write in writes]
        for position in wanted:
            results[position] = None
        if not writes:
            return
        known = await self._known(addresses, errors[writes[0][0]])
        drafts = [
            Draft(write, seen, self._size_limit(write.collection))
            for (_, write), seen in zip(writes, known, strict=True)
        ]
        answers = await self._journal.append(drafts, self._now_ms())
        kept: dict[Address, Stored | None] = {}
        for (position, write), address, answer in zip(writes, addresses, answers, strict=True):
            if isinstance(answer, Taken):
                kept[address] = answer.stored
                results[position] = _result(write, answer)
            else:
                results[position] = _unless_unknown(answer, errors[position])
                if isinstance(errors[position], OutcomeUnknownError):
                    await self._mirror.doubt([address])
        failure = await self._store(kept)
        if failure is not None:
            for (position, _), answer in zip(writes, answers, strict=True):
                if isinstance(answer, Taken):
                    results[position] = failure

    async def _store(self, kept: Mapping[Address, Stored | None]) -> OutcomeUnknownError | None:
        """Bring to the fallback what was promised, so that queries find it."""
        if not kept:
            return None
        self._mirror.forget(kept)
        try:
            await self._fallback.write([write_of(*each) for each in kept.items()])
            await self._see_others(kept)
        except StorageError as error:
            await self._mirror.doubt(list(kept))
            unknown = OutcomeUnknownError(
                f"the fallback failed ({type(error).__name__}) after the write was put into the "
                "journal, from where it reaches the primary; read before repeating"
            )
            unknown.__cause__ = error
            return unknown
        except BaseException:
            self._mirror.doubt_now(kept)
            raise
        return None

    async def _see_others(self, kept: Mapping[Address, Stored | None]) -> None:
        """Other processes may have gone on from these writes, or replayed them, meanwhile."""
        addresses = list(kept)
        promised = await self._journal.last(addresses)
        pairs = list(zip(addresses, promised, strict=True))
        replayed = [address for address, taken in pairs if taken is None]
        if replayed:
            await self._mirror.doubt(replayed)
        await self._mirror.keep_promises(
            [each for each, taken in pairs if taken is not None and taken.stored != kept[each]]
        )

    async def restore(self) -> None:
        """Bring to the fallback what the journal promised before a process was killed."""
        seq = 0
        while entries := await self._journal.head(seq):
            seq = entries[-1].seq
            addresses = list({entry.address: None for entry in entries})
            promised = await self._journal.last(addresses)
            held = await self._fallback.read(addresses)
            now_ms = self._now_ms()
            await self._store(
                {
                    address: taken.stored
                    for address, taken, item in zip(addresses, promised, held, strict=True)
                    if taken is not None
                    and not is_same(
                        live(taken.stored, now_ms), None if item is None else Stored.of(item)
                    )
                }
            )


async def _ask(answer: Awaitable[T], error: StorageError) -> T:
    """The fallback's answer; where it fails too, the primary's error is the one to know."""
    try:
        return await answer
    except InvalidArgumentError:
        raise
    except StorageError as failure:
        raise error from failure


def _is_own(collection: str) -> bool:
    """Whether it is one of the SDK's own, which no listing names: nobody knows if all is there."""
    return collection.rpartition("/")[2].startswith(".")


def _check_cursor(cursor: str, collection: str) -> None:
    if not cursor.startswith(PRIMARY):
        raise InvalidArgumentError(
            "the cursor is damaged; begin again without one", collection=collection
        )


def _names_version(write: Patch) -> bool:
    return write.condition is not IF_PRESENT


def _result(write: Put | Patch | Delete, taken: Taken) -> Result:
    if isinstance(write, Delete) or taken.stored is None:
        return None
    return fallback_item(write.collection, write.id, taken.stored)


def _unless_unknown(answer: StorageError, error: StorageError) -> StorageError:
    """Why a write was not taken; what depends on the primary is answered by its own error.

    So is what may have landed there, whatever the fallback makes of it.
    """
    depends = isinstance(answer, TransportError) or isinstance(error, OutcomeUnknownError)
    return error if depends else answer
