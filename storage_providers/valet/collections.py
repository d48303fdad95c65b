"""What is declared about the productivity collections."""

from __future__ import annotations

from typing import Final

import msgspec

from storage_providers.protocol import CollectionSpec, Index, StorageProvider, check_collection

__all__ = ["VALET_COLLECTIONS", "declare_all"]

VALET_COLLECTIONS: Final = (
    CollectionSpec(
        collection="todos",
        indexes=(
            Index.of("status", "due"),
            Index.of("due"),
            Index.of("priority", "due"),
            Index.of("category"),
            Index.of("updatedAt"),
        ),
        text_fields=("content", "notes"),
    ),
    CollectionSpec(
        collection="daily_planners",
        indexes=(Index.of("date"),),
        text_fields=("tasks", "data_stash", "ongoing_summary", "reflections", "personal_reminders"),
    ),
    CollectionSpec(
        collection="daily_journals",
        indexes=(Index.of("date"), Index.of("mood")),
        text_fields=("entries", "highlights", "challenges", "lessons"),
    ),
    CollectionSpec(collection="archived_days", indexes=(Index.of("date"),), text_fields=("files",)),
    CollectionSpec(collection="user_settings"),
)
"""Indexes and text fields of the productivity collections."""


async def declare_all(
    provider: StorageProvider, *, scope: str = "", keep_existing: bool = False
) -> None:
    """Declare the productivity collections; doing it again costs nothing.

    Args:
        provider: Where they are. Without `text_search` it gets no text fields.
        scope: The user or tenant they belong to.
        keep_existing: Leave collections alone that are declared already, in whatever way.

    Raises:
        InvalidArgumentError: The scope is malformed.
        TransportError: The provider could not be reached.
    """
    for spec in VALET_COLLECTIONS:
        name = f"{scope}/{spec.collection}" if scope else spec.collection
        check_collection(name)
        if keep_existing and await provider.declared(name) is not None:
            continue
        text_fields = spec.text_fields if provider.capabilities.text_search else ()
        await provider.declare(
            msgspec.structs.replace(spec, collection=name, text_fields=text_fields)
        )
