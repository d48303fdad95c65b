"""Resources: what agents remember of a user or project across threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from storage_providers._json import JsonObject
from storage_providers.agents._pages import record_of, required
from storage_providers.agents._place import Change, Known, Place
from storage_providers.agents._tables import RESOURCES
from storage_providers.agents.models import Resource
from storage_providers.protocol import Item

__all__ = ["Resources"]


class Resources:
    """Working memory and metadata of users and projects.

    Args:
        place: Where they are.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    async def get(self, resource_id: str) -> Resource | None:
        """Read a resource.

        Args:
            resource_id: Its id.

        Returns:
            The resource, or `None` if there is none.

        Raises:
            CorruptItemError: What is stored can't be decoded.
            InvalidDocumentError: What is stored is no resource.
        """
        item = await self._place.read_one(RESOURCES, required(resource_id, "resourceId"))
        return None if item is None else record_of(Resource, item)

    async def save(self, resource: Resource) -> Resource:
        """Store a resource, creating it or replacing what is there but for its `created_at`.

        Args:
            resource: The resource.

        Returns:
            The resource as stored.

        Raises:
            InvalidDocumentError: It is not storable JSON.
            OutcomeUnknownError: The connection broke after sending; saving again is safe.
        """
        document = resource.to_document()
        return await self._change(resource.id, lambda _: document, guess=True)

    async def update(
        self,
        resource_id: str,
        *,
        working_memory: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Resource:
        """Change a resource, creating it if it is missing.

        With `conditional_write`, what several processes change at the same moment is all kept.

        Args:
            resource_id: Its id.
            working_memory: The new text, which may be empty; `None`: as it was.
            metadata: Fields to set in its metadata; the others stay.

        Returns:
            The resource as stored.

        Raises:
            InvalidDocumentError: It is not storable JSON.
            OutcomeUnknownError: The connection broke after sending; updating again is safe.
        """

        def changed(before: JsonObject) -> JsonObject:
            new = {**before, "id": resource_id}
            if working_memory is not None:
                new["workingMemory"] = working_memory
            if metadata is not None:
                new["metadata"] = {**(before.get("metadata") or {}), **metadata}
            return {k: v for k, v in new.items() if k not in ("createdAt", "updatedAt")}

        return await self._change(resource_id, changed, guess=False)

    async def _change(
        self, resource_id: str, change: Callable[[JsonObject], JsonObject], *, guess: bool
    ) -> Resource:
        key = (RESOURCES, required(resource_id, "resourceId"))

        def plan(known: Known) -> list[Change]:
            old = known[key]
            before: JsonObject = {} if old is None else old.document
            now = self._place.stamp(before.get("updatedAt"))
            new = {"createdAt": now, **change(before), "updatedAt": now}
            if "createdAt" in before:
                new["createdAt"] = before["createdAt"]
            return [Change(key=key, old=old, new=new)]

        written: Item | None = (await self._place.change([key], plan, guess=guess))[key]
        assert written is not None
        return record_of(Resource, written)
