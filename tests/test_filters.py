"""The `where` language: parsing, comparing, ordering and cursors, without any provider."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers.errors import InvalidArgumentError, UnsupportedOperationError
from storage_providers.filters import (
    And,
    Compare,
    Not,
    Or,
    SortKey,
    Text,
    compile_where,
    decode_cursor,
    encode_cursor,
    parse_order,
    parse_path,
    parse_where,
    sort_key,
    sortable,
)
from storage_providers.protocol import JsonObject, Query
from storage_providers.testing.strategies import (
    FIELDS,
    conditions_of,
    documents,
    escaped,
    order_bys,
    paths,
    scalars,
    wheres,
)


def matches(where: JsonObject, document: JsonObject) -> bool:
    """Whether the reference evaluation matches."""
    return compile_where(parse_where(where))(document)


# --- parsing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)),
        ("a.b.c", ("a", "b", "c")),
        ("a\\.b", ("a.b",)),
        ("a\\\\.b", ("a\\", "b")),
        ("\\$a.\\-b", ("$a", "-b")),
        ("é.日本", ("é", "日本")),
        (" ", (" ",)),
    ],
)
def test_paths_split_at_dots(text: str, steps: tuple[str, ...]) -> None:
    """A backslash takes the next character literally."""
    assert parse_path(text) == steps


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a\\", "a\x00", "\ud800"])
def test_wrong_paths(text: str) -> None:
    """Empty steps, a lone backslash, U+0000 and broken Unicode are refused."""
    with pytest.raises(InvalidArgumentError):
        parse_path(text)


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1),
        min_size=1,
    )
)
def test_escaped_paths_come_back(steps: list[str]) -> None:
    """`escaped` and `parse_path` are each other's inverse for any names."""
    assert parse_path(".".join(map(escaped, steps))) == tuple(steps)


def test_where_becomes_a_tree() -> None:
    """Bare values, operators and combinations parse to the nodes an engine compiles."""
    assert parse_where(None) is None
    assert parse_where({}) is None
    assert parse_where({"a": 1}) == Compare(("a",), "eq", 1)
    assert parse_where({"a": {"$ne": True}}) == Not(Compare(("a",), "eq", 1))
    assert parse_where({"a": {"$nin": ["x"]}}) == Not(Compare(("a",), "in", ("x",)))
    assert parse_where({"a": {"$exists": False}}) == Not(Compare(("a",), "exists", True))
    assert parse_where({"a": {"$gt": 1, "$lt": 2}}) == And(
        (Compare(("a",), "gt", 1), Compare(("a",), "lt", 2))
    )
    assert parse_where({"a": 1, "$or": []}) == And((Compare(("a",), "eq", 1), Or(())))
    assert parse_where({"$text": " two  words "}) == Text(("two", "words"))


def test_text_is_for_engines_only() -> None:
    """The reference has no full text."""
    with pytest.raises(UnsupportedOperationError):
        compile_where(parse_where({"$not": {"$text": "word"}}))


@given(wheres(), documents())
def test_generated_wheres_are_valid_and_total(where: JsonObject, document: JsonObject) -> None:
    """Every generated condition parses and gives an answer for every document."""
    assert matches(where, document) in (True, False)


# --- evaluating --------------------------------------------------------------------------------


@given(paths(), conditions_of(), documents())
def test_not_is_the_negation(path: str, condition: Any, document: JsonObject) -> None:
    """A condition and its `$not` never both match, and one always does."""
    where = {path: condition}
    assert matches(where, document) is not matches({"$not": where}, document)


@given(paths(), scalars(), documents())
def test_derived_operators(path: str, value: Any, document: JsonObject) -> None:
    """`$ne`, `$nin` and `$in` follow from `$eq`."""
    equal = matches({path: {"$eq": value}}, document)
    assert matches({path: value}, document) is equal
    assert matches({path: {"$in": [value]}}, document) is equal
    assert matches({path: {"$ne": value}}, document) is not equal
    assert matches({path: {"$nin": [value]}}, document) is not equal


