"""Names as keys: apart whatever a service folds, in order, and back again."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers.errors import ConfigurationError, InvalidArgumentError
from storage_providers.providers._objects.characters import NEWEST_UNICODE, is_unsafe
from storage_providers.providers._objects.keys import (
    SUFFIX,
    FolderLayout,
    earlier_ids,
    is_plain,
    read_sortable_text,
    sortable_text,
)

LAYOUT = FolderLayout("", service="the service", max_key_bytes=100_000)
FOLDER = "things/"

AWKWARD = st.sampled_from(
    list("aA0zé/\\%.-!~ \n\x01\x7fKﬁﷺ😀日ẛ\u0301\u0323\ufeff\u2028\ufb2c\U0002f868")
)
TEXT = st.text(st.one_of(AWKWARD, st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8)
IDS = st.one_of(TEXT, st.lists(AWKWARD, min_size=1, max_size=5).map("".join)).filter(
    lambda text: "\x00" not in text
)


def order(key: str) -> bytes:
    """How listings are ordered."""
    return key.encode()


# --- text --------------------------------------------------------------------------------------


@given(TEXT, TEXT)
def test_sortable_text_sorts_as_the_text(one: str, other: str) -> None:
    """By code point, which is the order of UTF-8; whatever follows its end."""
    keys = [sortable_text(text) for text in (one, other)]
    assert (keys[0] < keys[1]) == (one < other)
    assert (keys[0] + "~" < keys[1] + "!") == (one < other)


@given(TEXT, st.text("!-~0z", max_size=4))
def test_sortable_text_is_read_back(text: str, rest: str) -> None:
    """It is ASCII that needs no quoting, and says where it ends."""
    encoded = sortable_text(text)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert "/" not in encoded
    assert read_sortable_text(encoded + rest) == (text, rest)


@given(st.text("!-~0AaCzé3", max_size=9))
def test_what_is_no_sortable_text_is_refused(encoded: str) -> None:
    """Whatever is accepted is exactly what is written for the text."""
    try:
        text, rest = read_sortable_text(encoded)
    except ValueError:
        return
    assert sortable_text(text) + rest == encoded


# --- documents ---------------------------------------------------------------------------------


@given(IDS)
def test_an_id_is_read_back_from_its_key(item_id: str) -> None:
    """Also from any form of it that a service may fold it to and list."""
    key = LAYOUT.document("things", item_id)
    assert key.startswith(FOLDER)
    assert "/" not in key[len(FOLDER) :]
    assert LAYOUT.id_at(FOLDER, key) == item_id
    for form in ("NFC", "NFD"):
        assert LAYOUT.id_at(FOLDER, unicodedata.normalize(form, key)) == item_id


@given(IDS, IDS)
def test_no_two_ids_share_a_key(one: str, other: str) -> None:
    """Nor when the service folds keys to any of Unicode's canonical forms."""
    keys = [LAYOUT.document("things", item_id) for item_id in (one, other)]
    for form in ("NFC", "NFD"):
        folded = [unicodedata.normalize(form, key) for key in keys]
        assert (folded[0] == folded[1]) == (one == other)


@given(st.text(AWKWARD, max_size=6))
def test_every_key_is_one_id_s_or_refused(name: str) -> None:
    """What another program wrote is read only if this SDK would look for it there."""
    if "/" in name:
        return
    key = FOLDER + name + SUFFIX
    try:
        item_id = LAYOUT.id_at(FOLDER, key)
    except ValueError:
        return
    assert item_id is not None
    assert LAYOUT.document("things", item_id) == unicodedata.normalize("NFC", key)


@pytest.mark.parametrize("key", ["things/a.txt", "things/b/a.json", "things/", "things/json"])
def test_other_objects_are_no_documents(key: str) -> None:
    """They are left alone."""
    assert LAYOUT.id_at(FOLDER, key) is None


@pytest.mark.parametrize(
    "name", ["%", "%a", "%a!", "%-2f!", "%-2F!x", "%a-2F", "", "\x07", "%~FF!"]
)
def test_names_that_are_not_ours_are_refused(name: str) -> None:
    """They look like a document's, and are named as such."""
    with pytest.raises(ValueError, match=r"not a name|codec"):
        LAYOUT.id_at(FOLDER, f"{FOLDER}{name}.json")


@pytest.mark.parametrize("name", ["task-1", "task 1", "a.b", "日本", "Ω", "crème", "a~b!"])
def test_names_stand_as_they_are(name: str) -> None:
    """So that people and other programs find them."""
    assert LAYOUT.document("things", name) == f"things/{name}.json"


@pytest.mark.parametrize(
    "name", ["a/b", "%a", "a\n", "cafe\u0301", "\ufb2c", "\U0001fae8", "\ufdd0"]
)
def test_names_that_are_not_safe_are_written_in_ascii(name: str) -> None:
    """Newer characters too: which are assigned depends on the Python, and must not matter."""
    assert not is_plain(name)
    key = LAYOUT.document("things", name)
    assert key.startswith("things/%")
    assert key.isascii()


def test_the_table_of_newer_characters_is_long_enough() -> None:
    """A Python whose Unicode is newer than the table would take new characters for old ones."""
    version = tuple(int(part) for part in unicodedata.unidata_version.split(".")[:2])
    assert version <= NEWEST_UNICODE


