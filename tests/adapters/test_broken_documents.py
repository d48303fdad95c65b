"""One broken document breaks no listing, and can be removed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.conformance.test_utils import (
    generate_checkpoint,
    generate_config,
    generate_metadata,
)
from langgraph.store.base import PutOp

from storage_providers.agents.adapters.key_value import ProviderKeyValue
from storage_providers.agents.adapters.langgraph import ProviderSaver, ProviderStore
from storage_providers.agents.adapters.openai_agents import ProviderSession
from storage_providers.errors import CorruptItemError, CorruptItemWarning
from storage_providers.protocol import StorageProvider
from storage_providers.providers.local_file import LocalFileProvider


async def broken(root: Path, provider: Any, collection: str, position: int) -> None:
    """Overwrite one document of a collection with what is no JSON."""
    files = sorted(root.joinpath(collection).glob("*.json"))
    files[position].write_text("{broken")
    await provider.refresh()


def test_a_session(tmp_path: Path) -> None:
    """The other items are read, the newest that can be read is popped, and all is cleared."""

    async def work(provider: StorageProvider) -> None:
        session = ProviderSession("s", provider)
        for text in "abc":
            await session.add_items([{"role": "user", "content": text}])
        await broken(tmp_path, provider, "openai_sessions", 2)
        with pytest.warns(CorruptItemWarning):
            items: Any = await session.get_items()
        assert [item["content"] for item in items] == ["a", "b"]
        with pytest.warns(CorruptItemWarning):
            popped: Any = await session.pop_item()
        assert popped["content"] == "b"
        await session.clear_session()
        assert await session.get_items() == []

    play(tmp_path, work)


def test_a_saver(tmp_path: Path) -> None:
    """Listing goes on, reading the broken one raises, and its thread can be deleted."""

    async def work(provider: StorageProvider) -> None:
        saver = ProviderSaver(provider)
        for step in range(3):
            checkpoint = generate_checkpoint()
            await saver.aput(generate_config("t"), checkpoint, generate_metadata(step=step), {})
        await broken(tmp_path, provider, "langgraph_checkpoints", 2)
        with pytest.warns(CorruptItemWarning):
            found = [each async for each in saver.alist(generate_config("t"))]
        assert [each.metadata["step"] for each in found] == [1, 0]
        with pytest.raises(CorruptItemError):
            await saver.aget_tuple(generate_config("t"))
        await saver.adelete_thread("t")
        assert await saver.aget_tuple(generate_config("t")) is None

    play(tmp_path, work)


def test_a_store(tmp_path: Path) -> None:
    """Searches and namespaces tell the others, and keys too."""

    async def work(provider: StorageProvider) -> None:
        store, other = ProviderStore(provider), ProviderKeyValue(provider)
        await store.abatch([PutOp(("n", key), key, {}) for key in "abc"])
        await other.put_many(["a", "b", "c"], [{}, {}, {}], collection="c")
        await broken(tmp_path, provider, "langgraph_store", 0)
        await broken(tmp_path, provider, "kv.c", 0)
        with pytest.warns(CorruptItemWarning):
            assert [hit.key for hit in await store.asearch(("n",))] == ["c", "b"]
        with pytest.warns(CorruptItemWarning):
            assert await store.alist_namespaces() == [("n", "b"), ("n", "c")]
        with pytest.warns(CorruptItemWarning):
            assert await other.keys("c") == ["b", "c"]
        await store.adelete(("n", "a"), "a")
        assert await other.destroy_collection("c") is True
        assert len(await store.asearch(("n",))) == 2

    play(tmp_path, work)


def play(root: Path, work: Any) -> None:
    """Do something with local files."""

    async def main() -> None:
        async with LocalFileProvider(root) as provider:
            await work(provider)

    asyncio.run(main())
