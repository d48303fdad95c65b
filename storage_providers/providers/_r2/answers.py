"""Listings and deletions as XML, read by what they say that is of use here.

botocore makes objects and times of every element, at ten times the cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

import msgspec

from storage_providers.errors import TransportError
from storage_providers.providers._objects import Listing, ObjectEntry

__all__ = [
    "Deletion",
    "KeyRefusal",
    "NotThisAnswerError",
    "read_deletion",
    "read_listing",
    "version_of",
]


class NotThisAnswerError(Exception):
    """The text is cut off, or another document: botocore shall make of it what it can."""


class Deletion(msgspec.Struct, frozen=True):
    """What became of a deletion: the keys that were not removed."""

    refusals: tuple[KeyRefusal, ...]


class KeyRefusal(msgspec.Struct, frozen=True):
    """One key that was not removed, and the service's code for why."""

    key: str
    code: str


def version_of(answer: Mapping[str, Any]) -> str:
    """The version that the answer to a put, a read or a HEAD names.

    Args:
        answer: As botocore gives it.

    Returns:
        The ETag, without quotes.

    Raises:
        TransportError: It has none, so it is not the service's: a proxy or a login page answered.
    """
    tag = answer.get("ETag")
    if not tag:
        raise TransportError("the answer has no ETag, so it is not R2's; check the endpoint")
    return str(tag).strip('"')


def _parse(text: bytes, name: str) -> tuple[ET.Element, str]:
    try:
        # From the service that holds the data, and expat bounds what entities may grow to.
        root = ET.fromstring(text)  # noqa: S314
    except ET.ParseError:
        root = None
    if root is None or root.tag.rpartition("}")[2] != name:
        raise NotThisAnswerError
    return root, root.tag.removesuffix(name)


def read_listing(text: bytes) -> Listing:
    """One page of ListObjectsV2.

    Args:
        text: The answer's body.

    Returns:
        The page.

    Raises:
        NotThisAnswerError: It is no whole listing.
    """
    root, space = _parse(text, "ListBucketResult")
    quoted = root.findtext(f"{space}EncodingType") == "url"

    def plain(key: str) -> str:
        return unquote_plus(key) if quoted and ("%" in key or "+" in key) else key

    key_name, etag_name = f"{space}Key", f"{space}ETag"
    entries = [
        ObjectEntry(plain(each.findtext(key_name, "")), each.findtext(etag_name, "").strip('"'))
        for each in root.iterfind(f"{space}Contents")
    ]
    folders = [
        plain(each.findtext(f"{space}Prefix", ""))
        for each in root.iterfind(f"{space}CommonPrefixes")
    ]
    more = root.findtext(f"{space}IsTruncated") == "true"
    cursor = root.findtext(f"{space}NextContinuationToken") if more else None
    if more and not cursor:
        raise NotThisAnswerError
    return Listing(entries=entries, folders=folders, cursor=cursor)


def read_deletion(text: bytes) -> Deletion:
    """The keys that DeleteObjects did not remove; it answers 200 all the same.

    Args:
        text: The answer's body.

    Returns:
        Only those; whatever is not named was removed, or was not there.

    Raises:
        NotThisAnswerError: It is no whole answer to a deletion.
    """
    root, space = _parse(text, "DeleteResult")

    return Deletion(
        tuple(
            KeyRefusal(each.findtext(f"{space}Key", ""), each.findtext(f"{space}Code", ""))
            for each in root.iterfind(f"{space}Error")
        )
    )
