"""Conflicts: a document that two sides changed, and the policies that settle it.

A policy is a pure function of the conflict. It says what stands at the document's place from then
on; what it left out is kept in the record of the conflict, from where it can be brought back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from storage_providers._clock import parse_timestamp
from storage_providers._json import JsonObject, decode_object, encode_object
from storage_providers.errors import ConfigurationError, CorruptItemError, InvalidDocumentError
from storage_providers.protocol import ANY, Condition, Item, Put, expiry_of

__all__ = [
    "POLICIES",
    "Conflict",
    "ConflictRecord",
    "Policy",
    "PolicyName",
    "Resolution",
    "Side",
    "Stored",
    "check_policy",
    "fallback_wins",
    "keep_both",
    "merge_fields",
    "newest",
    "primary_wins",
    "settle",
]

Side: TypeAlias = Literal["primary", "fallback"]
PolicyName: TypeAlias = Literal["newest", "primary", "fallback", "merge", "keep_both"]

MAX_ID_BYTES: Final = 512
"""Longest id that `keep_both` makes where nothing less is asked for, bytes."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class Stored(msgspec.Struct, frozen=True):
    """What one side holds under an id.

    Attributes:
        body: The document as UTF-8 JSON.
        encoding: Name of the payload's encoding, if a layer turned the document into bytes.
        payload: The encoded bytes, exactly when `encoding` is set.
    """

    body: bytes
    encoding: str | None = None
    payload: bytes | None = None

    @classmethod
    def of(cls, source: Item | Put) -> Stored:
        """What an item holds, or a put will."""
        return cls(source.body, source.encoding, source.payload)

    @classmethod
    def document_of(cls, document: Mapping[str, Any]) -> Stored:
        """A plain document.

        Raises:
            InvalidDocumentError: It is not storable JSON.
        """
        return cls(encode_object(document))

    @property
    def document(self) -> JsonObject:
        """The document, decoded anew each time.

        Raises:
            CorruptItemError: The body is no JSON object.
        """
        try:
            return decode_object(self.body)
        except ValueError as error:
            raise CorruptItemError(str(error)) from None

    @property
    def digest(self) -> str:
        """The same for the same content, however its JSON is spaced and its fields are ordered."""
        digest = hashlib.blake2b(_encode(self.document), digest_size=16)
        digest.update(f"|{self.encoding}|".encode() + (self.payload or b""))
        return digest.hexdigest()

    @property
    def expires_at_ms(self) -> int | None:
        """When the document expires, milliseconds since 1970; `None`: never."""
        return expiry_of(self.document)

    @property
    def updated_ms(self) -> int | None:
        """Its `updatedAt`, milliseconds since 1970; `None` if it has none that is a time."""
        text = self.document.get("updatedAt")
        try:
            return parse_timestamp(text) if isinstance(text, str) else None
        except ValueError:
            return None

    def put(self, collection: str, condition: Condition = ANY) -> Put:
        """The write that stores this.

        Raises:
            CorruptItemError: The body is no JSON object.
            InvalidDocumentError: `id` or `expiresAt` are wrong.
        """
        try:
            return Put.of_body(
                collection, self.body, condition, encoding=self.encoding, payload=self.payload
            )
        except InvalidDocumentError:
            raise
        except ValueError as error:
            raise CorruptItemError(str(error)) from None

    def __repr__(self) -> str:
        return f"Stored({len(self.body)} bytes, encoding={self.encoding!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("bytes", len(self.body)), ("encoding", self.encoding)]


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A document that two sides changed without knowing of each other.

    Attributes:
        collection: Its collection, with its scope if it has one.
        id: Its id.
        primary: What the primary holds now; `None`: nothing.
        fallback: What was written to the fallback meanwhile; `None`: it was deleted there.
        base: What both held before; `None`: nothing.
        base_known: Whether `base` is known; if not, it is `None` and says nothing.
        written_ms: When the fallback's side was written last, milliseconds since 1970.
    """

    collection: str
    id: str
    primary: Stored | None
    fallback: Stored | None
    base: Stored | None = None
    base_known: bool = True
    written_ms: int | None = None

    @property
    def is_encoded(self) -> bool:
        """Whether a layer turned one of the sides into bytes, which can't be looked into."""
        sides = self.primary, self.fallback, self.base
        return any(side is not None and side.encoding is not None for side in sides)


