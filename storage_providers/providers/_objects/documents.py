"""Documents as objects: compact JSON as given; of an encoded one its payload follows.

Objects that other programs wrote are documents too: indented, with a byte order mark, without an
`id` (their key tells it), without any metadata of ours.
"""

from __future__ import annotations

from storage_providers.errors import CorruptItemError
from storage_providers.protocol import Condition, Item
from storage_providers.providers._bodies import parse_body, with_id
from storage_providers.providers._objects import Metadata, ObjectPut, StoredObject
from storage_providers.providers._objects.entries import foreign_token

__all__ = ["corrupt", "to_item", "to_object", "token_of"]


def to_object(
    key: str, item: Item, token: str, condition: Condition, expires_at_ms: int | None = None
) -> ObjectPut:
    """A document as the object to store.

    Args:
        key: Where it belongs.
        item: The document; its version does not matter.
        token: Of this write.
        condition: What the service is to judge.
        expires_at_ms: When it expires, milliseconds since 1970.
    """
    if item.payload is None:
        return ObjectPut(
            key=key,
            data=item.body,
            metadata=Metadata(token=token),
            condition=condition,
            expires_at_ms=expires_at_ms,
        )
    metadata = Metadata(token=token, encoding=item.encoding, visible_bytes=len(item.body))
    data = item.body + _mark(item.encoding) + item.payload
    return ObjectPut(
        key=key, data=data, metadata=metadata, condition=condition, expires_at_ms=expires_at_ms
    )


def _mark(encoding: str | None) -> bytes:
    """What stands between the visible document and the payload.

    A service's version may be a hash of the bytes, so all that makes a document another is there.
    """
    return f"\n{encoding}\n".encode()


def to_item(collection: str, item_id: str, stored: StoredObject) -> tuple[Item, int | None]:
    """An object as a document.

    Args:
        collection: The collection, with its scope.
        item_id: The id that its key tells.
        stored: The object.

    Returns:
        The item, and when it expires, milliseconds since 1970; `None`: never.

    Raises:
        CorruptItemError: It is no document, or one with another id; `source` is its key.
    """
    data, encoding, payload = stored.data, stored.metadata.encoding, None
    try:
        if not data:
            raise ValueError("the object is empty")
        if encoding is not None:
            visible_bytes = stored.metadata.visible_bytes
            if visible_bytes is None or not 0 < visible_bytes <= len(data):
                raise ValueError("its metadata does not tell where its payload begins")
            mark, rest = _mark(encoding), data[visible_bytes:]
            if not rest.startswith(mark):
                raise ValueError("its metadata names another encoding than stands inside")
            data, payload = data[:visible_bytes], rest[len(mark) :]
        found, body, expires_at_ms = parse_body(data)
        if found is None:
            body = with_id(body, item_id)
        elif found != item_id:
            raise ValueError("the 'id' inside is not the one its key says; change one of them")
    except ValueError as error:
        raise corrupt(collection, item_id, stored.key, str(error)) from None
    return Item(collection, item_id, stored.version, body, encoding, payload), expires_at_ms


def token_of(stored: StoredObject) -> str:
    """The token under which the entries of a stored document stand."""
    token = stored.metadata.token
    return foreign_token(stored.version) if token is None else token


def corrupt(collection: str, item_id: str | None, key: str, problem: str) -> CorruptItemError:
    """The error that names a damaged object and what is wrong with it."""
    return CorruptItemError(
        f"{key}: {problem}; mend the object, put the document anew or delete it",
        collection=collection,
        item_id=item_id,
        source=key,
    )
