"""What Mastra stored in Workers KV, as a source.

Keys are `{prefix:}{table}:{id}`, `{prefix:}mastra_messages:{thread}:{message}` and, for the order
of a thread, `{prefix:}mastra_messages:{thread}:messages`; values are JSON. Source: the package
stores/cloudflare of github.com/mastra-ai/mastra (read 2026-11). The orders lose messages when
several save at once, so they are not looked at: every message that is there is imported, and placed
by its own time and id.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

import msgspec

from storage_providers._json import JsonObject
from storage_providers.cloudflare.kv import MAX_GET_KEYS, KVFound, KVTransport
from storage_providers.protocol import LegacyProblem, LegacyRecord
from storage_providers.transfer.legacy._mastra_tables import MASTRA_TABLES, MastraTable, record_of
from storage_providers.transfer.legacy._shape import as_object
from storage_providers.transfer.legacy.mastra import MAX_ID_BYTES

__all__ = ["MastraKV"]

ORDER: Final = ":messages"
"""How the keys of orders end."""


class MastraKV:
    """The keys of one or several namespaces; Mastra has one for each table.

    Args:
        namespaces: The namespaces.
        prefix: What stands before the table in keys, such as `myapp_` or `myapp`; keys that begin
            otherwise are counted and reported.
        max_id_bytes: The longest id of the provider that the documents are for.
    """

    name = "mastra"

    def __init__(
        self, *namespaces: KVTransport, prefix: str = "", max_id_bytes: int = MAX_ID_BYTES
    ) -> None:
        self._namespaces = namespaces
        self._prefix = prefix
        self._max_id_bytes = max_id_bytes
        self._owners: dict[str, Any] = {}

    async def records(self) -> AsyncGenerator[LegacyRecord | LegacyProblem]:
        """Every record as a document, or the reason why it can't be one.

        Raises:
            StorageError: A namespace failed.
        """
        strange, first = 0, ""
        for namespace in self._namespaces:
            async for keys in _pages(namespace, self._prefix):
                tables = {key: self._table(key) for key in keys}
                known = [key for key, table in tables.items() if table is not None]
                others = [key for key in keys if tables[key] is None and not self._own(key)]
                strange, first = strange + len(others), first or next(iter(others), "")
                for start in range(0, len(known), MAX_GET_KEYS):
                    some = known[start : start + MAX_GET_KEYS]
                    for entry in await self._entries(namespace, some):
                        yield entry
        if strange:
            yield LegacyProblem(
                origin=first,
                reason=f"this and {strange - 1} more keys are none of Mastra's under the prefix "
                f"{self._prefix!r}; if they are under another, give it",
            )

    def _rest(self, key: str) -> str:
        return key.removeprefix(self._prefix).removeprefix(":" if self._prefix else "")

    def _table(self, key: str) -> MastraTable | None:
        return MASTRA_TABLES.get(self._rest(key).partition(":")[0])

    def _own(self, key: str) -> bool:
        """Whether a key is the description of a table, which says nothing about records."""
        return self._rest(key).startswith("schema:mastra_")

    async def _entries(
        self, namespace: KVTransport, keys: Sequence[str]
    ) -> list[LegacyRecord | LegacyProblem]:
        found = await namespace.get_many(keys)
        rows: dict[str, JsonObject] = {}
        entries: list[LegacyRecord | LegacyProblem] = []
        for key in keys:
            value = _decoded(found.get(key))
            row = as_object(value)
            if row:
                rows[key] = row
            elif found.get(key) is not None and not (
                key.endswith(ORDER) and isinstance(value, list)
            ):
                entries.append(LegacyProblem(origin=key, reason="it is no JSON object"))
        await self._find_owners(rows)
        for key, row in rows.items():
            table = self._table(key)
            assert table is not None
            entries.append(record_of(table, row, key, self._max_id_bytes))
        return entries

    async def _find_owners(self, rows: Mapping[str, JsonObject]) -> None:
        """Messages of earlier versions don't say whose they are; their threads do."""
        lacking = [
            row
            for key, row in rows.items()
            if self._table(key) is MASTRA_TABLES["mastra_messages"] and not row.get("resourceId")
        ]
        heads = (self._prefix, f"{self._prefix}:") if self._prefix else ("",)
        wanted = {str(row.get("threadId", "")): None for row in lacking}
        unknown = [thread for thread in wanted if thread and thread not in self._owners]
        if unknown:
            self._owners = {thread: self._owners.get(thread) for thread in wanted}
        for namespace in self._namespaces if unknown else ():
            for head in heads:
                keys = {f"{head}mastra_threads:{thread}": thread for thread in unknown}
                for key, value in (await namespace.get_many(list(keys))).items():
                    owner = as_object(_decoded(value)).get("resourceId")
                    if owner is not None:
                        self._owners[keys[key]] = owner
        for row in lacking:
            owner = self._owners.get(str(row.get("threadId", "")))
            if owner is not None:
                row["resourceId"] = owner


async def _pages(namespace: KVTransport, prefix: str) -> AsyncGenerator[list[str]]:
    cursor: str | None = None
    while True:
        page = await namespace.list_keys(prefix=prefix, cursor=cursor)
        yield [key.name for key in page.keys]
        cursor = page.cursor
        if cursor is None:
            return


def _decoded(found: KVFound | None) -> object:
    if found is None:
        return None
    try:
        return msgspec.json.decode(found.value)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
