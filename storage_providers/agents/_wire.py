"""What the models of the agent store share: camelCase on the wire, dates, unknown fields kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
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
        for name, field in _fields(type(self)):
            value = getattr(self, name)
            if isinstance(value, _OWN):
                document[field] = iso(value) if isinstance(value, datetime) else value.to_document()
            elif value is not None:
                document[field] = value
        return document


_OWN: Final = (datetime, Record)
"""What a document holds in another form."""


@lru_cache(maxsize=64)
def _names(cls: type[Record]) -> frozenset[str]:
    return cls.hidden.union(name for _, name in _fields(cls))


@lru_cache(maxsize=64)
def _fields(cls: type[Record]) -> tuple[tuple[str, str], ...]:
    pairs = zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)
    return tuple((name, field) for name, field in pairs if name != EXTRA)


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
