"""The bytes of a document's file: nothing is lost on the way in and out, damage is noticed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers._json import encode_object
from storage_providers.providers._files.format import parse, render, version_of
from storage_providers.testing.strategies import documents


@given(document=documents())
def test_a_document_comes_back_byte_for_byte(document: dict[str, object]) -> None:
    """Indenting and compacting keep key order and every number's spelling."""
    body = encode_object(document)
    raw = render(body)
    content = parse(raw, encoded=False)
    assert content.body == body
    assert (content.encoding, content.payload) == (None, None)
    assert json.loads(raw) == json.loads(body)
    assert raw.endswith(b"}\n")


@given(document=documents(), payload=st.binary())
def test_an_encoded_document_comes_back_byte_for_byte(
    document: dict[str, object], payload: bytes
) -> None:
    """The payload may hold any bytes, line ends among them."""
    body = encode_object(document)
    content = parse(render(body, "aes-gcm", payload), encoded=True)
    assert (content.body, content.encoding, content.payload) == (body, "aes-gcm", payload)


@given(document=documents(), cut=st.integers(0, 10_000))
def test_a_truncated_document_is_never_taken_for_a_whole_one(
    document: dict[str, object], cut: int
) -> None:
    """Whatever is missing at the end, but for the last line's end, is noticed."""
    raw = render(encode_object(document))
    with pytest.raises(ValueError, match=r"empty|not a JSON document|not UTF-8"):
        parse(raw[: cut % (len(raw) - 1)], encoded=False)


@pytest.mark.parametrize(
    "number", ["1e308", "1" * 299, "-1.5E+003", "123456789012345678901234567890"]
)
def test_large_numbers_that_fit_are_kept(number: str) -> None:
    """Only what no double can hold is damage."""
    body = f'{{"id":"a","n":{number}}}'.encode()
    assert parse(body, encoded=False).body == body


@pytest.mark.parametrize("number", ["1e309", "-9E+999"])
def test_numbers_beyond_every_double_are_damage(number: str) -> None:
    """They could not be decoded when the document is used."""
    with pytest.raises(ValueError, match="out of range"):
        parse(f'{{"id":"a","n":{number}}}'.encode(), encoded=False)


@pytest.mark.parametrize(
    "raw", [b"", b'{"encoding":"x","document":{"id":"a"}}', b'{"encoding":"x"}\n', b"{\n", b"\n"]
)
def test_a_damaged_header_is_noticed(raw: bytes) -> None:
    """Cut off, incomplete or no JSON."""
    with pytest.raises(ValueError, match=r"empty|cut off|damaged"):
        parse(raw, encoded=True)


def test_every_changed_byte_changes_the_version() -> None:
    """So compare-and-set notices what an editor did, were it only a space."""
    assert version_of(b'{"id":"a"}') != version_of(b'{"id": "a"}')