@given(paths(), scalars().filter(lambda value: value is not None), documents())
def test_ranges_are_ordered(path: str, bound: Any, document: JsonObject) -> None:
    """At most one of less, equal and greater holds, and the closed ranges are their unions."""
    less, equal, greater = (
        matches({path: {operator: bound}}, document) for operator in ("$lt", "$eq", "$gt")
    )
    assert less + equal + greater <= 1
    assert matches({path: {"$lte": bound}}, document) is (less or equal)
    assert matches({path: {"$gte": bound}}, document) is (greater or equal)


@given(documents(), documents())
def test_ranges_agree_with_the_order(left: JsonObject, right: JsonObject) -> None:
    """Documents that a range on a field tells apart are so ordered by that field."""
    path = escaped(FIELDS[0])
    value = sortable(right.get(FIELDS[0]))
    order = parse_order((path,))
    if isinstance(value, str | int) and matches({path: {"$lt": value}}, left):
        assert sort_key(left, order) < sort_key(right, order)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (True, 1),
        (2**63, float(2**63)),
        (-(2**63), -(2**63)),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        ([], None),
        ({}, None),
        ("", ""),
    ],
)
def test_sortable_values(value: Any, key: Any) -> None:
    """Booleans are numbers, huge integers doubles, arrays and objects nothing."""
    assert sortable(value) == key
    assert type(sortable(value)) is type(key)


# --- order -------------------------------------------------------------------------------------


@given(st.lists(documents(), min_size=2, max_size=6), order_bys())
def test_the_order_is_total(found: list[JsonObject], order_by: tuple[str, ...]) -> None:
    """Sorting is the same from any beginning; only documents of one id may stand level."""
    order = parse_order(order_by)

    def keys(documents: list[JsonObject]) -> list[Any]:
        return [sort_key(each, order).values for each in documents]

    def key(document: JsonObject) -> SortKey:
        return sort_key(document, order)

    turned = found[::-1]
    forwards, backwards = sorted(found, key=key), sorted(turned, key=key)
    assert keys(forwards) == keys(backwards)
    for left, right in itertools.pairwise(forwards):
        assert not sort_key(right, order) < sort_key(left, order)
        assert left["id"] == right["id"] or sort_key(left, order) < sort_key(right, order)


@given(documents(), documents(), order_bys())
def test_descending_is_the_reverse(
    left: JsonObject, right: JsonObject, order_by: tuple[str, ...]
) -> None:
    """Turning every direction around turns the order around."""
    turned = tuple(
        field.removeprefix("-") if field.startswith("-") else f"-{field}" for field in order_by
    ) or ("-id",)
    order, other = parse_order(order_by), parse_order(turned)
    assert (sort_key(left, order) < sort_key(right, order)) is (
        sort_key(right, other) < sort_key(left, other)
    )


def test_the_tie_break_follows_the_last_field() -> None:
    """`id` is added in the direction of the last field, unless it is named."""
    assert [part.descending for part in parse_order(("a", "-b"))] == [False, True, True]
    assert [part.path for part in parse_order(("-id", "a"))] == [("id",), ("a",)]
    assert parse_order(())[0].path == ("id",)


# --- cursors -----------------------------------------------------------------------------------


@given(documents(), order_bys())
def test_cursors_come_back(document: JsonObject, order_by: tuple[str, ...]) -> None:
    """A cursor holds the very key of its item, whatever values it has."""
    order = parse_order(order_by)
    values = sort_key(document, order).values
    query = Query("things", order_by=order_by)
    again = decode_cursor(Query("things", order_by=order_by, cursor=encode_cursor(query, values)))
    directions = [part.descending for part in order]
    assert again == values
    assert not SortKey(again, directions) < SortKey(values, directions)
    assert [type(value) for value in again] == [type(value) for value in values]


@given(st.text())
def test_any_text_as_a_cursor_is_refused(text: str) -> None:
    """No text but a cursor passes, and none breaks anything."""
    with pytest.raises(InvalidArgumentError):
        decode_cursor(Query("things", cursor=text))
