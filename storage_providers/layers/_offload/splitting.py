"""What of a put leaves, and what is put in its place."""

from __future__ import annotations

from typing import NamedTuple

from storage_providers.layers._offload.layout import Layout
from storage_providers.layers._offload.record import ENCODING, Record, Reference, digest_of
from storage_providers.protocol import Put

__all__ = ["Halves", "Rule", "encoded", "is_own", "same_object"]


class Halves(NamedTuple):
    """A put taken apart.

    Attributes:
        stays: The body that stays.
        content: What leaves; empty: nothing does.
        document_bytes: How much of the content is the document's, the rest being payload.
        payload_left: Whether the payload leaves.
    """

    stays: bytes
    content: bytes = b""
    document_bytes: int = 0
    payload_left: bool = False


class Rule(NamedTuple):
    """What leaves, and from what size on."""

    layout: Layout
    over_bytes: int

    def halves(self, put: Put) -> Halves:
        """Take a put apart."""
        body, payload = put.body, put.payload or b""
        if put.size_bytes <= self.over_bytes or is_own(put.collection):
            return Halves(body)
        has_names = self.layout.fields is not None
        split = self.layout.split(body, self.over_bytes)
        stays, leaves = (body, b"") if split is None else split
        payload_left = bool(payload) and (not has_names or len(payload) > self.over_bytes)
        content = leaves + payload if payload_left else leaves
        return Halves(stays, content, len(leaves), payload_left)

    def record(self, put: Put, halves: Halves, reference: Reference) -> Record:
        """The record of a put whose content is in an object."""
        return Record(
            reference, halves.document_bytes, put.encoding, halves.payload_left, self.layout
        )


def encoded(put: Put, stays: bytes, record: Record) -> Put:
    """The put of what stays, with its record in the place of the payload."""
    below = put.renamed(put.collection)
    below.body, below.encoding = stays, ENCODING
    below.payload = record.encode(put.payload)
    return below


def same_object(before: Record | None, content: bytes) -> Reference | None:
    """The object that holds this content already, so that it need not be stored again.

    The put must be conditional on the version that refers to it, so that nobody collects it.
    """
    known = None if before is None else before.object
    if known is None or known.size_bytes != len(content) or known.digest != digest_of(content):
        return None
    return known


def is_own(collection: str) -> bool:
    """Whether a collection is one of the SDK's own, whose documents are never split."""
    return collection.rpartition("/")[2].startswith(".")
