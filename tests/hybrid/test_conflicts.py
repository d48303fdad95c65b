"""Policies for conflicts: pure functions, held to their promises on generated documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers._clock import format_timestamp
from storage_providers.conflicts import (
    POLICIES,
    Conflict,
    PolicyName,
    Resolution,
    Stored,
    check_policy,
    keep_both,
    merge_fields,
    newest,
    settle,
)
from storage_providers.errors import ConfigurationError, InvalidDocumentError

FIELDS = ("a", "b", "c")
_scalars = st.sampled_from([0, 1, 1.0, True, None, "x", ""])
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3) | st.lists(inner, max_size=2)
    ),
    max_leaves=6,
)
_fields = st.dictionaries(st.sampled_from(FIELDS), _values, max_size=3)
_times = st.integers(0, 5)


def stored(fields: dict[str, Any], at: int | None = None) -> Stored:
    """A document of the one id, with these fields and this `updatedAt`."""
    times = {} if at is None else {"updatedAt": format_timestamp(at)}
    return Stored.document_of({"id": "d", **fields, **times})


@st.composite
def stored_documents(draw: st.DrawFn) -> Stored:
    """A document."""
    return stored(draw(_fields), draw(st.none() | _times))


@st.composite
def conflicts(draw: st.DrawFn) -> Conflict:
    """Two sides and perhaps a base."""
    known = draw(st.booleans())
    return Conflict(
        collection="things",
        id="d",
        primary=draw(st.none() | stored_documents()),
        fallback=draw(st.none() | stored_documents()),
        base=draw(st.none() | stored_documents()) if known else None,
        base_known=known,
        written_ms=draw(st.none() | _times),
    )


def conflict(
    primary: Stored | None, fallback: Stored | None, base: Stored | None = None, **more: Any
) -> Conflict:
    """A conflict over the one document."""
    return Conflict(
        collection="things", id="d", primary=primary, fallback=fallback, base=base, **more
    )


def document(resolution: Resolution) -> dict[str, Any]:
    """The document that stands, without its id."""
    assert resolution.stored is not None
    found = resolution.stored.document
    assert found.pop("id") == "d"
    return found


# --- all policies ------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
@given(case=conflicts())
def test_a_policy_says_the_same_each_time(policy: PolicyName, case: Conflict) -> None:
    """The same conflict is settled the same way: a replay that is repeated changes nothing."""
    first, second = settle(case, policy), settle(case, policy)
    assert first == second


@pytest.mark.parametrize("policy", POLICIES)
@given(case=conflicts())
def test_a_document_is_only_gone_if_a_side_deleted_it(policy: PolicyName, case: Conflict) -> None:
    """Two documents never become none."""
    if case.primary is not None and case.fallback is not None:
        assert settle(case, policy).stored is not None


@pytest.mark.parametrize("policy", POLICIES)
@given(same=stored_documents(), base=st.none() | stored_documents())
def test_sides_that_agree_stay(policy: PolicyName, same: Stored, base: Stored | None) -> None:
    """Where both sides hold the same, that stands, whatever the base."""
    resolution = settle(conflict(same, same, base), policy)
    assert resolution.stored is not None
    assert resolution.stored.digest == same.digest
    assert resolution.copies == ()


# --- newest ------------------------------------------------------------------------------------


@given(ours=_times, theirs=_times)
def test_the_later_update_stands(ours: int, theirs: int) -> None:
    """`updatedAt` decides; at a tie the primary stands."""
    case = conflict(stored({"a": 1}, ours), stored({"a": 2}, theirs))
    assert document(newest(case))["a"] == (2 if theirs > ours else 1)


@pytest.mark.parametrize(("written", "gone"), [(11, True), (10, False), (9, False), (None, False)])
def test_a_later_deletion_stands(written: int | None, gone: bool) -> None:
    """A deletion on the fallback has a time, and is compared by it."""
    case = conflict(stored({"a": 1}, 10), None, written_ms=written)
    assert (newest(case).stored is None) is gone


def test_a_deletion_without_a_time_does_not_stand() -> None:
    """Nobody knows when the primary's document was deleted, so the other side's is kept."""
    assert document(newest(conflict(None, stored({"a": 2}, 1))))["a"] == 2


# --- merge -------------------------------------------------------------------------------------


@given(base=_fields, ours=_fields, theirs=_fields, at=_times, other=_times)
def test_a_field_that_one_side_changed_stands(
    base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any], at: int, other: int
) -> None:
    """Field by field: a change stands against none, for setting and for removing alike."""
    merged = document(merge_fields(conflict(stored(ours, at), stored(theirs, other), stored(base))))
    for name in FIELDS:
        before, left, right = (repr(each.get(name, "-")) for each in (base, ours, theirs))
        found = repr(merged.get(name, "-"))
        if left == right:
            assert found == left
        elif left == before:
            assert found == right
        elif right == before:
            assert found == left
    assert merged["updatedAt"] == format_timestamp(max(at, other))


@given(base=_fields, ours=_fields, theirs=_fields, at=_times, other=_times)
def test_merging_has_no_sides_but_at_a_tie(
    base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any], at: int, other: int
) -> None:
    """With the sides exchanged the same document comes out."""
    if at == other:
        other += 1
    left, right, common = stored(ours, at), stored(theirs, other), stored(base)
    one = merge_fields(conflict(left, right, common)).stored
    two = merge_fields(conflict(right, left, common)).stored
    assert one is not None
    assert two is not None
    assert one.digest == two.digest


def test_objects_are_merged_within() -> None:
    """Two members of one object, changed by one side each, are both kept; arrays are whole."""
    base = stored({"o": {"x": 1, "y": 1, "z": 1}, "tags": ["a"]}, 1)
    ours = stored({"o": {"x": 2, "y": 1}, "tags": ["a", "b"]}, 2)
    theirs = stored({"o": {"x": 1, "y": 2, "z": 1}, "tags": ["c"]}, 3)
    merged = document(merge_fields(conflict(ours, theirs, base)))
    assert merged == {
        "o": {"x": 2, "y": 2},
        "tags": ["c"],
        "updatedAt": format_timestamp(3),
    }


def test_a_changed_field_stands_against_its_removal() -> None:
    """Removing and changing a field: the value is kept, even when the removal is newer."""
    base, ours, theirs = stored({"a": 1}, 1), stored({"a": 2}, 2), stored({}, 3)
    assert document(merge_fields(conflict(ours, theirs, base)))["a"] == 2


def test_numbers_that_differ_in_kind_are_changes() -> None:
    """1, 1.0 and true are three values."""
    base, ours, theirs = stored({"a": 1}), stored({"a": 1}), stored({"a": 1.0})
    assert repr(document(merge_fields(conflict(ours, theirs, base)))["a"]) == "1.0"


def test_a_changed_document_stands_against_its_deletion() -> None:
    """On either side."""
    changed, base = stored({"a": 2}, 2), stored({"a": 1}, 1)
    assert merge_fields(conflict(changed, None, base, written_ms=9)).stored == changed
    assert merge_fields(conflict(None, changed, base)).stored == changed


@given(case=conflicts())
def test_without_a_base_the_newest_stands(case: Conflict) -> None:
    """A merge without a known base would bring removed fields back."""
    if not case.base_known:
        assert merge_fields(case) == newest(case)


def test_bytes_of_a_layer_are_not_looked_into() -> None:
    """What is encrypted or compressed stands or falls whole."""
    body = stored({}, 1).body
    ours, theirs = Stored(body, "zstd", b"1"), Stored(stored({}, 2).body, "zstd", b"2")
    case = conflict(ours, theirs, Stored(body, "zstd", b"0"))
    assert merge_fields(case).stored == theirs
    assert keep_both(case) == Resolution(theirs)


# --- keep both ---------------------------------------------------------------------------------


@given(case=conflicts())
def test_keeping_both_loses_nothing(case: Conflict) -> None:
    """Whatever document a side holds is there afterwards, under its id or beside it."""
    resolution = keep_both(case)
    kept = [each for each in (resolution.stored, *resolution.copies) if each is not None]
    contents = [Stored.document_of({**each.document, "id": "d"}).digest for each in kept]
    for side in (case.primary, case.fallback):
        assert side is None or side.digest in contents
    assert len({each.document["id"] for each in kept}) == len(kept)


@pytest.mark.parametrize("item_id", ["d", "d" * 512, "é" * 256, "😀" * 128])
def test_ids_of_copies_fit(item_id: str) -> None:
    """However long the id is, the copy's is no longer than allowed and is text."""
    case = Conflict(
        collection="things",
        id=item_id,
        primary=Stored.document_of({"id": item_id, "a": 1}),
        fallback=Stored.document_of({"id": item_id, "a": 2}),
    )
    (copy,) = keep_both(case).copies
    assert len(copy.document["id"].encode()) <= 512
    assert ".conflict-" in copy.document["id"]
    (short,) = settle(case, "keep_both", max_id_bytes=99).copies
    assert len(short.document["id"].encode()) <= 99