class Resolution(msgspec.Struct, frozen=True):
    """What a policy decided.

    Attributes:
        stored: What stands at the document's place; `None`: nothing.
        copies: Documents to keep beside it, under ids of their own.
    """

    stored: Stored | None
    copies: tuple[Stored, ...] = ()


class ConflictRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One entry in the log of conflicts.

    Attributes:
        number: Its number in the log, from 1.
        conflict: What each side held.
        policy: Name of the policy.
        resolution: What the policy decided.
        state: `settling`: being written to the primary. `settled`: written. `undone`: one side was
            brought back since. `refused`: the primary does not take the document, `error` says why;
            the fallback's side is kept here alone.
        seen_ms: When it was seen, milliseconds since 1970.
        error: Name of the class of the error, if the primary refused; at a `settled` one, it
            refused the document to keep beside, which is kept here alone.
    """

    number: int
    conflict: Conflict
    policy: str
    resolution: Resolution
    state: Literal["settling", "settled", "undone", "refused"]
    seen_ms: int
    error: str | None = None

    def side(self, side: Side) -> Stored | None:
        """What one side held."""
        return self.conflict.primary if side == "primary" else self.conflict.fallback


Policy: TypeAlias = Callable[[Conflict], "Resolution | Mapping[str, Any] | None"]
"""Settles a conflict: returns the document to keep, `None` to delete it, or a `Resolution`."""


# --- the policies ------------------------------------------------------------------------------


def newest(conflict: Conflict) -> Resolution:
    """The side with the later `updatedAt` stands; at a tie, the primary.

    A deletion on the primary has no time, so the other side's document stands against it. A
    deletion on the fallback stands if it was made after the primary's `updatedAt`.
    """
    return Resolution(conflict.fallback if _fallback_is_newer(conflict) else conflict.primary)


def primary_wins(conflict: Conflict) -> Resolution:
    """The primary stays as it is."""
    return Resolution(conflict.primary)


def fallback_wins(conflict: Conflict) -> Resolution:
    """What was written to the fallback stands."""
    return Resolution(conflict.fallback)


def merge_fields(conflict: Conflict) -> Resolution:
    """Field by field: what only one side changed since the common base stands.

    Objects are merged within; arrays are fields like any other. Where both changed a field to
    something else, the newer side's value stands, and a changed field stands against its removal.
    `updatedAt` is the later one. A changed document stands against its deletion. Documents that a
    layer turned into bytes, and those without a known base, are settled by `newest`.
    """
    primary, fallback, base = conflict.primary, conflict.fallback, conflict.base
    if primary is None or fallback is None:
        # A deletion that met nothing but what it was made from is no conflict, and not asked about.
        if not conflict.base_known:
            return newest(conflict)
        return Resolution(primary if fallback is None else fallback)
    if conflict.is_encoded or not conflict.base_known:
        return newest(conflict)
    ours, theirs = primary.document, fallback.document
    newer = _fallback_is_newer(conflict)
    merged = _merged({} if base is None else base.document, ours, theirs, newer)
    updated = (theirs if newer else ours).get("updatedAt", _MISSING)
    if updated is not _MISSING:
        merged["updatedAt"] = updated
    return Resolution(Stored.document_of(merged))


def keep_both(conflict: Conflict, max_id_bytes: int = MAX_ID_BYTES) -> Resolution:
    """The primary's document keeps the id, the fallback's is kept beside it as `id.conflict-…`.

    The new id is the same each time. A document stands against its deletion. Documents that a
    layer turned into bytes may be bound to their id; they are settled by `newest`.
    """
    primary, fallback = conflict.primary, conflict.fallback
    if primary is None or fallback is None:
        return Resolution(primary if fallback is None else fallback)
    if primary.digest == fallback.digest:
        return Resolution(primary)
    if conflict.is_encoded:
        return newest(conflict)
    suffix = f".conflict-{fallback.digest[:12]}"
    room = max(0, max_id_bytes - len(suffix))
    beside = conflict.id.encode()[:room].decode(errors="ignore") + suffix
    return Resolution(primary, (Stored.document_of({**fallback.document, "id": beside}),))


POLICIES: Final[Mapping[PolicyName, Callable[[Conflict], Resolution]]] = {
    "newest": newest,
    "primary": primary_wins,
    "fallback": fallback_wins,
    "merge": merge_fields,
    "keep_both": keep_both,
}
"""The policies by name."""


def check_policy(policy: PolicyName | Policy) -> str:
    """The name of a policy, for records.

    Raises:
        ConfigurationError: It is neither a name of `POLICIES` nor a function.
    """
    if callable(policy):
        return getattr(policy, "__name__", type(policy).__name__)
    if policy not in POLICIES:
        raise ConfigurationError(
            f"{policy!r} is no policy; use {', '.join(map(repr, POLICIES))} or a function"
        )
    return policy


def settle(
    conflict: Conflict, policy: PolicyName | Policy, *, max_id_bytes: int = MAX_ID_BYTES
) -> Resolution:
    """Ask a policy, and check what it says.

    Args:
        conflict: What each side holds.
        policy: A name of `POLICIES`, or a function.
        max_id_bytes: Longest id of a document kept beside, bytes of UTF-8.

    Returns:
        What is to stand.

    Raises:
        InvalidDocumentError: A function's document has another id, a document to keep beside has
            none of its own, or it is not storable JSON.
        ConfigurationError: There is no such policy.
    """
    check_policy(policy)
    if policy in ("keep_both", keep_both):
        return keep_both(conflict, max_id_bytes)
    answer = policy(conflict) if callable(policy) else POLICIES[policy](conflict)
    if answer is None:
        return Resolution(None)
    if not isinstance(answer, Resolution):
        answer = Resolution(Stored.document_of(answer))
    ids = {conflict.id}
    if answer.stored is not None and answer.stored.document.get("id") != conflict.id:
        raise _wrong_id(conflict, "the policy gave the document another id")
    for copy in answer.copies:
        own = copy.document.get("id")
        if not isinstance(own, str) or not own or own in ids:
            raise _wrong_id(conflict, "a document to keep beside needs an id of its own")
        ids.add(own)
    return answer


# --- helpers -----------------------------------------------------------------------------------

_MISSING: Final = object()


def _fallback_is_newer(conflict: Conflict) -> bool:
    primary, fallback = conflict.primary, conflict.fallback
    if primary is None:
        return fallback is not None
    there = primary.updated_ms
    here = conflict.written_ms if fallback is None else fallback.updated_ms
    return here is not None and (there is None or here > there)


def _merged(base: JsonObject, ours: JsonObject, theirs: JsonObject, newer: bool) -> JsonObject:
    """Three objects as one; `newer`: the last one wins where both changed a field."""
    merged: JsonObject = {}
    for key in dict.fromkeys((*ours, *theirs)):
        value = _chosen(
            base.get(key, _MISSING), ours.get(key, _MISSING), theirs.get(key, _MISSING), newer
        )
        if value is not _MISSING:
            merged[key] = value
    return merged


def _chosen(base: object, ours: object, theirs: object, newer: bool) -> object:
    if _same(ours, theirs) or _same(theirs, base):
        return ours
    if _same(ours, base):
        return theirs
    if _is_object(ours) and _is_object(theirs):
        common = cast(JsonObject, base) if _is_object(base) else {}
        return _merged(common, cast(JsonObject, ours), cast(JsonObject, theirs), newer)
    return theirs if ours is _MISSING or (newer and theirs is not _MISSING) else ours


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _same(left: object, right: object) -> bool:
    """Whether two JSON values are the same, telling 1 from 1.0 and from true."""
    if left is _MISSING or right is _MISSING:
        return left is right
    return _encode(left) == _encode(right)


def _wrong_id(conflict: Conflict, reason: str) -> InvalidDocumentError:
    return InvalidDocumentError(
        reason, collection=conflict.collection, item_id=conflict.id, field="id"
    )
