"""The conformance suite as it is played on servers: each way of asking, not each value.

What a provider makes of values, thousands of requests of the same kind, is played whole on a store
in memory (`tests/objects`, `test_d1_local`), where it takes a hundredth of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from storage_providers.testing.conformance import Backend, ProviderConformance

__all__ = ["LEFT_OUT", "FewValues", "OnAServer", "OnBadDays", "but", "some"]

LEFT_OUT: Any = None
"""In a case's place: it is not played here."""

FEW = 3
"""So many values of a case are played on a second server, or while calls break or are stale."""


def some(test: Any, *wanted: str) -> Any:
    """A case that is made of many, with only these of them."""
    (marked,) = test.pytestmark
    named = dict(zip(marked.kwargs["ids"], marked.args[1], strict=True))
    chosen = [named[each] for each in wanted]

    @pytest.mark.parametrize("value", chosen, ids=wanted)
    def fewer(self: object, backend: Backend, value: object) -> None:
        test(self, backend, value)

    fewer.__name__, fewer.__doc__ = test.__name__, test.__doc__
    fewer.requirement = msgspec.structs.replace(  # type: ignore[attr-defined]
        test.requirement, tests=len(chosen)
    )
    return fewer


def but(test: Any, left_out: Callable[[str, Any], bool]) -> Any:
    """A case that is made of many, without those whose name and value this says."""
    arguments = test.pytestmark[0]
    named = zip(arguments.kwargs["ids"], arguments.args[1], strict=True)
    return some(test, *(name for name, value in named if not left_out(name, value)))


class OnAServer(ProviderConformance):
    """Every case that makes a difference to a server."""

    test_where = some(
        ProviderConformance.test_where, "text", "gt", "in", "contains in text", "missing path"
    )
    test_indexes_change_no_answer = LEFT_OUT
    test_pages_make_up_the_whole = some(
        ProviderConformance.test_pages_make_up_the_whole, "ending in id"
    )
    test_offsets_agree_with_pages = some(
        ProviderConformance.test_offsets_agree_with_pages, "same value"
    )
    test_find_items_goes_over_all_pages = LEFT_OUT


class FewValues(OnAServer):
    """The same with few values of each case: for a server beside one that plays them all.

    Conditions are played all, since what they are worth hangs on the server, and on bad days on
    which answer was lost.
    """


def _thin(suite: type) -> None:
    """Leave a suite the first, the middle and the last of many values."""
    for name in dir(suite):
        test = getattr(suite, name)
        marked = getattr(test, "pytestmark", ())
        if name.startswith("test_") and marked and "condition" not in name:
            ids = list(marked[0].kwargs["ids"])
            if len(ids) > FEW:
                setattr(suite, name, some(test, ids[0], ids[len(ids) // 2], ids[-1]))


_thin(FewValues)


class OnBadDays(FewValues):
    """What breaks is the line, whatever the value."""

    # Thousands of requests that meet no other faults than those of the other cases.
    test_a_large_batch = LEFT_OUT
    test_cancelled_reads_leave_the_provider_usable = LEFT_OUT
    test_imports_of_many_documents = LEFT_OUT