@given(st.characters(exclude_categories=["Cs"]))
def test_the_form_of_a_name_does_not_depend_on_the_python(character: str) -> None:
    """What came after Unicode 14.0 is escaped, though a newer Python knows it; all else is not."""
    if unicodedata.unidata_version == "14.0.0" and unicodedata.category(character) != "Cc":
        assert is_unsafe(character) == (unicodedata.category(character) == "Cn")


@pytest.mark.parametrize("name", ["idea 😀", "日本語", "ẞ", "₹", "Ünïcödé", "a%b", "a b", "a.b"])
def test_readable_names_stay_as_they_are(name: str) -> None:
    """So that people and other programs find them."""
    assert LAYOUT.document("things", name) == f"things/{name}.json"


# --- the order of keys -------------------------------------------------------------------------


@given(st.lists(IDS, max_size=8, unique=True), IDS)
def test_what_comes_after_an_id_is_listed_behind_its_place(ids: list[str], after: str) -> None:
    """Plain names behind `before_plain`, others behind `before_escaped`."""
    plain_start = LAYOUT.before_plain(FOLDER, after)
    escaped_start = LAYOUT.before_escaped(FOLDER, after)
    for item_id in ids:
        if item_id <= after:
            continue
        start = plain_start if is_plain(item_id) else escaped_start
        assert order(LAYOUT.document("things", item_id)) > order(start)


@given(st.lists(st.text("ab-. !", min_size=1, max_size=4), min_size=1, max_size=9, unique=True))
def test_ids_that_are_listed_late_are_known(ids: list[str]) -> None:
    """Whatever is listed behind a key though its id sorts before is among its `earlier_ids`."""
    keys = sorted((LAYOUT.document("things", item_id) for item_id in ids), key=order)
    listed = [str(LAYOUT.id_at(FOLDER, key)) for key in keys]
    for at, (key, item_id) in enumerate(zip(keys, listed, strict=True)):
        late = {other for other in listed[at + 1 :] if other < item_id}
        assert late <= set(earlier_ids(key[len(FOLDER) :]))


@given(st.lists(IDS.filter(lambda text: not is_plain(text)), max_size=6, unique=True))
def test_escaped_names_stand_together_in_their_own_order(ids: list[str]) -> None:
    """Before all plain ones that begin with a letter."""
    keys = [LAYOUT.document("things", item_id) for item_id in ids]
    assert sorted(keys, key=order) == [
        LAYOUT.document("things", item_id) for item_id in sorted(ids)
    ]


# --- folders -----------------------------------------------------------------------------------

PARTS = TEXT.filter(lambda text: text.isprintable() and "/" not in text and text not in (".", ".."))


@given(st.lists(PARTS, max_size=3), st.lists(PARTS, max_size=3))
def test_no_two_scopes_share_a_folder(one: list[str], other: list[str]) -> None:
    """Nor can a scope reach into another's, or into the SDK's own folders."""
    folders = [LAYOUT.scope_folder("/".join(parts)) for parts in (one, other)]
    folded = [unicodedata.normalize("NFC", folder) for folder in folders]
    assert (folded[0] == folded[1]) == (one == other)
    for part in folders[0].split("/"):
        assert not part.startswith(".")


@given(PARTS)
def test_a_part_of_a_scope_is_read_back(part: str) -> None:
    """From its folder's name alone."""
    folder = LAYOUT.scope_folder(part)
    assert LAYOUT.scope_part(folder[:-1]) == part


@pytest.mark.parametrize("name", ["%", "%a", "%a!", ".indexes", "%-2F!x", "a\n"])
def test_folders_that_are_not_ours_are_refused(name: str) -> None:
    """This SDK writes no such folder."""
    with pytest.raises(ValueError, match="not a name"):
        LAYOUT.scope_part(name)


def test_where_things_are() -> None:
    """The layout that other programs rely on."""
    layout = FolderLayout("apps/notes", service="the service", max_key_bytes=1024)
    assert layout.document("todos", "a") == "apps/notes/todos/a.json"
    assert layout.document("user-7/todos", "a") == "apps/notes/user-7/todos/a.json"
    assert layout.folder("u/v/todos") == "apps/notes/u/v/todos/"
    assert layout.index_folder("u/todos") == "apps/notes/u/.indexes/todos/"
    assert layout.index_folder("todos", "0123") == "apps/notes/.indexes/todos/0123/"
    assert layout.scope_folder("") == "apps/notes/"


@pytest.mark.parametrize("prefix", ["/", "a/", "/a", "a//b", ".a", "a/..", "%a", "a\n", "e\u0301"])
def test_prefixes_that_keys_can_not_begin_with(prefix: str) -> None:
    """They are refused when the provider is made."""
    with pytest.raises(ConfigurationError, match="prefix"):
        FolderLayout(prefix, service="the service", max_key_bytes=1024)


def test_keys_too_long_are_refused_with_the_numbers() -> None:
    """In bytes of UTF-8; nothing is cut off."""
    layout = FolderLayout("", service="the service", max_key_bytes=20)
    assert layout.document("things", "é" * 4) == "things/éééé.json"
    with pytest.raises(InvalidArgumentError, match="22 bytes, the service accepts 20"):
        layout.document("things", "é" * 5)
