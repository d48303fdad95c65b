"""Index entries: objects without content, whose keys sort as the values they hold.

`{index's folder}{values}{id}{token}`. The values stand in the order of the index's fields, each in
a form that sorts as the contract orders values and says itself where it ends; those of descending
fields are turned upside down. The id follows in the direction of the last field, as ties are
broken. The token is that of the write that made the entry.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final, cast

import msgspec

from storage_providers._clock import Clock
from storage_providers._json import JsonObject
from storage_providers.errors import InvalidArgumentError, InvalidDocumentError
from storage_providers.filters import Order, Scalar, parse_path, sortable, value_at
from storage_providers.protocol import Index
from storage_providers.providers._objects.keys import (
    Layout,
    read_sortable_text,
    sortable_text,
)

__all__ = [
    "ANY_TEXT",
    "LAST",
    "IndexEntry",
    "IndexKeys",
    "directed",
    "foreign_token",
    "index_name",
    "new_token",
    "token_time_ms",
    "value_key",
]

LAST: Final = "~~"
"""Sorts behind every value, id and token."""

ANY_TEXT: Final = "3"
"""Stands for a field that is text where the members of an array are indexed: `$contains` looks
into both."""

_TIME_DIGITS: Final = 12
_RANDOM_DIGITS: Final = 10
_FOREIGN: Final = "x"
_FOREIGN_LENGTH: Final = 21

_NUMBER_DIGITS: Final = 19
_NUMBER_MAX: Final = 16**_NUMBER_DIGITS - 1
_FRACTION_BITS: Final = 63
_EXPONENT_BIAS: Final = 1075
"""Smallest exponent of a double is -1074; the number 0 sorts before it."""


# --- tokens ------------------------------------------------------------------------------------


def new_token(clock: Clock) -> str:
    """A token for one write: its time and 40 random bits, so never the same twice."""
    digits = clock.new_id().replace("-", "")
    return digits[:_TIME_DIGITS] + digits[-_RANDOM_DIGITS:]


def foreign_token(version: str) -> str:
    """The token of a document that another program wrote: its version's hash."""
    return _FOREIGN + hashlib.blake2b(version.encode(), digest_size=10).hexdigest()


def token_time_ms(token: str) -> int | None:
    """When a token was made, milliseconds since 1970 by its maker's clock; `None`: foreign."""
    if token.startswith(_FOREIGN):
        return None
    try:
        return int(token[:_TIME_DIGITS], 16)
    except ValueError:
        return None


def entry_token(key: str) -> str:
    """The token that the key of an entry ends with, whatever its index."""
    tail = key[-_FOREIGN_LENGTH:]
    return tail if tail.startswith(_FOREIGN) else key[-_TIME_DIGITS - _RANDOM_DIGITS :]


# --- values ------------------------------------------------------------------------------------


def value_key(value: Scalar) -> str:
    """A value as it sorts: null before numbers before text."""
    if value is None:
        return "0"
    if isinstance(value, str):
        return "2" + sortable_text(value)
    return "1" + _number_key(value)


def _number_key(value: float) -> str:
    """A number of 64 bits or a double, exactly: its sign, then the magnitude's binary form."""
    magnitude = abs(value)
    if magnitude == 0:
        bits = 0
    elif math.isinf(magnitude):
        bits = (1024 + _EXPONENT_BIAS) << _FRACTION_BITS
    else:
        if isinstance(magnitude, int):
            exponent = magnitude.bit_length() - 1
            fraction = (magnitude << _FRACTION_BITS) >> exponent
        else:
            mantissa, power = math.frexp(magnitude)
            exponent, fraction = power - 1, int(math.ldexp(mantissa, _FRACTION_BITS + 1))
        bits = (exponent + _EXPONENT_BIAS) << _FRACTION_BITS | fraction - (1 << _FRACTION_BITS)
    if value < 0:
        return f"0{_NUMBER_MAX - bits:0{_NUMBER_DIGITS}X}"
    return f"1{bits:0{_NUMBER_DIGITS}X}"


def directed(key: str, *, descending: bool) -> str:
    """A value's key as it stands in a field of this direction."""
    return _reversed(key) if descending else key


def _reversed(key: str) -> str:
    """A key of printable ASCII upside down: what sorted first sorts last."""
    return bytes(0xFF - byte for byte in key.encode()).hex().upper()


def _skip(text: str, *, descending: bool) -> int:
    """How long the value is that a text begins with.

    Raises:
        ValueError: It begins with none.
    """
    kind = _restored(text[:2]) if descending else text[:1]
    if kind in ("0", ANY_TEXT):
        length = 1
    elif kind == "1":
        length = 2 + _NUMBER_DIGITS
    elif kind == "2":
        return _reversed_end(text) if descending else text.index("!") + 1
    else:
        raise ValueError("no index entry of this SDK")
    return 2 * length if descending else length


