"""The parts of the KV driver: keys, what rides in metadata, and what a store wrote itself."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers.cloudflare.kv import KVFound, KVKey
from storage_providers.errors import (
    ConfigurationError,
    CorruptItemError,
    DocumentTooLargeError,
    InvalidArgumentError,
)
from storage_providers.providers._kv.layout import KVLayout, key_text, read_key_text
from storage_providers.providers._kv.metadata import (
    MAX_METADATA_BYTES,
    MAX_VALUE_BYTES,
    may_be_damaged,
    pair,
    read_found,
    read_line,
)
from storage_providers.providers._kv.own import OwnWrites
from storage_providers.providers._objects import Metadata, ObjectEntry, ObjectPut, StoredObject
from storage_providers.providers._objects.entries import new_token
from storage_providers.resilience import Timing
from storage_providers.testing.conformance import ManualClock

names = st.text(
    st.one_of(
        st.sampled_from("!:;~@/. 0AZ}|%\x01\x1f\x7f\x80\x9f\xa0\xe9\U0001f600"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\x00"),
    ),
    min_size=1,
    max_size=8,
)

# --- keys --------------------------------------------------------------------------------------


@given(names, names)
def test_keys_sort_as_names_do(left: str, right: str) -> None:
    """By code point, each reads back, and none holds a `:`, a control or a blank."""
    first, second = key_text(left), key_text(right)
    assert (first < second) == (left < right)
    assert (first.encode() < second.encode()) == (left < right)
    assert read_key_text(first) == left
    assert ":" not in first
    assert not any(character <= " " or "\x7f" <= character <= "\x9f" for character in first)
    assert key_text(left + right) == first + second


@pytest.mark.parametrize("part", ["!00a", "a:b", "a b", ";2", "~", "~2", "~141", "!41", "a;"])
def test_other_programs_names(part: str) -> None:
    """What this SDK does not write is no name, or two keys would be one document."""
    if part == "!00a":
        assert read_key_text(part) == "\x00a"
        return
    with pytest.raises(ValueError, match="not a name"):
        read_key_text(part)


def test_nothing_is_taken_for_another() -> None:
    """Scopes, collections, prefixes and ids that look like each other have keys of their own."""
    places = [
        ("", "todos", "a"),
        ("", "a/todos", "a"),
        ("", "todos/a", "a"),
        ("", "a/todos/a", "a"),
        ("", "@a/todos", "a"),
        ("", "a:todos/a", "a"),
        ("", "todos", "a:a"),
        ("", "todos", "@a:todos:a"),
        ("todos", "a", "a"),
        ("a", "todos", "a"),
        ("a", "a/todos", "a"),
        ("", ".declarations", "todos"),
    ]
    keys = {KVLayout(prefix).document(name, item_id) for prefix, name, item_id in places}
    assert len(keys) == len(places)
    layout = KVLayout("p")
    assert layout.document("user-7/todos", "x/y:z") == "p:@user-7:todos:x/y;0z"
    assert layout.address_of("p:@user-7:todos:x/y;0z") == ("user-7", "todos", "x/y:z")
    assert layout.index_folder("user-7/todos", "abc") == "p:~@user-7:todos:abc:"
    assert layout.collection_in("p:~@user-7:todos:abc:") == "todos"
    assert layout.collection_in("p:") is None
    assert KVLayout().id_at("todos:", "todos:a:b") is None


def test_keys_that_are_too_long() -> None:
    """They are refused with the numbers."""
    layout = KVLayout("p")
    assert len(layout.document("t", "x" * 508)) == 512
    with pytest.raises(InvalidArgumentError, match="513 bytes, KV accepts 512"):
        layout.document("t", "x" * 509)


@pytest.mark.parametrize("prefix", [":", "a:", "@a", "~a", ".a", "a b", "\xe9", "a::b"])
def test_prefixes_that_are_refused(prefix: str) -> None:
    """Those that could be taken for something else."""
    with pytest.raises(ConfigurationError, match="prefix"):
        KVLayout(prefix)


# --- metadata ----------------------------------------------------------------------------------

TOKEN = new_token(ManualClock().clock)


def stored_again(put: ObjectPut) -> StoredObject:
    """What is read of a put."""
    entry = pair(put, None)
    return read_found(put.key, KVFound(str(entry.value), entry.metadata))


@given(st.binary(max_size=40), st.sampled_from([None, "gzip"]))
def test_bytes_come_back(data: bytes, encoding: str | None) -> None:
    """Whatever they are, with what is kept beside them."""
    visible = None if encoding is None else 0
    metadata = Metadata(token=TOKEN, encoding=encoding, visible_bytes=visible)
    found = stored_again(ObjectPut(key="k", data=data, metadata=metadata))
    assert (found.data, found.metadata, found.version) == (data, metadata, TOKEN)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=900))
def test_metadata_never_is_too_long(text: str) -> None:
    """A document is carried if what the service counts allows it, and comes back as it was."""
    data = text.encode()
    entry = pair(ObjectPut(key="k", data=data, metadata=Metadata(token=TOKEN)), None)
    line = read_line(KVKey("k", None, entry.metadata))
    assert line.version == TOKEN
    assert line.stored is None or line.stored.data == data
    assert line.stored is not None or len(data) > 300
    # As JavaScript writes it.
    size = len(json.dumps(entry.metadata, ensure_ascii=False, separators=(",", ":")).encode())
    assert size <= MAX_METADATA_BYTES


def test_what_is_too_large() -> None:
    """It is refused before it is sent."""
    metadata = Metadata(token=TOKEN)
    pair(ObjectPut(key="k", data=b"x" * MAX_VALUE_BYTES, metadata=metadata), None)
    with pytest.raises(DocumentTooLargeError) as caught:
        pair(ObjectPut(key="k", data=b"\xff" * MAX_VALUE_BYTES, metadata=metadata), None)
    assert caught.value.size_bytes > MAX_VALUE_BYTES
    long = Metadata(token=TOKEN, encoding="e" * 1100, visible_bytes=0)
    with pytest.raises(InvalidArgumentError, match="metadata"):
        pair(ObjectPut(key="k", data=b"x", metadata=long), None)


def test_values_of_other_programs() -> None:
    """They have a version of their own bytes; those that may be damaged are told."""
    one, other = (read_found("k", KVFound(text)) for text in ("{}", "[]"))
    assert one.version != other.version
    assert one.metadata == Metadata()
    assert read_line(KVKey("k", None, {"token": 5})) == ObjectEntry("k", "")
    assert may_be_damaged(KVFound("a\ufffd"))
    assert not may_be_damaged(KVFound("a\ufffd", {"token": TOKEN}))
    with pytest.raises(CorruptItemError, match="base64"):
        read_found("k", KVFound("?", {"token": TOKEN, "base64": True}))


# --- own writes --------------------------------------------------------------------------------


class Remembered:
    """What a store remembers, and the clock it goes by."""

    def __init__(self) -> None:
        self.time = ManualClock()
        timing = Timing(monotonic=lambda: self.time.seconds)
        self.own = OwnWrites(self.time.clock, timing, 60)

    def make(self, key: str = "k") -> StoredObject:
        """A document of now."""
        return StoredObject(key=key, version=new_token(self.time.clock), data=b"{}")


def test_own_writes_correct_older_answers() -> None:
    """Absence and older versions for a minute; what is later counts."""
    it = Remembered()
    old = it.make()
    it.time.advance(1)
    mine = it.make()
    it.own.put(mine)
    it.time.advance(1)
    later = it.make()
    assert it.own.corrected("k", None) is mine
    assert it.own.corrected("k", old) is mine
    assert it.own.corrected("k", later) is later
    assert it.own.corrected("other", None) is None
    it.time.advance(61)
    assert it.own.corrected("k", None) is None


def test_own_removals_correct_older_answers() -> None:
    """What was there before stays away; what another puts later does not."""
    it = Remembered()
    old = it.make()
    foreign = StoredObject(key="k", version="xabc", data=b"{}")
    it.own.removed("k")
    it.time.advance(1)
    assert it.own.corrected("k", old) is None
    assert it.own.corrected("k", foreign) is None
    later = it.make()
    assert it.own.corrected("k", later) is later


def test_own_writes_correct_listings() -> None:
    """Within what a page can tell about, and nowhere else."""
    it = Remembered()
    for key in ("p:b", "p:d", "p:z", "q:a"):
        it.own.put(it.make(key))
    it.own.removed("p:c")
    lines = [ObjectEntry(key, "") for key in ("p:a", "p:c", "p:e")]
    page = it.own.corrected_lines("p:", lines, "", "p:e")
    assert [line.key for line in page] == ["p:a", "p:b", "p:d", "p:e"]
    assert [line.key for line in it.own.corrected_lines("p:", [], "p:e", None)] == ["p:z"]


def test_own_writes_are_few() -> None:
    """The oldest are forgotten beyond a size."""
    it = Remembered()
    for number in range(5):
        big = StoredObject(
            key=f"{number}", version=new_token(it.time.clock), data=b"x" * 10_000_000
        )
        it.own.put(big)
    assert it.own.corrected("0", None) is None
    assert it.own.corrected("4", None) is not None
