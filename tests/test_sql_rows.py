"""What counts as a document among rows: one by one and many together, the same."""

from __future__ import annotations

import pytest

from storage_providers._json import decode_object
from storage_providers.providers._sql.rows import are_documents, is_document


def nested(levels: int, opening: bytes, closing: bytes) -> bytes:
    """An object with a value of so many levels."""
    return b'{"v":' + opening * levels + b"1" + closing * levels + b"}"


@pytest.mark.parametrize("levels", [1, 199, 201, 399, 400, 401, 900, 1_100, 5_000, 100_000])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth(levels: int, brackets: tuple[bytes, bytes]) -> None:
    """What is nested too deep to be decoded is no document, alone and among others."""
    body = nested(levels, *brackets)
    expected = levels < 1_000
    assert is_document(body) == expected
    for bodies in ([body], [body] * 3, [b"{}", body], [body, b"{}"]):
        assert are_documents(bodies) == expected
    if expected:
        assert decode_object(body)["v"]


@pytest.mark.parametrize(
    "body",
    [b"", b"1", b"null", b"[{}]", b"{", b"{}{}", b"{},{}", b'{"a":"\xff"}', b'{"a":"\\ud800"}'],
)
def test_what_is_no_document(body: bytes) -> None:
    """Neither alone nor among others."""
    assert not is_document(body)
    for bodies in ([body], [b"{}", body], [body, b"{}"]):
        assert not are_documents(bodies)


def test_what_is_one() -> None:
    """Any object, however many brackets its text has; and no documents are all right."""
    bodies = [b"{}", b'{"a":"' + b"[{" * 5_000 + b'"}', '{"ä":["日本"]}'.encode()]
    assert all(map(is_document, bodies))
    assert are_documents(bodies)
    assert are_documents([])
    assert not is_document(None)