# --- your own ----------------------------------------------------------------------------------


def test_your_function_decides() -> None:
    """It may answer a document, nothing or a resolution."""
    case = conflict(stored({"n": 1}), stored({"n": 2}))

    def total(found: Conflict) -> dict[str, Any]:
        assert found.primary is not None
        assert found.fallback is not None
        return {"id": "d", "n": found.primary.document["n"] + found.fallback.document["n"]}

    assert document(settle(case, total)) == {"n": 3}
    assert settle(case, lambda _: None) == Resolution(None)
    assert settle(case, lambda found: Resolution(found.primary)).stored == case.primary
    assert check_policy(total) == "total"


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "other"},
        {},
        {"id": "d", "at": object()},
        Resolution(Stored.document_of({"id": "x"})),
        Resolution(None, (Stored.document_of({"id": "d"}),)),
        Resolution(None, (Stored.document_of({"id": "e"}), Stored.document_of({"id": "e"}))),
        Resolution(None, (Stored.document_of({}),)),
    ],
)
def test_a_function_that_answers_nonsense_is_refused(answer: Any) -> None:
    """Another id, no id, one id twice, or what is no JSON."""
    with pytest.raises(InvalidDocumentError):
        settle(conflict(None, None), lambda _: answer)


def test_an_unknown_policy_is_refused() -> None:
    """The message names those that there are."""
    with pytest.raises(ConfigurationError, match="'keep_both' or a function"):
        settle(conflict(None, None), "oldest")  # type: ignore[arg-type]


def test_no_content_is_shown() -> None:
    """Neither the repr of a side nor of a conflict shows what documents hold."""
    case = conflict(stored({"a": "secret"}), None)
    assert "secret" not in repr(case) + repr(case.primary) + repr(settle(case, "newest"))


def test_the_digest_is_of_the_content() -> None:
    """Spacing and order of fields don't matter; values, encodings and payloads do."""
    one, two = Stored(b'{"id":"d","a":1}'), Stored(b'{ "a": 1, "id": "d" }')
    assert one.digest == two.digest
    others = [
        Stored(b'{"id":"d","a":1.0}'),
        Stored(one.body, "z", b""),
        Stored(one.body, "z", b"1"),
    ]
    assert len({each.digest for each in (one, *others)}) == 4
