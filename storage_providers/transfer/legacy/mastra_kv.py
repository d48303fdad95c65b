"""What Mastra stored in Workers KV, as a source.

Keys are `{prefix:}{table}:{id}`, `{prefix:}mastra_messages:{thread}:{message}` and, for the order
of a thread, `{prefix:}mastra_messages:{thread}:messages`; of resources and scores they are the bare
ids. Values are JSON; of scores every object in it is JSON in text again, as a resource's metadata
and a run's snapshot. Source: `getKey` and `safeParse` in stores/cloudflare/src/kv/storage/db and
the domains beside it, github.com/mastra-ai/mastra (read 2026-11). The orders lose messages when
several save at once, so they are not looked at: every message that is there is imported, and placed
by its own time and id.
"""

from __future__ import annotations

import re
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

MESSAGES: Final = MASTRA_TABLES["mastra_messages"]
RESOURCES: Final = MASTRA_TABLES["mastra_resources"]
RUNS: Final = MASTRA_TABLES["mastra_workflow_snapshot"]
SCORES: Final = MASTRA_TABLES["mastra_scorers"]

ORDER: Final = ":messages"
"""How the keys of orders end."""

RESOURCE_FIELDS: Final = {"id", "workingMemory", "metadata", "createdAt", "updatedAt"}
"""What a resource has at most. Source: `TABLE_SCHEMAS` of the same project."""

_OF_A_TABLE: Final = re.compile(r"(^|[:_])(schema:)?mastra_[a-z_]+(:|$)")
"""Keys of tables under any prefix, which are no bare ids."""


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
            async for keys in _pages(namespace):
                some = [key for key in keys if self._may_be_record(key)]
                entries = {key: entry async for key, entry in self._read(namespace, some)}
                own = [key for key in keys if key not in entries and not self._is_described(key)]
                others = [key for key in own if self._table(key) is None]
                strange, first = strange + len(others), first or next(iter(others), "")
                for entry in entries.values():
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
        """The table that a key names."""
        if not key.startswith(self._prefix):
            return None
        return MASTRA_TABLES.get(self._rest(key).partition(":")[0])

    def _may_be_record(self, key: str) -> bool:
        return self._table(key) is not None or _OF_A_TABLE.search(key) is None

    def _is_described(self, key: str) -> bool:
        """Whether a key is the description of a table, which says nothing about records."""
        return key.startswith(self._prefix) and self._rest(key).startswith("schema:mastra_")

    async def _read(
        self, namespace: KVTransport, keys: Sequence[str]
    ) -> AsyncGenerator[tuple[str, LegacyRecord | LegacyProblem]]:
        for start in range(0, len(keys), MAX_GET_KEYS):
            some = keys[start : start + MAX_GET_KEYS]
            values = {k: _decoded(v) for k, v in (await namespace.get_many(some)).items() if v}
            rows = {key: as_object(value) for key, value in values.items()}
            await self._find_owners(rows)
            for key, row in rows.items():
                table = self._table(key) or _bare(key, row)
                if row and table is not None:
                    _complete(table, self._rest(key), row)
                    yield key, record_of(table, row, key, self._max_id_bytes)
                elif table is not None and not _is_order(key, values[key]):
                    yield key, LegacyProblem(origin=key, reason="it is no JSON object")

    async def _find_owners(self, rows: Mapping[str, JsonObject]) -> None:
        """Messages of earlier versions don't say whose they are; their threads do."""
        lacking = [
            row
            for key, row in rows.items()
            if row and self._table(key) is MESSAGES and not row.get("resourceId")
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


async def _pages(namespace: KVTransport) -> AsyncGenerator[list[str]]:
    cursor: str | None = None
    while True:
        page = await namespace.list_keys(cursor=cursor)
        yield [key.name for key in page.keys]
        cursor = page.cursor
        if cursor is None:
            return


def _bare(key: str, row: JsonObject) -> MastraTable | None:
    """The table of a record whose key is its id alone."""
    if row.get("id") != key:
        return None
    if "scorerId" in row:
        return SCORES
    return RESOURCES if row.keys() <= RESOURCE_FIELDS else None


def _complete(table: MastraTable, rest: str, row: JsonObject) -> None:
    """What only the key says: earlier versions put a run's resource there."""
    head = f"{RUNS.name}:{row.get('workflow_name')}:{row.get('run_id')}:"
    if table is RUNS and not row.get("resourceId") and rest.startswith(head):
        row["resourceId"] = rest.removeprefix(head)


def _is_order(key: str, value: object) -> bool:
    return key.endswith(ORDER) and isinstance(value, list)


def _decoded(found: KVFound | None) -> object:
    """A value; some clients put the whole body of their request, with the value in it as text."""
    value = None if found is None else _json(found.value)
    inner = as_object(value)
    if isinstance(inner.get("value"), str) and inner.keys() <= {"value", "metadata"}:
        return _json(inner["value"])
    return value


def _json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
