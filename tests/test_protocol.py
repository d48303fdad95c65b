"""The contract's words: what they accept, what they keep and what they show."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers import protocol
from storage_providers.base import Provider
from storage_providers.errors import (
    CorruptItemError,
    InvalidArgumentError,
    InvalidDocumentError,
)
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    IF_PRESENT,
    Address,
    Capabilities,
    CollectionSpec,
    Index,
    Item,
    JsonObject,
    LegacySource,
    Patch,
    Put,
    StorageProvider,
    check_collection,
    check_id,
)
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing.strategies import AWKWARD_IDS, documents


def public_methods(of: type) -> set[str]:
    """Names of the public methods of a class, inherited ones included."""
    return {
        name for name in dir(of) if not name.startswith("_") and callable(getattr(of, name, None))
    }


def test_the_base_offers_the_whole_contract() -> None:
    """Every method of the protocol is one of the base, and a provider is a `StorageProvider`."""
    assert public_methods(StorageProvider) <= public_methods(Provider)
    provider: StorageProvider = InMemoryProvider()
    assert provider.capabilities == Capabilities(
        atomic_batch=True, conditional_write=True, conditional_delete=True, durable=False
    )


def test_every_word_is_public() -> None:
    """What `__all__` names is there."""
    assert all(hasattr(protocol, name) for name in protocol.__all__)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("todos", ("", "todos")),
        ("u/todos", ("u", "todos")),
        ("org 1/ü/todos", ("org 1/ü", "todos")),
        (".own", ("", ".own")),
        ("..own", ("", "..own")),
        ("a" * 64, ("", "a" * 64)),
    ],
)
def test_collections_split(address: str, parts: tuple[str, str]) -> None:
    """A scope is everything before the last slash."""
    assert check_collection(address) == parts


@pytest.mark.parametrize("item_id", AWKWARD_IDS)
def test_awkward_ids_are_ids(item_id: str) -> None:
    """An id is any text; its length counts in bytes."""
    assert check_id(item_id, 512) == item_id
    size = len(item_id.encode())
    assert check_id(item_id, size) == item_id
    with pytest.raises(InvalidArgumentError, match=str(size)):
        check_id(item_id, size - 1)


@pytest.mark.parametrize("item_id", ["", "\x00", "a\x00", "\ud800", "a\udfff", 1, None, b"a", True])
def test_what_is_no_id(item_id: Any) -> None:
    """With and without a limit."""
    for limit in (None, 512):
        with pytest.raises(InvalidArgumentError):
            check_id(item_id, limit)


@given(documents(nul=True))
def test_a_put_holds_the_document_as_it_was(document: JsonObject) -> None:
    """Encoded at once: what happens to the document later changes nothing."""
    put = Put("things", document)
    before = dict(document)
    document["later"] = True
    assert put.document == before
    assert put.size_bytes == len(put.body)


def test_a_put_knows_its_expiry() -> None:
    """In milliseconds, from any form; without one it never expires."""
    assert Put("things", {"id": "a"}).expires_at_ms is None
    assert Put("things", {"id": "a", "expiresAt": None}).expires_at_ms is None
    assert Put("things", {"id": "a", "expiresAt": "1970-01-01T00:00:01Z"}).expires_at_ms == 1000
    assert Put("things", {"id": "a"}).condition is ANY


@pytest.mark.parametrize("document", [{}, {"id": None}, {"id": 1}, {"id": ""}, {"id": ["a"]}])
def test_a_put_needs_an_id(document: JsonObject) -> None:
    """`write` adds nothing, so the id must be there."""
    with pytest.raises(InvalidDocumentError) as caught:
        Put("things", document)
    assert (caught.value.field, caught.value.collection) == ("id", "things")


@given(documents(nul=True), st.booleans(), st.sampled_from([None, "2026-01-31T12:00:00.000Z"]))
def test_a_put_of_a_body_is_the_put_of_its_document(
    document: JsonObject, deep: bool, expires: str | None
) -> None:
    """Whatever it holds: only that nothing is encoded again."""
    document |= {"expiresAt": expires} | ({"braces": "{" * 500} if deep else {})
    made = Put("things", document, IF_ABSENT)
    read = Put.of_body("things", made.body, IF_ABSENT)
    for name in Put.__slots__:
        assert getattr(read, name) == getattr(made, name)


def test_a_put_of_a_body_keeps_the_body_and_its_payload() -> None:
    """As it was read, with its spaces; the encoded bytes go with it."""
    put = Put.of_body("things", b'{"id": "a"}', encoding="x", payload=b"12345")
    assert (put.body, put.encoding, put.payload) == (b'{"id": "a"}', "x", b"12345")
    assert (put.id, put.condition, put.expires_at_ms) == ("a", ANY, None)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id":"a"', b'{"id":"\xff"}', b'{"id":"\\ud800"}'])
def test_a_put_of_no_document_is_refused(body: bytes) -> None:
    """What can't be decoded is not passed on."""
    with pytest.raises(ValueError, match="not"):
        Put.of_body("things", body)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "id"),
        (b'{"id":1}', "id"),
        (b'{"id":""}', "id"),
        (b'{"id":"a","expiresAt":"soon"}', "expiresAt"),
        (b'{"id":"a","x":' + b"[" * 300 + b"]" * 300 + b"}", "x.0.0"),
    ],
)
def test_a_put_of_a_body_that_can_not_be_stored_is_refused(body: bytes, field: str) -> None:
    """With the same error as the document's."""
    with pytest.raises(InvalidDocumentError) as caught:
        Put.of_body("things", body)
    assert (caught.value.field, caught.value.collection) == (field, "things")