def _reversed_end(text: str) -> int:
    end = _reversed("!")
    for at in range(0, len(text), 2):
        if text[at : at + 2] == end:
            return at + 2
    raise ValueError("no index entry of this SDK")


def _restored(digits: str) -> str:
    return bytes(0xFF - byte for byte in bytes.fromhex(digits)).decode("ascii")


# --- entries -----------------------------------------------------------------------------------


def index_name(index: Index) -> str:
    """A short name that is the same wherever the index is declared, for keys."""
    shape = msgspec.json.encode([list(index.fields), index.each])
    return hashlib.blake2b(shape, digest_size=6).hexdigest()


class IndexEntry(msgspec.Struct, frozen=True):
    """What an entry's key says.

    Attributes:
        key: The key.
        values: The values, as `IndexKeys.values_of` gives them.
        id: The document's id.
        token: Of the write that made it.
    """

    key: str
    values: str
    id: str
    token: str


class IndexKeys:
    """The keys of one index of one collection.

    Args:
        layout: Where things are.
        collection: The collection, with its scope.
        index: The index.

    Attributes:
        index: The index.
        folder: What the keys of its entries begin with.
        orders: Its fields.
        ids_descending: Whether ids stand in descending order behind equal values.
    """

    def __init__(self, layout: Layout, collection: str, index: Index) -> None:
        self.index = index
        self.folder = layout.index_folder(collection, index_name(index))
        self.orders = tuple(
            Order(parse_path(field.removeprefix("-")), field.startswith("-"))
            for field in index.fields
        )
        self.ids_descending = self.orders[-1].descending
        self._layout = layout

    @property
    def label(self) -> str:
        """The index as people write it, for statistics: `status,-due`."""
        fields = ",".join(self.index.fields)
        return f"each({fields})" if self.index.each else fields

    def value(self, position: int, value: Scalar) -> str:
        """One value as it stands at a field's position."""
        return directed(value_key(value), descending=self.orders[position].descending)

    def values(self, values: Sequence[Scalar]) -> str:
        """Values of the first fields, as entries' keys begin behind the folder."""
        return "".join(self.value(position, value) for position, value in enumerate(values))

    def pieces(self, values: str) -> list[str]:
        """The values that `values` or an entry's key begin with, one by one, as `value_key` gives.

        Raises:
            ValueError: It is no entry of this index.
        """
        return [
            _restored(piece) if order.descending else piece
            for order, piece in zip(self.orders, self._split(values), strict=True)
        ]

    def _split(self, values: str) -> list[str]:
        found, at = list[str](), 0
        for order in self.orders:
            length = _skip(values[at:], descending=order.descending)
            found.append(values[at : at + length])
            at += length
        return found

    def any_text(self) -> str:
        """The values of a document whose field is text, in an index over members."""
        return directed(ANY_TEXT, descending=self.orders[0].descending)

    def values_of(self, document: JsonObject) -> list[str]:
        """The values under which a document stands in this index, without repetition."""
        if not self.index.each:
            return [self.values([sortable(value_at(document, o.path)) for o in self.orders])]
        found = value_at(document, self.orders[0].path)
        if isinstance(found, str):
            return [self.any_text()]
        if not isinstance(found, list):
            return []
        members = cast("list[object]", found)
        # Arrays and objects among the members match no `$contains`.
        scalars = [each for each in members if each is None or not isinstance(each, list | dict)]
        return list(dict.fromkeys(self.value(0, sortable(each)) for each in scalars))

    def id_key(self, item_id: str) -> str:
        """An id as it stands behind the values."""
        return directed(sortable_text(item_id), descending=self.ids_descending)

    def entries_of(self, document: JsonObject, item_id: str, token: str) -> list[str]:
        """The keys of a document's entries.

        Raises:
            InvalidDocumentError: A value is too long to be indexed.
        """
        tail = self.id_key(item_id) + token
        keys = [self.folder + values + tail for values in self.values_of(document)]
        for key in keys:
            try:
                self._layout.check(key, "the index entry")
            except InvalidArgumentError as error:
                raise InvalidDocumentError(
                    f"its value of {self.label!r} is too long for the index: {error.message}, or "
                    "do not index this field",
                    field=".".join(self.orders[0].path),
                ) from None
        return keys

    def read(self, key: str) -> IndexEntry:
        """What an entry's key says.

        Raises:
            ValueError: It is no entry of this index.
        """
        rest = key[len(self.folder) :]
        values = "".join(self._split(rest))
        rest = rest[len(values) :]
        if self.ids_descending:
            end = _reversed_end(rest)
            item_id, token = read_sortable_text(_restored(rest[:end]))[0], rest[end:]
        else:
            item_id, token = read_sortable_text(rest)
        if not token:
            raise ValueError("no index entry of this SDK")
        return IndexEntry(key, values, item_id, token)
