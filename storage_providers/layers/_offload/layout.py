"""Which fields of a document leave it, and how the two halves become one again.

The half that leaves is the document with `0` in the place of every value that stays, up to the last
that leaves: so it is never larger than the document, it keeps the order of the fields, and it does
not change when only the values that stay do, or new ones come behind.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from storage_providers.errors import ConfigurationError
from storage_providers.filters import Path, parse_path

__all__ = ["MANAGED", "Layout", "join"]

MANAGED: Final[tuple[Path, ...]] = (("id",), ("createdAt",), ("updatedAt",), ("expiresAt",))
"""Fields that always stay: providers and the friendly face look at them."""

Fields: TypeAlias = "dict[str, msgspec.Raw | Fields]"

_STAYS: Final = msgspec.Raw(b"0")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Layout(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule for what may leave.

    Attributes:
        fields: Dotted paths that leave; `None`: all but those that are kept.
        keep: Dotted paths that stay, beside the managed ones, if `fields` is `None`.
    """

    fields: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()

    def check(self) -> None:
        """Check the paths.

        Raises:
            ConfigurationError: Both are given, or a managed field would leave.
            InvalidArgumentError: A path is malformed.
        """
        if self.fields is not None and self.keep:
            raise ConfigurationError("give 'fields', which leave, or 'keep', which stay; not both")
        if self.fields is not None and not self.fields:
            raise ConfigurationError("'fields' is empty; name one, or leave it out to offload all")
        for name in (*(self.fields or ()), *self.keep):
            if self.fields is not None and parse_path(name)[:1] in MANAGED:
                raise ConfigurationError(f"the field {name!r} can't leave; providers look at it")

    @property
    def _paths(self) -> list[Path]:
        if self.fields is None:
            return [*MANAGED, *map(parse_path, self.keep)]
        return [parse_path(name) for name in self.fields]

    def hides(self, path: Path) -> bool:
        """Whether a condition on the value at a path could miss it."""
        within = any(path[: len(named)] == named for named in self._paths)
        return not within if self.fields is None else within

    def touches(self, path: Path) -> bool:
        """Whether the value at a path, or part of it, could be away."""
        return self.hides(path) or (
            self.fields is not None and any(named[: len(path)] == path for named in self._paths)
        )

    def split(self, body: bytes, over_bytes: int) -> tuple[bytes, bytes] | None:
        """Take a document apart.

        Args:
            body: The document's JSON.
            over_bytes: A field named in `fields` leaves if its JSON is larger than this.

        Returns:
            What stays and what leaves, both as JSON; `None`: nothing leaves.
        """
        divide = _Divide(frozenset(self._paths), self.fields is not None, over_bytes)
        stays, leaves = divide(_decode(body), ())
        return (_encode(stays), _encode(leaves)) if leaves else None


class _Divide:
    """How one document is divided."""

    def __init__(self, paths: frozenset[Path], named_leave: bool, over_bytes: int) -> None:
        self.paths = paths
        self.parents = {path[:length] for path in paths for length in range(1, len(path))}
        self.named_leave = named_leave
        self.over_bytes = over_bytes

    def __call__(self, fields: dict[str, msgspec.Raw], above: Path) -> tuple[Fields, Fields]:
        stays: Fields = {}
        leaves: Fields = {}
        waiting: list[str] = []
        here: msgspec.Raw | Fields | None
        away: msgspec.Raw | Fields | None
        for name, value in fields.items():
            path = (*above, name)
            if self._leaves(path, value):
                here, away = None, value
            elif path in self.parents and path not in self.paths and _is_object(value):
                here, away = self(_decode(value), path)
            else:
                here, away = value, None
            if here is not None:
                stays[name] = here
            if not away:
                waiting.append(name)
                continue
            leaves |= dict.fromkeys(waiting, _STAYS)
            leaves[name] = away
            waiting.clear()
        return stays, leaves

    def _leaves(self, path: Path, value: msgspec.Raw) -> bool:
        if self.named_leave:
            return path in self.paths and len(memoryview(value)) > self.over_bytes
        return path not in self.paths and not (path in self.parents and _is_object(value))


def join(stays: bytes, leaves: bytes) -> bytes:
    """Put a document together again, byte for byte where its JSON was compact.

    Raises:
        msgspec.MsgspecError: One half is not the JSON that `split` made.
    """
    return _encode(_joined(_decode(stays), _decode(leaves)))


def _joined(stays: dict[str, msgspec.Raw], leaves: dict[str, msgspec.Raw]) -> Fields:
    whole: Fields = {}
    for name, away in leaves.items():
        here = stays.get(name)
        if here is None:
            whole[name] = away
        elif _is_object(away) and _is_object(here):
            whole[name] = _joined(_decode(here), _decode(away))
        else:
            whole[name] = here
    return whole | {name: here for name, here in stays.items() if name not in whole}


def _is_object(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:1]) == b"{"
