"""The checkpoint saver when a write fails midway, or others delete what it reads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.conformance.test_utils import generate_config

from storage_providers.agents.adapters.langgraph import ProviderSaver
from storage_providers.errors import (
    BatchError,
    CorruptItemError,
    StorageError,
    TransportError,
)
from storage_providers.protocol import Capabilities, Item, Write
from storage_providers.providers.in_memory import InMemoryProvider
from tests.adapters.saving import documents, everything, put


class Careful(InMemoryProvider):
    """As R2: each write by itself, no conditional delete; it fails when told to.

    Attributes:
        left: Writes that still succeed; `None`: all.
    """

    name: ClassVar[str] = "careful"
    left: int | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Conditions of puts alone."""
        return Capabilities(conditional_write=True, max_document_bytes=200_000, max_id_bytes=200)

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        results: list[Item | StorageError | None] = []
        for write in batch:
            if self.left is not None:
                self.left -= 1
            try:
                if self.left is not None and self.left < 0:
                    raise TransportError("injected: the connection broke")
                results += await super()._write([write])
            except StorageError as error:
                if len(batch) == 1:
                    raise
                results.append(error)
        if any(isinstance(result, StorageError) for result in results):
            raise BatchError("some writes failed", results=results)
        return [result for result in results if not isinstance(result, StorageError)]


def test_a_checkpoint_is_never_seen_without_its_values() -> None:
    """Whichever write fails: `put` raises, and what can be read is complete."""

    async def main() -> None:
        for fails_at in range(10):
            async with Careful() as provider:
                saver = ProviderSaver(provider)
                before = await put(saver, "t", {"a": ["old"], "b": ["old"]})
                provider.left = fails_at
                values = {"a": ["x" * 150_000], "b": ["y" * 300_000], "c": [1]}
                try:
                    await put(saver, "t", values, parent=before, version="2")
                    failed = False
                except (TransportError, BatchError):
                    failed = True
                provider.left = None
                found = await saver.aget_tuple(generate_config("t"))
                assert found is not None
                wanted = {"a": ["old"], "b": ["old"]} if failed else values
                assert found.checkpoint["channel_values"] == wanted
                assert failed == (fails_at < 9)

    asyncio.run(main())


def test_a_deletion_that_fails_midway_leaves_no_broken_checkpoint() -> None:
    """Whichever write fails, the checkpoints still listed are whole, and repeating ends it."""

    async def main() -> None:
        for fails_at in range(0, 30, 3):
            async with Careful() as provider:
                saver = ProviderSaver(provider)
                parent: RunnableConfig | None = None
                for number in range(5):
                    values = {"a": [number], "same": ["s"]}
                    parent = await put(saver, "t", values, parent=parent, version=str(number))
                    await saver.aput_writes(parent, [("c", number)], "task")
                provider.left = fails_at
                with pytest.raises((TransportError, BatchError)) if fails_at < 20 else nothing():
                    await saver.adelete_thread("t")
                provider.left = None
                for found in await everything(saver, generate_config("t")):
                    assert set(found.checkpoint["channel_values"]) == {"a", "same"}
                await saver.adelete_thread("t")
                assert await documents(provider) == 0

    asyncio.run(main())


class nothing:  # noqa: N801 - stands where `pytest.raises` does
    """Expects no error."""

    def __enter__(self) -> None: ...

    def __exit__(self, *exc_info: object) -> None: ...


def test_a_value_that_is_gone_is_reported() -> None:
    """A checkpoint whose value somebody removed is an error, not a checkpoint without it."""

    async def main() -> None:
        async with InMemoryProvider() as provider:
            saver = ProviderSaver(provider)
            await put(saver, "t", {"a": [1]})
            await provider.clear_collection("langgraph_values")
            with pytest.raises(CorruptItemError, match=r"the value 't\.\.a\.1', which it"):
                await saver.aget_tuple(generate_config("t"))

    asyncio.run(main())


class Vanishing(InMemoryProvider):
    """Forgets a checkpoint between the two calls that read it."""

    name: ClassVar[str] = "vanishing"
    saver: ProviderSaver | None = None

    async def _query(self, queries: Any) -> Any:
        pages = await super()._query(queries)
        if self.saver is not None:
            saver, self.saver = self.saver, None
            await saver.adelete_thread("t")
        return pages


def test_a_thread_deleted_while_it_is_read() -> None:
    """There is none then, and no error."""

    async def main() -> None:
        async with Vanishing() as provider:
            saver = ProviderSaver(provider)
            await put(saver, "t", {"a": [1]})
            provider.saver = saver
            assert await saver.aget_tuple(generate_config("t")) is None

    asyncio.run(main())
