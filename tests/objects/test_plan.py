"""Which plan answers which query, and what it says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from storage_providers.errors import InvalidArgumentError, UnsupportedOperationError
from storage_providers.filters import parse_order, parse_where
from storage_providers.protocol import Index, Query
from storage_providers.providers._objects import querying
from storage_providers.providers._objects.access import goal_of
from storage_providers.providers._objects.entries import IndexKeys, value_key
from storage_providers.providers._objects.keys import FolderLayout
from storage_providers.providers._objects.plan import Plan, choose
from storage_providers.providers._objects.spans import Conditions, conditions_of, holds, spans_at
from tests.objects.planting import THINGS, Bucket, played

LAYOUT = FolderLayout("", service="memory", max_key_bytes=1024)


def plan(where: Any, order_by: tuple[str, ...], *indexes: Index, all_matches: bool = False) -> Plan:
    """The plan for a query with these indexes."""
    conditions = conditions_of(parse_where(where))
    goal = goal_of(parse_order(order_by), conditions)
    keys = [IndexKeys(LAYOUT, THINGS, index) for index in indexes]
    return choose(conditions, goal, keys, all_matches=all_matches)


def shape(found: Plan) -> tuple[str, ...]:
    """What matters of a plan."""
    label = () if found.access is None else (found.access.keys.label,)
    return (found.kind, found.arrangement, *label)


A, AB, AX, B, EACH = (
    Index.of("a"),
    Index.of("a", "b"),
    Index.of("a", "-b"),
    Index.of("b"),
    Index.of("t", each=True),
)

CASES: dict[str, tuple[Any, tuple[str, ...], tuple[Index, ...], tuple[str, ...]]] = {
    "nothing asked": (None, (), (A, B), ("walk", "listed")),
    "descending ids": (None, ("-id",), (A,), ("walk", "selected")),
    "one id": ({"id": "x", "a": 1}, ("b",), (A, B), ("ids", "sorted")),
    "some ids": ({"id": {"$in": ["x", "y"]}}, ("-id",), (), ("ids", "listed")),
    "ids in bounds": ({"id": {"$gt": "x"}, "b": 1}, (), (A,), ("walk", "listed")),
    "no index": ({"a": 1}, ("b",), (), ("scan", "sorted")),
    "no index, by id": ({"a": 1}, (), (B,), ("walk", "listed")),
    "equal": ({"a": 1}, (), (A, B), ("index", "listed", "a")),
    "equal, ordered by it": ({"a": 1}, ("a",), (A,), ("index", "listed", "a")),
    "equal, ids the other way": ({"a": 1}, ("-id",), (A,), ("index", "selected", "a")),
    "equal and in order": ({"a": 1}, ("b",), (A, B, AB, AX), ("index", "listed", "a,b")),
    "equal and descending": ({"a": 1}, ("-b",), (AB, AX), ("index", "listed", "a,-b")),
    "equal and not in order": ({"a": 1}, ("-b",), (AB,), ("index", "selected", "a,b")),
    "equal, more to ask": ({"a": 1, "c": 1}, ("-b",), (AB,), ("index", "sorted", "a,b")),
    "both orders": (None, ("a", "-b"), (AB, AX), ("index", "listed", "a,-b")),
    "a beginning of the order": (None, ("a", "b"), (A,), ("scan", "sorted")),
    "values in their order": (
        {"a": {"$in": [2, 1]}},
        ("a", "b"),
        (AB,),
        ("index", "listed", "a,b"),
    ),
    "values merged": ({"a": {"$in": [2, 1]}}, ("b",), (AB,), ("index", "merged", "a,b")),
    "too many values": (
        {"a": {"$in": list(range(50))}},
        ("a", "b"),
        (AB,),
        ("index", "listed", "a,b"),
    ),
    "a range in order": ({"a": {"$gt": 1}}, ("a",), (A, B), ("index", "listed", "a")),
    "a range, other order": ({"a": {"$gt": 1}}, ("b",), (AB,), ("index", "selected", "a,b")),
    "a later field": ({"b": 1}, (), (AB,), ("index", "selected", "a,b")),
    "the order's index, all read": ({"c": 1}, ("a",), (A, B), ("index", "listed", "a")),
    "given before ordered": ({"b": 1, "c": 1}, ("a",), (A, B), ("index", "sorted", "b")),
    "null is not exact": ({"a": None}, ("b",), (AB,), ("index", "listed", "a,b")),
    "against the index": (None, ("-a",), (A,), ("index", "selected", "a")),
    "or": ({"$or": [{"a": 1}, {"a": 2}]}, ("b",), (A,), ("scan", "sorted")),
    "not": ({"a": {"$ne": 1}}, (), (A,), ("walk", "listed")),
    "a member": ({"t": {"$contains": 1}}, (), (EACH,), ("index", "listed", "each(t)")),
    "a member or a text": ({"t": {"$contains": "x"}}, (), (EACH,), ("index", "merged", "each(t)")),
    "members are no order": (None, ("t",), (EACH,), ("scan", "sorted")),
    "members are no values": ({"t": 1}, (), (EACH,), ("walk", "listed")),
    "never": ({"a": {"$in": []}}, (), (A,), ("index", "listed", "a")),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_plans(case: tuple[Any, tuple[str, ...], tuple[Index, ...], tuple[str, ...]]) -> None:
    """The cheapest that the indexes allow."""
    where, order_by, indexes, expected = case
    assert shape(plan(where, order_by, *indexes)) == expected
    # The order in which indexes are declared decides nothing.
    assert shape(plan(where, order_by, *indexes[::-1])) == expected


def test_plans_that_read_all_matches() -> None:
    """For a total the order is of no use: the index that bounds most is taken, or none."""
    assert shape(plan({"a": 1}, ("b",), AB, B, all_matches=True)) == ("index", "sorted", "a,b")
    assert shape(plan({"c": 1}, ("b",), AB, B, all_matches=True)) == ("scan", "sorted")
    assert shape(plan({"c": 1}, (), AB, B, all_matches=True)) == ("scan", "sorted")


def test_only_keys_that_tell_all_are_trusted() -> None:
    """Null shares its key with arrays and objects; what no field holds must be judged anew."""
    assert plan({"a": 1}, ("b",), AB).exact
    assert plan({"a": {"$gt": 1, "$lt": 3}}, (), A).exact
    assert plan({"a": 1, "id": {"$gt": "x"}}, (), A).exact
    assert not plan({"a": None}, ("b",), AB).exact
    assert not plan({"a": {"$in": [1, None]}}, ("a",), A).exact
    assert not plan({"a": 1, "c": 1}, ("b",), AB).exact
    assert not plan({"a": 1, "$or": []}, ("b",), AB).exact
    assert not plan({"a": {"$exists": True}}, ("a",), A).exact
    assert plan({"t": {"$contains": 1}}, (), EACH).exact
    assert not plan({"t": {"$contains": "x"}}, (), EACH).exact
    assert not plan({"t": {"$contains": 1}, "a": 1}, (), EACH).exact


@pytest.mark.parametrize("descending", [False, True])
def test_spans_hold_what_matches(descending: bool) -> None:
    """Just the values for which a condition holds, in either direction of a field."""
    values: list[Any] = [None, -5, 0, 0.5, 1, 2, 10**30, "", "a", "ab", "ab!", "b", "\uffff", "😀"]
    index = IndexKeys(LAYOUT, THINGS, Index.of("-a" if descending else "a"))
    conditions: dict[str, tuple[Any, list[Any]]] = {
        "eq": (1, [1]),
        "eq text": ("ab", ["ab"]),
        "in": ({"$in": [2, "b", 2.0]}, [2, "b"]),
        "gt": ({"$gt": 0.5}, [1, 2, 10**30]),
        "gte": ({"$gte": 0.5}, [0.5, 1, 2, 10**30]),
        "lt": ({"$lt": 0}, [-5]),
        "lte": ({"$lte": 0}, [-5, 0]),
        "gt text": ({"$gt": "ab"}, ["ab!", "b", "\uffff", "😀"]),
        "lte text": ({"$lte": "ab"}, ["", "a", "ab"]),
        "between": ({"$gt": "a", "$lt": "b"}, ["ab", "ab!"]),
        "prefix": ({"$prefix": "ab"}, ["ab", "ab!"]),
        "any text": ({"$prefix": ""}, ["", "a", "ab", "ab!", "b", "\uffff", "😀"]),
        "in and bounded": ({"$in": [0, 1, 2, "a"], "$gt": 0}, [1, 2]),
        "never": ({"$gt": 2, "$lt": 1}, []),
        "two kinds": ({"$gt": 2, "$lt": "b"}, []),
    }
    for name, (operand, expected) in conditions.items():
        asked: Conditions = conditions_of(parse_where({"a": operand}))
        spans = spans_at(asked, ("a",), index)
        assert spans is not None
        found = [value for value in values if holds(spans, index.value(0, value))]
        assert found == expected, name
        if not descending:
            plain = spans_at(asked, ("a",))
            assert plain is not None
            assert found == [value for value in values if holds(plain, value_key(value))]


@played
async def test_explaining_asks_for_the_declaration_at_most() -> None:
    """It says what would be done, for each kind of plan."""
    bucket = Bucket(Index.of("a", "-b"))
    bucket.declare()
    bucket.plant({"id": "x", "a": 1, "b": 2})
    async with bucket.provider as provider:
        await provider.declared(THINGS)
        bucket.forget()

        async def kind(*arguments: Any) -> tuple[str, str, str | None]:
            found = await querying.explain(provider, Query(THINGS, *arguments))
            assert found.costs
            return found.kind, found.order, found.index

        assert await kind() == ("walk", "listed", None)
        assert await kind({"id": "x"}) == ("ids", "listed", None)
        assert await kind({"a": 1}, ("-b",)) == ("index", "listed", "a,-b")
        assert await kind({"a": 1}, ("b",)) == ("index", "selected", "a,-b")
        assert await kind({"c": 1}, ("b",)) == ("scan", "sorted", None)
        with pytest.raises(InvalidArgumentError):
            await kind({"a": {"$what": 1}})
        with pytest.raises(UnsupportedOperationError):
            await kind({"$text": "word"})
        assert bucket.asked == {}


@played
async def test_statistics_say_what_was_done() -> None:
    """The index, whether everything was read, how many documents and requests."""
    bucket = Bucket(Index.of("a"))
    bucket.declare()
    bucket.plant(*({"id": f"{number}", "a": number % 2, "b": 1} for number in range(10)))
    async with bucket.provider as provider:
        await provider.declared(THINGS)

        async def cost(**arguments: Any) -> tuple[str | None, bool | None, int | None, int]:
            found = (await provider.list_items(THINGS, **arguments)).statistics
            return found.index, found.full_scan, found.documents_read, found.requests

        assert await cost() == (None, False, 10, 11)
        assert await cost(limit=3) == (None, False, 3, 4)
        assert await cost(where={"a": 1}) == ("a", False, 5, 6)
        assert await cost(where={"b": 1}) == (None, True, 10, 11)
        assert await cost(order_by="b") == (None, True, 10, 11)
        assert await cost(where={"id": "3"}) == (None, False, 1, 1)
        assert await cost(where={"id": "absent"}) == (None, False, 0, 1)
        assert await cost(limit=0) == (None, False, 0, 0)
        assert await cost(limit=0, total=True) == (None, False, 0, 1)
        assert await cost(limit=0, total=True, where={"a": 1}) == ("a", False, 5, 6)
