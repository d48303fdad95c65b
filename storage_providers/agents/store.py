"""`AgentStore`: what agents say, do and remember, on any provider.

```python
async with SQLiteProvider("agents.db") as provider, AgentStore(provider) as store:
    thread = await store.threads.save(Thread(resource_id="user-7", title="Plants"))
    await store.messages.save(
        [Message.of("How often do ferns want water?", thread_id=thread.id, resource_id="user-7")]
    )
    print(await store.messages.newest(thread.id, 20))
```
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Self

from storage_providers.agents import _upkeep
from storage_providers.agents._asking import batches
from storage_providers.agents._bumps import Bumps
from storage_providers.agents._place import Place
from storage_providers.agents._tables import (
    MESSAGES,
    RESOURCES,
    RUNS,
    SCORES,
    SPANS,
    TABLES,
    THREADS,
    Table,
)
from storage_providers.agents._upkeep import Reindexed, Retention
from storage_providers.agents._wire import Record
from storage_providers.agents.messages import Messages
from storage_providers.agents.models import Message, Resource, Score, Thread, WorkflowRun
from storage_providers.agents.resources import Resources
from storage_providers.agents.scores import Scores
from storage_providers.agents.threads import TOGETHER, Threads
from storage_providers.agents.traces import Span, Traces
from storage_providers.agents.workflows import Workflows
from storage_providers.errors import ConfigurationError, InvalidArgumentError
from storage_providers.protocol import Clear, StorageProvider, Write

__all__ = ["AgentStore", "Reindexed", "Retention"]

_MODELS: dict[str, type[Record]] = {
    "threads": Thread,
    "messages": Message,
    "resources": Resource,
    "runs": WorkflowRun,
    "scores": Score,
    "spans": Span,
}


class AgentStore:
    """Threads, messages, workflows, scores, traces and resources, each in a provider.

    Providers are borrowed: whoever opened them closes them. Close the store before, or leave its
    `async with` block: on R2 and Workers KV the time of a thread's last change may still be waiting
    to be written (`flush`).

    Args:
        provider: Where everything is that has no provider of its own.
        threads: Where threads and their messages are.
        resources: Where resources are.
        workflows: Where runs of workflows are.
        scores: Where scores are.
        traces: Where traces are.
        retention: How long the records of tables are kept, for `prune`.

    Attributes:
        threads: Conversations.
        messages: What was said in them.
        resources: What is remembered across them.
        workflows: Runs of workflows.
        scores: What scorers found.
        traces: What happened, span by span.

    Raises:
        ConfigurationError: A domain has no provider, or `retention` names no table.
    """

    def __init__(
        self,
        provider: StorageProvider | None = None,
        *,
        threads: StorageProvider | None = None,
        resources: StorageProvider | None = None,
        workflows: StorageProvider | None = None,
        scores: StorageProvider | None = None,
        traces: StorageProvider | None = None,
        retention: Mapping[str, Retention] | None = None,
    ) -> None:
        places: dict[int, Place] = {}

        def place(name: str, own: StorageProvider | None) -> Place:
            chosen = provider if own is None else own
            if chosen is None:
                raise ConfigurationError(
                    f"{name} have no provider; give one for all, or AgentStore(…, {name}=…)"
                )
            return places.setdefault(id(chosen), Place(chosen))

        talk = place("threads", threads)
        self._places = {
            THREADS.name: talk,
            MESSAGES.name: talk,
            RESOURCES.name: place("resources", resources),
            RUNS.name: place("workflows", workflows),
            SCORES.name: place("scores", scores),
            SPANS.name: place("traces", traces),
        }
        self._retention = dict(retention or {})
        for name in self._retention:
            _table(name)
        self._bumps = Bumps(talk)
        self.threads = Threads(talk, self._bumps)
        self.messages = Messages(talk, self._bumps)
        self.resources = Resources(self._places[RESOURCES.name])
        self.workflows = Workflows(self._places[RUNS.name])
        self.scores = Scores(self._places[SCORES.name])
        self.traces = Traces(self._places[SPANS.name])

    def __repr__(self) -> str:
        placed = ", ".join(f"{name}={place!r}" for name, place in self._places.items())
        return f"AgentStore({placed})"

    async def __aenter__(self) -> Self:
        for name, place in self._places.items():
            await place.declare(TABLES[name])
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.flush()

    async def declare(self) -> None:
        """Declare every index of all tables, where queries use them.

        Those that everybody needs are declared at first use anyway, the others when somebody first
        asks for their order: messages by resource, all threads or runs by time, scores of an entity
        or span, traces by their end. In a store of millions that makes the first such call wait.

        Raises:
            TransportError: A provider could not be reached.
        """
        for name, place in self._places.items():
            await place.declare(TABLES[name], *TABLES[name].orders)

    async def flush(self) -> None:
        """Write what waits: on R2 and Workers KV, the times of threads' last changes.

        Raises:
            StorageError: The provider failed; what waits goes on waiting.
        """
        await self._bumps.flush()

    # --- tables --------------------------------------------------------------------------------

    async def insert(self, table: str, record: Mapping[str, Any]) -> None:
        """Store one record; as `batch_insert`."""
        await self.batch_insert(table, [record])

    async def batch_insert(self, table: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Store records as documents have them, camelCase, as the table's own `save` does.

        Args:
            table: `threads`, `messages`, `resources`, `runs`, `scores` or `spans`.
            records: The records.

        Raises:
            InvalidArgumentError: There is no such table.
            InvalidDocumentError: A record does not fit; nothing was written.
            StorageError: As `save` says.
        """
        model = _MODELS[_table(table).name]
        made: list[Any] = [model.from_document(record) for record in records]
        one_by_one: dict[str, Callable[[Any], Awaitable[object]]] = {
            "threads": self.threads.save,
            "resources": self.resources.save,
            "runs": self._persist,
        }
        if table in one_by_one:
            for record in made:
                await one_by_one[table](record)
        elif table == "messages":
            await self.messages.save(made)
        elif table == "scores":
            await self.scores.save_many(made)
        else:
            await self.traces.save(made)

    async def _persist(self, run: WorkflowRun) -> WorkflowRun:
        return await self.workflows.persist(
            run.workflow_name,
            run.run_id,
            run.snapshot,
            resource_id=run.resource_id,
            created_at=run.created_at,
        )

    async def clear_table(self, table: str) -> None:
        """Remove every record of a table.

        Args:
            table: `threads`, `messages`, `resources`, `runs`, `scores` or `spans`. Clearing threads
                leaves their messages, which `threads.delete` removes.

        Raises:
            InvalidArgumentError: There is no such table.
            StorageError: The provider failed.
        """
        cleared = _table(table)
        place = self._places[table]
        batch: list[Write] = [Clear(cleared.collection)]
        if place.keeps_orders:
            batch.append(Clear(cleared.entries_in))
        await place.provider.write(batch)
        place.forget_all()

    # --- upkeep --------------------------------------------------------------------------------

    async def prune(
        self,
        retention: Mapping[str, Retention] | None = None,
        *,
        on_progress: Callable[[str, int], None] | None = None,
    ) -> dict[str, int]:
        """Delete what is older than it is to be kept.

        Threads go by their last change, with their messages; traces by the beginning of their root
        span, whole. It may be interrupted and called again.

        Args:
            retention: How long records are kept, by table; without it, as the store was made.
            on_progress: Told the table, and how many of its records are deleted so far.

        Returns:
            How many records were deleted, by table; of threads and spans, threads and spans.

        Raises:
            InvalidArgumentError: There is no such table, or a retention keeps nothing.
            StorageError: A provider failed; what was deleted until then stays so.
        """
        deleted: dict[str, int] = {}
        rules = self._retention if retention is None else retention
        for name in rules:
            _table(name)
        for name, rule in rules.items():
            rule.cutoff(0)
            told = None if on_progress is None else _named(on_progress, name)
            deleted[name] = await self._prune(_table(name), rule, told)
        return deleted

    async def _prune(
        self, table: Table, rule: Retention, told: Callable[[int], None] | None
    ) -> int:
        place, count = self._places[table.name], 0
        if table.name == "spans":
            return await self.traces.prune(
                older_than=rule.older_than, keep=rule.keep, on_progress=told
            )
        found = _upkeep.expired(place, table, rule)
        if table.name != "threads":
            return await _upkeep.delete_all(place, table, found, told)
        async for items, _ in batches(found, TOGETHER):
            await self.threads.delete([item.id for item in items])
            count += len(items)
            if told is not None and items:
                told(count)
        return count

    async def reindex(
        self, *, on_progress: Callable[[str, int], None] | None = None
    ) -> dict[str, Reindexed]:
        """Make orders anew from their documents, where the provider answers no queries.

        After documents were copied or migrated into R2 or Workers KV, and after a crash, to remove
        what it left. Others may read and write meanwhile.

        Args:
            on_progress: Told the table, and how many of its documents were looked at so far.

        Returns:
            What was done, by table.

        Raises:
            StorageError: A provider failed; it may be called again.
        """
        return {
            name: await _upkeep.reindex(
                place, TABLES[name], None if on_progress is None else _named(on_progress, name)
            )
            for name, place in self._places.items()
        }


def _table(name: str) -> Table:
    if name not in TABLES:
        raise InvalidArgumentError(f"{name!r} is no table; there are {', '.join(TABLES)}")
    return TABLES[name]


def _named(told: Callable[[str, int], None], name: str) -> Callable[[int], None]:
    return lambda count: told(name, count)
