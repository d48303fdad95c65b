"""Large attachments, kept out of the rows of messages."""

from __future__ import annotations

from typing import Final

from storage_providers.base import Provider
from storage_providers.layers import Offload, compose

__all__ = ["OVER_BYTES", "offload_attachments"]

OVER_BYTES: Final = 100_000
"""From what size on attachments and parts leave, bytes of JSON. As `Offload`."""

FIELDS: Final = ("content.experimental_attachments", "content.parts")


def offload_attachments(
    provider: Provider, *, objects: Provider, over_bytes: int = OVER_BYTES
) -> Provider:
    """A provider that keeps large attachments and parts of messages elsewhere.

    `AgentStore(offload_attachments(database, objects=bucket))`: messages come back whole, and what
    is small stays in its row. See `Offload` for what happens in a crash, and for `collect`.

    Args:
        provider: Where messages are. It is opened and closed with the one that is returned.
        objects: Where what is large goes; the same holds for it.
        over_bytes: Larger ones leave, bytes of JSON.

    Returns:
        The provider to give to `AgentStore`.

    Raises:
        ConfigurationError: `over_bytes` is less than 1, or the two do not go together.
    """
    return compose(
        Offload(objects=objects, over_bytes=over_bytes, fields=FIELDS), provider=provider
    )
