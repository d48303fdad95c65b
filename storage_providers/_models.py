"""Models of `Collection[T]`: from stored bytes to a typed value and back to a document."""

from __future__ import annotations

import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from storage_providers._clock import format_timestamp
from storage_providers._json import JsonObject, decode_object
from storage_providers._validation import Problem, describe_msgspec, describe_pydantic
from storage_providers.errors import (
    CorruptItemError,
    InvalidArgumentError,
    InvalidDocumentError,
)

__all__ = ["Codec", "codec_for", "to_wire"]

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

SDK_FIELDS = {
    "id": "id",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "expiresAt": "expires_at",
}
"""The fields the SDK manages, with the names that models without renaming give them."""


class Codec(ABC, Generic[T]):
    """Decodes documents to `T` and encodes them back.

    Attributes:
        model_name: What errors call the model.
        renamed: Attribute names that documents spell otherwise, with that spelling.
    """

    def __init__(self, model: Any) -> None:
        self.model_name = str(getattr(model, "__name__", model))
        self.renamed: dict[str, str] = {}
        self._classes: tuple[type, ...] = ()
        self._aliases: dict[str, str] = {}
        self._unwanted: tuple[str, ...] = ()

    def decode(self, body: bytes) -> T:
        """Decode a stored document.

        Raises:
            InvalidDocumentError: It does not fit the model; `field` says where.
            CorruptItemError: It is no JSON object.
        """
        try:
            return self._decode(self._prepared(body))
        except RecursionError:
            problem: Problem = (None, "is nested too deep")
        except (ValueError, msgspec.MsgspecError) as error:
            problem = self._describe(error)
        # Raised out here so that the model's error, which may quote values, is not its context.
        raise _broken(body) or self._error(problem)

    def encode(self, value: T) -> JsonObject:
        """Turn a value into the fields of a document, as JSON types.

        Raises:
            InvalidDocumentError: It is not of the model's class, or can't be JSON.
        """
        if self._classes and not isinstance(value, self._classes):
            raise InvalidDocumentError(
                f"the value is of type {type(value).__name__}, the model is {self.model_name}"
            )
        try:
            fields = self._dump(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            fields, reason = None, type(error).__name__
        else:
            reason = f"it becomes a JSON {type(fields).__name__}, not an object"
        if not isinstance(fields, dict):
            raise InvalidDocumentError(f"{self.model_name} can't be stored: {reason}")
        document = cast(JsonObject, fields)
        for wire, name in self._aliases.items():
            if name in document:
                document[wire] = document.pop(name)
        return document

    def check_paths(self, paths: Iterable[str]) -> None:
        """Check that paths begin with names that documents use.

        Raises:
            InvalidArgumentError: One is an attribute's name, which documents spell otherwise.
        """
        for path in paths:
            name, _, rest = path.removeprefix("-").partition(".")
            if (wire := self.renamed.get(name)) is not None:
                instead = f"{wire}.{rest}" if rest else wire
                raise InvalidArgumentError(
                    f"{path!r} is the attribute's name; documents call it {instead!r}"
                )

    def check_where(self, where: Mapping[str, Any]) -> None:
        """Check the paths of a `where`; its shape is the provider's to check.

        Raises:
            InvalidArgumentError: One is an attribute's name, which documents spell otherwise.
        """
        self.check_paths(name for name in where if not name.startswith("$"))
        branches: list[Any] = [where.get("$not")]
        for operator in ("$and", "$or"):
            members = where.get(operator)
            if isinstance(members, list | tuple):
                branches.extend(cast("Sequence[Any]", members))
        for branch in branches:
            if isinstance(branch, Mapping):
                self.check_where(cast("Mapping[str, Any]", branch))

    @abstractmethod
    def _decode(self, body: bytes) -> T: ...

    @abstractmethod
    def _dump(self, value: T) -> Any: ...

    @abstractmethod
    def _describe(self, error: Exception) -> Problem: ...

    def _learn(self, names: Mapping[str, str], strict: bool) -> None:
        """Take in the model's fields: attribute names with the names they have in documents."""
        wires = set(names.values())
        for wire, snake in SDK_FIELDS.items():
            if wire not in wires and snake in wires:
                self._aliases[wire] = snake
        if strict:
            self._unwanted = tuple(
                wire for wire in SDK_FIELDS if wire not in wires and wire not in self._aliases
            )
        spelled = {attribute: wire for attribute, wire in names.items() if attribute != wire}
        self.renamed = {name: wire for name, wire in spelled.items() if name not in wires}
        self.renamed |= {snake: wire for wire, snake in self._aliases.items()}

    def _prepared(self, body: bytes) -> bytes:
        if not self._aliases and not self._unwanted:
            return body
        document = decode_object(body)
        for wire in self._unwanted:
            document.pop(wire, None)
        for wire, name in self._aliases.items():
            if wire in document:
                document[name] = document.pop(wire)
        return msgspec.json.encode(document)

    def _error(self, problem: Problem) -> InvalidDocumentError:
        field, reason = problem
        what = f"field {field!r}" if field else "the document"
        return InvalidDocumentError(
            f"{what} {_verb(reason)} (model {self.model_name})", field=field
        )


def _broken(body: bytes) -> CorruptItemError | None:
    """The error of bytes that are no document at all, whatever the model."""
    try:
        decode_object(body)
    except ValueError as error:
        return CorruptItemError(str(error))
    return None


def _verb(reason: str) -> str:
    """Make a reason follow its subject: `is missing`, or `is wrong: expected int, got str`."""
    return reason if reason.startswith("is ") else f"is wrong: {reason}"


class PlainCodec(Codec[JsonObject]):
    """Documents as they are."""

    def __init__(self) -> None:
        super().__init__(dict)
        self._classes = (Mapping,)

    def _decode(self, body: bytes) -> JsonObject:
        return decode_object(body)

    def _dump(self, value: JsonObject) -> Any:
        return dict(value)

    def _describe(self, error: Exception) -> Problem:
        return None, str(error)


class MsgspecCodec(Codec[T]):
    """Structs, dataclasses, attrs classes, TypedDicts and unions of tagged Structs."""

    def __init__(self, model: type[T]) -> None:
        super().__init__(model)
        self._decoder = msgspec.json.Decoder(model)
        members = [_origin(member) for member in _members(model)]
        names: dict[str, str] = {}
        strict = False
        for member in members:
            if issubclass(member, msgspec.Struct):
                config = member.__struct_config__
                if config.array_like:
                    raise InvalidArgumentError(
                        f"{self.model_name} is array_like; a document is an object with fields"
                    )
                strict = strict or config.forbid_unknown_fields
                names |= {field.name: field.encode_name for field in msgspec.structs.fields(member)}
            else:
                names |= {name: name for name in get_type_hints(cast(Any, member))}
        self._learn(names, strict)
        self._classes = tuple(
            dict if hasattr(member, "__total__") else member for member in members
        )

    def _decode(self, body: bytes) -> T:
        return self._decoder.decode(body)

    def _dump(self, value: T) -> Any:
        return _with_timestamps(
            msgspec.to_builtins(value, builtin_types=(datetime,), str_keys=True)
        )

    def _describe(self, error: Exception) -> Problem:
        return describe_msgspec(error)


class PydanticCodec(Codec[T]):
    """pydantic models and pydantic dataclasses; pydantic is loaded already if there is one."""

    def __init__(self, model: type[T]) -> None:
        super().__init__(model)
        import pydantic
        import pydantic_core

        self._adapter: Any = pydantic.TypeAdapter(model)
        self._plain: Callable[[Any], Any] = pydantic_core.to_jsonable_python
        self._failure = pydantic.ValidationError
        declared: Any = getattr(model, "model_fields", None) or getattr(
            model, "__pydantic_fields__", {}
        )
        names = {
            str(name): str(info.serialization_alias or info.alias or name)
            for name, info in declared.items()
        }
        config: Any = getattr(model, "model_config", None) or getattr(
            model, "__pydantic_config__", {}
        )
        self._learn(names, config.get("extra") == "forbid")
        self._classes = (model,)

    def _decode(self, body: bytes) -> T:
        return cast(T, self._adapter.validate_json(body))

    def _dump(self, value: T) -> Any:
        # Warnings would quote values; what is wrong is found when the result is validated.
        as_json = self._adapter.dump_python(value, mode="json", by_alias=True, warnings=False)
        as_python = self._adapter.dump_python(value, mode="python", by_alias=True, warnings=False)
        return self._restamped(as_json, as_python)

    def _restamped(self, as_json: Any, as_python: Any) -> Any:
        """Write datetimes as the contract does, unless the model serialises them its own way."""
        if isinstance(as_python, datetime):
            return to_wire(as_python) if as_json == self._plain(as_python) else as_json
        if isinstance(as_json, dict) and isinstance(as_python, Mapping):
            fields, sources = cast(JsonObject, as_json), cast("Mapping[str, Any]", as_python)
            if len(fields) == len(sources):
                return {
                    key: self._restamped(left, right)
                    for (key, left), right in zip(fields.items(), sources.values(), strict=True)
                }
            return fields
        if isinstance(as_json, list) and isinstance(as_python, list | tuple):
            members, origins = cast("Sequence[Any]", as_json), cast("Sequence[Any]", as_python)
            if len(members) == len(origins):
                return [
                    self._restamped(left, right)
                    for left, right in zip(members, origins, strict=True)
                ]
            return members
        return cast(Any, as_json)

    def _describe(self, error: Exception) -> Problem:
        if isinstance(error, self._failure):
            return describe_pydantic(
                error.errors(include_url=False, include_context=False, include_input=False)
            )
        return None, f"is not what the model allows ({type(error).__name__})"


def codec_for(model: Any) -> Codec[Any]:
    """The codec of a model.

    Raises:
        InvalidArgumentError: Neither msgspec nor pydantic can decode documents to it.
    """
    if model is dict or (get_origin(model) is dict and get_args(model) == (str, Any)):
        return PlainCodec()
    try:
        if hasattr(model, "model_validate_json") or hasattr(model, "__pydantic_validator__"):
            return PydanticCodec(model)
        return MsgspecCodec(model)
    except (TypeError, NameError) as error:
        raise InvalidArgumentError(
            f"{getattr(model, '__name__', model)!s} can't be a collection's model: {error}"
        ) from None


def to_wire(value: Any) -> Any:
    """A value as documents hold it, for `where` and changes: times, dates, enums and the like.

    Raises:
        InvalidDocumentError: It has no JSON form.
    """
    try:
        return _with_timestamps(
            msgspec.to_builtins(value, builtin_types=(datetime,), str_keys=True)
        )
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidDocumentError(f"{type(value).__name__} holds something that has no JSON form")


def _with_timestamps(value: Any) -> Any:
    """Replace datetimes by the contract's form: UTC, milliseconds, `Z`; no zone means UTC."""
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value
        return format_timestamp((moment - _EPOCH) // _MILLISECOND)
    if isinstance(value, dict):
        members = cast(JsonObject, value)
        return {key: _with_timestamps(member) for key, member in members.items()}
    if isinstance(value, list | tuple):
        return [_with_timestamps(member) for member in cast("list[Any]", value)]
    return value


def _members(model: Any) -> tuple[Any, ...]:
    if get_origin(model) in (Union, types.UnionType):
        return get_args(model)
    return (model,)


def _origin(model: Any) -> type:
    """The class behind a possibly generic type."""
    found = get_origin(model) or model
    if not isinstance(found, type):
        raise TypeError("it is not a class")
    return found
