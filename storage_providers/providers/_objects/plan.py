"""How a query is to be answered: by ids, by an index, by walking all keys, or by reading all.

Whatever the plan, each document it proposes is read and judged anew, so a plan decides about
costs only. It is chosen without knowing how many documents there are:

1. ids that `where` names are read;
2. an index that lists just the matches in the wanted order, as far as the page goes;
3. an index whose leading fields have given values, then one whose first field is bounded, then
   one whose keys tell most of what does not match;
4. an index in the wanted order, reading documents until the page is full;
5. the keys of all documents, where the order is by id;
6. every document.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from storage_providers.filters import Order
from storage_providers.providers._objects.access import (
    ID,
    Access,
    Arrangement,
    access_of,
)
from storage_providers.providers._objects.entries import IndexKeys
from storage_providers.providers._objects.keys import read_sortable_text
from storage_providers.providers._objects.spans import Conditions, Spans, is_exact, spans_at

__all__ = ["Plan", "choose"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How to answer one query.

    Attributes:
        kind: What proposes documents.
        arrangement: How the wanted order comes about.
        ids: With `ids`: which, in order.
        access: With `index`: how.
        id_spans: With `walk` and `scan`: what ids must be in.
        exact: Whether what is proposed matches unless it changed meanwhile.
    """

    kind: Literal["ids", "index", "walk", "scan"]
    arrangement: Arrangement
    ids: tuple[str, ...] = ()
    access: Access | None = None
    id_spans: Spans | None = None
    exact: bool = False


def choose(
    conditions: Conditions,
    goal: Sequence[Order],
    indexes: Iterable[IndexKeys],
    *,
    all_matches: bool,
) -> Plan:
    """Choose the plan for a query.

    Args:
        conditions: What its `where` asks of single fields.
        goal: Its order, `goal_of`.
        indexes: Those that may be used.
        all_matches: Whether every match is read anyway, to be counted.
    """
    id_spans = spans_at(conditions, ID)
    by_id = len(goal) == 1
    if id_spans is not None:
        # Ids are text.
        id_spans = tuple(span for span in id_spans if span.start.startswith("2"))
    if id_spans is not None and all(span.single for span in id_spans):
        named = (read_sortable_text(span.start[1:])[0] for span in id_spans)
        ids = sorted(named, reverse=goal[-1].descending)
        return Plan(
            kind="ids",
            arrangement="listed" if by_id and not all_matches else "sorted",
            ids=tuple(ids),
        )
    exact = conditions.complete and all(
        each.path == ID and is_exact(each) for each in conditions.compares
    )
    ranked: list[tuple[tuple[int, ...], str, Access]] = []
    for index in indexes:
        access = access_of(index, conditions, goal, id_spans)
        rank = _rank(access, conditions, all_matches=all_matches)
        if rank is not None and not (by_id and rank[0] > _SIFTING):
            ranked.append((rank, index.label, access))
    if ranked and not (by_id and exact and not all_matches):
        access = min(ranked, key=lambda each: each[:2])[2]
        arrangement: Arrangement = "sorted" if all_matches else access.arrangement
        return Plan(kind="index", arrangement=arrangement, access=access, exact=access.exact)
    if all_matches or not by_id:
        return Plan(kind="scan", arrangement="sorted", id_spans=id_spans, exact=exact)
    arrangement = "selected" if goal[-1].descending else "listed"
    return Plan(kind="walk", arrangement=arrangement, id_spans=id_spans, exact=exact)


_SIFTING: Final = 3
"""The last rank at which an index names fewer documents than there are."""


def _rank(access: Access, conditions: Conditions, *, all_matches: bool) -> tuple[int, ...] | None:
    """How good an index is for a query, less is better; `None`: no good."""
    if access.keys.index.each and not access.leading:
        return None  # A document without members has no entry.
    in_order = access.arrangement in ("listed", "merged")
    narrow = access.leading > 0 or access.bounded
    if access.exact and in_order and not all_matches and (narrow or not conditions.compares):
        best = 0
    elif access.leading:
        best = 1
    elif access.bounded:
        best = 2
    elif access.tests:
        best = _SIFTING
    elif all_matches or access.arrangement == "sorted":
        return None
    else:
        best = 4 if in_order else 5
    arrangement = ("listed", "merged", "selected", "sorted").index(access.arrangement)
    fields = len(access.keys.orders)
    return (
        best,
        -access.leading,
        arrangement,
        not access.bounded,
        -len(access.tests),
        fields,
    )
