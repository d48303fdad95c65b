"""py-key-value's store on a provider, as FastMCP and other frameworks take it.

    python examples/key_value_store.py

Needs: `pip install 'storage-providers[key-value]'`.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from key_value.aio.protocols.key_value import AsyncKeyValue
from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper

from storage_providers import SQLiteProvider
from storage_providers.agents.adapters.key_value import ProviderKeyValue


async def use(store: AsyncKeyValue) -> None:
    """What a framework does: it knows the protocol and no provider."""
    await store.put("token/🙂", {"user": "Ada"}, collection="OAuth clients", ttl=3600)
    value, ttl = await store.ttl("token/🙂", collection="OAuth clients")
    print("Kept:", value, "for", round(ttl or 0), "s")
    await store.put_many(["a", "b"], [{"n": 1}, {"n": 2}], collection="cache")
    print("Cached:", await store.get_many(["a", "b", "c"], collection="cache"))
    print("Used once:", [await store.delete("a", collection="cache") for _ in range(2)])


async def main() -> None:
    """Open a database, use it as a store, and show what lies there."""
    with tempfile.TemporaryDirectory() as folder:
        async with SQLiteProvider(Path(folder, "store.db")) as provider:
            store = ProviderKeyValue(provider)
            await use(store)
            await use(PrefixKeysWrapper(store, prefix="app"))
            print("Collections:", await store.collections())
            print("As documents:", await provider.collections())


if __name__ == "__main__":
    asyncio.run(main())
