"""Statements as D1 takes them: numbers inlined, texts bound, limits kept."""

from __future__ import annotations

import json
import re
import sqlite3

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers.errors import UnsupportedOperationError
from storage_providers.protocol import CollectionSpec, Index
from storage_providers.providers._d1.bound import LIST_BYTES, bound, encoded, in_lists, joined
from storage_providers.providers._sql import Statement
from storage_providers.providers._sql.schema import migrate

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
)


@given(st.lists(scalars, min_size=1, max_size=120), st.data())
def test_values_arrive_as_they_are(values: list[object], data: st.DataObject) -> None:
    """Whatever is bound, in whatever order, once or often: SQLite sees the same values."""
    numbers = data.draw(st.lists(st.integers(1, len(values)), min_size=1, max_size=120))
    kept = '\'it\'\'s not ?1\', "?2 is ""a"" name"'
    selected = ",".join(f"?{number}" for number in numbers)
    statement = Statement(
        f'SELECT json_array({selected}), {kept} FROM (SELECT 1 AS "?2 is ""a"" name")',
        tuple(values),
    )
    sql, parameters = bound(statement)
    assert len(parameters) <= 100
    assert all(isinstance(value, str) for value in parameters)
    connection = sqlite3.connect(":memory:")
    placed = ",".join(["?"] * len(numbers))
    direct = [values[number - 1] for number in numbers]
    (expected,) = connection.execute(f"SELECT json_array({placed})", direct).fetchone()
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 100)
    found, text, name = connection.execute(sql, parameters).fetchone()
    assert (text, name) == ("it's not ?1", 1)
    assert json.loads(found) == json.loads(expected)
    connection.close()


def test_negative_numbers_begin_no_comment() -> None:
    """Two minus signs would."""
    sql, _ = bound(Statement("SELECT 1-?1, -?2", (-5, -(2**63))))
    assert sqlite3.connect(":memory:").execute(sql).fetchone()[0] == 6


def test_large_integers_stay_integers() -> None:
    """They stand in the statement, where JavaScript never sees them."""
    sql, parameters = bound(Statement("SELECT ?1", (2**53 + 1,)))
    assert (sql, parameters) == ("SELECT 9007199254740993", [])


def test_bytes_are_no_value() -> None:
    """There is no way to bind them over the REST API."""
    with pytest.raises(TypeError, match="bytes"):
        bound(Statement("SELECT ?1", (b"x",)))


def test_too_long_is_refused_with_the_numbers() -> None:
    """A statement and a text each have their limit."""
    with pytest.raises(UnsupportedOperationError, match="100001 bytes as SQL, D1 takes 100000"):
        bound(Statement("x" * 100_001))
    with pytest.raises(UnsupportedOperationError, match="2000002 bytes, D1 takes 2000000"):
        bound(Statement("SELECT ?1", ("é" * 1_000_001,)))


@pytest.mark.parametrize("count", [1, 2, 5, 6, 26])
def test_joined_statements_stop_after_enough_rows(count: int) -> None:
    """Each gives its rows in its order, one after the other, with no more than five terms."""
    connection = sqlite3.connect(":memory:")
    connection.setlimit(sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 5)
    connection.execute("CREATE TABLE t (a, b)")
    rows = [(n % count, n) for n in range(130)]
    connection.executemany("INSERT INTO t VALUES (?,?)", rows)
    statements = [
        Statement("SELECT a,b FROM t WHERE a=?1 AND 'x'=?2 ORDER BY b DESC LIMIT 7", (n, "x"))
        for n in range(count)
    ]
    sql, values = bound(joined(statements, 40))
    assert values == ["x"]
    newest = sorted(rows, reverse=True)
    expected = [row for n in range(count) for row in [r for r in newest if r[0] == n][:7]]
    assert connection.execute(sql, values).fetchall() == expected[: 40 if count > 1 else 7]
    connection.close()


@given(st.lists(st.text(max_size=40)))
def test_lists_hold_everything_in_order(values: list[str]) -> None:
    """Cut into pieces or not."""
    texts = list(in_lists(map(encoded, values)))
    assert [each for text in texts for each in msgspec.json.decode(text)] == values
    assert len(texts) == (1 if values else 0)


def test_lists_are_cut_before_the_limit() -> None:
    """No piece is longer than what may be bound."""
    values = ["x" * 300_000] * 20
    texts = list(in_lists(map(encoded, values)))
    assert len(texts) == 4
    assert max(map(len, texts)) <= LIST_BYTES
    assert [each for text in texts for each in msgspec.json.decode(text)] == values


def test_triggers_survive_the_services_splitter() -> None:
    """D1 takes `CASE … END;` for the end of a trigger, and mishandles carriage returns."""
    spec = CollectionSpec(
        collection="t",
        indexes=(Index.of("a.b", each=True), Index.of('say "hi"', each=True), Index.of("-n")),
        text_fields=("v", "w.x"),
    )
    triggers = [each.sql for each in migrate("t", [spec], []) if " TRIGGER " in each.sql]
    assert len(triggers) == 9
    for sql in triggers:
        assert "\r" not in sql
        depth, outside = 0, ""
        for character in sql:
            depth += {"(": 1, ")": -1}.get(character, 0)
            outside += character if depth == 0 else ""
        assert not re.search(r"\bCASE\b", outside)
        assert re.findall(r"\bEND\b.*", outside) == ["END"]
