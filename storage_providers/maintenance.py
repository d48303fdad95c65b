"""What a provider may offer beside the contract, for the command line and for operators.

Each protocol is a hook of its own: a provider has it or not, whatever layers stand on it. What is
done is said as data, so that it can be printed, kept as JSON and tested.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import msgspec

__all__ = ["Check", "Checkable", "Provision", "Provisionable", "Transient"]


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
