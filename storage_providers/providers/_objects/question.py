"""A query as the engine works with it: parsed, planned, and turned into a source of documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from storage_providers.errors import InvalidArgumentError
from storage_providers.filters import (
    Order,
    Path,
    Predicate,
    Scalar,
    SortKey,
    compile_where,
    decode_cursor,
    encode_cursor,
    parse_order,
    parse_where,
)
from storage_providers.protocol import Query
from storage_providers.providers._objects.access import ID, Access, goal_of
from storage_providers.providers._objects.candidates import (
    EVERY_ID,
    PLACE,
    ByIds,
    Candidate,
    InKeyOrder,
    Proposal,
    Source,
)
from storage_providers.providers._objects.entries import LAST, IndexKeys, directed, value_key
from storage_providers.providers._objects.keys import FolderLayout
from storage_providers.providers._objects.plan import Plan, choose
from storage_providers.providers._objects.sources import (
    Chained,
    Entries,
    Merged,
    Selected,
    pieces_of,
    place_of,
)
from storage_providers.providers._objects.spans import Conditions, Span, Spans, conditions_of
from storage_providers.providers._objects.walk import RESTS, ById

if TYPE_CHECKING:
    from storage_providers.providers._objects.provider import ObjectProvider

__all__ = ["Question"]


class Question:
    """A query, parsed.

    Args:
        query: The query.

    Attributes:
        query: The query.
        matches: Evaluates its `where`, if there is one.
        order: Its order, ending in `id`.
        last: Where the page before ended, in this order; `None`: this is the first.
        conditions: What its `where` asks of single fields.
        goal: Its order as far as it matters, ending in `id`.

    Raises:
        InvalidArgumentError: Its `where`, order or cursor is malformed.
        UnsupportedOperationError: It asks for `$text`.
    """

    def __init__(self, query: Query) -> None:
        self.query = query
        node = parse_where(query.where)
        self.matches: Predicate | None = None if node is None else compile_where(node)
        self.order: tuple[Order, ...] = parse_order(query.order_by)
        self.conditions: Conditions = conditions_of(node)
        self.goal = goal_of(self.order, self.conditions)
        self.last: SortKey | None = None
        self._rest = ""
        self._place = ""
        self._values: dict[Path, Scalar] = dict(self.conditions.constants)
        if query.cursor is not None:
            self._continue(query.cursor)

    def _continue(self, cursor: str) -> None:
        self._place, _, cursor = cursor.rpartition(PLACE)
        if self._place and not re.match("[0-9]{1,4}:", self._place):
            raise InvalidArgumentError("the cursor is damaged; begin again without one")
        if cursor.endswith(RESTS):
            cursor, self._rest = cursor[:-1], cursor[-1]
        values = decode_cursor(msgspec.structs.replace(self.query, cursor=cursor))
        self._values |= {order.path: v for order, v in zip(self.order, values, strict=True)}
        if not isinstance(self._values[ID], str):
            raise InvalidArgumentError("the cursor is damaged; begin again without one")
        self.last = SortKey(values, [order.descending for order in self.order])

    @property
    def needed(self) -> int:
        """Documents up to the end of the page, those passed over included."""
        return self.query.offset + self.query.limit

    @property
    def all_matches(self) -> bool:
        """Whether every match is read, to be counted."""
        return self.query.total and bool(self.query.where)

    @property
    def by_id(self) -> bool:
        """Whether ids alone tell the order."""
        return len(self.goal) == 1

    @property
    def uses_indexes(self) -> bool:
        """Whether an index could help."""
        return bool(self.query.where) or not self.by_id

    def plan(self, indexes: Iterable[IndexKeys]) -> Plan:
        """How to answer it."""
        return choose(self.conditions, self.goal, indexes, all_matches=self.all_matches)

    def cursor(self, values: Sequence[Scalar], rest: str) -> str:
        """The cursor of a page that ends with a document.

        Args:
            values: Where it stands in the order.
            rest: Its `Candidate.rest`.
        """
        cursor = encode_cursor(self.query, values)
        if rest.startswith(PLACE):
            # In front, where it can't be cut off unnoticed.
            return rest[len(PLACE) :] + PLACE + cursor
        return cursor + rest

    # --- sources -------------------------------------------------------------------------------

    def source(self, provider: ObjectProvider, plan: Plan, spare: int = 1) -> Source:
        """What proposes documents; in the wanted order and behind the cursor, unless sorted.

        Args:
            provider: The provider.
            plan: The plan.
            spare: How many more will be asked for than the page holds, if all of them fit.
        """
        if plan.kind == "index" and plan.access is not None:
            sort = plan.arrangement == "sorted"
            return self._entries(provider, plan.access, spare, sort=sort)
        store, layout, name = provider.store, provider.layout, self.query.collection
        goes_on = self.last is not None and plan.arrangement != "sorted"
        last = value_key(self._values[ID]) if goes_on else ""
        descending = self.goal[-1].descending
        if plan.kind == "ids":
            after = last if goes_on else None
            return ByIds(layout, name, plan.ids, after=after, descending=descending)
        span = _hull(plan.id_spans)
        if plan.arrangement == "selected":
            return Selected(
                lambda: InKeyOrder(store, layout, name, span=span),
                lambda each: directed(each.place, descending=True),
                keep=self._some_more,
                after=directed(last, descending=True) + LAST if goes_on else "",
            )
        if not isinstance(layout, FolderLayout):
            after = layout.document(name, str(self._values[ID])) if goes_on else ""
            exact = plan.arrangement == "listed" and plan.exact
            return InKeyOrder(
                store,
                layout,
                name,
                span=span,
                after=after,
                size=self.needed + spare if exact else None,
                place=self._place if goes_on else "",
            )
        if plan.arrangement == "sorted" and plan.id_spans is None:
            return InKeyOrder(store, layout, name)
        if goes_on:
            span = Span(max(span.start, last + LAST), span.stop)
        size = None if plan.arrangement == "sorted" else self._some_more
        return ById(store, layout, name, span=span, size=size, rest=self._rest if goes_on else "")

    @property
    def _some_more(self) -> int:
        """How many keys are likely to be enough for the page."""
        return self.needed + self.needed // 4 + 8

    def _entries(
        self, provider: ObjectProvider, access: Access, spare: int, *, sort: bool
    ) -> Source:
        goes_on = self.last is not None and not sort
        in_order = access.arrangement in ("listed", "merged") and not sort
        ranges = access.behind(self._values) if goes_on and in_order else access.ranges
        whole = None
        if in_order and len(access.ranges) == 1 and not provider.store.limits.starts_anywhere:
            whole = access.ranges[0]
        size = None
        if in_order and access.exact and not access.tests:
            size = self.needed + (1 if whole is None else spare)

        def begin() -> Source:
            sources = [
                Entries(
                    provider.store,
                    provider.layout,
                    self.query.collection,
                    access,
                    each,
                    size=size,
                    whole=whole,
                    place=self._place if goes_on and whole is not None else "",
                )
                for each in ranges
            ]
            return Chained(sources) if access.arrangement == "listed" else Merged(sources)

        if sort or access.arrangement != "selected":
            return begin()
        known = {path: value_key(value) for path, value in self._values.items()}

        def place(each: Proposal) -> str:
            if not isinstance(each, Candidate):
                return ""
            # Entries of one document with other values stand apart.
            return place_of(self.goal, known | pieces_of(access, each)) + (each.values or "")

        after = place_of(self.goal, known) + LAST if goes_on else ""
        return Selected(begin, place, keep=self._some_more, after=after)


def _hull(spans: Spans | None) -> Span:
    return EVERY_ID if spans is None else Span(spans[0].start, spans[-1].stop)
