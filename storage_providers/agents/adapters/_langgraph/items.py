"""A store's items as documents: ids that hold the namespace, times to live, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, cast

from langgraph.store.base import Item, PutOp, SearchItem

from storage_providers._clock import SYSTEM_CLOCK, format_timestamp
from storage_providers.agents.adapters._common import digest, stamps
from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import Delete, JsonObject, Patch, Put
from storage_providers.protocol import Item as StoredItem

__all__ = ["Names", "item_of", "namespace_in", "renewed", "search_item", "write_of"]

_DIGEST_BYTES: Final = 33


class Names(NamedTuple):
    """How ids are made from namespaces and keys.

    An id is the labels joined by `.`, then `..` and the key: labels are not empty and hold no
    full stop, so nothing else reads so. Of one that is too long, a digest takes the place of all
    behind the first labels. Either way it begins with those, which is what searches go by.

    Attributes:
        collection: Where the documents are.
        max_id_bytes: Longest id, bytes of UTF-8.
    """

    collection: str
    max_id_bytes: int

    def id_of(self, namespace: Sequence[str], key: str) -> str:
        """The id of one item."""
        whole = f"{'.'.join(namespace)}..{key}"
        if len(whole.encode("utf-8", "surrogatepass")) <= self.max_id_bytes:
            return whole
        return self.prefix_of(namespace) + digest(json.dumps([*namespace, key]))

    def prefix_of(self, namespace: Sequence[str]) -> str:
        """What the ids of all items in a namespace, and in those below it, begin with."""
        prefix = ""
        for label in namespace:
            longer = f"{prefix}{label}."
            if len(longer.encode("utf-8", "surrogatepass")) > self.max_id_bytes - _DIGEST_BYTES:
                break
            prefix = longer
        return prefix


def namespace_in(item_id: str) -> tuple[str, ...] | None:
    """The namespace that an id shows; `None` if a digest hides it."""
    labels, found, _ = item_id.partition("..")
    if not found:
        return None
    return tuple(labels.split(".")) if labels else ()


def write_of(names: Names, op: PutOp, before: StoredItem | None) -> Put | Delete:
    """What a put stores, or a delete removes.

    Raises:
        InvalidArgumentError: The time to live is not above 0.
        InvalidDocumentError: The value is not JSON.
    """
    item_id = names.id_of(op.namespace, op.key)
    if op.value is None:
        return Delete(names.collection, item_id)
    document: JsonObject = {
        "id": item_id,
        "namespace": list(op.namespace),
        "key": op.key,
        "value": op.value,
        **stamps(),
    }
    if before is not None:
        document["createdAt"] = before.document["createdAt"]
    if op.ttl is not None:
        document |= {"ttlMinutes": op.ttl, "expiresAt": _expiry(op.ttl)}
    return Put(names.collection, document)


def renewed(item: StoredItem) -> Patch | None:
    """What gives an item that was read its whole time to live again; `None` if it has none."""
    minutes = item.document.get("ttlMinutes")
    if minutes is None:
        return None
    return Patch(item.collection, item.id, {"expiresAt": _expiry(minutes)})


def item_of(stored: StoredItem) -> Item:
    """An item as `get` returns it."""
    document = stored.document
    return Item(
        value=document["value"],
        key=document["key"],
        namespace=tuple(document["namespace"]),
        created_at=_date(document["createdAt"]),
        updated_at=_date(document["updatedAt"]),
    )


def search_item(stored: StoredItem, score: float | None = None) -> SearchItem:
    """An item as `search` returns it."""
    item = item_of(stored)
    return SearchItem(item.namespace, item.key, item.value, item.created_at, item.updated_at, score)


def _expiry(minutes: float) -> str:
    if not 0 < minutes < math.inf:
        raise InvalidArgumentError(f"ttl is {minutes} minutes, it must be above 0")
    return format_timestamp(SYSTEM_CLOCK.now_ms() + round(minutes * 60_000))


def _date(text: object) -> datetime:
    return datetime.fromisoformat(cast(str, text))
