"""Index entries: keys that sort as the contract orders values, and say what they hold."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers.errors import InvalidDocumentError
from storage_providers.filters import SortKey, compile_where, parse_order, parse_where, sort_key
from storage_providers.protocol import Index
from storage_providers.providers._objects.entries import (
    ANY_TEXT,
    LAST,
    IndexKeys,
    directed,
    entry_token,
    foreign_token,
    index_name,
    new_token,
    token_time_ms,
    value_key,
)
from storage_providers.providers._objects.keys import FolderLayout
from storage_providers.testing.conformance import ManualClock

LAYOUT = FolderLayout("notes", service="the service", max_key_bytes=100_000)
TOKEN = "0" * 22

NUMBERS = st.one_of(
    st.integers(-(2**64), 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 1, 1.0, True, False, 2**53, 2**53 + 1, 5e-324, -5e-324, 1.7e308]),
    st.builds(lambda power, step: 2**power + step, st.integers(0, 64), st.integers(-2, 2)),
)
TEXTS = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("!-~09\x00é")))
VALUES = st.one_of(st.none(), NUMBERS, TEXTS)
MEMBERS = st.lists(VALUES, max_size=3)
ANYTHING = st.one_of(VALUES, MEMBERS, st.dictionaries(TEXTS, VALUES, max_size=2))
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1)


def document(a: Any, b: Any, item_id: str) -> dict[str, Any]:
    """A document as it comes back from the store."""
    found: dict[str, Any] = json.loads(json.dumps({"id": item_id, "a": a, "b": b}))
    return found


def keys_of(*fields: str, each: bool = False) -> IndexKeys:
    """The keys of an index."""
    return IndexKeys(LAYOUT, "u/things", Index.of(*fields, each=each))


# --- values ------------------------------------------------------------------------------------


def contract(value: Any) -> SortKey:
    """A value as the contract orders it."""
    return SortKey(sort_key({"v": value, "id": "x"}, parse_order(("v",))).values[:1], [False])


@given(VALUES, VALUES)
def test_values_sort_as_the_contract_says(one: Any, other: Any) -> None:
    """Null, numbers by their exact value, text by code point; equal values have equal keys."""
    keys = [value_key(json.loads(json.dumps(value))) for value in (one, other)]
    places = [contract(json.loads(json.dumps(value))) for value in (one, other)]
    assert (keys[0] < keys[1]) == (places[0] < places[1])
    assert (keys[0] > keys[1]) == (places[1] < places[0])
    upside_down = [directed(key, descending=True) for key in keys]
    assert (upside_down[0] < upside_down[1]) == (keys[1] < keys[0])


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (-math.inf, -1.7976931348623157e308),
        (-1, -0.5),
        (-5e-324, 0),
        (0, 5e-324),
        (2.2250738585072011e-308, 2.2250738585072014e-308),
        (9007199254740992, 9007199254740993),
        (2**64 - 1, 2.0**64),
        (1.7976931348623157e308, math.inf),
    ],
)
def test_neighbouring_numbers_are_kept_apart(low: float, high: float) -> None:
    """Integers of 64 bits and doubles down to the smallest stand exactly."""
    assert value_key(low) < value_key(high)


@pytest.mark.parametrize(("one", "other"), [(0, -0.0), (1, 1.0), (True, 1), (2**63, 2.0**63)])
def test_equal_numbers_have_one_key(one: float, other: float) -> None:
    """However they are written."""
    assert value_key(one) == value_key(other)


# --- entries -----------------------------------------------------------------------------------

SHAPES = [("a",), ("-a",), ("a", "b"), ("a", "-b"), ("-a", "b"), ("-a", "-b")]


@pytest.mark.parametrize("fields", SHAPES, ids=",".join)
def test_entries_list_in_the_order_of_a_query(fields: tuple[str, ...]) -> None:
    """By the fields in their directions, then by id in the direction of the last one."""
    keys, wanted = keys_of(*fields), parse_order(fields)

    @given(st.lists(st.tuples(ANYTHING, ANYTHING, IDS), min_size=2, max_size=5))
    def check(rows: list[tuple[Any, Any, str]]) -> None:
        documents = {row[2]: document(*row) for row in rows}
        entries = {
            keys.entries_of(each, item_id, TOKEN)[0]: item_id for item_id, each in documents.items()
        }
        listed = [entries[key] for key in sorted(entries)]
        in_order = sorted(documents, key=lambda each: sort_key(documents[each], wanted))
        assert listed == in_order

    check()


@pytest.mark.parametrize("fields", SHAPES, ids=",".join)
def test_entries_are_read_back(fields: tuple[str, ...]) -> None:
    """Values, id and token, whatever their characters; the key is ASCII that needs no quoting."""
    keys = keys_of(*fields)

    @given(ANYTHING, ANYTHING, IDS)
    def check(a: Any, b: Any, item_id: str) -> None:
        found = document(a, b, item_id)
        for token in (TOKEN, foreign_token("v1")):
            (key,) = keys.entries_of(found, item_id, token)
            assert key.isascii()
            assert key.isprintable()
            assert key.count("/") == keys.folder.count("/")
            entry = keys.read(key)
            assert (entry.key, entry.id, entry.token) == (key, item_id, token)
            assert [entry.values] == keys.values_of(found)
            assert entry_token(key) == token
            assert len(keys.pieces(entry.values)) == len(fields)
            assert key < keys.folder + entry.values + keys.id_key(item_id) + LAST

    check()


@given(st.text("!-~0123x4AFDE", max_size=60))
def test_what_is_no_entry_is_refused(tail: str) -> None:
    """Whatever is accepted holds values, an id and a token as this SDK writes them."""
    for keys in (keys_of("a"), keys_of("-a"), keys_of("a", "-b")):
        try:
            entry = keys.read(keys.folder + tail)
        except ValueError:
            continue
        assert entry.key == keys.folder + entry.values + keys.id_key(entry.id) + entry.token


@given(st.lists(ANYTHING, max_size=5), VALUES)
def test_members_are_found_where_contains_looks(members: list[Any], wanted: Any) -> None:
    """`$contains` matches exactly the documents that stand under the value, or are text."""
    keys = keys_of("a", each=True)
    matches = compile_where(parse_where({"a": {"$contains": wanted}}))
    key = keys.value(0, json.loads(json.dumps(wanted)))
    for value in (members, *members):
        found = document(value, None, "x")
        stands_under = keys.values_of(found)
        assert len(set(stands_under)) == len(stands_under)
        if isinstance(found["a"], str):
            assert stands_under == [ANY_TEXT]
        else:
            assert (key in stands_under) == matches(found)


def test_an_index_over_members_upside_down() -> None:
    """Text stands apart there too."""
    keys = keys_of("-a", each=True)
    entries = keys.entries_of({"id": "x", "a": ["m", "n", "m"]}, "x", TOKEN)
    assert [keys.read(key).id for key in entries] == ["x", "x"]
    assert sorted(entries) == entries[::-1]
    (text,) = keys.entries_of({"id": "x", "a": "m"}, "x", TOKEN)
    assert keys.read(text).values == keys.any_text()


def test_a_value_too_long_is_refused_with_the_numbers() -> None:
    """And by the name of the field, not by its value."""
    layout = FolderLayout("", service="the service", max_key_bytes=200)
    keys = IndexKeys(layout, "things", Index.of("a.b"))
    assert len(keys.entries_of({"id": "x", "a": {"b": "v" * 100}}, "x", TOKEN)) == 1
    with pytest.raises(InvalidDocumentError, match=r"'a.b' is too long.* 200") as caught:
        keys.entries_of({"id": "x", "a": {"b": "secret" * 40}}, "x", TOKEN)
    assert caught.value.field == "a.b"
    assert "secret" not in str(caught.value)


# --- names and tokens --------------------------------------------------------------------------


def test_names_of_indexes_are_fixed() -> None:
    """They are in keys, so they may never change."""
    assert index_name(Index.of("status")) == "7688e266f41d"
    assert index_name(Index.of("v", "-w")) == "0d24613149f5"
    assert len({index_name(Index.of(*shape)) for shape in SHAPES}) == len(SHAPES)
    assert index_name(Index.of("a", each=True)) != index_name(Index.of("a"))


def test_tokens_tell_their_age() -> None:
    """Those of other programs' documents do not, and are the same for the same version."""
    clock = ManualClock()
    tokens = {new_token(clock.clock) for _ in range(1000)}
    assert len(tokens) == 1000
    for token in tokens:
        made_ms = token_time_ms(token)
        assert made_ms is not None
        assert abs(made_ms - clock.seconds * 1000) <= 1
        assert len(token) == 22
    assert foreign_token("v1") == foreign_token("v1") != foreign_token("v2")
    assert token_time_ms(foreign_token("v1")) is None
    assert token_time_ms("somebody's own") is None
