"""Work with a checkpoint saver, as several tests of it do it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.conformance.test_utils import (
    generate_checkpoint,
    generate_config,
    generate_metadata,
)

from storage_providers.agents.adapters._langgraph.layout import Collections
from storage_providers.agents.adapters.langgraph import ProviderSaver
from storage_providers.protocol import StorageProvider
from storage_providers.providers.in_memory import InMemoryProvider
from tests.adapters.places import Place

__all__ = ["Work", "documents", "everything", "play", "put"]

Work = Callable[[ProviderSaver], Awaitable[None]]


def play(work: Work, place: Place | None = None) -> None:
    """Do something with a saver, in memory unless a place is given."""

    async def main() -> None:
        if place is None:
            async with InMemoryProvider() as provider:
                await work(ProviderSaver(provider))
        else:
            async with place.open() as provider:
                await work(ProviderSaver(provider))

    asyncio.run(main())


async def put(
    saver: Any,
    thread: str,
    values: dict[str, Any],
    *,
    namespace: str = "",
    parent: RunnableConfig | None = None,
    version: Any = "1",
    **metadata: Any,
) -> RunnableConfig:
    """Store a checkpoint whose channels are all new."""
    config = generate_config(thread, checkpoint_ns=namespace)
    if parent is not None:
        config["configurable"]["checkpoint_id"] = parent["configurable"]["checkpoint_id"]
    versions = dict.fromkeys(values, version)
    checkpoint = generate_checkpoint(channel_values=values, channel_versions=versions)
    given = generate_metadata(**metadata)
    return cast(RunnableConfig, await saver.aput(config, checkpoint, given, versions))


async def everything(saver: Any, *args: Any, **options: Any) -> list[CheckpointTuple]:
    """All that a listing yields."""
    return [found async for found in saver.alist(*args, **options)]


async def documents(provider: StorageProvider) -> int:
    """How many documents there are in all collections."""
    return sum([await provider.count_items(name) for name in Collections.named("langgraph")])
