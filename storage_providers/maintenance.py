"""What a provider may offer beside the contract, for the command line and for operators.

Each protocol is a hook of its own: a provider has it or not, whatever layers stand on it. What is
done is said as data, so that it can be printed, kept as JSON and tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

import msgspec

from storage_providers import errors

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = [
    "Check",
    "Checkable",
    "Erasable",
    "IndexStatus",
    "Indexing",
    "Paired",
    "Provision",
    "Provisionable",
    "Transient",
    "check_clock",
    "error_name",
]

SKEW_WARNED_MS: Final = 5_000
"""From this difference of clocks on `check_clock` warns. Ours: expiry and times of documents are
told by this machine's clock."""

SKEW_REFUSED_MS: Final = 900_000
"""From this difference on signatures are refused. Source: AWS, "RequestTimeTooSkewed", 15 minutes
(S3 API reference, error responses, read 2026-11)."""

DATE_RESOLUTION_MS: Final = 1_000
"""A `Date` header leaves out the fraction of a second. Source: RFC 9110, section 5.6.7."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was tried.

    Attributes:
        name: What was tried.
        ok: Whether it went well; with `advice` it did, and still deserves a look.
        detail: What came of it, on one line, with numbers.
        advice: What to do about it, if something should be done.
        error: Name of the class of the error that was met, if one was.
    """

    name: str
    ok: bool
    detail: str
    advice: str | None = None
    error: str | None = None


class Provision(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a provider needs on its service.

    Attributes:
        what: Which, such as `bucket valet-data`.
        state: `made` now, `there` already, or `missing` (a dry run makes nothing).
        detail: More about it, on one line.
    """

    what: str
    state: Literal["made", "there", "missing"]
    detail: str = ""


def error_name(error: Exception) -> str:
    """Name of an error's class for reports; of a provider's own finer class, the public one above.

    Args:
        error: What was raised.
    """
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((name for name in names if name in errors.__all__), names[0])


def check_clock(date: str | None, sent_ms: int, received_ms: int) -> Check:
    """Compare this machine's clock with a service's.

    Args:
        date: The `Date` header of its answer.
        sent_ms: When the request was sent by our clock, milliseconds since 1970.
        received_ms: When the answer came, likewise.

    Returns:
        The check: the least difference that fits; with advice from 5 s, failed from 15 minutes.
    """
    try:
        theirs_ms = round(parsedate_to_datetime(date or "").timestamp() * 1000)
    except ValueError:
        return Check(name="clock", ok=True, detail="the service does not tell the time")
    ahead_ms = max(0, sent_ms - theirs_ms - DATE_RESOLUTION_MS)
    behind_ms = max(0, theirs_ms - received_ms)
    apart_ms, word = max((ahead_ms, "ahead of"), (behind_ms, "behind"))
    if apart_ms <= SKEW_WARNED_MS:
        detail = f"agrees with the service's ({apart_ms / 1000:.1f} s apart)"
        return Check(name="clock", ok=True, detail=detail)
    detail = f"this machine's clock is {apart_ms / 1000:,.1f} s {word} the service's"
    return Check(
        name="clock",
        ok=apart_ms < SKEW_REFUSED_MS,
        detail=detail,
        advice="set it, best by NTP: from 900 s on every request is refused",
    )


class IndexStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far an index is that a provider keeps itself.

    Attributes:
        index: The index as people write it, `status,-due`.
        state: `building`: kept for new writes, not asked yet. `ready`: asked by queries.
            `dropped`: declared no longer, and kept up until every process knows.
        since: When that began, ISO 8601.
    """

    index: str
    state: Literal["building", "ready", "dropped"]
    since: str


@runtime_checkable
class Checkable(Protocol):
    """A provider that can look after its own health."""

    async def checks(self, *, write: bool = True) -> list[Check]:
        """Try what the provider needs, and report; failures are results, not exceptions.

        Nothing that was written to try it stays behind.

        Args:
            write: Whether writing and removing may be tried.

        Returns:
            What was tried, in order.
        """
        ...


@runtime_checkable
class Provisionable(Protocol):
    """A provider that can make what it needs on its service."""

    async def provision(self, *, dry_run: bool = False) -> list[Provision]:
        """Make what is not there yet: a bucket, a database, a namespace. Safe to repeat.

        The provider need not be connected, since it may not be possible yet.

        Args:
            dry_run: Only look.

        Returns:
            Everything that is needed, with what became of it.

        Raises:
            PermissionDeniedError: The credentials do not allow it.
            TransportError: The service could not be reached.
        """
        ...


@runtime_checkable
class Transient(Protocol):
    """A provider where a collection takes room even when it holds nothing."""

    async def discard(self, collection: str) -> None:
        """Give back the room of a collection of the SDK's own that holds no document.

        One that holds any is left as it is.

        Args:
            collection: Its name, which begins with a dot.
        """
        ...


@runtime_checkable
class Erasable(Protocol):
    """A provider that keeps more of a collection than its documents, and can remove that too."""

    async def erase(self, collection: str) -> list[str]:
        """Remove a collection for good: documents, declaration, and all that is kept beside them.

        Nobody may be writing to it. Safe to repeat; what was done before a failure stays done.

        Args:
            collection: Name of the collection, with its scope.

        Returns:
            Where something of it may remain all the same, and how that goes: a sentence each.

        Raises:
            StorageError: Something could not be removed; do it again.
        """
        ...


@runtime_checkable
class Paired(Protocol):
    """Two providers as one."""

    @property
    def sides(self) -> Mapping[str, Provider]:
        """Both sides, by what they are called."""
        ...

    async def forget(self, collection: str) -> list[str]:
        """Remove what is kept between the sides of a collection that both of them have erased.

        Args:
            collection: Name of the collection, with its scope.

        Returns:
            Where something of it may remain all the same, and how that goes: a sentence each.

        Raises:
            StorageError: Something could not be removed; do it again.
        """
        ...


@runtime_checkable
class Indexing(Protocol):
    """A provider that keeps its indexes itself, beside the documents.

    The reports are structs of plain data. `on_progress` is told how many documents or entries were
    looked at so far. Everything can be stopped at any time and called again.
    """

    async def index_states(self, collection: str) -> list[IndexStatus]:
        """How far each index of a collection is, in the order of the declaration."""
        ...

    async def build_indexes(
        self, collection: str, on_progress: Callable[[int], None] | None = None
    ) -> object:
        """Wait until every process knows of new indexes, fill them in and make them ready."""
        ...

    async def reindex(
        self, collection: str, on_progress: Callable[[int], None] | None = None
    ) -> object:
        """Write the entries that are missing, for places that other programs write to."""
        ...

    async def gc(
        self,
        collection: str | None = None,
        *,
        remove_expired: bool = False,
        on_progress: Callable[[int], None] | None = None,
    ) -> object:
        """Remove what interrupted writes and dropped indexes left, and, if asked, the expired."""
        ...
