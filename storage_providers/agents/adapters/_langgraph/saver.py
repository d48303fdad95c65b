"""LangGraph's checkpoint saver on a provider."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from storage_providers.agents.adapters._common import require
from storage_providers.agents.adapters._home import HomeLoop
from storage_providers.agents.adapters._langgraph import reading, upkeep
from storage_providers.agents.adapters._langgraph.documents import (
    Writing,
    config_of,
    saved,
    written,
)
from storage_providers.agents.adapters._langgraph.layout import (
    Collections,
    Packer,
    write_in_order,
)
from storage_providers.errors import BatchError, InvalidArgumentError, ItemExistsError
from storage_providers.protocol import CollectionSpec, Index, JsonObject, Put, StorageProvider

__all__ = ["ProviderSaver"]

_RUNS = Index.of("metadata.run_id")


class ProviderSaver(BaseCheckpointSaver[str]):
    """Keeps a LangGraph graph's checkpoints on a provider.

    Values of channels are stored once for each of their versions, long ones in parts; a
    checkpoint is written after all that it refers to, and every write that fails raises. Any
    number of processes may use the same threads.

    The asynchronous methods run on the event loop they are called from. The others
    (`graph.invoke`) wait for the loop on which the saver was made; without one, for the loop that
    `storage_providers.blocking` shares, where `blocking(provider)` opens the provider.

    Args:
        provider: Where checkpoints are kept, open while the saver is used. It is not closed.
        prefix: What the names of the three collections begin with.
        serde: How values become bytes; without it, LangGraph's own serializer.

    Raises:
        UnsupportedOperationError: The provider is not `strongly_consistent` or has no
            `conditional_write`: an agent would go on from an old checkpoint.
        InvalidArgumentError: The prefix is not part of a collection's name.
    """

    def __init__(
        self,
        provider: StorageProvider,
        *,
        prefix: str = "langgraph",
        serde: SerializerProtocol | None = None,
    ) -> None:
        super().__init__(serde=serde)
        require(provider, type(self).__name__, "strongly_consistent", "conditional_write")
        self.provider = provider
        self.collections = Collections.named(prefix)
        self._home = HomeLoop()
        self._declared = not provider.capabilities.native_query

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.provider!r})"

    # --- asynchronous ----------------------------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that `config` names, or the newest of its thread and namespace.

        Raises:
            CorruptItemError: It is there, but a part of it can't be read or is gone.
            StorageError: The provider failed.
        """
        self._home.enter()
        return await reading.one(self.provider, self.collections, self.serde, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Checkpoints, newest first.

        Args:
            config: Names a thread, and a namespace or a checkpoint of it; `None`: all threads.
            filter: What the metadata must equal.
            before: Only checkpoints older than the one it names.
            limit: Most to yield.

        Yields:
            The checkpoints with their values and pending writes, fetched by 50. One that can't be
            read is left out with a `CorruptItemWarning`.

        Raises:
            CorruptItemError: A value or a write of one of them can't be read or is gone.
            StorageError: The provider failed.
        """
        self._home.enter()
        query = reading.query_of(self.collections, config, filter, before)
        async for found in reading.newest_first(
            self.provider, self.collections, self.serde, query, filter, limit
        ):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint, and the values of the channels that `new_versions` names.

        Returns:
            The configuration that names it.

        Raises:
            InvalidArgumentError: The checkpoint's id is too long for the provider.
            StorageError: The provider failed; the checkpoint is not seen.
        """
        self._home.enter()
        await self._declare()
        place = reading.place_of(config)
        documents = saved(
            self.serde,
            self.collections,
            self._packer(place.thread_id),
            place,
            (config, checkpoint, metadata, new_versions),
        )
        await write_in_order(self.provider, documents.values, [documents.checkpoint])
        return config_of(place, checkpoint["id"])

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store what a task wrote, pending until the next checkpoint.

        Of a task's regular writes the first ones count, so that repeating the task changes
        nothing; of its errors, interrupts and resumes the last ones.

        Raises:
            KeyError: `config` names no checkpoint.
            StorageError: The provider failed.
        """
        self._home.enter()
        place = reading.place_of(config)
        documents = written(
            self.serde,
            self.collections,
            self._packer(place.thread_id),
            (place, str((config.get("configurable") or {})["checkpoint_id"])),
            (writes, task_id, task_path),
        )
        try:
            await write_in_order(self.provider, documents.parts, _all_of(documents))
        except (ItemExistsError, BatchError) as error:
            if documents.regular is None or not _only_taken(error):
                raise
            await self._add_writes(documents.regular)
            await write_in_order(self.provider, documents.special)

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove all checkpoints, values and writes of a thread; repeat it if it failed midway."""
        self._home.enter()
        await upkeep.delete_thread(self.provider, self.collections, str(thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints that these runs made, in all threads, with what is only theirs.

        Delta channels of checkpoints that stay lose what the removed ones held of them.
        """
        self._home.enter()
        await self._declare()
        await upkeep.delete_runs(self.provider, self.collections, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints, values and writes of a thread; a missing source copies nothing."""
        self._home.enter()
        await upkeep.copy_thread(
            self.provider, self.collections, str(source_thread_id), str(target_thread_id)
        )

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Thin out threads that nothing runs on at the moment.

        Args:
            thread_ids: Which threads.
            strategy: `keep_latest` keeps the newest checkpoint of each namespace, and the
                ancestors that its delta channels need; `delete` keeps nothing.

        Raises:
            InvalidArgumentError: There is no such strategy.
        """
        self._home.enter()
        if strategy not in ("keep_latest", "delete"):
            raise InvalidArgumentError(
                f"there is no strategy {strategy!r}; take 'keep_latest' or 'delete'"
            )
        work = upkeep.keep_latest if strategy == "keep_latest" else upkeep.delete_thread
        for thread_id in thread_ids:
            await work(self.provider, self.collections, str(thread_id))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """What delta channels are put together from, along the parents of a checkpoint.

        Raises:
            CorruptItemError: One of them can't be read.
            StorageError: The provider failed.
        """
        self._home.enter()
        if not channels:
            return {}
        return await reading.history(self.provider, self.collections, self.serde, config, channels)

    # --- without await ---------------------------------------------------------------------------

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """As `aget_tuple`."""
        return self._home.run(lambda: self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """As `alist`."""
        return self._home.iterate(self.alist(config, filter=filter, before=before, limit=limit))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As `aput`."""
        return self._home.run(lambda: self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """As `aput_writes`."""
        self._home.run(lambda: self.aput_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """As `adelete_thread`."""
        self._home.run(lambda: self.adelete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """As `adelete_for_runs`."""
        self._home.run(lambda: self.adelete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """As `acopy_thread`."""
        self._home.run(lambda: self.acopy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As `aprune`."""
        self._home.run(lambda: self.aprune(thread_ids, strategy=strategy))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """As `aget_delta_channel_history`."""
        return self._home.run(
            lambda: self.aget_delta_channel_history(config=config, channels=channels)
        )

    def get_next_version(self, current: str | int | None, channel: None) -> str:
        """A version that sorts after `current`; two branches of a thread never make the same."""
        number = 0 if current is None else int(str(current).partition(".")[0])
        return f"{number + 1:032}.{random.random():016}"  # noqa: S311 - apart, not secret

    # --- helpers ---------------------------------------------------------------------------------

    def _packer(self, thread_id: str) -> Packer:
        limit = self.provider.capabilities.max_document_bytes
        return Packer(self.collections, limit, thread_id)

    async def _declare(self) -> None:
        """Index the runs' ids where that is the provider's engine's work and costs no calls."""
        if self._declared:
            return
        name = self.collections.checkpoints
        spec = await self.provider.declared(name) or CollectionSpec(collection=name)
        if _RUNS not in spec.indexes:
            spec = msgspec.structs.replace(spec, indexes=(*spec.indexes, _RUNS))
            await self.provider.declare(spec)
        self._declared = True

    async def _add_writes(self, put: Put) -> None:
        """Add to a task's writes those whose places are still free."""
        added = put.document["content"]

        def change(document: JsonObject) -> JsonObject:
            taken = {entry["index"] for entry in document["content"]}
            free = [entry for entry in added if entry["index"] not in taken]
            return {**document, "content": [*document["content"], *free]}

        item = await self.provider.read_item(put.collection, put.id)
        if item is None or change(item.document) != item.document:
            await self.provider.modify_item(put.collection, put.id, change)


def _all_of(documents: Writing) -> list[Put]:
    return [*([documents.regular] if documents.regular else []), *documents.special]


def _only_taken(error: ItemExistsError | BatchError) -> bool:
    """Whether nothing else went wrong than that the task's writes are there already."""
    return isinstance(error, ItemExistsError) or all(
        isinstance(result, ItemExistsError)
        for result in error.results
        if isinstance(result, Exception)
    )