def test_payloads_count() -> None:
    """The size is that of body and payload together."""
    put = Put("things", {"id": "a"}, encoding="x", payload=b"12345")
    assert put.size_bytes == len(b'{"id":"a"}') + 5


def test_a_patch_knows_what_it_sets() -> None:
    """Whether it names the expiry, and which."""
    plain = Patch("things", "a", {"n": 1})
    assert (plain.sets_expiry, plain.expires_at_ms, plain.condition) == (False, None, IF_PRESENT)
    removing = Patch("things", "a", {"expiresAt": None})
    assert (removing.sets_expiry, removing.expires_at_ms) == (True, None)
    setting = Patch("things", "a", {"expiresAt": "1970-01-01T00:00:01Z"})
    assert (setting.sets_expiry, setting.expires_at_ms) == (True, 1000)
    assert setting.changes == {"expiresAt": "1970-01-01T00:00:01Z"}


class Todo(msgspec.Struct):
    """A model."""

    id: str
    done: bool = False


def test_items_decode_straight_to_a_type() -> None:
    """Or say which field does not fit, without its value."""
    assert Item("things", "a", "1", b'{"id":"a","done":true}').decode(Todo) == Todo("a", True)
    with pytest.raises(InvalidDocumentError) as caught:
        Item("things", "a", "1", b'{"id":"a","done":"a secret"}').decode(Todo)
    assert caught.value.field == "done"
    assert "done" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b'{"id":', b"[]", b"\xff", b"[" * 10_000])
def test_broken_items_say_so(body: bytes) -> None:
    """Both ways of decoding name the document."""
    item = Item("things", "a", "1", body)
    with pytest.raises(CorruptItemError) as caught:
        _ = item.document
    assert (caught.value.collection, caught.value.item_id) == ("things", "a")
    with pytest.raises((CorruptItemError, InvalidDocumentError)):
        item.decode(Todo)


def test_items_are_equal_by_what_is_stored() -> None:
    """Decoding one of them first makes no difference; a payload does."""
    left, right = (Item("things", "a", "1", b'{"id":"a"}') for _ in range(2))
    assert left.document is left.document
    assert left == right
    assert left != Item("things", "a", "1", b'{"id":"a"}', "x", b"")
    assert left != "a"
    with pytest.raises(TypeError):
        hash(left)


def test_small_words_are_values() -> None:
    """They compare, hash and can't be changed."""
    assert len({Address("a", "b"), Address("a", "b"), Address("b", "a")}) == 2
    assert Index.of("a", "-b") == Index(("a", "-b"))
    with pytest.raises(AttributeError):
        Capabilities().atomic_batch = True  # type: ignore[misc]
    with pytest.raises(AttributeError):
        CollectionSpec(collection="a").collection = "b"  # type: ignore[misc]


def test_legacy_sources_are_known_by_their_shape() -> None:
    """Anything with a name and records is one."""

    class Source:
        name = "mine"

        async def records(self) -> Any:
            yield None

    assert isinstance(Source(), LegacySource)
    assert not isinstance(object(), LegacySource)
