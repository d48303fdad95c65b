"""The names of files: no two ids share one, none leaves its folder, ordinary ones stay readable."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage_providers.providers._files.names import (
    ENCODED_SUFFIX,
    PLAIN_SUFFIX,
    file_stem,
    folder_name,
    is_hashed,
    original,
)

FOLDS: list[Callable[[str], str]] = [
    lambda name: name,
    str.casefold,
    str.lower,
    str.upper,
    lambda name: unicodedata.normalize("NFC", name),
    lambda name: unicodedata.normalize("NFD", name),
    lambda name: unicodedata.normalize("NFKC", name),
    lambda name: unicodedata.normalize("NFKD", name).casefold(),
    lambda name: unicodedata.normalize("NFD", name.casefold()),
    lambda name: unicodedata.normalize("NFD", name).upper(),
    lambda name: unicodedata.normalize("NFKC", name.upper()).casefold(),
]
TRICKY = "aAkKsSiI.ı ſKßßéÉéÅÅﬁ각가ᅡ１２/\\:%^~\x01\x7f日本ǅᾳͅςσΣİ𐐀𝔸"
ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1)
tricky_ids = st.text(TRICKY, min_size=1, max_size=4)
NAMES = [file_stem, folder_name]


@pytest.mark.parametrize(
    "item_id",
    [
        "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
        "2026-01-31",
        "buy-milk",
        "joe.doe+tag@example.com",
        "_settings",
        "a b",
        "café",
        "日本",
    ],
)
def test_ordinary_ids_stay_as_they_are(item_id: str) -> None:
    """UUIDs, dates, slugs, addresses and composed letters are readable in the folder."""
    assert file_stem(item_id) == item_id


@pytest.mark.parametrize(
    ("item_id", "name"),
    [
        ("README", "README^3f"),
        ("readMe", "readMe^10"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("a/b", "a%2Fb"),
        ("..\\..\\etc", "%2E.%5C..%5Cetc"),
        ("a.", "a%2E"),
        ("a ", "a%20"),
        ("con", "%63on"),
        ("Nul.txt", "%6Eul.txt^1"),
        ("COM1", "%63OM1^7"),
        ("a%2fb", "a%252fb"),
        ("a%2Fb", "a%252Fb^2"),
        ("a^b", "a%5Eb"),
        ("cafe\u0301", "cafe%CC%81"),
        ("straße", "stra%C3%9Fe"),
        ("x\x07", "x%07"),
    ],
)
def test_awkward_ids_are_escaped_readably(item_id: str, name: str) -> None:
    """The documented examples; stored data depends on them, so they never change."""
    assert file_stem(item_id) == name
    assert original(name) == item_id


def test_folders_never_end_in_a_documents_suffix() -> None:
    """A scope named like a document's file gets another name, so both can be there."""
    assert folder_name("todo.json") == "todo%2Ejson"
    assert folder_name("x.encoded") == "x%2Eencoded"
    assert original("todo%2Ejson") == "todo.json"
    assert file_stem("todo.json") == "todo.json"


@pytest.mark.parametrize("name_of", NAMES)
@given(first=ids | tricky_ids, second=ids | tricky_ids)
@example("K", "\u212a")
@example("a", "A")
@example("straße", "strasse")
@example("\u1100\u1161", "\uac00")
@example("i", "ı")
def test_no_two_ids_share_a_file_under_any_folding(
    name_of: Callable[[str], str], first: str, second: str
) -> None:
    """Names of different ids differ however a file system folds case and Unicode forms."""
    if first != second:
        for fold in FOLDS:
            assert fold(name_of(first)) != fold(name_of(second))


@pytest.mark.parametrize("name_of", NAMES)
@given(text=tricky_ids)
def test_close_relatives_of_an_id_have_names_of_their_own(
    name_of: Callable[[str], str], text: str
) -> None:
    """An id and its own foldings, the likeliest clashes, don't clash."""
    relatives = {fold(text) for fold in FOLDS}
    for fold in FOLDS:
        assert len({fold(name_of(relative)) for relative in relatives}) == len(relatives)


@pytest.mark.parametrize("name_of", NAMES)
@given(text=ids | tricky_ids | st.text("aZ漢é.", min_size=100, max_size=400))
def test_names_fit_and_stay_in_their_folder(name_of: Callable[[str], str], text: str) -> None:
    """A name is one path component of at most 255 bytes that no system finds special."""
    name = name_of(text)
    suffix = ENCODED_SUFFIX if name_of is file_stem else ""
    for form in (name, unicodedata.normalize("NFD", name)):
        assert 0 < len((form + suffix).encode()) <= 255
    assert PurePosixPath(name).name == name
    assert name[0] not in ". "
    assert name[-1] not in ". "
    assert not re.search(r'[\x00-\x1f\x7f/\\:*?"<>|~]', name)
    assert not re.match(r"(?i)(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)(\.|$)", name + suffix)


@pytest.mark.parametrize("name_of", NAMES)
@given(text=ids | tricky_ids)
def test_names_that_hold_their_id_give_it_back(name_of: Callable[[str], str], text: str) -> None:
    """Whatever Unicode form a file system returns, the id is read from the name exactly."""
    name = name_of(text)
    if is_hashed(name):
        assert original(name) is None
        return
    for form in ("NFC", "NFD"):
        assert original(unicodedata.normalize(form, name)) == text


def test_long_ids_keep_their_beginning_and_a_hash() -> None:
    """A name over 255 bytes is cut; ids that differ only at the end still differ."""
    first, second = file_stem("meeting-" + "x" * 500), file_stem("meeting-" + "x" * 501)
    assert first.startswith("meeting-xxx")
    assert is_hashed(first)
    assert first != second
    assert not is_hashed(file_stem("x" * 247))
    assert is_hashed(file_stem("x" * 248))


@pytest.mark.parametrize("name", ["%GG", "%FF", "a^zz", "%", "a^^00"])
def test_damaged_names_stand_for_no_id_of_their_own(name: str) -> None:
    """A name that nothing escapes to is recognised: it does not come back."""
    text = original(name)
    assert text is None or file_stem(text) != name


def test_suffixes_differ_from_each_other() -> None:
    """Which of the two kinds of file a name is, its end tells."""
    assert not (ENCODED_SUFFIX.endswith(PLAIN_SUFFIX))
    assert not (PLAIN_SUFFIX.endswith(ENCODED_SUFFIX))
