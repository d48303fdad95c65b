"""The collections of the agent store, and the orders in which each is asked for.

| table | collection | id |
|---|---|---|
| `threads` | `agent_threads` | the thread's |
| `messages` | `agent_messages` | the message's |
| `resources` | `agent_resources` | the resource's |
| `runs` | `agent_runs` | `{workflow}:{run}`, `compound_id` |
| `scores` | `agent_scores` | the score's |
| `spans` | `agent_spans` | `{trace}:{span}`, `compound_id` |

Where a provider answers no queries, the orders of a table are in `agent_{table}_order`: documents
`{"id": the entry's, "of": the document's, "createdAt": …}`.

Beside the models' fields documents have some that orders need: `position` of messages, `status` of
runs, `root`, `endOrder` and `status` of spans.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from storage_providers._json import JsonObject
from storage_providers.protocol import Index

__all__ = [
    "MESSAGES",
    "RESOURCES",
    "ROOT",
    "RUNS",
    "SCORES",
    "SPANS",
    "TABLES",
    "THREADS",
    "Order",
    "Table",
    "compound_id",
]

ROOT: Final = "root"
"""What the field `root` of root spans holds."""

_TURNED: Final = str.maketrans("0123456789", "9876543210", ":.")


class Order(msgspec.Struct, frozen=True):
    """An order in which a table is asked for, newest first.

    Attributes:
        name: Its name, with the table's in front: `messages.thread`.
        field: The field whose value names the list; `None`: one list of all.
        sort: The field it is sorted by: text, in which what differs are digits.
        rare: Whether many never ask for it. Its index is declared when somebody does: each index
            makes each write dearer, and D1 charges it as a row.
    """

    name: str
    field: str | None
    sort: str
    rare: bool = False

    def list_of(self, value: str) -> str:
        """What the ids of the entries of one list begin with."""
        named = hashlib.blake2b(f"{self.name}\0{value}".encode(), digest_size=10)
        return f"{named.hexdigest()}-"

    def entry(self, document: JsonObject) -> str | None:
        """The id of the entry of a document, `None` if it is in no such list."""
        value = "" if self.field is None else document.get(self.field)
        place = document.get(self.sort)
        if not isinstance(value, str) or not isinstance(place, str):
            return None
        return f"{self.list_of(value)}{turned(place)}-{_short(document['id'])}"

    def sorts_all_by(self, field: str) -> bool:
        """Whether it is one list of all, by this field."""
        return self.field is None and self.sort == field

    @property
    def index(self) -> Index:
        """The index that answers it."""
        return Index.of(self.sort) if self.field is None else Index.of(self.field, self.sort)


class Table(msgspec.Struct, frozen=True, eq=False):
    """A collection of the store. There is one of each: they are told apart as objects are.

    Attributes:
        name: Its name.
        collection: The collection's.
        orders: In which it is asked for.
        time: The field by which it is pruned.
    """

    name: str
    collection: str
    orders: tuple[Order, ...]
    time: str = "createdAt"

    def order(self, name: str) -> Order:
        """One of its orders, by the part of the name behind the dot."""
        wanted = f"{self.name}.{name}"
        return next(order for order in self.orders if order.name == wanted)

    def entries(self, document: JsonObject | None) -> set[str]:
        """The ids of all entries of a document."""
        if document is None:
            return set()
        found = (order.entry(document) for order in self.orders)
        return {entry for entry in found if entry is not None}

    @property
    def entries_in(self) -> str:
        """The collection where its orders are kept, if the provider can't be asked for them."""
        return f"{self.collection}_order"

    def indexes(self, *asked: Order) -> tuple[Index, ...]:
        """Those of the orders that are not rare, and of these."""
        orders = (order for order in self.orders if not order.rare or order in asked)
        return tuple(dict.fromkeys(order.index for order in orders))


def turned(place: str) -> str:
    """A sorting text upside down: what sorted last sorts first. The rest is alike in all."""
    return place.translate(_TURNED)


def _short(item_id: str) -> str:
    return hashlib.blake2b(item_id.encode(), digest_size=6).hexdigest()


def compound_id(first: str, second: str, max_id_bytes: int) -> str:
    """An id of two parts, different for different parts; a hash if it would be too long."""
    joined = f"{first.replace('%', '%25').replace(':', '%3A')}:{second}"
    if len(joined.encode()) <= max_id_bytes:
        return joined
    return f"%{hashlib.blake2b(joined.encode(), digest_size=20).hexdigest()}"


def _table(
    name: str, sort: str = "createdAt", *, time: str = "createdAt", rare: str = "", **orders: str
) -> Table:
    """A table with orders `name="field"`, all in one list `name=""`, sorted `name="field/sort"`."""
    made: list[Order] = []
    for order, how in orders.items():
        field, _, by = how.partition("/")
        made.append(Order(f"{name}.{order}", field or None, by or sort, order in rare.split()))
    return Table(name, f"agent_{name}", tuple(made), time)


THREADS: Final = _table(
    "threads",
    created="",
    updated="/updatedAt",
    resource_created="resourceId",
    resource_updated="resourceId/updatedAt",
    rare="created updated",
    time="updatedAt",
)
MESSAGES: Final = _table(
    "messages", "position", thread="threadId", resource="resourceId", rare="resource"
)
RESOURCES: Final = _table("resources", time="updatedAt")
RUNS: Final = _table(
    "runs",
    created="",
    workflow="workflowName",
    resource="resourceId",
    run="runId",
    rare="created resource",
)
SCORES: Final = _table(
    "scores",
    created="",
    scorer="scorerId",
    run="runId",
    entity="entityId",
    span="spanId",
    rare="created entity span",
)
SPANS: Final = _table(
    "spans",
    "startedAt",
    trace="traceId",
    root="root",
    ended="root/endOrder",
    rare="ended",
    time="startedAt",
)
TABLES: Final = {table.name: table for table in (THREADS, MESSAGES, RESOURCES, RUNS, SCORES, SPANS)}
