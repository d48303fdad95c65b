"""Which collections are meant, and under which names they come out."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TypeAlias

import msgspec

from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import check_collection, check_scope, is_inside

__all__ = ["Selected", "Selection", "selection_of"]


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Some collections of a provider or an archive.

    Attributes:
        collections: Names, with their scopes; `None`: all that the rest lets through.
        exclude: Left out: names, or patterns with `*`, `?` and `[…]`, such as `*/cache`. A `*`
            stands for any text, `/` included.
        scope: Only those of this scope and of the scopes inside it.
        into: The scope that they come out in, in place of `scope`; `""`: in none. With `None`
            they keep their names.
    """

    collections: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    scope: str | None = None
    into: str | None = None

    def check(self) -> None:
        """Check the names.

        Raises:
            InvalidArgumentError: One is malformed, or `into` stands without `scope`.
        """
        if self.scope is not None:
            check_scope(self.scope)
        if self.into is not None and self.scope is None:
            raise InvalidArgumentError("into renames a scope; name that with scope")
        if self.into:
            check_scope(self.into)
        for name in self.collections or ():
            if check_collection(name)[1].startswith("."):
                raise InvalidArgumentError(
                    "the SDK's own collections can't be moved", collection=name
                )
            if not is_inside(name, self.scope):
                raise InvalidArgumentError(
                    f"{name!r} is not in the scope {self.scope!r}", collection=name
                )

    def takes(self, collection: str) -> bool:
        """Whether a collection is meant, if all are that nothing speaks against."""
        return is_inside(collection, self.scope) and not any(
            fnmatchcase(collection, pattern) for pattern in self.exclude
        )

    def renamed(self, collection: str) -> str:
        """The name that one of the collections comes out under.

        Raises:
            InvalidArgumentError: It would be too long.
        """
        if self.into is None or self.scope is None:
            return collection
        inside = collection.removeprefix(f"{self.scope}/")
        name = f"{self.into}/{inside}" if self.into else inside
        check_collection(name)
        return name


Selected: TypeAlias = "Iterable[str] | Selection | None"
"""Collections by their names, with their scopes, or a `Selection`; `None`: all of them."""


def selection_of(selected: Selected) -> Selection:
    """A selection, checked.

    Raises:
        InvalidArgumentError: A name is malformed.
    """
    if not isinstance(selected, Selection):
        names = None if selected is None else tuple(sorted(set(selected)))
        selected = Selection(collections=names)
    selected.check()
    return selected
