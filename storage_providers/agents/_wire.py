"""What the models of the agent store share: camelCase on the wire, dates, unknown fields kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, ClassVar, Final, Self

import msgspec

from storage_providers._clock import format_timestamp
from storage_providers._json import JsonObject
from storage_providers._validation import describe_msgspec
from storage_providers.errors import InvalidDocumentError

__all__ = ["EXTRA", "Record", "epoch_ms", "iso", "moment"]

EXTRA: Final = "extra"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Record(msgspec.Struct, kw_only=True, rename="camel"):
    """A model of the agent store.

    Attributes:
        extra: Fields that the model does not know, as they are stored; they survive a round trip.
    """

    hidden: ClassVar[frozenset[str]] = frozenset()
    """Fields of the document that the store keeps for itself."""

    extra: dict[str, Any] = {}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a document, camelCase.

        Raises:
            InvalidDocumentError: It does not fit; `field` says where.
        """
        document = cls.prepared(document)
        extra = cls.unknown(document)
        if EXTRA in extra:  # A field of the document, and none of the model.
            document = {name: value for name, value in document.items() if name != EXTRA}
        try:
            record = msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            # msgspec's own message may quote the value.
            field, reason = describe_msgspec(error)
            where = "" if field is None else f"field {field!r}: "
            raise InvalidDocumentError(f"{where}{reason}", field=field) from None
        record.extra = extra
        return record

    @classmethod
    def from_body(cls, body: bytes) -> Self | None:
        """Read a document straight from its JSON, which takes a third of the time.

        Returns:
            The record; `None` if it holds what the model does not know, or does not fit.
        """
        names, decode = _decoders(cls)
        try:
            names(body)
            record: Self = decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return record

    @classmethod
    def unknown(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a document that the model does not know."""
        known = _names(cls)
        if known.issuperset(document):
            return {}
        return {name: value for name, value in document.items() if name not in known}

    @classmethod
    def prepared(cls, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """A document in the form of today; models that had others override this."""
        return document

    def to_document(self) -> JsonObject:
        """The document, camelCase; what is `None` is left out."""
        document = dict(self.extra)
        fields, values = _fields(type(self))
        for field, value in zip(fields, values(self), strict=True):
            if value is None:
                continue
            if type(value) in _PLAIN:
                document[field] = value
            elif isinstance(value, datetime):
                document[field] = iso(value)
            else:
                document[field] = value.to_document() if isinstance(value, Record) else value
        return document


_PLAIN: Final = frozenset({str, dict, list, int, float, bool})
"""What a document holds as it is: most of it, so it is told apart first."""


@lru_cache(maxsize=64)
def _names(cls: type[Record]) -> frozenset[str]:
    return cls.hidden.union(_fields(cls)[0])


@lru_cache(maxsize=64)
def _fields(cls: type[Record]) -> tuple[tuple[str, ...], Callable[[Record], tuple[Any, ...]]]:
    """The fields of its documents, and what gives their values."""
    pairs = zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)
    known = [(name, field) for name, field in pairs if name != EXTRA]
    return tuple(field for _, field in known), attrgetter(*(name for name, _ in known))


@lru_cache(maxsize=64)
def _decoders(cls: type[Record]) -> tuple[Callable[[bytes], Any], Callable[[bytes], Any]]:
    """What refuses the names that a model does not know, and what makes the record."""
    return msgspec.json.Decoder(_named(cls)).decode, msgspec.json.Decoder(cls).decode


def _named(cls: type[Record]) -> type[msgspec.Struct]:
    """A struct of the same names, with records inside it, that looks at nothing else."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(cls)}
    fields: list[tuple[str, Any, Any]] = []
    for name in sorted(_names(cls)):
        inner = types.get(name)
        kind: Any = msgspec.Raw
        if isinstance(inner, type) and issubclass(inner, Record):
            kind = _named(inner)
        fields.append((name, kind, msgspec.field(default=None)))
    return msgspec.defstruct(
        f"{cls.__name__}Names", fields, forbid_unknown_fields=True, gc=False, kw_only=True
    )


# --- times -------------------------------------------------------------------------------------


def epoch_ms(when: datetime) -> int:
    """Milliseconds since 1970; a time without a zone is UTC."""
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when - _EPOCH) // _MILLISECOND


def iso(when: datetime) -> str:
    """A time as documents carry it."""
    return format_timestamp(epoch_ms(when))


def moment(text: str) -> datetime:
    """The time that a document carries."""
    return msgspec.convert(text, datetime)
